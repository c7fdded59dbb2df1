//! Every value that a closed label may take. docs/operations.md lists them and a test compares.

use fleetcast_core::domain::control_record::BadControlRecord;
use fleetcast_core::domain::decode::Skip;
use fleetcast_core::domain::protocol::{CloseReason, Reason, Refusal};

/// A closed list of label values: only these can be counted, and all of them exist, at zero, from the start.
pub trait Label: Copy + 'static {
    /// The label's name in the metric.
    const NAME: &'static str;
    /// In the order of the discriminants.
    const ALL: &'static [Self];

    fn as_str(self) -> &'static str;

    /// The place in `ALL`.
    fn index(self) -> usize;

    /// The value written as `text`, if it is one of ours.
    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|value| value.as_str() == text)
    }
}

macro_rules! labels {
    ($(#[$outer:meta])* $name:ident as $label:literal { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant,)+ }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub use super::bus::{BusOutcome, RedisOutcome};

/// What a connection is counted under. Each transport declares its own: see [`Metrics::declare_connections`].
///
/// [`Metrics::declare_connections`]: super::Metrics::declare_connections
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLabels {
    /// How the connection is carried.
    pub transport: &'static str,
    /// Where the transport has namespaces, the one that was connected to.
    pub namespace: &'static str,
}

pub(super) use labels;

labels! {
    /// What became of a record: routed, or why it reaches no client.
    RecordOutcome as "outcome" {
        Routed = "routed",
        Tombstone = "tombstone",
        Empty = "empty",
        BadFraming = "bad_framing",
        NotUtf8 = "not_utf8",
        NotJson = "not_json",
        NotObject = "not_object",
        TooDeep = "too_deep",
        TooLarge = "too_large",
        NoOrganisation = "no_organisation",
        BadOrganisation = "bad_organisation",
        AmbiguousField = "ambiguous_field",
        NoEvent = "no_event",
        UnknownEvent = "unknown_event",
        ReservedEvent = "reserved_event",
        NoRoom = "no_room",
        BadId = "bad_id",
        NoPayload = "no_payload",
        UnknownTopic = "unknown_topic",
        /// Of the topic for publishing: a retry of what was published before.
        Duplicate = "duplicate",
    }
}

labels! {
    /// Why an event that was meant for a connection did not reach it. The client was notified, or its connection is closed, or the
    /// event was volatile.
    Undelivered as "reason" {
        /// The connection ended before the event had been written; a resume brings it.
        Closed = "closed",
        /// The connection fell behind the window and got `resync_required`.
        BehindWindow = "behind_window",
        /// A newer one of the same key of class `latest` went to it instead: no loss.
        Conflated = "conflated",
        /// An event without a position was offered to a connection whose send budget was full. It is sent once or not at all.
        Volatile = "volatile",
        /// The event could not be put into the wire's form. A fault of ours.
        Encoding = "encoding",
    }
}

labels! {
    /// How a request to go on from a cursor ended.
    ResumeOutcome as "outcome" {
        Resumed = "resumed",
        Resync = "resync",
        BadCursor = "bad_cursor",
    }
}

labels! {
    /// How a poll or a post with the `t` of the one before it was answered.
    RepeatOutcome as "outcome" {
        /// With the last answer, again.
        Repeated = "repeated",
        /// In place of the request that waited.
        TakenOver = "taken_over",
        /// With 400, because the answer was evicted. The session has ended.
        Evicted = "evicted",
        /// A post: it was accepted before.
        Accepted = "accepted",
    }
}

labels! {
    /// Why a connection or a handshake was rejected.
    RejectReason as "reason" {
        TokenMissing = "token_missing",
        TokenInvalid = "token_invalid",
        TokenExpired = "token_expired",
        TokenRevoked = "token_revoked",
        /// The key of the token is being looked for: the client must try again.
        KeysPending = "keys_pending",
        /// A room needs a grant, and the grants are not read to their end: the client must try again.
        GrantsPending = "grants_pending",
        Namespace = "namespace",
        Origin = "origin",
        Starting = "starting",
        Draining = "draining",
        MaxConnections = "max_connections",
        /// Memory is near `MAX_RSS`.
        MemShed = "mem_shed",
        HeaderTimeout = "header_timeout",
        HeaderLimit = "header_limit",
        BodyLimit = "body_limit",
        BadHttp = "bad_http",
        BadUpgrade = "bad_upgrade",
        BodyTimeout = "body_timeout",
        BadMethod = "bad_method",
        BadTransport = "bad_transport",
        BadSid = "bad_sid",
        Version = "version",
        ConnectTimeout = "connect_timeout",
        Accept = "accept",
        /// Of the internal API: a web page sent it.
        ApiOrigin = "api_origin",
        /// Of the internal API: its `Host` is a name that is not ours.
        ApiHost = "api_host",
        /// Of the internal API: its body is not declared as JSON.
        ApiMediaType = "api_media_type",
        /// Of the API: the token is missing or wrong, or none is set where one is required.
        ApiToken = "api_token",
        /// Of the API: it is not as the document says.
        ApiRequest = "api_request",
        /// Of the API: it could not be done now.
        ApiUnavailable = "api_unavailable",
        IpLimit = "ip_limit",
        HandshakeRate = "handshake_rate",
        UserLimit = "user_limit",
        OrganisationLimit = "organisation_limit",
        ProxyPreamble = "proxy_preamble",
        MessageRate = "msg_rate",
        AuthRate = "auth_rate",
        ReplayRate = "replay_rate",
    }
}

labels! {
    /// Commands of clients. What is none of ours is `unknown`, whatever it was called.
    Command as "command" {
        Subscribe = "subscribe",
        Unsubscribe = "unsubscribe",
        Rooms = "rooms",
        Ack = "ack",
        Refresh = "auth:refresh",
        Unknown = "unknown",
    }
}

labels! {
    /// How a command was answered: done, or the code of the error.
    CommandOutcome as "outcome" {
        Success = "success",
        BadRequest = "bad_request",
        UnknownEvent = "unknown_event",
        Forbidden = "forbidden",
        RateLimited = "rate_limited",
        TooManyRooms = "too_many_rooms",
        BadCursor = "bad_cursor",
        Internal = "internal",
        TokenMissing = "token_missing",
        TokenInvalid = "token_invalid",
        TokenExpired = "token_expired",
        TokenRevoked = "token_revoked",
    }
}

labels! {
    /// What became of asking clients to acknowledge an event.
    AskOutcome as "outcome" {
        Asked = "asked",
        Acknowledged = "acknowledged",
        /// No answer in time, or the connection ended before.
        Missing = "missing",
        /// Too many answers were outstanding: the event went out without a question.
        NotAsked = "not_asked",
    }
}

labels! {
    /// What became of a receipt.
    ReceiptOutcome as "outcome" {
        Kept = "kept",
        /// The brokers did not take it in time, or its queue was full.
        Lost = "lost",
    }
}

labels! {
    /// What became of a record for `CONNECTIONS_TOPIC`.
    ConnectionEventOutcome as "outcome" {
        Kept = "kept",
        /// The brokers did not take it in time, or its queue was full.
        Lost = "lost",
    }
}

labels! {
    /// What a record of a compacted topic of ours is about.
    ControlKind as "kind" {
        Revocation = "revocation",
        Grant = "grant",
    }
}

labels! {
    /// What became of such a record.
    ControlOutcome as "outcome" {
        Applied = "applied",
        /// A tombstone.
        Deleted = "deleted",
        /// A tombstone that is older than what it names.
        Outdated = "outdated",
        BadKey = "bad_key",
        BadValue = "bad_value",
        /// A later version wrote it.
        BadVersion = "bad_version",
    }
}

impl From<BadControlRecord> for ControlOutcome {
    fn from(bad: BadControlRecord) -> Self {
        match bad {
            BadControlRecord::Key => Self::BadKey,
            BadControlRecord::Value => Self::BadValue,
            BadControlRecord::Version => Self::BadVersion,
        }
    }
}

labels! {
    /// What came of SIGHUP.
    ReloadOutcome as "outcome" {
        Applied = "applied",
        /// Something was wrong: everything stayed as it was.
        Refused = "refused",
    }
}

/// Why a connection ended: the protocol's own list, so that logs, metrics and close codes speak of the same things.
impl Label for CloseReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = CloseReason::ALL;

    fn as_str(self) -> &'static str {
        CloseReason::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl From<Reason> for CommandOutcome {
    fn from(reason: Reason) -> Self {
        Self::parse(reason.as_str()).expect("a test compares the two lists")
    }
}

impl From<Refusal> for CommandOutcome {
    fn from(refusal: Refusal) -> Self {
        Self::parse(refusal.as_str()).expect("a test compares the two lists")
    }
}

impl From<Skip> for RecordOutcome {
    fn from(skip: Skip) -> Self {
        Self::parse(skip.outcome()).expect("a test compares the two lists")
    }
}

impl From<Refusal> for RejectReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TokenMissing => Self::TokenMissing,
            Refusal::TokenInvalid => Self::TokenInvalid,
            Refusal::TokenExpired => Self::TokenExpired,
            Refusal::TokenRevoked => Self::TokenRevoked,
        }
    }
}

