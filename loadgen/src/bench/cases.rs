//! The cases of `--cases`: what is measured in one life of a server, with the same clients.

use std::time::Duration;

use anyhow::{Context, Result};

use super::event::EventKind;
use super::figures::Figures;
use super::publisher::Linger;
use super::server::{Contestant, ServerKind, Surroundings};
use super::stage::{Loop, Paced, Population, Stage, WARM};
use super::tally::{Faults, Seen};
use super::{catch_up, claim};
use crate::latency::ratio;

/// Until memory is looked at after all clients have gone: Fleetcast gives it back every 20 s.
const GONE: Duration = Duration::from_secs(25);
/// Clients whose commands are acknowledged in turn.
const ASKING: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    FanOut,
    Rooms,
    Append,
    TenThousand,
    Claim,
    Memory,
    CatchUp,
    Storm,
}

/// What a case is run with.
pub(crate) struct CaseContext<'a> {
    pub(crate) contestant: &'a Contestant,
    pub(crate) around: &'a Surroundings<'a>,
    pub(crate) name: String,
    /// Of each measurement.
    pub(crate) lasts: Duration,
}

impl CaseContext<'_> {
    pub(crate) fn stage(
        &self,
        population: Population,
        environment: &[(&str, &str)],
    ) -> Result<Stage> {
        Stage::start(
            self.contestant,
            self.around,
            &self.name,
            population,
            environment,
        )
    }
}

impl Case {
    pub(crate) const ALL: [Self; 8] = [
        Self::FanOut,
        Self::Rooms,
        Self::Append,
        Self::TenThousand,
        Self::Claim,
        Self::Memory,
        Self::CatchUp,
        Self::Storm,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Rooms => "rooms",
            Self::Append => "append",
            Self::TenThousand => "ten-thousand",
            Self::Claim => "claim",
            Self::Memory => "memory",
            Self::CatchUp => "catch-up",
            Self::Storm => "storm",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|case| case.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|case| case.name()).collect();
            format!("{text:?} is none of {}", names.join(", "))
        })
    }

    /// Peers take part where there is something to compare.
    pub(crate) fn has(self, kind: ServerKind) -> bool {
        matches!(
            (self, kind),
            (_, ServerKind::Fleetcast)
                | (
                    Self::FanOut | Self::Rooms | Self::Append | Self::TenThousand,
                    _
                )
                | (Self::Claim, ServerKind::Bare)
        )
    }

    /// Memory after a catch-up differs little from round to round, and takes long.
    pub(crate) fn rounds(self, wanted: u32) -> u32 {
        match self {
            Self::Memory => wanted.min(1),
            Self::Claim => wanted.min(3),
            _ => wanted,
        }
    }

    /// The figures, and what was lost, duplicated or reordered.
    pub(crate) fn run(self, context: &CaseContext<'_>) -> Result<(Figures, Faults)> {
        let measure = match self {
            Self::FanOut => fan_out,
            Self::Rooms => rooms,
            Self::Append => append,
            Self::TenThousand => ten_thousand,
            Self::Claim => claim::claim,
            Self::Memory => catch_up::memory,
            Self::CatchUp => catch_up::catch_up,
            Self::Storm => catch_up::storm,
        };
        let (figures, mut stage) = measure(context)?;
        let faults = stage.faults()?;
        stage.server.stop(context.around.cluster)?;
        Ok((figures, faults))
    }
}

