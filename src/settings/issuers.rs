//! `[[jwt.issuers]]`: issuers beside the one that the variables describe. Only a file can list them.

use std::collections::{BTreeMap, BTreeSet};

use fleetcast_core::domain::claims::{Alternatives, ClaimPaths};
use fleetcast_core::domain::id::Id;

use super::addresses;
use super::file::FileLine;
use super::report::SettingProblem;
use super::values::{self, ValueKind as Kind, Wrong, list};
use crate::auth::{self, IssuerSettings, JwksSource, KeySources};

/// The key of the list.
pub(super) const ISSUERS: &str = "jwt.issuers";

/// More than that is a mistake.
const MOST: usize = 32;

/// What may stand in one, and what it means.
pub const FIELDS: [IssuerField; 8] = [
    IssuerField::new(
        "issuer",
        Kind::TEXT,
        "Required. What `iss` must be; each issuer has another one.",
    ),
    IssuerField::new(
        "jwks",
        Kind::JWKS,
        "Required. File or URL of its keys, as `JWT_JWKS`.",
    ),
    IssuerField::new(
        "audience",
        Kind::AUDIENCES,
        "As `JWT_AUDIENCE`, which holds where it is missing. One of the two is required with a URL.",
    ),
    IssuerField::new(
        "organizations",
        Kind::LIST,
        "The organisations that its tokens may name. Without it all of them, which needs `JWT_SHARED_USERS=true`, because the ids of two issuers' users may be the same.",
    ),
    IssuerField::new(
        "claim_user",
        Kind::CLAIM,
        "As `JWT_CLAIM_USER`, which holds where it is missing.",
    ),
    IssuerField::new(
        "claim_organization",
        Kind::CLAIM,
        "As `JWT_CLAIM_ORGANIZATION`, likewise.",
    ),
    IssuerField::new(
        "claim_roles",
        Kind::CLAIM,
        "As `JWT_CLAIM_ROLES`, likewise.",
    ),
    IssuerField::new("claim_name", Kind::CLAIM, "As `JWT_CLAIM_NAME`, likewise."),
];

#[derive(Debug, Clone, Copy)]
pub struct IssuerField {
    pub name: &'static str,
    pub kind: Kind,
    pub meaning: &'static str,
}

impl IssuerField {
    const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self {
            name,
            kind,
            meaning,
        }
    }
}

/// One entry as it is written.
#[derive(Debug, Clone)]
pub(super) struct IssuerText {
    pub(super) line: FileLine,
    pub(super) fields: BTreeMap<&'static str, (String, FileLine)>,
    /// Some of it could not be read, so nothing can be said about what is missing.
    pub(super) broken: bool,
}

/// All of them, with everything that is wrong. What an entry does not say holds as for `own`, the issuer of the variables.
pub(super) fn read(
    entries: &[IssuerText],
    own: &IssuerSettings,
    shared_users: bool,
) -> (Vec<IssuerSettings>, Vec<SettingProblem>) {
    let mut problems = Vec::new();
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    if let Some(entry) = entries.get(MOST) {
        let why = format!("there are more than {MOST} issuers");
        problems.push(SettingProblem::at(&entry.line, &why));
    }
    for entry in entries.iter().take(MOST) {
        let mut reader = EntryReader {
            entry,
            problems: Vec::new(),
        };
        let issuer = reader.issuer(own);
        let before = std::iter::once(own).filter(|own| !own.keys.is_empty());
        for other in before.chain(&issuers) {
            if let Some(why) = disagreement(&issuer, other, shared_users) {
                reader.complain(&entry.line, &why);
            }
        }
        problems.append(&mut reader.problems);
        issuers.push(issuer);
    }
    (issuers, problems)
}

