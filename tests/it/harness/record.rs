//! Records with numbers in them, and the count of what came.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Event, Kafka};

/// The value of a record of the dispatch profile.
pub(crate) fn record(event: &str, organisation: &str, data: &Value) -> Value {
    json!({
        "event_type": event,
        "organization_id": organisation,
        "timestamp": "2026-01-01T00:00:00Z",
        "data": data,
    })
}

/// For one channel, with the number that [`Tally`] counts by.
pub(crate) fn transmission(
    organisation: &str,
    channel: &str,
    partition: i32,
    number: u64,
    filler: &str,
) -> Value {
    let data = json!({ "channel_id": channel, "p": partition, "n": number, "filler": filler });
    record("transmission_started", organisation, &data)
}

/// Numbered records for one channel, partition by partition in turn.
pub(crate) struct Stream {
    topic: String,
    organisation: &'static str,
    channel: &'static str,
    filler: String,
    next: Vec<u64>,
    turn: usize,
}

impl Stream {
    /// To `channel:7` of `o1`, on the topic `transmission` of so many partitions; each record has `filler` bytes more.
    pub(crate) fn new(kafka: &Kafka, partitions: usize, filler: usize) -> Self {
        Self {
            topic: kafka.topic("transmission"),
            organisation: "o1",
            channel: "7",
            filler: "x".repeat(filler),
            next: vec![0; partitions],
            turn: 0,
        }
    }

    /// Produces the next `count` records and waits until the log has them.
    pub(crate) async fn produce(&mut self, kafka: &Kafka, count: usize) {
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            let partition = self.turn % self.next.len();
            self.turn += 1;
            let number = i32::try_from(partition).unwrap();
            let value = transmission(
                self.organisation,
                self.channel,
                number,
                self.next[partition],
                &self.filler,
            );
            self.next[partition] += 1;
            batch.push((number, value.to_string()));
        }
        kafka.produce_all(&self.topic, batch).await;
    }

    /// All that were produced.
    pub(crate) fn total(&self) -> usize {
        self.turn
    }
}

/// What came of a [`Stream`]: each record once, in the order of its partition.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    next: BTreeMap<i64, u64>,
    pub(crate) count: usize,
}

impl Tally {
    /// Notes an event if it is a numbered one.
    pub(crate) fn note(&mut self, event: &Event) {
        let Some(data) = event.args.first().and_then(|record| record.get("data")) else {
            return;
        };
        let (Some(partition), Some(number)) = (data["p"].as_i64(), data["n"].as_u64()) else {
            return;
        };
        let next = self.next.entry(partition).or_default();
        assert_eq!(
            number, *next,
            "partition {partition}: each once and in order, after {} records",
            self.count
        );
        *next += 1;
        self.count += 1;
    }
}
