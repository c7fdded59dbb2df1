//! Which cursor is true for a connection: never ahead of what it was sent.

use std::sync::Arc;

use super::turn::Turn;
use crate::domain::cursor::Cursor;
use crate::hub::connections::{Connection, ConnectionState};
use crate::hub::positions::partition::Partition;

impl Turn<'_> {
    /// The cursor that is true for the connection at its present position.
    pub(super) fn cursor_of<O>(&self, connection: &Connection<O>) -> Arc<str> {
        match &connection.state {
            ConnectionState::Live => self.shared_cursor(),
            // Behind the head: what was sent last, for there is more to come.
            ConnectionState::Lagging(lag) if lag.next < self.log.head() => {
                connection.details.last.clone()
            }
            ConnectionState::Lagging(lag) => match &lag.cursor_vector {
                None => self.shared_cursor(),
                // At the head: what the client came with, and what was sent or skipped here.
                Some(vector) => {
                    let here = self.log.cursor(self.positions, self.settings, self.now);
                    self.encode(&here.merged(vector))
                }
            },
        }
    }

    /// The cursor of everything that this instance has read.
    pub(in crate::hub) fn shared_cursor(&self) -> Arc<str> {
        self.encode(&self.log.cursor(self.positions, self.settings, self.now))
    }

    fn encode(&self, cursor: &Cursor) -> Arc<str> {
        cursor.encode(self.positions.tables().shared(self.now))
    }

    /// The entry's cursor, raised to the connection's vector.
    ///
    /// The entry's cursor covers what this instance had read when it was appended, the vector what the client had seen elsewhere
    /// when it came. The client has both once it has the entry: from the vector it had everything covered before it came, and from
    /// here it was sent the rest in order. So the maximum of both in every partition is true for it, and neither alone is: the
    /// entry's own would forget what the client saw ahead of this instance, and a resume from it would repeat that.
    pub(super) fn merged(&self, cursor: &str, vector: &Cursor) -> Option<Arc<str>> {
        // The text is decoded rather than kept beside the entry: few connections merge, and every entry would pay. `None`: the table
        // that it was encoded with is no longer remembered.
        let decoded = self.positions.tables().decode(cursor).ok()?;
        // Ids of topics that were learned since are added: a mark without one would force the long form, or match another topic.
        let decoded = self.positions.completed(decoded);
        Some(self.encode(&decoded.merged(vector)))
    }

    /// Whether this instance has read all that the connection's cursor vector covers, except for partitions that do not matter.
    pub(super) fn has_passed_vector<O>(
        &self,
        connection: &Connection<O>,
        except: impl Fn(&Partition) -> bool,
    ) -> bool {
        let vector = match &connection.state {
            ConnectionState::Live => None,
            ConnectionState::Lagging(lag) => lag.cursor_vector.as_ref(),
        };
        let Some(vector) = vector else {
            return true;
        };
        vector.marks.iter().all(|mark| {
            let index = self.positions.index_of(mark.hash);
            index
                .and_then(|index| self.positions.get(index))
                .is_none_or(|here| here.next >= mark.next || except(here))
        })
    }
}
