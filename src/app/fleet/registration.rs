//! This instance in the registry of connections: what its sessions and limits have to do with it.

use std::pin::Pin;
use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};

use crate::bus::{Registry, RegistryPlace, SlotLimits};
use crate::limits::{FleetCounts, LimitSettings};
use crate::session::{Session, SessionRegister};
use crate::telemetry::labels::RejectReason;

/// A registry as sessions and limits know it.
pub(super) struct Registration(pub(super) Arc<Registry>);

pub(super) fn slot_limits(settings: &LimitSettings) -> SlotLimits {
    SlotLimits {
        per_user: settings.connections_per_user,
        per_organisation: settings.connections_per_organisation,
    }
}

impl SessionRegister for Registration {
    fn changed(&self, session: &Session) {
        self.0.changed(RegistryPlace {
            organisation: session.organisation().clone(),
            user: session.user().clone(),
            connection: session.connection_id().into(),
        });
    }
}

impl FleetCounts for Registration {
    fn new_slot(&self, organisation: &Id, user: &UserId) -> u64 {
        self.0.new_slot(organisation, user)
    }

    fn take(
        &self,
        slot: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), RejectReason>> + Send + '_>> {
        Box::pin(self.0.take_slot(slot))
    }

    fn release(&self, slot: u64) {
        self.0.release_slot(slot);
    }
}
