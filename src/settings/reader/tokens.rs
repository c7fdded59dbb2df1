//! Whose tokens are accepted, by which keys, and where their claims are.

use std::path::PathBuf;
use std::time::Duration;

use fleetcast_core::domain::claims::ClaimPaths;
use secrecy::SecretString;

use super::super::{AuthSettings, addresses, issuers, values};
use super::SettingsReader;
use crate::auth::{self, IssuerSettings, JwksSource, KeySources};

/// One of them gives the keys of tokens.
const KEY_SOURCES: [&str; 5] = [
    "JWT_SECRET",
    "JWT_SECRET_FILE",
    "JWT_PUBLIC_KEY_FILE",
    "JWT_JWKS",
    issuers::ISSUERS,
];

impl SettingsReader {
    pub(in crate::settings) fn auth(&mut self) -> AuthSettings {
        let leeway = |text: &str| match values::duration(text)? {
            leeway if leeway <= Duration::from_mins(5) => Ok(leeway),
            _ => Err("must be at most 300 s".to_owned()),
        };
        let own = self.own_issuer();
        let shared_users = self.value("JWT_SHARED_USERS", values::boolean);
        let (others, problems) = issuers::read(&self.input.issuers, &own, shared_users);
        self.input.problems.extend(problems);
        for paths in std::iter::once(&own)
            .chain(&others)
            .map(|issuer| &issuer.paths)
        {
            self.warn_of_users(paths);
        }
        AuthSettings {
            own,
            others,
            shared_users,
            leeway: self.value("JWT_LEEWAY", leeway),
            max_lifetime: self
                .optional("JWT_MAX_LIFETIME", values::duration)
                .filter(|longest| !longest.is_zero()),
            allow_query_token: self.value("ALLOW_QUERY_TOKEN", values::boolean),
        }
    }

    fn own_issuer(&mut self) -> IssuerSettings {
        let own = IssuerSettings {
            keys: self.keys(),
            issuer: self.text("JWT_ISSUER"),
            audiences: (self.optional("JWT_AUDIENCE", values::audiences)).unwrap_or_default(),
            organisations: self.optional("JWT_ORGANIZATIONS", issuers::organisations),
            paths: ClaimPaths {
                user: self.value("JWT_CLAIM_USER", values::claim),
                organisation: self.value("JWT_CLAIM_ORGANIZATION", values::claim),
                roles: self.value("JWT_CLAIM_ROLES", values::claim),
                name: self.value("JWT_CLAIM_NAME", values::claim),
            },
        };
        if own.keys.is_empty() && own.issuer.is_some() && !self.input.issuers.is_empty() {
            let why = "there are no keys of this issuer beside [[jwt.issuers]]";
            self.input.wrong("JWT_ISSUER", why);
        }
        if matches!(own.keys.jwks, Some(JwksSource::Url(_))) {
            for (name, is_set) in [
                ("JWT_ISSUER", own.issuer.is_some()),
                ("JWT_AUDIENCE", !own.audiences.is_empty()),
            ] {
                let problem = format!(
                    "{name} is required where JWT_JWKS is a URL: others have tokens that the same keys have signed"
                );
                self.ensure(is_set || self.input.mistyped.contains(&name), problem);
            }
        }
        own
    }

    /// Of claims that decide which user it is.
    fn warn_of_users(&mut self, paths: &ClaimPaths) {
        for (name, alternatives) in [
            ("JWT_CLAIM_USER", &paths.user),
            ("JWT_CLAIM_ORGANIZATION", &paths.organisation),
            ("JWT_CLAIM_ROLES", &paths.roles),
        ] {
            for path in alternatives.iter() {
                if let Some(why) = path.written_by_users() {
                    let warning = format!("{path} may be what its user wrote: {why}");
                    self.input.warn(name, &warning);
                }
            }
        }
    }

    /// Files are read here, so that a bad one stops the start; a key server is not asked, because it may be away.
    fn keys(&mut self) -> KeySources {
        let problems_before = self.input.problems.len();
        let secret = |text: &str| auth::jwt_secret(text).map(|()| SecretString::from(text));
        let sources = KeySources {
            secrets: ["JWT_SECRET", "JWT_SECRET_PREVIOUS"]
                .into_iter()
                .filter_map(|name| self.optional(name, secret))
                .collect(),
            secret_file: self.text("JWT_SECRET_FILE").map(PathBuf::from),
            public_key_files: self
                .optional("JWT_PUBLIC_KEY_FILE", values::paths)
                .unwrap_or_default(),
            jwks: self.optional("JWT_JWKS", addresses::jwks),
            algorithms: self.optional("JWT_ALGORITHMS", values::algorithms),
        };
        if self.input.problems.len() > problems_before {
            return sources;
        }
        if KEY_SOURCES
            .iter()
            .any(|name| self.input.mistyped.contains(name))
        {
            return sources;
        }
        if sources.is_empty() {
            if !self.input.issuers.is_empty() {
                return sources;
            }
            let problem = "JWT_SECRET is required (an HS256 secret of at least 32 bytes, the same as in the service that issues the tokens; `openssl rand -base64 48` makes one), or one of JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE and JWT_JWKS";
            self.input.problem(problem.to_owned());
            return sources;
        }
        for (name, why) in auth::check_keys(&sources) {
            self.input.wrong(name, &why);
        }
        sources
    }
}
