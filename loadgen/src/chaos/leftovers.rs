//! Processes and containers that this run has started, so that Ctrl-C ends them too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::kill;
use super::note;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    Process(u32),
    /// Script and directory.
    Cluster(PathBuf, PathBuf),
}

static LEFT: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());

pub(crate) fn add(leftover: Leftover) {
    LEFT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(leftover);
}

/// It has ended, or another part ends it.
pub(crate) fn remove(leftover: &Leftover) {
    LEFT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|known| known != leftover);
}

/// `scripts/kafka.sh stop` for the cluster in that directory.
pub(crate) fn stop_cluster(script: &Path, directory: &Path) -> Result<()> {
    let status = Command::new(script)
        .arg("stop")
        .env("FLEETCAST_TEST_KAFKA_CLUSTER", directory)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", script.display()))?;
    anyhow::ensure!(status.success(), "{} stop failed", script.display());
    Ok(())
}

/// From now on SIGINT and SIGTERM end what was started before they end this process.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let wait = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(wait);
            let left = std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner));
            for leftover in left {
                let ended = match &leftover {
                    Leftover::Process(pid) => kill(*pid, "KILL"),
                    Leftover::Cluster(script, directory) => stop_cluster(script, directory),
                };
                if let Err(error) = ended {
                    note(&format!("{leftover:?} may be left over: {error:#}"));
                }
            }
            #[expect(
                clippy::exit,
                reason = "the rest of the process is in the middle of something"
            )]
            std::process::exit(130);
        })?;
    Ok(())
}
