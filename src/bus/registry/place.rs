//! The order of connections: by organisation, user and connection, in this process as in Redis.

use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};

/// Stands in no organisation, user or connection id, and comes before whatever does: so texts are in the order of the places.
const SEPARATOR: char = '\0';
/// Follows all that begins with a separator in its place.
const BEHIND: char = '\x01';

/// Where a connection stands. It stays good when the connection has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryPlace {
    pub organisation: Id,
    pub user: UserId,
    /// Its public id.
    pub connection: Arc<str>,
}

impl RegistryPlace {
    /// As Redis keeps it.
    pub(super) fn member(&self) -> String {
        member(&self.organisation, &self.user, &self.connection)
    }

    /// `None`: it cannot be one.
    pub(super) fn read(member: &str) -> Option<Self> {
        let mut parts = member.splitn(3, SEPARATOR);
        Some(Self {
            organisation: Id::parse(parts.next()?).ok()?,
            user: UserId::parse(parts.next()?).ok()?,
            connection: parts.next()?.into(),
        })
    }
}

pub(super) fn member(organisation: &Id, user: &UserId, last: &str) -> String {
    format!("{organisation}{SEPARATOR}{user}{SEPARATOR}{last}")
}

/// Which connections are asked for: all, those of an organisation, or those of one of its users.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryRange<'a> {
    pub organisation: Option<&'a Id>,
    /// Counts only beside an organisation: they are in the order of organisations.
    pub user: Option<&'a UserId>,
}

impl RegistryRange<'_> {
    /// From where to where, as ZRANGEBYLEX wants it.
    pub(super) fn bounds(&self, after: Option<&RegistryPlace>) -> (String, String) {
        let Some(organisation) = self.organisation else {
            let first =
                after.map_or_else(|| "-".to_owned(), |after| format!("({}", after.member()));
            return (first, "+".to_owned());
        };
        let within = match self.user {
            Some(user) => format!("{organisation}{SEPARATOR}{user}"),
            None => organisation.to_string(),
        };
        let begin = format!("{within}{SEPARATOR}");
        // A place before the range begins none.
        let first = match after.map(RegistryPlace::member) {
            Some(after) if after > begin => format!("({after}"),
            _ => format!("[{begin}"),
        };
        (first, format!("({within}{BEHIND}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(organisation: &str, user: &str, connection: &str) -> RegistryPlace {
        RegistryPlace {
            organisation: Id::parse(organisation).unwrap(),
            user: UserId::parse(user).unwrap(),
            connection: connection.into(),
        }
    }

    #[test]
    fn texts_are_in_the_order_of_places_and_are_read_back() {
        let mut places = Vec::new();
        for organisation in ["o", "o-1", "o1", "o10", "O"] {
            for user in ["u", "u 1", "u!", "u1", "é", "auth0|5f/7", "u\u{10FFFF}"] {
                for connection in ["c-0000000000000001", "c-00000000000000ff"] {
                    places.push(place(organisation, user, connection));
                }
            }
        }
        for one in &places {
            assert_eq!(RegistryPlace::read(&one.member()).as_ref(), Some(one));
            for other in &places {
                let as_text = one.member().cmp(&other.member());
                assert_eq!(as_text, one.cmp(other), "{one:?} {other:?}");
            }
        }
        for wrong in ["", "o1", "o1\0u1", "o 1\0u1\0c", "o1\0\0c"] {
            assert_eq!(RegistryPlace::read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_range_holds_its_own_and_begins_behind_a_place_within_it() {
        let (one, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
        let all = [
            place("o", "u9", "c-1"),
            place("o1", "u", "c-1"),
            place("o1", "u1", "c-1"),
            place("o1", "u1", "c-2"),
            place("o1", "u1!", "c-1"),
            place("o10", "u1", "c-1"),
        ];
        let of_organisation = RegistryRange {
            organisation: Some(&one),
            user: None,
        };
        let of_user = RegistryRange {
            user: Some(&user),
            ..of_organisation
        };
        for (range, after, expected) in [
            (RegistryRange::default(), None, 0..6),
            (RegistryRange::default(), Some(&all[2]), 3..6),
            (of_organisation, None, 1..5),
            (of_organisation, Some(&all[0]), 1..5),
            (of_organisation, Some(&all[3]), 4..5),
            (of_organisation, Some(&all[5]), 0..0),
            (of_user, None, 2..4),
            (of_user, Some(&all[0]), 2..4),
            (of_user, Some(&all[1]), 2..4),
            (of_user, Some(&all[2]), 3..4),
        ] {
            let (first, last) = range.bounds(after);
            let is_in = |member: &String| {
                let begins = match first.split_at(1) {
                    ("-", _) => true,
                    ("[", first) => member.as_str() >= first,
                    (_, first) => member.as_str() > first,
                };
                begins && (last == "+" || member.as_str() < &last[1..])
            };
            let found: Vec<_> = all
                .iter()
                .map(RegistryPlace::member)
                .filter(is_in)
                .collect();
            let expected: Vec<_> = all[expected].iter().map(RegistryPlace::member).collect();
            assert_eq!(found, expected, "{range:?} {after:?}");
        }
    }
}
