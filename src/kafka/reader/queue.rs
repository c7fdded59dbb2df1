//! What librdkafka's queue holds: records, ends of partitions, errors and log lines.

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::record::TopicPartition;
use fleetcast_core::hub::feed::Feed;
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::super::diagnose::plain_error;
use super::super::ffi::QueueEvent;
use super::{Reader, end_of};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

/// An event as it is remembered when its borrow has ended.
enum OwnedEvent {
    Nothing,
    Lost(TopicPartition),
    /// A topic that the server can do without may not be read.
    Refused(Arc<str>),
    Error {
        code: RDKafkaErrorCode,
        text: String,
    },
}

impl Reader {
    pub(super) fn drain_queue(&mut self, runtime: &Runtime, stop: &CancellationToken) {
        let mut timeout = Self::WAIT;
        for _ in 0..Self::BATCH {
            let Some(source) = self.source.take() else {
                // Between two clients: reports still come.
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(timeout) => {}
                    }
                });
                return;
            };
            let seen = source.poll(timeout, |event| self.see(event));
            self.source = Some(source);
            match seen {
                None => return,
                Some(OwnedEvent::Nothing) => {}
                Some(OwnedEvent::Refused(topic)) => self.refuse(&topic),
                Some(OwnedEvent::Lost((topic, number))) => {
                    self.permit(&topic, number);
                    if let Some(partition) = self.partitions.get(&topic, number) {
                        partition.lost(clock::monotonic_ms());
                        self.shared.ask();
                    }
                }
                Some(OwnedEvent::Error { code, text }) => self.on_error(code, &text),
            }
            timeout = Duration::ZERO;
        }
    }

    fn see(&mut self, event: QueueEvent<'_>) -> OwnedEvent {
        match event {
            QueueEvent::Record(record) => {
                self.permit(record.topic, record.partition);
                let Some(partition) = self.partitions.get(record.topic, record.partition) else {
                    return OwnedEvent::Nothing;
                };
                if !partition.record(record.offset, clock::monotonic_ms()) {
                    // Never seen from librdkafka, which skips to the offset it was given. Should a log have been recreated
                    // below us, the metadata poller will find its end below our position.
                    self.shared.ask();
                    return OwnedEvent::Nothing;
                }
                if record.offset < partition.start {
                    self.router.note(&record, &partition.topic);
                    return OwnedEvent::Nothing;
                }
                let index = partition.index;
                self.batch
                    .push(match self.router.route(&record, &partition.topic) {
                        Some(publication) => Feed::Publication {
                            partition: index,
                            publication,
                        },
                        None => unrouted(index, &record),
                    });
                OwnedEvent::Nothing
            }
            QueueEvent::End {
                topic,
                partition,
                next,
            } => {
                self.permit(topic, partition);
                if let Some(partition) = self.partitions.get(topic, partition) {
                    partition.end(next, clock::monotonic_ms());
                    self.batch.push(end_of(partition));
                }
                OwnedEvent::Nothing
            }
            QueueEvent::Failed {
                at: Some((topic, partition)),
                code: RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                ..
            } => OwnedEvent::Lost((Arc::from(topic), partition)),
            QueueEvent::Failed {
                at: Some((topic, _)),
                code: RDKafkaErrorCode::TopicAuthorizationFailed,
                ..
            } if self.own.as_deref() == Some(topic) => OwnedEvent::Refused(Arc::from(topic)),
            QueueEvent::Failed { at, code, text } => {
                let text = self.context.masked(text);
                OwnedEvent::Error {
                    code,
                    text: match at {
                        Some((topic, partition)) => format!("{topic}/{partition}: {text}"),
                        None => text,
                    },
                }
            }
            QueueEvent::Log {
                level,
                facility,
                text,
            } => {
                self.context.line(level, facility, text);
                OwnedEvent::Nothing
            }
            QueueEvent::Other => OwnedEvent::Nothing,
        }
    }

    fn on_error(&mut self, code: RDKafkaErrorCode, text: &str) {
        debug!(?code, "from the Kafka client: {text}");
        match code {
            RDKafkaErrorCode::AllBrokersDown => {
                self.contact.lose(clock::monotonic_ms());
                self.shared.ask();
            }
            RDKafkaErrorCode::Fatal => {
                let context = "the Kafka client has failed";
                events::fault(&self.metrics, Component::Kafka, context, &text);
                self.restart("fatal error");
            }
            // The metadata poller reports what is there; librdkafka goes on trying by itself.
            RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition => {
                self.shared.ask();
            }
            _ => {}
        }
        let before = self.status.last_error.take();
        self.status.last_error = Some(plain_error(code, text, before));
    }
}

/// A record without a value deletes its key, whether or not it names an event.
fn unrouted(partition: u32, record: &Record<'_>) -> Feed {
    let offset = record.offset;
    match record.key.filter(|_| record.value.is_none()) {
        Some(key) => Feed::Tombstone {
            partition,
            offset,
            key: key.into(),
        },
        None => Feed::Passed { partition, offset },
    }
}
