//! Messages as callers write them, and what is checked about each.

use aws_lc_rs::digest::{Context, SHA256};
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::published::{self, Message};
use fleetcast_core::domain::room::Room;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::PublishRules;
use crate::api::at_most::AtMost;
use crate::api::extract::{WrittenId, bad_request};
use crate::api::json_object::JsonObject;
use crate::problem::Problem;

/// Messages of one request.
const MAX_MESSAGES: usize = 500;

/// Bytes of a key and of an idempotency key.
const MAX_KEY: usize = 256;

/// As callers write them.
pub(super) type RoomNames = AtMost<String, { published::MAX_ROOMS }>;

/// A message, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishRequest {
    /// At most 500, instead of everything else. All are checked before the first is written.
    #[schema(value_type = Option<Vec<MessageRequest>>)]
    messages: Option<AtMost<JsonObject<MessageRequest>, MAX_MESSAGES>>,
    event: Option<String>,
    organization_id: Option<WrittenId>,
    #[schema(value_type = Option<Vec<String>>)]
    rooms: Option<RoomNames>,
    user_id: Option<WrittenId>,
    all: Option<bool>,
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    volatile: Option<bool>,
    key: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageRequest {
    /// 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_`, `.`, `:` and `-`.
    pub(super) event: String,
    /// Unless the profile serves a single one.
    pub(super) organization_id: Option<WrittenId>,
    /// `channel:7`: one of `rooms`, `user_id` and `all` says who receives it.
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) rooms: Option<RoomNames>,
    pub(super) user_id: Option<WrittenId>,
    /// Every connection of the organisation.
    pub(super) all: Option<bool>,
    /// What clients receive: an object or a list.
    #[schema(value_type = Object)]
    pub(super) data: Box<RawValue>,
    /// For those who are connected now, and not written to the log. Clients of other instances receive it by Redis.
    pub(super) volatile: Option<bool>,
    /// Messages of one key stay in order. Without it, those with the same first room do.
    pub(super) key: Option<String>,
    /// The same message with the same key within 300 s is delivered once.
    pub(super) idempotency_key: Option<String>,
}

/// A message that was checked.
pub(super) enum Checked {
    Durable(Message),
    Volatile(Ephemeral),
}

pub(super) async fn check_all(
    messages: &[MessageRequest],
    check: impl Fn(&MessageRequest) -> Result<Checked, Problem>,
) -> Result<Vec<Checked>, Problem> {
    if let [only] = messages {
        return Ok(vec![check(only)?]);
    }
    let mut checked = Vec::with_capacity(messages.len());
    for (number, message) in messages.iter().enumerate() {
        yield_between_messages(number).await;
        let about = |problem: Problem| problem.about(&format!("messages[{number}]"));
        checked.push(check(message).map_err(about)?);
    }
    Ok(checked)
}

/// Lets other tasks of the thread run now and then: a batch may name 50,000 rooms, and a thread serves many clients. Called before
/// each message.
pub async fn yield_between_messages(number: usize) {
    /// Messages that are gone through at a stretch: about a millisecond.
    const AT_A_STRETCH: usize = 8;

    if number > 0 && number.is_multiple_of(AT_A_STRETCH) {
        tokio::task::yield_now().await;
    }
}

/// Everything about a message except for the rights of its sender.
pub(super) fn check(
    message: &MessageRequest,
    organisation: Id,
    subject: &str,
    rules: &PublishRules,
) -> Result<Checked, Problem> {
    let bad = |wrong: published::BadMessage| bad_request(&wrong);
    let event = published::event_name(&message.event).map_err(bad)?;
    published::data(&message.data, rules.max_event_bytes).map_err(bad)?;
    let rooms = match (&message.rooms, &message.user_id, message.all) {
        (Some(AtMost(names)), None, None | Some(false)) => {
            published::rooms(&organisation, names, |kind| rules.kinds.contains(kind))
                .map_err(bad)?
        }
        (None, Some(user), None | Some(false)) => vec![Room::user(&organisation, &user.user()?)],
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
            arguments: vec![message.data.clone()],
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
    pub(super) fn messages(self) -> Result<Vec<MessageRequest>, Problem> {
        if let Some(AtMost(messages)) = self.messages {
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
            let members = |JsonObject(message)| message;
            return Ok(messages.into_iter().map(members).collect());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::hostile::{long_list, takes_little_memory};

    #[test]
    fn a_hostile_body_takes_little_memory() {
        let check = |before: &str, element: &str, behind: &str| {
            let body = long_list(before, element, behind);
            takes_little_memory::<PublishRequest>(&body);
        };
        for (element, names) in [
            (r#"{"":0}"#, ["user_id", "organization_id", "data"]),
            (r#""""#, ["user_id", "rooms", "data"]),
        ] {
            for name in names {
                check(&format!(r#"{{"event":"a","{name}":"#), element, "}");
                let before = format!(r#"{{"messages":[{{"event":"a","data":{{}},"{name}":"#);
                check(&before, element, "}]}");
            }
        }
        check(r#"{"messages":"#, r#"{"event":"a","data":{}}"#, "}");
        check(r#"{"event":"a","data":{},"user_id":{"a":"#, "{}", "}}");
    }
}
