use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_795_000_000_000;

fn tag(topic: u8) -> Tag {
    Tag::of(Some([topic; 16]))
}

/// All of one topic.
fn cursor(positions: &[(u32, i64)]) -> Cursor {
    of(tag(1), positions)
}

fn of(tag: Tag, positions: &[(u32, i64)]) -> Cursor {
    let mark = |(hash, next): &(u32, i64)| Mark {
        hash: *hash,
        tag,
        next: *next,
    };
    Cursor {
        issued: NOW,
        organisation: 7,
        marks: positions.iter().map(mark).collect(),
    }
}

fn table(tag: Tag, hashes: &[u32]) -> Table {
    Table::new(hashes.iter().map(|hash| (*hash, tag)).collect())
}

fn nothing(_: u32, _: Tag) -> Option<&'static Table> {
    None
}

#[test]
fn fifteen_partitions_fit_in_110_characters() {
    let hashes: Vec<u32> = (0..15)
        .map(|number| partition_hash("incident", number))
        .collect();
    let table = table(tag(1), &hashes);
    let positions: Vec<_> = table
        .names
        .iter()
        .map(|(hash, _)| (*hash, 250_000_000))
        .collect();
    let text = cursor(&positions).encode(Some(&table));
    assert!(text.len() <= 110, "{} characters: {text}", text.len());
}

#[test]
fn a_table_is_needed_to_read_the_short_form() {
    let table = table(tag(1), &[3, 1, 2]);
    let text = cursor(&[(1, 5), (3, 9)]).encode(Some(&table));
    assert_eq!(
        Cursor::decode(&text, nothing),
        Err(CursorError::UnknownTable)
    );
    assert_eq!(
        Cursor::decode(&text, |_, _| Some(&table)),
        Ok(cursor(&[(1, 5), (3, 9)]))
    );
}

#[test]
fn a_partition_outside_the_table_forces_the_long_form() {
    let table = table(tag(1), &[1, 2]);
    let text = cursor(&[(1, 5), (9, 9)]).encode(Some(&table));
    assert_eq!(
        Cursor::decode(&text, nothing),
        Ok(cursor(&[(1, 5), (9, 9)]))
    );
}

#[test]
fn merging_takes_the_maximum_everywhere() {
    let merged = cursor(&[(1, 5), (3, 9)]).merged(&cursor(&[(1, 4), (2, 7), (3, 10)]));
    assert_eq!(merged, cursor(&[(1, 5), (2, 7), (3, 10)]));
    let unsure = of(Tag::UNKNOWN, &[(1, 9)]);
    assert_eq!(unsure.merged(&cursor(&[(1, 5)])), cursor(&[(1, 9)]));
    assert_eq!(cursor(&[(1, 5)]).merged(&unsure), cursor(&[(1, 9)]));
}

#[test]
fn partitions_and_topics_are_distinguished() {
    assert_ne!(partition_hash("a", 0), partition_hash("a", 1));
    assert!(tag(1).differs(tag(2)) && tag(1).is_known());
    // Brokers without ids answer with zeros.
    for unknown in [Tag::of(None), Tag::of(Some([0; 16]))] {
        assert_eq!(unknown, Tag::UNKNOWN);
        assert!(!unknown.differs(tag(1)) && !tag(1).differs(unknown));
    }
}

#[test]
fn cursors_are_readable_by_instances_that_know_more_or_fewer_partitions() {
    let (known, unknown) = (table(tag(1), &[1, 2]), table(Tag::UNKNOWN, &[1, 2]));
    let half = Table::new(vec![(1, tag(1)), (2, Tag::UNKNOWN)]);
    let other = table(tag(2), &[1, 2]);
    let positions = [(1, 5), (2, 9)];
    for (writer, reader, read) in [
        (&known, &known, tag(1)),
        (&known, &unknown, Tag::UNKNOWN),
        (&unknown, &known, Tag::UNKNOWN),
        (&known, &half, Tag::UNKNOWN),
        (&unknown, &half, Tag::UNKNOWN),
    ] {
        let marks = |(hash, next): &(u32, i64)| Mark {
            hash: *hash,
            tag: writer.tag_of(*hash).unwrap(),
            next: *next,
        };
        let written = Cursor {
            marks: positions.iter().map(marks).collect(),
            ..cursor(&[])
        };
        let text = written.encode(Some(writer));
        let find = |digest, tag| Some(reader).filter(|table| table.fits(digest, tag));
        assert_eq!(Cursor::decode(&text, find), Ok(of(read, &positions)));
        let find = |digest, tag| Some(&other).filter(|table| table.fits(digest, tag));
        let stranger = Cursor::decode(&text, find);
        let expected = writer.tag.is_known().then_some(CursorError::UnknownTable);
        assert_eq!(stranger.err(), expected);
    }
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in "\\PC{0,200}", tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        drop(Cursor::decode(&text, nothing));
        let mut bytes = tail;
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let table = table(tag(1), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let sealed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes));
        drop(Cursor::decode(&sealed, |_, _| Some(&table)));
    }

    #[test]
    fn encoded_cursors_decode_to_the_same_value(
        mut positions in proptest::collection::btree_map(any::<u32>(), 0..i64::MAX, 0..40),
        since in 0_u64..100_000_000_000,
        short in any::<bool>(),
    ) {
        let issued = EPOCH_MS + since / TICK_MS * TICK_MS;
        let pairs: Vec<_> = positions.iter().map(|(hash, next)| (*hash, *next)).collect();
        let written = Cursor { issued, ..cursor(&pairs) };
        positions.insert(77, 1);
        let hashes: Vec<_> = positions.keys().copied().collect();
        let table = table(tag(1), &hashes);
        let text = written.encode(short.then_some(&table));
        prop_assert_eq!(Cursor::decode(&text, |_, _| Some(&table)), Ok(written));
    }

    #[test]
    fn a_damaged_cursor_is_invalid(at in 3_usize..30, with in "[A-Za-z0-9_-]") {
        let text = cursor(&[(1, 5), (3, 9)]).encode(None).to_string();
        let mut damaged = text.clone();
        damaged.replace_range(at..=at, &with);
        if damaged != text {
            prop_assert_eq!(Cursor::decode(&damaged, nothing), Err(CursorError::Invalid));
        }
    }
}
