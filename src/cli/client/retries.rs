//! When to connect again, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

use super::link::LinkError;

/// Between two attempts to connect for the first time: one line per second.
const WAITING: Duration = Duration::from_secs(1);

/// After a lost connection: the first pause, which doubles, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long to go on after a connection was lost.
const TRY_FOR: Duration = Duration::from_mins(1);

pub(super) struct Retries {
    /// For the first connection, whose server may only just be starting.
    wait: Duration,
    /// Whether a lost connection is to be resumed.
    resume: bool,
    connected_once: bool,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Retries {
    pub(super) fn new(wait: Duration, resume: bool) -> Self {
        Self {
            wait,
            resume,
            connected_once: false,
            failing_since: None,
            pause: PAUSES.0,
        }
    }

    pub(super) fn connected(&mut self) {
        self.connected_once = true;
        self.failing_since = None;
        self.pause = PAUSES.0;
    }

    /// When to try again after this error; `None`: not at all.
    pub(super) fn next(&mut self, error: &LinkError, now: Instant) -> Option<Instant> {
        if !matches!(error, LinkError::Lost(_)) || (self.connected_once && !self.resume) {
            return None;
        }
        let since = *self.failing_since.get_or_insert(now);
        let (pause, longest) = if self.connected_once {
            let pause = self.pause;
            self.pause = (pause * 2).min(PAUSES.1);
            (pause, TRY_FOR)
        } else {
            (WAITING, self.wait)
        };
        (now + pause <= since + longest).then(|| now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> LinkError {
        LinkError::Lost("closed".to_owned())
    }

    /// The seconds at which attempts follow one that failed at once.
    fn attempts(retries: &mut Retries) -> Vec<f32> {
        let began = Instant::now();
        let (mut now, mut seconds) = (began, Vec::new());
        while let Some(at) = retries.next(&lost(), now) {
            now = at;
            seconds.push((at - began).as_secs_f32());
        }
        seconds
    }

    #[test]
    fn the_first_connection_is_tried_each_second_for_as_long_as_asked() {
        let mut retries = Retries::new(Duration::from_secs(3), false);
        assert_eq!(attempts(&mut retries), [1.0, 2.0, 3.0]);
        assert_eq!(attempts(&mut Retries::new(Duration::ZERO, true)), [0.0; 0]);
    }

    #[test]
    fn a_lost_connection_is_tried_again_only_to_resume_and_ever_more_slowly() {
        let mut retries = Retries::new(Duration::from_secs(30), false);
        retries.connected();
        assert_eq!(attempts(&mut retries), [0.0; 0]);
        let mut retries = Retries::new(Duration::ZERO, true);
        retries.connected();
        let seconds = attempts(&mut retries);
        assert_eq!(seconds[..5], [0.5, 1.5, 3.5, 7.5, 12.5]);
        assert!(*seconds.last().unwrap() <= 60.0, "{seconds:?}");
    }

    #[test]
    fn a_refusal_is_final() {
        let mut retries = Retries::new(Duration::from_secs(30), true);
        let refused = LinkError::Refused("token_invalid".to_owned());
        for error in [refused, LinkError::Dismissed] {
            assert_eq!(retries.next(&error, Instant::now()), None);
        }
    }
}
