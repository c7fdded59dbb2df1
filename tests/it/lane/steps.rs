//! One command at a time: the `cursor` event behind its acknowledgement contains what it asked for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Line, POSITIONS, Road, command, numbered, produce_end, produce_positions, resumed, rooms,
};
use crate::harness::{Kafka, Packet, TestApp, auth, transmission};

#[tokio::test]
async fn cursor_behind_an_acknowledgement_contains_what_was_asked_for_on_the_lane() {
    step_by_step(Road::Lane).await;
}

#[tokio::test]
async fn cursor_behind_an_acknowledgement_contains_what_was_asked_for_through_the_library() {
    step_by_step(Road::Library).await;
}

#[tokio::test]
async fn cursor_behind_an_acknowledgement_contains_what_was_asked_for_on_polling() {
    step_by_step(Road::Polling).await;
}

#[tokio::test]
async fn cursor_behind_an_acknowledgement_contains_what_was_asked_for_after_an_upgrade() {
    step_by_step(Road::Upgrade).await;
}

struct Step {
    event: &'static str,
    payload: Value,
    /// The channels that are held then.
    held: &'static [usize],
    /// A `cursor` event follows.
    moves: bool,
}

impl Step {
    fn all() -> [Self; 7] {
        let latest = json!({ "type": "asset", "all": true, "latest": true });
        let steps: [(_, _, &'static [usize], _); 7] = [
            ("subscribe", json!({ "room": "channel:1" }), &[1], true),
            (
                "subscribe",
                json!({ "rooms": rooms([2, 3]) }),
                &[1, 2, 3],
                true,
            ),
            ("subscribe", latest, &[1, 2, 3], true),
            ("ack", json!({ "id": "a" }), &[1, 2, 3], false),
            (
                "unsubscribe",
                json!({ "room": "channel:2" }),
                &[1, 3],
                false,
            ),
            ("rooms", json!({}), &[1, 3], false),
            (
                "subscribe",
                json!({ "room": "channel:4" }),
                &[1, 3, 4],
                true,
            ),
        ];
        steps.map(|(event, payload, held, moves)| Self {
            event,
            payload,
            held,
            moves,
        })
    }

    /// What is produced right after its acknowledgement: to a channel that is left on the way, and to the last one that is held.
    fn channels(&self) -> [usize; 2] {
        [LEFT, *self.held.last().unwrap()]
    }

    fn asks_for_state(&self) -> bool {
        self.payload["latest"] == true
    }
}

const LEFT: usize = 2;

/// A cursor that the client has had, and how far it was then.
struct Point {
    cursor: String,
    step: usize,
    /// Of the records of this step.
    seen: Vec<(usize, u64)>,
}

/// A record that is produced right after the acknowledgement comes once, and comes once more to a client that goes on from the `cursor`
/// event of the command, and not to one that goes on from the record's own cursor.
async fn step_by_step(road: Road) {
    let kafka = Kafka::mock(&[("transmission", 1), ("asset", 1), ("receipts", 1)]).await;
    produce_positions(&kafka).await;
    let app = road.app(&kafka).await;
    let mut line = Line::connect(&app, road, &auth("u1", "o1", &[])).await;
    let steps = Step::all();
    let mut points = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if road == Road::Upgrade && number == 2 {
            line.upgrade().await;
        }
        points.extend(take_step(&kafka, &mut line, number, step, road).await);
    }
    produce_end(&kafka).await;
    for point in points {
        check(&app, &steps, point, road).await;
    }
}

/// Numbers of records are those of steps.
fn record_of(channel: usize, step: usize) -> (usize, u64) {
    (channel, step as u64)
}

async fn take_step(
    kafka: &Kafka,
    line: &mut Line,
    number: usize,
    step: &Step,
    road: Road,
) -> Vec<Point> {
    let what = format!("{} {} on {road:?}", step.event, step.payload);
    let id = number as u64;
    line.send(&[command(id, step.event, &step.payload)]).await;
    loop {
        match line.packet().await {
            Packet::Ack { id: of, answer, .. } => {
                assert_eq!((of, &answer["success"]), (id, &json!(true)), "{what}");
                break;
            }
            Packet::Event(event) => {
                assert_eq!(event.name, "connection_established", "before {what}");
            }
            _ => {}
        }
    }
    for channel in step.channels() {
        let value = transmission("o1", &channel.to_string(), 0, id, "");
        kafka.produce("transmission", value).await;
    }
    let held = |channel: &usize| step.held.contains(channel);
    let expected: Vec<_> = (step.channels().into_iter().filter(held))
        .map(|channel| record_of(channel, number))
        .collect();
    let (mut points, mut seen, mut states, mut positions) = (Vec::new(), Vec::new(), 0, 0);
    while seen.len() < expected.len() || (step.moves && states == 0) {
        let Packet::Event(event) = line.packet().await else {
            continue;
        };
        match event.name.as_str() {
            "cursor" => {
                states += 1;
                let complete = !step.asks_for_state() || positions == POSITIONS;
                assert!(complete, "after {positions} positions: {what}");
            }
            "asset_position_updated" => {
                // Its cursor does not move.
                positions += 1;
                continue;
            }
            _ => seen.push(numbered(&event).unwrap()),
        }
        points.push(Point {
            cursor: event.cursor().unwrap().to_owned(),
            step: number,
            seen: seen.clone(),
        });
    }
    assert_eq!(states, usize::from(step.moves), "{what}");
    assert_eq!(seen, expected, "{what}");
    points
}

async fn check(app: &TestApp, steps: &[Step], point: Point, road: Road) {
    let held: BTreeSet<usize> = steps[point.step].held.iter().copied().collect();
    let records = resumed(app, &point.cursor, &held).await;
    // Of this step what had not come, and all of the later ones, of the rooms that were held then.
    let later = steps.iter().enumerate().skip(point.step);
    let later = later.flat_map(|(number, step)| {
        let channels = step.channels().into_iter();
        channels.map(move |channel| record_of(channel, number))
    });
    let expected: Vec<_> = later
        .filter(|record| held.contains(&record.0) && !point.seen.contains(record))
        .collect();
    let Point { step, seen, .. } = point;
    assert_eq!(
        records, expected,
        "from step {step} on {road:?} after {seen:?}"
    );
}