fn fan_out(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let mut stage = context.stage(
        Population {
            clients: 1_000,
            rooms: 1,
        },
        &[],
    )?;
    stage.fill()?;
    let mut figures = Figures::default();
    let twenty = Paced { rate: 20, burst: 1 };
    stage.paced(twenty, WARM, |_| 0)?;
    stage.drain()?;
    figures.add(
        "fan_out",
        from_append(&mut stage, |stage| {
            stage.paced(twenty, context.lasts * 2, |_| 0)?;
            stage.drain()
        })?,
    );

    let eight = Loop {
        in_flight: 8,
        burst: 8,
    };
    stage.linger(Linger::Millisecond);
    figures.add("eight", stage.measure_closed(eight, context.lasts, |_| 0)?);
    if context.contestant.kind != ServerKind::Node {
        // More than Node can do.
        let even = Paced {
            rate: 400,
            burst: 8,
        };
        figures.add(
            "eight_even",
            stage.measure_paced(even, context.lasts, |_| 0)?,
        );
    }
    figures.add("ack", acknowledgements(&mut stage, context.lasts)?);
    Ok((figures, stage))
}

/// Measures, with each delivery's time since its append, or since it was published where nothing is appended.
pub(crate) fn from_append(
    stage: &mut Stage,
    act: impl FnOnce(&mut Stage) -> Result<()>,
) -> Result<Figures> {
    stage.appended()?;
    let first = stage.number;
    stage.swarm.tally.log = Some(Vec::new());
    let mut figures = stage.measured(act)?;
    let mut seen = stage.swarm.tally.log.take().unwrap_or_default();
    // Of what was in flight when the measurement began it is not known any more when it was appended.
    seen.retain(|seen| seen.number >= first);
    let appended = stage.appended()?;
    let since_append = seen.iter().map(|seen| {
        // The broker's clock shows whole milliseconds; it appended no earlier than the record was sent.
        let appended = appended
            .as_ref()
            .and_then(|times| times.get(&seen.number).copied());
        seen.now_ns
            .saturating_sub(appended.unwrap_or(0).max(seen.sent_ns))
    });
    let since_append: Vec<u64> = since_append.collect();
    for (name, quantile) in [("append_p50_ms", 0.5), ("append_p99_ms", 0.99)] {
        figures.set(name, quantile_ms(since_append.clone(), quantile));
    }
    let since_sent: Vec<u64> = seen.iter().map(Seen::took_ns).collect();
    for (name, quantile) in [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
        figures.set(name, quantile_ms(since_sent.clone(), quantile));
    }
    Ok(figures)
}

/// In milliseconds, of nanoseconds; 0 if there are none.
pub(crate) fn quantile_ms(mut values: Vec<u64>, quantile: f64) -> f64 {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index below the number of values"
    )]
    let at = ((values.len() as f64 * quantile) as usize).min(values.len().saturating_sub(1));
    ratio(values.get(at).copied().unwrap_or(0), 1_000_000)
}

fn acknowledgements(stage: &mut Stage, lasts: Duration) -> Result<Figures> {
    let command: &[u8] = match stage.server.kind() {
        ServerKind::Fleetcast => b"421[\"ack\",{\"id\":\"alert-1\"}]",
        ServerKind::Node | ServerKind::Bare => b"421[\"echo\",{\"id\":\"alert-1\"}]",
    };
    stage.swarm.command = command.to_vec();
    stage.swarm.ask(0..ASKING)?;
    stage.wait(WARM)?;
    let figures = stage.measured(|stage| stage.wait(lasts))?;
    stage.swarm.command.clear();
    stage.wait(Duration::from_millis(200))?;
    Ok(figures)
}

fn rooms(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let population = Population {
        clients: 5_000,
        rooms: 500,
    };
    let mut stage = context.stage(population, &[])?;
    stage.fill()?;
    let mut figures = Figures::default();
    let any = |number: u64| scattered(number, population.rooms);
    let paced = Paced {
        rate: 1_000,
        burst: 1,
    };
    stage.linger(Linger::Millisecond);
    figures.add(
        "rooms_paced",
        stage.measure_paced(paced, context.lasts * 2, any)?,
    );
    let even = Paced {
        rate: 3_000,
        burst: 1,
    };
    figures.add("rooms_even", stage.measure_paced(even, context.lasts, any)?);
    let hundred = Loop {
        in_flight: 100,
        burst: 1,
    };
    stage.closed(hundred, WARM, &any)?;
    figures.add(
        "rooms",
        from_append(&mut stage, |stage| {
            stage.closed(hundred, context.lasts, &any)
        })?,
    );
    Ok((figures, stage))
}

