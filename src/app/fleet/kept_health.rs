//! Whether Redis keeps the revocations, and what is wrong if it does not: for `/ready`, for the start, and for the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetcast_core::domain::revocation::MAX_REVOCATIONS;

use crate::bus::{Link, RedisFault};
use crate::telemetry::events;

pub(super) struct KeptHealth {
    link: Arc<Link>,
    state: Mutex<KeptState>,
}

#[derive(Default)]
struct KeptState {
    /// The connection on which all was read last, by its number.
    read_on: Option<u64>,
    reading: Option<RedisFault>,
    writing: Option<RedisFault>,
    removing: Option<RedisFault>,
    unreadable: usize,
    full: bool,
    /// As the log says.
    told: Option<&'static str>,
}

impl KeptState {
    /// What it is, and in words.
    fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(fault) = &self.reading {
            let why = format!("the revocations that are kept there cannot be read: {fault}");
            return Some(("reading", why));
        }
        if let Some(fault) = &self.writing {
            let why = format!("revocations cannot be written there: {fault}");
            return Some(("writing", why));
        }
        if let Some(fault) = &self.removing {
            let why = format!("revocations that have ended cannot be removed there: {fault}");
            return Some(("removing", why));
        }
        if self.unreadable > 0 {
            let why = format!(
                "{} of the revocations that are kept there are not signed with a secret that is set here, or are none",
                self.unreadable
            );
            return Some(("unreadable", why));
        }
        self.full.then(|| {
            let why = format!(
                "limit of {MAX_REVOCATIONS} revocations: others that are kept there are not known here"
            );
            ("full", why)
        })
    }
}

impl KeptHealth {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self {
            link: link.clone(),
            state: Mutex::default(),
        }
    }

    /// Whether everything was read on this connection.
    pub(super) fn is_read(&self, epoch: u64) -> bool {
        self.state().read_on == Some(epoch)
    }

    /// Why the last attempt to read has failed, if it has.
    pub(super) fn reading_fault(&self) -> Option<RedisFault> {
        self.state().reading.clone()
    }

    /// On this connection.
    pub(super) fn problem(&self, epoch: u64) -> Option<String> {
        let state = self.state();
        let not_yet = || {
            let why = "the revocations that are kept there are not read yet";
            (state.read_on != Some(epoch)).then(|| why.to_owned())
        };
        state.problem().map(|(_, why)| why).or_else(not_yet)
    }

    pub(super) fn has_read(&self, epoch: u64) {
        self.change(|state| {
            state.read_on = Some(epoch);
            state.reading = None;
        });
    }

    pub(super) fn cannot_read(&self, fault: RedisFault) {
        self.change(|state| state.reading = Some(fault));
    }

    pub(super) fn has_written(&self, failed: Option<RedisFault>) {
        self.change(|state| state.writing = failed);
    }

    /// What a pass over everything has found. `is_full`: no more can be known.
    pub(super) fn has_seen(&self, unreadable: usize, is_full: bool, removing: Option<RedisFault>) {
        self.change(|state| {
            state.unreadable = unreadable;
            state.full &= is_full;
            state.removing = removing;
        });
    }

    /// One that is kept, or was told, is not known here.
    pub(super) fn is_full(&self) {
        self.change(|state| state.full = true);
    }

    fn change(&self, change: impl FnOnce(&mut KeptState)) {
        let mut state = self.state();
        change(&mut state);
        // Of a Redis that is away the log has a line of its own.
        if !self.link.is_up() {
            return;
        }
        let problem = state.problem();
        let kind = problem.as_ref().map(|(kind, _)| *kind);
        if kind == state.told {
            return;
        }
        state.told = kind;
        match problem {
            Some((_, why)) => events::kept_revocations_problem(&why),
            None => events::kept_revocations_healthy(),
        }
    }

    fn state(&self) -> MutexGuard<'_, KeptState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
