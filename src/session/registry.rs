//! The sessions that are open, by connection, user and organisation.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::hub::ConnectionKey;

use super::expiry::TokenEnd;
use super::{Session, Sessions, connection_number};

/// After so many sessions other tasks get the thread.
pub(super) const SLICE: usize = 64;

/// Follows which organisations have sessions here. Called under locks: to be noted, and acted upon later.
pub trait OrganisationWatch: Send + Sync {
    /// The first session of an organisation has come.
    fn came(&self, organisation: &Id);

    /// The last one has gone.
    fn went(&self, organisation: &Id);
}

/// Who lets other instances know which sessions are open here.
pub trait SessionRegister: Send + Sync {
    /// It has begun or ended, or is carried by something else. Called under the hub's lock: to be noted, and acted upon later.
    fn changed(&self, session: &Session);
}

/// The open sessions. Its lock is taken inside the hub's, never the other way round.
pub struct OpenSessions {
    index: Mutex<SessionIndex>,
    watch: Option<Arc<dyn OrganisationWatch>>,
}

/// Everything of a session is removed when it ends, so each map is bounded by what is open.
#[derive(Default)]
struct SessionIndex {
    sessions: HashMap<ConnectionKey, OpenSession>,
    /// By the number of the connection id.
    keys: HashMap<u64, ConnectionKey>,
    users: BTreeSet<UserConnection>,
}

/// By organisation and user, and by what all instances order them by: the number of the connection id. A `None` comes before all others:
/// with it a range begins. (One tree takes a third of the memory of sets within maps.)
type UserConnection = (Id, Option<UserId>, Option<u64>);

fn user_connection(session: &Session) -> UserConnection {
    let (organisation, user) = (session.organisation(), session.user());
    (
        organisation.clone(),
        Some(user.clone()),
        Some(session.number),
    )
}

/// Which of the open sessions are asked for: all, those of an organisation, or those of one of its users.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionRange<'a> {
    pub organisation: Option<&'a Id>,
    /// Counts only beside an organisation: they are in the order of organisations.
    pub user: Option<&'a UserId>,
}

impl SessionRange<'_> {
    fn holds(&self, (organisation, user, _): &UserConnection) -> bool {
        let Some(wanted) = self.organisation else {
            return true;
        };
        organisation == wanted && self.user.is_none_or(|wanted| user.as_ref() == Some(wanted))
    }

    /// It is in this organisation, before its first user or at the one that is wanted.
    fn begin(&self) -> Option<UserConnection> {
        let organisation = self.organisation?.clone();
        Some((organisation, self.user.cloned(), None))
    }
}

/// A place among the open sessions, which are in the order of organisation, user and connection. It stays good when its session has
/// ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPosition {
    pub organisation: Id,
    pub user: UserId,
    /// The number of its connection id.
    pub connection: u64,
}

struct OpenSession {
    session: Weak<Session>,
    token: TokenEnd,
}

impl OpenSessions {
    pub(super) fn new(watch: Option<Arc<dyn OrganisationWatch>>) -> Self {
        Self {
            index: Mutex::default(),
            watch,
        }
    }

    pub(super) fn add(&self, key: ConnectionKey, session: &Arc<Session>, token: TokenEnd) {
        let mut index = self.lock();
        if let Some(watch) = &self.watch
            && !index.has(session.organisation())
        {
            watch.came(session.organisation());
        }
        index.keys.insert(session.number, key);
        index.users.insert(user_connection(session));
        let session = Arc::downgrade(session);
        index.sessions.insert(key, OpenSession { session, token });
    }

    pub(super) fn remove(&self, key: ConnectionKey, session: &Session) {
        let mut index = self.lock();
        index.sessions.remove(&key);
        index.keys.remove(&session.number);
        let was_there = index.users.remove(&user_connection(session));
        if let Some(watch) = &self.watch
            && was_there
            && !index.has(session.organisation())
        {
            watch.went(session.organisation());
        }
    }

    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn by_connection_id(&self, connection_id: &str) -> Option<Arc<Session>> {
        self.lock().numbered(connection_number(connection_id)?)
    }

