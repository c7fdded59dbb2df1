//! Pages: a limit, and a text that says where the next page begins.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extract::bad_request;
use crate::problem::Problem;

/// Items of a page that asks for no other number.
const DEFAULT_LIMIT: usize = 100;

/// Items of the largest page.
const MAX_LIMIT: usize = 1_000;

/// As it stands in the query.
pub(super) fn limit(asked: Option<&str>) -> Result<usize, Problem> {
    match asked.map_or(Ok(DEFAULT_LIMIT), str::parse) {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(bad_request("limit is a number from 1 to 1000")),
    }
}

/// The place of an item as clients carry it. They are to find no meaning in it.
pub(super) fn write_place(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).expect("a place is plain data"))
}

/// The place that a client gives back.
pub(super) fn read_place<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.ok_or_else(bad_place)
}

/// For a place that cannot be.
pub(super) fn bad_place() -> Problem {
    let detail = "after is not what a page before has given";
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}
