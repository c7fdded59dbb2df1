//! Keys that change, key servers that fail, and clients in between. Real sockets and files, at a quicker pace.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use serde_json::json;

use super::test_keys::{Issuer, jwks};
use super::*;

pub(super) const NOW: u64 = 1_800_000_000;

const PACE: RefreshIntervals = RefreshIntervals {
    files_every: Duration::from_millis(100),
    ask_every: Duration::from_millis(400),
    retry_first: Duration::from_millis(50),
    retry_longest: Duration::from_millis(200),
};

/// Unlike `PACE`, clients may ask only once in the life of a test.
const RELUCTANT: RefreshIntervals = RefreshIntervals {
    ask_every: Duration::from_mins(10),
    ..PACE
};

pub(super) fn settings(keys: KeySources) -> AuthSettings {
    AuthSettings {
        own: IssuerSettings {
            keys,
            ..IssuerSettings::default()
        },
        ..tests::settings(None, None)
    }
}

pub(super) fn claims() -> Value {
    json!({"sub": "u1", "organization_id": "o1", "exp": NOW + 600})
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mood {
    Well(String),
    Fails,
    Garbage,
    Huge,
    Slow,
    Redirects,
    NoKeys,
}

/// A key server with switches.
struct Server {
    url: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(mood: Mood, lifecycle: &Lifecycle) -> Self {
        let (mood, asked) = (Arc::new(Mutex::new(mood)), Arc::new(AtomicUsize::new(0)));
        let answer = {
            let (mood, asked) = (mood.clone(), asked.clone());
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let mood = mood.lock().unwrap().clone();
                async move {
                    let mut headers = HeaderMap::new();
                    let (status, body) = match mood {
                        Mood::Well(body) => (StatusCode::OK, body),
                        Mood::Fails => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
                        Mood::Garbage => (StatusCode::OK, "<html>".to_owned()),
                        Mood::Huge => (StatusCode::OK, " ".repeat(files::MAX_DOCUMENT + 1)),
                        Mood::NoKeys => (StatusCode::OK, r#"{"keys":[]}"#.to_owned()),
                        Mood::Slow => {
                            tokio::time::sleep(Duration::from_mins(1)).await;
                            (StatusCode::OK, String::new())
                        }
                        Mood::Redirects => {
                            headers.insert(header::LOCATION, "/elsewhere".parse().unwrap());
                            (StatusCode::FOUND, String::new())
                        }
                    };
                    (status, headers, body)
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let router = Router::new().route("/keys", get(answer));
        lifecycle.spawn("key server of a test", async move {
            crate::net::serve(
                listener,
                router,
                crate::net::NetSettings::internal(
                    crate::net::NetTimeouts {
                        slow_client_timeout: Duration::from_secs(5),
                        keep_alive: Duration::from_secs(5),
                    },
                    100,
                ),
                crate::net::ConnectionTable::new(Metrics::new().delivery_times.clone()),
                tokio_util::task::TaskTracker::new(),
                crate::net::Stopping {
                    drain: tokio_util::sync::CancellationToken::new(),
                    accepting: tokio_util::sync::CancellationToken::new(),
                },
            )
            .await;
        });
        Self { url, mood, asked }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A verifier on a key server, kept current until the test ends.
fn verifier(url: &str, pace: RefreshIntervals, lifecycle: &Lifecycle) -> Verifier {
    let sources = KeySources {
        jwks: Some(JwksSource::Url(url.to_owned())),
        ..KeySources::default()
    };
    let verifier = Verifier::at_pace(&settings(sources), pace).unwrap();
    verifier.keep(&Metrics::new(), lifecycle);
    verifier
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn rejected(outcome: Result<Claims, TokenError>) -> TokenDefect {
    match outcome {
        Err(TokenError::Rejected(rejected)) => rejected.why,
        other => panic!("not refused but {other:?}"),
    }
}

#[tokio::test]
async fn a_rotation_under_load_refuses_no_good_token() {
    let lifecycle = Lifecycle::new();
    let (old, new) = (Issuer::ec(), Issuer::ed());
    let (first, second) = (old.jwk(Some("old")), new.jwk(Some("new")));
    let server = Server::start(Mood::Well(jwks(std::slice::from_ref(&first))), &lifecycle).await;
    let verifier = verifier(&server.url, PACE, &lifecycle);
    eventually("keys are known", || verifier.keys().known).await;
    let (mut good, mut retried) = (0, 0);
    // 200 a second for 3 s. The server fails twice: before the rotation, and right after it.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for nth in 0..600 {
        ticks.tick().await;
        match nth {
            100 => server.set(Mood::Fails),
            150 => server.set(Mood::Well(jwks(&[first.clone(), second.clone()]))),
            300 => server.set(Mood::Well(jwks(std::slice::from_ref(&second)))),
            400 => server.set(Mood::Garbage),
            _ => {}
        }
        let token = match nth {
            150.. if nth % 2 == 0 => new.token(Some("new"), &claims()),
            300.. => new.token(Some("new"), &claims()),
            _ => old.token(Some("old"), &claims()),
        };
        match verifier.verify(&token, NOW).await {
            Ok(_) => good += 1,
            Err(TokenError::KeyUnavailable) => retried += 1,
            Err(TokenError::Rejected(rejected)) => panic!("{nth}: {rejected}"),
        }
    }
    assert_eq!(good + retried, 600);
    assert!(retried <= 50, "the new key was found late: {retried}");
    assert!(server.asked() <= 12, "{}", server.asked());
}

#[tokio::test]
async fn while_the_key_server_fails_known_keys_hold_and_unknown_ones_are_not_judged() {
    let lifecycle = Lifecycle::new();
    let (known, unknown) = (Issuer::ec(), Issuer::ed());
    let well = Mood::Well(jwks(&[known.jwk(Some("known"))]));
    let server = Server::start(well.clone(), &lifecycle).await;
    let verifier = verifier(&server.url, PACE, &lifecycle);
    eventually("keys are known", || verifier.keys().known).await;
    assert_eq!(verifier.keys().problem, None);
    for (mood, why) in [
        (Mood::Fails, "500"),
        (Mood::Garbage, "not a JWKS"),
        (Mood::Huge, "longer than"),
        (Mood::Redirects, "redirects are not followed"),
        (Mood::NoKeys, "it has no keys"),
    ] {
        server.set(mood.clone());
        verifier.reload();
        let says = || {
            verifier
                .keys()
                .problem
                .is_some_and(|problem| problem.contains(why))
        };
        eventually(why, says).await;
        assert!(verifier.keys().known);
        let token = known.token(Some("known"), &claims());
        assert!(verifier.verify(&token, NOW).await.is_ok(), "{mood:?}");
        let token = unknown.token(Some("unknown"), &claims());
        assert_eq!(
            verifier.verify(&token, NOW).await,
            Err(TokenError::KeyUnavailable)
        );
    }
    server.set(well);
    eventually("all is well", || verifier.keys().problem.is_none()).await;
    let token = unknown.token(Some("unknown"), &claims());
    let refused = async {
        loop {
            match verifier.verify(&token, NOW).await {
                Err(TokenError::KeyUnavailable) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return rejected(other),
            }
        }
    };
    let why = tokio::time::timeout(Duration::from_secs(5), refused)
        .await
        .unwrap();
    // No key of the server is for its algorithm.
    assert_eq!(why, TokenDefect::Algorithm);
}

#[tokio::test]
async fn a_slow_key_server_holds_a_client_up_for_a_second_at_most() {
    let lifecycle = Lifecycle::new();
    let (known, unknown) = (Issuer::ec(), Issuer::ec());
    let server = Server::start(Mood::Well(jwks(&[known.jwk(Some("known"))])), &lifecycle).await;
    let verifier = verifier(&server.url, PACE, &lifecycle);
    eventually("keys are known", || verifier.keys().known).await;
    server.set(Mood::Slow);
    tokio::time::sleep(PACE.ask_every).await;
    let start = Instant::now();
    let token = unknown.token(Some("unknown"), &claims());
    let outcome = verifier.verify(&token, NOW).await;
    let took = start.elapsed();
    assert_eq!(outcome, Err(TokenError::KeyUnavailable));
    assert!(took >= LOOK_UP && took < LOOK_UP * 2, "{took:?}");
    let start = Instant::now();
    let token = known.token(Some("known"), &claims());
    assert!(verifier.verify(&token, NOW).await.is_ok());
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_key_server_that_is_away_at_the_start_is_waited_for() {
    let lifecycle = Lifecycle::new();
    let issuer = Issuer::ec();
    let server = Server::start(Mood::Fails, &lifecycle).await;
    let verifier = verifier(&server.url, PACE, &lifecycle);
    eventually("it says so", || verifier.keys().problem.is_some()).await;
    assert!(!verifier.keys().known);
    let token = issuer.token(Some("1"), &claims());
    assert_eq!(
        verifier.verify(&token, NOW).await,
        Err(TokenError::KeyUnavailable)
    );
    server.set(Mood::Well(jwks(&[issuer.jwk(Some("1"))])));
    eventually("keys are known", || verifier.keys().known).await;
    assert!(verifier.verify(&token, NOW).await.is_ok());
}

#[tokio::test]
async fn only_an_answer_that_is_newer_than_the_token_refuses_it() {
    let lifecycle = Lifecycle::new();
    let (known, other) = (Issuer::ec(), Issuer::ec());
    let server = Server::start(Mood::Well(jwks(&[known.jwk(Some("known"))])), &lifecycle).await;
    let verifier = verifier(&server.url, RELUCTANT, &lifecycle);
    eventually("keys are known", || verifier.keys().known).await;
    let asked = server.asked();
    // The server was asked at the start, so it is not asked again for a while.
    let token = other.token(Some("unknown"), &claims());
    for _ in 0..20 {
        assert_eq!(
            verifier.verify(&token, NOW).await,
            Err(TokenError::KeyUnavailable)
        );
    }
    assert_eq!(server.asked(), asked);
    // What no key can mend is refused all the same.
    let mut expired = claims();
    expired["exp"] = json!(NOW - 60);
    let why = rejected(
        verifier
            .verify(&other.token(Some("unknown"), &expired), NOW)
            .await,
    );
    assert_eq!(why, TokenDefect::Expired);
    let forged = other.token(Some("known"), &claims());
    assert_eq!(
        rejected(verifier.verify(&forged, NOW).await),
        TokenDefect::Signature
    );
    verifier.reload();
    eventually("it was asked", || server.asked() > asked).await;
    eventually_refused(&verifier, &token).await;
    // A token that came after that answer is none that it could have told of.
    let later = other.token(Some("later"), &claims());
    assert_eq!(
        verifier.verify(&later, NOW).await,
        Err(TokenError::KeyUnavailable)
    );
}

async fn eventually_refused(verifier: &Verifier, token: &str) {
    for _ in 0..100 {
        match verifier.verify(token, NOW).await {
            Err(TokenError::KeyUnavailable) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return assert_eq!(rejected(other), TokenDefect::UnknownKey),
        }
    }
    panic!("it is never refused");
}

#[tokio::test]
async fn files_are_read_again_when_they_change_and_bad_ones_change_nothing() {
    let lifecycle = Lifecycle::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let (old, new) = (Issuer::ec(), Issuer::ec());
    std::fs::write(&path, &old.public_pem).unwrap();
    let sources = KeySources {
        public_key_files: vec![path.clone()],
        ..KeySources::default()
    };
    // There is no wait for the next look: a token whose key is not known has the file looked at.
    let pace = RefreshIntervals {
        files_every: Duration::from_mins(10),
        ..PACE
    };
    let verifier = Verifier::at_pace(&settings(sources), pace).unwrap();
    verifier.keep(&Metrics::new(), &lifecycle);
    let (by_old, by_new) = (old.token(None, &claims()), new.token(None, &claims()));
    assert!(verifier.verify(&by_old, NOW).await.is_ok());
    assert_eq!(
        rejected(verifier.verify(&by_new, NOW).await),
        TokenDefect::Signature
    );

    let both = format!("{}{}", old.public_pem, new.public_pem);
    std::fs::write(&path, &both).unwrap();
    let fresh = new.token(Some("any"), &claims());
    assert!(verifier.verify(&fresh, NOW).await.is_ok());
    assert!(verifier.verify(&by_old, NOW).await.is_ok());

    std::fs::write(&path, "no key at all").unwrap();
    let unknown = Issuer::ec().token(None, &claims());
    assert_eq!(
        verifier.verify(&unknown, NOW).await,
        Err(TokenError::KeyUnavailable)
    );
    let problem = verifier.keys().problem.unwrap();
    assert!(problem.contains("JWT_PUBLIC_KEY_FILE"), "{problem}");
    assert!(verifier.verify(&by_old, NOW).await.is_ok());

    std::fs::write(&path, &new.public_pem).unwrap();
    verifier.reload();
    eventually("it is well again", || verifier.keys().problem.is_none()).await;
    assert!(verifier.verify(&by_new, NOW).await.is_ok());
    assert_eq!(
        rejected(verifier.verify(&by_old, NOW).await),
        TokenDefect::Signature
    );
}
