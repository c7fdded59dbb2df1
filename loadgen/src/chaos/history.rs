//! A client's side of the history, as far as it can be folded while it is recorded: which records it got is one bit
//! each, by room and lane, so that twenty million deliveries are a few megabytes. Repeats and order leave no trace in a
//! bitmap, so they are reported at once. What it *should* have got is for [`check`](super::check), when all is over.

use serde::Serialize;

use super::late::Late;
use super::newest::{Arrival, Newest};
use super::record::Stamp;
use super::stretch::{End, Held, RoomHistory, Span};

/// What a client saw that no later knowledge can excuse.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Offences {
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Of another organisation.
    pub(crate) leaked: u64,
    /// Of a room that it does not hold, or a record that no producer of this run wrote.
    pub(crate) unexpected: u64,
    pub(crate) altered: u64,
    /// An event before the welcome of its connection, or after one that says `resync` and before `resync_required`.
    pub(crate) unannounced: u64,
    /// The connection ended with bytes that are no frame of a server.
    pub(crate) broken: u64,
    /// The server sent a packet after which a stock client does not reconnect, or refused a good token.
    pub(crate) dismissed: u64,
}

/// The client received `resync_required`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Resync {
    pub(crate) at_ns: u64,
    pub(crate) reason: String,
    /// Up to when it had everything, as far as it can know.
    pub(crate) known_ns: u64,
    /// The window that the welcome before it announced.
    pub(crate) promised_ns: Option<u64>,
}

/// It was away.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Return {
    pub(crate) closed_ns: u64,
    /// By us: a cut.
    pub(crate) wanted: bool,
    pub(crate) welcome_ns: Option<u64>,
    pub(crate) event_ns: Option<u64>,
    pub(crate) failed_attempts: u32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClientHistory {
    pub(crate) organisation: String,
    run: String,
    pub(crate) rooms: Vec<RoomHistory>,
    /// By lane: the highest order received since the last resync.
    highest: Vec<Option<u32>>,
    #[serde(skip)]
    pub(crate) newest: Newest,
    /// What came late while it was connected all the time.
    #[serde(skip)]
    pub(crate) late: Late,
    /// When it was welcomed, and the window that was announced.
    pub(crate) windows: Vec<(u64, u64)>,
    pub(crate) offences: Offences,
    pub(crate) resyncs: Vec<Resync>,
    pub(crate) returns: Vec<Return>,
    pub(crate) received: u64,
    /// Records that came again after a resync: the client reloads its state, so they do no harm.
    pub(crate) repeated_after_resync: u64,
    /// The number of the fault's begin or end, and when the first event after it came.
    pub(crate) first_after: Vec<(u32, u64)>,
    /// The end of a fault, and when the last event came that was sent before it.
    pub(crate) caught_up: Vec<(u64, u64)>,
    known_ns: u64,
    shown_cursor: bool,
    /// The namespace is connected: the welcome must come before any event.
    welcome_due: bool,
    /// A welcome has said `resync`: the notice must come before any event.
    notice_due: bool,
    /// It is not expected to get what is left: it has stopped reading for good.
    pub(crate) gone: bool,
    pub(crate) samples: Vec<String>,
}

const SAMPLES: usize = 4;

impl ClientHistory {
    /// `own`: the room that it holds from its first welcome on; `asked`: those it subscribes to first.
    pub(crate) fn new(organisation: &str, run: &str, own: u16, asked: &[u16]) -> Self {
        let mut rooms = vec![RoomHistory::new(own, Held::No, true)];
        let asked = asked.iter();
        rooms.extend(asked.map(|room| RoomHistory::new(*room, Held::Joining, true)));
        Self {
            organisation: organisation.to_owned(),
            run: run.to_owned(),
            rooms,
            highest: Vec::new(),
            newest: Newest::default(),
            late: Late::default(),
            windows: Vec::new(),
            offences: Offences::default(),
            resyncs: Vec::new(),
            returns: Vec::new(),
            received: 0,
            repeated_after_resync: 0,
            first_after: Vec::new(),
            caught_up: Vec::new(),
            known_ns: 0,
            shown_cursor: false,
            welcome_due: false,
            notice_due: false,
            gone: false,
            samples: Vec::new(),
        }
    }

    /// The namespace is connected; whether the client has shown a cursor.
    pub(crate) fn opened(&mut self, with_cursor: bool) {
        self.shown_cursor = with_cursor;
        self.welcome_due = true;
    }

