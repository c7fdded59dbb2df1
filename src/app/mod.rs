//! The only place where the parts meet: what is built (`build`), in which order it starts (`start`), and how it stops (`drain`).

mod build;
mod closing;
mod control;
mod demo_people;
mod directory;
mod drain;
mod fleet;
mod listener;
mod log_reader;
mod memory;
mod origins;
#[cfg(test)]
mod page_tests;
mod public;
mod published_topic;
mod publisher;
mod ready;
mod reload;
mod service_topics;
mod start;
mod stats;
mod topic_counters;
mod topic_keeper;

use std::path::PathBuf;

use fleetcast_core::hub::{HubSettings, NAMED_PARTITIONS};

use crate::kafka;
use crate::lifecycle::Lifecycle;
use crate::session::SessionRules;
use crate::settings::{Problems, Profile, Settings};
use crate::telemetry::Metrics;

pub use log_reader::client_settings;
pub use reload::Reread;
pub use topic_keeper::{new_topic, service_topics, when_made};

use build::App;

/// Whose records are carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Those of the brokers in the settings.
    Serve,
    /// Those of the simulated city, through the embedded broker.
    Demo {
        /// Where its secret is kept: `None` if in no file, or in the operator's hands.
        secret_file: Option<PathBuf>,
    },
}

/// Builds the parts, starts them through `lifecycle`, and returns once the process is stopping and the connections are drained.
/// `reread` is called on SIGHUP. An error is one that the process cannot live with.
pub async fn run(
    settings: Settings,
    mode: Mode,
    reread: Reread,
    metrics: Metrics,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let app = App::build(settings, mode, metrics, &lifecycle)?;
    let running = app.start(reread, &lifecycle);
    lifecycle.stopping().cancelled().await;
    running.drain(&lifecycle.killed()).await;
    Ok(())
}

/// What the profile says about sessions.
fn session_rules(profile: &Profile) -> SessionRules {
    SessionRules {
        policy: profile.policy.clone(),
        envelope: profile.envelope,
        publish: profile.publish.clone(),
    }
}

fn hub_settings(settings: &Settings) -> HubSettings {
    HubSettings {
        window_ms: u64::try_from(settings.window.duration.as_millis()).unwrap_or(u64::MAX),
        window_bytes: usize::try_from(settings.window.bytes).unwrap_or(usize::MAX),
        latest_bytes: usize::try_from(settings.window.latest_bytes).unwrap_or(usize::MAX),
        named_partitions: NAMED_PARTITIONS,
    }
}

/// What librdkafka has against the settings, as far as that shows without a broker: files that are not there, values that do not
/// fit together.
pub fn check(settings: &Settings) -> Result<(), Problems> {
    kafka::check(&log_reader::consumer(settings, &hub_settings(settings)))
        .map_err(|error| Problems::of_kafka(&error.to_string(), &settings.kafka))
}
