//! A second transport, in memory, that uses nothing but this module: what every transport may rely on.

mod asks;
mod closing;
mod connecting;
mod draining;
mod driving;
mod grants;
mod memory;
mod operating;
mod refreshing;
mod reporting;
mod revoking;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetcast_core::domain::claims::{ClaimPaths, ClaimRules, Claims};
use fleetcast_core::domain::envelope::EventEnvelope;
use fleetcast_core::domain::id::{Id, UserId};
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
    ConnectRequest, LogSource, Resumption, Session, SessionLimits, SessionParts, SessionRules,
    Sessions, SharedHub,
};
use crate::auth::{AuthSettings, Grant, IssuerSettings, KeySources, Verifier, mint};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::limits::{LimitSettings, Limits};
use crate::telemetry::Metrics;
use crate::telemetry::labels::RejectReason;
use memory::{LABELS, MemoryEvent, MemoryTransport, SessionClient};

const TOPIC: &str = "incident";

/// The log as the brokers know it: nothing beyond what the hub was fed.
#[derive(Default)]
struct TestLog {
    asked: AtomicUsize,
    /// How long the last one may have taken.
    at_most: Mutex<Option<Duration>>,
    /// Happens during the first look-up.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl LogSource for TestLog {
    fn refreshed(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.at_most.lock().unwrap() = Some(at_most);
        if let Some(act) = self.meanwhile.lock().unwrap().take() {
            act();
        }
        Box::pin(std::future::ready(true))
    }

    fn end(&self, _: u32, _: u64) -> Option<i64> {
        Some(0)
    }
}

fn auth() -> AuthSettings {
    AuthSettings {
        own: IssuerSettings {
            keys: KeySources {
                secrets: vec![SecretString::from("fleetcast-tests-only-3kYbqzT0pW9sVn5x")],
                ..KeySources::default()
            },
            ..IssuerSettings::default()
        },
        others: Vec::new(),
        shared_users: false,
        leeway: Duration::ZERO,
        max_lifetime: None,
        allow_query_token: false,
    }
}

/// `dispatcher` may join every channel, `field_unit` those of its claim `channels`.
fn policy(kinds: &[&str]) -> Arc<Policy> {
    policy_by(kinds, "channels")
}

fn policy_by(kinds: &[&str], claim: &str) -> Arc<Policy> {
    let kind = || KindPolicy {
        any: ["dispatcher".to_owned()].into(),
        listed: [("field_unit".to_owned(), claim.to_owned())].into(),
    };
    let kinds = kinds.iter().map(|name| ((*name).to_owned(), kind()));
    Arc::new(Policy::build(kinds.collect::<BTreeMap<_, _>>()).expect("a good policy"))
}

/// A session that is not connected to anything, for tests of what a transport makes of events.
pub(crate) fn session_of(claims: &Value, envelope: EventEnvelope) -> Arc<Session> {
    let ready = Arc::new(AtomicBool::new(true));
    let lifecycle = Lifecycle::new();
    let sessions = sessions_with(envelope, usize::MAX, &ready, Arc::default(), &lifecycle);
    let claims = claims.as_object().expect("claims are an object");
    let claims = Claims::from_json(claims, &ClaimPaths::default(), &ClaimRules::default())
        .expect("good claims");
    Arc::new(Session::new(sessions, claims, None))
}

