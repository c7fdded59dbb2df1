//! What the settings say of tokens: what is checked, and where keys come from. And whether that can be used, before the start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use fleetcast_core::domain::claims::ClaimPaths;
use fleetcast_core::domain::id::Id;
use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret, SecretString};

use super::files::{KeyFile, KeyFormat};
use super::keys::{Allowed, Key};

/// What a token must be to be accepted.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// That of the variables. May have no keys where others are listed.
    pub own: IssuerSettings,
    /// `[[jwt.issuers]]`.
    pub others: Vec<IssuerSettings>,
    /// All issuers name the same people, and the same tokens, by the same ids.
    pub shared_users: bool,
    pub leeway: Duration,
    /// Longest accepted time from issue to expiry.
    pub max_lifetime: Option<Duration>,
    pub allow_query_token: bool,
}

/// Whose tokens are accepted, and what they say.
#[derive(Debug, Clone, Default)]
pub struct IssuerSettings {
    /// What `iss` must be. Only a single issuer may go without.
    pub issuer: Option<String>,
    /// One of them must be in `aud`. Empty: it is not looked at.
    pub audiences: Vec<String>,
    pub keys: KeySources,
    /// `None`: it may speak for any.
    pub organisations: Option<BTreeSet<Id>>,
    pub paths: ClaimPaths,
}

/// All sources count together.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// `JWT_SECRET`, which new tokens are signed with, and `JWT_SECRET_PREVIOUS`.
    pub secrets: Vec<SecretString>,
    /// One secret on each line.
    pub secret_file: Option<PathBuf>,
    /// PEM, each with one key or several.
    pub public_key_files: Vec<PathBuf>,
    pub jwks: Option<JwksSource>,
    /// Narrows what the keys could do.
    pub algorithms: Option<Vec<Algorithm>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    /// `https`, or `http` on loopback.
    Url(String),
}

impl AuthSettings {
    /// Those that have keys.
    pub fn issuers(&self) -> impl Iterator<Item = &IssuerSettings> {
        let all = std::iter::once(&self.own).chain(&self.others);
        all.filter(|issuer| !issuer.keys.is_empty())
    }

    /// Whose rules hold for a token that names this issuer: the only one there is, or that of this name.
    pub fn issuer_of(&self, named: Option<&str>) -> Option<&IssuerSettings> {
        let mut all = self.issuers();
        if self.issuers().count() == 1 {
            all.next()
        } else {
            all.find(|issuer| named.is_some() && issuer.issuer.as_deref() == named)
        }
    }
}

impl KeySources {
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
            && self.secret_file.is_none()
            && self.public_key_files.is_empty()
            && self.jwks.is_none()
    }

    pub(super) fn files(&self) -> Vec<KeyFile> {
        let file = |format| {
            move |path: &PathBuf| KeyFile {
                path: path.clone(),
                format,
            }
        };
        let jwks = match &self.jwks {
            Some(JwksSource::File(path)) => Some(path),
            Some(JwksSource::Url(_)) | None => None,
        };
        let secrets = self.secret_file.iter().map(file(KeyFormat::Secrets));
        let pem = self.public_key_files.iter().map(file(KeyFormat::Pem));
        secrets
            .chain(pem)
            .chain(jwks.into_iter().map(file(KeyFormat::Jwks)))
            .collect()
    }

    pub(super) fn url(&self) -> Option<&str> {
        match &self.jwks {
            Some(JwksSource::Url(url)) => Some(url),
            Some(JwksSource::File(_)) | None => None,
        }
    }
}

/// What is wrong with the sources that are at hand, each with the variable that names it.
pub fn check(sources: &KeySources) -> Vec<(&'static str, String)> {
    let allowed = Allowed(sources.algorithms.clone());
    let mut problems = Vec::new();
    let mut usable = sources.url().is_some();
    for file in sources.files() {
        match file
            .read()
            .and_then(|content| file.parse(&content, &allowed))
        {
            Ok(keys) => usable |= !keys.is_empty(),
            Err(why) => problems.push((file.variable(), format!("{}: {why}", file.path.display()))),
        }
    }
    usable |= sources.secrets.iter().any(|secret| {
        Key::secret(None, secret.expose_secret().as_bytes(), None, &allowed).is_some()
    });
    if !usable && problems.is_empty() {
        let why = "it leaves no algorithm that any of the keys can be used with";
        problems.push(("JWT_ALGORITHMS", why.to_owned()));
    }
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}
