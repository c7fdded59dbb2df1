//! How much of what a client has sent may wait to be carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of commands that may wait in one Engine.IO session, in both namespaces together. A client that sends more while nothing
/// that is in flight to it leaves is closed.
const MOST: usize = 256 * 1024;

/// The commands of a session that wait, by their bytes.
#[derive(Debug, Default)]
pub(super) struct Backlog(Arc<AtomicUsize>);

/// The place of one of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Backlog {
    /// Takes a place for a command of so many bytes. `None`: there is too much already. An empty backlog takes any one, for
    /// how large that may be is the operator's to say.
    pub(super) fn place(&self, bytes: usize) -> Option<Place> {
        let taken = (self.0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting == 0 || waiting.saturating_add(bytes) <= MOST).then_some(waiting + bytes)
        });
        taken.ok()?;
        Some(Place {
            waiting: self.0.clone(),
            bytes,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_wait_are_bounded_and_an_empty_backlog_takes_any_one_command() {
        for (bytes, expected) in [(1024, 256), (64 * 1024, 4), (200 * 1024, 1), (2 * MOST, 1)] {
            let backlog = Backlog::default();
            let mut places: Vec<_> = std::iter::from_fn(|| backlog.place(bytes))
                .take(1000)
                .collect();
            assert_eq!(places.len(), expected, "{bytes}");
            places.pop();
            assert!(backlog.place(bytes).is_some(), "capacity for one: {bytes}");
            drop(places);
            assert!(backlog.place(MOST).is_some(), "nothing is left: {bytes}");
        }
    }
}
