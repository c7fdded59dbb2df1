//! Which topics a profile reads: those that it names, and those that its patterns match.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of a pattern as it is written.
pub const MAX_PATTERN: usize = 256;

/// Bytes that a pattern may take once it is compiled: `(a{1000}){1000}` is short to write and large to run.
const MAX_COMPILED: usize = 256 * 1024;

/// Topics of our own begin with this, unless the operator named them otherwise.
const OURS: &str = "fleetcast.";

/// Kafka's own topics begin with this: `__consumer_offsets`, `__transaction_state`.
const INTERNAL: &str = "__";

/// What consumers set aside, or write about events: no events of their own.
const SET_ASIDE: [&str; 4] = ["dlt", "dlq", "retry", "receipts"];

/// A regular expression over whole names of topics. It runs in time linear in the name, whatever it says.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    /// As it is written in the profile.
    text: Box<str>,
    regex: Regex,
}

impl TopicPattern {
    /// `prefix` is taken literally and stands in front of what `text` matches. Fails with what is wrong, for people.
    pub(in crate::domain) fn parse(prefix: &str, text: &str) -> Result<Self, String> {
        if !(1..=MAX_PATTERN).contains(&text.len()) {
            return Err(format!(
                "pattern {text:?} is not 1 to {MAX_PATTERN} bytes long"
            ));
        }
        // On its own first: `a)|(b` would be good inside the parentheses that anchor it.
        let whole = format!("^{}(?:{text})$", regex::escape(prefix));
        let compiled = compile(text).and_then(|_| compile(&whole));
        let regex = compiled.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("pattern {text:?} takes more than {MAX_COMPILED} bytes to match")
            }
            error => {
                // The crate draws the place over several lines; its last one says what is wrong.
                let drawn = error.to_string();
                let said = drawn.lines().last().unwrap_or_default().trim();
                format!(
                    "pattern {text:?} is not a regular expression: {}",
                    said.trim_start_matches("error: ")
                )
            }
        })?;
        if regex.is_match(prefix.as_bytes()) {
            return Err(format!("pattern {text:?} matches a name of no characters"));
        }
        Ok(Self {
            text: text.into(),
            regex,
        })
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic.as_bytes())
    }

    /// Named groups, as in `fleet\.(?<region>[a-z]+)`.
    pub(in crate::domain) fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// What the named groups match in a topic.
    pub(super) fn groups<'t>(&self, topic: &'t str) -> Vec<(&str, &'t str)> {
        let Some(captures) = self.regex.captures(topic.as_bytes()) else {
            return Vec::new();
        };
        let group = |name| Some((name, topic.get(captures.name(name)?.range())?));
        self.group_names().filter_map(group).collect()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        // Names of topics are ASCII, and so the tables for the rest of the world's letters are not needed.
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .nest_limit(32)
        .build()
}

/// The pattern as it is written.
impl fmt::Display for TopicPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The topics of a table.
#[derive(Debug, Default)]
pub(in crate::domain) struct ProfileTopics {
    /// Full names, by topic; see [`RouteTable::topic_groups`](super::RouteTable::topic_groups).
    pub(in crate::domain) groups: Vec<Vec<Arc<str>>>,
    names: HashSet<Arc<str>>,
    pub(in crate::domain) patterns: Vec<TopicPattern>,
    guard: PatternGuard,
}

impl ProfileTopics {
    pub(in crate::domain) fn new(
        groups: Vec<Vec<Arc<str>>>,
        patterns: Vec<TopicPattern>,
        guard: PatternGuard,
    ) -> Self {
        Self {
            names: groups.iter().flatten().cloned().collect(),
            groups,
            patterns,
            guard,
        }
    }

    pub(super) fn wants(&self, topic: &str) -> bool {
        self.names.contains(topic) || self.matches(topic)
    }

    /// For people: why a topic is wanted.
    pub(super) fn why(&self, topic: &str) -> String {
        let mut patterns = self.patterns.iter();
        match patterns.find(|pattern| pattern.matches(topic)) {
            Some(pattern) if !self.names.contains(topic) => {
                format!("{topic:?} is matched by the pattern {pattern}")
            }
            _ => format!("{topic:?} is a topic of the profile"),
        }
    }

    /// For people: why a topic is not wanted.
    pub(super) fn why_not(&self, topic: &str) -> String {
        if self.patterns.iter().any(|pattern| pattern.matches(topic)) {
            return format!(
                "{topic:?} fits a pattern, but patterns pass over topics of Fleetcast's own, Kafka's internal ones, and what was set aside (dlt, dlq, retry, receipts)"
            );
        }
        let names = self.groups.iter().flatten().map(ToString::to_string);
        let patterns = self.patterns.iter().map(|pattern| format!("/{pattern}/"));
        let known: Vec<String> = names.chain(patterns).collect();
        let known = known.join(", ");
        format!("{topic:?} is none of the profile's topics, which are {known}")
    }

