//! Builds the parts and joins them. What can fail, fails here; nothing is served yet.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::BuiltControlTopics;
use super::demo_people::DemoPeople;
use super::directory::OwnConnections;
use super::fleet::{BuiltFleet, Fleet};
use super::listener::{Listener, PeerCounts};
use super::log_reader::{LogReader, LogReaderParts};
use super::memory::MemoryWatch;
use super::origins::Origins;
use super::publisher::LogPublisher;
use super::ready::Readiness;
use super::service_topics::{self, ReportedConnections, ServiceTopic};
use super::stats::EventCounters;
use super::{Mode, hub_settings, session_rules, topic_keeper};
use crate::api::publish::Publishing;
use crate::auth::Verifier;
use crate::bus::AdapterTasks;
use crate::demo::{self, Demo, Driver};
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::net::{self, NetSettings, NetTimeouts};
use crate::session::{SessionLimits, SessionParts, Sessions, SharedHub};
use crate::settings::Settings;
use crate::socketio::{self, Engine, EngineSettings, Handshake, SocketIoSettings};
use crate::telemetry::Metrics;

/// Batches between Kafka's thread and the hub. When the hub is busy for longer, Kafka's thread waits, and librdkafka stops
/// fetching.
const FEED: usize = 16;

/// All parts of the process, joined.
pub(super) struct App {
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) over: Over,
    pub(super) hub: Arc<SharedHub>,
    /// What the log's reader sends to the hub.
    pub(super) feed: mpsc::Receiver<Vec<Feed>>,
    pub(super) log: Arc<LogReader>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) memory: Arc<MemoryWatch>,
    pub(super) receipts: Option<ServiceTopic>,
    pub(super) connection_events: Option<ReportedConnections>,
    pub(super) control: BuiltControlTopics,
    pub(super) sessions: Arc<Sessions>,
    /// `None`: there is no Redis.
    pub(super) fleet: Option<(Arc<Fleet>, AdapterTasks)>,
    pub(super) own: Arc<OwnConnections>,
    pub(super) engine: Arc<Engine>,
    pub(super) event_counters: Arc<EventCounters>,
    pub(super) origins: Arc<ArcSwap<Origins>>,
    pub(super) publishing: Publishing,
    pub(super) public: Listener,
    pub(super) internal: Listener,
    pub(super) demo: Option<BuiltDemo>,
}

/// What must go on until the last connection is closed listens to this, not to the first signal.
pub(super) struct Over {
    pub(super) token: CancellationToken,
    /// Also when the process ends early, by an error: nothing is left running that waits for it.
    _on_drop: DropGuard,
}

impl Over {
    fn new(lifecycle: &Lifecycle) -> Self {
        let token = lifecycle.killed().child_token();
        Self {
            _on_drop: token.clone().drop_guard(),
            token,
        }
    }
}

/// The embedded broker, what writes to it, and who looks at it.
pub(super) struct BuiltDemo {
    /// The broker lives in it.
    pub(super) demo: Demo,
    pub(super) driver: Driver,
    pub(super) people: Arc<DemoPeople>,
}

