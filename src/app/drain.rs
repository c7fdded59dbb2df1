//! How the process stops: no new connections, the open ones closed one after the other, then what served them.

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use rand::seq::SliceRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::receipts;
use super::start::RunningApp;
use crate::net::ConnectionTable;
use crate::socketio::Engine;

/// Closed sessions need a moment until the library has dropped them.
const AFTERMATH: Duration = Duration::from_millis(200);

impl RunningApp {
    /// `cut_short` ends the spreading of the closes over time.
    pub(super) async fn drain(self, cut_short: &CancellationToken) {
        self.readiness.drain();
        close_all(&self.engine, &self.tables, self.spread, cut_short).await;
        if let Some(producer) = self.receipts {
            receipts::flush(producer).await;
        }
        self.over.token.cancel();
        if self.demo.is_some() {
            self.log.stopped().await;
        }
        drop(self.demo);
    }
}

/// Closes every connection, in random order and evenly over `spread`, so that the clients do not all connect to the other
/// instances at once.
async fn close_all(
    engine: &Engine,
    tables: &[Arc<ConnectionTable>],
    spread: Duration,
    cut_short: &CancellationToken,
) {
    let mut sessions = engine.closers();
    sessions.shuffle(&mut rand::rng());
    let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
    let start = Instant::now();
    for (close, nth) in sessions.into_iter().zip(0_u32..) {
        let due = start + spread.mul_f64(f64::from(nth) / f64::from(count));
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = cut_short.cancelled() => {}
        }
        close(CloseReason::Draining);
    }
    tokio::time::sleep(AFTERMATH).await;
    // Those that came in while the others left, and connections without a session.
    for close in engine.closers() {
        close(CloseReason::Draining);
    }
    for guard in tables.iter().flat_map(|table| table.snapshot()) {
        guard.kick(CloseReason::Draining.as_str());
    }
}
