//! Controls: what the server itself says to a connection, and the resync, which replaces what is pending.

use std::collections::VecDeque;

use super::outlet::{ControlItem, Item, Offered, Outlet};
use super::turn::{Stop, Turn};
use crate::domain::protocol::{GrantReason, ResyncReason};
use crate::hub::connections::{Connection, ConnectionState, Control, Lag};
use crate::hub::resume::Resumption;

impl Turn<'_> {
    /// Moves the connection to the head and notifies it. From here on every cursor is past the hole, so nothing that carries one
    /// may be sent before the notice: a pending `cursor` is dropped, a pending welcome speaks of the resync itself.
    pub(in crate::hub) fn resync<O>(
        &mut self,
        connection: &mut Connection<O>,
        reason: ResyncReason,
    ) {
        connection.state = ConnectionState::lagging(Lag::from(self.log.head()));
        connection.details.last = self.shared_cursor();
        connection.details.started_after = Some(self.appends);
        let welcome = connection
            .details
            .controls
            .iter()
            .find_map(|control| match control {
                Control::Welcome(resumption) => Some(*resumption),
                Control::Resync(_)
                | Control::Revoked(_)
                | Control::Granted(_)
                | Control::Joined
                | Control::TokenExpiring
                | Control::Cursor
                | Control::Stale => None,
            });
        let kept = connection.kept_on_resync();
        connection.details.controls.clear();
        match welcome {
            // It has seen nothing yet, so it has missed nothing: it starts here.
            Some(Resumption::Fresh) => connection.push(Control::Welcome(Resumption::Fresh)),
            Some(Resumption::Resumed | Resumption::Resync(_)) => {
                connection.push(Control::Welcome(Resumption::Resync(reason)));
                connection.push(Control::Resync(reason));
            }
            None => connection.push(Control::Resync(reason)),
        }
        for control in kept {
            connection.push(control);
        }
        if connection.has_incomplete_snapshot() {
            // The snapshots go on, and this says when they are complete.
            connection.push(Control::Cursor);
        }
        if welcome != Some(Resumption::Fresh) {
            self.counts.resyncs[reason as usize] += 1;
        }
    }

    /// Sends pending controls in their order, but for a `cursor` that waits for a snapshot.
    pub(super) fn send_controls<O: Outlet>(
        &mut self,
        connection: &mut Connection<O>,
    ) -> Result<(), Stop> {
        let incomplete = connection.has_incomplete_snapshot();
        let next = |controls: &VecDeque<Control>| {
            let mut controls = controls.iter();
            controls.position(|control| !(incomplete && *control == Control::Cursor))
        };
        while let Some(at) = next(&connection.details.controls) {
            let control = connection.details.controls[at];
            let cursor = self.cursor_of(connection);
            let item = match control {
                Control::Welcome(resumption) => ControlItem::Welcome {
                    resumption,
                    rooms: &connection.details.rooms,
                    window_seconds: self.log.window(self.settings.window_ms, self.now) / 1000,
                    cursor: &cursor,
                },
                Control::Resync(reason) => ControlItem::Resync {
                    reason,
                    rooms: &connection.details.rooms,
                    cursor: &cursor,
                },
                Control::Granted(reason) => ControlItem::Granted {
                    reason,
                    rooms: &connection.details.granted,
                    cursor: &cursor,
                },
                Control::Joined => ControlItem::Granted {
                    reason: GrantReason::Joined,
                    rooms: &connection.details.joined,
                    cursor: &cursor,
                },
                Control::Revoked(reason) => ControlItem::Revoked {
                    reason,
                    rooms: connection.details.revoked.of(reason),
                    cursor: &cursor,
                },
                Control::TokenExpiring => ControlItem::TokenExpiring,
                Control::Cursor => ControlItem::Cursor { cursor: &cursor },
                Control::Stale => ControlItem::Stale {
                    stale: self.contact.stale,
                    since: self.contact.since,
                    cursor: &cursor,
                },
            };
            if connection.outlet.offer(Item::Control(item)) == Offered::Full {
                return Err(Stop::OutletFull);
            }
            connection.details.controls.remove(at);
            if let Control::Revoked(reason) = control {
                connection.details.revoked.notified(reason);
            }
            if let Control::Granted(_) = control {
                connection.details.granted = Vec::new();
            }
            if control == Control::Joined {
                connection.details.joined = Vec::new();
            }
            if control != Control::TokenExpiring {
                connection.details.last = cursor;
                connection.last_at = self.now.monotonic;
            }
        }
        Ok(())
    }
}
