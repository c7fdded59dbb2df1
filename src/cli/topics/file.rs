//! A file of topics: the form of S0-10.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::app::when_made;
use crate::kafka::admin::{Topic, repeated};
use crate::settings::values;

/// Larger files are not read. Bytes.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicsFile {
    topics: Vec<TopicsFileEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicsFileEntry {
    name: String,
    #[serde(default)]
    partitions: Option<i32>,
    #[serde(default)]
    replication_factor: Option<i32>,
    #[serde(default)]
    config: BTreeMap<String, Scalar>,
}

/// `604800000`, `"604800000"`, `true` and `0.5` are all text to Kafka.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Integer(i64),
    Bool(bool),
    Float(f64),
    Text(String),
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Topic>> {
    let shown = path.display();
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    // A device or pipe might never end.
    if !meta.is_file() || meta.len() > MAX_FILE {
        bail!("cannot read {shown}: expected a file of at most {MAX_FILE} bytes");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    parse(&text, &shown.to_string())
}

/// Fails with everything that is wrong.
fn parse(text: &str, source: &str) -> anyhow::Result<Vec<Topic>> {
    let file: TopicsFile = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or(String::new(), |place| {
            format!("{}:{}: ", place.line(), place.column())
        });
        anyhow::anyhow!("{source}:{place}{}", error.without_snippet())
    })?;
    let mut problems = Vec::new();
    if file.topics.is_empty() {
        problems.push("there is no topic".to_owned());
    }
    let topics: Vec<Topic> = file
        .topics
        .into_iter()
        .map(|entry| entry.checked(&mut problems))
        .collect();
    for name in repeated(&topics) {
        problems.push(format!("topic {name:?} is listed twice"));
    }
    if !problems.is_empty() {
        let lines: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("{source}: {problem}"))
            .collect();
        bail!("{}", lines.join("\n"));
    }
    Ok(topics)
}

impl TopicsFileEntry {
    fn checked(self, problems: &mut Vec<String>) -> Topic {
        let name = self.name;
        if let Err(why) = values::topic(&name) {
            problems.push(format!("topic {name:?}: {why}"));
        }
        for (what, count) in [
            ("partitions", self.partitions),
            ("replication_factor", self.replication_factor),
        ] {
            if let Some(count) = count.filter(|count| *count < 1) {
                problems.push(format!("topic {name:?}: {what} is {count}"));
            }
        }
        let config = self.config.into_iter().map(|(setting, value)| {
            let value = match value {
                Scalar::Integer(number) => number.to_string(),
                Scalar::Bool(truth) => truth.to_string(),
                Scalar::Float(number) => number.to_string(),
                Scalar::Text(text) => text,
            };
            (setting, value)
        });
        Topic {
            name,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            config: config.collect(),
            config_when_made: when_made(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S0: &str = "\
topics:
  - name: dept.1.events
    partitions: 3
    replication_factor: 1
    config:
      retention.ms: 604800000
      cleanup.policy: delete
  - {name: system.alerts, partitions: 1, config: {retention.ms: \"2592000000\", preallocate: true}}
  - name: telemetry.stream # the brokers' defaults
";

    #[test]
    fn s0_09_s0_10_topics_with_partitions_and_settings() {
        let topics = parse(S0, "topics.yaml").unwrap();
        assert_eq!(topics.len(), 3);
        assert_eq!(topics[0].name, "dept.1.events");
        assert_eq!(topics[0].partitions, Some(3));
        assert_eq!(topics[0].replication_factor, Some(1));
        assert_eq!(topics[0].config["retention.ms"], "604800000");
        assert_eq!(topics[0].config["cleanup.policy"], "delete");
        assert_eq!(topics[1].config["retention.ms"], "2592000000");
        assert_eq!(topics[1].config["preallocate"], "true");
        assert_eq!((topics[2].partitions, topics[2].config.len()), (None, 0));
    }

    #[test]
    fn mistakes_are_reported_with_their_place() {
        for (text, words) in [
            (
                "topics:\n  - name: a\n    partitons: 3\n",
                &["t.yaml:3:", "partitons"][..],
            ),
            (
                "topics:\n  - name: a\n    partitions: three\n",
                &["t.yaml:3:"],
            ),
            ("topics: [\n", &["t.yaml:"]),
            ("", &["t.yaml"]),
            ("topics: []\n", &["there is no topic"]),
            (
                "topics: [{name: a/b}, {name: c, partitions: 0}, {name: d}, {name: d}]",
                &["\"a/b\"", "partitions is 0", "\"d\" is listed twice"],
            ),
        ] {
            let problem = parse(text, "t.yaml").unwrap_err().to_string();
            for word in words {
                assert!(problem.contains(word), "{word} is not in {problem}");
            }
        }
    }

    #[test]
    fn a_bomb_of_references_is_refused() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in ["b", "c", "d", "e", "f", "g", "h"]
            .iter()
            .zip(["a", "b", "c", "d", "e", "f", "g"])
        {
            let list = vec![format!("*{of}"); 9].join(", ");
            text = format!("{text}{name}: &{name} [{list}]\n");
        }
        assert!(parse(&text, "t.yaml").is_err());
    }
}
