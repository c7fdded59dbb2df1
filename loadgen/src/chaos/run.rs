//! One scenario from the first server's start to the verdict.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::client::Client;
use crate::clock::Clock;
use crate::crowd;
use crate::latency::Latencies;
use crate::socket::{Endpoint, Minter};

use super::check::{Rules, judge};
use super::cluster::Cluster;
use super::fleet::{Fleet, Recipe};
use super::history::ClientHistory;
use super::nemesis::World;
use super::part::{Around, Habit, Orders, Seated, Shared};
use super::producer::{Book, ChaosProducer, Settings};
use super::report::{Report, Setup};
use super::scenario::{Form, Scenario};
use super::seating::Seating;
use super::teeth::Tooth;
use super::topics::{CHANNEL_PARTITIONS, ORGANISATION_PARTITIONS};
use super::{Args, Job, note};

/// Records before the first fault, so that there is something to compare with.
const WARM_UP: Duration = Duration::from_secs(4);
/// Records after the last fault, so that everybody is seen to receive again.
const COOL_DOWN: Duration = Duration::from_secs(6);
/// What is still owed must come within this time.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(90);
const QUIET: Duration = Duration::from_secs(3);
const BURST_CLIENTS: usize = 50;

type Share = Result<(Vec<(usize, ClientHistory)>, Latencies)>;

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
    let seating = Arc::new(Seating {
        organisations: 2,
        channels: channels.max(4) / 2 * 2,
        clients,
        burst_clients: if scenario.burst() { BURST_CLIENTS } else { 0 },
        slow_channels: 12.min(channels / 4),
    });

    let channel_topic = format!("{prefix}transmission");
    let organisation_topic = format!("{prefix}task");
    cluster.create_topic(&channel_topic, CHANNEL_PARTITIONS)?;
    cluster.create_topic(&organisation_topic, ORGANISATION_PARTITIONS)?;
    let book = Book::new(clock);
    book.open_channel_lanes(&channel_topic, 0..CHANNEL_PARTITIONS);
    book.open_organisation_lanes(&organisation_topic, 0..ORGANISATION_PARTITIONS);
    let producer = ChaosProducer::connect(
        Settings {
            brokers: cluster.addresses.clone(),
            run: run.clone(),
            seed,
            rate: setup.rate,
            organisation_percent: args.organisation_percent,
            payload_bytes,
        },
        Arc::clone(&book),
        Arc::clone(&seating),
    )?;

    // What an entry of the window costs beside its value, about.
    let record_bytes = u64::from(setup.rate) * (payload_bytes as u64 + 550);
    let settings = scenario.settings(form, record_bytes);
    let recipe = recipe(args, job, settings, cluster, &prefix, directory)?;
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
    std::thread::sleep(WARM_UP);
    fleet.weigh();
    orders.send_modify(|orders| orders.since = Some(tokio::time::Instant::now()));
    let mut world = World {
        fleet: &mut fleet,
        cluster,
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
        complaints: Vec::new(),
    };
    world.run(scenario)?;
    let World {
        faults,
        permits,
        mut complaints,
        ..
    } = world;
    orders.send_modify(|orders| orders.calm = true);
    std::thread::sleep(COOL_DOWN);
    book.stop();
    producing
        .join()
        .map_err(|_| anyhow!("the producer panicked"))??;
    let gone = gone(scenario, form, seconds, clients);
    let drained = drain(clients - gone, &shared);
    fleet.weigh();
    let write_stalls = fleet.counter("fleetcast_disconnects_total{reason=\"write_stall\"}");
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
    let rss = fleet
        .instances
        .iter()
        .map(|instance| instance.rss_kib)
        .collect();
    let allowed = scenario.drain(form) + Duration::from_secs(5);
    complaints.extend(fleet.stop(allowed)?);

    let ledger = book.ledger().clone();
    let rules = Rules {
        window_ns: u64::try_from(scenario.window(form).as_nanos())?,
        permits,
    };
    let verdict = judge(&ledger, &histories, &faults, &rules);
    Ok(Report::new(
        setup,
        scenario,
        &ledger,
        verdict,
        &latencies,
        drained,
        rss,
        complaints,
        write_stalls,
        gone,
    ))
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
        Job::Tooth(_) => (&args.with_bugs, "fleetcast-with-bugs"),
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
    if let Job::Tooth(Tooth { bug: Some(bug), .. }) = job {
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
    })
}

