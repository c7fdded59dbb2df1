//! What may be published, and that its record comes back as it was.

use super::*;
use crate::domain::protocol::RESERVED_EVENTS;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn message(data: &str) -> Message {
    let organisation = Id::parse("o1").unwrap();
    let names = ["channel:7", "user:auth0|5f:7", "org:o1"].map(str::to_owned);
    Message {
        event: event_name("shift.changed:v2").unwrap(),
        rooms: rooms(&organisation, &names, |kind| kind == "channel").unwrap(),
        organisation,
        data: raw(data),
        key: "k".to_owned(),
        idempotency: Some(0xAB),
    }
}

fn routed(
    message: &Message,
    change: impl FnOnce(&mut Vec<(String, String)>),
) -> Result<(Publication, Option<u128>), Skip> {
    let mut headers = message.headers();
    change(&mut headers);
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let record = Record {
        topic: "fleetcast.publish",
        partition: 3,
        offset: 12,
        timestamp: Some(5),
        key: Some(message.key.as_bytes()),
        value: Some(message.data.get().as_bytes()),
        headers: &headers,
    };
    route(&record, &Arc::from("fleetcast.publish"), 1000)
}

#[test]
fn h5_a_message_comes_back_as_it_was_and_is_of_no_keyed_class() {
    let message = message("{\"b\":1.0,  \"a\":1e3}");
    let (publication, idempotency) = routed(&message, |_| {}).unwrap();
    assert_eq!(publication.event, message.event);
    assert_eq!(publication.organisation, message.organisation);
    assert_eq!(publication.rooms, message.rooms);
    assert_eq!(publication.payload.get(), message.data.get());
    assert_eq!(publication.id(), "fleetcast.publish/3/12");
    assert_eq!(
        (publication.class, publication.latest_of),
        (Class::Event, None)
    );
    assert!(!publication.ack);
    assert_eq!(idempotency, Some(0xAB));
}

#[test]
fn records_of_the_topic_that_are_not_ours_are_skipped() {
    type MessageHeaders = Vec<(String, String)>;
    fn set(headers: &mut MessageHeaders, name: &str, value: &str) {
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value.to_owned()));
    }
    type HeaderCase = (fn(&mut MessageHeaders), Skip);
    let cases: [HeaderCase; 9] = [
        (|headers| headers.clear(), Skip::NoEvent),
        (|headers| set(headers, EVENT, "a b"), Skip::UnknownEvent),
        (|headers| set(headers, EVENT, "cursor"), Skip::ReservedEvent),
        (
            |headers| headers.retain(|(name, _)| name != ORGANISATION),
            Skip::NoOrganisation,
        ),
        (
            |headers| set(headers, ORGANISATION, "o 1"),
            Skip::BadOrganisation,
        ),
        (|headers| set(headers, ORGANISATION, "o2"), Skip::BadId),
        (|headers| set(headers, ROOMS, "[]"), Skip::NoRoom),
        (|headers| set(headers, IDEMPOTENCY, "x"), Skip::BadId),
        (
            |headers| headers.push((EVENT.to_owned(), "other".to_owned())),
            Skip::AmbiguousField,
        ),
    ];
    for (change, skip) in cases {
        assert_eq!(routed(&message("{}"), change).map(drop), Err(skip));
    }
    for (data, skip) in [("\"v1.x\"", Skip::NoPayload), ("7", Skip::NoPayload)] {
        assert_eq!(routed(&message(data), |_| {}).map(drop), Err(skip));
    }
    let large = format!("[{}1]", "1,".repeat(600));
    assert_eq!(
        routed(&message(&large), |_| {}).map(drop),
        Err(Skip::TooLarge)
    );
}

#[test]
fn h16_names_are_narrow_and_no_reserved_ones_and_data_is_an_object_or_a_list() {
    for good in ["a", "task_assigned", "a.b:c-D_9", &"x".repeat(64)] {
        assert_eq!(event_name(good).as_deref(), Ok(good));
    }
    for bad in ["", "a b", "é", "a\n", "a/b", &"x".repeat(65)] {
        assert_eq!(event_name(bad), Err(BadMessage::EventName), "{bad}");
    }
    for reserved in RESERVED_EVENTS {
        assert_eq!(
            event_name(reserved),
            Err(BadMessage::ReservedEvent),
            "{reserved}"
        );
    }
    for (text, expected) in [
        ("{}", Ok(())),
        ("[\"v1.abc\"]", Ok(())),
        ("\"v1.abc\"", Err(BadMessage::NotAnObject)),
        ("null", Err(BadMessage::NotAnObject)),
        ("7", Err(BadMessage::NotAnObject)),
        ("true", Err(BadMessage::NotAnObject)),
        ("[1,2,3,4,5]", Err(BadMessage::TooLarge(10))),
    ] {
        assert_eq!(data(&raw(text), 10), expected, "{text}");
    }
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    assert_eq!(data(&raw(&deep), 1000), Err(BadMessage::TooDeep));
}

#[test]
fn rooms_are_of_the_organisation_and_of_known_kinds() {
    let own = Id::parse("o1").unwrap();
    let of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        rooms(&own, &names, |kind| kind == "channel")
    };
    assert_eq!(of(&["channel:7", "channel:7:org:o1"]).unwrap().len(), 1);
    assert_eq!(of(&["org:o1", "user:u1"]).unwrap().len(), 2);
    assert_eq!(of(&[]), Err(BadMessage::RoomCount));
    assert_eq!(of(&["channel:7"; 101]), Err(BadMessage::RoomCount));
    assert_eq!(of(&["channel:*"]), Err(BadMessage::Whole(0)));
    assert_eq!(
        of(&["channel:7", "chanel:7"]),
        Err(BadMessage::UnknownKind(1))
    );
    let foreign = BadMessage::Room(0, InvalidRoomName::Foreign);
    assert_eq!(of(&["org:o2"]), Err(foreign.clone()));
    assert_eq!(of(&["channel:7:org:o2"]), Err(foreign));
}
