//! `fleetcast produce` and `fleetcast client`: one writes what the other receives, also over a wire that breaks.

use serde_json::{Value, json};

use super::{code, contains, err, out, run, run_beside};
use crate::api::ask;
use crate::harness::{Kafka, Proxy, TestApp, dispatcher, eventually, record, token, transmission};

#[tokio::test]
async fn records_are_sent_by_hand_and_seen_by_a_client() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let token = dispatcher("u1", "o1");
    let url = format!("http://{}", app.public);
    let arguments = |more: &[&str]| -> Vec<String> {
        ["client", "--url", &url, "--token", &token, "--json"]
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let following = arguments(&["--room", "channel:7", "--count", "3", "--for", "20s"]);
    let following = run_beside(&following, &[]);
    let topic = kafka.topic("transmission");
    let values: Vec<String> = (0..3)
        .map(|number| transmission("o1", "7", 0, number, "a\u{202e}\u{9b}b").to_string())
        .collect();
    let producing = async {
        eventually("the client is there", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_commands_total") > 0).then_some(())
        })
        .await;
        let lines = values.join("\n");
        let (topic, address) = (topic.clone(), kafka.address.clone());
        let sent = tokio::task::spawn_blocking(move || {
            run(
                &["produce", "-t", &topic, "-k", "k", "-b", &address],
                &[],
                &lines,
            )
        });
        sent.await.unwrap()
    };
    let (followed, sent) = tokio::join!(following, producing);
    assert_eq!(code(&sent), 0, "{}", err(&sent));
    let places: Vec<String> = (0..3).map(|offset| format!("{topic}/0/{offset}")).collect();
    assert_eq!(out(&sent).lines().collect::<Vec<_>>(), places);

    assert_eq!(code(&followed), 0, "{}", out(&followed));
    let lines: Vec<Value> = out(&followed)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["connected", "subscribe", "event", "event", "event", "end"]
    );
    assert!(
        !out(&followed).contains(['\u{202e}', '\u{9b}']),
        "the terminal is not steered"
    );
    assert_eq!(lines[2]["id"], json!(places[0]));
    assert_eq!(
        lines[2]["data"].to_string(),
        serde_json::from_str::<Value>(&values[0])
            .unwrap()
            .to_string()
    );
    let cursor = lines[5]["cursor"].as_str().unwrap().to_owned();
    assert!(cursor.starts_with("v1."));

    // From a cursor there is nothing to catch up; a room that is left is left; a foreign one is refused.
    let resumed = run_beside(
        &arguments(&[
            "--resume",
            &cursor,
            "--room",
            "channel:7",
            "--leave",
            "channel:7@300ms",
            "--for",
            "2s",
        ]),
        &[],
    )
    .await;
    assert_eq!(code(&resumed), 0, "{}", out(&resumed));
    contains(
        &out(&resumed),
        &[
            "\"resume\":\"resumed\"",
            "caught up with 0 events",
            "\"type\":\"unsubscribe\"",
        ],
    );
    let refused = run_beside(
        &arguments(&["--room", "channel:7:org:o2", "--for", "3s"]),
        &[],
    )
    .await;
    assert_eq!(code(&refused), 1);
    contains(
        &out(&refused),
        &["subscribe channel:7:org:o2 refused: forbidden"],
    );
    let stranger: Vec<String> = [
        "client", "--url", &url, "--token", "no-token", "--for", "5s",
    ]
    .map(str::to_owned)
    .into();
    let stranger = run_beside(&stranger, &[]).await;
    assert_eq!(code(&stranger), 1);
    contains(&out(&stranger), &["!! refused: token_invalid"]);
    assert!(
        !out(&stranger).contains('\u{1b}'),
        "no colours off a terminal"
    );
}

#[tokio::test]
async fn a_client_that_was_cut_says_how_much_it_caught_up() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let proxy = Proxy::to(app.public).await;
    let url = format!("http://{}", proxy.address);
    let token = dispatcher("u1", "o1");
    let arguments: Vec<String> = [
        "client",
        "--url",
        &url,
        "--token",
        &token,
        "--room",
        "channel:7",
        "--resume",
        "--count",
        "4",
        "--for",
        "30s",
    ]
    .map(str::to_owned)
    .into();
    let produce = async |number| {
        kafka
            .produce("transmission", transmission("o1", "7", 0, number, ""))
            .await;
    };
    let cutting = async {
        eventually("the client is there", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_commands_total") > 0).then_some(())
        })
        .await;
        produce(0).await;
        eventually("it was delivered", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_deliveries_total") > 0).then_some(())
        })
        .await;
        proxy.cut();
        produce(1).await;
        produce(2).await;
        eventually("it is gone, and more was read", async || {
            let metrics = app.metrics().await;
            let read = metrics.sum("fleetcast_records_total");
            (read == 3 && metrics.sum("fleetcast_connections") == 0).then_some(())
        })
        .await;
        proxy.restore();
        eventually("it is back", async || {
            let metrics = app.metrics().await;
            (metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}") > 0).then_some(())
        })
        .await;
        // Not of what was missed, however late the client reads its welcome.
        let last = transmission("o1", "7", 0, 3, "");
        kafka
            .produce_from_the_future("transmission", 60_000, last)
            .await;
    };
    let (output, ()) = tokio::join!(run_beside(&arguments, &[]), cutting);
    assert_eq!(code(&output), 0, "{}", out(&output));
    contains(
        &out(&output),
        &[
            "!! the connection was ",
            "resumed, connection",
            "caught up with 2 events",
            "end: 4 events",
        ],
    );
}

