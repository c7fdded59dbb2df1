//! Commands of one socket, in the order in which they were sent.
//!
//! The library calls the handler's closure on the receive path and spawns only the future that it returns. So the closure
//! does the work, and returns a future that is ready: the order is that of arrival. Only when the send budget is full do
//! commands wait, here, for a task that carries them out one by one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::protocol::{CloseReason, Reason};
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;

use super::backlog::Place;
use super::encode::Outgoing;
use super::event_name::NAMELESS;
use super::road::Road;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::limits::CommandAdmission;
use crate::session::receipts::Kept;
use crate::session::{Answer, AwaitedAnswer, Failure, Reply};

/// Commands that wait to be carried out; later ones are refused. Enough for a client that joins its 200 rooms one by one.
const WAITING: usize = 256;

/// Commands that are carried out as they arrive, within a few milliseconds. The library reads a whole payload without a
/// pause, so after these the others get the thread first.
const AT_ONCE: u32 = 32;
const MOMENT_MS: u64 = 10;

/// Refusals that wait to be sent. A client that sends on although nothing comes back is cut off, and so is one whose
/// commands are too large to wait: see [`Backlog`](super::backlog::Backlog).
const REFUSED: usize = 256;

/// What was said last has left within this time, or the connection is closed all the same; looked at so often.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_WORDS_LOOK: Duration = Duration::from_millis(50);

/// A command as it came: nothing in it has been checked.
pub(super) struct Received {
    /// `["event", …arguments]`
    packet: String,
    /// Binary attachments came with it: no command has any.
    binary: bool,
    asker: Asker,
}

/// Where to send the answer: all that is kept of a command that will not be looked at again.
struct Asker {
    ack: AckSender,
    /// `None`: no acknowledgement is asked for.
    ack_id: Option<i64>,
}

impl FromMessageParts<LocalAdapter> for Received {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        let (packet, binary) = match value {
            Value::Str(text, attachments) => (text.as_str().to_owned(), attachments.is_some()),
            Value::Bytes(_) => (String::new(), true),
        };
        let ack = AckSender::from_message_parts(socket, value, ack_id)?;
        Ok(Self {
            packet,
            binary,
            asker: Asker {
                ack,
                ack_id: *ack_id,
            },
        })
    }
}

/// Where the commands of one socket arrive. The socket owns it by its handler, so it must not own the socket.
pub(super) struct Inbox {
    pub(super) road: Arc<Road>,
    pub(super) lifecycle: Lifecycle,
    /// The largest packet, in bytes: a polling payload may be larger than what a WebSocket lets through.
    pub(super) max_packet: usize,
    queue: Mutex<Queue>,
    /// Commands whose answer is not known yet, or waits; at most [`WAITING`].
    later: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// A task is carrying them out.
    running: bool,
    /// When the present moment began (monotonic milliseconds), and how many were carried out in it.
    moment: (u64, u32),
}

/// How a command begins that asks for a room.
const JOINS: &str = "[\"subscribe\"";

impl Queue {
    /// Whether one more may be carried out as it arrives.
    fn may_act_at_once(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.moment.0) >= MOMENT_MS {
            self.moment = (now, 0);
        }
        self.moment.1 += 1;
        !self.running && self.moment.1 <= AT_ONCE
    }
}

enum Waiting {
    Command(Received, Place),
    Refused(Asker),
    /// It took effect in its turn, and by now it is known whether its receipt is kept.
    Acknowledged(Asker, bool),
    /// A command of this name takes effect when its answer is known. It is at the head of the queue, and all others wait for it.
    Pending(Asker, AwaitedAnswer, String),
    /// Its answer is known by now, and goes out in its turn: an upgrade may have begun meanwhile.
    Answered(Asker, Answer, String),
}

impl Inbox {
    pub(super) fn new(road: Arc<Road>, lifecycle: Lifecycle, max_packet: usize) -> Arc<Self> {
        Arc::new(Self {
            road,
            lifecycle,
            max_packet,
            queue: Mutex::default(),
            later: AtomicUsize::new(0),
        })
    }

    /// Carries a command out, or lets it wait for its turn.
    pub(super) fn push(self: &Arc<Self>, socket: SocketRef, received: Received) {
        let mut queue = self.lock();
        let joins = received.packet.starts_with(JOINS);
        let road = &self.road;
        match road.engine.command_came(road.namespace, joins) {
            CommandAdmission::Admitted => {}
            CommandAdmission::RateLimited => return self.refuse(queue, socket, received.asker),
            CommandAdmission::Excessive => {
                drop(queue);
                return self.road.engine.close_for_rate();
            }
        }
        if queue.may_act_at_once(clock::monotonic_ms()) && self.has_capacity(&socket) {
            drop(queue);
            self.act(&socket, received);
            return;
        }
        if let Some(waiting) = self.place(queue.waiting.len(), received) {
            self.wait(queue, socket, waiting);
        } else {
            drop(queue);
            self.road.engine.close_for_rate();
        }
    }

