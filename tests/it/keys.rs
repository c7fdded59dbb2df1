//! Keys that come from a key server or a file, as clients feel it: rotations, outages, a server that is away at the start.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast::clock;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::ask;
use crate::harness::{
    Background, Client, Kafka, Packet, Polling, TestApp, auth, dispatcher, eventually, handshake,
    open_websocket, token, within,
};

const FAULTS: &str = "fleetcast_errors_total{component=\"keys\"}";

/// Signs tokens with `EdDSA`.
struct Issuer {
    kid: &'static str,
    key: EncodingKey,
    jwk: Value,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Self {
            kid,
            key: EncodingKey::from_ed_der(private.as_ref()),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x }),
        }
    }

    fn auth(&self, user: &str) -> Value {
        self.sign(&json!({
            "sub": user, "organization_id": "o1", "roles": ["dispatcher"],
            "exp": clock::wall_ms() / 1000 + 600,
            "iss": "https://issuer.test", "aud": "fleetcast",
        }))
    }

    fn sign(&self, claims: &Value) -> Value {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.to_owned());
        json!({ "token": jsonwebtoken::encode(&header, claims, &self.key).unwrap() })
    }
}

/// Answers every request with its keys, or with 503.
struct KeyServer {
    url: String,
    keys: Arc<Mutex<Option<Vec<Value>>>>,
    /// Taken for each answer.
    gate: Arc<tokio::sync::Mutex<()>>,
    _task: Background,
}

impl KeyServer {
    async fn start(keys: Option<&[&Issuer]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(keys.map(entries)));
        let served = shared.clone();
        let gate = Arc::<tokio::sync::Mutex<()>>::default();
        let opened = gate.clone();
        let task = Background::start(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Its requests fit into one read.
                let mut request = [0; 4096];
                drop(stream.read(&mut request).await);
                drop(opened.lock().await);
                let (status, body) = match &*served.lock().unwrap() {
                    Some(keys) => ("200 OK", json!({ "keys": keys }).to_string()),
                    None => ("503 Service Unavailable", String::new()),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        Self {
            url,
            keys: shared,
            gate,
            _task: task,
        }
    }

    /// It answers only once this is dropped.
    async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.gate.clone().lock_owned().await
    }

    /// Of a server whose tokens it verifies.
    fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("JWT_JWKS", self.url.as_str()),
            ("JWT_SECRET", ""),
            ("JWT_ISSUER", "https://issuer.test"),
            ("JWT_AUDIENCE", "fleetcast"),
        ]
    }

    fn set(&self, keys: Option<&[&Issuer]>) {
        *self.keys.lock().unwrap() = keys.map(entries);
    }
}

fn entries(issuers: &[&Issuer]) -> Vec<Value> {
    issuers.iter().map(|issuer| issuer.jwk.clone()).collect()
}

