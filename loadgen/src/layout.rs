//! What `loadgen run` is asked for, and how clients and records are seated in rooms.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::producer::Room;
use crate::{Common, parse_duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Topic to produce to
    #[arg(long, default_value = "transmission")]
    pub(crate) topic: String,
    /// Make the topic with so many partitions if it is not there
    #[arg(long, value_name = "PARTITIONS")]
    pub(crate) create_topic: Option<i32>,
    #[arg(long, default_value_t = 1000)]
    pub(crate) clients: usize,
    #[arg(long, default_value_t = 2)]
    pub(crate) organisations: usize,
    /// Channel rooms over all organisations; each organisation has the same channel ids
    #[arg(long, default_value_t = 100)]
    pub(crate) channels: usize,
    /// Records per second over all rooms
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
    /// Length of a record's value
    #[arg(long, default_value_t = 500)]
    pub(crate) payload_bytes: usize,
    /// How long the producer's Kafka client waits to fill a batch, in milliseconds: it lies within the latency, but
    /// without it every record is a request, and the broker beside the server takes half as much CPU time again
    #[arg(long, default_value_t = 1)]
    pub(crate) linger_ms: u32,
    /// New connections per second at the start
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connect_rate: u32,
    /// How long all clients together may take to connect and subscribe, beyond what the connect rate needs
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// Quiet time between the last subscription and the first record
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub(crate) settle: Duration,
    /// How long to wait for what is missing after the last record
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub(crate) drain: Duration,
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub(crate) cut_every: Duration,
    /// Clients whose TCP connection is reset every so often
    #[arg(long, default_value_t = 0)]
    pub(crate) cut_clients: usize,
    /// Rooms that each of them holds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) cut_rooms: u16,
    /// Clients that stop reading once
    #[arg(long, default_value_t = 0)]
    pub(crate) stall_clients: usize,
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) stall_after: Duration,
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    pub(crate) stall_for: Duration,
    /// Rooms that each of them holds: more rooms fill the buffers on the way sooner
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) stall_rooms: u16,
    /// Receive buffer of their sockets in bytes: small, so that the stall reaches the server
    #[arg(long, default_value_t = 16 * 1024)]
    pub(crate) stall_receive_buffer: u32,
    /// Threads that hold the clients
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Server process to account CPU time and memory of
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// Internal listener of the server: its counters are compared before and after
    #[arg(long, value_name = "URL")]
    pub(crate) internal: Option<String>,
    /// Write the report as JSON to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Decides which clients share a room and the name of the run; the same seed twice on one topic mixes two runs up
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// The rooms of a run: organisation by organisation, the same channel ids in each, so that a leak would show.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) organisations: usize,
    pub(crate) channels_each: usize,
}

impl Layout {
    pub(crate) fn of(args: &Args) -> Result<Self> {
        if args.organisations == 0
            || args.channels == 0
            || !args.channels.is_multiple_of(args.organisations)
        {
            bail!(
                "{} channels cannot be shared evenly by {} organisations",
                args.channels,
                args.organisations
            );
        }
        if args.clients < args.cut_clients + args.stall_clients
            || args.clients == 0
            || args.threads == 0
        {
            bail!(
                "--clients must be at least --cut-clients plus --stall-clients, and --threads at least 1"
            );
        }
        let layout = Self {
            organisations: args.organisations,
            channels_each: args.channels / args.organisations,
        };
        if usize::from(args.cut_rooms.max(args.stall_rooms)) > layout.channels_each {
            bail!(
                "an organisation has only {} rooms to hold",
                layout.channels_each
            );
        }
        Ok(layout)
    }

    pub(crate) fn organisation(number: usize) -> String {
        format!("lg{number}")
    }

    /// Neighbours in this list are of different organisations, so consecutive records are too.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        (0..self.organisations * self.channels_each)
            .map(|room| Room {
                organisation: Self::organisation(room % self.organisations),
                channel: (room / self.organisations + 1).to_string(),
            })
            .collect()
    }

    /// (index in `rooms`, channel number) of `count` rooms of one organisation, beginning with `first`.
    pub(crate) fn some_rooms(&self, first: usize, count: u16) -> Vec<(usize, usize)> {
        let organisation = first % self.organisations;
        (0..usize::from(count))
            .map(|step| {
                let channel = (first / self.organisations + step) % self.channels_each;
                (channel * self.organisations + organisation, channel + 1)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_organisations_have_the_same_channels_and_a_client_stays_in_one() {
        let layout = Layout {
            organisations: 2,
            channels_each: 50,
        };
        let rooms = layout.rooms();
        assert_eq!(rooms.len(), 100);
        for organisation in ["lg0", "lg1"] {
            let mut channels: Vec<u32> = rooms
                .iter()
                .filter(|room| room.organisation == organisation)
                .map(|room| room.channel.parse().expect("a number"))
                .collect();
            channels.sort_unstable();
            assert_eq!(channels, (1..=50).collect::<Vec<_>>());
        }
        for (index, channel) in layout.some_rooms(97, 50) {
            assert_eq!(
                (rooms[index].organisation.as_str(), &rooms[index].channel),
                ("lg1", &channel.to_string())
            );
        }
    }
}
