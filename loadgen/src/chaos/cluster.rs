//! The Kafka under test: started by scripts/kafka.sh, so that its brokers can be stopped, paused and killed, or given.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::leftovers::{self, Leftover, stop_cluster};
use super::note;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    script: PathBuf,
    /// Of the cluster, when it is ours to break.
    directory: Option<PathBuf>,
    /// Started here, so stopped here.
    own: bool,
    pub(crate) addresses: String,
}

impl Cluster {
    /// A cluster that is running already.
    pub(crate) fn given(script: &Path, addresses: &str) -> Self {
        // scripts/kafka.sh run names the cluster as well: then its brokers can be reached.
        let directory = std::env::var_os("FLEETCAST_TEST_KAFKA_CLUSTER").map(PathBuf::from);
        Self {
            script: script.to_owned(),
            directory,
            own: false,
            addresses: addresses.to_owned(),
        }
    }

    pub(crate) fn start(script: &Path, directory: &Path, brokers: u32) -> Result<Self> {
        let mut cluster = Self {
            script: script.to_owned(),
            directory: Some(directory.to_owned()),
            own: true,
            addresses: String::new(),
        };
        leftovers::add(Leftover::Cluster(script.to_owned(), directory.to_owned()));
        let addresses = cluster.call(&["start", "--brokers", &brokers.to_string()])?;
        addresses.trim().clone_into(&mut cluster.addresses);
        Ok(cluster)
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let directory = self
            .directory
            .as_ref()
            .context("the given Kafka is not ours to break: let loadgen start one, or give FLEETCAST_TEST_KAFKA_CLUSTER")?;
        let output = Command::new(&self.script)
            .args(arguments)
            .env("FLEETCAST_TEST_KAFKA_CLUSTER", directory)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", self.script.display()))?;
        if !output.status.success() {
            bail!("{} {} failed", self.script.display(), arguments.join(" "));
        }
        String::from_utf8(output.stdout).context("its answer is not text")
    }

    /// kill, stop, start, pause, resume; nodes are counted from 1.
    pub(crate) fn act(&self, action: &str, node: u32) -> Result<()> {
        self.call(&["broker", action, &node.to_string()]).map(drop)
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Result<u32> {
        let answer = self.call(&["leader", topic, &partition.to_string()])?;
        answer.trim().parse().context("which node leads?")
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.addresses)
            .create()
            .context("cannot make a Kafka admin client")
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// `settings`: of the topic itself, such as `message.timestamp.type`.
    pub(crate) fn create_topic_with(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let made = crate::producer::create_topic(&self.addresses, topic, partitions, settings);
        if !block_on(made)? {
            bail!("topic {topic} is there already");
        }
        Ok(())
    }

    pub(crate) fn grow_topic(&self, topic: &str, partitions: usize) -> Result<()> {
        let admin = self.admin()?;
        let new = NewPartitions::new(topic, partitions);
        let results = block_on(admin.create_partitions([&new], &options()))?;
        all_well(results.into_iter().map(|result| result.map(drop)))
    }

    pub(crate) fn delete_topic(&self, topic: &str) -> Result<()> {
        let admin = self.admin()?;
        let results = block_on(admin.delete_topics(&[topic], &options()))?;
        all_well(results.into_iter().map(|result| result.map(drop)))
    }

    /// Deletes what lies below these offsets, as retention does.
    pub(crate) fn delete_records(&self, topic: &str, below: &[(i32, i64)]) -> Result<()> {
        let admin = self.admin()?;
        let mut list = TopicPartitionList::new();
        for (partition, offset) in below {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        block_on(admin.delete_records(&list, &options()))
            .map(drop)
            .context("cannot delete records")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(directory) = self.directory.as_ref().filter(|_| self.own) else {
            return;
        };
        if let Err(error) = stop_cluster(&self.script, directory) {
            note(&format!("Kafka may be left over: {error:#}"));
        }
        leftovers::remove(&Leftover::Cluster(self.script.clone(), directory.clone()));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT))
}

fn all_well(results: impl Iterator<Item = Result<(), (String, RDKafkaErrorCode)>>) -> Result<()> {
    for result in results {
        if let Err((topic, code)) = result {
            bail!("{topic}: {code}");
        }
    }
    Ok(())
}

fn block_on<T, E: Into<anyhow::Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future).map_err(Into::into)
}
