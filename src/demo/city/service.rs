//! One organisation of the city, and what may happen in it next.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::CityEvent;
use super::desk::{Alert, Task};
use super::fleet::{Plate, Vehicle};
use super::incidents::Incident;
use super::plans::Plan;
use super::radio::Transmission;
use super::streets::Crossing;

/// What the agenda holds. Each step puts its own successor there, so the agenda stays as long as the city is big.
#[derive(Debug)]
pub(super) enum CityAction {
    Report { vehicle: usize },
    ServiceBreak,
    BackInService { vehicle: usize },
    KeyUp,
    KeyDown(Box<Transmission>),
    Transcribe(Box<Transmission>),
    Tag(Box<Transmission>),
    OpenIncident,
    DispatchIncident { number: u32 },
    UpdateIncident { number: u32 },
    ProgressIncident { number: u32 },
    AssignTask,
    UpdateTask(Box<Task>),
    CompleteTask(Box<Task>),
    RaiseAlert,
    AcknowledgeAlert(Box<Alert>),
}

/// Things to come, by time; things of one time in the order in which they were planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    planned: BTreeMap<(u64, u64), (usize, CityAction)>,
    count: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, due: u64, service: usize, action: CityAction) {
        self.planned.insert((due, self.count), (service, action));
        self.count += 1;
    }

    pub(super) fn next_due(&mut self, now: u64) -> Option<(u64, usize, CityAction)> {
        let entry = self.planned.first_entry()?;
        let due = entry.key().0;
        (due <= now).then(|| {
            let (service, action) = entry.remove();
            (due, service, action)
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.planned.len()
    }
}

/// What an action works with: the time, chance, the agenda and the way to be heard.
pub(super) struct ServiceTurn<'a> {
    /// Milliseconds of city time.
    pub(super) now: u64,
    /// The same moment on the wall, in milliseconds since the Unix epoch.
    pub(super) wall_ms: u64,
    pub(super) service: usize,
    pub(super) organisation: &'static str,
    pub(super) rng: &'a mut StdRng,
    pub(super) agenda: &'a mut Agenda,
    pub(super) events: &'a mut Vec<CityEvent>,
}

impl ServiceTurn<'_> {
    pub(super) fn emit(
        &mut self,
        topic: &'static str,
        name: &'static str,
        key: impl Into<String>,
        data: Value,
    ) {
        self.events.push(CityEvent {
            topic,
            key: key.into(),
            name,
            organisation: self.organisation,
            timestamp_ms: self.wall_ms,
            data,
        });
    }

    pub(super) fn after(&mut self, ms: u64, action: CityAction) {
        self.agenda.plan(self.now + ms, self.service, action);
    }

    /// One of them by chance; the list must not be empty.
    pub(super) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())].clone()
    }
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) plan: &'static Plan,
    pub(super) vehicles: Vec<Vehicle>,
    /// Open incidents by number; closed ones are forgotten.
    pub(super) incidents: BTreeMap<u32, Incident>,
    pub(super) next_incident: u32,
    pub(super) next_object: u32,
    /// A crew or the desk talks on the channel.
    pub(super) busy: Vec<bool>,
}

impl Service {
    pub(super) fn new(plan: &'static Plan, rng: &mut StdRng) -> Self {
        let vehicles = plan
            .vehicles
            .iter()
            .map(|&plate: &Plate| Vehicle::new(plate, Crossing::random(rng, plan.last_avenue)))
            .collect();
        Self {
            plan,
            vehicles,
            incidents: BTreeMap::new(),
            next_incident: super::plans::STANDING_INCIDENT,
            next_object: 1,
            busy: vec![false; plan.channels.len()],
        }
    }

    /// Spreads the beginnings, so that the first seconds look like all others.
    pub(super) fn begin(&mut self, turn: &mut ServiceTurn<'_>) {
        self.open_standing_incident(turn);
        for vehicle in 0..self.vehicles.len() {
            let first = turn.rng.random_range(100..2_000);
            turn.after(first, CityAction::Report { vehicle });
        }
        for (first, action) in [
            (300, CityAction::KeyUp),
            (900, CityAction::KeyUp),
            (700, CityAction::OpenIncident),
            (1_300, CityAction::AssignTask),
            (2_500, CityAction::RaiseAlert),
            (4_000, CityAction::ServiceBreak),
        ] {
            let first = first + turn.rng.random_range(0..500);
            turn.after(first, action);
        }
    }

    pub(super) fn act(&mut self, action: CityAction, turn: &mut ServiceTurn<'_>) {
        match action {
            CityAction::Report { vehicle } => self.report(vehicle, turn),
            CityAction::ServiceBreak => self.service_break(turn),
            CityAction::BackInService { vehicle } => self.back_in_service(vehicle, turn),
            CityAction::KeyUp => self.key_up(turn),
            CityAction::KeyDown(transmission) => self.key_down(transmission, turn),
            CityAction::Transcribe(transmission) => Self::transcribe(transmission, turn),
            CityAction::Tag(transmission) => Self::tag(&transmission, turn),
            CityAction::OpenIncident => self.open_incident(turn),
            CityAction::DispatchIncident { number } => self.dispatch_incident(number, turn),
            CityAction::UpdateIncident { number } => self.update_incident(number, turn),
            CityAction::ProgressIncident { number } => self.progress_incident(number, turn),
            CityAction::AssignTask => self.assign_task(turn),
            CityAction::UpdateTask(task) => Self::update_task(task, turn),
            CityAction::CompleteTask(task) => Self::complete_task(&task, turn),
            CityAction::RaiseAlert => self.raise_alert(turn),
            CityAction::AcknowledgeAlert(alert) => self.acknowledge_alert(&alert, turn),
        }
    }

    /// A fresh id such as `mtx-17`: prefix of the organisation, kind, number.
    pub(super) fn object_id(&mut self, kind: &str) -> String {
        let number = self.next_object;
        self.next_object = self.next_object.wrapping_add(1);
        format!("{}{kind}-{number}", self.plan.prefix)
    }

    pub(super) fn incident_id(&self, number: u32) -> String {
        format!("{}inc-{number}", self.plan.prefix)
    }
}
