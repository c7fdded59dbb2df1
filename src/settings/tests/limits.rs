//! Limits, and the proxies that name clients.

use std::num::NonZeroU32;

use fleetcast_core::domain::client_address::ForwardedHeader;

use super::*;

fn most(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

#[test]
fn limits_have_defaults_and_zero_is_none() {
    let limits = good(&[]).limits;
    assert_eq!(limits.connections_per_address, most(200));
    assert_eq!(limits.handshakes_per_second, most(50));
    assert_eq!(limits.connections_per_user, most(20));
    assert_eq!(limits.connections_per_organisation, None);
    assert_eq!(limits.commands_per_second, most(20));
    assert!(!limits.loopback_too && limits.proxies.is_empty());
    let limits = good(&[
        ("MAX_CONNECTIONS_PER_ADDRESS", "0"),
        ("HANDSHAKES_PER_SECOND_PER_ADDRESS", "0"),
        ("MAX_CONNECTIONS_PER_USER", "0"),
        ("MAX_CONNECTIONS_PER_ORGANISATION", "7"),
        ("LIMIT_LOOPBACK", "true"),
        ("COMMANDS_PER_SECOND", "0"),
    ])
    .limits;
    assert_eq!(limits.connections_per_address, None);
    assert_eq!(limits.handshakes_per_second, None);
    assert_eq!(limits.connections_per_user, None);
    assert_eq!(limits.connections_per_organisation, most(7));
    assert_eq!(limits.commands_per_second, None);
    assert!(limits.loopback_too);
}

#[test]
fn h24_proxies_are_networks_and_preambles_need_them() {
    let settings = good(&[
        ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,2001:db8::/32"),
        ("PROXY_PROTOCOL", "true"),
    ]);
    assert!(settings.listen.proxy_protocol);
    let proxies = &settings.limits.proxies;
    assert!(proxies.contains([10, 1, 2, 3].into()) && !proxies.contains([11, 1, 2, 3].into()));
    assert_eq!(
        settings.limits.forwarded_header,
        ForwardedHeader::XForwardedFor
    );
    let settings = good(&[("FORWARDED_HEADER", "forwarded")]);
    assert_eq!(settings.limits.forwarded_header, ForwardedHeader::Forwarded);
    let told = problem(&[("FORWARDED_HEADER", "X-Real-IP")]);
    assert!(told.starts_with("cannot use FORWARDED_HEADER="), "{told}");
    let told = problem(&[("PROXY_PROTOCOL", "true")]);
    assert!(
        told.starts_with("PROXY_PROTOCOL requires TRUSTED_PROXIES"),
        "{told}"
    );
    for wrong in [
        "proxy.example.com",
        "10.0.0.0/40",
        "0.0.0.0/0",
        "10.0.0.1 10.0.0.2",
        ",",
    ] {
        for preambles in ["true", "false"] {
            let told = problem(&[("TRUSTED_PROXIES", wrong), ("PROXY_PROTOCOL", preambles)]);
            assert!(told.starts_with("cannot use TRUSTED_PROXIES="), "{told}");
        }
    }
    for name in [
        "MAX_CONNECTIONS_PER_ADDRESS",
        "HANDSHAKES_PER_SECOND_PER_ADDRESS",
        "MAX_CONNECTIONS_PER_USER",
        "MAX_CONNECTIONS_PER_ORGANISATION",
        "COMMANDS_PER_SECOND",
    ] {
        for wrong in ["-1", "many", "4294967296"] {
            let told = problem(&[(name, wrong)]);
            assert!(told.starts_with(&format!("cannot use {name}=")), "{told}");
        }
    }
}
