//! The Redis of a run: a process of ours, so that it can be killed and paused, and which forgets everything when it ends.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::fleet::{free_ports, kill};
use super::leftovers::{self, Leftover};
use super::note;
use crate::process::usage;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// It is killed so often while a scenario of another kind runs,
const KILLED_EVERY: Duration = Duration::from_secs(20);
/// and is away for so long.
const AWAY: Duration = Duration::from_secs(4);

pub(crate) struct Redis {
    port: u16,
    directory: PathBuf,
    child: Option<Child>,
}

impl Redis {
    /// `directory`: for its log. It keeps nothing else.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let mut redis = Self {
            port: free_ports(1)?[0],
            directory: directory.to_owned(),
            child: None,
        };
        redis.launch()?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it, empty, and waits until it takes connections.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let log = self.directory.join("redis.log");
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start redis-server: make setup installs it")?;
        leftovers::add(Leftover::Process(child.id()));
        self.child = Some(child);
        let begin = Instant::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if begin.elapsed() > START_TIMEOUT {
                bail!("redis-server does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("Redis is down")?;
        child.kill().context("cannot kill Redis")?;
        child.wait()?;
        leftovers::remove(&Leftover::Process(child.id()));
        Ok(())
    }

    /// Of all its threads, so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let child = self.child.as_ref().context("Redis is down")?;
        Ok(usage(&child.id().to_string())?.cpu)
    }

    /// STOP or CONT.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        kill(self.child.as_ref().context("Redis is down")?.id(), signal)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(error) = self.kill()
        {
            note(&format!("Redis may be left over: {error:#}"));
        }
    }
}

/// Kills it over and over while something else is tested.
pub(crate) struct RedisKiller {
    stop: Sender<()>,
    thread: JoinHandle<Result<u32>>,
}

impl RedisKiller {
    pub(crate) fn start(mut redis: Redis) -> Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || {
                let mut killed = 0;
                while !is_stopped(&stopped, KILLED_EVERY) {
                    redis.kill()?;
                    killed += 1;
                    let over = is_stopped(&stopped, AWAY);
                    redis.launch()?;
                    if over {
                        break;
                    }
                }
                Ok(killed)
            })?;
        Ok(Self { stop, thread })
    }

    /// How often it was killed.
    pub(crate) fn stop(self) -> Result<u32> {
        drop(self.stop);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread that kills Redis panicked"))?
    }
}

fn is_stopped(stopped: &Receiver<()>, within: Duration) -> bool {
    stopped.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
}
