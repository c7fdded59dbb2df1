//! The log that all instances read: a topic with a few partitions, two organisations, and rooms that records go to.

use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::hub::feed::Feed;
use serde_json::value::RawValue;

pub(crate) const TOPIC: &str = "incident";
pub(crate) const TOPIC_ID: [u8; 16] = [7; 16];

/// New partitions are added up to so many.
pub(crate) const MOST_PARTITIONS: usize = 7;

#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) at: u64,
    /// What its producer says: it places the start of an instance.
    pub(crate) stamped: u64,
    pub(crate) organisation: usize,
    /// One or two of the rooms 0 to 2; none stands for a record that reaches no client.
    pub(crate) rooms: Vec<usize>,
    /// Of class `latest`, and what it is the latest of. A key stays in one partition.
    pub(crate) key: Option<usize>,
}

impl Written {
    pub(crate) fn is_heard_in(&self, room: usize) -> bool {
        self.rooms.contains(&room) || (room == WHOLE && !self.rooms.is_empty())
    }
}

/// The whole kind of room that the others are of.
pub(crate) const WHOLE: usize = 3;
pub(crate) const ROOMS: [usize; 4] = [0, 1, 2, WHOLE];

/// Keys of class `latest`, per organisation.
pub(crate) const KEYS: usize = 6;

pub(crate) type ModelPlace = (usize, i64);

pub(crate) fn organisation(index: usize) -> Id {
    Id::parse(&format!("o{index}")).unwrap()
}

pub(crate) fn room(of: usize, index: usize) -> Room {
    Room {
        organisation: organisation(of),
        kind: Kind::parse("channel").unwrap(),
        which: if index == WHOLE {
            Which::All
        } else {
            Which::parse(&index.to_string()).unwrap()
        },
    }
}

pub(crate) fn feed(partition: usize, offset: i64, written: &Written) -> Feed {
    if written.rooms.is_empty() {
        return Feed::Passed {
            partition: partition as u32,
            offset,
        };
    }
    let publication = Publication {
        topic: TOPIC.into(),
        partition: partition as i32,
        offset,
        timestamp: None,
        key: None,
        event: "incident_updated".into(),
        organisation: organisation(written.organisation),
        rooms: written
            .rooms
            .iter()
            .map(|index| room(written.organisation, *index))
            .collect(),
        class: written.key.map_or(Class::Event, |_| Class::Latest),
        latest_of: written.key.map(|key| key.to_string().into()),
        ack: false,
        payload: RawValue::NULL.to_owned(),
    };
    Feed::Publication {
        partition: partition as u32,
        publication,
    }
}
