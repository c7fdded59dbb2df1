//! Which topics are meant, as a profile says it.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::decode::Format;

/// What is read: a name, or the names that one topic may have, of which all that exist are read, or all topics that a
/// pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub which: TopicChoice,
    pub format: Option<Format>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChoice {
    Names(Vec<String>),
    /// A regular expression for whole names, less the prefix.
    Pattern(String),
}

impl TopicSpec {
    pub fn names(names: &[&str]) -> Self {
        Self {
            which: TopicChoice::Names(names.iter().map(|&name| name.to_owned()).collect()),
            format: None,
        }
    }

    #[cfg(test)]
    pub(in crate::domain) fn pattern(text: &str) -> Self {
        Self {
            which: TopicChoice::Pattern(text.to_owned()),
            format: None,
        }
    }
}

impl<'de> Deserialize<'de> for TopicSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopicVisitor;

        impl<'de> Visitor<'de> for TopicVisitor {
            type Value = TopicSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "a topic's name, a list of its names, { pattern = \"...\" } or { names = [\"...\"] }",
                )
            }

            fn visit_str<E>(self, name: &str) -> Result<TopicSpec, E> {
                Ok(TopicSpec::names(&[name]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, names: S) -> Result<TopicSpec, S::Error> {
                Ok(TopicSpec {
                    which: TopicChoice::Names(Vec::deserialize(SeqAccessDeserializer::new(names))?),
                    format: None,
                })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<TopicSpec, M::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct TopicTable {
                    names: Option<Vec<String>>,
                    pattern: Option<String>,
                    format: Option<Format>,
                }

                let table = TopicTable::deserialize(MapAccessDeserializer::new(map))?;
                let which = match (table.names, table.pattern) {
                    (Some(names), None) => TopicChoice::Names(names),
                    (None, Some(pattern)) => TopicChoice::Pattern(pattern),
                    _ => {
                        return Err(serde::de::Error::custom(
                            "a topic has either names or a pattern",
                        ));
                    }
                };
                Ok(TopicSpec {
                    which,
                    format: table.format,
                })
            }
        }

        deserializer.deserialize_any(TopicVisitor)
    }
}
