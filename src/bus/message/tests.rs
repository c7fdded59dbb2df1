//! What is sent arrives as it was, and nothing else counts.

use std::sync::Arc;

use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::value::to_raw_value;

use super::*;

const STAMP: Stamp = Stamp {
    sender: InstanceId([1; 16]),
    number: 7,
    sent_ms: 1_795_000_000_000,
};
const MAX_EVENT_BYTES: usize = 262_144;
const OWN: InstanceId = InstanceId([2; 16]);

fn keys(secret: &str) -> BusKeys {
    BusKeys::of(&[SecretString::from(secret)]).unwrap()
}

fn names() -> Names {
    Names::new("fleetcast")
}

fn organisation() -> Id {
    Id::parse("o1").unwrap()
}

fn messages() -> Vec<BusMessage> {
    let organisation = organisation();
    let user = UserId::parse("auth0|\u{1F680} \"5f\"").unwrap();
    let room = |name: &str| Room::named(&organisation, name).unwrap();
    let revocation = Revocation {
        issued_until: 1_795_000_000,
        until: Some(1_800_000_000),
    };
    let targets = [
        RevocationTarget::Organisation(organisation.clone()),
        RevocationTarget::User(organisation.clone(), user.clone()),
        RevocationTarget::token(Some("https://issuer"), "t/1").unwrap(),
    ];
    let mut messages = vec![
        BusMessage::Event(Ephemeral {
            event: Arc::from("typing"),
            organisation: organisation.clone(),
            rooms: vec![room("channel:7"), room("user:auth0|5f"), room("org:o1")],
            // Bytes as they are: spaces, members that occur twice, numbers beyond a float.
            arguments: [r#"{"a" : 1e999,"a":"\ud83d"}"#, "[ ]"]
                .map(|text| RawValue::from_string(text.to_owned()).unwrap())
                .into(),
        }),
        BusMessage::Kick {
            instance: OWN,
            connection_id: "c-0123456789abcdef".to_owned(),
            may_return: true,
        },
        BusMessage::Disconnect {
            organisation: organisation.clone(),
            user: user.clone(),
            may_return: false,
        },
        BusMessage::Rooms(
            RoomOperation::new(organisation, user, &["channel:7", "asset:*"], &["asset:5"])
                .unwrap(),
        ),
    ];
    messages.extend(targets.map(|target| BusMessage::Revocation(target, revocation)));
    messages
}

/// As an instance takes it in.
fn received(channel: &str, bytes: &[u8], keys: &BusKeys) -> Result<BusMessage, BusOutcome> {
    let signed = SignedMessage::verified(channel.as_bytes(), bytes, OWN, keys)?;
    let audience = names().audience(channel.as_bytes(), OWN);
    signed.decode(audience.expect("a channel of ours"), OWN, MAX_EVENT_BYTES)
}

fn encoded(message: &BusMessage) -> (String, Vec<u8>) {
    let channel = message.channel(&names());
    let bytes = message.encode(&channel, STAMP, &keys("a"));
    (channel, bytes)
}

#[test]
fn what_is_sent_arrives_as_it_was() {
    for message in messages() {
        let (channel, bytes) = encoded(&message);
        let signed = SignedMessage::verified(channel.as_bytes(), &bytes, OWN, &keys("a"));
        assert_eq!(signed.map(|signed| signed.stamp), Ok(STAMP));
        let arrived = received(&channel, &bytes, &keys("a")).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{message:?}"));
        if let BusMessage::Event(event) = &message {
            let [first, second] = &event.arguments[..] else {
                panic!("{event:?}");
            };
            let sent = format!("[{first},{second}]");
            assert!(bytes.ends_with(sent.as_bytes()));
        }
    }
}

#[test]
fn h2_a_message_that_was_cut_or_changed_anywhere_does_not_count() {
    for message in messages() {
        let (channel, bytes) = encoded(&message);
        for length in 0..bytes.len() {
            let wrong = received(&channel, &bytes[..length], &keys("a")).unwrap_err();
            let expected = if length < HEADER_LENGTH {
                BusOutcome::Malformed
            } else {
                BusOutcome::BadSignature
            };
            assert_eq!(wrong, expected, "{length}");
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let wrong = received(&channel, &flipped, &keys("a")).unwrap_err();
            let expected = if at < 8 {
                BusOutcome::UnknownVersion
            } else {
                BusOutcome::BadSignature
            };
            assert_eq!(wrong, expected, "bit {at}");
        }
        let mut longer = bytes.clone();
        longer.push(b' ');
        let wrong = received(&channel, &longer, &keys("a")).unwrap_err();
        assert_eq!(wrong, BusOutcome::BadSignature);
    }
}

/// A program that may publish in Redis repeats on another channel what was sent on one, or knows another deployment's secret.
#[test]
fn h2_a_message_counts_on_its_own_channel_and_by_its_own_secret_only() {
    let names = names();
    let channels = [
        names.control(),
        names.instance(OWN),
        names.organisation(&organisation()),
        names.organisation(&Id::parse("o2").unwrap()),
    ];
    for message in messages() {
        let (own, bytes) = encoded(&message);
        for channel in channels.iter().filter(|channel| **channel != own) {
            let wrong = received(channel, &bytes, &keys("a")).unwrap_err();
            assert_eq!(wrong, BusOutcome::BadSignature, "{channel}");
        }
        let other = Names::new("staging");
        let theirs = message.channel(&other);
        let bytes = message.encode(&theirs, STAMP, &keys("a"));
        let wrong = received(&own, &bytes, &keys("a")).unwrap_err();
        assert_eq!(wrong, BusOutcome::BadSignature);
        let wrong = received(&own, &encoded(&message).1, &keys("b")).unwrap_err();
        assert_eq!(wrong, BusOutcome::BadSignature);
        // A good signature does not make it a message for another audience.
        for channel in channels.iter().filter(|channel| **channel != own) {
            let bytes = message.encode(channel, STAMP, &keys("a"));
            let wrong = received(channel, &bytes, &keys("a")).unwrap_err();
            assert_eq!(wrong, BusOutcome::Malformed, "{channel}");
        }
    }
}

#[test]
fn own_messages_are_not_even_verified() {
    for message in messages() {
        let stamp = Stamp {
            sender: OWN,
            ..STAMP
        };
        let channel = message.channel(&names());
        let mut bytes = message.encode(&channel, stamp, &keys("a"));
        *bytes.last_mut().unwrap() ^= 1;
        let wrong = received(&channel, &bytes, &keys("b")).unwrap_err();
        assert_eq!(wrong, BusOutcome::Own);
    }
}

/// What a later version may send, and what a faulty one may.
#[test]
fn a88_signed_messages_that_say_nothing_known_are_dropped() {
    let names = names();
    let (control, of_organisation) = (names.control(), names.organisation(&organisation()));
    let outcome = |channel: &str, kind, header: &str, payload: &str| {
        let (header, payload) = (header.as_bytes(), payload.as_bytes());
        let bytes = signed(channel, STAMP, &keys("a"), kind, header, payload);
        received(channel, &bytes, &keys("a")).err()
    };
    let rooms = r#"{"event":"e","rooms":["channel:7"]}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    // A member that a later version adds, whatever it is.
    let more = format!(r#"{{"event":"e","rooms":["org:o1"],"more":{deep}}}"#);
    for (header, arguments) in [(rooms, "[{}]"), (rooms, "[]"), (&more, "[{},[1]]")] {
        assert_eq!(outcome(&of_organisation, EVENT, header, arguments), None);
        for kind in [0, 6, 99, 255] {
            let found = outcome(&of_organisation, kind, header, arguments);
            assert_eq!(found, Some(BusOutcome::UnknownKind), "{kind}");
        }
    }
    let many_rooms = format!(
        r#"{{"event":"e","rooms":[{}"channel:1"]}}"#,
        "\"channel:1\",".repeat(MAX_ROOMS)
    );
    let many_arguments = format!("[{}{{}}]", "{},".repeat(MAX_ARGUMENTS));
    let deep_argument = format!("[{deep}]");
    for (header, arguments) in [
        ("", "[{}]"),
        ("[]", "[{}]"),
        ("{}", "[{}]"),
        (&many_rooms, "[{}]"),
        (r#"{"event":"e","rooms":[]}"#, "[{}]"),
        (r#"{"event":"e","rooms":["channel:7:org:o2"]}"#, "[{}]"),
        (r#"{"event":7,"rooms":["org:o1"]}"#, "[{}]"),
        (rooms, ""),
        (rooms, "{}"),
        (rooms, "[{]"),
        (rooms, "[{}"),
        (rooms, "[{}] [{}]"),
        (rooms, "[\"v1.abc\"]"),
        (rooms, "[{},\"v1.abc\"]"),
        (rooms, "[null]"),
        (rooms, &many_arguments),
        (rooms, &deep),
        (rooms, &deep_argument),
    ] {
        let found = outcome(&of_organisation, EVENT, header, arguments);
        let told = format!("{header:.60} {arguments:.60}");
        assert_eq!(found, Some(BusOutcome::Malformed), "{told}");
    }
    let value = r#"{"v":1,"issued_until":1,"until":null}"#;
    let good = r#"{"organization":"o1","user":"u","may_return":true}"#;
    assert_eq!(outcome(&control, DISCONNECT, good, ""), None);
    assert_eq!(
        outcome(&control, REVOCATION, r#"{"target":"user/o1/u"}"#, value),
        None
    );
    let rooms = r#"{"organization":"o1","user":"u","join":["channel:7"],"leave":[]}"#;
    assert_eq!(outcome(&control, ROOMS, rooms, ""), None);
    let too_many = vec![r#""channel:7""#; 65].join(",");
    let too_many = format!(r#"{{"organization":"o1","user":"u","join":[],"leave":[{too_many}]}}"#);
    for header in [
        r#"{"organization":"o1","user":"u","join":[],"leave":[]}"#,
        r#"{"organization":"o1","user":"u","join":["channel:7"]}"#,
        r#"{"organization":"o1","user":"u","join":["channel:7:org:o2"],"leave":[]}"#,
        r#"{"organization":"o1","user":"u","join":["user:u2"],"leave":[]}"#,
        r#"{"organization":"o1","user":"u","join":[],"leave":["org:o1"]}"#,
        &too_many,
    ] {
        let found = outcome(&control, ROOMS, header, "");
        assert_eq!(found, Some(BusOutcome::Malformed), "{header}");
    }
    for (kind, header, payload) in [
        (
            DISCONNECT,
            r#"{"organization":"o 1","user":"u","may_return":true}"#,
            "",
        ),
        (
            DISCONNECT,
            r#"{"organization":"o1","user":"","may_return":true}"#,
            "",
        ),
        (DISCONNECT, r#"{"organization":"o1","user":"u"}"#, ""),
        (REVOCATION, r#"{"target":"user/o1"}"#, value),
        (
            REVOCATION,
            r#"{"target":"user/o1/u"}"#,
            r#"{"v":1,"issued_until":-1,"until":null}"#,
        ),
        (REVOCATION, r#"{"target":"user/o1/u"}"#, ""),
    ] {
        let found = outcome(&control, kind, header, payload);
        assert_eq!(found, Some(BusOutcome::Malformed), "{header}");
    }
}

/// An instance with other limits, or with a fault, has signed it.
#[test]
fn an_event_is_checked_again_where_it_arrives() {
    let channel = names().organisation(&organisation());
    let outcome = |event: &str, arguments: &str| {
        let header = format!(r#"{{"event":"{event}","rooms":["org:o1"]}}"#);
        let (header, payload) = (header.as_bytes(), arguments.as_bytes());
        let bytes = signed(&channel, STAMP, &keys("a"), EVENT, header, payload);
        received(&channel, &bytes, &keys("a")).err()
    };
    let longest = "e".repeat(64);
    for event in ["typing", "a_b.c:d-1", &longest] {
        assert_eq!(outcome(event, "[{}]"), None, "{event}");
    }
    let longer = "e".repeat(65);
    for event in [
        "",
        "a b",
        r"a\u0000b",
        "\u{e9}",
        &longer,
        "connect",
        "disconnect",
        "error",
        "resync_required",
    ] {
        let found = outcome(event, "[{}]");
        assert_eq!(found, Some(BusOutcome::BadEvent), "{event}");
    }
    let argument = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
    let most = argument(MAX_EVENT_BYTES);
    assert_eq!(outcome("e", &format!("[{most}]")), None);
    let (half, rest) = (
        argument(MAX_EVENT_BYTES / 2),
        argument(MAX_EVENT_BYTES / 2 - 1),
    );
    assert_eq!(outcome("e", &format!("[{half},{rest}]")), None);
    for arguments in [
        format!("[{}]", argument(MAX_EVENT_BYTES + 1)),
        format!("[{half},{half}]"),
        format!("[{most},[]]"),
    ] {
        let found = outcome("e", &arguments);
        assert_eq!(found, Some(BusOutcome::TooLarge), "{}", arguments.len());
    }
}

/// A length that is signed, and a lie.
#[test]
fn a88_a_length_is_never_believed() {
    let channel = names().control();
    let header = br#"{"organization":"o1","user":"u","may_return":true}"#;
    for length in [0, 1, 49, 51, 0x7fff_ffff, u32::MAX] {
        let mut bytes = signed(&channel, STAMP, &keys("a"), DISCONNECT, header, b"");
        bytes[HEADER_LENGTH..HEADER].copy_from_slice(&length.to_be_bytes());
        let parts: [&[u8]; 3] = [
            channel.as_bytes(),
            &bytes[..SIGNATURE],
            &bytes[HEADER_LENGTH..],
        ];
        let signature = keys("a").sign(&parts);
        bytes[SIGNATURE..HEADER_LENGTH].copy_from_slice(&signature);
        let found = received(&channel, &bytes, &keys("a")).err();
        assert_eq!(found, Some(BusOutcome::Malformed), "{length}");
    }
    let short = signed(&channel, STAMP, &keys("a"), DISCONNECT, b"", b"");
    let parts: [&[u8]; 3] = [channel.as_bytes(), &short[..SIGNATURE], b""];
    let mut bytes = short[..HEADER_LENGTH].to_vec();
    bytes[SIGNATURE..].copy_from_slice(&keys("a").sign(&parts));
    let found = received(&channel, &bytes, &keys("a")).err();
    assert_eq!(found, Some(BusOutcome::Malformed));
}

proptest! {
    #[test]
    fn a88_any_bytes_are_taken_and_none_counts(
        start in prop::collection::vec(0_u8..3, 0..3),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [start, bytes].concat();
        prop_assert!(received(&names().control(), &bytes, &keys("a")).is_err());
    }

    #[test]
    fn any_signed_content_is_taken(kind in 0_u8..7, content in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = [&[VERSION, kind][..], &[1; 32]].concat();
        for channel in [names().control(), names().organisation(&organisation())] {
            let signature = keys("a").sign(&[channel.as_bytes(), &head, &content]);
            let bytes = [&head[..], &signature, &content].concat();
            prop_assert!(received(&channel, &bytes, &keys("a")).is_err());
        }
    }

    #[test]
    fn any_event_arrives(text in "\\PC*", user in "[a-z|:@ ]{1,20}") {
        let payload = to_raw_value(&[&text]).unwrap();
        let user = UserId::parse(&user).unwrap();
        let message = BusMessage::Event(Ephemeral {
            event: Arc::from("e"),
            organisation: organisation(),
            rooms: vec![Room::user(&organisation(), &user)],
            arguments: vec![payload],
        });
        let (channel, bytes) = encoded(&message);
        let arrived = received(&channel, &bytes, &keys("a")).unwrap();
        prop_assert_eq!(format!("{arrived:?}"), format!("{message:?}"));
    }
}
