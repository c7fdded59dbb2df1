//! What the commands that measure servers of their own have in common: Kafka, a directory for logs, the program under test, and their
//! figures as JSON.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::note;
use crate::chaos::cluster::Cluster;
use crate::chaos::leftovers;
use crate::clock::Clock;

#[derive(Debug, clap::Args)]
pub(crate) struct KafkaArgs {
    /// Starts and stops Kafka
    #[arg(long, value_name = "FILE", default_value = "scripts/kafka.sh")]
    kafka_script: PathBuf,
    /// A Kafka that runs already; it should not run on the first core
    #[arg(long, env = "FLEETCAST_TEST_KAFKA")]
    brokers: Option<String>,
}

pub(crate) struct TestBed {
    /// Tells the topics and records of this run from those of others.
    pub(crate) run: String,
    /// Where logs are written.
    pub(crate) directory: PathBuf,
    pub(crate) cluster: Cluster,
}

impl TestBed {
    pub(crate) fn start(command: &str, kafka: &KafkaArgs) -> Result<Self> {
        let run = format!("{command}-{:x}", Clock::start().now_ns() / 1_000_000);
        let directory = std::env::temp_dir().join(format!("fleetcast-{run}"));
        std::fs::create_dir_all(&directory)?;
        leftovers::watch()?;
        let cluster = match &kafka.brokers {
            Some(addresses) => Cluster::given(&kafka.kafka_script, addresses),
            None => Cluster::start(&kafka.kafka_script, &directory.join("kafka"), 1)?,
        };
        Ok(Self {
            run,
            directory,
            cluster,
        })
    }

    pub(crate) fn logs(&self) -> String {
        format!("logs are in {}", self.directory.display())
    }

    /// Stops Kafka. The logs stay, unless all was `clean`.
    pub(crate) fn clear(self, clean: bool) -> Result<()> {
        let logs = self.logs();
        let Self {
            directory, cluster, ..
        } = self;
        drop(cluster);
        if clean {
            return std::fs::remove_dir_all(directory).context("cannot remove the logs");
        }
        note(&logs);
        Ok(())
    }
}

/// The server to test; `None`: the one beside this program.
pub(crate) fn fleetcast(given: Option<&Path>) -> Result<PathBuf> {
    let program = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("fleetcast"),
    };
    program
        .canonicalize()
        .with_context(|| format!("there is no {}: make build", program.display()))
}

pub(crate) fn write_json(path: &Path, figures: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(figures)?;
    std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}
