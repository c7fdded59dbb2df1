//! The only place where the parts meet: what is built, in which order it starts, and in which it stops.

mod demo_people;
mod log_reader;
mod origins;
mod public;
mod ready;
mod receipts;
mod reload;
mod stats;
mod topic_counters;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::{NAMED_PARTITIONS, Settings as HubSettings};
use rand::seq::SliceRandom;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Probes};
use crate::auth::Verifier;
use crate::demo;
use crate::kafka;
use crate::lifecycle::Lifecycle;
use crate::net::{self, ConnectionTable, NetSettings};
use crate::session::receipts::Outstanding;
use crate::session::{Open, Sessions, SharedHub};
use crate::settings::{Problems, Settings};
use crate::socketio::{self, Engine, EngineSettings, Handshake, SocketIoSettings};
use crate::telemetry::{Metrics, events};

pub use log_reader::client_settings;
pub use reload::Reread;

use demo_people::DemoPeople;
use origins::Origins;
use ready::Readiness;
use reload::Reload;
use stats::{EventCounters, Scrape};

/// Batches between Kafka's thread and the hub. When the hub is busy for longer, Kafka's thread waits, and librdkafka stops
/// fetching.
const FEED: usize = 16;

/// Closed sessions need a moment until the library has let go of them.
const AFTERMATH: Duration = Duration::from_millis(200);

/// Whose records are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the brokers in the settings.
    Serve,
    /// Those of the simulated city, through the embedded broker.
    Demo,
}

/// Builds the parts, joins them, starts them through `lifecycle`, and returns once the process is stopping and the connections
/// are drained. `reread` is called on SIGHUP. An error is one that the process cannot live with.
pub async fn run(
    mut settings: Settings,
    mode: Mode,
    reread: Reread,
    metrics: Metrics,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let descriptors = net::raise_descriptor_limit();
    let city = match mode {
        Mode::Serve => None,
        Mode::Demo => {
            let (demo, driver) = demo::start(&settings.kafka.topic_prefix, rand::random())
                .context("cannot start the embedded broker")?;
            settings.kafka.bootstrap_servers.clone_from(&demo.bootstrap);
            Some((demo, driver))
        }
    };

    // What must go on until the last connection is closed listens to this, not to the first signal.
    let over = lifecycle.killed().child_token();
    // Also when this ends early, by an error: nothing is left running that waits for it.
    let _over = over.clone().drop_guard();
    let keeping = hub_settings(&settings);
    let hub = SharedHub::new(keeping);
    let (feed, fed) = mpsc::channel(FEED);
    let log = log_reader::start(&settings, &keeping, &metrics, feed, &over, &lifecycle)?;
    let verifier = Arc::new(Verifier::open(&settings.auth)?);
    verifier.set_default_organisation(settings.profile.routes.default_organisation());
    verifier.keep(&metrics, &lifecycle);
    let readiness = Readiness::new(log.clone(), hub.clone(), verifier.clone());
    let (receipts, receipts_producer) = receipts::open(&settings.kafka, &metrics)?;
    let sessions = Arc::new(Sessions {
        hub: hub.clone(),
        policy: ArcSwap::new(settings.profile.policy.clone()),
        open: Open::default(),
        max_rooms: settings.sockets.max_rooms,
        metrics: metrics.clone(),
        receipts,
        outstanding: Outstanding::default(),
    });
    let engine = socket_io(
        &settings,
        sessions.clone(),
        verifier.clone(),
        log.clone(),
        &readiness,
        &lifecycle,
    );
    let listen = &settings.listen;
    let front = Front::bind(listen.host, listen.port, "public")?;
    let back = Front::bind(listen.internal_host, listen.internal_port, "internal")?;
    let addresses = (front.address, back.address);
    let tables = [front.table.clone(), back.table.clone()];
    let counters = EventCounters::new(&metrics, &settings.profile.routes);
    let scrape = Scrape::new(
        metrics.clone(),
        tables.clone(),
        hub.clone(),
        log.clone(),
        engine.clone(),
        counters.clone(),
    );
    let probes = Probes {
        ready: {
            let readiness = readiness.clone();
            Arc::new(move || readiness.report())
        },
        stats: {
            let scrape = scrape.clone();
            Arc::new(move || scrape.stats())
        },
        metrics: Arc::new(move || scrape.render()),
    };

    let people = match &city {
        Some((demo, _)) => Some(DemoPeople::mint(demo, &settings.auth)?),
        None => None,
    };
    let origins = Arc::new(ArcSwap::from_pointee(Origins::new(&settings.listen)));
    let public = public::router(
        &settings.listen,
        &origins,
        &engine,
        &probes,
        people.as_ref(),
        &metrics,
    );
    let internal = api::internal(&probes);
    let slow = settings.sockets.slow_client_timeout;
    let max_sessions = settings.sockets.max_connections;
    let limits = NetSettings::public(max_sessions, slow, descriptors);
    front.serve("public listener", public, limits, &over, &lifecycle);
    let limits = NetSettings::internal(slow, descriptors);
    back.serve("internal listener", internal, limits, &over, &lifecycle);
    events::listening(addresses.0, addresses.1);

    let delivered = stats::delivery_times(counters.clone());
    let drive = {
        let (hub, over) = (hub.clone(), over.clone());
        async move { hub.drive(fed, delivered, over).await }
    };
    lifecycle.critical("hub", async move {
        anyhow::ensure!(drive.await, "the reader of Kafka has ended");
        Ok(())
    });
    let drain_over = settings.sockets.drain;
    let reload = Reload {
        reread,
        settings,
        log: log.clone(),
        events: counters,
        sessions,
        origins,
        verifier,
    };
    lifecycle.spawn("reload", reload.watch(lifecycle.clone()));
    lifecycle.spawn("sessions", engine.clone().watch(over.clone()));
    lifecycle.spawn("readiness", readiness.clone().watch(lifecycle.stopping()));
    if let Some(people) = people {
        let (readiness, stopping) = (readiness.clone(), lifecycle.stopping());
        lifecycle.spawn("people", async move {
            // Whoever follows the address before that would be sent away.
            if stopping
                .run_until_cancelled(readiness.started())
                .await
                .is_some()
            {
                people.print(addresses.0);
            }
        });
    }
    // The broker lives in `demo`, so it must outlast everything that reads from it.
    let broker = city.map(|(demo, driver)| {
        lifecycle.spawn("city", driver.run(metrics.clone(), lifecycle.stopping()));
        demo
    });

    lifecycle.stopping().cancelled().await;
    readiness.drain();
    drain(&engine, &tables, drain_over, &lifecycle.killed()).await;
    if let Some(producer) = receipts_producer {
        receipts::flush(producer).await;
    }
    over.cancel();
    if broker.is_some() {
        log.stopped().await;
    }
    drop(broker);
    Ok(())
}

