//! `loadgen control`: the figures and counts of live authorisation, publishing over HTTP and limits of memory. Each case starts its own
//! servers on one Kafka. See docs/performance.md for what each case does.

mod api;
mod audience;
mod group;
mod memory;
mod outcome;
mod publish;
mod publishers;
mod records;
mod refresh;
mod revoke;
mod server;
mod watched;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bench::{BrokenPromise, note, show};
use crate::clock::Clock;
use crate::page;
use crate::process::raise_open_files;
use crate::socket::Endpoint;
use crate::test_bed::{KafkaArgs, TestBed, fleetcast, write_json};

use audience::{Audience, SeatPlan};
use group::MemoryGroup;
use outcome::Outcome;
use server::{ControlServer, Topics};

/// Of this process, of its clients' sockets, and, inherited, of each server.
const OPEN_FILES: u64 = 12_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which cases, comma-separated: revoke, revoke-redis, refresh, publish, publish-kill, memory [default: all]
    #[arg(long = "case", value_delimiter = ',', value_parser = ControlCase::parse)]
    cases: Vec<ControlCase>,
    /// Fewer clients and a few seconds for each case: what is counted is checked, and the times mean little
    #[arg(long)]
    short: bool,
    /// In place of each case's own length (revoke takes what its users need)
    #[arg(long)]
    seconds: Option<u64>,
    /// The server under test [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Write every figure as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table between the markers of this page, if all cases were run in their long form
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    kafka: KafkaArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlCase {
    Revoke,
    RevokeRedis,
    Refresh,
    Publish,
    PublishKill,
    Memory,
}

impl ControlCase {
    const ALL: [Self; 6] = [
        Self::Revoke,
        Self::RevokeRedis,
        Self::Refresh,
        Self::Publish,
        Self::PublishKill,
        Self::Memory,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::RevokeRedis => "revoke-redis",
            Self::Refresh => "refresh",
            Self::Publish => "publish",
            Self::PublishKill => "publish-kill",
            Self::Memory => "memory",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|case| case.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is no case: {names}")
        })
    }

    fn run(self, run: &ControlRun<'_>) -> Result<Outcome> {
        match self {
            Self::Revoke => revoke::run(run),
            Self::RevokeRedis => revoke::run_with_redis(run),
            Self::Refresh => refresh::run(run),
            Self::Publish => publish::run(run),
            Self::PublishKill => publish::run_with_kill(run),
            Self::Memory => memory::run(run),
        }
    }
}

/// What all cases of a run share.
struct ControlRun<'a> {
    bed: &'a TestBed,
    program: &'a Path,
    clock: Clock,
    short: bool,
    seconds: Option<u64>,
}

impl ControlRun<'_> {
    fn pick<T>(&self, long: T, short: T) -> T {
        if self.short { short } else { long }
    }

    fn seconds(&self, long: u64, short: u64) -> u64 {
        self.seconds.unwrap_or(self.pick(long, short))
    }

    fn topics(&self, case: &str) -> Result<Topics<'_>> {
        Topics::create(&self.bed.cluster, format!("{}-{case}.", self.bed.run))
    }

    fn server(
        &self,
        name: &str,
        topics: &Topics<'_>,
        environment: &[(&str, &str)],
        group: Option<MemoryGroup>,
    ) -> Result<ControlServer> {
        let log = self.bed.directory.join(format!("{name}.log"));
        ControlServer::start(self.program, log, topics, environment, group)
    }

    fn audience(&self, lists: Vec<(Endpoint, Vec<SeatPlan>)>, bound: u32) -> Result<Audience> {
        Audience::gather(lists, &self.bed.run, self.clock, bound)
    }
}

/// `Ok(false)`: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let begin = Instant::now();
    raise_open_files(OPEN_FILES)?;
    let program = fleetcast(args.server.as_deref())?;
    let bed = TestBed::start("control", &args.kafka)?;
    let run = ControlRun {
        bed: &bed,
        program: &program,
        clock: Clock::start(),
        short: args.short,
        seconds: args.seconds,
    };
    let outcomes = run_cases(args, &run).with_context(|| bed.logs())?;
    report(args, &outcomes)?;
    let clean = outcomes.iter().all(Outcome::is_clean);
    bed.clear(clean)?;
    note(&format!("took {} s", begin.elapsed().as_secs()));
    Ok(clean)
}

fn run_cases(args: &Args, run: &ControlRun<'_>) -> Result<Vec<Outcome>> {
    let cases = if args.cases.is_empty() {
        &ControlCase::ALL
    } else {
        args.cases.as_slice()
    };
    let mut outcomes = Vec::new();
    for case in cases {
        let begin = Instant::now();
        let outcome = match case.run(run) {
            // It was seen before the case could be judged.
            Err(error) if error.is::<BrokenPromise>() => {
                let mut outcome = Outcome::new(case.name());
                outcome.broken(format!("{error:#}"));
                outcome
            }
            result => result.with_context(|| case.name())?,
        };
        let verdict = if outcome.is_clean() {
            "as promised"
        } else {
            "BROKEN"
        };
        note(&format!(
            "{}: {verdict}, {} s",
            case.name(),
            begin.elapsed().as_secs()
        ));
        outcomes.push(outcome);
        // After each, so that a run that is cut short leaves what it has.
        if let Some(path) = &args.json {
            let all: Vec<_> = outcomes.iter().map(Outcome::json).collect();
            write_json(path, &all)?;
        }
    }
    Ok(outcomes)
}

/// Shows the table, and writes it into the page if it has all cases in their long form.
fn report(args: &Args, outcomes: &[Outcome]) -> Result<()> {
    let text = format!("{}\n\n{}", page::machine(), outcome::table(outcomes));
    show(&text);
    for complaint in outcomes.iter().flat_map(Outcome::complaints) {
        note(&complaint);
    }
    let Some(path) = &args.page else {
        return Ok(());
    };
    if args.cases.is_empty() && !args.short && args.seconds.is_none() {
        return page::write(path, "control", &text);
    }
    note(&format!(
        "{} was not written: it has all cases in their long form",
        path.display()
    ));
    Ok(())
}
