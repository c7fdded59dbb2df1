//! The header of each kind of message, as JSON. Texts are borrowed from the message where they hold no escapes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What stands in front of the arguments of an event.
#[derive(Serialize, Deserialize)]
pub(super) struct EventHeader<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    /// By their names within the organisation.
    #[serde(borrow)]
    pub(super) rooms: Vec<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KickHeader<'a> {
    #[serde(borrow)]
    pub(super) connection: Cow<'a, str>,
    pub(super) may_return: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DisconnectHeader<'a> {
    #[serde(borrow)]
    pub(super) organization: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    pub(super) may_return: bool,
}

/// Rooms by their names within the organisation.
#[derive(Serialize, Deserialize)]
pub(super) struct RoomsHeader<'a> {
    #[serde(borrow)]
    pub(super) organization: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) join: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) leave: Vec<Cow<'a, str>>,
}

/// The payload is the value of the target's record.
#[derive(Serialize, Deserialize)]
pub(super) struct RevocationHeader<'a> {
    #[serde(borrow)]
    pub(super) target: Cow<'a, str>,
}