/// Why two issuers cannot stand beside each other.
fn disagreement(
    issuer: &IssuerSettings,
    other: &IssuerSettings,
    shared_users: bool,
) -> Option<String> {
    let name = issuer.issuer.as_deref()?;
    let Some(other_name) = other.issuer.as_deref() else {
        return Some(
            "JWT_ISSUER is required beside it: iss decides whose keys verify a token".to_owned(),
        );
    };
    if name == other_name {
        return Some(format!("issuer {name:?} is described twice"));
    }
    let apart = match (&issuer.organisations, &other.organisations) {
        (Some(own), Some(others)) => own.is_disjoint(others),
        _ => false,
    };
    (!apart && !shared_users).then(|| {
        format!("{name} and {other_name} may both speak for the same organisation, where their users' ids could be the same: give each its organizations, or set JWT_SHARED_USERS=true if they name the same people by the same ids")
    })
}

struct EntryReader<'a> {
    entry: &'a IssuerText,
    problems: Vec<SettingProblem>,
}

impl EntryReader<'_> {
    fn issuer(&mut self, own: &IssuerSettings) -> IssuerSettings {
        let paths = &own.paths;
        let issuer = self.required("issuer", |text| match text {
            "" => Err("expected a name".to_owned()),
            text => Ok(text.to_owned()),
        });
        let jwks = self.required("jwks", addresses::jwks);
        let audiences = self
            .field("audience", values::audiences)
            .unwrap_or_else(|| own.audiences.clone());
        if audiences.is_empty() && matches!(jwks, Some(JwksSource::Url(_))) && !self.entry.broken {
            let why = format!(
                "{ISSUERS} needs an audience: other applications of this issuer have tokens of the same keys"
            );
            self.complain(&self.entry.line.clone(), &why);
        }
        let keys = KeySources {
            jwks,
            algorithms: own.keys.algorithms.clone(),
            ..KeySources::default()
        };
        if self.problems.is_empty() && !self.entry.broken {
            for (_, why) in auth::check_keys(&keys) {
                self.wrong("jwks", &why);
            }
        }
        IssuerSettings {
            issuer,
            audiences,
            keys,
            organisations: self.field("organizations", organisations),
            paths: ClaimPaths {
                user: self
                    .claim("claim_user")
                    .unwrap_or_else(|| paths.user.clone()),
                organisation: (self.claim("claim_organization"))
                    .unwrap_or_else(|| paths.organisation.clone()),
                roles: self
                    .claim("claim_roles")
                    .unwrap_or_else(|| paths.roles.clone()),
                name: self
                    .claim("claim_name")
                    .unwrap_or_else(|| paths.name.clone()),
            },
        }
    }

    fn claim(&mut self, name: &'static str) -> Option<Alternatives> {
        self.field(name, values::claim)
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.entry.fields.contains_key(name) && !self.entry.broken {
            let why = format!("{ISSUERS} needs {name}");
            self.complain(&self.entry.line.clone(), &why);
        }
        self.field(name, parse)
    }

    fn field<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (text, _) = self.entry.fields.get(name)?;
        let value = parse(text);
        if let Err(why) = &value {
            self.wrong(name, why);
        }
        value.ok()
    }

    fn wrong(&mut self, name: &str, why: &str) {
        if let Some((text, line)) = self.entry.fields.get(name) {
            let field = FIELDS.iter().find(|field| field.name == name);
            let text = field.map_or(String::new(), |field| field.kind.masked(text));
            let why = format!("cannot use {ISSUERS}.{name}={text:?}: {why}");
            self.problems.push(SettingProblem::at(line, &why));
        }
    }

    fn complain(&mut self, line: &FileLine, why: &str) {
        self.problems.push(SettingProblem::at(line, why));
    }
}

pub(super) fn organisations(text: &str) -> Result<BTreeSet<Id>, Wrong> {
    let ids = list(text).map(|text| Id::parse(text).map_err(|rule| format!("{text:?}: {rule}")));
    let ids: BTreeSet<Id> = ids.collect::<Result<_, _>>()?;
    if ids.is_empty() {
        return Err("expected at least one organisation".to_owned());
    }
    Ok(ids)
}
