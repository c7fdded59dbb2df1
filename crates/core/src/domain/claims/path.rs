//! Where claims are found: issuers put the same thing in different places.

use std::fmt;

use serde_json::{Map, Value};

use super::ClaimsError;

/// The longest way to a claim, in bytes: names may be URLs.
const MAX_PATH: usize = 256;
/// Of one claim.
const MAX_ALTERNATIVES: usize = 8;

/// Where each claim is that an issuer may name as it likes. The default is what the contract says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPaths {
    pub user: Alternatives,
    pub organisation: Alternatives,
    pub roles: Alternatives,
    pub name: Alternatives,
}

/// Where one claim may be: in the first of these that is there. Those behind it that are there too must say the same: the issuer may let
/// users write one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternatives(Vec<ClaimPath>);

/// Where a claim is: `sub`, or `realm_access.roles`, which is inside another. A name with `://` is one name, and so is one in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    steps: Vec<String>,
}

/// The text does not say where a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("no claim is named")]
    Nothing,
    #[error(
        "a name is empty: a dot leads from one name into the next, and a name with dots of its own stands in quotes"
    )]
    EmptyName,
    #[error("quotes stand around a whole name, and nowhere else")]
    Quote,
    #[error("it is longer than 256 bytes")]
    TooLong,
    #[error("there are more than 8 alternatives")]
    TooMany,
}

impl ClaimPath {
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let text = text.trim();
        if text.len() > MAX_PATH {
            return Err(InvalidPath::TooLong);
        }
        let steps: Vec<String> = if let Some(rest) = text.strip_prefix('"') {
            let name = rest.strip_suffix('"').ok_or(InvalidPath::Quote)?;
            vec![name.to_owned()]
        } else if text.contains("://") {
            vec![text.to_owned()]
        } else {
            text.split('.').map(str::to_owned).collect()
        };
        if steps.iter().any(String::is_empty) {
            return Err(InvalidPath::EmptyName);
        }
        if steps.iter().any(|name| name.contains('"')) {
            return Err(InvalidPath::Quote);
        }
        Ok(Self { steps })
    }

    /// `None`: it is not there, or `null`.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, inner) = self.steps.split_first()?;
        let found = inner.iter().try_fold(claims.get(first)?, |outer, step| {
            outer.as_object()?.get(step)
        });
        found.filter(|value| !value.is_null())
    }

    /// Writes a value there.
    pub fn put(&self, claims: &mut Map<String, Value>, value: Value) {
        let Some((last, outer)) = self.steps.split_last() else {
            return;
        };
        let mut inside = claims;
        for step in outer {
            let next = inside
                .entry(step.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            let Value::Object(next) = next else { return };
            inside = next;
        }
        inside.insert(last.clone(), value);
    }

    /// Why its text may be the user's own, as far as names tell.
    pub fn written_by_users(&self) -> Option<&'static str> {
        /// Of the issuers whose settings docs/tokens.md shows.
        const NAMES: [&str; 10] = [
            "user_metadata",
            "raw_user_meta_data",
            "preferred_username",
            "unique_name",
            "username",
            "upn",
            "nickname",
            "given_name",
            "family_name",
            "name",
        ];
        let of_cognito = |step: &String| step.starts_with("custom:");
        if self.steps.iter().any(of_cognito) {
            Some(
                "users of Cognito may write their custom: attributes unless the app client forbids it",
            )
        } else if self.steps.iter().any(|step| NAMES.contains(&step.as_str())) {
            Some("many issuers let users write it")
        } else if self.steps.last().is_some_and(|last| last == "email") {
            Some("name it only if the issuer verifies addresses before it puts them into tokens")
        } else {
            None
        }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.as_slice() {
            [name] if name.contains('.') && !name.contains("://") => {
                write!(formatter, "\"{name}\"")
            }
            steps => formatter.write_str(&steps.join(".")),
        }
    }
}

