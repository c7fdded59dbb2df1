//! Revocations in Redis, where no topic keeps them: what an instance that starts later must know, too.
//!
//! A hash, by the texts of their targets. Each value is signed, because others may write to Redis, and is only ever widened: several
//! instances write at a time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetcast_core::domain::revocation::{Revocation, RevocationChange, RevocationTarget};
use redis::Script;

use super::channels::Names;
use super::fault::RedisFault;
use super::link::Link;
use super::signature::{BusKeys, SIGNATURE_BYTES};
use crate::telemetry::RedisMetrics;
use crate::telemetry::labels::BusOutcome;

/// Fields that one look asks for. Redis may give some more.
const PAGE: usize = 256;

/// Another instance may write the same so many times in between.
const ROUNDS: usize = 8;

/// Removes what has not been changed meanwhile.
const REMOVE: &str = "for i = 1, #ARGV, 2 do if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end end";

/// Of each field, what it is expected to be ('': absent) and what it becomes. Gives the places of those that are neither, and what they are.
const WIDEN: &str = "local others = {} for i = 1, #ARGV, 3 do local now = redis.call('HGET', KEYS[1], ARGV[i]) or '' if now ~= ARGV[i + 2] then if now == ARGV[i + 1] then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) else others[#others + 1] = (i - 1) / 3 others[#others + 1] = now end end end return others";

pub struct KeptRevocations {
    link: Arc<Link>,
    key: String,
    keys: Arc<ArcSwap<BusKeys>>,
    remove: Script,
    widen: Script,
    counts: RedisMetrics,
}

/// One of them, as it is kept.
pub struct KeptRevocation {
    pub target: RevocationTarget,
    pub revocation: Revocation,
    /// It is signed with the key that signs now. A key that verifies only is about to go.
    pub signed_now: bool,
    field: Vec<u8>,
    value: Vec<u8>,
}

/// Some of them.
pub struct KeptPage {
    pub kept: Vec<KeptRevocation>,
    /// Others that are not signed with a key that is known here, or are no revocations.
    pub unreadable: usize,
    /// Gives the next one. `None`: this was the last.
    pub next: Option<u64>,
}

impl KeptRevocations {
    pub(super) fn new(
        link: &Arc<Link>,
        names: &Names,
        keys: &Arc<ArcSwap<BusKeys>>,
        counts: &RedisMetrics,
    ) -> Self {
        Self {
            link: link.clone(),
            key: names.key("revocations"),
            keys: keys.clone(),
            remove: Script::new(REMOVE),
            widen: Script::new(WIDEN),
            counts: counts.clone(),
        }
    }

    /// How many there are.
    pub async fn count(&self) -> Result<usize, RedisFault> {
        let mut length = redis::cmd("HLEN");
        length.arg(&self.key);
        self.link.ask(&length).await
    }

    /// Reads some; the first ones from 0. One that is written meanwhile may be missing, one that is there all the time is not.
    pub async fn page(&self, from: u64) -> Result<KeptPage, RedisFault> {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(&self.key).arg(from).arg("COUNT").arg(PAGE);
        let (next, fields): (u64, Vec<Vec<u8>>) = self.link.ask(&scan).await?;
        let (mut kept, mut unreadable) = (Vec::new(), 0);
        let mut fields = fields.into_iter();
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            match self.read(field, value) {
                Ok(one) => kept.push(one),
                Err(outcome) => {
                    unreadable += 1;
                    self.counts.messages.increment(outcome);
                }
            }
        }
        Ok(KeptPage {
            kept,
            unreadable,
            next: (next != 0).then_some(next),
        })
    }

    fn read(&self, field: Vec<u8>, value: Vec<u8>) -> Result<KeptRevocation, BusOutcome> {
        let split = value.split_at_checked(SIGNATURE_BYTES);
        let (signature, json) = split.ok_or(BusOutcome::Malformed)?;
        let parts = [self.key.as_bytes(), &field, json];
        let keys = self.keys.load();
        if !keys.verify(&parts, signature) {
            return Err(BusOutcome::BadSignature);
        }
        let signed_now = keys.sign(&parts) == signature;
        let change = RevocationChange::parse(&field, Some(json));
        let change = change.map_err(|_| BusOutcome::Malformed)?;
        Ok(KeptRevocation {
            target: change.target,
            revocation: change.revocation.ok_or(BusOutcome::Malformed)?,
            signed_now,
            field,
            value,
        })
    }

    fn signed(&self, field: &str, revocation: Revocation) -> Vec<u8> {
        let json = revocation.to_json();
        let parts = [self.key.as_bytes(), field.as_bytes(), json.as_bytes()];
        let signature = self.keys.load().sign(&parts);
        [&signature[..], json.as_bytes()].concat()
    }

    /// Has Redis keep at least that, of different targets, and gives what it keeps then of each. In one command, so some hundred at a time.
    pub async fn widen(
        &self,
        revocations: &[(RevocationTarget, Revocation)],
    ) -> Result<Vec<Revocation>, RedisFault> {
        let mut kept: Vec<_> = revocations.iter().map(|(_, one)| *one).collect();
        let mut pending: Vec<_> = (0..kept.len()).map(|place| (place, Vec::new())).collect();
        for _ in 0..ROUNDS {
            if pending.is_empty() {
                return Ok(kept);
            }
            let mut invocation = self.widen.prepare_invoke();
            invocation.key(&self.key);
            for (place, expected) in &pending {
                let field = revocations[*place].0.to_string();
                let value = self.signed(&field, kept[*place]);
                invocation.arg(field).arg(expected).arg(value);
            }
            let others: Vec<(usize, Vec<u8>)> = self.link.run(&invocation).await?;
            pending = (others.into_iter())
                .filter_map(|(nth, now)| {
                    let (place, _) = *pending.get(nth)?;
                    let field = revocations[place].0.to_string().into_bytes();
                    // What cannot be read is replaced.
                    if let Ok(read) = self.read(field, now.clone()) {
                        kept[place] = kept[place].merged(read.revocation);
                    }
                    Some((place, now))
                })
                .collect();
        }
        if pending.is_empty() {
            return Ok(kept);
        }
        Err(RedisFault::Contended)
    }

    /// Removes those that have not been written again since they were read.
    pub async fn remove(&self, ended: &[KeptRevocation]) -> Result<(), RedisFault> {
        let mut invocation = self.remove.prepare_invoke();
        invocation.key(&self.key);
        for kept in ended {
            invocation.arg(&kept.field).arg(&kept.value);
        }
        self.link.run(&invocation).await
    }
}
