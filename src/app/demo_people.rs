//! Tokens for the people of the demo: for its page, and on the terminal.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;

use crate::clock;
use crate::demo::Demo;
use crate::demo::people::people_json;
use crate::settings::{AuthSettings, Profile};

/// A working day: a page left open overnight needs a restart of the demo.
const TOKEN_SECONDS: u64 = 12 * 3600;

/// A record that everybody of the first organisation sees.
const SAMPLE: &str = r#"{"event_type":"incident_created","organization_id":"metro","data":{"incident_id":"mine","title":"Hello"}}"#;

pub(super) struct DemoPeople {
    json: String,
    /// Title and token, in the order of the page.
    tokens: Vec<(String, String)>,
    /// Where records can be sent to.
    brokers: String,
}

impl DemoPeople {
    pub(super) fn mint(
        demo: &Demo,
        auth: &AuthSettings,
        profile: &Profile,
    ) -> anyhow::Result<Self> {
        let longest = auth
            .max_lifetime
            .map_or(u64::MAX, |longest| longest.as_secs());
        let expires = clock::wall_ms() / 1000 + TOKEN_SECONDS.min(longest);
        let rules = profile.claim_rules();
        let mint = |claims: &serde_json::Map<String, serde_json::Value>| {
            let mut claims = claims.clone();
            claims.insert("exp".to_owned(), expires.into());
            crate::auth::sign(&claims, &rules, auth)
        };
        let tokens = demo
            .people
            .iter()
            .map(|person| mint(&person.claims))
            .collect::<Result<Vec<_>, _>>()
            .context("cannot mint the demo's tokens")?;
        let json = people_json(&demo.people, &tokens);
        let titles = demo
            .people
            .iter()
            .map(|person| format!("{}, {}", person.name, person.title));
        Ok(Self {
            json,
            tokens: titles.zip(tokens).collect(),
            brokers: demo.bootstrap.clone(),
        })
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// For a person at a terminal: standard output, beside the log.
    pub(super) fn print(&self, address: SocketAddr) {
        let mut text = format!("\n  Fleetcast demo: http://{address}/\n\n");
        for (who, token) in &self.tokens {
            text.extend(["  ", who, "\n    ", token, "\n"]);
        }
        let brokers = &self.brokers;
        text.extend([
            "\n  Kafka: ",
            brokers,
            "   try: fleetcast produce -b ",
            brokers,
            " -t incident --value \\\n    '",
            SAMPLE,
            "'\n  Tokens of your own: set JWT_SECRET, for the demo and for fleetcast token mint\n\n",
        ]);
        // The output may be closed.
        drop(std::io::stdout().write_all(text.as_bytes()));
    }
}
