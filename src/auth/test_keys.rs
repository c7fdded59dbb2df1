//! Key pairs for tests, made when they are needed: no private key lies in the repository.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// An issuer of tokens.
pub(crate) struct Issuer {
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
    /// SPKI in PEM.
    pub(super) public_pem: String,
    pub(super) private_pem: String,
}

impl Issuer {
    pub(crate) fn rsa(size: KeySize) -> Self {
        let pair = RsaPair::generate(size).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private_pem = pem("PRIVATE KEY", private.as_ref());
        let key = EncodingKey::from_rsa_pem(private_pem.as_bytes()).unwrap();
        Self::new(Algorithm::RS256, key, public.as_ref(), private_pem)
    }

    pub(super) fn ec() -> Self {
        let random = SystemRandom::new();
        let private =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = EncodingKey::from_ec_der(private.as_ref());
        let private_pem = pem("PRIVATE KEY", private.as_ref());
        Self::new(Algorithm::ES256, key, public.as_ref(), private_pem)
    }

    pub(super) fn ec384() -> Self {
        let random = SystemRandom::new();
        let private =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = EncodingKey::from_ec_der(private.as_ref());
        let private_pem = pem("PRIVATE KEY", private.as_ref());
        Self::new(Algorithm::ES384, key, public.as_ref(), private_pem)
    }

    pub(super) fn ed() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = EncodingKey::from_ed_der(private.as_ref());
        let private_pem = pem("PRIVATE KEY", private.as_ref());
        Self::new(Algorithm::EdDSA, key, public.as_ref(), private_pem)
    }

    fn new(algorithm: Algorithm, key: EncodingKey, public: &[u8], private_pem: String) -> Self {
        Self {
            algorithm,
            key,
            public_pem: pem("PUBLIC KEY", public),
            private_pem,
        }
    }

    /// The public key as an entry of a JWKS.
    pub(crate) fn jwk(&self, kid: Option<&str>) -> Value {
        let decoding = [
            jsonwebtoken::DecodingKey::from_rsa_pem,
            jsonwebtoken::DecodingKey::from_ec_pem,
            jsonwebtoken::DecodingKey::from_ed_pem,
        ]
        .into_iter()
        .find_map(|read| read(self.public_pem.as_bytes()).ok())
        .unwrap();
        let mut jwk = Jwk::from_decoding_key(&decoding, None).unwrap();
        jwk.common.key_id = kid.map(str::to_owned);
        serde_json::to_value(jwk).unwrap()
    }

    pub(crate) fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        self.token_with(self.algorithm, kid, claims)
    }

    pub(super) fn token_with(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        claims: &Value,
    ) -> String {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        self.token_by(&header, claims)
    }

    pub(super) fn token_by(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }

    /// Signed by this issuer's algorithm, whatever the header says.
    pub(super) fn token_named(&self, alg: &str, kid: Option<&str>, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": alg, "kid": kid });
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.unwrap())
    }
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
