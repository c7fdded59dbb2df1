//! What is wrong with Redis, in words that an operator can act on.

use std::time::Duration;

use redis::ErrorKind;

/// Why Redis cannot be used. None of these holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    #[error("REDIS_URL is no URL of Redis, such as redis://host:6379/0, or rediss:// for TLS")]
    Url,
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("the connection was lost")]
    Lost,
    /// Nobody has tried so far.
    #[error("it is not connected yet")]
    NotYet,
    #[error("the connection is made anew: that server takes no writes")]
    GivenUp,
    #[error(
        "it is part of a {0}: Fleetcast needs a Redis that is neither a Cluster nor a Sentinel, such as the primary behind one address"
    )]
    Mode(&'static str),
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("authentication required: redis://:PASSWORD@host, or redis://USER:PASSWORD@host")]
    PasswordMissing,
    #[error("it does not take this user and password")]
    PasswordWrong,
    /// Before version 6, or something in between that speaks less.
    #[error("it does not speak RESP3: Redis 6 or later is needed")]
    Resp3,
    #[error("it answers: {0}")]
    Refused(String),
}

impl RedisFault {
    /// What HELLO says a server to be that cannot be used.
    pub(super) fn mode(mode: &str) -> Self {
        Self::Mode(if mode == "cluster" {
            "Redis Cluster"
        } else {
            "Redis Sentinel"
        })
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
