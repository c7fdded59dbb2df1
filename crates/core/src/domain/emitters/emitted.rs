//! What all emitters have in common: an event with its arguments, for rooms. Here it is checked as what is published over HTTP is.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Refused;
use crate::domain::id::Id;
use crate::domain::publication::{Ephemeral, MAX_ARGUMENTS};
use crate::domain::published::{self, BadMessage};
use crate::domain::room::Room;

/// An event as an emitter wrote it. Every part is JSON, and nothing else is known about it.
pub(super) struct Emitted<'a> {
    pub(super) event: &'a RawValue,
    pub(super) arguments: Vec<&'a RawValue>,
    /// None: for the whole organisation.
    pub(super) rooms: Vec<&'a RawValue>,
}

impl Emitted<'_> {
    pub(super) fn event(
        &self,
        organisation: &Id,
        max_event_bytes: usize,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Ephemeral, Refused> {
        let name: Cow<'_, str> =
            serde_json::from_str(self.event.get()).map_err(|_| Refused::BadEvent)?;
        let event = published::event_name(&name).map_err(|_| Refused::BadEvent)?;
        Ok(Ephemeral {
            event,
            organisation: organisation.clone(),
            rooms: self.rooms(organisation, is_known)?,
            arguments: self.arguments(max_event_bytes)?,
        })
    }

    fn rooms(
        &self,
        organisation: &Id,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Vec<Room>, Refused> {
        if self.rooms.is_empty() {
            return Ok(vec![Room::organisation(organisation)]);
        }
        let text = |room: &&RawValue| serde_json::from_str(room.get());
        let names: Result<Vec<String>, _> = self.rooms.iter().map(text).collect();
        let names = names.map_err(|_| Refused::BadRoom)?;
        published::rooms(organisation, &names, is_known).map_err(|_| Refused::BadRoom)
    }

    /// `max_event_bytes`: of all of them, with the commas in between.
    fn arguments(&self, max_event_bytes: usize) -> Result<Vec<Box<RawValue>>, Refused> {
        if self.arguments.len() > MAX_ARGUMENTS {
            return Err(Refused::BadArgument);
        }
        let mut left = max_event_bytes;
        for argument in &self.arguments {
            published::data(argument, left).map_err(|wrong| match wrong {
                BadMessage::TooLarge(_) => Refused::TooLarge,
                BadMessage::TooDeep => Refused::TooDeep,
                _ => Refused::BadArgument,
            })?;
            left = left.saturating_sub(argument.get().len().saturating_add(1));
        }
        Ok(self.arguments.iter().map(|one| (*one).to_owned()).collect())
    }
}
