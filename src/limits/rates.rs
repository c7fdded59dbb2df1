//! How fast one connection may send: commands of a socket, and packets of a transport.

use std::num::NonZeroU32;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::buckets::{ProcessClock, quota};

/// A burst of commands is what comes in so many seconds.
const BURST_SECONDS: u32 = 5;

/// Packets of all kinds for each command: heartbeats, acknowledgements and fragments are packets too. With the default of 20 commands
/// 200 in a second and 2,000 at once, twice what a client may have to acknowledge at a time.
const PACKETS_PER_COMMAND: u32 = 10;
const PACKETS_BURST_SECONDS: u32 = 10;

/// So many `subscribe` of a connection are free in a minute, if it may hold so many rooms: clients join their rooms one by one when they
/// connect.
const MOST_FREE_JOINS: u32 = 1_000;

/// What a transport may send beside the free joins of both namespaces, however few commands there may be.
const LEAST_PACKETS_BESIDE_JOINS: u32 = 1_000;

fn free_joins(max_rooms: usize) -> u32 {
    u32::try_from(max_rooms).map_or(MOST_FREE_JOINS, |rooms| rooms.min(MOST_FREE_JOINS))
}

/// What follows from `COMMANDS_PER_SECOND`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendRates {
    commands: Quota,
    packets_per_second: NonZeroU32,
}

impl SendRates {
    pub(super) fn new(commands_per_second: NonZeroU32) -> Self {
        let times = |count: NonZeroU32, factor: u32| {
            count.saturating_mul(NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN))
        };
        let packets = times(commands_per_second, PACKETS_PER_COMMAND);
        Self {
            commands: quota(
                commands_per_second,
                times(commands_per_second, BURST_SECONDS),
            ),
            packets_per_second: packets,
        }
    }

    pub(super) fn commands(self, max_rooms: usize) -> CommandRate {
        CommandRate::with(self, max_rooms, ProcessClock)
    }

    pub(super) fn packets(self, max_rooms: usize) -> PacketRate {
        let per_second = self.packets_per_second;
        let joins = 2 * free_joins(max_rooms) + LEAST_PACKETS_BESIDE_JOINS;
        let at_once = per_second.get().saturating_mul(PACKETS_BURST_SECONDS);
        let at_once = NonZeroU32::new(at_once.max(joins)).unwrap_or(per_second);
        PacketRate(Bucket::direct_with_clock(
            quota(per_second, at_once),
            ProcessClock,
        ))
    }
}

type Bucket<C = ProcessClock> =
    RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandAdmission {
    Admitted,
    /// It is answered `rate_limited`.
    RateLimited,
    /// Its connection is closed: it has gone on although it was answered so.
    Excessive,
}

/// How fast the commands of one socket come.
pub struct CommandRate<C: Clock = ProcessClock> {
    admitted: Bucket<C>,
    /// Refusals come out of a bucket of the same size.
    rate_limited: Bucket<C>,
    /// `None`: it may hold no rooms.
    free_joins: Option<Bucket<C>>,
}

impl<C: Clock + Clone> CommandRate<C> {
    fn with(rates: SendRates, max_rooms: usize, clock: C) -> Self {
        Self {
            admitted: Bucket::direct_with_clock(rates.commands, clock.clone()),
            rate_limited: Bucket::direct_with_clock(rates.commands, clock.clone()),
            free_joins: NonZeroU32::new(free_joins(max_rooms))
                .map(|joins| Bucket::direct_with_clock(Quota::per_minute(joins), clock)),
        }
    }

    /// One more command; `joins`: it asks for a room.
    pub fn admit(&self, joins: bool) -> CommandAdmission {
        let is_free = || (self.free_joins.as_ref()).is_some_and(|free| free.check().is_ok());
        if (joins && is_free()) || self.admitted.check().is_ok() {
            CommandAdmission::Admitted
        } else if self.rate_limited.check().is_ok() {
            CommandAdmission::RateLimited
        } else {
            CommandAdmission::Excessive
        }
    }
}

