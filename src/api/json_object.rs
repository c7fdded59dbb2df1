//! What must be a JSON object. A list would do for a derived structure as well, its elements as members in the order of the source: a body
//! without one name could revoke tokens.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` that was written as an object.
#[derive(Debug)]
pub(super) struct JsonObject<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyMembers(PhantomData))
    }
}

struct OnlyMembers<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMembers<T> {
    type Value = JsonObject<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(JsonObject)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TestBody {
        name: Option<String>,
        data: Box<RawValue>,
    }

    #[test]
    fn the_members_of_an_object_are_read_as_they_are_and_a_list_is_none() {
        let parse = |text: &str| serde_json::from_str::<JsonObject<TestBody>>(text);
        let JsonObject(read) = parse(r#"{"data":{"a": [1.50]},"name":"b"}"#).unwrap();
        assert_eq!(read.name.as_deref(), Some("b"));
        assert_eq!(read.data.get(), r#"{"a": [1.50]}"#);
        for (text, named) in [
            (r#"["b",{}]"#, "invalid type: sequence, expected an object"),
            ("7", "invalid type: integer `7`, expected an object"),
            ("null", "invalid type: null, expected an object"),
            (r#"{"name":"b"}"#, "missing field `data`"),
            (r#"{"data":1,"nam":"b"}"#, "unknown field `nam`"),
            (r#"{"data":1,"data":2}"#, "duplicate field `data`"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(named), "{text}: {error}");
        }
    }
}
