use proptest::prelude::*;

use super::*;
use crate::domain::control_record::BadControlRecord;

fn granted(organisation: &str, user: &str, room: &str) -> Result<GrantedRoom, UngrantableRoom> {
    let organisation = Id::parse(organisation).expect("an id");
    let user = UserId::parse(user).expect("a user");
    GrantedRoom::new(&organisation, &user, room)
}

fn good(user: &str, room: &str) -> GrantedRoom {
    granted("o1", user, room).expect("it can be granted")
}

#[test]
fn single_rooms_of_ordinary_kinds_can_be_granted() {
    for (room, expected) in [
        ("channel:7", None),
        ("whatever:x-1", None),
        ("channel:*", Some(UngrantableRoom::Whole)),
        ("org:o1", Some(UngrantableRoom::Own)),
        ("org:o2", Some(UngrantableRoom::Own)),
        ("user:u1", Some(UngrantableRoom::Own)),
        ("user:*", Some(UngrantableRoom::Own)),
        ("channel", Some(UngrantableRoom::Name)),
        ("channel:", Some(UngrantableRoom::Name)),
        (":7", Some(UngrantableRoom::Name)),
        ("channel:7:org:o2", Some(UngrantableRoom::Name)),
        ("channel:7/8", Some(UngrantableRoom::Name)),
        ("", Some(UngrantableRoom::Name)),
    ] {
        assert_eq!(granted("o1", "u1", room).err(), expected, "{room}");
    }
}

#[test]
fn a_grant_is_of_one_user_one_room_and_one_organisation() {
    let mut all = Grants::default();
    let seven = good("u1", "channel:7");
    assert!(all.grant(&seven, 0));
    assert!(!all.grant(&seven, 0), "once");
    assert!(all.grant(&good("u1", "channel:8"), 0));
    let permits = |user: &str, organisation: &str, room: &str| {
        let asked = granted(organisation, user, room).expect("a room");
        all.permits(asked.user(), asked.room())
    };
    assert!(permits("u1", "o1", "channel:7") && permits("u1", "o1", "channel:8"));
    for (user, organisation, room) in [
        ("u2", "o1", "channel:7"),
        ("u1", "o2", "channel:7"),
        ("u1", "o1", "incident:7"),
        ("u1", "o1", "channel:9"),
    ] {
        assert!(
            !permits(user, organisation, room),
            "{user} {organisation} {room}"
        );
    }
    let whole = seven.room().whole().expect("channels have one");
    assert!(!all.permits(seven.user(), &whole));
    assert_eq!(
        (
            all.len(),
            all.of_user(seven.organisation(), seven.user()).count()
        ),
        (2, 2)
    );
    assert!(all.withdraw(&seven, 0));
    assert!(!all.withdraw(&seven, 0), "once");
    assert!(all.contains(&good("u1", "channel:8")) && all.len() == 1);
    assert!(all.withdraw(&good("u1", "channel:8"), 0) && all.is_empty());
}

/// The log of partition 0 is lost. What it says once more stays, what it does not say any more ends, and what it said and took back long
/// ago does not come back for a moment.
#[test]
fn h6_what_a_partition_says_once_more_takes_the_place_of_what_it_said() {
    let mut all = Grants::default();
    let [kept, cut, other, new, old] =
        ["kept", "cut", "other", "new", "old"].map(|id| good("u1", &format!("channel:{id}")));
    all.grant(&kept, 0);
    all.grant(&cut, 0);
    all.grant(&other, 1);
    all.repeat(0);
    assert!(
        all.contains(&kept) && all.contains(&cut),
        "nothing is known to be gone"
    );
    for _ in 0..2 {
        assert!(!all.grant(&kept, 0) && !all.grant(&new, 0) && !all.grant(&old, 0));
        assert!(!all.withdraw(&old, 0) && !all.withdraw(&kept, 0) && !all.grant(&kept, 0));
        assert!(!all.contains(&new) && !all.contains(&old));
        assert_eq!(all.len(), 3);
        let rooms: Vec<_> = all.of_user(kept.organisation(), kept.user()).collect();
        assert_eq!(rooms.len(), 3, "{rooms:?}");
    }
    let user = (kept.organisation().clone(), kept.user().clone());
    let changed = RepeatedGrants {
        granted: vec![new.clone()],
        withdrawn: vec![user],
    };
    assert_eq!(all.repeated(0), changed);
    assert!(all.contains(&kept) && all.contains(&new) && all.contains(&other));
    assert!(!all.contains(&cut) && !all.contains(&old));
    assert_eq!(all.len(), 3);
    assert!(all.withdraw(&new, 0) && all.len() == 2);
}

/// Lost once more before it was read, with less in it.
#[test]
fn h6_what_was_said_once_more_counts_from_the_last_loss_on() {
    let mut all = Grants::default();
    let (kept, cut) = (good("u1", "channel:7"), good("u2", "channel:7"));
    all.grant(&kept, 0);
    all.grant(&cut, 0);
    all.repeat(0);
    all.grant(&cut, 0);
    all.repeat(0);
    all.grant(&kept, 0);
    assert_eq!(all.repeated(0).withdrawn.len(), 1);
    assert!(all.contains(&kept) && !all.contains(&cut));
    assert_eq!(all.repeated(0), RepeatedGrants::default());
}

