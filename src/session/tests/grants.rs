//! Grants: at whatever moment one is applied, its user may join the room from then on, and hears of it.

use fleetcast_core::domain::grants::GrantedRoom;

use super::*;
use crate::session::{GrantSource, Reply};

/// The topic: it can be read or not, and something happens while a client waits for it.
#[derive(Default)]
struct TestGrants {
    unreadable: AtomicBool,
    asked: AtomicUsize,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl TestGrants {
    fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(act));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl GrantSource for TestGrants {
    fn read_to_end(&self, _: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(act) = self.meanwhile.lock().unwrap().take() {
            act();
        }
        let readable = !self.unreadable.load(Ordering::Relaxed);
        Box::pin(std::future::ready(readable))
    }
}

async fn start() -> (TestServer, Arc<TestGrants>) {
    let (server, grants) = (TestServer::start(10).await, Arc::<TestGrants>::default());
    server.sessions.follow_grants(grants.clone());
    (server, grants)
}

/// Of the user `u1` of `o1`, as all tokens here are.
fn granted(room: &str) -> GrantedRoom {
    let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
    GrantedRoom::new(&organisation, &user, room).expect("it can be granted")
}

fn asking(rooms: &[&str]) -> ConnectRequest {
    ConnectRequest {
        rooms: Some(json!(rooms)),
        ..anybody()
    }
}

fn dispatcher(rooms: &[&str]) -> ConnectRequest {
    with_role("dispatcher", rooms)
}

async fn subscribe(client: &SessionClient, room: &str) -> Value {
    let payload = to_raw_value(&json!({ "room": room })).expect("JSON");
    let answer = match client.session.execute("subscribe", Some(&payload)) {
        Reply::Now(answer) => answer,
        Reply::Pending(answer) => answer.await,
        Reply::Later(_) => panic!("nothing of it is kept"),
    };
    serde_json::to_value(answer).expect("JSON")
}

/// The rooms of each event of this name.
async fn notices(server: &TestServer, client: &SessionClient, event: &str) -> Vec<Value> {
    server.apply(Vec::new()).await;
    let received = client.received().into_iter();
    let those = received.filter(|it| it.event == event);
    those.map(|it| it.body["data"]["rooms"].clone()).collect()
}

#[tokio::test]
async fn h8_what_no_grant_can_permit_waits_for_none() {
    let (server, grants) = start().await;
    grants.unreadable.store(true, Ordering::Relaxed);
    let never = [
        "channel:7:org:o2",
        "org:o2",
        "user:other",
        "user:*",
        "channel:*",
    ];
    let (client, _) = server.connect(asking(&never)).await;
    assert_eq!(client.receive(6).await.len(), 6, "each is reported");
    for room in never {
        let answer = subscribe(&client, room).await;
        assert_eq!(answer["error"]["reason"], "forbidden", "{room}");
    }
    assert_eq!(grants.asked(), 0);
    let answer = subscribe(&client, "channel:7").await;
    assert_eq!(answer["error"]["reason"], "internal");
    let refused = server.try_connect(asking(&["channel:7"])).await.map(drop);
    assert_eq!(refused, Err(RejectReason::GrantsPending));
    assert_eq!(grants.asked(), 2);
}

/// It was written elsewhere, and is applied here while the client waits.
#[tokio::test]
async fn h8_a_room_that_is_granted_while_its_client_waits_is_joined() {
    let (server, grants) = start().await;
    let sessions = server.sessions.clone();
    grants.meanwhile(move || {
        sessions.grant(&granted("channel:7"), 0);
    });
    let (client, _) = server.connect(asking(&["channel:7", "channel:8"])).await;
    assert_eq!(rooms(&client), ["channel:7:org:o1"]);
    let sessions = server.sessions.clone();
    grants.meanwhile(move || {
        sessions.grant(&granted("channel:8"), 0);
    });
    let answer = subscribe(&client, "channel:8").await;
    assert_eq!(answer["success"], true, "{answer}");
}

#[tokio::test]
async fn h8_granted_between_the_token_and_the_connection_it_is_joined_or_announced() {
    let (server, _) = start().await;
    let grant = || {
        for room in ["channel:7", "channel:8"] {
            server.sessions.grant(&granted(room), 0);
        }
    };
    let request = asking(&["channel:9", "channel:7"]);
    let connecting = MemoryTransport::connect_slowly(&server.sessions, request, usize::MAX, grant);
    let (client, _) = connecting.await.expect("admitted");
    assert_eq!(rooms(&client), ["channel:7:org:o1"]);
    let received = client.receive(3).await;
    let told: Vec<_> = received.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(told, ["connection_established", "error", "room_granted"]);
    assert_eq!(received[1].body["data"]["about"], "channel:9");
    assert_eq!(
        received[2].body["data"]["rooms"],
        json!(["channel:8:org:o1"])
    );
}

/// Nothing else would tell the client: it leaves out what was revoked until a notice names it.
#[tokio::test]
async fn h8_granted_while_its_client_is_away_it_is_announced_at_the_next_connection() {
    let (mut server, _) = start().await;
    server.sessions.grant(&granted("channel:7"), 0);
    let (client, _) = server.connect(asking(&["channel:7"])).await;
    server.sessions.withdraw(&granted("channel:7"), 0);
    let revoked = notices(&server, &client, "room_revoked").await;
    assert_eq!(revoked, [json!(["channel:7:org:o1"])]);
    server.publish(1).await;
    let cursor = client.receive(3).await[2].cursor.clone();
    client.end();
    server.sessions.grant(&granted("channel:7"), 0);
    let (client, resumption) = server.connect(with_cursor(cursor.as_ref())).await;
    assert_eq!(resumption, Resumption::Resumed);
    let offered = notices(&server, &client, "room_granted").await;
    assert_eq!(offered, [json!(["channel:7:org:o1"])]);
    // Neither those who hold it nor those whose token permits it.
    for request in [asking(&["channel:7"]), dispatcher(&[])] {
        let (other, _) = server.connect(request).await;
        assert_eq!(
            notices(&server, &other, "room_granted").await,
            [] as [Value; 0]
        );
    }
}

#[tokio::test]
async fn s4_06_a_grant_is_announced_where_the_token_does_not_permit_it() {
    let (server, _) = start().await;
    let (desk, _) = server.connect(dispatcher(&["channel:7"])).await;
    let (unit, _) = server.connect(anybody()).await;
    server.sessions.grant(&granted("channel:7"), 0);
    assert_eq!(notices(&server, &unit, "room_granted").await.len(), 1);
    assert_eq!(notices(&server, &desk, "room_granted").await.len(), 0);
    server.sessions.withdraw(&granted("channel:7"), 0);
    assert_eq!(rooms(&desk), ["channel:7:org:o1"]);
    assert_eq!(notices(&server, &desk, "room_revoked").await.len(), 0);
}

/// The policy in force needs claims that were not read when the wait began.
/// As [`Sessions::may_join`] is asked about tokens that publish.
#[tokio::test]
async fn h5_a_grant_counts_for_a_token_of_its_user_and_organisation_alone() {
    let (server, _) = start().await;
    let room = granted("channel:7");
    let (client, _) = server.connect(anybody()).await;
    let may_join = |claims: &Claims| server.sessions.may_join(claims, room.room());
    let own = client.session.claims();
    let changed = |change: fn(&mut Claims)| {
        let mut claims = Claims::clone(&own);
        change(&mut claims);
        claims
    };
    let colleague = changed(|claims| claims.user = UserId::parse("u2").unwrap());
    let namesake = changed(|claims| claims.organisation = Id::parse("o2").unwrap());
    assert!(!may_join(&own));
    server.sessions.grant(&room, 0);
    assert_eq!(
        [&own, &colleague, &namesake].map(may_join),
        [true, false, false]
    );
    server.sessions.withdraw(&room, 0);
    assert!(!may_join(&own));
}

#[tokio::test]
async fn h8_claims_are_read_again_after_the_wait() {
    let (server, grants) = start().await;
    let reloaded = server.sessions.clone();
    grants.meanwhile(move || list_channels_by("projects", &reloaded));
    let (client, _) = server.connect(unit_listed_in("projects")).await;
    assert_eq!(rooms(&client), ["channel:7:org:o1"]);
}

/// The topic was lost and is there again, with nothing in it but one that is new.
#[tokio::test]
async fn s4_06_what_a_topic_does_not_say_once_more_is_withdrawn() {
    let (server, _) = start().await;
    for room in ["channel:7", "channel:8"] {
        server.sessions.grant(&granted(room), 0);
    }
    let (unit, _) = server.connect(asking(&["channel:7", "channel:8"])).await;
    let (desk, _) = server.connect(dispatcher(&["channel:7"])).await;
    server.sessions.repeat_grants(0);
    server.sessions.grant(&granted("channel:9"), 0);
    assert_eq!(server.sessions.grants(), 2, "they hold until it is read");
    assert_eq!(
        subscribe(&unit, "channel:9").await["error"]["reason"],
        "forbidden"
    );
    assert_eq!(server.sessions.grants_repeated(0), (1, 1));
    assert_eq!(server.sessions.grants(), 1);
    // Before anybody has left.
    server.sessions.grant(&granted("channel:8"), 0);
    let revoked = notices(&server, &unit, "room_revoked").await;
    assert_eq!(revoked, [json!(["channel:7:org:o1"])]);
    assert_eq!(rooms(&unit), ["channel:8:org:o1"]);
    assert_eq!(rooms(&desk), ["channel:7:org:o1"]);
    assert_eq!(subscribe(&unit, "channel:9").await["success"], true);
}

/// A granted room is not the policy's to take, nor another token's.
#[tokio::test]
async fn s4_06_a_granted_room_stays_with_new_rules() {
    let (server, _) = start().await;
    server.sessions.grant(&granted("channel:7"), 0);
    let (client, _) = server
        .connect(dispatcher(&["channel:7", "channel:8"]))
        .await;
    let before = server.sessions.rules();
    let rules = SessionRules {
        policy: policy(&["incident"]),
        envelope: before.envelope,
        publish: before.publish.clone(),
    };
    let revoked = server.sessions.set_rules(rules).await;
    assert_eq!((revoked.connections, revoked.rooms), (1, 1));
    assert_eq!(rooms(&client), ["channel:7:org:o1"]);
    server.sessions.withdraw(&granted("channel:7"), 0);
    assert_eq!(rooms(&client), [] as [String; 0]);
}
