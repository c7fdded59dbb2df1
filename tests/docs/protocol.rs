//! docs/protocol.md: codes, events and names.

use std::collections::BTreeSet;

use fleetcast::settings::Profile;
use fleetcast_core::domain::protocol::{
    CloseReason, GrantReason, RESERVED_EVENTS, Reason, Refusal, ResyncReason, RevokeReason,
};

use crate::{first_cells, page, section};

#[test]
fn protocol_lists_every_code_with_its_number_and_no_other() {
    let protocol = page("protocol.md");
    let codes = section(&protocol, "## Codes");
    let mut known = BTreeSet::new();
    let all = [
        Refusal::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect::<Vec<_>>(),
        Reason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        CloseReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        ResyncReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        GrantReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        RevokeReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
    ];
    for (number, name) in all.into_iter().flatten() {
        known.insert(format!("| {number} | `{name}` |"));
    }
    let listed: BTreeSet<String> = codes
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (number, name) = (cells.next()?.parse::<u16>().ok()?, cells.next()?);
            Some(format!("| {number} | {name} |"))
        })
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn protocol_names_every_event_of_the_built_in_profile_and_every_reserved_one() {
    let protocol = page("protocol.md");
    let profile = Profile::builtin("dispatch", "", 262_144).expect("the built-in profile is good");
    let routed: BTreeSet<&str> = profile.routes.events().collect();
    assert_eq!(
        first_cells(section(&protocol, "### Routed events")),
        routed,
        "events of the dispatch profile"
    );
    let reserved = section(&protocol, "## Reserved names");
    for name in RESERVED_EVENTS {
        assert!(reserved.contains(&format!("`{name}`")), "{name}");
    }
}
