//! How the process stops: no new connections, the open ones closed one after the other, then what served them.

use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::service_topics::ServiceTopic;
use super::start::RunningApp;

/// Closed sessions need a moment until the library has dropped them.
const AFTERMATH: Duration = Duration::from_millis(200);

impl RunningApp {
    /// `cut_short` ends the spreading of the closes over time.
    pub(super) async fn drain(self, cut_short: &CancellationToken) {
        self.readiness.drain();
        if let Some(connections) = &self.connection_events {
            connections.reports.stop_holding();
        }
        self.close_all(cut_short).await;
        let connections = self.connection_events.map(|connections| {
            connections.reports.end_all();
            connections.topic
        });
        let topics = self.receipts.into_iter().chain(connections);
        join_all(topics.map(ServiceTopic::flush)).await;
        if let Some(fleet) = &self.fleet {
            fleet.leave().await;
        }
        self.over.token.cancel();
        if self.demo.is_some() {
            self.log.stopped().await;
            self.control.stopped().await;
        }
        drop(self.demo);
    }

    /// Closes every connection: those of sessions one after the other, then what is left.
    async fn close_all(&self, cut_short: &CancellationToken) {
        self.sessions.drain(self.spread, cut_short).await;
        tokio::time::sleep(AFTERMATH).await;
        // Those that came in while the others left, and connections without a session.
        for transport in self.engine.transports() {
            transport.close(CloseReason::Draining);
        }
        for guard in self.tables.iter().flat_map(|table| table.snapshot()) {
            guard.kick(CloseReason::Draining.as_str());
        }
    }
}
