//! Mistakes in every part of a profile, each reported with its own line.

use std::collections::BTreeSet;

use fleetcast_core::domain::envelope::EventEnvelope;
use fleetcast_core::domain::id::Id;

use super::{Profile, ProfileFile};

/// Everything that the format knows, each on a line of its own.
const WHOLE: &str = r#"name = "whole"
format = "json"
envelope = "plain"
topics = [
  "orders",
  ["asset", "assets"],
  { names = ["framed"], format = "json-schema" },
  { pattern = 'fleet\.(?<region>[a-z]+)\.events' },
]

[event]
headers = ["ce_type"]
fields = [
  "type",
  "meta.type",
  ["odd.key"],
]

[organisation]
headers = ["organization_id"]
fields = ["organization_id", "meta.org.id"]
key = { separator = ":", part = 1 }
topic = "region"
default = "acme"

[aliases]
order_placed = "order_created"

[[routes]]
events = ["order_created"]
topics = ["orders"]
payload = "data"
when = { "content-type" = "application/cloudevents+json" }
class = "critical"
ack = true
rooms = [
  { kind = "org" },
  { kind = "order", id = { headers = ["order"], fields = ["id"], key = true, default = "none" } },
]

[[routes]]
event = "asset_moved"
topics = [
  "asset",
  { pattern = 'fleet\..*' },
]
format = "json"
class = "latest"
key = { key = true }
rooms = [{ kind = "asset", id = ["asset_id"], optional = true }, { kind = "org" }]

[[routes]]
events = ["told"]
topics = ["framed"]
rooms = [{ kind = "region", id = { default = "all" } }]

[policy.order]
any = ["dispatcher"]
[policy.asset]
any = ["dispatcher"]
listed = { driver = "https://example.com/assets" }
[policy.region]
any = ["dispatcher"]
"#;

/// The errors are these, in this order: each at the line of its part of the text, with these words.
#[track_caller]
fn assert_lines(text: &str, errors: &[String], expected: &[(&str, &str)]) {
    let line = |part: &str| text.split(part).next().unwrap().matches('\n').count() + 1;
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (part, words)) in errors.iter().zip(expected) {
        let place = format!("w.toml:{}: ", line(part));
        assert!(
            error.starts_with(&place) && error.contains(words),
            "{place}{words}: {error}"
        );
    }
}

