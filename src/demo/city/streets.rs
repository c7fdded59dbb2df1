//! The streets of Alder Bay: a slightly turned grid on the coast, cut by a river with three bridges.

use std::collections::VecDeque;

use rand::Rng;

/// North-south streets, from the waterfront in the west.
const AVENUES: [&str; 9] = [
    "Quay Rd", "1st Ave", "2nd Ave", "3rd Ave", "4th Ave", "5th Ave", "6th Ave", "7th Ave",
    "Hill Rd",
];
/// East-west streets, from the south.
const STREETS: [&str; 7] = [
    "Alder St",
    "Birch St",
    "Cedar St",
    "Dock St",
    "Elm St",
    "Foundry St",
    "Garnet St",
];
/// The river runs between Dock St and Elm St; only these avenues cross it.
const RIVER_SOUTH_BANK: u8 = 3;
const BRIDGES: [u8; 3] = [1, 4, 7];

/// Metres between two avenues, and between two streets.
const BLOCK_EAST: f64 = 145.0;
const BLOCK_NORTH: f64 = 118.0;
/// The grid follows the shore, not the compass: degrees that its "north" is turned clockwise.
const TURN_DEGREES: f64 = 11.0;
/// The crossing of Quay Rd and Alder St.
const CORNER_LAT: f64 = 44.6205;
const CORNER_LON: f64 = -124.0585;
const METRES_PER_DEGREE: f64 = 111_320.0;

/// Where an avenue and a street meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crossing {
    avenue: u8,
    street: u8,
}

/// Degrees, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Position {
    pub(super) lat: f64,
    pub(super) lon: f64,
}

impl Crossing {
    /// Somewhere between the waterfront and the given avenue.
    pub(super) fn random(rng: &mut impl Rng, last_avenue: u8) -> Self {
        Self {
            avenue: rng.random_range(0..=last_avenue.min(LAST_AVENUE)),
            street: rng.random_range(0..=LAST_STREET),
        }
    }

    pub(super) fn position(self) -> Position {
        let east = f64::from(self.avenue) * BLOCK_EAST;
        let north = f64::from(self.street) * BLOCK_NORTH;
        let (sin, cos) = TURN_DEGREES.to_radians().sin_cos();
        let (east, north) = (east * cos + north * sin, north * cos - east * sin);
        Position {
            lat: CORNER_LAT + north / METRES_PER_DEGREE,
            lon: CORNER_LON + east / (METRES_PER_DEGREE * CORNER_LAT.to_radians().cos()),
        }
    }

    /// As people say it on the radio.
    pub(super) fn name(self) -> String {
        format!("{} and {}", self.street_name(), self.avenue_name())
    }

    /// A house number that fits the place.
    pub(super) fn address(self, rng: &mut impl Rng) -> String {
        let number = 100 * (u32::from(self.avenue) + 1) + rng.random_range(2..98);
        format!("{number} {}", self.street_name())
    }

