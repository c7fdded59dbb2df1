//! Tokens as an issuer makes them.

use fleetcast::clock;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";

/// Of these claims, for an hour.
pub(crate) fn token(mut claims: Value) -> String {
    claims["exp"] = json!(clock::wall_ms() / 1000 + 3600);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// May join every room of the organisation.
pub(crate) fn dispatcher(user: &str, organisation: &str) -> String {
    token(json!({ "sub": user, "organization_id": organisation, "roles": ["dispatcher"] }))
}

/// `auth` of a dispatcher who wants these rooms.
pub(crate) fn auth(user: &str, organisation: &str, rooms: &[&str]) -> Value {
    json!({ "token": dispatcher(user, organisation), "rooms": rooms })
}
