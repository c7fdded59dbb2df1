//! A second transport, in memory, that uses nothing but this module: what every transport may rely on.

mod memory;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleetcast_core::domain::claims::{ClaimRules, Claims};
use fleetcast_core::domain::envelope::Envelope;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::policy::{KindPolicy, Policy};
use fleetcast_core::domain::protocol::{CloseReason, ResyncReason};
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::{HubSettings, NAMED_PARTITIONS};
use secrecy::SecretString;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::receipts::CountOnly;
use super::{
    ConnectRequest, LogSource, Resumption, Rules, Session, SessionLimits, SessionParts, Sessions,
    SharedHub,
};
use crate::auth::{AuthSettings, Grant, KeySources, Verifier, mint};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;
use crate::telemetry::labels::RejectReason;
use memory::{Client, LABELS, MemoryTransport, Received};

const TOPIC: &str = "incident";

/// The log as the brokers know it: nothing beyond what the hub was fed.
#[derive(Default)]
struct TestLog {
    asked: AtomicUsize,
}

impl LogSource for TestLog {
    fn refreshed(&self, _: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(true))
    }

    fn end(&self, _: u32, _: u64) -> Option<i64> {
        Some(0)
    }
}

fn auth() -> AuthSettings {
    AuthSettings {
        keys: KeySources {
            secrets: vec![SecretString::from("fleetcast-tests-only-3kYbqzT0pW9sVn5x")],
            ..KeySources::default()
        },
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
        max_lifetime: None,
        allow_query_token: false,
    }
}

/// `dispatcher` may join every channel, `field_unit` those of its claim `channels`.
fn policy(kinds: &[&str]) -> Arc<Policy> {
    let kind = || KindPolicy {
        any: ["dispatcher".to_owned()].into(),
        listed: [("field_unit".to_owned(), "channels".to_owned())].into(),
    };
    let kinds = kinds.iter().map(|name| ((*name).to_owned(), kind()));
    Arc::new(Policy::build(kinds.collect::<BTreeMap<_, _>>()).expect("a good policy"))
}

/// A session that is not connected to anything, for tests of what a transport makes of events.
pub(crate) fn session_of(claims: &Value, envelope: Envelope) -> Arc<Session> {
    let ready = Arc::new(AtomicBool::new(true));
    let lifecycle = Lifecycle::new();
    let sessions = sessions_with(envelope, usize::MAX, &ready, Arc::default(), &lifecycle);
    let claims = claims.as_object().expect("claims are an object");
    let claims = Claims::from_json(claims, &ClaimRules::default()).expect("good claims");
    Arc::new(Session::new(sessions, claims))
}

fn sessions_with(
    envelope: Envelope,
    max_connections: usize,
    ready: &Arc<AtomicBool>,
    log: Arc<TestLog>,
    lifecycle: &Lifecycle,
) -> Arc<Sessions> {
    let policy = policy(&["channel"]);
    let verifier = Verifier::open(&auth()).expect("a good secret");
    verifier.set_claim_rules(ClaimRules {
        default_organisation: None,
        listed: policy.claims().map(str::to_owned).collect(),
    });
    let ready = ready.clone();
    let metrics = Metrics::new();
    metrics.declare_connections(&[LABELS]);
    Sessions::new(SessionParts {
        hub: SharedHub::new(HubSettings {
            window_ms: 60_000,
            window_bytes: 1_000_000,
            latest_bytes: 1_000_000,
            named_partitions: NAMED_PARTITIONS,
        }),
        verifier: Arc::new(verifier),
        log,
        readiness: Arc::new(move || {
            let ready = ready.load(Ordering::Relaxed);
            if ready {
                Ok(())
            } else {
                Err(RejectReason::Draining)
            }
        }),
        rules: Rules { policy, envelope },
        limits: SessionLimits {
            max_connections,
            max_rooms: 200,
        },
        receipts: Arc::new(CountOnly),
        metrics,
        lifecycle: lifecycle.clone(),
    })
}

/// A server with one partition and its driver.
struct TestServer {
    sessions: Arc<Sessions>,
    feed: mpsc::Sender<Vec<Feed>>,
    log: Arc<TestLog>,
    ready: Arc<AtomicBool>,
    lifecycle: Lifecycle,
    published: std::ops::RangeFrom<i64>,
}

