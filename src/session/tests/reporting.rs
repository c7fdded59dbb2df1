//! Records of connects and disconnects: in which order they are written.

use tokio_util::task::TaskTracker;

use super::*;
use crate::session::receipts::Kept;
use crate::session::{ConnectionReports, ConnectionSink};

/// Of each record what it reports and why, in the order of writing.
#[derive(Default)]
struct WrittenReports(Mutex<Vec<String>>);

impl WrittenReports {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl ConnectionSink for WrittenReports {
    fn keep(&self, _: &str, record: Vec<u8>) -> Kept {
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let mut short = record["type"].as_str().expect("a type").to_owned();
        if let Some(reason) = record["reason"].as_str() {
            short = format!("{short} {reason}");
        }
        self.0.lock().unwrap().push(short);
        Box::pin(std::future::ready(true))
    }
}

/// Else a later end of the same user would be reported before it, and `user_offline` with the reason of the older one.
#[tokio::test]
async fn what_is_held_is_written_when_the_drain_begins() {
    let written = Arc::<WrittenReports>::default();
    let hour = Duration::from_hours(1);
    let reports =
        ConnectionReports::new("i1".to_owned(), hour, written.clone(), TaskTracker::new());
    let claims = json!({ "sub": "u1", "org_id": "o1", "exp": 9 });
    let [first, second] = [(); 2].map(|()| session_of(&claims, EventEnvelope::default()));
    reports.connected(&first, "websocket");
    reports.connected(&second, "websocket");
    reports.disconnected(&first, CloseReason::ClientLeft);
    assert_eq!(written.take(), ["connected", "user_online", "connected"]);
    reports.stop_holding();
    assert_eq!(written.take(), ["disconnected client_left"]);
    reports.disconnected(&second, CloseReason::Draining);
    let ends = ["disconnected draining", "user_offline draining"];
    assert_eq!(written.take(), ends);
    reports.end_all();
    assert_eq!(written.take(), [""; 0]);
}
