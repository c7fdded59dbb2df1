//! The TCP stream below hyper and the library: it counts what goes out, and it ends when it is told to or when the peer
//! takes nothing any more.
//!
//! The library alone can do neither: with a full window its writer waits for ever, and with it the ping timeout.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::frames::Frames;
use super::guard::{CloseReason, Guard};
use super::table::ConnectionTable;

/// Bytes that an upgraded peer may send while it takes nothing, beyond those that it takes. The library answers each WebSocket
/// ping into a buffer without a bound.
const MOST_ONE_SIDED: usize = 512 * 1024;

/// While a write waits, so many times within `patience` it is tried whether the kernel takes something after all. A peer that took
/// its last bytes just after the write had begun to wait would otherwise be given all of that time once more.
const LOOKS: u32 = 5;

pub(super) struct GuardedStream {
    socket: Arc<TcpStream>,
    guard: Arc<Guard>,
    table: Arc<ConnectionTable>,
    frames: Frames,
    /// How long a write may wait without a byte taken.
    patience: Duration,
    /// Until the next look, only while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Looks in a row at which nothing was taken.
    in_vain: u32,
    /// Bytes that came while a write waited, less those that were taken since.
    one_sided: usize,
}

impl GuardedStream {
    pub(super) fn new(
        socket: Arc<TcpStream>,
        guard: Arc<Guard>,
        table: Arc<ConnectionTable>,
        patience: Duration,
    ) -> Self {
        Self {
            socket,
            guard,
            table,
            frames: Frames::new(),
            patience,
            stall: None,
            in_vain: 0,
            one_sided: 0,
        }
    }

    /// Whether a write is worth a try. The library asks again for each ping that it answers, and what waits must not be
    /// looked through each time.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.guard.write_blocked() || self.guard.is_ended() {
            return Poll::Ready(Ok(()));
        }
        match (self.socket.poll_write_ready(cx), &mut self.stall) {
            (Poll::Pending, Some(stall)) => stall.as_mut().poll(cx).map(Ok),
            (Poll::Pending, None) => Poll::Ready(Ok(())),
            (ready, _) => ready,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx))?;
        let censored;
        let bufs = if self.guard.upgraded() {
            // One buffer at a time: what must not go out is looked for in it.
            let first = bufs
                .iter()
                .find(|buf| !buf.is_empty())
                .map_or(&[][..], |buf| &**buf);
            censored = [IoSlice::new(self.without_forbidden(first))];
            &censored
        } else {
            bufs
        };
        loop {
            if self.guard.is_ended() {
                return Poll::Ready(Err(closed_by_us(&self.guard)));
            }
            match self.socket.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(self.sent(bufs, result)),
            }
            if let Poll::Ready(ready) = self.socket.poll_write_ready(cx) {
                ready?;
                continue;
            }
            self.guard.set_write_blocked(true);
            let pause = self.patience / LOOKS;
            let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(stall.as_mut().poll(cx));
            // The kernel calls a socket writable only when a third of its buffer is free and less than half of `unsent`
            // waits. A peer that reads a trickle has made room all the same: look past the readiness that tokio remembers.
            let result = match SockRef::from(&*self.socket).send_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.in_vain += 1;
                    if self.in_vain < LOOKS {
                        self.stall = None;
                        continue;
                    }
                    Err(io::ErrorKind::TimedOut.into())
                }
                result => result,
            };
            return Poll::Ready(self.sent(bufs, result));
        }
    }

    /// The part of `buf` before the first frame that the observer does not let out. If it begins with that frame, the
    /// connection ends here.
    fn without_forbidden<'b>(&mut self, buf: &'b [u8]) -> &'b [u8] {
        if self.frames.is_http() {
            self.frames.expect_upgrade();
        }
        let Some(observer) = self.guard.observer() else {
            return buf;
        };
        let forbidden = self.frames.find_forbidden(buf, |frame| {
            observer.forbids(frame.opcode, frame.head, frame.payload_len)
        });
        match forbidden {
            Some((0, why)) => {
                self.guard.kick(why);
                buf
            }
            Some((start, _)) => &buf[..start],
            None => buf,
        }
    }

    fn sent(&mut self, bufs: &[IoSlice<'_>], result: io::Result<usize>) -> io::Result<usize> {
        match &result {
            Ok(taken) => self.taken(bufs, *taken),
            // Ours, or TCP_USER_TIMEOUT.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.guard.end(CloseReason::WriteStall);
            }
            Err(_) => self.guard.note(CloseReason::Peer),
        }
        result
    }

    fn taken(&mut self, bufs: &[IoSlice<'_>], taken: usize) {
        if taken == 0 {
            return;
        }
        self.stall = None;
        self.in_vain = 0;
        self.one_sided = self.one_sided.saturating_sub(taken);
        self.guard.set_write_blocked(false);
        self.guard.count_written(taken);
        if self.frames.is_http() {
            if !self.guard.upgraded() {
                return;
            }
            self.frames.expect_upgrade();
        }
        let observer = self.guard.observer();
        let mut left = taken;
        for buf in bufs {
            let here = left.min(buf.len());
            self.frames.advance(&buf[..here], &mut |frame| {
                self.guard.count_frame();
                if let Some(observer) = &observer {
                    observer.frame_written(frame.opcode, frame.head, frame.payload_len);
                }
            });
            left -= here;
        }
    }

    fn came(&mut self, bytes: usize) {
        if self.guard.upgraded() && self.guard.write_blocked() {
            self.one_sided += bytes;
            if self.one_sided > MOST_ONE_SIDED {
                self.guard.end(CloseReason::OneSided);
            }
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.guard.is_ended() {
                return Poll::Ready(Err(closed_by_us(&self.guard)));
            }
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buf) {
                Ok(read) => {
                    self.came(read);
                    // The flag again: what we have shut down reads as an end, too.
                    if read > 0 {
                        self.guard.heard();
                    } else if !self.guard.is_ended() {
                        self.guard.note(CloseReason::Peer);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.guard.note(if error.kind() == io::ErrorKind::TimedOut {
                        CloseReason::WriteStall
                    } else {
                        CloseReason::Peer
                    });
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is held back here, so neither this nor the shutdown can wait for the peer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.socket).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.guard.note(CloseReason::Server);
        if let Some(observer) = self.guard.observer() {
            observer.closed();
        }
        self.guard.clear_observer();
        // A peer that does not read would keep the kernel busy with our unsent bytes: reset it instead.
        if self.guard.write_blocked()
            && let Err(error) = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "cannot reset a connection; the kernel gives up on it later");
        }
        self.table.remove(&self.guard);
    }
}

fn closed_by_us(guard: &Guard) -> io::Error {
    let reason = guard.close_reason().map_or("kicked", CloseReason::label);
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}
