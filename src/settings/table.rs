//! Every variable, declared once. What is read, checked, shown, documented and suggested comes from here.

use super::values::ValueKind as Kind;

/// One variable. `FLEETCAST_` in front of a plain name works too and wins.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub name: &'static str,
    /// Another plain name with the same meaning; `name` wins.
    pub alias: Option<&'static str>,
    pub kind: Kind,
    pub default: Fallback,
    pub availability: Availability,
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
pub enum Availability {
    Available,
    /// The part is not in this version, and an operator may rely on it for safety: asking for it stops the start.
    Rejected,
    /// The part is not in this version: a warning says that asking for it has no effect yet.
    Ignored,
}

pub const PREFIX: &str = "FLEETCAST_";

/// Names of this kind belong to scripts and tests of the repository, which may share a shell with a server.
const OF_TESTS: &str = "FLEETCAST_TEST_";
const OF_SCRIPTS: [&str; 3] = ["FLEETCAST_BIN", "FLEETCAST_CACHE", "FLEETCAST_NO_BROWSER"];

pub fn is_of_scripts(name: &str) -> bool {
    name.starts_with(OF_TESTS) || OF_SCRIPTS.contains(&name)
}

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

impl Variable {
    const fn alias(mut self, other: &'static str) -> Self {
        self.alias = Some(other);
        self
    }

    const fn on_reload(mut self) -> Self {
        self.on_reload = true;
        self
    }

    const fn rejected(mut self) -> Self {
        self.availability = Availability::Rejected;
        self
    }

    const fn ignored(mut self) -> Self {
        self.availability = Availability::Ignored;
        self
    }

    /// All names, the one that wins first.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for plain in std::iter::once(self.name).chain(self.alias) {
            names.push(format!("{PREFIX}{}", bare(plain)));
            if !plain.starts_with(PREFIX) {
                names.push(plain.to_owned());
            }
        }
        names
    }

    /// Its key in a TOML file, with the table that it stands in: `kafka.bootstrap_servers`. `None`: only the environment can say
    /// where the file is.
    pub fn key(&self) -> Option<String> {
        let bare = bare(self.name);
        let (table, key) = match bare.split_once('_') {
            Some((table, key)) if TABLES.contains(&table) => (format!("{table}."), key),
            _ => (String::new(), bare),
        };
        (self.name != CONFIG).then(|| (table + key).to_ascii_lowercase())
    }

    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            Value(text) => Some(text),
            Required | Unset => None,
        }
    }
}

/// The name without `FLEETCAST_`.
pub fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

pub fn variables() -> impl Iterator<Item = &'static Variable> + Clone {
    SECTIONS.iter().flat_map(|(_, variables)| *variables)
}

/// By its plain name.
pub fn find(name: &str) -> Option<&'static Variable> {
    variables().find(|variable| variable.name == name)
}

/// By any of its names.
pub fn find_alias(name: &str) -> Option<&'static Variable> {
    variables().find(|variable| variable.names().iter().any(|own| own == name))
}

use Fallback::{Required, Unset, Value};
const fn variable(
    name: &'static str,
    kind: Kind,
    default: Fallback,
    meaning: &'static str,
) -> Variable {
    Variable {
        name,
        alias: None,
        kind,
        default,
        availability: Availability::Available,
        on_reload: false,
        meaning,
    }
}

