//! SIGHUP: routes, policy, origins and keys change while clients are connected; a bad file changes nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{
    Client, Kafka, SECRET, SOON, Stream, Tally, TestApp, auth, dispatcher, eventually, handshake,
    record, token, transmission,
};
use crate::tools::run_beside;

const DISPATCH: &str = include_str!("../../profiles/dispatch.toml");

const OTHER_SECRET: &str = "fleetcast-tests-only-another-5xQ0m2Lr";

/// A settings file and a profile, which the test rewrites.
struct Files {
    directory: TempDir,
    settings: PathBuf,
    profile: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("fleetcast.toml");
        let profile = directory.path().join("profile.toml");
        let files = Self {
            directory,
            settings,
            profile,
        };
        files.settings("");
        files.profile(DISPATCH);
        files
    }

    /// The profile, the secret, and `more`, of which top-level keys come first.
    fn settings(&self, more: &str) {
        let profile = self.directory.path().join("profile.toml");
        let text = format!("profile = \"{}\"\n{more}\n", profile.display());
        std::fs::write(&self.settings, text).unwrap();
    }

    fn profile(&self, text: &str) {
        std::fs::write(&self.profile, text).unwrap();
    }

    async fn start(&self, kafka: &Kafka) -> TestApp {
        self.start_with(kafka, &[]).await
    }

    async fn start_with(&self, kafka: &Kafka, more: &[(&str, &str)]) -> TestApp {
        let path = self.settings.to_str().unwrap();
        let mut variables = vec![("FLEETCAST_CONFIG", path)];
        variables.extend_from_slice(more);
        TestApp::start_with(kafka, &variables).await
    }
}

/// Sends SIGHUP and waits until that has come to its end; the log line that tells of it.
async fn reload(app: &TestApp, outcome: &str) -> Value {
    let series = format!("fleetcast_reloads_total{{outcome=\"{outcome}\"}}");
    let before = app.metrics().await.value(&series);
    app.hangup();
    eventually("the reload is counted", async || {
        (app.metrics().await.value(&series) > before).then_some(())
    })
    .await;
    let text = match outcome {
        "applied" => "reloaded",
        _ => "cannot reload",
    };
    eventually("the reload is told", async || {
        let log = app.log();
        let line = log.iter().rfind(|line| line.contains(text))?;
        Some(serde_json::from_str(line).unwrap())
    })
    .await
}

/// Dispatchers may listen to channels no more.
fn without_channels() -> String {
    let channel = "[policy.channel]\nany = [\"admin\", \"supervisor\", \"dispatcher\"]";
    assert!(DISPATCH.contains(channel));
    DISPATCH.replace(
        channel,
        "[policy.channel]\nany = [\"admin\", \"supervisor\"]",
    )
}

fn incident(number: u64) -> Value {
    let data = json!({ "incident_id": "5", "n": number });
    record("incident_updated", "o1", &data)
}

