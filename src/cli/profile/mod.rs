//! `profile list`, `show` and `check`: what Fleetcast knows of a trade, and where a record would go.

mod explain;
mod sample;

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Exit, complain, plain_json, print};
use crate::settings::{Profile, values};
use sample::SampleSource;

#[derive(Debug, clap::Subcommand)]
pub(super) enum ProfileCommand {
    /// List the profiles that are built in
    List,
    /// Print a built-in profile: the file to copy for a profile of your own
    #[command(after_help = "Example: fleetcast profile show dispatch > mine.toml")]
    Show {
        /// One of `profile list`
        name: String,
    },
    /// Check a profile, and explain where records would go and why not elsewhere
    ///
    /// Prints every mistake of the profile with its line; that its policy and its routes name the same kinds of rooms is checked
    /// once both are without one. With --record each sample is walked through the profile's routes, by
    /// the code that routes real records, and every step is shown.
    #[command(after_help = "A sample is a JSON file, with - for standard input:
  {\"topic\": \"incident\", \"key\": \"k\", \"timestamp\": 1764000000000,
   \"headers\": {\"event_type\": \"incident_created\"},
   \"value\": {\"organization_id\": \"o1\", \"data\": {\"id\": 5}}}
Headers that repeat are written [[\"name\", \"value\"], ...]. A value that is a
string is the record's text as it is, null is a record without a value; bytes
that are not text go into \"value_base64\". With --topic the whole file is the
value of one record.

Examples:
  fleetcast profile check mine.toml
  fleetcast profile check dispatch --record sample.json --record other.json
  kcat -C -b kafka:9092 -t incident -o -1 -c 1 |
    fleetcast profile check dispatch --topic incident --record -

Exit codes: 0 the profile is good and every sample reaches a room, 1 a
sample reaches no client or cannot be read, 2 wrong usage, 78 the profile is
wrong.")]
    Check(Box<Check>),
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// A file, or the name of a built-in profile
    #[arg(value_name = "FILE")]
    profile: String,
    /// A sample; may be given more than once
    #[arg(long, value_name = "FILE")]
    record: Vec<PathBuf>,
    /// Topic of the samples, which are then bare values
    #[arg(long, value_name = "TOPIC", requires = "record")]
    topic: Option<String>,
    /// Key of the samples, with --topic
    #[arg(long, value_name = "KEY", requires = "topic")]
    key: Option<String>,
    /// Header of the samples, with --topic; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", requires = "topic", value_parser = super::header)]
    header: Vec<(String, String)>,
    /// In front of the profile's topics, as KAFKA_TOPIC_PREFIX would be
    #[arg(long, value_name = "PREFIX", default_value = "")]
    topic_prefix: String,
    /// Largest record, as MAX_EVENT_BYTES would say
    #[arg(long, value_name = "BYTES", default_value = "262144", value_parser = values::bytes)]
    max_event_bytes: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ProfileCommand) -> anyhow::Result<Exit> {
    match command {
        ProfileCommand::List => list(),
        ProfileCommand::Show { name } => show(&name),
        ProfileCommand::Check(arguments) => check(*arguments),
    }
}

fn list() -> anyhow::Result<Exit> {
    let mut text = String::new();
    for name in Profile::builtin_names() {
        let profile = Profile::builtin(name, "", usize::MAX)?;
        writeln!(text, "{name}  {}", summary(&profile))?;
    }
    print(&text)?;
    Ok(Exit::Clean)
}

fn print_json(document: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", plain_json(&format!("{document:#}"))))
}

fn show(name: &str) -> anyhow::Result<Exit> {
    let Some(text) = Profile::builtin_text(name) else {
        let names: Vec<_> = Profile::builtin_names().collect();
        complain(&format!(
            "fleetcast: unknown built-in profile {name:?}; built-in profiles: {}\n",
            names.join(", ")
        ));
        return Ok(Exit::Usage);
    };
    print(text)?;
    Ok(Exit::Clean)
}

fn check(arguments: Check) -> anyhow::Result<Exit> {
    let max_event_bytes = usize::try_from(arguments.max_event_bytes).unwrap_or(usize::MAX);
    let loaded = Profile::load(
        &arguments.profile,
        &arguments.topic_prefix,
        max_event_bytes,
        &[],
    );
    let profile = match loaded {
        Ok(profile) => profile,
        Err(errors) if arguments.json => {
            print_json(&json!({"errors": errors.0}))?;
            return Ok(Exit::BadConfiguration);
        }
        Err(errors) => {
            complain(&format!(
                "fleetcast: the profile cannot be used:\n{errors}\n"
            ));
            return Ok(Exit::BadConfiguration);
        }
    };
    let source = match arguments.topic {
        Some(topic) => SampleSource::Value {
            topic,
            key: arguments.key,
            headers: arguments.header,
        },
        None => SampleSource::Envelope,
    };
    let mut explained = Vec::new();
    for path in &arguments.record {
        let sample = sample::read(path, &source, max_event_bytes)?;
        explained.push(explain::Explained::of(&profile, sample, path));
    }
    if arguments.json {
        let records: Vec<_> = explained.iter().map(explain::Explained::json).collect();
        let document = json!({
            "profile": profile.name,
            "topics": profile.routes.topics().collect::<Vec<_>>(),
            "patterns": profile.routes.patterns().map(ToString::to_string).collect::<Vec<_>>(),
            "events": profile.routes.events().collect::<Vec<_>>(),
            "records": records,
        });
        print_json(&document)?;
    } else {
        let mut text = format!("ok: profile {}: {}\n", profile.name, summary(&profile));
        for one in &explained {
            text.push('\n');
            one.write(&mut text, &profile)?;
        }
        print(&text)?;
    }
    let all = explained.iter().all(explain::Explained::is_routed);
    Ok(if all { Exit::Clean } else { Exit::Failed })
}

/// `5 topics, 14 events, rooms asset, channel`.
fn summary(profile: &Profile) -> String {
    let routes = &profile.routes;
    let kinds: Vec<_> = routes.kinds().into_iter().collect();
    let patterns = match routes.patterns().count() {
        0 => String::new(),
        count => format!(" and {}", counted(count, "pattern")),
    };
    format!(
        "{}{patterns}, {}, rooms of the kinds {}",
        counted(routes.topic_groups().count(), "topic"),
        counted(routes.events().count(), "event"),
        kinds.join(", ")
    )
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
