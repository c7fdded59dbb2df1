//! From what was written to what is meant: reads each variable once and collects what is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::input::Input;
use super::profile::Profile;
use super::report::{Notice, NoticeKind, Problems};
use super::table::{self, Fallback, Later, Status, VARIABLES, Variable};
use super::values::{self, Wrong};
use super::{
    AuthSettings, CorsOrigins, KafkaSettings, Listen, Presets, ServiceTopics, Settings, Sockets,
    Window,
};
use crate::auth::{self, KeySources};
use crate::telemetry::{LogFormat, LogSettings};

/// What a polling payload holds beside the event: packet type, name, cursor.
const EVENT_ENVELOPE: usize = 1_024;

pub(super) struct Reader {
    input: Input,
}

impl Reader {
    pub(super) fn new(environment: &BTreeMap<String, String>, presets: &Presets) -> Self {
        Self {
            input: Input::collect(environment, presets),
        }
    }

    /// Reads everything, so that everything wrong is found, and only then decides.
    pub(super) fn settings(mut self, running: Option<&Settings>) -> Result<Settings, Problems> {
        self.have_the_file()?;
        let texts = self.input.texts();
        self.refuse_what_is_not_there();
        let listen = self.listen();
        let auth = self.auth();
        let kafka = self.kafka();
        let redis_url = self.text("REDIS_URL").map(SecretString::from);
        let sockets = self.sockets();
        let window = self.window(&sockets);
        let log = LogSettings {
            filter: self.value("LOG_LEVEL", values::log_filter),
            format: self.value("LOG_FORMAT", |text| match text {
                "json" => Ok(LogFormat::Json),
                "pretty" => Ok(LogFormat::Pretty),
                "auto" => Ok(LogFormat::Auto),
                _ => Err("it is none of auto, json, pretty".to_owned()),
            }),
        };
        let (prefix, largest) = match running {
            Some(running) => (&running.kafka.topic_prefix, running.sockets.max_event_bytes),
            None => (&kafka.topic_prefix, sockets.max_event_bytes),
        };
        let profile = self.profile(prefix, largest, running);
        match profile {
            Some(profile) if self.input.problems.is_empty() => Ok(Settings {
                texts,
                listen,
                auth,
                kafka,
                redis_url,
                profile,
                window,
                sockets,
                log,
                notices: self.input.notices,
                of_kubernetes: self.input.of_kubernetes,
            }),
            _ => Err(Problems::new(self.input.problems, self.input.notices)),
        }
    }

    /// Reads one part, and tells only what is wrong with that.
    pub(super) fn only<T>(mut self, part: impl FnOnce(&mut Self) -> T) -> Result<T, Problems> {
        self.input.forget_problems();
        self.have_the_file()?;
        let value = part(&mut self);
        if self.input.problems.is_empty() {
            Ok(value)
        } else {
            Err(Problems::new(self.input.problems, self.input.notices))
        }
    }

    /// Without the file that was asked for nothing can be said about what is missing.
    fn have_the_file(&mut self) -> Result<(), Problems> {
        if self.input.unreadable {
            return Err(Problems::new(
                std::mem::take(&mut self.input.problems),
                std::mem::take(&mut self.input.notices),
            ));
        }
        Ok(())
    }

    pub(super) fn listen(&mut self) -> Listen {
        let listen = Listen {
            host: self.value("HOST", values::host),
            port: self.value("PORT", values::port),
            internal_host: self.value("INTERNAL_HOST", values::host),
            internal_port: self.value("INTERNAL_PORT", values::port),
            qa_page: self.value("QA_PAGE", values::boolean),
            cors_origins: self.cors_origins(),
            allow_no_origin: self.value("ALLOW_NO_ORIGIN", values::boolean),
        };
        let one_port = listen.port == listen.internal_port && listen.port != 0;
        let overlap = listen.host == listen.internal_host
            || listen.host.is_unspecified()
            || listen.internal_host.is_unspecified();
        if one_port && overlap {
            let port = listen.port;
            self.input.problem(format!(
                "PORT and INTERNAL_PORT are both {port}: the listeners need different ones"
            ));
        }
        listen
    }

