//! One publication in the window.

use std::sync::Arc;

use crate::domain::publication::Publication;
use crate::hub::Now;

/// What an entry costs besides its bytes, in bytes: the publication, the shared counts, its places in the room index.
const ENTRY_OVERHEAD: usize = 320;
const ROOM_OVERHEAD: usize = 96;

/// A publication in the window, shared with every connection that it is sent to.
#[derive(Debug)]
pub struct Entry {
    publication: Arc<Publication>,
    pub(in crate::hub) partition: u32,
    /// True for a connection that has everything up to and with this entry.
    cursor: Arc<str>,
    pub(super) appended: Now,
    /// Bytes that it takes, its places in the indices included.
    pub(super) cost: usize,
}

impl Entry {
    pub fn new(
        publication: Arc<Publication>,
        partition: u32,
        cursor: Arc<str>,
        appended: Now,
    ) -> Self {
        let rooms = publication.audience_len();
        let key = publication.key.as_ref().map_or(0, |key| key.len());
        Self {
            cost: publication.payload.get().len()
                + key
                + cursor.len()
                + rooms * ROOM_OVERHEAD
                + ENTRY_OVERHEAD,
            publication,
            partition,
            cursor,
            appended,
        }
    }

    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// The cursor that all live connections get with it.
    pub fn cursor(&self) -> &Arc<str> {
        &self.cursor
    }
}
