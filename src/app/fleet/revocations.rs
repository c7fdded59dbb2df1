//! Revocations where there is no topic for them: Redis keeps them, and what it has lost the instances write again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::revocation::{
    LogNumber, MAX_REVOCATIONS, Revocation, RevocationTarget,
};
use tokio::sync::{Notify, watch};

use crate::bus::{
    Adapter, BusMessage, KeptPage, KeptRevocation, KeptRevocations, LinkState, RedisFault,
};
use crate::session::Sessions;

/// Written with one command.
const SLICE: usize = 256;

/// Before what has failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often all is read again: what has ended goes.
const LOOK: Duration = Duration::from_hours(1);

/// How far what is kept is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    NotYet,
    /// All of it, on the connection of this number.
    Done(LogNumber),
    /// It is tried again.
    Failed(RedisFault),
}

pub(super) struct RevocationKeeper {
    adapter: Arc<Adapter>,
    kept: KeptRevocations,
    sessions: Arc<Sessions>,
    reading: Mutex<Reading>,
    /// What was asked for here, and other instances may not know.
    untold: Mutex<BTreeSet<RevocationTarget>>,
    /// Something is to be written.
    missing: Notify,
}

impl RevocationKeeper {
    pub(super) fn new(adapter: &Arc<Adapter>, sessions: &Arc<Sessions>) -> Self {
        Self {
            adapter: adapter.clone(),
            kept: adapter.kept_revocations(),
            sessions: sessions.clone(),
            reading: Mutex::new(Reading::NotYet),
            untold: Mutex::default(),
            missing: Notify::new(),
        }
    }

    /// How far what is kept is known on this connection.
    pub(super) fn reading(&self, epoch: u64) -> Reading {
        match self.lock_reading().clone() {
            Reading::Done(on) if on != number(epoch) => Reading::NotYet,
            reading => reading,
        }
    }

    fn lock_reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has one that was asked for here kept, and tells other instances. If that fails it is done later.
    pub(super) async fn tell(
        &self,
        target: &RevocationTarget,
        revocation: Revocation,
    ) -> Result<(), RedisFault> {
        let message = BusMessage::Revocation(target.clone(), revocation);
        let written = [(target.clone(), revocation)];
        // On one connection, so it is kept before others hear of it.
        let (kept, told) = tokio::join!(self.kept.write(&written), self.adapter.tell(&message));
        let done = kept.and(told.map(drop));
        if done.is_ok() {
            self.is_kept(target);
            return done;
        }
        let mut untold = self.untold();
        if untold.len() < MAX_REVOCATIONS {
            untold.insert(target.clone());
        }
        drop(untold);
        self.missing.notify_one();
        done
    }

    /// Another instance has told it, and had it kept. Here it has come to `merged`.
    pub(super) fn heard(&self, target: &RevocationTarget, told: Revocation, merged: Revocation) {
        if merged == told {
            self.is_kept(target);
        } else {
            // What is kept now says less than this instance knows.
            self.sessions.revocation_read_in(target, 0);
            self.missing.notify_one();
        }
    }

    /// Keeps Redis and this instance alike, for good.
    pub(super) async fn run(&self) {
        let mut state = self.adapter.link().state();
        // The sender lives as long as the adapter does.
        while let Some(epoch) = next_epoch(&mut state).await {
            let kept = match self.read_all(epoch).await {
                Ok(()) => self.keep_alike(epoch, &mut state).await,
                failed => failed,
            };
            if let Err(fault) = kept {
                *self.lock_reading() = Reading::Failed(fault);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Until the connection is another one, or all is to be read again.
    async fn keep_alike(
        &self,
        epoch: LogNumber,
        state: &mut watch::Receiver<LinkState>,
    ) -> Result<(), RedisFault> {
        let look = tokio::time::Instant::now() + LOOK;
        loop {
            self.write_missing(epoch).await?;
            self.tell_untold().await?;
            tokio::select! {
                () = other_epoch(state, epoch) => return Ok(()),
                () = self.missing.notified() => tokio::time::sleep(AGAIN).await,
                () = tokio::time::sleep_until(look) => return Ok(()),
            }
        }
    }

    /// Learns what is kept, and removes what has ended.
    async fn read_all(&self, epoch: LogNumber) -> Result<(), RedisFault> {
        let mut from = Some(0);
        while let Some(place) = from {
            let KeptPage { kept, next } = self.kept.page(place).await?;
            let (ended, good): (Vec<_>, Vec<_>) =
                (kept.into_iter()).partition(|kept| self.sessions.has_ended(kept.revocation));
            for kept in good {
                self.learn(&kept, epoch);
            }
            if !ended.is_empty() {
                self.kept.remove(&ended).await?;
            }
            from = next;
            tokio::task::yield_now().await;
        }
        *self.lock_reading() = Reading::Done(epoch);
        Ok(())
    }

    fn learn(&self, kept: &KeptRevocation, epoch: LogNumber) {
        let target = &kept.target;
        // Instances take no more than that, so there is something wrong with what is kept.
        if self.sessions.revocations_full(target) {
            return;
        }
        let merged = self.sessions.revoke(target, kept.revocation);
        if merged == kept.revocation {
            self.sessions.revocation_read_in(target, epoch);
        }
    }

    /// What this instance knows and Redis lacks, or knows less well.
    async fn write_missing(&self, epoch: LogNumber) -> Result<(), RedisFault> {
        let missing = self.sessions.revoked_in_none_of(&[epoch]);
        for slice in missing.chunks(SLICE) {
            let known = slice.iter().filter_map(|target| {
                let revocation = self.sessions.revocation(target)?;
                Some((target.clone(), revocation))
            });
            let known: Vec<_> = known.collect();
            if known.is_empty() {
                continue;
            }
            self.kept.write(&known).await?;
            for (target, written) in &known {
                if self.sessions.revocation(target) == Some(*written) {
                    self.sessions.revocation_read_in(target, epoch);
                }
            }
        }
        Ok(())
    }

    /// Other instances may have read everything before it was written.
    async fn tell_untold(&self) -> Result<(), RedisFault> {
        loop {
            let Some(target) = self.untold().first().cloned() else {
                return Ok(());
            };
            if let Some(revocation) = self.sessions.revocation(&target) {
                let message = BusMessage::Revocation(target.clone(), revocation);
                self.adapter.tell(&message).await?;
            }
            self.untold().remove(&target);
        }
    }

    /// In the hash of the present connection.
    fn is_kept(&self, target: &RevocationTarget) {
        if let LinkState::Up(epoch) = &*self.adapter.link().state().borrow() {
            self.sessions.revocation_read_in(target, number(*epoch));
        }
    }

    fn untold(&self) -> MutexGuard<'_, BTreeSet<RevocationTarget>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a connection, and gives its number. `None`: there will be none.
async fn next_epoch(state: &mut watch::Receiver<LinkState>) -> Option<LogNumber> {
    match &*state.wait_for(LinkState::is_up).await.ok()? {
        LinkState::Up(epoch) => Some(number(*epoch)),
        LinkState::Down(_) => None,
    }
}

async fn other_epoch(state: &mut watch::Receiver<LinkState>, epoch: LogNumber) {
    let is_other = |state: &LinkState| match state {
        LinkState::Up(of) => number(*of) != epoch,
        LinkState::Down(_) => true,
    };
    drop(state.wait_for(is_other).await);
}

/// Connections are made once a second at most, so the numbers do not come round.
fn number(epoch: u64) -> LogNumber {
    LogNumber::try_from(epoch).unwrap_or(LogNumber::MAX)
}
