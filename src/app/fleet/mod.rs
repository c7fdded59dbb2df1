//! This instance among the others: what they tell it by Redis, and what it tells them.

mod kept_health;
mod moved_revocations;
mod reception;
mod registration;
mod revocations;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};
use fleetcast_core::domain::room_operation::RoomOperation;
use fleetcast_core::hub::feed::Feed;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::control::ControlTopics;
use super::log_reader::LogReader;
use crate::api::ComponentHealth;
use crate::api::connections::Ending;
use crate::bus::{
    AcceptedEmitters, Adapter, AdapterTasks, BusKeys, BusMessage, InstanceId, LinkState,
    OpenConnections, RedisFault, Registry, RegistryRange,
};
use crate::lifecycle::Lifecycle;
use crate::session::{OrganisationWatch, Sessions};
use crate::settings::Settings;
use crate::telemetry::{Metrics, events};
use moved_revocations::RevocationMover;
use registration::{Registration, slot_limits};
use revocations::RevocationKeeper;

/// A start waits so long for a Redis that is away, or that does not give what it keeps.
const LOADING: Duration = Duration::from_secs(5);

/// It waits so long for one that gives it, but slowly.
const READING: Duration = Duration::from_secs(30);

/// An instance that is asked to close a connection has done so within this time, or perhaps not heard.
const CONFIRMING: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const LOOKING: Duration = Duration::from_millis(50);

/// The way to the other instances, before there are sessions.
pub(super) struct BuiltFleet {
    adapter: Arc<Adapter>,
    registry: Arc<Registry>,
    tasks: AdapterTasks,
}

impl BuiltFleet {
    /// `None`: there is no Redis.
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Result<Option<Self>, RedisFault> {
        let Some(bus) = &settings.bus else {
            return Ok(None);
        };
        let emitters = settings.redis_emitters.clone();
        let emitters = AcceptedEmitters::new(emitters, settings.sockets.max_event_bytes);
        let (adapter, tasks) = Adapter::new(bus, emitters, metrics)?;
        let (link, instance) = (adapter.link().clone(), adapter.instance().to_string());
        let limits = slot_limits(&settings.limits);
        Ok(Some(Self {
            registry: Registry::new(link, &bus.prefix, &instance, limits, metrics),
            adapter,
            tasks,
        }))
    }

    /// Whom sessions report their organisations to.
    pub(super) fn organisations(&self) -> Arc<dyn OrganisationWatch> {
        Arc::new(AdapterOrganisations(self.adapter.clone()))
    }

    /// Revocations are kept in Redis where no topic keeps them. `feed`: of the hub's driver.
    pub(super) fn joined(
        self,
        sessions: &Arc<Sessions>,
        log: &Arc<LogReader>,
        topics: &Arc<ControlTopics>,
        feed: mpsc::WeakSender<Vec<Feed>>,
    ) -> (Arc<Fleet>, AdapterTasks) {
        let has_topic = topics.revocations().is_some();
        let keeper = (!has_topic).then(|| RevocationKeeper::new(&self.adapter, sessions));
        let mover = has_topic.then(|| RevocationMover::new(&self.adapter, sessions, topics));
        let registration = Arc::new(Registration(self.registry.clone()));
        sessions.register_with(registration.clone());
        sessions.shared_limits().count_with(registration);
        let fleet = Fleet {
            adapter: self.adapter,
            registry: self.registry,
            left: CancellationToken::new(),
            sessions: sessions.clone(),
            log: log.clone(),
            keeper: keeper.map(Arc::new),
            mover: mover.map(Arc::new),
            built: Instant::now(),
            not_awaited: AtomicBool::new(false),
            feed,
        };
        (Arc::new(fleet), self.tasks)
    }
}

struct AdapterOrganisations(Arc<Adapter>);

impl OrganisationWatch for AdapterOrganisations {
    fn came(&self, organisation: &Id) {
        self.0.follow(organisation);
    }

    fn went(&self, organisation: &Id) {
        self.0.leave(organisation);
    }
}

pub(super) struct Fleet {
    adapter: Arc<Adapter>,
    registry: Arc<Registry>,
    /// Nothing more is written to the registry.
    left: CancellationToken,
    sessions: Arc<Sessions>,
    log: Arc<LogReader>,
    keeper: Option<Arc<RevocationKeeper>>,
    mover: Option<Arc<RevocationMover>>,
    built: Instant,
    /// The log says that the start goes on without what Redis keeps.
    not_awaited: AtomicBool,
    /// Of the hub's driver. It ends with the reader of Kafka, so this one does not keep it open.
    feed: mpsc::WeakSender<Vec<Feed>>,
}

impl Fleet {
    pub(super) fn start(
        self: &Arc<Self>,
        tasks: AdapterTasks,
        open: Arc<dyn OpenConnections>,
        stop: &CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        self.adapter.start(tasks, self.clone(), stop, lifecycle);
        let kept = self.registry.clone().keep(open, self.left.clone());
        let end = stop.clone();
        lifecycle.spawn("registry", async move {
            end.run_until_cancelled(kept).await;
        });
        if let Some(keeper) = self.keeper.clone() {
            let stop = stop.clone();
            lifecycle.spawn("kept revocations", async move {
                stop.run_until_cancelled(keeper.run()).await;
            });
        }
        if let Some(mover) = self.mover.clone() {
            let stop = stop.clone();
            lifecycle.spawn("moved revocations", async move {
                stop.run_until_cancelled(mover.run()).await;
            });
        }
    }

