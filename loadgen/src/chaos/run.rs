//! One scenario from the first server's start to the verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::latency::Latencies;
use crate::socket::Endpoint;

use super::check::judge;
use super::cluster::Cluster;
use super::crowd::{Crowd, Share};
use super::fleet::{Fleet, Recipe};
use super::history::ClientHistory;
use super::nemesis::{Stalls, World};
use super::part::{Orders, Shared};
use super::producer::{Book, ChaosProducer, Settings};
use super::recovery::Fault;
use super::redis::{Redis, RedisKiller};
use super::report::{Report, Setup};
use super::scenario::{Form, Scenario};
use super::seating::Seating;
use super::seeded_bugs::SeededBug;
use super::topics::{CHANNEL_PARTITIONS, ORGANISATION_PARTITIONS, POSITION_PARTITIONS};
use super::verdict::Rules;
use super::{Args, Job, note};

/// The first records wait for the producer's Kafka client to find its way.
const SETTLE: Duration = Duration::from_secs(2);
/// Records after the last fault, so that everybody is seen to receive again.
const COOL_DOWN: Duration = Duration::from_secs(6);
/// What is still owed must come within this time.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(90);
/// Nothing will come after so long a silence, whatever the servers say: those who stall for good keep a server behind.
const LONG_QUIET: Duration = Duration::from_secs(20);
const BURST_CLIENTS: usize = 50;
/// In the long form such a client is owed 65 records of 500 bytes a second, so more than a MiB within 40 s.
const SLOW_CHANNELS: u16 = 12;

