//! From a record's bytes to the few fields that routing asks for, borrowed and without a tree of values.
//!
//! What a producer wrote is hostile input: nothing here recurses, indexes or does arithmetic that could fail.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::id::{Id, InvalidId};
pub use super::skip::Skip;

/// Nested objects and arrays, the record itself being the first.
pub const MAX_DEPTH: usize = 128;

/// The member that holds the event's own fields, beside those of the envelope.
pub const BODY: &str = "data";

/// Fields that one profile may ask for; they are kept in an array on the stack.
pub const MAX_FIELDS: usize = 32;

/// Where the value of a wanted field is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The names that a table asks for. Anything else in a record is skipped over.
#[derive(Debug, Default)]
pub(super) struct Fields {
    names: Vec<Wanted>,
    /// Slots by the length of the name: most members of a record have no candidate at all.
    by_length: Vec<Vec<Slot>>,
}

#[derive(Debug)]
struct Wanted {
    name: Box<str>,
    /// Looked for in the body too, not only at the top.
    in_body: bool,
}

impl Fields {
    /// The slot of a name, made when it is new. `None`: there are [`MAX_FIELDS`] already.
    pub(super) fn want(&mut self, name: &str, in_body: bool) -> Option<Slot> {
        if let Some(slot) = self.slot(name) {
            if let Some(wanted) = self.names.get_mut(slot.0) {
                wanted.in_body |= in_body;
            }
            return Some(slot);
        }
        if self.names.len() >= MAX_FIELDS {
            return None;
        }
        let slot = Slot(self.names.len());
        self.names.push(Wanted {
            name: name.into(),
            in_body,
        });
        if self.by_length.len() <= name.len() {
            self.by_length
                .resize_with(name.len().saturating_add(1), Vec::new);
        }
        self.by_length.get_mut(name.len())?.push(slot);
        Some(slot)
    }

    /// The name that a slot was made for.
    pub(super) fn name(&self, slot: Slot) -> &str {
        self.names.get(slot.0).map_or("", |wanted| &wanted.name)
    }

    fn slot(&self, name: &str) -> Option<Slot> {
        let candidates = self.by_length.get(name.len())?;
        candidates.iter().copied().find(|slot| {
            self.names
                .get(slot.0)
                .is_some_and(|wanted| &*wanted.name == name)
        })
    }

    fn body_slot(&self, name: &str) -> Option<Slot> {
        self.slot(name)
            .filter(|slot| self.names.get(slot.0).is_some_and(|wanted| wanted.in_body))
    }
}

type Slots<'a> = [Option<&'a RawValue>; MAX_FIELDS];

/// The wanted fields of one record, as their JSON text.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    top: Slots<'a>,
    body: Slots<'a>,
}

impl<'a> Decoded<'a> {
    /// `null` is how many producers write "none", so it counts as absent here and below.
    pub(super) fn at_top(&self, slot: Slot) -> Option<&'a RawValue> {
        present(&self.top, slot)
    }

    fn in_body(&self, slot: Slot) -> Option<&'a RawValue> {
        present(&self.body, slot)
    }

    /// The first of the names that is there, each in the body before the top. The order of the names goes first: where
    /// `incident_id` stands in the envelope, an `id` in the body is the id of something else.
    pub(super) fn first(&self, names: &[Slot]) -> Option<(Slot, Place, &'a RawValue)> {
        names.iter().find_map(|&slot| {
            let (place, value) = self.either(slot)?;
            Some((slot, place, value))
        })
    }

    /// In the body, else at the top.
    pub(super) fn either(&self, slot: Slot) -> Option<(Place, &'a RawValue)> {
        let in_body = self.in_body(slot).map(|value| (Place::Body, value));
        in_body.or_else(|| Some((Place::Top, self.at_top(slot)?)))
    }
}

fn present<'a>(slots: &Slots<'a>, slot: Slot) -> Option<&'a RawValue> {
    slots
        .get(slot.0)
        .copied()
        .flatten()
        .filter(|value| value.get() != "null")
}

