//! The scenarios: what each asks of the fleet, of the clients and of the nemesis.

use std::time::Duration;

use super::habit::Habit;

/// What the bytes of the window suffice for in [`Scenario::Crowded`] and [`Scenario::Noisy`], about.
const CROWDED: Duration = Duration::from_secs(10);
/// A client that has missed less than that must be resumed there.
pub(crate) const CROWDED_LEAST: Duration = Duration::from_secs(6);
/// The same of the noisy organisation: the quiet one may fill the half of the window that is its fair share.
pub(crate) const NOISY_LEAST: Duration = Duration::from_secs(4);
/// Of so many records one is of the quiet organisation.
const NOISE: u32 = 20;

/// Clients read that long before they stop.
pub(crate) const STALL_AFTER: Duration = Duration::from_secs(3);

const S: fn(u64) -> Duration = Duration::from_secs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Cuts,
    Kill,
    Rolling,
    Pause,
    Kafka,
    Leader,
    Slow,
    Away,
    Crowded,
    Noisy,
    Topics,
    Storm,
    Burst,
    Redis,
}

/// How long things take, and how much of them there is: all scenarios in a few minutes, or until it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub(crate) enum Form {
    Short,
    Long,
}

impl Form {
    pub(crate) fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

impl Scenario {
    pub(crate) const ALL: [Self; 14] = [
        Self::Cuts,
        Self::Kill,
        Self::Rolling,
        Self::Pause,
        Self::Kafka,
        Self::Leader,
        Self::Slow,
        Self::Away,
        Self::Crowded,
        Self::Noisy,
        Self::Topics,
        Self::Storm,
        Self::Burst,
        Self::Redis,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cuts => "cuts",
            Self::Kill => "kill",
            Self::Rolling => "rolling",
            Self::Pause => "pause",
            Self::Kafka => "kafka",
            Self::Leader => "leader",
            Self::Slow => "slow",
            Self::Away => "away",
            Self::Crowded => "crowded",
            Self::Noisy => "noisy",
            Self::Topics => "topics",
            Self::Storm => "storm",
            Self::Burst => "burst",
            Self::Redis => "redis",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Cuts => "connections are cut at random, also while they are resumed",
            Self::Kill => "one server is killed (kill -9) and started again, over and over",
            Self::Rolling => "each server in turn is stopped (SIGTERM) and started again",
            Self::Pause => "one server is paused (SIGSTOP) and goes on",
            Self::Kafka => "the only broker is stopped, paused and killed",
            Self::Leader => "of three brokers the one that leads is killed",
            Self::Slow => "some clients read a trickle, some stop reading, some for good",
            Self::Away => "some clients are away for longer than the window",
            Self::Crowded => "the window has bytes for less than its time, and clients are away",
            Self::Noisy => {
                "one organisation fills the window, and clients of it and of a quiet one are away"
            }
            Self::Topics => {
                "partitions are added, records deleted, a topic recreated, transactions aborted"
            }
            Self::Storm => "all connections are cut at once",
            Self::Burst => "many records at once into one room of 50",
            Self::Redis => {
                "the Redis that the servers share is killed, paused and comes back empty"
            }
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == text);
        known.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            format!("no such scenario; there are {}", names.join(", "))
        })
    }

    pub(crate) fn brokers(self) -> u32 {
        match self {
            Self::Leader => 3,
            _ => 1,
        }
    }

    /// It breaks or stops brokers: it wants a Kafka of its own.
    pub(crate) fn breaks_kafka(self) -> bool {
        matches!(self, Self::Kafka | Self::Leader)
    }

    /// The servers have a Redis, which the nemesis breaks.
    pub(crate) fn breaks_redis(self) -> bool {
        self == Self::Redis
    }

    /// Of records being produced.
    pub(crate) fn seconds(self, form: Form) -> u64 {
        match self {
            Self::Cuts => form.pick(30, 120),
            Self::Kill => form.pick(40, 180),
            Self::Rolling => form.pick(40, 120),
            Self::Pause => form.pick(35, 180),
            Self::Kafka => form.pick(60, 600),
            Self::Leader => form.pick(40, 180),
            Self::Slow => form.pick(45, 180),
            Self::Away => form.pick(45, 120),
            Self::Crowded | Self::Noisy => form.pick(40, 90),
            Self::Topics => form.pick(60, 120),
            Self::Storm => form.pick(35, 120),
            Self::Burst => form.pick(25, 60),
            Self::Redis => form.pick(75, 600),
        }
    }

    /// Of a record's value.
    pub(crate) fn payload_bytes(self, form: Form) -> usize {
        match (self, form) {
            // Enough to fill all buffers on the way to a slow client before the scenario is over.
            (Self::Slow, Form::Short) => 4_000,
            _ => 500,
        }
    }

    /// Records before the first fault, so that there is something to compare with.
    pub(crate) fn warm_up(self, form: Form) -> Duration {
        match self {
            Self::Slow => S(form.pick(4, 30)),
            _ => S(3),
        }
    }

    /// Settings of the servers beside the usual ones; `bytes_per_second` come into the window.
    pub(crate) fn settings(self, form: Form, bytes_per_second: u64) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("FLEETCAST_WINDOW", self.window(form).as_secs().to_string()),
            (
                "FLEETCAST_WINDOW_BYTES",
                self.window_bytes(bytes_per_second),
            ),
            ("DRAIN_SECONDS", self.drain(form).as_secs().to_string()),
        ];
        if self == Self::Slow {
            settings.push(("SLOW_CLIENT_TIMEOUT", form.pick("10", "30").to_owned()));
        }
        if self.is_short_of_space() {
            // A window must hold one event at least.
            settings.push(("MAX_EVENT_BYTES", "16384".to_owned()));
        }
        settings
    }

    /// When nothing has come for so long, nothing will. Small buffers on the way of a slow client can stand still until the server
    /// gives the connection up; what it is owed comes on the next one.
    pub(crate) fn quiet(self, form: Form) -> Duration {
        match self {
            Self::Slow => S(form.pick(20, 45)),
            _ => S(3),
        }
    }

    pub(crate) fn window(self, form: Form) -> Duration {
        match self {
            Self::Away => S(form.pick(10, 20)),
            _ => S(300),
        }
    }

    fn window_bytes(self, bytes_per_second: u64) -> String {
        match self {
            Self::Burst => "1GiB".to_owned(),
            _ if self.is_short_of_space() => (bytes_per_second * CROWDED.as_secs()).to_string(),
            _ => "512MiB".to_owned(),
        }
    }

    /// What the kernel keeps for the proxy, in bytes. With less than a segment of the loopback interface (64 KB) the receive window
    /// opens by timers, ten times a second: slow clients are felt, and 30 MB for each of 50 would take minutes.
    pub(crate) fn proxy_buffers(self) -> usize {
        match self {
            Self::Burst => 256 * 1024,
            _ => 32 * 1024,
        }
    }

    pub(crate) fn drain(self, form: Form) -> Duration {
        match self {
            Self::Rolling => S(form.pick(4, 10)),
            _ => S(1),
        }
    }

    pub(crate) fn clients(self, form: Form) -> usize {
        match (self, form) {
            (Self::Storm, Form::Long) => 5_000,
            (_, Form::Long) => 2_000,
            (_, Form::Short) => 300,
        }
    }

    /// The window has too few bytes for its time.
    pub(crate) fn is_short_of_space(self) -> bool {
        matches!(self, Self::Crowded | Self::Noisy)
    }

    /// Of so many records all but one are of the first organisation.
    pub(crate) fn noise(self) -> Option<u32> {
        (self == Self::Noisy).then_some(NOISE)
    }

    /// Of a hundred records so many are positions, which are of class `latest`.
    pub(crate) fn position_percent(self, form: Form) -> u32 {
        match self {
            Self::Cuts | Self::Kill | Self::Rolling | Self::Pause | Self::Slow | Self::Storm => {
                form.pick(4, 1)
            }
            _ => 0,
        }
    }

    pub(crate) fn burst(self) -> bool {
        self == Self::Burst
    }

    /// What the client with this index does of its own.
    pub(crate) fn habit(self, index: usize, form: Form, seconds: u64) -> Habit {
        // Spread over the clients so that all servers have some of each; and over pairs of them, since neighbours are of
        // different organisations, so that both have.
        let hundredth = index / 2 * 37 % 100;
        let toggle = Habit::Toggle {
            every: S(form.pick(6, 20)),
        };
        let (least, most) = form.pick((S(4), S(12)), (S(20), S(60)));
        let flinch = Habit::Flinch {
            least,
            most,
            times: 3,
        };
        match (self, hundredth) {
            (Self::Cuts, 0..20) => flinch,
            (Self::Cuts, _) => Habit::Cut { least, most },
            (Self::Slow, 0..5) => Habit::Trickle {
                after: S(3),
                lasts: S(seconds * 2 / 3),
                pause: Duration::from_millis(100),
            },
            (Self::Slow, 5..10) => Habit::Stop {
                after: STALL_AFTER,
                lasts: S(form.pick(20, 60)),
            },
            (Self::Slow, 10) => Habit::StopForGood { after: STALL_AFTER },
            (Self::Away, 0..30) => Habit::Leave {
                after: S(2 + index as u64 % 5),
                // Beyond what is kept for clocks that differ, so that it is gone for good.
                away: self.window(form) + S(form.pick(14, 30)),
            },
            // Within the window.
            (Self::Away, 30..50) => Habit::Leave {
                after: S(2 + index as u64 % 5),
                away: self.window(form) / 2,
            },
            (Self::Crowded | Self::Noisy, 0..30) => Habit::Leave {
                after: S(2 + index as u64 % 5),
                away: CROWDED * 2,
            },
            (Self::Crowded | Self::Noisy, 30..50) => Habit::Cut { least, most },
            (Self::Pause | Self::Kill, 0..15) => flinch,
            (Self::Topics, 0..10) => Habit::Cut { least, most },
            (_, 90..100) => toggle,
            _ => Habit::Steady,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::mem::discriminant;

    use super::*;

    const CLIENTS: usize = 2_000;

    #[test]
    fn both_organisations_have_the_same_share_of_each_habit() {
        for scenario in Scenario::ALL {
            let mut shares: HashMap<_, [usize; 2]> = HashMap::new();
            for index in 0..CLIENTS {
                let habit = scenario.habit(index, Form::Long, 60);
                shares.entry(discriminant(&habit)).or_default()[index % 2] += 1;
            }
            for share in shares.values() {
                assert_eq!(share[0], share[1], "{scenario:?}");
                assert!(share[0] >= CLIENTS / 200, "{scenario:?}: {share:?}");
            }
        }
    }

    #[test]
    fn of_a_hundred_clients_so_many_are_slow() {
        let mut counts = [0; 3];
        for index in 0..CLIENTS {
            match Scenario::Slow.habit(index, Form::Long, 60) {
                Habit::Trickle { .. } => counts[0] += 1,
                Habit::Stop { .. } => counts[1] += 1,
                Habit::StopForGood { .. } => counts[2] += 1,
                _ => {}
            }
        }
        assert_eq!(counts.map(|count| count * 100 / CLIENTS), [5, 5, 1]);
    }
}
