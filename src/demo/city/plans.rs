//! The two organisations of Alder Bay as they are before anything happens: data only.

use super::fleet::Plate;
use super::incidents::Template;

/// The number of the incident that stays open for ever, so that there always is one to join.
pub(super) const STANDING_INCIDENT: u32 = 1000;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) organisation: &'static str,
    /// In front of the ids of its objects.
    pub(super) prefix: &'static str,
    /// How far from the waterfront it works: an index of avenues.
    pub(super) last_avenue: u8,
    pub(super) channels: &'static [Channel],
    pub(super) vehicles: &'static [Plate],
    pub(super) standing: Template,
    /// The vehicle that keeps circling the standing incident.
    pub(super) escort: usize,
    pub(super) incidents: &'static [Template],
    /// People at the desks, by user id and name.
    pub(super) desk: &'static [(&'static str, &'static str)],
}

const fn plate(
    asset_id: &'static str,
    call_sign: &'static str,
    kind: &'static str,
    channel: usize,
    crew: &'static str,
) -> Plate {
    Plate {
        asset_id,
        call_sign,
        kind,
        channel,
        crew,
    }
}

const fn incident(
    title: &'static str,
    category: &'static str,
    priority: u8,
    description: &'static str,
    notes: &'static [&'static str],
) -> Template {
    Template {
        title,
        category,
        priority,
        description,
        notes,
    }
}

/// Fire, rescue and police of the city.
pub(super) const METRO: Plan = Plan {
    organisation: "metro",
    prefix: "m",
    last_avenue: 8,
    channels: &[
        Channel {
            id: "dispatch",
            name: "Dispatch",
        },
        Channel {
            id: "fire",
            name: "Fire ground",
        },
        Channel {
            id: "ems",
            name: "Medical",
        },
        Channel {
            id: "patrol",
            name: "Patrol",
        },
    ],
    vehicles: &[
        plate("engine-1", "Engine 1", "engine", 1, "u-lind"),
        plate("engine-4", "Engine 4", "engine", 1, "u-okafor"),
        plate("ladder-2", "Ladder 2", "ladder", 1, "u-brandt"),
        plate("battalion-1", "Battalion 1", "command", 1, "u-castellan"),
        plate("medic-3", "Medic 3", "ambulance", 2, "u-ferreira"),
        plate("medic-5", "Medic 5", "ambulance", 2, "u-ito"),
        plate("medic-8", "Medic 8", "ambulance", 2, "u-salim"),
        plate("patrol-11", "Patrol 11", "patrol", 3, "u-novak"),
        plate("patrol-12", "Patrol 12", "patrol", 3, "u-grady"),
        plate("patrol-14", "Patrol 14", "patrol", 3, "u-abara"),
        plate("patrol-17", "Patrol 17", "patrol", 3, "u-weiss"),
        plate("rescue-6", "Rescue 6", "rescue", 1, "u-dupont"),
    ],
    standing: incident(
        "Alder Days street festival, crowd safety",
        "event",
        3,
        "Streets around Cedar St closed for the festival until 22:00. About 3,000 visitors expected.",
        &[
            "Crowd at the main stage estimated at 1,400, flowing well.",
            "Lost child reunited with parents at the information tent.",
            "Barrier on Cedar St moved to let deliveries through.",
            "First aid tent treated two visitors for heat, both walked away.",
            "Sound check on the second stage, expect noise complaints.",
            "Exit towards 3rd Ave kept clear, stewards in place.",
            "Wind rising, organiser told to lower the banners.",
        ],
    ),
    escort: 8,
    incidents: &[
        incident(
            "Kitchen fire, second floor",
            "fire",
            1,
            "Smoke from a second floor window. Caller says all are out.",
            &[
                "Smoke showing on side A, second floor.",
                "Primary search complete, no one inside.",
                "Gas shut off by the utility.",
                "Fire knocked down, checking for extension.",
            ],
        ),
        incident(
            "Chest pain, male, 61",
            "medical",
            1,
            "Conscious and breathing, pain for twenty minutes, took aspirin.",
            &[
                "Neighbour is waiting at the front door.",
                "Patient alert, 12-lead taken and sent ahead.",
                "Alder General expects the patient, bay 4.",
            ],
        ),
        incident(
            "Two-car collision",
            "traffic",
            2,
            "Two vehicles, air bags out, one lane blocked. No one trapped.",
            &[
                "One lane closed, traffic moves slowly.",
                "Second ambulance not needed.",
                "Tow truck requested, 15 minutes.",
                "Fuel on the road, absorbent spread.",
            ],
        ),
        incident(
            "Alarm at a jeweller's",
            "police",
            2,
            "Silent alarm, zone 2, back door. Key holder on the way.",
            &[
                "Back door found locked, no marks.",
                "Key holder on scene.",
                "Cameras show no one, looks like a faulty sensor.",
            ],
        ),
        incident(
            "Person stuck in lift",
            "rescue",
            3,
            "Two people in a lift between floors 3 and 4, calm, no injuries.",
            &[
                "Lift company called, 40 minutes away.",
                "Voice contact through the door, both are fine.",
                "Lift lowered by hand to floor 3.",
            ],
        ),
        incident(
            "Water main break",
            "utility",
            3,
            "Water comes up through the pavement and runs down the street.",
            &[
                "Utility crew has been called.",
                "Two cellars take in water, pumps requested.",
                "Valve closed, water going down.",
            ],
        ),
        incident(
            "Fall from ladder",
            "medical",
            2,
            "Female, 45, fell about two metres, leg pain, awake.",
            &[
                "Patient in the back yard, gate is open.",
                "Leg splinted, pain under control.",
                "Moving to the ambulance now.",
            ],
        ),
        incident(
            "Dispute between neighbours",
            "police",
            4,
            "Loud argument in the stairwell, no weapons seen.",
            &[
                "Both sides separated, talking.",
                "Caller says that it has gone quiet.",
                "Statements taken from two parties.",
            ],
        ),
    ],
    desk: &[
        ("u-reyes", "D. Reyes"),
        ("u-hale", "M. Hale"),
        ("u-petrov", "A. Petrov"),
    ],
};