/// What a rejected client receives: the code, or nothing but the end of its transport.
async fn refused(app: &TestApp, auth: &Value) -> Option<String> {
    let mut client = Client::open(app.public).await;
    client.send(&format!("40{auth}")).await;
    loop {
        match client.packet().await {
            None => return None,
            Some(Packet::ConnectError { message, .. }) => return Some(message),
            Some(Packet::Connect { .. }) => panic!("it was admitted"),
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn a_key_server_that_is_away_at_the_start_delays_the_start() {
    let kafka = Kafka::mock(&[]).await;
    let issuer = Issuer::new("1");
    let server = KeyServer::start(None).await;
    let more = server.settings();
    let app = TestApp::launch(&kafka, &more).await;
    let report = eventually("the keys are missed", async || {
        let report = app.get("/ready").await.json();
        let detail = report["components"]["keys"].to_string();
        detail.contains("503").then_some(report)
    })
    .await;
    assert_eq!(report["status"], "starting");
    assert_eq!(handshake(app.public, "polling", &[]).await.0, 503);
    server.set(Some(&[&issuer]));
    app.ready().await;
    let client = Client::connect(app.public, &issuer.auth("u1")).await;
    assert_eq!(client.welcome["user_id"], "u1");
    client.cut();
}

#[tokio::test]
async fn a_token_with_an_unknown_key_is_refused_only_by_an_answer_of_the_key_server() {
    let kafka = Kafka::mock(&[]).await;
    let (first, second, foreign) = (Issuer::new("1"), Issuer::new("2"), Issuer::new("3"));
    let server = KeyServer::start(Some(&[&first])).await;
    let more = server.settings();
    let app = TestApp::start_with(&kafka, &more).await;
    Client::connect(app.public, &first.auth("u1")).await.cut();
    // Asked a moment ago: not yet again, so these cannot be judged.
    let (newcomer, stranger) = (second.auth("u2"), foreign.auth("u3"));
    server.set(None);
    for auth in [&newcomer, &stranger] {
        assert_eq!(refused(&app, auth).await, None);
    }
    // It is away by the time that it may be asked.
    let report = eventually("the outage is reported", async || {
        // The server is asked again after 10 s; no need to knock hundreds of times until then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(refused(&app, &newcomer).await, None);
        let report = app.get("/ready").await.json();
        (report["status"] == "degraded").then_some(report)
    })
    .await;
    assert!(report["components"]["keys"].to_string().contains("503"));
    Client::connect(app.public, &first.auth("u1")).await.cut();

    server.set(Some(&[&first, &second]));
    app.ready().await;
    Client::connect(app.public, &newcomer).await.cut();
    assert_eq!(
        refused(&app, &stranger).await.as_deref(),
        Some("token_invalid")
    );
    let metrics = app.metrics().await;
    assert!(metrics.value("fleetcast_refused_total{reason=\"keys_pending\"}") >= 3);
    assert!(metrics.value(FAULTS) >= 1);
}

/// The key of its token is looked up when the upgrade begins. What it is answered may not leave before the upgrade is over.
#[tokio::test]
async fn a52_refresh_that_is_decided_during_an_upgrade_is_answered_after_it() {
    let kafka = Kafka::mock(&[]).await;
    let (first, second) = (Issuer::new("1"), Issuer::new("2"));
    let server = KeyServer::start(Some(&[&first])).await;
    let more = server.settings();
    let app = TestApp::start_with(&kafka, &more).await;
    let polling = Polling::connect(app.public, &first.auth("u1")).await;
    while !polling.get().await.body.contains("connection_established") {}
    server.set(Some(&[&first, &second]));
    // It was asked at the start, and is asked again after 10 s.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let held = server.hold().await;
    let another = json!(["auth:refresh", second.auth("u2")]);
    polling.post(&format!("427{another}")).await;
    let mut client = Client::over(open_websocket(app.public.into(), Some(&polling.sid)).await);
    drop(held);
    eventually("it is decided", async || {
        let refused = "fleetcast_commands_total{command=\"auth:refresh\",outcome=\"forbidden\"}";
        (app.metrics().await.value(refused) == 1).then_some(())
    })
    .await;
    // Longer than a connection that is to be closed stays open for what was said last.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send("2probe").await;
    assert!(matches!(client.packet().await, Some(Packet::Probed)));
    client.send("5").await;
    let Some(Packet::Ack { id: 7, answer, .. }) = client.packet().await else {
        panic!("no answer");
    };
    assert_eq!(answer["error"]["reason"], "forbidden");
    client.read_to_end().await;
    let metrics = app.metrics().await;
    let closed = "fleetcast_disconnects_total{reason=\"identity_changed\"}";
    assert_eq!(metrics.value(closed), 1);
}

/// The revocation finds no session yet, and the token is good when its key comes.
#[tokio::test]
async fn h6_a_token_that_is_revoked_while_its_key_is_looked_up_is_refused() {
    let kafka = Kafka::mock(&[]).await;
    let (first, second) = (Issuer::new("1"), Issuer::new("2"));
    let server = KeyServer::start(Some(&[&first])).await;
    let more = server.settings();
    let app = TestApp::start_with(&kafka, &more).await;
    server.set(Some(&[&first, &second]));
    // It was asked at the start, and is asked again after 10 s.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let held = server.hold().await;
    let mut client = Client::open(app.public).await;
    client.send(&format!("40{}", second.auth("u2"))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let body = json!({ "organization_id": "o1", "user_id": "u2" });
    let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.json()["connections"], 0, "{answer:?}");
    drop(held);
    let answer = client.packet().await;
    let refused =
        matches!(&answer, Some(Packet::ConnectError { message, .. }) if message == "token_revoked");
    assert!(refused, "{answer:?}");
    // Its key is known now, and another user's token with it is good.
    Client::connect(app.public, &second.auth("u3")).await.cut();
}

/// The stock client does not repeat a CONNECT that was refused, and the other namespace has done nothing wrong.
#[tokio::test]
async fn a_second_namespace_waits_for_its_key_and_takes_nothing_from_the_first() {
    let kafka = Kafka::mock(&[]).await;
    let (first, second) = (Issuer::new("1"), Issuer::new("2"));
    let server = KeyServer::start(Some(&[&first])).await;
    let more = server.settings();
    let app = TestApp::start_with(&kafka, &more).await;
    let mut client = Client::connect(app.public, &first.auth("u1")).await;
    server.set(None);
    client.send(&format!("40/ws,{}", second.auth("u2"))).await;
    eventually("it waits", async || {
        let pending = "fleetcast_refused_total{reason=\"keys_pending\"}";
        (app.metrics().await.value(pending) >= 2).then_some(())
    })
    .await;
    let answer = client.command("rooms", &json!({})).await;
    assert_eq!(answer["success"], true, "{answer}");
    server.set(Some(&[&first, &second]));
    let welcome = client.record().await;
    let came = (welcome.namespace.as_str(), welcome.name.as_str());
    assert_eq!(came, ("/ws", "connection_established"));
    assert_eq!(welcome.args[0]["data"]["user_id"], "u2", "{welcome:?}");
}

/// A fresh token on another transport would be good, and a client that has left the namespace again must not be connected to it much later.
#[tokio::test]
async fn a_second_namespace_waits_for_a_while_and_never_for_a_refusal() {
    let kafka = Kafka::mock(&[]).await;
    let (first, second) = (Issuer::new("1"), Issuer::new("2"));
    let server = KeyServer::start(Some(&[&first])).await;
    let mut more = server.settings().to_vec();
    more.push(("JWT_LEEWAY", "0"));
    let app = TestApp::start_with(&kafka, &more).await;
    let mut clients = [
        Client::connect(app.public, &first.auth("u1")).await,
        Client::connect(app.public, &first.auth("u2")).await,
    ];
    server.set(None);
    let begin = Instant::now();
    for (client, seconds) in clients.iter_mut().zip([3, 600]) {
        let exp = clock::wall_ms() / 1000 + seconds;
        let claims = json!({
            "sub": "u3", "organization_id": "o1", "exp": exp,
            "iss": "https://issuer.test", "aud": "fleetcast",
        });
        let connect = format!("40/ws,{}", second.sign(&claims));
        client.send(&connect).await;
    }
    for (client, least) in clients.iter_mut().zip([2, 14]) {
        within(Duration::from_secs(30), "it is closed", async || {
            let packet = client.packet().await;
            let refused = matches!(packet, Some(Packet::ConnectError { .. }));
            assert!(!refused, "{packet:?}");
            packet.is_none().then_some(())
        })
        .await;
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(least), "{waited:?}");
    }
}

/// The issuer was the only one when the request was made.
#[tokio::test]
async fn h1_a_revoked_token_id_is_one_of_the_issuer_that_there_was() {
    const OWN: &str = "https://a.test";
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let topic = kafka.topic("revoked");
    let alone = [
        ("REVOCATIONS_TOPIC", topic.as_str()),
        ("JWT_ISSUER", OWN),
        ("JWT_ORGANIZATIONS", "o1"),
    ];
    let app = TestApp::start_with(&kafka, &alone).await;
    let body = json!({ "jti": "t1" });
    let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet", "{answer:?}");
    let revoked = json!({ "jti": "t1", "issuer": OWN });
    assert_eq!(answer.json()["revoked"], revoked);

    let added = Issuer::new("1");
    let directory = tempfile::tempdir().unwrap();
    let (keys, file) = (
        directory.path().join("keys.json"),
        directory.path().join("f.toml"),
    );
    std::fs::write(&keys, json!({ "keys": [added.jwk] }).to_string()).unwrap();
    let issuers = format!(
        "[[jwt.issuers]]\nissuer = \"https://b.test\"\njwks = {keys:?}\norganizations = [\"o2\"]\n"
    );
    std::fs::write(&file, issuers).unwrap();
    let both = [
        alone[0],
        alone[1],
        alone[2],
        ("FLEETCAST_CONFIG", file.to_str().unwrap()),
    ];
    let later = TestApp::start_with(&kafka, &both).await;
    let claims = |issuer: &str, organisation: &str| {
        json!({
            "sub": "u1", "organization_id": organisation, "roles": ["dispatcher"], "jti": "t1", "iss": issuer,
            "exp": clock::wall_ms() / 1000 + 600,
        })
    };
    Client::connect(later.public, &added.sign(&claims("https://b.test", "o2")))
        .await
        .cut();
    let own = json!({ "token": token(claims(OWN, "o1")) });
    // In a roll-out of `JWT_ISSUER`.
    let without_name = TestApp::start_with(&kafka, &alone[..1]).await;
    for app in [&app, &later, &without_name] {
        assert_eq!(refused(app, &own).await.as_deref(), Some("token_revoked"));
    }
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_restart() {
    let kafka = Kafka::mock(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets");
    let (old, new) = (
        crate::harness::SECRET,
        "fleetcast-tests-only-another-5xQ0m2Lr",
    );
    std::fs::write(&path, new).unwrap();
    let file = path.to_str().unwrap();
    let more = [("JWT_SECRET_FILE", file), ("JWT_SECRET", "")];
    let app = TestApp::start_with(&kafka, &more).await;
    let by_old = auth("u1", "o1", &[]);
    assert_eq!(
        refused(&app, &by_old).await.as_deref(),
        Some("token_invalid")
    );
    std::fs::write(&path, format!("{new}\n{old}\n")).unwrap();
    let another = json!({ "token": dispatcher("u2", "o1") });
    Client::connect(app.public, &another).await.cut();
    std::fs::write(&path, "short").unwrap();
    app.wait_for_status("degraded").await;
    Client::connect(app.public, &another).await.cut();
    std::fs::write(&path, new).unwrap();
    app.ready().await;
    assert_eq!(
        refused(&app, &another).await.as_deref(),
        Some("token_invalid")
    );
}

/// What became of the good tokens of one run.
#[derive(Default)]
struct Admitted {
    connected: u64,
    /// Closed without a word: a stock client tries again.
    again: u64,
    refused: u64,
}

/// Comes and goes with good tokens, eight at a time, until it is stopped.
async fn come_and_go(
    app: &TestApp,
    valid: &Mutex<Vec<Arc<Issuer>>>,
    stop: &CancellationToken,
) -> Admitted {
    let mut all = Admitted::default();
    while !stop.is_cancelled() {
        let issuers = valid.lock().unwrap().clone();
        let round = (0..8).map(|n| issuers[n % issuers.len()].auth(&format!("u{n}")));
        let answers = join_all(round.map(async |auth| {
            let mut client = Client::open(app.public).await;
            client.send(&format!("40{auth}")).await;
            let answer = client.packet().await;
            client.cut();
            answer
        }));
        for answer in answers.await {
            match answer {
                Some(Packet::Connect { .. }) => all.connected += 1,
                None => all.again += 1,
                Some(_) => all.refused += 1,
            }
        }
    }
    all
}

#[tokio::test]
async fn s4_02_good_tokens_are_not_refused_while_keys_rotate_and_the_key_server_goes_away() {
    let kafka = Kafka::mock(&[]).await;
    let issuers: Vec<_> = ["1", "2", "3"].map(Issuer::new).map(Arc::new).into();
    let server = KeyServer::start(Some(&[&issuers[0]])).await;
    let more = server.settings();
    let app = TestApp::start_with(&kafka, &more).await;
    let valid = Mutex::new(vec![issuers[0].clone()]);
    let stop = CancellationToken::new();
    let rotate = async {
        for next in 1..issuers.len() {
            // The server has the new key before anybody signs with it; the old one stays for as long as its tokens live.
            server.set(Some(&[&issuers[next - 1], &issuers[next]]));
            *valid.lock().unwrap() = issuers[next - 1..=next].to_vec();
            // A client is admitted with it.
            eventually("the new key is known", async || {
                let auth = issuers[next].auth("probe");
                let mut client = Client::open(app.public).await;
                client.send(&format!("40{auth}")).await;
                matches!(client.packet().await, Some(Packet::Connect { .. })).then_some(())
            })
            .await;
            // Away: what is known goes on.
            server.set(None);
            let before = app.metrics().await.value(FAULTS);
            let stranger = Issuer::new("stranger").auth("probe");
            eventually("the outage is noticed", async || {
                assert_eq!(refused(&app, &stranger).await, None);
                (app.metrics().await.value(FAULTS) > before).then_some(())
            })
            .await;
        }
        stop.cancel();
    };
    let (all, ()) = tokio::join!(come_and_go(&app, &valid, &stop), rotate);
    println!(
        "good tokens: {} admitted, {} to try again, {} refused",
        all.connected, all.again, all.refused
    );
    assert_eq!(all.refused, 0);
    assert!(all.connected > 100, "{} were admitted", all.connected);
}
