//! Rooms that a back-end has the connections of a user join and leave, on whatever instance they are.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{counted, instance, messages};
use crate::api::{ask, assert_problem};
use crate::harness::{Client, Event, Kafka, Redis, TestApp, auth, eventually, token, transmission};

const ANN: &str = "ann";

async fn kafka() -> Kafka {
    Kafka::mock(&[("incident", 1), ("transmission", 1)]).await
}

/// May join one channel.
fn unit(rooms: &[&str]) -> Value {
    let claims = json!({
        "sub": ANN, "organization_id": "o1", "roles": ["field_unit"], "channels": ["7"],
    });
    json!({ "token": token(claims), "rooms": rooms })
}

async fn operate(app: &TestApp, join: &[&str], leave: &[&str]) -> Value {
    let body = json!({ "organization_id": "o1", "join": join, "leave": leave });
    let answer = ask(app, "POST", "/api/users/ann/rooms", Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The instances know of each other's.
async fn listed(app: &TestApp, count: usize) {
    eventually("all are listed", async || {
        let target = "/api/connections?organization_id=o1&user_id=ann";
        let answer = ask(app, "GET", target, None).await.json();
        (answer["connections"].as_array()?.len() == count).then_some(())
    })
    .await;
}

async fn transmit(kafka: &Kafka, channel: &str, n: u64) {
    let record = transmission("o1", channel, 0, n, "");
    kafka.produce("transmission", record).await;
}

fn is_joined(event: &Event, rooms: &[&str]) {
    let data = json!({ "rooms": rooms, "reason": "joined", "code": 802 });
    assert_eq!(event.args[0]["data"], data);
    assert!(event.cursor().is_some(), "{event:?}");
}

fn is_taken_out(event: &Event, rooms: &[&str]) {
    let data = json!({ "rooms": rooms, "reason": "taken_out", "code": 704 });
    assert_eq!(event.args[0]["data"], data);
    assert!(event.cursor().is_some(), "{event:?}");
}

/// Without the organisation's and the user's own.
async fn rooms(client: &mut Client) -> Vec<Value> {
    let answer = client.command("rooms", &json!({})).await;
    answer["data"]["rooms"].as_array().unwrap()[2..].to_vec()
}

#[tokio::test]
async fn connections_join_on_every_instance_what_they_may_and_leave_it() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut here = Client::connect(first.public, &unit(&[])).await;
    let mut there = Client::connect(second.public, &unit(&[])).await;
    let mut desk = Client::connect(second.public, &auth(ANN, "o1", &[])).await;
    let mut namesake = Client::connect(second.public, &auth(ANN, "o2", &[])).await;
    let mut bob = Client::connect(first.public, &auth("bob", "o1", &["channel:8"])).await;
    listed(&first, 3).await;

    let answer = operate(&first, &["channel:7", "channel:8"], &[]).await;
    let expected = json!({
        "connections": 3, "joined": 1, "left": 0, "refused": 1, "scope": "fleet",
    });
    assert_eq!(answer, expected);
    for unit in [&mut here, &mut there] {
        is_joined(&unit.expect("room_granted").await, &["channel:7:org:o1"]);
    }
    let both = ["channel:7:org:o1", "channel:8:org:o1"];
    is_joined(&desk.expect("room_granted").await, &both);
    // What is held is no change, and no client hears of it.
    let answer = operate(&first, &["channel:7"], &[]).await;
    assert_eq!(
        (&answer["joined"], &answer["refused"]),
        (&json!(0), &json!(0))
    );
    counted(&second, "applied", 2).await;
    transmit(&kafka, "8", 0).await;
    transmit(&kafka, "7", 1).await;
    for (client, expected) in [
        (&mut here, &[1][..]),
        (&mut there, &[1]),
        (&mut desk, &[0, 1]),
    ] {
        for n in expected {
            let event = client.expect("transmission_started").await;
            assert_eq!(event.args[0]["data"]["n"], *n);
        }
    }

    let answer = operate(&second, &[], &["channel:7", "incident:5"]).await;
    assert_eq!(
        (&answer["left"], &answer["scope"]),
        (&json!(2), &json!("fleet"))
    );
    for client in [&mut here, &mut there, &mut desk] {
        is_taken_out(&client.expect("room_revoked").await, &["channel:7:org:o1"]);
    }
    transmit(&kafka, "7", 2).await;
    transmit(&kafka, "8", 3).await;
    let event = desk.expect("transmission_started").await;
    assert_eq!(event.args[0]["data"]["n"], 3);
    for client in [&mut here, &mut there, &mut namesake] {
        assert_eq!(rooms(client).await, [] as [Value; 0]);
    }
    // Its instance has read as far, too. Of channel 7 he was sent nothing.
    for n in [0, 3] {
        let event = bob.expect("transmission_started").await;
        assert_eq!(event.args[0]["data"]["n"], n);
    }
    // Its policy allows the room as before.
    here.subscribe("channel:7").await;
    transmit(&kafka, "7", 4).await;
    let event = here.expect("transmission_started").await;
    assert_eq!(event.args[0]["data"]["n"], 4);

    for (join, leave) in [
        (json!([]), json!(["org:o1"])),
        (json!([]), json!(["user:ann"])),
        (json!(["user:ann"]), json!([])),
        (json!(["channel:7"]), json!(["channel:7"])),
        (json!(["channel:7:org:o2"]), json!([])),
        (json!(["nothing:7"]), json!([])),
        (json!([]), json!([])),
    ] {
        let body = json!({ "organization_id": "o1", "join": join, "leave": leave });
        let answer = ask(&first, "POST", "/api/users/ann/rooms", Some(&body)).await;
        assert_problem(&answer, 400, "bad_request");
    }
}

/// What a client knows of is what its next connection asks for.
#[tokio::test]
async fn a_joined_room_is_resumed_and_one_that_was_left_only_if_it_is_asked_for() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut ann = Client::connect(second.public, &unit(&[])).await;
    operate(&first, &["channel:7"], &[]).await;
    is_joined(&ann.expect("room_granted").await, &["channel:7:org:o1"]);
    let cursor = ann.cursor();
    ann.cut();
    transmit(&kafka, "7", 0).await;
    let mut resume = unit(&["channel:7:org:o1"]);
    resume["cursor"] = json!(cursor);
    let mut ann = Client::connect(first.public, &resume).await;
    assert_eq!(ann.welcome["resume"], "resumed");
    let event = ann.expect("transmission_started").await;
    assert_eq!(event.args[0]["data"]["n"], 0);

    operate(&second, &[], &["channel:7"]).await;
    is_taken_out(&ann.expect("room_revoked").await, &["channel:7:org:o1"]);
    let cursor = ann.cursor();
    ann.cut();
    transmit(&kafka, "7", 1).await;
    for (asked, held) in [(&[][..], 0), (&["channel:7"], 1)] {
        let mut resume = unit(asked);
        resume["cursor"] = json!(cursor);
        let mut ann = Client::connect(second.public, &resume).await;
        assert_eq!(ann.welcome["resume"], "resumed");
        assert_eq!(rooms(&mut ann).await.len(), held, "{asked:?}");
    }
}