/// The port authority on the waterfront.
pub(super) const HARBOR: Plan = Plan {
    organisation: "harbor",
    prefix: "h",
    last_avenue: 3,
    channels: &[
        // The same id as in the city: organisations, not names, keep them apart.
        Channel {
            id: "dispatch",
            name: "Port control",
        },
        Channel {
            id: "berths",
            name: "Berths",
        },
        Channel {
            id: "security",
            name: "Port security",
        },
    ],
    vehicles: &[
        plate("pilot-car-1", "Pilot 1", "pilot car", 1, "u-haugen"),
        plate("pilot-car-2", "Pilot 2", "pilot car", 1, "u-silva"),
        plate("port-fire-1", "Port Fire 1", "engine", 0, "u-mercer"),
        plate("port-fire-2", "Port Fire 2", "foam tender", 0, "u-yilmaz"),
        plate("gate-1", "Gate 1", "patrol", 2, "u-conti"),
        plate("gate-2", "Gate 2", "patrol", 2, "u-bauer"),
        plate("gate-3", "Gate 3", "patrol", 2, "u-moreau"),
        plate("crane-van-1", "Crane van 1", "maintenance", 1, "u-kowal"),
        plate("crane-van-2", "Crane van 2", "maintenance", 1, "u-desai"),
        plate("linesman-1", "Lines 1", "mooring", 1, "u-olsen"),
        plate("linesman-2", "Lines 2", "mooring", 1, "u-tanaka"),
        plate("spill-1", "Spill 1", "spill response", 0, "u-roche"),
    ],
    standing: incident(
        "Bulk carrier Calliope, fuel sheen at berth 3",
        "environment",
        2,
        "Thin sheen around the stern. Boom laid, source not found. Watch until the divers have looked.",
        &[
            "Boom checked, holding on both ends.",
            "Sheen about 20 by 5 metres, not growing.",
            "Sample taken from the stern and sent to the laboratory.",
            "Divers expected with slack water.",
            "Master reports bunkering stopped and valves sealed.",
            "Absorbent replaced on the north side.",
        ],
    ),
    escort: 11,
    incidents: &[
        incident(
            "Container leaking, unknown liquid",
            "hazmat",
            1,
            "Drops from a container in row C. Label shows class 8.",
            &[
                "Row C cleared, 50 metres kept free.",
                "Manifest says cleaning agent, corrosive.",
                "Leak under a tray, dripping slowly.",
            ],
        ),
        incident(
            "Lorry stuck at the weighbridge",
            "traffic",
            3,
            "Articulated lorry with flat tyres blocks lane 2.",
            &[
                "Lane 2 closed, queue of eleven lorries.",
                "Tyre service called.",
                "Lorry moved to the hard standing.",
            ],
        ),
        incident(
            "Mooring line parted",
            "berth",
            1,
            "Stern line of a coaster parted, vessel swings out. No injuries.",
            &[
                "Tug holds the stern.",
                "New line ashore, second one follows.",
                "Snap-back zone kept clear.",
            ],
        ),
        incident(
            "Crane 4 stopped with load",
            "maintenance",
            2,
            "Hoist stopped with a container two metres above the deck.",
            &[
                "Deck below cleared.",
                "Brake holds, lowering by hand.",
                "Fault in a limit switch, being replaced.",
            ],
        ),
        incident(
            "Person behind the fence",
            "security",
            2,
            "Camera 12 shows a person between the stacks, no vest.",
            &[
                "Camera lost sight near row F.",
                "Driver missed the footpath, papers in order.",
                "Fence walked, no hole found.",
            ],
        ),
        incident(
            "Forklift collision in shed 2",
            "medical",
            2,
            "Two forklifts touched, one driver with wrist pain.",
            &[
                "Driver sits, awake, wrist cooled.",
                "Shed 2 stopped until the floor has been cleared.",
            ],
        ),
    ],
    desk: &[("u-vidal", "T. Vidal"), ("u-lowe", "K. Lowe")],
};
