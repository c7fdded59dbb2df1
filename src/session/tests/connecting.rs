//! How a client of any transport connects, resumes, and is sent events.

use super::*;

#[tokio::test]
async fn a_token_connects_and_the_welcome_is_first() {
    let mut server = TestServer::start(10).await;
    let (client, resumption) = server.connect(anybody()).await;
    assert_eq!(resumption, Resumption::Fresh);
    let welcome = &client.receive(1).await[0];
    assert_eq!(welcome.event, "connection_established");
    let data = &welcome.body["data"];
    assert_eq!(data["resume"], "fresh");
    assert_eq!(data["connection_id"], client.session.connection_id());
    assert_eq!(data["rooms"], json!(["org:o1", "user:u1:org:o1"]));
    assert!(welcome.body["timestamp"].is_string());
    server.publish(3).await;
    let received = client.receive(4).await;
    assert_eq!(numbers(&received), [0, 1, 2]);
    assert!(received.iter().all(|event| event.cursor.is_some()));
    assert_eq!(server.open_connections(), "1");
    client.end();
    assert_eq!(server.open_connections(), "0");
    let text = server.sessions.metrics().render();
    assert!(
        text.contains(r#"fleetcast_connects_total{transport="memory"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"fleetcast_disconnects_total{reason="client_left"} 1"#));
}

#[tokio::test]
async fn a_cursor_resumes_and_nothing_is_lost_or_sent_twice() {
    let mut server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    server.publish(2).await;
    let cursor = client.receive(3).await[2].cursor.clone();
    client.end();
    server.publish(3).await;
    let (client, resumption) = server.connect(with_cursor(cursor.as_ref())).await;
    assert_eq!(resumption, Resumption::Resumed);
    server.publish(1).await;
    let received = client.receive(5).await;
    assert_eq!(received[0].body["data"]["resume"], "resumed");
    assert_eq!(numbers(&received), [2, 3, 4, 5]);
    let text = server.sessions.metrics().render();
    assert!(
        text.contains(r#"fleetcast_resumes_total{outcome="resumed"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_is_a_resync_before_any_event() {
    let mut server = TestServer::start(10).await;
    let (client, resumption) = server
        .connect(with_cursor(Some(&"nonsense".to_owned())))
        .await;
    assert_eq!(resumption, Resumption::Resync(ResyncReason::CursorInvalid));
    server.publish(1).await;
    let received = client.receive(3).await;
    let events: Vec<_> = received.iter().map(|it| it.event.as_str()).collect();
    let expected = [
        "connection_established",
        "resync_required",
        "incident_created",
    ];
    assert_eq!(events, expected);
    assert_eq!(
        server.log.asked.load(Ordering::Relaxed),
        0,
        "nothing to look up"
    );
    let text = server.sessions.metrics().render();
    assert!(
        text.contains(r#"fleetcast_resumes_total{outcome="bad_cursor"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn partitions_that_are_unknown_here_are_looked_up_once() {
    let (cursor, empty, log) = cursor_and_empty_instance().await;
    let request = with_cursor(cursor.as_ref());
    let connected = MemoryTransport::connect(&empty, request, usize::MAX).await;
    let (_, resumption) = connected.expect("admitted");
    let expected = Resumption::Resync(ResyncReason::TopicRecreated);
    assert_eq!(resumption, expected, "still unknown after the look-up");
    assert_eq!(log.asked.load(Ordering::Relaxed), 1);
    let most = Duration::from_secs(1);
    assert_eq!(
        *log.at_most.lock().unwrap(),
        Some(most),
        "a client waits no longer"
    );
}

#[tokio::test]
async fn rooms_are_judged_by_the_rules_that_are_in_force_after_a_look_up() {
    let (cursor, empty, log) = cursor_and_empty_instance().await;
    let reloaded = empty.clone();
    *log.meanwhile.lock().unwrap() = Some(Box::new(move || {
        list_channels_by("projects", &reloaded);
    }));
    let request = ConnectRequest {
        cursor,
        ..unit_listed_in("projects")
    };
    let connected = MemoryTransport::connect(&empty, request, usize::MAX).await;
    let (client, _) = connected.expect("admitted");
    let rooms = empty.hub().with(|hub, _| {
        let key = client.session.key().expect("connected");
        hub.rooms(key)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    });
    assert_eq!(rooms, ["org:o1", "user:u1:org:o1", "channel:7:org:o1"]);
}

#[tokio::test]
async fn a_client_that_is_ahead_of_the_end_of_a_log_gets_a_resync() {
    let mut server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    server.publish(3).await;
    let cursor = client.receive(4).await[3].cursor.clone();
    // The same partition, and nothing in it.
    let other = TestServer::start(10).await;
    let (client, resumption) = other.connect(with_cursor(cursor.as_ref())).await;
    assert_eq!(resumption, Resumption::Resumed);
    let received = client.receive(2).await;
    let resync = received.last().expect("two events");
    assert_eq!(resync.event, "resync_required");
    assert_eq!(resync.body["data"]["reason"], "log_truncated");
}

#[tokio::test]
async fn a_slow_transport_gets_everything_once_it_has_capacity() {
    let mut server = TestServer::start(10).await;
    let connected = MemoryTransport::connect(&server.sessions, anybody(), 3).await;
    let (client, _) = connected.expect("admitted");
    server.publish(200).await;
    client.blocked().await;
    assert_eq!(client.receive(3).await.len(), 3);
    for _ in 0..4 {
        client.take_more(10);
        tokio::task::yield_now().await;
    }
    client.take_more(1000);
    let received = client.receive(201).await;
    assert_eq!(numbers(&received), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn rooms_of_the_handshake_are_joined_by_policy_and_the_others_are_reported() {
    let server = TestServer::start(10).await;
    let field_unit = Grant {
        roles: vec!["field_unit".to_owned()],
        ids: [("channels".to_owned(), vec!["7".to_owned()])].into(),
        ..Grant::default()
    };
    let request = ConnectRequest {
        rooms: Some(json!(["channel:7", "channel:8", 5])),
        ..token(field_unit)
    };
    let (client, _) = server.connect(request).await;
    let received = client.receive(3).await;
    let rooms = json!(["org:o1", "user:u1:org:o1", "channel:7:org:o1"]);
    assert_eq!(received[0].body["data"]["rooms"], rooms);
    let errors: Vec<(&Value, &Value)> = received[1..]
        .iter()
        .map(|it| (&it.body["data"]["about"], &it.body["data"]["reason"]))
        .collect();
    let expected = [
        (&json!("channel:8"), &json!("forbidden")),
        (&json!("5"), &json!("bad_request")),
    ];
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn rejections_are_final_or_temporary_and_counted() {
    let server = TestServer::start(1).await;
    let none = ConnectRequest {
        token: None,
        ..anybody()
    };
    let missing = server.try_connect(none).await.err().expect("no token");
    assert_eq!(
        (missing.refusal().is_some(), missing),
        (true, RejectReason::TokenMissing)
    );
    server.ready.store(false, Ordering::Relaxed);
    let draining = server.try_connect(anybody()).await.err().expect("draining");
    assert_eq!(
        (draining.refusal(), draining.close_reason()),
        (None, CloseReason::Draining)
    );
    server.ready.store(true, Ordering::Relaxed);
    let (_client, _) = server.connect(anybody()).await;
    assert_eq!(server.sessions.admitted(), 1);
    let full = server
        .try_connect(anybody())
        .await
        .err()
        .expect("one is the most");
    assert_eq!((full.refusal(), full), (None, RejectReason::MaxConnections));
    let text = server.sessions.metrics().render();
    for reason in ["token_missing", "draining", "max_connections"] {
        let line = format!("fleetcast_refused_total{{reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line} is missing in:\n{text}");
    }
}
