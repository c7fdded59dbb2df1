//! JSON from outside, read as gently as a browser's `JSON.parse` does.
//!
//! `serde_json` refuses the whole text for half a surrogate pair or a number beyond all floats anywhere in it, and rounds
//! integers beyond 64 bits. Its feature `arbitrary_precision` would change the numbers of every other crate in the program too.
//! So the few places that it cannot read are rewritten before it parses the text; a text without them is not copied.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use serde_json::Value;

/// Reads a whole text. As `JSON.parse`, but for three things that have no place in a [`Value`]:
///
/// - half of a surrogate pair becomes U+FFFD, which fits no identifier, not even a user's;
/// - an integer beyond 64 bits becomes the text of its digits: as an identifier it means the same;
/// - a number beyond all floats becomes a text with U+FFFD, which is neither a number nor an identifier, so it is refused where it is read.
///
/// Of members that occur twice the last one counts.
pub fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&numbers_as_text(&whole_surrogates(text)))
}

/// The same text, with U+FFFD for each half of a surrogate pair that stands alone. Every other byte stays where it is.
pub(super) fn whole_surrogates(text: &str) -> Cow<'_, str> {
    let mut halves = Vec::new();
    let mut rest = text.as_bytes();
    let place = |rest: &[u8]| text.len().saturating_sub(rest.len());
    // Outside of strings no backslash is JSON, so this need not know where strings are.
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (_, escape) = rest.split_at(at);
        let high = matches!(code_unit(escape), Some(0xD800..=0xDBFF));
        let low = |escape: &[u8]| matches!(code_unit(escape), Some(0xDC00..=0xDFFF));
        let length = match code_unit(escape) {
            Some(_) if high && escape.get(6..).is_some_and(low) => 12,
            Some(_) if high || low(escape) => {
                halves.push(place(escape));
                6
            }
            _ => 2,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    if halves.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut whole = text.to_owned();
    for at in halves {
        whole.replace_range(at..at.saturating_add(6), r"\ufffd");
    }
    Cow::Owned(whole)
}

/// Of an escape `\uXXXX` at the beginning.
fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The same text, with quotes around numbers that a [`Value`] cannot hold.
fn numbers_as_text(text: &str) -> Cow<'_, str> {
    let mut rewritten = String::new();
    let mut copied = 0;
    let (mut at, mut before) = (0_usize, b' ');
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' => end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => end_of_number(bytes, at),
            _ => at.saturating_add(1),
        };
        let token = text.get(at..end).unwrap_or_default();
        // Only where a number may stand: what is no JSON must not become JSON.
        let may_stand = matches!(before, b' ' | b'\t' | b'\n' | b'\r' | b'[' | b',' | b':');
        let number = byte == b'-' || byte.is_ascii_digit();
        if number
            && may_stand
            && let Some(kind) = unfit(token)
            && !is_name(bytes, end)
        {
            rewritten.push_str(text.get(copied..at).unwrap_or_default());
            rewritten.push('"');
            if kind == Unfit::Float {
                rewritten.push(char::REPLACEMENT_CHARACTER);
            }
            rewritten.push_str(token);
            rewritten.push('"');
            copied = end;
        }
        before = byte;
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    rewritten.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(rewritten)
}

/// What stands before `end` is the name of a member, where JSON allows only strings.
fn is_name(bytes: &[u8], end: usize) -> bool {
    let mut rest = bytes.iter().skip(end);
    rest.find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start.saturating_add(1);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at.saturating_add(1),
            b'\\' => at = at.saturating_add(2),
            _ => at = at.saturating_add(1),
        }
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.iter().position(|byte| !is_part(byte));
    start.saturating_add(length.unwrap_or(rest.len()))
}

#[derive(PartialEq, Eq)]
enum Unfit {
    Integer,
    Float,
}

