//! The clients of a case, on a thread for each server, and what they have seen when it is over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use tokio::sync::watch;

use super::server::SECRET;
use super::watched::{
    Circle, Counts, ORGANISATION, Routine, Seen, TOKEN_SECONDS, Times, Wanted, Watched,
};
use crate::check::{ClientCheck, Faults, RoomLedger};
use crate::client::Client;
use crate::clock::Clock;
use crate::crowd;
use crate::socket::{Endpoint, Minter};

const CONNECTS_PER_SECOND: u32 = 1_000;
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// What is missing may still come, until nothing has come for so long.
const QUIET: Duration = Duration::from_secs(4);
/// And then, what should not come.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// A client to be.
#[derive(Debug, Clone)]
pub(super) struct SeatPlan {
    pub(super) user: String,
    /// Counted from 0, as ledgers do.
    pub(super) room: usize,
    pub(super) routine: Routine,
}

/// The id of a room's channel.
pub(super) fn channel(room: usize) -> usize {
    room + 1
}

/// A client that was.
pub(super) struct Attendance {
    pub(super) plan: SeatPlan,
    /// Which of the servers.
    pub(super) server: usize,
    pub(super) seen: Seen,
}

impl Attendance {
    /// Its connection was ended on purpose.
    pub(super) fn forgive_end(&mut self) {
        (self.seen.lost_connections, self.seen.trouble) = (0, None);
    }
}

type HeldShare = Result<(Vec<Attendance>, Times)>;

pub(super) struct Audience {
    threads: Vec<JoinHandle<HeldShare>>,
    wanted: watch::Sender<Wanted>,
    pub(super) counts: Arc<Counts>,
    size: u64,
}

impl Audience {
    /// Connects all of them, to the server of their list each. `bound`: more sequence numbers than any room gets.
    pub(super) fn gather(
        lists: Vec<(Endpoint, Vec<SeatPlan>)>,
        run: &str,
        clock: Clock,
        bound: u32,
    ) -> Result<Self> {
        let size = lists.iter().map(|(_, plans)| plans.len() as u64).sum();
        let counts = Arc::new(Counts::default());
        let (wanted, receiver) = watch::channel(Wanted::default());
        let mut threads = Vec::new();
        for (server, (endpoint, plans)) in lists.into_iter().enumerate() {
            let (counts, run) = (Arc::clone(&counts), run.to_owned());
            let wanted = receiver.clone();
            let hold = move || {
                let circle = Circle {
                    clock,
                    counts,
                    wanted,
                    times: RefCell::new(Times::new()),
                };
                hold(server, plans, &endpoint, &run, bound, circle)
            };
            let thread = std::thread::Builder::new().name("clients".to_owned());
            threads.push(thread.spawn(hold)?);
        }
        let audience = Self {
            threads,
            wanted,
            counts,
            size,
        };
        audience.await_ready()?;
        Ok(audience)
    }

