//! `loadgen chaos`: servers behind haproxy, real Kafka, clients that resume, and a nemesis. Everything is recorded, and
//! a checker says afterwards whether the promises held. See loadgen/README.md.

mod check;
#[cfg(test)]
mod check_tests;
pub(crate) mod cluster;
mod crowd;
pub(crate) mod fleet;
mod habit;
mod history;
mod late;
mod ledger;
pub(crate) mod leftovers;
mod namespace;
mod nemesis;
mod newest;
mod part;
mod producer;
mod proxy;
mod record;
mod recovery;
pub(crate) mod redis;
mod redis_outages;
mod report;
mod resyncs;
mod run;
mod scenario;
mod seating;
mod seeded_bugs;
mod stretch;
mod topics;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::clock::Clock;

use cluster::Cluster;
use report::Report;
use scenario::{Form, Scenario};
use seeded_bugs::{SEEDED_BUGS, SeededBug};

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
    /// [default: 500, or more where buffers are to be filled]
    #[arg(long)]
    payload_bytes: Option<usize>,
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
    /// Scenarios side by side, each with servers and clients of its own
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Seed bugs into the servers, one after the other, and see whether each is found
    #[arg(long)]
    seeded_bugs: bool,
    /// The server's binary that bugs can be seeded into [default: beside this one]
    #[arg(long, value_name = "FILE")]
    with_bugs: Option<PathBuf>,
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
    /// The servers share a Redis too, which is killed every 20 s and comes back empty
    #[arg(long)]
    redis: bool,
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

/// `Ok(false)`: a promise was broken, or a seeded bug was not found.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let jobs: Vec<Job> = if args.seeded_bugs {
        let wanted = |seeded: &&SeededBug| {
            args.scenario.is_empty() || args.scenario.contains(&seeded.scenario)
        };
        let seeded_bugs = SEEDED_BUGS.iter().filter(wanted);
        seeded_bugs.map(|seeded| Job::SeededBug(*seeded)).collect()
    } else if args.scenario.is_empty() {
        Scenario::ALL.into_iter().map(Job::Scenario).collect()
    } else {
        args.scenario.iter().copied().map(Job::Scenario).collect()
    };
    let seed = args
        .seed
        .unwrap_or_else(|| Clock::start().now_ns() / 1_000_000);
    let directory = args
        .directory
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("fleetcast-chaos-{seed}")));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    // haproxy and the brokers are given paths below it.
    let directory = directory.canonicalize()?;

    leftovers::watch()?;
    let reports = run_jobs(args, &jobs, seed, &directory)
        .with_context(|| format!("seed {seed}, logs in {}", directory.display()))?;
    let well = if args.seeded_bugs {
        let mut well = true;
        for (job, report) in jobs.iter().zip(&reports) {
            if let Job::SeededBug(seeded) = job {
                well &= seeded.result(report).0;
            }
        }
        well
    } else {
        report::print_sum(&reports);
        reports.iter().all(Report::is_clean)
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if well && !args.keep && args.directory.is_none() {
        std::fs::remove_dir_all(&directory).context("cannot remove the logs")?;
    } else {
        note(&format!("kept: {}", directory.display()));
    }
    Ok(well)
}

/// Something to run with a fleet of its own.
#[derive(Debug, Clone, Copy)]
enum Job {
    Scenario(Scenario),
    SeededBug(SeededBug),
}

impl Job {
    fn scenario(&self) -> Scenario {
        match self {
            Self::Scenario(scenario) => *scenario,
            Self::SeededBug(seeded) => seeded.scenario,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Scenario(scenario) => scenario.name().to_owned(),
            Self::SeededBug(seeded) => seeded.name(),
        }
    }
}

/// So many side by side as was asked for. Reports come in the order of the jobs; the first error ends it all.
fn run_jobs(args: &Args, jobs: &[Job], seed: u64, directory: &Path) -> Result<Vec<Report>> {
    let shared = if jobs.iter().all(|job| job.scenario().breaks_kafka()) {
        None
    } else {
        Some(match &args.brokers {
            Some(addresses) => Cluster::given(&args.kafka_script, addresses),
            // Beside the scenarios, one of which is called kafka.
            None => Cluster::start(&args.kafka_script, &directory.join("brokers"), 1)?,
        })
    };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Report>)>> = Mutex::default();
    let work = || {
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            let report = run_job(args, job, seed, shared.as_ref(), directory);
            if report.is_err() {
                // No use in going on.
                next.store(jobs.len(), Ordering::Relaxed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, report));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, jobs.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

fn run_job(
    args: &Args,
    job: &Job,
    seed: u64,
    shared: Option<&Cluster>,
    directory: &Path,
) -> Result<Report> {
    let (scenario, name) = (job.scenario(), job.name());
    let directory = directory.join(&name);
    std::fs::create_dir_all(&directory)?;
    let own;
    let cluster = match shared {
        Some(shared) if !scenario.breaks_kafka() => shared,
        _ => {
            let kafka = directory.join("kafka");
            own = Cluster::start(&args.kafka_script, &kafka, scenario.brokers())?;
            &own
        }
    };
    let report = run::run(args, job, &name, seed, cluster, &directory)
        .with_context(|| format!("scenario {name}"))?;
    std::fs::write(directory.join("report.txt"), report.text() + "\n")?;
    match job {
        Job::Scenario(_) => report::show(&report.text()),
        Job::SeededBug(seeded) => report::show(&seeded.result(&report).1),
    }
    Ok(report)
}

#[expect(
    clippy::print_stderr,
    reason = "progress for the person who waits; reports go to stdout"
)]
fn note(text: &str) {
    eprintln!("{text}");
}
