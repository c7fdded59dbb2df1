//! Attacks on tokens, resumes and the connections of a user.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ROOMS;
use super::attacker::{Attacker, PATIENCE};
use super::wire::{Opening, Wire};
use crate::bench::event::{ORGANISATION, channel, cursor_of};
use crate::bench::frames::push_client_frame;
use crate::protocol::{connect_packet, subscribe_packet};
use crate::socket::Minter;

const CONNECTS_PER_SECOND: u32 = 1_000;
/// On one transport.
const CONNECTS: u32 = 5;
const RESUMES_PER_SECOND: u32 = 100;
/// What a resume is sent is read for so long: after it come live events, which have no end.
const REPLAY_TIME: Duration = Duration::from_millis(120);
const CONNECTIONS: usize = 1_000;
/// Below the rate at which ten addresses may open sessions.
const OPENED_PER_SECOND: u32 = 400;
/// Of a thread, until it reads what has come: four times a second.
const TURNS_PER_LOOK: usize = 10;
/// Of the organisation whose records the attack is about.
const MEMBER: &str = "attacker";

pub(super) fn bad_tokens(attacker: &mut Attacker<'_>) -> Result<()> {
    let token = attacker.arms.forger.dispatcher("attacker", ORGANISATION)?;
    let mut burst = Vec::new();
    for _ in 0..CONNECTS {
        push_client_frame(&mut burst, connect_packet(&token, "", &[]).as_bytes());
    }
    attacker.paced(CONNECTS_PER_SECOND / CONNECTS, |attacker| {
        let opened = attacker.connect().and_then(|mut wire| {
            let status = wire.upgrade("")?;
            Ok((wire, status))
        });
        let Some((mut wire, status)) = attacker.done(opened)? else {
            return Ok(());
        };
        attacker.status(status);
        if status != 101 {
            return Ok(());
        }
        attacker.spoils.sent += u64::from(CONNECTS);
        let mut refused = 0;
        let mut sent = wire.patience(PATIENCE).and_then(|()| wire.write(&burst));
        while sent.is_ok() && refused < CONNECTS {
            sent = match wire.packets(|packet| refused += u32::from(packet.starts_with(b"44"))) {
                Ok(true) => Ok(()),
                Ok(false) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            };
        }
        attacker.done(sent).map(drop)
    })
}

fn room_name(room: usize) -> String {
    format!("channel:{}", channel(room))
}

/// The packet that asks for everything in these rooms since now.
pub(super) fn oldest_cursor(minter: &Minter, port: u16) -> Result<String> {
    let token = minter.dispatcher(MEMBER, ORGANISATION)?;
    let connect = connect_packet(&token, "", &[]);
    let own = Ipv4Addr::new(127, 0, 0, 2);
    let opened = Wire::session(own, port, &connect, Duration::from_secs(5))?;
    let Opening::Connected(mut wire) = opened else {
        bail!("the server refuses the attacker before it attacks");
    };
    let mut cursor = None;
    while cursor.is_none() {
        let open = wire
            .packets(|packet| {
                cursor = cursor
                    .take()
                    .or_else(|| cursor_of(packet).map(<[u8]>::to_vec));
            })
            .context("the attacker has no cursor")?;
        ensure!(open, "the attacker's connection was closed");
    }
    let cursor = String::from_utf8(cursor.unwrap_or_default())?;
    let rooms: Vec<String> = (0..ROOMS).map(room_name).collect();
    Ok(connect_packet(&token, &cursor, &rooms))
}

pub(super) fn resumes(attacker: &mut Attacker<'_>) -> Result<()> {
    let resume = attacker.arms.resume.clone();
    attacker.paced(RESUMES_PER_SECOND, |attacker| {
        attacker.spoils.sent += 1;
        let Some((mut wire, true)) = attacker.session(&resume, PATIENCE)? else {
            return Ok(());
        };
        let begin = Instant::now();
        let mut read = wire.patience(REPLAY_TIME).map(|()| true);
        while read.as_ref().is_ok_and(|open| *open) && begin.elapsed() < REPLAY_TIME {
            read = wire.packets(|_| {});
        }
        attacker.done(read).map(drop)
    })
}

/// Opens connections until the user has so many, again where one was closed, and reads what they receive.
pub(super) fn one_user(attacker: &mut Attacker<'_>) -> Result<()> {
    let token = attacker.arms.minter.dispatcher(MEMBER, ORGANISATION)?;
    let most = CONNECTIONS / 10;
    let mut held: Vec<Wire> = Vec::with_capacity(most);
    let connect = connect_packet(&token, "", &[]);
    let mut turn = usize::from(attacker.index);
    attacker.paced(OPENED_PER_SECOND, |attacker| {
        turn += 1;
        if held.len() < most {
            attacker.spoils.sent += 1;
            let opened = attacker.session(&connect, PATIENCE)?;
            if let Some((wire, false)) = opened {
                held.push(wire);
            } else if let Some((mut wire, true)) = opened {
                let subscribed = wire.send(&subscribe_packet(0, &[room_name(turn % ROOMS)]));
                held.extend(attacker.done(subscribed)?.map(|()| wire));
            }
        }
        if !turn.is_multiple_of(TURNS_PER_LOOK) {
            return Ok(());
        }
        let mut at = 0;
        while at < held.len() {
            let read = held[at].discard();
            if attacker.done(read)?.is_some() {
                at += 1;
            } else {
                held.swap_remove(at);
            }
        }
        Ok(())
    })
}
