//! Whether a response has reached its peer, as far as TCP shows: for responses that nothing repeats.
//!
//! | the connection ends | the response |
//! |---|---|
//! | before the kernel has taken and sent all of it | is lost |
//! | before the peer has acknowledged all of it | is lost, but for a reset below |
//! | by a reset right after it | is lost: Linux resets for a program that ends without having read what came |
//! | by a reset, and the request had asked for that end or came through a proxy | has arrived: haproxy resets when it has read a response, and its last acknowledgement travels in the reset, where the kernel does not look |
//! | in any other way, or another request follows on it | has arrived |
//!
//! What a proxy has acknowledged it may still lose.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep};

use super::guard::Guard;
use super::socket::Socket;
use crate::clock;

/// A reset says so long after the response that it was not read. Later it may be a proxy that closes an idle connection.
const RESET_MEANS_UNREAD: Duration = Duration::from_secs(1);

/// A connection that we have closed lingers so long after the last acknowledgement, in case another one comes.
const LINGER_WITHOUT_PROGRESS: Duration = Duration::from_secs(5);

/// For a peer that acknowledges a trickle.
const LONGEST_LINGER: Duration = Duration::from_mins(1);

/// An acknowledgement is not reported, so it is looked for.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// Learns that a response was lost.
pub trait DeliveryWatch: Send + Sync {
    fn lost(&self, why: &'static str);
}

/// Of one connection: its last response, if it is watched.
#[derive(Default)]
pub(super) struct ResponseDelivery {
    watched: Mutex<Option<WatchedResponse>>,
    /// There is one: each flush asks, so it is known without the lock.
    is_watched: AtomicBool,
    /// The last request asked for the end of the connection, or came through a proxy.
    may_reset: AtomicBool,
}

struct WatchedResponse {
    watch: Weak<dyn DeliveryWatch>,
    body_bytes: u64,
    /// Bytes that the kernel had taken before it.
    before: u64,
    /// When the kernel had taken all of it.
    taken_ms: Option<u64>,
}

impl ResponseDelivery {
    fn lock(&self) -> MutexGuard<'_, Option<WatchedResponse>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// The response that is about to be returned has a body of so many bytes. If it is lost, `watch` learns of it.
    pub fn watch_delivery(&self, body_bytes: usize, watch: Weak<dyn DeliveryWatch>) {
        let watched = WatchedResponse {
            watch,
            body_bytes: body_bytes as u64,
            before: self.writer().written(),
            taken_ms: None,
        };
        *self.delivery().lock() = Some(watched);
        self.delivery().is_watched.store(true, Ordering::Relaxed);
    }

    /// Waits until the peer has acknowledged the watched response, or the connection has ended. False: neither within `limit`.
    pub async fn delivery_settled(&self, limit: Duration) -> bool {
        // An end of the connection is judged, and then it is watched no more.
        settled(limit, || self.watches_delivery(), || self.has_arrived()).await
    }

    /// A request has come: its peer has read the response before it. `may_reset`: a reset will not mean that the peer has not read the
    /// next one.
    pub(super) fn next_request(&self, may_reset: bool) {
        self.delivery()
            .may_reset
            .store(may_reset, Ordering::Relaxed);
        if self.watches_delivery() {
            self.forget_delivery();
        }
    }

    fn watches_delivery(&self) -> bool {
        self.delivery().is_watched.load(Ordering::Relaxed)
    }

    fn forget_delivery(&self) -> Option<WatchedResponse> {
        self.delivery().is_watched.store(false, Ordering::Relaxed);
        self.delivery().lock().take()
    }

    /// All that hyper has written is with the kernel.
    pub(super) fn response_taken(&self) {
        if !self.watches_delivery() {
            return;
        }
        let written = self.writer().written();
        if let Some(watched) = self.delivery().lock().as_mut()
            && watched.taken_ms.is_none()
            // It may be a flush of what came before.
            && written > watched.before + watched.body_bytes
        {
            watched.taken_ms = Some(clock::monotonic_ms());
        }
    }

    fn has_arrived(&self) -> bool {
        let taken = |watched: &WatchedResponse| watched.taken_ms.is_some();
        self.delivery().lock().as_ref().is_none_or(taken)
            && self.writer().send_queue().unacknowledged == 0
    }

    /// The connection has ended, but the socket is still there. `reset`: by the peer.
    pub(super) fn judge_delivery(&self, reset: bool) {
        let Some(watched) = self.forget_delivery() else {
            return;
        };
        if let Some(why) = self.why_lost(&watched, reset)
            && let Some(watch) = watched.watch.upgrade()
        {
            watch.lost(why);
        }
    }

