//! What the city says: one record's worth.

use serde::Serialize;
use serde_json::Value;

use crate::clock;

/// One event of the dispatch profile, before it is a record.
#[derive(Debug, Clone, PartialEq)]
pub struct CityEvent {
    pub topic: &'static str,
    /// The object that it is about: records of one object stay in order.
    pub key: String,
    pub name: &'static str,
    pub organisation: &'static str,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    pub data: Value,
}

impl CityEvent {
    /// The record's value.
    pub fn value(&self) -> String {
        #[derive(Serialize)]
        struct EventBody<'a> {
            event_type: &'a str,
            organization_id: &'a str,
            timestamp: String,
            data: &'a Value,
        }
        let body = EventBody {
            event_type: self.name,
            organization_id: self.organisation,
            timestamp: clock::rfc3339(self.timestamp_ms),
            data: &self.data,
        };
        serde_json::to_string(&body).expect("text keys and finite numbers always serialise")
    }
}