    fn cors_origins(&mut self) -> CorsOrigins {
        let any_allowed = self.value("FLEETCAST_CORS_ANY", values::boolean);
        if self.text("CORS_ORIGINS").as_deref() == Some("*") {
            if any_allowed {
                self.input.warn(
                    "CORS_ORIGINS",
                    "it is *: every web page may connect with a token that it holds",
                );
            } else {
                let why = "it lets in every web page, which takes FLEETCAST_CORS_ANY=true as well";
                self.input.wrong("CORS_ORIGINS", why);
            }
            return CorsOrigins::Any;
        }
        let exact = self.optional("CORS_ORIGINS", values::origins);
        CorsOrigins::Exact(exact.unwrap_or_default())
    }

    pub(super) fn auth(&mut self) -> AuthSettings {
        AuthSettings {
            keys: self.keys(),
            issuer: self.text("JWT_ISSUER"),
            audience: self.text("JWT_AUDIENCE"),
            leeway: self.value("JWT_LEEWAY", |text| {
                at_most(text, Duration::from_mins(5), "the leeway")
            }),
            max_lifetime: self
                .optional("JWT_MAX_LIFETIME", values::duration)
                .filter(|longest| !longest.is_zero()),
            allow_query_token: self.value("ALLOW_QUERY_TOKEN", values::boolean),
        }
    }

    /// Files are read here, so that a bad one stops the start; a key server is not asked, because it may be away.
    fn keys(&mut self) -> KeySources {
        let so_far = self.input.problems.len();
        let mut secrets = Vec::new();
        for name in ["JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
            if let Some(secret) = self.text(name) {
                if let Err(why) = auth::jwt_secret(&secret) {
                    self.input.wrong(name, &why);
                }
                secrets.push(SecretString::from(secret));
            }
        }
        let sources = KeySources {
            secrets,
            secret_file: self.text("JWT_SECRET_FILE").map(PathBuf::from),
            public_key_files: self
                .optional("JWT_PUBLIC_KEY_FILE", values::paths)
                .unwrap_or_default(),
            jwks: self.optional("JWT_JWKS", values::jwks),
            algorithms: self.optional("JWT_ALGORITHMS", values::algorithms),
        };
        let KeySources {
            secrets,
            secret_file,
            public_key_files,
            jwks,
            ..
        } = &sources;
        if self.input.problems.len() > so_far {
            return sources;
        }
        if secrets.is_empty()
            && secret_file.is_none()
            && public_key_files.is_empty()
            && jwks.is_none()
        {
            let problem = "JWT_SECRET is required (an HS256 secret of at least 32 bytes, the same as in the service that issues the tokens; `openssl rand -base64 48` makes one), or one of JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE and JWT_JWKS";
            self.input.problem(problem.to_owned());
            return sources;
        }
        for (name, why) in auth::check_keys(&sources) {
            self.input.wrong(name, &why);
        }
        sources
    }

    /// What decides which topics there should be.
    pub(super) fn topics(mut self) -> Result<(KafkaSettings, Profile, ServiceTopics), Problems> {
        self.input.forget_problems();
        self.have_the_file()?;
        let kafka = self.kafka();
        // A default is no wish: what nothing uses yet is made only for who names it.
        let publish = self.input.get("PUBLISH_TOPIC").is_some();
        let service = ServiceTopics {
            publish: publish
                .then(|| self.optional("PUBLISH_TOPIC", values::topic))
                .flatten(),
            dead_letter: self.optional("DEAD_LETTER_TOPIC", values::topic),
            receipts: self.optional("RECEIPTS_TOPIC", values::topic),
            revocations: self.optional("REVOCATIONS_TOPIC", values::topic),
            audit: self.optional("AUDIT_TOPIC", values::topic),
            without_effect: SERVICE_TOPICS
                .into_iter()
                .filter(|name| matches!(declared(name).status, Status::Later(_)))
                .filter_map(|name| Some(self.input.get(name)?.source.name(name)))
                .collect(),
        };
        let max_event_bytes = self.value("MAX_EVENT_BYTES", buffer);
        let prefix = kafka.topic_prefix.clone();
        match self.profile(&prefix, max_event_bytes, None) {
            Some(profile) if self.input.problems.is_empty() => Ok((kafka, profile, service)),
            _ => Err(Problems::new(self.input.problems, self.input.notices)),
        }
    }

