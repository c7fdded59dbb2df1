//! `check`: what a start would say about the settings, and what Kafka answers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::brokers::client_settings;
use super::{Exit, bad_configuration, complain, plain, print};
use crate::app;
use crate::kafka::admin::{Admin, Cluster, present};
use crate::settings::show::{self, Shown};
use crate::settings::{Presets, Settings};

/// What Kafka's answer may take.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) const HELP: &str = "Examples:
  fleetcast check               as the server would read the same environment
  fleetcast check --show        every variable as it holds, secrets masked
  fleetcast check --offline     without asking Kafka: in a build

Exit codes: 0 the settings are good and Kafka answers, 1 the settings are good and Kafka does not answer within 5 s,
2 wrong usage, 78 the settings are wrong, or credentials and certificates are that Kafka and we show each other.";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print every setting as it holds, secrets masked, and where it comes from
    #[arg(long)]
    show: bool,
    /// Ask nobody, Kafka neither
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let presets = Presets::new();
    if arguments.show {
        print(&table(&show::effective(environment, &presets)))?;
    }
    let settings = Settings::from_map(environment, &presets)
        .and_then(|settings| app::check(&settings).map(|()| settings));
    let settings = match settings {
        Ok(settings) => settings,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let mut text = String::new();
    for notice in &settings.notices {
        writeln!(text, "warning: {notice}")?;
    }
    text.push_str("ok: the settings are complete and fit together\n");
    print(&text)?;
    if arguments.offline {
        return Ok(Exit::Clean);
    }
    let answer =
        Admin::new(&client_settings(&settings.kafka), ANSWER).and_then(|admin| admin.cluster());
    match answer {
        Ok(cluster) => {
            print(&report(&settings, &cluster)?)?;
            Ok(Exit::Clean)
        }
        Err(error) => {
            complain(&format!(
                "fleetcast: kafka: {}\n",
                plain(&error.to_string())
            ));
            Ok(if error.is_lasting() {
                Exit::BadConfiguration
            } else {
                Exit::Failed
            })
        }
    }
}

/// What there is of what the profile routes.
fn report(settings: &Settings, cluster: &Cluster) -> anyhow::Result<String> {
    let mut text = String::new();
    let brokers = cluster.brokers.join(", ");
    let count = cluster.topics.len();
    writeln!(text, "kafka: brokers {brokers}; {count} topics")?;
    let groups = present(settings.profile.routes.topic_groups(), cluster);
    for (names, found) in &groups {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let shown: Vec<String> = found
            .iter()
            .map(|name| {
                let partitions = cluster
                    .topics
                    .get(*name)
                    .map_or(0, |topic| topic.partitions);
                format!("{name} ({partitions} partitions)")
            })
            .collect();
        match shown.as_slice() {
            [] => writeln!(text, "missing: no topic is called {}", names.join(" or "))?,
            shown => writeln!(text, "topic: {}", shown.join(", "))?,
        }
        if found.len() > 1 {
            writeln!(
                text,
                "warning: {} are names of one topic and all exist: all are read, and order holds within each only",
                found.join(" and ")
            )?;
        }
    }
    let missing = groups.iter().filter(|(_, found)| found.is_empty()).count();
    if missing > 0 {
        writeln!(
            text,
            "{missing} of the profile's topics do not exist: they are read once they do; `fleetcast topics apply` makes them"
        )?;
    }
    Ok(text)
}

fn table(settings: &[Shown]) -> String {
    let width = |column: fn(&Shown) -> &str| {
        let widths = settings.iter().map(|shown| column(shown).chars().count());
        // One very long value must not push everything aside.
        widths.max().unwrap_or(0).min(48)
    };
    let (name, value) = (width(|shown| &shown.name), width(|shown| &shown.value));
    let mut text = String::new();
    for shown in settings {
        let note = if shown.served {
            ""
        } else {
            " (not in this version)"
        };
        let Shown {
            name: of,
            value: is,
            origin,
            ..
        } = shown;
        writeln!(text, "{of:name$}  {is:value$}  {origin}{note}")
            .expect("writing to a string cannot fail");
    }
    text
}
