//! `topics apply`: topics as a file, or this server, wants them.

mod file;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::brokers::{Brokers, block_on, client_settings};
use super::{Exit, bad_configuration, complain, plain, print};
use crate::app::{new_topic, service_topics};
use crate::kafka::admin::{Action, Admin, Outcome};
use crate::settings::Settings;

#[derive(Debug, clap::Subcommand)]
pub(super) enum TopicsCommand {
    /// Make and widen topics and set their settings; never deletes, never shrinks
    ///
    /// Without a file: the service topics that are set (RECEIPTS_TOPIC, REVOCATIONS_TOPIC ...; a warning names those that nothing uses in this
    /// version), and of the profile's topics those that exist under none of their names. Running it again changes nothing.
    #[command(after_help = "The file, here topics.yaml:
  topics:
    - name: dept.1.events
      partitions: 3            # at least; without: the brokers' default
      replication_factor: 1    # for a new topic; without: the same
      config:
        retention.ms: 604800000
        cleanup.policy: delete
        message.timestamp.type: LogAppendTime

A new topic gets message.timestamp.type=LogAppendTime unless the file says
otherwise: a producer whose clock is wrong then cannot move records out of
the window. Settings that the file does not name stay as they are.

Examples:
  fleetcast topics apply -f topics.yaml --dry-run
  fleetcast topics apply -f topics.yaml -b kafka:9092
  RECEIPTS_TOPIC=fleetcast.receipts fleetcast topics apply

Exit codes: 0 Kafka is as the file says, 1 it is not (something was refused,
or would need deleting), 2 wrong usage, 78 the file or the settings are wrong
(nothing was done).")]
    Apply(Apply),
}

#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// What topics there should be, in YAML
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Let the brokers check new topics and partitions, and do nothing; values of settings of topics that exist are not checked
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    brokers: Brokers,
}

pub(super) fn run(
    command: TopicsCommand,
    environment: BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let TopicsCommand::Apply(arguments) = command;
    let environment = arguments.brokers.over(environment);
    let (kafka, topics, groups) = if let Some(path) = &arguments.file {
        let topics = match file::read(path) {
            Ok(topics) => topics,
            Err(problem) => {
                complain(&format!("fleetcast: {problem:#}\nnothing was done\n"));
                return Ok(Exit::BadConfiguration);
            }
        };
        match Settings::kafka_from_map(&environment) {
            Ok(kafka) => (kafka, topics, Vec::new()),
            Err(problems) => return Ok(bad_configuration(&problems)),
        }
    } else {
        match Settings::topics_from_map(&environment) {
            Ok((kafka, profile, service)) => {
                let groups: Vec<Vec<String>> = profile
                    .routes
                    .topic_groups()
                    .map(|group| group.iter().map(ToString::to_string).collect())
                    .collect();
                for name in &service.without_effect {
                    complain(&format!(
                        "warning: {name} has no effect in this version: its topic is made, and nothing uses it\n"
                    ));
                }
                (kafka, service_topics(&service.names), groups)
            }
            Err(problems) => return Ok(bad_configuration(&problems)),
        }
    };
    let timeout = arguments.brokers.timeout;
    let outcomes = block_on(async {
        let admin = Admin::new(&client_settings(&kafka), timeout)?;
        let mut topics = topics;
        if !groups.is_empty() {
            let cluster = admin.cluster()?;
            let missing = groups
                .iter()
                .filter(|group| !group.iter().any(|name| cluster.topics.contains_key(name)))
                .filter_map(|group| group.first());
            topics.extend(missing.map(|name| new_topic(name, None, &[])));
        }
        anyhow::Ok(admin.apply(&topics, arguments.dry_run).await?)
    })??;
    print(&table(&outcomes, arguments.dry_run)?)?;
    let done = |outcome: &Outcome| {
        matches!(
            outcome.action,
            Action::Created | Action::Changed | Action::Unchanged
        )
    };
    Ok(if outcomes.iter().all(done) {
        Exit::Clean
    } else {
        Exit::Failed
    })
}

fn table(outcomes: &[Outcome], dry_run: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    if dry_run {
        text.push_str("dry run: the brokers were asked, nothing was done\n");
    }
    let names = outcomes.iter().map(|outcome| outcome.name.chars().count());
    let width = names.max().unwrap_or(0).min(64);
    for Outcome {
        name,
        action,
        notes,
    } in outcomes
    {
        let done = match (action, dry_run) {
            (Action::Created, false) => "created",
            (Action::Created, true) => "to create",
            (Action::Changed, false) => "changed",
            (Action::Changed, true) => "to change",
            (Action::Unchanged, _) => "unchanged",
            (Action::Refused, _) => "REFUSED",
            (Action::Failed, _) => "FAILED",
        };
        let line = format!("{done:<9}  {name:<width$}  {}", plain(&notes.join("; ")));
        writeln!(text, "{}", line.trim_end())?;
    }
    let count = |wanted: &[Action]| {
        let matching = outcomes.iter().filter(|one| wanted.contains(&one.action));
        matching.count()
    };
    writeln!(
        text,
        "{} topics: {} created, {} changed, {} unchanged, {} refused or failed",
        outcomes.len(),
        count(&[Action::Created]),
        count(&[Action::Changed]),
        count(&[Action::Unchanged]),
        count(&[Action::Refused, Action::Failed]),
    )?;
    Ok(text)
}
