//! What happens to topics: they grow, lose records, are deleted and recreated, and hold transactions.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::ledger::Fate;
use super::nemesis::{World, wait};
use super::record::{self, Stamp};

/// Partitions at the start.
pub(super) const CHANNEL_PARTITIONS: i32 = 6;
pub(super) const ORGANISATION_PARTITIONS: i32 = 3;
pub(super) const POSITION_PARTITIONS: i32 = 2;
const MORE_PARTITIONS: i32 = 2;
const TRANSACTION_PARTITIONS: i32 = 2;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);

impl World<'_> {
    pub(super) fn topics(&mut self) -> Result<()> {
        self.grow()?;
        self.transactions(self.form.pick(5, 20))?;
        self.overtake()?;
        self.recreate()
    }

    fn grow(&mut self) -> Result<()> {
        let topic = format!("{}transmission", self.prefix);
        let partitions = CHANNEL_PARTITIONS + MORE_PARTITIONS;
        self.begin("partitions added");
        self.cluster
            .grow_topic(&topic, usize::try_from(partitions)?)?;
        self.book
            .open_channel_lanes(&topic, CHANNEL_PARTITIONS..partitions);
        wait(self.form.pick(5, 15));
        self.end();
        Ok(())
    }

    /// Retention overtakes a server that is paused: its clients have missed something, and the others have not.
    fn overtake(&mut self) -> Result<()> {
        let topic = format!("{}transmission", self.prefix);
        self.permit(None, &["gap"], Duration::ZERO);
        self.begin("records deleted");
        self.fleet.signal(0, "STOP")?;
        // More than the paused server has fetched ahead.
        wait(self.form.pick(4, 15));
        let ends: Vec<(i32, i64)> = {
            let ledger = self.book.ledger();
            let lanes = ledger.lanes.iter().filter(|lane| lane.topic == topic);
            let last = lanes.filter_map(|lane| {
                let known = lane.entries.iter().rev().find(|entry| entry.offset >= 0)?;
                Some((lane.partition, known.offset))
            });
            last.collect()
        };
        self.cluster.delete_records(&topic, &ends)?;
        self.fleet.signal(0, "CONT")?;
        self.end();
        wait(4);
        Ok(())
    }

    fn recreate(&mut self) -> Result<()> {
        let topic = format!("{}transmission", self.prefix);
        let partitions = CHANNEL_PARTITIONS + MORE_PARTITIONS;
        self.permit(None, &["topic_recreated", "log_truncated"], Duration::ZERO);
        self.begin("topic recreated");
        self.book.pause()?;
        // What was produced is read by then: what is not is gone with the topic.
        wait(2);
        self.book.close_channel_lanes();
        self.cluster.delete_topic(&topic)?;
        wait(1);
        self.cluster.create_topic(&topic, partitions)?;
        self.book.open_channel_lanes(&topic, 0..partitions);
        self.book.go_on();
        // Topic ids are looked at every ten seconds.
        wait(14);
        self.end();
        Ok(())
    }

    /// Transactions of a few records, every third one aborted.
    fn transactions(&mut self, seconds: u64) -> Result<()> {
        let topic = format!("{}incident", self.prefix);
        self.cluster.create_topic(&topic, TRANSACTION_PARTITIONS)?;
        self.begin("transactions");
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.cluster.addresses)
            .set("transactional.id", &topic)
            .create()
            .context("cannot make a transactional producer")?;
        producer.init_transactions(TRANSACTION_TIMEOUT)?;
        let lanes: Vec<u16> = {
            let mut ledger = self.book.ledger();
            let lanes =
                (0..TRANSACTION_PARTITIONS).map(|partition| ledger.add_lane(&topic, partition));
            lanes.collect()
        };
        let (mut committed, mut aborted) = (0, 0);
        for round in 0..seconds * 5 {
            producer.begin_transaction()?;
            for _ in 0..self.random.random_range(1..8) {
                self.produce_open(&producer, &topic, &lanes)?;
            }
            producer.flush(TRANSACTION_TIMEOUT)?;
            let fate = if round % 3 == 2 {
                producer.abort_transaction(TRANSACTION_TIMEOUT)?;
                aborted += 1;
                Fate::Aborted
            } else {
                producer.commit_transaction(TRANSACTION_TIMEOUT)?;
                committed += 1;
                Fate::Acknowledged(self.clock.now_ns())
            };
            for lane in &lanes {
                self.book.ledger().settle(*lane, fate);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        self.note(&format!(
            "{committed} transactions committed, {aborted} aborted"
        ));
        self.end();
        Ok(())
    }

    fn produce_open(&mut self, producer: &BaseProducer, topic: &str, lanes: &[u16]) -> Result<()> {
        let organisation = self.random.random_range(0..self.seating.organisations);
        let room = self.seating.organisation_room(organisation);
        let lane = lanes[self.random.random_range(0..lanes.len())];
        let sent_ns = self.clock.now_ns();
        let (order, sequence, partition) = {
            let mut ledger = self.book.ledger();
            let (order, sequence) = ledger.send(lane, room, sent_ns, Fate::Open);
            (order, sequence, ledger.lanes[usize::from(lane)].partition)
        };
        let (organisation, channel) = self.seating.name(room);
        let stamp = Stamp {
            organisation: &organisation,
            channel: channel.as_deref(),
            asset: None,
            run: &self.run,
            lane,
            order,
            sequence,
            sent_ns,
        };
        let mut text = String::new();
        record::write(&stamp, 300, &mut text);
        let record = BaseRecord::<str, str>::to(topic)
            .partition(partition)
            .payload(&text);
        let sent = producer.send(record).map_err(|(error, _)| error);
        sent.context("cannot produce in a transaction")
    }
}
