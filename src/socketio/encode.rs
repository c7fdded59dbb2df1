//! The one function that arranges every outgoing event as the arguments of a Socket.IO packet, and that packet as a WebSocket frame.
//!
//! A stock client takes the last argument of any packet without an acknowledgement for its resume offset if it is a string.
//! So each event ends with a cursor, or with something that is not a string.

use fleetcast_core::domain::publication::Publication;
use fleetcast_core::hub::outlet::Item;
use serde::de::IgnoredAny;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::ack::AckStream;
use socketioxide::extract::SocketRef;

use super::ROOT;
use crate::net::append_text_frame;
use crate::session::{ServerEvent, Session, record_meta};

/// Engine.IO `message` with a Socket.IO EVENT, and with an ACK.
const EVENT: &[u8] = b"42";
const ANSWER: &[u8] = b"43";

/// Brackets, quotes, commas, the packet type and the namespace around the arguments, in bytes: an upper bound.
const FRAMING: usize = 48;

/// An event with its arguments, ready for the library.
pub(super) struct Outgoing<'a> {
    event: &'a str,
    body: Body<'a>,
    /// Where a record came from, as JSON: its size is not known before, because a key may be full of what must be escaped.
    meta: Option<Box<RawValue>>,
    last: LastArgument<'a>,
}

/// The last argument.
#[derive(Clone, Copy)]
enum LastArgument<'a> {
    Cursor(&'a str),
    /// There is no cursor, and what could be mistaken for one must not come last.
    Null,
    /// The body, which is an object.
    Body,
}

enum Body<'a> {
    /// The record as its producer wrote it.
    Record(&'a RawValue),
    /// Of an ephemeral event: any number of arguments.
    Several(&'a [Box<RawValue>]),
    /// Of the server's own event.
    Server(Box<RawValue>),
    /// The cursor is the only argument.
    None,
}

/// What follows the event's name. Tuples, because the library takes those, and nothing else, for several arguments.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Cursor((Option<&'a str>,)),
    Body((&'a RawValue,)),
    BodyCursor((&'a RawValue, Option<&'a str>)),
    BodyMetaCursor((&'a RawValue, &'a RawValue, Option<&'a str>)),
    SeveralNull(SeveralNull<'a>),
}

/// These, and `null` behind them: a tuple of as many elements as there are.
struct SeveralNull<'a>(&'a [Box<RawValue>]);

impl Serialize for SeveralNull<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len() + 1)?;
        for argument in self.0 {
            tuple.serialize_element(argument)?;
        }
        tuple.serialize_element(&())?;
        tuple.end()
    }
}

impl<'a> Outgoing<'a> {
    /// `meta`: the client wants to know where records came from.
    pub(super) fn item(item: Item<'a>, session: &Session, meta: bool) -> Self {
        match item {
            Item::Publication(delivery) => {
                Self::record(delivery.publication(), delivery.cursor(), meta)
            }
            Item::Snapshot {
                publication,
                cursor,
            } => Self::record(publication, cursor, meta),
            Item::Ephemeral(ephemeral) => Self {
                event: &ephemeral.event,
                body: Body::Several(&ephemeral.arguments),
                meta: None,
                last: LastArgument::Null,
            },
            Item::Control(control) => Self::server(session.server_event(control)),
        }
    }

    fn record(publication: &'a Publication, cursor: &'a str, meta: bool) -> Self {
        Self {
            event: &publication.event,
            body: Body::Record(&publication.payload),
            meta: meta.then(|| record_meta(publication)),
            last: LastArgument::Cursor(cursor),
        }
    }

    pub(super) fn server(event: ServerEvent<'a>) -> Self {
        Self {
            event: event.name,
            body: event.body.map_or(Body::None, Body::Server),
            meta: None,
            last: event
                .cursor
                .map_or(LastArgument::Body, |cursor| LastArgument::Cursor(cursor)),
        }
    }

    /// Bytes on the wire, within [`FRAMING`].
    pub(super) fn size(&self) -> usize {
        let body = match &self.body {
            // A comma behind each.
            Body::Several(all) => all.iter().map(|one| one.get().len() + 1).sum(),
            _ => self.body().map_or(0, |body| body.get().len()),
        };
        let meta = self.meta.as_ref().map_or(0, |meta| meta.get().len());
        let last = match self.last {
            LastArgument::Cursor(cursor) => cursor.len(),
            LastArgument::Null => "null".len(),
            LastArgument::Body => 0,
        };
        FRAMING + self.event.len() + body + meta + last
    }

    pub(super) fn send(&self, socket: &SocketRef) -> Result<(), SendError> {
        socket.emit(self.event, &self.arguments())
    }

    /// As `send`, and asks for an acknowledgement: stock clients see it as a callback behind the last argument, and do not
    /// take that argument for their resume offset. So a `cursor` event must follow at once.
    pub(super) fn send_asking(
        &self,
        socket: &SocketRef,
    ) -> Result<AckStream<IgnoredAny>, SendError> {
        socket.emit_with_ack(self.event, &self.arguments())
    }

    /// As one WebSocket frame for the lane.
    pub(super) fn frame(&self, namespace: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        self.append_frame(&mut out, namespace, None);
        out
    }

    /// Appends the frame. `ack`: the client is to acknowledge the event under this number.
    pub(super) fn append_frame(&self, out: &mut Vec<u8>, namespace: &str, ack: Option<u32>) {
        append_text_frame(out, |out| {
            append_packet_head(out, EVENT, namespace, ack.map(i64::from));
            out.push(b'[');
            append_json(out, self.event);
            // The arguments are a list of their own, of which the bracket becomes the comma behind the name.
            let comma = out.len();
            append_json(out, &self.arguments());
            out[comma] = b',';
        });
    }

    fn arguments(&self) -> Arguments<'_> {
        let cursor = match self.last {
            LastArgument::Cursor(cursor) => Some(cursor),
            LastArgument::Null | LastArgument::Body => None,
        };
        if let Body::Several(all) = self.body {
            return Arguments::SeveralNull(SeveralNull(all));
        }
        match (self.body(), &self.meta, self.last) {
            (None, ..) => Arguments::Cursor((cursor,)),
            (Some(body), Some(meta), _) => Arguments::BodyMetaCursor((body, meta, cursor)),
            (Some(body), None, LastArgument::Body) => Arguments::Body((body,)),
            (Some(body), None, _) => Arguments::BodyCursor((body, cursor)),
        }
    }

    fn body(&self) -> Option<&RawValue> {
        match &self.body {
            Body::Record(body) => Some(body),
            Body::Server(body) => Some(body),
            Body::Several(_) | Body::None => None,
        }
    }
}

