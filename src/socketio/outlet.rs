//! A socket as the hub sees it: bounded, never blocking.

use std::sync::Arc;

use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::domain::publication::{Ephemeral, Publication};
use fleetcast_core::hub::outlet::{
    ControlItem, Delivery, DeliveryCursor, Entry, Item, Offered, Outlet,
};
use socketioxide::extract::SocketRef;
use socketioxide::{AckError, SendError, SocketError};

use super::ROOT;
use super::encode::Outgoing;
use super::rejected_rooms;
use super::road::{LaneOutcome, Road, Way};
use super::send_budget::{BudgetPacket, Reservation};
use crate::net::{Guard, LaneFrame, RecordStamp};
use crate::session::receipts::Asked;
use crate::session::{
    OutletLane, Question, RejectedRoom, SharedFrames, TransportOutlet, WireFormat,
};
use crate::telemetry::events;
use crate::telemetry::labels::{Component, Undelivered};

pub(super) struct SocketOutlet {
    socket: SocketRef,
    road: Arc<Road>,
    /// The client wants to know where records came from.
    meta: bool,
    format: WireFormat,
    /// Rooms of the handshake that are not joined, to be reported behind the welcome.
    rejected: Vec<RejectedRoom>,
}

impl SocketOutlet {
    pub(super) fn new(
        socket: SocketRef,
        road: Arc<Road>,
        meta: bool,
        rejected: Vec<RejectedRoom>,
    ) -> Self {
        Self {
            format: wire_format(road.namespace, meta),
            socket,
            road,
            meta,
            rejected,
        }
    }
}

impl Outlet for SocketOutlet {
    type Shared = SharedFrames;

    fn offer(&mut self, item: Item<'_>) -> Offered {
        // It follows CONNECT, which the library sends.
        if let Item::Control(ControlItem::Welcome { .. }) = item {
            return self.offer_library(item);
        }
        match self.way() {
            Way::Library => self.offer_library(item),
            Way::Fence => Offered::Full,
            Way::Lane(lane) => {
                let lane = lane.clone();
                match item {
                    Item::Publication(delivery) if delivery.publication().ack => {
                        self.ask_by_lane(&lane, delivery, &mut SharedFrames::default())
                    }
                    Item::Ephemeral(_) => {
                        self.offered(self.road.offer_once(&lane, &self.encode(item)))
                    }
                    _ => self.offered(self.road.offer(&lane, &self.encode(item))),
                }
            }
        }
    }

    fn offer_shared(&mut self, entry: &Arc<Entry>, shared: &mut SharedFrames) -> Offered {
        let delivery = Delivery {
            entry,
            cursor: DeliveryCursor::Shared,
        };
        let item = Item::Publication(delivery);
        let lane = match self.way() {
            Way::Library => return self.offer_library(item),
            Way::Fence => return Offered::Full,
            Way::Lane(lane) => lane,
        };
        if entry.publication().ack {
            return self.ask_by_lane(lane, delivery, shared);
        }
        let frame = shared.get(self.format, || self.encode(item));
        self.offered(self.road.offer(lane, frame))
    }

    fn offer_ephemeral(
        &mut self,
        ephemeral: &Arc<Ephemeral>,
        shared: &mut SharedFrames,
    ) -> Offered {
        let item = Item::Ephemeral(ephemeral);
        let lane = match self.way() {
            Way::Library => return self.offer_library(item),
            Way::Fence => return Offered::Full,
            Way::Lane(lane) => lane,
        };
        let frame = shared.get(self.format, || self.encode(item));
        self.offered(self.road.offer_once(lane, frame))
    }
}

impl TransportOutlet for SocketOutlet {
    fn lane(&self) -> Option<OutletLane> {
        let lane = self.road.lane()?.clone();
        let format = self.format;
        Some(OutletLane { lane, format })
    }
}

/// One for each namespace, without and with `meta`.
fn wire_format(namespace: &str, meta: bool) -> WireFormat {
    WireFormat::new(u8::from(namespace != ROOT) + 2 * u8::from(meta))
}

