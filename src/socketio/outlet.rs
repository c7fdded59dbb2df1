//! A socket as the hub sees it: bounded, never blocking.

use std::sync::Arc;

use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::outlet::{ControlItem, Item, Offered, Outlet};
use socketioxide::extract::SocketRef;
use socketioxide::{AckError, SendError, SocketError};

use super::encode::Outgoing;
use super::engine_session::EngineSession;
use super::rejected_rooms;
use super::send_budget::Reservation;
use crate::session::receipts::Asked;
use crate::session::{RejectedRoom, Session, SharedFrames};
use crate::telemetry::events;
use crate::telemetry::labels::{Component, Undelivered};

pub(super) struct SocketOutlet {
    pub(super) socket: SocketRef,
    pub(super) engine: Arc<EngineSession>,
    pub(super) session: Arc<Session>,
    /// The client wants to know where records came from.
    pub(super) meta: bool,
    /// Rooms of the handshake that are not joined, to be reported behind the welcome.
    pub(super) rejected: Vec<RejectedRoom>,
}

impl Outlet for SocketOutlet {
    type Shared = SharedFrames;

    fn offer(&mut self, item: Item<'_>) -> Offered {
        let outgoing = Outgoing::item(item, &self.session, self.meta);
        let transport = self.socket.transport_type();
        let budget = &self.engine.budget;
        let waiter = match item {
            // It is not offered again.
            Item::Ephemeral(_) => None,
            _ => self.session.key(),
        };
        let Some(reservation) = budget.reserve(outgoing.size(), transport, waiter) else {
            return Offered::Full;
        };
        let sent = match item {
            Item::Publication(delivery) if delivery.publication().ack => {
                let publication = delivery.publication();
                match self.session.ask(&publication.event, publication.id()) {
                    Some(asked) => {
                        self.send_asking(reservation, &outgoing, asked, delivery.cursor())
                    }
                    None => reservation.send(|| outgoing.send(&self.socket)),
                }
            }
            _ => reservation.send(|| outgoing.send(&self.socket)),
        };
        if let Err(error) = sent {
            self.not_sent(&error);
        } else if matches!(item, Item::Control(ControlItem::Welcome { .. })) {
            let rejected = std::mem::take(&mut self.rejected);
            rejected_rooms::report(rejected, &self.session, &self.socket, &self.engine);
        }
        Offered::Taken
    }
}

impl SocketOutlet {
    /// Sends an event that the client is to acknowledge, and the `cursor` event that belongs behind it.
    fn send_asking(
        &self,
        reservation: Reservation<'_>,
        outgoing: &Outgoing<'_>,
        asked: Asked,
        cursor: &Arc<str>,
    ) -> Result<(), SendError> {
        let answer = reservation.send(|| outgoing.send_asking(&self.socket))?;
        self.engine.tasks.spawn(async move {
            // What cannot be decoded was answered all the same.
            let answered = matches!(answer.await, Ok(_) | Err(AckError::Decode(_)));
            asked.answered(answered).await;
        });
        let cursor = Item::Control(ControlItem::Cursor { cursor });
        let cursor = Outgoing::item(cursor, &self.session, self.meta);
        let transport = self.socket.transport_type();
        let reservation = self.engine.budget.reserve_answer(cursor.size(), transport);
        if let Err(error) = reservation.send(|| cursor.send(&self.socket)) {
            self.not_sent(&error);
        }
        Ok(())
    }

    /// An item was not taken by the library.
    fn not_sent(&self, error: &SendError) {
        let metrics = self.session.metrics();
        match error {
            // It is closing: a client that reconnects has a cursor from before this item.
            SendError::Socket(SocketError::Closed) => {
                events::undelivered(metrics, Undelivered::Closed, 1);
            }
            // Cannot be, as long as the budget is smaller than the library's queue. A hole would be silent, so close.
            SendError::Socket(SocketError::InternalChannelFull) => {
                events::undelivered(metrics, Undelivered::Closed, 1);
                events::fault(
                    metrics,
                    Component::SocketIo,
                    "closing a connection that would have had a hole",
                    "the library's queue is full",
                );
                self.engine.close(CloseReason::Internal);
            }
            SendError::Serialize(error) => {
                events::undelivered(metrics, Undelivered::Encoding, 1);
                events::fault(
                    metrics,
                    Component::SocketIo,
                    "cannot encode an event",
                    error,
                );
            }
        }
    }
}