/// How fast the packets of one transport come.
pub struct PacketRate(Bucket);

impl PacketRate {
    /// So many more. False: they are too many.
    pub fn admit(&self, packets: usize) -> bool {
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        let Some(packets) = NonZeroU32::new(packets) else {
            return true;
        };
        // An error: more at once than ever may be.
        self.0.check_n(packets).is_ok_and(|fits| fits.is_ok())
    }
}

impl std::fmt::Debug for PacketRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketRate").finish_non_exhaustive()
    }
}

/// What the bucket of a transport takes in each session.
const _: () = assert!(size_of::<PacketRate>() <= 48);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rates() -> SendRates {
        SendRates::new(NonZeroU32::new(20).unwrap())
    }

    fn rate(max_rooms: usize) -> (CommandRate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (CommandRate::with(rates(), max_rooms, clock.clone()), clock)
    }

    fn admissions(rate: &CommandRate<FakeRelativeClock>, joins: bool, count: usize) -> [usize; 3] {
        let all: Vec<_> = (0..count).map(|_| rate.admit(joins)).collect();
        [
            CommandAdmission::Admitted,
            CommandAdmission::RateLimited,
            CommandAdmission::Excessive,
        ]
        .map(|kind| all.iter().filter(|it| **it == kind).count())
    }

    #[test]
    fn a72_a_burst_of_commands_is_carried_out_the_next_is_refused_and_then_it_ends() {
        let (rate, clock) = rate(200);
        assert_eq!(admissions(&rate, false, 250), [100, 100, 50]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admissions(&rate, false, 45), [20, 20, 5]);
        clock.advance(Duration::from_mins(1));
        assert_eq!(admissions(&rate, false, 250), [100, 100, 50]);
    }

    #[test]
    fn a72_twice_the_rate_is_refused_by_half_and_lives() {
        let (rate, clock) = rate(0);
        admissions(&rate, false, 100);
        for _ in 0..60 {
            clock.advance(Duration::from_secs(1));
            assert_eq!(admissions(&rate, false, 40), [20, 20, 0]);
        }
    }

    #[test]
    fn a_client_joins_its_rooms_one_by_one_and_has_its_burst_all_the_same() {
        let (rate, _) = rate(200);
        assert_eq!(admissions(&rate, true, 200), [200, 0, 0]);
        assert_eq!(admissions(&rate, true, 1), [1, 0, 0]);
        assert_eq!(admissions(&rate, false, 100), [99, 1, 0]);
        let (rate, _) = self::rate(usize::MAX);
        assert_eq!(admissions(&rate, true, 1_101), [1_100, 1, 0]);
    }

    #[test]
    fn a72_a_client_that_joins_all_its_rooms_again_after_a_minute_is_not_limited() {
        let (rate, clock) = rate(200);
        for _ in 0..3 {
            assert_eq!(admissions(&rate, true, 200), [200, 0, 0]);
            assert_eq!(admissions(&rate, false, 100), [100, 0, 0]);
            clock.advance(Duration::from_mins(1));
        }
    }

    #[test]
    fn a72_a_client_may_join_all_its_rooms_however_few_commands_there_may_be() {
        for (commands, rooms) in [(1, 200), (1, 1_000), (20, 1_000), (20, usize::MAX)] {
            let rate = SendRates::new(NonZeroU32::new(commands).unwrap()).packets(rooms);
            let joins = rooms.min(1_000);
            assert!((0..2 * joins).all(|_| rate.admit(1)), "{commands} {rooms}");
            assert!(rate.admit(500), "heartbeats and acknowledgements");
        }
    }

    #[test]
    fn a23_a29_packets_of_a_transport_are_bounded() {
        let rate = rates().packets(200);
        assert!(rate.admit(0) && rate.admit(1_000) && rate.admit(999));
        assert!(!rate.admit(1_000), "too many at once");
        assert!(!rate.admit(60_000), "more than ever fit");
        let most = SendRates::new(NonZeroU32::MAX).packets(200);
        assert!(most.admit(1_000_000), "no overflow");
    }
}
