//! What is wrong with Redis, in words that an operator can act on.

use std::time::Duration;

use redis::{ErrorKind, Value};

/// Why Redis cannot be used. None of these holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    #[error("invalid REDIS_URL: expected redis://host:6379/0, or rediss:// for TLS")]
    Url,
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("the connection was lost")]
    Lost,
    /// It has not been tried so far.
    #[error("it is not connected yet")]
    NotYet,
    #[error("connection dropped: the server is a read-only replica")]
    GivenUp,
    #[error(
        "it is part of a {0}: Fleetcast needs a Redis that is neither a Cluster nor a Sentinel, such as the primary behind one address"
    )]
    Mode(&'static str),
    #[error("the server is a read-only replica: REDIS_URL must lead to the primary")]
    Replica,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("authentication required: redis://:PASSWORD@host, or redis://USER:PASSWORD@host")]
    PasswordMissing,
    #[error("user or password rejected")]
    PasswordWrong,
    /// Before version 6, or something in between that speaks less.
    #[error("it does not speak RESP3: Redis 6 or later is needed")]
    Resp3,
    #[error("others write the same all the time")]
    Contended,
    #[error("it keeps {0}, and {1} are read")]
    TooMuch(usize, usize),
    #[error("it answers: {0}")]
    Refused(String),
    /// Something else than Fleetcast has written there.
    #[error("{0} instances have a lease in it: no more than 1,000 are looked at")]
    TooManyInstances(u32),
    #[error("not all instances have written their connections to it yet")]
    NotWhole,
}

impl RedisFault {
    /// What is wrong with a server that answers HELLO so.
    pub(super) fn of_hello(hello: &Value) -> Option<Self> {
        match (field(hello, "mode"), field(hello, "role")) {
            (Some("cluster"), _) => Some(Self::Mode("Redis Cluster")),
            (Some("sentinel"), _) => Some(Self::Mode("Redis Sentinel")),
            (_, Some("replica")) => Some(Self::Replica),
            _ => None,
        }
    }

    /// No server of this kind will ever do.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Mode(_) | Self::Url)
    }

    /// The connection has ended, or is not there yet.
    pub(super) fn is_of_link(&self) -> bool {
        matches!(self, Self::Lost | Self::NotYet | Self::GivenUp)
    }

    /// `password` is what must not be quoted, `within` how long was waited.
    pub(super) fn of(error: &redis::RedisError, password: Option<&str>, within: Duration) -> Self {
        let text = error.to_string();
        // Servers quote the command that they do not know, and HELLO has the password in it.
        let text = match password {
            Some(password) if !password.is_empty() => text.replace(password, "********"),
            _ => text,
        };
        let detail = error.detail().unwrap_or_default();
        let code = error.code().unwrap_or_default();
        match (error.kind(), code) {
            (_, "READONLY") => Self::Replica,
            (_, "NOAUTH") => Self::PasswordMissing,
            (_, "WRONGPASS") | (ErrorKind::AuthenticationFailed, _) => Self::PasswordWrong,
            (ErrorKind::RESP3NotSupported, _) | (_, "NOPROTO") => Self::Resp3,
            (ErrorKind::Server(_), _)
                if detail.to_ascii_lowercase().contains("unknown command") =>
            {
                Self::Resp3
            }
            _ if error.is_timeout() => Self::TimedOut(within),
            _ if error.is_io_error() => Self::Unreachable(text),
            _ => Self::Refused(text),
        }
    }
}

fn field<'a>(hello: &'a Value, wanted: &str) -> Option<&'a str> {
    let Value::Map(fields) = hello else {
        return None;
    };
    let mut fields = fields.iter();
    let (_, value) = fields.find(|(name, _)| text(name) == Some(wanted))?;
    text(value)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
