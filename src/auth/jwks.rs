//! From a JWKS document (RFC 7517) to keys. Pure. One entry that cannot be used does not spoil the others: key sets hold
//! encryption keys and key types that are unknown here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast_core::domain::json;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::algorithm::algorithm;
use super::keys::{Allowed, Key};
use super::secret;

/// A key set with more entries is refused: a token without `kid` is tried with each.
const MAX_KEYS: usize = 100;

/// RSA keys outside of this are not accepted by the library that checks signatures, in bytes.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Whether the document is public, and so what it may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyOrigin {
    /// A file of this machine: shared secrets (`oct`) are welcome.
    Private,
    /// A URL: a secret there is none.
    Public,
}

/// The keys that can be used. An error if there is none: a key server with a fault must not invalidate every token.
pub(super) fn parse(text: &[u8], allowed: &Allowed, reach: KeyOrigin) -> Result<Vec<Key>, String> {
    let no_jwks = |why: &str| format!("it is not a JWKS, a JSON object with a list `keys`{why}");
    let text = secret::text(text).map_err(|why| no_jwks(&format!(": {why}")))?;
    let mut document = json::parse(text).map_err(|_| no_jwks(""))?;
    let Some(Value::Array(entries)) = document.get_mut("keys").map(Value::take) else {
        return Err(no_jwks(""));
    };
    if entries.len() > MAX_KEYS {
        return Err(format!(
            "it has {} keys, at most {MAX_KEYS} are accepted",
            entries.len()
        ));
    }
    let (mut keys, mut reasons) = (Vec::new(), Vec::new());
    for entry in entries {
        match read(entry).and_then(|jwk| key(&jwk, allowed, reach)) {
            Ok(key) => keys.push(key),
            Err(why) => reasons.push(why),
        }
    }
    if keys.is_empty() {
        reasons.sort_unstable();
        reasons.dedup();
        return Err(match reasons.as_slice() {
            [] => "it has no keys".to_owned(),
            reasons => format!("none of its keys can be used: {}", reasons.join("; ")),
        });
    }
    Ok(keys)
}

/// Curves that there are, though not all of them are supported.
const CURVES: [&str; 4] = ["P-256", "P-384", "P-521", "Ed25519"];

/// As the library reads an entry, which knows neither the newer names of algorithms nor other curves.
fn read(mut entry: Value) -> Result<Jwk, &'static str> {
    let members = entry.as_object_mut().ok_or("it is not an object")?;
    members.retain(|_, value| !value.is_null());
    let named = members.get("alg").and_then(Value::as_str);
    if let Some(algorithm) = named.and_then(algorithm) {
        members.insert("alg".to_owned(), format!("{algorithm:?}").into());
    }
    let curve = members.get("crv").and_then(Value::as_str);
    if curve.is_some_and(|curve| !CURVES.contains(&curve)) {
        return Err("its curve is not supported (crv)");
    }
    serde_json::from_value(entry).map_err(|_| "a field is missing or wrong")
}