pub(super) fn decode<'a>(
    value: &'a [u8],
    fields: &Fields,
    max_bytes: usize,
) -> Result<Decoded<'a>, Skip> {
    if value.is_empty() {
        return Err(Skip::Empty);
    }
    if value.len() > max_bytes {
        return Err(Skip::TooLarge);
    }
    let text = std::str::from_utf8(value).map_err(|_| Skip::NotUtf8)?;
    if is_too_deep(value) {
        return Err(Skip::TooDeep);
    }
    if !text.trim_ascii_start().starts_with('{') {
        // serde_json skips over a value without recursion, so this costs no stack.
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Skip::NotObject,
            Err(_) => Skip::NotJson,
        });
    }
    let mut decoder = Decoder {
        fields,
        decoded: Decoded {
            top: [None; MAX_FIELDS],
            body: [None; MAX_FIELDS],
        },
        bodies: Occurrence::Never,
        ambiguous: false,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    Top(&mut decoder)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|_| Skip::NotJson)?;
    if decoder.ambiguous {
        return Err(Skip::AmbiguousField);
    }
    Ok(decoder.decoded)
}

/// An identifier by the rule for records and claims: a string that fits, or an integer of at most 64 bits.
pub(super) fn id(value: &RawValue) -> Result<Id, InvalidId> {
    let json = value.get();
    if let Some(text) = text(value) {
        return Id::parse(&text);
    }
    // The text of an integer is its decimal form already, except that of negative zero.
    let integer = json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok();
    if integer && json != "-0" {
        Id::parse(json)
    } else {
        Err(InvalidId)
    }
}

/// The text of a JSON string; `None` for other values and for escapes that make no text (half a surrogate pair).
pub(super) fn text<'a>(value: &'a RawValue) -> Option<Cow<'a, str>> {
    let inner: &'a str = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(value.get())
            .ok()
            .map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Counts brackets outside strings, without recursion. Text that is no JSON may be judged either way.
fn is_too_deep(value: &[u8]) -> bool {
    // `[` and `{` differ in one bit. Nearly every record has fewer brackets than the limit; counting them all at once
    // is many times faster than walking through the strings.
    let brackets = value.iter().filter(|&&byte| byte | 0x20 == b'{').count();
    if brackets <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct Decoder<'f, 'a> {
    fields: &'f Fields,
    decoded: Decoded<'a>,
    bodies: Occurrence,
    /// Kept for the end: text that is no JSON at all is that first.
    ambiguous: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Occurrence {
    Never,
    Once,
}

impl<'a> Decoder<'_, 'a> {
    fn keep(&mut self, place: Place, slot: Slot, value: &'a RawValue) {
        let slots = match place {
            Place::Top => &mut self.decoded.top,
            Place::Body => &mut self.decoded.body,
        };
        if let Some(kept) = slots.get_mut(slot.0)
            && kept.replace(value).is_some()
        {
            self.ambiguous = true;
        }
    }
}

/// Where a field stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    /// In the value of [`BODY`].
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Top => "at the top",
            Self::Body => "in data",
        })
    }
}

/// What to do with a member. The name is compared after its escapes are resolved, as any client's parser would do.
enum Member {
    Body,
    Wanted(Slot),
    Other,
}

struct Name<'f>(&'f Fields, Place);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Member;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        let slot = match self.1 {
            Place::Top if name == BODY => return Ok(Member::Body),
            Place::Top => self.0.slot(name),
            Place::Body => self.0.body_slot(name),
        };
        Ok(slot.map_or(Member::Other, Member::Wanted))
    }
}

/// The record itself.
struct Top<'d, 'f, 'a>(&'d mut Decoder<'f, 'a>);

impl<'a> DeserializeSeed<'a> for Top<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Top<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(member) = map.next_key_seed(Name(self.0.fields, Place::Top))? {
            match member {
                Member::Wanted(slot) => self.0.keep(Place::Top, slot, map.next_value()?),
                Member::Other => drop(map.next_value::<IgnoredAny>()?),
                Member::Body => {
                    self.0.ambiguous |= self.0.bodies == Occurrence::Once;
                    self.0.bodies = Occurrence::Once;
                    map.next_value_seed(Body(self.0))?;
                }
            }
        }
        Ok(())
    }
}

