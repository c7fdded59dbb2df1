//! How many sessions may be open, and that each is counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One of `MAX_CONNECTIONS`: given back when the session is over, or its WebSocket is, whichever is known first. The
/// library keeps a session that never sent CONNECT for a while after its transport has gone.
pub(super) struct Slot {
    open: Arc<AtomicUsize>,
    released: AtomicBool,
}

impl Slot {
    /// One that `open` counts already.
    pub(super) fn counted(open: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            open,
            released: AtomicBool::new(false),
        })
    }

    pub(super) fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back_once() {
        let open = Arc::new(AtomicUsize::new(2));
        let slot = Slot::counted(open.clone());
        slot.release();
        slot.release();
        drop(slot);
        assert_eq!(open.load(Ordering::Relaxed), 1);
        drop(Slot::counted(open.clone()));
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }
}
