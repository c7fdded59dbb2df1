//! Instances that know the ids of topics, instances that do not, and topics that are recreated.

use super::*;
use crate::domain::protocol::ResyncReason::TopicRecreated;

const OLD: [u8; 16] = [1; 16];
const NEW: [u8; 16] = [2; 16];

fn recreated(index: u32, topic_id: Option<[u8; 16]>) -> Feed {
    Feed::Partition {
        index,
        topic: TOPIC.into(),
        number: 0,
        topic_id,
        start: 0,
    }
}

impl Rig {
    /// Reads the topic of this id, or of an id that is not known.
    fn of(topic_id: Option<[u8; 16]>) -> Self {
        let mut rig = Self::new(0);
        rig.next.push(0);
        rig.apply(recreated(0, topic_id));
        // Cursors are short again.
        rig.pass(WINDOW_MS);
        rig
    }

    /// What a client of this instance has in hand after a record.
    fn cursor_in_hand(&mut self) -> String {
        let mut client = self.live(&["1"]);
        let newest = u32::try_from(self.next.len() - 1).unwrap();
        self.publish(newest, "o1", &["1"]);
        client.read();
        client.cursor.to_string()
    }
}

#[test]
fn instances_with_and_without_the_id_read_each_others_cursors() {
    for (here, there) in [
        (None, None),
        (Some(OLD), None),
        (None, Some(OLD)),
        (Some(OLD), Some(OLD)),
        // Brokers without ids answer with zeros.
        (Some([0; 16]), Some(OLD)),
        (Some(OLD), Some([0; 16])),
    ] {
        let (mut here, mut there) = (Rig::of(here), Rig::of(there));
        let cursor = here.cursor_in_hand();
        there.publish(0, "o1", &["1"]);
        there.publish(0, "o1", &["1"]);
        let mut back = there.resumed(&["1"], &cursor);
        there.turns();
        assert_eq!(back.records(), [(0, 1)]);
        // And the other way round, also in the long form that an instance uses after a change.
        here.publish(0, "o1", &["1"]);
        for long in [false, true] {
            let text = if long {
                there.decode(&back.cursor).encode(None)
            } else {
                back.cursor.clone()
            };
            assert!(matches!(here.inspect("o1", &text), Inspection::Resume(_)));
        }
    }
}

#[test]
fn an_id_that_is_learned_late_changes_nothing_for_clients() {
    let (mut rig, other) = (Rig::of(None), Rig::of(None));
    let mut client = rig.live(&["1"]);
    let mut slow = rig.live(&["1"]);
    slow.set_capacity(0);
    let before = rig.cursor_in_hand();
    client.read();
    rig.apply(Feed::TopicId {
        partition: 0,
        topic_id: OLD,
    });
    rig.turns();
    assert_eq!(client.read(), []);
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 1)]);
    slow.set_capacity(NO_LIMIT);
    rig.ready(&slow);
    assert_eq!(slow.records(), [(0, 0), (0, 1)]);
    let mut back = rig.resumed(&["1"], &before);
    rig.turns();
    assert_eq!(back.records(), [(0, 1)]);
    // Short as ever, and read where the id is not known.
    let cursor = &client.cursor;
    assert!(Cursor::decode(cursor, |_, _| None).is_err(), "short form");
    assert!(matches!(other.inspect("o1", cursor), Inspection::Resume(_)));
    assert_eq!(rig.position(cursor, 0), Some(2));
}

#[test]
fn a_cursor_of_the_old_topic_is_refused_by_an_instance_that_never_read_it() {
    let mut old = Rig::of(Some(OLD));
    let cursor = old.cursor_in_hand();
    let long = old.decode(&cursor).encode(None);
    // Its log is longer than what the client has seen, so no offset tells.
    let mut new = Rig::of(Some(NEW));
    for _ in 0..3 {
        new.publish(0, "o1", &["1"]);
    }
    for text in [cursor.as_str(), &long] {
        // Unknown first: it might be this instance that has not noticed.
        assert_eq!(new.inspect("o1", text), Inspection::Unknown);
    }
    // The other way round it is the old instance that has to ask, and then goes on.
    let ahead = new.cursor_in_hand();
    assert_eq!(old.inspect("o1", &ahead), Inspection::Unknown);
    old.apply(Feed::TopicDeleted { partition: 0 });
    old.apply(recreated(1, Some(NEW)));
    old.next.push(0);
    assert!(matches!(old.inspect("o1", &ahead), Inspection::Resume(_)));
}