#[test]
fn s4_07_every_mistake_of_every_part_has_its_own_line() {
    let parse = |text: &str| Profile::parse(text, "w.toml", "", 1000, &[]);
    let whole = parse(WHOLE).expect("good");
    assert_eq!(
        whole.routes.default_organisation().map(Id::as_str),
        Some("acme")
    );
    assert_eq!(whole.envelope, EventEnvelope::Plain);
    let rules = whole.claim_rules();
    assert_eq!(
        rules.listed,
        ["https://example.com/assets".to_owned()].into()
    );
    for (from, to, words) in [
        (
            "envelope = \"plain\"",
            "envelope = \"plan\"",
            "did you mean plain?",
        ),
        (
            "format = \"json\"",
            "format = \"avro\"",
            "format \"avro\" is not supported: there are \"json\" and \"json-schema\"",
        ),
        (
            "{ names = [\"framed\"], format = \"json-schema\" }",
            "{ names = [\"framed\"], format = \"protobuf\" }",
            "format \"protobuf\" is not supported",
        ),
        (
            "{ names = [\"framed\"], format = \"json-schema\" }",
            "{ names = [\"framed\"], pattern = 'x' }",
            "either names or a pattern",
        ),
        (
            "  { pattern = 'fleet\\.(?",
            "  { pattern = 'fleet\\.((?",
            "not a regular expression",
        ),
        (
            "  \"meta.type\",",
            "  \"meta..type\",",
            "event: [\"meta\", \"\", \"type\"] cannot be a path",
        ),
        ("  [\"odd.key\"],", "  [],", "event: [] cannot be a path"),
        (
            "  [\"odd.key\"],",
            "  7,",
            "a field's name, a path with dots, or a list of keys",
        ),
        (
            "key = { separator = \":\", part = 1 }",
            "key = { separator = \":\", part = 0 }",
            "organisation: a part is counted from 1",
        ),
        (
            "key = { separator = \":\", part = 1 }",
            "key = { separator = \"-\", part = 1 }",
            "organisation: separator \"-\" may stand in ids",
        ),
        (
            "key = { separator = \":\", part = 1 }",
            "key = { seperator = \":\", part = 1 }",
            "unknown field `seperator`",
        ),
        (
            "key = { separator = \":\", part = 1 }",
            "key = false",
            "a key that is not looked at is left out",
        ),
        (
            "key = { separator = \":\", part = 1 }",
            "keys = true",
            "unknown field `keys`",
        ),
        (
            "topic = \"region\"",
            "topic = \"regoin\"",
            "organisation: no pattern has a group \"regoin\"",
        ),
        (
            "default = \"acme\"",
            "default = \"a:c\"",
            "organisation: \"a:c\": an identifier is",
        ),
        (
            "order_placed = \"order_created\"",
            "order_placed = \"order_crated\"",
            "alias \"order_placed\" stands for \"order_crated\"",
        ),
        (
            "topics = [\"orders\"]",
            "topics = [\"order\"]",
            "route of order_created: topic \"order\" is none of the profile's",
        ),
        (
            "payload = \"data\"",
            "payload = 'a..b'",
            "route of order_created: [\"a\", \"\", \"b\"] cannot be a path",
        ),
        (
            "  { kind = \"order\", id = { headers = [\"order\"]",
            "  { kind = \"order\", id = { headers = [\"\"]",
            "cannot be a header",
        ),
        (
            "event = \"asset_moved\"",
            "event = \"error\"",
            "route of error: event \"error\" is reserved",
        ),
        (
            "  { pattern = 'fleet\\..*' },",
            "  { pattern = '*' },",
            "route of asset_moved: pattern \"*\" is not a regular expression",
        ),
        (
            "class = \"latest\"\nkey = { key = true }",
            "class = \"latest\"\nkey = {}",
            "key belongs to class latest",
        ),
        (
            "rooms = [{ kind = \"asset\", id = [\"asset_id\"]",
            "rooms = [{ kind = \"asset\", id = [\"asset_id\", \"asset_id\"]",
            "field \"asset_id\" is named twice",
        ),
        (
            "events = [\"told\"]",
            "event = \"told\"\nformat = \"json\"",
            "topic \"framed\" is of format json-schema already",
        ),
    ] {
        assert_eq!(
            WHOLE.matches(from).count(),
            if from == "format = \"json\"" { 2 } else { 1 },
            "{from}"
        );
        let before = WHOLE
            .split(from)
            .next()
            .unwrap_or_default()
            .matches('\n')
            .count();
        // The mistake stands on the last line of what was replaced.
        let line = before + to.matches('\n').count() + 1;
        let text = WHOLE.replacen(from, to, 1);
        let errors = parse(&text).expect_err(to).0;
        let place = format!("w.toml:{line}: ");
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with(&place) && error.contains(words)),
            "{place}{words}: {errors:#?}"
        );
    }
}

#[test]
fn s4_07_misspelt_words_of_every_kind_are_reported_at_once_with_suggestions() {
    let text = WHOLE
        .replacen("headers = [\"ce_type\"]", "headrs = [\"ce_type\"]", 1)
        .replacen("class = \"critical\"", "class = \"critcal\"", 1)
        .replacen("optional = true", "optinal = true", 1)
        .replacen("class = \"latest\"", "class = \"lates\"", 1)
        .replacen("format = \"json-schema\" }", "format = \"avro\" }", 1)
        .replacen("[policy.asset]\nany", "[policy.asset]\nanny", 1);
    let errors = Profile::parse(&text, "w.toml", "", 1000, &[])
        .expect_err("six slips")
        .0;
    let expected = [
        ("\"avro\"", "format \"avro\" is not supported"),
        ("headrs", "unknown field `headrs`: did you mean headers?"),
        ("\"critcal\"", "did you mean critical?"),
        ("\"lates\"", "did you mean latest?"),
        ("optinal", "unknown field `optinal`: did you mean optional?"),
        ("anny", "unknown field `anny`: did you mean any?"),
    ];
    assert_lines(&text, &errors, &expected);

    // A slip in one route hides no mistake of another, nor one of the policy.
    let text = WHOLE
        .replacen("optional = true", "optinal = true", 1)
        .replacen("payload = \"data\"", "payload = 'a..b'", 1)
        .replacen("[policy.region]", "[policy.org]", 1);
    let errors = Profile::parse(&text, "w.toml", "", 1000, &[])
        .expect_err("three mistakes")
        .0;
    assert_eq!(errors.len(), 3, "{errors:#?}");
}

