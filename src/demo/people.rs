//! Five people with different roles: data only, tokens are minted elsewhere.

use serde_json::{Map, Value, json};

/// A person with a token for the demo.
#[derive(Debug, Clone)]
pub struct Person {
    pub name: &'static str,
    /// What they are and where, for people to read.
    pub title: &'static str,
    /// Without `exp`, which depends on when the token is minted.
    pub claims: Map<String, Value>,
    /// Rooms worth joining, as `kind:id`. This person may join all of them.
    pub rooms: &'static [&'static str],
}

/// The order is that of the page: the dispatcher sees most and comes first.
pub fn people() -> Vec<Person> {
    [
        (
            "Dana Reyes",
            "Dispatcher, metro",
            json!({"sub": "u-reyes", "organization_id": "metro", "roles": ["dispatcher"]}),
            [
                "channel:dispatch",
                "channel:fire",
                "asset:engine-4",
                "incident:minc-1000",
            ]
            .as_slice(),
        ),
        (
            "Marcus Hale",
            "Supervisor, metro",
            json!({"sub": "u-hale", "organization_id": "metro", "roles": ["supervisor"]}),
            &[
                "channel:dispatch",
                "channel:ems",
                "channel:patrol",
                "asset:battalion-1",
                "incident:minc-1000",
            ],
        ),
        (
            "Sam Okafor",
            "Field unit Engine 4, metro",
            json!({
                "sub": "u-okafor",
                "organization_id": "metro",
                "roles": ["field_unit"],
                "channels": ["dispatch", "fire"],
                "assets": ["engine-4", "patrol-12"],
                "incidents": ["minc-1000"],
            }),
            &[
                "channel:fire",
                "asset:engine-4",
                "asset:patrol-12",
                "incident:minc-1000",
            ],
        ),
        (
            "Priya Nair",
            "Viewer, metro",
            json!({"sub": "u-nair", "organization_id": "metro", "roles": ["viewer"]}),
            &["incident:minc-1000"],
        ),
        (
            "Tomás Vidal",
            "Dispatcher, harbor",
            json!({"sub": "u-vidal", "organization_id": "harbor", "roles": ["dispatcher"]}),
            &[
                "channel:dispatch",
                "channel:berths",
                "asset:spill-1",
                "incident:hinc-1000",
            ],
        ),
    ]
    .into_iter()
    .map(|(name, title, claims, rooms)| {
        let Value::Object(mut claims) = claims else {
            unreachable!("all claims above are objects");
        };
        claims.insert("name".to_owned(), name.into());
        Person {
            name,
            title,
            claims,
            rooms,
        }
    })
    .collect()
}

/// The body of `GET /demo/people.json`: `[{name, title, token, rooms}]`. The tokens are in the order of the people.
pub fn people_json(people: &[Person], tokens: &[String]) -> String {
    let list: Value = people
        .iter()
        .zip(tokens)
        .map(|(person, token)| {
            json!({
                "name": person.name,
                "title": person.title,
                "token": token,
                "rooms": person.rooms,
            })
        })
        .collect();
    list.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fleetcast_core::domain::id::Id;

    use super::*;
    use crate::demo::city::City;

    #[test]
    fn the_page_gets_each_person_with_a_token() {
        let tokens: Vec<String> = people()
            .iter()
            .map(|person| format!("token of {}", person.claims["sub"]))
            .collect();
        let list: Value = serde_json::from_str(&people_json(&people(), &tokens)).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 5);
        assert_eq!(list[2]["token"], "token of \"u-okafor\"");
        assert_eq!(list[4]["name"], "Tomás Vidal");
    }

    #[test]
    fn suggested_rooms_exist_in_the_city_and_are_within_the_claims() {
        let mut city = City::new(1);
        let mut known = BTreeSet::new();
        for tenth in 0..6000 {
            for event in city.step(tenth * 100) {
                for kind in ["channel", "incident", "asset"] {
                    if let Some(id) = event.data[format!("{kind}_id")].as_str() {
                        known.insert((event.organisation, format!("{kind}:{id}")));
                    }
                }
            }
        }
        for person in people() {
            let organisation = person.claims["organization_id"].as_str().unwrap();
            for room in person.rooms {
                let here = known.contains(&(organisation, (*room).to_owned()));
                assert!(here, "{room} of {organisation}");
                let (kind, id) = room.split_once(':').unwrap();
                assert!(Id::parse(id).is_ok());
                if let Some(allowed) = person.claims.get(&format!("{kind}s")) {
                    assert!(allowed.as_array().unwrap().contains(&id.into()), "{room}");
                }
            }
        }
    }
}
