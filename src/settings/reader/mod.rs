//! From what was written to what is meant: reads each variable once and collects what is wrong.

mod bus;
mod kafka;
mod tokens;

use std::collections::BTreeMap;

use fleetcast_core::domain::claims::ClaimRules;
use secrecy::SecretString;

use super::input::Input;
use super::profile::Profile;
use super::report::{Notice, NoticeKind, Problems};
use super::table::{self, Availability, Fallback, Variable, variables};
use super::values::{self, Wrong};
use super::{CorsOrigins, LimitSettings, Listen, Presets, Settings, Sockets, Window, addresses};
use crate::auth;
use crate::telemetry::LogSettings;

/// What a polling payload holds beside the event: packet type, name, cursor.
const EVENT_ENVELOPE: usize = 1_024;

/// The least of `MAX_RSS`, in bytes.
const LEAST_RSS: u64 = 64 << 20;

/// The variables that name topics of our own.
const SERVICE_TOPICS: [&str; 7] = [
    "PUBLISH_TOPIC",
    "DEAD_LETTER_TOPIC",
    "RECEIPTS_TOPIC",
    "CONNECTIONS_TOPIC",
    "REVOCATIONS_TOPIC",
    "GRANTS_TOPIC",
    "AUDIT_TOPIC",
];

pub(super) struct SettingsReader {
    input: Input,
}

impl SettingsReader {
    /// Reads everything, for a server that runs with `running`, if there is one.
    pub(super) fn all(
        environment: &BTreeMap<String, String>,
        presets: &Presets,
        running: Option<&Settings>,
    ) -> Result<Settings, Problems> {
        let input = Input::collect(environment, presets);
        Self { input }.read(|reader| reader.settings(running))
    }

