//! Who sits in which room: two organisations with the same channel ids, so that a leak would show.

use crate::layout::Layout;

use super::record::POSITIONS;

/// Rooms are numbered: first the channels, neighbours being of different organisations, then the organisations' own
/// rooms, then the room of the burst, then the organisations' rooms of positions.
#[derive(Debug, Clone)]
pub(crate) struct Seating {
    pub(crate) organisations: u16,
    /// Over all organisations.
    pub(crate) channels: u16,
    pub(crate) clients: usize,
    /// Clients of the first organisation that also hold the room of the burst.
    pub(crate) burst_clients: usize,
    /// More channels that each client holds beside its own: so many slow ones fill the buffers on their way sooner.
    pub(crate) slow_channels: u16,
    /// Positions are produced, and every fifth client follows those of its organisation.
    pub(crate) positions: bool,
}

const BURST: &str = "burst";

impl Seating {
    pub(crate) fn organisation_of_client(&self, index: usize) -> u16 {
        u16::try_from(index % usize::from(self.organisations)).unwrap_or(0)
    }

    pub(crate) fn organisation_room(&self, organisation: u16) -> u16 {
        self.channels + organisation
    }

    pub(crate) fn burst_room(&self) -> u16 {
        self.channels + self.organisations
    }

    pub(crate) fn positions_room(&self, organisation: u16) -> u16 {
        self.burst_room() + 1 + organisation
    }

    /// The rooms that a client subscribes to first.
    pub(crate) fn rooms_of_client(&self, index: usize, slow: bool) -> Vec<u16> {
        let own = u16::try_from(index % usize::from(self.channels)).unwrap_or(0);
        let more = if slow { self.slow_channels } else { 0 };
        let mut rooms: Vec<u16> = (0..=more)
            .map(|step| (own + step * self.organisations) % self.channels)
            .collect();
        rooms.sort_unstable();
        rooms.dedup();
        if self.organisation_of_client(index) == 0
            && index / usize::from(self.organisations) < self.burst_clients
        {
            rooms.push(self.burst_room());
        }
        // So that each habit has some, and so have clients that poll.
        if self.positions && index % 5 == 2 {
            rooms.push(self.positions_room(self.organisation_of_client(index)));
        }
        rooms
    }

    /// Another channel of the client's organisation, to be joined and left now and then.
    pub(crate) fn another_channel(&self, index: usize) -> u16 {
        let step = usize::from(self.organisations);
        u16::try_from((index + step) % usize::from(self.channels)).unwrap_or(0)
    }

    /// Name of the organisation and, unless it is its own room, the channel's id.
    pub(crate) fn name(&self, room: u16) -> (String, Option<String>) {
        let organisation = |number: u16| Layout::organisation(usize::from(number));
        if room > self.burst_room() {
            (organisation(room - self.burst_room() - 1), None)
        } else if room == self.burst_room() {
            (organisation(0), Some(BURST.to_owned()))
        } else if room >= self.channels {
            (organisation(room - self.channels), None)
        } else {
            (
                organisation(room % self.organisations),
                Some((room / self.organisations + 1).to_string()),
            )
        }
    }

    /// As a client names a room that it asks for.
    pub(crate) fn asked(&self, room: u16) -> String {
        if room > self.burst_room() {
            return format!("incident:{POSITIONS}");
        }
        format!("channel:{}", self.name(room).1.unwrap_or_default())
    }

    /// The room that a record of this organisation and channel is for.
    pub(crate) fn find(&self, organisation: &str, channel: Option<&str>) -> Option<u16> {
        let number: u16 = organisation.strip_prefix("lg")?.parse().ok()?;
        match channel {
            None => Some(self.organisation_room(number)),
            Some(BURST) => Some(self.burst_room()),
            Some(channel) => {
                let channel: u16 = channel.parse().ok()?;
                Some(channel.checked_sub(1)?.checked_mul(self.organisations)? + number)
            }
        }
    }

    /// The room of the positions of this organisation.
    pub(crate) fn find_positions(&self, organisation: &str) -> Option<u16> {
        let number = organisation.strip_prefix("lg")?.parse().ok()?;
        (number < self.organisations).then(|| self.positions_room(number))
    }

    /// The room that a client means by such a name.
    pub(crate) fn find_asked(&self, organisation: u16, asked: &str) -> Option<u16> {
        if asked.strip_prefix("incident:") == Some(POSITIONS) {
            return Some(self.positions_room(organisation));
        }
        let organisation = Layout::organisation(usize::from(organisation));
        self.find(&organisation, Some(asked.strip_prefix("channel:")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_is_found_by_its_name_and_a_client_stays_in_its_organisation() {
        let seating = Seating {
            organisations: 2,
            channels: 20,
            clients: 100,
            burst_clients: 5,
            slow_channels: 3,
            positions: true,
        };
        for room in 0..=seating.burst_room() {
            let (organisation, channel) = seating.name(room);
            assert_eq!(
                seating.find(&organisation, channel.as_deref()),
                Some(room),
                "{organisation} {channel:?}"
            );
        }
        let (mut in_burst, mut follow) = (0, 0);
        for organisation in 0..seating.organisations {
            let (name, _) = seating.name(seating.positions_room(organisation));
            let found = seating.find_positions(&name);
            assert_eq!(found, Some(seating.positions_room(organisation)));
        }
        for client in 0..seating.clients {
            let organisation = seating.organisation_of_client(client);
            let mut rooms = seating.rooms_of_client(client, true);
            follow += usize::from(rooms.contains(&seating.positions_room(organisation)));
            in_burst += usize::from(rooms.contains(&seating.burst_room()));
            let other = seating.another_channel(client);
            assert!(!seating.rooms_of_client(client, false).contains(&other));
            rooms.push(other);
            for room in rooms {
                assert_eq!(seating.name(room).0, format!("lg{organisation}"));
                let asked = seating.asked(room);
                assert_eq!(seating.find_asked(organisation, &asked), Some(room));
            }
        }
        assert_eq!((in_burst, follow), (5, 20));
    }
}
