//! Many records to many clients.

use futures_util::future::join_all;

use crate::harness::{Client, Kafka, Stream, Tally, TestApp, auth};

on_both_brokers! {
    two_thousand_records_of_six_partitions_come_in_order_to_twenty(&[("transmission", 6)]);
}

async fn two_thousand_records_of_six_partitions_come_in_order_to_twenty(kafka: Kafka) {
    const RECORDS: usize = 2000;
    let app = TestApp::start(&kafka).await;
    let clients = (0..20).map(|number| {
        let auth = auth(&format!("u{number}"), "o1", &["channel:7"]);
        let address = app.public;
        async move { Client::connect(address, &auth).await }
    });
    let clients = join_all(clients).await;
    let readers = clients.into_iter().map(|mut client| async move {
        let mut tally = Tally::default();
        client.read_until(&mut tally, RECORDS).await;
        client
    });
    let mut stream = Stream::new(&kafka, 6, 100);
    let produce = async {
        for _ in 0..RECORDS / 100 {
            stream.produce(&kafka, 100).await;
        }
    };
    let (clients, ()) = tokio::join!(join_all(readers), produce);

    let metrics = app.metrics().await;
    let delivered = metrics.value("fleetcast_deliveries_total{event=\"transmission_started\"}");
    assert_eq!(delivered, 40_000, "not one more");
    assert_eq!(metrics.sum("fleetcast_undelivered_total"), 0);
    drop(clients);
    app.empty().await;
}
