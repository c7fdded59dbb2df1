//! Every variable, declared once. What is read, checked, shown, documented and suggested comes from here.

use super::values::Kind;

/// One variable. `FLEETCAST_` in front of a plain name works too and wins.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub section: &'static str,
    pub name: &'static str,
    /// Another plain name with the same meaning; `name` wins.
    pub alias: Option<&'static str>,
    pub kind: Kind,
    pub default: Fallback,
    /// Masked wherever settings are shown.
    pub secret: bool,
    pub status: Status,
    /// SIGHUP applies a change of it; everything else needs a restart.
    pub on_reload: bool,
    pub meaning: &'static str,
}

/// What holds when the variable is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The start stops.
    Required,
    /// The feature is off, or there is no limit.
    Unset,
    Value(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Served,
    /// The name belongs to a part that this version does not have.
    Later(Later),
}

/// What happens when such a variable asks for something else than its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// Whoever set it relies on it for safety: the start stops.
    Stops,
    /// A warning at the start says that it has no effect yet.
    Warns,
}

impl Variable {
    /// The name that wins: the plain one with `FLEETCAST_` in front, unless it has that already.
    pub fn long_name(&self) -> String {
        long(self.name)
    }

    /// All names, the one that wins first.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for plain in std::iter::once(self.name).chain(self.alias) {
            names.push(long(plain));
            if !plain.starts_with(PREFIX) {
                names.push(plain.to_owned());
            }
        }
        names
    }

    /// The plain names, as docs and suggestions give them.
    pub fn plain_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// Its key in a TOML file, with the table that it stands in: `kafka.bootstrap_servers`. `None`: only the environment can say
    /// where the file is.
    pub fn key(&self) -> Option<String> {
        if self.name == CONFIG {
            return None;
        }
        let plain = self.name.strip_prefix(PREFIX).unwrap_or(self.name);
        let family = TABLES
            .iter()
            .find_map(|family| Some((family, plain.strip_prefix(family)?.strip_prefix('_')?)));
        let key = match family {
            Some((family, rest)) => format!("{family}.{rest}"),
            None => plain.to_owned(),
        };
        Some(key.to_ascii_lowercase())
    }

    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            Value(text) => Some(text),
            Required | Unset => None,
        }
    }
}

pub const PREFIX: &str = "FLEETCAST_";

/// `KAFKA_PROPERTIES_SASL_USERNAME` is librdkafka's `sasl.username`.
pub const KAFKA_PROPERTIES: &str = "KAFKA_PROPERTIES_";

/// The same as a table of the TOML file.
pub const PROPERTIES: &str = "kafka.properties";

/// Says where the TOML file is.
pub const CONFIG: &str = "FLEETCAST_CONFIG";

/// The same from the command line, which wins. Stands beside the variables under this name, which no shell can give to one.
pub const CONFIG_ARGUMENT: &str = "--config";

/// Variables whose names begin so stand in a table of the TOML file.
const TABLES: [&str; 5] = ["INTERNAL", "JWT", "KAFKA", "LOG", "TLS"];

fn long(plain: &str) -> String {
    if plain.starts_with(PREFIX) {
        plain.to_owned()
    } else {
        format!("{PREFIX}{plain}")
    }
}

pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

use Fallback::{Required, Unset, Value};
use Later::{Stops, Warns};

const fn served(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Fallback,
    meaning: &'static str,
) -> Variable {
    Variable {
        section,
        name,
        alias: None,
        kind,
        default,
        secret: false,
        status: Status::Served,
        on_reload: false,
        meaning,
    }
}

const fn later(
    what: Later,
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Fallback,
    meaning: &'static str,
) -> Variable {
    Variable {
        section,
        name,
        alias: None,
        kind,
        default,
        secret: false,
        status: Status::Later(what),
        on_reload: false,
        meaning,
    }
}

const fn secret(variable: Variable) -> Variable {
    Variable {
        secret: true,
        ..variable
    }
}

const fn on_reload(variable: Variable) -> Variable {
    Variable {
        on_reload: true,
        ..variable
    }
}

const fn alias(other: &'static str, variable: Variable) -> Variable {
    Variable {
        alias: Some(other),
        ..variable
    }
}

const LISTENERS: &str = "Listeners";
const TOKENS: &str = "Tokens";
const KAFKA: &str = "Kafka";
const EVENTS: &str = "Events and the log window";
const CONNECTIONS: &str = "Connections";
const LIMITS: &str = "Limits";
const NETWORK: &str = "Proxies and TLS";
const TOPICS: &str = "Service topics";
const PROCESS: &str = "The process";

