//! `loadgen bench`: what a delivery costs Fleetcast, from a Kafka record to the client, beside plain Node and a bare writer.
//! See docs/performance.md for what each row means.

pub(crate) mod bare;
pub(crate) mod cases;
mod catch_up;
mod check;
mod claim;
pub(crate) mod event;
pub(crate) mod figures;
pub(crate) mod frames;
mod member;
mod publisher;
mod rows;
pub(crate) mod server;
pub(crate) mod stage;
mod swarm;
pub(crate) mod tally;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::page;
use crate::process::raise_open_files;
use crate::test_bed::{KafkaArgs, TestBed, write_json};

use cases::{Case, CaseContext};
use figures::{Figures, Results};
use server::{Contestant, SERVER_CORE, ServerKind, Surroundings};
use tally::Faults;

/// Of this process, of its clients' sockets, and, inherited, of each server.
const OPEN_FILES: u64 = 20_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which cases, comma-separated: fan-out, rooms, append, ten-thousand, claim, memory, catch-up, storm [default: all]
    #[arg(long, value_delimiter = ',', value_parser = Case::parse)]
    cases: Vec<Case>,
    /// Rounds, of which the medians are shown; the servers take turns in each
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Of each measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// LABEL=PATH[,NAME=VALUE...]: a Fleetcast and its settings; several times to compare several [default: the one beside
    /// this program]
    #[arg(long = "server", value_name = "LABEL=PATH", value_parser = Contestant::parse)]
    servers: Vec<Contestant>,
    /// Without Node and the bare writer
    #[arg(long)]
    without_peers: bool,
    /// Assert counts and measure no times: what was lost or reordered, and writes per delivery
    #[arg(long)]
    check: bool,
    /// Write every figure of every round as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table between the markers of this page, if all cases were run, with the peers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What Fleetcast promises did not hold: exit code 1. Any other error of a run is exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BrokenPromise(pub(crate) String);

/// `Ok(false)`: something was lost, duplicated or reordered, or a count is wrong. A goal that was missed is only shown.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let begin = Instant::now();
    if !args.check {
        prepare()?;
    }
    let bed = TestBed::start("bench", &args.kafka)?;
    let around = Surroundings::of(&bed);
    let contestants = contestants(args)?;
    let outcome = if args.check {
        check::run(&contestants, &around)
    } else {
        measure(args, &contestants, &around)
    };
    let clean = is_clean(outcome, &bed.logs())?;
    bed.clear(clean)?;
    note(&format!("took {} s", begin.elapsed().as_secs()));
    Ok(clean)
}

/// `Ok(false)`: a promise was broken, which is said here.
fn is_clean(outcome: Result<()>, logs: &str) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.is::<BrokenPromise>() => {
            note(&format!("{error:#}"));
            Ok(false)
        }
        Err(error) => Err(error.context(logs.to_owned())),
    }
}

/// This process, its threads and Kafka stay off the servers' core, and may open enough files.
pub(crate) fn prepare() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(SERVER_CORE + 1);
    sched_setaffinity(None, &cores)
        .context("this needs two cores: the first for the server, the second for the load")?;
    raise_open_files(OPEN_FILES)
}

fn contestants(args: &Args) -> Result<Vec<Contestant>> {
    let own = std::env::current_exe()?;
    let mut all = args.servers.clone();
    let plain = |label: &str, kind, program: PathBuf| Contestant {
        label: label.to_owned(),
        kind,
        program,
        environment: Vec::new(),
        limited: false,
    };
    if all.is_empty() {
        all.push(plain(
            "fleetcast",
            ServerKind::Fleetcast,
            own.with_file_name("fleetcast"),
        ));
    }
    for contestant in &mut all {
        let program = contestant.program.display().to_string();
        contestant.program = contestant
            .program
            .canonicalize()
            .with_context(|| format!("there is no {program}: make build"))?;
    }
    if !args.without_peers && !args.check {
        ensure!(
            Path::new(server::NODE_PEER).join("node_modules").exists(),
            "the Node peer is not installed: (cd loadgen/peers/node && npm ci), or make bench"
        );
        all.push(plain("node", ServerKind::Node, PathBuf::from("node")));
        all.push(plain("bare", ServerKind::Bare, own));
    }
    Ok(all)
}