impl SocketOutlet {
    /// Where an event goes. Behind a fence the hub is notified when it is lifted.
    fn way(&self) -> Way<'_> {
        match self.road.way() {
            Way::Fence => {
                if let Some(key) = self.road.session.key() {
                    self.road.engine.budget.add_waiter(key);
                }
                // It may have been lifted before the waiter was there to be notified.
                self.road.way()
            }
            way => way,
        }
    }

    fn outgoing<'a>(&self, item: Item<'a>) -> Outgoing<'a> {
        Outgoing::item(item, &self.road.session, self.meta)
    }

    fn encode(&self, item: Item<'_>) -> LaneFrame {
        let frame = self.outgoing(item).frame(self.road.namespace);
        LaneFrame::new(frame, self.stamp(item))
    }

    /// For the time that the delivery takes. What is sent of a snapshot was due long ago.
    fn stamp(&self, item: Item<'_>) -> Option<RecordStamp> {
        match item {
            Item::Publication(delivery) => {
                self.road.engine.deliveries.stamp(delivery.publication())
            }
            Item::Snapshot { .. } | Item::Ephemeral(_) | Item::Control(_) => None,
        }
    }

    /// Offers an event that the client is to acknowledge, together with the `cursor` event that belongs behind it. With too many
    /// questions open it goes without one.
    fn ask_by_lane(
        &self,
        lane: &Arc<Guard>,
        delivery: Delivery<'_>,
        shared: &mut SharedFrames,
    ) -> Offered {
        let publication = delivery.publication();
        let session = &self.road.session;
        let question = shared.question(|| self.question(publication));
        let asks = session.expect_ack(question.number, &publication.event, &question.id);
        let frame = if asks {
            shared.get_asking(self.format, || {
                self.encode_asking(delivery, question.number)
            })
        } else {
            shared.get(self.format, || self.encode(Item::Publication(delivery)))
        };
        let outcome = self.road.offer(lane, frame);
        match outcome {
            LaneOutcome::Taken if asks => session.ack_asked(&publication.event),
            LaneOutcome::Taken => session.ack_not_asked(&publication.event),
            _ if asks => session.cancel_ack(question.number),
            _ => {}
        }
        self.offered(outcome)
    }

    fn question(&self, publication: &Publication) -> Question {
        Question {
            number: self.road.session.ask_number(),
            id: publication.id().into(),
        }
    }

    fn encode_asking(&self, delivery: Delivery<'_>, number: u32) -> LaneFrame {
        let event = self.outgoing(Item::Publication(delivery));
        let cursor = self.outgoing(Item::Control(ControlItem::Cursor {
            cursor: delivery.cursor(),
        }));
        let mut frames = Vec::with_capacity(event.size() + cursor.size());
        event.append_frame(&mut frames, self.road.namespace, Some(number));
        cursor.append_frame(&mut frames, self.road.namespace, None);
        LaneFrame::new(frames, self.stamp(Item::Publication(delivery)))
    }

    fn offered(&self, outcome: LaneOutcome) -> Offered {
        match outcome {
            LaneOutcome::Taken => Offered::Taken,
            LaneOutcome::Full => Offered::Full,
            // A client that reconnects has a cursor from before this item.
            LaneOutcome::Closed => {
                events::undelivered(self.road.session.metrics(), Undelivered::Closed, 1);
                Offered::Taken
            }
        }
    }

    fn offer_library(&mut self, item: Item<'_>) -> Offered {
        let outgoing = self.outgoing(item);
        let transport = self.socket.transport_type();
        let road = self.road.clone();
        let budget = &road.engine.budget;
        let waiter = match item {
            // It is not offered again.
            Item::Ephemeral(_) => None,
            _ => road.session.key(),
        };
        let packet = BudgetPacket {
            size: outgoing.size(),
            record: self.stamp(item),
        };
        let Some(reservation) = budget.reserve(packet, transport, waiter) else {
            return Offered::Full;
        };
        let sent = match item {
            Item::Publication(delivery) if delivery.publication().ack => {
                let publication = delivery.publication();
                match road
                    .session
                    .ask(&publication.event, publication.id().into())
                {
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
            rejected_rooms::report(rejected, &road, &self.socket);
        }
        Offered::Taken
    }

    /// Sends an event that the client is to acknowledge, and the `cursor` event that belongs behind it.
    fn send_asking(
        &self,
        reservation: Reservation<'_>,
        outgoing: &Outgoing<'_>,
        asked: Asked,
        cursor: &Arc<str>,
    ) -> Result<(), SendError> {
        let answer = reservation.send(|| outgoing.send_asking(&self.socket))?;
        self.road.engine.tasks.spawn(async move {
            // What cannot be decoded was answered all the same.
            let answered = matches!(answer.await, Ok(_) | Err(AckError::Decode(_)));
            asked.answered(answered).await;
        });
        let cursor = self.outgoing(Item::Control(ControlItem::Cursor { cursor }));
        if let Err(error) = self.road.say_through_library(&self.socket, &cursor) {
            self.not_sent(&error);
        }
        Ok(())
    }

    /// An item was not taken by the library.
    fn not_sent(&self, error: &SendError) {
        let metrics = self.road.session.metrics();
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
                self.road.engine.close(CloseReason::Internal);
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
