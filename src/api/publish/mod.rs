//! Publishing: events from back-ends to rooms, without a Kafka client.
//!
//! - `message`: what callers write, and what is checked about it
//! - `send`: into the log and to connections, and the answer
#![expect(
    unused_qualifications,
    reason = "the macro names types of parameters by their paths"
)]

mod message;
mod send;

use std::collections::BTreeSet;
use std::pin::Pin;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_address::AddressBlock;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::publish_rights::{MayNotPublish, SCOPE};
use fleetcast_core::domain::published::Message;
use fleetcast_core::domain::room::Room;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{has_other_body, media_type};
use super::answers::{LIMIT_RETRY_AFTER, answer};
use super::at_most::AtMost;
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, Query, RawBody, WrittenId, bad_request};
use super::{Endpoints, MAX_BODY};
use crate::auth::bearer;
use crate::problem::Problem;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{Label, RejectReason};
pub use message::yield_between_messages;
use message::{Checked, MessageRequest, PublishRequest, check, check_all};
pub use send::Publishing;
use send::{Published, unavailable};

/// What the API asks of the part that publishes.
pub trait Publisher: Send + Sync {
    /// What holds now: a reload may change it.
    fn rules(&self) -> PublishRules;

    /// Writes messages to the log. Each has its place in it, or the reason why it may not be there.
    fn write(&self, messages: Vec<Message>) -> WriteReports<'_>;

    /// Offers an event to the connections that are here, once.
    fn emit(&self, event: Ephemeral);

    /// Why nothing can be written at the moment.
    fn unavailable(&self) -> Option<Unavailable>;

    /// What a request with this head counts against; `None`: it is exempt.
    fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<AddressBlock>;

    /// What the token says that a client has shown. A rejection is counted there.
    fn authenticate<'a>(
        &'a self,
        token: Option<&'a SecretString>,
        client: Option<AddressBlock>,
    ) -> Authenticated<'a>;

    /// Whether a token may publish this to these rooms.
    fn check_rights(
        &self,
        claims: &Claims,
        event: &str,
        rooms: &[Room],
    ) -> Result<(), MayNotPublish>;

    /// No more idempotency keys can be told apart for some time.
    fn has_too_many_keys(&self) -> bool;
}

/// What became of each message, in their order: its place, or why it may not be in the log.
pub type WriteReports<'a> =
    Pin<Box<dyn Future<Output = Vec<Result<String, NotWritten>>> + Send + 'a>>;

/// Why a message may not be in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotWritten {
    /// The brokers never take it.
    TooLarge,
    /// The brokers do not let this server write, until their rules change.
    NotAllowed,
    /// Another try may do.
    Unknown(String),
}

pub type Authenticated<'a> =
    Pin<Box<dyn Future<Output = Result<Claims, RejectReason>> + Send + 'a>>;

#[derive(Debug, Clone)]
pub struct PublishRules {
    /// Of rooms, beside `org` and `user`.
    pub kinds: BTreeSet<String>,
    /// Of messages that name none.
    pub default_organisation: Option<Id>,
    pub max_event_bytes: usize,
}

/// A sentence for the one who wanted to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BroadcastQuery {
    event_type: String,
    /// `channel:7`. Without it: every connection of the organisation.
    room: Option<String>,
    /// Unless the profile serves a single one.
    #[param(value_type = Option<String>)]
    organization_id: Option<WrittenId>,
}

/// Publishing on the internal listener.
pub fn endpoints(publishing: Publishing) -> Endpoints {
    Endpoints::new()
        .with(__path_publish, publish)
        .with(__path_broadcast, broadcast)
        .with_state(publishing)
}

/// Publishing on the public listener, with tokens.
pub fn public(publishing: &Publishing, metrics: &Metrics) -> Router {
    let metrics = metrics.clone();
    let answer = move |request: Request, next: Next| {
        let metrics = metrics.clone();
        async move { answer(&metrics, request, next).await }
    };
    Router::new()
        .route("/api/publish", post(publish_with_token))
        .with_state(publishing.public())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(answer))
}

