#![expect(
    clippy::disallowed_methods,
    reason = "there is no lifecycle here: requests run beside each other"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::super::publish::NotWritten;
use super::*;

/// A log that answers what it was told to.
pub(super) struct ScriptedLog {
    /// Of the messages of one call.
    outcomes: Vec<Result<String, NotWritten>>,
    unavailable: Option<Unavailable>,
    has_too_many_keys: bool,
    /// A permit for each call of `write`.
    writes: Semaphore,
    written: Mutex<Vec<String>>,
    emitted: AtomicUsize,
}

impl ScriptedLog {
    fn new(outcomes: &[Result<&str, NotWritten>]) -> Self {
        let own = |outcome: &Result<&str, NotWritten>| outcome.clone().map(str::to_owned);
        Self {
            outcomes: outcomes.iter().map(own).collect(),
            unavailable: None,
            has_too_many_keys: false,
            writes: Semaphore::new(Semaphore::MAX_PERMITS),
            written: Mutex::default(),
            emitted: AtomicUsize::new(0),
        }
    }

    /// There is nothing to write to.
    pub(super) fn none() -> Self {
        Self {
            unavailable: Some(Unavailable("there is no log".to_owned())),
            ..Self::new(&[])
        }
    }
}

impl Publisher for ScriptedLog {
    fn rules(&self) -> PublishRules {
        PublishRules {
            kinds: ["channel".to_owned()].into(),
            default_organisation: Some(Id::parse("o1").unwrap()),
            max_event_bytes: 100_000,
        }
    }

    fn write(&self, messages: Vec<Message>) -> WriteReports<'_> {
        let events = messages.iter().map(|message| message.event.to_string());
        self.written.lock().unwrap().extend(events);
        Box::pin(async move {
            self.writes.acquire().await.unwrap().forget();
            self.outcomes.clone()
        })
    }

    fn emit(&self, _: Ephemeral) {
        self.emitted.fetch_add(1, Ordering::Relaxed);
    }

    fn unavailable(&self) -> Option<Unavailable> {
        self.unavailable.clone()
    }

    fn client(&self, _: &HeaderMap, _: &Extensions) -> Option<AddressBlock> {
        None
    }

    fn authenticate<'a>(
        &'a self,
        _: Option<&'a SecretString>,
        _: Option<AddressBlock>,
    ) -> Authenticated<'a> {
        Box::pin(ready(Err(RejectReason::KeysPending)))
    }

    fn check_rights(&self, _: &Claims, _: &str, _: &[Room]) -> Result<(), MayNotPublish> {
        Err(MayNotPublish::Nothing)
    }

    fn has_too_many_keys(&self) -> bool {
        self.has_too_many_keys
    }
}

fn api(log: &Arc<ScriptedLog>) -> Router {
    serving(publish::endpoints(Publishing::new(log.clone())))
}

/// `declared`: what the request says of its length, in bytes.
fn request(body: &Value, declared: Option<usize>) -> Request<Body> {
    let body = body.to_string();
    Request::post("/api/publish")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, declared.unwrap_or(body.len()))
        .body(Body::from(body))
        .unwrap()
}

/// The answer, and whether it says when to try again.
async fn publish_to(router: Router, body: &Value) -> (u16, Value, bool) {
    let response = router.oneshot(request(body, None)).await.unwrap();
    let (status, retry) = (
        response.status().as_u16(),
        response.headers().contains_key(header::RETRY_AFTER),
    );
    let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap(), retry)
}

fn message(event: &str) -> Value {
    json!({ "event": event, "rooms": ["channel:7"], "data": {} })
}

fn volatile(event: &str) -> Value {
    let mut message = message(event);
    message["volatile"] = true.into();
    message
}

