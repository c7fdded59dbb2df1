//! Whether one more transport may connect: readiness, `MAX_CONNECTIONS`, and what a client is to do when it may not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_address::AddressBlock;
use fleetcast_core::domain::protocol::{CloseReason, Refusal};

use super::Sessions;
use crate::limits::{CountedSlot, IdentitySlot, Limits};
use crate::telemetry::events;
use crate::telemetry::labels::RejectReason;

/// Says whether new connections are accepted, and if not, why.
pub type ReadinessCheck = Arc<dyn Fn() -> Result<(), RejectReason> + Send + Sync>;

/// One of `MAX_CONNECTIONS`, and of those of its address. Released when it is dropped, or before.
pub struct AdmissionSlot {
    admitted: Arc<AtomicUsize>,
    /// What the transport counts against; `None`: it is exempt.
    client: Option<AddressBlock>,
    address: Option<CountedSlot<AddressBlock>>,
    /// What its connections take of the limits of their users.
    identities: Mutex<Vec<Weak<IdentitySlot>>>,
    released: AtomicBool,
}

impl AdmissionSlot {
    /// `None`: there are `most` already.
    pub(crate) fn take(admitted: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let taken = admitted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |admitted| {
            (admitted < most).then_some(admitted + 1)
        });
        taken.ok()?;
        Some(Self {
            admitted: admitted.clone(),
            client: None,
            address: None,
            identities: Mutex::default(),
            released: AtomicBool::new(false),
        })
    }

    pub fn client(&self) -> Option<AddressBlock> {
        self.client
    }

    /// One more connection of this user on this transport: what others of the same user on it have taken is enough for all.
    pub(super) fn take_identity(
        &self,
        limits: &Limits,
        claims: &Claims,
    ) -> Result<Option<Arc<IdentitySlot>>, RejectReason> {
        let (organisation, user) = (&claims.organisation, &claims.user);
        let mut identities = (self.identities.lock()).unwrap_or_else(PoisonError::into_inner);
        let mut held = identities.iter().filter_map(Weak::upgrade);
        if let Some(held) = held.find(|held| held.is_of(organisation, user)) {
            return Ok(Some(held));
        }
        let taken = limits.take_identity(organisation, user)?;
        if let Some(taken) = &taken {
            identities.retain(|identity| identity.strong_count() > 0);
            // Most transports have one.
            identities.reserve_exact(1);
            identities.push(Arc::downgrade(taken));
        }
        Ok(taken)
    }

    /// Its transport is closed, although something may still hold the slot. Only the first call counts.
    pub fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.admitted.fetch_sub(1, Ordering::Relaxed);
            if let Some(address) = &self.address {
                address.release();
            }
        }
    }
}

impl Drop for AdmissionSlot {
    fn drop(&mut self) {
        self.release();
    }
}

impl Sessions {
    /// Admits a transport of this client; `None`: of one that limits per address are not for. Any rejection is temporary, and
    /// counted; `context` completes the log line.
    pub fn admit(
        &self,
        client: Option<AddressBlock>,
        context: &'static str,
    ) -> Result<AdmissionSlot, RejectReason> {
        self.check_readiness(context)?;
        (self.capacity)().map_err(|reason| self.reject(reason, context))?;
        let admit = || {
            self.shared_limits.may_try(client)?;
            // Before the handshake is counted: what an address has too much of costs it no handshakes. Released with an error.
            let address = self.shared_limits.take_address(client)?;
            self.shared_limits.handshake(client)?;
            let slot = AdmissionSlot::take(&self.admitted, self.limits.max_connections);
            let mut slot = slot.ok_or(RejectReason::MaxConnections)?;
            slot.client = client;
            slot.address = address;
            Ok(slot)
        };
        admit().map_err(|reason| self.reject(reason, context))
    }

    /// Transports that are admitted now.
    pub fn admitted(&self) -> usize {
        self.admitted.load(Ordering::Relaxed)
    }

    pub(super) fn check_readiness(&self, context: &'static str) -> Result<(), RejectReason> {
        (self.readiness)().map_err(|reason| self.reject(reason, context))
    }

    /// Counts a rejection and logs it.
    pub(super) fn reject(&self, reason: RejectReason, context: &str) -> RejectReason {
        events::refused(&self.metrics, reason, context);
        reason
    }
}

impl RejectReason {
    /// The code for the client if the rejection is final. `None`: it is temporary, and the client must try again.
    pub fn refusal(self) -> Option<Refusal> {
        let same = |refusal: &Refusal| Self::from(*refusal) == self;
        Refusal::ALL.iter().copied().find(same)
    }

    /// The client has as much as it may have: one that tries again at once is refused again.
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            Self::UserLimit | Self::OrganisationLimit | Self::AuthRate | Self::ReplayRate
        )
    }

    /// Whether the client may come in is not known yet.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::KeysPending | Self::GrantsPending)
    }

    /// How to close a transport for it, where the transport cannot say that the client should try again.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::Draining => CloseReason::Draining,
            Self::AuthRate => CloseReason::AuthRate,
            _ => CloseReason::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_released_once_and_then_admits_another() {
        let admitted = Arc::new(AtomicUsize::new(0));
        let slot = AdmissionSlot::take(&admitted, 2).expect("free");
        let other = AdmissionSlot::take(&admitted, 2).expect("free");
        assert!(AdmissionSlot::take(&admitted, 2).is_none());
        slot.release();
        slot.release();
        drop(slot);
        assert_eq!(admitted.load(Ordering::Relaxed), 1);
        assert!(AdmissionSlot::take(&admitted, 2).is_some());
        drop(other);
        assert_eq!(admitted.load(Ordering::Relaxed), 0);
    }
}
