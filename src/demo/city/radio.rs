//! Radio traffic: a crew or the desk transmits; then the transcript and its tags follow.

use rand::Rng;
use serde_json::{Value, json};

use super::fleet::Duty;
use super::plans::STANDING_INCIDENT;
use super::service::{CityAction, Service, ServiceTurn};

#[derive(Debug)]
pub(super) struct Transmission {
    id: String,
    channel: usize,
    channel_id: &'static str,
    speaker: &'static str,
    text: String,
    tags: &'static [&'static str],
    incident_id: Option<String>,
    keyed_at: u64,
    duration_ms: u64,
}

/// What a crew says on patrol, on its way, at work. `{me}` is the call sign, `{at}` the place, `{what}` the incident.
const PATROL: [(&str, &[&str]); 7] = [
    (
        "Dispatch, {me}, clear at {at}, available.",
        &["status", "available"],
    ),
    ("{me}, passing {at}, all quiet.", &["status", "location"]),
    (
        "{me} to dispatch, radio check, how do you read?",
        &["radio_check"],
    ),
    (
        "Dispatch, {me}, traffic light out at {at}, please tell the city.",
        &["request", "traffic"],
    ),
    (
        "{me}, heading back to the station, ten minutes.",
        &["status"],
    ),
    (
        "Dispatch, {me}, can you repeat the last address?",
        &["request"],
    ),
    ("{me}, good copy, thank you.", &["acknowledgement"]),
];
const EN_ROUTE: [(&str, &[&str]); 4] = [
    (
        "{me} en route, {at}, about two minutes out.",
        &["en_route", "location"],
    ),
    (
        "Dispatch, {me}, anything further on the {what}?",
        &["en_route", "request"],
    ),
    (
        "{me}, slow traffic at {at}, taking the next street.",
        &["en_route", "traffic"],
    ),
    ("{me} responding, two on board.", &["en_route"]),
];
const ON_SCENE: [(&str, &[&str]); 4] = [
    (
        "{me} on scene at {at}, investigating.",
        &["on_scene", "location"],
    ),
    (
        "Dispatch, {me}, situation under control, no further units.",
        &["on_scene", "status"],
    ),
    (
        "{me}, we need ten more minutes here.",
        &["on_scene", "delay"],
    ),
    (
        "Dispatch, {me}, send one more unit to {at}, not urgent.",
        &["on_scene", "request"],
    ),
];
const CONTROL: [(&str, &[&str]); 4] = [
    ("{me}, dispatch, copied, time noted.", &["acknowledgement"]),
    (
        "{me}, dispatch, what is your location?",
        &["request", "location"],
    ),
    (
        "All units, dispatch, roadworks near {at} until this evening.",
        &["broadcast", "traffic"],
    ),
    (
        "{me}, dispatch, stand by on this channel.",
        &["instruction"],
    ),
];

impl Transmission {
    fn data(&self) -> Value {
        let mut data = json!({
            "transmission_id": self.id,
            "channel_id": self.channel_id,
            "call_sign": self.speaker,
        });
        if let Some(id) = &self.incident_id {
            data["incident_id"] = json!(id);
        }
        data
    }
}

impl Service {
    pub(super) fn key_up(&mut self, turn: &mut ServiceTurn<'_>) {
        let pause = turn.rng.random_range(2_200..4_200);
        turn.after(pause, CityAction::KeyUp);
        let index = turn.rng.random_range(0..self.vehicles.len());
        // The first channel is shared by all; a channel carries one voice at a time.
        let own = self.vehicles[index].plate.channel;
        let wanted = if turn.rng.random_bool(0.35) { 0 } else { own };
        let free = |channel: &usize| !self.busy[*channel];
        let Some(channel) = [wanted, own, 0].into_iter().find(free) else {
            return;
        };
        let transmission = self.compose(index, channel, turn);
        self.busy[channel] = true;
        let mut data = transmission.data();
        data["channel_name"] = json!(self.plan.channels[channel].name);
        data["asset_id"] = json!(self.vehicles[index].plate.asset_id);
        turn.emit(
            "transmission",
            "transmission_started",
            transmission.id.clone(),
            data,
        );
        turn.after(
            transmission.duration_ms,
            CityAction::KeyDown(Box::new(transmission)),
        );
    }

    fn compose(
        &mut self,
        index: usize,
        channel: usize,
        turn: &mut ServiceTurn<'_>,
    ) -> Transmission {
        let vehicle = &self.vehicles[index];
        let by_control = turn.rng.random_bool(0.2);
        let phrases: &[(&str, &'static [&'static str])] = match vehicle.duty {
            _ if by_control => &CONTROL,
            Duty::Available | Duty::OutOfService => &PATROL,
            Duty::EnRoute => &EN_ROUTE,
            Duty::OnScene => &ON_SCENE,
        };
        let (phrase, tags) = turn.pick(phrases);
        let incident = vehicle
            .incident
            .and_then(|number| self.incidents.get(&number).map(|open| (number, open)));
        let what = match incident {
            Some((number, open)) if number != STANDING_INCIDENT => open.template.category,
            _ => "call",
        };
        let text = phrase
            .replace("{me}", vehicle.plate.call_sign)
            .replace("{at}", &vehicle.at.name())
            .replace("{what}", what);
        let incident_id = incident.map(|(number, _)| self.incident_id(number));
        let speaker = if by_control {
            "Dispatch"
        } else {
            vehicle.plate.call_sign
        };
        // About fourteen letters a second, and a breath before the first.
        let letters = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Transmission {
            id: self.object_id("tx"),
            channel,
            channel_id: self.plan.channels[channel].id,
            speaker,
            tags,
            incident_id,
            keyed_at: turn.now,
            duration_ms: 500 + letters * 70,
            text,
        }
    }

    pub(super) fn key_down(&mut self, transmission: Box<Transmission>, turn: &mut ServiceTurn<'_>) {
        self.busy[transmission.channel] = false;
        let mut data = transmission.data();
        data["duration_ms"] = json!(turn.now - transmission.keyed_at);
        data["signal_dbm"] = json!(-turn.rng.random_range(58..101));
        let id = transmission.id.clone();
        turn.emit("transmission", "transmission_completed", id, data);
        let listening = turn.rng.random_range(400..1_200);
        turn.after(listening, CityAction::Transcribe(transmission));
    }

    pub(super) fn transcribe(transmission: Box<Transmission>, turn: &mut ServiceTurn<'_>) {
        let mut data = transmission.data();
        data["text"] = json!(transmission.text);
        data["language"] = json!("en");
        data["confidence"] = json!(f64::from(turn.rng.random_range(82_u8..99)) / 100.0);
        let id = transmission.id.clone();
        turn.emit("transmission", "transcription_completed", id, data);
        if turn.rng.random_bool(0.6) {
            let reading = turn.rng.random_range(200..900);
            turn.after(reading, CityAction::Tag(transmission));
        }
    }

    pub(super) fn tag(transmission: &Transmission, turn: &mut ServiceTurn<'_>) {
        let mut data = transmission.data();
        data["tags"] = json!(transmission.tags);
        data["tagged_by"] = json!("classifier");
        let id = transmission.id.clone();
        turn.emit("transmission", "transmission_tagged", id, data);
    }
}
