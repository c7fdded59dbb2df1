//! Both namespaces on one WebSocket, cut behind each of its frames: what is resumed has no hole and no repeat.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Client, Event, Kafka, Packet, TestApp, auth, record, transmission};

#[tokio::test]
async fn connection_that_is_cut_at_any_frame_is_resumed_on_the_lane() {
    cut_at_each_frame("on").await;
}

#[tokio::test]
async fn connection_that_is_cut_at_any_frame_is_resumed_through_the_library() {
    cut_at_each_frame("off").await;
}

/// Which cursor a client keeps of an event that it is to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// The last argument that is a cursor, as the documented lines do.
    Each,
    /// None: the last argument is the callback, and stock clients take no offset from that.
    OfNoQuestion,
}

async fn cut_at_each_frame(lane: &str) {
    let kafka = Kafka::mock(&[("transmission", 1), ("alert", 1)]).await;
    let more = [("FLEETCAST_LANE", lane), ("PING_INTERVAL", "1")];
    let app = TestApp::start_with(&kafka, &more).await;
    let mut pings = 0;
    for keeps in [Keeps::Each, Keeps::OfNoQuestion] {
        let mut frames = 1;
        while cut_at(&app, &kafka, keeps, frames, &mut pings).await {
            frames += 1;
        }
        // Each namespace: CONNECT, welcome, two or three answers, a cursor, five records, and a cursor behind the alert.
        assert!(frames > 20, "{frames} frames with {lane}");
    }
    assert!(pings > 0, "heartbeats came between the frames");
}

/// One of the two connections, as its client knows it.
struct Side {
    namespace: &'static str,
    organisation: &'static str,
    /// Joined by a command.
    channel: &'static str,
    has_joined: bool,
    cursor: Option<String>,
    /// How often each record came: of all rooms but that channel, and of that channel.
    seen: [BTreeMap<u64, usize>; 2],
    /// The last frame was the event that asks.
    at_question: bool,
}

impl Side {
    fn new(namespace: &'static str, organisation: &'static str, channel: &'static str) -> Self {
        Self {
            namespace,
            organisation,
            channel,
            has_joined: false,
            cursor: None,
            seen: Default::default(),
            at_question: false,
        }
    }

    fn auth(&self) -> Value {
        let joined = format!("channel:{}", self.channel);
        let rooms = ["channel:7", &joined];
        let held = &rooms[..=usize::from(self.has_joined)];
        let mut auth = auth("u1", self.organisation, held);
        if let Some(cursor) = &self.cursor {
            auth["cursor"] = json!(cursor);
        }
        auth
    }

    fn prefix(&self) -> String {
        match self.namespace {
            "/" => String::new(),
            namespace => format!("{namespace},"),
        }
    }

    /// Each command and then its room.
    fn commands(&self) -> [String; 3] {
        let prefix = self.prefix();
        let room = json!({ "room": format!("channel:{}", self.channel) });
        [
            format!("42{prefix}1{}", json!(["rooms"])),
            format!("42{prefix}2{}", json!(["subscribe", room])),
            format!("42{prefix}3{}", json!(["ack", { "id": "a" }])),
        ]
    }

    fn learn(&mut self, event: &Event, keeps: Keeps) {
        self.at_question = event.ask.is_some();
        if let Some(cursor) = event.cursor()
            && (event.ask.is_none() || keeps == Keeps::Each)
        {
            self.cursor = Some(cursor.to_owned());
        }
        let data = &event.args[0]["data"];
        if let Some(number) = data["n"].as_u64() {
            let joined = data["channel_id"] == self.channel;
            *self.seen[usize::from(joined)].entry(number).or_default() += 1;
        }
    }

    fn records(&self) -> usize {
        self.seen.iter().map(BTreeMap::len).sum()
    }
}

/// What is produced for each side while it is connected: five records, the third of which is an alert.
const MEANWHILE: u64 = 5;
const ALERT: u64 = 2;
/// And while it is away.
const AWAY: u64 = 6;

async fn produce(kafka: &Kafka, side: &Side, numbers: std::ops::Range<u64>) {
    let Side {
        organisation,
        channel,
        ..
    } = *side;
    for number in numbers {
        if number == ALERT {
            let alert = record("alert_created", organisation, &json!({ "n": number }));
            kafka.produce("alert", alert).await;
            continue;
        }
        let channel = if number % 2 == 1 { channel } else { "7" };
        let value = transmission(organisation, channel, 0, number, "");
        kafka.produce("transmission", value).await;
    }
}

