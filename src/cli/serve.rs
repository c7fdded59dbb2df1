//! `serve` and `demo`: settings, log, runtime, parts, and the wait for the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;

use super::brokers::block_on;
use super::{Exit, bad_configuration};
use crate::app::{self, Mode, Reread};
use crate::bus;
use crate::demo::secret::{DemoSecret, secret};
use crate::lifecycle::{self, Lifecycle, Signals};
use crate::settings::{Notice, NoticeKind, Presets, Problems, Settings, show};
use crate::telemetry::{self, Metrics, events};

/// What the end may take beyond the drain: replies under way, Kafka's thread, the last log lines.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// What Redis may take to say what it is, before anything is served.
const REDIS_ANSWER: Duration = Duration::from_secs(2);

/// The only setting of the demo that outlives it.
const JWT_SECRET: &str = "JWT_SECRET";

pub(super) fn serve(environment: BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let settings = Settings::from_map(&environment, &Presets::new()).and_then(checked);
    let again = move |running: &Settings| {
        let settings = running.again(&environment, &Presets::new());
        settings.and_then(checked)
    };
    match settings {
        Ok(settings) => match look_at_redis(&settings)? {
            Ok(()) => live(settings, Mode::Serve, Arc::new(again)),
            Err(problems) => Ok(bad_configuration(&problems)),
        },
        Err(problems) => Ok(bad_configuration(&problems)),
    }
}

pub(super) fn demo(environment: BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let DemoPresets {
        presets,
        secret_file,
        notice,
    } = demo_presets(&environment);
    match Settings::from_map(&environment, &presets) {
        Ok(mut settings) => {
            settings.use_embedded_broker();
            settings.notices.extend(notice);
            if let Err(problems) = look_at_redis(&settings)? {
                return Ok(bad_configuration(&problems));
            }
            let again = move |running: &Settings| running.again(&environment, &presets);
            live(settings, Mode::Demo { secret_file }, Arc::new(again))
        }
        Err(problems) => Ok(bad_configuration(&problems)),
    }
}

fn checked(settings: Settings) -> Result<Settings, Problems> {
    app::check(&settings).map(|()| settings)
}

/// A Redis that can never be used stops the start. One that is away does not: its connection is made when it comes.
fn look_at_redis(settings: &Settings) -> anyhow::Result<Result<(), Problems>> {
    let Some(url) = settings.bus.as_ref().map(|bus| &bus.url) else {
        return Ok(Ok(()));
    };
    let asked = bus::ping(url.expose_secret(), REDIS_ANSWER);
    Ok(match block_on(asked)? {
        Err(fault) if fault.is_lasting() => Err(Problems::of_redis(&fault.to_string())),
        _ => Ok(()),
    })
}

/// What the demo has instead of the operator's settings.
struct DemoPresets {
    presets: Presets,
    /// Where its secret is kept, for tokens that are made beside it.
    secret_file: Option<PathBuf>,
    /// What to say about it.
    notice: Option<Notice>,
}

/// The brokers' address is put in when they run.
fn demo_presets(environment: &BTreeMap<String, String>) -> DemoPresets {
    let mut presets = Presets::from([
        ("HOST", "127.0.0.1".to_owned()),
        ("QA_PAGE", "true".to_owned()),
        ("KAFKA_CREATE_TOPICS", "true".to_owned()),
        ("GRANTS_TOPIC", "fleetcast.grants".to_owned()),
        ("REVOCATIONS_TOPIC", "fleetcast.revocations".to_owned()),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1".to_owned()),
    ]);
    // A secret that is set wins, and then no file is read or written.
    if show::effective(environment, &presets)
        .iter()
        .any(|shown| shown.name == JWT_SECRET && shown.is_set())
    {
        return DemoPresets {
            presets,
            secret_file: None,
            notice: None,
        };
    }
    let DemoSecret {
        hexadecimal,
        file: secret_file,
        warning,
    } = secret(environment);
    presets.insert(JWT_SECRET, hexadecimal);
    let notice = warning.map(|warning| Notice {
        name: JWT_SECRET.to_owned(),
        what: NoticeKind::Warning(warning),
    });
    DemoPresets {
        presets,
        secret_file,
        notice,
    }
}

/// From good settings to the end of the process.
fn live(settings: Settings, mode: Mode, reread: Reread) -> anyhow::Result<Exit> {
    telemetry::init(&settings.log).context("cannot set up the log")?;
    let metrics = Metrics::new();
    let panics = metrics.panics.clone();
    lifecycle::log_panics(move || panics.increment(1));
    settings.announce();

    // Order and tail latency are best on one thread; Kafka's poll loop has its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let deadline = settings.sockets.drain + AFTER_DRAIN;
    let outcome = runtime.block_on(async {
        let signals = Signals::install().context("cannot catch signals")?;
        let brokers = match &mode {
            Mode::Serve => settings.kafka.bootstrap_servers.as_str(),
            Mode::Demo { .. } => "embedded",
        };
        events::starting(&settings.profile.name, brokers);
        let lifecycle = Lifecycle::new();
        metrics.keep_up(&lifecycle);
        lifecycle.critical(
            "app",
            app::run(settings, mode, reread, metrics, lifecycle.clone()),
        );
        anyhow::Ok(lifecycle.run(signals, deadline).await)
    })?;
    // A blocking call that hangs (DNS, a file) must not hold up the exit.
    runtime.shutdown_background();
    Ok(match outcome {
        Ok(()) => Exit::Clean,
        // The log has said why.
        Err(_) => Exit::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_topics_for_grants_and_revocations_and_makes_them() {
        let secret = (
            "JWT_SECRET".to_owned(),
            "demo-tests-only-3kYbqzT0pW9sVn5x".to_owned(),
        );
        let environment = BTreeMap::from([secret]);
        let DemoPresets {
            presets,
            secret_file,
            ..
        } = demo_presets(&environment);
        assert_eq!(secret_file, None, "a secret that is set needs no file");
        let settings = Settings::from_map(&environment, &presets).unwrap_or_else(|problems| {
            panic!("{problems:?}");
        });
        assert!(settings.kafka.create_topics);
        let named = |variable| settings.kafka.service_topics.get(variable).cloned();
        assert_eq!(named("GRANTS_TOPIC").as_deref(), Some("fleetcast.grants"));
        let revocations = named("REVOCATIONS_TOPIC");
        assert_eq!(revocations.as_deref(), Some("fleetcast.revocations"));
    }
}