fn measure(args: &Args, contestants: &[Contestant], around: &Surroundings<'_>) -> Result<()> {
    let cases = if args.cases.is_empty() {
        Case::ALL.to_vec()
    } else {
        args.cases.clone()
    };
    let mut results = Results::default();
    for round in 1..=args.rounds {
        let due = |case: &&Case| round <= case.rounds(args.rounds);
        for case in cases.iter().filter(due) {
            for contestant in contestants.iter().filter(|one| case.has(one.kind)) {
                let context = CaseContext {
                    contestant,
                    around,
                    name: format!("{}-{}-{round}", contestant.label, case.name()),
                    lasts: Duration::from_secs(args.seconds),
                };
                let figures = measure_one(*case, &context)?;
                results.add(&contestant.label, contestant.kind, &figures);
                // After each, so that a run that is cut short leaves what it has.
                if let Some(path) = &args.json {
                    write_json(path, &results.json())?;
                }
            }
        }
    }
    report(args, &results)
}

fn measure_one(case: Case, context: &CaseContext<'_>) -> Result<Figures> {
    let (name, begin) = (&context.name, Instant::now());
    let (figures, faults) = case.run(context).with_context(|| name.clone())?;
    note(&format!("{name}: {} s", begin.elapsed().as_secs()));
    ensure!(
        faults == Faults::default(),
        BrokenPromise(format!("{name}: {faults:?}"))
    );
    Ok(figures)
}

/// With more than this, taken by other processes or machines, the times at least mean nothing. In percent.
const QUIET_PERCENT: f64 = 5.0;

/// When and on what it was measured, `how`, and how quiet the machine was.
///
/// `others`, `stolen`: percent of the servers' core that other processes took, and other machines.
pub(crate) fn heading(how: &str, others: f64, stolen: f64) -> String {
    format!(
        "{} {how}\n\
         Other processes took {others:.1} % of the servers' core, and other machines {stolen:.1} %{}.",
        page::machine(),
        if others.max(stolen) > QUIET_PERCENT {
            ": **the machine was not quiet, measure again**"
        } else {
            ""
        }
    )
}

/// Shows the table, and writes it into the page if it has all cases and the peers.
fn report(args: &Args, results: &Results) -> Result<()> {
    let (tables, missed) = results.tables();
    let text = format!(
        "{}\n\n{tables}",
        heading(
            &format!(
                "Medians of {} rounds, {} s for each measurement.",
                args.rounds, args.seconds
            ),
            results.mean(figures::OTHERS),
            results.mean(figures::STOLEN)
        )
    );
    show(&text);
    note(&format!("{missed} goals were missed"));
    let empty = results.empty_rows();
    if args.cases.is_empty() && !empty.is_empty() {
        note(&format!("rows without a figure: {}", empty.join(", ")));
    }
    if let Some(path) = &args.page {
        if args.cases.is_empty() && !args.without_peers {
            page::write(path, "bench", &text)?;
        } else {
            note(&format!(
                "{} was not written: it has all cases and the peers",
                path.display()
            ));
        }
    }
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "progress for the person who waits; the table goes to stdout"
)]
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_too_makes_a_machine_not_quiet() {
        let quiet = |others, stolen| !heading("", others, stolen).contains("not quiet");
        assert!(quiet(4.0, 4.0));
        assert!(!quiet(6.0, 0.0));
        assert!(!quiet(0.0, 6.0));
    }

    #[test]
    fn a_broken_promise_is_told_from_a_run_that_could_not_be_made() {
        let logs = "logs are in logs";
        let lost = Err(BrokenPromise("lost: 1".to_owned()));
        let lost = lost.context("client 7").context("fleetcast-rooms-1");
        assert_eq!(is_clean(lost, logs).ok(), Some(false));
        let error = is_clean(Err(anyhow::anyhow!("no broker")), logs).expect_err("no promise");
        assert_eq!(format!("{error:#}"), "logs are in logs: no broker");
        assert_eq!(is_clean(Ok(()), logs).ok(), Some(true));
    }
}
