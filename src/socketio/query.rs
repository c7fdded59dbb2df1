//! The query of an Engine.IO request, as far as we look at it before the library does.

use super::{POLLING, WEBSOCKET};

/// The longest `t` that is kept for comparison, in bytes. Stock clients use 7 to 20; a longer one counts as none.
const LONGEST_MARK: usize = 64;

/// Decimal digits of a `t` that two polls in a row may share: the time in whole seconds (C#), or a checksum of 32 bits (Rust, which
/// meets the one before in one of 1,700 polls).
const COARSE_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

/// What the parameters say. The first of a repeated one counts, as in the library.
#[derive(Default)]
pub(super) struct EngineQuery {
    pub(super) sid: Option<String>,
    pub(super) websocket: bool,
    /// The library would begin a session with it: protocol 4, and a transport that it knows.
    pub(super) begins: bool,
    /// `?token=`, percent-decoded.
    pub(super) token: Option<String>,
    /// `?t=` as it is, if it is of a kind that is different in each request.
    pub(super) mark: Option<String>,
}

impl EngineQuery {
    pub(super) fn parse(query: &str) -> Self {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        // The library reads up to the next `=`, and what it takes for a WebSocket must be one here.
        let up_to_equals = |name: &str| value(name).and_then(|text| text.split('=').next());
        let transport = up_to_equals("transport");
        Self {
            sid: value("sid").map(str::to_owned),
            websocket: transport == Some(WEBSOCKET),
            begins: up_to_equals("EIO") == Some("4")
                && [Some(WEBSOCKET), Some(POLLING)].contains(&transport),
            token: value("token").map(percent_decode),
            mark: value("t").filter(|mark| is_mark(mark)).map(str::to_owned),
        }
    }

    /// The query without any token, for everything that keeps or logs it.
    pub(super) fn without_token(query: &str) -> String {
        let kept: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.starts_with("token="))
            .collect();
        kept.join("&")
    }
}

/// By a coarse one, a new poll would get the answer before it again, and a post would be dropped.
fn is_mark(text: &str) -> bool {
    let coarse = COARSE_DIGITS.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    (1..=LONGEST_MARK).contains(&text.len()) && !coarse
}

/// A token needs no escapes, but a client library may escape its dots all the same. What is no escape stays as it is.
fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_tokens_are_decoded() {
        let query = EngineQuery::parse("EIO=4&transport=websocket&sid=a&sid=b&token=x%2Ey");
        assert_eq!(query.sid.as_deref(), Some("a"));
        assert_eq!(query.token.as_deref(), Some("x.y"));
        assert!(query.websocket);
        assert!(EngineQuery::parse("transport=websocket=x&transport=polling").websocket);
    }

    #[test]
    fn session_begins_with_protocol_4_and_a_known_transport() {
        for (query, expected) in [
            ("EIO=4&transport=polling", true),
            ("t=1&transport=websocket=x&EIO=4=3", true),
            ("EIO=3&transport=polling", false),
            ("EIO=3&transport=polling&EIO=4", false),
            ("EIO=4&transport=webtransport", false),
            ("EIO=4", false),
            ("transport=polling", false),
            ("", false),
        ] {
            assert_eq!(EngineQuery::parse(query).begins, expected, "{query}");
        }
    }

    #[test]
    fn absent_parameters_are_not_found() {
        for query in [
            "",
            "&",
            "EIO=4",
            "xsid=a",
            "sid",
            "Token=x",
            "transport=polling",
            "transport=websocket2",
        ] {
            let parsed = EngineQuery::parse(query);
            assert_eq!(
                (parsed.sid, parsed.token, parsed.websocket),
                (None, None, false),
                "{query}"
            );
        }
        let empty = EngineQuery::parse("sid=&token=");
        assert_eq!(empty.sid.as_deref(), Some(""));
        assert_eq!(empty.token.as_deref(), Some(""));
    }

    #[test]
    fn mark_is_taken_as_it_is_unless_it_is_empty_or_too_long() {
        let longest = "x".repeat(LONGEST_MARK);
        let too_long = "x".repeat(LONGEST_MARK + 1);
        for (query, expected) in [
            ("EIO=4&t=PvA2.&sid=a", Some("PvA2.")),
            ("t=1&t=2", Some("1")),
            ("t=%31", Some("%31")),
            (&format!("t={longest}"), Some(longest.as_str())),
            (&format!("t={too_long}"), None),
            ("t=1795000000", None),
            ("t=94637862", None),
            ("t=4294967295", None),
            ("t=1795000000123", Some("1795000000123")),
            ("t=1795000000.25", Some("1795000000.25")),
            ("t=mfk3x1a2", Some("mfk3x1a2")),
            ("t=&sid=a", None),
            ("transport=polling&token=a&xt=1", None),
        ] {
            let parsed = EngineQuery::parse(query);
            assert_eq!(parsed.mark.as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn invalid_percent_escapes_are_kept() {
        for (given, expected) in [
            ("a%2", "a%2"),
            ("%zz", "%zz"),
            ("a+b", "a+b"),
            ("%ff", "\u{fffd}"),
            ("a=b", "a=b"),
        ] {
            let parsed = EngineQuery::parse(&format!("token={given}"));
            assert_eq!(parsed.token.as_deref(), Some(expected));
        }
    }

    #[test]
    fn no_token_is_kept() {
        for (query, expected) in [
            ("EIO=4&token=secret&t=1&token=other", "EIO=4&t=1"),
            ("token=secret", ""),
            ("token=a%26b", ""),
            ("tokens=1&xtoken=2", "tokens=1&xtoken=2"),
            ("", ""),
        ] {
            assert_eq!(EngineQuery::without_token(query), expected);
        }
    }
}
