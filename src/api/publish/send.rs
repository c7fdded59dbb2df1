//! From checked messages to the log and to the connections, and what is answered.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;

use super::message::Checked;
use super::{NotWritten, Publisher, Unavailable};
use crate::api::MAX_BODY;
use crate::api::answers::RETRY_AFTER;
use crate::problem::Problem;

/// KiB of bodies that are published at a time. Beyond: 503.
const IN_FLIGHT_KIB: usize = 64 * 1024;

/// The same for tokens, on the public listener.
const PUBLIC_IN_FLIGHT_KIB: usize = 16 * 1024;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Published {
    /// How many messages were accepted: all.
    accepted: usize,
    /// `topic/partition/offset` of each, `null` for volatile ones.
    ids: Vec<Option<String>>,
}

/// What publishing needs.
#[derive(Clone)]
pub struct Publishing {
    pub(super) publisher: Arc<dyn Publisher>,
    in_flight: Arc<Semaphore>,
}

impl Publishing {
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self {
            publisher,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB)),
        }
    }

    /// For tokens, with a share of its own of what may be on its way.
    pub(super) fn public(&self) -> Self {
        Self {
            publisher: self.publisher.clone(),
            in_flight: Arc::new(Semaphore::new(PUBLIC_IN_FLIGHT_KIB)),
        }
    }
}

impl Publishing {
    /// Before the body is read.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<SemaphorePermit<'_>, Problem> {
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
    pub(super) async fn send(&self, checked: Vec<Checked>) -> Result<Response, Problem> {
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
            let detail = "too many idempotency keys were used within the last 330 s";
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
        // A producer is made when there is something to write.
        let written = if messages.is_empty() {
            Vec::new()
        } else {
            publisher.write(messages).await
        };
        let mut written = written.into_iter();
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

pub(super) fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
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