/// A round of which so many frames are read. False: it had no more.
async fn cut_at(
    app: &TestApp,
    kafka: &Kafka,
    keeps: Keeps,
    frames: usize,
    pings: &mut usize,
) -> bool {
    let mut sides = [Side::new("/", "o1", "8"), Side::new("/ws", "o2", "9")];
    let mut client = Client::open(app.public).await;
    for side in &sides {
        let connect = format!("40{}{}", side.prefix(), side.auth());
        client.send(&connect).await;
    }
    let (mut answers, mut produced) = (0, false);
    for _ in 0..frames {
        let whole = |side: &Side| side.records() == usize::try_from(MEANWHILE).unwrap();
        if answers == 6 && sides.iter().all(|side| whole(side) && !side.at_question) {
            return false;
        }
        match client.packet().await.expect("the server does not close") {
            Packet::Ack {
                namespace,
                id,
                answer,
            } => {
                assert_eq!(answer["success"], true, "{answer}");
                answers += 1;
                let side = sides.iter_mut().find(|it| it.namespace == namespace);
                side.unwrap().has_joined |= id == 2;
            }
            Packet::Event(event) => {
                for side in &mut sides {
                    side.at_question = false;
                }
                let side = sides.iter_mut().find(|it| it.namespace == event.namespace);
                side.unwrap().learn(&event, keeps);
            }
            other => assert!(matches!(other, Packet::Connect { .. }), "{other:?}"),
        }
        if !produced && sides.iter().all(|side| side.cursor.is_some()) {
            produced = true;
            let [root, ws] = &sides;
            for (one, other) in root.commands().iter().zip(ws.commands()) {
                client.send(one).await;
                client.try_ping(4).await.unwrap();
                client.send(&other).await;
            }
            // So that the joined channels' records are owed too.
            for number in 0..MEANWHILE {
                for side in [root, ws] {
                    produce(kafka, side, number..number + 1).await;
                }
            }
        }
    }
    *pings += client.pings;
    client.cut();
    let welcomed: Vec<_> = sides.iter().map(|side| side.cursor.is_some()).collect();
    for side in &sides {
        let from = if produced { MEANWHILE } else { 0 };
        produce(kafka, side, from..AWAY).await;
    }
    let what = format!("{keeps:?}, cut at frame {frames}");
    let cut_at_question = sides.each_ref().map(|side| side.at_question);
    resume(app, kafka, &mut sides).await;
    for ((side, welcomed), at_question) in sides.iter().zip(welcomed).zip(cut_at_question) {
        let what = format!("{} of {what}: {:?}", side.namespace, side.seen);
        let repeats = keeps == Keeps::OfNoQuestion && at_question;
        check(side, welcomed, repeats, &what);
    }
    true
}

/// Goes on in both namespaces and reads what comes up to the end.
async fn resume(app: &TestApp, kafka: &Kafka, sides: &mut [Side; 2]) {
    let mut client = Client::open(app.public).await;
    for side in sides.iter_mut() {
        let welcome = client.enter(side.namespace, &side.auth()).await;
        let expected = if side.cursor.is_some() {
            "resumed"
        } else {
            "fresh"
        };
        assert_eq!(welcome["resume"], expected);
        let end = record("incident_created", side.organisation, &json!({}));
        kafka.produce("transmission", end).await;
    }
    let mut ends = 0;
    while ends < 2 {
        let event = client.record().await;
        ends += usize::from(event.name == "incident_created");
        let side = sides.iter_mut().find(|it| it.namespace == event.namespace);
        side.unwrap().learn(&event, Keeps::Each);
    }
    client.cut();
}

/// `repeats`: the alert may have come twice.
fn check(side: &Side, welcomed: bool, repeats: bool, what: &str) {
    let [other, joined] = &side.seen;
    for (number, count) in other.iter().chain(joined) {
        let twice = repeats && *number == ALERT;
        assert_eq!(*count, if twice { 2 } else { 1 }, "{number} in {what}");
    }
    if !welcomed {
        return;
    }
    let owed: Vec<u64> = (0..AWAY).filter(|number| number % 2 == 0).collect();
    let came: Vec<u64> = other.keys().copied().collect();
    assert_eq!(came, owed, "{what}");
    // From where it was joined there is no hole.
    let came: Vec<u64> = joined.keys().copied().collect();
    let owed: Vec<u64> = (0..AWAY).filter(|number| number % 2 == 1).collect();
    if side.has_joined {
        assert!(owed.ends_with(&came) && came.contains(&MEANWHILE), "{what}");
    }
}
