//! What instances send each other, as bytes.
//!
//! ```text
//! version  kind  sender  number  sent   signature  length of header  header  payload
//! 1        1     16      8       8      32         4                 JSON    of an event: the list of its arguments, as they were published
//! ```
//!
//! The signature covers the channel's name and everything but itself. The number is the sender's own, and `sent` is in milliseconds since
//! the Unix epoch. Whom it is for the channel says; the organisation of an event, too.

mod headers;

use std::borrow::Cow;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::{Ephemeral, MAX_ARGUMENTS};
use fleetcast_core::domain::published::{self, BadMessage, MAX_ROOMS};
use fleetcast_core::domain::revocation::{Revocation, RevocationChange, RevocationTarget};
use fleetcast_core::domain::room::Room;
use fleetcast_core::domain::room_operation::RoomOperation;
use serde::Serialize;
use serde_json::value::RawValue;

use super::channels::{Audience, Names};
use super::instance::InstanceId;
use super::signature::{BusKeys, SIGNATURE_BYTES};
use crate::telemetry::labels::BusOutcome;
use headers::{DisconnectHeader, EventHeader, KickHeader, RevocationHeader, RoomsHeader};

const VERSION: u8 = 1;

const EVENT: u8 = 1;
const KICK: u8 = 2;
const DISCONNECT: u8 = 3;
const REVOCATION: u8 = 4;
const ROOMS: u8 = 5;

/// Where what is not signed begins, and what is signed goes on.
const SIGNATURE: usize = 2 + InstanceId::BYTES + 8 + 8;
const HEADER_LENGTH: usize = SIGNATURE + SIGNATURE_BYTES;
const HEADER: usize = HEADER_LENGTH + 4;

/// A connection's id has 18.
const MAX_CONNECTION_ID: usize = 64;

/// What an instance tells others.
#[derive(Debug)]
pub enum BusMessage {
    /// For those who are connected now.
    Event(Ephemeral),
    /// One connection is to end.
    Kick {
        instance: InstanceId,
        connection_id: String,
        may_return: bool,
    },
    /// All connections of a user are to end.
    Disconnect {
        organisation: Id,
        user: UserId,
        may_return: bool,
    },
    Revocation(RevocationTarget, Revocation),
    /// All connections of a user are to join and leave rooms, if they may.
    Rooms(RoomOperation),
}

/// The sender of a message, its number there, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sender: InstanceId,
    pub(super) number: u64,
    pub(super) sent_ms: u64,
}

impl BusMessage {
    /// Where it is published.
    pub(super) fn channel(&self, names: &Names) -> String {
        match self {
            Self::Event(event) => names.organisation(&event.organisation),
            Self::Kick { instance, .. } => names.instance(*instance),
            Self::Disconnect { .. } | Self::Revocation(..) | Self::Rooms(_) => names.control(),
        }
    }

    pub(super) fn encode(&self, channel: &str, stamp: Stamp, keys: &BusKeys) -> Vec<u8> {
        let (kind, header, payload) = match self {
            Self::Event(event) => {
                let rooms = event.rooms.iter().map(|room| Cow::Owned(room.name()));
                let header = EventHeader {
                    event: Cow::Borrowed(&event.event),
                    rooms: rooms.collect(),
                };
                (EVENT, json(&header), list(&event.arguments))
            }
            Self::Kick {
                connection_id,
                may_return,
                ..
            } => {
                let header = KickHeader {
                    connection: Cow::Borrowed(connection_id),
                    may_return: *may_return,
                };
                (KICK, json(&header), String::new())
            }
            Self::Disconnect {
                organisation,
                user,
                may_return,
            } => {
                let header = DisconnectHeader {
                    organization: Cow::Borrowed(organisation.as_str()),
                    user: Cow::Borrowed(user.as_str()),
                    may_return: *may_return,
                };
                (DISCONNECT, json(&header), String::new())
            }
            Self::Revocation(target, value) => {
                let header = RevocationHeader {
                    target: Cow::Owned(target.to_string()),
                };
                (REVOCATION, json(&header), value.to_json())
            }
            Self::Rooms(operation) => {
                let names = |rooms: &[Room]| -> Vec<_> {
                    rooms.iter().map(|room| Cow::Owned(room.name())).collect()
                };
                let header = RoomsHeader {
                    organization: Cow::Borrowed(operation.organisation().as_str()),
                    user: Cow::Borrowed(operation.user().as_str()),
                    join: names(operation.join()),
                    leave: names(operation.leave()),
                };
                (ROOMS, json(&header), String::new())
            }
        };
        signed(channel, stamp, keys, kind, &header, payload.as_bytes())
    }
}

