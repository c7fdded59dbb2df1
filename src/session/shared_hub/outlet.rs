//! An outlet of any transport, with what a fan-out needs of most of them at hand.

use std::sync::Arc;

use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::hub::outlet::{Entry, Item, Offered, Outlet};

use super::SharedHub;
use crate::net::{Guard, LaneOffer};
use crate::session::{SharedFrames, WireFormat};

/// What a transport does for one connection.
pub trait TransportOutlet: Outlet<Shared = SharedFrames> + Send {
    /// The lane, once all that this connection is sent goes by it, and how events are framed there.
    fn lane(&self) -> Option<OutletLane> {
        None
    }
}

#[derive(Clone)]
pub struct OutletLane {
    pub lane: Arc<Guard>,
    pub format: WireFormat,
}

/// See the module. A fan-out to a thousand connections waits for their memory more than for anything else, so it comes to their lanes
/// without a look at their transports.
pub struct AnyOutlet {
    lane: Option<OutletLane>,
    hub: Arc<SharedHub>,
    transport: Box<dyn TransportOutlet>,
}

impl AnyOutlet {
    pub(in crate::session) fn new(
        hub: Arc<SharedHub>,
        transport: Box<dyn TransportOutlet>,
    ) -> Self {
        Self {
            lane: None,
            hub,
            transport,
        }
    }

    /// Queues an event that another connection had encoded. False: the transport has to see to it.
    fn queue(&self, entry: &Entry, shared: &SharedFrames) -> bool {
        let Some(OutletLane { lane, format }) = &self.lane else {
            return false;
        };
        let Some(frame) = shared.encoded(*format).filter(|_| !entry.publication().ack) else {
            return false;
        };
        match lane.offer_frame(frame) {
            LaneOffer::Queued => true,
            LaneOffer::FirstQueued => {
                self.hub.dirty(lane.clone());
                true
            }
            LaneOffer::Full | LaneOffer::Closed => false,
        }
    }
}

impl Outlet for AnyOutlet {
    type Shared = SharedFrames;

    fn offer(&mut self, item: Item<'_>) -> Offered {
        self.transport.offer(item)
    }

    fn look_ahead(&self) {
        if let Some(outlet) = &self.lane {
            outlet.lane.look_ahead();
        }
    }

    fn offer_shared(&mut self, entry: &Arc<Entry>, shared: &mut SharedFrames) -> Offered {
        if self.queue(entry, shared) {
            return Offered::Taken;
        }
        let offered = self.transport.offer_shared(entry, shared);
        if self.lane.is_none() {
            self.lane = self.transport.lane();
        }
        offered
    }

    fn offer_ephemeral(
        &mut self,
        ephemeral: &Arc<Ephemeral>,
        shared: &mut SharedFrames,
    ) -> Offered {
        self.transport.offer_ephemeral(ephemeral, shared)
    }
}

#[cfg(test)]
mod tests {
    use super::AnyOutlet;

    #[test]
    fn an_outlet_has_the_size_that_the_hub_is_laid_out_for() {
        assert_eq!(size_of::<AnyOutlet>(), 5 * size_of::<usize>());
    }
}
