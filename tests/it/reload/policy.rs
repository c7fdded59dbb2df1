//! A policy that changes: rooms that it takes away, and those that it leaves.

use super::*;

#[tokio::test]
async fn the_client_command_shows_revoked_rooms_with_every_filter() {
    let kafka = Kafka::mock(&[("transmission", 1), ("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let url = format!("http://{}", app.public);
    let token = dispatcher("u1", "o1");
    let arguments = [
        "client",
        "--url",
        &url,
        "--token",
        &token,
        "--room",
        "channel:7",
        "--event",
        "incident_updated",
        "--count",
        "1",
        "--for",
        "20s",
    ]
    .map(str::to_owned);
    let taking = async {
        eventually("the client is there", async || {
            (app.metrics().await.sum("fleetcast_commands_total") > 0).then_some(())
        })
        .await;
        files.profile(&without_channels());
        reload(&app, "applied").await;
        kafka.produce("incident", incident(1)).await;
    };
    let (output, ()) = tokio::join!(run_beside(&arguments, &[]), taking);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("!! room revoked: channel:7:org:o1 (policy)"),
        "{text}"
    );
    assert!(text.contains("end: 1 events"), "{text}");
}

#[tokio::test]
async fn rooms_that_the_new_policy_forbids_are_revoked_and_all_others_are_kept() {
    let kafka = Kafka::mock(&[("transmission", 1), ("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let rooms = ["channel:7", "incident:5", "channel:8"];
    let mut dispatcher = Client::connect(app.public, &auth("u1", "o1", &rooms)).await;
    let claims = json!({ "sub": "u2", "organization_id": "o1", "roles": ["admin"] });
    let by_admin = json!({ "token": token(claims), "rooms": rooms });
    let mut admin = Client::connect(app.public, &by_admin).await;
    kafka
        .produce("transmission", transmission("o1", "7", 0, 0, ""))
        .await;
    for client in [&mut dispatcher, &mut admin] {
        client.expect("transmission_started").await;
    }

    files.profile(&without_channels());
    let told = reload(&app, "applied").await;
    assert_eq!(told["revoked_connections"], 1, "{told}");
    assert_eq!(told["revoked_rooms"], 2, "{told}");
    let event = dispatcher.expect("room_revoked").await;
    let data = &event.args[0]["data"];
    assert_eq!(
        data["rooms"],
        json!(["channel:7:org:o1", "channel:8:org:o1"])
    );
    assert_eq!(
        (&data["reason"], &data["code"]),
        (&json!("policy"), &json!(701))
    );
    assert!(event.cursor().is_some(), "{event:?}");

    kafka
        .produce("transmission", transmission("o1", "7", 0, 1, ""))
        .await;
    admin.expect("transmission_started").await;
    kafka.produce("incident", incident(1)).await;
    dispatcher.expect("incident_updated").await;
    admin.expect("incident_updated").await;
    let answer = dispatcher
        .command("subscribe", &json!({ "room": "channel:7" }))
        .await;
    assert_eq!(answer["error"]["reason"], "forbidden", "{answer}");
    let answer = dispatcher.command("rooms", &json!({})).await;
    assert!(!answer.to_string().contains("channel"), "{answer}");

    // A client that reconnects with the rooms of before does not get them either, and not what was in the window.
    let mut back = auth("u1", "o1", &rooms);
    back["cursor"] = json!(dispatcher.cursor());
    dispatcher.cut();
    let mut dispatcher = Client::open(app.public).await;
    dispatcher.send(&format!("40{back}")).await;
    let (mut welcome, mut error) = (Value::Null, Value::Null);
    while welcome.is_null() || error.is_null() {
        let event = dispatcher.event().await;
        match event.name.as_str() {
            "connection_established" => welcome = event.args[0]["data"].clone(),
            "error" => error = event.args[0]["data"].clone(),
            _ => panic!("neither was in the window for it: {event:?}"),
        }
    }
    assert_eq!(welcome["resume"], "resumed");
    let held = json!(["org:o1", "user:u1:org:o1", "incident:5:org:o1"]);
    assert_eq!(welcome["rooms"], held);
    assert_eq!(error["reason"], "forbidden");

    files.profile(DISPATCH);
    let told = reload(&app, "applied").await;
    assert_eq!(told["revoked_rooms"], 0, "{told}");
    dispatcher.subscribe("channel:7").await;
    drop((dispatcher, admin));
    app.empty().await;
}

/// The profile without any room of assets, or with them.
fn assets(allowed: bool) -> String {
    let asset = "[policy.asset]\nany = [\"admin\", \"supervisor\", \"dispatcher\"]";
    assert!(DISPATCH.contains(asset));
    if allowed {
        return DISPATCH.to_owned();
    }
    DISPATCH.replace(asset, "[policy.asset]\nany = [\"admin\"]")
}

#[tokio::test]
async fn a_policy_changes_under_traffic_and_rooms_that_stay_allowed_miss_nothing() {
    const ROUNDS: usize = 8;
    const RECORDS: usize = ROUNDS * 400;
    let kafka = Kafka::mock(&[("transmission", 2)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let by = auth("u1", "o1", &["channel:7", "asset:9"]);
    let mut client = Client::connect(app.public, &by).await;
    let mut stream = Stream::new(&kafka, 2, 100);
    let produce = async {
        for _ in 0..RECORDS / 100 {
            stream.produce(&kafka, 100).await;
        }
    };
    let swap = async {
        for round in 0..ROUNDS {
            files.profile(&assets(round % 2 == 1));
            reload(&app, "applied").await;
        }
    };
    let read = async {
        let mut tally = Tally::default();
        let mut revoked = 0;
        while tally.count < RECORDS || revoked == 0 {
            let event = client.event().await;
            assert_ne!(event.name, "resync_required");
            tally.note(&event);
            if event.name == "room_revoked" {
                assert_eq!(event.args[0]["data"]["rooms"], json!(["asset:9:org:o1"]));
                revoked += 1;
            }
        }
        revoked
    };
    let all = async { tokio::join!(produce, swap, read) };
    let ((), (), revoked) = timeout(SOON * 2, all).await.expect("all of it comes");
    assert_eq!(revoked, 1, "no client joined it again");
    let delivered = "fleetcast_deliveries_total{event=\"transmission_started\"}";
    assert_eq!(app.metrics().await.value(delivered), RECORDS as u64);
}

/// Connected, with or without the rooms that were asked for.
async fn welcomed(address: SocketAddr, by: &Value) -> Client {
    let mut client = Client::open(address).await;
    client.send(&format!("40{by}")).await;
    while client.event().await.name != "connection_established" {}
    client
}

#[tokio::test]
async fn a_client_that_joins_while_the_policy_changes_holds_nothing_that_it_forbids() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let comers = (0..30).map(|number| {
        let by = auth(&format!("u{number}"), "o1", &[]);
        let address = app.public;
        async move {
            let mut client = Client::connect(address, &by).await;
            // Joins and leaves as fast as it is answered, and in the end holds what it may.
            for _ in 0..40 {
                client
                    .command("subscribe", &json!({ "room": "asset:9" }))
                    .await;
                client
                    .command("unsubscribe", &json!({ "room": "asset:9" }))
                    .await;
                client
                    .command("subscribe", &json!({ "room": "asset:9" }))
                    .await;
            }
            client
        }
    });
    let swap = async {
        for allowed in [false, true].into_iter().cycle() {
            files.profile(&assets(allowed));
            reload(&app, "applied").await;
        }
    };
    // Others ask for it in CONNECT, again and again.
    let returning = (30..40).map(|number| {
        let by = auth(&format!("u{number}"), "o1", &["asset:9"]);
        let address = app.public;
        async move {
            for _ in 0..12 {
                welcomed(address, &by).await.cut();
            }
            welcomed(address, &by).await
        }
    });
    let clients = async { tokio::join!(join_all(comers), join_all(returning)) };
    let clients = tokio::select! {
        clients = clients => clients,
        () = swap => unreachable!("it never ends"),
    };
    files.profile(&assets(false));
    reload(&app, "applied").await;
    eventually("those that were cut are gone", async || {
        let stats = app.get("/stats").await.json();
        assert!(stats["rooms"].get("asset:*").is_none(), "{stats}");
        (stats["connections"] == 40).then_some(())
    })
    .await;
    drop(clients);
    app.empty().await;
}

#[tokio::test]
async fn a_reload_changes_the_claims_that_list_ids_and_the_envelope() {
    let kafka = Kafka::mock(&[]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let claims = json!({
        "sub": "u1", "organization_id": "o1", "roles": ["field_unit"], "channels": ["7"], "projects": ["9"],
    });
    let auth = json!({ "token": token(claims), "rooms": ["channel:7"] });
    let mut early = Client::connect(app.public, &auth).await;
    let room = |id: &str| json!({ "room": format!("channel:{id}") });
    let answer = early.command("subscribe", &room("9")).await;
    assert_eq!(answer["error"]["reason"], "forbidden", "{answer}");

    let channels = "field_unit = \"channels\"";
    assert!(DISPATCH.contains(channels));
    let changed = DISPATCH.replace(channels, "field_unit = \"projects\"");
    files.profile(&format!("envelope = \"plain\"\n{changed}"));
    reload(&app, "applied").await;
    // Its token was read for the claims of the profile before: it has no projects.
    let event = early.expect("room_revoked").await;
    assert_eq!(event.args[0]["rooms"], json!(["channel:7:org:o1"]));
    assert!(event.args[0]["timestamp"].is_string(), "{event:?}");
    let mut late = Client::connect(app.public, &auth).await;
    let answer = late.command("subscribe", &room("9")).await;
    assert_eq!(answer["success"], true, "{answer}");
    let answer = late.command("subscribe", &room("7")).await;
    assert_eq!(answer["error"]["reason"], "forbidden", "{answer}");
}
