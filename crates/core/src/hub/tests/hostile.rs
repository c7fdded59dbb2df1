//! Forged cursors at the hub: whatever they say, no client gets what is not its own, and nothing stalls.

use proptest::prelude::*;

use super::*;
use crate::domain::cursor::organisation_hash;

fn any_mark() -> impl Strategy<Value = Mark> {
    let hash = prop_oneof![
        4 => (0..3_i32).prop_map(|number| partition_hash(TOPIC, number)),
        1 => any::<u32>(),
    ];
    let next = prop_oneof![0..20_i64, any::<i64>().prop_map(|next| next & i64::MAX)];
    (hash, 0..3_u8, next).prop_map(|(hash, topic, next)| {
        let tag = Tag::of(Some([topic; 16]));
        Mark { hash, tag, next }
    })
}

fn any_cursor() -> impl Strategy<Value = Cursor> {
    let issued = prop_oneof![
        3 => (EPOCH..EPOCH + 100_000).prop_map(|at| at / 100 * 100),
        1 => any::<u64>(),
    ];
    let organisation = prop_oneof![
        3 => Just(organisation_hash(&id("o1"))),
        1 => Just(organisation_hash(&id("o2"))),
    ];
    let marks = proptest::collection::vec(any_mark(), 0..5);
    (issued, organisation, marks).prop_map(|(issued, organisation, mut marks)| {
        marks.sort_unstable_by_key(|mark| mark.hash);
        marks.dedup_by_key(|mark| mark.hash);
        Cursor {
            issued,
            organisation,
            marks,
        }
    })
}

/// A hub with ten records in each of three partitions: of `o1` in the first two, of `o2` in the last.
fn rig() -> Rig {
    let mut rig = Rig::new(3);
    rig.pass(50_000);
    for _ in 0..10 {
        more(&mut rig);
    }
    rig.pass(20_000);
    rig
}

fn more(rig: &mut Rig) {
    rig.publish(0, "o1", &["1"]);
    rig.publish(1, "o1", &["1"]);
    rig.publish(2, "o2", &["1"]);
}

proptest! {
    #[test]
    fn a_forged_cursor_never_reveals_another_organisation(
        cursor in any_cursor(),
    ) {
        let mut rig = rig();
        let text = cursor.encode(None);
        let Inspection::Resume(cursor) = rig.inspect("o1", &text) else {
            return Ok(());
        };
        let start = Start::Resume(cursor.clone(), text);
        let mut client = rig.connect("o1", &["1"], start);
        rig.turns();
        for _ in 0..20 {
            more(&mut rig);
            rig.turns();
        }
        let came = client.read();
        prop_assert!(!came.iter().any(|seen| matches!(seen, Seen::Resync(_))), "{came:?}");
        for partition in 0..3 {
            let of = |seen: &Seen| match seen {
                Record(of, offset) if *of == partition => Some(*offset),
                _ => None,
            };
            let came: Vec<_> = came.iter().filter_map(of).collect();
            let next = cursor.next(partition_hash(TOPIC, partition)).unwrap_or(0);
            let owed: Vec<_> = (next..30).collect();
            prop_assert_eq!(came, if partition == 2 { Vec::new() } else { owed });
        }
    }

    #[test]
    fn any_invalid_cursor_is_reported_as_invalid(
        text in "(v1\\.)?[A-Za-z0-9_-]{0,120}",
        cursor in any_cursor(),
        keep in 0_usize..80,
    ) {
        let rig = rig();
        let whole = cursor.encode(None);
        let cut: String = whole.chars().take(keep).collect();
        for text in [text, cut] {
            if text != *whole {
                prop_assert_eq!(
                    rig.inspect("o1", &text),
                    Inspection::Resync(ResyncReason::CursorInvalid)
                );
            }
        }
    }
}
