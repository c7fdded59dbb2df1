//! What clients of all kinds send: names and arguments that a parser trips over are answered, on both transports.

use serde_json::{Value, json};

use crate::harness::{
    Client, Kafka, Packet, Polling, TestApp, auth, dispatcher, eventually, request,
};

/// Event packets that the library cannot read by itself, and the reason that answers them; `success` for a command.
const EVENTS: [(&str, &str); 17] = [
    ("[\"caf\\u00e9\"]", "unknown_event"),
    ("[\"a\\\"b\\\\c\\u0000\"]", "unknown_event"),
    ("[\"a\\ud800\"]", "unknown_event"),
    ("[\"\\u0061ck\",{\"id\":\"\\u0031\"}]", "success"),
    ("[\"room\\u0073\"]", "success"),
    (" [ \"ro\\u006fms\" , 1 ]", "success"),
    ("[1]", "bad_request"),
    ("[]", "bad_request"),
    ("{}", "bad_request"),
    ("{\"a\":1}", "bad_request"),
    ("", "bad_request"),
    ("[\"a\"", "bad_request"),
    ("[null]", "bad_request"),
    ("[[\"rooms\"]]", "bad_request"),
    ("[{\"rooms\":1},2]", "bad_request"),
    ("[\"\"]", "bad_request"),
    ("[\"rooms\"", "bad_request"),
];

fn reason(answer: &Value) -> &str {
    match answer["status"].as_str() {
        Some("success") => "success",
        _ => answer["error"]["reason"].as_str().unwrap_or("none"),
    }
}

async fn answered(client: &mut Client, packet: &str, id: u64) -> String {
    client.send(packet).await;
    loop {
        match client.packet().await {
            Some(Packet::Ack { id: of, answer, .. }) if of == id => {
                return reason(&answer).to_owned();
            }
            Some(_) => {}
            None => panic!("closed after {packet}"),
        }
    }
}

#[tokio::test]
async fn events_without_a_readable_name_are_answered_on_a_websocket() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    client.enter("/ws", &auth("u1", "o1", &[])).await;
    for (id, (data, expected)) in (100..).zip(EVENTS) {
        for prefix in ["42", "42/ws,", "450-", "450-/ws,"] {
            let data = data.trim_start();
            let got = answered(&mut client, &format!("{prefix}{id}{data}"), id).await;
            assert_eq!(got, expected, "{prefix}{data}");
        }
    }
    // Without an id the answer is an event.
    client.send("42[\"caf\\u00e9\"]").await;
    let error = client.expect("error").await;
    assert_eq!(error.args[0]["data"]["reason"], "unknown_event");
    assert_eq!(error.args[0]["data"]["about"], "caf\u{e9}");
    client.send("42[1]").await;
    let error = client.expect("error").await;
    assert_eq!(error.args[0]["data"]["reason"], "bad_request");
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    let metrics = app.metrics().await;
    assert!(
        metrics.value("fleetcast_commands_total{command=\"unknown\",outcome=\"bad_request\"}") > 0
    );
}

#[tokio::test]
async fn events_without_a_readable_name_are_answered_on_polling_and_after_its_upgrade() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    client.poll().await;
    for (id, (data, expected)) in (100..).zip(EVENTS) {
        // Neighbours in the same payload are carried out.
        let data = data.trim_start();
        let next = id + 500;
        client
            .post(&format!("42{id}{data}\u{1e}42{next}[\"rooms\"]"))
            .await;
        let mut reasons = Vec::new();
        while reasons.len() < 2 {
            for packet in client.poll().await {
                if let Packet::Ack { id, answer, .. } = packet {
                    reasons.push((id, reason(&answer).to_owned()));
                }
            }
        }
        // `ack` is answered when its receipt is kept.
        reasons.sort_unstable();
        let expected = [(id, expected.to_owned()), (next, "success".to_owned())];
        assert_eq!(reasons, expected, "{data}");
    }
    let (mut client, _) = client.upgrade(false).await;
    assert_eq!(answered(&mut client, "427[1]", 7).await, "bad_request");
    assert_eq!(
        answered(&mut client, "428[\"room\\u0073\"]", 8).await,
        "success"
    );
}

/// As docs/protocol.md says: such a message is read by the library alone.
#[tokio::test]
async fn an_event_in_fragments_without_a_readable_name_closes_the_transport_and_is_logged() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    client.send_fragments("421[\"roo", "ms\"]").await;
    let answer = client.packet().await;
    assert!(
        matches!(&answer, Some(Packet::Ack { id: 1, answer, .. }) if reason(answer) == "success"),
        "{answer:?}"
    );
    client.send_fragments("422[\"roo", "m\\u0073\"]").await;
    assert!(client.read_to_end().await.is_empty());
    eventually("it is counted and logged", async || {
        let metrics = app.metrics().await;
        let counted = metrics.value("fleetcast_disconnects_total{reason=\"protocol\"}") == 1;
        let line = "connection closed: the client broke the protocol";
        (counted && app.log().iter().any(|it| it.contains(line))).then_some(())
    })
    .await;
}

/// Fields that nothing looks at, each as a value that a parser may refuse.
fn ignored_fields() -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(3_000), "]".repeat(3_000));
    [
        "\"note\":\"\\ud800\"",
        "\"note\":\"\\udc00\\ud83d\"",
        "\"note\":{\"\\ud800\":[\"\\ud800\"]}",
        "\"\\ud800\":1",
        "\"note\":1e400",
        "\"note\":-1E+999",
        "\"note\":\"\\u0000\"",
        &format!("\"note\":{}", "9".repeat(2_000)),
        &format!("\"note\":{deep}"),
        "\"note\":1,\"note\":2",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test]
