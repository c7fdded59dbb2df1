//! Brokers that a test has to itself, to be stopped, paused and killed.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use fleetcast::clock;

/// Started by `scripts/kafka.sh`, and gone at drop.
pub(crate) struct Cluster {
    /// Of all brokers, comma-separated.
    pub(crate) address: String,
    directory: PathBuf,
    brokers: u32,
}

impl Cluster {
    pub(crate) async fn start(brokers: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cluster-{}-{number}", clock::wall_ms());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut cluster = Self {
            address: String::new(),
            directory,
            brokers,
        };
        cluster.address = cluster
            .script(&["start", "--brokers", &brokers.to_string()])
            .await;
        cluster
    }

    pub(crate) fn replicas(&self) -> i32 {
        if self.brokers < 3 { 1 } else { 3 }
    }

    /// Kills, stops, starts, pauses or resumes a broker. Returns when it is done: one that was started answers.
    pub(crate) async fn broker(&self, action: &str, node: &str) {
        self.script(&["broker", action, node]).await;
    }

    /// The node that leads a partition.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> String {
        self.script(&["leader", topic, &partition.to_string()])
            .await
    }

    /// Cuts the log of partition 0 off where the batch begins that has this offset. Its only broker must be dead: when it is
    /// back, all is as after an election of a replica that had no more.
    pub(crate) fn cut_log(&self, topic: &str, offset: i64) {
        let log = self.directory.join("1/data").join(format!("{topic}-0"));
        let segment = log.join("00000000000000000000.log");
        let bytes = std::fs::read(&segment).unwrap();
        let mut at = 0;
        // Each batch begins with its first offset and the length of what follows.
        while i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) < offset {
            let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap());
            at += 12 + usize::try_from(length).unwrap();
        }
        let file = File::options().write(true).open(&segment).unwrap();
        file.set_len(u64::try_from(at).unwrap()).unwrap();
        for entry in std::fs::read_dir(&log).unwrap() {
            let path = entry.unwrap().path();
            let derived = ["index", "timeindex", "snapshot"];
            if path
                .extension()
                .is_some_and(|kind| derived.iter().any(|name| kind == *name))
            {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    async fn script(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh"));
        command
            .args(arguments)
            .env("FLEETCAST_TEST_KAFKA_CLUSTER", &self.directory)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = self.command(&["stop"]).stderr(Stdio::null()).status();
        drop(stopped);
    }
}