pub(super) fn run(
    args: &Args,
    job: &Job,
    name: &str,
    seed: u64,
    cluster: &Cluster,
    directory: &Path,
) -> Result<Report> {
    let (scenario, form) = (job.scenario(), args.form);
    let note = |text: &str| note(&format!("{name}: {text}"));
    let clock = Clock::start();
    let run = format!("{name}-{seed:x}-{:x}", clock.unix_seconds());
    let prefix = format!("chaos-{run}-");
    let clients = args.clients.unwrap_or_else(|| scenario.clients(form));
    let seconds = args.seconds.unwrap_or_else(|| scenario.seconds(form));
    let payload_bytes = args
        .payload_bytes
        .unwrap_or_else(|| scenario.payload_bytes(form));
    let setup = Setup {
        scenario: name.to_owned(),
        about: scenario.about(),
        form,
        seed,
        clients,
        rate: args.rate.unwrap_or(form.pick(250, 1000)),
        seconds,
        instances: args.instances,
    };
    note(setup.about);
    let channels = args
        .channels
        .unwrap_or_else(|| u16::try_from(clients / 10).unwrap_or(200));
    let position_percent = scenario.position_percent(form);
    let seating = Arc::new(Seating {
        organisations: 2,
        channels: channels.max(4) / 2 * 2,
        clients,
        burst_clients: if scenario.burst() { BURST_CLIENTS } else { 0 },
        slow_channels: SLOW_CHANNELS.min(channels / 4),
        positions: position_percent > 0,
    });

    let channel_topic = format!("{prefix}transmission");
    let organisation_topic = format!("{prefix}task");
    cluster.create_topic(&channel_topic, CHANNEL_PARTITIONS)?;
    cluster.create_topic(&organisation_topic, ORGANISATION_PARTITIONS)?;
    let book = Book::new(clock);
    book.open_channel_lanes(&channel_topic, 0..CHANNEL_PARTITIONS);
    book.open_organisation_lanes(&organisation_topic, 0..ORGANISATION_PARTITIONS);
    if seating.positions {
        let topic = format!("{prefix}asset");
        cluster.create_topic(&topic, POSITION_PARTITIONS)?;
        book.open_position_lanes(&topic, 0..POSITION_PARTITIONS);
    }
    let producer = ChaosProducer::connect(
        Settings {
            brokers: cluster.addresses.clone(),
            run: run.clone(),
            seed,
            rate: setup.rate,
            organisation_percent: args.organisation_percent,
            position_percent,
            noise: scenario.noise(),
            payload_bytes,
        },
        Arc::clone(&book),
        Arc::clone(&seating),
    )?;

    // An entry of the window costs 550 bytes beside its value, about.
    let bytes_per_second = u64::from(setup.rate) * (payload_bytes as u64 + 550);
    let settings = scenario.settings(form, bytes_per_second);
    let redis = redis(args, scenario, directory)?;
    let mut recipe = recipe(args, job, settings, cluster, &prefix, directory)?;
    if let Some(redis) = &redis {
        let shared = [
            ("REDIS_URL", redis.url()),
            // A limit that is never reached: each connection is counted across the servers.
            ("MAX_CONNECTIONS_PER_USER", "100000".to_owned()),
        ];
        let shared = shared.map(|(name, value)| (name.to_owned(), value));
        recipe.environment.extend(shared);
    }
    let secret = recipe.secret.clone();
    let mut fleet = Fleet::start(recipe, args.instances)?;
    let endpoint = Endpoint::parse(
        &format!("http://127.0.0.1:{}", fleet.proxy_port),
        "/socket.io/",
    )?;
    let shared = Arc::new(Shared::default());
    let (orders, seen) = watch::channel(Orders {
        since: None,
        storms: 0,
        calm: false,
        stop: false,
    });
    let crowd = Crowd {
        args,
        scenario,
        seed,
        seconds,
        run: run.clone(),
        secret,
        clock,
        seating: Arc::clone(&seating),
        shared: Arc::clone(&shared),
        orders: seen,
        endpoint,
    };
    let threads = crowd.start()?;
    let took = wait_until_ready(args, clients, &shared, &threads)?;
    note(&format!(
        "{clients} clients connected and subscribed in {:.1} s",
        took.as_secs_f64()
    ));

    let producing = std::thread::Builder::new()
        .name("producer".to_owned())
        .spawn(move || producer.run())?;
    let begin = Instant::now();
    std::thread::sleep(SETTLE);
    shared.measuring.store(true, Ordering::Relaxed);
    std::thread::sleep(scenario.warm_up(form));
    fleet.weigh();
    orders.send_modify(|orders| orders.since = Some(tokio::time::Instant::now()));
    let (redis, killer) = match redis {
        Some(redis) if !scenario.breaks_redis() => (None, Some(RedisKiller::start(redis)?)),
        redis => (redis, None),
    };
    let mut world = World {
        fleet: &mut fleet,
        cluster,
        redis,
        book: Arc::clone(&book),
        seating: Arc::clone(&seating),
        orders: &orders,
        shared: &shared,
        clock,
        name: name.to_owned(),
        random: SmallRng::seed_from_u64(seed),
        form,
        until: begin + Duration::from_secs(seconds).saturating_sub(COOL_DOWN),
        prefix,
        run,
        drain: scenario.drain(form),
        faults: Vec::new(),
        permits: Vec::new(),
        stalls: Stalls::expected(scenario, form, seconds, clients),
        complaints: Vec::new(),
    };
    world.run(scenario)?;
    let World {
        faults,
        permits,
        stalls,
        mut complaints,
        redis: _redis,
        ..
    } = world;
    orders.send_modify(|orders| orders.calm = true);
    std::thread::sleep(COOL_DOWN);
    book.stop();
    producing
        .join()
        .map_err(|_| anyhow!("the producer panicked"))??;
    let gone = stalls.for_good;
    let drained = drain(clients - gone, scenario.quiet(form), &shared, &fleet);
    fleet.weigh();
    orders.send_modify(|orders| orders.stop = true);

    let mut latencies = Latencies::new();
    let mut histories = Vec::new();
    for thread in threads {
        let (some, part) = thread
            .join()
            .map_err(|_| anyhow!("a client thread panicked"))??;
        histories.extend(some);
        latencies.merge(&part);
    }
    histories.sort_by_key(|(index, _)| *index);
    let histories: Vec<ClientHistory> = histories.into_iter().map(|(_, history)| history).collect();
    let instances = fleet.instances.iter();
    let memory = instances.map(|instance| instance.memory).collect();
    let allowed = scenario.drain(form) + Duration::from_secs(5);
    complaints.extend(fleet.stop(allowed)?);
    if let Some(killer) = killer {
        note(&format!("Redis was killed {} times", killer.stop()?));
    }

    let ledger = book.ledger().clone();
    let rules = Rules {
        window_ns: u64::try_from(scenario.window(form).as_nanos())?,
        permits,
    };
    let verdict = judge(&ledger, &histories, &faults, &rules);
    keep(directory, &faults, &histories, &verdict.clients)?;
    Ok(Report::new(
        setup, scenario, &ledger, verdict, &latencies, drained, memory, complaints, stalls,
    ))
}

