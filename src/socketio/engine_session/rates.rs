//! What a client may send in a time, and how many CONNECTs it may have judged; beyond that its transport is closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use fleetcast_core::domain::protocol::CloseReason;

use super::EngineSession;
use crate::limits::CommandAdmission;
use crate::socketio::NAMESPACES;
use crate::telemetry::events;
use crate::telemetry::labels::RejectReason;

/// With so many rejected tokens a transport is closed.
const MOST_FAILED_CONNECTS: usize = 3;

/// A CONNECT that is being judged.
pub(in crate::socketio) struct ConnectAttempt(Arc<EngineSession>);

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        self.0.judged_connects.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EngineSession {
    /// So many packets have come. False: they are too many, and it is closed.
    pub(in crate::socketio) fn packets_came(&self, count: usize) -> bool {
        let fits = (self.packets.as_ref()).is_none_or(|packets| packets.admit(count));
        if !fits {
            self.close_for_rate();
        }
        fits
    }

    /// The same for the packets of one payload, of which so many are acknowledgements: those that were asked for are free.
    pub(in crate::socketio) fn payload_came(
        &self,
        packets: usize,
        acknowledgements: usize,
    ) -> bool {
        let mut unasked = acknowledgements;
        for socket in &self.carrier().sockets {
            unasked -= socket.session.spend_asks(unasked);
        }
        self.packets_came(packets - acknowledgements + unasked)
    }

    /// One more command of a namespace; `joins`: it asks for a room.
    pub(in crate::socketio) fn command_came(
        &self,
        namespace: &'static str,
        joins: bool,
    ) -> CommandAdmission {
        let mut rates = (self.commands.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rate)) = rates.iter().find(|(name, _)| *name == namespace) {
            return rate.admit(joins);
        }
        let engine = self.engine.upgrade();
        let Some(rate) = engine.and_then(|engine| engine.sessions.command_rate()) else {
            return CommandAdmission::Admitted;
        };
        let admission = rate.admit(joins);
        // Most clients use one namespace.
        rates.reserve_exact(1);
        rates.push((namespace, rate));
        admission
    }

    /// One more CONNECT to a namespace; all but the first few count as commands of it. False: they are too many, and it is closed.
    pub(in crate::socketio) fn connect_came(&self, namespace: &'static str) -> bool {
        let earlier = self.connects.fetch_add(1, Ordering::Relaxed);
        let fits = earlier < NAMESPACES.len()
            || self.command_came(namespace, false) == CommandAdmission::Admitted;
        if !fits {
            self.close_for_rate();
        }
        fits
    }

    /// It sends too much, or too fast.
    pub(in crate::socketio) fn close_for_rate(&self) {
        if !self.is_closed()
            && let Some(engine) = self.engine.upgrade()
        {
            let metrics = engine.sessions.metrics();
            events::refused(metrics, RejectReason::MessageRate, "too many messages");
        }
        self.close(CloseReason::MessageRate);
    }

    /// Counts a CONNECT to a namespace that does not exist. True: that is one too many.
    pub(in crate::socketio) fn another_wrong_namespace(&self) -> bool {
        const MOST: usize = 3;
        self.wrong_namespaces.fetch_add(1, Ordering::Relaxed) >= MOST
    }

    /// A CONNECT is to be judged. `None`: so many were rejected, or are being judged, that no more is looked at.
    pub(in crate::socketio) fn begin_connect(self: &Arc<Self>) -> Option<ConnectAttempt> {
        let attempt = ConnectAttempt(self.clone());
        let others = self.judged_connects.fetch_add(1, Ordering::Relaxed);
        let failed = self.failed_connects.load(Ordering::Relaxed);
        let may_go_on = others.max(failed) < MOST_FAILED_CONNECTS && !self.is_closed();
        may_go_on.then_some(attempt)
    }

    /// A CONNECT was rejected. True: that is one too many.
    pub(in crate::socketio) fn another_failed_connect(&self) -> bool {
        self.failed_connects.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILED_CONNECTS
    }
}
