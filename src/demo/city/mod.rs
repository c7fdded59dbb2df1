//! Alder Bay, a small invented city with two fleets on the radio: a pure, seeded state machine.
//!
//! It reads no clock and does no I/O: its driver says what time it is and gets what happened.

mod desk;
mod event;
mod fleet;
mod incidents;
mod plans;
mod radio;
mod service;
mod streets;

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use event::CityEvent;
use service::{Agenda, Service, ServiceTurn};

/// The topics of the dispatch profile that it writes to.
pub const TOPICS: [&str; 5] = ["transmission", "incident", "task", "asset", "alert"];

/// A machine that was asleep does not get hours of radio traffic at once: the city slept, too.
const LONGEST_STEP_MS: u64 = 5_000;

#[derive(Debug)]
pub struct City {
    services: Vec<Service>,
    agenda: Agenda,
    rng: StdRng,
    /// Milliseconds of city time.
    now: u64,
    /// The caller's time at the last step.
    wall_ms: Option<u64>,
}

impl City {
    /// The same seed and the same steps give the same events.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let services = [&plans::METRO, &plans::HARBOR]
            .map(|plan| Service::new(plan, &mut rng))
            .into();
        Self {
            services,
            agenda: Agenda::default(),
            rng,
            now: 0,
            wall_ms: None,
        }
    }

    /// Everything that has happened since the last step, in order. Time that runs backwards counts as none.
    pub fn step(&mut self, now_ms: u64) -> Vec<CityEvent> {
        let mut events = Vec::new();
        let Some(last_ms) = self.wall_ms.replace(now_ms) else {
            for index in 0..self.services.len() {
                let (service, mut turn) = self.turn(index, 0, now_ms, &mut events);
                service.begin(&mut turn);
            }
            return events;
        };
        let until = self.now + now_ms.saturating_sub(last_ms).min(LONGEST_STEP_MS);
        while let Some((due, index, action)) = self.agenda.next_due(until) {
            let wall_ms = now_ms.saturating_sub(until - due);
            let (service, mut turn) = self.turn(index, due, wall_ms, &mut events);
            service.act(action, &mut turn);
        }
        self.now = until;
        events
    }

    fn turn<'a>(
        &'a mut self,
        index: usize,
        now: u64,
        wall_ms: u64,
        events: &'a mut Vec<CityEvent>,
    ) -> (&'a mut Service, ServiceTurn<'a>) {
        let service = &mut self.services[index];
        let turn = ServiceTurn {
            now,
            wall_ms,
            service: index,
            organisation: service.plan.organisation,
            rng: &mut self.rng,
            agenda: &mut self.agenda,
            events,
        };
        (service, turn)
    }
}

#[cfg(test)]
mod tests;
