//! Lists that are no longer than is looked at, however long they are in a request.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The first elements, at most `MOST` and one more, which shows that there are too many. Those behind it are JSON and nothing else, and take
/// no memory: 4 MiB hold a million.
#[derive(Debug, Default)]
pub(super) struct AtMost<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstElements(PhantomData))
    }
}

struct FirstElements<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FirstElements<T, MOST> {
    type Value = AtMost<T, MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As of any list.
        formatter.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut first = Vec::new();
        while first.len() <= MOST {
            match all.next_element()? {
                Some(element) => first.push(element),
                None => return Ok(AtMost(first)),
            }
        }
        while all.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AtMost(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_allowed_is_kept_and_what_is_no_json_is_found() {
        let parse = |text: &str| serde_json::from_str::<AtMost<u8, 2>>(text);
        let kept = |text: &str| parse(text).unwrap().0;
        assert_eq!(kept("[]"), [0_u8; 0]);
        assert_eq!(kept("[1,2]"), [1, 2]);
        assert_eq!(kept("[1,2,3]"), [1, 2, 3]);
        assert_eq!(kept(r#"[1,2,3,4,{"a":[5]},"6"]"#), [1, 2, 3]);
        for bad in ["[1,2,3,4", "[1,2,3,4,]", "[1,2,3,nil]", "[1,\"2\"]", "7"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("7").unwrap_err().to_string();
        let plain = serde_json::from_str::<Vec<u8>>("7").unwrap_err();
        assert_eq!(error, plain.to_string());
    }
}
