//! What an instance needs to be allowed, and TLS.

use std::path::Path;
use std::process::Command;

use fleetcast_core::domain::revocation::Revocation;
use serde_json::json;

use super::kept::{Hash, target};
use super::{counted, emit, heard_from, instance, kafka, next_typing};
use crate::api::ask;
use crate::harness::{Client, Redis, SECRET, TestApp, auth};

/// The line of docs/operations.md, as Redis reads it.
fn documented_acl() -> Vec<String> {
    let page = include_str!("../../../docs/operations.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER"));
    let words = line.expect("a line of the page").split(' ');
    words.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_instance_needs_no_more_than_the_documented_acl() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let mut connection = redis.connection().await;
    let words = documented_acl();
    let mut set_user = redis::cmd(&words[0]);
    set_user.arg(&words[1..]);
    set_user.query_async::<()>(&mut connection).await.unwrap();
    let url = redis.url_of("fleetcast:PASSWORD@");
    let settings = [("REDIS_URL", url.as_str())];
    let first = instance(&kafka, &redis, &settings).await;
    let second = instance(&kafka, &redis, &settings).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    heard_from(&first, "o1", "channel:7", &mut there).await;
    emit(&first, "o1", "channel:7", &json!({ "n": 1 })).await;
    assert_eq!(next_typing(&mut there).await["n"], 1);
    let body = json!({ "organization_id": "o1", "user_id": "bob" });
    let answer = ask(&first, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet", "{answer:?}");
    there.read_to_end().await;
    let hash = Hash::of(&redis, &[SECRET]).await;
    let ended = Revocation {
        issued_until: 90,
        until: Some(91),
    };
    hash.kept.widen(&[(target("cid"), ended)]).await.unwrap();
    assert_eq!(hash.all().await.len(), 2);
    // An instance that starts reads them, and removes what has ended.
    let third = instance(&kafka, &redis, &settings).await;
    assert_eq!(third.metrics().await.value("fleetcast_revocations"), 1);
    assert_eq!(hash.all().await.len(), 1);
    counted(&third, "bad_signature", 0).await;
    let mut refused = redis::cmd("ACL");
    refused.arg("LOG");
    let refused: Vec<redis::Value> = refused.query_async(&mut connection).await.unwrap();
    // Later ones have a command by which a client names itself. The page says what to add for them.
    let unexpected = |entry: &redis::Value| !format!("{entry:?}").contains("client|setinfo");
    assert!(!refused.iter().any(unexpected), "{refused:?}");
    for app in [&first, &second, &third] {
        let series = r#"fleetcast_redis_commands_total{outcome="refused"}"#;
        assert_eq!(app.metrics().await.value(series), 0);
    }
}

/// Whatever Redis is like, it keeps no instance from serving.
#[tokio::test]
async fn what_the_acl_lacks_is_named_and_is_no_reason_for_503() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let mut connection = redis.connection().await;
    let mut words = documented_acl();
    words.retain(|word| word != "+hscan");
    let mut set_user = redis::cmd(&words[0]);
    set_user.arg(&words[1..]);
    set_user.query_async::<()>(&mut connection).await.unwrap();
    let url = redis.url_of("fleetcast:PASSWORD@");
    let app = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
    let ready = app.wait_for_status("degraded").await;
    let why = ready["components"]["redis"].to_string();
    assert!(
        why.contains("cannot be read") && why.contains("hscan"),
        "{why}"
    );
    let mut ann = Client::connect(app.public, &auth("ann", "o1", &[])).await;
    ann.command("rooms", &json!({})).await;
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
    ));
    openssl(&format!(
        "req {key} -keyout redis.key -out redis.csr -subj /CN=redis"
    ));
    openssl(
        "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out redis.pem",
    );
}

#[tokio::test]
async fn rediss_verifies_the_certificate_by_the_authorities_of_ssl_cert_file() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let kafka = kafka().await;
    let redis = Redis::start_with_tls(folder.path()).await;
    let url = redis.url().replace("redis://", "rediss://");
    let authority = folder.path().join("ca.pem");
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
    ];
    let first = TestApp::start_with(&kafka, &settings).await;
    let second = TestApp::start_with(&kafka, &settings).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    heard_from(&first, "o1", "channel:7", &mut there).await;
    // By the system's authorities it is not good, and without TLS there is no answer.
    let plain = redis.url();
    for url in [&url, &plain] {
        let app = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
        let ready = app.wait_for_status("degraded").await;
        let why = ready["components"]["redis"].to_string();
        assert!(!why.contains("not connected yet"), "{why}");
        if url.starts_with("rediss") {
            assert!(why.to_lowercase().contains("certificate"), "{why}");
        }
    }
}
