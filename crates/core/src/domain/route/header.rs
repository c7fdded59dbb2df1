//! What a header of a record says.

use std::borrow::Cow;

use super::super::record::Record;
use super::super::skip::Skip;

/// The value's text, without the quotes of JSON: Spring's serializer writes a string with them. `None` for JSON's `null`, which
/// is no value.
fn value(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match bytes.trim_ascii() {
        b"null" => None,
        json if json.starts_with(b"\"") => Some(match serde_json::from_slice::<String>(json) {
            Ok(text) => Cow::Owned(text.into_bytes()),
            Err(_) => Cow::Borrowed(bytes),
        }),
        _ => Some(Cow::Borrowed(bytes)),
    }
}

/// The values of the headers of this name, in the order of the record.
pub(super) fn values<'r>(
    name: &str,
    record: &Record<'r>,
) -> impl DoubleEndedIterator<Item = Cow<'r, [u8]>> {
    let named = record
        .headers
        .iter()
        .filter(move |(header, _)| *header == name);
    named.filter_map(|(_, bytes)| value(bytes))
}

/// Kafka lets a header repeat. Two that differ are about two things, and either could be the wrong one.
pub(super) fn only<'r>(name: &str, record: &Record<'r>) -> Result<Option<Cow<'r, [u8]>>, Skip> {
    let mut values = values(name, record);
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != first) {
        return Err(Skip::AmbiguousField);
    }
    Ok(Some(first))
}

/// `None` for what is not UTF-8.
pub(super) fn text(value: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::from),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quotes_of_a_json_string_are_taken_off_and_nothing_else_is() {
        for (bytes, expected) in [
            (&b"o1"[..], Some("o1")),
            (b"", Some("")),
            (b"\"o1\"", Some("o1")),
            (b" \"o1\"\n", Some("o1")),
            (b"\"\"", Some("")),
            (br#""caf\u00e9""#, Some("caf\u{e9}")),
            (br#""o\"1""#, Some("o\"1")),
            (br#""\"o1\"""#, Some("\"o1\"")),
            (b"\"null\"", Some("null")),
            (b"null", None),
            (b" null ", None),
            (b"7", Some("7")),
            (b"true", Some("true")),
            // No JSON string as a whole.
            (b" o1 ", Some(" o1 ")),
            (b"\"o1", Some("\"o1")),
            (b"o1\"", Some("o1\"")),
            (b"\"o1\"x", Some("\"o1\"x")),
            (b"\"o1\",\"o2\"", Some("\"o1\",\"o2\"")),
            (br#""\ud800""#, Some(r#""\ud800""#)),
            (b"\"a\nb\"", Some("\"a\nb\"")),
            (b"'o1'", Some("'o1'")),
            (b"{\"a\":1}", Some("{\"a\":1}")),
            (b"\xef\xbb\xbf\"o1\"", Some("\u{FEFF}\"o1\"")),
            (b"o\x001\0", Some("o\x001\0")),
        ] {
            let found = value(bytes);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{bytes:?}");
        }
        let latin = b"\"caf\xe9\"";
        assert_eq!(value(latin).as_deref(), Some(&latin[..]), "it is not UTF-8");
    }
}
