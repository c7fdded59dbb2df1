//! `auth:refresh`, where the order of commands and the server's own log are the point. What stock clients see of it is in
//! `client-tests/js/test/refresh.test.js`.

use serde_json::{Value, json};

use crate::harness::{Client, Kafka, Packet, TestApp, dispatcher, eventually, token};

/// The acknowledgements of these numbers, in the order in which they come.
async fn answers(client: &mut Client, count: usize) -> Vec<(u64, Value)> {
    let mut answers = Vec::new();
    while answers.len() < count {
        if let Packet::Ack { id, answer, .. } = client.packet().await.expect("it is open") {
            answers.push((id, answer));
        }
    }
    answers
}

#[tokio::test]
async fn a52_commands_behind_a_refresh_wait_until_it_is_decided() {
    let kafka = Kafka::mock(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets");
    let (old, new) = (
        "fleetcast-tests-only-another-5xQ0m2Lr",
        crate::harness::SECRET,
    );
    for lane in ["on", "off"] {
        std::fs::write(&path, format!("{old}\n{new}\n")).unwrap();
        let more = [
            ("JWT_SECRET_FILE", path.to_str().unwrap()),
            ("JWT_SECRET", ""),
            ("FLEETCAST_LANE", lane),
        ];
        let app = TestApp::start_with(&kafka, &more).await;
        // Of no role.
        let plain = token(json!({ "sub": "u1", "organization_id": "o1" }));
        let mut client = Client::connect(app.public, &json!({ "token": plain })).await;
        // The key of the next token is not at hand: the file has it only now.
        std::fs::write(&path, old).unwrap();
        app.hangup();
        eventually("the file is read", async || {
            let series = "fleetcast_reloads_total{outcome=\"applied\"}";
            (app.metrics().await.value(series) == 1).then_some(())
        })
        .await;
        std::fs::write(&path, format!("{old}\n{new}\n")).unwrap();
        let refresh = json!(["auth:refresh", { "token": dispatcher("u1", "o1") }]);
        let join = json!(["subscribe", { "room": "channel:7" }]);
        for (id, packet) in [(1, &join), (2, &refresh), (3, &join), (4, &refresh)] {
            client.send(&format!("42{id}{packet}")).await;
        }
        let answers = answers(&mut client, 4).await;
        let order: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
        assert_eq!(order, [1, 2, 3, 4]);
        assert_eq!(answers[0].1["error"]["reason"], "forbidden");
        for (_, answer) in &answers[1..] {
            assert_eq!(answer["success"], true, "{answer}");
        }
        client.cut();
    }
}

#[tokio::test]
async fn a49_the_third_rejected_token_of_a_refresh_closes_the_transport() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let good = dispatcher("u1", "o1");
    let mut client = Client::connect(app.public, &json!({ "token": good })).await;
    let bad = format!("{good}x");
    let refresh = async |client: &mut Client, token: &str| {
        let answer = client
            .command("auth:refresh", &json!({ "token": token }))
            .await;
        answer["success"] == true
    };
    for token in [&bad, &bad, &good, &bad, &bad] {
        assert_eq!(refresh(&mut client, token).await, *token == good);
    }
    assert!(!refresh(&mut client, &bad).await, "it is answered");
    client.read_to_end().await;
    let metrics = app.metrics().await;
    for series in ["disconnects", "refused"] {
        let series = format!("fleetcast_{series}_total{{reason=\"auth_rate\"}}");
        assert_eq!(metrics.value(&series), 1, "{series}");
    }
}

#[tokio::test]
async fn a52_another_user_is_counted_and_no_token_is_logged() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("LOG_LEVEL", "trace")]).await;
    let (own, others) = (dispatcher("u1", "o1"), dispatcher("u2", "o1"));
    let mut client = Client::connect(app.public, &json!({ "token": own })).await;
    for (given, reason) in [
        (format!("{own}x"), "token_invalid"),
        (others.clone(), "forbidden"),
    ] {
        let answer = client
            .command("auth:refresh", &json!({ "token": given }))
            .await;
        assert_eq!(answer["error"]["reason"], reason);
    }
    client.read_to_end().await;
    let metrics = app.metrics().await;
    let closed = "fleetcast_disconnects_total{reason=\"identity_changed\"}";
    assert_eq!(metrics.value(closed), 1);
    let log = app.stop();
    // A signature is what makes a token of use.
    let signatures = [&own, &others].map(|token| token.rsplit_once('.').unwrap().1.to_owned());
    for line in &log {
        let told = signatures.iter().any(|signature| line.contains(signature));
        assert!(!told, "{line}");
    }
}
