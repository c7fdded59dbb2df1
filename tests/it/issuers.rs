//! Tokens as providers make them, shown to the built server: claims by path, roles by other names, user ids with any punctuation.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Kafka, TestApp, record, token};

/// A token as Keycloak makes it, signed with the secret of tests.
fn keycloak(user: &str, organisation: &str) -> Value {
    json!({ "token": token(json!({
        "sub": "not looked at", "email": user, "https://acme.example/org": organisation,
        "realm_access": { "roles": ["realm-dispatcher", "offline_access"] },
    })) })
}

/// The dispatch profile, with the role that this issuer knows, and tasks for those alone whom they are assigned to.
fn profile(directory: &tempfile::TempDir) -> String {
    const TASKS: &str = "\"task_updated\"]\nclass = \"event\"\nrooms = [\n";
    let path = directory.path().join("mine.toml");
    let built_in = include_str!("../../profiles/dispatch.toml");
    let everyone = format!("{TASKS}  {{ kind = \"org\" }},\n");
    assert!(built_in.contains(&everyone));
    let built_in = built_in.replace(&everyone, TASKS);
    let renamed = "\n[roles]\n\"realm-dispatcher\" = \"dispatcher\"\n";
    std::fs::write(&path, format!("{built_in}{renamed}")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn users_are_who_their_issuer_says_and_their_room_is_theirs_alone() {
    const ANN: &str = "auth0|5f7c:org:o2";
    let kafka = Kafka::mock(&[("task", 1)]).await;
    let directory = tempfile::tempdir().unwrap();
    let profile = profile(&directory);
    let settings = [
        ("FLEETCAST_PROFILE", profile.as_str()),
        ("JWT_CLAIM_USER", "email"),
        ("JWT_CLAIM_ORGANIZATION", "https://acme.example/org"),
        ("JWT_CLAIM_ROLES", "realm_access.roles"),
    ];
    let app = TestApp::start_with(&kafka, &settings).await;
    let mut ann = Client::connect(app.public, &keycloak(ANN, "o1")).await;
    let own = format!("user:{ANN}:org:o1");
    assert_eq!(ann.welcome["user_id"], ANN);
    assert_eq!(ann.welcome["rooms"], json!(["org:o1", own]));
    assert!(
        ann.welcome["roles"]
            .as_array()
            .unwrap()
            .contains(&json!("dispatcher"))
    );
    // The role permits channels; no other user's room does, however it is written.
    for (room, joined) in [
        ("channel:7", true),
        (own.as_str(), true),
        ("user:auth0|5f7c:org:o2", true),
        ("user:auth0|5f7c", false),
        ("user:bob@acme.example", false),
    ] {
        let answer = ann.command("subscribe", &json!({ "room": room })).await;
        assert_eq!(answer["success"], joined, "{room}: {answer}");
    }
    // A user of the other organisation, whose name and room look like hers.
    let mut other = Client::connect(app.public, &keycloak("auth0|5f7c", "o2")).await;
    for (organisation, user, number) in [
        ("o2", "auth0|5f7c", 1),
        ("o1", "bob@acme.example", 2),
        ("o1", ANN, 3),
        ("o1", "a\u{7}", 4),
        ("o1", ANN, 5),
        ("o2", "auth0|5f7c", 6),
        ("o1", ANN, 7),
    ] {
        let task = json!({ "task_id": number, "assigned_to": user });
        kafka
            .produce("task", record("task_assigned", organisation, &task))
            .await;
    }
    let number = |event: &Event| event.args[0]["data"]["task_id"].clone();
    for expected in [3, 5, 7] {
        assert_eq!(number(&ann.record().await), expected);
    }
    for expected in [1, 6] {
        assert_eq!(number(&other.record().await), expected);
    }
    let metrics = app.metrics().await;
    let refused = format!(
        "fleetcast_records_total{{topic=\"{}\",outcome=\"bad_id\"}}",
        kafka.topic("task")
    );
    assert_eq!(
        metrics.value(&refused),
        1,
        "a control character is in no name"
    );
}
