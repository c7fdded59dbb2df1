//! Settings as the operator writes them: the environment here, the file and `.env.example` beside it.

mod emitters;
mod env_example;
mod file;
mod issuers;
mod kafka;
mod keys;
mod later;
mod legible;
mod limits;
mod memory;
mod tokens_page;

use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;

use super::values::Shape;
use super::*;
use crate::settings::table::{Availability, variables};

const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";

/// What a start needs at least, with `changes` over it.
fn load(changes: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let needed = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
    ];
    load_only(&[&needed, changes].concat())
}

fn load_only(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let environment = pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    Settings::from_map(&environment, &Presets::new())
        .map_err(|problems| problems.all.into_iter().map(|problem| problem.0).collect())
}

fn good(changes: &[(&str, &str)]) -> Settings {
    load(changes).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Loads and expects exactly one problem.
fn problem(changes: &[(&str, &str)]) -> String {
    let problems = load(changes).expect_err(&format!("{changes:?} should not be accepted"));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().unwrap()
}

fn notices(settings: &Settings) -> Vec<String> {
    settings.notices.iter().map(ToString::to_string).collect()
}

/// A settings file, and the environment that names it.
fn with_file(text: &str, more: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = path.to_str().unwrap();
    let folder = format!("{}/", directory.path().display());
    let mut all = vec![(table::CONFIG, path)];
    all.extend_from_slice(more);
    load_only(&all).map_err(|problems| {
        let short = |problem: String| problem.replace(&folder, "");
        problems.into_iter().map(short).collect()
    })
}

#[test]
fn everything_but_the_two_required_variables_has_a_default() {
    let settings = good(&[]);
    assert_eq!(settings.listen.host.to_string(), "0.0.0.0");
    assert_eq!(
        (settings.listen.port, settings.listen.internal_port),
        (8001, 9001)
    );
    assert!(settings.listen.internal_host.is_loopback());
    assert!(!settings.listen.qa_page);
    assert_eq!(settings.listen.cors_origins, CorsOrigins::Exact(Vec::new()));
    assert_eq!(settings.auth.own.keys.secrets[0].expose_secret(), SECRET);
    assert_eq!(settings.auth.leeway, Duration::from_secs(10));
    assert_eq!(settings.kafka.bootstrap_servers, "kafka:9092");
    assert_eq!(settings.kafka.topic_prefix, "");
    assert_eq!(settings.kafka.group_id, "fleetcast");
    assert_eq!(settings.profile.name, "dispatch");
    assert_eq!(settings.window.duration, Duration::from_mins(5));
    assert_eq!(settings.window.bytes, 256 << 20);
    assert_eq!(settings.sockets.max_connections, 10_000);
    assert_eq!(settings.sockets.max_event_bytes, 262_144);
    assert_eq!(settings.sockets.drain, Duration::from_secs(10));
    assert_eq!(settings.notices, []);
}

#[test]
fn missing_required_variables_are_reported_at_once() {
    let problems = load_only(&[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].starts_with("JWT_SECRET is required"));
    assert!(problems[1].starts_with("KAFKA_BOOTSTRAP_SERVERS is required"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = load_only(&[
        ("JWT_SECRET", "short"),
        ("PORT", "80a"),
        ("FLEETCAST_WINDWO", "300"),
        ("PING_INTERVAL", "0"),
        ("KAFKA_PROPERTIES_GROUP_ID", "mine"),
        ("KAFKA_MODE", "group"),
        ("FLEETCAST_PROFILE", "nothing-like-it"),
    ])
    .unwrap_err();
    for expected in [
        "cannot use JWT_SECRET: it has 5 bytes",
        "cannot use PORT=\"80a\": expected port from 0 to 65535",
        "unknown variable FLEETCAST_WINDWO: did you mean FLEETCAST_WINDOW?",
        "cannot use PING_INTERVAL=\"0\": must be more than 0",
        "KAFKA_PROPERTIES_GROUP_ID may not set group.id: set KAFKA_GROUP_ID instead",
        "KAFKA_BOOTSTRAP_SERVERS is required",
        "cannot use KAFKA_MODE=\"group\": it is not available in this version",
        "cannot use FLEETCAST_PROFILE=\"nothing-like-it\"",
    ] {
        let found = problems.iter().any(|problem| problem.starts_with(expected));
        assert!(found, "{expected} is missing in {problems:#?}");
    }
    assert_eq!(problems.len(), 8);
}

#[test]
fn the_prefixed_name_wins_and_a_different_plain_value_is_a_warning() {
    let settings = good(&[("PORT", "8000"), ("FLEETCAST_PORT", "9000")]);
    assert_eq!(settings.listen.port, 9000);
    assert_eq!(
        notices(&settings),
        ["PORT: FLEETCAST_PORT is set to something else and wins"]
    );
    let settings = good(&[("JWT_SECRET_KEY", "another-secret-of-enough-bytes-4kQ9")]);
    assert_eq!(
        settings.auth.own.keys.secrets[0].expose_secret(),
        SECRET,
        "JWT_SECRET wins over its alias"
    );
    assert!(!format!("{:?}", settings.notices).contains("another-secret"));
}

#[test]
fn an_empty_value_is_not_set() {
    let settings = good(&[
        ("PORT", ""),
        ("REDIS_URL", " "),
        ("INTERNAL_TOKEN", ""),
        ("JWT_JWKS", ""),
    ]);
    assert_eq!(settings.listen.port, 8001);
    assert_eq!(settings.notices, []);
    assert_eq!(
        good(&[("FLEETCAST_PORT", ""), ("PORT", "8000")])
            .listen
            .port,
        8000
    );
    assert!(problem(&[("JWT_SECRET", "")]).starts_with("JWT_SECRET is required"));
    assert_eq!(
        notices(&good(&[("JWT_ISSUER", "")])),
        ["JWT_ISSUER: it is empty, so this claim is not looked at"]
    );
}

#[test]
fn kubernetes_variables_are_ignored_but_our_port_is_not() {
    let settings = good(&[
        ("FLEETCAST_PORT", "tcp://10.96.0.12:8001"),
        ("FLEETCAST_SERVICE_HOST", "10.96.0.12"),
        ("FLEETCAST_SERVICE_PORT_HTTP", "8001"),
        ("FLEETCAST_PORT_8001_TCP_ADDR", "10.96.0.12"),
        ("PORT", "8003"),
    ]);
    assert_eq!((settings.listen.port, settings.injected), (8003, 4));
    assert_eq!(good(&[("FLEETCAST_PORT", "8002")]).listen.port, 8002);
}

#[test]
fn unknown_prefixed_names_are_errors_and_misspelt_plain_names_are_warnings() {
    assert_eq!(
        problem(&[("FLEETCAST_SOMETHING_ELSE_ALTOGETHER", "1")]),
        "unknown variable FLEETCAST_SOMETHING_ELSE_ALTOGETHER"
    );
    let settings = good(&[
        ("KAFKA_BOOTSTRAP_SERVER", "a:1"),
        ("HOME", "/root"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(
        notices(&settings),
        [
            "KAFKA_BOOTSTRAP_SERVER: unknown variable, ignored: did you mean KAFKA_BOOTSTRAP_SERVERS?"
        ]
    );
}

#[test]
fn unavailable_variables_are_rejected_or_reported() {
    for variable in variables() {
        if variable.availability == Availability::Available {
            continue;
        }
        let asked = match variable.kind.shape {
            _ if variable.name == "KAFKA_MODE" => "group",
            Shape::Switch => "true",
            Shape::Number => "77",
            Shape::Url => "redis://redis:6379",
            Shape::Text | Shape::Secret | Shape::List => "something",
        };
        match variable.availability {
            Availability::Rejected => {
                let problem = problem(&[(variable.name, asked)]);
                assert!(
                    problem.contains("not available in this version"),
                    "{problem}"
                );
            }
            Availability::Ignored | Availability::Available => assert_eq!(
                notices(&good(&[(variable.name, asked)])),
                [format!("{} has no effect in this version", variable.name)]
            ),
        }
        if let Some(default) = variable.default_text() {
            assert_eq!(
                good(&[(variable.name, default)]).notices,
                [],
                "{}",
                variable.name
            );
        }
    }
    for off in [
        ("PROXY_PROTOCOL", "off"),
        ("JWT_MAX_LIFETIME", "0"),
        ("KAFKA_MODE", "broadcast"),
        ("JWT_ALGORITHMS", "hs256"),
    ] {
        assert_eq!(good(&[off]).notices, []);
    }
    assert!(problem(&[("COMMANDS_PER_SECOND", "many")]).contains("expected whole number"));
}

#[test]
fn any_origin_requires_two_switches() {
    assert!(problem(&[("CORS_ORIGINS", "*")]).contains("FLEETCAST_CORS_ANY=true"));
    let settings = good(&[("CORS_ORIGINS", "*"), ("FLEETCAST_CORS_ANY", "true")]);
    assert_eq!(settings.listen.cors_origins, CorsOrigins::Any);
    assert_eq!(settings.notices.len(), 1);
    let settings = good(&[("CORS_ORIGINS", "https://b.example, https://a.example:443")]);
    let CorsOrigins::Exact(origins) = settings.listen.cors_origins else {
        panic!("the origins are exact");
    };
    let texts: Vec<_> = origins.iter().map(Origin::as_str).collect();
    assert_eq!(texts, ["https://a.example", "https://b.example"]);
    assert!(problem(&[("CORS_ORIGINS", "https://*.example")]).contains("patterns are not origins"));
}

#[test]
fn sizes_and_ports_must_fit_together() {
    assert!(problem(&[("MAX_EVENT_BYTES", "1000000")]).contains("one polling payload"));
    assert!(problem(&[("MAX_MESSAGE_BYTES", "2MB")]).contains("one polling payload"));
    assert!(problem(&[("FLEETCAST_WINDOW_BYTES", "1KiB")]).contains("at least one event"));
    assert!(problem(&[("INTERNAL_PORT", "8001")]).contains("need different ones"));
    assert!(problem(&[("JWT_LEEWAY", "1h")]).contains("at most 300 s"));
    good(&[("PORT", "0"), ("INTERNAL_PORT", "0")]);
    assert_eq!(
        good(&[("MAX_CONNECTIONS", "0")]).sockets.max_connections,
        usize::MAX
    );
}

#[test]
fn presets_stand_below_the_environment() {
    let environment = BTreeMap::from([("PORT".to_owned(), "8005".to_owned())]);
    let presets = Presets::from([
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "8001".to_owned()),
        ("QA_PAGE", "true".to_owned()),
        ("JWT_SECRET", SECRET.to_owned()),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1".to_owned()),
    ]);
    let settings = Settings::from_map(&environment, &presets).unwrap();
    assert!(settings.listen.host.is_loopback() && settings.listen.qa_page);
    assert_eq!(settings.listen.port, 8005);
}
