//! What instances send each other by Redis is signed, because other programs may write to Redis, too.

use std::fmt;

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

/// What a key is derived for: the text that tokens are signed with signs nothing else.
const LABEL: &[u8] = b"fleetcast: what instances send each other by Redis, 1";

pub(super) const SIGNATURE_BYTES: usize = 32;

/// The first one signs; each verifies, so that instances understand each other while a secret is changed.
#[derive(Clone)]
pub struct BusKeys(Vec<hmac::Key>);

impl BusKeys {
    /// `None`: there is no secret.
    pub fn of(secrets: &[SecretString]) -> Option<Self> {
        let derived = |secret: &SecretString| {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
            let derived = hmac::sign(&secret, LABEL);
            hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
        };
        let keys: Vec<_> = secrets.iter().map(derived).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE_BYTES] {
        let tag = tag(&self.0[0], parts);
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    pub(super) fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        let verifies = |key: &hmac::Key| {
            let expected = tag(key, parts);
            let equal =
                aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), signature);
            equal.is_ok()
        };
        self.0.iter().any(verifies)
    }
}

/// Each part behind its length, so that no two lists of parts look alike.
fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

/// Not the keys.
impl fmt::Debug for BusKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> BusKeys {
        let secrets: Vec<_> = (secrets.iter())
            .map(|text| SecretString::from(*text))
            .collect();
        BusKeys::of(&secrets).unwrap()
    }

    #[test]
    fn a_rotation_of_the_secret_does_not_split_the_instances() {
        let (old, both, new) = (keys(&["a"]), keys(&["b", "a"]), keys(&["b"]));
        let parts: &[&[u8]] = &[b"channel", b"message"];
        assert!(both.verify(parts, &old.sign(parts)));
        assert!(new.verify(parts, &both.sign(parts)));
        assert!(!old.verify(parts, &both.sign(parts)));
        assert!(!new.verify(parts, &old.sign(parts)));
        assert!(BusKeys::of(&[]).is_none());
        assert_eq!(format!("{both:?}"), "2 keys");
    }

    #[test]
    fn where_a_part_ends_is_signed_too() {
        let keys = keys(&["a"]);
        let signature = keys.sign(&[b"ab", b"c"]);
        assert!(keys.verify(&[b"ab", b"c"], &signature));
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""]] {
            assert!(!keys.verify(other, &signature), "{other:?}");
        }
        assert!(!keys.verify(&[b"ab", b"c"], &signature[..31]));
        assert!(!keys.verify(&[b"ab", b"c"], b""));
    }
}
