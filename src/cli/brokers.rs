//! Which brokers a subcommand talks to, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use crate::settings::values;

pub(super) use crate::app::client_settings;

#[derive(Debug, clap::Args)]
pub(super) struct Brokers {
    /// Brokers, if they are not KAFKA_BOOTSTRAP_SERVERS
    #[arg(short = 'b', long = "brokers", value_name = "HOST:PORT,...")]
    servers: Option<String>,
    /// How long the brokers may take for one answer: 10s, 500ms
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,
}

impl Brokers {
    /// Puts into the environment what the command line says. KAFKA_PROPERTIES_... hold for these brokers too.
    pub(super) fn over(
        &self,
        mut environment: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        if let Some(servers) = &self.servers {
            let name = "FLEETCAST_KAFKA_BOOTSTRAP_SERVERS".to_owned();
            environment.insert(name, servers.clone());
        }
        environment
    }
}

/// Runs one thing to its end; what hangs afterwards (a name that does not resolve) delays nothing.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(outcome)
}
