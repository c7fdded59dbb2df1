//! Which connects and disconnects are reported to back-ends, and which are no news.
//!
//! A connect is reported at once. A disconnect is held for a while, the debounce: a connection of the same user that begins meanwhile
//! takes its place, and neither of the two is reported. In the reports that connection then has the id of the one whose place it took, so
//! each id that was reported as connected is reported as disconnected exactly once.
//!
//! A user is online from the first connect that is reported to the last disconnect that is. Of one user the reports are in the order of
//! their times.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::id::{Id, UserId};
use super::protocol::CloseReason;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectedUser {
    pub organisation: Id,
    pub user: UserId,
}

/// The moment of a change, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportTime {
    pub monotonic: u64,
    /// Since the Unix epoch: what the report says.
    pub wall: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    Connected,
    /// Behind the first `Connected` of a user.
    UserOnline,
    Disconnected,
    /// Behind the last `Disconnected` of a user.
    UserOffline,
}

impl ReportKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::UserOnline => "user_online",
            Self::Disconnected => "disconnected",
            Self::UserOffline => "user_offline",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    pub kind: ReportKind,
    pub user: ConnectedUser,
    /// Under which the connect was reported.
    pub connection_id: Arc<str>,
    /// Of the connection that began or ended.
    pub transport: &'static str,
    /// Of an end.
    pub reason: Option<CloseReason>,
    /// When it happened, in milliseconds since the Unix epoch; an end may be reported much later.
    pub at: u64,
}

/// The connections of one instance as its reports have them.
#[derive(Debug)]
pub struct ConnectionEvents {
    debounce_ms: u64,
    /// Ends that are held at most; then the oldest is reported before its time.
    most_held: usize,
    users: HashMap<ConnectedUser, UserConnections>,
    /// By the order in which they came, which is that in which they are due.
    held: BTreeMap<u64, HeldEnd>,
    next_end: u64,
}

/// Never empty: a user without connections is not kept.
#[derive(Debug, Default)]
struct UserConnections {
    open: Vec<ReportedConnection>,
    /// Of [`ConnectionEvents::held`], in order.
    held: VecDeque<u64>,
}

#[derive(Debug)]
struct ReportedConnection {
    connection_id: Arc<str>,
    /// Its own, or that of the connection whose place it took.
    reported_as: Arc<str>,
    transport: &'static str,
}

#[derive(Debug)]
struct HeldEnd {
    /// Monotonic milliseconds.
    due: u64,
    report: ConnectionReport,
}

impl ConnectionEvents {
    /// Without a debounce (0) every change is reported at once.
    pub fn new(debounce_ms: u64, most_held: usize) -> Self {
        Self {
            debounce_ms,
            most_held,
            users: HashMap::new(),
            held: BTreeMap::new(),
            next_end: 0,
        }
    }

    /// Ends that wait for their debounce to be over.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A connection has begun; what is to be reported, in order.
    pub fn connected(
        &mut self,
        user: &ConnectedUser,
        connection_id: &Arc<str>,
        transport: &'static str,
        now: ReportTime,
    ) -> Vec<ConnectionReport> {
        let of = self.users.entry(user.clone()).or_default();
        let place = of.held.pop_front();
        let place = place.and_then(|end| self.held.remove(&end));
        let is_first = of.open.is_empty() && of.held.is_empty();
        let taken = place.map(|end| end.report.connection_id);
        let reported_as = taken.clone().unwrap_or_else(|| connection_id.clone());
        of.open.push(ReportedConnection {
            connection_id: connection_id.clone(),
            reported_as,
            transport,
        });
        if taken.is_some() {
            return Vec::new();
        }
        let report = |kind| ConnectionReport {
            kind,
            user: user.clone(),
            connection_id: connection_id.clone(),
            transport,
            reason: None,
            at: now.wall,
        };
        let mut reports = vec![report(ReportKind::Connected)];
        if is_first {
            reports.push(report(ReportKind::UserOnline));
        }
        reports
    }

