//! What clients do of their own, so that it has to be borne.

use std::time::Duration;

/// A client has one, all through the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    Steady,
    /// Its connection is cut at random, every so often.
    Cut {
        least: Duration,
        most: Duration,
    },
    /// The same, and then its next connections are cut at their first event, so many times in a row.
    Flinch {
        least: Duration,
        most: Duration,
        times: u32,
    },
    /// It reads a message in each `pause`, for so long.
    Trickle {
        after: Duration,
        lasts: Duration,
        pause: Duration,
    },
    /// It reads nothing for so long.
    Stop {
        after: Duration,
        lasts: Duration,
    },
    /// It never reads again.
    StopForGood {
        after: Duration,
    },
    /// It goes away, and comes back.
    Leave {
        after: Duration,
        away: Duration,
    },
    /// It joins and leaves another channel.
    Toggle {
        every: Duration,
    },
}