struct Crowd<'a> {
    args: &'a Args,
    scenario: Scenario,
    seed: u64,
    seconds: u64,
    run: String,
    secret: String,
    clock: Clock,
    seating: Arc<Seating>,
    shared: Arc<Shared>,
    orders: watch::Receiver<Orders>,
    endpoint: Endpoint,
}

impl Crowd<'_> {
    fn start(self) -> Result<Vec<JoinHandle<Share>>> {
        let minter = Minter::new(
            &self.secret,
            self.clock.unix_seconds() + self.seconds + 3_600,
        )?;
        let mut shares: Vec<Vec<(usize, String)>> = vec![Vec::new(); self.args.threads];
        for index in 0..self.seating.clients {
            let organisation = self.seating.organisation_of_client(index);
            let organisation = self
                .seating
                .name(self.seating.organisation_room(organisation))
                .0;
            let token = minter.dispatcher(&format!("chaos-{index}"), &organisation)?;
            shares[index % self.args.threads].push((index, token));
        }
        let mut threads = Vec::new();
        for share in shares {
            let (scenario, form, seed, seconds) =
                (self.scenario, self.args.form, self.seed, self.seconds);
            let (clock, rate, run) = (self.clock, self.args.connect_rate, self.run.clone());
            let (seating, shared) = (Arc::clone(&self.seating), Arc::clone(&self.shared));
            let (orders, endpoint) = (self.orders.clone(), self.endpoint.clone());
            let backoff = Duration::from_millis(self.args.backoff_ms);
            let hold = move || {
                let around = Rc::new(Around {
                    clock,
                    shared,
                    seating,
                    orders: orders.clone(),
                    latencies: RefCell::new(Latencies::new()),
                    scratch: RefCell::default(),
                    backoff,
                });
                let seated = share.into_iter().map(|(index, token)| {
                    let habit = scenario.habit(index, form, seconds);
                    seat(index, token, habit, &run, &around, seed)
                });
                let mut stopped = orders;
                let stop = async {
                    // An error means that the run is gone: then it is time to stop as well.
                    let _stopped = stopped.wait_for(|orders| orders.stop).await;
                };
                let clients = crowd::hold(seated.collect(), &endpoint, rate, stop)?;
                let histories = clients
                    .into_iter()
                    .map(|client| (client.index, client.part.history.into_inner()));
                let histories = histories.collect();
                Ok((histories, around.latencies.replace(Latencies::new())))
            };
            threads.push(
                std::thread::Builder::new()
                    .name("clients".to_owned())
                    .spawn(hold)?,
            );
        }
        Ok(threads)
    }
}

fn seat(
    index: usize,
    token: String,
    habit: Habit,
    run: &str,
    around: &Rc<Around>,
    seed: u64,
) -> Client<Seated> {
    let seating = &around.seating;
    let slow = matches!(
        habit,
        Habit::Trickle { .. } | Habit::Stop { .. } | Habit::StopForGood { .. }
    );
    let rooms = seating.channels_of_client(index, slow);
    let organisation = seating.organisation_of_client(index);
    let own = seating.organisation_room(organisation);
    let history = ClientHistory::new(&seating.name(own).0, run, own, &rooms);
    let asked = rooms.iter().map(|room| seating.asked(*room)).collect();
    let random = SmallRng::seed_from_u64(seed ^ (index as u64) << 20);
    let part = Seated::new(index, habit, history, Rc::clone(around), random);
    Client::new(index, token, asked, part)
}

fn gone(scenario: Scenario, form: Form, seconds: u64, clients: usize) -> usize {
    let habits = (0..clients).map(|index| scenario.habit(index, form, seconds));
    habits
        .filter(|habit| matches!(habit, Habit::StopForGood { .. }))
        .count()
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

/// Waits until everybody is back and nothing comes any more, or too long.
fn drain(expected: usize, shared: &Shared) -> Duration {
    let start = Instant::now();
    let mut last = (read(&shared.received), start);
    while start.elapsed() < DRAIN_TIMEOUT {
        std::thread::sleep(Duration::from_millis(50));
        let received = read(&shared.received);
        if received != last.0 {
            last = (received, Instant::now());
        }
        if last.1.elapsed() >= QUIET && read(&shared.connected) >= expected as u64 {
            break;
        }
    }
    last.1 - start
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
