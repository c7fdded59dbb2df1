//! The TOML file: below the environment, its mistakes with their lines, and what a reload makes of it.

use super::*;

#[test]
fn environment_overrides_file_and_file_overrides_presets() {
    let text = format!(
        "port = 8005\nmax_rooms = 7\n[jwt]\nsecret = \"{SECRET}\"\n[kafka]\nbootstrap_servers = \"file:1\"\n\
         [kafka.properties]\n\"sasl.username\" = \"file\"\n\"sasl.password\" = \"hush\"\n"
    );
    let settings = with_file(&text, &[]).unwrap();
    assert_eq!(
        (settings.listen.port, settings.sockets.max_rooms),
        (8005, 7)
    );
    assert_eq!(settings.auth.own.keys.secrets[0].expose_secret(), SECRET);
    assert_eq!(settings.kafka.bootstrap_servers, "file:1");
    assert_eq!(settings.kafka.properties.0["sasl.username"], "file");
    assert_eq!(settings.notices, []);
    assert!(!format!("{settings:?}").contains("hush"));

    let environment = [
        ("FLEETCAST_MAX_ROOMS", "9"),
        ("PORT", ""),
        ("KAFKA_PROPERTIES_SASL_USERNAME", "environment"),
    ];
    let settings = with_file(&text, &environment).unwrap();
    assert_eq!(
        (settings.listen.port, settings.sockets.max_rooms),
        (8005, 9)
    );
    assert_eq!(settings.kafka.properties.0["sasl.username"], "environment");
    assert_eq!(settings.kafka.properties.0["sasl.password"], "hush");
    assert_eq!(settings.notices, [], "to win over the file is the rule");
}

#[test]
fn problems_of_the_file_and_of_the_environment_are_reported_at_once_with_their_lines() {
    let text = "\nprot = 1\nping_interval = 0\nlog.level = 5\n[jwt]\nsecret = \"short\"\n[kafka]\nmode = \"group\"\n\
                [kafka.properties]\n\"group.id\" = \"x\"\n";
    let problems = with_file(text, &[("PORT", "80a")]).map(drop).unwrap_err();
    let expected = [
        "f.toml:2: unknown setting prot: did you mean port?",
        "f.toml:3: cannot use ping_interval=\"0\": must be more than 0",
        "f.toml:4: cannot use log.level: expected text in quotes; found 5",
        "f.toml:6: cannot use jwt.secret: it has 5 bytes",
        "f.toml:8: cannot use kafka.mode=\"group\": it is not available in this version",
        "kafka.properties.group.id (f.toml:10) may not set group.id: set KAFKA_GROUP_ID instead",
        "cannot use PORT=\"80a\": expected port from 0 to 65535",
        "KAFKA_BOOTSTRAP_SERVERS is required",
    ];
    // Those of the file as they stand in it.
    for (expected, problem) in expected.iter().zip(&problems) {
        assert!(problem.starts_with(expected), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    // Of what a file may hold that cannot be read nothing is said to be missing.
    let missing = load_only(&[(table::CONFIG, "/nowhere/f.toml")]).map(drop);
    let missing = missing.unwrap_err();
    assert!(missing[0].starts_with("cannot read the settings in /nowhere/f.toml: "));
    assert_eq!(missing.len(), 1, "{missing:#?}");
    // Also for a subcommand that needs only a part.
    let environment = BTreeMap::from([(table::CONFIG.to_owned(), "/nowhere/f.toml".to_owned())]);
    assert!(Settings::listen_from_map(&environment).is_err());
}

#[test]
fn a_misspelt_required_variable_is_reported_beside_the_problem() {
    let environment = [
        ("JWT_SECERT", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
    ];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let environment = BTreeMap::from(environment);
    let hint = "\n  warning: JWT_SECERT: unknown variable, ignored: did you mean JWT_SECRET?";
    let told = Settings::from_map(&environment, &Presets::new()).unwrap_err();
    assert!(
        told.to_string().contains("1 problem in the settings"),
        "{told}"
    );
    assert!(told.to_string().contains(hint), "{told}");
    // Also where only tokens matter.
    let told = Settings::auth_from_map(&environment).unwrap_err();
    assert!(told.to_string().contains(hint), "{told}");
    assert!(!told.to_string().contains(SECRET), "{told}");
}

#[test]
fn a_world_readable_file_with_secrets_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.toml");
    let warnings = |text: String, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut notices = notices(&good(&[(table::CONFIG, path.to_str().unwrap())]));
        notices.retain(|notice| notice.contains("secrets"));
        notices
    };
    let secret = format!(
        "redis_url = 'redis://:hush@host'\njwt.secret = '{SECRET}'\n[kafka.properties]\n'sasl.password' = 'x'"
    );
    assert_eq!(warnings(secret.clone(), 0o640), [""; 0]);
    assert_eq!(
        warnings("port = 1\njwt.secret = \"\"".to_owned(), 0o644),
        [""; 0]
    );
    let told = warnings(secret, 0o644);
    assert_eq!(told.len(), 1);
    let expected = "it holds secrets (jwt.secret, kafka.properties.sasl.password, redis_url), and every user of this machine may read it";
    assert!(told[0].ends_with(expected), "{told:?}");
}

#[test]
fn a_reload_names_changes_that_need_a_restart_and_keeps_prefix_and_event_limit() {
    let mut running = good(&[]);
    let environment = |changes: &[(&str, &str)]| {
        let needed = [
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ];
        let all = needed.iter().chain(changes);
        all.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    let changed: BTreeMap<String, String> = environment(&[
        ("KAFKA_TOPIC_PREFIX", "x."),
        ("MAX_EVENT_BYTES", "5000"),
        ("CORS_ORIGINS", "https://a.example"),
        ("JWT_SECRET_PREVIOUS", "another-secret-of-enough-bytes-4kQ9"),
        ("KAFKA_PROPERTIES_SASL_PASSWORD", "hush"),
        ("PORT", "8001"),
    ]);
    let newer = running.again(&changed, &Presets::new()).unwrap();
    let names = [
        "KAFKA_PROPERTIES_SASL_PASSWORD",
        "KAFKA_TOPIC_PREFIX",
        "MAX_EVENT_BYTES",
    ];
    assert_eq!(running.restart_needed(&newer), names);
    let topics: Vec<_> = newer.profile.routes.topics().collect();
    assert!(topics.contains(&"incident"), "{topics:?}");
    running.apply(newer);
    assert_eq!(running.auth.own.keys.secrets.len(), 2);
    assert_ne!(running.listen.cors_origins, CorsOrigins::Exact(Vec::new()));
    assert_eq!(running.sockets.max_event_bytes, 262_144);
    let newer = running.again(&changed, &Presets::new()).unwrap();
    assert_eq!(running.restart_needed(&newer), names, "until the restart");
    let newer = running.again(&environment(&[]), &Presets::new()).unwrap();
    assert_eq!(running.restart_needed(&newer), [""; 0]);
}
