//! Tokens that are rejected, sessions that are not there, and cursors shown too often.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{
    Client, Kafka, Packet, SOON, TestApp, Way, auth, connect_from, eventually, request_over,
    transmission,
};
use crate::limits;

const ONE: [u8; 4] = [127, 0, 0, 1];
const NEIGHBOUR: [u8; 4] = [127, 0, 0, 2];

/// Few things but failures are limited.
const MORE: [(&str, &str); 3] = [
    ("LIMIT_LOOPBACK", "true"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("HANDSHAKES_PER_SECOND_PER_ADDRESS", "10000"),
];

async fn status(app: &TestApp, source: [u8; 4], target: &str) -> u16 {
    let stream = connect_from(source, app.public).await;
    let answer = request_over(stream, "GET", target, &[], "").await;
    answer.map_or(0, |answer| answer.status)
}

async fn is_served(app: &TestApp, kafka: &Kafka) {
    let served = limits::is_served(app, kafka, NEIGHBOUR);
    timeout(Duration::from_secs(10), served)
        .await
        .expect("the neighbour waits");
}

/// A token with another signature.
fn forged() -> Value {
    let good = auth("u1", "o1", &[]);
    let (head, _) = good["token"].as_str().unwrap().rsplit_once('.').unwrap();
    json!({ "token": format!("{head}.c2lnbmF0dXJl") })
}

/// Sends so many CONNECTs with bad tokens on one transport, and counts the answers until it closes.
async fn bad_connects(app: &TestApp, count: usize) -> usize {
    let mut client = Client::open(Way::of(ONE, app)).await;
    let connect = format!("40{}", forged());
    for _ in 0..count {
        if client.try_send(&connect).await.is_err() {
            break;
        }
    }
    let mut answers = 0;
    while let Some(packet) = timeout(SOON, client.packet()).await.expect("it is closed") {
        assert!(matches!(packet, Packet::ConnectError { .. }), "{packet:?}");
        answers += 1;
    }
    answers
}

/// Three bad tokens on a polling session of its own. True: the address is refused at the handshake.
async fn is_refused(app: &TestApp) -> bool {
    let request = async |method, target: &str, body: &str| {
        let stream = connect_from(ONE, app.public).await;
        let answer = request_over(stream, method, target, &[], body).await;
        answer.ok()
    };
    let target = "/socket.io/?EIO=4&transport=polling";
    let Some(open) = request("GET", target, "").await else {
        return false;
    };
    if open.status == 429 {
        assert_eq!(open.json()["code"], "auth_rate");
        return true;
    }
    let open: Value = serde_json::from_str(open.body.strip_prefix('0').unwrap()).unwrap();
    let target = format!("{target}&sid={}", open["sid"].as_str().unwrap());
    let connect = format!("40{}", forged());
    let payload = [connect.as_str(); 3].join("\u{1e}");
    request("POST", &target, &payload).await;
    false
}

#[tokio::test]
async fn a49_a_transport_ends_with_the_third_rejected_token_and_an_address_with_many() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &MORE).await;
    assert!(bad_connects(&app, 1_000).await <= 3);
    let metrics = app.metrics().await;
    let looked_at = metrics.refused("token_invalid");
    assert!((1..=3).contains(&looked_at), "{looked_at} of 1000");
    assert_eq!(metrics.refused("auth_rate"), 1);
    // Two mistakes cost nothing, in either namespace.
    let mut client = Client::open(Way::of(ONE, &app)).await;
    for namespace in ["/", "/ws"] {
        let refused = client.try_enter(namespace, &forged()).await;
        assert_eq!(refused.unwrap_err(), "token_invalid");
    }
    for namespace in ["/", "/ws"] {
        client.enter(namespace, &auth("u1", "o1", &[])).await;
    }
    // Transport after transport: then the address is refused, before any token is looked at.
    let handshake = "/socket.io/?EIO=4&transport=polling";
    let deadline = Instant::now() + Duration::from_mins(1);
    while !join_all((0..16).map(|_| is_refused(&app)))
        .await
        .contains(&true)
    {
        assert!(Instant::now() < deadline, "the address is never refused");
    }
    assert!(app.metrics().await.refused("token_invalid") >= 400);
    // A client that is connected stays so.
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    is_served(&app, &kafka).await;
    eventually("the address is admitted again", async || {
        sleep(Duration::from_millis(500)).await;
        (status(&app, ONE, handshake).await == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a42_guessed_sessions_are_refused_and_an_address_that_goes_on_gets_429() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &MORE).await;
    // A client of the same address that is connected stays so.
    let mut client = Client::connect(Way::of(ONE, &app), &auth("u1", "o1", &[])).await;
    let guess =
        |number: usize| format!("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAA{number:04}");
    let mut statuses = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while statuses.iter().filter(|it| **it == 429).count() < 50 {
        assert!(Instant::now() < deadline, "{} guesses", statuses.len());
        let start = statuses.len();
        let guesses = (start..start + 50).map(guess);
        let targets: Vec<_> = guesses.collect();
        statuses.extend(join_all(targets.iter().map(|it| status(&app, ONE, it))).await);
    }
    assert!(
        statuses.iter().all(|it| [400, 429].contains(it)),
        "{statuses:?}"
    );
    let unknown = statuses.iter().filter(|it| **it == 400).count();
    assert!(unknown >= 500, "{unknown}");
    let counted = app.metrics().await.refused("bad_sid");
    assert_eq!(counted, u64::try_from(statuses.len()).unwrap());
    // Guesses need no token: who shares the address with their author still connects.
    let targets: Vec<_> = (0..200).map(guess).collect();
    let guesses = join_all(targets.iter().map(|it| status(&app, ONE, it)));
    let auth = auth("u2", "o1", &[]);
    tokio::join!(guesses, Client::connect(Way::of(ONE, &app), &auth));
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    is_served(&app, &kafka).await;
}

#[tokio::test]
async fn a75_a_storm_of_resumes_is_bounded_and_loses_nothing() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = [("MAX_CONNECTIONS_PER_USER", "4")];
    let app = TestApp::start_with(&kafka, &more).await;
    let first = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(first.cursor());
    first.cut();
    for number in 0..20 {
        let record = transmission("o1", "7", 0, number, "");
        kafka.produce("transmission", &record).await;
    }
    // One after another: none waits for the replay that it has asked for.
    let again = async || {
        let mut client = Client::open(app.public).await;
        client.send(&format!("40{resume}")).await;
        match client.packet().await {
            Some(Packet::Connect { .. }) => Some(client),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    };
    let storm = async {
        let mut admitted = 0;
        for _ in 0..15 {
            if let Some(client) = again().await {
                admitted += 1;
                client.cut();
                app.empty().await;
            } else {
                break;
            }
        }
        admitted
    };
    let admitted = storm.await;
    assert!((12..15).contains(&admitted), "{admitted}");
    let metrics = app.metrics().await;
    assert_eq!(metrics.refused("replay_rate"), 1);
    // Another user resumes, and this one gets all of it a little later.
    let mut neighbour = auth("u2", "o1", &["channel:7"]);
    neighbour["cursor"] = resume["cursor"].clone();
    for resume in [neighbour, resume.clone()] {
        let mut client = eventually("it resumes", async || {
            let mut client = Client::open(app.public).await;
            client.send(&format!("40{resume}")).await;
            let packet = client.packet().await;
            matches!(packet, Some(Packet::Connect { .. })).then_some(client)
        })
        .await;
        client.expect("connection_established").await;
        for number in 0..20 {
            let event = client.expect("transmission_started").await;
            assert_eq!(event.args[0]["data"]["n"], number);
        }
    }
}
