//! `token mint` and `token inspect`: for trying things out, and for finding out why a token is rejected.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, Read};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast_core::domain::claims::{ClaimRules, Claims, FIXED_CLAIMS, NumericDate};
use fleetcast_core::domain::client_json;
use serde_json::{Map, Value};

use super::token_steps::steps;
use super::{Exit, bad_configuration, plain, print};
use crate::auth::{Grant, MAX_TOKEN, Verifier, mint};
use crate::clock;
use crate::settings::{AuthSettings, Settings, values};

#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, signed with JWT_SECRET (or the first secret of JWT_SECRET_FILE)
    ///
    /// Prints the token and nothing else. JWT_ISSUER and JWT_AUDIENCE are put in if they are set. Roles of the dispatch profile:
    /// admin, supervisor, dispatcher (every room of their organisation), field_unit (the ids given here), viewer (incidents).
    #[command(after_help = "Example:
  fleetcast token mint --sub u1 --org o1 --role field_unit --channels 1,2")]
    Mint(Box<Mint>),
    /// Verify a token and explain it: claims, times, and why it is rejected
    ///
    /// Checks with the same settings as the server would. Exit code 0 if the token is accepted, 1 if not.
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
pub(super) struct Mint {
    /// User: 1 to 128 characters, none of them a control character
    #[arg(long, value_name = "USER")]
    sub: String,
    /// Organisation: 1 to 64 characters of A-Z, a-z, 0-9, _ and -
    #[arg(long, value_name = "ORGANISATION")]
    org: String,
    /// A role; may be given more than once
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Channels that a scoped role may join
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    channels: Vec<String>,
    /// Assets that a scoped role may join
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    assets: Vec<String>,
    /// Incidents that a scoped role may join
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    incidents: Vec<String>,
    /// Ids in a claim that the profile names, such as projects=1,2; may be given more than once
    #[arg(long, value_name = "CLAIM=ID,ID", value_parser = claim_ids)]
    ids: Vec<(String, Vec<String>)>,
    /// A scope, such as publish; may be given more than once
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// How long it is valid: 30m, 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = whole_seconds)]
    expires_in: Duration,
}

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The token; without it (or with -) it is read from standard input, which keeps it out of the shell's history
    token: Option<String>,
}

pub(super) fn run(
    command: TokenCommand,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Mint(arguments) => match Settings::auth_from_map(environment) {
            Ok(settings) => run_mint(&settings, *arguments),
            Err(problems) => Ok(bad_configuration(&problems)),
        },
        TokenCommand::Inspect(arguments) => match Settings::token_rules_from_map(environment) {
            Ok((settings, rules)) => run_inspect(&settings, &rules, arguments),
            Err(problems) => Ok(bad_configuration(&problems)),
        },
    }
}

fn run_mint(settings: &AuthSettings, arguments: Mint) -> anyhow::Result<Exit> {
    let listed = [
        ("channels", arguments.channels),
        ("assets", arguments.assets),
        ("incidents", arguments.incidents),
    ]
    .map(|(claim, ids)| (claim.to_owned(), ids));
    let grant = Grant {
        user: arguments.sub,
        organisation: arguments.org,
        roles: arguments.role,
        name: arguments.name,
        ids: listed
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .chain(arguments.ids)
            .collect::<BTreeMap<_, _>>(),
        scopes: arguments.scope,
    };
    let token = mint(settings, &grant, now(), arguments.expires_in.as_secs())
        .context("no server would accept such a token")?;
    print(&format!("{token}\n"))?;
    Ok(Exit::Clean)
}

fn run_inspect(
    settings: &AuthSettings,
    rules: &ClaimRules,
    arguments: Inspect,
) -> anyhow::Result<Exit> {
    let token = match arguments.token {
        Some(token) if token != "-" => token,
        _ => from_standard_input()?,
    };
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let now = now();
    let verifier = Verifier::open(settings)?;
    verifier.set_claim_rules(rules.clone());
    // There is nothing else to do while it answers.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(verifier.ask_key_server(token))?;
    let verdict = verifier.verify_now(token, now);
    let mut text = String::new();
    // Without them the verdict alone says enough.
    if let Some((header, claims)) = unverified(token) {
        describe(&mut text, &header, &claims, now)?;
        steps(&mut text, settings, rules, &claims)?;
    }
    match &verdict {
        Ok(claims) => accepted(&mut text, claims)?,
        Err(rejected) => writeln!(text, "rejected: {rejected}")?,
    }
    print(&text)?;
    Ok(if verdict.is_ok() {
        Exit::Clean
    } else {
        Exit::Failed
    })
}

/// `exp` counts seconds: less than one would make a token that has expired already.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    if duration < Duration::from_secs(1) {
        return Err("must be at least 1 s: the token would have expired already".to_owned());
    }
    Ok(duration)
}

