//! Revocations where there is no topic for them: Redis keeps them, and what it has lost the instances write again.
//!
//! A pass reads all that is kept, learns it, and finds what is not kept or says less than what is known. That is owed, and is written until
//! Redis has it. Passes follow each other every minute, and sooner where anything may have been missed, because a Redis that answers may have
//! lost what it had all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::revocation::{
    LogNumber, MAX_REVOCATIONS, Revocation, RevocationTarget,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::kept_health::KeptHealth;
use crate::bus::{
    Adapter, BusMessage, KeptPage, KeptRevocation, KeptRevocations, LinkState, RedisFault,
};
use crate::session::Sessions;

/// Written with one command, and looked at under the lock.
const SLICE: usize = 256;

/// Before what has failed is tried again: twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Between two passes; longer where one takes long.
const PASS: Duration = Duration::from_mins(1);
const PASS_SHARE: u32 = 20;

/// How often it is asked whether something has gone.
const PROBE: Duration = Duration::from_secs(2);

/// What has ended by the clock of this instance may not have by that of another.
const LONG_AGO: Duration = Duration::from_hours(24);

/// Instances write no more than half of it.
const MOST_FIELDS: usize = 2 * MAX_REVOCATIONS;

pub(super) struct RevocationKeeper {
    adapter: Arc<Adapter>,
    kept: KeptRevocations,
    sessions: Arc<Sessions>,
    health: KeptHealth,
    /// What Redis may lack, and whether other instances may not know it either.
    owed: Mutex<BTreeMap<RevocationTarget, bool>>,
    owes: Notify,
    /// How many were begun.
    passes: AtomicU32,
    /// A pass is to be made soon.
    doubt: Notify,
}

impl RevocationKeeper {
    pub(super) fn new(adapter: &Arc<Adapter>, sessions: &Arc<Sessions>) -> Self {
        Self {
            adapter: adapter.clone(),
            kept: adapter.kept_revocations(),
            sessions: sessions.clone(),
            health: KeptHealth::new(adapter.link()),
            owed: Mutex::default(),
            owes: Notify::new(),
            passes: AtomicU32::new(0),
            doubt: Notify::new(),
        }
    }

    pub(super) fn health(&self) -> &KeptHealth {
        &self.health
    }

    /// What is kept is not what it was, such as the key that it is signed with.
    pub(super) fn look_again(&self) {
        self.doubt.notify_one();
    }

    /// Has one that was asked for here kept, and tells other instances. If that fails it is done later.
    pub(super) async fn tell(
        &self,
        target: &RevocationTarget,
        revocation: Revocation,
    ) -> Result<(), RedisFault> {
        let message = BusMessage::Revocation(target.clone(), revocation);
        let written = [(target.clone(), revocation)];
        let (kept, told) = tokio::join!(self.write(&written), self.adapter.tell(&message));
        if kept.is_err() || told.is_err() {
            self.owe(target.clone(), told.is_err());
        }
        kept.and(told.map(drop))
    }

    /// Another instance has told it. Whether it is kept is not known: its sender may have a topic, or no memory may be left in Redis.
    pub(super) fn heard(&self, target: RevocationTarget, told: Revocation) {
        if self.learn(&target, told).is_some() {
            self.owe(target, false);
        }
    }

    /// Keeps Redis and this instance alike, for good.
    pub(super) async fn run(&self) {
        let mut state = self.adapter.link().state();
        // The sender lives as long as the adapter does.
        while let Some(epoch) = next_epoch(&mut state).await {
            tokio::select! {
                () = other_epoch(&mut state, epoch) => {}
                () = self.pass_by_pass(epoch) => {}
                () = self.write_owed() => {}
            }
        }
    }

    /// On one connection, for as long as it lasts.
    async fn pass_by_pass(&self, epoch: u64) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            // One that comes at such a pace does not come round.
            let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
            let read = self.pass(pass).await;
            let length = match read {
                Ok(()) => self.kept.count().await,
                Err(fault) => Err(fault),
            };
            match length {
                Ok(length) => {
                    pause = FIRST_PAUSE;
                    self.health.has_read(epoch);
                    self.rest(length, begin.elapsed()).await;
                }
                Err(fault) => {
                    self.health.cannot_read(fault);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits until a pass is due, or something speaks for one. The last one took so long, and so many are kept.
    async fn rest(&self, mut length: usize, took: Duration) {
        let due = Instant::now() + PASS.max(took * PASS_SHARE);
        let missed = self.adapter.link().missed();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = self.doubt.notified() => break,
                () = missed.notified() => break,
                () = tokio::time::sleep(PROBE) => match self.kept.count().await {
                    Ok(now) if now >= length.max(self.written()) => length = now,
                    // Some have gone, or it cannot be said: the pass tells.
                    _ => break,
                },
            }
        }
        // Where much is missed one pass does not follow on the other.
        tokio::time::sleep(FIRST_PAUSE.max(took)).await;
    }

    /// Redis keeps at least so many, if it has lost none.
    fn written(&self) -> usize {
        // What is owed is written without a pass.
        if self.owed().is_empty() {
            self.sessions.revocations()
        } else {
            0
        }
    }