impl Alternatives {
    /// Separated by commas.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let mut quoted = false;
        let parts = text.split(|letter| {
            quoted ^= letter == '"';
            letter == ',' && !quoted
        });
        let parts = parts.filter(|part| !part.trim().is_empty());
        let paths = parts.map(ClaimPath::parse).collect::<Result<Vec<_>, _>>()?;
        match paths.len() {
            0 => Err(InvalidPath::Nothing),
            1..=MAX_ALTERNATIVES => Ok(Self(paths)),
            _ => Err(InvalidPath::TooMany),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &ClaimPath> {
        self.0.iter()
    }

    /// Writes a value where it is looked for first.
    pub fn put(&self, claims: &mut Map<String, Value>, value: Value) {
        if let Some(first) = self.0.first() {
            first.put(claims, value);
        }
    }

    /// What is missing if none is there.
    pub(super) fn first(&self) -> String {
        self.0.first().map(ClaimPath::to_string).unwrap_or_default()
    }

    /// What the claim says, by `read`, with the place where it was found.
    pub(super) fn read<T: PartialEq>(
        &self,
        claims: &Map<String, Value>,
        read: impl Fn(&ClaimPath, &Value) -> Result<T, ClaimsError>,
    ) -> Result<Option<T>, ClaimsError> {
        let mut said: Option<(&ClaimPath, T)> = None;
        for path in &self.0 {
            let Some(value) = path.find(claims) else {
                continue;
            };
            let value = read(path, value)?;
            match &said {
                Some((first, other)) if *other != value => {
                    return Err(ClaimsError::Conflict(first.to_string(), path.to_string()));
                }
                Some(_) => {}
                None => said = Some((path, value)),
            }
        }
        Ok(said.map(|(_, value)| value))
    }
}

impl Default for ClaimPaths {
    fn default() -> Self {
        let names = |names: &[&str]| {
            let path = |name: &&str| ClaimPath {
                steps: vec![(*name).to_owned()],
            };
            Alternatives(names.iter().map(path).collect())
        };
        Self {
            user: names(&["sub"]),
            organisation: names(&["organization_id", "org_id"]),
            roles: names(&["roles", "role"]),
            name: names(&["name"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dots_lead_inside_unless_the_name_is_a_url_or_quoted() {
        let claims = json!({
            "sub": "u1",
            "realm_access": {"roles": ["nested"]},
            "realm_access.roles": ["literal"],
            "https://acme.example/roles": ["url"],
            "a": {"b": {"c": 7}},
            "flat": "text",
            "nothing": null,
        });
        let claims = claims.as_object().expect("an object");
        for (path, found) in [
            ("sub", Some(json!("u1"))),
            (" sub ", Some(json!("u1"))),
            ("realm_access.roles", Some(json!(["nested"]))),
            ("\"realm_access.roles\"", Some(json!(["literal"]))),
            ("https://acme.example/roles", Some(json!(["url"]))),
            ("\"https://acme.example/roles\"", Some(json!(["url"]))),
            ("a.b.c", Some(json!(7))),
            ("a.b.c.d", None),
            ("flat.roles", None),
            ("nothing", None),
            ("absent", None),
        ] {
            let parsed = ClaimPath::parse(path).expect(path);
            assert_eq!(parsed.find(claims), found.as_ref(), "{path}");
            assert_eq!(ClaimPath::parse(&parsed.to_string()), Ok(parsed), "{path}");
        }
        for (path, why) in [
            ("", InvalidPath::EmptyName),
            (".", InvalidPath::EmptyName),
            ("a..b", InvalidPath::EmptyName),
            ("\"\"", InvalidPath::EmptyName),
            ("\"a", InvalidPath::Quote),
            ("\"a\".b", InvalidPath::Quote),
            ("a.\"b.c\"", InvalidPath::Quote),
            ("a\"b", InvalidPath::Quote),
            ("https://x/\"y", InvalidPath::Quote),
            (&"x".repeat(257), InvalidPath::TooLong),
        ] {
            assert_eq!(ClaimPath::parse(path), Err(why), "{path}");
        }
    }

    #[test]
    fn what_is_put_somewhere_is_found_there() {
        let mut claims = Map::new();
        for (path, value) in [
            ("a.b.c", 1),
            ("a.b.d", 2),
            ("\"a.b\"", 3),
            ("https://x.example/y", 4),
            ("a.b.c.e", 5),
        ] {
            let path = ClaimPath::parse(path).expect(path);
            path.put(&mut claims, json!(value));
            assert_eq!(path.find(&claims), Some(&json!(value)), "{path}");
        }
        let nested = json!({"b": {"c": {"e": 5}, "d": 2}});
        assert_eq!(
            Value::Object(claims),
            json!({"a": nested, "a.b": 3, "https://x.example/y": 4})
        );
    }

    #[test]
    fn alternatives_are_separated_by_commas_outside_quotes() {
        let parsed = |text: &str| {
            let alternatives = Alternatives::parse(text)?;
            Ok(alternatives
                .iter()
                .map(ClaimPath::to_string)
                .collect::<Vec<_>>())
        };
        let names = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(parsed("a, b.c ,\"d.e\""), names(&["a", "b.c", "\"d.e\""]));
        assert_eq!(parsed("\"a,b\","), names(&["a,b"]));
        assert_eq!(parsed(" , "), Err(InvalidPath::Nothing));
        assert_eq!(parsed("a,b,c,d,e,f,g,h,i"), Err(InvalidPath::TooMany));
    }

    #[test]
    fn h3_names_that_users_write_are_known() {
        for (path, known) in [
            ("user_metadata.org", true),
            ("custom:organization", true),
            ("preferred_username", true),
            ("email", true),
            ("app_metadata.org", false),
            ("sub", false),
            ("cognito:groups", false),
            ("https://acme.example/roles", false),
        ] {
            let path = ClaimPath::parse(path).expect(path);
            assert_eq!(path.written_by_users().is_some(), known, "{path}");
        }
    }
}
