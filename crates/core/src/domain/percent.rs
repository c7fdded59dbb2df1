//! Percent-encoding of what may hold any character, for keys of records and paths: one text for each value, and back.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt::Write;

/// Everything but letters, digits and `-._~` of ASCII becomes `%XX`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a text does not fail");
        }
    }
    encoded
}

/// Only what [`encode`] writes: each value has one text.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (encode(&decoded) == text).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_has_one_text() {
        for (value, text) in [
            ("", ""),
            ("u1", "u1"),
            ("auth0|5f", "auth0%7C5f"),
            ("a/b c%", "a%2Fb%20c%25"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(encode(value), text);
            assert_eq!(decode(text).as_deref(), Some(value));
        }
        for foreign in [
            "a/b", "a b", "%7c", "%41", "%", "%4", "%zz", "%C3", "é", "+",
        ] {
            assert_eq!(decode(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(value in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&value)), Some(value));
        }

        #[test]
        fn what_is_decoded_was_encoded(text in "[a-c%0-9A-F/]{0,12}") {
            if let Some(value) = decode(&text) {
                prop_assert_eq!(encode(&value), text);
            }
        }
    }
}
