//! Pings and answers find their way past the events that wait for a slow client.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Client, Kafka, Stream, Tally, TestApp, Way, auth, eventually};

/// Bytes of a record.
const RECORD: usize = 1000;
/// So about 20 KB in a second: a full MiB would take it 50 s.
const PACE: Duration = Duration::from_millis(50);
const RECORDS: usize = 3000;
/// For the answer to a ping: what may wait before it, in the library, the kernels and the client, takes about 6 s.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_client_that_reads_slowly_gets_its_pings_and_answers_in_time_and_stays() {
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let timeout = TIMEOUT.as_secs().to_string();
    let more = [("PING_INTERVAL", "1"), ("PING_TIMEOUT", &timeout)];
    let app = TestApp::start_with(&kafka, &more).await;
    let way = Way {
        receive_buffer: Some(4096),
        ..app.public.into()
    };
    let mut slow = Client::connect(way, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, RECORD);
    let mut tally = Tally::default();
    stream.produce(&kafka, RECORDS).await;
    eventually("it falls behind", async || {
        let metrics = app.metrics().await;
        (metrics.value("fleetcast_lagging_connections") == 1).then_some(())
    })
    .await;
    slow.pace = PACE;
    // Those of before the records do not count.
    let early = slow.pings;
    while slow.pings < early + 3 {
        tally.note(&slow.event().await);
    }
    assert!(tally.count < RECORDS / 2, "it was not slow: {tally:?}");
    let asked = Instant::now();
    let answer = slow.command("rooms", &json!({})).await;
    assert_eq!(answer["success"], true);
    let waited = asked.elapsed();
    assert!(waited < TIMEOUT, "{waited:?}");

    slow.pace = Duration::ZERO;
    slow.read_until(&mut tally, RECORDS).await;
    assert_eq!(app.metrics().await.sum("fleetcast_disconnects_total"), 0);
}