/// Writes the history down, as far as it bears on what was found: a JSON object in each line.
fn keep(
    directory: &Path,
    faults: &[Fault],
    histories: &[ClientHistory],
    clients: &[usize],
) -> Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Line<'a> {
        Fault(&'a Fault),
        Client(usize, &'a ClientHistory),
    }
    let faults = faults.iter().map(Line::Fault);
    let clients = clients
        .iter()
        .map(|index| Line::Client(*index, &histories[*index]));
    let mut text = String::new();
    for line in faults.chain(clients) {
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    std::fs::write(directory.join("history.jsonl"), text).context("cannot keep the history")
}

fn recipe(
    args: &Args,
    job: &Job,
    settings: Vec<(&'static str, String)>,
    cluster: &Cluster,
    prefix: &str,
    directory: &Path,
) -> Result<Recipe> {
    let (given, beside) = match job {
        Job::Scenario(_) => (&args.fleetcast, "fleetcast"),
        Job::SeededBug(_) => (&args.with_bugs, "fleetcast-with-bugs"),
    };
    let binary = match given {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name(beside),
    };
    let mut environment: Vec<(String, String)> = [
        ("KAFKA_BOOTSTRAP_SERVERS", cluster.addresses.clone()),
        ("KAFKA_TOPIC_PREFIX", prefix.to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ]
    .into_iter()
    .chain(settings)
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Job::SeededBug(SeededBug { bug: Some(bug), .. }) = job {
        environment.push(("SEEDED_BUG".to_owned(), (*bug).to_owned()));
    }
    for pair in &args.server_env {
        let (name, value) = pair
            .split_once('=')
            .with_context(|| format!("{pair:?} is not NAME=VALUE"))?;
        environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(Recipe {
        binary: PathBuf::from(&binary)
            .canonicalize()
            .with_context(|| format!("there is no {}", binary.display()))?,
        directory: directory.to_owned(),
        secret: format!("{:032x}", rand::random::<u128>()),
        environment,
        buffers: job.scenario().proxy_buffers(),
    })
}

/// The one that the servers share, if they have any.
fn redis(args: &Args, scenario: Scenario, directory: &Path) -> Result<Option<Redis>> {
    if scenario.breaks_redis() && args.form == Form::Long {
        match Redis::start_apart(directory) {
            Ok(redis) => return Ok(Some(redis)),
            Err(error) => note(&format!("Redis has no network of its own: {error:#}")),
        }
    }
    let wanted = args.redis || scenario.breaks_redis();
    wanted.then(|| Redis::start(directory)).transpose()
}

fn wait_until_ready(
    args: &Args,
    clients: usize,
    shared: &Shared,
    threads: &[JoinHandle<Share>],
) -> Result<Duration> {
    let allowed = Duration::from_secs(30)
        + Duration::from_secs(1) * u32::try_from(clients)? / args.connect_rate;
    let start = Instant::now();
    loop {
        let ready = read(&shared.ready);
        if ready == clients as u64 {
            return Ok(start.elapsed());
        }
        if start.elapsed() > allowed || threads.iter().any(JoinHandle::is_finished) {
            bail!(
                "only {ready} of {clients} clients were connected and subscribed after {:?}, {} refused",
                start.elapsed(),
                read(&shared.refused)
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until everybody is back and nothing comes any more, or too long. Silence of a server that still has something to
/// read or to give is that of a busy machine.
fn drain(expected: usize, quiet: Duration, shared: &Shared, fleet: &Fleet) -> Duration {
    let behind = || {
        let lagging = fleet.metric("fleetcast_lagging_connections");
        lagging > 0.0 || fleet.metric("fleetcast_kafka_lag") > 0.0
    };
    let start = Instant::now();
    let mut last = (read(&shared.received), start);
    while start.elapsed() < DRAIN_TIMEOUT {
        std::thread::sleep(Duration::from_millis(50));
        let received = read(&shared.received);
        if received != last.0 {
            last = (received, Instant::now());
        }
        let silence = last.1.elapsed();
        if silence >= quiet
            && read(&shared.connected) >= expected as u64
            && (silence >= LONG_QUIET || !behind())
        {
            break;
        }
    }
    last.1 - start
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
