//! Bursts of commands while events flow, right behind CONNECT and a little later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Line, POSITIONS, Road, command, numbered, produce_end, produce_positions, resumed, rooms,
};
use crate::harness::{
    Background, Event, Kafka, Packet, SOON, TestApp, auth, eventually, transmission,
};

#[tokio::test]
async fn bursts_of_commands_while_events_flow_are_answered_in_order_on_the_lane() {
    bursts(Road::Lane).await;
}

#[tokio::test]
async fn bursts_of_commands_while_events_flow_are_answered_in_order_through_the_library() {
    bursts(Road::Library).await;
}

#[tokio::test]
async fn bursts_of_commands_while_events_flow_are_answered_in_order_on_polling() {
    bursts(Road::Polling).await;
}

#[tokio::test]
async fn bursts_of_commands_while_events_flow_are_answered_in_order_during_an_upgrade() {
    bursts(Road::Upgrade).await;
}

const CHANNELS: usize = 40;
/// It asks for the state of its room.
const LATEST: u64 = 21;
/// Its acknowledgement comes when the receipt is kept.
const RECEIPT: u64 = 22;
const LEAVES: u64 = 23;
const LEFT: usize = 3;

fn subscribe(id: u64, channel: usize) -> String {
    command(
        id,
        "subscribe",
        &json!({ "room": format!("channel:{channel}") }),
    )
}

/// What each command joins, by its number.
fn joined(id: u64) -> Vec<usize> {
    match id {
        0..20 => vec![usize::try_from(id).unwrap() + 1],
        20 => (21..26).collect(),
        30..45 => vec![usize::try_from(id).unwrap() - 4],
        _ => Vec::new(),
    }
}

/// Two bursts: right behind CONNECT, and a little later (or right behind the end of the upgrade).
fn commands() -> [Vec<String>; 2] {
    let mut first: Vec<_> = (0..20).map(|id| subscribe(id, joined(id)[0])).collect();
    first.extend([
        command(20, "subscribe", &json!({ "rooms": rooms(21..26) })),
        command(
            LATEST,
            "subscribe",
            &json!({ "type": "asset", "all": true, "latest": true }),
        ),
        command(RECEIPT, "ack", &json!({ "id": "a" })),
        command(
            LEAVES,
            "unsubscribe",
            &json!({ "room": format!("channel:{LEFT}") }),
        ),
        // It is held.
        subscribe(24, 5),
        command(25, "rooms", &json!({})),
    ]);
    let second = (30..45).map(|id| subscribe(id, joined(id)[0])).collect();
    [first, second]
}

/// Records to all channels in turn.
struct Flow {
    /// How many were given a number, by channel.
    next: Arc<[AtomicU64]>,
    stop: Arc<AtomicBool>,
    work: Background,
}

impl Flow {
    fn start(kafka: &Arc<Kafka>) -> Self {
        let next: Arc<[AtomicU64]> = (0..=CHANNELS).map(|_| AtomicU64::new(0)).collect();
        let stop = Arc::<AtomicBool>::default();
        let (counts, stopped, kafka) = (next.clone(), stop.clone(), kafka.clone());
        let work = Background::start(async move {
            for turn in (0..).step_by(5) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let batch = (turn..turn + 5).map(|turn: usize| {
                    let channel = 1 + turn % CHANNELS;
                    let number = counts[channel].fetch_add(1, Ordering::SeqCst);
                    // A channel's records are in one partition.
                    let partition = i32::try_from(channel % 3).unwrap();
                    let value = transmission("o1", &channel.to_string(), partition, number, "");
                    (partition, value.to_string())
                });
                let batch = batch.collect();
                kafka.produce_all(&kafka.topic("transmission"), batch).await;
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { next, stop, work }
    }

    /// By channel, how many records there are.
    async fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        eventually("the last records are produced", async || {
            self.work.is_finished().then_some(())
        })
        .await;
        (0..=CHANNELS).map(|channel| self.next(channel)).collect()
    }

    fn next(&self, channel: usize) -> u64 {
        self.next[channel].load(Ordering::SeqCst)
    }
}

/// What the client holds and has seen so far.
#[derive(Default, Clone)]
struct Held {
    /// With the number that the next record had when the acknowledgement came.
    channels: BTreeMap<usize, u64>,
    /// The last one that came.
    seen: BTreeMap<usize, u64>,
}

impl Held {
    /// By channel, the number of the record that has to come next, if there is one.
    fn next(&self) -> impl Iterator<Item = (usize, u64)> {
        self.channels.iter().map(|(channel, owed)| {
            let seen = self.seen.get(channel);
            (*channel, seen.map_or(*owed, |seen| seen + 1))
        })
    }
}

/// What has come to the client.
struct Transcript {
    road: Road,
    held: Held,
    /// Commands that are not answered, in their order, but for the receipt.
    unanswered: VecDeque<u64>,
    receipt: bool,
    /// Answered commands that move the cursor, and `cursor` events: one may stand for several commands, and comes behind the last of
    /// them.
    joins: usize,
    states: usize,
    state_due: bool,
    latest_answered: bool,
    positions: usize,
    /// Each `cursor` event, and what was held then.
    points: Vec<(String, Held)>,
}

impl Transcript {
    fn new(road: Road) -> Self {
        let numbers = (0..26).chain(30..45).filter(|id| *id != RECEIPT);
        Self {
            road,
            held: Held::default(),
            unanswered: numbers.collect(),
            receipt: false,
            joins: 0,
            states: 0,
            state_due: false,
            latest_answered: false,
            positions: 0,
            points: Vec::new(),
        }
    }