    /// The street that leads from here to a neighbour.
    pub(super) fn street_to(self, next: Self) -> &'static str {
        if self.street == next.street {
            self.street_name()
        } else {
            self.avenue_name()
        }
    }

    fn street_name(self) -> &'static str {
        STREETS[usize::from(self.street)]
    }

    fn avenue_name(self) -> &'static str {
        AVENUES[usize::from(self.avenue)]
    }

    /// Metres to a neighbour.
    pub(super) fn metres_to(self, next: Self) -> f64 {
        if self.street == next.street {
            BLOCK_EAST
        } else {
            BLOCK_NORTH
        }
    }

    /// Degrees clockwise from north, towards a neighbour.
    pub(super) fn heading_to(self, next: Self) -> f64 {
        let along_grid = if next.avenue > self.avenue {
            90.0
        } else if next.avenue < self.avenue {
            270.0
        } else if next.street > self.street {
            0.0
        } else {
            180.0
        };
        (along_grid + TURN_DEGREES) % 360.0
    }

    /// How many blocks lie between, bridges not considered.
    pub(super) fn blocks_to(self, other: Self) -> u8 {
        self.avenue.abs_diff(other.avenue) + self.street.abs_diff(other.street)
    }

    /// The crossings that a vehicle may drive to from here.
    fn neighbours(self) -> impl Iterator<Item = Self> {
        let Self { avenue, street } = self;
        let over_river = BRIDGES.contains(&avenue);
        let candidates = [
            (avenue < LAST_AVENUE).then(|| (avenue + 1, street)),
            (avenue > 0).then(|| (avenue - 1, street)),
            (street < LAST_STREET && (street != RIVER_SOUTH_BANK || over_river))
                .then(|| (avenue, street + 1)),
            (street > 0 && (street != RIVER_SOUTH_BANK + 1 || over_river))
                .then(|| (avenue, street - 1)),
        ];
        candidates
            .into_iter()
            .flatten()
            .map(|(avenue, street)| Self { avenue, street })
    }

    fn index(self) -> usize {
        usize::from(self.avenue) * STREETS.len() + usize::from(self.street)
    }
}

const LAST_AVENUE: u8 = 8;
const LAST_STREET: u8 = 6;

/// The crossings from behind `from` up to `to`: a shortest way, empty when already there.
pub(super) fn way(from: Crossing, to: Crossing) -> VecDeque<Crossing> {
    // Searched from the goal, so that following the marks gives the way in driving order.
    let mut next_of: Vec<Option<Crossing>> = vec![None; AVENUES.len() * STREETS.len()];
    let mut open = VecDeque::from([to]);
    next_of[to.index()] = Some(to);
    while let Some(crossing) = open.pop_front() {
        if crossing == from {
            break;
        }
        for neighbour in crossing.neighbours() {
            if next_of[neighbour.index()].is_none() {
                next_of[neighbour.index()] = Some(crossing);
                open.push_back(neighbour);
            }
        }
    }
    let mut way = VecDeque::new();
    let mut here = from;
    while here != to {
        let Some(next) = next_of[here.index()] else {
            break;
        };
        way.push_back(next);
        here = next;
    }
    way
}

/// The point that lies `fraction` of the way between two neighbours.
pub(super) fn between(from: Crossing, to: Crossing, fraction: f64) -> Position {
    let (a, b) = (from.position(), to.position());
    Position {
        lat: a.lat + (b.lat - a.lat) * fraction,
        lon: a.lon + (b.lon - a.lon) * fraction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Crossing> {
        (0..=LAST_AVENUE)
            .flat_map(|avenue| (0..=LAST_STREET).map(move |street| Crossing { avenue, street }))
    }

    #[test]
    fn every_crossing_can_be_reached_by_single_blocks() {
        for from in all() {
            for to in all() {
                let mut here = from;
                for next in way(from, to) {
                    assert!(here.neighbours().any(|neighbour| neighbour == next));
                    here = next;
                }
                assert_eq!(here, to);
            }
        }
    }

    #[test]
    fn the_river_is_crossed_on_bridges_only() {
        let south = Crossing {
            avenue: 0,
            street: RIVER_SOUTH_BANK,
        };
        let north = Crossing {
            avenue: 0,
            street: RIVER_SOUTH_BANK + 1,
        };
        assert_eq!(way(south, north).len(), 3, "over the bridge of 1st Ave");
    }

    #[test]
    fn blocks_have_the_length_they_say() {
        for from in all() {
            for to in from.neighbours() {
                let (a, b) = (from.position(), to.position());
                let north = (b.lat - a.lat) * METRES_PER_DEGREE;
                let east = (b.lon - a.lon) * METRES_PER_DEGREE * CORNER_LAT.to_radians().cos();
                assert!((north.hypot(east) - from.metres_to(to)).abs() < 0.5);
                let heading = east.atan2(north).to_degrees().rem_euclid(360.0);
                assert!((heading - from.heading_to(to)).abs() < 0.5);
            }
        }
    }
}
