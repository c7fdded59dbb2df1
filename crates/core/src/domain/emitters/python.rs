//! What `AsyncRedisManager(write_only=True)` and `RedisManager(write_only=True)` of python-socketio publish, on one channel: JSON since
//! 5.14.0, a pickle before. `method` is `emit`, or what its servers ask each other for.
//!
//! 5.15.1 and later write the arguments as a list. Before, `data` is the only argument, as it is; 5.14.2 to 5.15.0 cannot be told from
//! later ones, so a list that they send counts as several arguments, as it does for python-socketio itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Emitted, Refused};

const NAMESPACE: &str = "/";

/// What its servers ask each other for, beside `emit`.
const REQUESTS: [&str; 5] = [
    "callback",
    "close_room",
    "disconnect",
    "enter_room",
    "leave_room",
];

#[derive(Deserialize)]
struct AnyMethod<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
}

/// What is not known here may narrow down who receives the event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitMethod<'a> {
    #[serde(rename = "method")]
    _method: IgnoredAny,
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Since 5.14.2.
    binary: Option<bool>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    skip_sid: Option<&'a RawValue>,
    #[serde(borrow)]
    callback: Option<&'a RawValue>,
    /// The sender.
    #[serde(default, rename = "host_id")]
    _host_id: IgnoredAny,
}

pub(super) fn read(payload: &[u8]) -> Result<Emitted<'_>, Refused> {
    // The opcode PROTO and a version, which no UTF-8 begins with.
    if let [0x80, 0..=5, ..] = payload {
        return Err(Refused::Pickle);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Refused::Malformed)?;
    let AnyMethod { method } = serde_json::from_str(text).map_err(|_| Refused::Malformed)?;
    if REQUESTS.contains(&&*method) {
        return Err(Refused::NotAllowed);
    }
    if method != "emit" {
        return Err(Refused::Malformed);
    }
    let emit: EmitMethod<'_> = serde_json::from_str(text).map_err(|_| Refused::Malformed)?;
    if emit.namespace.is_some_and(|name| name != NAMESPACE) {
        return Err(Refused::OtherNamespace);
    }
    if emit.callback.is_some() {
        return Err(Refused::NotAllowed);
    }
    if emit.skip_sid.is_some_and(|skipped| skipped.get() != "[]") {
        return Err(Refused::Excluded);
    }
    if emit.binary == Some(true) {
        return Err(Refused::Binary);
    }
    let is_list = |value: &RawValue| value.get().starts_with('[');
    let arguments = match emit.data {
        None => Vec::new(),
        // `emit(event, None)` is an event without arguments.
        Some(data) if data.get() == "[null]" => Vec::new(),
        Some(data) if emit.binary.is_some() && is_list(data) => elements(data)?,
        Some(data) => vec![data],
    };
    let rooms = match emit.room {
        None => Vec::new(),
        // No room of that list is none at all, not every one.
        Some(room) if room.get() == "[]" => return Err(Refused::BadRoom),
        Some(room) if is_list(room) => elements(room)?,
        Some(room) => vec![room],
    };
    Ok(Emitted {
        event: emit.event,
        arguments,
        rooms,
    })
}

fn elements(list: &RawValue) -> Result<Vec<&RawValue>, Refused> {
    serde_json::from_str(list.get()).map_err(|_| Refused::Malformed)
}
