//! docker-compose.yml, and the balancers' configurations in deploy/.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::page;
use crate::repository::file;

const INSTANCES: [&str; 2] = ["fleetcast-1", "fleetcast-2"];

fn compose() -> Value {
    serde_saphyr::from_str(&file("docker-compose.yml")).expect("good YAML")
}

fn names(value: &Value) -> BTreeSet<String> {
    let object = value.as_object().expect("an object");
    object.keys().cloned().collect()
}

/// What is started beside the servers is what they wait for, and the balancer in front of them.
#[test]
fn compose_starts_nothing_that_the_server_does_not_use() {
    let services = &compose()["services"];
    let mut used = names(&services[INSTANCES[0]]["depends_on"]);
    used.extend(INSTANCES.map(str::to_owned));
    used.insert("haproxy".to_owned());
    assert_eq!(names(services), used);
    assert_eq!(services["haproxy"]["depends_on"], json!(INSTANCES));
}

#[test]
fn compose_checks_and_restarts_every_service_and_publishes_the_balancer_alone() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().expect("services") {
        let check = &service["healthcheck"]["test"];
        assert!(check.as_array().is_some_and(|it| it.len() > 1), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(service["ports"].is_array(), name == "haproxy", "{name}");
    }
    assert_eq!(compose["networks"]["back"]["internal"], true);
    for name in ["kafka", "redis"] {
        assert_eq!(compose["services"][name]["networks"], json!(["back"]));
    }
}

/// Otherwise all clients share one address and its limits, or write their own.
#[test]
fn instances_of_compose_trust_the_address_of_the_balancer_and_no_other() {
    let compose = compose();
    let services = &compose["services"];
    assert_eq!(services[INSTANCES[0]], services[INSTANCES[1]]);
    let environment = &services[INSTANCES[0]]["environment"];
    let address = &services["haproxy"]["networks"]["front"]["ipv4_address"];
    assert_eq!(&environment["TRUSTED_PROXIES"], address);
    assert_eq!(environment["PROXY_PROTOCOL"], "false");
    let option = "\n    option forwardfor\n";
    assert!(file("deploy/haproxy.cfg").contains(option));
    // Nothing else is given that address.
    let network = &compose["networks"]["front"]["ipam"]["config"][0];
    let network = |key: &str| network[key].as_str().expect("a network").to_owned();
    let address = address.as_str().expect("an address");
    let (prefix, last) = address.rsplit_once('.').expect("IPv4");
    assert_eq!(network("subnet"), format!("{prefix}.0/24"));
    assert_eq!(network("ip_range"), format!("{prefix}.128/25"));
    assert!((2..128).contains(&last.parse::<u8>().expect("a number")));
}

#[test]
fn compose_names_settings_ports_and_files_that_there_are() {
    let compose = compose();
    let haproxy = &compose["services"]["haproxy"];
    let settings = page("configuration.md");
    let environment = &compose["services"][INSTANCES[0]]["environment"];
    for name in names(environment) {
        assert!(settings.contains(&format!("| `{name}` |")), "{name}");
        // What compose sets is not for the user to set.
        let line = format!("\n{name}=");
        let users = name == "KAFKA_BOOTSTRAP_SERVERS";
        assert_eq!(file(".env.example").contains(&line), users, "{name}");
    }
    let configuration = file("deploy/haproxy.cfg");
    for (index, instance) in INSTANCES.iter().enumerate() {
        let variable = format!("INSTANCE_{}", index + 1);
        let address = format!("{instance}:{}", environment["PORT"].as_str().expect("text"));
        assert_eq!(haproxy["environment"][&variable], address.as_str());
        assert!(configuration.contains(&format!("\"${{{variable}}}\"")));
    }
    assert_eq!(haproxy["ports"], json!(["${PORT:-8001}:8001"]));
    assert!(configuration.contains("presetenv LISTEN :8001\n"));
    let mounted = haproxy["volumes"][0].as_str().expect("text");
    assert!(mounted.starts_with("./deploy/haproxy.cfg:"));
    let check = haproxy["healthcheck"]["test"].to_string();
    assert!(check.contains(":8001/balancer") && configuration.contains("monitor-uri /balancer\n"));
}

/// A balancer that waits for less cuts connections on which there is nothing wrong.
#[test]
fn balancers_wait_longer_for_clients_than_the_server_does() {
    let settings = page("configuration.md");
    let default = |name: &str| -> u32 {
        let row = settings
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let default = row.expect(name).split('|').nth(4).expect("a default");
        default.trim_matches([' ', '`']).parse().expect("seconds")
    };
    let patience = default("PING_INTERVAL") + default("PING_TIMEOUT");
    for (name, waits) in [
        (
            "deploy/haproxy.cfg",
            r"(?m)^ *timeout (?:client|server|tunnel) (\d+)s$",
        ),
        (
            "deploy/nginx.conf",
            r"(?m)^ *proxy_(?:read|send)_timeout (\d+)s;$",
        ),
    ] {
        let waits = Regex::new(waits).expect("a pattern");
        let text = file(name);
        let found: Vec<u32> = waits
            .captures_iter(&text)
            .map(|it| it[1].parse().expect("seconds"))
            .collect();
        assert!(found.len() >= 2, "{name}: {found:?}");
        assert!(found.iter().all(|it| *it > patience), "{name}: {found:?}");
    }
}