/// As a JSON list: their bytes as they are.
fn list(arguments: &[Box<RawValue>]) -> String {
    let bytes: usize = arguments.iter().map(|one| one.get().len() + 1).sum();
    let mut list = String::with_capacity(bytes + 1);
    list.push('[');
    for (place, argument) in arguments.iter().enumerate() {
        if place > 0 {
            list.push(',');
        }
        list.push_str(argument.get());
    }
    list.push(']');
    list
}

fn json(header: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(header).expect("texts are plain data")
}

fn signed(
    channel: &str,
    stamp: Stamp,
    keys: &BusKeys,
    kind: u8,
    header: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + header.len() + payload.len());
    bytes.extend([VERSION, kind]);
    bytes.extend(stamp.sender.0);
    bytes.extend(stamp.number.to_be_bytes());
    bytes.extend(stamp.sent_ms.to_be_bytes());
    bytes.extend([0; SIGNATURE_BYTES]);
    let length = u32::try_from(header.len()).expect("rooms and names are few and short");
    bytes.extend(length.to_be_bytes());
    bytes.extend(header);
    bytes.extend(payload);
    let signature = keys.sign(&[
        channel.as_bytes(),
        &bytes[..SIGNATURE],
        &bytes[HEADER_LENGTH..],
    ]);
    bytes[SIGNATURE..HEADER_LENGTH].copy_from_slice(&signature);
    bytes
}

/// A message whose signature is good, before anything in it is read.
pub(super) struct SignedMessage<'a> {
    pub(super) stamp: Stamp,
    kind: u8,
    /// From the length of the header on.
    content: &'a [u8],
}

impl<'a> SignedMessage<'a> {
    /// Its own messages an instance does not even verify.
    pub(super) fn verified(
        channel: &[u8],
        bytes: &'a [u8],
        own: InstanceId,
        keys: &BusKeys,
    ) -> Result<Self, BusOutcome> {
        let version = bytes.first().ok_or(BusOutcome::Malformed)?;
        if *version != VERSION {
            return Err(BusOutcome::UnknownVersion);
        }
        let head = Head::read(bytes).ok_or(BusOutcome::Malformed)?;
        if head.stamp.sender == own {
            return Err(BusOutcome::Own);
        }
        if !keys.verify(&[channel, head.signed, head.content], head.signature) {
            return Err(BusOutcome::BadSignature);
        }
        Ok(Self {
            stamp: head.stamp,
            kind: head.kind,
            content: head.content,
        })
    }

    pub(super) fn is_revocation(&self) -> bool {
        self.kind == REVOCATION
    }

