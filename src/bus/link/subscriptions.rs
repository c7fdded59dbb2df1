//! Which messages the link is to bring, and how Redis is asked for them.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;

use super::super::fault::RedisFault;
use super::{Link, lock};

/// Channels that are named in one command.
const AT_ONCE: usize = 256;

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
    /// Wanted or no longer wanted since the last look: so that one new subscription among ten thousand needs no pass over all.
    pub(super) changed: BTreeSet<Subscription>,
}

impl Link {
    /// From soon on, and again after each time that the connection is made.
    pub fn subscribe(&self, to: Subscription) {
        let mut wanted = lock(&self.wanted);
        if wanted.all.insert(to.clone()) {
            wanted.changed.insert(to);
            self.wanted_changed.notify_one();
        }
    }

    pub fn unsubscribe(&self, from: &Subscription) {
        let mut wanted = lock(&self.wanted);
        if wanted.all.remove(from) {
            wanted.changed.insert(from.clone());
            self.wanted_changed.notify_one();
        }
    }

    /// On a connection that is new.
    pub(super) fn want_all_again(&self) {
        let mut wanted = lock(&self.wanted);
        let WantedMessages { all, changed } = &mut *wanted;
        changed.clone_from(all);
    }

    /// Makes `subscribed` what is wanted, as far as that has changed.
    pub(super) async fn subscribe_changed(
        &self,
        connection: &mut MultiplexedConnection,
        subscribed: &mut BTreeSet<Subscription>,
    ) -> Result<(), RedisFault> {
        let (mut more, mut less) = self.take_changed();
        more.retain(|one| !subscribed.contains(one));
        less.retain(|one| subscribed.contains(one));
        self.ask_for(connection, &more, &less).await?;
        subscribed.extend(more);
        for one in &less {
            subscribed.remove(one);
        }
        Ok(())
    }

    /// What is wanted now, and what is not any more.
    fn take_changed(&self) -> (Vec<Subscription>, Vec<Subscription>) {
        let mut wanted = lock(&self.wanted);
        let changed = std::mem::take(&mut wanted.changed).into_iter();
        changed.partition(|one| wanted.all.contains(one))
    }

    async fn ask_for(
        &self,
        connection: &mut MultiplexedConnection,
        more: &[Subscription],
        less: &[Subscription],
    ) -> Result<(), RedisFault> {
        for (command, names) in [
            ("SUBSCRIBE", channels(more.iter())),
            ("PSUBSCRIBE", patterns(more.iter())),
            ("UNSUBSCRIBE", channels(less.iter())),
            ("PUNSUBSCRIBE", patterns(less.iter())),
        ] {
            for names in names.chunks(AT_ONCE) {
                let asked = async {
                    match command {
                        "SUBSCRIBE" => connection.subscribe(names).await,
                        "PSUBSCRIBE" => connection.psubscribe(names).await,
                        "UNSUBSCRIBE" => connection.unsubscribe(names).await,
                        _ => connection.punsubscribe(names).await,
                    }
                };
                self.within_time(asked).await?;
            }
        }
        Ok(())
    }
}

fn channels<'a>(all: impl Iterator<Item = &'a Subscription>) -> Vec<&'a str> {
    let named = |one: &'a Subscription| match one {
        Subscription::Channel(name) => Some(&**name),
        Subscription::Pattern(_) => None,
    };
    all.filter_map(named).collect()
}

fn patterns<'a>(all: impl Iterator<Item = &'a Subscription>) -> Vec<&'a str> {
    let named = |one: &'a Subscription| match one {
        Subscription::Pattern(pattern) => Some(&**pattern),
        Subscription::Channel(_) => None,
    };
    all.filter_map(named).collect()
}