#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    served(LISTENERS, "HOST", Kind::Host, Value("0.0.0.0"), "Address of the public listener. The demo listens on 127.0.0.1."),
    served(LISTENERS, "PORT", Kind::Port, Value("8001"), "Port of the public listener; 0 picks a free one, and the log line `listening` names it."),
    served(LISTENERS, "INTERNAL_HOST", Kind::Host, Value("127.0.0.1"), "Address of the internal listener: metrics and probes."),
    served(LISTENERS, "INTERNAL_PORT", Kind::Port, Value("9001"), "Port of the internal listener; 0 picks a free one."),
    secret(later(Warns, LISTENERS, "INTERNAL_TOKEN", Kind::Secret, Unset, "Bearer token of the internal API.")),
    served(LISTENERS, "QA_PAGE", Kind::Bool, Value("false"), "Serves the QA page at `/`. On in the demo."),
    on_reload(served(LISTENERS, "CORS_ORIGINS", Kind::Origins, Unset, "Origins of browsers that may connect, exact in scheme, host and port, comma-separated. Unset: the same origin only. `*` needs `FLEETCAST_CORS_ANY=true`.")),
    on_reload(served(LISTENERS, "FLEETCAST_CORS_ANY", Kind::Bool, Value("false"), "Allows `CORS_ORIGINS=*`: any web page may then connect with a token it holds. The log warns of it.")),
    on_reload(served(LISTENERS, "ALLOW_NO_ORIGIN", Kind::Bool, Value("true"), "Lets in requests without an `Origin` header: everything that is not a browser.")),

    on_reload(secret(alias("JWT_SECRET_KEY", served(TOKENS, "JWT_SECRET", Kind::Secret, Unset, "HS256 secret, at least 32 bytes, the same as in the service that issues the tokens. `openssl rand -base64 48` makes one; placeholders are refused. Required unless `JWT_SECRET_FILE`, `JWT_PUBLIC_KEY_FILE` or `JWT_JWKS` gives keys.")))),
    served(TOKENS, "JWT_SECRET_FILE", Kind::Text, Unset, "File with one such secret on each line. All are accepted; the first signs."),
    served(TOKENS, "JWT_PUBLIC_KEY_FILE", Kind::List, Unset, "PEM files with public keys (RSA of 2048 bits or more, EC on P-256 or P-384, Ed25519) or certificates, of which only the key counts; several in one file, or several files, comma-separated."),
    served(TOKENS, "JWT_JWKS", Kind::FileOrUrl, Unset, "File or URL of a JWKS. A URL must be `https` (`http` on loopback only) and holds no `oct` keys; its answer holds for 5 minutes, or as its `Cache-Control` says, within 30 s and 1 hour."),
    on_reload(secret(served(TOKENS, "JWT_SECRET_PREVIOUS", Kind::Secret, Unset, "The secret before `JWT_SECRET`, still accepted while its tokens live."))),
    served(TOKENS, "JWT_ALGORITHMS", Kind::List, Unset, "Accepted algorithms, comma-separated: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. Narrows what the type of each key allows. Unset: HS256 for a secret, else everything the type of the key can do, or the `alg` that a JWKS gives it."),
    served(TOKENS, "JWT_MAX_LIFETIME", Kind::Duration, Unset, "Longest accepted time from `iat` to `exp` of a token, or from now where it has no `iat`. 0: no limit."),
    served(TOKENS, "JWT_ISSUER", Kind::Text, Unset, "What `iss` must be. Unset: not looked at."),
    served(TOKENS, "JWT_AUDIENCE", Kind::Text, Unset, "What `aud` must be or contain. Unset: not looked at."),
    served(TOKENS, "JWT_LEEWAY", Kind::Duration, Value("10"), "How far the issuer's clock may be off when `nbf` and `iat` are checked, and `exp`, but there by no more than 4 s; at most 5 minutes."),
    served(TOKENS, "ALLOW_QUERY_TOKEN", Kind::Bool, Value("true"), "Accepts `?token=` in the URL, which proxies like to log; the `auth` field and the header always work."),

    served(KAFKA, "KAFKA_BOOTSTRAP_SERVERS", Kind::Brokers, Required, "Brokers as `host:port`, comma-separated."),
    served(KAFKA, "KAFKA_TOPIC_PREFIX", Kind::Text, Value(""), "Put in front of every topic of the profile."),
    served(KAFKA, "KAFKA_GROUP_ID", Kind::Text, Value("fleetcast"), "Group name. In `broadcast` mode nothing is committed under it; brokers show it and check access by it."),
    later(Stops, KAFKA, "KAFKA_MODE", Kind::OneOf(&["broadcast", "group"]), Value("broadcast"), "`broadcast`: every instance reads every partition. `group` comes later."),

    on_reload(served(EVENTS, "FLEETCAST_PROFILE", Kind::Text, Value("dispatch"), "Built-in profile or the path of a profile file: topics, routes, rooms, policy.")),
    served(EVENTS, "FLEETCAST_WINDOW", Kind::Duration, Value("300"), "How long a client may be away and still get exactly what it missed."),
    served(EVENTS, "FLEETCAST_WINDOW_BYTES", Kind::Bytes, Value("256MiB"), "Memory for the window; what does not fit is evicted early, and clients are told."),
    served(EVENTS, "FLEETCAST_LATEST_BYTES", Kind::Bytes, Value("128MiB"), "Memory for the newest record of each key of class `latest`, kept beyond the window; what was updated longest ago gives way."),
    served(EVENTS, "MAX_EVENT_BYTES", Kind::Bytes, Value("262144"), "Largest event to clients; a larger record reaches nobody and is counted."),
    later(Warns, EVENTS, "FLEETCAST_HEARTBEAT", Kind::Duration, Value("30"), "Heartbeats of the `departments` profile."),

    served(CONNECTIONS, "PING_INTERVAL", Kind::Duration, Value("25"), "Time between two heartbeats of Engine.IO."),
    served(CONNECTIONS, "PING_TIMEOUT", Kind::Duration, Value("20"), "How long the answer to a heartbeat may take."),
    served(CONNECTIONS, "MAX_CONNECTIONS", Kind::Count, Value("10000"), "Sessions of this instance; more get 503. 0: no limit. `/health` and `/ready` always answer."),
    served(CONNECTIONS, "MAX_HTTP_BUFFER_SIZE", Kind::Bytes, Value("1000000"), "Largest polling payload, either way."),
    served(CONNECTIONS, "MAX_MESSAGE_BYTES", Kind::Bytes, Value("65536"), "Largest packet from a client."),
    served(CONNECTIONS, "SLOW_CLIENT_TIMEOUT", Kind::Duration, Value("30"), "A connection that takes nothing for so long is closed."),
    served(CONNECTIONS, "MAX_ROOMS", Kind::Count, Value("200"), "Rooms of one connection. 0: no limit."),
    later(Warns, CONNECTIONS, "ENGINEIO_V3", Kind::Bool, Value("false"), "Serves clients of Socket.IO 2."),
    later(Stops, CONNECTIONS, "BIND_SID", Kind::Bool, Value("false"), "Binds a polling session to its first address and agent."),

    later(Warns, LIMITS, "MAX_CONNECTIONS_PER_ADDRESS", Kind::Count, Value("200"), "0: no limit."),
    later(Warns, LIMITS, "HANDSHAKES_PER_SECOND_PER_ADDRESS", Kind::Count, Value("50"), "0: no limit."),
    later(Warns, LIMITS, "LIMIT_LOOPBACK", Kind::Bool, Value("false"), "Applies the limits per address to loopback too."),
    later(Warns, LIMITS, "MAX_CONNECTIONS_PER_USER", Kind::Count, Value("20"), "0: no limit."),
    later(Warns, LIMITS, "MAX_CONNECTIONS_PER_ORGANISATION", Kind::Count, Value("0"), "0: no limit."),
    later(Warns, LIMITS, "COMMANDS_PER_SECOND", Kind::Count, Value("20"), "Commands of one connection, with bursts of 100. 0: no limit."),
    later(Warns, LIMITS, "MAX_RSS", Kind::Bytes, Unset, "Memory of the process from which on load is shed."),

    later(Stops, NETWORK, "TLS_CERT_FILE", Kind::Text, Unset, "PEM file with the certificate chain."),
    later(Stops, NETWORK, "TLS_KEY_FILE", Kind::Text, Unset, "PEM file with the key."),
    later(Stops, NETWORK, "PROXY_PROTOCOL", Kind::Bool, Value("false"), "Expects the PROXY protocol on the public listener."),
    later(Warns, NETWORK, "TRUSTED_PROXIES", Kind::List, Unset, "Networks whose `X-Forwarded-For` is believed."),
    later(Warns, NETWORK, "PUBLIC_API", Kind::Bool, Value("false"), "Serves the publishing API on the public listener."),
    secret(later(Warns, NETWORK, "GITHUB_WEBHOOK_SECRET", Kind::Secret, Unset, "Secret of GitHub webhooks.")),
    later(Warns, NETWORK, "REDIS_URL", Kind::Url, Unset, "Redis, for what instances share."),

    later(Warns, TOPICS, "KAFKA_CREATE_TOPICS", Kind::Bool, Value("false"), "Makes missing topics at the start."),
    later(Warns, TOPICS, "PUBLISH_TOPIC", Kind::Text, Value("fleetcast.publish"), "Events published over HTTP."),
    later(Warns, TOPICS, "DEAD_LETTER_TOPIC", Kind::Text, Unset, "Dead letters. Unset: they are counted only."),
    served(TOPICS, "RECEIPTS_TOPIC", Kind::Text, Unset, "Acknowledgements and receipts. Unset: they are counted only."),
    later(Stops, TOPICS, "REVOCATIONS_TOPIC", Kind::Text, Unset, "Revoked tokens and users."),
    later(Stops, TOPICS, "AUDIT_TOPIC", Kind::Text, Unset, "Audit log."),

    served(PROCESS, "FLEETCAST_CONFIG", Kind::Text, Unset, "TOML file with settings; `--config FILE` does the same and wins."),
    served(PROCESS, "DRAIN_SECONDS", Kind::Duration, Value("10"), "At shutdown connections are closed in random order over this time. What is still open after 5 s more is cut, and 2 s later the process has ended: whoever kills it must wait longer than all three."),
    served(PROCESS, "LOG_LEVEL", Kind::LogFilter, Value("info"), "`off`, `error`, `warn`, `info`, `debug`, `trace`; more for a module: `info,fleetcast::kafka=debug`. Libraries whose debug lines print packets stay at `warn` unless named."),
    served(PROCESS, "LOG_FORMAT", Kind::OneOf(&["auto", "json", "pretty"]), Value("auto"), "`auto` is `pretty` on a terminal, else `json`."),
    later(Warns, PROCESS, "OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Url, Unset, "Where traces go."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_declared_once() {
        let mut seen = BTreeSet::new();
        for name in VARIABLES.iter().flat_map(Variable::names) {
            assert!(seen.insert(name.clone()), "{name} is declared twice");
        }
    }

    #[test]
    fn every_default_fits_its_own_kind() {
        for variable in VARIABLES {
            if let Some(text) = variable.default_text().filter(|text| !text.is_empty()) {
                assert_eq!(variable.kind.check(text), Ok(()), "{}", variable.name);
            }
        }
    }

    #[test]
    fn every_key_of_the_file_is_declared_once_and_is_no_table() {
        let keys: Vec<String> = VARIABLES.iter().filter_map(Variable::key).collect();
        assert_eq!(
            keys.len(),
            VARIABLES.len() - 1,
            "all but the file's own place"
        );
        let mut seen = BTreeSet::new();
        for key in &keys {
            assert!(seen.insert(key), "{key} is declared twice");
            let below = format!("{key}.");
            assert!(!keys.iter().any(|other| other.starts_with(&below)), "{key}");
            assert!(!PROPERTIES.starts_with(&below), "{key}");
        }
        let key = |name| find(name).and_then(Variable::key).unwrap_or_default();
        assert_eq!(key("PORT"), "port");
        assert_eq!(key("FLEETCAST_WINDOW"), "window");
        assert_eq!(key("KAFKA_TOPIC_PREFIX"), "kafka.topic_prefix");
        assert_eq!(key("INTERNAL_PORT"), "internal.port");
        assert_eq!(key("TLS_CERT_FILE"), "tls.cert_file");
    }

    #[test]
    fn the_long_name_wins_and_is_not_doubled() {
        let names = |name| find(name).map(Variable::names);
        let expected = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(names("PORT"), expected(&["FLEETCAST_PORT", "PORT"]));
        assert_eq!(names("FLEETCAST_WINDOW"), expected(&["FLEETCAST_WINDOW"]));
        assert_eq!(
            names("JWT_SECRET"),
            expected(&[
                "FLEETCAST_JWT_SECRET",
                "JWT_SECRET",
                "FLEETCAST_JWT_SECRET_KEY",
                "JWT_SECRET_KEY"
            ])
        );
    }
}
