//! Tokens and secrets as the field's issuers and editors write them, shown to the built server.

use std::process::{Command, Stdio};
use std::time::Duration;

use fleetcast::clock;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{Client, Kafka, Packet, SECRET, SOON, TestApp, raw_token};

/// The user of the welcome, or the message of the refusal.
async fn shown(app: &TestApp, token: &str) -> Result<String, String> {
    let mut client = Client::open(app.public).await;
    client
        .send(&format!("40{}", json!({ "token": token })))
        .await;
    loop {
        match client.packet().await.expect("the transport is closed") {
            Packet::ConnectError { message, .. } => return Err(message),
            Packet::Event(event) if event.name == "connection_established" => {
                return Ok(event.args[0]["data"]["user_id"]
                    .as_str()
                    .unwrap()
                    .to_owned());
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a45_tokens_as_issuers_write_them_are_accepted() {
    let kafka = Kafka::mock(&[]).await;
    let audience = [
        ("JWT_ISSUER", "https://issuer.test"),
        ("JWT_AUDIENCE", "fleet"),
    ];
    let strict = TestApp::start_with(&kafka, &audience).await;
    let app = TestApp::start(&kafka).await;
    let soon = clock::wall_ms() / 1000 + 600;
    let who = r#""sub":"u1","organization_id":"o1""#;
    for claims in [
        format!(r#"{who},"exp":{soon}.5"#),
        format!(
            r#"{who},"exp":{soon}.0,"iat":{}.75,"nbf":{}.25"#,
            soon - 700,
            soon - 700
        ),
        format!(r#"{who},"exp":4.0e9"#),
        format!(r#"{who},"exp":{soon},"nbf":null,"iat":null,"jti":null,"name":null"#),
        format!(
            r#"{who},"exp":{soon},"iss":null,"aud":null,"roles":null,"role":"viewer","channels":null"#
        ),
        format!(r#""sub":"u1","organization_id":null,"org_id":"o1","exp":{soon}"#),
        format!(r#"{who},"exp":{soon},"name":"\ud800","\udfff":["\ud83d"],"huge":1e400"#),
        format!(r#"{who},"exp":{soon},"channels":[18446744073709551616]"#),
    ] {
        let token = raw_token(&format!("{{{claims}}}"));
        assert_eq!(shown(&app, &token).await.as_deref(), Ok("u1"), "{claims}");
    }
    let big = format!(r#"{{"sub":18446744073709551616,"organization_id":"o1","exp":{soon}}}"#);
    assert_eq!(
        shown(&app, &raw_token(&big)).await.as_deref(),
        Ok("18446744073709551616")
    );
    for (claims, code) in [
        (format!(r#"{who},"exp":null"#), "token_invalid"),
        (format!(r#"{who},"exp":1e400"#), "token_invalid"),
        (format!(r#"{who},"exp":1e18"#), "token_invalid"),
        (format!(r#"{who},"exp":-1.5"#), "token_invalid"),
        (format!(r#"{who},"exp":"{soon}.5""#), "token_invalid"),
        (
            format!(r#"{who},"exp":{soon},"nbf":{}.5"#, soon + 600),
            "token_invalid",
        ),
        (
            format!(r#"{who},"exp":1795000000.5,"iat":null"#).replace("1795000000", "1000000000"),
            "token_expired",
        ),
        (
            format!(r#""sub":null,"organization_id":"o1","exp":{soon}"#),
            "token_invalid",
        ),
        (
            format!(r#""sub":"\ud800","organization_id":"o1","exp":{soon}"#),
            "token_invalid",
        ),
        (
            format!(r#"{who},"exp":{soon},"channels":[{}]"#, "9".repeat(65)),
            "token_invalid",
        ),
    ] {
        let token = raw_token(&format!("{{{claims}}}"));
        assert_eq!(shown(&app, &token).await, Err(code.to_owned()), "{claims}");
    }
    let issuer = r#""iss":"https://issuer.test""#;
    for (more, accepted) in [
        (format!(r#"{issuer},"aud":"fleet""#), true),
        (format!(r#"{issuer},"aud":["other","fleet"]"#), true),
        (format!(r#"{issuer},"aud":["other"]"#), false),
        (format!(r#"{issuer},"aud":[]"#), false),
        (format!(r#"{issuer},"aud":null"#), false),
        (
            r#""iss":["https://issuer.test"],"aud":"fleet""#.to_owned(),
            false,
        ),
        (r#""iss":null,"aud":"fleet""#.to_owned(), false),
    ] {
        let token = raw_token(&format!(r#"{{{who},"exp":{soon},{more}}}"#));
        assert_eq!(shown(&strict, &token).await.is_ok(), accepted, "{more}");
    }
}

#[tokio::test]
async fn a_token_with_a_fraction_in_exp_ends_its_connection_no_later() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("JWT_LEEWAY", "0")]).await;
    let expires = clock::wall_ms() / 1000 + 3;
    let token = format!(r#"{{"sub":"u1","organization_id":"o1","exp":{expires}.9}}"#);
    let auth = json!({ "token": raw_token(&token) });
    let mut client = Client::connect(app.public, &auth).await;
    client.read_to_end().await;
    let closed = clock::wall_ms();
    // Not before its last whole second, and soon after that.
    assert!(closed >= expires * 1000, "{closed} {expires}");
    assert_eq!(
        shown(&app, &raw_token(&token)).await,
        Err("token_expired".to_owned())
    );
}

#[tokio::test]
async fn a_byte_order_mark_in_a_file_of_secrets_does_no_harm() {
    let kafka = Kafka::mock(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    std::fs::write(&file, format!("\u{FEFF}{SECRET}\r\n")).unwrap();
    let file = file.to_str().unwrap();
    let app = TestApp::start_with(&kafka, &[("JWT_SECRET", ""), ("JWT_SECRET_FILE", file)]).await;
    let token = raw_token(r#"{"sub":"u1","organization_id":"o1","exp":4000000000}"#);
    assert_eq!(shown(&app, &token).await.as_deref(), Ok("u1"));
}

/// Exit code and what was said.
async fn start(variable: &str, value: &str) -> (Option<i32>, String) {
    let secret = if variable == "JWT_SECRET_FILE" {
        ""
    } else {
        SECRET
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .arg("serve")
        .env_clear()
        .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("INTERNAL_PORT", "0")])
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("JWT_SECRET", secret)
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it has started");
        }
        sleep(Duration::from_millis(10)).await;
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test]
async fn an_invisible_character_in_a_secret_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    let file = file.to_str().unwrap();
    for (text, name) in [
        (format!("\u{FEFF}{SECRET}"), "byte order mark"),
        (format!("{SECRET}\u{200B}"), "zero-width space"),
        (format!("{SECRET}\u{A0}"), "no-break space"),
        (format!("{SECRET}\n"), "line end"),
    ] {
        for variable in ["JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
            let (code, said) = start(variable, &text).await;
            assert_eq!(code, Some(78), "{said}");
            assert!(said.contains(name) && said.contains(variable), "{said}");
            assert!(!said.contains(&SECRET[..20]), "{said}");
        }
        if !matches!(name, "byte order mark" | "line end") {
            std::fs::write(file, &text).unwrap();
            let (code, said) = start("JWT_SECRET_FILE", file).await;
            assert_eq!(code, Some(78), "{said}");
            assert!(
                said.contains(name) && !said.contains(&SECRET[..20]),
                "{said}"
            );
        }
    }
    for encoded in [
        (SECRET.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
        [&b"\xff\xfe"[..], &[0x66, 0], SECRET.as_bytes()].concat(),
    ] {
        std::fs::write(file, encoded).unwrap();
        let (code, said) = start("JWT_SECRET_FILE", file).await;
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("UTF-16"), "{said}");
    }
}