    pub(crate) fn asked(&mut self, room: u16, join: bool) {
        let held = if join { Held::Joining } else { Held::Leaving };
        match self.rooms.iter_mut().find(|known| known.room == room) {
            // Asking for what is held changes nothing.
            Some(known) if join && known.held == Held::Yes => {}
            Some(known) => known.held = held,
            None => self.rooms.push(RoomHistory::new(room, held, false)),
        }
    }

    /// Held, or about to be.
    pub(crate) fn holds(&self, room: u16) -> bool {
        let known = self.rooms.iter().find(|known| known.room == room);
        known.is_some_and(|known| matches!(known.held, Held::Yes | Held::Joining))
    }

    pub(crate) fn subscribed(&mut self, room: u16, now_ns: u64) {
        let mut rooms = self.rooms.iter_mut();
        let Some(room) = rooms.find(|known| known.room == room && known.held != Held::Yes) else {
            return;
        };
        let leaving = room.held == Held::Leaving;
        match room.spans.last_mut() {
            // Its events have come before the acknowledgement.
            Some(span) if span.since_ns.is_none() && span.end == End::Run => {
                span.since_ns = Some(now_ns);
            }
            _ => room.spans.push(Span::since(Some(now_ns))),
        }
        // It may have been asked to leave since.
        room.held = if leaving { Held::Leaving } else { Held::Yes };
    }

    pub(crate) fn unsubscribed(&mut self, room: u16) {
        if let Some(room) = self.rooms.iter_mut().find(|known| known.room == room) {
            room.end();
            // It may have been asked for again since.
            if room.held == Held::Leaving {
                room.held = Held::No;
            }
        }
    }

    /// `resume` as the welcome says it, and the window that it tells.
    pub(crate) fn welcomed(&mut self, resume: &str, window_ns: u64, now_ns: u64) {
        self.welcome_due = false;
        self.notice_due = resume == "resync";
        self.windows.push((now_ns, window_ns));
        self.newest.resumed();
        if let Some(back) = self.returns.last_mut() {
            back.welcome_ns.get_or_insert(now_ns);
        }
        if resume == "fresh" {
            if self.shown_cursor {
                self.resync("welcomed as a newcomer in spite of its cursor", now_ns);
            } else {
                // The own room is held from here on; whatever was asked for before is asked for again.
                self.known_ns = now_ns;
                self.begin_again(now_ns);
                let own = &mut self.rooms[0];
                own.held = Held::Yes;
                if own.spans.last().is_none_or(|span| span.end == End::Open) {
                    own.spans.push(Span::since(Some(now_ns)));
                }
            }
        }
    }

    pub(crate) fn resync(&mut self, reason: &str, now_ns: u64) {
        self.expect_welcome(|| format!("before the welcome: resync_required, {reason}"));
        self.resyncs.push(Resync {
            at_ns: now_ns,
            reason: reason.to_owned(),
            known_ns: self.known_ns,
            promised_ns: (self.windows.last())
                .filter(|_| self.notice_due)
                .map(|(_, window_ns)| *window_ns),
        });
        self.notice_due = false;
        self.known_ns = now_ns;
        self.begin_again(now_ns);
    }

    /// This comes after the welcome of its connection.
    fn expect_welcome(&mut self, what: impl FnOnce() -> String) {
        if std::mem::take(&mut self.welcome_due) {
            self.offend(what, |it| it.unannounced += 1);
        }
    }

    fn begin_again(&mut self, now_ns: u64) {
        self.highest.fill(None);
        self.newest.resumed();
        for room in &mut self.rooms {
            if matches!(room.held, Held::Yes | Held::Leaving) {
                room.end();
                room.spans.push(Span::since(Some(now_ns)));
            }
        }
    }

    /// An event that only moves the cursor.
    pub(crate) fn cursor(&mut self, now_ns: u64) {
        self.known_ns = now_ns;
    }

    pub(crate) fn closed(&mut self, wanted: bool, now_ns: u64) {
        self.notice_due = false;
        for room in &mut self.rooms {
            match room.held {
                // It is asked for again; what came without an acknowledgement was a stretch of its own.
                Held::Joining | Held::Leaving => {
                    room.end();
                    room.held = if room.held == Held::Joining && room.wanted {
                        Held::Joining
                    } else {
                        Held::No
                    };
                }
                Held::Yes | Held::No => {}
            }
        }
        self.returns.push(Return {
            closed_ns: now_ns,
            wanted,
            welcome_ns: None,
            event_ns: None,
            failed_attempts: 0,
        });
    }