    /// Delivers an event to the connections that are here, then has it sent to those of other instances.
    pub(super) fn emit(&self, event: Ephemeral) {
        let (event, encoded) = self.adapter.encode(event);
        self.deliver(event);
        if let Some(encoded) = encoded {
            self.adapter.send(encoded);
        }
    }

    fn deliver(&self, event: Ephemeral) {
        let hub = self.sessions.hub();
        hub.with(|hub, now| hub.apply(Feed::Ephemeral(event), now));
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// No connection is left, and none will come: others need not wait until the lease has lapsed.
    pub(super) async fn leave(&self) {
        self.left.cancel();
        self.registry.leave().await;
    }

    /// Has another instance close a connection, wherever it is. False: no instance that lives has it.
    pub(super) async fn kick(&self, connection_id: &str, ending: Ending) -> Result<bool, String> {
        let found = self.registry.find(connection_id).await;
        let found = found.map_err(|fault| fault.to_string())?;
        let Some((_, remote)) = found else {
            return Ok(false);
        };
        let Some(instance) = InstanceId::parse(&remote.instance) else {
            return Ok(false);
        };
        let message = BusMessage::Kick {
            instance,
            connection_id: connection_id.to_owned(),
            may_return: ending == Ending::MayReturn,
        };
        let name = &remote.record.instance;
        match self.adapter.tell(&message).await {
            Ok(0) => Err(format!("{name} does not listen")),
            Ok(_) => self.is_gone(connection_id, name).await,
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// Whether the instance that was told has done it: then it does not list the connection any more.
    async fn is_gone(&self, connection_id: &str, name: &str) -> Result<bool, String> {
        let begin = Instant::now();
        while begin.elapsed() < CONFIRMING {
            tokio::time::sleep(LOOKING).await;
            match self.registry.find(connection_id).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Err(format!("{name} was told, and still lists the connection"))
    }

    /// Has other instances close all connections of a user, and gives how many they have as far as Redis knows. `None`: not all may know.
    pub(super) async fn disconnect(
        &self,
        organisation: &Id,
        user: &UserId,
        ending: Ending,
    ) -> Option<usize> {
        let message = BusMessage::Disconnect {
            organisation: organisation.clone(),
            user: user.clone(),
            may_return: ending == Ending::MayReturn,
        };
        self.tell_of_user(organisation, user, &message).await
    }

    /// Has other instances carry it out, and gives how many connections of its user they have, likewise.
    pub(super) async fn operate(&self, operation: RoomOperation) -> Option<usize> {
        let message = BusMessage::Rooms(operation.clone());
        let (organisation, user) = (operation.organisation(), operation.user());
        self.tell_of_user(organisation, user, &message).await
    }

    async fn tell_of_user(
        &self,
        organisation: &Id,
        user: &UserId,
        message: &BusMessage,
    ) -> Option<usize> {
        let range = RegistryRange {
            organisation: Some(organisation),
            user: Some(user),
        };
        // Commands are carried out in their order: what is counted is what there was. Others hear of it whatever becomes of that.
        let (others, told) = tokio::join!(self.registry.count(range), self.adapter.tell(message));
        let (others, heard) = (others.ok()?, told.ok()?);
        // This instance hears of it, too.
        (heard > others.instances).then_some(others.connections)
    }

    /// Tells other instances what is revoked, and has it kept if no topic keeps it.
    pub(super) async fn tell_revocation(
        &self,
        target: &RevocationTarget,
        revocation: Revocation,
    ) -> Result<(), RedisFault> {
        if let Some(keeper) = &self.keeper {
            return keeper.tell(target, revocation).await;
        }
        let message = BusMessage::Revocation(target.clone(), revocation);
        self.adapter.tell(&message).await.map(drop)
    }

    /// The secrets have changed.
    pub(super) fn set_keys(&self, keys: &BusKeys) {
        self.adapter.set_keys(keys);
        if let Some(keeper) = &self.keeper {
            keeper.look_again();
        }
    }

    /// Whether all is known that a start has to wait for. For Redis it waits some seconds, because it may be starting as well.
    pub(super) fn is_loaded(&self) -> bool {
        let state = self.adapter.link().state().borrow().clone();
        let Some(keeper) = &self.keeper else {
            let is_settled = self.mover.as_ref().is_none_or(|mover| mover.is_settled());
            return is_settled
                || matches!(state, LinkState::Down(fault) if fault != RedisFault::NotYet);
        };
        let why = match state {
            LinkState::Up(epoch) if keeper.health().is_read(epoch) => return true,
            LinkState::Up(_) => keeper.health().reading_fault(),
            LinkState::Down(fault) => Some(fault),
        };
        let longest = if why.is_some() { LOADING } else { READING };
        if self.built.elapsed() <= longest {
            return false;
        }
        let why = why.map_or_else(|| "they are being read".to_owned(), |why| why.to_string());
        if !self.not_awaited.swap(true, Ordering::Relaxed) {
            events::kept_revocations_not_awaited(&why);
        }
        true
    }

    pub(super) fn health(&self) -> ComponentHealth {
        let problem = match &*self.adapter.link().state().borrow() {
            LinkState::Up(epoch) => {
                let keeper = self.keeper.as_ref();
                let problem = keeper.and_then(|keeper| keeper.health().problem(*epoch));
                problem.or_else(|| self.registry.fault())
            }
            LinkState::Down(fault) => Some(fault.to_string()),
        };
        problem.map_or_else(
            || ComponentHealth::healthy(None),
            ComponentHealth::unhealthy,
        )
    }
}
