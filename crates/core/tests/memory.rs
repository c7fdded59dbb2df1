//! What the newest of each key cost in memory, against what the hub says that they cost.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::{Item, Offered, Outlet};
use fleetcast_core::hub::{Hub, HubSettings, Now, Start};
use serde_json::value::RawValue;

const ASSETS: i64 = 100_000;
const RECORD: usize = 300;

struct IgnoringOutlet;

impl Outlet for IgnoringOutlet {
    type Shared = ();

    fn offer(&mut self, _: Item<'_>) -> Offered {
        Offered::Taken
    }
}

/// As the router makes them of records: nothing is shared but event and topic.
fn position(offset: i64, topic: &Arc<str>, event: &Arc<str>, kind: &Kind) -> Publication {
    let asset = Id::parse(&format!("asset-{offset}")).expect("an id");
    let organisation = Id::parse("metro").expect("an id");
    let payload = format!("\"{}\"", "x".repeat(RECORD - 2));
    Publication {
        topic: topic.clone(),
        partition: 0,
        offset,
        timestamp: Some(0),
        key: Some(asset.as_str().as_bytes().into()),
        event: event.clone(),
        rooms: vec![Room {
            organisation: organisation.clone(),
            kind: kind.clone(),
            which: Which::One(asset.clone()),
        }],
        organisation,
        class: Class::Latest,
        latest_of: Some(Arc::from(asset)),
        ack: false,
        payload: RawValue::from_string(payload).expect("a string"),
    }
}

/// Bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .expect("a field")
        .parse()
        .expect("a number");
    pages * 4096
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_assets() {
    let mut hub: Hub<IgnoringOutlet> = Hub::new(HubSettings {
        window_ms: 1_000,
        window_bytes: 1 << 20,
        latest_bytes: 1 << 30,
        named_partitions: 0,
    });
    let now = |second: i64| Now {
        monotonic: second.cast_unsigned() * 1_000,
        wall: 1_795_000_000_000,
    };
    let partition = Feed::Partition {
        index: 0,
        topic: "asset".into(),
        number: 0,
        topic_id: None,
        start: 0,
    };
    hub.apply(partition, now(0));
    hub.loaded();
    let (topic, event) = (Arc::from("asset"), Arc::from("asset_position_updated"));
    let kind = Kind::parse("asset").expect("a kind");
    let before = resident();
    for round in 0..3 {
        for asset in 0..ASSETS {
            let publication = Publication {
                offset: round * ASSETS + asset,
                ..position(asset, &topic, &event, &kind)
            };
            let feed = Feed::Publication {
                partition: 0,
                publication,
            };
            hub.apply(feed, now(round));
        }
        hub.tick(now(100 + round));
        let snapshot = hub.statistics(now(100 + round));
        let taken = resident() - before;
        println!(
            "{} records: {} bytes taken, {} counted; window {} bytes",
            snapshot.latest_records, taken, snapshot.latest_bytes, snapshot.window_bytes
        );
        assert_eq!(snapshot.latest_records, 100_000);
    }
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_connections() {
    const CONNECTIONS: usize = 10_000;
    let mut hub: Hub<IgnoringOutlet> = Hub::new(HubSettings {
        window_ms: 1_000,
        window_bytes: 1 << 20,
        latest_bytes: 0,
        named_partitions: 0,
    });
    let now = Now {
        monotonic: 1_000,
        wall: 1_795_000_000_000,
    };
    let id = |text: &str| Id::parse(text).expect("an id");
    let before = resident();
    for number in 0..CONNECTIONS {
        // As a token and a handshake name them: each with texts of its own.
        let organisation = id("metro");
        let mut rooms = vec![
            Room::organisation(&organisation),
            Room::user(&organisation, &UserId::from(&id(&format!("user-{number}")))),
        ];
        for room in 0..8 {
            rooms.push(Room {
                organisation: id("metro"),
                kind: Kind::parse("channel").expect("a kind"),
                which: Which::One(id(&format!("channel-{}", number % 100 * 8 + room))),
            });
        }
        hub.connect(&organisation, rooms, Start::Fresh, IgnoringOutlet, now);
        while hub.turn(now) {}
    }
    let each = (resident() - before) / CONNECTIONS;
    println!("{each} bytes for a connection with ten rooms");
}
