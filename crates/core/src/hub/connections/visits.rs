//! Visits: what concerns all connections reaches them a few at a time.
//!
//! To go over ten thousand connections at once would hold up what is live. Nothing depends on when a connection is visited: a visit does
//! what is due for it by then, and doing that earlier or later only moves a notice. For the same reason a window is evicted in slices: what
//! a tick leaves to evict is evicted before the next visits.

use crate::hub::connections::{Control, Schedule};
use crate::hub::outlet::Outlet;
use crate::hub::{ConnectionKey, Hub, Now};

/// The connections that are still to be visited.
#[derive(Debug, Default)]
pub(in crate::hub) struct Visits {
    keys: std::vec::IntoIter<ConnectionKey>,
    /// Some were visited before what is news now, so all are visited once more. It is not begun again at once: then the last ones
    /// would never be reached while news comes faster than a round takes.
    again: bool,
    /// There is more to evict than what was.
    pub(in crate::hub) evict: bool,
}

impl Visits {
    fn is_round(&self) -> bool {
        self.again || self.keys.len() > 0
    }

    fn waiting(&self) -> bool {
        self.evict || self.is_round()
    }
}

impl<O: Outlet> Hub<O> {
    /// Has every connection visited.
    pub(in crate::hub) fn visit_all(&mut self) {
        if self.visits.is_round() {
            self.visits.again = true;
        } else {
            self.begin_round();
        }
    }

    fn begin_round(&mut self) {
        self.visits.again = false;
        self.visits.keys = self.connections.keys().collect::<Vec<_>>().into_iter();
    }

    /// Visits up to `limit` of the connections for which there may be news, or goes on with the eviction that a
    /// [`tick`](Self::tick) began. False if nothing is left.
    pub fn visit(&mut self, limit: usize, now: Now) -> bool {
        if self.visits.evict {
            self.evict_expired(now);
            return self.visits.waiting();
        }
        for _ in 0..limit {
            let Some(key) = self.next_visit() else {
                break;
            };
            self.visit_one(key, now);
        }
        let more = self.visits.is_round();
        if !more {
            // The last round began after the last resync was raised, and what has come since was up to date from the start.
            self.resyncs.all_seen_to();
        }
        more
    }

    fn next_visit(&mut self) -> Option<ConnectionKey> {
        if self.visits.keys.len() == 0 && self.visits.again {
            self.begin_round();
        }
        self.visits.keys.next()
    }

    /// Whether a [`visit`](Self::visit) is due.
    pub fn visits_waiting(&self) -> bool {
        self.visits.waiting()
    }

    fn visit_one(&mut self, key: ConnectionKey, now: Now) {
        self.see_to(key, now);
        let changes = self.contact.changes;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut connection.details.contact_changes, changes) != changes {
            self.control(key, Control::Stale, now);
        }
        self.renew_cursor(key, now);
        // A merging one goes live once this instance has read what its vector covers, and no event may come to say so.
        let connection = self.connections.get(key);
        if connection.is_some_and(|it| !it.is_live() && it.schedule == Schedule::Idle) {
            self.schedule(key);
        }
    }

    /// A connection that was sent nothing for a while is sent a newer cursor.
    fn renew_cursor(&mut self, key: ConnectionKey, now: Now) {
        let quiet = self.settings.quiet_ms();
        let connection = self.connections.get(key);
        if connection.is_some_and(|it| now.monotonic.saturating_sub(it.last_at) >= quiet) {
            // One that still merges is at the position of its last turn. Its cursor must cover what has come since.
            self.turn_if_idle(key, now);
            self.cursor(key, now);
        }
    }
}
