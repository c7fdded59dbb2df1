//! What a cursor says about the log, compared with the brokers: partitions that are unknown here, and logs that end too early.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::id::Id;
use fleetcast_core::hub::ConnectionKey;
use fleetcast_core::hub::resume::Inspection;

use super::Sessions;
use crate::clock;

/// A client waits for a look-up no longer than this. Topics are listed once a second at most, however many clients ask.
const LOOK_UP: Duration = Duration::from_secs(1);

/// For the answer of a broker about the end of a log, and between two requests: no client waits for it.
const END_LOOK_UP: Duration = Duration::from_secs(5);

/// The log that connections are resumed from.
pub trait LogSource: Send + Sync {
    /// Has the brokers asked again for partitions and their ends. False if that took longer than `at_most`.
    fn refreshed(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// The end of the partition's log (the first offset that does not exist), if the brokers were asked for it at `since_ms`
    /// (monotonic milliseconds) or later. While a partition has no leader its end is unknown, whatever else was refreshed.
    fn end(&self, partition: u32, since_ms: u64) -> Option<i64>;
}

impl Sessions {
    /// A cursor may name partitions that another instance found first: looks them up. False: there was nothing to wait for.
    pub(super) async fn learn_partitions(&self, organisation: &Id, cursor: &str) -> bool {
        let unknown = (self.hub)
            .with(|hub, now| hub.inspect(organisation, cursor, now) == Inspection::Unknown);
        if unknown {
            self.log.refreshed(LOOK_UP).await;
        }
        unknown
    }

    /// The client has seen more of these partitions than this instance. Normally this instance will read it soon; but if
    /// their logs end before that, the client has seen another log of the same name. Repeated until the brokers have answered
    /// for all of them, or this instance has caught up.
    pub(super) async fn check_ends(
        self: Arc<Self>,
        connection: ConnectionKey,
        mut partitions: Vec<u32>,
    ) {
        let stopping = self.lifecycle.stopping();
        // An answer from before the connection came does not cover what the client has seen.
        let connected_ms = clock::monotonic_ms();
        loop {
            let refreshed = self.log.refreshed(END_LOOK_UP).await;
            self.hub.with(|hub, now| {
                partitions.retain(|partition| {
                    let end = self.log.end(*partition, connected_ms).filter(|_| refreshed);
                    if let Some(end) = end {
                        hub.end_of_log(connection, *partition, end, now);
                    }
                    end.is_none() && hub.is_ahead(connection, *partition)
                });
            });
            if partitions.is_empty() {
                return;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(END_LOOK_UP) => {}
            }
        }
    }
}
