//! Settings of parts that this version lacks.

use super::*;

/// What an operator relies on for safety, or against loss.
const SAFETY: &[(&str, &str)] = &[
    ("BIND_SID", "true"),
    ("TLS_CERT_FILE", "cert.pem"),
    ("TLS_KEY_FILE", "key.pem"),
    ("DEAD_LETTER_TOPIC", "dead"),
    ("AUDIT_TOPIC", "audit"),
    ("KAFKA_MODE", "group"),
];

#[test]
fn a_safety_setting_stops_the_start_by_every_name_and_from_the_file() {
    for &(name, text) in SAFETY {
        let variable = table::find(name).expect(name);
        assert_eq!(variable.availability, Availability::Rejected, "{name}");
        for written in [name.to_owned(), format!("FLEETCAST_{name}")] {
            let told = problem(&[(&written, text)]);
            assert!(told.starts_with(&format!("cannot use {written}")), "{told}");
            assert!(told.contains("not available in this version"), "{told}");
        }
        let key = variable.key().expect(name);
        let needed = [
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ];
        let told = with_file(&format!("{key} = \"{text}\""), &needed).map(drop);
        let told = told.unwrap_err();
        assert!(
            told[0].starts_with(&format!("f.toml:1: cannot use {key}")),
            "{told:?}"
        );
        for off in ["", "0", "false", "False"] {
            if name != "KAFKA_MODE" {
                assert_eq!(good(&[(name, off)]).notices, [], "{name}={off}");
            }
        }
    }
    let more = variables().filter(|one| one.availability == Availability::Rejected);
    for variable in more {
        let known = SAFETY.iter().any(|(name, _)| *name == variable.name);
        assert!(known, "{}", variable.name);
    }
}

/// What stands in the table as a default holds: everything else of a later part has none.
#[test]
fn settings_that_have_no_effect_show_no_default() {
    const HOLDS: [&str; 4] = ["KAFKA_MODE", "BIND_SID", "ENGINEIO_V3", "ALLOW_PLAIN_HTTP"];
    for variable in variables().filter(|one| one.availability != Availability::Available) {
        let holds = HOLDS.contains(&variable.name);
        assert_eq!(
            variable.default_text().is_some(),
            holds,
            "{}",
            variable.name
        );
    }
}

#[test]
fn the_environment_of_a_later_part_is_a_warning() {
    for name in ["ENVIRONMENT", "FLEETCAST_ENVIRONMENT"] {
        let told = notices(&good(&[(name, "production")]));
        assert_eq!(told, [format!("{name} has no effect in this version")]);
    }
    let told = notices(&good(&[
        ("ENVIRONMENT", "production"),
        ("ENGINEIO_V3", "true"),
    ]));
    assert_eq!(told.len(), 2, "each once: {told:?}");
}

#[test]
fn variables_of_the_repositorys_scripts_and_tests_are_ignored() {
    let settings = good(&[
        ("FLEETCAST_CACHE", "/tmp/cache"),
        ("FLEETCAST_BIN", "/tmp/fleetcast"),
        ("FLEETCAST_NO_BROWSER", "1"),
        ("FLEETCAST_TEST_KAFKA", "127.0.0.1:9092"),
        ("FLEETCAST_TEST_KAFKA_CLUSTER", "/tmp/cluster"),
        ("FLEETCAST_TEST_WHATEVER_COMES", "1"),
    ]);
    assert_eq!((settings.notices.len(), settings.injected), (0, 6));
    for unknown in ["FLEETCAST_CACHES", "FLEETCAST_TESTS", "FLEETCAST_TEST"] {
        assert!(
            problem(&[(unknown, "1")]).starts_with("unknown variable"),
            "{unknown}"
        );
    }
}
