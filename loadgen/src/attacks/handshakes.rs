//! Attacks on what comes before a session, and on the reading of requests.

use std::io;

use anyhow::Result;
use rand::Rng;
use rand::distr::Alphanumeric;

use super::attacker::Attacker;
use super::wire::Wire;
use crate::protocol::field;

const CHURN_PER_SECOND: u32 = 500;
const KEPT_OPEN: u32 = 10_000;
const POLLS_PER_SECOND: u32 = 1_000;
/// As the server's session ids.
const SID_LENGTH: usize = 16;
const SLOW_BODIES: usize = 500;
/// Below the rate at which an address may open sessions.
const SLOW_BODIES_PER_SECOND: u32 = 200;
const SLOW_BODY_LENGTH: usize = 60_000;

pub(super) fn keep_open(attacker: &mut Attacker<'_>) -> Result<()> {
    let mut kept = Vec::new();
    attacker.paced(attacker.rate_of(KEPT_OPEN), |attacker| {
        if let Some((wire, 101)) = open(attacker, "")? {
            kept.push(wire);
        }
        Ok(())
    })
}

pub(super) fn churn(attacker: &mut Attacker<'_>) -> Result<()> {
    attacker.paced(CHURN_PER_SECOND, |attacker| open(attacker, "").map(drop))
}

pub(super) fn forge(attacker: &mut Attacker<'_>) -> Result<()> {
    attacker.paced(CHURN_PER_SECOND, |attacker| {
        let [a, b, c]: [u8; 3] = rand::rng().random();
        open(attacker, &format!("X-Forwarded-For: 11.{a}.{b}.{c}\r\n")).map(drop)
    })
}

/// Asks for a WebSocket, and counts it.
fn open(attacker: &mut Attacker<'_>, headers: &str) -> Result<Option<(Wire, u16)>> {
    attacker.spoils.sent += 1;
    let asked = attacker.connect().and_then(|mut wire| {
        let status = wire.upgrade(headers)?;
        Ok((wire, status))
    });
    let opened = attacker.done(asked)?;
    if let Some((_, status)) = &opened {
        attacker.status(*status);
    }
    Ok(opened)
}

pub(super) fn random_sids(attacker: &mut Attacker<'_>) -> Result<()> {
    // The server ends a connection after such an answer.
    attacker.paced(POLLS_PER_SECOND, |attacker| {
        let sid: String = rand::rng()
            .sample_iter(Alphanumeric)
            .take(SID_LENGTH)
            .map(char::from)
            .collect();
        attacker.spoils.sent += 1;
        let asked = attacker.connect();
        let answer = asked.and_then(|mut wire| wire.get(&format!("&sid={sid}")));
        if let Some((status, _)) = attacker.done(answer)? {
            attacker.status(status);
        }
        Ok(())
    })
}

/// Opens polling sessions, begins a POST in each, and then sends 100 bytes a second. One that the server ends is not repeated.
pub(super) fn slow_bodies(attacker: &mut Attacker<'_>) -> Result<()> {
    let most = SLOW_BODIES / 5;
    let (mut slow, mut begun) = (Vec::new(), 0);
    let mut turn = 0;
    attacker.paced(SLOW_BODIES_PER_SECOND, |attacker| {
        if begun < most {
            begun += 1;
            attacker.spoils.sent += 1;
            let opened = begin_body(attacker);
            if let Some((status, wire)) = attacker.done(opened)? {
                attacker.status(status);
                slow.extend(wire);
            }
            return Ok(());
        }
        // A fortieth of them in each turn, and 40 turns of this thread a second.
        turn = (turn + 1) % 40;
        let mut at = turn;
        while at < slow.len() {
            let sent = trickle(&mut slow[at]);
            if attacker.done(sent)?.is_some() {
                at += 40;
            } else {
                slow.swap_remove(at);
            }
        }
        Ok(())
    })
}

fn begin_body(attacker: &Attacker<'_>) -> io::Result<(u16, Option<Wire>)> {
    let mut wire = attacker.connect()?;
    let (status, body) = wire.get("")?;
    let Some(sid) = field(&body, "sid").filter(|_| status == 200) else {
        return Ok((status, None));
    };
    let head = wire.post_head(sid, SLOW_BODY_LENGTH);
    wire.write(head.as_bytes())?;
    Ok((status, Some(wire)))
}

fn trickle(wire: &mut Wire) -> io::Result<()> {
    if wire.discard()? > 0 {
        // An answer before the body was whole: the server has given up on it.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    wire.write(&[b'4'; 100])
}
