//! `loadgen chaos`: servers behind haproxy, real Kafka, clients that resume, and a nemesis. Everything is recorded, and
//! a checker says afterwards whether the promises held. See loadgen/README.md.

mod check;
mod cluster;
mod fleet;
mod history;
mod ledger;
mod nemesis;
mod part;
mod producer;
mod record;
mod report;
mod run;
mod scenario;
mod seating;
mod topics;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::clock::Clock;

use cluster::Cluster;
use scenario::{Form, Scenario};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which scenario; several times for several, all of them if none is named
    #[arg(long, value_parser = Scenario::parse)]
    scenario: Vec<Scenario>,
    /// How long scenarios take, and how many clients there are, unless it is said below
    #[arg(long, value_enum, default_value_t = Form::Short)]
    form: Form,
    /// Decides what happens when and to whom
    #[arg(long)]
    seed: Option<u64>,
    /// Of records being produced
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long)]
    clients: Option<usize>,
    /// Channel rooms over two organisations; both have the same channel ids [default: a tenth of the clients]
    #[arg(long)]
    channels: Option<u16>,
    /// Records per second [default: 1000 in the long form, 250 in the short one]
    #[arg(long)]
    rate: Option<u32>,
    #[arg(long, default_value_t = 500)]
    payload_bytes: usize,
    /// Of a hundred records so many go to a whole organisation
    #[arg(long, default_value_t = 1)]
    organisation_percent: u32,
    /// Servers behind haproxy
    #[arg(long, default_value_t = 3)]
    instances: usize,
    /// New connections per second at the start
    #[arg(long, default_value_t = 250)]
    connect_rate: u32,
    /// First delay of a client that comes back, in milliseconds; that of the stock client by default
    #[arg(long, default_value_t = 1000)]
    backoff_ms: u64,
    /// Threads that hold the clients
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The server's binary [default: beside this one]
    #[arg(long, value_name = "FILE")]
    fleetcast: Option<PathBuf>,
    /// Starts, breaks and stops Kafka
    #[arg(long, value_name = "FILE", default_value = "scripts/kafka.sh")]
    kafka_script: PathBuf,
    /// A Kafka that runs already; scenarios that break brokers start one of their own all the same
    #[arg(long, env = "FLEETCAST_TEST_KAFKA")]
    brokers: Option<String>,
    /// NAME=VALUE: more environment for the servers
    #[arg(long = "server-env", value_name = "NAME=VALUE")]
    server_env: Vec<String>,
    /// Where logs and what was found are kept when something was wrong [default: a new directory in the system's one for temporary files]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Keep that directory in any case
    #[arg(long)]
    keep: bool,
    /// Write the reports as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// `Ok(false)`: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let scenarios = if args.scenario.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        args.scenario.clone()
    };
    let clock = Clock::start();
    let seed = args.seed.unwrap_or_else(|| clock.now_ns() / 1_000_000);
    let directory = args
        .directory
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("fleetcast-chaos-{seed}")));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    // haproxy and the brokers are given paths below it.
    let directory = directory.canonicalize()?;

    let mut shared: Option<Cluster> = None;
    let mut reports = Vec::new();
    for scenario in scenarios {
        let own;
        let cluster = if scenario.breaks_kafka() {
            let kafka = directory.join(format!("kafka-{}", scenario.name()));
            own = Cluster::start(&args.kafka_script, &kafka, scenario.brokers())?;
            &own
        } else {
            if shared.is_none() {
                shared = Some(match &args.brokers {
                    Some(addresses) => Cluster::given(&args.kafka_script, addresses),
                    None => Cluster::start(&args.kafka_script, &directory.join("kafka"), 1)?,
                });
            }
            shared.as_ref().context("it was just started")?
        };
        let report = run::run(
            args,
            scenario,
            seed,
            cluster,
            &directory.join(scenario.name()),
        )
        .with_context(|| {
            format!(
                "scenario {}, seed {seed}, logs in {}",
                scenario.name(),
                directory.display()
            )
        })?;
        report.print();
        reports.push(report);
    }
    drop(shared);

    let clean = reports.iter().all(report::Report::is_clean);
    report::print_sum(&reports);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if clean && !args.keep && args.directory.is_none() {
        std::fs::remove_dir_all(&directory).context("cannot remove the logs")?;
    } else {
        note(&format!("kept: {}", directory.display()));
    }
    Ok(clean)
}

#[expect(
    clippy::print_stderr,
    reason = "progress for the person who waits; reports go to stdout"
)]
fn note(text: &str) {
    eprintln!("{text}");
}
