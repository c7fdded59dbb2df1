//! Asks the brokers where partitions begin and end, and where reading starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::record::TopicPartition;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::Offset;

/// The first offset that a log still has, and the one that its next record will get. With `read_committed`, which librdkafka
/// puts into the question too, an open transaction holds the end back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// The bounds of those partitions whose leader could say.
///
/// `offsets_for_times` is the one question of rust-rdkafka that takes many partitions at once (`fetch_watermarks` costs two
/// round trips for each); the protocol's special timestamps ask for the beginning and the end, also on the mock broker.
pub(super) fn bounds<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    places: &[TopicPartition],
    timeout: Duration,
) -> KafkaResult<HashMap<TopicPartition, Bounds>> {
    let lows = ask(client, places, Offset::Beginning, timeout)?;
    let highs = ask(client, places, Offset::End, timeout)?;
    Ok(lows
        .into_iter()
        .filter_map(|(place, low)| {
            let high = *highs.get(&place)?;
            (low >= 0 && high >= 0).then_some((place, Bounds { low, high }))
        })
        .collect())
}

/// The first offsets whose records are not older than `since` (milliseconds since the Unix epoch). -1: there is none yet.
pub(super) fn since<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    places: &[TopicPartition],
    since: u64,
    timeout: Duration,
) -> KafkaResult<HashMap<TopicPartition, i64>> {
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    ask(client, places, Offset::Offset(since), timeout)
}

/// Where a partition of the start is read from. The bounds must have been asked *before* the look-up by time: what is appended
/// between the two questions is then either found by its time or lies above `high`.
pub(super) fn start(bounds: Bounds, by_time: Option<i64>, tells_times: bool) -> i64 {
    match by_time {
        _ if !tells_times => bounds.low,
        Some(offset) if offset >= 0 => offset.max(bounds.low),
        // Nothing that young: "the end" as a number, since what comes after now must come.
        _ => bounds.high,
    }
}

fn ask<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    places: &[TopicPartition],
    what: Offset,
    timeout: Duration,
) -> KafkaResult<HashMap<TopicPartition, i64>> {
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let mut names: HashMap<&str, &Arc<str>> = HashMap::new();
    let mut question = TopicPartitionList::with_capacity(places.len());
    for (topic, number) in places {
        names.insert(topic, topic);
        question.add_partition_offset(topic, *number, what)?;
    }
    let answer = client.offsets_for_times(question, timeout)?;
    let mut offsets = HashMap::new();
    for element in answer.elements() {
        if let Err(error) = element.error() {
            tracing::debug!(
                topic = element.topic(),
                partition = element.partition(),
                "no answer about offsets: {error}"
            );
            continue;
        }
        let (Some(topic), Some(offset)) = (names.get(element.topic()), element.offset().to_raw())
        else {
            continue;
        };
        offsets.insert((Arc::clone(topic), element.partition()), offset);
    }
    if offsets.is_empty() {
        // Every leader refused: that is no answer at all.
        return Err(answer
            .elements()
            .first()
            .and_then(|element| element.error().err())
            .unwrap_or(KafkaError::OffsetFetch(
                rdkafka::types::RDKafkaErrorCode::NoOffset,
            )));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_starts_within_the_log() {
        let bounds = Bounds { low: 10, high: 90 };
        for (by_time, tells_times, expected) in [
            (Some(40), true, 40),
            (Some(3), true, 10),
            (Some(-1), true, 90),
            (None, true, 90),
            (Some(95), true, 95),
            (Some(-1), false, 10),
        ] {
            assert_eq!(
                start(bounds, by_time, tells_times),
                expected,
                "{by_time:?} {tells_times}"
            );
        }
    }
}
