//! What the window may take for now, where the memory of the process is short: less than its settings say.

use super::outlet::Outlet;
use super::window::OrganisationLog;
use super::{Hub, Now};
use crate::domain::memory_limit::{WindowLimit, WindowUse};

#[derive(Debug)]
pub(in crate::hub) struct LimitState {
    pub(in crate::hub) now: WindowLimit,
    /// The window takes more, and what organisations have over their share is too young to go. Looked at again with each tick.
    pub(in crate::hub) is_reached: bool,
}

impl LimitState {
    pub(in crate::hub) fn new(window_bytes: usize) -> Self {
        let now = WindowLimit {
            bytes: window_bytes,
            kept_ms: 0,
        };
        Self {
            now,
            is_reached: false,
        }
    }
}

impl<O: Outlet> Hub<O> {
    /// Sets what the window may take from now on. What is over it is evicted in slices, by [visits](Self::visit). Beyond
    /// [`window_bytes`](super::HubSettings::window_bytes) it has no effect: entries over that are evicted at once, however young.
    pub fn limit_window(&mut self, limit: WindowLimit) {
        self.limit = LimitState {
            now: limit,
            is_reached: false,
        };
        self.visits.evict |= self.bytes > limit.bytes;
    }

    /// What the window takes.
    pub fn window_use(&self, now: Now) -> WindowUse {
        let logs = self.organisations.values();
        let oldest = logs.filter_map(OrganisationLog::oldest);
        let oldest = oldest.map(|at| at.monotonic).min();
        WindowUse {
            bytes: self.bytes,
            age_ms: oldest.map_or(0, |at| now.monotonic.saturating_sub(at)),
            is_at_minimum: self.limit.is_reached,
        }
    }
}
