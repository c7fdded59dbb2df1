//! `check`: what a start would say about the settings, and what Kafka and Redis answer.

mod service;
mod topics;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::brokers::{block_on, client_settings};
use super::{Exit, bad_configuration, complain, plain, print};
use crate::app;
use crate::bus;
use crate::kafka::admin::Admin;
use crate::settings::show::{self, Shown};
use crate::settings::{Presets, Settings};

/// What Kafka's answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What Redis' answer may take.
const PONG: Duration = Duration::from_secs(1);

pub(super) const HELP: &str = "Examples:
  fleetcast check               as the server would read the same environment
  fleetcast check --show        every variable as it holds, secrets masked
  fleetcast check --offline     asking neither Kafka nor Redis: in a build
  fleetcast check --config new.toml && kill -HUP $PID
                                what a reload would say, then the reload

Redis, if REDIS_URL is set, has 1 s to answer. What is wrong with it is a
warning, because the server starts without it; but a Cluster or a Sentinel is
a wrong setting.

Exit codes: 0 the settings are good and Kafka answers; 1 the settings are
good, but Kafka does not answer within 5 s, or it has no topic for grants or
revocations that is set; 2 wrong usage; 78 the settings are wrong, or
credentials and certificates are that Kafka and we show each other.";

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Print every setting as it holds, secrets masked, and where it comes from
    #[arg(long)]
    show: bool,
    /// Ask neither Kafka nor Redis
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(
    arguments: &CheckArguments,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let presets = Presets::new();
    if arguments.show {
        print(&table(&show::effective(environment, &presets)))?;
    }
    let settings = Settings::from_map(environment, &presets)
        .and_then(|settings| app::check(&settings).map(|()| settings));
    let settings = match settings {
        Ok(settings) => settings,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let mut text = String::new();
    for notice in &settings.notices {
        writeln!(text, "warning: {notice}")?;
    }
    text.push_str("ok: the settings are complete and fit together\n");
    print(&text)?;
    if arguments.offline {
        return Ok(Exit::Clean);
    }
    let answer =
        Admin::new(&client_settings(&settings.kafka), ANSWER).and_then(|admin| admin.cluster());
    let kafka = match answer {
        Ok(cluster) => {
            print(&topics::report(&settings.profile.routes, &cluster))?;
            let (text, is_complete) = service::report(&settings.kafka, &cluster);
            print(&text)?;
            if is_complete {
                Exit::Clean
            } else {
                Exit::Failed
            }
        }
        Err(error) => {
            let why = plain(&error.to_string());
            complain(&format!("fleetcast: kafka: {why}\n"));
            if error.is_lasting() {
                Exit::BadConfiguration
            } else {
                Exit::Failed
            }
        }
    };
    if let Some(bus) = &settings.bus
        && !is_usable(&bus.url)?
    {
        return Ok(Exit::BadConfiguration);
    }
    Ok(kafka)
}

/// Tells what Redis answers. A start fails only for one that can never be used, and so does the check.
fn is_usable(url: &SecretString) -> anyhow::Result<bool> {
    match block_on(bus::ping(url.expose_secret(), PONG))? {
        Ok(address) => {
            print(&format!("redis: {} answers\n", plain(&address)))?;
            Ok(true)
        }
        Err(error) => {
            let why = plain(&error.to_string());
            if error.is_lasting() {
                complain(&format!("fleetcast: redis: {why}\n"));
                return Ok(false);
            }
            complain(&format!(
                "warning: redis: {why} (the server starts all the same, and instances exchange nothing until then)\n"
            ));
            Ok(true)
        }
    }
}

fn table(settings: &[Shown]) -> String {
    let width = |column: fn(&Shown) -> &str| {
        let widths = settings.iter().map(|shown| column(shown).chars().count());
        // One very long value must not push everything aside.
        widths.max().unwrap_or(0).min(48)
    };
    let (name, value) = (width(|shown| &shown.name), width(|shown| &shown.value));
    let mut text = String::new();
    for shown in settings {
        let note = if shown.served {
            ""
        } else {
            " (not in this version)"
        };
        let Shown {
            name: of,
            value: is,
            origin,
            ..
        } = shown;
        writeln!(text, "{of:name$}  {is:value$}  {origin}{note}")
            .expect("writing to a string cannot fail");
    }
    text
}
