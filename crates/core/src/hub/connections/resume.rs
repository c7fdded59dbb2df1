//! Whether a cursor can be resumed here. docs/protocol.md says what clients may expect of one.

use crate::domain::cursor::{Cursor, CursorError, Mark, organisation_hash};
use crate::domain::id::Id;
use crate::domain::protocol::ResyncReason;

use crate::hub::positions::DISCOVERY_MS;
use crate::hub::positions::partition::Partition;
use crate::hub::{Hub, Now};

/// Clocks of instances may be apart by so much; the window is kept for longer by the same.
pub(in crate::hub) const SKEW_MS: u64 = 10_000;

/// The consumer confirms once a second that it is at the end, so cursors are that much older than they could be.
const CONFIRM_MS: u64 = 2_000;

/// What can be done with the cursor that a client came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    Resume(Cursor),
    /// It names partitions that are not known here. They may be new: refresh the metadata and ask again, once; if they stay
    /// unknown they were deleted, and the answer is [`ResyncReason::TopicRecreated`].
    Unknown,
    Resync(ResyncReason),
}

/// What became of the cursor that a client came with: as its welcome says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// There was none.
    Fresh,
    /// Everything after the cursor will be sent.
    Resumed,
    /// Something after the cursor is missing: the client must load its state again.
    Resync(ResyncReason),
}

impl Resumption {
    /// Its names, by [`index`](Self::index).
    pub const NAMES: [&str; 3] = ["fresh", "resumed", "resync"];

    pub fn index(self) -> usize {
        match self {
            Self::Fresh => 0,
            Self::Resumed => 1,
            Self::Resync(_) => 2,
        }
    }

    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl<O> Hub<O> {
    pub fn inspect(&self, organisation: &Id, text: &str, now: Now) -> Inspection {
        let cursor = match self.positions.tables().decode(text) {
            Ok(cursor) => cursor,
            Err(CursorError::Invalid) => return Inspection::Resync(ResyncReason::CursorInvalid),
            Err(CursorError::UnknownTable) => return Inspection::Unknown,
        };
        if cursor.organisation != organisation_hash(organisation) {
            return Inspection::Resync(ResyncReason::CursorForeign);
        }
        if cursor.issued.saturating_add(CONFIRM_MS) < self.earliest(now) {
            return Inspection::Resync(ResyncReason::CursorExpired);
        }
        if cursor.issued > now.wall.saturating_add(SKEW_MS) {
            return Inspection::Resync(ResyncReason::Clock);
        }
        let silent_from = self.settings.silent_from(cursor.issued);
        if self.positions.read_up_to(now) < silent_from.saturating_add(DISCOVERY_MS) {
            // See `late.rs`: it would be unknown whether what is still to be read here is new to the client.
            return Inspection::Resync(ResyncReason::CursorExpired);
        }
        if self.positions.is_ambiguous(&cursor) {
            return Inspection::Resync(ResyncReason::CursorInvalid);
        }
        match self.hole(organisation, &cursor, now) {
            Some(reason) => Inspection::Resync(reason),
            None if self.names_unknown(&cursor) => Inspection::Unknown,
            None => Inspection::Resume(self.positions.completed(cursor)),
        }
    }

    /// Cursors from before this wall time are not resumed.
    fn earliest(&self, now: Now) -> u64 {
        let window = self.settings.window_ms;
        let by_clock = now.wall.saturating_sub(window);
        let read = self.read_history.at_window_start(window, now);
        let Some(read) = read.filter(|_| self.positions.all_read_for(window, now)) else {
            return by_clock;
        };
        // The floors of what is older may have been removed.
        let remembered = (now.wall + 2 * SKEW_MS).saturating_sub(self.settings.memory_ms());
        by_clock.min(read.max(remembered))
    }

    /// Partitions in which the cursor is ahead of this instance. If the end of their log turns out to lie below the
    /// cursor, see [`Hub::end_of_log`].
    pub fn ahead(&self, cursor: &Cursor) -> Vec<u32> {
        let ahead = |mark: &Mark| {
            let index = self.positions.index_of(mark.hash)?;
            (self.positions.get(index)?.next < mark.next).then_some(index)
        };
        cursor.marks.iter().filter_map(ahead).collect()
    }

    /// It names a partition that is not known here, or another topic of that name.
    fn names_unknown(&self, cursor: &Cursor) -> bool {
        let unknown = |mark: &Mark| {
            let index = self.positions.index_of(mark.hash);
            let here = index.and_then(|index| self.positions.get(index));
            here.is_none_or(|here| here.tag.differs(mark.tag))
        };
        cursor.marks.iter().any(unknown)
    }

    /// Something between the cursor and now is no longer in the window.
    fn hole(&self, organisation: &Id, cursor: &Cursor, now: Now) -> Option<ResyncReason> {
        let log = self
            .by_id
            .get(organisation)
            .and_then(|key| self.organisations.get(*key));
        let silent_from = self.settings.silent_from(cursor.issued);
        let after_issue = |wall: u64| wall.saturating_add(SKEW_MS) > cursor.issued;
        // In a partition that its issuer had yet to find also a little before that.
        let perhaps_unseen = |wall: u64| after_issue(wall.saturating_add(DISCOVERY_MS));
        for (index, partition) in self.positions.live() {
            let floor = log.and_then(|log| log.floor(index));
            if let Some(mark) = cursor.mark(partition.hash) {
                if partition.was_another(mark, after_issue) {
                    return Some(ResyncReason::TopicRecreated);
                }
                if partition.tag.differs(mark.tag) {
                    // Nothing here can be compared with it.
                    continue;
                }
                let next = mark.next;
                if partition.start > next {
                    return Some(
                        partition
                            .gap_at
                            .map_or(ResyncReason::CursorExpired, |_| ResyncReason::Gap),
                    );
                }
                if floor.is_some_and(|floor| floor.next > next) {
                    return Some(ResyncReason::Evicted);
                }
            } else if partition.gap_at.is_some_and(after_issue) {
                return Some(ResyncReason::Gap);
            } else if floor.is_some_and(|floor| perhaps_unseen(floor.appended)) {
                return Some(ResyncReason::Evicted);
            } else if log.is_some_and(|log| log.late.has_before(index, silent_from))
                || self.was_added_after(cursor, partition, now)
            {
                return Some(ResyncReason::CursorExpired);
            }
        }
        None
    }

    /// The cursor would name the partition if its issuer had known it, and names others of that topic: so it has seen nothing of
    /// it, and this instance began in its midst. (Of a topic that its issuer did not want it had nothing to see.)
    ///
    /// Not if the partition [`began`](Partition::began) here more than [`DISCOVERY_MS`] and [`SKEW_MS`] before the cursor was issued. By
    /// then its issuer had found the partition too, and had read what lies before our start, or had announced that it could not. A cursor
    /// that does not name it then means that the issuer knew more partitions than cursors name, of which this instance has yet to find
    /// some.
    fn was_added_after(&self, cursor: &Cursor, partition: &Partition, now: Now) -> bool {
        let mut topic = (self.positions.live()).filter(|(_, other)| other.is_same_topic(partition));
        partition.start > 0
            && partition.began(now) + DISCOVERY_MS + SKEW_MS > cursor.issued
            && self.positions.len() <= self.settings.named_partitions
            && topic.any(|(_, other)| cursor.mark(other.hash).is_some())
    }
}
