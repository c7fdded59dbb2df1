//! A share of the connections is drained, as after a scale-out.

use std::process::Output;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ask, assert_problem};
use crate::harness::{Answer, Client, Kafka, Stream, Tally, TestApp, auth, eventually, request};
use crate::tools::{err, out, run_beside};

const ROOM: &[&str] = &["channel:7"];

async fn drain(app: &TestApp, query: &str) -> Answer {
    ask(app, "POST", &format!("/api/drain{query}"), None).await
}

async fn started(app: &TestApp, query: &str) -> Value {
    let answer = drain(app, query).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

async fn clients(app: &TestApp, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        let auth = auth(&format!("u{number}"), "o1", ROOM);
        clients.push(Client::connect(app.public, &auth).await);
    }
    clients
}

async fn open(app: &TestApp) -> usize {
    let page = ask(app, "GET", "/api/connections?limit=1000", None).await;
    page.json()["connections"].as_array().unwrap().len()
}

async fn rebalanced(app: &TestApp) -> u64 {
    let series = "fleetcast_disconnects_total{reason=\"rebalanced\"}";
    app.metrics().await.value(series)
}

/// The last line of the log with this text.
async fn line(app: &TestApp, text: &str) -> Value {
    eventually(text, async || {
        let log = app.log();
        let line = log.iter().rev().find(|line| line.contains(text))?;
        Some(serde_json::from_str(line).unwrap())
    })
    .await
}

const ENDED: &str = "the drain of a share of the connections has ended";

#[tokio::test]
async fn s4_25_half_of_forty_connections_are_closed_over_two_seconds_and_resume() {
    const SPREAD: Duration = Duration::from_secs(2);
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let all = clients(&app, 40).await;
    assert_eq!(open(&app).await, 40);

    let begin = Instant::now();
    let answer = started(&app, "?share=0.5&seconds=2").await;
    assert_eq!(answer, json!({ "connections": 20, "seconds": 2 }));
    assert!(begin.elapsed() < SPREAD / 2, "it answers at once");
    assert_problem(&drain(&app, "").await, 409, "drain_running");
    let line_at_start = line(&app, "draining a share of the connections").await;
    assert_eq!(
        (&line_at_start["connections"], &line_at_start["seconds"]),
        (&20.into(), &2.into())
    );

    // Each client, and when it was closed.
    let ended = Instant::now() + 2 * SPREAD;
    let outcomes = join_all(all.into_iter().map(|mut client| async move {
        let read = tokio::time::timeout_at(ended, client.read_to_end());
        let closed = read.await.is_ok().then(|| begin.elapsed());
        (client, closed)
    }));
    let ready = async {
        while Instant::now() < begin + SPREAD {
            let report = app.get("/ready").await;
            assert_eq!(
                (report.status, &report.json()["status"]),
                (200, &"ready".into())
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (outcomes, ()) = tokio::join!(outcomes, ready);
    let mut closed: Vec<_> = outcomes.iter().filter_map(|(_, closed)| *closed).collect();
    closed.sort_unstable();
    assert_eq!(closed.len(), 20);
    // A twentieth of the time apart, as far as a busy machine has it.
    for quarter in 0..4_u32 {
        let (from, to) = (SPREAD * quarter / 4, SPREAD * (quarter + 1) / 4);
        let count = closed.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((2..=8).contains(&count), "{from:?} to {to:?}: {closed:?}");
    }
    assert_eq!((open(&app).await, rebalanced(&app).await), (20, 20));
    let line_at_end = line(&app, ENDED).await;
    assert_eq!(
        (&line_at_end["closed"], &line_at_end["connections"]),
        (&20.into(), &20.into())
    );

    // They come back and get what they missed.
    let mut stream = Stream::new(&kafka, 1, 50);
    stream.produce(&kafka, 10).await;
    for (number, (client, closed)) in outcomes.iter().enumerate() {
        if closed.is_some() {
            let mut auth = auth(&format!("u{number}"), "o1", ROOM);
            auth["cursor"] = json!(client.cursor());
            let mut client = Client::connect(app.public, &auth).await;
            assert_eq!(client.welcome["resume"], "resumed");
            client.read_until(&mut Tally::default(), 10).await;
        }
    }
    // One has ended, so another may begin.
    started(&app, "?share=0.5&seconds=0").await;
}

#[tokio::test]
async fn s4_25_a_drain_is_refused_unless_share_and_seconds_are_good_numbers() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut clients = clients(&app, 4).await;
    for wrong in [
        "?share=",
        "?share",
        "?share=0",
        "?share=-0.5",
        "?share=-0",
        "?share=1.01",
        "?share=50",
        "?share=NaN",
        "?share=nan",
        "?share=inf",
        "?share=-inf",
        "?share=1e400",
        "?share=1e-400",
        "?share=abc",
        "?share=0,5",
        "?share=%00",
        "?share=%ff",
        "?share=0.5&share=0.5",
        "?seconds=",
        "?seconds=-1",
        "?seconds=3601",
        "?seconds=1.5",
        "?seconds=30s",
        "?seconds=NaN",
        "?seconds=18446744073709551616",
        "?share=1&seconds=abc",
        "?Share=0.5",
        "?share=0.5&second=1",
    ] {
        assert_problem(&drain(&app, wrong).await, 400, "bad_request");
    }
    // A body would be ignored, and the defaults taken.
    for body in [json!({ "share": 0.1 }), json!({})] {
        let answer = ask(&app, "POST", "/api/drain", Some(&body)).await;
        assert_problem(&answer, 400, "bad_request");
    }
    assert_problem(
        &ask(&app, "GET", "/api/drain", None).await,
        405,
        "bad_method",
    );
    let page = [("Origin", "http://evil.example")];
    let answer = request(app.internal, "POST", "/api/drain", &page, "").await;
    assert_problem(&answer.unwrap(), 403, "origin");
    let public = request(app.public, "POST", "/api/drain", &[], "").await;
    assert_eq!(public.unwrap().status, 404);
    for client in &mut clients {
        client.subscribe("channel:8").await;
    }

    // Half of them over 30 s, if nothing is said.
    let answer = started(&app, "").await;
    assert_eq!(answer, json!({ "connections": 2, "seconds": 30 }));
}

#[tokio::test]
async fn s4_25_a_transport_with_two_namespaces_is_drained_once_and_counted_as_two_connections() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut clients = clients(&app, 4).await;
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .enter("/ws", &auth(&format!("u{number}"), "o1", &[]))
            .await;
    }
    assert_eq!(open(&app).await, 8);
    let answer = started(&app, "?share=0.5&seconds=0").await;
    assert_eq!(answer, json!({ "connections": 4, "seconds": 0 }));
    eventually("half is left", async || {
        (open(&app).await == 4).then_some(())
    })
    .await;
    assert_eq!(line(&app, ENDED).await["closed"], 4);
    let ends = clients.iter_mut().map(|client| async {
        tokio::time::timeout(Duration::from_secs(1), client.read_to_end()).await
    });
    let ends = join_all(ends).await;
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 2);
    assert_eq!(rebalanced(&app).await, 4);
}

