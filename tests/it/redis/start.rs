//! What the start refuses.

use std::process::Command;

use crate::harness::{Redis, SECRET};

/// Exit code and what stands on the output for errors.
fn run(command: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .arg(command)
        .env_clear()
        .envs([
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("INTERNAL_PORT", "0"),
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ])
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), told)
}

#[tokio::test]
async fn a_cluster_stops_the_start_with_what_to_do() {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    let url = redis.url();
    for command in ["serve", "check"] {
        let (code, told) = run(command, &[("REDIS_URL", &url)]);
        assert_eq!(code, Some(78), "{command}: {told}");
        assert!(told.contains("it is part of a Redis Cluster"), "{told}");
        assert!(told.contains("primary behind one address"), "{told}");
    }
}

#[test]
fn all_that_is_wrong_with_redis_is_told_at_once() {
    let (code, told) = run(
        "serve",
        &[
            (
                "REDIS_URL",
                "redis-sentinel://:hush@a:26379,b:26379/mymaster",
            ),
            ("REDIS_PREFIX", "fleet*"),
            ("REDIS_SECRET", "hush"),
        ],
    );
    assert_eq!(code, Some(78), "{told}");
    for problem in [
        "a Redis Sentinel cannot be used: name one Redis",
        "cannot use REDIS_PREFIX=\"fleet*\"",
        "it has 4 bytes, at least 32 are needed",
    ] {
        assert!(told.contains(problem), "{problem}: {told}");
    }
    assert!(!told.contains("hush"), "{told}");
}