/// A room for each event, the same ones in every run.
pub(crate) fn scattered(number: u64, rooms: usize) -> usize {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    usize::try_from(mixed).unwrap_or(0) % rooms
}

fn append(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let population = Population {
        clients: 1_000,
        rooms: 100,
    };
    let mut stage = context.stage(population, &[])?;
    stage.fill()?;
    let mut figures = Figures::default();
    let plan = Paced {
        rate: 2_000,
        burst: 1,
    };
    let any = |number: u64| scattered(number, population.rooms);
    stage.linger(Linger::Millisecond);
    stage.paced(plan, WARM, any)?;
    stage.drain()?;
    figures.add(
        "append",
        from_append(&mut stage, |stage| {
            stage.paced(plan, context.lasts * 2, any)?;
            stage.drain()
        })?,
    );
    Ok((figures, stage))
}

fn ten_thousand(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let population = Population {
        clients: 10_000,
        rooms: 1,
    };
    let mut stage = context.stage(population, &[])?;
    let mut figures = Figures::default();
    let empty = stage.server.usage()?;
    let everyone: Vec<usize> = (0..population.clients).collect();
    stage.swarm.connect(&everyone)?;
    stage.wait(Duration::from_millis(200))?;
    let connected = stage.server.usage()?;
    let cpu = connected.cpu.saturating_sub(empty.cpu);
    figures.set(
        "connect.cpu_us",
        cpu.as_secs_f64() * 1e6 / ratio(population.clients as u64, 1),
    );
    stage.swarm.join()?;
    stage.wait(Duration::from_secs(2))?;
    let idle = stage.server.usage()?.rss_kib.saturating_sub(empty.rss_kib);
    figures.set("idle.client_kb", ratio(idle, population.clients as u64));

    let two = Loop {
        in_flight: 2,
        burst: 1,
    };
    figures.add(
        "ten_thousand",
        stage.measure_closed(two, context.lasts, |_| 0)?,
    );
    if context.contestant.kind == ServerKind::Fleetcast {
        figures.add("alert", alert(&mut stage, population)?);
        stage.swarm.cut(&everyone)?;
        stage.wait(GONE)?;
        let left = stage.server.usage()?.rss_kib.saturating_sub(empty.rss_kib);
        figures.set("gone.mib", ratio(left, 1_024));
    }
    Ok((figures, stage))
}

/// Alerts to everyone, each half a second after all have received the one before.
///
/// `answered`: acknowledgements by clients, divided by their number; 3 if each has sent all of its own.
fn alert(stage: &mut Stage, population: Population) -> Result<Figures> {
    let mut all = Vec::new();
    let begin = crate::scrape::Scrape::parse(stage.server.metrics()?);
    for _ in 0..3 {
        stage.swarm.tally.log = Some(Vec::new());
        stage.publish(EventKind::Alert, 0, 1, true)?;
        stage.drain()?;
        stage.wait(Duration::from_millis(500))?;
        let seen = stage
            .swarm
            .tally
            .log
            .take()
            .context("the log of deliveries")?;
        all.extend(seen.iter().map(Seen::took_ns));
    }
    let mut figures = Figures::default();
    figures.set("p99_ms", quantile_ms(all.clone(), 0.99));
    figures.set("p50_ms", quantile_ms(all, 0.5));
    figures.set(
        "answered",
        ratio(stage.swarm.tally.answered, population.clients as u64),
    );
    let end = crate::scrape::Scrape::parse(stage.server.metrics()?);
    if let Some(pause) = end.longest_pause(&begin) {
        figures.set("pause_ms", pause * 1_000.0);
    }
    Ok(figures)
}
