//! Messages that have come and wait to be looked at.
//!
//! What ends connections and revokes tokens has a queue of its own: a flood of events, or an emitter, neither drops nor delays it.

use std::sync::Arc;

use fleetcast_core::domain::emitters::MESSAGE_ENVELOPE;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::telemetry::labels::BusOutcome;
use crate::telemetry::{Metrics, RedisMetrics, events};

/// Events that wait: beyond that they are dropped and counted. At least two of the largest find room.
const EVENTS: usize = 4_096;
const EVENTS_KIB: usize = 32 * 1024;

/// The same for what controls something. Each is small.
const CONTROL: usize = 4_096;
const CONTROL_KIB: usize = 4 * 1024;
/// A message of more bytes is none of an instance, and is dropped unseen.
const LARGEST_CONTROL: usize = 64 * 1024;

/// What is taken in.
#[derive(Debug, Clone, Default)]
pub struct IntakeSettings {
    /// Channels that have the queue of their own.
    pub control: Vec<String>,
    /// Of the arguments of an event.
    pub max_event_bytes: usize,
}

/// A message as it came.
#[derive(Debug)]
pub struct Incoming {
    pub channel: Vec<u8>,
    pub payload: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// Where messages come out.
pub struct IncomingMessages {
    pub control: mpsc::Receiver<Incoming>,
    pub events: mpsc::Receiver<Incoming>,
}

/// Where they are put.
#[derive(Clone)]
pub(super) struct BusIntake {
    is_control: Arc<[Box<[u8]>]>,
    control: IncomingQueue,
    events: IncomingQueue,
    missed: Arc<Notify>,
    metrics: Metrics,
    counts: RedisMetrics,
}

#[derive(Clone)]
struct IncomingQueue {
    sender: mpsc::Sender<Incoming>,
    room: Arc<Semaphore>,
    largest: usize,
}

/// With its arguments of so many bytes, an event is no larger than this as a message.
pub(super) fn largest_message(max_event_bytes: usize) -> usize {
    max_event_bytes.saturating_add(MESSAGE_ENVELOPE)
}

impl BusIntake {
    pub(super) fn new(settings: IntakeSettings, metrics: &Metrics) -> (Self, IncomingMessages) {
        let largest = largest_message(settings.max_event_bytes);
        let kib = EVENTS_KIB.max(2 * (largest / 1024 + 1));
        let (control, control_messages) = IncomingQueue::new(CONTROL, CONTROL_KIB, LARGEST_CONTROL);
        let (events, event_messages) = IncomingQueue::new(EVENTS, kib, largest);
        let is_control = settings.control.into_iter();
        let intake = Self {
            is_control: is_control.map(|name| name.into_bytes().into()).collect(),
            control,
            events,
            missed: Arc::default(),
            metrics: metrics.clone(),
            counts: metrics.bus(),
        };
        let messages = IncomingMessages {
            control: control_messages,
            events: event_messages,
        };
        (intake, messages)
    }

    /// Puts it into its queue, if it is a message.
    pub(super) fn take(&self, push: PushInfo) {
        if let Some((channel, payload)) = message(push) {
            self.put(channel, payload);
        }
    }

    /// Never waits.
    pub(super) fn put(&self, channel: Vec<u8>, payload: Vec<u8>) {
        let is_control = self.is_control.iter().any(|name| **name == *channel);
        let queue = if is_control {
            &self.control
        } else {
            &self.events
        };
        let Err(outcome) = queue.put(channel, payload) else {
            return;
        };
        self.counts.messages.increment(outcome);
        // One that is too large no instance has sent, so nothing is lost with it.
        if is_control && outcome == BusOutcome::Overflow {
            self.missed.notify_one();
            events::control_lost(&self.metrics);
        }
    }

    /// See [`Link::missed`](super::link::Link::missed).
    pub(super) fn missed(&self) -> &Arc<Notify> {
        &self.missed
    }
}

impl IncomingQueue {
    fn new(messages: usize, kib: usize, largest: usize) -> (Self, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(messages);
        let room = Arc::new(Semaphore::new(kib));
        let queue = Self {
            sender,
            room,
            largest,
        };
        (queue, receiver)
    }

    fn put(&self, channel: Vec<u8>, payload: Vec<u8>) -> Result<(), BusOutcome> {
        let bytes = channel.len() + payload.len();
        if bytes > self.largest {
            return Err(BusOutcome::TooLarge);
        }
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let permit = self.room.clone().try_acquire_many_owned(kib);
        let sent = self.sender.try_send(Incoming {
            channel,
            payload,
            _room: permit.map_err(|_| BusOutcome::Overflow)?,
        });
        sent.map_err(|_| BusOutcome::Overflow)
    }
}

/// Channel and payload, if it is a message.
fn message(push: PushInfo) -> Option<(Vec<u8>, Vec<u8>)> {
    let skipped = match push.kind {
        PushKind::Message => 0,
        // The pattern comes first.
        PushKind::PMessage => 1,
        _ => return None,
    };
    let mut values = push.data.into_iter().skip(skipped);
    match (values.next()?, values.next()?) {
        (Value::BulkString(channel), Value::BulkString(payload)) => Some((channel, payload)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn count(metrics: &Metrics, outcome: &str) -> u64 {
        let series = format!("fleetcast_bus_messages_total{{outcome=\"{outcome}\"}} ");
        let text = metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.expect("a series").parse().expect("a count")
    }

    fn intake(max_event_bytes: usize) -> (BusIntake, IncomingMessages, Metrics) {
        let metrics = Metrics::new();
        let settings = IntakeSettings {
            control: vec!["f:control".to_owned(), "f:i:1".to_owned()],
            max_event_bytes,
        };
        let (intake, messages) = BusIntake::new(settings, &metrics);
        (intake, messages, metrics)
    }

    #[test]
    fn a_flood_of_events_drops_nothing_that_controls() {
        let (intake, mut messages, metrics) = intake(1_024);
        let is_missed = || intake.missed().notified().now_or_never().is_some();
        for _ in 0..EVENTS + 5 {
            intake.put(b"f:o:o1".to_vec(), Vec::new());
        }
        // Bytes that take all the room of events.
        for channel in ["f:control", "f:i:1", "f:i:2"] {
            intake.put(channel.into(), b"message".to_vec());
        }
        assert_eq!(count(&metrics, "overflow"), 6, "five, and of another one");
        assert_eq!(messages.control.len(), 2);
        assert_eq!(messages.events.len(), EVENTS);
        assert!(!is_missed());
        let first = messages.control.try_recv().unwrap();
        assert_eq!(first.channel, b"f:control");
        // Room that was taken is given back.
        drop(first);
        for _ in 0..CONTROL {
            intake.put(b"f:control".to_vec(), Vec::new());
        }
        assert!(is_missed(), "it is reported");
        assert_eq!(count(&metrics, "overflow"), 7);
        intake.put(b"f:control".to_vec(), vec![0; LARGEST_CONTROL]);
        assert_eq!(count(&metrics, "too_large"), 1);
        assert!(!is_missed());
    }

    #[test]
    fn an_event_of_the_largest_size_is_taken_in_whatever_that_is() {
        for largest in [1_024, 262_144, 8 << 20, 100 << 20] {
            let (intake, messages, metrics) = intake(largest);
            intake.put(b"f:o:o1".to_vec(), vec![0; largest + 32 * 1024]);
            assert_eq!(messages.events.len(), 1, "{largest}");
            intake.put(b"f:o:o1".to_vec(), vec![0; largest + MESSAGE_ENVELOPE]);
            assert_eq!(count(&metrics, "too_large"), 1, "{largest}");
        }
    }
}
