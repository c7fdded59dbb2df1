//! What comes in with a request, or a problem that says what is wrong with it.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use fleetcast_core::domain::id::{Id, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::MAX_BODY;
use super::json_object::JsonObject;
use super::text_or_integer::TextOrInteger;
use crate::problem::Problem;

/// Bytes of a sentence about what was sent. It may quote it, so it is cut.
const LONGEST_DETAIL: usize = 200;

/// Bytes of the place in a body that such a sentence begins with.
const LONGEST_PLACE: usize = 100;

/// A larger body is parsed off the event loop, where all clients of the process would wait for it: 4 MiB take up to 200 ms on a busy
/// machine, and this much less than one.
const PARSED_HERE: usize = 16 * 1024;

/// As many are parsed off it at a time, of each listener: what strangers send delays nothing that back-ends send. The others wait: there is
/// a processor for the loop, too.
static INTERNAL_PARSERS: Semaphore = Semaphore::const_new(1);
static PUBLIC_PARSERS: Semaphore = Semaphore::const_new(1);

/// A body that is a JSON object. Its type refuses members that it does not know. As a parameter of a handler: of the internal listener.
pub struct JsonBody<T>(pub T);

/// A body of any JSON, as it was written. Of the internal listener.
pub(super) struct RawBody(pub(super) Box<RawValue>);

/// Nothing: what is asked for stands in the query. A body would be ignored otherwise, and defaults taken for what it says.
pub(super) struct EmptyBody;

/// What follows `?`. Parameters that its type does not describe are refused before (see [`Endpoints`](super::Endpoints)).
pub struct Query<T>(pub T);

/// The parts of the path, percent-decoded.
pub struct PathOf<T>(pub T);

/// An id: a string, or an integer of 64 bits, which is its decimal text. What it may hold depends on what it is the id of.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct WrittenId(TextOrInteger);

impl WrittenId {
    /// In the member or parameter `organization_id`.
    pub fn organisation(&self) -> Result<Id, Problem> {
        Id::from_json(&self.0.0).map_err(|why| bad_request(&format_args!("organization_id: {why}")))
    }

    /// In the member or parameter `user_id`.
    pub fn user(&self) -> Result<UserId, Problem> {
        self.user_in("user_id")
    }

    pub fn user_in_path(&self) -> Result<UserId, Problem> {
        self.user_in("the user in the path")
    }

    fn user_in(&self, place: &str) -> Result<UserId, Problem> {
        UserId::from_json(&self.0.0).map_err(|why| bad_request(&format_args!("{place}: {why}")))
    }
}

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request, &INTERNAL_PARSERS, parse).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static> JsonBody<T> {
    /// One that came by the public listener.
    pub(super) async fn of_public(request: Request) -> Result<Self, Problem> {
        read(request, &PUBLIC_PARSERS, parse).await.map(Self)
    }
}

impl RawBody {
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        read(request, &INTERNAL_PARSERS, parse_any).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for EmptyBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, &()).await;
        let bytes = bytes.map_err(|rejection| unread(&rejection))?;
        if bytes.is_empty() {
            Ok(Self)
        } else {
            let why = "there is no body here: the parameters stand in the query";
            Err(bad_request(why))
        }
    }
}

async fn read<T: Send + 'static>(
    request: Request,
    parsers: &'static Semaphore,
    parse: fn(&[u8]) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let bytes = Bytes::from_request(request, &()).await;
    let bytes = bytes.map_err(|rejection| unread(&rejection))?;
    if bytes.len() <= PARSED_HERE {
        return parse(&bytes);
    }
    let permit = parsers.acquire().await.expect("it is never closed");
    let parsed = tokio::task::spawn_blocking(move || {
        // Until it is done, also if the request is gone.
        let _permit = permit;
        parse(&bytes)
    });
    parsed.await.expect("parsing does not panic")
}

/// A JSON object as `T` wants it.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse_any::<JsonObject<T>>(bytes).map(|JsonObject(parsed)| parsed)
}

fn parse_any<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = error.path().to_string();
        let error = error.into_inner();
        if !error.is_data() {
            return not_json(&error);
        }
        match place.as_str() {
            "." if !bytes.trim_ascii_start().starts_with(b"{") => {
                bad_request("the body is a JSON object")
            }
            // The place of an unknown member is its name, which the error says as well.
            place if place == "." || place.len() > LONGEST_PLACE => bad_request(&error),
            place => bad_request(&format_args!("{place}: {error}")),
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(parsed)
}

fn not_json(error: &serde_json::Error) -> Problem {
    bad_request(&format_args!("the body is not JSON: {error}"))
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(bad_request(&rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(extract::Path(parts)) => Ok(Self(parts)),
            Err(rejection) => Err(bad_request(&rejection.body_text())),
        }
    }
}