#[tokio::test]
async fn the_client_in_a_terminal_tells_of_a_room_taken_away_whatever_it_shows() {
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
async fn rooms_that_the_new_policy_forbids_are_left_and_told_and_all_others_are_kept() {
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

    // Whoever comes back with the rooms of before does not get them either, and not what was in the window.
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
    assert_eq!(revoked, 1, "nobody joined it again");
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
async fn whoever_joins_while_the_policy_changes_holds_nothing_that_it_forbids() {
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
async fn a_hangup_while_the_server_drains_changes_nothing() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let files = Files::new();
    let app = files.start_with(&kafka, &[("DRAIN_SECONDS", "1")]).await;
    let clients = [
        Client::connect(app.public, &auth("u1", "o1", &[])).await,
        Client::connect(app.public, &auth("u2", "o1", &[])).await,
    ];
    app.terminate();
    eventually("it drains", async || {
        let log = app.log();
        log.iter()
            .any(|line| line.contains("SIGTERM"))
            .then_some(())
    })
    .await;
    app.hangup();
    for mut client in clients {
        client.read_to_end().await;
    }
    let log = app.stop();
    assert!(!log.iter().any(|line| line.contains("reload")), "{log:#?}");
}

#[tokio::test]
async fn routes_are_swapped_under_traffic_without_a_loss_or_a_double() {
    const ROUNDS: usize = 12;
    const BATCH: usize = 100;
    let kafka = Kafka::mock(&[("transmission", 3), ("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let mut client =
        Client::connect(app.public, &auth("u1", "o1", &["channel:7", "incident:5"])).await;
    let fire = json!({ "incident_id": "5" });
    let fire = record("fire_reported", "o1", &fire);
    kafka.produce("incident", &fire).await;
    let skipped = format!(
        "fleetcast_records_total{{topic=\"{}\",outcome=\"unknown_event\"}}",
        kafka.topic("incident")
    );
    eventually("the unknown event is skipped", async || {
        (app.metrics().await.value(&skipped) == 1).then_some(())
    })
    .await;

    let mut stream = Stream::new(&kafka, 3, 100);
    let produce = async {
        for _ in 0..ROUNDS * 4 {
            stream.produce(&kafka, BATCH).await;
        }
    };
    let swap = async {
        let with_alias = DISPATCH.replace(
            "\n[aliases]\n",
            "\n[aliases]\nfire_reported = \"incident_created\"\n",
        );
        for round in 0..ROUNDS {
            files.profile([DISPATCH, &with_alias][(round + 1) % 2]);
            reload(&app, "applied").await;
        }
        files.profile(&with_alias);
        reload(&app, "applied").await;
    };
    let read = async {
        let mut tally = Tally::default();
        client.read_until(&mut tally, ROUNDS * 4 * BATCH).await;
        tally
    };
    let ((), (), tally) = tokio::join!(produce, swap, read);
    assert_eq!(tally.count, stream.total());
    // What was unknown before is an event now; the one that came before stays skipped.
    kafka.produce("incident", &fire).await;
    client.expect("incident_created").await;
    kafka.produce("incident", incident(9)).await;
    client.expect("incident_updated").await;
    let metrics = app.metrics().await;
    let of_channel = metrics.value("fleetcast_deliveries_total{event=\"transmission_started\"}");
    assert_eq!(of_channel, (ROUNDS * 4 * BATCH) as u64);
    assert_eq!(metrics.value(&skipped), 1);
}

#[tokio::test]
async fn a_new_event_and_a_new_topic_of_a_reloaded_profile_are_there_without_a_restart() {
    let kafka = Kafka::mock(&[("incident", 1), ("weather", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    files.profile(
        &DISPATCH
            .replace(
                "\"incident_updated\",",
                "\"incident_updated\", \"incident_closed\",",
            )
            .replace("topics = [", "topics = [\n  [\"weather\"],"),
    );
    reload(&app, "applied").await;
    let closed = record("incident_closed", "o1", &json!({ "incident_id": "5" }));
    for (topic, count) in [("incident", 1), ("weather", 2)] {
        kafka.produce(topic, &closed).await;
        client.expect("incident_closed").await;
        let metrics = app.metrics().await;
        assert_eq!(
            metrics.value("fleetcast_deliveries_total{event=\"incident_closed\"}"),
            count
        );
    }
}

#[tokio::test]
async fn a_topic_that_is_taken_out_has_no_lag_any_more() {
    let kafka = Kafka::mock(&[("incident", 1), ("weather", 1)]).await;
    let files = Files::new();
    files.profile(&DISPATCH.replace("topics = [", "topics = [\n  [\"weather\"],"));
    let app = files.start(&kafka).await;
    let lag = |topic| {
        let topic = kafka.topic(topic);
        format!("fleetcast_kafka_lag{{topic=\"{topic}\",partition=\"0\"}} 0")
    };
    let shown = async || {
        let metrics = app.metrics().await.0;
        let described = metrics.matches("# TYPE fleetcast_kafka_lag gauge").count();
        assert!(described <= 1, "{metrics}");
        ["incident", "weather"].map(|topic| metrics.contains(&lag(topic)))
    };
    eventually("both are read", async || {
        (shown().await == [true, true]).then_some(())
    })
    .await;
    files.profile(DISPATCH);
    reload(&app, "applied").await;
    eventually("one is left", async || {
        (shown().await == [true, false]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn origins_change_and_open_connections_stay() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let origin = [("Origin", "https://app.example.com")];
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    assert_eq!(handshake(app.public, "websocket", &origin).await.0, 403);
    files.settings("cors_origins = [\"https://app.example.com\"]");
    reload(&app, "applied").await;
    assert_eq!(handshake(app.public, "websocket", &origin).await.0, 101);
    assert_eq!(handshake(app.public, "polling", &origin).await.0, 200);
    files.settings("");
    reload(&app, "applied").await;
    assert_eq!(handshake(app.public, "websocket", &origin).await.0, 403);
    kafka.produce("incident", incident(1)).await;
    client.expect("incident_updated").await;
}

#[tokio::test]
async fn a_secret_in_the_file_is_replaced_and_nobody_is_disconnected() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let files = Files::new();
    files.settings(&format!("[jwt]\nsecret = \"{OTHER_SECRET}\""));
    let app = files.start_with(&kafka, &[("JWT_SECRET", "")]).await;
    let by_test = auth("u1", "o1", &[]);
    let mut client = Client::open(app.public).await;
    let refused = client.try_enter("/", &by_test).await;
    assert_eq!(refused.unwrap_err(), "token_invalid");
    files.settings(&format!(
        "[jwt]\nsecret = \"{OTHER_SECRET}\"\nsecret_previous = \"{SECRET}\""
    ));
    reload(&app, "applied").await;
    let mut client = Client::connect(app.public, &by_test).await;
    files.settings(&format!("[jwt]\nsecret = \"{OTHER_SECRET}\""));
    let told = reload(&app, "applied").await;
    assert_eq!(told["needs_restart"], "", "{told}");
    let mut late = Client::open(app.public).await;
    let refused = late.try_enter("/", &by_test).await;
    assert_eq!(refused.unwrap_err(), "token_invalid");
    kafka.produce("incident", incident(1)).await;
    client.expect("incident_updated").await;
    let log = app.stop().join("\n");
    assert!(!log.contains(SECRET) && !log.contains(OTHER_SECRET));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_so() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let origin = [("Origin", "https://app.example.com")];
    let good_profile = without_channels();
    let bad_profile = DISPATCH.replace("class = \"latest\"", "class = \"newest\"");
    for (settings, profile, why) in [
        // Each is good but for one thing, and what is good in it must not be applied either.
        (
            "cors_origins = [\"https://app.example.com\"]",
            bad_profile.as_str(),
            "profile.toml:",
        ),
        (
            "cors_origins = [\"https://app.example.com\"]\nprot = 1",
            &good_profile,
            "fleetcast.toml:3: unknown setting prot: did you mean port?",
        ),
        (
            "cors_origins = [\"https://app.example.com\"]\nmax_rooms =",
            &good_profile,
            "fleetcast.toml:3: ",
        ),
        (
            "cors_origins = [\"https://app.example.com\"]\n[jwt]\nsecret_previous = \"short\"",
            &good_profile,
            "fleetcast.toml:4: cannot use jwt.secret_previous: it has 5 bytes",
        ),
    ] {
        files.settings(settings);
        files.profile(profile);
        let told = reload(&app, "refused").await;
        assert_eq!(told["level"], "ERROR");
        assert!(told["why"].to_string().contains(why), "{told}");
        assert_eq!(handshake(app.public, "websocket", &origin).await.0, 403);
        kafka
            .produce("transmission", transmission("o1", "7", 0, 0, ""))
            .await;
        client.expect("transmission_started").await;
    }
    assert_eq!(app.get("/ready").await.json()["status"], "ready");
    files.settings("");
    reload(&app, "applied").await;
    client.expect("room_revoked").await;
}

#[tokio::test]
async fn what_takes_a_restart_is_named_until_it_has_come() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let files = Files::new();
    let app = files.start(&kafka).await;
    // The environment wins over the file, so the prefix has not changed.
    files.settings("max_rooms = 7\nmax_event_bytes = 2000\n[kafka]\ntopic_prefix = \"x\"");
    for _ in 0..2 {
        let told = reload(&app, "applied").await;
        assert_eq!(
            told["needs_restart"], "MAX_EVENT_BYTES, MAX_ROOMS",
            "{told}"
        );
    }
    // In force is what was there at the start.
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let long = json!({ "incident_id": "5", "filler": "x".repeat(3000) });
    kafka
        .produce("incident", record("incident_updated", "o1", &long))
        .await;
    client.expect("incident_updated").await;
    files.settings("");
    assert_eq!(reload(&app, "applied").await["needs_restart"], "");
}