/// Records come all the while: from the one behind the notice on each arrives once, up to the notice that the room is left.
#[tokio::test]
async fn nothing_is_lost_or_doubled_where_a_room_is_joined() {
    const COUNT: u64 = 400;
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut ann = Client::connect(second.public, &unit(&[])).await;
    let producing = async {
        for n in 0..COUNT {
            transmit(&kafka, "7", n).await;
        }
    };
    let operating = async {
        for _ in 0..10 {
            operate(&first, &["channel:7"], &[]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            operate(&first, &[], &["channel:7"]).await;
        }
        operate(&first, &["channel:7"], &[]).await;
    };
    tokio::join!(producing, operating);
    // The last one, however fast either was.
    transmit(&kafka, "7", COUNT).await;
    let (mut joined, mut last) = (false, None);
    while last != Some(COUNT) {
        let event = ann.record().await;
        match event.name.as_str() {
            "room_granted" | "room_revoked" => {
                joined = event.name == "room_granted";
                // What came while the room was not held is not sent.
                last = None;
            }
            "transmission_started" => {
                let n = event.args[0]["data"]["n"].as_u64().unwrap();
                assert!(joined, "{n} without the room");
                assert!(last.is_none_or(|last| n == last + 1), "{n} after {last:?}");
                last = Some(n);
            }
            other => panic!("{other}: {event:?}"),
        }
    }
}

#[tokio::test]
async fn a88_while_redis_is_away_connections_here_join_and_leave() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut here = Client::connect(first.public, &unit(&[])).await;
    let mut there = Client::connect(second.public, &unit(&[])).await;
    redis.kill();
    first.wait_for_status("degraded").await;
    let answer = operate(&first, &["channel:7"], &[]).await;
    let expected = json!({
        "connections": 1, "joined": 1, "left": 0, "refused": 0, "scope": "instance",
    });
    assert_eq!(answer, expected);
    is_joined(&here.expect("room_granted").await, &["channel:7:org:o1"]);
    assert_eq!(rooms(&mut there).await, [] as [Value; 0]);
}

/// A program that may publish in Redis makes no client join a room, not even what its user may join.
#[tokio::test]
async fn h2_a_forged_join_is_counted_and_joins_nothing() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut heard = redis.listen().await;
    let mut heard = heard.on_message();
    operate(&first, &["channel:7"], &[]).await;
    let recorded = loop {
        let message = heard.next().await.unwrap();
        if message.get_channel_name() == "fleetcast:control" {
            break message.get_payload_bytes().to_vec();
        }
    };
    counted(&second, "applied", 1).await;
    let mut ann = Client::connect(second.public, &auth(ANN, "o1", &[])).await;
    let mut bob = Client::connect(second.public, &auth("bob", "o1", &[])).await;
    let replaced = |from: &[u8], to: &[u8]| {
        let mut forged = recorded.clone();
        let mut places = forged.windows(from.len());
        let at = places.position(|part| part == from).unwrap();
        forged[at..at + to.len()].copy_from_slice(to);
        forged
    };
    for forged in [
        replaced(b"ann", b"bob"),
        replaced(b"channel:7", b"channel:8"),
    ] {
        redis.publish("fleetcast:control", &forged).await;
    }
    counted(&second, "bad_signature", 2).await;
    redis.publish("fleetcast:control", &recorded).await;
    counted(&second, "repeated", 1).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(rooms(client).await, [] as [Value; 0]);
    }
    assert_eq!(messages(&second, "applied").await, 1);
}
