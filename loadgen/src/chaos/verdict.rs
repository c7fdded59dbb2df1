//! What is asked of a recorded history, and what can be found in it.

use serde::Serialize;

use super::history::{ClientHistory, Offences, Return};
use super::recovery::{Recovery, Spread};

/// Faults of one client that are described in words.
pub(super) const SAMPLES_EACH: usize = 3;

/// A `resync_required` for one of these reasons is right within this time: the nemesis has made it so.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    /// Whose clients; `None`: everybody's.
    pub(crate) organisation: Option<String>,
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
    pub(crate) reasons: &'static [&'static str],
    /// For clients that have missed so much, or more. What the servers themselves were behind by is on top of what a client
    /// missed: see [`Late`](super::late::Late).
    pub(crate) least_ns: u64,
}

impl Permit {
    /// At that time, to that client, for that reason.
    pub(crate) fn covers(&self, client: &ClientHistory, at_ns: u64, reason: &str) -> bool {
        let its = self.organisation.as_ref();
        its.is_none_or(|organisation| *organisation == client.organisation)
            && (self.from_ns..=self.until_ns).contains(&at_ns)
            && self.reasons.contains(&reason)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// How far back the servers promise to resume.
    pub(crate) window_ns: u64,
    pub(crate) permits: Vec<Permit>,
}

/// What was broken of the promises. All zero is a clean run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ChaosFaults {
    /// Acknowledged by the brokers, of a room that the client held, and not received.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Received after a record with a higher offset of the same partition, or of class `latest` after a newer one of its key.
    pub(crate) reordered: u64,
    pub(crate) leaked: u64,
    /// Of a room that the client did not hold, of an aborted transaction, or that no producer of this run wrote.
    pub(crate) unexpected: u64,
    pub(crate) altered: u64,
    /// Of class `latest`: the record of a key that the client was given last is not the newest.
    pub(crate) stale: u64,
    /// A resync although the client was not outside the window, or a cursor that was passed over without a word.
    pub(crate) false_resyncs: u64,
    /// A welcome announced a window that was not the organisation's.
    pub(crate) wrong_window: u64,
    /// An event before the welcome, or between one that says `resync` and the notice.
    pub(crate) unannounced: u64,
    /// Connections that ended with bytes that are no WebSocket frame of a server.
    pub(crate) broken: u64,
    /// Packets after which a stock client stays away.
    pub(crate) dismissed: u64,
    /// Clients whose subscription was never acknowledged.
    pub(crate) never_subscribed: u64,
    /// Clients that were away at the end and should not have been.
    pub(crate) never_back: u64,
}

impl ChaosFaults {
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("leaked", self.leaked),
            ("unexpected", self.unexpected),
            ("altered", self.altered),
            ("stale", self.stale),
            ("false resyncs", self.false_resyncs),
            ("wrong_window", self.wrong_window),
            ("unannounced", self.unannounced),
            ("broken", self.broken),
            ("dismissed", self.dismissed),
            ("never subscribed", self.never_subscribed),
            ("never back", self.never_back),
        ]
    }

    pub(super) fn add(&mut self, offences: &Offences) {
        let Offences {
            duplicated,
            reordered,
            leaked,
            unexpected,
            altered,
            unannounced,
            broken,
            dismissed,
        } = offences;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.leaked += leaked;
        self.unexpected += unexpected;
        self.altered += altered;
        self.unannounced += unannounced;
        self.broken += broken;
        self.dismissed += dismissed;
    }
}

#[derive(Debug, Default)]
pub(crate) struct ChaosVerdict {
    /// Deliveries that had to be, and were looked for one by one.
    pub(crate) checked: u64,
    pub(crate) received: u64,
    pub(crate) faults: ChaosFaults,
    pub(crate) resyncs: u64,
    pub(crate) repeated_after_resync: u64,
    pub(crate) cuts: u64,
    pub(crate) lost_connections: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) back_after_cut_ms: Spread,
    pub(crate) recoveries: Vec<Recovery>,
    /// The first few faults in words.
    pub(crate) samples: Vec<String>,
    /// The first few clients that had any.
    pub(crate) clients: Vec<usize>,
}

/// The client's own doings at that time.
pub(super) fn around(client: &ClientHistory, at_ns: u64) -> String {
    let away = |back: &&Return| back.closed_ns.saturating_sub(2_000_000_000) < at_ns;
    let before = client.returns.iter().rev().find(away);
    before.map_or_else(
        || "its connection had never ended before".to_owned(),
        |back| {
            let since = |ns: Option<u64>| {
                ns.map_or("never".to_owned(), |ns| {
                    format!("at {} ms", ns.saturating_sub(back.closed_ns) / 1_000_000)
                })
            };
            let sent = i128::from(at_ns) - i128::from(back.closed_ns);
            format!(
                "its connection {} {} ms before that; welcome {}, first event {}",
                if back.wanted { "was cut" } else { "ended" },
                sent / 1_000_000,
                since(back.welcome_ns),
                since(back.event_ns)
            )
        },
    )
}
