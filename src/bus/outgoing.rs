//! What waits to be published: bounded, sent in pipelines, and never waited for by those who publish.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::telemetry::RedisMetrics;
use crate::telemetry::labels::BusOutcome;

/// Messages that wait. Fewer than a receiver remembers the numbers of, or one that is overtaken would pass for a repeated one.
pub(super) const WAITING: usize = 4_096;
const WAITING_KIB: usize = 16 * 1024;

/// Messages and bytes of one pipeline: what a second is enough for.
const AT_ONCE: usize = 256;
const AT_ONCE_KIB: usize = 1_024;

struct WaitingMessage {
    channel: String,
    message: Vec<u8>,
    kib: usize,
    _room: OwnedSemaphorePermit,
}

/// Where messages are put.
pub(super) struct OutgoingMessages {
    sender: mpsc::Sender<WaitingMessage>,
    room: Arc<Semaphore>,
    counts: RedisMetrics,
}

/// What sends them.
pub(super) struct OutgoingTask {
    link: Arc<Link>,
    waiting: mpsc::Receiver<WaitingMessage>,
    counts: RedisMetrics,
}

impl OutgoingMessages {
    pub(super) fn new(link: &Arc<Link>, counts: &RedisMetrics) -> (Self, OutgoingTask) {
        let (sender, waiting) = mpsc::channel(WAITING);
        let outgoing = Self {
            sender,
            room: Arc::new(Semaphore::new(WAITING_KIB)),
            counts: counts.clone(),
        };
        let task = OutgoingTask {
            link: link.clone(),
            waiting,
            counts: counts.clone(),
        };
        (outgoing, task)
    }

    /// Never waits: what finds no room is dropped and counted.
    pub(super) fn put(&self, channel: String, message: Vec<u8>) {
        let kib = message.len() / 1024 + 1;
        let permits = u32::try_from(kib).unwrap_or(u32::MAX);
        let taken = self.room.clone().try_acquire_many_owned(permits);
        let sent = taken.is_ok_and(|room| {
            let waiting = WaitingMessage {
                channel,
                message,
                kib,
                _room: room,
            };
            self.sender.try_send(waiting).is_ok()
        });
        if !sent {
            self.counts.messages.increment(BusOutcome::NotSent);
        }
    }
}

impl OutgoingTask {
    /// Until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(first)) = stop.run_until_cancelled(self.waiting.recv()).await {
            let (mut count, mut kib) = (1, first.kib);
            let mut pipeline = redis::pipe();
            add(&mut pipeline, &first);
            // They keep their room until they are sent.
            let mut batch = vec![first];
            while count < AT_ONCE
                && kib < AT_ONCE_KIB
                && let Ok(next) = self.waiting.try_recv()
            {
                add(&mut pipeline, &next);
                kib += next.kib;
                count += 1;
                batch.push(next);
            }
            let sent = self.link.ask_all::<redis::Value>(&pipeline).await;
            let outcome = match sent {
                Ok(_) => BusOutcome::Sent,
                Err(_) => BusOutcome::NotSent,
            };
            self.counts.messages.add(outcome, count as u64);
        }
    }
}

fn add(pipeline: &mut redis::Pipeline, waiting: &WaitingMessage) {
    let WaitingMessage {
        channel, message, ..
    } = waiting;
    pipeline.cmd("PUBLISH").arg(channel).arg(message).ignore();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::intake::IntakeSettings;
    use crate::telemetry::Metrics;

    fn dropped(metrics: &Metrics) -> u64 {
        let text = metrics.render();
        let series = "fleetcast_bus_messages_total{outcome=\"not_sent\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value
            .expect("the series is there")
            .parse()
            .expect("a count")
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted_and_never_waited_for() {
        let metrics = Metrics::new();
        let (link, _incoming) =
            Link::new("redis://127.0.0.1:1", IntakeSettings::default(), &metrics).unwrap();
        let (outgoing, task) = OutgoingMessages::new(&link, &metrics.bus());
        for _ in 0..WAITING + 7 {
            outgoing.put("c".to_owned(), Vec::new());
        }
        assert_eq!(dropped(&metrics), 7);
        // Nothing is connected, so what waited is dropped as well.
        let stop = CancellationToken::new();
        let running = task.run(stop.clone());
        let end = async {
            while dropped(&metrics) < 7 + WAITING as u64 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::join!(running, end);

        let (outgoing, _task) = OutgoingMessages::new(&link, &metrics.bus());
        let before = dropped(&metrics);
        for _ in 0..20 {
            outgoing.put("c".to_owned(), vec![0; 1024 * 1024]);
        }
        // Each takes a KiB more than its bytes.
        assert_eq!(dropped(&metrics) - before, 5);
    }
}
