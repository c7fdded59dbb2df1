//! Incidents: they open, get crews, change status step by step, and close.

use rand::Rng;
use serde_json::json;

use super::fleet::{Duty, rounded};
use super::plans::STANDING_INCIDENT;
use super::service::{CityAction, Service, ServiceTurn};
use super::streets::Crossing;

/// No more open ones than this at a time in one organisation, the standing one included.
const MOST_OPEN: usize = 5;

/// What kind of thing may happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Template {
    pub(super) title: &'static str,
    pub(super) category: &'static str,
    /// 1 is the most urgent.
    pub(super) priority: u8,
    pub(super) description: &'static str,
    pub(super) notes: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IncidentStatus {
    New,
    Dispatched,
    OnScene,
    Contained,
    Resolved,
    Closed,
}

impl IncidentStatus {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Dispatched => "dispatched",
            Self::OnScene => "on_scene",
            Self::Contained => "contained",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }

    /// Where it goes from here by itself; the first two steps wait for a crew.
    fn next(self) -> Self {
        match self {
            Self::New => Self::Dispatched,
            Self::Dispatched => Self::OnScene,
            Self::OnScene => Self::Contained,
            Self::Contained => Self::Resolved,
            Self::Resolved | Self::Closed => Self::Closed,
        }
    }
}

#[derive(Debug)]
pub(super) struct Incident {
    pub(super) template: Template,
    pub(super) status: IncidentStatus,
    pub(super) place: Crossing,
    notes_told: usize,
}

impl Service {
    pub(super) fn open_incident(&mut self, turn: &mut ServiceTurn<'_>) {
        let next = turn.rng.random_range(13_000..19_000);
        turn.after(next, CityAction::OpenIncident);
        if self.incidents.len() >= MOST_OPEN {
            return;
        }
        let template = turn.pick(self.plan.incidents);
        let number = self.create(template, turn);
        let thinking = turn.rng.random_range(1_500..4_000);
        turn.after(thinking, CityAction::DispatchIncident { number });
        let note = turn.rng.random_range(5_000..9_000);
        turn.after(note, CityAction::UpdateIncident { number });
    }

    /// It is there from the first moment and never closes: a room that one can always join.
    pub(super) fn open_standing_incident(&mut self, turn: &mut ServiceTurn<'_>) {
        let number = self.create(self.plan.standing, turn);
        self.vehicles[self.plan.escort].incident = Some(number);
        turn.after(500, CityAction::ProgressIncident { number });
        turn.after(1_000, CityAction::ProgressIncident { number });
        turn.after(2_500, CityAction::UpdateIncident { number });
    }

    fn create(&mut self, template: Template, turn: &mut ServiceTurn<'_>) -> u32 {
        let number = self.next_incident;
        self.next_incident = self.next_incident.wrapping_add(1);
        let place = Crossing::random(turn.rng, self.plan.last_avenue);
        let position = place.position();
        let id = self.incident_id(number);
        let data = json!({
            "incident_id": id,
            "title": template.title,
            "category": template.category,
            "priority": template.priority,
            "status": IncidentStatus::New.name(),
            "description": template.description,
            "address": place.address(turn.rng),
            "cross_streets": place.name(),
            "lat": rounded(position.lat, 6),
            "lon": rounded(position.lon, 6),
            "opened_by": self.plan.desk[0].1,
        });
        turn.emit("incident", "incident_created", id, data);
        let incident = Incident {
            template,
            status: IncidentStatus::New,
            place,
            notes_told: 0,
        };
        self.incidents.insert(number, incident);
        number
    }

    /// Sends the nearest free vehicle, or says that none is free and tries again.
    pub(super) fn dispatch_incident(&mut self, number: u32, turn: &mut ServiceTurn<'_>) {
        let Some(incident) = self.incidents.get(&number) else {
            return;
        };
        let place = incident.place;
        let nearest = (0..self.vehicles.len())
            .filter(|&index| self.is_free(index))
            .min_by_key(|&index| self.vehicles[index].at.blocks_to(place));
        let Some(index) = nearest else {
            self.tell(number, "Holding for the next free unit.", turn);
            turn.after(6_000, CityAction::DispatchIncident { number });
            return;
        };
        let vehicle = &mut self.vehicles[index];
        vehicle.incident = Some(number);
        vehicle.drive_to(place, turn.rng.random_range(15.0..20.0));
        self.set_duty(index, Duty::EnRoute, "dispatched", turn);
        self.set_status(number, turn);
        self.assign_crew(number, index, turn);
    }

