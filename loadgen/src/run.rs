//! `loadgen run`: clients in rooms, records at a steady pace, and who got what.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::check::ClientCheck;
use crate::client::Client;
use crate::clock::Clock;
use crate::crowd;
use crate::latency::Latencies;
use crate::layout::{Args, Layout};
use crate::metrics::Counters;
use crate::process::{Usage, usage};
use crate::producer::{AckTimes, Pace, PacedProducer, Produced, client_config, create_topic};
use crate::record::RecordWriter;
use crate::report::{ClientOutcome, Measured, Report};
use crate::socket::{Endpoint, Minter};
use crate::temper::{Progress, Stage, State, Surroundings, Temper, Tempered};

/// Runs it all; the report is printed and written. `Ok(false)`: something was lost, repeated, reordered or leaked.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let layout = Layout::of(args)?;
    let clock = Clock::start();
    let seed = args.seed.unwrap_or_else(|| clock.now_ns());
    let run = format!("r{seed:x}");
    let records = u64::from(args.rate) * u64::from(args.seconds);
    let rooms = layout.rooms();
    let bound =
        u32::try_from(records / rooms.len() as u64 + 1).context("too many records for one room")?;
    let acks = Arc::new(AckTimes::new(rooms.len(), bound));

    if let Some(partitions) = args.create_topic {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(create_topic(
            &args.common.brokers,
            &args.topic,
            partitions,
            &[],
        ))?;
    }
    let mut config = client_config(&args.common.brokers);
    config.set("linger.ms", args.linger_ms.to_string());
    let writer = RecordWriter::new(&run, clock.rfc3339(), args.payload_bytes);
    let producer = PacedProducer::connect(
        &config,
        &args.topic,
        rooms,
        Arc::clone(&acks),
        clock,
        writer,
    )?;

    let progress = Arc::new(Progress::default());
    let (stage, stage_seen) = watch::channel(Stage::Connecting);
    let endpoint = Endpoint::parse(&args.common.url, &args.common.path)?;
    let mut shares: Vec<Vec<Seat>> = (0..args.threads).map(|_| Vec::new()).collect();
    for seat in seats(args, &layout, clock, seed, &run, bound)? {
        shares[seat.index % args.threads].push(seat);
    }
    let mut threads = Vec::new();
    for share in shares {
        let (endpoint, acks, progress) =
            (endpoint.clone(), Arc::clone(&acks), Arc::clone(&progress));
        let (stage, rate) = (stage_seen.clone(), args.connect_rate);
        let hold = move || {
            let surroundings = Surroundings {
                clock,
                acks,
                progress,
                stage,
                latencies: RefCell::new(Latencies::new()),
            };
            hold(share, rate, &endpoint, surroundings)
        };
        threads.push(
            std::thread::Builder::new()
                .name("clients".to_owned())
                .spawn(hold)?,
        );
    }

    wait_until_ready(args, &progress, &threads)?;
    std::thread::sleep(args.settle);
    let before = ServerSample::take(args)?;
    let begin_ns = clock.now_ns();
    let stall_ns =
        |after: Duration| begin_ns + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX / 2);
    let stall = if args.stall_clients == 0 {
        (u64::MAX, u64::MAX)
    } else {
        (
            stall_ns(args.stall_after),
            stall_ns(args.stall_after + args.stall_for),
        )
    };
    stage.send_replace(Stage::Running {
        since: Instant::now(),
        stall,
    });
    let pace = Pace {
        rate: args.rate,
        records,
    };
    let produced = produce_and_watch(args, producer, pace, &progress)?;
    let drained = wait_for_the_rest(args, &layout, &produced, &progress);
    let after = ServerSample::take(args)?;
    stage.send_replace(Stage::Stop);

    let mut latencies = Latencies::new();
    let mut outcomes = Vec::new();
    for thread in threads {
        let (clients, part) = thread
            .join()
            .map_err(|_| anyhow!("a client thread panicked"))??;
        latencies.merge(&part);
        outcomes.extend(clients.into_iter().map(|(index, temper, state)| {
            let State { check, story, .. } = state;
            ClientOutcome {
                index,
                temper,
                story,
                verdict: check.verdict(&produced.ledgers),
            }
        }));
    }
    let measured = Measured {
        before,
        after,
        drained,
    };
    let report = Report::new(&run, args, &produced, outcomes, &latencies, &measured);
    report.print();
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.is_clean())
}

/// What a client is made of, on the thread that holds it.
struct Seat {
    index: usize,
    temper: Temper,
    token: String,
    rooms: Vec<String>,
    check: ClientCheck,
}

/// In the order in which they connect; the first are the ones that are cut, the next the ones that stall.
fn seats(
    args: &Args,
    layout: &Layout,
    clock: Clock,
    seed: u64,
    run: &str,
    bound: u32,
) -> Result<Vec<Seat>> {
    let expires = clock.unix_seconds() + u64::from(args.seconds) + 3_600;
    let minter = Minter::new(&args.common.secret, expires)?;
    let mut random = SmallRng::seed_from_u64(seed);
    let first_room = random.random_range(0..args.channels);
    (0..args.clients)
        .map(|index| {
            let (temper, count) = if index < args.cut_clients {
                // Spread over the interval: a storm of reconnects is another experiment.
                let share = u32::try_from(index).unwrap_or(0) + 1;
                let first = args.cut_every * share / u32::try_from(args.cut_clients).unwrap_or(1);
                (
                    Temper::Cut {
                        first,
                        every: args.cut_every,
                    },
                    args.cut_rooms,
                )
            } else if index < args.cut_clients + args.stall_clients {
                let (after, lasts) = (args.stall_after, args.stall_for);
                (
                    Temper::Stalled {
                        after,
                        lasts,
                        receive_buffer: args.stall_receive_buffer,
                    },
                    args.stall_rooms,
                )
            } else {
                (Temper::Steady, 1)
            };
            let rooms = layout.some_rooms((first_room + index) % args.channels, count);
            let organisation = Layout::organisation(rooms[0].0 % layout.organisations);
            let token = minter.dispatcher(&format!("lg-user-{index}"), &organisation)?;
            let names = rooms
                .iter()
                .map(|(_, channel)| format!("channel:{channel}"))
                .collect();
            Ok(Seat {
                index,
                temper,
                token,
                rooms: names,
                check: ClientCheck::new(&organisation, run, &rooms, bound),
            })
        })
        .collect()
}

