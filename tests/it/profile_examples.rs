//! The example profiles as files, and what `profile check` says of their sample records.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::SECRET;

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/examples")
}

pub(crate) fn profile(name: &str) -> String {
    let path = examples().join(format!("{name}.toml"));
    path.to_str().unwrap().to_owned()
}

/// What `profile check --json` says of one sample, and the exit code.
fn check(profile: &str, sample: &Path) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .args(["profile", "check", profile, "--json", "--record"])
        .arg(sample)
        .env_clear()
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&shown).unwrap_or_else(|error| {
        panic!(
            "{error}: {shown}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (document["records"][0].clone(), output.status.code())
}

/// Profile, sample, event, rooms, what it is the latest of, bytes of the payload.
type Example = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
    u64,
);

const EXAMPLES: [Example; 8] = [
    (
        "cloudevents",
        "cloudevents-structured",
        "order_created",
        &["org:o1", "order:5:org:o1"],
        None,
        52,
    ),
    (
        "cloudevents",
        "cloudevents-binary",
        "order_shipped",
        &["org:o1", "order:5:org:o1"],
        None,
        47,
    ),
    (
        "debezium-outbox",
        "outbox-header",
        "order_created",
        &["org:o1", "order:5:org:o1"],
        None,
        28,
    ),
    (
        "debezium-outbox",
        "outbox-envelope",
        "customer_renamed",
        &["customer:9:org:o1"],
        None,
        52,
    ),
    (
        "debezium-changes",
        "change-update",
        "asset_changed",
        &["asset:7:org:o1"],
        Some("7"),
        250,
    ),
    (
        "debezium-changes",
        "change-delete",
        "incident_changed",
        &["org:o1", "incident:3:org:o1"],
        None,
        118,
    ),
    (
        "schema-registry",
        "schema-registry",
        "position_measured",
        &["vehicle:v7:org:o1"],
        Some("v7"),
        80,
    ),
    (
        "regions",
        "regions",
        "unit_moved",
        &["region:north:org:acme", "unit:unit-7:org:acme"],
        Some("unit-7"),
        49,
    ),
];

#[test]
fn s4_07_every_example_profile_explains_its_records() {
    for (name, sample, event, rooms, key, bytes) in EXAMPLES {
        let path = examples().join(format!("records/{sample}.json"));
        let (record, code) = check(&profile(name), &path);
        assert_eq!(code, Some(0), "{sample}: {record:#}");
        let of = if name == "regions" { "acme" } else { "o1" };
        let expected = json!({
            "outcome": "routed", "event": event, "organization_id": of, "rooms": rooms,
            "key": key, "payload_bytes": bytes,
        });
        for (key, expected) in expected.as_object().unwrap() {
            assert_eq!(&record[key], expected, "{key} of {sample}");
        }
    }
    let known = |ending: &str, folder: &Path, used: &dyn Fn(&str) -> bool| {
        for entry in folder.read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(ending) {
                assert!(used(name), "no test uses {name}{ending}");
            }
        }
    };
    known(".toml", &examples(), &|name| {
        EXAMPLES.iter().any(|example| example.0 == name)
    });
    known(".json", &examples().join("records"), &|name| {
        EXAMPLES.iter().any(|example| example.1 == name)
    });
}

/// A sample with one part replaced must be refused, with this outcome and these words.
#[test]
fn example_profiles_reject_invalid_records_by_their_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &str, Value, &str, &str); 10] = [
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/data",
            json!("v1.AAAA"),
            "no_payload",
            "an object or a list",
        ),
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/subject",
            json!("orders/5"),
            "bad_id",
            "subject is \"orders/5\"",
        ),
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/organizationid",
            json!(null),
            "no_organisation",
            "nothing names the organisation",
        ),
        (
            "cloudevents",
            "cloudevents-binary",
            "/headers/ce_organizationid",
            json!("o1:org:o2"),
            "bad_organisation",
            "an identifier is",
        ),
        (
            "cloudevents",
            "cloudevents-binary",
            "/headers/ce_type",
            json!("connect"),
            "reserved_event",
            "must not pose",
        ),
        (
            "debezium-outbox",
            "outbox-header",
            "/topic",
            json!("outbox.event.order.dlq"),
            "unknown_topic",
            "is none of the profile's topics",
        ),
        (
            "debezium-outbox",
            "outbox-header",
            "/topic",
            json!("outbox.event.dlq"),
            "unknown_topic",
            "what was set aside",
        ),
        (
            "debezium-outbox",
            "outbox-envelope",
            "/value/payload",
            json!("{\"name\":\"Ada\"}"),
            "no_payload",
            "an object or a list",
        ),
        (
            "debezium-changes",
            "change-update",
            "/value/before/organization_id",
            json!("o2"),
            "ambiguous_field",
            "they must agree",
        ),
        (
            "schema-registry",
            "schema-registry",
            "/value",
            json!({ "type": "position_measured" }),
            "bad_framing",
            "begins with the byte 123",
        ),
    ];
    for (name, sample, pointer, replaced, outcome, words) in cases {
        let text = std::fs::read_to_string(examples().join(format!("records/{sample}.json")));
        let mut record: Value = serde_json::from_str(&text.unwrap()).unwrap();
        *record.pointer_mut(pointer).expect(pointer) = replaced;
        let path = folder.path().join("sample.json");
        std::fs::write(&path, record.to_string()).unwrap();
        let (explained, code) = check(&profile(name), &path);
        assert_eq!(code, Some(1), "{explained:#}");
        assert_eq!(explained["outcome"], outcome, "{explained:#}");
        let steps = explained["steps"].as_array().unwrap();
        let last = steps.last().unwrap()["note"].as_str().unwrap();
        assert!(last.contains(words), "{last}");
    }
}

#[test]
fn a_format_that_is_not_read_stops_the_start() {
    let text = std::fs::read_to_string(profile("schema-registry")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("avro.toml");
    std::fs::write(&path, text.replace("\"json-schema\"", "\"avro\"")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .arg("serve")
        .env_clear()
        .env("JWT_SECRET", SECRET)
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("FLEETCAST_PROFILE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for words in [
        "avro.toml:9: format \"avro\" is not supported",
        "\"json-schema\"",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
