//! From PEM blocks to public keys. Pure. Each block is read into a JWK first, so that both forms obey the same rules.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;

use super::jwks::{self, KeyOrigin};
use super::keys::{Allowed, Key};
use super::secret;

type PemReader = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

const BEGIN: &str = "-----BEGIN ";

/// Every key of a file. Unlike a JWKS, a file was written for this server: anything in it that cannot be used is a mistake.
pub(super) fn parse(text: &[u8], allowed: &Allowed) -> Result<Vec<Key>, String> {
    let text = secret::text(text).map_err(|why| format!("it is not a PEM file: {why}"))?;
    let mut keys = Vec::new();
    for (block, number) in blocks(text).zip(1..) {
        let key = key(block, allowed).map_err(|why| format!("block {number}: {why}"))?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err("it is not a PEM file: it has no `-----BEGIN PUBLIC KEY-----`".to_owned());
    }
    Ok(keys)
}

/// From each BEGIN line up to the next.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends: Vec<usize> = starts.iter().copied().skip(1).chain([text.len()]).collect();
    starts
        .into_iter()
        .zip(ends)
        .map(|(start, end)| &text[start..end])
}

fn key(block: &str, allowed: &Allowed) -> Result<Key, String> {
    let label = block[BEGIN.len()..].split("-----").next().unwrap_or("");
    let pem = block.as_bytes();
    let readers: &[PemReader] = match label {
        "PUBLIC KEY" | "CERTIFICATE" => &[
            DecodingKey::from_rsa_pem,
            DecodingKey::from_ec_pem,
            DecodingKey::from_ed_pem,
        ],
        "RSA PUBLIC KEY" => &[DecodingKey::from_rsa_pem],
        label if label.ends_with("PRIVATE KEY") => {
            return Err(
                "it is a private key, which belongs to the issuer alone: give its public key"
                    .to_owned(),
            );
        }
        _ => return Err("it is neither a public key nor a certificate".to_owned()),
    };
    let jwk = readers
        .iter()
        .filter_map(|read| read(pem).ok())
        .find_map(|key| Jwk::from_decoding_key(&key, None).ok())
        .ok_or("it cannot be read as an RSA, EC or Ed25519 key")?;
    jwks::key(&jwk, allowed, KeyOrigin::Private).map_err(str::to_owned)
}