async fn publish_with_token(
    State(publishing): State<Publishing>,
    request: Request,
) -> Result<Response, Problem> {
    let publisher = publishing.publisher.clone();
    let token = bearer(request.headers());
    let client = publisher.client(request.headers(), request.extensions());
    // Before the body is read.
    may_publish(publisher.authenticate(token.as_ref(), client).await)?;
    if has_other_body(request.headers()) {
        return Err(media_type());
    }
    let _permit = publishing.admit(request.headers())?;
    let JsonBody(request) = JsonBody::<PublishRequest>::of_public(request).await?;
    // A body may take half a minute to come: the token may have expired or been revoked since.
    let claims = may_publish(publisher.authenticate(token.as_ref(), client).await)?;
    let messages = request.messages()?;
    let rules = publisher.rules();
    let own = &claims.organisation;
    let checked = check_all(&messages, |message| {
        let named = message.organization_id.as_ref();
        let named = named.map(WrittenId::organisation).transpose()?;
        if named.is_some_and(|named| named != *own) {
            let detail = "organization_id is that of the token, and can be left out";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        let checked = check(message, own.clone(), claims.user.as_str(), &rules)?;
        let (event, rooms) = match &checked {
            Checked::Durable(message) => (&message.event, &message.rooms),
            Checked::Volatile(message) => (&message.event, &message.rooms),
        };
        let may = publisher.check_rights(&claims, event, rooms);
        may.map_err(forbidden).map(|()| checked)
    })
    .await?;
    publishing.send(checked).await
}

/// What the token says, if it is good, and one that publishes.
fn may_publish(shown: Result<Claims, RejectReason>) -> Result<Claims, Problem> {
    let claims = shown.map_err(refused)?;
    if !claims.scopes.iter().any(|scope| scope == SCOPE) {
        return Err(forbidden(MayNotPublish::Scope));
    }
    Ok(claims)
}

fn forbidden(why: MayNotPublish) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", why.to_string())
}

fn refused(reason: RejectReason) -> Problem {
    if let Some(refusal) = reason.refusal() {
        let detail = "publishing needs a good token: Authorization: Bearer";
        return Problem::new(StatusCode::UNAUTHORIZED, refusal.as_str(), detail);
    }
    if reason == RejectReason::AuthRate {
        let detail = "too many tokens of this address were rejected";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, reason.as_str(), detail)
            .retry_after(LIMIT_RETRY_AFTER);
    }
    unavailable(reason.as_str(), "the key of the token is not known yet")
}

/// Publish events
///
/// One, or a batch in `messages`. Answered when all replicas of the log have them; they come back from it like any other record, on
/// every instance.
#[utoipa::path(post, path = "/api/publish", request_body = PublishRequest, responses(
    (status = 202, body = Published),
    (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 413, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 502, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn publish(
    State(publishing): State<Publishing>,
    request: Request,
) -> Result<Response, Problem> {
    let _permit = publishing.admit(request.headers())?;
    let JsonBody(request) = JsonBody::<PublishRequest>::from_request(request, &()).await?;
    let messages = request.messages()?;
    let rules = publishing.publisher.rules();
    let checked = check_all(&messages, |message| {
        check(message, organisation(message, &rules)?, INTERNAL, &rules)
    })
    .await?;
    publishing.send(checked).await
}

/// Publish one event to a room
///
/// The body is the event's `data`.
#[utoipa::path(post, path = "/ws/broadcast", params(BroadcastQuery), request_body(content = Object, content_type = "application/json"), responses(
    (status = 202, body = Published),
    (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 413, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 502, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn broadcast(
    State(publishing): State<Publishing>,
    Query(query): Query<BroadcastQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let _permit = publishing.admit(request.headers())?;
    let RawBody(data) = RawBody::read(request).await?;
    let message = MessageRequest {
        event: query.event_type,
        organization_id: query.organization_id,
        all: query.room.is_none().then_some(true),
        rooms: query.room.map(|room| AtMost(vec![room])),
        user_id: None,
        data,
        volatile: None,
        key: None,
        idempotency_key: None,
    };
    let rules = publishing.publisher.rules();
    let organisation = organisation(&message, &rules)?;
    let checked = check(&message, organisation, INTERNAL, &rules)?;
    publishing.send(vec![checked]).await
}

/// Who publishes on the internal listener, for idempotency keys.
const INTERNAL: &str = "";

/// What the message names, or the profile's only one.
fn organisation(message: &MessageRequest, rules: &PublishRules) -> Result<Id, Problem> {
    let named = message.organization_id.as_ref();
    let named = named.map(WrittenId::organisation).transpose()?;
    let organisation = named.or_else(|| rules.default_organisation.clone());
    organisation
        .ok_or_else(|| bad_request("organization_id is missing, and the profile has no default"))
}
