//! A Kafka record, borrowed from its reader, and where it stands.

use std::sync::Arc;

/// A partition by topic and number.
pub type TopicPartition = (Arc<str>, i32);

/// One record as it came from a topic partition. Nothing in it has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch, as the producer or the broker set it.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// In the order of the record; a name may repeat. A header without a value is left out: an empty value here is a bad one.
    /// Names are compared byte for byte, as Kafka does.
    pub headers: &'a [(&'a str, &'a [u8])],
}
