//! Routes and topics that change while records flow.

use super::*;

on_both_brokers! {
    a_new_event_and_a_new_topic_of_a_reloaded_profile_are_there_without_a_restart(&[("incident", 1), ("weather", 1)]);
}

#[tokio::test]
async fn routes_are_swapped_under_traffic_without_a_loss_or_a_double() {
    const ROUNDS: usize = 12;
    const BATCH: usize = 100;
    let kafka = Kafka::mock(&[("transmission", 3), ("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let mut client =
        Client::connect(app.public, &auth("u1", "o1", &["channel:7", "incident:5"])).await;
    let fire = json!({ "incident_id": "5" });
    let fire = record("fire_reported", "o1", &fire);
    kafka.produce("incident", &fire).await;
    let skipped = format!(
        "fleetcast_records_total{{topic=\"{}\",outcome=\"unknown_event\"}}",
        kafka.topic("incident")
    );
    eventually("the unknown event is skipped", async || {
        (app.metrics().await.value(&skipped) == 1).then_some(())
    })
    .await;

    let mut stream = Stream::new(&kafka, 3, 100);
    let produce = async {
        for _ in 0..ROUNDS * 4 {
            stream.produce(&kafka, BATCH).await;
        }
    };
    let swap = async {
        let with_alias = DISPATCH.replace(
            "\n[aliases]\n",
            "\n[aliases]\nfire_reported = \"incident_created\"\n",
        );
        for round in 0..ROUNDS {
            files.profile([DISPATCH, &with_alias][(round + 1) % 2]);
            reload(&app, "applied").await;
        }
        files.profile(&with_alias);
        reload(&app, "applied").await;
    };
    let read = async {
        let mut tally = Tally::default();
        client.read_until(&mut tally, ROUNDS * 4 * BATCH).await;
        tally
    };
    let ((), (), tally) = tokio::join!(produce, swap, read);
    assert_eq!(tally.count, stream.total());
    // What was unknown before is an event now; the one that came before stays skipped.
    kafka.produce("incident", &fire).await;
    client.expect("incident_created").await;
    kafka.produce("incident", incident(9)).await;
    client.expect("incident_updated").await;
    let metrics = app.metrics().await;
    let of_channel = metrics.value("fleetcast_deliveries_total{event=\"transmission_started\"}");
    assert_eq!(of_channel, (ROUNDS * 4 * BATCH) as u64);
    assert_eq!(metrics.value(&skipped), 1);
}

async fn a_new_event_and_a_new_topic_of_a_reloaded_profile_are_there_without_a_restart(
    kafka: Kafka,
) {
    let files = Files::new();
    let app = files.start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    files.profile(
        &DISPATCH
            .replace(
                "\"incident_updated\",",
                "\"incident_updated\", \"incident_closed\",",
            )
            .replace("topics = [", "topics = [\n  [\"weather\"],"),
    );
    reload(&app, "applied").await;
    let closed = record("incident_closed", "o1", &json!({ "incident_id": "5" }));
    for (topic, count) in [("incident", 1), ("weather", 2)] {
        kafka.produce(topic, &closed).await;
        client.expect("incident_closed").await;
        let metrics = app.metrics().await;
        assert_eq!(
            metrics.value("fleetcast_deliveries_total{event=\"incident_closed\"}"),
            count
        );
    }
}

#[tokio::test]
async fn a_topic_that_is_taken_out_has_no_lag_any_more() {
    let kafka = Kafka::mock(&[("incident", 1), ("weather", 1)]).await;
    let files = Files::new();
    files.profile(&DISPATCH.replace("topics = [", "topics = [\n  [\"weather\"],"));
    let app = files.start(&kafka).await;
    let lag = |topic| {
        let topic = kafka.topic(topic);
        format!("fleetcast_kafka_lag{{topic=\"{topic}\",partition=\"0\"}} 0")
    };
    let shown = async || {
        let metrics = app.metrics().await.0;
        let described = metrics.matches("# TYPE fleetcast_kafka_lag gauge").count();
        assert!(described <= 1, "{metrics}");
        ["incident", "weather"].map(|topic| metrics.contains(&lag(topic)))
    };
    eventually("both are read", async || {
        (shown().await == [true, true]).then_some(())
    })
    .await;
    files.profile(DISPATCH);
    reload(&app, "applied").await;
    eventually("one is left", async || {
        (shown().await == [true, false]).then_some(())
    })
    .await;
}