    pub(super) fn unit_arrived(&mut self, number: u32, index: usize, turn: &mut ServiceTurn<'_>) {
        let on_its_way = self
            .incidents
            .get(&number)
            .is_some_and(|incident| incident.status == IncidentStatus::Dispatched);
        if on_its_way {
            self.set_status(number, turn);
            let call_sign = self.vehicles[index].plate.call_sign;
            self.tell(number, &format!("{call_sign} on scene."), turn);
            let work = turn.rng.random_range(6_000..12_000);
            turn.after(work, CityAction::ProgressIncident { number });
        }
    }

    /// One step further; the last one lets the crew go and forgets the incident.
    pub(super) fn progress_incident(&mut self, number: u32, turn: &mut ServiceTurn<'_>) {
        self.set_status(number, turn);
        let Some(incident) = self.incidents.get(&number) else {
            return;
        };
        if number == STANDING_INCIDENT {
            return;
        }
        match incident.status {
            IncidentStatus::Resolved => {
                self.release(number, turn);
                turn.after(3_000, CityAction::ProgressIncident { number });
            }
            IncidentStatus::Closed => {
                self.incidents.remove(&number);
            }
            IncidentStatus::New
            | IncidentStatus::Dispatched
            | IncidentStatus::OnScene
            | IncidentStatus::Contained => {
                let work = turn.rng.random_range(5_000..10_000);
                turn.after(work, CityAction::ProgressIncident { number });
            }
        }
    }

    fn release(&mut self, number: u32, turn: &mut ServiceTurn<'_>) {
        for index in 0..self.vehicles.len() {
            if self.vehicles[index].incident == Some(number) {
                self.set_duty(index, Duty::Available, "cleared the scene", turn);
                self.vehicles[index].incident = None;
            }
        }
    }

    fn set_status(&mut self, number: u32, turn: &mut ServiceTurn<'_>) {
        let id = self.incident_id(number);
        let changed_by = turn.pick(self.plan.desk).1;
        if let Some(incident) = self.incidents.get_mut(&number) {
            let from = incident.status;
            incident.status = from.next();
            let data = json!({
                "incident_id": id,
                "title": incident.template.title,
                "from": from.name(),
                "to": incident.status.name(),
                "changed_by": changed_by,
            });
            turn.emit("incident", "incident_status_changed", id, data);
        }
    }

    /// The next note of the log, as long as the incident is open and there is something to say.
    pub(super) fn update_incident(&mut self, number: u32, turn: &mut ServiceTurn<'_>) {
        let Some(incident) = self.incidents.get_mut(&number) else {
            return;
        };
        let notes = incident.template.notes;
        let told = incident.notes_told;
        // Only the standing one repeats itself.
        if told < notes.len() || number == STANDING_INCIDENT {
            incident.notes_told += 1;
            self.tell(number, notes[told % notes.len()], turn);
            let next = turn.rng.random_range(7_000..12_000);
            turn.after(next, CityAction::UpdateIncident { number });
        }
    }

    fn tell(&self, number: u32, note: &str, turn: &mut ServiceTurn<'_>) {
        let Some(incident) = self.incidents.get(&number) else {
            return;
        };
        let units: Vec<&str> = self
            .vehicles
            .iter()
            .filter(|vehicle| vehicle.incident == Some(number))
            .map(|vehicle| vehicle.plate.call_sign)
            .collect();
        let id = self.incident_id(number);
        let data = json!({
            "incident_id": id,
            "title": incident.template.title,
            "status": incident.status.name(),
            "priority": incident.template.priority,
            "note": note,
            "units": units,
            "author": turn.pick(self.plan.desk).1,
        });
        turn.emit("incident", "incident_updated", id, data);
    }
}
