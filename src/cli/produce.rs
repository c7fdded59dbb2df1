//! `produce`: records by hand, with their delivery reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use super::brokers::{Brokers, block_on, client_settings};
use super::{Exit, bad_configuration, complain, lines, plain, print};
use crate::kafka::admin::Admin;
use crate::kafka::{OutgoingRecord, Producer, WriteError, WrittenAt};
use crate::settings::Settings;

/// Records that may be under way at once.
const UNDER_WAY: usize = 256;

/// Larger files are not read: no broker takes such a record by default. Bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct ProduceArguments {
    /// Topic, by its full name: KAFKA_TOPIC_PREFIX is not put in front
    #[arg(long, short, value_name = "TOPIC", value_parser = crate::settings::values::topic)]
    topic: String,
    /// Key of the records: the same key, the same partition, so the same order
    #[arg(long, short, value_name = "KEY")]
    key: Option<String>,
    /// Header of the records; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = super::header)]
    header: Vec<(String, String)>,
    /// The value of one record
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    value: Option<String>,
    /// A file that is the value of one record
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    brokers: Brokers,
}

pub(super) const HELP: &str = "Examples:
  fleetcast produce -t incident -k 5 --value '{\"event_type\":
    \"incident_created\",\"organization_id\":\"o1\",\"data\":{\"id\":5}}'
  fleetcast produce -t incident -H event_type=incident_created -f record.json
  jq -c .[] records.json | fleetcast produce -t asset

Prints topic/partition/offset for each record that all replicas have.
Exit codes: 0 all were delivered, 1 some were not, 2 wrong usage, 78 wrong
settings.";

pub(super) fn run(
    arguments: ProduceArguments,
    environment: BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let kafka = match Settings::kafka_from_map(&arguments.brokers.over(environment)) {
        Ok(kafka) => kafka,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let value = match (arguments.value, arguments.file) {
        (Some(value), _) => Some(value.into_bytes()),
        (None, Some(path)) => Some(read(&path)?),
        (None, None) => None,
    };
    let record = OutgoingRecord {
        topic: &arguments.topic,
        key: arguments.key.as_deref(),
        headers: &arguments.header,
        value: &[],
    };
    let timeout = arguments.brokers.timeout;
    let settings = client_settings(&kafka);
    let all = block_on(async {
        let producer = Producer::new(&settings, timeout)?;
        match &value {
            Some(value) => {
                let written = producer.write(OutgoingRecord { value, ..record }).await;
                report(record.topic, 1, written)
            }
            None => each_line(&producer, record).await,
        }
    })??;
    if all == ProduceOutcome::TimedOut {
        let cluster = Admin::new(&settings, timeout).and_then(|admin| admin.cluster());
        let why = match cluster {
            Err(error) => plain(&error.to_string()),
            Ok(cluster) if !cluster.topics.contains_key(record.topic) => {
                format!("the brokers have no topic {}", record.topic)
            }
            Ok(_) => format!(
                "the brokers answer, but took longer than {} s",
                timeout.as_secs_f32()
            ),
        };
        complain(&format!("fleetcast: kafka: {why}\n"));
    }
    Ok(match all {
        ProduceOutcome::Done => Exit::Clean,
        ProduceOutcome::Failed | ProduceOutcome::TimedOut => Exit::Failed,
    })
}

/// What came of a record, and of several: the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ProduceOutcome {
    Done,
    Failed,
    /// Worth asking why.
    TimedOut,
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let meta = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    anyhow::ensure!(
        meta.is_file() && meta.len() <= MAX_FILE,
        "cannot read {shown}: expected a file of at most {MAX_FILE} bytes"
    );
    fs::read(path).with_context(|| format!("cannot read {shown}"))
}

/// Reports come in the order of the lines.
async fn each_line(
    producer: &Producer,
    record: OutgoingRecord<'_>,
) -> anyhow::Result<ProduceOutcome> {
    let mut lines = lines::standard_input();
    let mut under_way = FuturesOrdered::new();
    let (mut number, mut all, mut open) = (0_u64, ProduceOutcome::Done, true);
    while open || !under_way.is_empty() {
        tokio::select! {
            line = lines.recv(), if open && under_way.len() < UNDER_WAY => match line {
                None => open = false,
                Some(line) => {
                    number += 1;
                    let value = line.context("cannot read standard input")?;
                    if !value.is_empty() {
                        let written = producer.write(OutgoingRecord { value: &value, ..record });
                        under_way.push_back(async move { (number, written.await) });
                    }
                }
            },
            Some((number, written)) = under_way.next() => {
                all = all.max(report(record.topic, number, written)?);
            }
        }
    }
    Ok(all)
}

fn report(
    topic: &str,
    number: u64,
    written: Result<WrittenAt, WriteError>,
) -> anyhow::Result<ProduceOutcome> {
    let error = match written {
        Ok(WrittenAt { partition, offset }) => {
            print(&format!("{topic}/{partition}/{offset}\n"))?;
            return Ok(ProduceOutcome::Done);
        }
        Err(error) => error,
    };
    complain(&format!(
        "fleetcast: record {number} for {topic}: {error}\n"
    ));
    Ok(match error {
        WriteError::TimedOut => ProduceOutcome::TimedOut,
        _ => ProduceOutcome::Failed,
    })
}
