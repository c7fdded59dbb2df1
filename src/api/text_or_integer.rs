//! What may be a string or an integer in a request, and takes no more memory than that whatever stands there instead.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// A string or an integer of 64 bits; null for everything else, of which nothing is kept: 4 MiB hold 600,000 objects, and each would take
/// hundreds of bytes.
#[derive(Debug, Clone)]
pub(super) struct TextOrInteger(pub(super) Value);

impl<'de> Deserialize<'de> for TextOrInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeepsScalars).map(Self)
    }
}

struct KeepsScalars;

impl<'de> Visitor<'de> for KeepsScalars {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or an integer")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        while all.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        while all.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}

impl PartialSchema for TextOrInteger {
    fn schema() -> RefOr<Schema> {
        let either = SchemaType::from_iter([Type::String, Type::Integer]);
        ObjectBuilder::new().schema_type(either).into()
    }
}

impl ToSchema for TextOrInteger {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_string_and_an_integer_of_64_bits_are_kept_and_the_rest_is_read_over() {
        let read = |text: &str| serde_json::from_str::<Vec<TextOrInteger>>(text);
        for (text, kept) in [
            (r#""a\n""#, json!("a\n")),
            ("0", json!(0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551616", json!(null)),
            ("7.0", json!(null)),
            ("true", json!(null)),
            ("null", json!(null)),
            ("[[1],{}]", json!(null)),
            (r#"{"":{"a":[]}}"#, json!(null)),
        ] {
            let found = read(&format!("[{text},1]")).unwrap();
            let [found, behind] = <[TextOrInteger; 2]>::try_from(found).unwrap();
            assert_eq!((found.0, behind.0), (kept, json!(1)), "{text}");
        }
        for bad in ["[[1,]]", r#"[{"a"}]"#, "[nil]", "[[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
