//! What is said about Kafka: librdkafka's properties, the group, topics of our own.

use super::*;

#[test]
fn forbidden_properties_of_environment_and_file_are_rejected() {
    for (property, value) in [
        ("group.id", "x"),
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "latest"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_uncommitted"),
        ("enable.partition.eof", "false"),
        ("allow.auto.create.topics", "true"),
        ("bootstrap.servers", "other:9092"),
    ] {
        let variable = properties::variable_name(property);
        for name in [variable.clone(), format!("FLEETCAST_{variable}")] {
            let told = problem(&[(&name, value)]);
            assert!(
                told.starts_with(&format!("{name} may not set {property}: ")),
                "{told}"
            );
        }
        let text = format!("[kafka.properties]\n\"{property}\" = \"{value}\"");
        let needed = [
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ];
        let told = with_file(&text, &needed).map(drop).unwrap_err();
        let expected = format!("kafka.properties.{property} (f.toml:2) may not set {property}: ");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&expected), "{told:?}");
    }
}

#[test]
fn properties_pass_through_unless_forbidden() {
    let settings = good(&[
        ("KAFKA_PROPERTIES_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_PROPERTIES_SASL_PASSWORD", "hush"),
        ("FLEETCAST_KAFKA_PROPERTIES_SASL_PASSWORD", "hush wins"),
    ]);
    let properties = &settings.kafka.properties.0;
    assert_eq!(
        properties.get("security.protocol").map(String::as_str),
        Some("SASL_SSL")
    );
    assert_eq!(
        properties.get("sasl.password").map(String::as_str),
        Some("hush wins")
    );
    assert!(!format!("{settings:?}").contains("hush"));
    assert!(problem(&[("KAFKA_PROPERTIES_AUTO_OFFSET_RESET", "latest")]).contains("gap"));
    assert!(
        problem(&[("FLEETCAST_KAFKA_PROPERTIES_ENABLE_AUTO_COMMIT", "true")])
            .contains("enable.auto.commit")
    );
    assert!(problem(&[("KAFKA_PROPERTIES_", "x")]).contains("names no property"));
    let own = ("KAFKA_PROPERTIES_ISOLATION_LEVEL", "read_committed");
    assert!(
        good(&[own])
            .kafka
            .properties
            .0
            .contains_key("isolation.level")
    );
    let misspelt = problem(&[("KAFKA_PROPERTIES_SASL_USRNAME", "reader")]);
    assert!(
        misspelt.starts_with("KAFKA_PROPERTIES_SASL_USRNAME may not set sasl.usrname: librdkafka"),
        "{misspelt}"
    );
}

#[test]
fn tools_that_read_only_the_part_of_kafka_reject_its_properties_too() {
    let environment = [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ("KAFKA_PROPERTIES_SASL_USRNAME", "reader"),
        ("PORT", "80a"),
    ];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let problems = Settings::kafka_from_map(&environment.into())
        .unwrap_err()
        .all;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0]
            .0
            .starts_with("KAFKA_PROPERTIES_SASL_USRNAME may not set")
    );
}

#[test]
fn the_group_is_set_by_its_own_variable() {
    let settings = good(&[("KAFKA_GROUP_ID", "staging")]);
    assert_eq!(settings.kafka.group_id, "staging");
    assert!(problem(&[("KAFKA_PROPERTIES_GROUP_ID", "x")]).contains("KAFKA_GROUP_ID"));
}

#[test]
fn unused_service_topics_are_made_only_if_set_and_reported() {
    let wanted = |pairs: &[(&str, &str)]| {
        let needed = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")];
        let environment = needed
            .iter()
            .chain(pairs)
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        Settings::topics_from_map(&environment).unwrap().2
    };
    let published = |name: &str| [("PUBLISH_TOPIC", name.to_owned())];
    assert_eq!(wanted(&[]).names, published("fleetcast.publish").into());
    let named = wanted(&[
        ("FLEETCAST_PUBLISH_TOPIC", "published"),
        ("DEAD_LETTER_TOPIC", "dead"),
        ("RECEIPTS_TOPIC", "receipts"),
    ]);
    let names = [
        ("PUBLISH_TOPIC", "published".to_owned()),
        ("DEAD_LETTER_TOPIC", "dead".to_owned()),
        ("RECEIPTS_TOPIC", "receipts".to_owned()),
    ];
    assert_eq!(named.names, names.into());
    assert_eq!(named.without_effect, ["DEAD_LETTER_TOPIC"]);
}

#[test]
fn what_is_published_needs_a_topic_that_the_profile_does_not_read() {
    for (name, topic, expected) in [
        ("PUBLISH_TOPIC", "incident", "the profile reads this topic"),
        ("PUBLISH_TOPIC", "a b", "cannot use PUBLISH_TOPIC"),
    ] {
        let told = problem(&[(name, topic)]);
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(good(&[]).kafka.publish_topic, "fleetcast.publish");
    assert_eq!(good(&[("PUBLISH_TOPIC", "p")]).kafka.publish_topic, "p");
}

#[test]
fn connection_events_are_written_where_a_topic_is_named_with_ten_seconds_of_debounce() {
    let kafka = |pairs: &[(&str, &str)]| {
        let kafka = good(pairs).kafka;
        (kafka.connections_topic, kafka.connections_debounce)
    };
    assert_eq!(kafka(&[]), (None, Duration::from_secs(10)));
    let set = [("CONNECTIONS_TOPIC", "who"), ("CONNECTIONS_DEBOUNCE", "0")];
    assert_eq!(kafka(&set), (Some("who".to_owned()), Duration::ZERO));
    let told = problem(&[("CONNECTIONS_TOPIC", "no topic")]);
    assert!(told.contains("CONNECTIONS_TOPIC"), "{told}");
}

/// Receipts go on into the topic of the start, and must not come back as events.
#[test]
fn no_pattern_of_a_reloaded_profile_matches_a_service_topic_that_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("profile.toml");
    let text = "name = \"all\"\ntopics = [{ pattern = \"city-.*\" }]\norganisation = { fields = [\"org\"] }\nevent = [\"event\"]\n\
        routes = [{ events = [\"seen\"], rooms = [{ kind = \"org\" }] }]\n";
    std::fs::write(&profile, text).unwrap();
    let profile = profile.to_str().unwrap();
    let settings = |receipts: &str| {
        let all = [
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
            ("FLEETCAST_PROFILE", profile),
            ("RECEIPTS_TOPIC", receipts),
        ];
        BTreeMap::from(all.map(|(name, text)| (name.to_owned(), text.to_owned())))
    };
    let mut running = Settings::from_map(&settings("city-told"), &Presets::new()).unwrap();
    for _ in 0..2 {
        let newer = running
            .again(&settings("city-heard"), &Presets::new())
            .unwrap();
        let routes = newer.profile.routes.clone();
        assert!(routes.wants("city-north"));
        assert!(!routes.wants("city-told") && !routes.wants("city-heard"));
        running.apply(newer);
    }
}
