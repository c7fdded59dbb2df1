//! The bound for a peer that sends and does not read.

/// Bytes that an upgraded peer may send while a write waits for it, beyond those that it takes. The library answers each
/// WebSocket ping into a buffer without a bound.
const MOST: usize = 512 * 1024;

#[derive(Default)]
pub(super) struct OneSided {
    /// Bytes that came while a write waited, less those that were taken since.
    excess: usize,
}

impl OneSided {
    /// Bytes came while a write waits. True: too many.
    pub(super) fn received(&mut self, bytes: usize) -> bool {
        self.excess = self.excess.saturating_add(bytes);
        self.excess > MOST
    }

    pub(super) fn taken(&mut self, bytes: usize) {
        self.excess = self.excess.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_received_by_the_peer_are_weighed_against_bytes_it_sends() {
        let mut sides = OneSided::default();
        assert!(!sides.received(MOST));
        sides.taken(10);
        assert!(!sides.received(10));
        assert!(sides.received(1));
        sides.taken(usize::MAX);
        assert!(!sides.received(MOST));
    }
}
