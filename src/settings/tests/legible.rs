//! Values as they come out of files and shells: invisible characters, quotes, lists with other separators.

use super::*;

#[test]
fn an_invisible_character_in_a_value_or_a_name_stops_the_start() {
    for invisible in [
        "\u{feff}", "\u{200b}", "\u{a0}", "\u{2060}", "\u{202e}", "\u{ad}", "\u{202f}",
    ] {
        for (name, text) in [
            ("PORT", format!("{invisible}8001")),
            ("PORT", format!("8001{invisible}")),
            ("KAFKA_GROUP_ID", format!("fleet{invisible}cast")),
            (
                "KAFKA_BOOTSTRAP_SERVERS",
                format!("a:9092,{invisible}b:9092"),
            ),
            ("CORS_ORIGINS", format!("https://a.example{invisible}")),
            ("JWT_ISSUER", format!("{invisible}https://a.example")),
            ("KAFKA_PROPERTIES_CLIENT_ID", format!("x{invisible}")),
        ] {
            let told = problem(&[(name, &text)]);
            assert!(
                told.starts_with(&format!("cannot use {name}: it holds an invisible")),
                "{told}"
            );
            let code = u32::from(invisible.chars().next().unwrap());
            assert!(told.contains(&format!("U+{code:04X}")), "{told}");
        }
    }
    let told = problem(&[("KAFKA_PROPERTIES_SSL_KEY_PASSWORD", "\u{feff}hush")]);
    assert!(
        told.contains("invisible") && !told.contains("hush"),
        "{told}"
    );
    let told = problem(&[("\u{feff}PORT", "8001")]);
    assert!(
        told.contains("it is PORT with an invisible character"),
        "{told}"
    );
    let told = problem(&[("FLEETCAST_\u{200b}PORT", "8001")]);
    assert!(told.contains("it is FLEETCAST_PORT with"), "{told}");
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_its_values_may_not_hold_one() {
    let needed = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092"),
    ];
    let settings = with_file("\u{feff}port = 8005\n", &needed).unwrap();
    assert_eq!(settings.listen.port, 8005);
    let told = with_file("\nkafka.group_id = \"\u{feff}x\"", &needed)
        .map(drop)
        .unwrap_err();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("f.toml:2: cannot use kafka.group_id ("),
        "{told:?}"
    );
}

#[test]
fn quotes_around_a_value_stop_the_start() {
    for (name, text) in [
        ("KAFKA_BOOTSTRAP_SERVERS", "\"a:9092\""),
        ("KAFKA_BOOTSTRAP_SERVERS", "'a:9092,b:9092'"),
        ("KAFKA_GROUP_ID", " \"x\" "),
        ("KAFKA_PROPERTIES_CLIENT_ID", "\"x\""),
    ] {
        let told = load(&[(name, text)]).map(drop).unwrap_err();
        assert!(
            told.iter().any(|told| told.contains("stands in quotes")),
            "{told:?}"
        );
    }
    let told = notices(&good(&[("KAFKA_PROPERTIES_SSL_KEY_PASSWORD", "\"hush\"")]));
    assert!(
        told.len() == 1 && told[0].contains("quotes") && !told[0].contains("hush"),
        "{told:?}"
    );
}

