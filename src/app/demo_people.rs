//! Tokens for the people of the demo: for its page and for clients, and on the terminal.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use fleetcast_core::domain::claims::ClaimRules;

use crate::clock;
use crate::demo::Demo;
use crate::demo::people::{Person, people_json};
use crate::settings::{AuthSettings, Profile};

/// A working day. Clients ask for a new token at each connect, so only pasted tokens end with it.
const TOKEN_SECONDS: u64 = 12 * 3600;

/// A record that all of the first organisation see.
const SAMPLE: &str = r#"{"event_type":"incident_created","organization_id":"metro","data":{"incident_id":"mine","title":"Hello"}}"#;

pub(super) struct DemoPeople {
    people: Vec<Person>,
    auth: AuthSettings,
    rules: ClaimRules,
    /// Where records can be sent to.
    brokers: String,
}

impl DemoPeople {
    /// Fails if tokens cannot be signed with these settings.
    pub(super) fn new(demo: &Demo, auth: &AuthSettings, profile: &Profile) -> anyhow::Result<Self> {
        let people = Self {
            people: demo.people.clone(),
            auth: auth.clone(),
            rules: profile.claim_rules(),
            brokers: demo.bootstrap.clone(),
        };
        people.tokens()?;
        Ok(people)
    }

    /// A fresh token for each of the people, in the order of the page.
    fn tokens(&self) -> anyhow::Result<Vec<String>> {
        let longest = self
            .auth
            .max_lifetime
            .map_or(u64::MAX, |longest| longest.as_secs());
        let expires = clock::wall_ms() / 1000 + TOKEN_SECONDS.min(longest);
        let mint = |person: &Person| {
            let mut claims = person.claims.clone();
            claims.insert("exp".to_owned(), expires.into());
            crate::auth::sign(&claims, &self.rules, &self.auth)
        };
        let tokens = self.people.iter().map(mint).collect::<Result<_, _>>();
        tokens.context("cannot mint the demo's tokens")
    }

    /// The answer to `GET /demo/people.json`.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(people_json(&self.people, &self.tokens()?))
    }

    /// For a person at a terminal: standard output, beside the log.
    pub(super) fn print(&self, address: SocketAddr) -> anyhow::Result<()> {
        let tokens = self.tokens()?;
        let mut text = format!("\n  Fleetcast demo: http://{address}/\n\n");
        for (Person { name, title, .. }, token) in self.people.iter().zip(&tokens) {
            text.extend(["  ", name, ", ", title, "\n    ", token, "\n"]);
        }
        let program = program();
        let brokers = &self.brokers;
        text.extend([
            "\n  Kafka: ",
            brokers,
            "   try: ",
            &program,
            " produce -b ",
            brokers,
            " -t incident --value \\\n    '",
            SAMPLE,
            "'\n  Tokens of your own: set JWT_SECRET, for the demo and for ",
            &program,
            " token mint\n\n",
        ]);
        // The output may be closed.
        drop(std::io::stdout().write_all(text.as_bytes()));
        Ok(())
    }
}

/// This program as it was started, for a shell: it need not be on the PATH.
fn program() -> String {
    let started = std::env::args_os().next().unwrap_or_default();
    quoted(&started.to_string_lossy())
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if word.is_empty() {
        "fleetcast".to_owned()
    } else if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_can_be_pasted_into_a_shell() {
        for (word, expected) in [
            ("target/debug/fleetcast", "target/debug/fleetcast"),
            ("", "fleetcast"),
            ("/my files/fleetcast", "'/my files/fleetcast'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