#[tokio::test]
async fn the_client_command_shows_the_snapshot() {
    let kafka = Kafka::mock(&[("asset", 1)]).await;
    let app = TestApp::start(&kafka).await;
    for number in 0..4 {
        let data = json!({"asset_id": number % 2, "n": number});
        kafka
            .produce("asset", record("asset_position_updated", "o1", &data))
            .await;
    }
    eventually("all were read", async || {
        (app.metrics().await.sum("fleetcast_records_total") == 4).then_some(())
    })
    .await;
    let url = format!("http://{}", app.public);
    let token = dispatcher("u1", "o1");
    let arguments = [
        "client", "--url", &url, "--token", &token, "--room", "asset:*", "--latest", "--count",
        "2", "--for", "20s", "--json",
    ]
    .map(str::to_owned);
    let output = run_beside(&arguments, &[]).await;
    assert_eq!(code(&output), 0, "{}", out(&output));
    let lines: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[1]["latest"], 2, "{lines:#?}");
    let numbers: Vec<&Value> = lines[2..4]
        .iter()
        .map(|line| &line["data"]["data"]["n"])
        .collect();
    assert_eq!(numbers, [2, 3]);
}

/// Not an event that counts, and nothing that `--event` may hide.
#[tokio::test]
async fn the_client_command_notes_rooms_that_are_granted() {
    let kafka = Kafka::mock(&[("alert", 1), ("granted", 1)]).await;
    let topic = kafka.topic("granted");
    let app = TestApp::start_with(&kafka, &[("GRANTS_TOPIC", &topic)]).await;
    let url = format!("http://{}", app.public);
    let token = token(json!({ "sub": "u1", "organization_id": "o1", "roles": ["field_unit"] }));
    let arguments = [
        "client",
        "--url",
        &url,
        "--token",
        &token,
        "--event",
        "alert_created",
        "--count",
        "1",
        "--for",
        "20s",
        "--json",
    ]
    .map(str::to_owned);
    let granting = async {
        eventually("the client is there", async || {
            (app.metrics().await.sum("fleetcast_connections") == 1).then_some(())
        })
        .await;
        let body = json!({ "organization_id": "o1", "grant": ["channel:7"] });
        let answer = ask(&app, "POST", "/api/users/u1/grants", Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let alert = record("alert_created", "o1", &json!({ "alert_id": "1" }));
        kafka.produce("alert", alert).await;
    };
    let (output, ()) = tokio::join!(run_beside(&arguments, &[]), granting);
    assert_eq!(code(&output), 0, "{}", out(&output));
    let lines: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["type"].as_str())
        .collect();
    assert_eq!(types, ["connected", "room_granted", "event", "end"]);
    assert_eq!(
        lines[1]["rooms"],
        json!(["channel:7:org:o1"]),
        "{}",
        lines[1]
    );
    contains(
        &out(&output),
        &["room granted: channel:7:org:o1; subscribe to join"],
    );
}

/// A room that a back-end has it join is asked for at the next connect.
#[tokio::test]
async fn the_client_command_resumes_a_room_that_it_was_made_to_join() {
    let kafka = Kafka::mock(&[("alert", 1), ("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let url = format!("http://{}", app.public);
    let token = dispatcher("u1", "o1");
    let arguments = [
        "client",
        "--url",
        &url,
        "--token",
        &token,
        "--event",
        "transmission_started",
        "--count",
        "2",
        "--for",
        "20s",
        "--resume",
        "--json",
    ]
    .map(str::to_owned);
    let operating = async {
        eventually("the client is there", async || {
            (app.metrics().await.sum("fleetcast_connections") == 1).then_some(())
        })
        .await;
        let body = json!({ "organization_id": "o1", "join": ["channel:7"] });
        let answer = ask(&app, "POST", "/api/users/u1/rooms", Some(&body)).await;
        assert_eq!(answer.json()["joined"], 1, "{}", answer.body);
        kafka
            .produce("transmission", transmission("o1", "7", 0, 0, ""))
            .await;
        eventually("it was sent", async || {
            (app.metrics().await.sum("fleetcast_deliveries_total") >= 1).then_some(())
        })
        .await;
        let body = json!({ "organization_id": "o1" });
        ask(&app, "POST", "/api/users/u1/disconnect", Some(&body)).await;
        kafka
            .produce("transmission", transmission("o1", "7", 0, 1, ""))
            .await;
    };
    let (output, ()) = tokio::join!(run_beside(&arguments, &[]), operating);
    assert_eq!(code(&output), 0, "{} {}", out(&output), err(&output));
    contains(
        &out(&output),
        &["room joined by a back-end: channel:7:org:o1"],
    );
}
