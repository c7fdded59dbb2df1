//! Records as the field's producers write them: binary keys, headers without values or in quotes, large ids.

use serde_json::{Value, json};

use crate::harness::{
    Client, Event, Kafka, Packet, TestApp, auth, dispatcher, eventually, raw_token, record,
};

const BIG: &str = "18446744073709551616";

on_both_brokers! {
    a_tombstone_for_a_binary_key_removes_that_key(&[("asset", 1)]);
    headers_without_a_value_count_as_absent_and_quotes_are_removed(&[("incident", 1)]);
    an_id_beyond_64_bits_is_delivered_to_its_room(&[("transmission", 1)]);
    text_that_no_route_asks_for_need_not_make_sense(&[("incident", 1)]);
}

fn number(event: &Event) -> u64 {
    event.args[0]["data"]["n"].as_u64().unwrap()
}

async fn a_tombstone_for_a_binary_key_removes_that_key(kafka: Kafka) {
    let app = TestApp::start(&kafka).await;
    let mut auth = auth("u1", "o1", &["asset:*"]);
    auth["meta"] = json!(true);
    let mut client = Client::connect(app.public, &auth).await;
    let uuid = b"\x9f\x86\xd0\x81\x88\x4c\x4d\x65\x9a\x2f\xea\xa0\xc5\x5a\xd0\x15";
    let keys: [(&[u8], Value); 9] = [
        (b"text", json!("text")),
        (b"\"text\"", json!("\"text\"")),
        (b"", json!("")),
        (&7_i64.to_be_bytes(), Value::Null),
        (&200_i64.to_be_bytes(), Value::Null),
        (&201_i64.to_be_bytes(), Value::Null),
        (uuid, Value::Null),
        (b"\0\0\0\0\x01\xffframe", Value::Null),
        (b"\0\0\0\0\x02\xffframe", Value::Null),
    ];
    for ((key, shown), n) in keys.iter().zip(0_u64..) {
        let value = record(
            "asset_position_updated",
            "o1",
            &json!({ "asset_id": n, "n": n }),
        );
        let value = value.to_string();
        kafka
            .produce_bytes("asset", Some(key), &[], Some(value.as_bytes()))
            .await;
        let event = client.record().await;
        assert_eq!(number(&event), n);
        assert_eq!(event.args[1]["key"], *shown, "{key:?}");
    }
    let mut left: Vec<u64> = (0..9).collect();
    // A key that no record has, the first of two that read alike, and one after the other.
    kafka
        .produce_bytes("asset", Some(&202_i64.to_be_bytes()), &[], None)
        .await;
    for gone in [4, 7, 0, 3, 2, 6] {
        let key = keys[usize::try_from(gone).unwrap()].0;
        kafka.produce_bytes("asset", Some(key), &[], None).await;
        left.retain(|n| *n != gone);
        let kept = u64::try_from(left.len()).unwrap();
        eventually("the key is removed", async || {
            let records = &app.get("/stats").await.json()["latest"]["records"];
            (*records == kept).then_some(())
        })
        .await;
        let asked = json!({"type": "asset", "all": true, "latest": true});
        let answer = client.command("subscribe", &asked).await;
        assert_eq!(answer["data"]["latest"], kept);
        let mut came = Vec::new();
        for _ in 0..kept {
            came.push(number(&client.record().await));
        }
        came.sort_unstable();
        assert_eq!(came, left);
    }
}