    /// All connections of a user, on any transport.
    pub fn of_user(&self, organisation: &Id, user: &UserId) -> Vec<Arc<Session>> {
        let index = self.lock();
        let first = (organisation.clone(), Some(user.clone()), None);
        let users = index.users.range(first..);
        let same =
            users.take_while(|(of, who, _)| of == organisation && who.as_ref() == Some(user));
        same.filter_map(|(.., number)| index.numbered((*number)?))
            .collect()
    }

    /// The sessions of a range that follow `after`, or from the first one on, at most so many.
    pub fn following(
        &self,
        range: SessionRange<'_>,
        after: Option<&SessionPosition>,
        most: usize,
    ) -> Vec<(SessionPosition, Arc<Session>)> {
        let index = self.lock();
        let begin = range.begin();
        let after = after.cloned().map(|after| {
            let SessionPosition {
                organisation,
                user,
                connection,
            } = after;
            (organisation, Some(user), Some(connection))
        });
        // A place before the range begins none.
        let first = match (after, begin) {
            (Some(after), Some(begin)) if after < begin => Bound::Included(begin),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(begin)) => Bound::Included(begin),
            (None, None) => Bound::Unbounded,
        };
        let following = index.users.range((first, Bound::Unbounded));
        let same = following.take_while(|at| range.holds(at));
        let found = same.filter_map(|(organisation, user, number)| {
            let position = SessionPosition {
                organisation: organisation.clone(),
                user: user.clone()?,
                connection: (*number)?,
            };
            let session = index.numbered(position.connection)?;
            Some((position, session))
        });
        found.take(most).collect()
    }

    pub(super) fn keyed(&self) -> Vec<(ConnectionKey, Arc<Session>)> {
        let index = self.lock();
        let all = index.sessions.iter();
        all.filter_map(|(key, open)| Some((*key, open.session.upgrade()?)))
            .collect()
    }

    /// Those whose token is not good any more at `now` (seconds since the Unix epoch), each once.
    pub(super) fn take_expired(&self, now: u64) -> Vec<Arc<Session>> {
        let mut index = self.lock();
        let sessions = index.sessions.values_mut();
        let expired =
            sessions.filter_map(|open| open.token.take_close(now).then_some(&open.session));
        expired.filter_map(Weak::upgrade).collect()
    }

    /// Those that are to be notified at `now` that their token expires.
    pub(super) fn expiring(&self, now: u64) -> Vec<ConnectionKey> {
        let index = self.lock();
        let sessions = index.sessions.iter();
        let expiring = sessions.filter(|(_, open)| open.token.notice_is_due(now));
        expiring.map(|(key, _)| *key).collect()
    }

    /// Whether this one is to be notified: true once for each token.
    pub(super) fn take_notice(&self, key: ConnectionKey, now: u64) -> bool {
        let mut index = self.lock();
        let open = index.sessions.get_mut(&key);
        open.is_some_and(|open| open.token.take_notice(now))
    }

    /// It has another token. False: it has ended, or is being closed because of the token that it had.
    pub(super) fn renew(&self, key: ConnectionKey, expires: u64, closes_at: u64, now: u64) -> bool {
        let mut index = self.lock();
        let Some(open) = index.sessions.get_mut(&key) else {
            return false;
        };
        let renewed = open.token.renewed(expires, closes_at, now);
        if let Some(token) = renewed {
            open.token = token;
        }
        renewed.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, SessionIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionIndex {
    fn has(&self, organisation: &Id) -> bool {
        let mut following = self.users.range((organisation.clone(), None, None)..);
        following.next().is_some_and(|(of, ..)| of == organisation)
    }

    fn session(&self, key: ConnectionKey) -> Option<Arc<Session>> {
        self.sessions.get(&key)?.session.upgrade()
    }

    fn numbered(&self, number: u64) -> Option<Arc<Session>> {
        self.session(*self.keys.get(&number)?)
    }
}

impl Session {
    /// It is not what it was.
    pub(super) fn register(&self) {
        if let Some(register) = self.shared.register.get() {
            register.changed(self);
        }
    }
}

impl Sessions {
    /// From now on this one is notified of sessions. The first call counts.
    pub fn register_with(&self, register: Arc<dyn SessionRegister>) {
        self.register.get_or_init(|| register);
    }
}