fn hub_settings(settings: &Settings) -> HubSettings {
    HubSettings {
        window_ms: u64::try_from(settings.window.duration.as_millis()).unwrap_or(u64::MAX),
        window_bytes: usize::try_from(settings.window.bytes).unwrap_or(usize::MAX),
        latest_bytes: usize::try_from(settings.window.latest_bytes).unwrap_or(usize::MAX),
        named_partitions: NAMED_PARTITIONS,
    }
}

/// What librdkafka has against the settings, as far as that shows without a broker: files that are not there, values that do not
/// fit together.
pub fn check(settings: &Settings) -> Result<(), Problems> {
    kafka::check(&log_reader::consumer(settings, &hub_settings(settings)))
        .map_err(|error| Problems::of_kafka(&error.to_string(), &settings.kafka))
}

fn socket_io(
    settings: &Settings,
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
    log: Arc<log_reader::LogReader>,
    readiness: &Arc<Readiness>,
    lifecycle: &Lifecycle,
) -> Arc<Engine> {
    let sockets = &settings.sockets;
    let admission = {
        let readiness = readiness.clone();
        Arc::new(move || readiness.admits())
    };
    let handshake = Handshake {
        sessions,
        verifier,
        log,
        admission,
        lifecycle: lifecycle.clone(),
        max_packet: sockets.max_message_bytes,
    };
    let (ping_interval, ping_timeout) = (sockets.ping_interval, sockets.ping_timeout);
    let engine = EngineSettings {
        max_connections: sockets.max_connections,
        max_payload: sockets.max_http_buffer_size,
        max_packet: sockets.max_message_bytes,
        slow_client_timeout: sockets.slow_client_timeout,
        heartbeat: ping_interval.saturating_add(ping_timeout),
        allow_query_token: settings.auth.allow_query_token,
    };
    socketio::build(
        handshake,
        SocketIoSettings {
            ping_interval,
            ping_timeout,
            engine,
        },
    )
}

/// A listener and the connections that came in by it.
struct Front {
    listener: TcpListener,
    address: SocketAddr,
    table: Arc<ConnectionTable>,
}

impl Front {
    fn bind(host: IpAddr, port: u16, name: &str) -> anyhow::Result<Self> {
        let asked = SocketAddr::new(host, port);
        let failed = || format!("cannot listen on {asked} ({name})");
        let listener = net::bind(asked).with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        Ok(Self {
            listener,
            address,
            table: ConnectionTable::new(),
        })
    }

    fn serve(
        self,
        name: &'static str,
        router: Router,
        settings: NetSettings,
        over: &CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        let over = over.clone();
        let tasks = lifecycle.tasks();
        let served = net::serve(
            self.listener,
            router,
            settings,
            self.table,
            tasks,
            over.clone(),
        );
        lifecycle.critical(name, async move {
            served.await;
            anyhow::ensure!(over.is_cancelled(), "the accept loop has ended");
            Ok(())
        });
    }
}

/// Closes every connection, in random order and evenly over `spread`, so that the clients do not all knock at the other
/// instances at once. `cut_short` ends the spreading.
async fn drain(
    engine: &Engine,
    tables: &[Arc<ConnectionTable>],
    spread: Duration,
    cut_short: &CancellationToken,
) {
    let mut sessions = engine.closers();
    sessions.shuffle(&mut rand::rng());
    let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
    let start = Instant::now();
    for (close, nth) in sessions.into_iter().zip(0_u32..) {
        let due = start + spread.mul_f64(f64::from(nth) / f64::from(count));
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = cut_short.cancelled() => {}
        }
        close(CloseReason::Draining);
    }
    tokio::time::sleep(AFTERMATH).await;
    // Those that came in while the others left, and connections without a session.
    for close in engine.closers() {
        close(CloseReason::Draining);
    }
    for guard in tables.iter().flat_map(|table| table.snapshot()) {
        guard.kick(CloseReason::Draining.as_str());
    }
}
