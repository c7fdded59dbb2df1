//! Unsafe code: taking events off librdkafka's consumer queue, asking for the ids of topics
//! (`metadata_client.rs`), and hearing why brokers cannot be reached (`probe.rs`).
//!
//! `BaseConsumer::poll` of rust-rdkafka 0.39 reports the end of a partition as `PartitionEOF(number)`: without the topic, so
//! that `incident/0` and `task/0` look the same, and without the offset, which is the one place where librdkafka says how far
//! it has read past control records and aborted transactions. Errors of one partition lose both as well. The event itself
//! carries all of it, so the queue is polled here, one event at a time, and each is shown to a closure as a borrowed value.
#![expect(
    unsafe_code,
    reason = "rust-rdkafka drops topic and offset of the end of a partition, and lacks two calls; see the modules' comments"
)]

mod metadata_client;
mod probe;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use fleetcast_core::domain::record::Record;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

pub(super) use metadata_client::MetadataClient;
pub(super) use probe::{Probe, probe};

/// A consumer with a group (which `assign` needs) and its event queue.
pub(super) struct RecordSource<C: ConsumerContext> {
    // Dropped in this order: librdkafka wants its queues given back before the client is destroyed.
    queue: EventQueue,
    consumer: BaseConsumer<C>,
}

/// One event, borrowed for the length of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueueEvent<'a> {
    Record(Record<'a>),
    /// Everything below `next` has come, control records and aborted transactions counted.
    End {
        topic: &'a str,
        partition: i32,
        next: i64,
    },
    Failed {
        /// The partition concerned, if the error is about one.
        at: Option<(&'a str, i32)>,
        code: RDKafkaErrorCode,
        text: &'a str,
    },
    Log {
        /// As in syslog: 0 is the worst, 7 is debug.
        level: i32,
        facility: &'a str,
        text: &'a str,
    },
    /// Nothing that a consumer without a subscription acts on.
    Other,
}

impl<C: ConsumerContext> RecordSource<C> {
    /// `None` when librdkafka has no consumer queue, that is without a `group.id`.
    pub(super) fn new(consumer: BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client lives in `consumer`; the call adds a reference to its queue, given back by `Queue::drop`.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Some(Self {
            queue: EventQueue(NonNull::new(queue)?),
            consumer,
        })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Waits at most `timeout` for one event and shows it to `see`; `None` when none came.
    pub(super) fn poll<R>(
        &self,
        timeout: Duration,
        see: impl FnOnce(QueueEvent<'_>) -> R,
    ) -> Option<R> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive as long as `self`; the event is ours and given back by `Taken::drop`.
        let taken = Taken(NonNull::new(unsafe {
            sys::rd_kafka_queue_poll(self.queue.0.as_ptr(), millis)
        })?);
        Some(taken.show(see))
    }
}

struct EventQueue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are reference-counted and locked; any thread may use and destroy them.
unsafe impl Send for EventQueue {}

impl Drop for EventQueue {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference taken in `Source::new`.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// An event taken off the queue.
struct Taken(NonNull<sys::rd_kafka_event_t>);

impl Taken {
    fn show<R>(&self, see: impl FnOnce(QueueEvent<'_>) -> R) -> R {
        let event = self.0.as_ptr();
        // SAFETY: `event` is alive until `self` is dropped, after `see` has returned.
        match unsafe { sys::rd_kafka_event_type(event) } {
            sys::RD_KAFKA_EVENT_FETCH => self.show_record(see),
            sys::RD_KAFKA_EVENT_ERROR => self.show_error(see),
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
                // SAFETY: the three are valid to write; the strings live as long as the event.
                unsafe {
                    if sys::rd_kafka_event_log(
                        event,
                        &raw mut facility,
                        &raw mut text,
                        &raw mut level,
                    ) != 0
                    {
                        return see(QueueEvent::Other);
                    }
                    see(QueueEvent::Log {
                        level,
                        facility: text_at(facility),
                        text: text_at(text),
                    })
                }
            }
            _ => see(QueueEvent::Other),
        }
    }

    fn show_record<R>(&self, see: impl FnOnce(QueueEvent<'_>) -> R) -> R {
        // SAFETY: a fetch event owns one message, which lives as long as the event; the message's pointers live as long as
        // the message and are null exactly when the record has no value or no key.
        unsafe {
            let Some(message) = sys::rd_kafka_event_message_next(self.0.as_ptr()).as_ref() else {
                return see(QueueEvent::Other);
            };
            let topic = text_at(sys::rd_kafka_topic_name(message.rkt));
            if message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return see(QueueEvent::Failed {
                    at: Some((topic, message.partition)),
                    code: message.err.into(),
                    text: "",
                });
            }
            let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let timestamp = sys::rd_kafka_message_timestamp(message, &raw mut kind);
            let headers = headers_of(message);
            see(QueueEvent::Record(Record {
                topic,
                partition: message.partition,
                offset: message.offset,
                timestamp: (timestamp >= 0).then_some(timestamp),
                key: bytes_at(message.key, message.key_len),
                value: bytes_at(message.payload, message.len),
                headers: &headers,
            }))
        }
    }

    fn show_error<R>(&self, see: impl FnOnce(QueueEvent<'_>) -> R) -> R {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive; the partition, if there is one, is a copy of ours and given back by `Place::drop`.
        unsafe {
            let place =
                NonNull::new(sys::rd_kafka_event_topic_partition(event)).map(EventPartition);
            let at = place.as_ref().map(|place| {
                let place = place.0.as_ref();
                (text_at(place.topic), place.partition, place.offset)
            });
            match (sys::rd_kafka_event_error(event), at) {
                (
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF,
                    Some((topic, partition, next)),
                ) => see(QueueEvent::End {
                    topic,
                    partition,
                    next,
                }),
                (code, at) => see(QueueEvent::Failed {
                    at: at.map(|(topic, partition, _)| (topic, partition)),
                    code: code.into(),
                    text: text_at(sys::rd_kafka_event_error_string(event)),
                }),
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the event came from `rd_kafka_queue_poll` and is given back once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

struct EventPartition(NonNull<sys::rd_kafka_topic_partition_t>);

impl Drop for EventPartition {
    fn drop(&mut self) {
        // SAFETY: `rd_kafka_event_topic_partition` makes a copy for the caller, given back once.
        unsafe { sys::rd_kafka_topic_partition_destroy(self.0.as_ptr()) }
    }
}

/// A header whose name is not UTF-8 is left out: no route can name it. So is one without a value, which is null here; an empty
/// value is not.
///
/// # Safety
/// `message` is a message of a live event, and the result is used while that event lives.
unsafe fn headers_of<'a>(message: *const sys::rd_kafka_message_t) -> Vec<(&'a str, &'a [u8])> {
    let mut found = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: by this function's contract; the headers stay the message's own.
    unsafe {
        if sys::rd_kafka_message_headers(message, &raw mut headers)
            != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return found;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            let answer = sys::rd_kafka_header_get_all(
                headers,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            );
            if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            if let Ok(name) = CStr::from_ptr(name).to_str()
                && let Some(value) = bytes_at(value, length)
            {
                found.push((name, value));
            }
        }
    }
    found
}

/// Topic names and librdkafka's own messages are ASCII; anything else reads as empty.
///
/// # Safety
/// `text` is null or a C string that outlives `'a`.
unsafe fn text_at<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

/// # Safety
/// `bytes` is null or points to `length` bytes that outlive `'a`.
unsafe fn bytes_at<'a>(bytes: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by this function's contract.
    (!bytes.is_null()).then(|| unsafe { slice::from_raw_parts(bytes.cast(), length) })
}