/// The key, or why it is of no use here.
pub(super) fn key(jwk: &Jwk, allowed: &Allowed, reach: KeyOrigin) -> Result<Key, &'static str> {
    let common = &jwk.common;
    if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err("it is not for signatures (use)");
    }
    if let Some(operations) = &common.key_operations
        && !operations.contains(&KeyOperations::Verify)
    {
        return Err("it is not for verifying (key_ops)");
    }
    let own = match common.key_algorithm.map(Algorithm::try_from) {
        None => None,
        Some(Ok(algorithm)) => Some(algorithm),
        Some(Err(_)) => return Err("its algorithm is not supported (alg)"),
    };
    let kid = common.key_id.clone();
    let not_allowed = "it fits no accepted algorithm";
    let can: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(octets) => {
            if reach == KeyOrigin::Public {
                return Err("a secret (oct) is not accepted from a URL");
            }
            let secret = decoded(&octets.value)?;
            return Key::secret(kid, &secret, own, allowed).ok_or(not_allowed);
        }
        AlgorithmParameters::RSA(rsa) => {
            let modulus = decoded(&rsa.n)?;
            let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
            if !RSA_MODULUS.contains(&bytes) || decoded(&rsa.e)?.is_empty() {
                return Err("an RSA key needs 2048 to 8192 bits");
            }
            AlgorithmFamily::Rsa.algorithms()
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (bytes, can): (usize, &[Algorithm]) = match point.curve {
                EllipticCurve::P256 => (32, &[Algorithm::ES256]),
                EllipticCurve::P384 => (48, &[Algorithm::ES384]),
                _ => return Err("its curve is not supported (crv)"),
            };
            if decoded(&point.x)?.len() != bytes || decoded(&point.y)?.len() != bytes {
                return Err("its point does not fit its curve");
            }
            can
        }
        AlgorithmParameters::OctetKeyPair(point) => {
            if point.curve != EllipticCurve::Ed25519 || decoded(&point.x)?.len() != 32 {
                return Err("its curve is not supported (crv)");
            }
            &[Algorithm::EdDSA]
        }
        _ => return Err("its type is not supported (kty)"),
    };
    let verifying = DecodingKey::from_jwk(jwk).map_err(|_| "it cannot be read")?;
    match own {
        None => Key::public(kid, can, verifying, allowed),
        Some(own) if can.contains(&own) => Key::public(kid, &[own], verifying, allowed),
        Some(_) => return Err("its algorithm is for another type of key (alg)"),
    }
    .ok_or(not_allowed)
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "a part of it is not base64url")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn octets(count: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![5; count])
    }

    fn parsed(keys: &Value, allowed: &Allowed, reach: KeyOrigin) -> Result<usize, String> {
        let text = json!({ "keys": keys }).to_string();
        parse(text.as_bytes(), allowed, reach).map(|keys| keys.len())
    }

    fn rsa(more: &Value) -> Value {
        let mut key = json!({"kty": "RSA", "n": octets(256), "e": "AQAB"});
        let (Some(key_map), Some(more)) = (key.as_object_mut(), more.as_object()) else {
            panic!("both are objects");
        };
        key_map.extend(more.clone());
        key
    }

    #[test]
    fn each_entry_is_judged_by_itself() {
        let (good, bad) = (Ok(1), "");
        for (key, expected) in [
            (rsa(&json!({})), good),
            (
                rsa(&json!({"use": "sig", "alg": "RS256", "kid": "1"})),
                good,
            ),
            (rsa(&json!({"alg": "PS512", "key_ops": ["verify"]})), good),
            (rsa(&json!({"use": "enc"})), Err("(use)")),
            (rsa(&json!({"key_ops": ["encrypt"]})), Err("(key_ops)")),
            (rsa(&json!({"alg": "RSA-OAEP"})), Err("(alg)")),
            (rsa(&json!({"alg": "HS256"})), Err("(alg)")),
            (rsa(&json!({"alg": "ES256"})), Err("(alg)")),
            (rsa(&json!({"n": octets(128)})), Err("2048")),
            (rsa(&json!({"n": "*"})), Err("base64url")),
            (rsa(&json!({"kid": 7})), Err("missing or wrong")),
            (json!({"kty": "RSA", "e": "AQAB"}), Err(bad)),
            (
                json!({"kty": "EC", "crv": "P-256", "x": octets(32), "y": octets(32)}),
                good,
            ),
            (
                json!({"kty": "EC", "crv": "P-256", "alg": "ES384", "x": octets(32), "y": octets(32)}),
                Err("(alg)"),
            ),
            (
                json!({"kty": "EC", "crv": "P-384", "x": octets(32), "y": octets(32)}),
                Err("its curve"),
            ),
            (
                json!({"kty": "EC", "crv": "P-384", "x": octets(48), "y": octets(48)}),
                good,
            ),
            (
                json!({"kty": "EC", "crv": "P-521", "x": octets(66), "y": octets(66)}),
                Err("(crv)"),
            ),
            (
                json!({"kty": "EC", "crv": "secp256k1", "x": octets(32), "y": octets(32)}),
                Err(bad),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": octets(32)}),
                good,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": octets(31)}),
                Err("(crv)"),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "x": octets(32)}),
                good,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": octets(32)}),
                good,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "Ed448", "x": octets(32)}),
                Err("(alg)"),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "ES256", "x": octets(32)}),
                Err("(alg)"),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed448", "alg": "Ed448", "x": octets(57)}),
                Err("(crv)"),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed448", "alg": "EdDSA", "x": octets(57)}),
                Err("(crv)"),
            ),
            (rsa(&json!({"alg": "Ed25519"})), Err("(alg)")),
            (
                json!({"kty": "EC", "crv": "P-256", "alg": "Ed25519", "x": octets(32), "y": octets(32)}),
                Err("(alg)"),
            ),
            (
                json!({"kty": "oct", "k": octets(64), "alg": "Ed25519"}),
                Err("no accepted algorithm"),
            ),
            (
                rsa(
                    &json!({"use": null, "alg": null, "kid": null, "key_ops": null, "x5t": null, "x5c": null}),
                ),
                good,
            ),
            (rsa(&json!({"n": null})), Err(bad)),
            (rsa(&json!({"kty": null})), Err(bad)),
            (rsa(&json!({"use": 7})), Err(bad)),
            (
                json!({"kty": "OKP", "crv": "X25519", "x": octets(32)}),
                Err("(crv)"),
            ),
            (
                json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
                Err("("),
            ),
            (json!({"kty": "oct", "k": octets(32)}), good),
            (
                json!({"kty": "oct", "k": octets(16)}),
                Err("no accepted algorithm"),
            ),
            (
                json!({"kty": "oct", "k": octets(64), "alg": "RS256"}),
                Err("no accepted algorithm"),
            ),
            (json!("text"), Err(bad)),
            (json!(null), Err(bad)),
        ] {
            let alone = parsed(&json!([key]), &Allowed::default(), KeyOrigin::Private);
            match (&alone, expected) {
                (Ok(1), Ok(1)) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{key}: {why}"),
                _ => panic!("{key}: {alone:?}"),
            }
            let count = if alone.is_ok() { 2 } else { 1 };
            let beside = json!([key, rsa(&json!({}))]);
            assert_eq!(
                parsed(&beside, &Allowed::default(), KeyOrigin::Private),
                Ok(count)
            );
        }
    }

    #[test]
    fn a_url_gives_no_secrets_and_the_allow_list_holds() {
        let keys = json!([{"kty": "oct", "k": octets(64)}]);
        let refused = parsed(&keys, &Allowed::default(), KeyOrigin::Public).unwrap_err();
        assert!(refused.contains("from a URL"), "{refused}");
        let only = Allowed(Some(vec![Algorithm::ES256]));
        let refused = parsed(&json!([rsa(&json!({}))]), &only, KeyOrigin::Public).unwrap_err();
        assert!(refused.contains("no accepted algorithm"), "{refused}");
    }

    #[test]
    fn a_byte_order_mark_and_odd_text_beside_the_keys_do_no_harm() {
        let key = rsa(&json!({}));
        for text in [
            format!("\u{FEFF}{{\"keys\":[{key}]}}"),
            format!("\r\n{{\"keys\":[{key}]}}\r\n"),
            format!(r#"{{"note":"\ud800","big":1e400,"keys":[{key}]}}"#),
        ] {
            let keys = parse(text.as_bytes(), &Allowed::default(), KeyOrigin::Public);
            assert_eq!(keys.map(|keys| keys.len()), Ok(1), "{text}");
        }
        let utf_16: Vec<u8> = format!("{{\"keys\":[{key}]}}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let Err(why) = parse(&utf_16, &Allowed::default(), KeyOrigin::Public) else {
            panic!("UTF-16 is not read");
        };
        assert!(why.contains("UTF-16"), "{why}");
    }

    #[test]
    fn an_invalid_jwks_is_rejected_as_a_whole() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            r#"{"keys":[]}"#,
        ] {
            assert!(parse(text.as_bytes(), &Allowed::default(), KeyOrigin::Private).is_err());
        }
        let many = vec![rsa(&json!({})); MAX_KEYS + 1];
        let refused = parsed(&json!(many), &Allowed::default(), KeyOrigin::Private).unwrap_err();
        assert!(refused.contains("at most 100"), "{refused}");
    }
}
