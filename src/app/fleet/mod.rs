//! This instance among the others: what they tell it by Redis, and what it tells them.

mod revocations;

use std::pin::Pin;
use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};
use fleetcast_core::hub::feed::Feed;
use tokio_util::sync::CancellationToken;

use super::log_reader::LogReader;
use crate::api::ComponentHealth;
use crate::api::connections::Ending;
use crate::bus::{
    AcceptedEmitters, Adapter, AdapterTasks, BusMessage, BusReceiver, LinkState, RedisFault,
};
use crate::lifecycle::Lifecycle;
use crate::session::{OrganisationWatch, Session, Sessions};
use crate::settings::Settings;
use crate::telemetry::Metrics;
use revocations::RevocationKeeper;

/// So many connections of a user are closed at a stretch.
const SLICE: usize = 64;

/// The way to the other instances, before there are sessions.
pub(super) struct BuiltFleet {
    adapter: Arc<Adapter>,
    tasks: AdapterTasks,
}

impl BuiltFleet {
    /// `None`: there is no Redis.
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Result<Option<Self>, RedisFault> {
        let emitters = settings.redis_emitters.clone();
        let emitters = AcceptedEmitters::new(emitters, settings.sockets.max_event_bytes);
        let bus = settings.bus.as_ref();
        let built = bus.map(|bus| Adapter::new(bus, emitters, metrics));
        let built = built.transpose()?;
        Ok(built.map(|(adapter, tasks)| Self { adapter, tasks }))
    }

    /// Whom sessions report their organisations to.
    pub(super) fn organisations(&self) -> Arc<dyn OrganisationWatch> {
        Arc::new(AdapterOrganisations(self.adapter.clone()))
    }

    /// `keeps`: revocations are kept in Redis, because no topic keeps them.
    pub(super) fn joined(
        self,
        sessions: &Arc<Sessions>,
        log: &Arc<LogReader>,
        keeps: bool,
    ) -> (Arc<Fleet>, AdapterTasks) {
        let keeper = keeps.then(|| RevocationKeeper::new(&self.adapter, sessions));
        let fleet = Fleet {
            adapter: self.adapter,
            sessions: sessions.clone(),
            log: log.clone(),
            keeper: keeper.map(Arc::new),
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
    sessions: Arc<Sessions>,
    log: Arc<LogReader>,
    keeper: Option<Arc<RevocationKeeper>>,
}

impl Fleet {
    pub(super) fn start(
        self: &Arc<Self>,
        tasks: AdapterTasks,
        stop: &CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        self.adapter.start(tasks, self.clone(), stop, lifecycle);
        if let Some(keeper) = self.keeper.clone() {
            let stop = stop.clone();
            lifecycle.spawn("kept revocations", async move {
                stop.run_until_cancelled(keeper.run()).await;
            });
        }
    }

    pub(super) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Delivers an event to the connections that are here, then has it sent to those of other instances.
    pub(super) fn emit(&self, event: Ephemeral) {
        let (event, encoded) = self.adapter.encode(event);
        self.event(event);
        if let Some(encoded) = encoded {
            self.adapter.send(encoded);
        }
    }

    /// Has other instances close all connections of a user. False: not all may know.
    pub(super) async fn disconnect(
        &self,
        organisation: &Id,
        user: &UserId,
        ending: Ending,
    ) -> bool {
        let message = BusMessage::Disconnect {
            organisation: organisation.clone(),
            user: user.clone(),
            may_return: ending == Ending::MayReturn,
        };
        self.adapter.tell(&message).await.is_ok()
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

    /// Whether all is known that a start has to wait for: while Redis is away there is nothing to wait for.
    pub(super) fn is_loaded(&self) -> bool {
        match &*self.adapter.link().state().borrow() {
            LinkState::Up(epoch) => self.knows_all(*epoch),
            LinkState::Down(fault) => *fault != RedisFault::NotYet,
        }
    }

    fn knows_all(&self, epoch: u64) -> bool {
        (self.keeper.as_ref()).is_none_or(|keeper| keeper.has_read(epoch))
    }

    pub(super) fn health(&self) -> ComponentHealth {
        match &*self.adapter.link().state().borrow() {
            LinkState::Up(epoch) if self.knows_all(*epoch) => ComponentHealth::healthy(None),
            LinkState::Up(_) => ComponentHealth::unhealthy(
                "the revocations that are kept there are not read yet".to_owned(),
            ),
            LinkState::Down(fault) => ComponentHealth::unhealthy(fault.to_string()),
        }
    }

    async fn close_all(&self, organisation: &Id, user: &UserId, ending: Ending) {
        let sessions = self.sessions.open().of_user(organisation, user);
        for slice in sessions.chunks(SLICE) {
            for session in slice {
                close(session, ending);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Has a connection end.
pub(super) fn close(session: &Arc<Session>, ending: Ending) {
    match ending {
        Ending::MayReturn => session.close(CloseReason::Kicked),
        Ending::MustNotReturn => session.dismiss(),
    }
}

fn ending(may_return: bool) -> Ending {
    if may_return {
        Ending::MayReturn
    } else {
        Ending::MustNotReturn
    }
}

impl BusReceiver for Fleet {
    fn event(&self, event: Ephemeral) {
        let hub = self.sessions.hub();
        hub.with(|hub, now| hub.apply(Feed::Ephemeral(event), now));
    }

    fn has_kind(&self, kind: &str) -> bool {
        let rules = self.sessions.rules();
        let is_in_policy = rules.policy.kinds().any(|known| known == kind);
        is_in_policy || self.log.routes().kinds().contains(kind)
    }

    fn command(&self, message: BusMessage) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            match message {
                BusMessage::Event(event) => self.event(event),
                BusMessage::Kick {
                    connection_id,
                    may_return,
                    ..
                } => {
                    if let Some(session) = self.sessions.open().by_connection_id(&connection_id) {
                        close(&session, ending(may_return));
                    }
                }
                BusMessage::Disconnect {
                    organisation,
                    user,
                    may_return,
                } => {
                    self.close_all(&organisation, &user, ending(may_return))
                        .await;
                }
                // Open sessions are ended in the background.
                BusMessage::Revocation(target, revocation) => {
                    let merged = self.sessions.revoke(&target, revocation);
                    if let Some(keeper) = &self.keeper {
                        keeper.heard(&target, revocation, merged);
                    }
                }
            }
        })
    }
}
