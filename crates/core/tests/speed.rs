//! What a publication costs, and each member that it is offered to. `cargo test --release -p fleetcast-core --test speed -- --ignored
//! --nocapture` prints nanoseconds; nothing is asserted on them.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::{Item, Offered, Outlet};
use fleetcast_core::hub::{Hub, HubSettings, NAMED_PARTITIONS, Now, Start};
use serde_json::value::RawValue;

const PARTITIONS: u32 = 15;
const PAYLOAD: usize = 500;
const NOW: Now = Now {
    monotonic: 1_000_000,
    wall: 1_795_000_000_000,
};

struct CountingOutlet(u64);

impl Outlet for CountingOutlet {
    type Shared = ();

    fn offer(&mut self, _: Item<'_>) -> Offered {
        self.0 += 1;
        Offered::Taken
    }
}

type BoxedOutlet = Box<dyn Outlet<Shared = ()> + Send>;

struct SpeedRig {
    hub: Hub<BoxedOutlet>,
    next: [i64; PARTITIONS as usize],
    names: [Arc<str>; 2],
}

/// As the router makes them of records: nothing is shared but event and topic.
fn speed_room(number: usize) -> Room {
    let id = Id::parse(&format!("incident-{number}")).expect("an id");
    Room {
        organisation: Id::parse("metro").expect("an id"),
        kind: Kind::parse("incident").expect("a kind"),
        which: Which::One(id),
    }
}

/// What this thread has had of a core: other programs do not count.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = stat.split(' ').next().expect("a field");
    nanos.parse().expect("a number")
}

impl SpeedRig {
    fn new(window_bytes: usize) -> Self {
        let mut hub = Hub::new(HubSettings {
            window_ms: 600_000,
            window_bytes,
            latest_bytes: 1 << 20,
            named_partitions: NAMED_PARTITIONS,
        });
        for number in 0..PARTITIONS {
            let partition = Feed::Partition {
                index: number,
                topic: "incident".into(),
                number: number.cast_signed(),
                topic_id: Some([7; 16]),
                start: 0,
            };
            hub.apply(partition, NOW);
        }
        hub.loaded();
        Self {
            hub,
            next: [250_000_000; PARTITIONS as usize],
            names: ["incident".into(), "incident_updated".into()],
        }
    }

    /// A connection with the two rooms that each has, and this one.
    fn connect(&mut self, user: usize, room: usize) {
        let organisation = Id::parse("metro").expect("an id");
        let user = Id::parse(&format!("user-{user}")).expect("an id");
        let rooms = vec![
            Room::organisation(&organisation),
            Room::user(&organisation, &UserId::from(&user)),
            speed_room(room),
        ];
        let outlet = Box::new(CountingOutlet(0));
        (self.hub).connect(&organisation, rooms, Start::Fresh, outlet, NOW);
        while self.hub.turn(NOW) {}
    }

    fn publications(&mut self, count: usize, rooms: usize) -> Vec<Feed> {
        let mut made = Vec::with_capacity(count);
        for nth in 0..count {
            let partition = nth % PARTITIONS as usize;
            let offset = self.next[partition];
            self.next[partition] += 1;
            // Not the order in which they were joined.
            let room = speed_room(nth * 7_919 % rooms);
            let publication = Publication {
                topic: self.names[0].clone(),
                partition: i32::try_from(partition).expect("small"),
                offset,
                timestamp: Some(0),
                key: Some(Arc::from(&b"incident-17"[..])),
                event: self.names[1].clone(),
                organisation: room.organisation.clone(),
                rooms: vec![room],
                class: Class::Event,
                latest_of: None,
                ack: false,
                payload: RawValue::from_string(format!("\"{}\"", "x".repeat(PAYLOAD - 2)))
                    .expect("a string"),
            };
            made.push(Feed::Publication {
                partition: u32::try_from(partition).expect("small"),
                publication,
            });
        }
        made
    }

    /// Nanoseconds for each of them, the median of several rounds.
    fn measure(&mut self, count: usize, rooms: usize) -> f64 {
        let mut rounds: Vec<f64> = (0..9)
            .map(|_| {
                let publications = self.publications(count, rooms);
                let began = cpu_nanos();
                for publication in publications {
                    self.hub.apply(publication, NOW);
                }
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let each = (cpu_nanos() - began) as f64 / count as f64;
                each
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

#[test]
#[ignore = "a measurement"]
fn what_a_publication_and_a_delivery_cost() {
    for (members, rooms, count) in [
        (0, 1, 20_000),
        (10, 1, 20_000),
        (1_000, 1, 2_000),
        (10_000, 1, 300),
        (10_000, 1_000, 20_000),
    ] {
        // Ten thousand or so of them: eviction runs.
        let mut rig = SpeedRig::new(10 << 20);
        for member in 0..members {
            rig.connect(member, member % rooms);
        }
        rig.measure(20_000 / (1 + members / rooms / 10), rooms);
        let each = rig.measure(count, rooms);
        println!("{rooms:5} rooms of {:6}: {each:9.0} ns", members / rooms);
    }
}
