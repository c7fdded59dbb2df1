//! The vehicles of one organisation: they drive, report where they are, and change their status.

use std::collections::VecDeque;

use rand::Rng;
use serde_json::json;

use super::service::{CityAction, Service, ServiceTurn};
use super::streets::{self, Crossing, Position};

/// Milliseconds between two positions of a vehicle that drives, and of one that stands.
const DRIVING_REPORT_MS: u64 = 1_700;
const STANDING_REPORT_MS: u64 = 5_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    Available,
    EnRoute,
    OnScene,
    OutOfService,
}

impl Duty {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::EnRoute => "en_route",
            Self::OnScene => "on_scene",
            Self::OutOfService => "out_of_service",
        }
    }
}

/// A vehicle as the city is set up with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plate {
    pub(super) asset_id: &'static str,
    pub(super) call_sign: &'static str,
    pub(super) kind: &'static str,
    /// The channel that its crew talks on.
    pub(super) channel: usize,
    /// The person at the wheel: tasks are assigned to them.
    pub(super) crew: &'static str,
}

#[derive(Debug)]
pub(super) struct Vehicle {
    pub(super) plate: Plate,
    pub(super) duty: Duty,
    /// The incident that it works on, by number.
    pub(super) incident: Option<u32>,
    /// The crossing passed last.
    pub(super) at: Crossing,
    way: VecDeque<Crossing>,
    /// Metres driven since `at`.
    metres: f64,
    metres_per_second: f64,
    heading: f64,
    driven_until: u64,
}

impl Vehicle {
    pub(super) fn new(plate: Plate, at: Crossing) -> Self {
        Self {
            plate,
            duty: Duty::Available,
            incident: None,
            at,
            way: VecDeque::new(),
            metres: 0.0,
            metres_per_second: 0.0,
            heading: 0.0,
            driven_until: 0,
        }
    }

    /// Sends it somewhere. The block that it is in is driven to its end first: no unit jumps.
    pub(super) fn drive_to(&mut self, goal: Crossing, metres_per_second: f64) {
        let ahead = self.way.front().copied().filter(|_| self.metres > 0.0);
        let from = ahead.unwrap_or(self.at);
        self.way = streets::way(from, goal);
        if let Some(ahead) = ahead {
            self.way.push_front(ahead);
        }
        if self.drives() {
            self.metres_per_second = metres_per_second;
        }
    }

    pub(super) fn drives(&self) -> bool {
        !self.way.is_empty()
    }

    fn advance(&mut self, now: u64) {
        let elapsed_ms = u32::try_from(now.saturating_sub(self.driven_until)).unwrap_or(u32::MAX);
        self.driven_until = now;
        self.metres += self.metres_per_second * f64::from(elapsed_ms) / 1000.0;
        while let Some(next) = self.way.front().copied() {
            self.heading = self.at.heading_to(next);
            let block = self.at.metres_to(next);
            if self.metres < block {
                return;
            }
            self.metres -= block;
            self.at = next;
            self.way.pop_front();
        }
        self.metres = 0.0;
        self.metres_per_second = 0.0;
    }

    fn position(&self) -> Position {
        match self.way.front() {
            Some(&next) => streets::between(self.at, next, self.metres / self.at.metres_to(next)),
            None => self.at.position(),
        }
    }

    /// Where it is, as a person would say it.
    fn street(&self) -> String {
        match self.way.front() {
            Some(&next) => self.at.street_to(next).to_owned(),
            None => self.at.name(),
        }
    }
}

impl Service {
    /// One vehicle drives on and says where it is.
    pub(super) fn report(&mut self, index: usize, turn: &mut ServiceTurn<'_>) {
        let vehicle = &mut self.vehicles[index];
        vehicle.advance(turn.now);
        let position = vehicle.position();
        let mut data = json!({
            "asset_id": vehicle.plate.asset_id,
            "call_sign": vehicle.plate.call_sign,
            "kind": vehicle.plate.kind,
            "status": vehicle.duty.name(),
            "lat": rounded(position.lat, 6),
            "lon": rounded(position.lon, 6),
            "heading": rounded(vehicle.heading, 0),
            "speed_kmh": rounded(vehicle.metres_per_second * 3.6, 1),
            "street": vehicle.street(),
        });
        let (key, drives) = (vehicle.plate.asset_id, vehicle.drives());
        if let Some(number) = vehicle.incident {
            data["incident_id"] = json!(self.incident_id(number));
        }
        turn.emit("asset", "asset_position_updated", key, data);
        let next_report = if drives {
            DRIVING_REPORT_MS
        } else {
            STANDING_REPORT_MS
        };
        turn.after(next_report, CityAction::Report { vehicle: index });
        if !drives {
            self.stands(index, turn);
        }
    }