impl App {
    pub(super) fn build(
        mut settings: Settings,
        mode: Mode,
        metrics: Metrics,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let descriptors = net::raise_descriptor_limit();
        // First the demo's broker: the settings name it from here on.
        let demo = match mode {
            Mode::Serve => None,
            Mode::Demo { secret_file } => {
                let (demo, driver) = embedded_broker(&mut settings)?;
                Some((demo, driver, secret_file))
            }
        };

        let over = Over::new(lifecycle);
        let keeping = hub_settings(&settings);
        let hub = SharedHub::new(keeping);
        let (max_rss, window_bytes) = (settings.max_rss, keeping.window_bytes);
        let memory = MemoryWatch::new(max_rss, window_bytes, hub.clone(), metrics.clone())?;
        let (sender, feed) = mpsc::channel(FEED);
        let fed = sender.downgrade();
        // The only part that runs from here on: the window is loaded while the rest is built.
        let log = LogReader::start(LogReaderParts {
            settings: &settings,
            hub: &keeping,
            metrics: &metrics,
            feed: sender,
            indices: PartitionIndices::default(),
            stop: &over.token,
            lifecycle,
        })?;
        let control = BuiltControlTopics::open(
            &settings.kafka,
            settings.auth.leeway,
            &metrics,
            &over.token,
            lifecycle,
        )?;
        let verifier = Arc::new(Verifier::open(&settings.auth)?);
        verifier.set_claim_rules(settings.profile.claim_rules());
        let fleet = BuiltFleet::new(&settings, &metrics)?;
        let readiness = Readiness::new(
            log.clone(),
            hub.clone(),
            verifier.clone(),
            memory.clone(),
            control.topics.clone(),
        );
        let instance = service_topics::instance();
        let (keeper, receipts) = service_topics::receipts(&settings.kafka, &metrics)?;
        let connection_events =
            service_topics::connections(&settings.kafka, &instance, &metrics, lifecycle)?;

        // What holds for every transport, then the transport.
        let shared_limits = Arc::new(Limits::new(settings.limits.clone()));
        let sessions = Sessions::new(SessionParts {
            hub: hub.clone(),
            verifier: verifier.clone(),
            log: log.clone(),
            readiness: {
                let readiness = readiness.clone();
                Arc::new(move || readiness.admits())
            },
            capacity: {
                let memory = memory.clone();
                Arc::new(move || memory.admits())
            },
            rules: session_rules(&settings.profile),
            limits: SessionLimits {
                max_connections: settings.sockets.max_connections,
                max_rooms: settings.sockets.max_rooms,
            },
            shared_limits: shared_limits.clone(),
            receipts: keeper,
            connections: (connection_events.as_ref()).map(|reported| reported.reports.clone()),
            organisations: fleet.as_ref().map(BuiltFleet::organisations),
            metrics: metrics.clone(),
            lifecycle: lifecycle.clone(),
        });
        let fleet = fleet.map(|fleet| fleet.joined(&sessions, &log, &control.topics, fed));
        if let Some((fleet, _)) = &fleet {
            readiness.wait_for(fleet.clone());
        }
        let own = Arc::new(OwnConnections {
            sessions: sessions.clone(),
            instance,
        });
        let handshake = Handshake {
            sessions: sessions.clone(),
            lifecycle: lifecycle.clone(),
            max_packet: settings.sockets.max_message_bytes,
        };
        let engine = socketio::build(handshake, socket_io_settings(&settings));

        let (public, internal) = listeners(&settings, descriptors, shared_limits, &metrics)?;
        let demo = match demo {
            Some((demo, driver, secret_file)) => Some(BuiltDemo {
                people: Arc::new(DemoPeople::new(&demo, &settings.auth, secret_file)?),
                demo,
                driver,
            }),
            None => None,
        };
        let joined = fleet.as_ref().map(|(fleet, _)| fleet.clone());
        let publisher = LogPublisher::new(&settings, &log, &sessions, joined);
        Ok(Self {
            publishing: Publishing::new(publisher),
            event_counters: EventCounters::new(&metrics, &hub, &settings.profile.routes),
            origins: Arc::new(ArcSwap::from_pointee(Origins::new(&settings.listen))),
            settings,
            metrics,
            over,
            hub,
            feed,
            log,
            verifier,
            readiness,
            memory,
            receipts,
            connection_events,
            control,
            sessions,
            fleet,
            own,
            engine,
            public,
            internal,
            demo,
        })
    }
}

/// Starts the broker of the demo, and has the settings name it.
fn embedded_broker(settings: &mut Settings) -> anyhow::Result<(Demo, Driver)> {
    let kafka = &settings.kafka;
    let wanted = kafka
        .create_topics
        .then(|| topic_keeper::service_topics(&kafka.service_topics));
    let wanted = wanted.unwrap_or_default().into_iter();
    let others: Vec<_> = wanted
        .map(|topic| (topic.name, topic.partitions.unwrap_or(1)))
        .collect();
    let (demo, driver) = demo::start(&kafka.topic_prefix, &others, rand::random())
        .context("cannot start the embedded broker")?;
    settings.kafka.bootstrap_servers.clone_from(&demo.bootstrap);
    Ok((demo, driver))
}

/// The public and the internal one.
fn listeners(
    settings: &Settings,
    descriptors: usize,
    shared_limits: Arc<Limits>,
    metrics: &Metrics,
) -> anyhow::Result<(Listener, Listener)> {
    let (listen, sockets) = (&settings.listen, &settings.sockets);
    let timeouts = NetTimeouts {
        slow_client_timeout: sockets.slow_client_timeout,
        keep_alive: sockets.keep_alive,
    };
    let mut limits = NetSettings::public(sockets.max_connections, timeouts, descriptors);
    limits.peers = Some(Arc::new(PeerCounts(shared_limits)));
    if listen.proxy_protocol {
        limits.preambles_from = settings.limits.proxies.clone();
    }
    let public = Listener::bind("public", listen.host, listen.port, limits, metrics)?;
    let limits = NetSettings::internal(timeouts, descriptors);
    let (host, port) = (listen.internal_host, listen.internal_port);
    let internal = Listener::bind("internal", host, port, limits, metrics)?;
    Ok((public, internal))
}

fn socket_io_settings(settings: &Settings) -> SocketIoSettings {
    let sockets = &settings.sockets;
    let (ping_interval, ping_timeout) = (sockets.ping_interval, sockets.ping_timeout);
    SocketIoSettings {
        ping_interval,
        ping_timeout,
        engine: EngineSettings {
            max_payload: sockets.max_http_buffer_size,
            max_packet: sockets.max_message_bytes,
            slow_client_timeout: sockets.slow_client_timeout,
            heartbeat: ping_interval.saturating_add(ping_timeout),
            allow_query_token: settings.auth.allow_query_token,
            lane: sockets.lane,
        },
    }
}
