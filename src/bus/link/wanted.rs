//! What a link is asked to subscribe to.

use std::collections::BTreeSet;

/// What messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subscription {
    Channel(Box<str>),
    /// As of Redis: `*`, `?` and `[…]` stand for others.
    Pattern(Box<str>),
}

/// What is wanted of Redis, and what of it may not be asked for yet.
#[derive(Default)]
pub(super) struct WantedMessages {
    pub(super) all: BTreeSet<Subscription>,
    /// Wanted or no longer wanted since the last look: with ten thousand organisations one that comes is no walk over all.
    pub(super) changed: BTreeSet<Subscription>,
}

pub(super) fn channels<'a>(all: impl Iterator<Item = &'a Subscription>) -> Vec<&'a str> {
    let named = |one: &'a Subscription| match one {
        Subscription::Channel(name) => Some(&**name),
        Subscription::Pattern(_) => None,
    };
    all.filter_map(named).collect()
}

pub(super) fn patterns<'a>(all: impl Iterator<Item = &'a Subscription>) -> Vec<&'a str> {
    let named = |one: &'a Subscription| match one {
        Subscription::Pattern(pattern) => Some(&**pattern),
        Subscription::Channel(_) => None,
    };
    all.filter_map(named).collect()
}
