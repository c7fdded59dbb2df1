//! Starts what was built: keys, listeners, the hub, and what watches over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fleetcast_core::hub::feed::Feed;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::build::{App, BuiltDemo, Over};
use super::control::{ControlTopics, GrantRequests, RevocationRequests};
use super::directory::Directory;
use super::fleet::Fleet;
use super::log_reader::LogReader;
use super::public::PublicRoutes;
use super::ready::Readiness;
use super::reload::{Reload, Reread};
use super::service_topics::{ReportedConnections, ServiceTopic};
use super::stats::{Scrape, ScrapeSources};
use crate::api::{self, Access, Endpoints, Probes};
use crate::demo::Demo;
use crate::lifecycle::{Lifecycle, give_back_memory};
use crate::net::ConnectionTable;
use crate::session::{Sessions, SharedHub};
use crate::socketio::Engine;
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events, watch_loop};

/// What is needed to stop in good order.
pub(super) struct RunningApp {
    pub(super) over: Over,
    pub(super) log: Arc<LogReader>,
    pub(super) control: Arc<ControlTopics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) engine: Arc<Engine>,
    /// Of both listeners.
    pub(super) tables: [Arc<ConnectionTable>; 2],
    pub(super) receipts: Option<ServiceTopic>,
    pub(super) connection_events: Option<ReportedConnections>,
    /// `None`: there is no Redis.
    pub(super) fleet: Option<Arc<Fleet>>,
    /// Over how long the connections are closed.
    pub(super) spread: Duration,
    /// The broker lives in it, so it must outlast everything that reads from it.
    pub(super) demo: Option<Demo>,
}

impl App {
    pub(super) fn start(self, reread: Reread, lifecycle: &Lifecycle) -> RunningApp {
        let tables = self.tables();
        let (open, closed) = self.routers();
        let Self {
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
            event_counters,
            origins,
            public,
            internal,
            demo,
            publishing: _,
        } = self;
        verifier.keep(&metrics, lifecycle);

        let addresses = (public.address, internal.address);
        public.serve("public listener", open, over.token.clone(), lifecycle);
        internal.serve("internal listener", closed, over.token.clone(), lifecycle);
        events::listening(addresses.0, addresses.1);

        let drive = HubDrive {
            hub,
            feed,
            stop: over.token.clone(),
        };
        lifecycle.critical("hub", drive.run());
        // Without it nothing would keep the memory within its limit.
        lifecycle.critical("memory", memory.run(over.token.clone()));
        let control_topics = control.topics.clone();
        control.start(&sessions, &over.token, lifecycle);
        let joined = fleet.as_ref().map(|(fleet, _)| fleet.clone());
        if let Some((fleet, tasks)) = fleet {
            fleet.start(tasks, own, &over.token, lifecycle);
        }
        let spread = settings.sockets.drain;
        let reload = Reload {
            reread,
            settings,
            log: log.clone(),
            events: event_counters,
            sessions: sessions.clone(),
            origins,
            verifier,
            fleet: joined.clone(),
        };
        lifecycle.spawn("reload", reload.watch(lifecycle.clone()));
        let stop = over.token.clone();
        lifecycle.spawn("loop", watch_loop(metrics.clone(), stop.clone()));
        let public = tables[0].clone();
        let connections = move || public.take_peak();
        lifecycle.spawn("heap", give_back_memory(connections, stop.clone()));
        lifecycle.spawn("sessions", sessions.clone().watch_expiry(stop.clone()));
        if let Some(ReportedConnections { reports, .. }) = &connection_events {
            let reports = reports.clone();
            lifecycle.spawn("connection events", reports.watch(stop.clone()));
        }
        lifecycle.spawn("engine", engine.clone().watch(stop));
        lifecycle.spawn("readiness", readiness.clone().watch(lifecycle.stopping()));
        let demo = demo.map(|demo| demo.start(addresses.0, &readiness, metrics, lifecycle));
        RunningApp {
            over,
            log,
            control: control_topics,
            readiness,
            sessions,
            engine,
            tables,
            receipts,
            connection_events,
            fleet: joined,
            spread,
            demo,
        }
    }

