//! Revocations in Redis, where no topic keeps them: what an instance that starts later must know, too.
//!
//! A hash, by the texts of their targets. Each value is signed, because others may write to Redis.

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

/// Removes what has not been changed meanwhile.
const REMOVE: &str = "for i = 1, #ARGV, 2 do if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end end";

pub struct KeptRevocations {
    link: Arc<Link>,
    key: String,
    keys: Arc<ArcSwap<BusKeys>>,
    remove: Script,
    counts: RedisMetrics,
}

/// One of them, as it is kept.
pub struct KeptRevocation {
    pub target: RevocationTarget,
    pub revocation: Revocation,
    field: Vec<u8>,
    value: Vec<u8>,
}

/// Some of them.
pub struct KeptPage {
    pub kept: Vec<KeptRevocation>,
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
            counts: counts.clone(),
        }
    }

    /// Reads some; the first ones from 0. One that is written meanwhile may be missing, one that is there all the time is not.
    pub async fn page(&self, from: u64) -> Result<KeptPage, RedisFault> {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(&self.key).arg(from).arg("COUNT").arg(PAGE);
        let (next, fields): (u64, Vec<Vec<u8>>) = self.link.ask(&scan).await?;
        let mut kept = Vec::new();
        let mut fields = fields.into_iter();
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            match self.read(field, value) {
                Ok(one) => kept.push(one),
                Err(outcome) => self.counts.messages.increment(outcome),
            }
        }
        Ok(KeptPage {
            kept,
            next: (next != 0).then_some(next),
        })
    }

    fn read(&self, field: Vec<u8>, value: Vec<u8>) -> Result<KeptRevocation, BusOutcome> {
        let split = value.split_at_checked(SIGNATURE_BYTES);
        let (signature, json) = split.ok_or(BusOutcome::Malformed)?;
        let parts = [self.key.as_bytes(), &field, json];
        if !self.keys.load().verify(&parts, signature) {
            return Err(BusOutcome::BadSignature);
        }
        let change = RevocationChange::parse(&field, Some(json));
        let change = change.map_err(|_| BusOutcome::Malformed)?;
        Ok(KeptRevocation {
            target: change.target,
            revocation: change.revocation.ok_or(BusOutcome::Malformed)?,
            field,
            value,
        })
    }

    /// In one command, so some hundred at a time.
    pub async fn write(
        &self,
        revocations: &[(RevocationTarget, Revocation)],
    ) -> Result<(), RedisFault> {
        let mut set = redis::cmd("HSET");
        set.arg(&self.key);
        let keys = self.keys.load_full();
        for (target, revocation) in revocations {
            let (field, json) = (target.to_string(), revocation.to_json());
            let parts = [self.key.as_bytes(), field.as_bytes(), json.as_bytes()];
            let value = [&keys.sign(&parts)[..], json.as_bytes()].concat();
            set.arg(field).arg(value);
        }
        self.link.ask(&set).await
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
