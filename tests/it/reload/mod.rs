//! SIGHUP: routes, policy, origins and keys change while clients are connected; a bad file changes nothing.

mod policy;
mod routes;

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

const DISPATCH: &str = include_str!("../../../profiles/dispatch.toml");

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
    eventually("the reload is logged", async || {
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
async fn a_secret_in_the_file_is_replaced_and_no_client_is_disconnected() {
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
async fn settings_that_need_a_restart_are_named_until_then() {
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
