//! What is done with messages that have come, in slices: others get the thread between them.
//!
//! Messages that control something have a task of their own, which waits for no event.

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetcast_core::domain::publication::Ephemeral;
use tokio::sync::{Notify, mpsc};

use super::accepted::AcceptedEmitters;
use super::channels::Names;
use super::instance::InstanceId;
use super::intake::Incoming;
use super::message::{BusMessage, SignedMessage};
use super::senders::{NotNew, Senders};
use super::signature::BusKeys;
use crate::clock;
use crate::telemetry::labels::BusOutcome;
use crate::telemetry::{Metrics, RedisMetrics, events};

/// A slice: so many messages, or so many bytes. Signatures over as many take half a millisecond.
const MESSAGES_PER_SLICE: usize = 64;
const BYTES_PER_SLICE: usize = 256 * 1024;

/// What was sent so long before this instance started was recorded, or its sender's clock is slow.
const BEFORE_START_MS: u64 = 5_000;

/// What becomes of the messages of other instances.
pub trait BusReceiver: Send + Sync {
    /// Events for those who are connected here. The next ones wait until there is room for these.
    fn events(&self, events: Vec<Ephemeral>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Whether there are rooms of this kind, beside `org` and `user`.
    fn has_kind(&self, kind: &str) -> bool;

    /// Anything else. The next message waits for it.
    fn command(&self, message: BusMessage) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a message is judged by.
pub(super) struct MessageJudge {
    pub(super) names: Names,
    pub(super) instance: InstanceId,
    pub(super) keys: Arc<ArcSwap<BusKeys>>,
    pub(super) emitters: Arc<AcceptedEmitters>,
    pub(super) started_ms: u64,
    /// Of the link.
    pub(super) missed: Arc<Notify>,
    pub(super) metrics: Metrics,
    pub(super) counts: RedisMetrics,
}

/// What was done since others had the thread.
#[derive(Default)]
struct Slice {
    messages: usize,
    bytes: usize,
}

impl Slice {
    fn add(&mut self, incoming: &Incoming) {
        self.messages += 1;
        self.bytes += incoming.channel.len() + incoming.payload.len();
    }

    fn is_full(&self) -> bool {
        self.messages >= MESSAGES_PER_SLICE || self.bytes >= BYTES_PER_SLICE
    }

    async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

impl MessageJudge {
    /// Does what other instances order, for as long as there are messages.
    pub(super) async fn obey(
        &self,
        mut incoming: mpsc::Receiver<Incoming>,
        receiver: Arc<dyn BusReceiver>,
    ) {
        // Of their own: these overtake events, by more than is remembered of a sender.
        let mut senders = Senders::default();
        let mut slice = Slice::default();
        while let Some(message) = incoming.recv().await {
            slice.add(&message);
            match self.read(&mut senders, &message) {
                Ok(message) => {
                    receiver.command(message).await;
                    self.counts.messages.increment(BusOutcome::Applied);
                }
                Err(outcome) => self.is_dropped(outcome),
            }
            if slice.is_full() {
                slice.end().await;
            }
        }
    }

    /// Hands over events of instances and emitters, for as long as there are messages.
    pub(super) async fn deliver(
        &self,
        mut incoming: mpsc::Receiver<Incoming>,
        receiver: Arc<dyn BusReceiver>,
    ) {
        let mut senders = Senders::default();
        let mut slice = Slice::default();
        let mut events = Vec::new();
        while let Some(message) = incoming.recv().await {
            slice.add(&message);
            match self.event(&mut senders, &message, &*receiver) {
                Ok(event) => events.push(event),
                Err(outcome) => self.is_dropped(outcome),
            }
            if !events.is_empty() && (slice.is_full() || incoming.is_empty()) {
                let count = events.len() as u64;
                receiver.events(std::mem::take(&mut events)).await;
                self.counts.messages.add(BusOutcome::Applied, count);
            }
            if slice.is_full() {
                slice.end().await;
            }
        }
    }

    fn is_dropped(&self, outcome: BusOutcome) {
        self.counts.messages.increment(outcome);
        if outcome == BusOutcome::BadSignature {
            events::bad_signature(&self.metrics);
        }
    }

    /// A channel of instances is theirs, whatever the configuration of emitters says.
    fn event(
        &self,
        senders: &mut Senders,
        incoming: &Incoming,
        receiver: &dyn BusReceiver,
    ) -> Result<Ephemeral, BusOutcome> {
        let Incoming {
            channel, payload, ..
        } = incoming;
        if self.names.audience(channel, self.instance).is_none() {
            let has_kind = |kind: &str| receiver.has_kind(kind);
            let emitted = self.emitters.read(channel, payload, has_kind);
            return emitted.unwrap_or(Err(BusOutcome::Malformed));
        }
        match self.read(senders, incoming)? {
            BusMessage::Event(event) => Ok(event),
            _ => Err(BusOutcome::Malformed),
        }
    }

    fn read(&self, senders: &mut Senders, incoming: &Incoming) -> Result<BusMessage, BusOutcome> {
        let Incoming {
            channel, payload, ..
        } = incoming;
        let audience = self.names.audience(channel, self.instance);
        let audience = audience.ok_or(BusOutcome::Malformed)?;
        let keys = self.keys.load();
        let signed = SignedMessage::verified(channel, payload, self.instance, &keys)?;
        let stamp = signed.stamp;
        // A revocation only adds to what is revoked, whenever it comes. Anything else was not meant for those who are connected now.
        let is_older = stamp.sent_ms.saturating_add(BEFORE_START_MS) < self.started_ms;
        if is_older && !signed.is_revocation() {
            return Err(BusOutcome::Stale);
        }
        let new = senders.note(stamp.sender, stamp.number, stamp.sent_ms, clock::wall_ms());
        match new {
            Ok(()) => {}
            Err(NotNew::Repeated) => return Err(BusOutcome::Repeated),
            // This process may have been suspended. What was sent meanwhile came late, or not at all.
            Err(NotNew::Stale) => {
                self.missed.notify_one();
                if !signed.is_revocation() {
                    return Err(BusOutcome::Stale);
                }
            }
        }
        signed.decode(audience, self.instance, self.emitters.max_event_bytes())
    }
}

#[cfg(test)]
mod tests;