#[test]
fn s4_07_wrong_types_and_missing_fields_of_several_parts_are_reported_at_once() {
    let text = WHOLE
        .replacen("part = 1 }", "}", 1)
        .replacen("payload = \"data\"", "payload = 5", 1)
        .replacen("ack = true", "ack = \"yes\"", 1)
        .replacen("optional = true", "optional = 1", 1)
        .replacen(
            "[policy.asset]\nany = [\"dispatcher\"]",
            "[policy.asset]\nany = true",
            1,
        );
    let errors = Profile::parse(&text, "w.toml", "", 1000, &[])
        .expect_err("five mistakes")
        .0;
    let expected = [
        ("key = { separator", "missing field `part`"),
        ("payload = 5", "a field's name, a path with dots"),
        ("ack = \"yes\"", "expected a boolean"),
        ("optional = 1", "expected a boolean"),
        ("any = true", "expected a sequence"),
    ];
    assert_lines(&text, &errors, &expected);
    // Every line that is not TOML.
    let errors = Profile::parse(
        "name = \ntopics = [\"a\"]\nformat = maybe\n",
        "w.toml",
        "",
        1000,
        &[],
    );
    let errors = errors.expect_err("not TOML").0;
    for line in ["w.toml:1: ", "w.toml:3: "] {
        let found = errors.iter().any(|error| error.starts_with(line));
        assert!(found, "{line} is missing in {errors:#?}");
    }
}

#[test]
fn reading_stops_after_a_hundred_mistakes() {
    use std::fmt::Write;
    let mut text = WHOLE.to_owned();
    for number in 0..120 {
        writeln!(text, "dispatcher_{number} = true").unwrap();
    }
    let errors = Profile::parse(&text, "w.toml", "", 1000, &[]);
    assert_eq!(errors.expect_err("unknown fields").0.len(), 100);
    // Keys with dots have lines of their own.
    let text = WHOLE.replacen("format = \"json\"\n", "organisation.agre = true\n", 1);
    let text = text.replacen("[organisation]\n", "[organisations]\n", 1);
    let errors = Profile::parse(&text, "w.toml", "", 1000, &[])
        .expect_err("two mistakes")
        .0;
    for expected in [
        "w.toml:2: unknown field `agre`: did you mean agree?",
        "unknown field `organisations`: did you mean organisation?",
    ] {
        let found = errors.iter().any(|error| error.contains(expected));
        assert!(found, "{expected} is missing in {errors:#?}");
    }
}

#[test]
fn the_known_words_are_those_of_the_parser() {
    let listed = |message: &str| -> BTreeSet<String> {
        let (_, list) = message.split_once("expected").expect("a list");
        let words = list.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    for wrong in [
        "zzz = 1",
        "topics = [{ zzz = 1 }]",
        "event = { zzz = 1 }",
        "organisation = { zzz = 1 }",
        "event = { key = { zzz = 1 } }",
        "routes = [{ zzz = 1 }]",
        "routes = [{ rooms = [{ zzz = 1 }] }]",
        "routes = [{ key = { zzz = 1 } }]",
        "policy = { a = { zzz = 1 } }",
    ] {
        let ours = Profile::parse(wrong, "w.toml", "", 1000, &[]).expect_err(wrong);
        let serdes = toml::from_str::<ProfileFile>(wrong).expect_err(wrong);
        assert_eq!(
            listed(&ours.0[0]),
            listed(serdes.message()),
            "{wrong}: {ours}"
        );
    }
}