    /// Answers `rate_limited`, behind what waits.
    fn refuse(self: &Arc<Self>, queue: MutexGuard<'_, Queue>, socket: SocketRef, asker: Asker) {
        let refused = Waiting::Refused(asker);
        if !queue.running && self.has_capacity(&socket) {
            drop(queue);
            self.carry_out(&socket, refused);
        } else if queue.waiting.len() < WAITING + REFUSED {
            self.wait(queue, socket, refused);
        } else {
            drop(queue);
            self.road.engine.close_for_rate();
        }
    }

    /// How a command waits behind so many others; `None`: not at all, they are too many.
    fn place(&self, others: usize, received: Received) -> Option<Waiting> {
        if others >= WAITING {
            return (others < WAITING + REFUSED).then_some(Waiting::Refused(received.asker));
        }
        let place = self.road.engine.backlog.place(received.packet.len())?;
        Some(Waiting::Command(received, place))
    }

    fn wait(
        self: &Arc<Self>,
        mut queue: MutexGuard<'_, Queue>,
        socket: SocketRef,
        waiting: Waiting,
    ) {
        // What waits holds the socket, which holds this: it must not be left here.
        if self.is_gone(&socket) {
            return;
        }
        queue.waiting.push_back(waiting);
        if !std::mem::replace(&mut queue.running, true) {
            drop(queue);
            self.lifecycle.spawn("commands", self.clone().drain(socket));
        }
    }

    async fn drain(self: Arc<Self>, socket: SocketRef) {
        loop {
            while !self.has_capacity(&socket) {
                if self.is_gone(&socket) {
                    self.lock().waiting.clear();
                    return;
                }
                self.road.engine.budget.capacity().await;
            }
            match self.next() {
                Some(Waiting::Pending(asker, answer, event)) => {
                    let answer = answer.await;
                    let answered = Waiting::Answered(asker, answer, event);
                    // At the head, where it was, and behind the question for capacity.
                    self.lock().waiting.push_front(answered);
                }
                Some(waiting) => self.carry_out(&socket, waiting),
                None => return,
            }
            tokio::task::yield_now().await;
        }
    }

    /// There is no client left to answer.
    fn is_gone(&self, socket: &SocketRef) -> bool {
        self.road.engine.is_closed() || !socket.connected()
    }

    /// The next one that waits; none, and the task is over.
    fn next(&self) -> Option<Waiting> {
        let mut queue = self.lock();
        let waiting = queue.waiting.pop_front();
        queue.running = waiting.is_some();
        waiting
    }

    fn has_capacity(&self, socket: &SocketRef) -> bool {
        self.road.has_capacity(socket)
    }

    fn carry_out(self: &Arc<Self>, socket: &SocketRef, waiting: Waiting) {
        match waiting {
            Waiting::Command(received, place) => {
                drop(place);
                self.act(socket, received);
            }
            Waiting::Refused(asker) => {
                let answer = self.road.session.refuse(Reason::RateLimited);
                self.answer(socket, asker, &answer, "");
                self.road.flush();
            }
            Waiting::Acknowledged(asker, kept) => {
                self.later.fetch_sub(1, Ordering::Relaxed);
                self.answer(socket, asker, &self.road.session.acknowledged(kept), "ack");
                self.road.flush();
            }
            Waiting::Answered(asker, answer, event) => {
                self.answered(socket, asker, &answer, &event);
            }
            // Only the task that carries out what waits can wait for its answer.
            Waiting::Pending(..) => self.wait_first(socket, waiting),
        }
    }

    fn act(self: &Arc<Self>, socket: &SocketRef, received: Received) {
        let (reply, event) = self.execute(&received);
        match reply {
            Reply::Now(answer) => self.answered(socket, received.asker, &answer, &event),
            Reply::Later(kept) => self.answer_later(socket, received.asker, kept),
            Reply::Pending(answer) => {
                self.wait_first(socket, Waiting::Pending(received.asker, answer, event));
            }
        }
    }

