//! `loadgen adapter`: what an event costs that crosses from one instance to another by Redis, beside Node's adapter. Events are
//! published over HTTP at the first of two servers; a client at each of them receives all.

mod contestant;
mod listener;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::bench::{note, show};
use crate::chaos::redis::Redis;
use crate::keep_alive::KeepAlive;
use crate::page;
use crate::test_bed::{KafkaArgs, TestBed, fleetcast, write_json};

use contestant::Contestant;
use listener::Listener;

/// Volatile, so no record of any topic.
const EVENT: &str = "pointer_moved";
const ROOM: &str = "channel:1";
const ORGANISATION: &str = "o1";
/// Nothing has come for so long: nothing will.
const QUIET: Duration = Duration::from_secs(3);
/// Subscriptions by Redis are made soon after the first client of an organisation.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events in each measurement
    #[arg(long, default_value_t = 20_000)]
    events: u32,
    /// Events a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    #[arg(long, default_value_t = 500)]
    payload_bytes: usize,
    /// Rounds, of which the medians are shown; the servers take turns in each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The server under test [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Write every figure as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table between the markers of this page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Microseconds of CPU for each event.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    sender: f64,
    redis: f64,
    receiver: f64,
}

/// Of one kind of server, by round.
#[derive(Debug, Serialize)]
struct Costs {
    name: &'static str,
    joined: Vec<Cost>,
    /// Of the first server without Redis: what HTTP and the client there cost.
    alone: Vec<f64>,
    lost: u64,
}

/// `Ok(false)`: an event did not arrive.
pub(crate) fn run(args: &Args) -> Result<bool> {
    ensure!(args.rounds > 0, "at least one round");
    let program = fleetcast(args.server.as_deref())?;
    let bed = TestBed::start("adapter", &args.kafka)?;
    let contestants = [Contestant::Fleetcast(program), Contestant::Node];
    let mut all: Vec<_> = contestants.iter().map(Costs::of).collect();
    for round in 1..=args.rounds {
        for (contestant, costs) in contestants.iter().zip(&mut all) {
            measure(args, &bed, contestant, round, costs).with_context(|| bed.logs())?;
        }
    }
    let text = format!("{}\n\n{}", page::machine(), table(args, &all));
    show(&text);
    if let Some(path) = &args.json {
        write_json(path, &all)?;
    }
    if let Some(path) = &args.page {
        page::write(path, "adapter", &text)?;
    }
    let clean = all.iter().all(|costs| costs.lost == 0);
    bed.clear(clean)?;
    Ok(clean)
}

fn measure(
    args: &Args,
    bed: &TestBed,
    contestant: &Contestant,
    round: usize,
    costs: &mut Costs,
) -> Result<()> {
    let name = contestant.name();
    let redis = Redis::start(&bed.directory)?;
    let first = contestant.start(bed, Some(&redis), &format!("{name}-{round}-sender"))?;
    let second = contestant.start(bed, Some(&redis), &format!("{name}-{round}-receiver"))?;
    let connect = contestant.connect()?;
    let listeners = [
        Listener::join(first.port, &connect)?,
        Listener::join(second.port, &connect)?,
    ];
    std::thread::sleep(SETTLE);
    let before = (first.cpu()?, redis.cpu()?, second.cpu()?);
    let lost = publish(args, contestant, &first, &listeners)?;
    let after = (first.cpu()?, redis.cpu()?, second.cpu()?);
    let each = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(args.events)
    };
    let cost = Cost {
        sender: each(after.0, before.0),
        redis: each(after.1, before.1),
        receiver: each(after.2, before.2),
    };
    listeners.into_iter().try_for_each(Listener::leave)?;
    drop((first, second, redis));

    let alone = contestant.start(bed, None, &format!("{name}-{round}-alone"))?;
    let listener = Listener::join(alone.port, &connect)?;
    std::thread::sleep(SETTLE);
    let before = alone.cpu()?;
    let listener = [listener];
    let lost = lost + publish(args, contestant, &alone, &listener)?;
    costs.alone.push(each(alone.cpu()?, before));
    listener.into_iter().try_for_each(Listener::leave)?;
    costs.joined.push(cost);
    costs.lost += lost;
    note(&format!("{name}, round {round}: {cost:?}, {lost} lost"));
    Ok(())
}

/// At the rate, one request after the other. Gives how many events did not reach a listener.
fn publish(
    args: &Args,
    contestant: &Contestant,
    first: &contestant::Peer,
    listeners: &[Listener],
) -> Result<u64> {
    let (path, body) = contestant.request(&"x".repeat(args.payload_bytes));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let due = u64::from(args.events) * listeners.len() as u64;
    let received = || listeners.iter().map(Listener::received).sum::<u64>();
    let earlier = received();
    runtime.block_on(async {
        let mut link = KeepAlive::open(first.api()).await?;
        let begin = tokio::time::Instant::now();
        for number in 0..args.events {
            let at = Duration::from_secs(1) * number / args.rate;
            tokio::time::sleep_until(begin + at).await;
            link.ask("POST", path, "application/json", &body).await?;
            let (status, text) = link.answer().await?;
            ensure!(status == 202, "a publication was answered {status} {text}");
        }
        anyhow::Ok(())
    })?;
    let mut last = (received(), Instant::now());
    while received() - earlier < due && last.1.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(20));
        if received() != last.0 {
            last = (received(), Instant::now());
        }
    }
    Ok(due.saturating_sub(received() - earlier))
}

impl Costs {
    fn of(contestant: &Contestant) -> Self {
        Self {
            name: contestant.name(),
            joined: Vec::new(),
            alone: Vec::new(),
            lost: 0,
        }
    }

    fn medians(&self) -> [f64; 5] {
        let of = |figure: fn(&Cost) -> f64| median(self.joined.iter().map(figure).collect());
        let alone = median(self.alone.clone());
        let sender = of(|cost| cost.sender);
        let total = of(|cost| cost.sender + cost.redis + cost.receiver);
        [
            sender,
            sender - alone,
            of(|cost| cost.redis),
            of(|cost| cost.receiver),
            total,
        ]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(args: &Args, all: &[Costs]) -> String {
    const FIGURES: [&str; 5] = [
        "the instance that publishes",
        "of that by its adapter",
        "Redis",
        "the other instance",
        "all together",
    ];
    let mut text = format!(
        "{} events of {} bytes, {} a second; medians of {} rounds, microseconds of CPU for each event.\n\n",
        args.events, args.payload_bytes, args.rate, args.rounds
    );
    text += "| | Fleetcast | Node | Fleetcast / Node |\n|---|---|---|---|\n";
    let (own, node) = (all[0].medians(), all[1].medians());
    for ((figure, own), node) in FIGURES.iter().zip(own).zip(node) {
        writeln!(
            text,
            "| {figure} | {own:.1} | {node:.1} | {:.2} |",
            own / node
        )
        .expect("writing to a String does not fail");
    }
    let lost = all.iter().map(|costs| costs.lost.to_string());
    let lost: Vec<String> = lost.collect();
    text + &format!("| events that did not arrive | {} |\n", lost.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_adapter_costs_is_the_difference_to_a_server_without_it() {
        let cost = |sender| Cost {
            sender,
            redis: 3.0,
            receiver: 5.0,
        };
        let costs = Costs {
            name: "node",
            joined: vec![cost(30.0), cost(10.0), cost(20.0)],
            alone: vec![12.0, 14.0, 13.0],
            lost: 0,
        };
        let expected = [20.0, 7.0, 3.0, 5.0, 28.0];
        for (found, expected) in costs.medians().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}
