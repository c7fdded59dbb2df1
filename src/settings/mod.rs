//! What the operator asked for: read once, checked as a whole, then trusted.
//!
//! This is the only reader of the environment and of the TOML file that it may name. `table` declares every variable; `input` is
//! what was written, `Settings` what is meant. All problems are reported at once, and any of them stops the start.

mod addresses;
pub mod docs;
pub mod example;
mod file;
mod input;
pub mod issuers;
mod origin;
pub mod profile;
mod properties;
mod reader;
pub mod report;
pub mod show;
pub mod table;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderName;
use fleetcast_core::domain::claims::ClaimRules;
use fleetcast_core::domain::emitters::Emitter;

pub use origin::Origin;
pub use profile::Profile;
pub use report::{Notice, NoticeKind, Problems, SettingProblem};

pub use crate::auth::AuthSettings;
pub use crate::bus::RedisSettings;
pub use crate::limits::LimitSettings;

use crate::telemetry::{LogSettings, events};
use reader::SettingsReader;
use secrecy::SecretString;

#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: Listen,
    pub auth: AuthSettings,
    pub kafka: KafkaSettings,
    /// `None`: instances exchange nothing.
    pub bus: Option<RedisSettings>,
    /// Whose events are accepted from Redis; no two share a channel.
    pub redis_emitters: Vec<Emitter>,
    pub profile: Profile,
    pub window: Window,
    /// What the process may take, in bytes; `None`: no limit.
    pub max_rss: Option<u64>,
    pub sockets: Sockets,
    pub limits: LimitSettings,
    pub log: LogSettings,
    /// What `announce` will say.
    pub notices: Vec<Notice>,
    injected: usize,
    /// Everything as text, by the variables' names: to see what has changed.
    texts: Masked,
}

/// Texts by their names. Secrets are among them, so only the names are shown.
#[derive(Clone, Default)]
pub struct Masked(pub BTreeMap<String, String>);

impl fmt::Debug for Masked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Debug, Clone)]
pub struct Listen {
    pub host: IpAddr,
    /// 0 picks a free one.
    pub port: u16,
    pub internal_host: IpAddr,
    pub internal_port: u16,
    /// What requests to the internal API must carry. `None`: nothing on loopback, and there is no API elsewhere.
    pub internal_token: Option<SecretString>,
    /// Names in lower case by which clients of the internal API reach it, beside `localhost` and addresses.
    pub internal_names: Vec<String>,
    pub qa_page: bool,
    /// Tokens may publish.
    pub public_api: bool,
    /// Connections of trusted proxies begin with a PROXY preamble.
    pub proxy_protocol: bool,
    pub cors_origins: CorsOrigins,
    /// Headers of a request that the preflight may ask for.
    pub cors_headers: Vec<HeaderName>,
    pub allow_no_origin: bool,
}

/// Whose pages may connect, beside those of the same origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Sorted; may be empty.
    Exact(Vec<Origin>),
    Any,
}

#[derive(Debug, Clone)]
pub struct KafkaSettings {
    pub bootstrap_servers: String,
    /// By librdkafka's names; none that Fleetcast sets itself.
    pub properties: Masked,
    pub topic_prefix: String,
    pub group_id: String,
    /// Where acknowledgements are written; `None`: they are counted only.
    pub receipts_topic: Option<String>,
    /// Where connects and disconnects are written; `None`: nowhere.
    pub connections_topic: Option<String>,
    /// Reconnects within this time are not written there.
    pub connections_debounce: Duration,
    /// Missing service topics are made at the start.
    pub create_topics: bool,
    /// Topics of our own that are in use, by the variables that name them. Full names.
    pub service_topics: BTreeMap<&'static str, String>,
    /// What is published over HTTP.
    pub publish_topic: String,
    /// The broker is librdkafka's embedded one, which has quirks.
    pub mock: bool,
}

/// Topics of our own, by their full names; the prefix is for those of the profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTopics {
    /// By the variables that name them.
    pub names: BTreeMap<&'static str, String>,
    /// Variables of the above, although nothing in this version uses their topics.
    pub without_effect: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub duration: Duration,
    pub bytes: u64,
    /// For the newest records of class `latest`, beside those.
    pub latest_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Sockets {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// `usize::MAX`: no limit.
    pub max_connections: usize,
    pub max_http_buffer_size: usize,
    pub max_message_bytes: usize,
    pub max_event_bytes: usize,
    pub slow_client_timeout: Duration,
    /// Of idle HTTP connections, in whole seconds. Zero: they are not kept.
    pub keep_alive: Duration,
    /// `usize::MAX`: no limit.
    pub max_rooms: usize,
    /// Over which connections are closed at shutdown.
    pub drain: Duration,
    /// Events to WebSocket clients are written below the library.
    pub lane: bool,
}

