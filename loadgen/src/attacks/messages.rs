//! Attacks with frames and packets on open sessions.

use std::io;

use anyhow::Result;

use super::attacker::{Attacker, pause};
use super::wire::Wire;
use crate::bench::frames::push_client_frame;
use crate::protocol::{field, subscribe_packet, unsubscribe_packet};

/// With an empty payload, masked: a ping, a pong, and a text of the WebSocket.
const EMPTY_FRAMES: [[u8; 6]; 3] = [
    [0x89, 0x80, 0, 0, 0, 0],
    [0x8a, 0x80, 0, 0, 0, 0],
    [0x81, 0x80, 0, 0, 0, 0],
];
const FRAMES_PER_SECOND: u32 = 50_000;
/// Written together.
const FRAMES: u32 = 200;
const COMMANDS_PER_SECOND: u32 = 10_000;
const COMMANDS: u32 = 50;
const POSTS_PER_SECOND: u32 = 400;
/// A payload of more than 1,024 is refused whatever the limits are.
const PACKETS_OF_A_POST: usize = 1_000;

/// One kind of frame in each thread.
pub(super) fn frames(attacker: &mut Attacker<'_>) -> Result<()> {
    let kind = usize::from(attacker.index) % EMPTY_FRAMES.len();
    let burst = EMPTY_FRAMES[kind].repeat(FRAMES as usize);
    flood(attacker, FRAMES_PER_SECOND, FRAMES, &burst)
}

pub(super) fn commands(attacker: &mut Attacker<'_>) -> Result<()> {
    let mut burst = Vec::new();
    for number in 0..u64::from(COMMANDS / 2) {
        let room = format!("channel:attack-{number}");
        let subscribe = subscribe_packet(2 * number, std::slice::from_ref(&room));
        push_client_frame(&mut burst, subscribe.as_bytes());
        push_client_frame(
            &mut burst,
            unsubscribe_packet(2 * number + 1, &room).as_bytes(),
        );
    }
    flood(attacker, COMMANDS_PER_SECOND, COMMANDS, &burst)
}

/// Writes the burst of `each` frames over and over on a session, and opens another one when that is closed.
fn flood(attacker: &mut Attacker<'_>, per_second: u32, each: u32, burst: &[u8]) -> Result<()> {
    let mut session: Option<Wire> = None;
    attacker.paced(per_second / each, |attacker| {
        let Some(mut wire) = session
            .take()
            .map_or_else(|| attacker.own_session(), |wire| Ok(Some(wire)))?
        else {
            return Ok(());
        };
        let sent = wire.write(burst).and_then(|()| wire.discard());
        attacker.spoils.sent += u64::from(each);
        if attacker.done(sent)?.is_some() {
            session = Some(wire);
        }
        Ok(())
    })
}

/// Posts the smallest packets there are, as many in a payload as a server takes at once, and one payload after the other.
pub(super) fn tiny_packets(attacker: &mut Attacker<'_>) -> Result<()> {
    let mut body = "3\u{1e}".repeat(PACKETS_OF_A_POST);
    body.pop();
    let mut session: Option<PollingSession> = None;
    attacker.paced(POSTS_PER_SECOND, |attacker| {
        if session.is_none() {
            let opened = open(attacker);
            let Some((status, opened)) = attacker.done(opened)? else {
                pause();
                return Ok(());
            };
            attacker.status(status);
            session = opened;
        }
        let Some((sid, mut wire)) = session.take() else {
            pause();
            return Ok(());
        };
        attacker.spoils.sent += 1;
        let request = wire.post_head(&sid, body.len()) + &body;
        let answer = (wire.write(request.as_bytes())).and_then(|()| wire.answer());
        if let Some((status, _)) = attacker.done(answer)? {
            attacker.status(status);
            session = (status == 200).then_some((sid, wire));
        }
        Ok(())
    })
}

/// Its id, and its connection.
type PollingSession = (String, Wire);

/// The status, and the session if it is 200.
fn open(attacker: &Attacker<'_>) -> io::Result<(u16, Option<PollingSession>)> {
    let mut wire = attacker.connect()?;
    let (status, body) = wire.get("")?;
    let sid = field(&body, "sid").filter(|_| status == 200);
    Ok((status, sid.map(|sid| (sid.to_owned(), wire))))
}