    /// Of the public and of the internal listener.
    pub(super) fn routers(&self) -> (Router, Router) {
        let probes = self.probes();
        let routes = PublicRoutes {
            listen: &self.settings.listen,
            origins: &self.origins,
            engine: &self.engine,
            probes: &probes,
            publishing: &self.publishing,
            people: self.demo.as_ref().map(|demo| &demo.people),
            metrics: &self.metrics,
        };
        let internal = api::internal(&probes, self.access(), self.endpoints());
        (routes.router(), internal)
    }

    /// Access to the internal API.
    fn access(&self) -> Access {
        let listen = &self.settings.listen;
        Access {
            token: listen.internal_token.clone(),
            on_loopback: listen.internal_host.is_loopback(),
            names: listen.internal_names.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// What the internal API has, one resource after the other.
    fn endpoints(&self) -> Endpoints {
        let directory = Arc::new(Directory {
            own: self.own.clone(),
            log: self.log.clone(),
            fleet: self.joined(),
        });
        let topics = &self.control.topics;
        let granter = GrantRequests {
            sessions: self.sessions.clone(),
            topics: topics.clone(),
        };
        let revoker =
            RevocationRequests::new(&self.sessions, topics, self.joined(), &self.settings.auth);
        Endpoints::new()
            .merge(api::connections::endpoints(directory.clone()))
            .merge(api::drain(directory.clone()))
            .merge(api::user_rooms(directory.clone()))
            .merge(api::rooms::endpoints(directory))
            .merge(api::revocations(Arc::new(revoker)))
            .merge(api::publish::endpoints(self.publishing.clone()))
            .merge(api::grants(Arc::new(granter)))
    }

    fn joined(&self) -> Option<Arc<Fleet>> {
        self.fleet.as_ref().map(|(fleet, _)| fleet.clone())
    }

    fn tables(&self) -> [Arc<ConnectionTable>; 2] {
        [self.public.table.clone(), self.internal.table.clone()]
    }

    pub(super) fn probes(&self) -> Probes {
        let sources = ScrapeSources {
            metrics: self.metrics.clone(),
            hub: self.hub.clone(),
            log: self.log.clone(),
            sessions: self.sessions.clone(),
            events: self.event_counters.clone(),
        };
        let scrape = Arc::new(Scrape::new(sources, self.tables()));
        let (readiness, stats) = (self.readiness.clone(), scrape.clone());
        Probes {
            ready: Arc::new(move || readiness.report()),
            stats: Arc::new(move || stats.stats()),
            metrics: Arc::new(move || scrape.render()),
        }
    }
}

/// Applies what the log's reader sends to the hub, until `stop`.
struct HubDrive {
    hub: Arc<SharedHub>,
    feed: mpsc::Receiver<Vec<Feed>>,
    stop: CancellationToken,
}

impl HubDrive {
    async fn run(self) -> anyhow::Result<()> {
        let stopped = self.hub.drive(self.feed, self.stop).await;
        anyhow::ensure!(stopped, "the reader of Kafka has ended");
        Ok(())
    }
}

impl BuiltDemo {
    /// The people are printed once their tokens are accepted, and the city writes to the broker, which is given back.
    fn start(
        self,
        address: SocketAddr,
        readiness: &Arc<Readiness>,
        metrics: Metrics,
        lifecycle: &Lifecycle,
    ) -> Demo {
        let (people, readiness, stopping) = (self.people, readiness.clone(), lifecycle.stopping());
        let printed = metrics.clone();
        lifecycle.spawn("people", async move {
            // A browser that opens the address before that would be refused.
            let started = stopping.run_until_cancelled(readiness.started()).await;
            if started.is_some()
                && let Err(error) = people.print(address)
            {
                let context = "cannot print the tokens of the demo";
                events::fault(&printed, Component::Demo, context, &format!("{error:#}"));
            }
        });
        lifecycle.spawn("city", self.driver.run(metrics, lifecycle.stopping()));
        self.demo
    }
}
