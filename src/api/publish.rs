//! Publishing: events from back-ends to rooms, without a Kafka client.
#![expect(
    unused_qualifications,
    reason = "the macro names types of parameters by their paths"
)]

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::publish_rights::{MayNotPublish, SCOPE};
use fleetcast_core::domain::published::{self, Message};
use fleetcast_core::domain::room::Room;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::access::{RETRY_AFTER, answer, bearer, has_other_body, media_type};
use super::connections::{organisation_of, user_of};
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, Query, bad_request};
use super::{Endpoints, MAX_BODY};
use crate::problem::Problem;
use crate::telemetry::Metrics;

/// Messages of one request.
const MAX_MESSAGES: usize = 500;

/// Bytes of a key and of an idempotency key.
const MAX_KEY: usize = 256;

/// KiB of bodies that are published at a time. Beyond: 503.
const IN_FLIGHT_KIB: usize = 64 * 1024;

/// The same for tokens, on the public listener.
const PUBLIC_IN_FLIGHT_KIB: usize = 16 * 1024;

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

    /// What the token of a request says. An error is the code of the refusal, or none: its key is not known yet.
    fn authenticate<'a>(&'a self, token: Option<&'a SecretString>) -> Authenticated<'a>;

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

/// Claims, or the code of the refusal; without one the client may try again.
pub type Authenticated<'a> =
    Pin<Box<dyn Future<Output = Result<Claims, Option<&'static str>>> + Send + 'a>>;

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

/// A message, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PublishRequest {
    /// At most 500, instead of everything else. All are checked before the first is written.
    messages: Option<Vec<MessageRequest>>,
    event: Option<String>,
    organization_id: Option<String>,
    rooms: Option<Vec<String>>,
    user_id: Option<String>,
    all: Option<bool>,
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    volatile: Option<bool>,
    key: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageRequest {
    /// 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_`, `.`, `:` and `-`.
    event: String,
    /// Unless the profile serves a single one.
    organization_id: Option<String>,
    /// `channel:7`: one of `rooms`, `user_id` and `all` says who receives it.
    rooms: Option<Vec<String>>,
    user_id: Option<String>,
    /// Every connection of the organisation.
    all: Option<bool>,
    /// What clients receive: an object or a list.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// For those who are connected to this instance now, and not written to the log.
    volatile: Option<bool>,
    /// Messages of one key stay in order. Without it, those with the same first room do.
    key: Option<String>,
    /// The same message with the same key within 300 s is delivered once.
    idempotency_key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// How many messages were accepted: all.
    accepted: usize,
    /// `topic/partition/offset` of each, `null` for volatile ones.
    ids: Vec<Option<String>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BroadcastQuery {
    event_type: String,
    /// `channel:7`. Without it: every connection of the organisation.
    room: Option<String>,
    /// Unless the profile serves a single one.
    organization_id: Option<String>,
}

/// A message that was checked.
enum Checked {
    Durable(Message),
    Volatile(Ephemeral),
}

/// What publishing needs.
#[derive(Clone)]
pub struct Publishing {
    publisher: Arc<dyn Publisher>,
    in_flight: Arc<Semaphore>,
}

impl Publishing {
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self {
            publisher,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB)),
        }
    }
}

/// Publishing on the internal listener.
pub fn endpoints(publishing: Publishing) -> Endpoints {
    Endpoints::new()
        .with(__path_publish, publish)
        .with(__path_broadcast, broadcast)
        .with_state(publishing)
}

/// Publishing on the public listener, with tokens. It has a share of its own of what may be on its way.
pub fn public(publishing: &Publishing, metrics: &Metrics) -> Router {
    let own = Publishing {
        publisher: publishing.publisher.clone(),
        in_flight: Arc::new(Semaphore::new(PUBLIC_IN_FLIGHT_KIB)),
    };
    let metrics = metrics.clone();
    let answer = move |request: Request, next: Next| {
        let metrics = metrics.clone();
        async move { answer(&metrics, request, next).await }
    };
    Router::new()
        .route("/api/publish", post(publish_with_token))
        .with_state(own)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(answer))
}

