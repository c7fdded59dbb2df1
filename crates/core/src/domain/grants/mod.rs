//! Rooms that users may join beyond what their tokens say.
//!
//! Each grant is of one user and one room, and a record of its own, so that requests that are made at once on two instances do not undo
//! each other, and compaction keeps the newest of each.

mod record;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::id::{Id, UserId};
use super::percent;
use super::room::{Kind, Room, Which};
pub use record::GrantChange;

/// So many rooms of one user are taken from those who ask. What the topic holds is kept all the same.
pub const MAX_ROOMS_OF_USER: usize = 1_000;

/// Of all users, the same.
pub const MAX_GRANTS: usize = 1_000_000;

/// A user and a room of the same organisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantedRoom {
    user: UserId,
    room: Room,
}

/// Why a room cannot be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UngrantableRoom {
    #[error("a room is named kind:id, such as channel:7")]
    Name,
    #[error("rooms of the kinds org and user belong to those whom they are named after")]
    Own,
    #[error("a whole kind of rooms cannot be granted")]
    Whole,
}

/// Whether a grant can permit such a room to users of its organisation.
pub fn is_grantable(room: &Room) -> bool {
    room.kind.has_whole() && matches!(room.which, Which::One(_))
}

impl GrantedRoom {
    /// `room` is written `channel:7`, and means a room of the organisation.
    pub fn new(organisation: &Id, user: &UserId, room: &str) -> Result<Self, UngrantableRoom> {
        let (kind, id) = room.split_once(':').ok_or(UngrantableRoom::Name)?;
        let kind = Kind::parse(kind).map_err(|_| UngrantableRoom::Name)?;
        if !kind.has_whole() {
            return Err(UngrantableRoom::Own);
        }
        let which = Which::parse(id).map_err(|_| UngrantableRoom::Name)?;
        let organisation = organisation.clone();
        let room = Room {
            organisation,
            kind,
            which,
        };
        if !is_grantable(&room) {
            return Err(UngrantableRoom::Whole);
        }
        Ok(Self {
            user: user.clone(),
            room,
        })
    }

    /// From a record's key: what [`Display`](fmt::Display) writes, and nothing else.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (organisation, user, room) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let organisation = Id::parse(organisation).ok()?;
        let user = UserId::parse(&percent::decode(user)?).ok()?;
        Self::new(&organisation, &user, room).ok()
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    pub fn room(&self) -> &Room {
        &self.room
    }

    pub fn organisation(&self) -> &Id {
        &self.room.organisation
    }

    /// As it was asked for: `channel:7`.
    pub fn short_name(&self) -> String {
        format!("{}:{}", self.room.kind, self.room.which)
    }
}

/// The key of its record: `o1/auth0%7C5f7c/channel:7`.
impl fmt::Display for GrantedRoom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = percent::encode(self.user.as_str());
        write!(
            formatter,
            "{}/{user}/{}",
            self.organisation(),
            self.short_name()
        )
    }
}

/// All that are known, and the partitions that say so.
///
/// A partition whose log was lost says all of it once more: what it said before holds until that is over, and what it says meanwhile does
/// not. So a fault that passes changes nothing, what is in no log any more ends, and nothing comes back because it is read twice.
#[derive(Debug, Default)]
pub struct Grants {
    /// None of them empty.
    by_user: HashMap<(Id, UserId), HashMap<Room, Vec<GrantingPartition>>>,
    /// Of those that hold.
    count: usize,
    /// The partitions that say it once more.
    repeating: BTreeSet<i32>,
}

/// A partition that grants a room.
#[derive(Debug)]
struct GrantingPartition {
    partition: i32,
    holds: bool,
    /// The partition has said it once more.
    repeated: bool,
}

/// What a partition has changed by saying all that it holds once more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RepeatedGrants {
    /// Rooms that were not granted before.
    pub granted: Vec<GrantedRoom>,
    /// The users of rooms that are granted no more.
    pub withdrawn: Vec<(Id, UserId)>,
}

fn holds(sources: &[GrantingPartition]) -> bool {
    sources.iter().any(|source| source.holds)
}

impl Grants {
    /// Whether the user may join the room by a grant.
    pub fn permits(&self, user: &UserId, room: &Room) -> bool {
        if self.by_user.is_empty() {
            return false;
        }
        let rooms = self.by_user.get(&(room.organisation.clone(), user.clone()));
        rooms.is_some_and(|rooms| rooms.get(room).is_some_and(|sources| holds(sources)))
    }