    /// Learns all that is kept, and finds out what is not.
    async fn pass(&self, pass: LogNumber) -> Result<(), RedisFault> {
        let too_much = |fields| {
            let fault = RedisFault::TooMuch(fields, MOST_FIELDS);
            if fields > MOST_FIELDS {
                Err(fault)
            } else {
                Ok(())
            }
        };
        too_much(self.kept.count().await?)?;
        let (mut from, mut fields, mut all_unreadable) = (Some(0), 0, 0);
        let mut removing = Ok(());
        while let Some(place) = from {
            let KeptPage {
                kept,
                unreadable,
                next,
            } = self.kept.page(place).await?;
            fields += kept.len() + unreadable;
            too_much(fields)?;
            all_unreadable += unreadable;
            let has_ended =
                |one: &KeptRevocation| self.sessions.has_ended(one.revocation, LONG_AGO);
            let (ended, good): (Vec<_>, Vec<_>) = kept.into_iter().partition(has_ended);
            for one in &good {
                let known = self.learn(&one.target, one.revocation);
                // What is signed with a key that goes is written again.
                if known == Some(one.revocation) && one.signed_now {
                    self.sessions.revocation_read_in(&one.target, pass);
                }
            }
            if !ended.is_empty() && removing.is_ok() {
                removing = self.kept.remove(&ended).await;
            }
            from = next;
            tokio::task::yield_now().await;
        }
        self.owe_what_lacks(pass).await;
        let is_full = self.sessions.revocations() >= MAX_REVOCATIONS;
        self.health
            .has_seen(all_unreadable, is_full, removing.err());
        Ok(())
    }

    /// `None`: there is no room for one more, as for those who ask.
    fn learn(&self, target: &RevocationTarget, revocation: Revocation) -> Option<Revocation> {
        if self.sessions.revocations_full(target) {
            self.health.is_full();
            return None;
        }
        Some(self.sessions.revoke(target, revocation))
    }

    /// What the pass has not shown.
    async fn owe_what_lacks(&self, pass: LogNumber) {
        let mut after = None;
        loop {
            let some = self.sessions.revocations_following(after.as_ref(), SLICE);
            let Some((last, _)) = some.last() else { return };
            after = Some(last.clone());
            let lacking = some.into_iter().filter(|(_, read_in)| *read_in != pass);
            for (target, _) in lacking {
                self.owe(target, false);
            }
            tokio::task::yield_now().await;
        }
    }

    /// No more are owed than are known.
    fn owe(&self, target: RevocationTarget, untold: bool) {
        *self.owed().entry(target).or_default() |= untold;
        self.owes.notify_one();
    }

    /// Writes what is owed. What cannot be written waits, and nothing is read again for it.
    async fn write_owed(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let slice: Vec<_> = self.first_owed();
            if slice.is_empty() {
                self.owes.notified().await;
                // More may come at a time.
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            }
            let written = self.write_slice(slice).await;
            if written.is_ok() {
                pause = FIRST_PAUSE;
            }
            let failed = written.is_err();
            self.health.has_written(written.err());
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn first_owed(&self) -> Vec<(RevocationTarget, bool)> {
        let owed = self.owed();
        let first = owed.iter().take(SLICE);
        first
            .map(|(target, untold)| (target.clone(), *untold))
            .collect()
    }

    async fn write_slice(&self, slice: Vec<(RevocationTarget, bool)>) -> Result<(), RedisFault> {
        let known = slice.iter().filter_map(|(target, _)| {
            let revocation = self.sessions.revocation(target)?;
            let has_ended = self.sessions.has_ended(revocation, Duration::ZERO);
            (!has_ended).then(|| (target.clone(), revocation))
        });
        let known: Vec<_> = known.collect();
        if !known.is_empty() {
            self.write(&known).await?;
        }
        let known: BTreeMap<_, _> = known.into_iter().collect();
        for (target, untold) in slice {
            let revocation = known.get(&target).copied();
            if let Some(revocation) = revocation.filter(|_| untold) {
                let message = BusMessage::Revocation(target.clone(), revocation);
                self.adapter.tell(&message).await?;
            }
            let mut owed = self.owed();
            // It may be wider by now, and could not be written or told.
            let is_done = owed.get(&target) == Some(&untold);
            let now = self.sessions.revocation(&target);
            if is_done && (revocation.is_none() || now == revocation) {
                owed.remove(&target);
            }
        }
        Ok(())
    }

    /// Another instance may have written more: that is learned.
    async fn write(&self, known: &[(RevocationTarget, Revocation)]) -> Result<(), RedisFault> {
        let kept = self.kept.widen(known).await?;
        for ((target, _), kept) in known.iter().zip(kept) {
            self.sessions.revoke(target, kept);
        }
        Ok(())
    }

    fn owed(&self) -> MutexGuard<'_, BTreeMap<RevocationTarget, bool>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a connection, and gives its number. `None`: there will be none.
async fn next_epoch(state: &mut watch::Receiver<LinkState>) -> Option<u64> {
    match &*state.wait_for(LinkState::is_up).await.ok()? {
        LinkState::Up(epoch) => Some(*epoch),
        LinkState::Down(_) => None,
    }
}

async fn other_epoch(state: &mut watch::Receiver<LinkState>, epoch: u64) {
    let is_other = |state: &LinkState| *state != LinkState::Up(epoch);
    drop(state.wait_for(is_other).await);
}
