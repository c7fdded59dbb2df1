//! What dispatchers and crews have on their lists: tasks, and alerts with their acknowledgement.

use rand::Rng;
use serde_json::{Value, json};

use super::service::{CityAction, Service, ServiceTurn};

const ROUTINE: [(&str, &str); 8] = [
    ("Call back the caller", "Caller reached, nothing to add."),
    ("Check the oxygen cylinders", "All cylinders above 150 bar."),
    (
        "Fetch radio batteries from the station",
        "Twelve batteries on board.",
    ),
    ("Look at hydrant 214", "Hydrant works, cap replaced."),
    (
        "Confirm the road closure with the city",
        "Closure confirmed until 18:00.",
    ),
    (
        "Photograph the damage for the report",
        "Nine pictures attached.",
    ),
    (
        "Drive past the school crossing",
        "Crossing clear, lights work.",
    ),
    ("Swap the first aid kit", "Kit sealed and signed."),
];

const ALERTS: [(&str, &str, &str); 7] = [
    ("critical", "panic_button", "Emergency button pressed"),
    (
        "critical",
        "man_down",
        "No movement of the radio for 60 seconds",
    ),
    (
        "warning",
        "low_battery",
        "Portable radio below 15 % battery",
    ),
    ("warning", "geofence", "Left the assigned area"),
    ("warning", "speeding", "Over the limit without lights"),
    ("info", "signal_weak", "Radio signal below -105 dBm"),
    (
        "info",
        "maintenance_due",
        "Engine hours reach the service interval",
    ),
];

#[derive(Debug)]
pub(super) struct Task {
    id: String,
    title: String,
    outcome: String,
    assignee: &'static str,
    incident_id: Option<String>,
}

#[derive(Debug)]
pub(super) struct Alert {
    id: String,
    kind: &'static str,
    severity: &'static str,
    asset_id: &'static str,
    call_sign: &'static str,
    raised_at: u64,
}

impl Task {
    fn data(&self, status: &str) -> Value {
        let mut data = json!({
            "task_id": self.id,
            "title": self.title,
            "status": status,
            "assigned_to": self.assignee,
        });
        if let Some(id) = &self.incident_id {
            data["incident_id"] = json!(id);
        }
        data
    }
}

impl Service {
    /// A small job, mostly for a crew, sometimes for the desk.
    pub(super) fn assign_task(&mut self, turn: &mut ServiceTurn<'_>) {
        let (title, outcome) = turn.pick(&ROUTINE);
        let assignee = if turn.rng.random_bool(0.25) {
            turn.pick(self.plan.desk).0
        } else {
            turn.pick(self.plan.vehicles).crew
        };
        let task = Task {
            id: self.object_id("tk"),
            title: title.to_owned(),
            outcome: outcome.to_owned(),
            assignee,
            incident_id: None,
        };
        self.begin_task(task, turn);
        let next = turn.rng.random_range(7_000..11_000);
        turn.after(next, CityAction::AssignTask);
    }

    /// The crew that was sent gets it in writing.
    pub(super) fn assign_crew(&mut self, number: u32, vehicle: usize, turn: &mut ServiceTurn<'_>) {
        let plate = self.vehicles[vehicle].plate;
        let Some(incident) = self.incidents.get(&number) else {
            return;
        };
        let task = Task {
            title: format!("Respond: {}", incident.template.title),
            outcome: format!(
                "{} took over at {}.",
                plate.call_sign,
                incident.place.name()
            ),
            id: self.object_id("tk"),
            assignee: plate.crew,
            incident_id: Some(self.incident_id(number)),
        };
        self.begin_task(task, turn);
    }

    fn begin_task(&self, task: Task, turn: &mut ServiceTurn<'_>) {
        let mut data = task.data("assigned");
        data["assigned_by"] = json!(turn.pick(self.plan.desk).1);
        data["due_in_minutes"] = json!(turn.rng.random_range(2..7) * 5);
        turn.emit("task", "task_assigned", task.id.clone(), data);
        let begun = turn.rng.random_range(2_500..5_500);
        turn.after(begun, CityAction::UpdateTask(Box::new(task)));
    }

    pub(super) fn update_task(task: Box<Task>, turn: &mut ServiceTurn<'_>) {
        let mut data = task.data("in_progress");
        data["progress_percent"] = json!(turn.rng.random_range(2..8) * 10);
        turn.emit("task", "task_updated", task.id.clone(), data);
        let done = turn.rng.random_range(4_000..8_000);
        turn.after(done, CityAction::CompleteTask(task));
    }

    pub(super) fn complete_task(task: &Task, turn: &mut ServiceTurn<'_>) {
        let mut data = task.data("completed");
        data["outcome"] = json!(task.outcome);
        turn.emit("task", "task_completed", task.id.clone(), data);
    }

    pub(super) fn raise_alert(&mut self, turn: &mut ServiceTurn<'_>) {
        let (severity, kind, message) = turn.pick(&ALERTS);
        let index = turn.rng.random_range(0..self.vehicles.len());
        let plate = self.vehicles[index].plate;
        let incident = self.vehicles[index].incident;
        let alert = Alert {
            id: self.object_id("al"),
            kind,
            severity,
            asset_id: plate.asset_id,
            call_sign: plate.call_sign,
            raised_at: turn.now,
        };
        let mut data = json!({
            "alert_id": alert.id,
            "kind": kind,
            "severity": severity,
            "message": format!("{}: {message}", plate.call_sign),
            "asset_id": plate.asset_id,
        });
        if let Some(number) = incident {
            data["incident_id"] = json!(self.incident_id(number));
        }
        turn.emit("alert", "alert_created", alert.id.clone(), data);
        let seen = turn.rng.random_range(2_500..7_000);
        turn.after(seen, CityAction::AcknowledgeAlert(Box::new(alert)));
        let next = turn.rng.random_range(10_000..16_000);
        turn.after(next, CityAction::RaiseAlert);
    }

    pub(super) fn acknowledge_alert(&self, alert: &Alert, turn: &mut ServiceTurn<'_>) {
        const NOTES: [&str; 4] = [
            "Called on the radio, all in order.",
            "Crew confirms, no help needed.",
            "Seen, supervisor informed.",
            "False alarm, unit checked.",
        ];
        let data = json!({
            "alert_id": alert.id,
            "kind": alert.kind,
            "severity": alert.severity,
            "asset_id": alert.asset_id,
            "call_sign": alert.call_sign,
            "acknowledged_by": turn.pick(self.plan.desk).1,
            "after_ms": turn.now - alert.raised_at,
            "note": turn.pick(&NOTES),
        });
        turn.emit("alert", "alert_acknowledged", alert.id.clone(), data);
    }
}
