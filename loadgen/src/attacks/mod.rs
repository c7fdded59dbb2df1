//! `loadgen attacks`: each limit's attack on a server with the default limits and on one without, and what well-behaved clients
//! of the same server notice. See docs/performance.md for what each row means.
//!
//! - `kind`: the attacks; `handshakes`, `messages` and `sessions` carry them out, in the threads of `attacker`, over a `wire`
//! - `trial`: one attack on one server, with its neighbours (those of `bench`) and a `visitor`
//! - `report`: the tables, and what must not be

mod attacker;
mod handshakes;
mod kind;
mod messages;
mod report;
mod sessions;
mod trial;
mod visitor;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::server::{Contestant, ServerKind, Surroundings};
use crate::bench::{heading, note, prepare, show};
use crate::chaos::cluster::Cluster;
use crate::chaos::leftovers;
use crate::clock::Clock;
use crate::page;
use kind::Attack;
use report::Outcome;
use trial::Times;

/// Of the neighbours.
const ROOMS: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which attacks, comma-separated: a08, a10, a16, a23, a29, a42, a49, a72, a75, one-user, slow-bodies [default: all]
    #[arg(long = "attack", value_delimiter = ',', value_parser = Attack::parse)]
    attacks: Vec<Attack>,
    /// Of each attack; half of it before and after. Some attacks last longer, because their limit needs it
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The server to attack [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Write everything that was measured as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables between the markers of this page, if all attacks were run
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Starts and stops Kafka
    #[arg(long, value_name = "FILE", default_value = "scripts/kafka.sh")]
    kafka_script: PathBuf,
    /// A Kafka that runs already; it should not run on the first core
    #[arg(long, env = "FLEETCAST_TEST_KAFKA")]
    brokers: Option<String>,
}

/// `Ok(false)`: neighbours have lost something or were cut, or a limit has refused nothing. Times are only shown.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let begin = Instant::now();
    prepare()?;
    let run = format!("attacks-{:x}", Clock::start().now_ns() / 1_000_000);
    let directory = std::env::temp_dir().join(format!("fleetcast-{run}"));
    std::fs::create_dir_all(&directory)?;
    leftovers::watch()?;
    let cluster = match &args.brokers {
        Some(addresses) => Cluster::given(&args.kafka_script, addresses),
        None => Cluster::start(&args.kafka_script, &directory.join("kafka"), 1)?,
    };
    let around = Surroundings {
        cluster: &cluster,
        directory: &directory,
        run,
    };
    let logs = || format!("logs are in {}", directory.display());
    let outcomes = measure(args, &around).with_context(logs)?;
    let objections: Vec<String> = outcomes.iter().flat_map(Outcome::objections).collect();
    report(args, &outcomes)?;
    for objection in &objections {
        note(objection);
    }
    drop(cluster);
    if objections.is_empty() {
        std::fs::remove_dir_all(&directory).context("cannot remove the logs")?;
    } else {
        note(&logs());
    }
    note(&format!("took {} s", begin.elapsed().as_secs()));
    Ok(objections.is_empty())
}

fn measure(args: &Args, around: &Surroundings<'_>) -> Result<Vec<Outcome>> {
    let program = match &args.server {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("fleetcast"),
    };
    let missing = || format!("there is no {}: make build", program.display());
    let program = program.canonicalize().with_context(missing)?;
    let contestant = |label: &str, limited| Contestant {
        label: label.to_owned(),
        kind: ServerKind::Fleetcast,
        program: program.clone(),
        environment: Vec::new(),
        limited,
    };
    let (without, with) = (contestant("no-limits", false), contestant("limits", true));
    let mut outcomes = Vec::new();
    for attack in wanted(args) {
        let begin = Instant::now();
        let lasts = Duration::from_secs(args.seconds);
        let times = Times {
            calm: lasts / 2,
            attack: lasts.max(attack.least()),
        };
        let trial = |contestant: &Contestant| {
            let trial = trial::run(attack, contestant, around, times);
            trial.with_context(|| format!("{} on {}", attack.name(), contestant.label))
        };
        let unlimited = attack.has_setting().then(|| trial(&without)).transpose()?;
        outcomes.push(Outcome {
            attack,
            unlimited,
            limited: trial(&with)?,
        });
        note(&format!(
            "{}: {} s",
            attack.name(),
            begin.elapsed().as_secs()
        ));
        // After each, so that a run that is cut short leaves what it has.
        if let Some(path) = &args.json {
            let json = serde_json::to_string_pretty(&outcomes)? + "\n";
            std::fs::write(path, json)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(outcomes)
}

fn wanted(args: &Args) -> Vec<Attack> {
    if args.attacks.is_empty() {
        Attack::ALL.to_vec()
    } else {
        args.attacks.clone()
    }
}

/// Shows the tables, and writes them into the page if all attacks were run.
fn report(args: &Args, outcomes: &[Outcome]) -> Result<()> {
    let mean = |of| report::mean(outcomes, of);
    let how = format!("{} s for each attack.", args.seconds);
    let heading = heading(&how, mean(|trial| trial.others), mean(|trial| trial.stolen));
    let text = format!("{heading}\n\n{}", report::tables(outcomes));
    show(&text);
    match &args.page {
        Some(path) if args.attacks.is_empty() => page::write(path, "attacks", &text),
        Some(path) => {
            let path = path.display();
            note(&format!("{path} was not written: it has all attacks"));
            Ok(())
        }
        None => Ok(()),
    }
}