async fn a_field_that_is_not_looked_at_spoils_neither_the_handshake_nor_a_command() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let good = auth("u1", "o1", &[]);
    let good = good["token"].as_str().unwrap();
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    for (id, field) in (100..).zip(ignored_fields()) {
        let mut other = Client::open(app.public).await;
        other
            .send(&format!("40{{{field},\"token\":\"{good}\"}}"))
            .await;
        let answer = other.packet().await;
        assert!(
            matches!(answer, Some(Packet::Connect { .. })),
            "{field:.60}: {answer:?}"
        );
        other.cut();
        let packet =
            format!("42{id}[\"subscribe\",{{{field},\"room\":\"channel:7\"}},\"\\ud800\"]");
        assert_eq!(
            answered(&mut client, &packet, id).await,
            "success",
            "{field:.60}"
        );
        let packet = format!("42{id}[\"ack\",{{{field},\"id\":\"x\"}}]");
        assert_eq!(
            answered(&mut client, &packet, id).await,
            "success",
            "{field:.60}"
        );
    }
    let large = "42900[\"subscribe\",{\"type\":\"channel\",\"id\":18446744073709551616}]";
    assert_eq!(answered(&mut client, large, 900).await, "success");
}

#[tokio::test]
async fn a_field_that_counts_is_named_by_its_own_error() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let refused = async |auth: &str| {
        let mut client = Client::open(app.public).await;
        client.send(&format!("40{auth}")).await;
        match client.packet().await {
            Some(Packet::ConnectError { message, .. }) => message,
            other => panic!("{auth:.60}: {other:?}"),
        }
    };
    for auth in [
        "{\"token\":\"\\ud800\"}",
        "{\"token\":1e400}",
        "{\"token\":18446744073709551616}",
        "{\"token\":{\"a\":\"\\ud800\"}}",
        "{\"token\":\"abc\"",
        "{token:'abc'}",
        "abc",
    ] {
        assert_eq!(refused(auth).await, "token_invalid", "{auth}");
    }
    for auth in [
        "",
        "{}",
        "{\"token\":null}",
        "{\"token\":\"\"}",
        "[]",
        "null",
        "{\"x\":\"\\ud800\"}",
    ] {
        assert_eq!(refused(auth).await, "token_missing", "{auth}");
    }
    let good = dispatcher("u1", "o1");
    let mut client = Client::connect(app.public, &json!({ "token": good })).await;
    for (id, arguments) in (100..).zip([
        "{\"room\":\"channel:\\ud800\"}",
        "{\"type\":\"channel\",\"id\":\"7\\ud800\"}",
        "{\"type\":\"channel\",\"id\":1e400}",
        "{\"type\":\"channel\",\"id\":1.5}",
        "{\"rooms\":[\"\\ud800\"]}",
        "{\"rooms\":1e400}",
    ]) {
        let packet = format!("42{id}[\"subscribe\",{arguments}]");
        assert_eq!(
            answered(&mut client, &packet, id).await,
            "bad_request",
            "{arguments}"
        );
    }
    let packet = "42200[\"ack\",{\"id\":\"\\ud800\"}]";
    assert_eq!(answered(&mut client, packet, 200).await, "bad_request");
    // A cursor that cannot be read is a resync, never a fresh start.
    let resume = format!("{{\"token\":\"{good}\",\"cursor\":\"\\ud800\"}}");
    let mut other = Client::open(app.public).await;
    other.send(&format!("40{resume}")).await;
    let welcome = other.expect("connection_established").await;
    assert_eq!(welcome.args[0]["data"]["resume"], "resync");
}

/// Nothing is remembered of an acknowledged id.
#[tokio::test]
async fn a76_acknowledgements_of_many_distinct_ids_are_answered_and_take_no_memory() {
    const ROUNDS: usize = 150;
    const AT_ONCE: usize = 100;
    let kafka = Kafka::mock(&[]).await;
    let unlimited = [("COMMANDS_PER_SECOND", "0")];
    let app = TestApp::start_with(&kafka, &unlimited).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut after_warm_up = 0;
    for round in 0..ROUNDS {
        for nth in 0..AT_ONCE {
            let of = format!("{round:0>120}-{nth:0>120}");
            client
                .send(&format!("42{nth}[\"ack\",{{\"id\":\"{of}\"}}]"))
                .await;
        }
        for nth in 0..AT_ONCE {
            match client.packet().await {
                Some(Packet::Ack { id, answer, .. }) => {
                    let got = (id, answer["success"].clone());
                    assert_eq!(got, (nth as u64, true.into()), "{answer}");
                }
                other => panic!("{round}: {other:?}"),
            }
        }
        if round == ROUNDS / 5 {
            after_warm_up = app.resident();
        }
    }
    // All of the ids that came since are 3 MB.
    let grown = app.resident().saturating_sub(after_warm_up);
    assert!(grown < 2 << 20, "{grown} bytes");
}

/// Its packets get a few bytes longer before the library reads them.
#[tokio::test]
async fn a_payload_that_gets_too_long_is_not_accepted_as_an_empty_one() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let largest = 1_000_000;
    for mark in ["", "&t=a"] {
        let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
        let target = format!("{}{mark}", client.target());
        let mut packets = vec!["42".to_owned(); 200];
        let mut bytes = packets.len() * 3 - 1;
        while bytes + 10 < largest {
            let text = "x".repeat(60_000.min(largest - bytes - 5));
            packets.push(format!("4{text}"));
            bytes += text.len() + 2;
        }
        let body = packets.join("\u{1e}");
        assert!((largest - 20..=largest).contains(&body.len()));
        let answer = request(app.public, "POST", &target, &[], &body).await;
        assert_eq!(answer.unwrap().status, 413, "{mark}");
    }
}
