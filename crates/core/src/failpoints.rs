//! Bugs that are put in on purpose, one at a time, so that `loadgen chaos --teeth` can show that its checker finds them.
//!
//! No release has the feature `failpoints`: without it every question here is answered by a constant no, and the compiler
//! leaves nothing of the branches.

/// The seeded bugs, by the name that `SEEDED_BUG` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// `drop-emit`: one event in 10,000 is not handed to a connection that is live.
    DropEmit,
    /// `cursor-first`: the position of a connection moves past an event that its outlet did not take.
    CursorFirst,
    /// `skip-overlap`: a connection turns live before its replay has reached the head.
    SkipOverlap,
    /// `own-cursor`: while a resumed connection is merged it is given this instance's cursor.
    OwnCursor,
    /// `ignore-floor`: a cursor below a floor is resumed.
    IgnoreFloor,
    /// `foreign`: now and then an event is handed to a connection of another organisation too.
    Foreign,
    /// `drop-newest`: the newest record of a key that goes out in place of one that waits is not handed over.
    DropNewest,
    /// `goodbye`: connections are closed with a DISCONNECT packet.
    Goodbye,
}

#[cfg(feature = "failpoints")]
mod chosen {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    /// # Panics
    /// If the environment names a bug that does not exist: a test that seeds nothing would pass for the wrong reason.
    pub fn is(bug: Bug) -> bool {
        static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "a switch of tests is no setting: it is in no release and in no document for operators"
            )]
            let name = std::env::var("SEEDED_BUG").ok()?;
            Some(match name.as_str() {
                "drop-emit" => Bug::DropEmit,
                "cursor-first" => Bug::CursorFirst,
                "skip-overlap" => Bug::SkipOverlap,
                "own-cursor" => Bug::OwnCursor,
                "ignore-floor" => Bug::IgnoreFloor,
                "foreign" => Bug::Foreign,
                "drop-newest" => Bug::DropNewest,
                "goodbye" => Bug::Goodbye,
                other => panic!("there is no seeded bug {other:?}"),
            })
        });
        *chosen == Some(bug)
    }

    /// Once in so many calls.
    pub fn once_in(calls: u64, bug: Bug) -> bool {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        is(bug) && CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(calls)
    }
}

#[cfg(feature = "failpoints")]
pub use chosen::{is, once_in};

#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn once_in(_calls: u64, _bug: Bug) -> bool {
    false
}
