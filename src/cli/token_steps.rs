//! What each claim of a token is taken for, for `token inspect`.

use std::fmt::Write;

use fleetcast_core::domain::claims::{Alternatives, ClaimRules};
use serde_json::{Map, Value};

use super::plain;
use crate::settings::AuthSettings;

/// Who the issuer is, and which claim gives what, in the order in which they are looked at.
pub(super) fn steps(
    text: &mut String,
    settings: &AuthSettings,
    rules: &ClaimRules,
    claims: &Map<String, Value>,
) -> anyhow::Result<()> {
    let named = claims.get("iss").and_then(Value::as_str);
    let Some(issuer) = settings.issuer_of(named) else {
        let named = named.map_or_else(|| "none".to_owned(), |name| format!("{name:?}"));
        writeln!(
            text,
            "issuer: {}, and no settings are for it",
            plain(&named)
        )?;
        return Ok(());
    };
    let name = issuer.issuer.as_deref().unwrap_or("any");
    let audiences = match issuer.audiences.as_slice() {
        [] => "any".to_owned(),
        audiences => audiences.join(" or "),
    };
    writeln!(text, "rules: issuer {name}, audience {audiences}")?;
    let paths = &issuer.paths;
    let roles = &paths.roles;
    for (what, alternatives, decides) in [
        ("user", &paths.user, true),
        ("organisation", &paths.organisation, true),
        ("roles", roles, true),
        ("name", &paths.name, false),
    ] {
        writeln!(text, "  {what}: {}", said(alternatives, claims))?;
        let written = alternatives.iter().filter(|_| decides);
        for path in written.filter(|path| path.find(claims).is_some()) {
            if let Some(why) = path.written_by_users() {
                writeln!(
                    text,
                    "    careful: {path} may be what its user wrote: {why}"
                )?;
            }
        }
    }
    if let Some(default) = rules.default_organisation.as_ref() {
        writeln!(
            text,
            "  a token without an organisation is of {default}, says the profile"
        )?;
    }
    let given = roles.iter().filter_map(|path| path.find(claims));
    let given: Vec<&str> = given.flat_map(texts).collect();
    for (theirs, own) in &rules.renamed {
        if given.contains(&theirs.as_str()) {
            writeln!(
                text,
                "  role {} is {} here, says the profile",
                plain(theirs),
                plain(own)
            )?;
        }
    }
    Ok(())
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// `org_id is not there, tenant says "o1"`.
fn said(alternatives: &Alternatives, claims: &Map<String, Value>) -> String {
    let each = alternatives.iter().map(|path| match path.find(claims) {
        None => format!("{path} is not there"),
        Some(value) => format!("{path} says {}", plain(&value.to_string())),
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::{Profile, Settings};
    use std::collections::BTreeMap;

    #[test]
    fn each_claim_is_shown_with_what_it_is_taken_for() {
        let environment = [
            ("JWT_SECRET", "fleetcast-tests-only-3kYbqzT0pW9sVn5x"),
            ("JWT_ISSUER", "https://sso.example"),
            ("JWT_AUDIENCE", "a,b"),
            ("JWT_CLAIM_USER", "email"),
            ("JWT_CLAIM_ORGANIZATION", "org,user_metadata.org"),
            ("JWT_CLAIM_ROLES", "realm_access.roles"),
        ];
        let environment: BTreeMap<String, String> = environment
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        let settings = Settings::auth_from_map(&environment).expect("good settings");
        let rules = ClaimRules {
            renamed: [("realm-dispatcher".to_owned(), "dispatcher".to_owned())].into(),
            ..Profile::builtin("dispatch", "", 1024)
                .expect("a profile")
                .claim_rules()
        };
        let claims = json!({
            "iss": "https://sso.example", "email": "ann@acme.example", "user_metadata": {"org": "acme"},
            "realm_access": {"roles": ["realm-dispatcher", "x\u{1b}[2J"]},
        });
        let mut text = String::new();
        steps(
            &mut text,
            &settings,
            &rules,
            claims.as_object().expect("object"),
        )
        .expect("text");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "rules: issuer https://sso.example, audience a or b",
                "  user: email says \"ann@acme.example\"",
                "    careful: email may be what its user wrote: name it only if the issuer verifies addresses before it puts them into tokens",
                "  organisation: org is not there, user_metadata.org says \"acme\"",
                "    careful: user_metadata.org may be what its user wrote: many issuers let users write it",
                "  roles: realm_access.roles says [\"realm-dispatcher\",\"x\\u001b[2J\"]",
                "  name: name is not there",
                "  role realm-dispatcher is dispatcher here, says the profile",
            ]
        );
    }
}