#[tokio::test]
async fn s4_25_a_stop_during_the_drain_of_a_share_closes_all_in_time() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let mut app = TestApp::start_with(&kafka, &[("DRAIN_SECONDS", "1")]).await;
    let clients = clients(&app, 10).await;
    started(&app, "?share=1&seconds=3600").await;
    eventually("the first is closed", async || {
        (open(&app).await == 9).then_some(())
    })
    .await;
    app.terminate();
    let begin = Instant::now();
    let status = eventually("it has ended", async || app.exited()).await;
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    for mut client in clients {
        client.read_to_end().await;
    }
    let log = app.stop();
    let ended = log.iter().find(|line| line.contains(ENDED)).unwrap();
    let ended: Value = serde_json::from_str(ended).unwrap();
    assert_eq!(
        (&ended["closed"], &ended["connections"]),
        (&1.into(), &10.into())
    );
}

#[tokio::test]
async fn s4_25_the_command_drains_the_running_server() {
    const TOKEN: &str = "kq3vN8xW0pZr5tYb-of-tests";
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &[("INTERNAL_TOKEN", TOKEN)]).await;
    let mut clients = clients(&app, 8).await;
    let (url, port) = (
        format!("http://{}", app.internal),
        app.internal.port().to_string(),
    );
    let command = async |arguments: &[&str], variables: &[(&str, &str)]| -> (Option<i32>, Output) {
        let mut all = vec!["drain".to_owned()];
        all.extend(arguments.iter().map(ToString::to_string));
        let output = run_beside(&all, variables).await;
        (output.status.code(), output)
    };
    let token = ("INTERNAL_TOKEN", TOKEN);
    for wrong in [
        ["--share", "0"],
        ["--share", "1.5"],
        ["--share", "nan"],
        ["--share", "1e400"],
        ["--seconds", "3601"],
        ["--seconds", "1.5"],
        ["--url", "ftp://127.0.0.1"],
    ] {
        let (code, output) = command(&wrong, &[token]).await;
        assert_eq!(code, Some(2), "{wrong:?}: {}", err(&output));
    }
    for (arguments, variables, expected) in [
        // Without the token, with another one, and where nothing listens.
        (&["--url", &url][..], &[][..], "401 Unauthorized: send"),
        (
            &["--url", &url],
            &[("INTERNAL_TOKEN", "another-token-of-tests")],
            "401 Unauthorized: this is not",
        ),
        (
            &["--url", "http://127.0.0.1:1"],
            &[token],
            "127.0.0.1:1 has begun no drain",
        ),
        (&[], &[token, ("INTERNAL_PORT", "0")], "--url"),
    ] {
        let (code, output) = command(arguments, variables).await;
        assert_eq!(code, Some(1), "{}", err(&output));
        assert!(err(&output).contains(expected), "{}", err(&output));
        assert!(!err(&output).contains(TOKEN));
    }
    assert_eq!(open_with(&app, TOKEN).await, 8);

    // Found by the settings, as they are in the server's own environment.
    let settings = [
        token,
        ("INTERNAL_PORT", &port),
        ("INTERNAL_HOST", "127.0.0.1"),
    ];
    let (code, output) = command(&["--share", "0.25", "--seconds", "3600"], &settings).await;
    assert_eq!(code, Some(0), "{}", err(&output));
    assert_eq!(
        out(&output),
        format!("{url} closes 2 connections over 3600 s\n")
    );
    let (code, output) = command(&["--url", &url], &[token]).await;
    assert_eq!(code, Some(1));
    assert!(
        err(&output).contains("409 Conflict: another drain"),
        "{}",
        err(&output)
    );
    let first = clients
        .iter_mut()
        .map(|client| Box::pin(client.read_to_end()));
    let ended = tokio::time::timeout(
        Duration::from_secs(10),
        futures_util::future::select_all(first),
    );
    assert!(ended.await.is_ok(), "the first is closed at once");
}

async fn open_with(app: &TestApp, token: &str) -> usize {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let page = request(app.internal, "GET", "/api/connections", &headers, "").await;
    page.unwrap().json()["connections"]
        .as_array()
        .unwrap()
        .len()
}