    fn matches(&self, topic: &str) -> bool {
        !self.patterns.is_empty()
            && self.guard.lets_through(topic)
            && self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

/// Topics that no pattern matches, however wide it is. Reading our own receipts as events would make more receipts; dead
/// letters would be delivered, refused and set aside again.
#[derive(Debug, Default)]
pub(in crate::domain) struct PatternGuard {
    prefix: Box<str>,
    service: HashSet<Box<str>>,
}

impl PatternGuard {
    /// `service` are the full names of our own topics, however the operator called them.
    pub(in crate::domain) fn new(prefix: &str, service: &[String]) -> Self {
        Self {
            prefix: prefix.into(),
            service: service.iter().map(|name| name.as_str().into()).collect(),
        }
    }

    fn lets_through(&self, topic: &str) -> bool {
        let bare = topic.strip_prefix(&*self.prefix).unwrap_or(topic);
        let is_ours = |name: &str| name.starts_with(OURS) || name.starts_with(INTERNAL);
        !(is_ours(topic) || is_ours(bare) || self.service.contains(topic) || is_set_aside(bare))
    }
}

/// `orders.dlq`, `orders-retry`, and `orders-retry-1000` as Spring counts them. A case of its own does not help.
fn is_set_aside(topic: &str) -> bool {
    let parted = |sign: char| matches!(sign, '.' | '-' | '_');
    let uncounted = topic
        .rsplit_once(parted)
        .filter(|(_, count)| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(topic, |(before, _)| before);
    [topic, uncounted].iter().any(|name| {
        let last = name.rsplit(parted).next().unwrap_or_default();
        SET_ASIDE.iter().any(|word| last.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(prefix: &str, pattern: &str) -> ProfileTopics {
        let pattern = TopicPattern::parse(prefix, pattern).expect(pattern);
        let guard = PatternGuard::new(prefix, &["audit.log".to_owned(), "publish".to_owned()]);
        ProfileTopics::new(vec![vec!["plain".into()]], vec![pattern], guard)
    }

    #[test]
    fn a_pattern_matches_whole_names_behind_the_prefix() {
        let fleet = topics("", r"fleet\.(.*)\.events|units-\d+");
        for (topic, wanted) in [
            ("plain", true),
            ("fleet.north.events", true),
            ("fleet..events", true),
            ("units-12", true),
            ("fleet.north.events2", false),
            ("a.fleet.north.events", false),
            ("xunits-12", false),
            ("units-12.", false),
            ("units-12\n", false),
            ("fleetxnorthxevents", false),
            ("", false),
        ] {
            assert_eq!(fleet.wants(topic), wanted, "{topic}");
        }
        let city = topics("c.ty.", "fleet.*");
        assert!(city.wants("c.ty.fleet1"));
        assert!(!city.wants("fleet1") && !city.wants("city.fleet1"));
    }

    #[test]
    fn patterns_match_neither_own_topics_nor_dead_letter_and_retry_topics() {
        for prefix in ["", "city."] {
            let all = topics(prefix, ".*[a-z0-9].*");
            for topic in [
                "orders",
                "dlqs",
                "orders.dlq.copy",
                "retrying",
                "nodlt",
                "orders-7",
                "my_fleetcast",
            ] {
                let topic = format!("{prefix}{topic}");
                assert!(all.wants(&topic), "{topic}");
            }
            for topic in [
                "orders.dlt",
                "orders-dlq",
                "orders_retry",
                "orders.receipts",
                "orders-DLT",
                "orders-retry-0",
                "orders-retry-1000",
                "orders.dlq.1",
                "dlq",
                "receipts",
                "fleetcast.publish",
                "fleetcast.x",
                "__consumer_offsets",
            ] {
                let topic = format!("{prefix}{topic}");
                assert!(!all.wants(&topic), "{topic}");
            }
            for topic in [
                "audit.log",
                "publish",
                "fleetcast.publish",
                "__transaction_state",
            ] {
                assert!(!all.wants(topic), "{topic}");
            }
        }
    }

    #[test]
    fn an_invalid_pattern_is_rejected_with_a_reason() {
        for (pattern, words) in [
            ("", "1 to 256 bytes"),
            (&*"x".repeat(300), "1 to 256 bytes"),
            ("fleet(", "not a regular expression: unclosed group"),
            ("a)|(b", "not a regular expression: unopened group"),
            ("*", "not a regular expression: repetition operator"),
            (r"(\w{1000}){1000}", "takes more than"),
            (".*", "no characters"),
            (&*format!("{}a{}", "(".repeat(60), ")".repeat(60)), "nest"),
        ] {
            let message = TopicPattern::parse("city.", pattern).expect_err(pattern);
            assert!(message.contains(words), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
