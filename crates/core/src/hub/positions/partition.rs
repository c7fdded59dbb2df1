//! One partition: how far it has been read, and which log it is.

use crate::domain::cursor::{Mark, Tag};
use crate::domain::record::TopicPartition;
use crate::hub::Now;

#[derive(Debug)]
pub(in crate::hub) struct Partition {
    pub(super) place: TopicPartition,
    pub(in crate::hub) hash: u32,
    pub(in crate::hub) tag: Tag,
    /// The first offset not handed over yet.
    pub(in crate::hub) next: i64,
    /// The first offset that was read at all: what came before is not in the window.
    pub(in crate::hub) start: i64,
    /// Monotonic time at which reading began, if older records were skipped: which organisations had them is not known.
    pub(super) partly_read_since: Option<u64>,
    /// Wall time at which the log was found to have replaced another one of this name and number: older cursors do not fit.
    pub(in crate::hub) recreated_at: Option<u64>,
    /// Which topic the log before was.
    pub(super) former: Tag,
    /// Wall time at which offsets turned out to be lost before they were read here.
    pub(in crate::hub) gap_at: Option<u64>,
    /// The log exists, but is no longer read.
    pub(in crate::hub) unwanted: bool,
    /// Wall time of the last moment at which the end was confirmed to be reached.
    pub(super) end_seen: u64,
    /// Wall time after which all was written that is read from now on.
    pub(in crate::hub) written_after: u64,
    /// The newest append of a record of it.
    pub(super) appended: u64,
}

impl Partition {
    /// How far it is read.
    pub(in crate::hub) fn mark(&self) -> Mark {
        Mark {
            hash: self.hash,
            tag: self.tag,
            next: self.next,
        }
    }

    /// Wall time (milliseconds) at which reading began behind records that were skipped or lost; now, if there were none.
    pub(in crate::hub) fn began(&self, now: Now) -> u64 {
        let wall = |since: u64| now.wall.saturating_sub(now.monotonic.saturating_sub(since));
        let skipped = self.partly_read_since.map(wall);
        skipped.max(self.gap_at).unwrap_or(now.wall)
    }

    pub(in crate::hub) fn is_same_topic(&self, other: &Self) -> bool {
        self.place.0 == other.place.0
    }

    /// Whether this mark belongs to the log of this name that was here before. `after_issue` says whether a moment of wall time
    /// is later than the issue of the cursor.
    pub(in crate::hub) fn was_another(
        &self,
        mark: Mark,
        after_issue: impl Fn(u64) -> bool,
    ) -> bool {
        let Some(recreated_at) = self.recreated_at else {
            return false;
        };
        if self.tag.differs(self.former) && mark.tag.is_known() {
            return mark.tag == self.former;
        }
        // The same topic was truncated, or the ids are unknown.
        !self.tag.differs(mark.tag) && after_issue(recreated_at)
    }
}
