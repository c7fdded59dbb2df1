//! A resync for all connections, or for all of some kind, as an epoch.
//!
//! To raise one costs the same however many connections there are: nothing is done with them but to have them visited. But from that
//! moment on the cursors of this instance are past the hole, and a client that received one without being resynced would never learn of
//! it. So each connection has the epoch that it is up to date with, and that is looked at before anything is done with it that may
//! carry a cursor: an offer, a turn, a control, a subscription. The visits only see to it that quiet ones are notified as well.

use super::Connection;
use crate::domain::cursor::Tag;
use crate::domain::protocol::ResyncReason;
use crate::hub::connections::ConnectionState;
use crate::hub::delivery::turn::Turn;
use crate::hub::outlet::Outlet;
use crate::hub::{ConnectionKey, Hub, Now};

/// So many are remembered at a time. Beyond, all connections are resynced, which loses nothing.
const MOST_RAISED: usize = 4_096;

/// The resyncs that were raised, as far as there may be connections that were not seen to since.
#[derive(Debug, Default)]
pub(in crate::hub) struct Resyncs {
    epoch: u32,
    raised: Vec<RaisedResync>,
}

#[derive(Debug)]
struct RaisedResync {
    epoch: u32,
    reason: ResyncReason,
    concerned: Concerned,
}

/// Which of the connections that were there when it was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Concerned {
    All,
    /// Those that did not start fresh and were not resynced after this append.
    StartedBefore(u64),
    /// Those whose cursor vector has the partition of this hash as another topic's than this tag's.
    VectorDiffers {
        hash: u32,
        tag: Tag,
    },
}

impl Concerned {
    fn is<O>(self, connection: &Connection<O>) -> bool {
        match self {
            Self::All => true,
            Self::StartedBefore(append) => connection.details.started_after < Some(append),
            Self::VectorDiffers { hash, tag } => match &connection.state {
                ConnectionState::Live => false,
                ConnectionState::Lagging(lag) => {
                    let mark = lag.cursor_vector.as_ref().and_then(|it| it.mark(hash));
                    mark.is_some_and(|mark| mark.tag.differs(tag))
                }
            },
        }
    }
}

impl Resyncs {
    pub(in crate::hub) fn epoch(&self) -> u32 {
        self.epoch
    }

    #[cfg(test)]
    pub(in crate::hub) fn len(&self) -> usize {
        self.raised.len()
    }

    fn raise(&mut self, reason: ResyncReason, concerned: Concerned) {
        self.epoch += 1;
        // The same once more: a connection that has not seen the one before need not be resynced twice. A topic of a thousand partitions
        // is deleted in a thousand steps.
        if let Some(last) = self.raised.last_mut()
            && (last.reason, last.concerned) == (reason, concerned)
        {
            last.epoch = self.epoch;
            return;
        }
        let concerned = if self.raised.len() < MOST_RAISED {
            concerned
        } else {
            self.raised.clear();
            Concerned::All
        };
        self.raised.push(RaisedResync {
            epoch: self.epoch,
            reason,
            concerned,
        });
    }

    /// Every connection is up to date.
    pub(in crate::hub) fn all_seen_to(&mut self) {
        self.raised.clear();
    }
}

impl Turn<'_> {
    /// Resyncs the connection if that was raised since it was seen to last. True if it was.
    pub(in crate::hub) fn apply_resyncs<O>(&mut self, connection: &mut Connection<O>) -> bool {
        let resyncs = self.resyncs;
        let since = std::mem::replace(&mut connection.epoch, resyncs.epoch);
        if since == resyncs.epoch {
            return false;
        }
        // In their order: one that was resynced by an earlier one may not be concerned by the next.
        let mut resynced = false;
        for raised in resyncs.raised.iter().filter(|it| it.epoch > since) {
            if raised.concerned.is(connection) {
                self.resync(connection, raised.reason);
                resynced = true;
            }
        }
        resynced
    }
}

impl<O: Outlet> Hub<O> {
    /// Resyncs connections before anything else is sent to them, without touching them now.
    pub(in crate::hub) fn raise_resync(&mut self, reason: ResyncReason, concerned: Concerned) {
        if !self.connections.is_empty() {
            self.resyncs.raise(reason, concerned);
            self.visit_all();
        }
    }

    /// Brings the connection up to date with the resyncs that were raised. To be called before anything is done with it.
    pub(in crate::hub) fn see_to(&mut self, key: ConnectionKey, now: Now) {
        let connection = self.connections.get(key);
        if connection.is_none_or(|it| it.epoch == self.resyncs.epoch) {
            return;
        }
        let resynced = self.with_turn(key, now, |turn, connection| {
            turn.apply_resyncs(connection).then_some(())
        });
        if resynced.flatten().is_some() {
            self.schedule(key);
        }
    }
}