labels! {
    /// Parts whose faults are counted.
    Component as "component" {
        Kafka = "kafka",
        Hub = "hub",
        Net = "net",
        Http = "http",
        Keys = "keys",
        SocketIo = "socketio",
        Memory = "memory",
        Redis = "redis",
        /// The simulated city of the demo.
        Demo = "demo",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label + std::fmt::Debug + PartialEq>() {
        for (place, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), place);
            assert_eq!(L::parse(value.as_str()), Some(*value));
        }
    }

    #[test]
    fn every_outcome_of_the_core_has_a_label() {
        for skip in Skip::ALL {
            assert_eq!(RecordOutcome::from(*skip).as_str(), skip.outcome());
        }
        assert_eq!(
            RecordOutcome::ALL.len(),
            Skip::ALL.len() + 1,
            "and `routed`"
        );
        for reason in Reason::ALL {
            assert_eq!(CommandOutcome::from(*reason).as_str(), reason.as_str());
        }
        assert_eq!(
            CommandOutcome::ALL.len(),
            Reason::ALL.len() + Refusal::ALL.len() + 1,
            "and `success`"
        );
        for refusal in Refusal::ALL {
            assert_eq!(RejectReason::from(*refusal).as_str(), refusal.as_str());
            assert_eq!(CommandOutcome::from(*refusal).as_str(), refusal.as_str());
        }
    }

    #[test]
    fn each_label_value_has_its_index_and_its_text() {
        check::<RecordOutcome>();
        check::<Undelivered>();
        check::<ResumeOutcome>();
        check::<RejectReason>();
        check::<Command>();
        check::<CommandOutcome>();
        check::<AskOutcome>();
        check::<ReceiptOutcome>();
        check::<ConnectionEventOutcome>();
        check::<ReloadOutcome>();
        check::<ControlKind>();
        check::<ControlOutcome>();
        check::<CloseReason>();
        check::<Component>();
        check::<BusOutcome>();
        check::<RedisOutcome>();
        assert_eq!(RejectReason::parse("anything"), None);
    }
}
