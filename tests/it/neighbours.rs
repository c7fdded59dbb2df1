//! A noisy organisation shortens only its own window.

use serde_json::{Value, json};

use crate::harness::{Client, Kafka, TestApp, auth, record};

const WINDOW_BYTES: &str = "400000";
/// So many of 2,000 bytes are twice what the window has space for.
const RECORDS: usize = 400;

fn transmission(organisation: &str, number: usize, bytes: usize) -> String {
    let data = json!({ "channel_id": "7", "n": number, "filler": "x".repeat(bytes) });
    record("transmission_started", organisation, &data).to_string()
}

fn back(organisation: &str, cursor: &str) -> Value {
    let mut auth = auth("u1", organisation, &["channel:7"]);
    auth["cursor"] = json!(cursor);
    auth
}

#[tokio::test]
async fn a_noisy_organisation_takes_none_of_a_quiet_one_s_window() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let topic = kafka.topic("transmission");
    let settings = [
        ("FLEETCAST_WINDOW_BYTES", WINDOW_BYTES),
        ("MAX_EVENT_BYTES", "16384"),
    ];
    let app = TestApp::start_with(&kafka, &settings).await;
    let mut cursors = Vec::new();
    for organisation in ["noisy", "quiet"] {
        let auth = auth("u1", organisation, &["channel:7"]);
        let mut client = Client::connect(app.public, &auth).await;
        assert_eq!(client.welcome["window_seconds"], 300);
        let first = transmission(organisation, 0, 10);
        kafka.produce_all(&topic, vec![(0, first)]).await;
        client.record().await;
        cursors.push(client.cursor());
        client.cut();
    }
    let mut witness = Client::connect(app.public, &auth("u2", "quiet", &["channel:7"])).await;
    let noise = (0..RECORDS).map(|number| (0, transmission("noisy", number, 2_000)));
    let quiet = |number| (0, transmission("quiet", number, 10));
    let records = std::iter::once(quiet(1)).chain(noise).chain([quiet(2)]);
    kafka.produce_all(&topic, records.collect()).await;
    // Of one partition, so all the noise has been read before the second.
    witness.record().await;
    witness.record().await;

    let mut quiet = Client::connect(app.public, &back("quiet", &cursors[1])).await;
    assert_eq!(quiet.welcome["resume"], "resumed");
    assert_eq!(quiet.welcome["window_seconds"], 300);
    for number in 1..=2 {
        assert_eq!(quiet.record().await.args[0]["data"]["n"], number);
    }
    let mut noisy = Client::connect(app.public, &back("noisy", &cursors[0])).await;
    assert_eq!(noisy.welcome["resume"], "resync");
    let window = noisy.welcome["window_seconds"].as_u64().unwrap();
    assert!(window < 300, "{window}");
    let told = noisy.expect("resync_required").await;
    assert_eq!(told.args[0]["data"]["reason"], "evicted");
}
