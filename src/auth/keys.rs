//! Which key may check which token. Pure: a token's header names an algorithm and perhaps a key, and neither is believed
//! further than the keys themselves allow.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// What the operator allows (`JWT_ALGORITHMS`): narrows what a key could do, and never widens it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allowed(pub(super) Option<Vec<Algorithm>>);

impl Allowed {
    /// Of what a key can do, what it may; `by_default` holds where nothing is configured.
    fn narrow(&self, can: &[Algorithm], by_default: &[Algorithm]) -> Vec<Algorithm> {
        let Some(configured) = &self.0 else {
            return by_default.to_vec();
        };
        let both = can.iter().filter(|one| configured.contains(one));
        both.copied().collect()
    }

    /// The algorithms that keys of these families may come with.
    pub(super) fn of_families(&self, families: &[AlgorithmFamily]) -> Vec<Algorithm> {
        let can: Vec<Algorithm> = families
            .iter()
            .flat_map(|family| family.algorithms().iter().copied())
            .collect();
        self.narrow(&can, &can)
    }
}

/// A key and the algorithms that it may be used with: a token does not choose.
pub(super) struct Key {
    /// What tokens call it.
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) verifying: DecodingKey,
}

impl Key {
    /// A shared secret. Without an algorithm of its own it is for HS256, and for the longer hashes only where they are
    /// configured and the secret is as long as the hash (RFC 7518, 3.2). `None`: it may be used for nothing.
    pub(super) fn secret(
        kid: Option<String>,
        secret: &[u8],
        own: Option<Algorithm>,
        allowed: &Allowed,
    ) -> Option<Self> {
        let can: Vec<Algorithm> = [
            (Algorithm::HS256, 32),
            (Algorithm::HS384, 48),
            (Algorithm::HS512, 64),
        ]
        .into_iter()
        .filter(|(algorithm, bytes)| {
            secret.len() >= *bytes && own.is_none_or(|own| own == *algorithm)
        })
        .map(|(algorithm, _)| algorithm)
        .collect();
        let by_default = &can[..can.len().min(1)];
        let algorithms = allowed.narrow(&can, by_default);
        Self::of(kid, algorithms, DecodingKey::from_secret(secret))
    }

    /// A public key that can do `can`. `None`: it may be used for nothing.
    pub(super) fn public(
        kid: Option<String>,
        can: &[Algorithm],
        verifying: DecodingKey,
        allowed: &Allowed,
    ) -> Option<Self> {
        Self::of(kid, allowed.narrow(can, can), verifying)
    }

    fn of(kid: Option<String>, algorithms: Vec<Algorithm>, verifying: DecodingKey) -> Option<Self> {
        (!algorithms.is_empty()).then_some(Self {
            kid,
            algorithms,
            verifying,
        })
    }

    pub(super) fn first_algorithm(&self) -> Option<Algorithm> {
        self.algorithms.first().copied()
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// All keys that are known now, from every source.
#[derive(Default)]
pub(super) struct KeySet(pub(super) Vec<Arc<Key>>);

/// The keys that may have signed a token.
pub(super) enum Selection<'a> {
    /// The token names these, so no other key counts. Several, if a key set uses one `kid` twice.
    Named(Vec<&'a Key>),
    /// The named keys are not for this algorithm.
    WrongAlgorithm,
    /// To be tried in turn: the token names none, or none that is known, and these have no name.
    Unnamed(Vec<&'a Key>),
}

impl KeySet {
    pub(super) fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Selection<'_> {
        let named: Vec<&Key> = self
            .iter()
            .filter(|key| kid.is_some() && key.kid.as_deref() == kid)
            .collect();
        if named.is_empty() {
            let unnamed = self.iter().filter(|key| kid.is_none() || key.kid.is_none());
            return Selection::Unnamed(unnamed.filter(|key| key.fits(algorithm)).collect());
        }
        let fitting: Vec<&Key> = named
            .into_iter()
            .filter(|key| key.fits(algorithm))
            .collect();
        if fitting.is_empty() {
            Selection::WrongAlgorithm
        } else {
            Selection::Named(fitting)
        }
    }

    /// Is there any key, whatever its name, for this algorithm?
    pub(super) fn can(&self, algorithm: Algorithm) -> bool {
        self.iter().any(|key| key.fits(algorithm))
    }

    fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{ES256, HS256, HS384, HS512, RS256, RS512};

    fn allowed(list: &[Algorithm]) -> Allowed {
        Allowed(Some(list.to_vec()))
    }

    fn secret(kid: Option<&str>) -> Arc<Key> {
        let kid = kid.map(str::to_owned);
        Arc::new(Key::secret(kid, &[7; 64], None, &Allowed::default()).unwrap())
    }

    fn rsa(kid: Option<&str>) -> Arc<Key> {
        let (kid, verifying) = (
            kid.map(str::to_owned),
            DecodingKey::from_rsa_raw_components(&[1; 256], &[1, 0, 1]),
        );
        let can = AlgorithmFamily::Rsa.algorithms();
        Arc::new(Key::public(kid, can, verifying, &Allowed::default()).unwrap())
    }

    #[test]
    fn a_secret_is_for_hs256_unless_more_is_configured_and_it_is_long_enough() {
        for (bytes, own, configured, expected) in [
            (64, None, Allowed::default(), vec![HS256]),
            (31, None, Allowed::default(), vec![]),
            (64, None, allowed(&[HS512, RS256]), vec![HS512]),
            (63, None, allowed(&[HS512]), vec![]),
            (64, None, allowed(&[RS256]), vec![]),
            (48, Some(HS384), Allowed::default(), vec![HS384]),
            (32, Some(HS384), Allowed::default(), vec![]),
            (64, Some(HS384), allowed(&[HS256]), vec![]),
            (64, Some(RS256), Allowed::default(), vec![]),
        ] {
            let key = Key::secret(None, &vec![7; bytes], own, &configured);
            let algorithms = key.map(|key| key.algorithms).unwrap_or_default();
            assert_eq!(algorithms, expected, "{bytes} {own:?} {configured:?}");
        }
    }

    #[test]
    fn a_token_gets_only_the_keys_that_it_may_be_checked_with() {
        let set = KeySet(vec![
            secret(None),
            rsa(Some("a")),
            rsa(Some("twice")),
            rsa(Some("twice")),
            secret(Some("s")),
            rsa(None),
        ]);
        for (algorithm, kid, expected) in [
            (RS256, Some("a"), "named 1"),
            (RS512, Some("a"), "named 1"),
            (RS256, Some("twice"), "named 2"),
            // The secret of an RSA key's name, or the reverse: algorithm confusion.
            (HS256, Some("a"), "wrong"),
            (RS256, Some("s"), "wrong"),
            (ES256, Some("a"), "wrong"),
            (HS384, Some("s"), "wrong"),
            (RS256, None, "unnamed 4"),
            (HS256, None, "unnamed 2"),
            (HS256, Some("unknown"), "unnamed 1"),
            (RS256, Some("unknown"), "unnamed 1"),
            (RS256, Some(""), "unnamed 1"),
            (ES256, None, "unnamed 0"),
        ] {
            let selection = match set.select(algorithm, kid) {
                Selection::Named(keys) => format!("named {}", keys.len()),
                Selection::WrongAlgorithm => "wrong".to_owned(),
                Selection::Unnamed(keys) => format!("unnamed {}", keys.len()),
            };
            assert_eq!(selection, expected, "{algorithm:?} {kid:?}");
        }
    }
}
