//! Why a record reaches no client: a closed list, each counted under its own label.

use std::fmt;

/// Why a record reaches no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// No value: the record deletes a key of a compacted topic.
    Tombstone,
    /// A value of no bytes.
    Empty,
    /// Over `MAX_EVENT_BYTES`.
    TooLarge,
    /// The topic's values are framed for a schema registry, and this one is not, or has nothing behind the frame.
    BadFraming,
    NotUtf8,
    /// Also what begins with a byte order mark, which `JSON.parse` refuses too.
    NotJson,
    /// JSON, but an array or a scalar.
    NotObject,
    /// Deeper than [`MAX_DEPTH`](super::decode::MAX_DEPTH), which would overflow the stack of many a client.
    TooDeep,
    NoOrganisation,
    /// The organisation is there but fits no room.
    BadOrganisation,
    /// Two sources name different organisations, or a routing field occurs twice in one object: we would take the first,
    /// a client's `JSON.parse` takes the last.
    AmbiguousField,
    NoEvent,
    UnknownEvent,
    /// The name belongs to Socket.IO or to this server.
    ReservedEvent,
    /// A room that the route requires has no id, or all of its rooms dropped out.
    NoRoom,
    /// The id of a room is there but fits no room.
    BadId,
    /// The part that the route hands on is not there, or is no object and no list.
    NoPayload,
    /// The record's topic is none of the profile's.
    UnknownTopic,
    /// A record of the topic for publishing that repeats one before it.
    Duplicate,
}

impl Skip {
    pub const ALL: &'static [Self] = &[
        Self::Tombstone,
        Self::Empty,
        Self::TooLarge,
        Self::BadFraming,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotObject,
        Self::TooDeep,
        Self::NoOrganisation,
        Self::BadOrganisation,
        Self::AmbiguousField,
        Self::NoEvent,
        Self::UnknownEvent,
        Self::ReservedEvent,
        Self::NoRoom,
        Self::BadId,
        Self::NoPayload,
        Self::UnknownTopic,
        Self::Duplicate,
    ];

    /// The metric label; stable.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::BadFraming => "bad_framing",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::TooDeep => "too_deep",
            Self::NoOrganisation => "no_organisation",
            Self::BadOrganisation => "bad_organisation",
            Self::AmbiguousField => "ambiguous_field",
            Self::NoEvent => "no_event",
            Self::UnknownEvent => "unknown_event",
            Self::ReservedEvent => "reserved_event",
            Self::NoRoom => "no_room",
            Self::BadId => "bad_id",
            Self::NoPayload => "no_payload",
            Self::UnknownTopic => "unknown_topic",
            Self::Duplicate => "duplicate",
        }
    }

    /// A person should look at the record: it belongs with the dead letters. The others are records that are none of our
    /// business; a topic may well carry them.
    pub const fn is_poison(self) -> bool {
        !matches!(
            self,
            Self::Tombstone
                | Self::NoEvent
                | Self::UnknownEvent
                | Self::UnknownTopic
                | Self::Duplicate
        )
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.outcome())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_unique_labels() {
        let labels: std::collections::BTreeSet<_> =
            Skip::ALL.iter().map(|skip| skip.outcome()).collect();
        assert_eq!(labels.len(), Skip::ALL.len());
        assert!(Skip::BadOrganisation.is_poison() && !Skip::UnknownEvent.is_poison());
    }
}