/// By the headings of docs/configuration.md.
#[rustfmt::skip]
pub const SECTIONS: &[(&str, &[Variable])] = &[
    ("Listeners", &[
        variable("HOST", Kind::HOST, Value("0.0.0.0"), "Address of the public listener. The demo listens on 127.0.0.1."),
        variable("PORT", Kind::PORT, Value("8001"), "Port of the public listener; 0 picks a free one, and the log line `listening` names it."),
        variable("INTERNAL_HOST", Kind::HOST, Value("127.0.0.1"), "Address of the internal listener: metrics, probes and the [API](api.md)."),
        variable("INTERNAL_PORT", Kind::PORT, Value("9001"), "Port of the internal listener; 0 picks a free one."),
        variable("INTERNAL_TOKEN", Kind::SECRET, Unset, "Bearer token of the internal API, at least 16 visible characters of ASCII. Off loopback the API is refused without it; on loopback it is required if it is set. Metrics and probes never need it."),
        variable("INTERNAL_NAMES", Kind::NAMES, Unset, "Host names by which clients reach the internal API, comma-separated: `fleetcast.push.svc`. A `Host` that is neither one of these nor `localhost` nor an IP address is refused, because a web page may have any other name point here."),
        variable("QA_PAGE", Kind::SWITCH, Value("false"), "Serves the QA page at `/`. On in the demo."),
        variable("CORS_ORIGINS", Kind::ORIGINS, Unset, "Origins of browsers that may connect, exact in scheme, host and port, comma-separated. Unset: the same origin only. `*` needs `FLEETCAST_CORS_ANY=true`.").on_reload(),
        variable("CORS_HEADERS", Kind::HEADERS, Value("authorization,content-type,traceparent,tracestate,baggage"), "Request headers that pages of other origins may send, comma-separated; case does not matter. Exact names: no `*`."),
        variable("FLEETCAST_CORS_ANY", Kind::SWITCH, Value("false"), "Allows `CORS_ORIGINS=*`: any web page may then connect with a token it holds. The log warns of it.").on_reload(),
        variable("ALLOW_NO_ORIGIN", Kind::SWITCH, Value("true"), "Admits requests without an `Origin` header: everything that is not a browser.").on_reload(),
    ]),
    ("Tokens", &[
        variable("JWT_SECRET", Kind::SECRET, Unset, "HS256 secret, at least 32 bytes, the same as in the service that issues the tokens. `openssl rand -base64 48` makes one; placeholders and invisible characters are refused. Required unless `JWT_SECRET_FILE`, `JWT_PUBLIC_KEY_FILE` or `JWT_JWKS` gives keys.").alias("JWT_SECRET_KEY").on_reload(),
        variable("JWT_SECRET_FILE", Kind::TEXT, Unset, "File with one such secret on each line. All are accepted; the first signs."),
        variable("JWT_PUBLIC_KEY_FILE", Kind::LIST, Unset, "PEM files with public keys (RSA of 2048 bits or more, EC on P-256 or P-384, Ed25519) or certificates, of which only the key counts; several in one file, or several files, comma-separated."),
        variable("JWT_JWKS", Kind::JWKS, Unset, "File or URL of a JWKS. A URL must be `https` (`http` on loopback only) and holds no `oct` keys; its answer holds for 5 minutes, or as its `Cache-Control` says, within 30 s and 1 hour."),
        variable("JWT_SECRET_PREVIOUS", Kind::SECRET, Unset, "The secret before `JWT_SECRET`, still accepted while its tokens live.").on_reload(),
        variable("JWT_ALGORITHMS", Kind::LIST, Unset, "Accepted algorithms, comma-separated, of all issuers: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA (or `Ed25519`, which is the same). Narrows what the type of each key allows. Unset: HS256 for a secret, else everything the type of the key can do, or the `alg` that a JWKS gives it."),
        variable("JWT_MAX_LIFETIME", Kind::DURATION, Unset, "Longest accepted time from `iat` to `exp` of a token; one without `iat` is refused then. 0: no limit."),
        variable("JWT_ISSUER", Kind::TEXT, Unset, "What `iss` must be. Unset: not looked at. Required where `JWT_JWKS` is a URL, and beside `[[jwt.issuers]]`."),
        variable("JWT_AUDIENCE", Kind::AUDIENCES, Unset, "What `aud` must be or contain: one of these, comma-separated. Unset: not looked at. Required, as `JWT_ISSUER` is, where `JWT_JWKS` is a URL: other applications of the same issuer have tokens of the same keys."),
        variable("JWT_CLAIM_USER", Kind::CLAIM, Value("sub"), "Where the user's id is in the claims: names, comma-separated, of which those that are there must agree. A dot leads into a claim (`realm_access.roles`); a name with `://` or in double quotes is one name. See docs/tokens.md."),
        variable("JWT_CLAIM_ORGANIZATION", Kind::CLAIM, Value("organization_id,org_id"), "Where the organisation is in the claims, written likewise."),
        variable("JWT_CLAIM_ROLES", Kind::CLAIM, Value("roles,role"), "Where the roles are in the claims, written likewise. `[roles]` of the profile renames them."),
        variable("JWT_CLAIM_NAME", Kind::CLAIM, Value("name"), "Where the user's name is in the claims, written likewise."),
        variable("JWT_ORGANIZATIONS", Kind::LIST, Unset, "The organisations that tokens of `JWT_ISSUER` may name, comma-separated. Unset: any."),
        variable("JWT_SHARED_USERS", Kind::SWITCH, Value("false"), "All issuers name the same people by the same ids. Without it no two issuers may serve the same organisation."),
        variable("ANONYMOUS_ORGANIZATION", Kind::TEXT, Unset, "Organisation of connections without a token.").ignored(),
        variable("JWT_LEEWAY", Kind::DURATION, Value("10"), "How far the issuer's clock may be off when `nbf` and `iat` are checked, and `exp`, but there by no more than 4 s; at most 5 minutes."),
        variable("ALLOW_QUERY_TOKEN", Kind::SWITCH, Value("true"), "Accepts `?token=` in the URL, which proxies like to log; the `auth` field and the header always work."),
    ]),
    ("Kafka", &[
        variable("KAFKA_BOOTSTRAP_SERVERS", Kind::BROKERS, Required, "Brokers as `host:port`, comma-separated."),
        variable("KAFKA_TOPIC_PREFIX", Kind::TEXT, Value(""), "Put in front of every topic of the profile."),
        variable("KAFKA_GROUP_ID", Kind::TEXT, Value("fleetcast"), "Group name. In `broadcast` mode nothing is committed under it; brokers show it and check access by it."),
        variable("KAFKA_MODE", Kind::KAFKA_MODE, Value("broadcast"), "`broadcast`: every instance reads every partition. `group` comes later.").rejected(),
    ]),
    ("Events and the log window", &[
        variable("FLEETCAST_PROFILE", Kind::TEXT, Value("dispatch"), "Built-in profile or the path of a profile file: topics, routes, rooms, policy.").on_reload(),
        variable("FLEETCAST_WINDOW", Kind::DURATION, Value("300"), "How long a client may be away and still get exactly what it missed."),
        variable("FLEETCAST_WINDOW_BYTES", Kind::BYTES, Value("256MiB"), "Memory for the window; what does not fit is evicted early, and clients receive a `resync`."),
        variable("FLEETCAST_LATEST_BYTES", Kind::BYTES, Value("128MiB"), "Memory for the newest record of each key of class `latest`, kept beyond the window; the least recently updated is evicted."),
        variable("MAX_EVENT_BYTES", Kind::BYTES, Value("262144"), "Largest event to clients; a larger record is dropped and counted."),
        variable("FLEETCAST_HEARTBEAT", Kind::DURATION, Unset, "Heartbeats of the `departments` profile.").ignored(),
    ]),
    ("Connections", &[
        variable("PING_INTERVAL", Kind::DURATION, Value("25"), "Time between two heartbeats of Engine.IO."),
        variable("PING_TIMEOUT", Kind::DURATION, Value("20"), "How long the answer to a heartbeat may take."),
        variable("MAX_CONNECTIONS", Kind::COUNT, Value("10000"), "Sessions of this instance; more get 503. 0: no limit. `/health` and `/ready` always answer."),
        variable("MAX_HTTP_BUFFER_SIZE", Kind::BYTES, Value("1000000"), "Largest polling payload, either way."),
        variable("MAX_MESSAGE_BYTES", Kind::BYTES, Value("65536"), "Largest packet from a client."),
        variable("SLOW_CLIENT_TIMEOUT", Kind::DURATION, Value("30"), "A connection that takes nothing for so long is closed."),
        variable("KEEP_ALIVE_TIMEOUT", Kind::DURATION, Value("75"), "How long an idle HTTP connection is kept, in whole seconds, at most 2 hours; announced by `Keep-Alive: timeout`. Above the idle time of the balancer in front. A request head has 5 s all the same. 0: each answer closes its connection."),
        variable("FLEETCAST_LANE", Kind::SWITCH, Value("true"), "Events to WebSocket clients are encoded once and written below the Socket.IO library. `off` sends every event through the library, which takes more CPU: for comparison, and as a way back."),
        variable("MAX_ROOMS", Kind::COUNT, Value("200"), "Rooms of one connection. 0: no limit."),
        variable("ENGINEIO_V3", Kind::SWITCH, Value("false"), "Serves clients of Socket.IO 2.").ignored(),
        variable("BIND_SID", Kind::SWITCH, Value("false"), "Binds a polling session to its first address and agent.").rejected(),
    ]),
    ("Limits", &[
        variable("MAX_CONNECTIONS_PER_ADDRESS", Kind::COUNT, Value("200"), "Sessions from one address (of IPv6: from one /64); more get 429. 0: no limit, and with `HANDSHAKES_PER_SECOND_PER_ADDRESS=0` none of failures either. Behind a proxy set `TRUSTED_PROXIES`, or all clients share the proxy's address."),
        variable("HANDSHAKES_PER_SECOND_PER_ADDRESS", Kind::COUNT, Value("50"), "New sessions of one address in a second, and as many at once; more get 503. 0: no limit."),
        variable("LIMIT_LOOPBACK", Kind::SWITCH, Value("false"), "Applies the limits per address to connections from this machine too. What a proxy on this machine passes on is limited in any case, if it is one of `TRUSTED_PROXIES` or writes a header that shows it: see docs/operations.md."),
        variable("MAX_CONNECTIONS_PER_USER", Kind::COUNT, Value("20"), "Connections of one user, of which each transport counts as one; the newest one is closed. 0: no limit."),
        variable("MAX_CONNECTIONS_PER_ORGANISATION", Kind::COUNT, Value("0"), "Connections of one organisation, likewise. 0: no limit."),
        variable("COMMANDS_PER_SECOND", Kind::COUNT, Value("20"), "Commands of one connection in a second, five times as many at once; more are answered `rate_limited`, and then the transport is closed. A transport may send ten times as many packets of any kind. 0: no limit of both."),
        variable("MAX_RSS", Kind::BYTES, Unset, "What the process may take of memory, resident, at least 64 MiB; about three quarters of what its container may. From 85 % on new connections get 503, over 90 % the window gets shorter: see [operations.md](operations.md#memory). Unset or 0: no limit."),
    ]),
    ("Proxies and TLS", &[
        variable("TLS_CERT_FILE", Kind::TEXT, Unset, "PEM file with the certificate chain.").rejected(),
        variable("TLS_KEY_FILE", Kind::TEXT, Unset, "PEM file with the key.").rejected(),
        variable("PROXY_PROTOCOL", Kind::SWITCH, Value("false"), "Connections of `TRUSTED_PROXIES` to the public listener begin with a PROXY preamble, version 1 or 2; without one they are closed. Those of others never have one."),
        variable("TRUSTED_PROXIES", Kind::NETWORKS, Unset, "Addresses and networks (`10.0.0.0/8`) of proxies, comma-separated, whose `FORWARDED_HEADER` or PROXY preamble names the client: see docs/operations.md."),
        variable("FORWARDED_HEADER", Kind::FORWARDED_HEADER, Value("X-Forwarded-For"), "The header in which `TRUSTED_PROXIES` name the client. The other one never counts."),
        variable("PUBLIC_API", Kind::SWITCH, Value("false"), "Serves [`POST /api/publish`](api.md#publishing-with-a-token) on the public listener, for tokens of scope `publish`."),
        variable("GITHUB_WEBHOOK_SECRET", Kind::SECRET, Unset, "Secret of GitHub webhooks.").ignored(),
        variable("ALLOW_PLAIN_HTTP", Kind::SWITCH, Value("false"), "Accepts plain HTTP with `ENVIRONMENT=production`.").ignored(),
        variable("REDIS_URL", Kind::REDIS_URL, Unset, "Redis 6 or later, through which instances exchange what is not in Kafka: see [operations.md](operations.md#redis). `rediss://` is TLS, by the system's certificate authorities or those in the file that `SSL_CERT_FILE` names. One server, or what leads to the primary of several: neither a Cluster nor Sentinels. Unset: each instance is on its own."),
        variable("REDIS_PREFIX", Kind::REDIS_PREFIX, Value("fleetcast"), "What this deployment's keys and channels in Redis begin with: up to 64 visible characters, no `*`, `?`, `[`, `]`, `^` or backslash. Two deployments that share a Redis need two: its numbered databases do not separate messages."),
        variable("REDIS_SECRET", Kind::SECRET, Unset, "Signs what instances send each other by Redis, at least 32 bytes. Unset: a key that is derived from `JWT_SECRET`, and one from `JWT_SECRET_PREVIOUS` is accepted beside it. Required with `REDIS_URL` unless `JWT_SECRET` is set."),
        variable("REDIS_SECRET_PREVIOUS", Kind::SECRET, Unset, "The secret before `REDIS_SECRET`: what is signed with it is accepted, too."),
        variable("REDIS_EMITTERS", Kind::EMITTERS, Unset, "[Emitters](api.md#emitters-that-you-have) whose events are accepted from Redis, comma-separated, each for one organisation: `node:o1` and `node:o1:KEY` for `@socket.io/redis-emitter`, `python:o1` and `python:o1:CHANNEL` for python-socketio. Without a key: `socket.io`, and `socketio`. Requires `REDIS_URL`."),
    ]),
    ("Service topics", &[
        variable("KAFKA_CREATE_TOPICS", Kind::SWITCH, Value("false"), "Makes those of the topics below that are set and missing, at the start, and `PUBLISH_TOPIC` by its default name. Existing ones are not changed. On in the demo."),
        variable("PUBLISH_TOPIC", Kind::TEXT, Value("fleetcast.publish"), "Events published [over HTTP](api.md#publishing). Read by every instance; while it does not exist, nothing can be published."),
        variable("DEAD_LETTER_TOPIC", Kind::TEXT, Unset, "Dead letters. Unset: they are counted only.").rejected(),
        variable("RECEIPTS_TOPIC", Kind::TEXT, Unset, "Acknowledgements and receipts. Unset: they are counted only."),
        variable("CONNECTIONS_TOPIC", Kind::TEXT, Unset, "Who connects and disconnects. Unset: nothing is written."),
        variable("CONNECTIONS_DEBOUNCE", Kind::DURATION, Value("10"), "A disconnect is reported after this time, and not at all if a connection of the same user begins meanwhile. 0: at once."),
        variable("GRANTS_TOPIC", Kind::TEXT, Unset, "Compacted topic of rooms that are permitted to users from outside. Read to its end before `/ready`. Unset: there are no grants, and the API refuses them. `fleetcast.grants` in the demo."),
        variable("REVOCATIONS_TOPIC", Kind::TEXT, Unset, "Compacted topic of revoked tokens, users and organisations, which every instance reads. Read to its end before `/ready`. Unset: Redis carries and keeps revocations, or without it one holds on the instance that was asked, until it stops. `fleetcast.revocations` in the demo."),
        variable("AUDIT_TOPIC", Kind::TEXT, Unset, "Audit log.").rejected(),
    ]),
    ("The process", &[
        variable("ENVIRONMENT", Kind::TEXT, Unset, "`production` will refuse unsafe settings.").ignored(),
        variable("FLEETCAST_CONFIG", Kind::TEXT, Unset, "TOML file with settings; `--config FILE` does the same and wins."),
        variable("DRAIN_SECONDS", Kind::DURATION, Value("10"), "At shutdown connections are closed in random order over this time. What is still open after 5 s more is cut, and 2 s later the process has ended: a supervisor must wait longer than all three before it kills it."),
        variable("LOG_LEVEL", Kind::LOG_FILTER, Value("info"), "`off`, `error`, `warn`, `info`, `debug`, `trace`; more for a module: `info,fleetcast::kafka=debug`. Libraries whose debug lines print packets stay at `warn` unless named."),
        variable("LOG_FORMAT", Kind::LOG_FORMAT, Value("auto"), "`auto` is `pretty` on a terminal, else `json`."),
        variable("OTEL_EXPORTER_OTLP_ENDPOINT", Kind::URL, Unset, "Where traces go.").ignored(),
    ]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_declared_once() {
        let mut seen = BTreeSet::new();
        for name in variables().flat_map(Variable::names) {
            assert!(seen.insert(name.clone()), "{name} is declared twice");
        }
    }

    #[test]
    fn every_default_fits_its_own_kind() {
        for variable in variables() {
            if let Some(text) = variable.default_text().filter(|text| !text.is_empty()) {
                assert!((variable.kind.canonical)(text).is_ok(), "{}", variable.name);
            }
        }
    }

    /// A shell that ran a test or a script must be able to start a server.
    #[test]
    fn names_that_scripts_and_tests_use_do_not_stop_a_start() {
        let name = regex::Regex::new("FLEETCAST_[A-Z0-9_]*[A-Z0-9]").unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        let mut waiting: Vec<std::path::PathBuf> =
            ["scripts", "client-tests", "Makefile", "start.sh"]
                .map(|path| std::path::Path::new(root).join(path))
                .to_vec();
        let mut found = BTreeSet::new();
        while let Some(path) = waiting.pop() {
            if path.ends_with("node_modules") {
                continue;
            }
            if let Ok(entries) = std::fs::read_dir(&path) {
                waiting.extend(entries.map(|entry| entry.unwrap().path()));
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.extend(name.find_iter(&text).map(|name| name.as_str().to_owned()));
            }
        }
        // A misspelt one on purpose.
        found.remove("FLEETCAST_WINDWO");
        for name in &found {
            assert!(is_of_scripts(name) || find_alias(name).is_some(), "{name}");
        }
        for name in OF_SCRIPTS
            .into_iter()
            .chain(["FLEETCAST_TEST_KAFKA_CLUSTER"])
        {
            assert!(found.contains(name), "{name} is used no more");
            assert!(find_alias(name).is_none(), "{name} is a setting");
        }
    }

    #[test]
    fn every_key_of_the_file_is_declared_once_and_is_no_table() {
        let keys: Vec<String> = variables().filter_map(Variable::key).collect();
        assert_eq!(
            keys.len(),
            variables().count() - 1,
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
    fn the_prefixed_name_comes_first_and_is_not_doubled() {
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