    /// `None`: it has arrived, as far as TCP shows.
    fn why_lost(&self, watched: &WatchedResponse, reset: bool) -> Option<&'static str> {
        let queue = self.writer().send_queue();
        let Some(taken_ms) = watched.taken_ms.filter(|_| queue.unsent == 0) else {
            return Some("its connection ended before it was sent");
        };
        if reset && self.delivery().may_reset.load(Ordering::Relaxed) {
            return None;
        }
        if queue.unacknowledged > 0 {
            return Some("its connection ended before it was acknowledged");
        }
        let since = Duration::from_millis(clock::monotonic_ms().saturating_sub(taken_ms));
        (reset && since < RESET_MEANS_UNREAD).then_some("its connection was reset right after it")
    }
}

/// Looks until `watched` says no or `arrived` says yes. The last look is after the limit: a process that did not run meanwhile has
/// not seen what the kernel has.
async fn settled(limit: Duration, watched: impl Fn() -> bool, arrived: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while watched() {
        let is_last = Instant::now() >= deadline;
        let arrived = arrived();
        // A reset may have come that the task of the connection has not seen.
        sleep(FIRST_LOOK).await;
        if arrived {
            return true;
        }
        if is_last {
            return false;
        }
    }
    true
}

/// Waits for the last acknowledgements of a connection that we have closed.
#[derive(Default)]
pub(super) struct Linger {
    wait: Option<LingerWait>,
    peer_closed: bool,
}

struct LingerWait {
    look: Pin<Box<Sleep>>,
    pause: Duration,
    unacknowledged: usize,
    since: Instant,
    progress: Instant,
}

impl Linger {
    /// An error is one of the connection.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        guard: &Guard,
        socket: &Arc<dyn Socket>,
    ) -> Poll<io::Result<()>> {
        if !guard.watches_delivery() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let unacknowledged = guard.writer().send_queue().unacknowledged;
            if unacknowledged == 0 || guard.is_ended() {
                return Poll::Ready(Ok(()));
            }
            if !self.peer_closed && self.poll_peer(cx, socket)? {
                continue;
            }
            let wait = self.wait.get_or_insert_with(|| LingerWait {
                look: Box::pin(sleep(FIRST_LOOK)),
                pause: FIRST_LOOK,
                unacknowledged,
                since: Instant::now(),
                progress: Instant::now(),
            });
            ready!(wait.look.as_mut().poll(cx));
            if unacknowledged < wait.unacknowledged {
                wait.unacknowledged = unacknowledged;
                wait.progress = Instant::now();
            }
            if wait.progress.elapsed() > LINGER_WITHOUT_PROGRESS
                || wait.since.elapsed() > LONGEST_LINGER
            {
                return Poll::Ready(Ok(()));
            }
            wait.pause = (wait.pause * 2).min(LONGEST_LOOK);
            wait.look.as_mut().reset(Instant::now() + wait.pause);
        }
    }

    /// Reads and drops what still comes, to learn of a reset. True: something has come.
    fn poll_peer(&mut self, cx: &mut Context<'_>, socket: &Arc<dyn Socket>) -> io::Result<bool> {
        let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
            return Ok(false);
        };
        ready?;
        let mut scratch = [0; 1024];
        let mut buffer = ReadBuf::new(&mut scratch);
        match socket.try_read(&mut buffer) {
            Ok(read) => {
                self.peer_closed = read == 0;
                Ok(true)
            }
            // Asked again, it waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// A machine that is short of processors may not run it for longer than the limit.
    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that does not run is what is tested"
    )]
    async fn a_response_acknowledged_while_the_process_did_not_run_has_arrived() {
        // Long enough for the first look to come before it on a busy machine.
        const LIMIT: Duration = Duration::from_millis(200);
        const PAUSE: Duration = Duration::from_millis(300);

        let acknowledged = AtomicBool::new(false);
        let stands_still = async {
            std::thread::sleep(PAUSE);
            acknowledged.store(true, Ordering::Relaxed);
        };
        let (settled, ()) = tokio::join!(
            biased;
            settled(LIMIT, || true, || acknowledged.load(Ordering::Relaxed)),
            stands_still,
        );
        assert!(settled);
    }

    #[tokio::test]
    async fn a_response_is_waited_for_until_the_limit_or_the_end_of_its_connection() {
        let begin = Instant::now();
        assert!(!settled(LIMIT, || true, || false).await);
        assert!(begin.elapsed() >= LIMIT);
        assert!(settled(LIMIT, || false, || false).await, "judged elsewhere");
    }
}
