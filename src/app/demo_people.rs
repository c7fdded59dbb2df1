//! Tokens for the people of the demo: for its page and for clients, and on the terminal.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::auth::{Grant, mint};
use crate::clock;
use crate::demo::Demo;
use crate::demo::people::{Person, people_json};
use crate::settings::AuthSettings;

/// A working day. Clients ask for a new token at each connect, so only pasted tokens end with it.
const TOKEN_SECONDS: u64 = 12 * 3600;

/// A record that all of the first organisation see.
const SAMPLE: &str = r#"{"event_type":"incident_created","organization_id":"metro","data":{"incident_id":"mine","title":"Hello"}}"#;

pub(super) struct DemoPeople {
    people: Vec<Person>,
    auth: AuthSettings,
    /// Where records can be sent to.
    brokers: String,
    /// What tokens can be signed with outside of this process.
    secret_file: Option<PathBuf>,
}

impl DemoPeople {
    /// Fails if tokens cannot be signed with these settings.
    pub(super) fn new(
        demo: &Demo,
        auth: &AuthSettings,
        secret_file: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let people = Self {
            people: demo.people.clone(),
            auth: auth.clone(),
            brokers: demo.bootstrap.clone(),
            secret_file,
        };
        people.tokens()?;
        Ok(people)
    }

    fn tokens(&self) -> anyhow::Result<Vec<String>> {
        tokens(&self.people, &self.auth)
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
            "'\n  Tokens of your own: ",
            &mint_command(&program, self.secret_file.as_deref()),
            "\n\n",
        ]);
        // The output may be closed.
        drop(std::io::stdout().write_all(text.as_bytes()));
        Ok(())
    }
}

/// A fresh token for each of the people, in their order. Its claims are where the settings look for them.
fn tokens(people: &[Person], auth: &AuthSettings) -> anyhow::Result<Vec<String>> {
    let longest = auth
        .max_lifetime
        .map_or(u64::MAX, |longest| longest.as_secs());
    let now = clock::wall_ms() / 1000;
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let of_one = |person: &Person| {
        let ids = person.ids.iter();
        let grant = Grant {
            user: person.user.to_owned(),
            organisation: person.organisation.to_owned(),
            roles: vec![person.role.to_owned()],
            name: Some(person.name.to_owned()),
            ids: ids
                .map(|(claim, ids)| ((*claim).to_owned(), texts(ids)))
                .collect(),
            scopes: Vec::new(),
        };
        mint(auth, &grant, now, TOKEN_SECONDS.min(longest))
    };
    let tokens = people.iter().map(of_one).collect::<Result<_, _>>();
    tokens.context("cannot mint the demo's tokens")
}

/// How another token that the demo accepts is made.
fn mint_command(program: &str, secret_file: Option<&Path>) -> String {
    match secret_file {
        Some(file) => format!(
            "JWT_SECRET_FILE={} \\\n    {program} token mint --sub u1 --org metro --role dispatcher",
            quoted(&file.to_string_lossy())
        ),
        None => format!("set JWT_SECRET, for the demo and for {program} token mint"),
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
    use std::collections::BTreeMap;

    use fleetcast_core::domain::id::UserId;

    use super::*;
    use crate::auth::Verifier;
    use crate::demo::people::people;
    use crate::settings::{Profile, Settings};

    /// Whatever claims the settings name, the tokens have them, and the server accepts them.
    #[tokio::test]
    async fn tokens_say_who_it_is_where_the_settings_look_for_it() {
        let secret = ("JWT_SECRET", "fleetcast-tests-only-3kYbqzT0pW9sVn5x");
        for more in [
            &[][..],
            &[
                ("JWT_CLAIM_USER", "email"),
                ("JWT_CLAIM_ORGANIZATION", "tenant.id,org_id"),
                ("JWT_CLAIM_ROLES", "https://acme.example/roles"),
                ("JWT_CLAIM_NAME", "profile.name"),
                ("JWT_ISSUER", "https://sso.acme.example/"),
                ("JWT_AUDIENCE", "fleetcast"),
                ("JWT_MAX_LIFETIME", "1h"),
            ],
        ] {
            let environment = more.iter().chain([&secret]);
            let environment: BTreeMap<String, String> = environment
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect();
            let settings = Settings::auth_from_map(&environment).expect("good settings");
            let verifier = Verifier::open(&settings).expect("a good secret");
            let profile = Profile::builtin("dispatch", "", 1024).expect("a profile");
            verifier.set_claim_rules(profile.claim_rules());
            let tokens = tokens(&people(), &settings).expect("tokens");
            assert_eq!(tokens.len(), people().len());
            for (person, token) in people().iter().zip(&tokens) {
                let now = clock::wall_ms() / 1000;
                let claims = verifier.verify_given(Some(token), now).await;
                let claims = claims.expect("it is accepted");
                assert_eq!(claims.user, UserId::parse(person.user).unwrap());
                assert_eq!(claims.organisation.as_str(), person.organisation);
                assert!(claims.roles.iter().eq([person.role]));
            }
        }
    }

    #[test]
    fn tokens_are_made_with_the_secret_that_the_demo_keeps() {
        let made = mint_command("fleetcast", Some(Path::new("/my home/secret")));
        assert_eq!(
            made,
            "JWT_SECRET_FILE='/my home/secret' \\\n    fleetcast token mint --sub u1 --org metro --role dispatcher"
        );
        let unknown = mint_command("fleetcast", None);
        assert!(unknown.starts_with("set JWT_SECRET, "), "{unknown}");
    }

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