    /// A connection has ended; what is to be reported, in order. One that is not known changes nothing.
    pub fn disconnected(
        &mut self,
        user: &ConnectedUser,
        connection_id: &str,
        reason: CloseReason,
        now: ReportTime,
    ) -> Vec<ConnectionReport> {
        let Some(of) = self.users.get_mut(user) else {
            return Vec::new();
        };
        let mut open = of.open.iter();
        let Some(at) = open.position(|open| *open.connection_id == *connection_id) else {
            return Vec::new();
        };
        let ended = of.open.swap_remove(at);
        let report = end_of(user, ended, reason, now.wall);
        if self.debounce_ms == 0 {
            return self.reports_of_end(report);
        }
        of.held.push_back(self.next_end);
        let end = HeldEnd {
            due: now.monotonic.saturating_add(self.debounce_ms),
            report,
        };
        self.held.insert(self.next_end, end);
        self.next_end += 1;
        if self.held.len() > self.most_held {
            self.report_oldest()
        } else {
            Vec::new()
        }
    }

    /// Ends whose debounce is over, of at most so many connections.
    pub fn due(&mut self, monotonic: u64, most: usize) -> Vec<ConnectionReport> {
        let mut reports = Vec::new();
        for _ in 0..most {
            let oldest = self.held.first_key_value();
            if oldest.is_none_or(|(_, end)| end.due > monotonic) {
                break;
            }
            reports.extend(self.report_oldest());
        }
        reports
    }

    /// From now on every end is reported at once: clients that come back will reach another instance. So is what was held, before a later
    /// end of the same user is.
    pub fn stop_holding(&mut self) -> Vec<ConnectionReport> {
        self.debounce_ms = 0;
        self.due(u64::MAX, usize::MAX)
    }

    /// The instance stops: whatever is open or held has ended.
    pub fn end_all(&mut self, reason: CloseReason, wall: u64) -> Vec<ConnectionReport> {
        let mut reports = self.stop_holding();
        let open = self.users.iter_mut().flat_map(|(user, of)| {
            let open = std::mem::take(&mut of.open).into_iter();
            open.map(|open| end_of(user, open, reason, wall))
        });
        let ends: Vec<_> = open.collect();
        for (nth, end) in ends.iter().enumerate() {
            // Of a user's ends the last one leaves none.
            let more = ends.get(nth + 1).is_some_and(|next| next.user == end.user);
            reports.push(end.clone());
            if !more {
                reports.push(offline(end.clone()));
            }
        }
        self.users.clear();
        reports
    }

    fn report_oldest(&mut self) -> Vec<ConnectionReport> {
        let Some((number, HeldEnd { report, .. })) = self.held.pop_first() else {
            return Vec::new();
        };
        if let Some(of) = self.users.get_mut(&report.user) {
            of.held.retain(|held| *held != number);
        }
        self.reports_of_end(report)
    }

    /// The end itself, and that its user has no other connection, if so.
    fn reports_of_end(&mut self, end: ConnectionReport) -> Vec<ConnectionReport> {
        let of = self.users.get(&end.user);
        if of.is_some_and(|of| !of.open.is_empty() || !of.held.is_empty()) {
            return vec![end];
        }
        self.users.remove(&end.user);
        vec![end.clone(), offline(end)]
    }
}

fn end_of(
    user: &ConnectedUser,
    ended: ReportedConnection,
    reason: CloseReason,
    at: u64,
) -> ConnectionReport {
    ConnectionReport {
        kind: ReportKind::Disconnected,
        user: user.clone(),
        connection_id: ended.reported_as,
        transport: ended.transport,
        reason: Some(reason),
        at,
    }
}

fn offline(end: ConnectionReport) -> ConnectionReport {
    ConnectionReport {
        kind: ReportKind::UserOffline,
        ..end
    }
}

#[cfg(test)]
mod tests;
