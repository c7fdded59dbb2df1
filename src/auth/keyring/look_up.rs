//! A token whose key is not known: the sources that may have it are asked, and the token is rejected only once all have answered.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use tokio::sync::watch;

use super::super::files::KeyFormat;
use super::Keyring;

/// Tokens whose key was looked for and not found; the oldest are forgotten.
const PRESENTED: usize = 4_096;

/// How often something was asked: a number says "after that moment" without a clock. 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// The last one that ended well.
    pub(super) good: u64,
}

/// How far the look-ups are, for those that wait for a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::auth) struct Progress {
    pub(super) files: Rounds,
    pub(super) server: Rounds,
}

/// What can be said of a token whose key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Outlook {
    /// All sources were asked after the token came, and answered: none knows the key.
    Settled,
    /// A source is being asked.
    Wait,
    /// A source should be asked, but does not answer or must not be asked yet.
    Later,
}

/// When a token first came, in rounds.
#[derive(Default)]
pub(super) struct Presented {
    first: HashMap<u64, Progress>,
    order: VecDeque<u64>,
}

impl Keyring {
    pub(in crate::auth) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Asks the sources that may have a key for this algorithm, as often as that is allowed. Gives the moment when this token first
    /// came: only what was asked later is an answer to it.
    pub(in crate::auth) fn ask(&self, token: &str, algorithm: Algorithm) -> Progress {
        let now = *self.progress.borrow();
        let mut state = self.lock();
        let hash = self.hasher.hash_one(token);
        let first = state.presented.first(hash, now);
        if self.files_may_have(algorithm) {
            self.look_at_files.notify_one();
        }
        if self.server_may_have(algorithm) && now.server.begun == now.server.ended {
            let server = &mut state.of_server;
            let rested = server
                .last_begun
                .is_none_or(|begun| begun.elapsed() >= self.pace.ask_every);
            if rested && now.server.good <= first.server.begun {
                server.wanted = true;
                self.ask_server.notify_one();
            }
        }
        first
    }

    pub(in crate::auth) fn outlook(
        &self,
        algorithm: Algorithm,
        first: Progress,
        now: Progress,
    ) -> Outlook {
        let files = if self.files_may_have(algorithm) && now.files.good <= first.files.begun {
            // They are looked at without delay. A bad file may hide the key.
            let begun_since = now.files.ended > first.files.begun;
            if begun_since {
                Outlook::Later
            } else {
                Outlook::Wait
            }
        } else {
            Outlook::Settled
        };
        let server = if self.server_may_have(algorithm) && now.server.good <= first.server.begun {
            let under_way = now.server.begun > now.server.ended || self.lock().of_server.wanted;
            if under_way {
                Outlook::Wait
            } else {
                Outlook::Later
            }
        } else {
            Outlook::Settled
        };
        match (files, server) {
            (Outlook::Settled, Outlook::Settled) => Outlook::Settled,
            (Outlook::Wait, _) | (_, Outlook::Wait) => Outlook::Wait,
            _ => Outlook::Later,
        }
    }

    fn files_may_have(&self, algorithm: Algorithm) -> bool {
        use AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
        self.files.iter().any(|file| {
            let families: &[_] = match file.format {
                KeyFormat::Secrets => &[Hmac],
                KeyFormat::Pem => &[Rsa, Ec, Ed],
                KeyFormat::Jwks => &[Hmac, Rsa, Ec, Ed],
            };
            self.allowed.of_families(families).contains(&algorithm)
        })
    }

    fn server_may_have(&self, algorithm: Algorithm) -> bool {
        use AlgorithmFamily::{Ec, Ed, Rsa};
        self.server.is_some()
            && self
                .allowed
                .of_families(&[Rsa, Ec, Ed])
                .contains(&algorithm)
    }
}

impl Presented {
    fn first(&mut self, token: u64, now: Progress) -> Progress {
        if let Some(first) = self.first.get(&token) {
            return *first;
        }
        if self.order.len() >= PRESENTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.order.push_back(token);
        self.first.insert(token, now);
        now
    }
}
