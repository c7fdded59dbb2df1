//! The built binary as a process of the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{self, Answer};
use super::{Cgroup, Kafka, SECRET, eventually};

/// What the end may take beyond the drain.
const STOP: Duration = Duration::from_secs(15);

/// Stopped at drop, and held to it: exit code 0, no panic, and nothing on its output but JSON objects.
pub(crate) struct TestApp {
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    stopped: bool,
}

impl TestApp {
    /// Ready to serve the records of `kafka`.
    pub(crate) async fn start(kafka: &Kafka) -> Self {
        Self::start_with(kafka, &[]).await
    }

    /// With more variables; they win over the harness's own.
    pub(crate) async fn start_with(kafka: &Kafka, more: &[(&str, &str)]) -> Self {
        let app = Self::launch(kafka, more).await;
        app.ready().await;
        app
    }

    /// Listening, perhaps not ready.
    pub(crate) async fn launch(kafka: &Kafka, more: &[(&str, &str)]) -> Self {
        let server = Command::new(env!("CARGO_BIN_EXE_fleetcast"));
        Self::launch_as(server, kafka, more).await
    }

    /// Ready to serve, within the limit of the group.
    pub(crate) async fn start_in(cgroup: &Cgroup, kafka: &Kafka, more: &[(&str, &str)]) -> Self {
        let server = cgroup.command(env!("CARGO_BIN_EXE_fleetcast"));
        let app = Self::launch_as(server, kafka, more).await;
        app.ready().await;
        app
    }

    async fn launch_as(mut server: Command, kafka: &Kafka, more: &[(&str, &str)]) -> Self {
        let mut child = server
            .env_clear()
            .envs([
                ("HOST", "127.0.0.1"),
                ("PORT", "0"),
                ("INTERNAL_PORT", "0"),
                ("JWT_SECRET", SECRET),
                ("KAFKA_BOOTSTRAP_SERVERS", kafka.address.as_str()),
                ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
                // The mock broker holds an answer for the whole time that it may.
                ("KAFKA_PROPERTIES_FETCH_WAIT_MAX_MS", "10"),
                ("DRAIN_SECONDS", "0"),
                // Clients of the harness read only when they are asked to, and a busy machine may ask late.
                ("PING_TIMEOUT", "120"),
                ("SLOW_CLIENT_TIMEOUT", "120"),
            ])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let readers = vec![
            collect(child.stdout.take().unwrap(), &log),
            collect(child.stderr.take().unwrap(), &log),
        ];
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut app = Self {
            child,
            public: unknown,
            internal: unknown,
            log,
            readers,
            stopped: false,
        };
        let (public, internal) = eventually("the line `listening`", async || {
            let log = app.log();
            let line = log.iter().find(|line| line.contains("\"listening\""))?;
            let line: Value = serde_json::from_str(line).unwrap();
            let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
            Some((address("public"), address("internal")))
        })
        .await;
        app.public = public;
        app.internal = internal;
        app
    }

    pub(crate) async fn ready(&self) {
        self.wait_for_status("ready").await;
    }

    /// Waits until `/ready` says `status`, and returns what it says.
    pub(crate) async fn wait_for_status(&self, status: &str) -> Value {
        eventually(&format!("/ready says {status}"), async || {
            let report = self.get("/ready").await.json();
            (report["status"] == status).then_some(report)
        })
        .await
    }

    /// Of the public listener.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        http::request(self.public, "GET", target, &[], "")
            .await
            .unwrap()
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let answer = http::request(self.internal, "GET", "/metrics", &[], "").await;
        Metrics(answer.unwrap().body)
    }

    /// Waits until no connection is open and none is counted.
    pub(crate) async fn empty(&self) {
        eventually("no connection is left", async || {
            let open = self.metrics().await.sum("fleetcast_connections");
            let stats = self.get("/stats").await.json();
            (open == 0 && stats["sessions"] == 0 && stats["connections"] == 0).then_some(())
        })
        .await;
    }

    /// All lines so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, in bytes.
    pub(crate) fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field));
        let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// Sockets that the process holds open.
    pub(crate) fn sockets(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Bytes that the kernel has taken for clients of the public listener and not brought to them.
    pub(crate) fn queued_by_the_kernel(&self) -> u64 {
        let own = format!(":{:04X}", self.public.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let queued = table.lines().filter_map(|line| {
            // number, local address, remote address, state, tx_queue:rx_queue
            let fields: Vec<_> = line.split_whitespace().collect();
            let (queued, _) = fields.get(4)?.split_once(':')?;
            let ours = fields[1].ends_with(&own);
            ours.then(|| u64::from_str_radix(queued, 16).unwrap())
        });
        queued.sum()
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Has it read its settings again.
    pub(crate) fn hangup(&self) {
        self.signal(Signal::HUP);
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.stopped = true;
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it and returns all that it wrote.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.end();
        self.log()
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    fn end(&mut self) {
        self.stopped = true;
        if self.child.try_wait().unwrap().is_none() {
            self.terminate();
        }
        let deadline = Instant::now() + STOP;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("the server does not end");
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a process cannot be waited for with a deadline"
            )]
            std::thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let log = self.log();
        for line in &log {
            let parsed: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in the log line {line:?}"));
            assert!(parsed.is_object(), "one object per line: {line:?}");
            assert!(parsed["message"] != "panicked", "{line}");
        }
        assert_eq!(status.code(), Some(0), "{log:#?}");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.child.kill());
            drop(self.child.wait());
            let log = self.log();
            let tail = &log[log.len().saturating_sub(40)..];
            #[expect(
                clippy::print_stderr,
                reason = "a failed test shows what the server said"
            )]
            {
                eprintln!("the server's last lines:\n{}", tail.join("\n"));
            }
        } else if !self.stopped {
            self.end();
        }
    }
}

fn collect(output: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = log.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own thread, joined at the end"
    )]
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            log.lock().unwrap().push(line.unwrap());
        }
    })
}

/// What `/metrics` answered.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of one series, written as Prometheus does: `name{label="value"}`. Counts are whole.
    pub(crate) fn value(&self, series: &str) -> u64 {
        let found = |line: &str| Some(whole(line.strip_prefix(series)?.strip_prefix(' ')?));
        self.0
            .lines()
            .find_map(found)
            .unwrap_or_else(|| panic!("no {series} in:\n{}", self.0))
    }

    /// `fleetcast_refused_total` for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.value(&format!("fleetcast_refused_total{{reason=\"{reason}\"}}"))
    }

    /// Whether any series has this in a label.
    pub(crate) fn names(&self, part: &str) -> bool {
        self.0.contains(part)
    }

    /// Over all labels.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let value = rest.rsplit(' ').next()?;
            rest.starts_with(['{', ' ']).then(|| whole(value))
        };
        self.0.lines().filter_map(value).sum()
    }
}

fn whole(value: &str) -> u64 {
    value
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {value:?}"))
}