fn sessions_with(
    envelope: EventEnvelope,
    max_connections: usize,
    ready: &Arc<AtomicBool>,
    log: Arc<TestLog>,
    lifecycle: &Lifecycle,
) -> Arc<Sessions> {
    let policy = policy(&["channel"]);
    let verifier = Verifier::open(&auth()).expect("a good secret");
    verifier.set_claim_rules(ClaimRules {
        listed: policy.claims().map(str::to_owned).collect(),
        ..ClaimRules::default()
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
        capacity: Arc::new(|| Ok(())),
        rules: SessionRules {
            policy,
            envelope,
            publish: Arc::default(),
        },
        limits: SessionLimits {
            max_connections,
            max_rooms: 200,
        },
        shared_limits: Arc::new(Limits::new(LimitSettings::default())),
        receipts: Arc::new(CountOnly),
        connections: None,
        organisations: None,
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
        let envelope = EventEnvelope::default();
        let sessions = sessions_with(envelope, max_connections, &ready, log.clone(), &lifecycle);
        let (feed, fed) = mpsc::channel(16);
        let (hub, stop) = (sessions.hub().clone(), lifecycle.stopping());
        lifecycle.spawn("hub", async move {
            hub.drive(fed, stop).await;
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

    async fn connect(&self, request: ConnectRequest) -> (SessionClient, Resumption) {
        self.try_connect(request).await.expect("admitted")
    }

    async fn try_connect(
        &self,
        request: ConnectRequest,
    ) -> Result<(SessionClient, Resumption), RejectReason> {
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

/// A token of user `u1` of `o1`, valid for ten minutes.
fn token(grant: Grant) -> ConnectRequest {
    let grant = Grant {
        user: "u1".to_owned(),
        organisation: "o1".to_owned(),
        ..grant
    };
    let token = mint(&auth(), &grant, clock::wall_ms() / 1000, 600).expect("a good grant");
    ConnectRequest {
        token: Some(SecretString::from(token)),
        cursor: None,
        rooms: None,
        slot: None,
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

/// A cursor of one instance, and another one that has to look up its partitions: it knows none.
async fn cursor_and_empty_instance() -> (Option<String>, Arc<Sessions>, Arc<TestLog>) {
    let mut server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    server.publish(1).await;
    let cursor = client.receive(2).await[1].cursor.clone();
    let (log, ready) = (Arc::<TestLog>::default(), Arc::new(AtomicBool::new(true)));
    let envelope = EventEnvelope::default();
    // Not the server's, which ends here.
    let lifecycle = Lifecycle::new();
    let empty = sessions_with(envelope, 10, &ready, log.clone(), &lifecycle);
    (cursor, empty, log)
}

/// A reload: another claim lists the channels of a unit.
fn list_channels_by(claim: &str, sessions: &Sessions) {
    let policy = policy_by(&["channel"], claim);
    sessions.verifier.set_claim_rules(ClaimRules {
        listed: policy.claims().map(str::to_owned).collect(),
        ..ClaimRules::default()
    });
    sessions.rules.store(Arc::new(SessionRules {
        policy,
        envelope: EventEnvelope::default(),
        publish: Arc::default(),
    }));
}

/// A unit whose token lists channel 7 in this claim, and that asks for it.
fn unit_listed_in(claim: &str) -> ConnectRequest {
    let unit = token(Grant {
        roles: vec!["field_unit".to_owned()],
        ids: [(claim.to_owned(), vec!["7".to_owned()])].into(),
        ..Grant::default()
    });
    ConnectRequest {
        rooms: Some(json!(["channel:7"])),
        ..unit
    }
}

/// The numbers of the published events among these.
fn numbers(received: &[MemoryEvent]) -> Vec<i64> {
    let published = received.iter().filter(|it| it.event == "incident_created");
    published.filter_map(|it| it.body.as_i64()).collect()
}

/// A connection with this role that wants these rooms.
fn with_role(role: &str, rooms: &[&str]) -> ConnectRequest {
    let roles = vec![role.to_owned()];
    ConnectRequest {
        rooms: Some(json!(rooms)),
        ..token(Grant {
            roles,
            ..Grant::default()
        })
    }
}

/// Without the organisation's and the user's own.
fn rooms(client: &SessionClient) -> Vec<String> {
    client.session.shared.hub.with(|hub, _| {
        let key = client.session.key().expect("connected");
        let rooms = hub.rooms(key).iter().skip(2);
        rooms.map(ToString::to_string).collect()
    })
}