    pub(super) fn kafka(&mut self) -> KafkaSettings {
        let bootstrap_servers = if self.required("KAFKA_BOOTSTRAP_SERVERS").is_some() {
            self.optional("KAFKA_BOOTSTRAP_SERVERS", values::brokers)
        } else {
            None
        };
        let properties = std::mem::take(&mut self.input.properties);
        KafkaSettings {
            bootstrap_servers: bootstrap_servers.unwrap_or_default(),
            properties: properties
                .into_iter()
                .map(|(name, found)| (name, found.text))
                .collect(),
            topic_prefix: self.value("KAFKA_TOPIC_PREFIX", values::topic_prefix),
            group_id: self.value("KAFKA_GROUP_ID", |text| Ok(text.to_owned())),
            receipts_topic: self.optional("RECEIPTS_TOPIC", values::topic),
            mock: false,
        }
    }

    fn sockets(&mut self) -> Sockets {
        let sockets = Sockets {
            ping_interval: self.value("PING_INTERVAL", positive_duration),
            ping_timeout: self.value("PING_TIMEOUT", positive_duration),
            max_connections: self.value("MAX_CONNECTIONS", or_no_limit),
            max_http_buffer_size: self.value("MAX_HTTP_BUFFER_SIZE", buffer),
            max_message_bytes: self.value("MAX_MESSAGE_BYTES", buffer),
            max_event_bytes: self.value("MAX_EVENT_BYTES", buffer),
            slow_client_timeout: self.value("SLOW_CLIENT_TIMEOUT", positive_duration),
            max_rooms: self.value("MAX_ROOMS", or_no_limit),
            drain: self.value("DRAIN_SECONDS", values::duration),
        };
        if self.input.problems.is_empty() {
            let payload = sockets.max_http_buffer_size;
            if sockets.max_event_bytes + EVENT_ENVELOPE > payload {
                let event = sockets.max_event_bytes;
                self.input.problem(format!(
                    "MAX_HTTP_BUFFER_SIZE is {payload}, but an event of MAX_EVENT_BYTES ({event}) and {EVENT_ENVELOPE} bytes around it must fit into one polling payload"
                ));
            }
            if sockets.max_message_bytes > payload {
                let message = sockets.max_message_bytes;
                self.input.problem(format!(
                    "MAX_HTTP_BUFFER_SIZE is {payload}, but a packet of MAX_MESSAGE_BYTES ({message}) must fit into one polling payload"
                ));
            }
        }
        sockets
    }

    fn window(&mut self, sockets: &Sockets) -> Window {
        let window = Window {
            duration: self.value("FLEETCAST_WINDOW", positive_duration),
            bytes: self.value("FLEETCAST_WINDOW_BYTES", values::bytes),
            latest_bytes: self.value("FLEETCAST_LATEST_BYTES", values::bytes),
        };
        let event = sockets.max_event_bytes as u64;
        if self.input.problems.is_empty() && window.bytes < event {
            let bytes = window.bytes;
            self.input.problem(format!(
                "FLEETCAST_WINDOW_BYTES is {bytes}: it must hold at least one event of MAX_EVENT_BYTES ({event})"
            ));
        }
        window
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
        match Profile::load(&name, prefix, max_event_bytes, &service) {
            Ok(profile) => Some(profile),
            Err(errors) => {
                for error in errors.0 {
                    self.input.wrong("FLEETCAST_PROFILE", &error);
                }
                None
            }
        }
    }

