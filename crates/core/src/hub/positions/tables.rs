//! The tables of partitions that cursors are encoded with: the present one and earlier ones.

use std::collections::VecDeque;

use crate::domain::cursor::{Cursor, CursorError, Table};

use crate::hub::Now;

/// So many are remembered, so that cursors issued before a change can still be read.
const REMEMBERED: usize = 32;

#[derive(Debug)]
pub(in crate::hub) struct Tables {
    /// Other instances have heard of a change after so many milliseconds, or cursors from before are too old.
    settle: u64,
    present: Table,
    earlier: VecDeque<Table>,
    /// Monotonic time of the last change after the start.
    changed: Option<u64>,
}

impl Tables {
    pub(in crate::hub) fn new(settle: u64) -> Self {
        Self {
            settle,
            present: Table::new(Vec::new()),
            earlier: VecDeque::new(),
            changed: None,
        }
    }

    /// These are the partitions from now on. While an instance starts no client has a cursor of it.
    pub(in crate::hub) fn change(&mut self, table: Table, starting: bool, now: Now) {
        if table == self.present {
            return;
        }
        // Partitions come and go one by one. No cursor was made with what stood for a moment in between, and to remember all of
        // that would push out the tables with which cursors were made. What the new table reads as well need not be kept either.
        let was_used = self.shared(now).is_some();
        let is_read = self.present.digest == table.digest && !self.present.tag.is_known();
        // Instances that have not learned what this one has can read its table all the same.
        if !starting && !self.present.fits(table.digest, table.tag) {
            self.changed = Some(now.monotonic);
        }
        let former = std::mem::replace(&mut self.present, table);
        if was_used && !is_read {
            self.earlier.push_front(former);
            self.earlier.truncate(REMEMBERED);
        }
    }

    /// The table to encode with; `None` for a while after a change, when other instances may not know it.
    pub(in crate::hub) fn shared(&self, now: Now) -> Option<&Table> {
        let settled = self
            .changed
            .is_none_or(|changed| now.monotonic.saturating_sub(changed) >= self.settle);
        settled.then_some(&self.present)
    }

    /// Reads a cursor. Of the tables that this instance has had, the one with the same topics is looked for first.
    pub(in crate::hub) fn decode(&self, text: &str) -> Result<Cursor, CursorError> {
        Cursor::decode(text, |digest, tag| {
            let tables = || std::iter::once(&self.present).chain(&self.earlier);
            tables()
                .find(|table| table.digest == digest && table.tag == tag)
                .or_else(|| tables().find(|table| table.fits(digest, tag)))
        })
    }
}
