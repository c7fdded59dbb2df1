//! Key files: what stands in them, and whether it has changed. A file is read as a whole each time, because a modification
//! time says nothing about a mounted secret that was swapped.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::jwks::{self, KeyOrigin};
use super::keys::{Allowed, Key};
use super::pem;
use super::secret::{self, jwt_secret};

/// The largest key file or answer of a key server, in bytes.
pub(super) const MAX_DOCUMENT: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFormat {
    /// One HS256 secret on each line.
    Secrets,
    Pem,
    Jwks,
}

/// Where keys stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) format: KeyFormat,
}

impl KeyFile {
    /// The setting that names it.
    pub(super) fn variable(&self) -> &'static str {
        match self.format {
            KeyFormat::Secrets => "JWT_SECRET_FILE",
            KeyFormat::Pem => "JWT_PUBLIC_KEY_FILE",
            KeyFormat::Jwks => "JWT_JWKS",
        }
    }

    /// Blocks for as long as the disk takes.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut content = Vec::new();
            let limit = MAX_DOCUMENT as u64 + 1;
            File::open(&self.path)?
                .take(limit)
                .read_to_end(&mut content)?;
            Ok(content)
        };
        let content = read().map_err(|error| format!("it cannot be read: {error}"))?;
        if content.len() > MAX_DOCUMENT {
            return Err(format!("it is longer than {MAX_DOCUMENT} bytes"));
        }
        Ok(content)
    }

    /// The keys in what was read. The reasons quote nothing of it.
    pub(super) fn parse(&self, content: &[u8], allowed: &Allowed) -> Result<Vec<Key>, String> {
        match self.format {
            KeyFormat::Secrets => secrets(content)?
                .into_iter()
                .map(|secret| {
                    Key::secret(None, secret.as_bytes(), None, allowed)
                        .ok_or_else(|| "a secret in it fits none of JWT_ALGORITHMS".to_owned())
                })
                .collect(),
            KeyFormat::Pem => pem::parse(content, allowed),
            KeyFormat::Jwks => jwks::parse(content, allowed, KeyOrigin::Private),
        }
    }
}

/// The secrets in a file of them, the one to sign with first.
pub(super) fn secrets(content: &[u8]) -> Result<Vec<&str>, String> {
    // Files that were joined have a byte order mark in the middle.
    let lines = secret::text(content)?.lines();
    let lines: Vec<&str> = lines
        .map(|line| secret::without_mark(line.trim_ascii()).trim_ascii())
        .filter(|line| !line.is_empty())
        .collect();
    for (line, number) in lines.iter().zip(1..) {
        jwt_secret(line).map_err(|why| format!("secret {number}: {why}"))?;
    }
    if lines.is_empty() {
        return Err("it is empty: one secret on each line".to_owned());
    }
    Ok(lines)
}
