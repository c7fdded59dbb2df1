//! Two namespaces on one WebSocket are two connections.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Kafka, TestApp, Way, auth, record, transmission};

/// Events of both namespaces until each has had `incident_created` of its organisation.
async fn until_both_ends(client: &mut Client) -> Vec<Event> {
    let mut events = Vec::new();
    let mut ends = 0;
    while ends < 2 {
        let event = client.record().await;
        ends += usize::from(event.name == "incident_created");
        events.push(event);
    }
    events
}

fn of<'a>(events: &'a [Event], namespace: &str) -> Vec<(&'a str, &'a Value)> {
    let own = events.iter().filter(|event| event.namespace == namespace);
    own.map(|event| (event.name.as_str(), &event.args[0]["data"]["n"]))
        .collect()
}

#[tokio::test]
async fn a_second_namespace_has_rooms_and_a_cursor_of_its_own() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let way = Way {
        path: "/ws/socket.io/",
        ..app.public.into()
    };
    let mut client = Client::connect(way, &auth("u1", "o1", &["channel:7"])).await;
    let other = client.enter("/ws", &auth("u2", "o2", &["channel:8"])).await;
    assert_eq!(
        client.welcome["rooms"],
        json!(["org:o1", "user:u1:org:o1", "channel:7:org:o1"])
    );
    assert_eq!(
        other["rooms"],
        json!(["org:o2", "user:u2:org:o2", "channel:8:org:o2"])
    );
    assert_ne!(other["connection_id"], client.welcome["connection_id"]);
    let answer = client
        .command_in("/ws", "subscribe", &json!({ "room": "channel:9" }))
        .await;
    assert_eq!(
        answer["data"]["rooms"].as_array().unwrap().len(),
        4,
        "{answer}"
    );
    let answer = client.command("rooms", &json!({})).await;
    assert_eq!(
        answer["data"]["rooms"].as_array().unwrap().len(),
        3,
        "{answer}"
    );

    let produce = async |first: u64| {
        for organisation in ["o1", "o2"] {
            for (channel, number) in [("7", first), ("8", first + 1), ("9", first + 2)] {
                let value = transmission(organisation, channel, 0, number, "");
                kafka.produce("transmission", value).await;
            }
            let end = record("incident_created", organisation, &json!({ "n": first }));
            kafka.produce("transmission", end).await;
        }
    };
    let started = "transmission_started";
    let ended = "incident_created";
    produce(0).await;
    let events = until_both_ends(&mut client).await;
    assert_eq!(of(&events, "/"), [(started, &json!(0)), (ended, &json!(0))]);
    assert_eq!(
        of(&events, "/ws"),
        [
            (started, &json!(1)),
            (started, &json!(2)),
            (ended, &json!(0))
        ]
    );
    let cursors = [client.cursor_in("/"), client.cursor_in("/ws")];
    let metrics = app.metrics().await;
    for namespace in ["/", "/ws"] {
        let series =
            format!("fleetcast_connections{{transport=\"websocket\",namespace=\"{namespace}\"}}");
        assert_eq!(metrics.value(&series), 1);
    }

    // One of the two leaves, the other goes on.
    client.send("41/ws,").await;
    produce(10).await;
    while client.expect_in("/").await.name != ended {}
    client.cut();

    // Each goes on from where it was.
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(cursors[0]);
    let mut client = Client::connect(app.public, &resume).await;
    let mut resume = auth("u2", "o2", &["channel:8"]);
    resume["cursor"] = json!(cursors[1]);
    assert_eq!(client.enter("/ws", &resume).await["resume"], "resumed");
    let events = until_both_ends(&mut client).await;
    assert_eq!(
        of(&events, "/"),
        [(started, &json!(10)), (ended, &json!(10))]
    );
    assert_eq!(
        of(&events, "/ws"),
        [(started, &json!(11)), (ended, &json!(10))]
    );
    client.cut();
    app.empty().await;
}

#[tokio::test]
async fn other_namespaces_do_not_exist() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let refused = client.try_enter("/admin", &auth("u1", "o1", &[])).await;
    assert_eq!(refused.err().as_deref(), Some("Invalid namespace"));
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
}
