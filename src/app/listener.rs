//! A listening socket and the connections that came in by it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::net::{self, ConnectionTable, NetSettings, PeerAdmission, PeerLimit, Stopping};
use crate::telemetry::Metrics;

/// Connections per peer, as the limits have it.
pub(super) struct PeerCounts(pub(super) Arc<Limits>);

impl PeerLimit for PeerCounts {
    fn admit(&self, peer: IpAddr) -> PeerAdmission {
        match self.0.take_peer(peer) {
            Ok(Some(slot)) => PeerAdmission::Counted(Box::new(slot)),
            Ok(None) => PeerAdmission::Exempt,
            Err(_) => PeerAdmission::Refused,
        }
    }
}

impl fmt::Debug for PeerCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCounts").finish_non_exhaustive()
    }
}

pub(super) struct Listener {
    socket: TcpListener,
    limits: NetSettings,
    pub(super) address: SocketAddr,
    pub(super) table: Arc<ConnectionTable>,
}

impl Listener {
    /// Connections queue in the kernel from here on; [`serve`](Self::serve) accepts them.
    pub(super) fn bind(
        name: &str,
        host: IpAddr,
        port: u16,
        limits: NetSettings,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let asked = SocketAddr::new(host, port);
        let failed = || format!("cannot listen on {asked} ({name})");
        let socket = match net::bind(asked) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let variable = if name == "public" {
                    "PORT"
                } else {
                    "INTERNAL_PORT"
                };
                bail!(
                    "cannot listen on {asked} ({name}): another process listens there, perhaps a fleetcast demo; stop it, or set {variable}"
                );
            }
            bound => bound.with_context(failed)?,
        };
        let address = socket.local_addr().with_context(failed)?;
        Ok(Self {
            socket,
            limits,
            address,
            table: ConnectionTable::new(metrics.delivery_times.clone()),
        })
    }

    /// Accepts connections until `over`. `part` names the task in the log.
    pub(super) fn serve(
        self,
        part: &'static str,
        router: Router,
        over: CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        let served = net::serve(
            self.socket,
            router,
            self.limits,
            self.table,
            lifecycle.tasks(),
            Stopping {
                drain: lifecycle.stopping(),
                accepting: over.clone(),
            },
        );
        lifecycle.critical(part, async move {
            served.await;
            anyhow::ensure!(over.is_cancelled(), "the accept loop has ended");
            Ok(())
        });
    }
}
