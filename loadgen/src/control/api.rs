//! The HTTP API as a back-end uses it: one connection that is kept alive, and opened again when it has broken.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::keep_alive::KeepAlive;

/// The server gives up after 10 s where the brokers confirm nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Api {
    address: SocketAddr,
    connection: Option<KeepAlive>,
}

impl Api {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Status and body. An error: whether the request took effect is not known.
    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<(u16, String)> {
        self.send(path, body).await?;
        let mut connection = self.connection.take().context("no connection")?;
        let answer = timeout(ANSWER_TIMEOUT, connection.answer())
            .await
            .context("no answer")??;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Sends the request and closes the connection with a reset `after` so long, whatever has come of it.
    pub(super) async fn post_and_cut(
        &mut self,
        path: &str,
        body: &str,
        after: Duration,
    ) -> Result<()> {
        self.send(path, body).await?;
        tokio::time::sleep(after).await;
        self.connection.take().map_or(Ok(()), KeepAlive::cut)
    }

    /// A connection that breaks is not used again.
    async fn send(&mut self, path: &str, body: &str) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => KeepAlive::open(self.address).await?,
        };
        connection
            .ask("POST", path, "application/json", body)
            .await?;
        self.connection = Some(connection);
        Ok(())
    }
}