type Share = Result<(Vec<(usize, Temper, State)>, Latencies)>;

/// One thread of clients, until the run stops.
fn hold(
    seats: Vec<Seat>,
    connect_rate: u32,
    endpoint: &Endpoint,
    surroundings: Surroundings,
) -> Share {
    let around = Rc::new(surroundings);
    let seated = seats.into_iter().map(|seat| {
        let part = Tempered::new(seat.temper, seat.check, Rc::clone(&around));
        Client::new(seat.index, seat.token, seat.rooms, part)
    });
    let mut stage = around.stage.clone();
    let stop = async {
        // An error means that the run is gone: then it is time to stop as well.
        let _stopped = stage.wait_for(|stage| *stage == Stage::Stop).await;
    };
    let clients = crowd::hold(seated.collect(), endpoint, connect_rate, stop)?;
    let clients = clients.into_iter().map(|Client { index, part, .. }| {
        let Tempered { temper, state, .. } = part;
        (index, temper, state.into_inner())
    });
    let clients = clients.collect();
    Ok((clients, around.latencies.replace(Latencies::new())))
}

fn wait_until_ready(args: &Args, progress: &Progress, threads: &[JoinHandle<Share>]) -> Result<()> {
    let allowed = Duration::from_secs(1) * u32::try_from(args.clients)? / args.connect_rate
        + args.connect_timeout;
    let start = Instant::now();
    loop {
        let (ready, refused) = (read(&progress.ready), read(&progress.refused));
        if ready == args.clients as u64 {
            note(&format!(
                "{ready} clients connected and subscribed in {:.1} s",
                start.elapsed().as_secs_f64()
            ));
            return Ok(());
        }
        if refused > 0 {
            bail!("{refused} clients were refused for good: is the secret the server's?");
        }
        if start.elapsed() > allowed {
            bail!(
                "only {ready} of {} clients were connected and subscribed after {allowed:?}",
                args.clients
            );
        }
        if threads.iter().any(JoinHandle::is_finished) {
            bail!("a client thread has ended");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn produce_and_watch(
    args: &Args,
    producer: PacedProducer,
    pace: Pace,
    progress: &Progress,
) -> Result<Produced> {
    let thread = std::thread::Builder::new()
        .name("producer".to_owned())
        .spawn(move || producer.run(&pace))?;
    let start = Instant::now();
    let mut shown = Duration::ZERO;
    while !thread.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        if start.elapsed() >= shown + Duration::from_secs(10) {
            shown = start.elapsed();
            note(&format!(
                "{:>3} of {} s: {} delivered",
                shown.as_secs(),
                args.seconds,
                read(&progress.received)
            ));
        }
    }
    thread
        .join()
        .map_err(|_| anyhow!("the producer panicked"))?
}

/// Waits until every client has what it should, or too long; then a second more for what should not come.
fn wait_for_the_rest(
    args: &Args,
    layout: &Layout,
    produced: &Produced,
    progress: &Progress,
) -> Duration {
    let start = Instant::now();
    let expected = expected(args, layout, produced);
    while read(&progress.received) < expected && start.elapsed() < args.drain {
        std::thread::sleep(Duration::from_millis(10));
    }
    let drained = start.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    drained
}

/// Deliveries if every client gets each acknowledged record of its rooms, as the layout seats them.
fn expected(args: &Args, layout: &Layout, produced: &Produced) -> u64 {
    // The place of the first client only turns the wheel; the verdict counts by client. Here an upper bound is enough,
    // and it is exact when all rooms have as many records, as round-robin makes them.
    let special = args.cut_clients * usize::from(args.cut_rooms)
        + args.stall_clients * usize::from(args.stall_rooms);
    let seats = args.clients - args.cut_clients - args.stall_clients + special;
    let rooms = (layout.organisations * layout.channels_each) as u64;
    produced.acknowledged * seats as u64 / rooms
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What is read at the begin and the end of the measured time.
#[derive(Debug)]
pub(crate) struct ServerSample {
    pub(crate) server: Option<Usage>,
    pub(crate) own: Usage,
    pub(crate) counters: Option<Counters>,
    pub(crate) at: Instant,
}

impl ServerSample {
    fn take(args: &Args) -> Result<Self> {
        Ok(Self {
            server: args
                .server_pid
                .map(|pid| usage(&pid.to_string()))
                .transpose()?,
            own: usage("self")?,
            counters: args.internal.as_deref().map(Counters::fetch).transpose()?,
            at: Instant::now(),
        })
    }
}

#[expect(
    clippy::print_stderr,
    reason = "progress for the person who waits; the report goes to stdout"
)]
fn note(text: &str) {
    eprintln!("{text}");
}
