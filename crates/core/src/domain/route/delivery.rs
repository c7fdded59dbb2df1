//! To whom a record goes, how, and which part of it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::value::RawValue;

use super::super::decode::Decoded;
use super::super::id::Id;
use super::super::publication::{Class, key_text};
use super::super::room::{Room, Which};
use super::super::skip::Skip;
use super::source::{Heard, KeyRule, RouteSource, Said, Sources, View};
use super::trace::{Stage, StepVerdict, Trace};
use super::{RoomId, RoomRoute, Route, notes};

/// Bytes of a record's key, as it is written, that something may be the latest of.
const MAX_KEY: usize = 256;

/// A bad id refuses the whole record: to deliver it to the rooms that are left would be a silent loss for the members of the one
/// that is not.
pub(super) fn rooms(
    route: &Route,
    view: View<'_>,
    organisation: &Id,
    trace: &mut impl Trace,
) -> Result<Vec<Room>, Skip> {
    const STAGE: Stage = Stage::Room;
    let mut rooms: Vec<Room> = Vec::with_capacity(route.rooms.len());
    for RoomRoute { kind, id } in &route.rooms {
        let (which, why) = match id {
            RoomId::Organisation => (Which::One(organisation.clone()), None),
            RoomId::Said { by, required } => {
                match first(by, view, (STAGE, kind.as_str()), trace)? {
                    Some(heard) => {
                        let which = heard.said.which(kind).map_err(|rule| {
                            trace.refuse(STAGE, Skip::BadId, || format!("{kind}: {heard}: {rule}"))
                        })?;
                        (which, Some(heard))
                    }
                    None if *required => {
                        return Err(trace.refuse(STAGE, Skip::NoRoom, || {
                            let why = notes::not_there(&by.0);
                            format!("{kind}: {why}, and the route requires this room")
                        }));
                    }
                    None => {
                        trace.note(STAGE, StepVerdict::LeftOut, || {
                            let why = notes::not_there(&by.0);
                            format!("{kind}: {why}; the room is optional")
                        });
                        continue;
                    }
                }
            }
        };
        let room = Room {
            organisation: organisation.clone(),
            kind: kind.clone(),
            which,
        };
        let because = || match &why {
            Some(heard) => heard.to_string(),
            None => "every user of the organisation".to_owned(),
        };
        if rooms.contains(&room) {
            trace.note(STAGE, StepVerdict::LeftOut, || {
                format!("{room}: {}, but this room is named already", because())
            });
        } else {
            trace.found(STAGE, || format!("{room}: {}", because()));
            rooms.push(room);
        }
    }
    if rooms.is_empty() {
        return Err(trace.refuse(STAGE, Skip::NoRoom, || {
            "no room of the route is left".to_owned()
        }));
    }
    Ok(rooms)
}

/// The class, and what it is the latest of.
pub(super) fn class(
    route: &Route,
    view: View<'_>,
    trace: &mut impl Trace,
) -> Result<(Class, Option<Arc<str>>), Skip> {
    const STAGE: Stage = Stage::Key;
    const WHAT: &str = "the latest";
    let by = &route.key;
    if by.0.is_empty() {
        return Ok((route.class, None));
    }
    let Some(heard) = first(by, view, (STAGE, WHAT), trace)? else {
        // Without a key no later record may replace it.
        trace.note(STAGE, StepVerdict::LeftOut, || {
            let why = notes::not_there(&by.0);
            format!("{why}, so it is delivered as class event")
        });
        return Ok((Class::Event, None));
    };
    let key: Result<Arc<str>, String> = match (heard.source, &heard.said) {
        // It names no room, so it need not be an identifier, nor text.
        (RouteSource::Key(KeyRule::Whole), said) => whole_key(view.record.key, said),
        (RouteSource::Key(_), Said::Text(text)) if (1..=MAX_KEY).contains(&text.len()) => {
            Ok(Arc::from(&**text))
        }
        (RouteSource::Key(_), _) => Err(format!("a part of a key is 1 to {MAX_KEY} bytes of text")),
        (_, said) => said.id().map(Arc::from).map_err(|rule| rule.to_string()),
    };
    let key = key
        .map_err(|rule| trace.refuse(STAGE, Skip::BadId, || format!("{WHAT}: {heard}: {rule}")))?;
    trace.found(STAGE, || heard.to_string());
    Ok((route.class, Some(key)))
}

/// A key that is no text is kept in Base64, behind a byte that no text here has.
fn whole_key(key: Option<&[u8]>, said: &Said<'_>) -> Result<Arc<str>, String> {
    let bytes = key.unwrap_or_default();
    if !(1..=MAX_KEY).contains(&bytes.len()) {
        return Err(format!("a key is 1 to {MAX_KEY} bytes"));
    }
    match said {
        Said::Text(text) if text.is_empty() => {
            Err("a key is not empty between its quotes".to_owned())
        }
        Said::Text(text) if key_text(text.as_bytes()).is_some() => Ok(Arc::from(&**text)),
        _ => Ok(format!("\0{}", STANDARD_NO_PAD.encode(bytes)).into()),
    }
}

fn first<'r>(
    by: &'r Sources,
    view: View<'r>,
    (stage, of): (Stage, &str),
    trace: &mut impl Trace,
) -> Result<Option<Heard<'r>>, Skip> {
    by.first(view).map_err(|(source, skip)| {
        trace.refuse(stage, skip, || format!("{of}: {}", notes::twice(source)))
    })
}

/// The record as it came, less any white space around it, or the part of it that the route hands on. The type remembers that it
/// was found to be JSON.
pub(super) fn payload(
    route: &Route,
    fields: &Decoded<'_>,
    trace: &mut impl Trace,
) -> Result<Box<RawValue>, Skip> {
    let Some(field) = &route.payload else {
        let payload: &RawValue = serde_json::from_str(fields.json).map_err(|_| Skip::NotJson)?;
        return Ok(payload.to_owned());
    };
    let Some((_, value)) = fields.get(field) else {
        return Err(trace.refuse(Stage::Payload, Skip::NoPayload, || {
            format!(
                "{field} is not there (null counts as absent), and it is what clients would get"
            )
        }));
    };
    // A text could pass for a cursor: clients know one by what it begins with.
    if !value.get().starts_with(['{', '[']) {
        return Err(trace.refuse(Stage::Payload, Skip::NoPayload, || {
            let shown = notes::shortened(value.get());
            format!("{field} is {shown}: what clients get is an object or a list")
        }));
    }
    trace.found(Stage::Payload, || format!("clients get {field}"));
    Ok(value.to_owned())
}
