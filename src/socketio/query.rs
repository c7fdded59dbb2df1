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
    /// `None`: it is of protocol 4, and of a transport that the library knows.
    pub(super) defect: Option<QueryDefect>,
    /// `?token=`, percent-decoded.
    pub(super) token: Option<String>,
    /// `?t=` as it is, if it is of a kind that is different in each request.
    pub(super) mark: Option<String>,
}

/// What no client of Engine.IO asks for. Of a parameter that is repeated a proxy or a log may read another one than we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryDefect {
    /// `transport` is missing, unknown or repeated.
    Transport,
    /// `EIO` is missing, repeated or not 4.
    Version,
    /// `sid` is repeated.
    Session,
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
        let is_repeated = |name: &str| {
            let is_it = |pair: &&str| {
                let rest = pair.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with('='))
            };
            query.split('&').filter(is_it).nth(1).is_some()
        };
        let defect = if up_to_equals("EIO") != Some("4") || is_repeated("EIO") {
            Some(QueryDefect::Version)
        } else if ![Some(WEBSOCKET), Some(POLLING)].contains(&transport) || is_repeated("transport")
        {
            Some(QueryDefect::Transport)
        } else {
            is_repeated("sid").then_some(QueryDefect::Session)
        };
        Self {
            sid: value("sid").map(str::to_owned),
            websocket: transport == Some(WEBSOCKET),
            defect,
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
    fn a32_session_begins_with_protocol_4_and_a_known_transport_each_named_once() {
        use QueryDefect::{Session, Transport, Version};
        for (query, expected) in [
            ("EIO=4&transport=polling", None),
            ("t=1&transport=websocket=x&EIO=4=3", None),
            ("EIO=4&transport=polling&t=1&t=2&token=a&token=b", None),
            ("EIO=4&transport=polling&sid=a&xsid=b", None),
            ("EIO=3&transport=polling", Some(Version)),
            ("EIO=3&transport=polling&EIO=4", Some(Version)),
            ("EIO=4&transport=polling&EIO=4", Some(Version)),
            ("transport=polling", Some(Version)),
            ("", Some(Version)),
            ("EIO=4&transport=webtransport", Some(Transport)),
            ("EIO=4&transport=polling&transport=", Some(Transport)),
            ("EIO=4&transport=polling&transport=polling", Some(Transport)),
            ("EIO=4", Some(Transport)),
            ("EIO=4&transport=polling&sid=a&sid=a", Some(Session)),
            ("EIO=4&sid=&transport=websocket&sid=a", Some(Session)),
        ] {
            assert_eq!(EngineQuery::parse(query).defect, expected, "{query}");
        }
    }

    proptest::proptest! {
        /// Of anything that can stand in a target, and of much that looks like a query.
        #[test]
        fn any_query_is_parsed_and_only_good_ones_pass(
            query in "((EIO|transport|sid|t|token|x|)(=|)(4|3|polling|websocket|%[0-9a-f]{0,2}|[!-~]{0,9}|\\PC{0,3})&?){0,9}"
        ) {
            let parsed = EngineQuery::parse(&query);
            let named = |name: &str| {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let values = pairs.filter(|(found, _)| *found == name);
                values.map(|(_, value)| value.split('=').next().unwrap()).collect::<Vec<_>>()
            };
            let is_good = named("EIO") == ["4"]
                && (named("transport") == [POLLING] || named("transport") == [WEBSOCKET])
                && named("sid").len() < 2;
            proptest::prop_assert_eq!(parsed.defect.is_none(), is_good);
            proptest::prop_assert_eq!(parsed.sid.is_some(), !named("sid").is_empty());
            let masked = EngineQuery::without_token(&query);
            proptest::prop_assert!(EngineQuery::parse(&masked).token.is_none());
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
