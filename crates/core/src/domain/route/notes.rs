//! The texts of the walk's longer notes. For people: they quote the record.

use super::super::decode::{Format, Looked, MAX_DEPTH};
use super::super::publication::Class;
use super::super::skip::Skip;
use super::source::RouteSource;

/// What a value is that can be looked into.
pub(super) fn good_value(bytes: usize, schema: Option<u32>) -> String {
    match schema {
        None => format!("an object of JSON, {bytes} bytes"),
        Some(id) => format!("an object of JSON behind the frame of schema {id}, {bytes} bytes"),
    }
}

/// Why a value cannot be looked into.
pub(super) fn bad_value(skip: Skip, value: &[u8], format: Format, max_bytes: usize) -> String {
    match skip {
        Skip::Empty => "the value is there but empty".to_owned(),
        Skip::TooLarge => {
            let bytes = value.len();
            format!("the value has {bytes} bytes, more than MAX_EVENT_BYTES ({max_bytes})")
        }
        Skip::BadFraming => {
            let why = match value.first() {
                Some(0) => "after its zero byte there is no schema id of four bytes with JSON behind it".to_owned(),
                Some(first) => format!("it begins with the byte {first}, not with a zero"),
                None => "it is empty".to_owned(),
            };
            format!("the topic's format is {format}, but the value has no such frame: {why}")
        }
        Skip::NotJson if format == Format::Json && value.first() == Some(&0) => {
            "the value begins with a zero byte, as what is framed for a schema registry does; the topic's format is json".to_owned()
        }
        Skip::NotUtf8 => "the value is not UTF-8".to_owned(),
        Skip::NotObject => "the value is JSON, but no object".to_owned(),
        Skip::TooDeep => format!("the value is nested deeper than {MAX_DEPTH} levels"),
        Skip::AmbiguousField => {
            "a field that routing looks at, or data itself, occurs twice in one object: readers disagree which one counts"
                .to_owned()
        }
        _ => "the value is not JSON".to_owned(),
    }
}

/// A name and what it was taken for.
pub(super) fn event_named(name: &str, usual: &str, event: &str) -> String {
    if name == event {
        format!("{event:?} has a route")
    } else if usual == event {
        format!("{name:?} is written {event:?} here, which has a route")
    } else {
        format!("{name:?} is another name of {event:?}, which has a route")
    }
}

/// What was looked for and not found, and where.
pub(super) fn not_there(sources: &[RouteSource]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for part in sources.chunk_by(|one, next| is_field(one) && is_field(next)) {
        texts.push(match part {
            [RouteSource::Header(name)] => format!("there is no header {name}"),
            [RouteSource::Key(_)] => "the record has no key".to_owned(),
            [RouteSource::Topic(group)] => format!("the topic's name has no {group}"),
            [RouteSource::Fixed(id)] => format!("the profile says {id}"),
            fields => fields_not_there(fields),
        });
    }
    texts.join("; ")
}

fn is_field(source: &RouteSource) -> bool {
    matches!(source, RouteSource::Field(_))
}

fn fields_not_there(sources: &[RouteSource]) -> String {
    let fields = sources.iter().filter_map(|source| match source {
        RouteSource::Field(field) => Some(field),
        _ => None,
    });
    let names: Vec<String> = fields.clone().map(ToString::to_string).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let at = if fields
        .clone()
        .all(|field| field.looked_for() == Looked::BodyAndTop)
    {
        "neither in data nor at the top"
    } else {
        "not there"
    };
    let names = names.join(", ");
    format!("{names} {verb} {at} (null counts as absent)")
}

/// Two voices of one source.
pub(super) fn twice(source: &RouteSource) -> String {
    match source {
        RouteSource::Header(name) => {
            format!("header {name} is there more than once, with different values")
        }
        _ => "it is there more than once".to_owned(),
    }
}

/// How the event is delivered.
pub(super) fn delivery(class: Class, ack: bool, bytes: usize) -> String {
    let class = match class {
        Class::Critical => "class critical: delivered each, never shed",
        Class::Event => "class event: delivered each",
        Class::Latest => "class latest: a client that cannot keep up gets the newest only",
    };
    let ack = if ack {
        "each client is asked for an acknowledgement"
    } else {
        "no acknowledgement is asked for"
    };
    format!("{class}; {ack}; the payload has {bytes} bytes")
}

/// A value of the record may be as large as the record.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