    /// False if it was granted before, or is not granted yet.
    pub fn grant(&mut self, granted: &GrantedRoom, partition: i32) -> bool {
        let repeated = self.repeating.contains(&partition);
        let user = (granted.organisation().clone(), granted.user.clone());
        let rooms = self.by_user.entry(user).or_default();
        let sources = rooms.entry(granted.room.clone()).or_default();
        let is_new = !repeated && !holds(sources);
        match (sources.iter_mut()).find(|source| source.partition == partition) {
            Some(source) if repeated => source.repeated = true,
            Some(source) => source.holds = true,
            None => sources.push(GrantingPartition {
                partition,
                holds: !repeated,
                repeated,
            }),
        }
        self.count += usize::from(is_new);
        is_new
    }

    /// False if it was not granted, or is granted still. It is withdrawn whatever partition granted it: a key moves when its topic gets
    /// more of them.
    pub fn withdraw(&mut self, granted: &GrantedRoom, partition: i32) -> bool {
        let repeated = self.repeating.contains(&partition);
        let user = (granted.organisation().clone(), granted.user.clone());
        let Some(rooms) = self.by_user.get_mut(&user) else {
            return false;
        };
        let Some(sources) = rooms.get_mut(&granted.room) else {
            return false;
        };
        let held = holds(sources);
        if repeated {
            for source in sources.iter_mut().filter(|one| one.partition == partition) {
                source.repeated = false;
            }
            sources.retain(|source| source.holds || source.repeated);
        } else {
            sources.clear();
        }
        let withdrawn = held && !holds(sources);
        if sources.is_empty() {
            rooms.remove(&granted.room);
        }
        if rooms.is_empty() {
            self.by_user.remove(&user);
        }
        self.count -= usize::from(withdrawn);
        withdrawn
    }

    /// From here on this partition says once more all that it holds.
    pub fn repeat(&mut self, partition: i32) {
        if !self.repeating.insert(partition) {
            self.change_all(|source| {
                source.repeated &= source.partition != partition;
            });
        }
    }

    /// It has said everything. What it has not said once more is granted by it no more.
    pub fn repeated(&mut self, partition: i32) -> RepeatedGrants {
        if !self.repeating.remove(&partition) {
            return RepeatedGrants::default();
        }
        let changed = self.change_all(|source| {
            if source.partition == partition {
                source.holds = std::mem::take(&mut source.repeated);
            }
        });
        self.count += changed.granted.len();
        changed
    }

    fn change_all(&mut self, change: impl Fn(&mut GrantingPartition)) -> RepeatedGrants {
        let mut changed = RepeatedGrants::default();
        let mut gone = 0;
        self.by_user.retain(|(organisation, user), rooms| {
            let before = gone;
            rooms.retain(|room, sources| {
                let held = holds(sources);
                sources.iter_mut().for_each(&change);
                sources.retain(|source| source.holds || source.repeated);
                match (held, holds(sources)) {
                    (true, false) => gone += 1,
                    (false, true) => changed.granted.push(GrantedRoom {
                        user: user.clone(),
                        room: room.clone(),
                    }),
                    _ => {}
                }
                !sources.is_empty()
            });
            if gone > before {
                changed.withdrawn.push((organisation.clone(), user.clone()));
            }
            !rooms.is_empty()
        });
        self.count -= gone;
        changed
    }

    /// The rooms that are granted to a user, in no order.
    pub fn of_user(&self, organisation: &Id, user: &UserId) -> impl Iterator<Item = &Room> {
        let rooms = self.by_user.get(&(organisation.clone(), user.clone()));
        let rooms = rooms.into_iter().flatten();
        rooms.filter_map(|(room, sources)| holds(sources).then_some(room))
    }

    /// Whether a request of one user, which names no room twice, would leave too many granted. What is granted already is not more by
    /// it, and what it withdraws is less.
    pub fn would_be_too_many(&self, grant: &[GrantedRoom], withdraw: &[GrantedRoom]) -> bool {
        let Some(first) = grant.first() else {
            return false;
        };
        let new = grant.iter().filter(|one| !self.contains(one)).count();
        let gone = withdraw.iter().filter(|one| self.contains(one)).count();
        let over = |held: usize, most| new > 0 && held + new > most + gone;
        let held = self.of_user(first.organisation(), first.user()).count();
        over(held, MAX_ROOMS_OF_USER) || over(self.count, MAX_GRANTS)
    }

    pub fn contains(&self, granted: &GrantedRoom) -> bool {
        self.permits(&granted.user, &granted.room)
    }

    /// Rooms of all users, each user's counted.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests;