/// The value of [`BODY`]. Anything but an object has no fields. (A number beyond all floats, or half a surrogate pair, as
/// the whole body counts as broken JSON here; inside the body both pass untouched.)
struct Body<'d, 'f, 'a>(&'d mut Decoder<'f, 'a>);

impl<'a> DeserializeSeed<'a> for Body<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Body<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(member) = map.next_key_seed(Name(self.0.fields, Place::Body))? {
            match member {
                Member::Wanted(slot) => self.0.keep(Place::Body, slot, map.next_value()?),
                Member::Other | Member::Body => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut elements: S) -> Result<(), S::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 64 * 1024;

    fn fields() -> (Fields, Slot, Slot) {
        let mut fields = Fields::default();
        let event = fields.want("event_type", false).expect("room");
        let asset = fields.want("asset_id", true).expect("room");
        (fields, event, asset)
    }

    fn skip(value: &[u8]) -> Option<Skip> {
        decode(value, &fields().0, MAX_BYTES).err()
    }

    #[test]
    fn a81_what_is_no_json_object_is_refused_with_its_own_outcome() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES));
        let deep =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let open = b"[".repeat(60_000);
        let (deepest, too_deep, far_too_deep) = (deep(127), deep(128), deep(10_000));
        let cases: &[(&[u8], Option<Skip>)] = &[
            (b"{}", None),
            (b" \r\n\t{ \"a\" : 1e400 } \n", None),
            (b"", Some(Skip::Empty)),
            (b"  ", Some(Skip::NotJson)),
            (b"\xff\xfe{}", Some(Skip::NotUtf8)),
            (b"{\"a\":\"\xc3\"}", Some(Skip::NotUtf8)),
            (b"\xef\xbb\xbf{}", Some(Skip::NotJson)),
            (b"{\"a\":1", Some(Skip::NotJson)),
            (b"{\"a\":1}}", Some(Skip::NotJson)),
            (b"{\"a\":1}{}", Some(Skip::NotJson)),
            (b"{'a':1}", Some(Skip::NotJson)),
            (b"{\"a\":NaN}", Some(Skip::NotJson)),
            (b"{\"a\":01}", Some(Skip::NotJson)),
            (b"{\"a\":1,}", Some(Skip::NotJson)),
            (b"nonsense", Some(Skip::NotJson)),
            (b"7", Some(Skip::NotObject)),
            (b"\"x\"", Some(Skip::NotObject)),
            (b"null", Some(Skip::NotObject)),
            (b"[{}]", Some(Skip::NotObject)),
            (b"[1", Some(Skip::NotJson)),
            // 0x1e separates packets of a polling payload: JSON allows it nowhere unescaped.
            (b"{\"a\":\"\x1e\"}", Some(Skip::NotJson)),
            (b"{\x1e}", Some(Skip::NotJson)),
            (large.as_bytes(), Some(Skip::TooLarge)),
            (deepest.as_bytes(), None),
            (too_deep.as_bytes(), Some(Skip::TooDeep)),
            (far_too_deep.as_bytes(), Some(Skip::TooDeep)),
            (&open, Some(Skip::TooDeep)),
        ];
        for (value, expected) in cases {
            let shown = String::from_utf8_lossy(value.get(..40).unwrap_or(value));
            assert_eq!(skip(value), *expected, "{shown}");
        }
    }

    #[test]
    fn brackets_in_strings_are_not_depth() {
        let text = format!("{{\"a\":\"\\\"{}\",\"b\":\"\\\\\"}}", "[{".repeat(500));
        assert_eq!(skip(text.as_bytes()), None);
        let wide = format!("{{\"a\":[{}[]]}}", "[],".repeat(500));
        assert_eq!(skip(wide.as_bytes()), None);
        let after_escape = format!(
            "{{\"a\":\"\\\\\",\"b\":{}{}}}",
            "[".repeat(200),
            "]".repeat(200)
        );
        assert_eq!(skip(after_escape.as_bytes()), Some(Skip::TooDeep));
    }

    #[test]
    fn a_wanted_name_twice_in_one_object_is_ambiguous() {
        for (json, ambiguous) in [
            (r#"{"asset_id":1,"asset_id":1}"#, true),
            (r#"{"asset_id":1,"asset_\u0069d":2}"#, true),
            (r#"{"data":{"asset_id":1,"asset_id":2}}"#, true),
            (r#"{"data":{},"data":{}}"#, true),
            (r#"{"data":null,"data":{}}"#, true),
            (r#"{"asset_id":null,"asset_id":2}"#, true),
            (r#"{"asset_id":1,"data":{"asset_id":2}}"#, false),
            (
                r#"{"other":1,"other":2,"data":{"other":1,"other":2}}"#,
                false,
            ),
            (r#"{"data":{"event_type":1,"event_type":2}}"#, false),
            (r#"{"data":{"data":1,"data":2}}"#, false),
        ] {
            let expected = ambiguous.then_some(Skip::AmbiguousField);
            assert_eq!(skip(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn routing_fields_come_from_the_body_then_from_the_top() {
        let (fields, event, asset) = fields();
        for (json, expected) in [
            (r#"{"asset_id":"t","data":{"asset_id":"b"}}"#, Some("\"b\"")),
            (r#"{"data":{"asset_id":"b"},"asset_id":"t"}"#, Some("\"b\"")),
            (
                r#"{"asset_id":"t","data":{"asset_id":null}}"#,
                Some("\"t\""),
            ),
            (
                r#"{"asset_id":"t","data":[{"asset_id":"b"}]}"#,
                Some("\"t\""),
            ),
            (r#"{"asset_id":"t","data":"b"}"#, Some("\"t\"")),
            (r#"{"asset_id":"t","data":-1.5}"#, Some("\"t\"")),
            (r#"{"asset_id":"t","data":true}"#, Some("\"t\"")),
            (
                r#"{"asset_id":null,"data":{"nested":{"asset_id":"b"}}}"#,
                None,
            ),
        ] {
            let decoded = decode(json.as_bytes(), &fields, MAX_BYTES).expect(json);
            assert_eq!(
                decoded.first(&[asset]).map(|(_, _, value)| value.get()),
                expected,
                "{json}"
            );
        }
        let json = br#"{"data":{"event_type":"b"}}"#;
        let decoded = decode(json, &fields, MAX_BYTES).expect("json");
        assert!(
            decoded.first(&[event]).is_none(),
            "an event's name is never read from the body"
        );
    }

    #[test]
    fn ids_are_strings_that_fit_or_integers() {
        let id_of = |json: &str| id(serde_json::from_str::<&RawValue>(json).expect(json));
        for (json, expected) in [
            (r#""c7""#, "c7"),
            (r#""\u0063\u0037""#, "c7"),
            ("7", "7"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(
                id_of(json).map(|id| id.to_string()).as_deref(),
                Ok(expected),
                "{json}"
            );
        }
        for json in [
            r#""""#,
            r#""a:org:b""#,
            r#""a b""#,
            r#""\ud800""#,
            r#""é""#,
            r#""a\u0000""#,
            "-0",
            "7.0",
            "1e3",
            "18446744073709551616",
            "true",
            "false",
            "[7]",
            r#"{"id":7}"#,
            r#"["a"]"#,
        ] {
            assert_eq!(id_of(json), Err(InvalidId), "{json}");
        }
    }

    #[test]
    fn a_table_cannot_ask_for_more_fields_than_there_are_slots() {
        let mut fields = Fields::default();
        for number in 0..MAX_FIELDS {
            assert!(fields.want(&format!("field{number}"), true).is_some());
        }
        assert!(fields.want("one_more", true).is_none());
        assert!(fields.want("field0", true).is_some());
    }
}