    fn await_ready(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let ready = read(&self.counts.ready);
            if ready == self.size {
                return Ok(());
            }
            if begin.elapsed() > CONNECT_TIMEOUT {
                bail!("only {ready} of {} clients were connected", self.size);
            }
            if self.threads.iter().any(JoinHandle::is_finished) {
                bail!("a client thread has ended");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn want(&self, change: impl FnOnce(&mut Wanted)) {
        self.wanted.send_modify(change);
    }

    /// Waits until so many deliveries have come, or nothing more comes; then a little for what should not come.
    pub(super) fn await_deliveries(&self, expected: u64) {
        let (mut seen, mut since) = (read(&self.counts.received), Instant::now());
        while seen < expected && since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(20));
            let now = read(&self.counts.received);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        std::thread::sleep(AFTERWARDS);
    }

    pub(super) fn leave(self) -> Result<(Vec<Attendance>, Times)> {
        self.want(|wanted| wanted.stop = true);
        let (mut all, mut times) = (Vec::new(), Times::new());
        for thread in self.threads {
            let share = thread
                .join()
                .map_err(|_| anyhow!("a client thread panicked"))?;
            let (attendances, share) = share?;
            all.extend(attendances);
            times.add(&share);
        }
        Ok((all, times))
    }
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// One server's clients, until the case stops.
fn hold(
    server: usize,
    plans: Vec<SeatPlan>,
    endpoint: &Endpoint,
    run: &str,
    bound: u32,
    circle: Circle,
) -> HeldShare {
    let circle = Rc::new(circle);
    let minter = Minter::new(SECRET, circle.clock.unix_seconds() + TOKEN_SECONDS)?;
    let clients = plans.iter().enumerate().map(|(index, plan)| {
        let token = minter.dispatcher(&plan.user, ORGANISATION)?;
        let channel = channel(plan.room);
        let check = ClientCheck::new(ORGANISATION, run, &[(plan.room, channel)], bound);
        let part = Watched::new(&plan.user, plan.routine, check, Rc::clone(&circle));
        Ok(Client::new(
            index,
            token,
            vec![format!("channel:{channel}")],
            part,
        ))
    });
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let mut wanted = circle.wanted.clone();
    let stop = async {
        // An error means that the run is gone: then it is time to stop as well.
        let _stopped = wanted.wait_for(|wanted| wanted.stop).await;
    };
    let clients = crowd::hold(clients, endpoint, CONNECTS_PER_SECOND, stop)?;
    let attendances = clients
        .into_iter()
        .zip(plans)
        .map(|(client, plan)| Attendance {
            plan,
            server,
            seen: client.part.seen.into_inner(),
        });
    let attendances = attendances.collect();
    Ok((attendances, circle.times.replace(Times::new())))
}

/// Exactly once and in order, over all clients that were entitled to every record of their room.
#[derive(Debug, Default)]
pub(super) struct Tallied {
    /// Deliveries that clients were entitled to.
    pub(super) expected: u64,
    pub(super) faults: Faults,
    pub(super) resyncs: u64,
    pub(super) lost_connections: u64,
    pub(super) samples: Vec<String>,
}

const SAMPLES: usize = 8;

impl Tallied {
    /// Judges one client by what was produced into its room.
    pub(super) fn take(&mut self, attendance: Attendance, ledgers: &[RoomLedger]) {
        let Attendance { plan, server, seen } = attendance;
        self.resyncs += seen.resyncs.len() as u64;
        self.lost_connections += seen.lost_connections;
        let verdict = seen.check.verdict(ledgers);
        self.expected += verdict.expected;
        self.faults += verdict.faults;
        let resyncs = seen
            .resyncs
            .into_iter()
            .map(|reason| format!("resync: {reason}"));
        let samples = verdict
            .samples
            .into_iter()
            .chain(seen.trouble)
            .chain(resyncs);
        let samples = samples.map(|text| format!("{} at server {}: {text}", plan.user, server + 1));
        let left = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(samples.take(left));
    }

    /// The rows that every case has; `whose` begins each title.
    pub(super) fn report(&self, outcome: &mut super::outcome::Outcome, whose: &str) {
        let faults = &self.faults;
        let wrong = faults.foreign + faults.altered + faults.unexpected;
        let counts = [
            ("lost", faults.lost),
            ("twice", faults.duplicated),
            ("out of order", faults.out_of_order),
            ("foreign, altered or unexpected", wrong),
            ("not brought back (resync)", self.resyncs),
        ];
        for (what, count) in counts {
            outcome.none(&format!("{whose} {what}"), count);
        }
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        if sum + self.lost_connections > 0 {
            for sample in &self.samples {
                outcome.broken(sample.clone());
            }
        }
    }
}

/// Clients that have seen what a test says.
#[cfg(test)]
pub(super) mod fixture {
    use super::*;
    use crate::bitmap::Bitmap;
    use crate::record::{Payload, Stamp};

    pub(in crate::control) const BOUND: u32 = 400;

    /// One room, into which so many were produced, all of them acknowledged.
    pub(in crate::control) fn ledgers(count: u32) -> Vec<RoomLedger> {
        let mut all = Bitmap::with_bound(BOUND);
        for sequence in 0..count {
            all.insert(sequence);
        }
        vec![RoomLedger {
            produced: all.clone(),
            acknowledged: all,
        }]
    }

    /// A client of that room that was connected all the time and got these.
    pub(in crate::control) fn attendance(
        user: &str,
        routine: Routine,
        sequences: impl IntoIterator<Item = u32>,
    ) -> Attendance {
        let check = ClientCheck::new(ORGANISATION, "r", &[(0, channel(0))], BOUND);
        let mut seen = Seen::new(check);
        seen.fresh = 1;
        for sequence in sequences {
            seen.check.receive(&Payload::Untouched(Stamp {
                organisation: ORGANISATION,
                channel: "1",
                run: "r",
                sequence,
                sent_ns: 0,
            }));
            seen.last_sequence = seen.last_sequence.max(Some(sequence));
        }
        Attendance {
            plan: SeatPlan {
                user: user.to_owned(),
                room: 0,
                routine,
            },
            server: 0,
            seen,
        }
    }

    /// What one received of so many: all, one lost, one twice, two exchanged. Only the first is as promised.
    pub(in crate::control) fn deliveries(count: u32) -> [(Vec<u32>, bool); 4] {
        let all: Vec<u32> = (0..count).collect();
        let lost = all.iter().copied().filter(|number| *number != 7).collect();
        let mut doubled = all.clone();
        doubled.insert(9, 3);
        let mut reordered = all.clone();
        reordered.swap(4, 5);
        [
            (all, true),
            (lost, false),
            (doubled, false),
            (reordered, false),
        ]
    }
}
