//! How the server's own events (welcome, resync, error, …) wrap their data. Records are not wrapped: they go out as they came.

use serde::{Deserialize, Serialize};

/// Chosen by the profile: `envelope = "data_timestamp"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventEnvelope {
    /// `{"data": {…}, "timestamp": "…"}`
    #[default]
    DataTimestamp,
    /// `{…, "timestamp": "…"}`: the data itself, with the timestamp as one more field.
    Plain,
}

/// Data in its envelope.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Enveloped<T> {
    DataTimestamp {
        data: T,
        timestamp: String,
    },
    Plain {
        #[serde(flatten)]
        data: T,
        timestamp: String,
    },
}

impl EventEnvelope {
    /// `data` is serialized as an object without a field `timestamp`; `timestamp` is RFC 3339.
    pub fn wrap<T: Serialize>(self, data: T, timestamp: String) -> Enveloped<T> {
        match self {
            Self::DataTimestamp => Enveloped::DataTimestamp { data, timestamp },
            Self::Plain => Enveloped::Plain { data, timestamp },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_envelope_holds_the_data_and_the_timestamp() {
        for (envelope, expected) in [
            (
                EventEnvelope::DataTimestamp,
                r#"{"data":{"a":1},"timestamp":"T"}"#,
            ),
            (EventEnvelope::Plain, r#"{"a":1,"timestamp":"T"}"#),
        ] {
            let wrapped = envelope.wrap(json!({"a": 1}), "T".to_owned());
            assert_eq!(
                serde_json::to_string(&wrapped).expect("plain data"),
                expected
            );
        }
    }
}
