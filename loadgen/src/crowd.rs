//! Many clients on one thread.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::LocalSet;

use crate::client::{Client, Part};
use crate::socket::Endpoint;

/// Connects the clients one after the other, `connect_rate` a second by their index, and keeps them until `stop` is over.
/// Gives them back with all that they saw.
pub(crate) fn hold<P: Part + 'static>(
    clients: Vec<Client<P>>,
    endpoint: &Endpoint,
    connect_rate: u32,
    stop: impl Future<Output = ()>,
) -> Result<Vec<Client<P>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let clients: Vec<Rc<Client<P>>> = clients.into_iter().map(Rc::new).collect();
    let local = LocalSet::new();
    let start = tokio::time::Instant::now();
    for client in &clients {
        let (client, endpoint) = (Rc::clone(client), endpoint.clone());
        local.spawn_local(async move {
            let turn = Duration::from_secs(1) * u32::try_from(client.index).unwrap_or(u32::MAX)
                / connect_rate;
            tokio::time::sleep_until(start + turn).await;
            client.run(&endpoint).await;
        });
    }
    runtime.block_on(local.run_until(stop));
    // The clients' tasks hold the other references; they end here.
    drop(local);
    clients
        .into_iter()
        .map(|client| Rc::into_inner(client).context("a client is still running"))
        .collect()
}
