//! Whether "now" is read up to, as far as the connection to the brokers goes.

use std::collections::HashMap;
use std::time::Duration;

/// Lost at once when the client says that no broker is left, or when the brokers have not answered for a while. Won back when
/// they have answered a question asked later *and* everything has been read that their logs held then: between the two the
/// reader may still be connecting, and would call an old position "now".
#[derive(Debug, Default)]
pub(super) struct BrokerContact {
    state: ContactState,
    reported_up: bool,
    /// When the last question was asked that was answered, in monotonic milliseconds.
    last_answer_ms: Option<u64>,
}

#[derive(Debug, Default)]
enum ContactState {
    #[default]
    Down,
    /// Answers to questions asked before this do not count.
    DownSince(u64),
    /// Offsets to reach, by index of the partition.
    Rising(HashMap<u32, i64>),
    Up,
}

impl BrokerContact {
    pub(super) fn lose(&mut self, now_ms: u64) {
        self.state = ContactState::DownSince(now_ms);
    }

    /// Takes note of a look at the brokers.
    pub(super) fn look(&mut self, answered: bool, asked_ms: u64, now_ms: u64, silence: Duration) {
        if answered {
            self.last_answer_ms = Some(asked_ms);
            return;
        }
        let quiet_ms = now_ms.saturating_sub(self.last_answer_ms.unwrap_or(0));
        if matches!(self.state, ContactState::Up | ContactState::Rising(_))
            && Duration::from_millis(quiet_ms) >= silence
        {
            self.lose(now_ms);
        }
    }

    /// The brokers have answered a question asked at `asked_ms`: what is to be reached before contact is back?
    pub(super) fn aim(&mut self, asked_ms: u64, goals: impl FnOnce() -> HashMap<u32, i64>) {
        let counts = match self.state {
            ContactState::Down => true,
            ContactState::DownSince(since) => asked_ms > since,
            ContactState::Rising(_) | ContactState::Up => false,
        };
        if counts {
            self.state = ContactState::Rising(goals());
        }
    }

    /// The change since the last call, if there was one.
    pub(super) fn edge(&mut self, reached: impl Fn(u32, i64) -> bool) -> Option<bool> {
        if let ContactState::Rising(goals) = &mut self.state {
            goals.retain(|index, goal| !reached(*index, *goal));
            if goals.is_empty() {
                self.state = ContactState::Up;
            }
        }
        let up = self.up();
        (std::mem::replace(&mut self.reported_up, up) != up).then_some(up)
    }

    pub(super) fn up(&self) -> bool {
        matches!(self.state, ContactState::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    #[test]
    fn contact_returns_once_the_ends_of_that_moment_have_been_read() {
        let mut contact = BrokerContact::default();
        assert_eq!(contact.edge(|_, _| true), None);
        contact.look(true, 1, 2, SILENCE);
        contact.aim(1, || HashMap::from([(0, 7)]));
        assert_eq!(contact.edge(|_, goal| goal <= 6), None);
        assert_eq!(contact.edge(|_, goal| goal <= 7), Some(true));
        assert_eq!(contact.edge(|_, _| false), None);
        contact.lose(10);
        assert_eq!(contact.edge(|_, _| true), Some(false));
        // An answer to a question asked before the loss says nothing.
        contact.aim(10, HashMap::new);
        assert_eq!(contact.edge(|_, _| true), None);
        contact.aim(11, HashMap::new);
        assert_eq!(contact.edge(|_, _| true), Some(true));
    }

    #[test]
    fn silent_brokers_count_as_lost_contact() {
        let mut contact = BrokerContact::default();
        contact.look(true, 1_000, 1_001, SILENCE);
        contact.aim(1_000, HashMap::new);
        assert_eq!(contact.edge(|_, _| true), Some(true));
        contact.look(false, 5_000, 6_000, SILENCE);
        assert_eq!(contact.edge(|_, _| true), None);
        contact.look(false, 9_000, 11_000, SILENCE);
        assert_eq!(contact.edge(|_, _| true), Some(false));
    }
}