async fn publish_with_token(
    State(publishing): State<Publishing>,
    request: Request,
) -> Result<Response, Problem> {
    let publisher = publishing.publisher.clone();
    let token = bearer(request.headers()).map(SecretString::from);
    let claims = publisher.authenticate(token.as_ref()).await;
    let claims = claims.map_err(refused)?;
    if has_other_body(request.headers()) {
        return Err(media_type());
    }
    // Before the body is read.
    if !claims.scopes.iter().any(|scope| scope == SCOPE) {
        return Err(forbidden(MayNotPublish::Scope));
    }
    let _permit = publishing.admit(request.headers())?;
    let JsonBody(request) = JsonBody::<PublishRequest>::from_request(request, &()).await?;
    let messages = request.messages()?;
    let rules = publisher.rules();
    let own = claims.organisation.as_str();
    let checked = check_all(&messages, |message| {
        let organisation = message.organization_id.as_deref().unwrap_or(own);
        if organisation != own {
            let detail = "organization_id is that of the token, and can be left out";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        let checked = check(
            message,
            claims.organisation.clone(),
            claims.user.as_str(),
            &rules,
        )?;
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

fn forbidden(why: MayNotPublish) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", why.to_string())
}

fn refused(code: Option<&'static str>) -> Problem {
    match code {
        Some(code) => {
            let detail = "publishing needs a good token: Authorization: Bearer";
            Problem::new(StatusCode::UNAUTHORIZED, code, detail)
        }
        None => unavailable("keys_pending", "the key of the token is not known yet"),
    }
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
        let named = message.organization_id.as_deref().map(organisation_of);
        let organisation = named
            .transpose()?
            .or_else(|| rules.default_organisation.clone());
        let organisation = organisation.ok_or_else(no_organisation)?;
        check(message, organisation, INTERNAL, &rules)
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
    let JsonBody(data) = JsonBody::<Box<RawValue>>::from_request(request, &()).await?;
    let message = MessageRequest {
        event: query.event_type,
        organization_id: query.organization_id,
        all: query.room.is_none().then_some(true),
        rooms: query.room.map(|room| vec![room]),
        user_id: None,
        data,
        volatile: None,
        key: None,
        idempotency_key: None,
    };
    let rules = publishing.publisher.rules();
    let named = message.organization_id.as_deref().map(organisation_of);
    let organisation = named
        .transpose()?
        .or_else(|| rules.default_organisation.clone());
    let organisation = organisation.ok_or_else(no_organisation)?;
    let checked = check(&message, organisation, INTERNAL, &rules)?;
    publishing.send(vec![checked]).await
}

/// Who publishes on the internal listener, for idempotency keys.
const INTERNAL: &str = "";

impl Publishing {
    /// Before the body is read.
    fn admit(&self, headers: &HeaderMap) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let kib = length
            .unwrap_or(MAX_BODY)
            .min(MAX_BODY)
            .div_ceil(1024)
            .max(1);
        let permits = u32::try_from(kib).unwrap_or(u32::MAX);
        let permit = self.in_flight.try_acquire_many(permits);
        permit.map_err(|_| unavailable("busy", "too much is being published at the moment"))
    }

    /// Writes and emits what was checked, in its order, and answers.
    async fn send(&self, checked: Vec<Checked>) -> Result<Response, Problem> {
        let publisher = &self.publisher;
        let durable = || {
            checked.iter().filter_map(|message| match message {
                Checked::Durable(message) => Some(message),
                Checked::Volatile(_) => None,
            })
        };
        if durable().next().is_some()
            && let Some(Unavailable(why)) = publisher.unavailable()
        {
            return Err(unavailable("publish_unavailable", why));
        }
        if durable().any(|message| message.idempotency.is_some()) && publisher.has_too_many_keys() {
            let detail = "too many idempotency keys were used within the last 300 s";
            return Err(unavailable("too_many_keys", detail));
        }
        let mut places = Vec::with_capacity(checked.len());
        let mut messages = Vec::new();
        let mut volatile = Vec::new();
        for message in checked {
            match message {
                Checked::Durable(message) => {
                    places.push(true);
                    messages.push(message);
                }
                Checked::Volatile(event) => {
                    places.push(false);
                    volatile.push(event);
                }
            }
        }
        let mut written = publisher.write(messages).await.into_iter();
        let mut why = None;
        let mut accepted = 0;
        let mut ids = Vec::with_capacity(places.len());
        for is_durable in places {
            let outcome = if is_durable { written.next() } else { None };
            accepted += usize::from(!matches!(outcome, Some(Err(_))));
            ids.push(match outcome {
                Some(Ok(id)) => Some(id),
                Some(Err(reason)) => {
                    // That no try can succeed is said before that one may.
                    let is_final = |why: &NotWritten| !matches!(why, NotWritten::Unknown(_));
                    if (why.as_ref()).is_none_or(|why| !is_final(why) && is_final(&reason)) {
                        why = Some(reason);
                    }
                    None
                }
                None => None,
            });
        }
        if let Some(why) = why {
            return Ok(partly(why, accepted - volatile.len(), &ids));
        }
        for event in volatile {
            publisher.emit(event);
            tokio::task::yield_now().await;
        }
        let body = Json(Published { accepted, ids });
        Ok((StatusCode::ACCEPTED, body).into_response())
    }
}

async fn check_all(
    messages: &[MessageRequest],
    check: impl Fn(&MessageRequest) -> Result<Checked, Problem>,
) -> Result<Vec<Checked>, Problem> {
    if let [only] = messages {
        return Ok(vec![check(only)?]);
    }
    let mut checked = Vec::with_capacity(messages.len());
    for (number, message) in messages.iter().enumerate() {
        give_way(number).await;
        let about = |problem: Problem| problem.about(&format!("messages[{number}]"));
        checked.push(check(message).map_err(about)?);
    }
    Ok(checked)
}

/// Lets other tasks of the thread run now and then: a batch may name 50,000 rooms, and a thread serves many clients. Called before
/// each message.
pub async fn give_way(number: usize) {
    /// Messages that are gone through at a stretch: about a millisecond.
    const AT_A_STRETCH: usize = 8;

    if number > 0 && number.is_multiple_of(AT_A_STRETCH) {
        tokio::task::yield_now().await;
    }
}

/// Everything about a message except for the rights of its sender.
fn check(
    message: &MessageRequest,
    organisation: Id,
    subject: &str,
    rules: &PublishRules,
) -> Result<Checked, Problem> {
    let bad = |wrong: published::BadMessage| bad_request(&wrong);
    let event = published::event_name(&message.event).map_err(bad)?;
    published::data(&message.data, rules.max_event_bytes).map_err(bad)?;
    let rooms = match (&message.rooms, &message.user_id, message.all) {
        (Some(names), None, None | Some(false)) => {
            published::rooms(&organisation, names, |kind| rules.kinds.contains(kind))
                .map_err(bad)?
        }
        (None, Some(user), None | Some(false)) => vec![Room::user(&organisation, &user_of(user)?)],
        (None, None, Some(true)) => vec![Room::organisation(&organisation)],
        _ => return Err(bad_request("give one of rooms, user_id and all: true")),
    };
    for (name, key) in [
        ("key", &message.key),
        ("idempotency_key", &message.idempotency_key),
    ] {
        let fits =
            |key: &String| (1..=MAX_KEY).contains(&key.len()) && !key.contains(char::is_control);
        if !key.as_ref().is_none_or(fits) {
            let why = format_args!("{name} is 1 to {MAX_KEY} bytes without control characters");
            return Err(bad_request(&why));
        }
        if key.is_some() && message.volatile == Some(true) {
            let why =
                format_args!("{name} has no meaning for a volatile event, which is not written");
            return Err(bad_request(&why));
        }
    }
    if message.volatile == Some(true) {
        return Ok(Checked::Volatile(Ephemeral {
            event,
            organisation,
            rooms,
            payload: message.data.clone(),
        }));
    }
    let first = rooms.first().map(Room::name).unwrap_or_default();
    let order = || hex(&digest(&[organisation.as_str(), &first])[..8]);
    let idempotency = message.idempotency_key.as_ref().map(|key| {
        let names: Vec<String> = rooms.iter().map(Room::name).collect();
        let names = names.join("\n");
        let own_key = message.key.as_deref().unwrap_or_default();
        let digest = digest(&[
            organisation.as_str(),
            subject,
            key,
            &event,
            &names,
            own_key,
            message.data.get(),
        ]);
        let (first, _) = digest.split_first_chunk::<16>().expect("32 bytes");
        u128::from_be_bytes(*first)
    });
    Ok(Checked::Durable(Message {
        key: message.key.clone().unwrap_or_else(order),
        event,
        organisation,
        rooms,
        data: message.data.clone(),
        idempotency,
    }))
}

/// SHA-256 of these texts, each behind its length, so that no two lists of texts look alike.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

impl PublishRequest {
    fn messages(self) -> Result<Vec<MessageRequest>, Problem> {
        if let Some(messages) = self.messages {
            let alone = self.event.is_none()
                && self.organization_id.is_none()
                && self.rooms.is_none()
                && self.user_id.is_none()
                && self.all.is_none()
                && self.data.is_none()
                && self.volatile.is_none()
                && self.key.is_none()
                && self.idempotency_key.is_none();
            if !alone {
                return Err(bad_request(
                    "messages stands alone: the other members are those of each message",
                ));
            }
            if !(1..=MAX_MESSAGES).contains(&messages.len()) {
                let why = format_args!("messages holds 1 to {MAX_MESSAGES} messages");
                return Err(bad_request(&why));
            }
            return Ok(messages);
        }
        let missing = |name| bad_request(&format_args!("missing field `{name}`"));
        Ok(vec![MessageRequest {
            event: self.event.ok_or_else(|| missing("event"))?,
            organization_id: self.organization_id,
            rooms: self.rooms,
            user_id: self.user_id,
            all: self.all,
            data: self.data.ok_or_else(|| missing("data"))?,
            volatile: self.volatile,
            key: self.key,
            idempotency_key: self.idempotency_key,
        }])
    }
}

fn no_organisation() -> Problem {
    bad_request("organization_id is missing, and the profile has no default")
}

fn unavailable(code: &'static str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(RETRY_AFTER)
}

/// Not all is known to be in the log. What is has its id.
fn partly(why: NotWritten, accepted: usize, ids: &[Option<String>]) -> Response {
    let problem = match why {
        NotWritten::TooLarge => {
            let detail = "a message is larger than the brokers take (max.message.bytes of the topic), and none behind it may be \
                          written: ids has what is";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "record_too_large", detail)
        }
        NotWritten::NotAllowed => {
            let detail = "the brokers do not let this server write to PUBLISH_TOPIC (ACL WRITE): ids has what is written";
            Problem::new(StatusCode::BAD_GATEWAY, "write_forbidden", detail)
        }
        NotWritten::Unknown(why) => {
            let detail = format!(
                "not everything is known to be written ({why}): ids has what is. Send the rest again, with the same idempotency keys"
            );
            unavailable("not_written", detail)
        }
    };
    problem
        .with("accepted", accepted.into())
        .with("ids", ids.into())
        .into_response()
}