    fn is_complete(&self) -> bool {
        self.unanswered.is_empty() && self.receipt && !self.state_due
    }

    fn take(&mut self, packet: Packet, flow: &Flow) {
        match packet {
            Packet::Ack { id, answer, .. } => {
                assert_eq!(answer["success"], true, "{id}: {answer}");
                self.take_answer(id, flow);
            }
            Packet::Event(event) => self.take_event(&event),
            _ => {}
        }
    }

    fn take_answer(&mut self, id: u64, flow: &Flow) {
        if id == RECEIPT {
            self.receipt = true;
            return;
        }
        assert_eq!(Some(id), self.unanswered.pop_front(), "{:?}", self.road);
        for channel in joined(id) {
            self.held.channels.insert(channel, flow.next(channel));
        }
        if id == LEAVES {
            self.held.channels.remove(&LEFT);
        }
        self.latest_answered |= id == LATEST;
        if id == LATEST || !joined(id).is_empty() {
            self.joins += 1;
            self.state_due = true;
        }
    }

    fn take_event(&mut self, event: &Event) {
        let road = self.road;
        match event.name.as_str() {
            "connection_established" => {
                let first = self.points.is_empty() && self.held.seen.is_empty();
                assert!(first, "on {road:?}");
            }
            "cursor" => {
                self.states += 1;
                let answered = self.states <= self.joins;
                assert!(answered, "before its acknowledgement on {road:?}");
                let complete = !self.latest_answered || self.positions == POSITIONS;
                assert!(complete, "on {road:?}");
                self.state_due = false;
                let cursor = event.cursor().unwrap().to_owned();
                self.points.push((cursor, self.held.clone()));
            }
            "asset_position_updated" => self.positions += 1,
            _ => {
                let (channel, number) = numbered(event).unwrap();
                if let Some(before) = self.held.seen.insert(channel, number) {
                    assert_eq!(number, before + 1, "channel {channel} on {road:?}");
                }
            }
        }
    }
}

async fn bursts(road: Road) {
    let topics = [("transmission", 3), ("asset", 1), ("receipts", 1)];
    let kafka = Arc::new(Kafka::mock(&topics).await);
    produce_positions(&kafka).await;
    let app = road.app(&kafka).await;
    let flow = Flow::start(&kafka);
    let [first, second] = commands();
    let mut line = Line::connect(&app, road, &auth("u1", "o1", &[])).await;
    line.send(&first).await;
    if road == Road::Upgrade {
        line.upgrade().await;
    }
    let (mut transcript, mut second) = (Transcript::new(road), Some(second));
    let began = Instant::now();
    while !transcript.is_complete() {
        let left = &transcript.unanswered;
        assert!(began.elapsed() < 2 * SOON, "on {road:?} left: {left:?}");
        if left.len() < 30 || road == Road::Upgrade {
            // While some of the first are not answered.
            line.send(&second.take().unwrap_or_default()).await;
        }
        transcript.take(line.packet().await, &flow);
    }
    let ends = flow.end().await;
    // All of it comes, and the end behind it.
    while transcript
        .held
        .next()
        .any(|(channel, next)| next < ends[channel])
    {
        if let Packet::Event(event) = line.packet().await {
            transcript.take_event(&event);
        }
    }
    produce_end(&kafka).await;
    let points = &transcript.points;
    for (at, (cursor, held)) in points.iter().enumerate() {
        if at % 4 == 1 || at + 1 == points.len() {
            let what = format!("cursor {at} on {road:?}");
            check_resume(&app, cursor, held, &ends, &what).await;
        }
    }
}

/// Nothing is lost, and nothing comes again.
async fn check_resume(app: &TestApp, cursor: &str, held: &Held, ends: &[u64], what: &str) {
    let channels = held.channels.keys().copied().collect();
    let records = resumed(app, cursor, &channels).await;
    let mut next = BTreeMap::new();
    for (channel, number) in records {
        let expected = next
            .get(&channel)
            .copied()
            .or_else(|| held.seen.get(&channel).map(|seen| seen + 1));
        if let Some(expected) = expected {
            assert_eq!(number, expected, "channel {channel} from {what}");
        } else {
            let owed = held.channels[&channel];
            assert!(
                number <= owed,
                "channel {channel} from {what}: {number}, {owed}"
            );
        }
        next.insert(channel, number + 1);
    }
    for (channel, before) in held.next() {
        let has = next.get(&channel).copied().unwrap_or(before);
        assert_eq!(has, ends[channel], "channel {channel} from {what}");
    }
}
