//! Two instances that Redis joins.

mod access;
mod kept;
mod messages;
mod outages;
mod revoked;
mod rooms;
mod start;
mod wanted;

use serde_json::{Value, json};

use crate::api::ask;
use crate::harness::{Client, Kafka, Redis, TestApp, eventually};

async fn kafka() -> Kafka {
    Kafka::mock(&[("incident", 1)]).await
}

/// An instance that is joined to the others by this Redis, which it has reached.
async fn instance(kafka: &Kafka, redis: &Redis, more: &[(&str, &str)]) -> TestApp {
    let url = redis.url();
    let settings = [&[("REDIS_URL", url.as_str()), ("JWT_LEEWAY", "0")], more].concat();
    TestApp::start_with(kafka, &settings).await
}

/// Publishes an event for those who are connected.
async fn emit(app: &TestApp, organisation: &str, room: &str, data: &Value) {
    let body = json!({
        "event": "typing", "organization_id": organisation, "rooms": [room], "data": data,
        "volatile": true,
    });
    let answer = ask(app, "POST", "/api/publish", Some(&body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// Emits until the client receives one: its organisation is followed from soon after its connect on.
async fn heard_from(app: &TestApp, organisation: &str, room: &str, client: &mut Client) {
    let heard = async { client.expect("typing").await };
    let emitted = async {
        loop {
            emit(app, organisation, room, &json!({ "hello": true })).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = heard => {}
        () = emitted => {}
    }
}

/// The next one that is not of [`heard_from`].
async fn next_typing(client: &mut Client) -> Value {
    loop {
        let mut event = client.expect("typing").await;
        if event.args[0].get("hello").is_none() {
            return event.args.swap_remove(0);
        }
    }
}

async fn messages(app: &TestApp, outcome: &str) -> u64 {
    let series = format!("fleetcast_bus_messages_total{{outcome=\"{outcome}\"}}");
    app.metrics().await.value(&series)
}

async fn counted(app: &TestApp, outcome: &str, count: u64) {
    eventually(&format!("{count} messages are {outcome}"), async || {
        (messages(app, outcome).await >= count).then_some(())
    })
    .await;
    assert_eq!(messages(app, outcome).await, count, "{outcome}");
}

async fn connect(app: &TestApp, auth: &Value) -> Result<Value, String> {
    let mut client = Client::open(app.public).await;
    client.try_enter("/", auth).await
}