impl TestServer {
    async fn start(max_connections: usize) -> Self {
        let lifecycle = Lifecycle::new();
        let (log, ready) = (Arc::<TestLog>::default(), Arc::new(AtomicBool::new(true)));
        let envelope = Envelope::default();
        let sessions = sessions_with(envelope, max_connections, &ready, log.clone(), &lifecycle);
        let (feed, fed) = mpsc::channel(16);
        let (hub, stop) = (sessions.hub().clone(), lifecycle.stopping());
        lifecycle.spawn("hub", async move {
            hub.drive(fed, Box::new(|_, _| {}), stop).await;
        });
        let server = Self {
            sessions,
            feed,
            log,
            ready,
            lifecycle,
            published: 0..,
        };
        let partition = Feed::Partition {
            index: 0,
            topic: TOPIC.into(),
            number: 0,
            topic_id: None,
            start: 0,
        };
        server.apply(vec![partition, server.end()]).await;
        server.sessions.hub().with(|hub, _| hub.loaded());
        server
    }

    /// Everything that was published has been read.
    fn end(&self) -> Feed {
        Feed::End {
            partition: 0,
            next: self.published.start,
            asked: clock::wall_ms(),
        }
    }

    async fn apply(&self, batch: Vec<Feed>) {
        self.feed.send(batch).await.expect("the driver runs");
        // The driver has taken it out and applied it once there is nothing to wait for.
        while self.feed.capacity() < self.feed.max_capacity() {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// Publishes `count` events to the organisation `o1`; each says its number.
    async fn publish(&mut self, count: usize) {
        let numbers: Vec<i64> = self.published.by_ref().take(count).collect();
        let mut batch: Vec<_> = numbers.into_iter().map(publication).collect();
        batch.push(self.end());
        self.apply(batch).await;
    }

    async fn connect(&self, request: ConnectRequest) -> (Client, Resumption) {
        self.try_connect(request).await.expect("admitted")
    }

    async fn try_connect(
        &self,
        request: ConnectRequest,
    ) -> Result<(Client, Resumption), RejectReason> {
        MemoryTransport::connect(&self.sessions, request, usize::MAX).await
    }

    fn open_connections(&self) -> String {
        let text = self.sessions.metrics().render();
        let name = r#"fleetcast_connections{transport="memory",namespace="-"} "#;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("declared").to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.lifecycle.kill();
    }
}

fn publication(number: i64) -> Feed {
    let organisation = Id::parse("o1").expect("an id");
    Feed::Publication {
        partition: 0,
        publication: Publication {
            topic: TOPIC.into(),
            partition: 0,
            offset: number,
            timestamp: None,
            key: None,
            event: "incident_created".into(),
            rooms: vec![Room::organisation(&organisation)],
            organisation,
            class: Class::Event,
            latest_of: None,
            ack: false,
            payload: to_raw_value(&number).expect("a number"),
        },
    }
}

/// A token of user `u1` of `o1`, valid for a minute.
fn token(grant: Grant) -> ConnectRequest {
    let grant = Grant {
        user: "u1".to_owned(),
        organisation: "o1".to_owned(),
        ..grant
    };
    let token = mint(&auth(), &grant, clock::wall_ms() / 1000, 60).expect("a good grant");
    ConnectRequest {
        token: Some(SecretString::from(token)),
        cursor: None,
        rooms: None,
    }
}

fn anybody() -> ConnectRequest {
    token(Grant::default())
}

fn with_cursor(cursor: Option<&String>) -> ConnectRequest {
    ConnectRequest {
        cursor: cursor.cloned(),
        ..anybody()
    }
}

/// The numbers of the published events among these.
fn numbers(received: &[Received]) -> Vec<i64> {
    let published = received.iter().filter(|it| it.event == "incident_created");
    published.filter_map(|it| it.body.as_i64()).collect()
}

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
async fn a_slow_transport_is_sent_everything_once_it_takes_more() {
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

#[tokio::test]
async fn a_session_is_closed_by_reason_and_by_expiry() {
    let server = TestServer::start(10).await;
    let (kicked, _) = server.connect(anybody()).await;
    let (expiring, _) = server.connect(anybody()).await;
    kicked.session.close(CloseReason::Kicked);
    assert_eq!(kicked.close_reason(), Some(CloseReason::Kicked));
    let now = clock::wall_ms() / 1000;
    server.sessions.close_expired(now + 58);
    assert_eq!(expiring.close_reason(), None);
    server.sessions.close_expired(now + 61);
    assert_eq!(expiring.close_reason(), Some(CloseReason::TokenExpired));
    assert_eq!(
        kicked.close_reason(),
        Some(CloseReason::Kicked),
        "the first reason stays"
    );
    kicked.end();
    expiring.end();
    let text = server.sessions.metrics().render();
    for reason in ["kicked", "token_expired"] {
        let line = format!("fleetcast_disconnects_total{{reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn sessions_are_found_by_connection_user_and_organisation_until_they_end() {
    let server = TestServer::start(10).await;
    let id = |text| Id::parse(text).expect("an id");
    let of = |user: &str, organisation: &str| {
        let grant = Grant {
            user: user.to_owned(),
            organisation: organisation.to_owned(),
            ..Grant::default()
        };
        let token = mint(&auth(), &grant, clock::wall_ms() / 1000, 60).expect("a good grant");
        ConnectRequest {
            token: Some(SecretString::from(token)),
            cursor: None,
            rooms: None,
        }
    };
    let mut clients = Vec::new();
    for (user, organisation) in [("u1", "o1"), ("u1", "o1"), ("u2", "o1"), ("u1", "o2")] {
        clients.push(server.connect(of(user, organisation)).await.0);
    }
    let open = server.sessions.open();
    let counts = || {
        let users = [("o1", "u1"), ("o1", "u2"), ("o2", "u1"), ("o2", "u2")];
        let users = users.map(|(org, user)| open.of_user(&id(org), &id(user)).len());
        let organisations = ["o1", "o2", "o3"].map(|org| open.of_organisation(&id(org)).len());
        (users, organisations)
    };
    assert_eq!(counts(), ([2, 1, 1, 0], [3, 1, 0]));
    let connection_id = clients[3].session.connection_id().to_owned();
    let found = open.by_connection_id(&connection_id).expect("it is open");
    found.close(CloseReason::Kicked);
    assert_eq!(clients[3].close_reason(), Some(CloseReason::Kicked));
    for session in open.of_user(&id("o1"), &id("u1")) {
        session.close(CloseReason::Dismissed);
    }
    let reasons: Vec<_> = clients.iter().map(Client::close_reason).collect();
    let dismissed = Some(CloseReason::Dismissed);
    assert_eq!(
        reasons,
        [dismissed, dismissed, None, Some(CloseReason::Kicked)]
    );
    for (client, left) in clients.into_iter().zip([3, 2, 1, 0]) {
        client.end();
        assert_eq!(open.len(), left);
    }
    assert_eq!(counts(), ([0; 4], [0; 3]));
    assert!(open.by_connection_id(&connection_id).is_none());
}

#[tokio::test]
async fn a_new_policy_revokes_rooms_in_the_connections_own_feed() {
    let server = TestServer::start(10).await;
    let dispatcher = Grant {
        roles: vec!["dispatcher".to_owned()],
        ..Grant::default()
    };
    let request = ConnectRequest {
        rooms: Some(json!(["channel:7"])),
        ..token(dispatcher)
    };
    let (client, _) = server.connect(request).await;
    client.receive(1).await;
    let rules = Rules {
        policy: policy(&["asset"]),
        envelope: Envelope::Plain,
    };
    let revoked = server.sessions.set_rules(rules).await;
    assert_eq!((revoked.connections, revoked.rooms), (1, 1));
    let told = &client.receive(2).await[1];
    assert_eq!(told.event, "room_revoked");
    // The envelope changes together with the policy.
    assert_eq!(told.body["rooms"], json!(["channel:7:org:o1"]));
    assert!(told.body["timestamp"].is_string());
}

#[tokio::test]
async fn draining_closes_every_session() {
    let server = TestServer::start(10).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(server.connect(anybody()).await.0);
    }
    let hurry = server.lifecycle.killed();
    server
        .sessions
        .drain(Duration::from_millis(20), &hurry)
        .await;
    for client in &clients {
        assert_eq!(client.close_reason(), Some(CloseReason::Draining));
    }
}

#[tokio::test]
async fn a_command_is_carried_out_and_its_error_has_the_envelope_of_the_profile() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let room = RawValue::from_string(r#"{"room": "channel:7"}"#.to_owned()).expect("JSON");
    let super::Reply::Now(answer) = client.session.execute("subscribe", Some(&room)) else {
        panic!("it is answered at once");
    };
    let failure = answer.failure().expect("forbidden");
    let event = client.session.error_event(failure, "subscribe");
    let body: Value = serde_json::from_str(event.body.expect("a body").get()).expect("JSON");
    assert_eq!(
        (event.name, &body["data"]["about"]),
        ("error", &json!("subscribe"))
    );
}
