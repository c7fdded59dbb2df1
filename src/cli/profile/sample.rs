//! A record written down in a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What a file holds.
pub(super) enum SampleSource {
    /// The record with its topic, key and headers.
    Envelope,
    /// The value alone.
    Value {
        topic: String,
        key: Option<String>,
        headers: Vec<(String, String)>,
    },
}

/// A record that is in no log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) topic: String,
    pub(super) key: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timestamp: Option<i64>,
    pub(super) value: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleEnvelope<'a> {
    topic: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    /// Instead, for bytes that are not text: the frame of a schema registry.
    #[serde(default)]
    value_base64: Option<String>,
    /// Where it stood in a log makes no difference, but tools write it down.
    #[serde(default, rename = "partition")]
    _partition: Option<i32>,
    #[serde(default, rename = "offset")]
    _offset: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    Once(BTreeMap<String, Option<String>>),
    InOrder(Vec<(String, Option<String>)>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::InOrder(Vec::new())
    }
}

impl Headers {
    /// A header without a value (`null`) is as if it were not there, as in a record.
    fn with_values(self) -> Vec<(String, String)> {
        let headers: Vec<_> = match self {
            Self::Once(headers) => headers.into_iter().collect(),
            Self::InOrder(headers) => headers,
        };
        let with_value = headers.into_iter();
        let with_value = with_value.filter_map(|(name, value)| Some((name, value?)));
        with_value.collect()
    }
}

/// Reads at most what a record may have, and some more so that one that is too large is found to be that.
pub(super) fn read(
    path: &Path,
    source: &SampleSource,
    max_event_bytes: usize,
) -> anyhow::Result<Sample> {
    const MORE: u64 = 1024 * 1024;
    let most = u64::try_from(max_event_bytes)?.saturating_add(MORE);
    let mut bytes = Vec::new();
    let shown = path.display();
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read sample {shown}"))?)
    };
    input
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read sample {shown}"))?;
    if u64::try_from(bytes.len())? > most {
        bail!("sample {shown} has more than {most} bytes");
    }
    parse(bytes, source).with_context(|| format!("cannot use sample {shown}"))
}

fn parse(bytes: Vec<u8>, source: &SampleSource) -> anyhow::Result<Sample> {
    match source {
        SampleSource::Value {
            topic,
            key,
            headers,
        } => Ok(Sample {
            topic: topic.clone(),
            key: key.clone(),
            headers: headers.clone(),
            timestamp: None,
            value: Some(bytes),
        }),
        SampleSource::Envelope => {
            let envelope: SampleEnvelope<'_> = serde_json::from_slice(&bytes).context(
                "expected {\"topic\": …, \"value\": …} (give --topic if the file is the value alone)",
            )?;
            Ok(Sample {
                topic: envelope.topic,
                key: envelope.key,
                headers: envelope.headers.with_values(),
                timestamp: envelope.timestamp,
                value: match (envelope.value, envelope.value_base64) {
                    (Some(_), Some(_)) => bail!("it has both a value and a value_base64"),
                    (_, Some(bytes)) => Some(
                        STANDARD
                            .decode(bytes)
                            .context("its value_base64 is not Base64")?,
                    ),
                    (text, None) => text.map(value).transpose()?,
                },
            })
        }
    }
}

/// A string is the record's text, so that a sample can hold what is not JSON.
fn value(value: &RawValue) -> anyhow::Result<Vec<u8>> {
    let json = value.get();
    if json.starts_with('"') {
        let text: String = serde_json::from_str(json).context("its value is not text")?;
        return Ok(text.into_bytes());
    }
    Ok(json.as_bytes().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(json: &str) -> anyhow::Result<Sample> {
        parse(json.as_bytes().to_owned(), &SampleSource::Envelope)
    }

    #[test]
    fn an_envelope_keeps_the_text_of_its_value() {
        let sample = envelope(
            r#"{"topic":"t","key":"k","headers":{"a":"1"},"timestamp":7,"partition":0,"offset":1,"value":{"x": 1e400}}"#,
        )
        .unwrap();
        assert_eq!(sample.topic, "t");
        for headers in [
            r#"{"a":"1","b":null}"#,
            r#"[["b",null],["a","1"],["b",null]]"#,
        ] {
            let sample = envelope(&format!(r#"{{"topic":"t","headers":{headers}}}"#)).unwrap();
            assert_eq!(sample.headers, [("a".to_owned(), "1".to_owned())]);
        }
        assert_eq!(sample.key.as_deref(), Some("k"));
        assert_eq!(sample.headers, [("a".to_owned(), "1".to_owned())]);
        assert_eq!(sample.timestamp, Some(7));
        assert_eq!(sample.value.as_deref(), Some(&br#"{"x": 1e400}"#[..]));
    }

    #[test]
    fn a_string_is_text_null_is_no_value_and_headers_may_repeat() {
        let text = envelope(r#"{"topic":"t","value":"{no json"}"#).unwrap();
        assert_eq!(text.value.as_deref(), Some(&b"{no json"[..]));
        for none in [r#"{"topic":"t"}"#, r#"{"topic":"t","value":null}"#] {
            assert_eq!(envelope(none).unwrap().value, None);
        }
        let bytes = envelope(r#"{"topic":"t","value_base64":"AAAAABF7fQ=="}"#).unwrap();
        assert_eq!(bytes.value.as_deref(), Some(&b"\0\0\0\0\x11{}"[..]));
        let twice = envelope(r#"{"topic":"t","headers":[["a","1"],["a","2"]]}"#).unwrap();
        assert_eq!(twice.headers.len(), 2);
    }

    #[test]
    fn a_slip_in_an_envelope_is_found() {
        for wrong in [
            r#"{"topic":"t","value_base64":"?"}"#,
            r#"{"topic":"t","value":{},"value_base64":"e30="}"#,
            r#"{"value":{}}"#,
            r#"{"topic":"t","vlaue":{}}"#,
            "[]",
            "",
        ] {
            assert!(envelope(wrong).is_err(), "{wrong}");
        }
    }
}
