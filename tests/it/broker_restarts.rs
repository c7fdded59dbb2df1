//! Brokers that are stopped, killed and frozen, and come back: nothing is lost, and no client is disconnected for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Client, Cluster, Kafka, Stream, Tally, TestApp, auth};

/// From the return of the brokers until everything has been handed out.
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// Reads what is owed, which must come in time, and without a resync or a disconnect.
async fn catch_up(client: &mut Client, tally: &mut Tally, count: usize, what: &str) {
    let all = tokio::time::timeout(CAUGHT_UP, client.read_until(tally, count));
    assert!(all.await.is_ok(), "{what}: {} of {count}", tally.count);
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn the_server_catches_up_after_a_broker_returns() {
    let cluster = Cluster::start(1).await;
    let kafka = Kafka::of(&cluster, &[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, 50);
    let mut tally = Tally::default();
    for (away, back) in [("stop", "start"), ("kill", "start"), ("pause", "resume")] {
        stream.produce(&kafka, 30).await;
        client.read_until(&mut tally, stream.total()).await;
        cluster.broker(away, "1").await;
        app.wait_for_status("degraded").await;
        cluster.broker(back, "1").await;
        let begin = Instant::now();
        stream.produce(&kafka, 30).await;
        catch_up(&mut client, &mut tally, stream.total(), away).await;
        app.wait_for_status("ready").await;
        assert!(begin.elapsed() < CAUGHT_UP, "{away}: {:?}", begin.elapsed());
        // A client that connects now resumes from before.
        let mut resume = auth("u1", "o1", &["channel:7"]);
        resume["cursor"] = client.cursor().into();
        let again = Client::connect(app.public, &resume).await;
        assert_eq!(again.welcome["resume"], "resumed", "{away}");
    }
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn a_leader_that_is_killed_is_replaced_without_a_loss() {
    let cluster = Cluster::start(3).await;
    let kafka = Kafka::of(&cluster, &[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, 50);
    let mut tally = Tally::default();
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 30).await;
    let leader = cluster.leader(&kafka.topic("transmission"), 0).await;
    cluster.broker("kill", &leader).await;
    // Those of the dead leader wait for the next one to be elected.
    stream.produce(&kafka, 30).await;
    catch_up(
        &mut client,
        &mut tally,
        stream.total(),
        "without the leader",
    )
    .await;
    cluster.broker("start", &leader).await;
    stream.produce(&kafka, 30).await;
    catch_up(&mut client, &mut tally, stream.total(), "with it").await;
    app.wait_for_status("ready").await;
}

/// Clients that are connected receive it, and so do clients that reconnect with a cursor from before.
#[tokio::test]
#[ignore = "real Kafka"]
async fn a_log_that_was_truncated_and_has_grown_again_causes_a_resync() {
    let cluster = Cluster::start(1).await;
    let kafka = Kafka::of(&cluster, &[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 1, 50);
    let mut tally = Tally::default();
    for count in [12, 8] {
        stream.produce(&kafka, count).await;
        client.read_until(&mut tally, stream.total()).await;
    }
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = client.cursor().into();
    cluster.broker("kill", "1").await;
    app.wait_for_status("degraded").await;
    cluster.cut_log(&kafka.topic("transmission"), 12);
    // When it looks again, the log is longer than what it has read.
    app.freeze();
    cluster.broker("start", "1").await;
    stream.produce(&kafka, 30).await;
    app.thaw();
    client.expect("stale").await;
    let told = loop {
        let event = client.record().await;
        if event.name != "stale" {
            break event;
        }
    };
    assert_eq!(told.name, "resync_required", "{told:?}");
    assert_eq!(told.args[0]["data"]["reason"], "topic_recreated");
    let again = Client::connect(app.public, &resume).await;
    assert_eq!(again.welcome["resume"], "resync");
    // From here on nothing is missing.
    app.wait_for_status("ready").await;
    let next = stream.total();
    stream.produce(&kafka, 10).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&(next as u64 + 9)) {
        let event = client.record().await;
        numbers.extend(event.args[0]["data"]["n"].as_u64());
    }
    let rising = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    assert!(rising && numbers[0] <= next as u64, "{numbers:?}");
    let log = app.log();
    let cut = log.iter().find(|line| line.contains("is not the one"));
    assert!(
        cut.is_some_and(|line| line.contains("\"end\":42")),
        "{cut:?}"
    );
}
