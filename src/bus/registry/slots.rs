//! The connections that count against the limits of their users and organisations: counted by Redis over all instances that live.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use fleetcast_core::domain::id::{Id, UserId};
use tokio::time::Instant;

use super::place::{RegistryRange, member};
use super::taking::AskedSlot;
use super::writer::Writer;
use super::{KEEP, LEASE, MOST_CHANGED, Registry, lock, ms};
use crate::bus::fault::RedisFault;
use crate::telemetry::labels::RejectReason;

/// Slots that are written or looked at in one command.
const AT_ONCE: usize = 512;
/// Batches of those that were given back that are removed in one step.
const BATCHES: usize = 16;
/// All of them are compared no more often than this.
const COMPARE: Duration = Duration::from_secs(2);

/// How many connections there may be, on all instances together. `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotLimits {
    pub per_user: Option<NonZeroU32>,
    pub per_organisation: Option<NonZeroU32>,
}

/// The slots of this instance.
#[derive(Default)]
pub(super) struct Slots {
    held: BTreeMap<u64, Slot>,
    /// How many of them are taken.
    taken: usize,
    /// Given back, and perhaps in Redis still.
    released: Vec<String>,
    /// Redis is known to have others: it did not hear of one that was taken, or so many were given back that they were not kept.
    differ: bool,
}

struct Slot {
    organisation: Id,
    user: UserId,
    /// False while it is asked for.
    taken: bool,
}

impl Slot {
    fn member(&self, number: u64) -> String {
        member(&self.organisation, &self.user, &format!("{number:016x}"))
    }
}

fn number_of(member: &str) -> Option<u64> {
    let (_, number) = member.rsplit_once('\0')?;
    u64::from_str_radix(number, 16).ok()
}

impl Slots {
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    fn take(&mut self, number: u64) {
        if let Some(slot) = self.held.get_mut(&number)
            && !std::mem::replace(&mut slot.taken, true)
        {
            self.taken += 1;
        }
    }

    /// Whether it is one of these, asked for or taken.
    fn holds(&self, member: &[u8]) -> bool {
        let held = std::str::from_utf8(member).ok().and_then(|member| {
            let number = number_of(member)?;
            Some(self.held.get(&number)?.member(number) == member)
        });
        held.unwrap_or(false)
    }

    /// Some of those that were taken and follow.
    fn following(&self, after: Option<u64>) -> Vec<(u64, String)> {
        let first = after.map_or(0, |after| after.saturating_add(1));
        let following = self.held.range(first..).filter(|(_, slot)| slot.taken);
        let members = following.map(|(number, slot)| (*number, slot.member(*number)));
        members.take(AT_ONCE).collect()
    }
}

impl Registry {
    /// A slot that is going to be asked for: to be [released](Self::release_slot) whatever becomes of that.
    pub fn new_slot(&self, organisation: &Id, user: &UserId) -> u64 {
        let slot = Slot {
            organisation: organisation.clone(),
            user: user.clone(),
            taken: false,
        };
        // Never one that another process of the same name had.
        let number = rand::random();
        lock(&self.slots).held.insert(number, slot);
        number
    }

    /// Takes the slot, unless its user or its organisation has as many as it may have. While Redis is away, or takes too long, it is
    /// taken: then the limit holds for each instance. A slot that is taken already stays so.
    pub async fn take_slot(&self, number: u64) -> Result<(), RejectReason> {
        let asked = {
            let slots = lock(&self.slots);
            let slot = slots.held.get(&number);
            slot.map(|slot| {
                (
                    slot.organisation.clone(),
                    slot.user.clone(),
                    slot.member(number),
                )
            })
        };
        let Some((organisation, user, slot)) = asked else {
            return Ok(());
        };
        let organisation_only = RegistryRange {
            organisation: Some(&organisation),
            user: None,
        };
        let of_user = RegistryRange {
            user: Some(&user),
            ..organisation_only
        };
        let limit = |limit: Option<NonZeroU32>| limit.map_or(-1, |limit| i64::from(limit.get()));
        let asked = AskedSlot {
            slot,
            ranges: [of_user.bounds(None), organisation_only.bounds(None)],
            limits: [self.limits.per_user, self.limits.per_organisation].map(limit),
        };
        match self.ask_for(asked).await {
            Some(1) => return Err(RejectReason::UserLimit),
            Some(2) => return Err(RejectReason::OrganisationLimit),
            Some(_) => lock(&self.slots).take(number),
            None => {
                self.counts.limits_across_instances.set(0.0);
                let mut slots = lock(&self.slots);
                slots.take(number);
                // Written as soon as Redis takes it.
                slots.differ = true;
            }
        }
        Ok(())
    }

