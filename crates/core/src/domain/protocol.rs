//! The closed lists of codes that clients and operators see. They outlive the code: names and numbers are
//! never reused, new ones are added at the end of their range.
//!
//! | numbers | list | what a client should do |
//! |---|---|---|
//! | 100 to 199 | [`Refusal`] | not try again with the same token |
//! | 200 to 299 | [`Reason`] | not send the same command again |
//! | 300 to 399 | [`Reason`] | try again later, with a growing delay |
//! | 400 to 499 | [`CloseReason`] | reconnect; stock clients do so by themselves |
//! | 500 to 599 | [`CloseReason`] | not reconnect before something has changed |
//! | 600 to 699 | [`ResyncReason`] | load the state from the API, then go on with the live events |
//! | 700 to 799 | [`RevokeReason`] | not ask for the room again before something has changed |
//! | 800 to 899 | [`GrantReason`] | subscribe, if it wants the room; of one that it holds already that changes nothing |

macro_rules! codes {
    (
        $(#[$about:meta])*
        $list:ident {
            $( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $message:literal; )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $list {
            $( $(#[$doc])* $variant, )+
        }

        impl $list {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire, in logs and as a metric label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// For people; fixed text, so that nothing of the server or of another client can leak through it.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }

            /// The same attempt may succeed later. Follows from the number's range alone.
            pub const fn retryable(self) -> bool {
                matches!(self.number(), 300..=499)
            }
        }

        impl std::fmt::Display for $list {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// Why a CONNECT is refused. The name is the whole `connect_error` message, and final: a stock client that gets one
    /// never tries again, so what a retry could cure (limits, draining, not ready) must never be said with one.
    #[expect(clippy::enum_variant_names, reason = "the names are those on the wire")]
    Refusal {
        TokenMissing = 101, "token_missing", "no token was given";
        /// Not a token, wrong signature, wrong claims: one answer for all, the log knows which.
        TokenInvalid = 102, "token_invalid", "the token is not valid";
        TokenExpired = 103, "token_expired", "the token has expired";
        TokenRevoked = 104, "token_revoked", "the token was revoked";
    }
}

codes! {
    /// Why a command failed, in its acknowledgement.
    Reason {
        BadRequest = 201, "bad_request", "the request is malformed";
        UnknownEvent = 202, "unknown_event", "there is no such command";
        /// Also the answer for what does not exist, so that no client can find out what does.
        Forbidden = 203, "forbidden", "not allowed";
        TooManyRooms = 204, "too_many_rooms", "too many rooms on one connection";
        BadCursor = 205, "bad_cursor", "the cursor is not valid";
        RateLimited = 301, "rate_limited", "too many commands, slow down";
        Internal = 302, "internal", "the server failed, try again";
    }
}

codes! {
    /// Why a connection ended, for logs and `fleetcast_disconnects_total`.
    CloseReason {
        /// The client or its network closed the connection.
        ClientLeft = 401, "client_left", "the client went away";
        Heartbeat = 402, "heartbeat", "no answer to a ping";
        /// Bytes lay in the socket for longer than `SLOW_CLIENT_TIMEOUT`.
        WriteStall = 403, "write_stall", "the client took no bytes for too long";
        /// The client lagged and took no event for longer than `SLOW_CLIENT_TIMEOUT`.
        TooSlow = 404, "too_slow", "the client could not keep up";
        TransportError = 405, "transport_error", "the transport failed";
        /// A change of transport that did not finish.
        Upgrade = 406, "upgrade", "the upgrade did not finish";
        Draining = 407, "draining", "the server is stopping";
        /// An operator closed the connection; the client may reconnect.
        Kicked = 408, "kicked", "closed by an operator";
        /// The stock client asks its `auth` callback for a fresh token when it reconnects; an old one is then refused for good.
        TokenExpired = 409, "token_expired", "the token has expired";
        MessageRate = 410, "msg_rate", "too many messages";
        Internal = 411, "internal", "the server failed";
        /// An answer to a poll did not arrive and cannot be repeated. The client resumes from its cursor.
        AnswerLost = 412, "answer_lost", "an answer to a poll was lost";
        /// One of the share that was drained for other instances.
        Rebalanced = 413, "rebalanced", "moved to share the load";
        TokenRevoked = 501, "token_revoked", "the token was revoked";
        /// An operator closed the connection for good.
        Dismissed = 502, "dismissed", "closed by an operator, not to return";
        /// A packet that no well-behaved client sends.
        Protocol = 503, "protocol", "the client broke the protocol";
        TooBig = 504, "too_big", "a message was too large";
        /// Several refused CONNECTs on one transport.
        AuthRate = 505, "auth_rate", "too many failed attempts to connect";
        /// `auth:refresh` with the token of another user or organisation.
        IdentityChanged = 506, "identity_changed", "the new token is of another user";
    }
}

codes! {
    /// Why a client must load its state again, in `resync_required`.
    ResyncReason {
        /// It does not parse, or its checksum is wrong.
        CursorInvalid = 601, "cursor_invalid", "the cursor is not valid";
        CursorForeign = 602, "cursor_foreign", "the cursor is of another organisation";
        /// Issued before this organisation's window begins here.
        CursorExpired = 603, "cursor_expired", "the cursor is older than the window";
        /// The byte cap evicted records that the cursor does not cover.
        Evicted = 604, "evicted", "events were evicted from the window";
        TopicRecreated = 605, "topic_recreated", "a topic was recreated";
        /// The end of the log lies below the cursor: the log was cut.
        LogTruncated = 606, "log_truncated", "the log ends before the cursor";
        /// Retention deleted records before they were read.
        Gap = 607, "gap", "records were deleted before they could be read";
        /// The wall clock stepped, so the cursor's time of issue means nothing.
        Clock = 608, "clock", "the clock was set after the cursor was issued";
    }
}

codes! {
    /// Why a connection has left a room without asking to, in `room_revoked`.
    RevokeReason {
        /// The policy was changed.
        Policy = 701, "policy", "the policy does not allow it any more";
        /// It was permitted by a grant, which was withdrawn.
        GrantWithdrawn = 702, "grant_withdrawn", "the grant of it was withdrawn";
        /// `auth:refresh` with a token that grants less than the one before.
        TokenChanged = 703, "token_changed", "the new token does not allow it";
        /// A request to the API. The policy may allow it all the same.
        TakenOut = 704, "taken_out", "a back-end has taken the connection out of it";
    }
}

codes! {
    /// Why a connection may join a room that its token does not allow, or has joined one without asking to, in `room_granted`.
    GrantReason {
        /// A request to the API.
        Granted = 801, "granted", "a grant permits it";
        /// Another one: the connection holds the room.
        Joined = 802, "joined", "a back-end has made the connection join it";
    }
}

/// Names that no record, publisher or profile may use: what Socket.IO's own libraries emit (those of the old clients
/// included), what a browser's `EventSource` emits, and what this server says itself. A record of such a name could
/// pose as the server: `connect_error` would make a client give up, `cursor` would move its resume position.
pub const RESERVED_EVENTS: &[&str] = &[
    "connect",
    "connect_error",
    "connect_timeout",
    "connecting",
    "connection",
    "disconnect",
    "disconnecting",
    "error",
    "newListener",
    "removeListener",
    "ping",
    "pong",
    "reconnect",
    "reconnect_attempt",
    "reconnect_error",
    "reconnect_failed",
    "reconnecting",
    "open",
    "auth_expiring",
    "connection_established",
    "cursor",
    "removed",
    "resync_required",
    "room_granted",
    "room_revoked",
    "stale",
];

pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::RangeInclusive;

    use super::*;

    #[test]
    fn numbers_are_unique_stay_in_their_range_and_say_whether_to_retry() {
        let mut seen = BTreeSet::new();
        let mut check = |name: &str, number: u16, retryable: bool, range: RangeInclusive<u16>| {
            assert!(range.contains(&number), "{name} {number}");
            assert!(seen.insert(number), "{number} is used twice");
            assert_eq!(retryable, (300..500).contains(&number), "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
        };
        for code in Refusal::ALL {
            check(code.as_str(), code.number(), code.retryable(), 100..=199);
        }
        for code in Reason::ALL {
            check(code.as_str(), code.number(), code.retryable(), 200..=399);
        }
        for code in CloseReason::ALL {
            check(code.as_str(), code.number(), code.retryable(), 400..=599);
        }
        for code in RevokeReason::ALL {
            check(code.as_str(), code.number(), code.retryable(), 700..=799);
        }
        for code in GrantReason::ALL {
            check(code.as_str(), code.number(), code.retryable(), 800..=899);
        }
        for code in ResyncReason::ALL {
            check(code.as_str(), code.number(), code.retryable(), 600..=699);
        }
    }

    #[test]
    fn the_lists_hold_the_names_of_the_contract() {
        let names = |all: &[Reason]| all.iter().map(|reason| reason.as_str()).collect::<Vec<_>>();
        assert_eq!(
            names(Reason::ALL),
            [
                "bad_request",
                "unknown_event",
                "forbidden",
                "too_many_rooms",
                "bad_cursor",
                "rate_limited",
                "internal"
            ]
        );
        let refusals: Vec<_> = Refusal::ALL
            .iter()
            .map(|refusal| refusal.as_str())
            .collect();
        assert_eq!(
            refusals,
            [
                "token_missing",
                "token_invalid",
                "token_expired",
                "token_revoked"
            ]
        );
        assert!(Refusal::ALL.iter().all(|refusal| !refusal.retryable()));
    }
}
