//! Retries of what was published: accepted as often as it is sent, delivered once, and never lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::publish::{accepted, kafka, start, until_marker};
use crate::harness::{Background, Client, auth, eventually, request};

#[tokio::test]
async fn h20_a_retry_is_delivered_once_on_every_instance() {
    const COUNT: usize = 60;
    let kafka = kafka().await;
    let logged = [("LOG_LEVEL", "info,fleetcast::telemetry=debug")];
    let app = start(&kafka, &logged).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let message = |n: usize| {
        json!({
            "event": "told", "organization_id": "o1", "rooms": ["channel:7"], "data": { "n": n },
            "idempotency_key": format!("request-{n}"),
        })
    };
    for n in 0..COUNT {
        accepted(&app, &message(n)).await;
        if n % 3 == 0 {
            accepted(&app, &message(n)).await;
        }
    }
    // The same key of another body, or of another organisation, is another message.
    let mut same_key = message(0);
    same_key["data"]["n"] = COUNT.into();
    accepted(&app, &same_key).await;
    let mut foreign = message(0);
    foreign["organization_id"] = "o2".into();
    accepted(&app, &foreign).await;
    let mut numbers = until_marker(&app, &mut client, "o1").await;
    numbers.sort_unstable();
    let expected: Vec<i64> = (0..=i64::try_from(COUNT).unwrap()).collect();
    assert_eq!(numbers, expected);

    // An instance that starts now knows what came before it.
    let other = start(&kafka, &[("FLEETCAST_WINDOW", "1")]).await;
    let mut elsewhere = Client::connect(other.public, &auth("u1", "o1", &["channel:7"])).await;
    for n in 0..COUNT {
        accepted(&other, &message(n)).await;
    }
    for (app, client) in [(&app, &mut client), (&other, &mut elsewhere)] {
        let again = until_marker(app, client, "o1").await;
        assert_eq!(again, [0_i64; 0]);
        let topic = kafka.topic("publish");
        let series = format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"duplicate\"}}");
        assert_eq!(app.metrics().await.value(&series), 80);
    }
    // It is expected: there is no warning.
    let lines = |texts: &[&str]| {
        let log = app.log();
        let all = |line: &&String| texts.iter().all(|text| line.contains(text));
        log.iter().filter(all).count()
    };
    let retries = ["a retry: delivered already", "\"level\":\"DEBUG\""];
    eventually("a line of each", async || {
        (lines(&retries) == 80).then_some(())
    })
    .await;
    assert_eq!(lines(&["record skipped"]), 0);
}

#[tokio::test]
async fn h20_no_accepted_message_is_lost_when_the_instance_is_killed() {
    let kafka = kafka().await;
    let (dying, stays) = (start(&kafka, &[]).await, start(&kafka, &[]).await);
    let mut client = Client::connect(stays.public, &auth("u1", "o1", &["channel:7"])).await;
    let address = dying.internal;
    let counted = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let mut publishers = Vec::new();
    for publisher in 0..8 {
        let counted = counted.clone();
        publishers.push(Background::start(async move {
            for n in (publisher..).step_by(8) {
                let body = json!({
                    "event": "told", "organization_id": "o1", "rooms": ["channel:7"],
                    "data": { "n": n }, "idempotency_key": n.to_string(),
                });
                let json_type = [("Content-Type", "application/json")];
                let text = body.to_string();
                let Ok(answer) = request(address, "POST", "/api/publish", &json_type, &text).await
                else {
                    return;
                };
                if answer.status == 202 {
                    counted.lock().unwrap().insert(n);
                }
            }
        }));
    }
    let begin = Instant::now();
    while counted.lock().unwrap().len() < 200 && begin.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(10)).await;
    }
    dying.crash();
    eventually("the publishers end", async || {
        publishers.iter().all(Background::is_finished).then_some(())
    })
    .await;
    let accepted = counted.lock().unwrap().clone();
    assert!(accepted.len() >= 200, "{}", accepted.len());
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    for n in until_marker(&stays, &mut client, "o1").await {
        *times.entry(n).or_default() += 1;
    }
    let lost: Vec<&i64> = accepted.iter().filter(|n| !times.contains_key(n)).collect();
    assert_eq!(lost, [&0_i64; 0], "accepted and not delivered");
    assert!(times.values().all(|count| *count == 1), "{times:?}");
}