/// The answer to a command as one WebSocket frame for the lane.
pub(super) fn answer_frame(namespace: &str, ack_id: i64, body: &RawValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAMING + body.get().len());
    append_text_frame(&mut out, |out| {
        append_packet_head(out, ANSWER, namespace, Some(ack_id));
        out.push(b'[');
        out.extend_from_slice(body.get().as_bytes());
        out.push(b']');
    });
    out
}

/// Types, namespace and number, as the Socket.IO protocol (version 5) puts them before the JSON.
fn append_packet_head(out: &mut Vec<u8>, types: &[u8], namespace: &str, number: Option<i64>) {
    out.extend_from_slice(types);
    if namespace != ROOT {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    if let Some(number) = number {
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

fn append_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("texts and JSON are plain data");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetcast_core::domain::envelope::EventEnvelope;
    use fleetcast_core::domain::id::Id;
    use fleetcast_core::domain::protocol::{Reason, ResyncReason};
    use fleetcast_core::domain::publication::{Class, Ephemeral};
    use fleetcast_core::domain::room::Room;
    use fleetcast_core::hub::Now;
    use fleetcast_core::hub::outlet::{ControlItem, Delivery, DeliveryCursor, Entry};
    use fleetcast_core::hub::resume::Resumption;
    use serde_json::{Value, json};

    use super::*;
    use crate::session::tests::session_of;

    fn session() -> Arc<Session> {
        let claims = json!({"sub": "u1", "org_id": "o1", "roles": ["admin", "q\"uote"], "exp": 2_000_000_000});
        session_of(&claims, EventEnvelope::default())
    }

    fn publication(payload: &str, key: Option<&str>) -> Arc<Publication> {
        let organisation = Id::parse("o1").unwrap();
        Arc::new(Publication {
            topic: "incident".into(),
            partition: i32::MAX,
            offset: i64::MAX,
            timestamp: Some(i64::MIN),
            key: key.map(|key| key.as_bytes().into()),
            event: "incident_created".into(),
            rooms: vec![Room::organisation(&organisation)],
            organisation,
            class: Class::Event,
            latest_of: None,
            ack: false,
            payload: RawValue::from_string(payload.to_owned()).unwrap(),
        })
    }

    fn entry(publication: &Arc<Publication>, cursor: &Arc<str>) -> Arc<Entry> {
        let now = Now {
            monotonic: 0,
            wall: 0,
        };
        Arc::new(Entry::new(publication.clone(), 0, cursor.clone(), now))
    }

    /// The packet with its longest prefix, and its last argument.
    fn packet(outgoing: &Outgoing<'_>) -> (String, Value) {
        let arguments = serde_json::to_string(&outgoing.arguments()).unwrap();
        let event = serde_json::to_string(outgoing.event).unwrap();
        let rest = arguments.strip_prefix('[').expect("arguments are a list");
        let packet = format!("42/ws,[{event},{rest}");
        let last = serde_json::from_str::<Vec<Value>>(&arguments)
            .unwrap()
            .pop();
        (packet, last.expect("there is an argument"))
    }

    #[test]
    fn every_event_ends_with_a_cursor_or_no_string_and_its_size_is_a_bound() {
        let session = session();
        let cursor: Arc<str> = format!("v1.{}", "x".repeat(107)).into();
        let rooms = session.own_rooms();
        let awkward = "\u{1}\"\\\u{7f}é".repeat(300);
        let mut controls = vec![
            ControlItem::Cursor { cursor: &cursor },
            ControlItem::Stale {
                stale: true,
                since: u64::from(u32::MAX) * 1000,
                cursor: &cursor,
            },
        ];
        let resync = Resumption::Resync(ResyncReason::Evicted);
        let resumptions = [Resumption::Fresh, Resumption::Resumed, resync];
        controls.extend(resumptions.map(|resumption| ControlItem::Welcome {
            resumption,
            rooms: &rooms,
            window_seconds: u64::MAX,
            cursor: &cursor,
        }));
        controls.extend(ResyncReason::ALL.iter().map(|reason| ControlItem::Resync {
            reason: *reason,
            rooms: &rooms,
            cursor: &cursor,
        }));
        let payloads = ["{\"a\": [1, \"v1.é\"]}", "\"a string\"", "7", "null"];
        let publications: Vec<_> = payloads
            .iter()
            .flat_map(|payload| {
                let keys = [None, Some(""), Some(awkward.as_str())];
                keys.map(|key| publication(payload, key))
            })
            .collect();
        let mut items: Vec<_> = controls.into_iter().map(Item::Control).collect();
        items.extend(publications.iter().map(|publication| Item::Snapshot {
            publication,
            cursor: &cursor,
        }));
        let entries: Vec<_> = publications
            .iter()
            .map(|publication| entry(publication, &cursor))
            .collect();
        items.extend(entries.iter().flat_map(|entry| {
            [DeliveryCursor::Shared, DeliveryCursor::Own(&cursor)]
                .map(|cursor| Item::Publication(Delivery { entry, cursor }))
        }));
        for (item, meta) in items.iter().flat_map(|item| [(item, false), (item, true)]) {
            let outgoing = Outgoing::item(*item, &session, meta);
            let (packet, last) = packet(&outgoing);
            assert_eq!(last, json!(*cursor), "{packet}");
            assert!(packet.len() <= outgoing.size(), "{packet}");
            assert!(packet.len() + FRAMING >= outgoing.size(), "not far above");
        }
        for reason in Reason::ALL {
            let outgoing = Outgoing::server(session.error_event((*reason).into(), &awkward));
            let (packet, last) = packet(&outgoing);
            assert!(last.is_object(), "{packet}");
            assert!(packet.len() <= outgoing.size());
        }
        let expiring = Item::Control(ControlItem::TokenExpiring);
        let (packet, last) = packet(&Outgoing::item(expiring, &session, false));
        assert!(last["data"]["expires_at"].is_string(), "{packet}");
    }

    #[test]
    fn the_record_goes_out_as_it_came_and_its_origin_only_on_demand() {
        let session = session();
        let cursor: Arc<str> = "v1.x".into();
        let publication = publication("{\"b\":1.0,  \"a\":1e3}", Some("k"));
        let entry = entry(&publication, &cursor);
        let item = Item::Publication(Delivery {
            entry: &entry,
            cursor: DeliveryCursor::Shared,
        });
        let plain = packet(&Outgoing::item(item, &session, false)).0;
        let expected = r#"42/ws,["incident_created",{"b":1.0,  "a":1e3},"v1.x"]"#;
        assert_eq!(plain, expected);
        let meta = packet(&Outgoing::item(item, &session, true)).0;
        let id = publication.id();
        assert!(meta.contains(&format!(
            r#"{{"id":"{id}","timestamp":{},"key":"k"}},"v1.x"]"#,
            i64::MIN
        )));
    }

    #[test]
    fn an_ephemeral_event_ends_with_null_and_has_no_origin() {
        let session = session();
        for arguments in [
            &["{\"a\": \"v1.x\"}"][..],
            &["[\"v1.x\", \"v1.y\"]"],
            &["{}", "[\"v1.x\"]"],
            &["{}"; 40],
            &[],
        ] {
            let texts = arguments.iter().map(|text| (*text).to_owned());
            let organisation = Id::parse("o1").unwrap();
            let ephemeral = Arc::new(Ephemeral {
                event: "presence".into(),
                rooms: vec![Room::organisation(&organisation)],
                organisation,
                arguments: texts
                    .map(|text| RawValue::from_string(text).unwrap())
                    .collect(),
            });
            for meta in [false, true] {
                let outgoing = Outgoing::item(Item::Ephemeral(&ephemeral), &session, meta);
                let (packet, last) = packet(&outgoing);
                let expected = [&["\"presence\""], arguments, &["null"]].concat().join(",");
                assert_eq!(packet, format!("42/ws,[{expected}]"));
                assert_eq!(last, Value::Null);
                assert!(packet.len() <= outgoing.size());
                assert!(packet.len() + FRAMING >= outgoing.size(), "not far above");
            }
        }
    }
}