    /// Variables of parts that this version lacks: checked like the others, then refused or noted. Never silent.
    fn refuse_what_is_not_there(&mut self) {
        for variable in VARIABLES {
            let Status::Later(what) = variable.status else {
                continue;
            };
            let Some(found) = self.input.get(variable.name).cloned() else {
                continue;
            };
            if let Err(why) = variable.kind.check(&found.text) {
                self.input.wrong(variable.name, &why);
                continue;
            }
            if asks_for_nothing(variable, &found.text) {
                continue;
            }
            match what {
                Later::Stops => {
                    let why = "it is not available in this version, and going on without it would be unsafe";
                    self.input.wrong(variable.name, why);
                }
                Later::Warns => {
                    self.input.notices.push(Notice {
                        name: found.source.name(variable.name),
                        what: NoticeKind::WithoutEffect,
                    });
                }
            }
        }
    }

    /// A variable with a default. A wrong text is recorded, and the default stands in for it until the problems are reported.
    fn value<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, Wrong>) -> T {
        let default = declared(name)
            .default_text()
            .expect("only variables with a default are read by value()");
        if let Some(text) = self.text(name).filter(|text| text != default) {
            match parse(&text) {
                Ok(value) => return value,
                Err(why) => self.input.wrong(name, &why),
            }
        }
        parse(default).expect("a test parses every default")
    }

    /// A variable that need not be set.
    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        match parse(&self.text(name)?) {
            Ok(value) => Some(value),
            Err(why) => {
                self.input.wrong(name, &why);
                None
            }
        }
    }

    /// A variable without which there is no start.
    fn required(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            let meaning = declared(name).meaning;
            self.input.problem(format!("{name} is required: {meaning}"));
        }
        text
    }

    fn text(&self, name: &'static str) -> Option<String> {
        let found = self.input.get(name).map(|found| found.text.clone());
        found.or_else(|| declared(name).default_text().map(str::to_owned))
    }
}

fn declared(name: &str) -> &'static Variable {
    table::find(name).expect("every variable that is read is declared")
}

/// Is the text what holds without it, or the feature's "off"?
fn asks_for_nothing(variable: &Variable, text: &str) -> bool {
    use values::Kind;
    let same = |one: &str| match variable.kind {
        Kind::Bool => values::boolean(one) == values::boolean(text),
        Kind::Count => values::count(one) == values::count(text),
        Kind::Duration => values::duration(one) == values::duration(text),
        Kind::Bytes => values::bytes(one) == values::bytes(text),
        _ => one.eq_ignore_ascii_case(text),
    };
    match variable.default {
        Fallback::Value(default) => same(default),
        Fallback::Unset | Fallback::Required => {
            matches!(variable.kind, Kind::Count | Kind::Duration | Kind::Bytes) && same("0")
        }
    }
}

fn positive_duration(text: &str) -> Result<Duration, Wrong> {
    match values::duration(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

fn at_most(text: &str, longest: Duration, what: &str) -> Result<Duration, Wrong> {
    let duration = values::duration(text)?;
    if duration > longest {
        let seconds = longest.as_secs();
        return Err(format!("{what} may be at most {seconds} s"));
    }
    Ok(duration)
}

fn or_no_limit(text: &str) -> Result<usize, Wrong> {
    values::count(text).map(|count| if count == 0 { usize::MAX } else { count })
}

/// Bytes that one buffer may hold: enough for the smallest packets, and within what a length field of 32 bits can say.
fn buffer(text: &str) -> Result<usize, Wrong> {
    let bytes = values::bytes(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1_024..=1 << 30).contains(bytes))
        .ok_or_else(|| "it must be from 1024 bytes to 1 GiB".to_owned())
}

/// The variables that name topics of our own.
const SERVICE_TOPICS: [&str; 5] = [
    "PUBLISH_TOPIC",
    "DEAD_LETTER_TOPIC",
    "RECEIPTS_TOPIC",
    "REVOCATIONS_TOPIC",
    "AUDIT_TOPIC",
];
