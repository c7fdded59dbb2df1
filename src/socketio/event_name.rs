//! Events whose name the library cannot read: it takes a text without escapes only, and closes the transport over anything else.
//! They are put into a form that reaches the inbox, which answers them.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What stands in for an event that has no readable name: no event of ours, and the inbox knows it.
pub(super) const NAMELESS: &str = "";

/// In place of what a name of ours never holds, and the library cannot read.
const UNREADABLE: char = '?';

/// An event packet of Engine.IO and Socket.IO (`42…`, `45…`) in a form that the library reads. `None`: it has it already, or it
/// is none of those. Never longer than before, but for a few bytes.
pub(super) fn legible(packet: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(packet).ok()?;
    let head = head_len(text)?;
    let (head, data) = text.split_at(head);
    if is_read_by_library(data) {
        return None;
    }
    let data = named(data).unwrap_or_else(|| format!("[\"{NAMELESS}\"]"));
    Some([head, &data].concat().into_bytes())
}

/// Whether [`legible`] has to look at a packet that begins so.
pub(super) fn may_be_illegible(head: &[u8]) -> bool {
    matches!(head, b"42" | b"45")
}

/// What comes before the JSON: types, count of attachments, namespace, id of the acknowledgement. `None`: no event, or one that
/// the library closes for other reasons.
fn head_len(text: &str) -> Option<usize> {
    let is_digit = |c: char| c.is_ascii_digit();
    let rest = match text.get(..2)? {
        "42" => &text[2..],
        "45" => {
            let rest = text[2..].trim_start_matches(is_digit);
            rest.strip_prefix('-')?
        }
        _ => return None,
    };
    let rest = match rest.strip_prefix('/') {
        Some(_) => rest.split_once(',')?.1,
        None => rest,
    };
    Some(text.len() - rest.trim_start_matches(is_digit).len())
}

/// As the library reads it: a list that begins with a text without escapes. What follows the list is not looked at.
fn is_read_by_library(data: &str) -> bool {
    First::<&str>::deserialize(&mut serde_json::Deserializer::from_str(data)).is_ok()
}

/// The list with its first text in a form without escapes, if that is a text.
fn named(data: &str) -> Option<String> {
    let first = First::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(data));
    let raw = first.ok()?.0.get();
    if !raw.starts_with('"') {
        return None;
    }
    let name = serde_json::from_str::<String>(raw).unwrap_or_else(|_| UNREADABLE.to_string());
    let readable = |c: char| {
        if c == '"' || c == '\\' || c.is_control() {
            UNREADABLE
        } else {
            c
        }
    };
    let name: String = name.chars().map(readable).collect();
    // The first text of the list begins with its first quote.
    let start = data.find('"')?;
    let rest = &data[start + raw.len()..];
    Some(format!("[\"{name}\"{rest}"))
}

/// The first element of a list; the others are only passed over.
struct First<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = First<T>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a list that is not empty")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T>, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                first
                    .map(First)
                    .ok_or_else(|| A::Error::custom("it is empty"))
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_the_library_reads_and_other_packets_stay_as_they_are() {
        for packet in [
            "42[\"rooms\"]",
            "42[\"caf\u{e9}\",{\"a\":\"\\ud800\"}]",
            "425[\"subscribe\",{\"room\":\"channel:7\"}]",
            "42/ws,17[\"rooms\",{\"x\":1e999}]",
            "42 [ \"rooms\" ]",
            "451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
            "42[\"rooms\"] trailing",
            "40{\"token\":1}",
            "41",
            "3",
            "2",
            "",
            "4",
            "431[1]",
            // Closed by the library for what stands before the data.
            "45[\"x\"]",
            "42/ws",
        ] {
            assert_eq!(legible(packet.as_bytes()), None, "{packet}");
        }
        assert_eq!(legible(b"42[\"\xff\"]"), None);
    }

    #[test]
    fn escaped_names_are_unescaped_and_missing_ones_become_empty() {
        for (packet, expected) in [
            ("42[\"caf\\u00e9\"]", "42[\"caf\u{e9}\"]"),
            (
                "42[\"\\u0061ck\",{\"id\":\"\\u0031\"}]",
                "42[\"ack\",{\"id\":\"\\u0031\"}]",
            ),
            ("42 [ \"rooms\\/x\" , 1]", "42[\"rooms/x\" , 1]"),
            ("425[\"\\ud83d\\ude00\"]", "425[\"\u{1f600}\"]"),
            ("42[\"a\\\"b\\\\c\\nd\\u0000\"]", "42[\"a?b?c?d?\"]"),
            ("42[\"a\\ud800\"]", "42[\"?\"]"),
            ("42/ws,7[\"\\u0061\"]", "42/ws,7[\"a\"]"),
            (
                "451-[\"\\u0061\",{\"_placeholder\":true,\"num\":0}]",
                "451-[\"a\",{\"_placeholder\":true,\"num\":0}]",
            ),
            ("42[1]", "42[\"\"]"),
            ("427[1]", "427[\"\"]"),
            ("42[]", "42[\"\"]"),
            ("42{}", "42[\"\"]"),
            ("423{\"a\":1}", "423[\"\"]"),
            ("42", "42[\"\"]"),
            ("425", "425[\"\"]"),
            ("42[\"a\"", "42[\"\"]"),
            ("425[\"a\",", "425[\"\"]"),
            ("42[null]", "42[\"\"]"),
            ("42[[\"a\"]]", "42[\"\"]"),
            ("42[{\"a\":1}]", "42[\"\"]"),
            ("42\"rooms\"", "42[\"\"]"),
            ("42rooms", "42[\"\"]"),
            ("421-1[\"x\"]", "421[\"\"]"),
            ("452-[1,{\"_placeholder\":true,\"num\":0}]", "452-[\"\"]"),
            ("42/ws,[true]", "42/ws,[\"\"]"),
        ] {
            let found = legible(packet.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found.as_deref(), Some(expected), "{packet}");
            assert_eq!(
                legible(expected.as_bytes()),
                None,
                "{packet}: one pass is enough"
            );
            assert!(may_be_illegible(&packet.as_bytes()[..2]), "{packet}");
        }
        let long = format!("42[\"{}\"]", "\\\"".repeat(30_000));
        assert!(legible(long.as_bytes()).unwrap().len() <= long.len());
    }
}