    /// Reads one part, and reports only what is wrong with that, or may hide a value of it.
    pub(super) fn part<T>(
        environment: &BTreeMap<String, String>,
        part: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Problems> {
        let mut input = Input::collect(environment, &Presets::new());
        input.problems.clear();
        Self { input }.read(part)
    }

    fn read<T>(mut self, part: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        let value = if self.input.unreadable {
            None
        } else {
            part(&mut self)
        };
        match value {
            Some(value) if self.input.is_good() => Ok(value),
            _ => Err(Problems::new(
                [self.input.broken, self.input.problems].concat(),
                self.input.notices,
            )),
        }
    }

    /// Reads on after a problem, so that everything wrong is found.
    fn settings(&mut self, running: Option<&Settings>) -> Option<Settings> {
        let texts = self.input.texts();
        self.check_unavailable();
        let listen = self.listen();
        let auth = self.auth();
        let kafka = self.kafka();
        let bus = self.bus(&auth);
        let redis_emitters = self.emitters();
        let sockets = self.sockets();
        let window = self.window(&sockets);
        let max_rss = self.max_rss(&window);
        let limits = self.limits(listen.proxy_protocol);
        let log = LogSettings {
            filter: self.value("LOG_LEVEL", values::log_filter),
            format: self.value("LOG_FORMAT", values::log_format),
        };
        let (in_force, largest) = match running {
            Some(running) => (&running.kafka, running.sockets.max_event_bytes),
            None => (&kafka, sockets.max_event_bytes),
        };
        let profile = self.profile(&in_force.topic_prefix, largest, running)?;
        Some(Settings {
            listen,
            auth,
            kafka,
            bus,
            redis_emitters,
            profile,
            window,
            max_rss,
            sockets,
            limits,
            log,
            notices: self.input.notices.clone(),
            injected: self.input.injected,
            texts,
        })
    }

    pub(super) fn listen(&mut self) -> Listen {
        let listen = Listen {
            host: self.value("HOST", values::host),
            port: self.value("PORT", values::port),
            internal_host: self.value("INTERNAL_HOST", values::host),
            internal_port: self.value("INTERNAL_PORT", values::port),
            internal_token: self.optional("INTERNAL_TOKEN", |text| {
                auth::internal_token(text).map(|()| SecretString::from(text))
            }),
            internal_names: self
                .optional("INTERNAL_NAMES", values::host_names)
                .unwrap_or_default(),
            qa_page: self.value("QA_PAGE", values::boolean),
            public_api: self.value("PUBLIC_API", values::boolean),
            proxy_protocol: self.value("PROXY_PROTOCOL", values::boolean),
            cors_origins: self.cors_origins(),
            cors_headers: self.value("CORS_HEADERS", values::header_names),
            allow_no_origin: self.value("ALLOW_NO_ORIGIN", values::boolean),
        };
        let port = listen.port;
        let overlap = listen.host == listen.internal_host
            || listen.host.is_unspecified()
            || listen.internal_host.is_unspecified();
        self.ensure(
            port != listen.internal_port || port == 0 || !overlap,
            format!("PORT and INTERNAL_PORT are both {port}: the listeners need different ones"),
        );
        listen
    }

    fn cors_origins(&mut self) -> CorsOrigins {
        let any_allowed = self.value("FLEETCAST_CORS_ANY", values::boolean);
        let origins = self.optional("CORS_ORIGINS", addresses::cors_origins);
        if origins == Some(CorsOrigins::Any) && any_allowed {
            let warning = "it is *: every web page may connect with a token that it holds";
            self.input.warn("CORS_ORIGINS", warning);
        } else if origins == Some(CorsOrigins::Any) {
            let why = "it admits every web page, which requires FLEETCAST_CORS_ANY=true as well";
            self.input.wrong("CORS_ORIGINS", why);
        }
        origins.unwrap_or(CorsOrigins::Exact(Vec::new()))
    }

    fn sockets(&mut self) -> Sockets {
        let sockets = Sockets {
            ping_interval: self.value("PING_INTERVAL", values::positive_duration),
            ping_timeout: self.value("PING_TIMEOUT", values::positive_duration),
            max_connections: self.value("MAX_CONNECTIONS", values::limit),
            max_http_buffer_size: self.value("MAX_HTTP_BUFFER_SIZE", values::buffer),
            max_message_bytes: self.value("MAX_MESSAGE_BYTES", values::buffer),
            max_event_bytes: self.value("MAX_EVENT_BYTES", values::buffer),
            slow_client_timeout: self.value("SLOW_CLIENT_TIMEOUT", values::positive_duration),
            keep_alive: self.value("KEEP_ALIVE_TIMEOUT", values::keep_alive),
            max_rooms: self.value("MAX_ROOMS", values::limit),
            drain: self.value("DRAIN_SECONDS", values::duration),
            lane: self.value("FLEETCAST_LANE", values::boolean),
        };
        // Where a value is wrong its default stands in, and to compare that would say nothing.
        if self.input.is_good() {
            let payload = sockets.max_http_buffer_size;
            let (event, message) = (sockets.max_event_bytes, sockets.max_message_bytes);
            self.ensure(
                event + EVENT_ENVELOPE <= payload,
                format!("MAX_HTTP_BUFFER_SIZE is {payload}, but an event of MAX_EVENT_BYTES ({event}) and {EVENT_ENVELOPE} bytes around it must fit into one polling payload"),
            );
            self.ensure(
                message <= payload,
                format!("MAX_HTTP_BUFFER_SIZE is {payload}, but a packet of MAX_MESSAGE_BYTES ({message}) must fit into one polling payload"),
            );
        }
        sockets
    }

    fn limits(&mut self, proxy_protocol: bool) -> LimitSettings {
        let proxies = self.optional("TRUSTED_PROXIES", values::proxies);
        let is_mistyped = self.input.mistyped.contains(&"TRUSTED_PROXIES");
        self.ensure(
            !proxy_protocol || self.text("TRUSTED_PROXIES").is_some() || is_mistyped,
            "PROXY_PROTOCOL requires TRUSTED_PROXIES: from others a preamble is not believed"
                .to_owned(),
        );
        LimitSettings {
            proxies: proxies.unwrap_or_default(),
            forwarded_header: self.value("FORWARDED_HEADER", values::forwarded_header),
            loopback_too: self.value("LIMIT_LOOPBACK", values::boolean),
            connections_per_address: self
                .value("MAX_CONNECTIONS_PER_ADDRESS", values::optional_limit),
            handshakes_per_second: self
                .value("HANDSHAKES_PER_SECOND_PER_ADDRESS", values::optional_limit),
            connections_per_user: self.value("MAX_CONNECTIONS_PER_USER", values::optional_limit),
            connections_per_organisation: self
                .value("MAX_CONNECTIONS_PER_ORGANISATION", values::optional_limit),
            commands_per_second: self.value("COMMANDS_PER_SECOND", values::optional_limit),
        }
    }

    fn window(&mut self, sockets: &Sockets) -> Window {
        let window = Window {
            duration: self.value("FLEETCAST_WINDOW", values::positive_duration),
            bytes: self.value("FLEETCAST_WINDOW_BYTES", values::bytes),
            latest_bytes: self.value("FLEETCAST_LATEST_BYTES", values::bytes),
        };
        if self.input.is_good() {
            let (bytes, event) = (window.bytes, sockets.max_event_bytes as u64);
            self.ensure(
                bytes >= event,
                format!("FLEETCAST_WINDOW_BYTES is {bytes}: it must hold at least one event of MAX_EVENT_BYTES ({event})"),
            );
        }
        window
    }

    /// More than nothing, and more than a process without any connection takes.
    fn max_rss(&mut self, window: &Window) -> Option<u64> {
        let max = self.optional("MAX_RSS", values::bytes)?;
        if max == 0 {
            return None;
        }
        if max < LEAST_RSS {
            let why = "must be at least 64 MiB, or 0 for no limit: the process takes nearly that much without any connection";
            self.input.wrong("MAX_RSS", why);
        }
        let kept = window.bytes.saturating_add(window.latest_bytes);
        if self.input.is_good() && kept > max / 100 * 85 {
            let warning = format!(
                "FLEETCAST_WINDOW_BYTES and FLEETCAST_LATEST_BYTES are {kept} bytes together, more than 85 % of it: should they be needed, connections will be refused and the window gets shorter"
            );
            self.input.warn("MAX_RSS", &warning);
        }
        Some(max)
    }

    /// What the profile says about claims, for the command line.
    pub(super) fn claim_rules(&mut self) -> Option<ClaimRules> {
        let prefix: String = self.value("KAFKA_TOPIC_PREFIX", values::topic_prefix);
        let largest = self.value("MAX_EVENT_BYTES", values::buffer);
        let profile = self.profile(&prefix, largest, None)?;
        Some(profile.claim_rules())
    }

    /// No pattern matches a topic of our own: those that are written, and those that are in force until a restart.
    fn profile(
        &mut self,
        prefix: &str,
        max_event_bytes: usize,
        running: Option<&Settings>,
    ) -> Option<Profile> {
        let name = self.text("FLEETCAST_PROFILE")?;
        let in_force = |topic: &&str| running?.texts.0.get(*topic).cloned();
        let written = SERVICE_TOPICS.iter().filter_map(|topic| self.text(topic));
        let service: Vec<String> = written
            .chain(SERVICE_TOPICS.iter().filter_map(in_force))
            .collect();
        let profile = Profile::load(&name, prefix, max_event_bytes, &service);
        let errors = profile.as_ref().err().map_or(&[][..], |errors| &errors.0);
        for error in errors {
            self.input.wrong("FLEETCAST_PROFILE", error);
        }
        let published = in_force(&"PUBLISH_TOPIC").or_else(|| self.text("PUBLISH_TOPIC"));
        if let (Ok(profile), Some(topic)) = (&profile, published)
            && profile.routes.wants(&topic)
        {
            let why = "the profile reads this topic: what is published needs one of its own";
            self.input.wrong("PUBLISH_TOPIC", why);
        }
        profile.ok()
    }

    /// Variables of parts that this version lacks: checked like the others, then rejected or noted. Never silent.
    fn check_unavailable(&mut self) {
        for variable in variables() {
            let Some(found) = self.input.get(variable.name).cloned() else {
                continue;
            };
            if variable.availability == Availability::Available {
                continue;
            }
            // To ask for what holds anyway, or for none of it, is to ask for nothing.
            let kind = variable.kind;
            if matches!(found.text.to_ascii_lowercase().as_str(), "0" | "false") {
                continue;
            }
            let off = variable.default_text();
            let off = off.and_then(|text| (kind.canonical)(text).ok());
            match (kind.canonical)(&found.text) {
                Err(why) => self.input.wrong(variable.name, &why),
                Ok(text) if off.as_ref() == Some(&text) => {}
                Ok(_) if variable.availability == Availability::Rejected => {
                    let why = "it is not available in this version, and running without it would be unsafe";
                    self.input.wrong(variable.name, why);
                }
                Ok(_) => self.input.notices.push(Notice {
                    name: found.source.name(variable.name),
                    what: NoticeKind::WithoutEffect,
                }),
            }
        }
    }

    /// A variable with a default. A wrong text is recorded, and the default stands in for it until the problems are reported.
    fn value<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, Wrong>) -> T {
        let default = || {
            let text = declared(name).default_text();
            parse(text.expect("only variables with a default are read by value()"))
                .expect("a test parses every default")
        };
        self.optional(name, &parse).unwrap_or_else(default)
    }

    /// `None` if it is not set, or wrong.
    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let Some(text) = self.text(name) else {
            let variable = declared(name);
            let is_missing = !self.input.mistyped.contains(&name);
            if variable.default == Fallback::Required && is_missing {
                let meaning = variable.meaning;
                self.input.problem(format!("{name} is required: {meaning}"));
            }
            return None;
        };
        let value = parse(&text);
        if let Err(why) = &value {
            self.input.wrong(name, why);
        }
        value.ok()
    }

    fn text(&self, name: &str) -> Option<String> {
        let found = self.input.get(name).map(|found| found.text.as_str());
        found
            .or_else(|| declared(name).default_text())
            .map(str::to_owned)
    }

    fn ensure(&mut self, holds: bool, problem: String) {
        if !holds {
            self.input.problem(problem);
        }
    }
}

fn declared(name: &str) -> &'static Variable {
    table::find(name).expect("every variable that is read is declared")
}
