//! What clients ask for, and how they are answered: always, in one shape.

use fleetcast_core::domain::client_json;
use std::pin::Pin;
use std::sync::Arc;

use fleetcast_core::domain::protocol::{CloseReason, Reason, Refusal};
use fleetcast_core::domain::room::{Room, RoomRequest};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Session;
use super::receipts::Kept;
use crate::telemetry::events;
use crate::telemetry::labels::{Command, CommandOutcome};

/// The acknowledgement of a command: a shape that satisfies both families of clients (`status` and `success`).
#[derive(Debug)]
pub struct Answer {
    command: Command,
    result: Result<Done, Failure>,
    /// The connection is closed once this is said.
    closes: Option<CloseReason>,
}

#[derive(Debug)]
pub(super) struct Done {
    message: &'static str,
    /// The room that was asked for, when it was one.
    room: Option<String>,
    /// All that the connection holds now.
    rooms: Vec<String>,
    /// When the token of the connection expires, where that has changed. RFC 3339.
    expires_at: Option<String>,
    /// How many keys the newest records were asked of, if they were.
    latest: Option<usize>,
    /// The connection's position has a new meaning, or the newest records go out: a `cursor` event follows them.
    moved: bool,
}

/// A command that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub reason: FailureReason,
    /// For people; fixed text.
    pub message: &'static str,
}

/// A code of the protocol: of the command itself, or of the token that it brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    Command(Reason),
    Token(Refusal),
}

impl FailureReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command(reason) => reason.as_str(),
            Self::Token(refusal) => refusal.as_str(),
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::Command(reason) => reason.number(),
            Self::Token(refusal) => refusal.number(),
        }
    }

    fn retryable(self) -> bool {
        match self {
            Self::Command(reason) => reason.retryable(),
            Self::Token(refusal) => refusal.retryable(),
        }
    }
}

impl From<Reason> for FailureReason {
    fn from(reason: Reason) -> Self {
        Self::Command(reason)
    }
}

impl From<FailureReason> for CommandOutcome {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Command(reason) => reason.into(),
            FailureReason::Token(refusal) => refusal.into(),
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason: reason.into(),
            message: reason.message(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: FailureReason::Token(refusal),
            message: refusal.message(),
        }
    }
}

impl Done {
    /// The token of the connection expires at this moment, RFC 3339.
    pub(super) fn expiring_at(self, expires_at: String) -> Self {
        Self {
            expires_at: Some(expires_at),
            ..self
        }
    }
}

impl Answer {
    pub(super) fn new(command: Command, result: Result<Done, Failure>) -> Self {
        Self {
            command,
            result,
            closes: None,
        }
    }

    /// The connection is closed for this reason once the answer has been sent.
    pub(super) fn closing(self, reason: CloseReason) -> Self {
        Self {
            closes: Some(reason),
            ..self
        }
    }

    /// Why the connection is to be closed behind the answer, if it is.
    pub fn closes(&self) -> Option<CloseReason> {
        self.closes
    }

    pub fn failure(&self) -> Option<Failure> {
        self.result.as_ref().err().copied()
    }

    /// A `cursor` event follows the acknowledgement.
    pub fn moves_cursor(&self) -> bool {
        self.result.as_ref().is_ok_and(|done| done.moved)
    }
}

/// What comes of a command.
pub enum Reply {
    Now(Answer),
    /// The command has taken effect in its turn; whether it lasts is known later. What came of it goes to
    /// [`Session::acknowledged`], when there is capacity for the answer, which is larger than all that is kept until then.
    Later(Kept),
    /// It has not taken effect yet, which takes a second or two at most. The commands behind it wait for that, so that they take effect in
    /// the order in which they were sent.
    Pending(AwaitedAnswer),
}

/// The answer, once it is known.
pub type AwaitedAnswer = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The rooms of a command, in the order in which they were asked for.
struct WantedRooms {
    rooms: Vec<Room>,
    /// Of each, whether its newest records are asked for.
    newest: Vec<bool>,
}

impl Session {
    /// Carries out one command. `event` and `payload` are the client's, unchecked.
    pub fn execute(self: &Arc<Self>, event: &str, payload: Option<&RawValue>) -> Reply {
        let (command, result) = match event {
            "ack" => match self.acknowledge(payload) {
                Ok(kept) => return Reply::Later(kept),
                Err(failure) => (Command::Ack, Err(failure)),
            },
            "auth:refresh" => return self.refresh(payload),
            "subscribe" => match self.subscribe_or_wait(payload) {
                Ok(done) => (Command::Subscribe, done),
                Err(pending) => return Reply::Pending(pending),
            },
            "unsubscribe" => (Command::Unsubscribe, self.unsubscribe(payload)),
            "rooms" | "debug:rooms" => (Command::Rooms, Ok(self.done("the rooms you hold", None))),
            _ => (Command::Unknown, Err(Reason::UnknownEvent.into())),
        };
        Reply::Now(self.count(Answer::new(command, result)))
    }

    /// The answer to the command `ack`, now that it is known whether the receipt is kept.
    pub fn acknowledged(&self, kept: bool) -> Answer {
        let result = if kept {
            Ok(self.done("acknowledged", None))
        } else {
            Err(Reason::Internal.into())
        };
        self.count(Answer::new(Command::Ack, result))
    }

    /// Answers without carrying out: too much at once, or nothing that can be read.
    pub fn refuse(&self, failure: impl Into<Failure>) -> Answer {
        self.count(Answer::new(Command::Unknown, Err(failure.into())))
    }