async fn headers_without_a_value_count_as_absent_and_quotes_are_removed(kafka: Kafka) {
    type Headers = &'static [(&'static str, Option<&'static [u8]>)];

    let app = TestApp::start(&kafka).await;
    let mut first = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut second = Client::connect(app.public, &auth("u2", "o2", &[])).await;
    let cases: [(Headers, bool); 12] = [
        (&[("organization_id", None)], true),
        (
            &[("organization_id", None), ("organization_id", None)],
            true,
        ),
        (&[("event_type", None), ("ce_type", None)], true),
        (
            &[("organization_id", None), ("organization_id", Some(b"o2"))],
            false,
        ),
        (
            &[("organization_id", Some(b"o2")), ("organization_id", None)],
            false,
        ),
        (&[("organization_id", Some(b"\"o2\""))], false),
        (
            &[
                ("organization_id", Some(b"\"o2\"")),
                ("organization_id", Some(b"o2")),
            ],
            false,
        ),
        (&[("organization_id", Some(b"null"))], true),
        (&[("event_type", Some(b"\"incident.updated\""))], true),
        (
            &[
                ("event_type", None),
                ("ce_type", Some(b"\"IncidentUpdated\"")),
            ],
            true,
        ),
        (
            &[
                ("event_type", Some(b"incident_updated")),
                ("event_type", None),
            ],
            true,
        ),
        (&[("Organization_Id", Some(b"o2"))], true),
    ];
    for ((headers, is_first), n) in cases.iter().zip(0_u64..) {
        let value = record("incident_created", "o1", &json!({ "n": n })).to_string();
        kafka
            .produce_bytes("incident", None, headers, Some(value.as_bytes()))
            .await;
        let client = if *is_first { &mut first } else { &mut second };
        let event = client.record().await;
        assert_eq!(number(&event), n, "{headers:?}");
        let updated = headers.iter().any(|(_, value)| {
            value.is_some_and(|value| {
                value
                    .to_ascii_lowercase()
                    .windows(7)
                    .any(|part| part == b"updated")
            })
        });
        let name = if updated {
            "incident_updated"
        } else {
            "incident_created"
        };
        assert_eq!(event.name, name, "{headers:?}");
    }
    // An empty value is one, and no organisation.
    let value = record("incident_created", "o1", &json!({})).to_string();
    let empty: Headers = &[("organization_id", Some(b""))];
    kafka
        .produce_bytes("incident", None, empty, Some(value.as_bytes()))
        .await;
    let topic = kafka.topic("incident");
    let series =
        format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"bad_organisation\"}}");
    eventually("it is refused", async || {
        let metrics = app.metrics().await;
        (metrics.0.contains(&series) && metrics.value(&series) == 1).then_some(())
    })
    .await;
}

async fn an_id_beyond_64_bits_is_delivered_to_its_room(kafka: Kafka) {
    let app = TestApp::start(&kafka).await;
    let by_text = auth("u1", "o1", &[&format!("channel:{BIG}")]);
    let mut by_text = Client::connect(app.public, &by_text).await;
    // A claim that lists it as a number.
    let scoped = raw_token(&format!(
        r#"{{"sub":"u2","organization_id":"o1","roles":["field_unit"],"channels":[7,{BIG}],"exp":4000000000}}"#
    ));
    let mut scoped = Client::connect(app.public, &json!({ "token": scoped })).await;
    // As a number in a command and in the handshake, which a client in JavaScript cannot write but others can.
    scoped
        .send(&format!(
            r#"427["subscribe",{{"type":"channel","id":{BIG}}}]"#
        ))
        .await;
    let asked = loop {
        if let Some(Packet::Ack { id: 7, answer, .. }) = scoped.packet().await {
            break answer;
        }
    };
    assert_eq!(asked["data"]["room"], format!("channel:{BIG}:org:o1"));
    let mut by_number = Client::open(app.public).await;
    let token = dispatcher("u3", "o1");
    by_number
        .send(&format!(
            r#"40{{"token":"{token}","rooms":[{{"type":"channel","id":{BIG}}}],"cursor":null,"meta":null,"x":"\ud800"}}"#
        ))
        .await;
    by_number.expect("connection_established").await;
    for (id, n) in [(BIG.to_owned(), 0), (format!("\"{BIG}\""), 1)] {
        let value = format!(
            r#"{{"event_type":"transmission_started","organization_id":"o1","data":{{"channel_id":{id},"n":{n}}}}}"#
        );
        kafka.produce("transmission", value).await;
        for client in [&mut by_text, &mut scoped, &mut by_number] {
            assert_eq!(number(&client.record().await), n);
        }
    }
    let longest = "9".repeat(64);
    by_text.subscribe(&format!("channel:{longest}")).await;
    for (id, n) in [
        (longest.as_str(), 2),
        (&"9".repeat(65), 3),
        ("1e30", 4),
        (BIG, 5),
    ] {
        let value = format!(
            r#"{{"event_type":"transmission_started","organization_id":"o1","channel_id":{id},"data":{{"n":{n}}}}}"#
        );
        kafka.produce("transmission", value).await;
    }
    let came = [by_text.record().await, by_text.record().await];
    assert_eq!(
        [2, 5],
        came.map(|event| number(&event)),
        "the others are no ids"
    );
}

async fn text_that_no_route_asks_for_need_not_make_sense(kafka: Kafka) {
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    for besides in [
        r#""note":"\ud800""#,
        r#""\ud800":1"#,
        r#""huge":1e400"#,
        r#""incident_id":null,"severity":null"#,
    ] {
        let value = format!(
            r#"{{"event_type":null,"type":"incident_created","organization_id":"o1",{besides}}}"#
        );
        kafka.produce("incident", value).await;
        kafka
            .produce("incident", record("incident_updated", "o1", &json!({})))
            .await;
        assert_eq!(client.record().await.name, "incident_created", "{besides}");
        assert_eq!(client.record().await.name, "incident_updated");
    }
}
