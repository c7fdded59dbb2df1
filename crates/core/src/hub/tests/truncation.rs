//! Truncated logs, and cursors that were issued over a longer one.

use super::resumption::text;
use super::*;
use crate::domain::protocol::ResyncReason::{LogTruncated, TopicRecreated};

#[test]
fn each_truncated_log_resyncs_every_connection() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    for (partition, index) in [(0, 2), (1, 3)] {
        // Of the second one too, although nothing was read of it since the first: what it held was skipped.
        rig.apply(Feed::Truncated { partition });
        rig.apply(Feed::Partition {
            index,
            topic: TOPIC.into(),
            number: i32::try_from(partition).unwrap(),
            topic_id: None,
            start: 20,
        });
        rig.turns();
        assert_eq!(client.read(), [Seen::Resync(TopicRecreated)]);
    }
}

#[test]
fn an_end_that_has_been_passed_since_is_ignored() {
    let mut rig = Rig::new(1);
    let ahead = text(rig.now.wall, &[(0, 5)]);
    let mut client = rig.resumed(&["1"], &ahead);
    for _ in 0..3 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.hub.end_of_log(client.key, 0, 2, rig.now);
    rig.turns();
    assert_eq!(client.read(), [Welcome(Resumption::Resumed, 60)]);
}

#[test]
fn a_log_that_ends_below_the_cursor_is_another_log() {
    for (high, expected) in [(3, false), (2, true)] {
        let mut rig = Rig::new(1);
        let ahead = text(rig.now.wall, &[(0, 3)]);
        let mut client = rig.resumed(&["1"], &ahead);
        let mut other = rig.live_after(&mut client);
        // Came when the brokers had been asked: their answer is older than what it has seen.
        let mut late = rig.resumed(&["1"], &ahead);
        rig.turns();
        assert_eq!(late.read(), [Welcome(Resumption::Resumed, 60)]);
        for key in [client.key, other.key] {
            rig.hub.end_of_log(key, 0, high, rig.now);
        }
        rig.turns();
        let resync = [Seen::Resync(LogTruncated)];
        let expected: &[Seen] = if expected { &resync } else { &[] };
        assert_eq!(client.read(), expected, "end at {high}");
        assert_eq!((other.read(), late.read()), (vec![], vec![]));
        assert!(rig.hub.is_ahead(late.key, 0) && !rig.hub.is_ahead(other.key, 0));
        assert!(!rig.hub.is_ahead(late.key, 1), "there is no such partition");
    }
}

impl Rig {
    /// A fresh client, once this one has its welcome.
    fn live_after(&mut self, first: &mut Client) -> Client {
        self.turns();
        assert_eq!(first.read().len(), 1);
        self.live(&["1"])
    }
}