    pub(super) fn count(&self, answer: Answer) -> Answer {
        let outcome = match &answer.result {
            Ok(_) => CommandOutcome::Success,
            Err(failure) => failure.reason.into(),
        };
        events::command(&self.shared.metrics, answer.command, outcome);
        answer
    }

    /// The answer, or a wait for grants that another instance may have written.
    fn subscribe_or_wait(
        self: &Arc<Self>,
        payload: Option<&RawValue>,
    ) -> Result<Result<Done, Failure>, AwaitedAnswer> {
        let wanted = match self.wanted(payload) {
            Ok(wanted) => wanted,
            Err(failure) => return Ok(Err(failure)),
        };
        if !self.awaits_grants(&wanted.rooms) {
            return Ok(self.subscribe(&wanted));
        }
        let session = self.clone();
        Err(Box::pin(async move {
            let result = if session.shared.grants_are_read().await {
                session.subscribe(&wanted)
            } else {
                Err(Reason::Internal.into())
            };
            session.count(Answer::new(Command::Subscribe, result))
        }))
    }

    fn subscribe(&self, wanted: &WantedRooms) -> Result<Done, Failure> {
        let WantedRooms {
            rooms: wanted,
            newest,
        } = wanted;
        let key = self.key().ok_or(Reason::Internal)?;
        let most = self.max_rooms();
        let (new, keys) = self.shared.hub.with(|hub, now| {
            let rules = self.shared.rules.load();
            if !wanted.iter().all(|room| self.may_hold(&rules.policy, room)) {
                return Err(Reason::Forbidden.into());
            }
            let held = hub.rooms(key);
            let new = wanted.iter().filter(|room| !held.contains(room)).count();
            // A client that does not read is not notified of what it lost, and that is kept for it.
            let unread = hub.revoked_rooms(key);
            if new > 0 && (held.len() + new > most || unread > most) {
                return Err(Failure::from(Reason::TooManyRooms));
            }
            let mut keys = 0;
            for (room, newest) in wanted.iter().zip(newest) {
                if *newest {
                    keys += hub.subscribe_latest(key, room, now);
                } else {
                    hub.subscribe(key, room, now);
                }
            }
            Ok((new, keys))
        })?;
        let latest = newest.contains(&true).then_some(keys);
        Ok(Done {
            latest,
            moved: new > 0 || latest.is_some(),
            ..self.done("subscribed", Some(wanted))
        })
    }

    fn unsubscribe(&self, payload: Option<&RawValue>) -> Result<Done, Failure> {
        let wanted = self.wanted(payload)?.rooms;
        let own = self.own_rooms();
        if wanted.iter().any(|room| own.contains(room)) {
            let message = "your organisation's room and your own are held while you are connected";
            return Err(Failure {
                reason: Reason::BadRequest.into(),
                message,
            });
        }
        let key = self.key().ok_or(Reason::Internal)?;
        self.shared.hub.with(|hub, _| {
            for room in &wanted {
                hub.unsubscribe(key, room);
            }
        });
        Ok(self.done("unsubscribed", Some(&wanted)))
    }

    fn wanted(&self, payload: Option<&RawValue>) -> Result<WantedRooms, Failure> {
        let payload = payload.ok_or(Reason::BadRequest)?;
        let payload = client_json::parse(payload.get()).ok_or(Reason::BadRequest)?;
        let wanted = RoomRequest::parse(&payload, self.caller(), self.max_rooms());
        let wanted = wanted.map_err(|bad| Failure {
            reason: bad.reason().into(),
            message: bad.message(),
        })?;
        let newest = wanted.iter().map(|request| request.latest).collect();
        let organisation = self.organisation();
        let rooms = wanted.into_iter();
        Ok(WantedRooms {
            newest,
            rooms: rooms
                .map(|request| request.into_room(organisation))
                .collect(),
        })
    }

    pub(super) fn done(&self, message: &'static str, wanted: Option<&[Room]>) -> Done {
        let rooms = self.key().map_or(Vec::new(), |key| {
            self.shared
                .hub
                .with(|hub, _| hub.rooms(key).iter().map(Room::to_string).collect())
        });
        let room = match wanted {
            Some([room]) => Some(room.to_string()),
            _ => None,
        };
        Done {
            message,
            room,
            rooms,
            expires_at: None,
            latest: None,
            moved: false,
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            room: &'a Option<String>,
            rooms: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_at: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            latest: Option<usize>,
        }
        let mut shape = serializer.serialize_struct("Answer", 4)?;
        match &self.result {
            Ok(done) => {
                shape.serialize_field("status", "success")?;
                shape.serialize_field("success", &true)?;
                shape.serialize_field("message", done.message)?;
                let data = Data {
                    room: &done.room,
                    rooms: &done.rooms,
                    expires_at: done.expires_at.as_deref(),
                    latest: done.latest,
                };
                shape.serialize_field("data", &data)?;
            }
            Err(failure) => {
                shape.serialize_field("status", "error")?;
                shape.serialize_field("success", &false)?;
                shape.serialize_field("message", failure.message)?;
                shape.serialize_field("error", failure)?;
            }
        }
        shape.end()
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shape = serializer.serialize_struct("Failure", 3)?;
        shape.serialize_field("code", &self.reason.number())?;
        shape.serialize_field("reason", self.reason.as_str())?;
        shape.serialize_field("retryable", &self.reason.retryable())?;
        shape.end()
    }
}
