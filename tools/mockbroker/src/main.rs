//! librdkafka's mock cluster as a process: the real Kafka protocol on a loopback port, nothing to install.
//!
//! `mockbroker TOPIC[:PARTITIONS]...` makes the topics, prints the bootstrap address as its one line and lives until
//! its standard input ends, so it cannot outlive the test run that started it.
//! A topic that was not named is created, with four partitions, when a client asks for it that allows that: kafkajs does, Fleetcast
//! does not.
//! It keeps 5 MiB or 100,000 records per partition and answers neither the admin API nor look-ups by time.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

/// What a topic gets that names no number.
const DEFAULT_PARTITIONS: i32 = 3;

fn main() -> Result<()> {
    let topics = std::env::args()
        .skip(1)
        .map(|argument| parse_topic(&argument))
        .collect::<Result<Vec<_>>>()?;

    // The cluster belongs to this producer, which produces nothing itself.
    let owner: BaseProducer = ClientConfig::new()
        .set("test.mock.num.brokers", "1")
        .create()
        .context("cannot start the mock cluster")?;
    let cluster = owner
        .client()
        .mock_cluster()
        .context("the client has no mock cluster")?;
    for (name, partitions) in &topics {
        cluster
            .create_topic(name, *partitions, 1)
            .with_context(|| format!("cannot create topic {name:?}"))?;
    }

    let mut output = io::stdout();
    writeln!(output, "{}", cluster.bootstrap_servers())?;
    output.flush()?;
    io::copy(&mut io::stdin().by_ref(), &mut io::sink())?;
    Ok(())
}

/// `name` or `name:partitions`.
fn parse_topic(argument: &str) -> Result<(String, i32)> {
    let Some((name, partitions)) = argument.split_once(':') else {
        return Ok((argument.into(), DEFAULT_PARTITIONS));
    };
    let partitions = partitions
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .with_context(|| {
            format!("cannot parse topic {argument:?}: {partitions:?} is not a number above 0")
        })?;
    Ok((name.into(), partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_name_its_partitions() {
        assert_eq!(parse_topic("alert").unwrap(), ("alert".into(), 3));
        assert_eq!(parse_topic("alert:6").unwrap(), ("alert".into(), 6));
        assert!(parse_topic("alert:0").is_err());
        assert!(parse_topic("alert:x").is_err());
    }
}
