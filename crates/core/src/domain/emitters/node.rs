//! What `@socket.io/redis-emitter` publishes, the same as the Redis adapter of a server in Node.js: MessagePack of
//! `[uid, {type, data, nsp}, {rooms, except, flags}]`, on the channel `key#nsp#`, or `key#nsp#room#` for a single room. Requests, such as
//! to join a room, come as JSON on `key-request#nsp#`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Emitted, Refused};

/// `EVENT` and `BINARY_EVENT` of the Socket.IO protocol.
const EVENT: u8 = 2;
const BINARY_EVENT: u8 = 5;

const NAMESPACE: &str = "/";

/// How the names of its channels begin: of events, and of requests.
pub(super) fn prefixes(key: &str) -> [String; 2] {
    [format!("{key}#"), format!("{key}-request#")]
}

/// Whether messages of this channel may be events.
pub(super) fn check_channel(key: &str, channel: &[u8]) -> Result<(), Refused> {
    let [events, _] = prefixes(key);
    let Some(rest) = channel.strip_prefix(events.as_bytes()) else {
        return Err(Refused::NotAllowed);
    };
    if rest.starts_with(b"/#") {
        Ok(())
    } else {
        Err(Refused::OtherNamespace)
    }
}

/// The sender, the packet, whom it is for.
#[derive(Deserialize)]
struct Broadcast<'a>(
    IgnoredAny,
    #[serde(borrow)] EventPacket<'a>,
    #[serde(borrow)] BroadcastOptions<'a>,
);

#[derive(Deserialize)]
struct EventPacket<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    nsp: Option<Cow<'a, str>>,
    /// Of an acknowledgement.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// What is not known here may narrow down who receives the event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastOptions<'a> {
    #[serde(borrow, default)]
    rooms: Vec<&'a RawValue>,
    #[serde(default)]
    except: Option<Vec<IgnoredAny>>,
    /// `volatile`, which every event of an emitter is here, and `compress`, which is up to the server.
    #[serde(default, rename = "flags")]
    _flags: IgnoredAny,
}

/// The message, as JSON by now. The room in the name of the channel is a hint for servers without members in it: the options count.
pub(super) fn read(text: &str) -> Result<Emitted<'_>, Refused> {
    let broadcast = serde_json::from_str(text).map_err(|_| Refused::Malformed)?;
    let Broadcast(IgnoredAny, packet, options) = broadcast;
    if packet.nsp.is_some_and(|nsp| nsp != NAMESPACE) {
        return Err(Refused::OtherNamespace);
    }
    match packet.kind {
        EVENT if packet.id.is_none() => {}
        BINARY_EVENT => return Err(Refused::Binary),
        _ => return Err(Refused::NotAllowed),
    }
    if options.except.is_some_and(|except| !except.is_empty()) {
        return Err(Refused::Excluded);
    }
    let mut data = packet.data.into_iter();
    Ok(Emitted {
        event: data.next().ok_or(Refused::Malformed)?,
        arguments: data.collect(),
        rooms: options.rooms,
    })
}
