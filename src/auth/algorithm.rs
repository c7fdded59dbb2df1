//! Names of signature algorithms in tokens, key sets and settings. Pure.

use jsonwebtoken::Algorithm;

/// RFC 9864 names the curve as well: `Ed25519` is what `EdDSA` means here, since no other curve of it is supported.
const NEWER: [(&str, Algorithm); 1] = [("Ed25519", Algorithm::EdDSA)];

/// By its exact name, as in tokens and key sets. `none` is not one of them.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    let newer = NEWER.iter().find(|(newer, _)| *newer == name);
    newer
        .map(|(_, algorithm)| *algorithm)
        .or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ed25519_is_eddsa_and_names_are_exact() {
        for (name, expected) in [
            ("EdDSA", Some(Algorithm::EdDSA)),
            ("Ed25519", Some(Algorithm::EdDSA)),
            ("ES256", Some(Algorithm::ES256)),
            ("Ed448", None),
            ("ed25519", None),
            ("ED25519", None),
            ("ESP256", None),
            ("ES256K", None),
            ("ES512", None),
            ("none", None),
            ("", None),
        ] {
            assert_eq!(algorithm(name), expected, "{name}");
        }
    }
}
