//! Emitters of back-ends: the channels on which their events come, beside those of instances.

use fleetcast_core::domain::emitters::{Emitter, EmitterChannel};
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;

use super::link::Subscription;
use crate::telemetry::labels::BusOutcome;

/// Whose events are accepted.
pub struct AcceptedEmitters {
    emitters: Vec<Emitter>,
    max_event_bytes: usize,
}

impl AcceptedEmitters {
    pub fn new(emitters: Vec<Emitter>, max_event_bytes: usize) -> Self {
        Self {
            emitters,
            max_event_bytes,
        }
    }

    /// Of an event's arguments, also of one that another instance has sent.
    pub(super) fn max_event_bytes(&self) -> usize {
        self.max_event_bytes
    }

    /// The channels of those that send to this organisation.
    pub(super) fn channels(&self, organisation: &Id) -> impl Iterator<Item = Subscription> {
        let emitters = self.emitters.iter();
        let theirs = emitters.filter(move |emitter| emitter.organisation == *organisation);
        (theirs.flat_map(Emitter::channels)).map(|channel| match channel {
            EmitterChannel::Exact(channel) => Subscription::Channel(channel.into()),
            EmitterChannel::Pattern(pattern) => Subscription::Pattern(pattern.into()),
        })
    }

    /// `None`: the channel is none of theirs.
    pub(super) fn read(
        &self,
        channel: &[u8],
        payload: &[u8],
        has_kind: impl Fn(&str) -> bool,
    ) -> Option<Result<Ephemeral, BusOutcome>> {
        let mut emitters = self.emitters.iter();
        let emitter = emitters.find(|emitter| emitter.receives(channel))?;
        let event = emitter.decode(channel, payload, self.max_event_bytes, has_kind);
        Some(event.map_err(BusOutcome::from))
    }
}