/// Values that a subcommand puts below the environment: the demo's address, secret and brokers.
pub type Presets = BTreeMap<&'static str, String>;

impl Settings {
    /// From the environment, and the TOML file that it names in `FLEETCAST_CONFIG`.
    pub fn from_map(
        environment: &BTreeMap<String, String>,
        presets: &Presets,
    ) -> Result<Self, Problems> {
        SettingsReader::all(environment, presets, None)
    }

    /// Reads all again, for a server that runs with `self`. The profile is read with the topic prefix and the limit of event
    /// sizes that are in force, because a change of those takes a restart.
    pub fn again(
        &self,
        environment: &BTreeMap<String, String>,
        presets: &Presets,
    ) -> Result<Self, Problems> {
        SettingsReader::all(environment, presets, Some(self))
    }

    /// The variables of `newer` that differ and cannot be applied without a restart.
    pub fn restart_needed(&self, newer: &Self) -> Vec<String> {
        let (old, new) = (&self.texts.0, &newer.texts.0);
        let names = old.keys().chain(new.keys()).collect::<BTreeSet<_>>();
        let changed = names
            .into_iter()
            .filter(|name| old.get(*name) != new.get(*name) && !on_reload(name));
        let mut changed: Vec<String> = changed.cloned().collect();
        // Other secrets of an issuer are taken over; an issuer that has none yet is not.
        if self.auth.own.keys.is_empty() != newer.auth.own.keys.is_empty() {
            changed.push("JWT_SECRET".to_owned());
        }
        changed
    }

    /// Takes over from `newer` what a running server can change.
    pub fn apply(&mut self, newer: Self) {
        self.profile = newer.profile;
        self.listen.cors_origins = newer.listen.cors_origins;
        self.listen.allow_no_origin = newer.listen.allow_no_origin;
        if !self.auth.own.keys.is_empty() {
            self.auth.own.keys.secrets = newer.auth.own.keys.secrets;
        }
        if let (Some(bus), Some(newer)) = (&mut self.bus, newer.bus)
            && bus.keys_of_tokens
            && newer.keys_of_tokens
        {
            bus.keys = newer.keys;
        }
        self.texts.0.retain(|name, _| !on_reload(name));
        let applied = newer
            .texts
            .0
            .into_iter()
            .filter(|(name, _)| on_reload(name));
        self.texts.0.extend(applied);
    }

    /// Only what tokens are checked and made with: the command line does not need brokers for that.
    pub fn auth_from_map(environment: &BTreeMap<String, String>) -> Result<AuthSettings, Problems> {
        SettingsReader::part(environment, |reader| Some(reader.auth()))
    }

    /// Only what tokens are verified by: keys, and what the profile says about claims.
    pub fn token_rules_from_map(
        environment: &BTreeMap<String, String>,
    ) -> Result<(AuthSettings, ClaimRules), Problems> {
        SettingsReader::part(environment, |reader| {
            let auth = reader.auth();
            Some((auth, reader.claim_rules()?))
        })
    }

    /// Only which brokers there are and how to reach them.
    pub fn kafka_from_map(
        environment: &BTreeMap<String, String>,
    ) -> Result<KafkaSettings, Problems> {
        SettingsReader::part(environment, |reader| Some(reader.kafka()))
    }

    /// Only what decides which topics there should be.
    pub fn topics_from_map(
        environment: &BTreeMap<String, String>,
    ) -> Result<(KafkaSettings, Profile, ServiceTopics), Problems> {
        SettingsReader::part(environment, SettingsReader::topics)
    }

    /// Only where the server listens.
    pub fn listen_from_map(environment: &BTreeMap<String, String>) -> Result<Listen, Problems> {
        SettingsReader::part(environment, |reader| Some(reader.listen()))
    }

    /// For the demo: whatever was said about brokers is about others. The address is put in once the broker runs.
    pub fn use_embedded_broker(&mut self) {
        self.kafka.mock = true;
        self.kafka.properties.0.clear();
    }

    /// Says in the log what the operator should know about the settings. Once, when the log is up.
    pub fn announce(&self) {
        if self.injected > 0 {
            events::service_variables_ignored(self.injected);
        }
        for notice in &self.notices {
            match &notice.what {
                NoticeKind::WithoutEffect => events::setting_without_effect(&notice.name),
                NoticeKind::Warning(warning) => events::setting_warning(&notice.name, warning),
            }
        }
    }
}

fn on_reload(name: &str) -> bool {
    table::find(name).is_some_and(|variable| variable.on_reload)
}

/// The environment, as far as it is text. A variable of ours that is not text shows up as a wrong value, because its bytes are
/// replaced by a character that no value may have.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the environment"
)]
pub fn process_environment() -> BTreeMap<String, String> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[cfg(test)]
mod tests;