/// 400 with a sentence.
pub fn bad_request(why: &(impl Display + ?Sized)) -> Problem {
    let mut detail = why.to_string();
    if detail.len() > LONGEST_DETAIL {
        detail.truncate(detail.floor_char_boundary(LONGEST_DETAIL));
        detail.push('…');
    }
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

fn unread(rejection: &BytesRejection) -> Problem {
    if let BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) = rejection {
        let detail = format!(
            "the body is larger than the {} MiB that the API takes",
            MAX_BODY >> 20
        );
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
    }
    let detail = "the body did not come in time, or not to its end";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::FutureExt as _;
    use serde::Deserializer;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OneMember {
        #[expect(dead_code, reason = "only parsed")]
        event: String,
    }

    fn detail(text: &str) -> String {
        let problem = parse::<OneMember>(text.as_bytes()).unwrap_err();
        let problem: Value = serde_json::to_value(problem).unwrap();
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&400.into(), &"bad_request".into())
        );
        problem["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn an_unknown_a_double_and_a_missing_member_are_named() {
        for (text, named) in [
            (r#"{"event":"a","evnt":1}"#, "unknown field `evnt`"),
            (r#"{"event":"a","event":"b"}"#, "duplicate field `event`"),
            ("{}", "missing field `event`"),
            (
                r#"{"event":1}"#,
                "event: invalid type: integer `1`, expected a string",
            ),
            (r#" ["a"]"#, "the body is a JSON object"),
            ("null", "the body is a JSON object"),
            (r#""event""#, "the body is a JSON object"),
            ("event=a", "the body is not JSON"),
            ("", "the body is not JSON"),
            (r#"{"event":"a"} {}"#, "the body is not JSON"),
        ] {
            assert!(detail(text).contains(named), "{text}: {}", detail(text));
        }
        let long = format!(r#"{{"{}":1}}"#, "é".repeat(1000));
        assert!(detail(&long).len() <= LONGEST_DETAIL + 3);
    }

    #[test]
    fn an_id_is_a_string_or_an_integer_and_the_refusal_says_where_it_stands() {
        #[derive(Deserialize)]
        struct OneId {
            id: WrittenId,
        }
        let read = |text: &str| parse::<OneId>(text.as_bytes()).unwrap().id;
        for (text, organisation, user) in [
            (r#"{"id":"o1"}"#, Some("o1"), Some("o1")),
            (r#"{"id":7}"#, Some("7"), Some("7")),
            (r#"{"id":-7}"#, Some("-7"), Some("-7")),
            (r#"{"id":"a|b"}"#, None, Some("a|b")),
            (r#"{"id":7.0}"#, None, None),
            (r#"{"id":true}"#, None, None),
            (r#"{"id":["o1"]}"#, None, None),
            (r#"{"id":null}"#, None, None),
            (r#"{"id":""}"#, None, None),
        ] {
            let id = read(text);
            let found = id.organisation().map(|id| id.to_string()).ok();
            assert_eq!(found.as_deref(), organisation, "{text}");
            let found = id.user().map(|id| id.to_string()).ok();
            assert_eq!(found.as_deref(), user, "{text}");
        }
        let bad = read(r#"{"id":""}"#);
        for (refused, place) in [
            (bad.organisation().map(|_| ()), "organization_id: "),
            (bad.user().map(|_| ()), "user_id: "),
            (bad.user_in_path().map(|_| ()), "the user in the path: "),
        ] {
            let problem = serde_json::to_value(refused.unwrap_err()).unwrap();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(place), "{detail}");
        }
    }

    /// On which thread it was parsed.
    #[derive(Debug)]
    struct ParsedOn(ThreadId);

    impl<'de> Deserialize<'de> for ParsedOn {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            OneMember::deserialize(deserializer).map(|_| Self(thread::current().id()))
        }
    }

    #[tokio::test]
    async fn a_large_body_is_parsed_off_the_event_loop_and_answered_alike() {
        let parsed = async |text: &str, length: usize| {
            let body = format!("{text}{}", " ".repeat(length - text.len()));
            let request = Request::new(Body::from(body));
            let parsed = JsonBody::<ParsedOn>::from_request(request, &()).await;
            parsed.map(|JsonBody(ParsedOn(thread))| thread)
        };
        let here = thread::current().id();
        let good = r#"{"event":"a"}"#;
        assert_eq!(parsed(good, PARSED_HERE).await.unwrap(), here);
        // More of them than there are parsers, one after the other.
        for _ in 0..3 {
            assert_ne!(parsed(good, PARSED_HERE + 1).await.unwrap(), here);
        }
        for bad in ["{}", r#"{"event":1}"#, "event=a"] {
            let [small, large] = [PARSED_HERE, PARSED_HERE + 1].map(|length| parsed(bad, length));
            let problems = [small.await.unwrap_err(), large.await.unwrap_err()];
            let [small, large] = problems.map(|it| serde_json::to_value(it).unwrap());
            assert_eq!((&small["status"], &small), (&400.into(), &large));
        }
    }

    #[tokio::test]
    async fn a_body_of_one_listener_does_not_wait_for_those_of_the_other() {
        let large = || {
            Request::new(Body::from(format!(
                r#"{{"event":"a"}}{}"#,
                " ".repeat(PARSED_HERE)
            )))
        };
        let soon = |body| tokio::time::timeout(Duration::from_secs(10), body);
        let held = PUBLIC_PARSERS.acquire().await.unwrap();
        let internal = soon(JsonBody::<OneMember>::from_request(large(), &()).boxed());
        assert!(internal.await.unwrap().is_ok());
        drop(held);
        let _held = INTERNAL_PARSERS.acquire().await.unwrap();
        let public = soon(JsonBody::<OneMember>::of_public(large()).boxed());
        assert!(public.await.unwrap().is_ok());
        let list = Request::new(Body::from(r#"["a"]"#));
        assert!(JsonBody::<OneMember>::of_public(list).await.is_err());
    }
}