/// It is a JSON number that fits neither 64 bits nor a float.
fn unfit(number: &str) -> Option<Unfit> {
    // Shorter ones fit, whatever they are.
    if number.len() < 5 {
        return None;
    }
    let integer = is_integer(number);
    let fits = if integer {
        number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
    } else {
        number.parse::<f64>().is_ok_and(f64::is_finite)
    };
    // The library knows the rest of the grammar.
    let is_json = || {
        serde_json::from_str::<&serde_json::value::RawValue>(number)
            .is_ok_and(|json| json.get() == number)
    };
    let kind = if integer {
        Unfit::Integer
    } else {
        Unfit::Float
    };
    (!fits && is_json()).then_some(kind)
}

/// The decimal form of an integer, of any length: no fraction, no exponent, no `-0`.
pub(super) fn is_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let leading_zero = digits.starts_with('0') && number != "0";
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && !leading_zero
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#""\ud800""#, "\u{FFFD}"),
            (r#""\uDFFF""#, "\u{FFFD}"),
            (r#""a\ud83db""#, "a\u{FFFD}b"),
            (r#""\ud83d\ude00""#, "\u{1F600}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}\u{1F600}"),
            (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
            (r#""\ud83d\n""#, "\u{FFFD}\n"),
            (r#""\\ud800""#, r"\ud800"),
            (r#""\\\ud800""#, "\\\u{FFFD}"),
            ("\"\\ud800\u{e9}\"", "\u{FFFD}\u{e9}"),
        ] {
            assert_eq!(parse(text).expect(text), json!(expected), "{text}");
            assert_eq!(whole_surrogates(text).len(), text.len());
        }
        let named = parse(r#"{"\ud800":1,"a":{"b":["\udc00"]}}"#).expect("an object");
        assert_eq!(named, json!({"\u{FFFD}": 1, "a": {"b": ["\u{FFFD}"]}}));
        for broken in [
            r#""\ud8""#,
            r#""\ud80"#,
            r"\ud800",
            r#""\ud800"#,
            "\"\\",
            "\\",
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn integers_beyond_64_bits_become_the_text_of_their_digits() {
        let nines = "9".repeat(400);
        for (text, expected) in [
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("-9223372036854775809", json!("-9223372036854775809")),
            (&nines, json!(nines)),
            (" 18446744073709551616\n", json!("18446744073709551616")),
            (
                r#"{"a":18446744073709551616,"b":[1,18446744073709551616 ]}"#,
                json!({"a": "18446744073709551616", "b": [1, "18446744073709551616"]}),
            ),
            (
                r#"{"18446744073709551616":"a\"18446744073709551617"}"#,
                json!({"18446744073709551616": "a\"18446744073709551617"}),
            ),
            (
                "18446744073709551616.0",
                json!(18_446_744_073_709_551_616.0),
            ),
            ("1.795e9", json!(1.795e9)),
            ("-0", json!(-0.0)),
        ] {
            assert_eq!(parse(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_beyond_all_floats_is_a_text_that_is_no_identifier() {
        let read = parse(r#"{"a":1e400,"b":[-1.5E+999]}"#).expect("an object");
        assert_eq!(
            read,
            json!({"a": "\u{fffd}1e400", "b": ["\u{fffd}-1.5E+999"]})
        );
    }

    #[test]
    fn invalid_json_is_not_made_valid() {
        for broken in [
            "018446744073709551616",
            "-018446744073709551616",
            "--18446744073709551616",
            "+18446744073709551616",
            "18446744073709551616x",
            "x18446744073709551616",
            "18446744073709551616 18446744073709551616",
            "\"a\"18446744073709551616",
            "{18446744073709551616:1}",
            "{18446744073709551616 :1}",
            "[1 18446744073709551616]",
            "1e400e1",
            "1e400.5",
            ".1e400",
            "01e400",
            "",
            "{",
            "NaN",
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err(), "it does not recurse");
    }

    #[test]
    fn the_last_of_duplicate_members_counts() {
        assert_eq!(
            parse(r#"{"a":1,"a":2}"#).expect("an object"),
            json!({"a": 2})
        );
    }

    #[test]
    fn text_without_changes_is_not_copied() {
        for text in [r#"{"a":[1,-2.5e3,"\u00e9\ud83d\ude00"]}"#, "", "nonsense"] {
            assert!(matches!(whole_surrogates(text), Cow::Borrowed(_)), "{text}");
            assert!(matches!(numbers_as_text(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
