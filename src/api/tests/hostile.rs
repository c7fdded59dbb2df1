//! What bodies take while they are parsed: those that are small as text, and would be large as values.

use serde::de::DeserializeOwned;

use super::super::MAX_BODY;
use super::super::extract::parse;

/// Beyond the body itself, which is held as well.
const MOST: u64 = 4 * MAX_BODY as u64;

/// `before`, a list of as many `element`s as a body may hold, and `behind`.
pub(in crate::api) fn long_list(before: &str, element: &str, behind: &str) -> String {
    let room = MAX_BODY - before.len() - behind.len() - 2;
    let mut list = vec![element; room / (element.len() + 1)].join(",");
    list = format!("{before}[{list}]{behind}");
    assert!(list.len() > MAX_BODY - 100);
    list
}

/// Parses it as `T`, whether it is one or not.
pub(in crate::api) fn takes_little_memory<T: DeserializeOwned>(body: &str) {
    let measured = allocation_counter::measure(|| drop(parse::<T>(body.as_bytes())));
    let start = body.get(..80).unwrap_or(body);
    assert!(measured.bytes_max < MOST, "{start}…: {measured:?}");
}