    /// What was taken is free again soon. Commands of one connection are carried out in their order: if it is being asked for, that comes
    /// first.
    pub fn release_slot(&self, number: u64) {
        let mut too_many = Vec::new();
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.held.remove(&number) else {
            return;
        };
        if slot.taken {
            slots.taken -= 1;
        }
        if slots.released.len() >= MOST_CHANGED {
            too_many = std::mem::take(&mut slots.released);
            slots.differ = true;
        }
        slots.released.push(slot.member(number));
        drop(slots);
        drop(too_many);
    }
}

impl Writer<'_> {
    pub(super) async fn write_slots(&mut self) -> Result<(), RedisFault> {
        for _ in 0..BATCHES {
            if !self.write_released().await? {
                break;
            }
            self.renew_if_due().await;
        }
        self.slots_differ |= std::mem::take(&mut lock(&self.registry.slots).differ);
        if self.slots_differ && Instant::now() >= self.compare_at {
            self.compare_at = Instant::now() + COMPARE;
            self.slots_differ = false;
            let compared = self.compare_slots().await;
            self.slots_differ |= compared.is_err();
            compared?;
        }
        Ok(())
    }

    /// Removes some of those that were given back. False: there were none.
    pub(super) async fn write_released(&mut self) -> Result<bool, RedisFault> {
        let released = {
            let mut slots = lock(&self.registry.slots);
            let rest = slots.released.len().saturating_sub(AT_ONCE);
            let some = slots.released.split_off(rest);
            if slots.released.is_empty() && slots.released.capacity() > AT_ONCE {
                slots.released = Vec::new();
            }
            some
        };
        if released.is_empty() {
            return Ok(false);
        }
        let removed = self.remove_slots(&released).await;
        if removed.is_err() {
            lock(&self.registry.slots).released.extend(released);
        }
        removed.map(|()| true)
    }

    /// Writes what Redis may lack, then removes what it has too much of.
    async fn compare_slots(&mut self) -> Result<(), RedisFault> {
        let registry = self.registry;
        let key = registry.key("slots");
        let mut after = None;
        loop {
            let some = lock(&registry.slots).following(after);
            let Some((last, _)) = some.last() else { break };
            after = Some(*last);
            let members: Vec<_> = some.iter().map(|(_, member)| (0, member)).collect();
            let expiry = i64::try_from(ms(LEASE + KEEP)).unwrap_or(i64::MAX);
            let mut commands = redis::pipe();
            commands.zadd_multiple(&key, &members).ignore();
            commands.pexpire(&key, expiry).ignore();
            registry.link.ask_all::<()>(&commands).await?;
            // Those that were given back meanwhile are removed after this.
            self.renew_if_due().await;
            tokio::task::yield_now().await;
        }
        let mut from = b"-".to_vec();
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&key).arg(&from).arg("+");
            command.arg("LIMIT").arg(0).arg(AT_ONCE);
            // Not only texts: what something else has written has to go, too.
            let members: Vec<Vec<u8>> = registry.link.ask(&command).await?;
            let Some(last) = members.last() else { break };
            from = [b"(", last.as_slice()].concat();
            let strays: Vec<Vec<u8>> = {
                let slots = lock(&registry.slots);
                let strays = members.into_iter().filter(|member| !slots.holds(member));
                strays.collect()
            };
            if !strays.is_empty() {
                self.remove_slots(&strays).await?;
            }
            self.renew_if_due().await;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn remove_slots<T: redis::ToRedisArgs>(&self, members: &[T]) -> Result<(), RedisFault> {
        let mut command = redis::cmd("ZREM");
        command.arg(self.registry.key("slots")).arg(members);
        self.registry.link.ask(&command).await
    }
}
