//! `client`: what a browser would see, in a terminal (S4-31).

mod commands;
mod follow;
mod link;
mod packet;
mod retries;
mod show;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;

use super::brokers::block_on;
use super::healthcheck::reachable;
use super::{Exit, bad_configuration};
use crate::settings::{Settings, values};
use link::Endpoint;
use show::Show;

#[derive(Debug, clap::Args)]
pub(super) struct ClientArguments {
    /// Where the server listens; a path after the port is that of Socket.IO [default: http://127.0.0.1:8001, or HOST and PORT]
    #[arg(long, value_name = "URL", value_parser = Endpoint::parse)]
    url: Option<Endpoint>,
    /// How long to try again while no server accepts the first connection: 30s, 0
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    wait: Duration,
    /// Token to connect with
    #[arg(long, value_name = "TOKEN")]
    token: String,
    /// Room to join, KIND:* for all of a kind; may be given more than once
    #[arg(long, value_name = "KIND:ID")]
    room: Vec<String>,
    /// With each room first its snapshot: the newest record of each key of class latest
    #[arg(long)]
    latest: bool,
    /// Leave a room again after a time: channel:7@5s; may be given more than once
    #[arg(long, value_name = "KIND:ID@TIME", value_parser = leave)]
    leave: Vec<(String, Duration)>,
    /// Show only this event; may be given more than once
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// End after this time; otherwise it goes on until `quit` or Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    duration: Option<Duration>,
    /// End after so many events that were shown; fewer within --for is a failure
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// How to connect; there is one way so far
    #[arg(long, value_name = "NAME", default_value = "websocket", value_parser = ["websocket"])]
    transport: String,
    /// When the connection is lost, connect again and go on from the cursor; with a CURSOR, begin there
    #[arg(long, value_name = "CURSOR", num_args = 0..=1, default_missing_value = "")]
    resume: Option<String>,
}

pub(super) const HELP: &str =
    "Commands on standard input: join channel:7, leave channel:7, rooms, quit.
Lines that begin with -- tell of the connection, with !! of what was refused,
taken away or missed. No colours with NO_COLOR.

Examples:
  TOKEN=$(fleetcast token mint --sub u1 --org o1 --role dispatcher)
  fleetcast client --token $TOKEN --room channel:7
  fleetcast client --token $TOKEN --room 'asset:*' --latest
  fleetcast client --token $TOKEN --event alert_created --count 1 --for 30s
  fleetcast client --token $TOKEN --room channel:7 --leave channel:7@5s

Started in the background of a terminal it reads no commands.

Exit codes: 0 it ended as asked, 1 the connection or a room was refused, the
connection was lost, or --count was not reached, 2 wrong usage, 78 wrong HOST
or PORT.";

pub(super) fn run(
    mut arguments: ClientArguments,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let url = match arguments.url.take() {
        Some(url) => url,
        None => match Settings::listen_from_map(environment) {
            Ok(listen) if listen.port == 0 => {
                bail!("PORT is 0, so the server has picked one: give its address with --url")
            }
            Ok(listen) => Endpoint::of(SocketAddr::new(reachable(listen.host), listen.port)),
            Err(problems) => return Ok(bad_configuration(&problems)),
        },
    };
    let show = Show::new(arguments.json);
    let good = block_on(follow::Follower::new(url, arguments, show).run())??;
    Ok(if good { Exit::Clean } else { Exit::Failed })
}

fn leave(text: &str) -> Result<(String, Duration), String> {
    let (room, time) = text
        .rsplit_once('@')
        .ok_or_else(|| "expected KIND:ID@TIME".to_owned())?;
    Ok((room.to_owned(), values::duration(time)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_left_after_a_time() {
        let five = Duration::from_secs(5);
        assert_eq!(leave("channel:7@5s"), Ok(("channel:7".to_owned(), five)));
        assert!(leave("channel:7").is_err() && leave("channel:7@soon").is_err());
    }
}
