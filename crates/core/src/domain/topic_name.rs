//! What Kafka allows as the name of a topic: one rule, for profiles, settings and commands.

/// Bytes of the longest name.
pub const MAX_TOPIC_NAME: usize = 249;

/// The rule in words, behind "expected".
pub const TOPIC_NAME_RULE: &str =
    "1 to 249 characters of A-Z, a-z, 0-9, ., _ and -, other than . and ..";

pub fn is_topic_name(name: &str) -> bool {
    (1..=MAX_TOPIC_NAME).contains(&name.len())
        && has_topic_characters(name)
        && !matches!(name, "." | "..")
}

/// A name may begin with this text. True of an empty one.
pub fn has_topic_characters(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_the_rule_of_kafka() {
        let longest = "x".repeat(MAX_TOPIC_NAME);
        for good in ["a", "fleet.north-1_x", "...", "__offsets", &longest] {
            assert!(is_topic_name(good), "{good}");
        }
        let too_long = "x".repeat(MAX_TOPIC_NAME + 1);
        for bad in ["", ".", "..", "a b", "a/b", "ü", "a\n", &too_long] {
            assert!(!is_topic_name(bad), "{bad}");
        }
        assert!(TOPIC_NAME_RULE.contains(&MAX_TOPIC_NAME.to_string()));
        assert!(has_topic_characters("") && !has_topic_characters("city:"));
    }
}
