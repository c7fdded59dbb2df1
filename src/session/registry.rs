//! The sessions that are open, by connection, user and organisation; and what ends several of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::ConnectionKey;
use rand::seq::SliceRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Session, Sessions, TransportHandle};
use crate::clock;

/// After so many sessions other tasks get the thread.
pub(super) const SLICE: usize = 64;

/// The open sessions. Its lock is taken inside the hub's, never the other way round.
#[derive(Default)]
pub struct OpenSessions(Mutex<SessionIndex>);

/// Everything of a session is removed when it ends, so each map is bounded by what is open.
#[derive(Default)]
struct SessionIndex {
    sessions: HashMap<ConnectionKey, OpenSession>,
    connection_ids: HashMap<Arc<str>, ConnectionKey>,
    users: BTreeSet<UserConnection>,
}

/// By organisation and user. A `None` comes before all others: with it a range begins. (One tree takes a third of the memory of
/// sets within maps.)
type UserConnection = (Id, Option<UserId>, Option<ConnectionKey>);

fn user_connection(session: &Session, key: ConnectionKey) -> UserConnection {
    let (organisation, user) = (session.organisation(), session.user());
    (organisation.clone(), Some(user.clone()), Some(key))
}

struct OpenSession {
    session: Weak<Session>,
    /// Its token is good until then, in seconds since the Unix epoch.
    until: u64,
}

impl OpenSessions {
    pub(super) fn add(&self, key: ConnectionKey, session: &Arc<Session>, until: u64) {
        let mut index = self.lock();
        let connection_id = session.connection_id.clone();
        index.connection_ids.insert(connection_id, key);
        index.users.insert(user_connection(session, key));
        let session = Arc::downgrade(session);
        index.sessions.insert(key, OpenSession { session, until });
    }

    pub(super) fn remove(&self, key: ConnectionKey, session: &Session) {
        let mut index = self.lock();
        index.sessions.remove(&key);
        index.connection_ids.remove(session.connection_id());
        index.users.remove(&user_connection(session, key));
    }

    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn by_connection_id(&self, connection_id: &str) -> Option<Arc<Session>> {
        let index = self.lock();
        index.session(*index.connection_ids.get(connection_id)?)
    }

    /// All connections of a user, on any transport.
    pub fn of_user(&self, organisation: &Id, user: &UserId) -> Vec<Arc<Session>> {
        let index = self.lock();
        let first = (organisation.clone(), Some(user.clone()), None);
        let users = index.users.range(first..);
        let same =
            users.take_while(|(of, who, _)| of == organisation && who.as_ref() == Some(user));
        same.filter_map(|(.., key)| index.session((*key)?))
            .collect()
    }

    pub fn of_organisation(&self, organisation: &Id) -> Vec<Arc<Session>> {
        let index = self.lock();
        let users = index.users.range((organisation.clone(), None, None)..);
        let same = users.take_while(|(of, ..)| of == organisation);
        same.filter_map(|(.., key)| index.session((*key)?))
            .collect()
    }

    pub(super) fn keyed(&self) -> Vec<(ConnectionKey, Arc<Session>)> {
        let index = self.lock();
        let all = index.sessions.iter();
        all.filter_map(|(key, open)| Some((*key, open.session.upgrade()?)))
            .collect()
    }

    /// Those whose token is not good any more at `now` (seconds since the Unix epoch).
    fn expired(&self, now: u64) -> Vec<Arc<Session>> {
        let index = self.lock();
        let expired = index.sessions.values().filter(|open| open.until <= now);
        expired.filter_map(|open| open.session.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, SessionIndex> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionIndex {
    fn session(&self, key: ConnectionKey) -> Option<Arc<Session>> {
        self.sessions.get(&key)?.session.upgrade()
    }
}

impl Sessions {
    /// Closes sessions whose token has expired, and gives up acknowledgements that do not come, once a second until `stop`.
    pub async fn watch_expiry(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.close_expired(clock::wall_ms() / 1000).await;
            self.expire_asks(clock::monotonic_ms()).await;
        }
    }

    pub(super) async fn close_expired(&self, now: u64) {
        for slice in self.open.expired(now).chunks(SLICE) {
            for session in slice {
                session.close(CloseReason::TokenExpired);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Closes the transport of every session, in random order and evenly over `spread`, so that the clients do not all reconnect
    /// to the other instances at once. `cut_short` ends the spreading.
    pub async fn drain(&self, spread: Duration, cut_short: &CancellationToken) {
        let mut transports = self.transports();
        transports.shuffle(&mut rand::rng());
        let count = u32::try_from(transports.len()).unwrap_or(u32::MAX);
        let start = Instant::now();
        for (transport, nth) in transports.into_iter().zip(0_u32..) {
            let due = start + spread.mul_f64(f64::from(nth) / f64::from(count));
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = cut_short.cancelled() => {}
            }
            transport.close(CloseReason::Draining);
        }
    }

    /// What carries the open sessions, each once: two namespaces of a client share a transport.
    fn transports(&self) -> Vec<Arc<dyn TransportHandle>> {
        let sessions = self.open.keyed().into_iter();
        let mut transports: Vec<_> = sessions
            .filter_map(|(_, session)| session.transport())
            .collect();
        let address = |transport: &Arc<dyn TransportHandle>| Arc::as_ptr(transport).cast::<()>();
        transports.sort_by_key(address);
        transports.dedup_by_key(|transport| address(transport));
        transports
    }
}
