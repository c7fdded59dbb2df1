//! Rooms that a back-end has connections join and leave: what their clients could not do, it cannot either.

use fleetcast_core::domain::room_operation::{RoomChanges, RoomOperation};

use super::*;

async fn operate(server: &TestServer, join: &[&str], leave: &[&str]) -> (usize, RoomChanges) {
    let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
    let operation = RoomOperation::new(organisation, user, join, leave).expect("good names");
    server.sessions.operate(&operation).await
}

/// Name, reason and rooms of all that the client was told about rooms.
async fn told(server: &TestServer, client: &SessionClient) -> Vec<Value> {
    server.apply(Vec::new()).await;
    let received = client.received().into_iter();
    let notices = received.filter(|it| it.event.starts_with("room_"));
    let notices = notices.map(|it| {
        assert!(it.cursor.is_some(), "{it:?}");
        let data = &it.body["data"];
        json!([it.event, data["reason"], data["rooms"]])
    });
    notices.collect()
}

#[tokio::test]
async fn each_connection_joins_what_it_may_and_leaves_what_it_holds() {
    let server = TestServer::start(10).await;
    let (desk, _) = server
        .connect(with_role("dispatcher", &["channel:1"]))
        .await;
    let (unit, _) = server.connect(with_role("field_unit", &[])).await;
    let (connections, changes) =
        operate(&server, &["channel:2", "channel:*"], &["channel:1"]).await;
    assert_eq!(connections, 2);
    let expected = RoomChanges {
        joined: 2,
        left: 1,
        refused: 2,
    };
    assert_eq!(changes, expected);
    assert_eq!(rooms(&desk), ["channel:2:org:o1", "channel:*:org:o1"]);
    assert_eq!(rooms(&unit), [] as [String; 0]);
    assert_eq!(
        told(&server, &desk).await,
        [
            json!(["room_revoked", "taken_out", ["channel:1:org:o1"]]),
            json!([
                "room_granted",
                "joined",
                ["channel:2:org:o1", "channel:*:org:o1"]
            ]),
        ]
    );
    assert_eq!(told(&server, &unit).await, [] as [Value; 0]);
    // Once more: no change, and no word of it.
    let (_, changes) = operate(&server, &["channel:2"], &["channel:1"]).await;
    assert_eq!((changes.joined, changes.left), (0, 0));
    assert_eq!(told(&server, &desk).await.len(), 2);
}

#[tokio::test]
async fn a_grant_permits_what_a_back_end_asks_for_too() {
    let server = TestServer::start(10).await;
    let (unit, _) = server.connect(with_role("field_unit", &[])).await;
    let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
    let granted =
        fleetcast_core::domain::grants::GrantedRoom::new(&organisation, &user, "channel:7");
    server
        .sessions
        .grant(&granted.expect("it can be granted"), 0);
    let (_, changes) = operate(&server, &["channel:7"], &[]).await;
    assert_eq!((changes.joined, changes.refused), (1, 0));
    assert_eq!(rooms(&unit), ["channel:7:org:o1"]);
}

/// As by `subscribe`; what is left makes space.
#[tokio::test]
async fn no_connection_joins_more_rooms_than_it_may_hold() {
    let server = TestServer::start(10).await;
    let names: Vec<String> = (0..199).map(|nth| format!("channel:{nth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (desk, _) = server.connect(with_role("dispatcher", &names)).await;
    let (_, changes) = operate(&server, &["channel:a", "channel:b"], &[]).await;
    assert_eq!((changes.joined, changes.refused), (1, 1));
    assert_eq!(rooms(&desk).len(), 200);
    let (_, changes) = operate(&server, &["channel:b", "channel:c"], &["channel:0"]).await;
    assert_eq!((changes.joined, changes.left, changes.refused), (1, 1, 1));
    assert_eq!(rooms(&desk).len(), 200);
}