    pub(crate) fn failed_attempt(&mut self) {
        if let Some(back) = self.returns.last_mut() {
            back.failed_attempts += 1;
        }
    }

    pub(crate) fn offend(
        &mut self,
        text: impl FnOnce() -> String,
        count: impl FnOnce(&mut Offences),
    ) {
        count(&mut self.offences);
        if self.samples.len() < SAMPLES {
            self.samples.push(text());
        }
    }

    /// A record came that was sent before the last fault ended, at `end_ns`.
    pub(crate) fn catch_up(&mut self, end_ns: u64, now_ns: u64) {
        match self.caught_up.last_mut() {
            Some((end, last)) if *end == end_ns => *last = now_ns,
            _ => self.caught_up.push((end_ns, now_ns)),
        }
    }

    /// Who reads at once and was there when it was sent has seen how long it took.
    pub(crate) fn took(&mut self, sent_ns: u64, now_ns: u64) {
        let since = self.windows.last();
        if since.is_some_and(|(welcomed_ns, _)| *welcomed_ns < sent_ns) {
            self.late.note(sent_ns, now_ns);
        }
    }

    /// Whether it may be given this, and as which of its rooms' record.
    fn admit(&mut self, stamp: &Stamp<'_>, room: Option<u16>) -> Option<usize> {
        // Organisation first: also a record of another run must not cross it.
        if stamp.organisation != self.organisation {
            self.offend(|| format!("leaked: {stamp:?}"), |it| it.leaked += 1);
            return None;
        }
        self.expect_welcome(|| format!("before the welcome: {stamp:?}"));
        if self.notice_due {
            self.offend(
                || format!("before the notice: {stamp:?}"),
                |it| it.unannounced += 1,
            );
            self.notice_due = false;
        }
        let held = |known: &RoomHistory| Some(known.room) == room && known.held != Held::No;
        let found = self.rooms.iter().position(held);
        let found = found.filter(|_| stamp.run == self.run);
        if found.is_none() {
            self.offend(
                || format!("not of its rooms: {stamp:?}"),
                |it| it.unexpected += 1,
            );
        }
        found
    }

    /// A record of class `latest` arrived. True if it is newer than what came of its key over this connection.
    pub(crate) fn moved(
        &mut self,
        stamp: &Stamp<'_>,
        key: u32,
        room: Option<u16>,
        now_ns: u64,
    ) -> bool {
        if self.admit(stamp, room).is_none() {
            return false;
        }
        if let Some(back) = self.returns.last_mut() {
            back.event_ns.get_or_insert(now_ns);
        }
        match self.newest.take(stamp.lane, key, stamp.order) {
            Arrival::Newer => {
                self.received += 1;
                true
            }
            Arrival::Again => false,
            Arrival::Older => {
                self.offend(
                    || format!("older than what came of its key: {stamp:?}"),
                    |it| it.reordered += 1,
                );
                false
            }
        }
    }

    /// A record arrived, of the room that its stamp names, if that is one of this run. True if it is new.
    pub(crate) fn received(&mut self, stamp: &Stamp<'_>, room: Option<u16>, now_ns: u64) -> bool {
        let Some(known) = self.admit(stamp, room) else {
            return false;
        };
        let known = &mut self.rooms[known];
        let lane = usize::from(stamp.lane);
        let Some(new) = known.insert(lane, stamp.sequence) else {
            self.offend(
                || format!("out of bounds: {stamp:?}"),
                |it| it.unexpected += 1,
            );
            return false;
        };
        if self.highest.len() <= lane {
            self.highest.resize(lane + 1, None);
        }
        let highest = &mut self.highest[lane];
        let rises = highest.is_none_or(|highest| stamp.order > highest);
        if new || rises {
            known.note(lane, stamp.order);
        }
        if rises {
            *highest = Some(stamp.order);
        }
        self.known_ns = stamp.sent_ns;
        if let Some(back) = self.returns.last_mut() {
            back.event_ns.get_or_insert(now_ns);
        }
        match (new, rises) {
            (true, true) => self.received += 1,
            (true, false) => {
                self.received += 1;
                self.offend(
                    || format!("out of order: {stamp:?}"),
                    |it| it.reordered += 1,
                );
            }
            // Order is forgotten at a resync, so this one came before the last.
            (false, true) => self.repeated_after_resync += 1,
            (false, false) => {
                self.offend(|| format!("duplicated: {stamp:?}"), |it| it.duplicated += 1);
            }
        }
        new
    }
}
