//! `rd_kafka_DescribeTopics`, the one question whose answer has the ids of topics, is not wrapped by rust-rdkafka at all.

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;

use super::{EventQueue, Taken, text_at};

/// A client that asks, and the place for an answer that may never come.
pub(in crate::kafka) struct MetadataClient<C: ConsumerContext> {
    // Dropped in this order: librdkafka wants its queues given back before the client is destroyed.
    answer: Option<EventQueue>,
    consumer: BaseConsumer<C>,
}

impl<C: ConsumerContext> MetadataClient<C> {
    pub(in crate::kafka) fn new(consumer: BaseConsumer<C>) -> Self {
        Self {
            answer: None,
            consumer,
        }
    }

    pub(in crate::kafka) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Asks for the ids of these topics, each named once, and does not wait. The answer to an earlier question is given up.
    pub(in crate::kafka) fn ask_ids(&mut self, topics: &[&str], within: Duration) {
        let names: Vec<CString> = topics
            .iter()
            .filter_map(|topic| CString::new(*topic).ok())
            .collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let millis = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive. Names, options and their collection live until the call has returned, which copies
        // them; each is given back once. The queue is counted, so that a late answer to a question that was given up finds it.
        self.answer = unsafe {
            let Some(queue) = NonNull::new(sys::rd_kafka_queue_new(client)).map(EventQueue) else {
                return;
            };
            let collection =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = sys::rd_kafka_AdminOptions_new(client, kind);
            // A time that it does not like leaves its own default, a minute.
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
            sys::rd_kafka_DescribeTopics(client, collection, options, queue.0.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(collection);
            Some(queue)
        };
    }

    /// Waits at most so long for the answer. `None`: nothing was asked, or it is still to come.
    pub(in crate::kafka) fn ids(&mut self, wait: Duration) -> Option<Result<Ids, String>> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let queue = self.answer.as_ref()?;
        // SAFETY: the queue is alive as long as `self`; the event is ours and given back by `Taken::drop`.
        let taken = Taken(NonNull::new(unsafe {
            sys::rd_kafka_queue_poll(queue.0.as_ptr(), millis)
        })?);
        self.answer = None;
        Some(taken.ids())
    }
}

/// Topics by name, without those that the brokers do not show.
pub(in crate::kafka) type Ids = HashMap<String, [u8; 16]>;

impl Taken {
    fn ids(&self) -> Result<Ids, String> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive; the result, its descriptions and their texts and ids are the event's own.
        unsafe {
            if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text_at(sys::rd_kafka_event_error_string(event)).to_owned());
            }
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            if result.is_null() {
                return Err("librdkafka answers another question".to_owned());
            }
            let mut count = 0;
            let first = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            if first.is_null() {
                return Ok(Ids::new());
            }
            let mut ids = Ids::with_capacity(count);
            for description in slice::from_raw_parts(first, count) {
                let error = sys::rd_kafka_TopicDescription_error(*description);
                if sys::rd_kafka_error_code(error) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    continue;
                }
                let Some(id) = sys::rd_kafka_TopicDescription_topic_id(*description).as_ref()
                else {
                    continue;
                };
                let [most, least] = [
                    sys::rd_kafka_Uuid_most_significant_bits(id),
                    sys::rd_kafka_Uuid_least_significant_bits(id),
                ]
                .map(i64::to_be_bytes);
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&most);
                bytes[8..].copy_from_slice(&least);
                let name = text_at(sys::rd_kafka_TopicDescription_name(*description));
                ids.insert(name.to_owned(), bytes);
            }
            Ok(ids)
        }
    }
}