#[test]
fn broker_lists_that_librdkafka_would_look_for_for_ever_stop_the_start() {
    let commas = "brokers are separated by commas";
    for (text, hint) in [
        ("a:9092;b:9092", commas),
        ("a:9092 b:9092", commas),
        ("a:9092\tb:9092", commas),
        ("a:9092\nb:9092", commas),
        ("a:9092|b:9092", commas),
        ("a;b", commas),
        ("http://a:9092", "a broker is no URL"),
        ("kafka://a:9092", "a broker is no URL"),
        ("::1:9092", "in brackets"),
        ("fe80::1", "in brackets"),
        ("a:b:9092", "in brackets"),
        ("[::1:9092", "a bracket is open"),
        ("[a]:9092", "found [a]:9092"),
        ("[::1]9092", "found [::1]9092"),
        ("a:0", "found a:0"),
        ("a:99999", "found a:99999"),
        ("a:abc", "found a:abc"),
        ("a:", "found a:"),
        (":9092", "found :9092"),
        ("a/b:9092", "found a/b:9092"),
        ("user@a:9092", "found user@a:9092"),
        ("ok:9092,bad:x", "found bad:x"),
        (",", "at least one broker"),
    ] {
        let told = problem(&[("KAFKA_BOOTSTRAP_SERVERS", text)]);
        assert!(told.contains(hint), "{text:?}: {told}");
    }
    for (text, expected) in [
        ("a:9092,b:9092", "a:9092,b:9092"),
        ("a:9092,,b:9092,", "a:9092,b:9092"),
        (" a:9092 ,\n b:9092 ", "a:9092,b:9092"),
        ("a", "a"),
        ("my_host:9092", "my_host:9092"),
        ("[::1]:9092", "[::1]:9092"),
        ("[::1]", "[::1]"),
        ("PLAINTEXT://a:9092", "PLAINTEXT://a:9092"),
    ] {
        let settings = good(&[("KAFKA_BOOTSTRAP_SERVERS", text)]);
        assert_eq!(settings.kafka.bootstrap_servers, expected);
    }
    for name in [
        "KAFKA_PROPERTIES_BOOTSTRAP_SERVERS",
        "KAFKA_PROPERTIES_METADATA_BROKER_LIST",
    ] {
        assert!(problem(&[(name, "a:9092")]).contains("set KAFKA_BOOTSTRAP_SERVERS instead"));
    }
    let told = problem(&[("KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL://a:9093")]);
    assert!(
        told.contains("differs from the security.protocol"),
        "{told}"
    );
}

#[test]
fn other_lists_with_wrong_separators_stop_the_start() {
    for (name, text) in [
        ("CORS_ORIGINS", "https://a.example;https://b.example"),
        ("CORS_ORIGINS", "https://a.example https://b.example"),
        ("CORS_HEADERS", "x-a;x-b"),
        ("CORS_HEADERS", "x-a x-b"),
        ("CORS_HEADERS", "*"),
        ("CORS_HEADERS", "x-\u{e9}"),
        ("CORS_HEADERS", ","),
        ("JWT_ALGORITHMS", "HS256;HS384"),
        ("JWT_ALGORITHMS", "HS256 HS384"),
        ("KEEP_ALIVE_TIMEOUT", "500ms"),
        ("KEEP_ALIVE_TIMEOUT", "3h"),
        ("KEEP_ALIVE_TIMEOUT", "-1"),
    ] {
        let told = problem(&[(name, text)]);
        assert!(told.starts_with(&format!("cannot use {name}=")), "{told}");
    }
    assert_eq!(
        good(&[("KEEP_ALIVE_TIMEOUT", "0")]).sockets.keep_alive,
        Duration::ZERO
    );
    assert_eq!(good(&[]).sockets.keep_alive, Duration::from_secs(75));
}

#[test]
fn each_mistake_of_the_file_is_reported_once() {
    let secret = format!("jwt.secret = \"{SECRET}\"\n");
    for (text, expected) in [
        (
            "kafka.bootstrap_servers = [1]",
            "cannot use kafka.bootstrap_servers: expected text",
        ),
        (
            "kafka.bootstrap_servers = [\"a:1\", 2]",
            "cannot use kafka.bootstrap_servers: expected text",
        ),
        (
            "kafka.bootstrap_servers = 5",
            "cannot use kafka.bootstrap_servers: expected text",
        ),
        (
            "kafka.bootstrap_servers = \"a:1\"\nhost = \"a",
            "f.toml:3: ",
        ),
    ] {
        let told = with_file(&format!("{secret}{text}"), &[])
            .map(drop)
            .unwrap_err();
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(told[0].contains(expected), "{text}: {told:?}");
    }
    let told = with_file("jwt.secret = 5\nkafka.bootstrap_servers = \"a:1\"", &[]).map(drop);
    assert_eq!(told.unwrap_err().len(), 1);
}
