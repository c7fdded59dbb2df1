//! The attacks, and which limit each of them meets.

use std::time::Duration;

/// Named by its row in the list of attacks that Fleetcast must survive, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    Connections,
    Churn,
    ForgedAddress,
    Frames,
    TinyPackets,
    RandomSids,
    BadTokens,
    Commands,
    Resumes,
    OneUser,
    SlowBodies,
}

impl Attack {
    pub(super) const ALL: [Self; 11] = [
        Self::Connections,
        Self::Churn,
        Self::ForgedAddress,
        Self::Frames,
        Self::TinyPackets,
        Self::RandomSids,
        Self::BadTokens,
        Self::Commands,
        Self::Resumes,
        Self::OneUser,
        Self::SlowBodies,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connections => "a08",
            Self::Churn => "a10",
            Self::ForgedAddress => "a16",
            Self::Frames => "a23",
            Self::TinyPackets => "a29",
            Self::RandomSids => "a42",
            Self::BadTokens => "a49",
            Self::Commands => "a72",
            Self::Resumes => "a75",
            Self::OneUser => "one-user",
            Self::SlowBodies => "slow-bodies",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Connections => "10,000 WebSockets of one address, kept open",
            Self::Churn => "500 WebSockets a second of one address, opened and closed",
            Self::ForgedAddress => "the same, each with another `X-Forwarded-For`",
            Self::Frames => "50,000 pings, pongs and empty text frames a second",
            Self::TinyPackets => "400 POSTs a second of 1,000 packets each, in four sessions",
            Self::RandomSids => "1,000 polls a second with random session ids",
            Self::BadTokens => "1,000 CONNECTs a second with forged tokens",
            Self::Commands => "10,000 `subscribe` and `unsubscribe` a second on four connections",
            Self::Resumes => "one user shows its oldest cursor 100 times a second",
            Self::OneUser => "one user keeps 1,000 connections open",
            Self::SlowBodies => "500 request bodies at 100 bytes a second",
        }
    }

    /// What the attacker's numbers count.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Connections | Self::Churn | Self::ForgedAddress | Self::OneUser => "connections",
            Self::Frames => "frames",
            Self::TinyPackets => "POSTs",
            Self::RandomSids => "polls",
            Self::BadTokens => "CONNECTs",
            Self::Commands => "commands",
            Self::Resumes => "resumes",
            Self::SlowBodies => "bodies",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|attack| attack.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|attack| attack.name()).collect();
            format!("{text:?} is none of {}", names.join(", "))
        })
    }

    /// Reasons of `fleetcast_refused_total`, of which one at least must grow where limits are on.
    pub(super) fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Connections => &["ip_limit", "handshake_rate"],
            Self::Churn | Self::ForgedAddress => &["handshake_rate"],
            Self::Frames | Self::TinyPackets | Self::Commands => &["msg_rate"],
            Self::RandomSids => &["bad_sid"],
            Self::BadTokens => &["auth_rate"],
            Self::Resumes => &["replay_rate"],
            Self::OneUser => &["user_limit"],
            Self::SlowBodies => &["body_timeout"],
        }
    }

    /// The limit has a setting: without one there is no server to compare with.
    pub(super) fn has_setting(self) -> bool {
        self != Self::SlowBodies
    }

    /// Shorter, and the limit has no time to show.
    pub(super) fn least(self) -> Duration {
        match self {
            // A body may take 10 s for its first 10 KiB.
            Self::SlowBodies => Duration::from_secs(14),
            // Refused 3 s after its CONNECT.
            Self::Resumes | Self::OneUser => Duration::from_secs(6),
            _ => Duration::from_secs(2),
        }
    }

    pub(super) fn threads(self) -> u16 {
        match self {
            Self::Frames => 3,
            Self::TinyPackets | Self::RandomSids | Self::Commands => 4,
            Self::SlowBodies => 5,
            Self::Connections | Self::Churn | Self::ForgedAddress | Self::BadTokens => 8,
            Self::OneUser => 10,
            Self::Resumes => 16,
        }
    }

    /// Each thread comes from an address of its own, so that another limit than those of addresses is met.
    pub(super) fn has_many_addresses(self) -> bool {
        matches!(self, Self::Resumes | Self::OneUser | Self::SlowBodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_told_apart() {
        for attack in Attack::ALL {
            assert_eq!(Attack::parse(attack.name()), Ok(attack));
        }
        let wrong = Attack::parse("a99").expect_err("there is none");
        assert!(
            wrong.contains("a08") && wrong.contains("slow-bodies"),
            "{wrong}"
        );
    }
}