    /// A vehicle stands: it has arrived, or it is idle and drives round the block.
    fn stands(&mut self, index: usize, turn: &mut ServiceTurn<'_>) {
        let vehicle = &mut self.vehicles[index];
        match vehicle.duty {
            Duty::EnRoute => {
                let incident = vehicle.incident;
                self.set_duty(index, Duty::OnScene, "arrived", turn);
                if let Some(number) = incident {
                    self.unit_arrived(number, index, turn);
                }
            }
            Duty::Available if turn.rng.random_bool(0.7) => {
                let goal = Crossing::random(turn.rng, self.plan.last_avenue);
                let speed = turn.rng.random_range(7.0..12.0);
                vehicle.drive_to(goal, speed);
            }
            Duty::Available | Duty::OnScene | Duty::OutOfService => {}
        }
    }

    pub(super) fn set_duty(
        &mut self,
        index: usize,
        duty: Duty,
        reason: &str,
        turn: &mut ServiceTurn<'_>,
    ) {
        let vehicle = &mut self.vehicles[index];
        if vehicle.duty == duty {
            return;
        }
        let mut data = json!({
            "asset_id": vehicle.plate.asset_id,
            "call_sign": vehicle.plate.call_sign,
            "kind": vehicle.plate.kind,
            "from": vehicle.duty.name(),
            "to": duty.name(),
            "reason": reason,
        });
        vehicle.duty = duty;
        if let Some(number) = vehicle.incident {
            data["incident_id"] = json!(self.incident_id(number));
        }
        let key = self.vehicles[index].plate.asset_id;
        turn.emit("asset", "asset_status_changed", key, data);
    }

    /// Now and then a free vehicle leaves service for a short while.
    pub(super) fn service_break(&mut self, turn: &mut ServiceTurn<'_>) {
        const REASONS: [&str; 5] = [
            "refuelling",
            "restocking supplies",
            "crew meal break",
            "tyre pressure check",
            "paperwork at the station",
        ];
        if let Some(index) = self.free_vehicle(turn) {
            let reason = turn.pick(&REASONS);
            self.set_duty(index, Duty::OutOfService, reason, turn);
            let back = turn.rng.random_range(5_000..12_000);
            turn.after(back, CityAction::BackInService { vehicle: index });
        }
        let next = turn.rng.random_range(8_000..14_000);
        turn.after(next, CityAction::ServiceBreak);
    }

    pub(super) fn back_in_service(&mut self, index: usize, turn: &mut ServiceTurn<'_>) {
        self.set_duty(index, Duty::Available, "back in service", turn);
    }

    /// A vehicle that nothing holds; the escort of the standing incident does not count.
    fn free_vehicle(&self, turn: &mut ServiceTurn<'_>) -> Option<usize> {
        let free: Vec<usize> = (0..self.vehicles.len())
            .filter(|&index| self.is_free(index))
            .collect();
        // Three stay on the road, so that an incident need not wait for a meal break.
        (free.len() > 3).then(|| turn.pick(&free))
    }

    pub(super) fn is_free(&self, index: usize) -> bool {
        let vehicle = &self.vehicles[index];
        vehicle.duty == Duty::Available && vehicle.incident.is_none()
    }
}

pub(super) fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_new_goal_does_not_make_a_vehicle_jump() {
        let mut rng = StdRng::seed_from_u64(5);
        let plate = Plate {
            asset_id: "engine-1",
            call_sign: "Engine 1",
            kind: "engine",
            channel: 0,
            crew: "crew-1",
        };
        let mut vehicle = Vehicle::new(plate, Crossing::random(&mut rng, 8));
        let mut before = vehicle.position();
        for tenth in 1..20_000_u64 {
            if rng.random_bool(0.02) {
                vehicle.drive_to(Crossing::random(&mut rng, 8), 15.0);
            }
            vehicle.advance(tenth * 100);
            let now = vehicle.position();
            let metres = ((now.lat - before.lat) * 111_320.0)
                .hypot((now.lon - before.lon) * 111_320.0 * now.lat.to_radians().cos());
            assert!(metres < 2.0, "{metres} m in 100 ms");
            before = now;
        }
    }
}
