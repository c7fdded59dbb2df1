//! The connections that count against the limits of their users and organisations: counted by Redis over all instances that live.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use fleetcast_core::domain::id::{Id, UserId};

use super::place::{RegistryRange, member};
use super::writer::Writer;
use super::{KEEP, LEASE, MOST_CHANGED, Registry, lock, ms};
use crate::bus::fault::RedisFault;
use crate::telemetry::labels::RejectReason;

/// Slots that are written or looked at in one command.
const AT_ONCE: usize = 256;

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
    /// Given back, and perhaps in Redis still.
    released: Vec<String>,
    /// So many were given back that they were not kept: what Redis has too much of has to be found.
    overflown: bool,
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
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    fn taken(&mut self, number: u64) {
        if let Some(slot) = self.held.get_mut(&number) {
            slot.taken = true;
        }
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
        let mut taking = self.scripts.take.prepare_invoke();
        taking.arg(&*self.prefix).arg(&*self.instance).arg(slot);
        for range in [of_user, organisation_only] {
            let (from, to) = range.bounds(None);
            taking.arg(from).arg(to);
        }
        taking
            .arg(limit(self.limits.per_user))
            .arg(limit(self.limits.per_organisation))
            .arg(ms(LEASE + KEEP))
            .arg(ms(LEASE));
        match self.link.run(&taking).await {
            Ok(1) => Err(RejectReason::UserLimit),
            Ok(2) => Err(RejectReason::OrganisationLimit),
            Ok::<i64, _>(_) => {
                lock(&self.slots).taken(number);
                Ok(())
            }
            // Written as soon as Redis takes it: a look at the slots finds it.
            Err(_) => {
                self.counts.limits_across_instances.set(0.0);
                lock(&self.slots).taken(number);
                Ok(())
            }
        }
    }

    /// What was taken is free again soon. Commands of one connection are carried out in their order: if it is being asked for, that comes
    /// first.
    pub fn release_slot(&self, number: u64) {
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.held.remove(&number) else {
            return;
        };
        if slots.released.len() >= MOST_CHANGED {
            slots.released = Vec::new();
            slots.overflown = true;
        }
        slots.released.push(slot.member(number));
    }
}

impl Writer<'_> {
    pub(super) async fn write_slots(&mut self) -> Result<(), RedisFault> {
        loop {
            let released = {
                let mut slots = lock(&self.registry.slots);
                let rest = slots.released.len().saturating_sub(AT_ONCE);
                let some = slots.released.split_off(rest);
                if slots.released.is_empty() && slots.released.capacity() > AT_ONCE {
                    slots.released = Vec::new();
                }
                self.slots_differ |= std::mem::take(&mut slots.overflown);
                some
            };
            if released.is_empty() {
                break;
            }
            if let Err(fault) = self.remove_slots(&released).await {
                lock(&self.registry.slots).released.extend(released);
                return Err(fault);
            }
            self.renew_if_due().await?;
        }
        if self.slots_differ {
            self.slots_differ = false;
            let compared = self.compare_slots().await;
            self.slots_differ |= compared.is_err();
            compared?;
        }
        Ok(())
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
            self.renew_if_due().await?;
            tokio::task::yield_now().await;
        }
        let mut from = "-".to_owned();
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&key).arg(&from).arg("+");
            command.arg("LIMIT").arg(0).arg(AT_ONCE);
            let members: Vec<String> = registry.link.ask(&command).await?;
            let Some(last) = members.last() else { break };
            from = format!("({last}");
            let strays: Vec<String> = {
                let slots = lock(&registry.slots);
                let is_held = |member: &String| {
                    number_of(member).is_some_and(|number| slots.held.contains_key(&number))
                };
                let strays = members.into_iter().filter(|member| !is_held(member));
                strays.collect()
            };
            if !strays.is_empty() {
                self.remove_slots(&strays).await?;
            }
            self.renew_if_due().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn remove_slots(&self, members: &[String]) -> Result<(), RedisFault> {
        let mut command = redis::cmd("ZREM");
        command.arg(self.registry.key("slots")).arg(members);
        self.registry.link.ask(&command).await
    }
}
