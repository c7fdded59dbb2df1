//! Signals from outside the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, caught from the moment of `install` on. While the process stops, SIGHUP means nothing.
pub struct Signals {
    pub(super) stops: Stops,
    pub(super) hangup: Signal,
}

pub(super) struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called inside a runtime. A process that receives no signals cannot drain, so an error stops the start.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            stops: Stops {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Stops {
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
