//! Five people with different roles: data only, tokens are minted elsewhere.

use serde_json::{Value, json};

/// A person with a token for the demo. Which claims say this of them is up to the settings.
#[derive(Debug, Clone)]
pub struct Person {
    pub name: &'static str,
    /// What they are and where, for people to read.
    pub title: &'static str,
    pub user: &'static str,
    pub organisation: &'static str,
    pub role: &'static str,
    /// By claim of the dispatch profile: what this role may join.
    pub ids: &'static [(&'static str, &'static [&'static str])],
    /// Rooms worth joining, as `kind:id`. This person may join all of them.
    pub rooms: &'static [&'static str],
}

/// The order is that of the page: the dispatcher sees most and comes first.
pub fn people() -> Vec<Person> {
    vec![
        Person {
            name: "Dana Reyes",
            title: "Dispatcher, metro",
            user: "u-reyes",
            organisation: "metro",
            role: "dispatcher",
            ids: &[],
            rooms: &[
                "channel:dispatch",
                "channel:fire",
                "asset:engine-4",
                "incident:minc-1000",
            ],
        },
        Person {
            name: "Marcus Hale",
            title: "Supervisor, metro",
            user: "u-hale",
            organisation: "metro",
            role: "supervisor",
            ids: &[],
            rooms: &[
                "channel:dispatch",
                "channel:ems",
                "channel:patrol",
                "asset:battalion-1",
                "incident:minc-1000",
            ],
        },
        Person {
            name: "Sam Okafor",
            title: "Field unit Engine 4, metro",
            user: "u-okafor",
            organisation: "metro",
            role: "field_unit",
            ids: &[
                ("channels", &["dispatch", "fire"]),
                ("assets", &["engine-4", "patrol-12"]),
                ("incidents", &["minc-1000"]),
            ],
            rooms: &[
                "channel:fire",
                "asset:engine-4",
                "asset:patrol-12",
                "incident:minc-1000",
            ],
        },
        Person {
            name: "Priya Nair",
            title: "Viewer, metro",
            user: "u-nair",
            organisation: "metro",
            role: "viewer",
            ids: &[],
            rooms: &["incident:minc-1000"],
        },
        Person {
            name: "Tomás Vidal",
            title: "Dispatcher, harbor",
            user: "u-vidal",
            organisation: "harbor",
            role: "dispatcher",
            ids: &[],
            rooms: &[
                "channel:dispatch",
                "channel:berths",
                "asset:spill-1",
                "incident:hinc-1000",
            ],
        },
    ]
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
            .map(|person| format!("token of {}", person.user))
            .collect();
        let list: Value = serde_json::from_str(&people_json(&people(), &tokens)).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 5);
        assert_eq!(list[2]["token"], "token of u-okafor");
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
            for room in person.rooms {
                let here = known.contains(&(person.organisation, (*room).to_owned()));
                assert!(here, "{room} of {}", person.organisation);
                let (kind, id) = room.split_once(':').unwrap();
                assert!(Id::parse(id).is_ok());
                let listed = |(claim, _): &&(&str, _)| claim.strip_suffix('s') == Some(kind);
                if let Some((_, allowed)) = person.ids.iter().find(listed) {
                    assert!(allowed.contains(&id), "{room}");
                }
            }
        }
    }
}
