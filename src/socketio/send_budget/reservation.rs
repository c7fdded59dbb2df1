//! The only way to hand a packet to the library: under a reservation, which is released by itself if it is not taken.

use super::SendBudget;

/// Bytes of the budget for one packet. Committed, they count until the packet's frame has left; dropped, they are released.
#[must_use = "dropping a reservation releases it"]
pub(in crate::socketio) struct Reservation<'a> {
    budget: &'a SendBudget,
    /// None once it is committed.
    size: Option<usize>,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(budget: &'a SendBudget, size: usize) -> Self {
        Self {
            budget,
            size: Some(size),
        }
    }

    /// Hands the packet to the library by `send`, and commits if the library takes it.
    pub(in crate::socketio) fn send<T, E>(
        self,
        send: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let taken = send()?;
        self.commit();
        Ok(taken)
    }

    /// The library took the packet.
    pub(super) fn commit(mut self) {
        self.size = None;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(size) = self.size {
            self.budget.release(size);
        }
    }
}