/// `projects=1,2`
fn claim_ids(text: &str) -> Result<(String, Vec<String>), String> {
    let (claim, ids) = text.split_once('=').ok_or("expected CLAIM=ID,ID")?;
    if FIXED_CLAIMS.contains(&claim) {
        return Err(format!("{claim} has another meaning: it lists no ids"));
    }
    let ids = ids.split(',').filter(|id| !id.is_empty());
    Ok((claim.to_owned(), ids.map(str::to_owned).collect()))
}

fn from_standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    // One byte more than is looked at, so that a token that is too long is rejected as that.
    let limit = u64::try_from(MAX_TOKEN + 1)?;
    io::stdin()
        .take(limit)
        .read_to_string(&mut text)
        .context("cannot read the token from standard input")?;
    if text.trim().is_empty() {
        bail!("there is no token: give it as an argument or on standard input");
    }
    Ok(text)
}

/// Header and claims as they stand there, unverified: for people, never for a decision.
fn unverified(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        // As the server reads it.
        match client_json::parse(std::str::from_utf8(&bytes).ok()?) {
            Some(Value::Object(object)) => Some(object),
            Some(_) | None => None,
        }
    });
    Some((parts.next()??, parts.next()??))
}

fn describe(
    text: &mut String,
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    now: u64,
) -> anyhow::Result<()> {
    writeln!(text, "header: {}", plain(&serde_json::to_string(header)?))?;
    writeln!(text, "claims:")?;
    for (name, value) in claims {
        let time = matches!(name.as_str(), "exp" | "nbf" | "iat");
        let relative = NumericDate::from_json(value).map(NumericDate::floor);
        let relative = relative.filter(|_| time);
        let note = relative.map_or(String::new(), |at| format!("   ({})", relative_to(at, now)));
        let (name, value) = (plain(name), plain(&value.to_string()));
        writeln!(text, "  {name}: {value}{note}")?;
    }
    Ok(())
}

fn accepted(text: &mut String, claims: &Claims) -> anyhow::Result<()> {
    let roles: Vec<&str> = claims.roles.iter().map(String::as_str).collect();
    let roles = match roles.as_slice() {
        [] => "no role".to_owned(),
        roles => plain(&roles.join(", ")),
    };
    writeln!(
        text,
        "accepted: user {} of organisation {}, {roles}",
        plain(claims.user.as_str()),
        claims.organisation
    )?;
    Ok(())
}

/// `in 59 min`, `3 days ago`.
fn relative_to(at: u64, now: u64) -> String {
    let apart = at.abs_diff(now);
    let amount = match apart {
        0..120 => format!("{apart} s"),
        120..7_200 => format!("{} min", apart / 60),
        7_200..172_800 => format!("{} h", apart / 3_600),
        _ => format!("{} days", apart / 86_400),
    };
    if at >= now {
        format!("in {amount}")
    } else {
        format!("{amount} ago")
    }
}

fn now() -> u64 {
    clock::wall_ms() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_by_claim_and_fixed_claims_have_none() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        for (text, expected) in [
            ("projects=1,p2", Some(("projects", ids(&["1", "p2"])))),
            ("projects=", Some(("projects", ids(&[])))),
            ("projects", None),
            ("exp=1", None),
        ] {
            let expected = expected.map(|(claim, ids)| (claim.to_owned(), ids));
            assert_eq!(claim_ids(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_valid_for_a_second_at_least() {
        for (text, expected) in [
            ("0", None),
            ("0h", None),
            ("999ms", None),
            ("soon", None),
            ("1s", Some(1)),
            ("1h", Some(3600)),
        ] {
            let seconds = whole_seconds(text).ok().map(|duration| duration.as_secs());
            assert_eq!(seconds, expected, "{text}");
        }
    }

    #[test]
    fn claims_are_shown_however_deep_another_one_is_nested() {
        let deep = ["[".repeat(500), "]".repeat(500)].concat();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = part(&format!("{{\"sub\":\"u1\",\"deep\":{deep}}}"));
        let token = format!("{}.{claims}.x", part("{\"alg\":\"HS256\"}"));
        let (header, claims) = unverified(&token).expect("header and claims");
        assert_eq!(
            (&header["alg"], &claims["sub"]),
            (&"HS256".into(), &"u1".into())
        );
        assert!(unverified(&format!("{}.{}.x", part("[]"), part("{}"))).is_none());
    }

    #[test]
    fn times_are_shown_in_words() {
        for (at, words) in [
            (1_000_000, "in 0 s"),
            (1_000_060, "in 60 s"),
            (1_003_600, "in 60 min"),
            (990_000, "2 h ago"),
            (0, "11 days ago"),
        ] {
            assert_eq!(relative_to(at, 1_000_000), words);
        }
    }
}