    /// What it says to this audience. `max_event_bytes`: of this instance, whatever its sender's is.
    pub(super) fn decode(
        &self,
        audience: Audience,
        own: InstanceId,
        max_event_bytes: usize,
    ) -> Result<BusMessage, BusOutcome> {
        let (length, rest) = self
            .content
            .split_first_chunk()
            .ok_or(BusOutcome::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (header, payload) = rest.split_at_checked(length).ok_or(BusOutcome::Malformed)?;
        let decoded = match (self.kind, audience) {
            (EVENT, Audience::Organisation(organisation)) => {
                return event(organisation, header, payload, max_event_bytes);
            }
            (KICK, Audience::Instance) => kick(own, header),
            (DISCONNECT, Audience::All) => disconnect(header),
            (REVOCATION, Audience::All) => revocation(header, payload),
            (ROOMS, Audience::All) => rooms(header),
            (EVENT | KICK | DISCONNECT | REVOCATION | ROOMS, _) => None,
            _ => return Err(BusOutcome::UnknownKind),
        };
        decoded.ok_or(BusOutcome::Malformed)
    }
}

/// The fixed part in front, and what follows it.
struct Head<'a> {
    kind: u8,
    stamp: Stamp,
    /// All in front of the signature.
    signed: &'a [u8],
    signature: &'a [u8],
    content: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None`: it ends before.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (signed, rest) = bytes.split_at_checked(SIGNATURE)?;
        let (signature, content) = rest.split_at_checked(SIGNATURE_BYTES)?;
        let ([_, kind], rest) = signed.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent_ms, _) = rest.split_first_chunk()?;
        Some(Self {
            kind: *kind,
            stamp: Stamp {
                sender: InstanceId(*sender),
                number: u64::from_be_bytes(*number),
                sent_ms: u64::from_be_bytes(*sent_ms),
            },
            signed,
            signature,
            content,
        })
    }
}

/// A client that looks for a cursor among the arguments must not find one, nor receive what is no event of ours, whatever the sender has
/// checked.
fn event(
    organisation: Id,
    header: &[u8],
    payload: &[u8],
    max_bytes: usize,
) -> Result<BusMessage, BusOutcome> {
    let malformed = BusOutcome::Malformed;
    let EventHeader { event, rooms } = serde_json::from_slice(header).map_err(|_| malformed)?;
    let event = published::event_name(&event).map_err(|_| BusOutcome::BadEvent)?;
    if !(1..=MAX_ROOMS).contains(&rooms.len()) {
        return Err(malformed);
    }
    let rooms = rooms.iter().map(|name| Room::named(&organisation, name));
    let rooms = rooms.collect::<Result<_, _>>().map_err(|_| malformed)?;
    let arguments: Vec<Box<RawValue>> = serde_json::from_slice(payload).map_err(|_| malformed)?;
    if arguments.len() > MAX_ARGUMENTS {
        return Err(malformed);
    }
    let mut left = max_bytes;
    for argument in &arguments {
        published::data(argument, left).map_err(|wrong| match wrong {
            BadMessage::TooLarge(_) => BusOutcome::TooLarge,
            _ => malformed,
        })?;
        left = left.saturating_sub(argument.get().len() + 1);
    }
    Ok(BusMessage::Event(Ephemeral {
        event,
        organisation,
        rooms,
        arguments,
    }))
}

fn kick(own: InstanceId, header: &[u8]) -> Option<BusMessage> {
    let KickHeader {
        connection,
        may_return,
    } = serde_json::from_slice(header).ok()?;
    (connection.len() <= MAX_CONNECTION_ID).then(|| BusMessage::Kick {
        instance: own,
        connection_id: connection.into_owned(),
        may_return,
    })
}

fn disconnect(header: &[u8]) -> Option<BusMessage> {
    let DisconnectHeader {
        organization,
        user,
        may_return,
    } = serde_json::from_slice(header).ok()?;
    Some(BusMessage::Disconnect {
        organisation: Id::parse(&organization).ok()?,
        user: UserId::parse(&user).ok()?,
        may_return,
    })
}

fn rooms(header: &[u8]) -> Option<BusMessage> {
    let RoomsHeader {
        organization,
        user,
        join,
        leave,
    } = serde_json::from_slice(header).ok()?;
    let (organisation, user) = (Id::parse(&organization).ok()?, UserId::parse(&user).ok()?);
    let operation = RoomOperation::new(organisation, user, &join, &leave);
    operation.ok().map(BusMessage::Rooms)
}

fn revocation(header: &[u8], payload: &[u8]) -> Option<BusMessage> {
    let RevocationHeader { target } = serde_json::from_slice(header).ok()?;
    let change = RevocationChange::parse(target.as_bytes(), Some(payload)).ok()?;
    Some(BusMessage::Revocation(change.target, change.revocation?))
}

#[cfg(test)]
mod tests;
