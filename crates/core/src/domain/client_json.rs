//! JSON of clients and tokens, which is read however deep a field is nested that is not looked at.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde_json::Value;
use serde_json::value::RawValue;

use super::json;

/// Lists and objects inside each other; `serde_json` itself takes 127. What lies deeper becomes `null`.
const MOST_NESTED: usize = 64;

/// As [`json::parse`], with `null` for what is nested too deep. `None`: it is not JSON.
pub fn parse(text: &str) -> Option<Value> {
    let value = json::parse(text).ok();
    value.or_else(|| {
        // Says whether it is JSON at all, and looks into no value.
        serde_json::from_str::<&RawValue>(text).ok()?;
        json::parse(&shallow(text)).ok()
    })
}

/// The same JSON without what is nested too deep.
fn shallow(text: &str) -> String {
    let mut result = String::new();
    let mut copied = 0;
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                if depth == MOST_NESTED {
                    result.push_str(text.get(copied..place).unwrap_or_default());
                    result.push_str("null");
                }
                depth = depth.saturating_add(1);
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == MOST_NESTED {
                    copied = place.saturating_add(1);
                }
            }
            _ => {}
        }
    }
    result.push_str(text.get(copied..).unwrap_or_default());
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
        [&open.repeat(times), inner, &close.repeat(times)].concat()
    }

    #[test]
    fn deeply_nested_fields_do_not_affect_the_others() {
        for deep in [
            nested("[", "", "]", 5_000),
            nested("[{\"x\":", "1", "}]", 900),
            nested("[\"]\\\"[\",", "\"\\\\\"", "]", 200),
            nested("[[1],", "\"\\ud800\"", ",[]]", 200),
        ] {
            let text = format!("{{\"a\":{deep},\"b\":[1,{deep},2],\"c\":1e400,\"\\ud800\":\"é\"}}");
            let value = parse(&text).unwrap_or_else(|| panic!("{text:.80}"));
            let at = |pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!((at("/b/0"), at("/b/2")), (json!(1), json!(2)));
            assert!(at("/a").to_string().len() < 2_000);
            assert_eq!(at("/\u{fffd}"), "é");
        }
        let fits = nested("[", "1", "]", MOST_NESTED);
        assert_eq!(shallow(&fits), fits);
        assert_eq!(
            shallow(&format!("[{fits}]")),
            format!("[{}]", fits.replace("[1]", "null"))
        );
    }

    #[test]
    fn invalid_json_is_none() {
        let deep = "[".repeat(5_000);
        for text in ["", "{", "{\"a\":\"\\ud800\"", "nope", "[1,]", "'a'", &deep] {
            assert_eq!(parse(text), None, "{text:.20}");
        }
        assert_eq!(parse(" {} "), Some(json!({})));
    }
}