/// Its key belongs to another partition since the topic has more of them.
#[test]
fn h6_a_tombstone_withdraws_what_any_partition_has_granted() {
    let mut all = Grants::default();
    let seven = good("u1", "channel:7");
    assert!(all.grant(&seven, 0) && !all.grant(&seven, 1));
    assert!(all.withdraw(&seven, 1) && all.is_empty());
}

/// A user with the most rooms may exchange them, and is never kept from giving some back.
#[test]
fn a_request_is_too_much_by_what_it_leaves_granted() {
    let rooms = |numbers: std::ops::Range<usize>| -> Vec<GrantedRoom> {
        numbers
            .map(|n| good("u1", &format!("channel:{n}")))
            .collect()
    };
    let mut all = Grants::default();
    for one in rooms(0..MAX_ROOMS_OF_USER) {
        all.grant(&one, 0);
    }
    let most = MAX_ROOMS_OF_USER;
    for (grant, withdraw, expected) in [
        (most..most + 1, 0..0, true),
        (most..most + 1, 0..1, false),
        (most..most + 2, 0..1, true),
        (most..most + 1, most + 1..most + 2, true),
        (0..100, 0..0, false),
        (0..0, 0..1, false),
    ] {
        let is_too_many = all.would_be_too_many(&rooms(grant.clone()), &rooms(withdraw.clone()));
        assert_eq!(is_too_many, expected, "{grant:?} for {withdraw:?}");
    }
    assert!(!all.would_be_too_many(&[good("u2", "channel:1")], &[]));
    all.grant(&good("u1", "channel:more"), 0);
    assert!(!all.would_be_too_many(&rooms(0..1), &[]), "it has it");
}

#[test]
fn records_are_read_whole_or_not_at_all() {
    let target = good("auth0|a/b", "channel:7");
    assert_eq!(target.to_string(), "o1/auth0%7Ca%2Fb/channel:7");
    let value = GrantChange::value();
    let read = GrantChange::parse(target.to_string().as_bytes(), Some(value.as_bytes()));
    let granted = true;
    assert_eq!(read, Ok(GrantChange { target, granted }));
    let withdrawn = GrantChange::parse(b"o1/u1/channel:7", None).expect("a tombstone");
    assert!(!withdrawn.granted);
    let good = value.as_bytes();
    for (key, value, expected) in [
        (&b"o1/u1/channel:*"[..], good, BadControlRecord::Key),
        (b"o1/u1/org:o1", good, BadControlRecord::Key),
        (b"o1/u1", good, BadControlRecord::Key),
        (b"o1/u1/channel:7/x", good, BadControlRecord::Key),
        (b"o1/u|1/channel:7", good, BadControlRecord::Key),
        (b"", good, BadControlRecord::Key),
        (b"o1/u1/channel:7", b"", BadControlRecord::Value),
        (b"o1/u1/channel:7", b"{}", BadControlRecord::Value),
        (
            b"o1/u1/channel:7",
            br#"{"v":1,"until":5}"#,
            BadControlRecord::Value,
        ),
        (b"o1/u1/channel:7", br#"{"v":2}"#, BadControlRecord::Version),
    ] {
        let read = GrantChange::parse(key, Some(value));
        assert_eq!(
            read,
            Err(expected),
            "{} {}",
            key.escape_ascii(),
            value.escape_ascii()
        );
    }
}

proptest! {
    #[test]
    fn a_key_names_one_grant(user in "[ -~é/%|]{1,12}", room in "[a-z]{1,5}:[a-z0-9_-]{1,6}") {
        if let Ok(target) = granted("o1", &user, &room) {
            prop_assert_eq!(GrantedRoom::parse(&target.to_string()), Some(target));
        }
    }

    /// What a user may join is what the newest record of each key says.
    #[test]
    fn the_newest_of_each_key_counts(
        changes in prop::collection::vec((0_usize..2, 0_usize..3, any::<bool>()), 0..20),
    ) {
        let mut all = Grants::default();
        let mut newest = std::collections::BTreeMap::new();
        for (user, room, is_granted) in &changes {
            let target = good(&format!("u{user}"), &format!("channel:{room}"));
            let before = all.contains(&target);
            let changed = if *is_granted { all.grant(&target, 0) } else { all.withdraw(&target, 0) };
            prop_assert_eq!(changed, before != *is_granted);
            newest.insert((user, room), *is_granted);
        }
        let held = newest.values().filter(|granted| **granted).count();
        prop_assert_eq!(all.len(), held);
        for ((user, room), is_granted) in newest {
            let target = good(&format!("u{user}"), &format!("channel:{room}"));
            prop_assert_eq!(all.contains(&target), is_granted);
        }
    }
}
