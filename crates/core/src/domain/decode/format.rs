//! How the JSON stands in a record's value.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::super::skip::Skip;

/// What a topic's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON text.
    #[default]
    Json,
    /// JSON text behind the five bytes that Confluent's serializers put in front: a zero, and the schema's id in the registry.
    JsonSchema,
}

/// The byte that every frame begins with.
const MAGIC: u8 = 0;

impl Format {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::JsonSchema => "json-schema",
        }
    }

    /// The JSON's bytes, and the id of the schema that it was written by. The schema itself is not asked for: the JSON says all
    /// that routing needs, and a registry that is away must not stop the events.
    pub(super) fn unframed(self, value: &[u8]) -> Result<(&[u8], Option<u32>), Skip> {
        match self {
            Self::Json => Ok((value, None)),
            Self::JsonSchema => match value {
                [] => Err(Skip::Empty),
                [MAGIC, id @ ..] => match id.split_first_chunk::<4>() {
                    Some((_, [])) | None => Err(Skip::BadFraming),
                    Some((id, json)) => Ok((json, Some(u32::from_be_bytes(*id)))),
                },
                _ => Err(Skip::BadFraming),
            },
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "json" => Ok(Self::Json),
            "json-schema" => Ok(Self::JsonSchema),
            other => Err(serde::de::Error::custom(format!(
                "format {other:?} is not supported: there are \"json\" and \"json-schema\" (JSON behind the five bytes of a schema registry)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_zero_four_bytes_and_json() {
        let framed = |value: &'static [u8]| Format::JsonSchema.unframed(value);
        assert_eq!(framed(b"\0\0\0\x01\x02{}"), Ok((&b"{}"[..], Some(258))));
        assert_eq!(
            framed(b"\0\xff\xff\xff\xff{"),
            Ok((&b"{"[..], Some(u32::MAX)))
        );
        assert_eq!(framed(b""), Err(Skip::Empty));
        for broken in [
            &b"\0"[..],
            b"\0\0\0\x01",
            b"\0\0\0\0\x01",
            b"{\"a\":1}",
            b"\x01\0\0\0\x01{}",
        ] {
            assert_eq!(framed(broken), Err(Skip::BadFraming), "{broken:?}");
        }
        assert_eq!(
            Format::Json.unframed(b"\0\0\0\0\x01{}"),
            Ok((&b"\0\0\0\0\x01{}"[..], None))
        );
    }
}