#[test]
fn a_cursor_of_the_former_topic_is_recognised_by_its_id() {
    let mut rig = Rig::of(Some(OLD));
    let mut client = rig.live(&["1"]);
    let before = rig.cursor_in_hand();
    client.read();
    let long = rig.decode(&before).encode(None);
    rig.apply(Feed::TopicDeleted { partition: 0 });
    rig.apply(recreated(1, Some(NEW)));
    rig.next = vec![1, 0];
    rig.turns();
    assert_eq!(client.read(), [Seen::Resync(TopicRecreated)]);
    for text in [before.as_str(), &long] {
        let judged = rig.inspect("o1", text);
        assert_eq!(judged, Inspection::Resync(TopicRecreated));
    }
    // A cursor of the new topic is good at once, however the clocks of its issuer stand.
    rig.now.wall -= 5_000;
    let fresh = rig.cursor_in_hand();
    assert!(matches!(rig.inspect("o1", &fresh), Inspection::Resume(_)));
}

#[test]
fn a_truncated_log_is_the_same_topic_and_another_log() {
    let mut rig = Rig::of(Some(OLD));
    let before = rig.cursor_in_hand();
    rig.apply(Feed::TopicDeleted { partition: 0 });
    rig.apply(recreated(1, Some(OLD)));
    rig.next = vec![1, 0];
    let judged = rig.inspect("o1", &before);
    assert_eq!(judged, Inspection::Resync(TopicRecreated));
}

/// Two partitions, found to be gone one by one.
#[test]
fn a_further_deleted_partition_is_announced_only_if_it_was_read_since_the_first() {
    for read_between in [false, true] {
        let mut rig = Rig::new(2);
        let mut client = rig.live(&["1"]);
        rig.publish(0, "o1", &["1"]);
        rig.publish(1, "o1", &["1"]);
        client.read();
        let before = client.cursor.clone();
        rig.apply(Feed::TopicDeleted { partition: 0 });
        rig.turns();
        let told = [Seen::Resync(TopicRecreated)];
        assert_eq!(client.read(), told);
        let mut fresh = rig.live(&["1"]);
        rig.apply(recreated(2, None));
        rig.next.push(0);
        rig.publish(2, "o1", &["1"]);
        if read_between {
            // It is of the new topic, and comes again.
            rig.publish(1, "o1", &["1"]);
        }
        client.read();
        fresh.read();
        rig.apply(Feed::TopicDeleted { partition: 1 });
        rig.turns();
        let expected: &[Seen] = if read_between { &told } else { &[] };
        assert_eq!(
            (client.read(), fresh.read()),
            (expected.to_vec(), expected.to_vec())
        );
        // Recreated once more, it is announced again, however quiet it was.
        rig.apply(Feed::TopicDeleted { partition: 2 });
        rig.turns();
        assert_eq!(client.read(), told);
        assert!(!matches!(rig.inspect("o1", &before), Inspection::Resume(_)));
    }
}

/// The connection resumes before the brokers have reported the id, and its vector is of the former topic.
#[test]
fn a_cursor_vector_of_the_former_topic_is_a_resync_once_the_id_is_learned() {
    let mut old = Rig::of(Some(OLD));
    for _ in 0..4 {
        old.publish(0, "o1", &["1"]);
    }
    let cursor = old.cursor_in_hand();
    let cursor = old.decode(&cursor).encode(None);
    let mut new = Rig::of(None);
    new.publish(0, "o1", &["1"]);
    let mut client = new.resumed(&["1"], &cursor);
    new.turns();
    new.apply(Feed::TopicId {
        partition: 0,
        topic_id: NEW,
    });
    new.turns();
    new.publish(0, "o1", &["1"]);
    new.turns();
    let seen = client.read();
    assert!(
        seen.iter()
            .any(|it| matches!(it, Seen::Resync(TopicRecreated))),
        "{seen:?}"
    );
}
