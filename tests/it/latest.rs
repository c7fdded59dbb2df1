//! Class `latest`: clients that lag get the newest of each key, clients that join get a snapshot.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Client, Event, Kafka, TestApp, Way, auth, eventually, record};

const ASSETS: u64 = 5;
const ROUNDS: u64 = 400;
/// Bytes; with assets and rounds 30 MB.
const FILLER: usize = 15_000;

fn position(asset: u64, number: u64, filler: &str) -> String {
    let data = json!({ "asset_id": asset, "n": number, "filler": filler });
    record("asset_position_updated", "o1", &data).to_string()
}

fn status(number: u64) -> String {
    let data = json!({ "asset_id": 0, "n": number });
    record("asset_status_changed", "o1", &data).to_string()
}

fn data(event: &Event) -> &Value {
    &event.args[0]["data"]
}

#[tokio::test]
async fn a_slow_client_gets_conflated_positions_and_every_other_event() {
    let kafka = Kafka::mock(&[("asset", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut fast = Client::connect(app.public, &auth("u1", "o1", &["asset:*"])).await;
    let slow = Way {
        receive_buffer: Some(4096),
        ..app.public.into()
    };
    let mut slow = Client::connect(slow, &auth("u2", "o1", &["asset:*"])).await;
    let filler = "x".repeat(FILLER);
    for round in 0..ROUNDS {
        let mut batch: Vec<_> = (0..ASSETS)
            .map(|asset| (0, position(asset, round, &filler)))
            .collect();
        batch.push((0, status(round)));
        kafka.produce_all(&kafka.topic("asset"), batch).await;
        // The mock broker keeps 5 MiB of a partition, so the log must be read as it grows. And a client that has not read a round
        // when the next one comes is not fast.
        for _ in 0..=ASSETS {
            fast.record().await;
        }
    }
    let (mut newest, mut statuses, mut positions) = (BTreeMap::new(), Vec::new(), 0);
    while statuses.len() < usize::try_from(ROUNDS).unwrap()
        || newest.values().any(|number| *number + 1 < ROUNDS)
    {
        let event = slow.record().await;
        let number = data(&event)["n"].as_u64().unwrap();
        if event.name == "asset_status_changed" {
            statuses.push(number);
            continue;
        }
        let asset = data(&event)["asset_id"].as_u64().unwrap();
        let before = newest.insert(asset, number);
        assert!(before.is_none_or(|before| before < number), "{asset}");
        positions += 1;
    }
    assert!(statuses.into_iter().eq(0..ROUNDS), "every other event");
    let spared = ROUNDS * ASSETS - positions;
    assert!(spared > ROUNDS, "{positions} came");
    eventually("they are counted", async || {
        let metrics = app.metrics().await;
        let counted = metrics.value("fleetcast_undelivered_total{reason=\"conflated\"}");
        (counted == spared).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_snapshot_outlives_the_window() {
    let kafka = Kafka::mock(&[("asset", 1)]).await;
    let app = TestApp::start_with(&kafka, &[("FLEETCAST_WINDOW", "1")]).await;
    for number in 0..3 {
        kafka
            .produce("asset", position(number % 2, number, ""))
            .await;
    }
    eventually("the window has evicted them", async || {
        let stats = app.get("/stats").await.json();
        (stats["latest"]["records"] == 2 && stats["window"]["publications"] == 0).then_some(())
    })
    .await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let asked = json!({"type": "asset", "all": true, "latest": true});
    let answer = client.command("subscribe", &asked).await;
    assert_eq!(answer["data"]["latest"], 2);
    let mut came = Vec::new();
    for _ in 0..2 {
        came.push(data(&client.record().await)["n"].clone());
    }
    assert_eq!(came, [1, 2]);
    let behind = client.event().await;
    assert_eq!(behind.name, "cursor", "they are complete");
}
