//! What the settings say of tokens: what is checked, and where keys come from. And whether that can be used, before the start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret, SecretString};

use super::files::{KeyFile, KeyFormat};
use super::keys::{Allowed, Key};

/// What a token must be to be accepted.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    pub keys: KeySources,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub leeway: Duration,
    /// Longest accepted time from issue to expiry.
    pub max_lifetime: Option<Duration>,
    pub allow_query_token: bool,
}

/// All sources count together. At least one is there.
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

impl KeySources {
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
