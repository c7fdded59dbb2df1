//! Tokens as an issuer makes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast::clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";

/// Of these claims, for an hour.
pub(crate) fn token(mut claims: Value) -> String {
    claims["exp"] = json!(clock::wall_ms() / 1000 + 3600);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// Of this payload as it stands, also what no library for JSON would write.
pub(crate) fn raw_token(payload: &str) -> String {
    let [header, payload] =
        [r#"{"alg":"HS256","typ":"JWT"}"#, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{payload}");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// May join every room of the organisation.
pub(crate) fn dispatcher(user: &str, organisation: &str) -> String {
    token(json!({ "sub": user, "organization_id": organisation, "roles": ["dispatcher"] }))
}

/// `auth` of a dispatcher who wants these rooms.
pub(crate) fn auth(user: &str, organisation: &str, rooms: &[&str]) -> Value {
    json!({ "token": dispatcher(user, organisation), "rooms": rooms })
}