#[tokio::test]
async fn h20_what_is_not_written_is_said_of_each_message() {
    let unknown = || NotWritten::Unknown("not delivered in time".to_owned());
    let body = json!({ "messages": [message("a"), volatile("b"), message("c"), message("d")] });
    for (outcomes, status, code, retry) in [
        (
            [Ok("t/0/1"), Err(unknown()), Ok("t/0/2")],
            503,
            "not_written",
            true,
        ),
        // That no try will do is said first, whatever else there is.
        (
            [Err(unknown()), Err(NotWritten::TooLarge), Err(unknown())],
            413,
            "record_too_large",
            false,
        ),
        (
            [
                Ok("t/0/1"),
                Err(NotWritten::NotAllowed),
                Err(NotWritten::TooLarge),
            ],
            502,
            "write_forbidden",
            false,
        ),
    ] {
        let log = Arc::new(ScriptedLog::new(&outcomes));
        let (found, answer, retries) = publish_to(api(&log), &body).await;
        assert_eq!((found, retries), (status, retry), "{answer}");
        assert_eq!(answer["code"], code);
        let [a, c, d] = outcomes.clone().map(Result::ok);
        assert_eq!(answer["ids"], json!([a, null, c, d]));
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(answer["accepted"], accepted);
        // Nor is anything emitted of a batch that is to be sent again.
        assert_eq!(log.emitted.load(Ordering::Relaxed), 0);
        assert_eq!(*log.written.lock().unwrap(), ["a", "c", "d"]);
    }
    let log = Arc::new(ScriptedLog::new(&[Ok("t/0/1"), Ok("t/0/2"), Ok("t/1/1")]));
    let (status, answer, _) = publish_to(api(&log), &body).await;
    assert_eq!(status, 202);
    let expected = json!({ "accepted": 4, "ids": ["t/0/1", null, "t/0/2", "t/1/1"] });
    assert_eq!(answer, expected);
    assert_eq!(log.emitted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn h20_too_many_keys_refuse_what_has_one_and_nothing_else() {
    let mut log = ScriptedLog::new(&[Ok("t/0/1")]);
    log.has_too_many_keys = true;
    let log = Arc::new(log);
    let mut keyed = message("a");
    keyed["idempotency_key"] = "k".into();
    let (status, answer, retry) = publish_to(api(&log), &keyed).await;
    assert_eq!((status, retry), (503, true));
    assert_eq!(answer["code"], "too_many_keys");
    assert!(log.written.lock().unwrap().is_empty());
    assert_eq!(publish_to(api(&log), &message("b")).await.0, 202);

    let log = Arc::new(ScriptedLog::none());
    let (status, answer, retry) = publish_to(api(&log), &message("a")).await;
    assert_eq!((status, retry), (503, true));
    assert_eq!(answer["code"], "publish_unavailable");
    assert_eq!(publish_to(api(&log), &volatile("b")).await.0, 202);
}

#[tokio::test]
async fn no_more_than_64_mib_are_published_at_a_time() {
    let mut log = ScriptedLog::new(&[Ok("t/0/1")]);
    log.writes = Semaphore::new(0);
    let log = Arc::new(log);
    let router = api(&log);
    // Each as long as a body may be, so far as it says.
    let held = (0..16).map(|_| {
        let sent = router
            .clone()
            .oneshot(request(&message("a"), Some(MAX_BODY)));
        tokio::spawn(sent)
    });
    let held: Vec<_> = held.collect();
    while log.written.lock().unwrap().len() < 16 {
        tokio::task::yield_now().await;
    }
    let (status, answer, retry) = publish_to(router.clone(), &message("b")).await;
    assert_eq!((status, retry), (503, true));
    assert_eq!(answer["code"], "busy");
    log.writes.add_permits(17);
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().status(), StatusCode::ACCEPTED);
    }
    assert_eq!(publish_to(router, &message("c")).await.0, 202);
}

/// One thread serves many clients.
#[tokio::test]
async fn a_large_batch_lets_others_run() {
    let rooms: Vec<String> = (0..100).map(|n| format!("channel:{n}")).collect();
    let mut one = message("a");
    one["rooms"] = rooms.into();
    let body = json!({ "messages": vec![one; 500] });
    let log = Arc::new(ScriptedLog::new(&vec![Ok("t/0/1"); 500]));
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(publish_to(api(&log), &body).await.0, 202);
    other.abort();
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 50, "{turns}");
}
