//! `fleetcast profile`: what becomes of a record, and where a profile is wrong.

use serde_json::{Value, json};

use super::{code, contains, err, out, run};

#[test]
fn profile_check_steers_no_terminal_by_what_a_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    let text = std::fs::read_to_string("profiles/dispatch.toml").unwrap();
    let keyed = text.replace("latest_of = [\"asset_id\", \"id\"]", "key = { key = true }");
    assert_ne!(keyed, text);
    std::fs::write(&profile, keyed).unwrap();
    let path = folder.path().join("record.json");
    let task = json!({"event": "task.assigned", "assigned_to": "ann\u{202e}gro"});
    let position = json!({"type": "AssetPositionUpdated", "asset_id": 9});
    for (topic, mut value, shown) in [
        ("task", task, "to org:o1, user:ann\\u{202e}gro:org:o1; "),
        ("assets", position, "; class latest of 9\\u{2028}, "),
    ] {
        value["organization_id"] = "o1".into();
        let record = json!({ "topic": topic, "key": "9\u{2028}", "value": value });
        std::fs::write(&path, record.to_string()).unwrap();
        let [profile, path] = [&profile, &path].map(|path| path.to_str().unwrap());
        let check = ["profile", "check", profile, "--record", path];
        let text = out(&run(&check, &[], ""));
        contains(&text, &[shown]);
        let json = out(&run(&[&check[..], &["--json"]].concat(), &[], ""));
        let _: Value = serde_json::from_str(&json).unwrap();
        for said in [text, json] {
            assert!(!said.contains(['\u{202e}', '\u{2028}']), "{said:?}");
        }
    }
}

#[test]
fn profile_check_explains_ten_records() {
    let position =
        json!({"type": "AssetPositionUpdated", "organization_id": "o1", "data": {"asset_id": 9}});
    let flat = json!({"event": "task.assigned", "organization_id": "o1", "assignee_id": "u1"});
    let headers = json!({"ce_type": "alert_created", "organization_id": "o2"});
    let ten: [(Value, i32, &[&str]); 10] = [
        (
            json!({"topic": "incident", "value": {"event_type": "incident_created", "organization_id": "o1", "data": {"id": 5}}}),
            0,
            &[
                "incident:5:org:o1: incident_id is neither",
                "but id in data is 5",
                "= incident_created to org:o1, incident:5:org:o1; class event",
            ],
        ),
        (
            json!({"topic": "assets", "value": position}),
            0,
            &[
                "\"AssetPositionUpdated\" is written \"asset_position_updated\" here",
                "+ key          asset_id",
                "= asset_position_updated to asset:9:org:o1; class latest of 9",
            ],
        ),
        (
            json!({"topic": "task", "value": flat}),
            0,
            &[
                "there is no header event_type",
                "user:u1:org:o1: assigned_to is neither in data nor at the top",
                "but assignee_id at the top is \"u1\"",
            ],
        ),
        (
            json!({"topic": "alert", "headers": headers, "value": {"organization_id": "o1"}}),
            0,
            &[
                "header organization_id says \"o2\"",
                "= alert_created to org:o2; class critical, acknowledged",
            ],
        ),
        (
            json!({"topic": "wether", "value": {}}),
            1,
            &[
                "! topic",
                "\"wether\" is none of the profile's topics",
                "outcome unknown_topic, passed over",
            ],
        ),
        (
            json!({"topic": "incident", "value": {"type": "incident_craeted", "organization_id": "o1"}}),
            1,
            &[
                "no route is for \"incident_craeted\"",
                "outcome unknown_event, passed over",
                "hint: did you mean incident_created?",
            ],
        ),
        (
            json!({"topic": "transmission", "value": {"type": "transmission_started", "organization_id": "o1"}}),
            1,
            &[
                "channel: channel_id is neither",
                "and the route requires this room",
                "outcome no_room, refused and counted",
            ],
        ),
        (
            json!({"topic": "incident", "value": {"type": "incident_created", "organization_id": "a:org:b"}}),
            1,
            &[
                "! organisation",
                "outcome bad_organisation, refused and counted",
            ],
        ),
        (
            json!({"topic": "incident", "value": "{\"type\": incident}"}),
            1,
            &[
                "the value is not JSON",
                "hint: expected value at line 1 column 10",
                "outcome not_json",
            ],
        ),
        (
            json!({"topic": "incident", "value": null}),
            1,
            &["the record has no value", "outcome tombstone, passed over"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec![
        "profile".to_owned(),
        "check".to_owned(),
        "dispatch".to_owned(),
    ];
    for (number, (sample, expected, parts)) in ten.iter().enumerate() {
        let path = folder.path().join(format!("{number}.json"));
        std::fs::write(&path, sample.to_string()).unwrap();
        let path = path.to_str().unwrap();
        let output = run(&["profile", "check", "dispatch", "--record", path], &[], "");
        assert_eq!(code(&output), *expected, "{}", out(&output));
        contains(&out(&output), parts);
        arguments.extend(["--record".to_owned(), path.to_owned()]);
    }
    arguments.push("--json".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = run(&arguments, &[], "");
    assert_eq!(code(&all), 1);
    let all: Value = serde_json::from_str(&out(&all)).unwrap();
    let outcomes: Vec<&str> = all["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    let routed = ["routed"; 4];
    let refused = [
        "unknown_topic",
        "unknown_event",
        "no_room",
        "bad_organisation",
        "not_json",
        "tombstone",
    ];
    assert_eq!(outcomes, [&routed[..], &refused].concat());
    assert_eq!(
        all["records"][0]["rooms"],
        json!(["org:o1", "incident:5:org:o1"])
    );
}

#[test]
fn profile_check_takes_bare_values_and_reports_lines_of_mistakes() {
    let value = r#"{"organization_id":"o1","channel_id":7}"#;
    let output = run(
        &[
            "profile",
            "check",
            "dispatch",
            "--topic",
            "x.transmission",
            "--topic-prefix",
            "x.",
            "--header",
            "event_type=transmission_started",
            "--record",
            "-",
            "--json",
        ],
        &[],
        value,
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    let document: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document["records"][0]["rooms"], json!(["channel:7:org:o1"]));

    let shown = run(&["profile", "show", "dispatch"], &[], "");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = out(&shown).replacen("class = \"latest\"", "class = \"newest\"", 1);
    let line = text
        .split("\"newest\"")
        .next()
        .unwrap()
        .matches('\n')
        .count()
        + 1;
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["profile", "check", path][..],
        &["profile", "check", path, "--json"],
    ] {
        let output = run(arguments, &[], "");
        assert_eq!(code(&output), 78);
        let told = out(&output) + &err(&output);
        contains(&told, &[&format!("mine.toml:{line}: "), "newest"]);
    }
    contains(
        &out(&run(&["profile", "list"], &[], "")),
        &["dispatch  5 topics, 14 events"],
    );
    assert_eq!(code(&run(&["profile", "show", "dispatsh"], &[], "")), 2);
    assert_eq!(
        code(&run(
            &["profile", "check", "dispatch", "--record", "/nowhere"],
            &[],
            ""
        )),
        1
    );
}
