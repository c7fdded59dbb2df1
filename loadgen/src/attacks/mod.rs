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
use crate::page;
use crate::test_bed::{KafkaArgs, TestBed, fleetcast, write_json};
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
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// `Ok(false)`: neighbours have lost something or were cut, or a limit has refused nothing. Times are only shown.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let begin = Instant::now();
    prepare()?;
    let bed = TestBed::start("attacks", &args.kafka)?;
    let around = Surroundings::of(&bed);
    let outcomes = measure(args, &around).with_context(|| bed.logs())?;
    let objections: Vec<String> = outcomes.iter().flat_map(Outcome::objections).collect();
    report(args, &outcomes)?;
    for objection in &objections {
        note(objection);
    }
    bed.clear(objections.is_empty())?;
    note(&format!("took {} s", begin.elapsed().as_secs()));
    Ok(objections.is_empty())
}

fn measure(args: &Args, around: &Surroundings<'_>) -> Result<Vec<Outcome>> {
    let program = fleetcast(args.server.as_deref())?;
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
            write_json(path, &outcomes)?;
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