    /// Nothing that waits, and nothing that comes, is carried out before this.
    fn wait_first(self: &Arc<Self>, socket: &SocketRef, waiting: Waiting) {
        let mut queue = self.lock();
        if self.is_gone(socket) {
            return;
        }
        queue.waiting.push_front(waiting);
        if !std::mem::replace(&mut queue.running, true) {
            drop(queue);
            self.lifecycle
                .spawn("commands", self.clone().drain(socket.clone()));
        }
    }

    /// Says what came of a command, and what follows from that.
    fn answered(&self, socket: &SocketRef, asker: Asker, answer: &Answer, event: &str) {
        self.answer(socket, asker, answer, event);
        if answer.moves_cursor() {
            self.road.session.send_cursor();
        }
        self.road.flush();
        if let Some(reason) = answer.closes() {
            self.close_behind(reason);
        }
    }

    /// Closes the connection once the client had time to receive what was said.
    fn close_behind(&self, reason: CloseReason) {
        let engine = self.road.engine.clone();
        self.lifecycle.tasks().spawn(async move {
            let mut waited = Duration::ZERO;
            while waited < LAST_WORDS {
                let has_left = engine.has_left();
                tokio::time::sleep(LAST_WORDS_LOOK).await;
                waited += LAST_WORDS_LOOK;
                if has_left {
                    break;
                }
            }
            engine.close(reason);
        });
    }

    /// Answers once the outcome is known and there is capacity: many outcomes may become known at once.
    fn answer_later(self: &Arc<Self>, socket: &SocketRef, asker: Asker, kept: Kept) {
        if self.later.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.later.fetch_sub(1, Ordering::Relaxed);
            let answer = self.road.session.refuse(Reason::RateLimited);
            self.answer(socket, asker, &answer, "ack");
            self.road.flush();
            return;
        }
        let (inbox, socket) = (self.clone(), socket.clone());
        self.lifecycle.tasks().spawn(async move {
            let waiting = Waiting::Acknowledged(asker, kept.await);
            let queue = inbox.lock();
            if !queue.running && inbox.has_capacity(&socket) {
                drop(queue);
                inbox.carry_out(&socket, waiting);
            } else {
                inbox.wait(queue, socket, waiting);
            }
        });
    }

    fn execute(&self, received: &Received) -> (Reply, String) {
        let refuse = |message| {
            let failure = Failure {
                reason: Reason::BadRequest.into(),
                message,
            };
            (Reply::Now(self.road.session.refuse(failure)), String::new())
        };
        if received.packet.len() > self.max_packet {
            return refuse("the packet is too large");
        }
        let Ok(packet) = serde_json::from_str::<Vec<&RawValue>>(&received.packet) else {
            return refuse("the packet is not a JSON array");
        };
        let event = packet
            .first()
            .and_then(|event| serde_json::from_str::<String>(event.get()).ok());
        match event {
            Some(event) if event == NAMELESS => {
                refuse("the packet is not a JSON array that begins with the name of an event")
            }
            // No command has binary attachments, so what came with some is as good as nothing.
            Some(event) => {
                let payload = packet.get(1).copied().filter(|_| !received.binary);
                (self.road.session.execute(&event, payload), event)
            }
            None => refuse("the first element names the event"),
        }
    }

    /// Answers by acknowledgement; a failed command without one by an `error` event.
    fn answer(&self, socket: &SocketRef, asker: Asker, answer: &Answer, event: &str) {
        let said = if let Some(ack_id) = asker.ack_id {
            let body = to_raw_value(answer).expect("answers are plain data");
            self.road.answer(socket, asker.ack, ack_id, &body)
        } else if let Some(failure) = answer.failure() {
            let about: String = event.chars().take(64).collect();
            let outgoing = Outgoing::server(self.road.session.error_event(failure, &about));
            self.road.say(socket, &outgoing)
        } else {
            true
        };
        if !said {
            // Closing, or its queue is full of what it does not read: either way it cannot be answered any more.
            self.road.engine.close(CloseReason::TooSlow);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_carried_out_at_once_up_to_a_limit_per_moment() {
        let mut queue = Queue::default();
        for moment in [1_000, 1_000 + MOMENT_MS, 50_000] {
            for command in 0..AT_ONCE {
                let within = moment + u64::from(command) % MOMENT_MS;
                assert!(queue.may_act_at_once(within), "{command} of {moment}");
            }
            assert!(!queue.may_act_at_once(moment + MOMENT_MS - 1), "one more");
        }
    }

    #[test]
    fn no_command_overtakes_commands_that_wait() {
        let mut queue = Queue {
            running: true,
            ..Queue::default()
        };
        assert!(!queue.may_act_at_once(1_000));
        queue.running = false;
        assert!(queue.may_act_at_once(1_000));
    }
}
