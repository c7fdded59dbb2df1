//! Why a message of an emitter becomes no event: a closed list, each counted under its own label.

/// Why a message of an emitter becomes no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The message, or its arguments together, which are limited by `MAX_EVENT_BYTES`.
    TooLarge,
    /// An argument is nested deeper than [`MAX_DEPTH`](crate::domain::decode::MAX_DEPTH).
    TooDeep,
    /// It is none of this kind of emitter.
    Malformed,
    /// Of python-socketio before 5.14.0: to read a pickle is to run it.
    Pickle,
    /// Something else than an event: join, leave, disconnect, a request to the servers, a callback.
    NotAllowed,
    /// It excepts rooms or connections. To send it to them all the same would be worse than to drop it.
    Excluded,
    /// Of another namespace than `/`.
    OtherNamespace,
    /// The name of the event is not one that may be published.
    BadEvent,
    /// An argument is no object and no list, or holds what JSON has not.
    BadArgument,
    /// Bytes among the arguments.
    Binary,
    /// The name of a room is not one, or there are too many.
    BadRoom,
}

impl Refused {
    pub const ALL: &'static [Self] = &[
        Self::TooLarge,
        Self::TooDeep,
        Self::Malformed,
        Self::Pickle,
        Self::NotAllowed,
        Self::Excluded,
        Self::OtherNamespace,
        Self::BadEvent,
        Self::BadArgument,
        Self::Binary,
        Self::BadRoom,
    ];

    /// The metric label; stable.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::Malformed => "malformed",
            Self::Pickle => "pickle",
            Self::NotAllowed => "not_allowed",
            Self::Excluded => "excluded",
            Self::OtherNamespace => "other_namespace",
            Self::BadEvent => "bad_event",
            Self::BadArgument => "bad_argument",
            Self::Binary => "binary",
            Self::BadRoom => "bad_room",
        }
    }
}
