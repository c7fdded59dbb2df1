//! Where in a record something is found, as a profile says it.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Sources, in the order in which they are looked at. Written as a table, or as the list of its fields: serde derives the
/// first, as an inherent `deserialize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct SourceSpec {
    pub headers: Vec<String>,
    pub fields: Vec<FieldSpec>,
    /// The record's key.
    pub key: Option<KeySpec>,
    /// The name of a group in the pattern that matched the topic.
    pub topic: Option<String>,
    /// What holds where no source is there.
    pub default: Option<String>,
    /// All sources that are there must say the same; of an organisation only.
    pub agree: bool,
}

impl SourceSpec {
    pub fn of_fields(names: &[&str]) -> Self {
        Self {
            fields: names.iter().map(|&name| FieldSpec::parse(name)).collect(),
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<'de> Deserialize<'de> for SourceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;

        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = SourceSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "a list of fields, or a table of headers, fields, key, topic and default",
                )
            }

            fn visit_seq<S: SeqAccess<'de>>(self, fields: S) -> Result<SourceSpec, S::Error> {
                Ok(SourceSpec {
                    fields: Vec::deserialize(SeqAccessDeserializer::new(fields))?,
                    ..SourceSpec::default()
                })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SourceSpec, M::Error> {
                SourceSpec::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(SourceVisitor)
    }
}

/// Where a record names its organisation: sources, or one organisation that holds unless the record names another in the
/// usual place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganisationSpec(pub SourceSpec);

/// Where records name their organisation unless the profile says otherwise: a header, and a field, of this name.
const USUAL: &str = "organization_id";

impl<'de> Deserialize<'de> for OrganisationSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrganisationVisitor;

        impl<'de> Visitor<'de> for OrganisationVisitor {
            type Value = OrganisationSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "an organisation, or a table of headers, fields, key, topic and default",
                )
            }

            fn visit_str<E>(self, organisation: &str) -> Result<OrganisationSpec, E> {
                Ok(OrganisationSpec(SourceSpec {
                    headers: vec![USUAL.to_owned()],
                    default: Some(organisation.to_owned()),
                    ..SourceSpec::of_fields(&[USUAL])
                }))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<OrganisationSpec, M::Error> {
                SourceSpec::deserialize(MapAccessDeserializer::new(map)).map(OrganisationSpec)
            }
        }

        deserializer.deserialize_any(OrganisationVisitor)
    }
}

/// A member of the record's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSpec {
    /// A name: in `data`, then at the top (that of an event: at the top only).
    Name(String),
    /// The keys from the top. Written with dots, or as a list of the keys, which may then have dots themselves.
    Path(Vec<String>),
}

impl FieldSpec {
    pub fn parse(text: &str) -> Self {
        if text.contains('.') {
            Self::Path(text.split('.').map(str::to_owned).collect())
        } else {
            Self::Name(text.to_owned())
        }
    }
}

impl fmt::Display for FieldSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Debug::fmt(name, formatter),
            Self::Path(keys) => fmt::Debug::fmt(keys, formatter),
        }
    }
}

impl<'de> Deserialize<'de> for FieldSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;

        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = FieldSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field's name, a path with dots, or a list of keys")
            }

            fn visit_str<E>(self, text: &str) -> Result<FieldSpec, E> {
                Ok(FieldSpec::parse(text))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, keys: S) -> Result<FieldSpec, S::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(keys)).map(FieldSpec::Path)
            }
        }

        deserializer.deserialize_any(FieldVisitor)
    }
}

/// Which part of a record's key is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// `key = true`: all of it.
    Whole,
    /// `key = { separator = ":", part = 1 }`.
    Part(KeyPart),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPart {
    pub separator: String,
    /// From 1.
    pub part: usize,
}

impl<'de> Deserialize<'de> for KeySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = KeySpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, or { separator = \":\", part = 1 }")
            }

            fn visit_bool<E: serde::de::Error>(self, whole: bool) -> Result<KeySpec, E> {
                if whole {
                    Ok(KeySpec::Whole)
                } else {
                    Err(E::custom("a key that is not looked at is left out"))
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<KeySpec, M::Error> {
                KeyPart::deserialize(MapAccessDeserializer::new(map)).map(KeySpec::Part)
            }
        }

        deserializer.deserialize_any(KeyVisitor)
    }
}
