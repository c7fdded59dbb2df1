//! The stream below hyper and the library: it reads from the socket, writes through the connection's [`FrameWriter`], and
//! ends the connection when it must.
//!
//! The library alone cannot: with a full window its writer waits for ever, and with it the ping timeout.
//!
//! [`FrameWriter`]: super::writer::FrameWriter

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::delivery::Linger;
use super::guard::{ConnectionEnd, Guard};
use super::head_deadline::HeadDeadline;
use super::inbound_frames::InboundFrames;
use super::socket::Socket;
use super::table::ConnectionTable;
use super::writer::WriterError;

/// Read at once from a WebSocket. Clients send little.
const FRAME_BYTES: usize = 4096;

pub struct GuardedStream {
    /// For reading alone.
    socket: Arc<dyn Socket>,
    guard: Arc<Guard>,
    table: Arc<ConnectionTable>,
    inbound: InboundPhase,
    /// The peer has reset the connection.
    reset: bool,
    linger: Linger,
}

/// What the peer sends.
enum InboundPhase {
    Http {
        deadline: HeadDeadline,
        /// The last bytes that have come.
        last: [u8; 4],
    },
    Frames(InboundFrames),
}

impl GuardedStream {
    pub(super) fn new(
        socket: Arc<dyn Socket>,
        guard: Arc<Guard>,
        table: Arc<ConnectionTable>,
        deadline: HeadDeadline,
    ) -> Self {
        Self {
            socket,
            guard,
            table,
            inbound: InboundPhase::Http {
                deadline,
                last: [0; 4],
            },
            reset: false,
            linger: Linger::default(),
        }
    }

    /// The stream of a connection once HTTP is over, without what hyper has put around it. `None`: the connection has ended.
    pub async fn upgraded(upgrade: OnUpgrade) -> Option<Self> {
        let upgraded = upgrade.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<Self>>().ok()?;
        let mut stream = parts.io.into_inner();
        let mut frames = InboundFrames::default();
        // hyper has read the start of them together with the request.
        frames.feed(&parts.read_buf, stream.guard.observer().as_deref());
        stream.guard.set_reads_messages();
        stream.inbound = InboundPhase::Frames(frames);
        Some(stream)
    }

    fn poll_http(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        let read = self.poll_socket(cx, buf);
        if let InboundPhase::Http { deadline, last } = &mut self.inbound {
            match &read {
                Poll::Ready(Ok(1..)) => {
                    deadline.received(&self.guard);
                    for byte in &buf.filled()[before..] {
                        last.rotate_left(1);
                        last[3] = *byte;
                    }
                }
                Poll::Ready(_) => {}
                Poll::Pending => {
                    ready!(deadline.poll(&self.guard, cx));
                    self.guard.end(ConnectionEnd::HeaderTimeout);
                    return Poll::Ready(Err(closed_by_us(&self.guard)));
                }
            }
        }
        read
    }

    /// Frames go through the observer, which may replace some.
    fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let InboundPhase::Frames(frames) = &mut self.inbound else {
                return self.poll_socket(cx, buf);
            };
            // The observer of what came may have closed it.
            if self.guard.is_ended() {
                return Poll::Ready(Err(closed_by_us(&self.guard)));
            }
            if frames.has_ready() {
                return Poll::Ready(Ok(frames.take_ready(buf)));
            }
            let mut bytes = [MaybeUninit::uninit(); FRAME_BYTES];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            let read = ready!(self.poll_socket(cx, &mut bytes))?;
            let observer = self.guard.observer();
            if let InboundPhase::Frames(frames) = &mut self.inbound {
                frames.feed(bytes.filled(), observer.as_deref());
                if read == 0 {
                    frames.end();
                    return Poll::Ready(Ok(frames.take_ready(buf)));
                }
            }
        }
    }

    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.guard.is_ended() {
                return Poll::Ready(Err(closed_by_us(&self.guard)));
            }
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(self.read(result)),
            }
        }
    }

    /// HTTP is over. What is not read of the last request's head by now would be, if hyper had read on.
    fn follow_upgrade(&mut self) {
        if let InboundPhase::Http { last, .. } = &self.inbound
            && self.guard.upgraded()
        {
            let at_boundary = last.ends_with(b"\r\n\r\n") || last.ends_with(b"\n\n");
            self.inbound = InboundPhase::Frames(if at_boundary {
                self.guard.set_reads_messages();
                InboundFrames::default()
            } else {
                // Some frames came before the answer to the upgrade: where they begin is not known here.
                InboundFrames::opaque()
            });
        }
    }

    fn read(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(read) => {
                if self.guard.writer().received(read) {
                    self.guard.end(ConnectionEnd::OneSided);
                }
                // The flag again: what we have shut down reads as an end, too.
                if read > 0 {
                    self.guard.heard();
                } else if !self.guard.is_ended() {
                    self.guard.note(ConnectionEnd::Peer);
                }
                Ok(read)
            }
            Err(error) => {
                self.reset |= is_reset(&error);
                // TCP_USER_TIMEOUT.
                let timed_out = error.kind() == io::ErrorKind::TimedOut;
                self.guard.note(if timed_out {
                    ConnectionEnd::WriteStall
                } else {
                    ConnectionEnd::Peer
                });
                Err(error)
            }
        }
    }

    /// Ends the connection if it cannot go on. The writer's lock is free again.
    fn written<T>(&mut self, result: Result<T, WriterError>) -> io::Result<T> {
        result.map_err(|error| match error {
            WriterError::Io(error) => {
                match ConnectionEnd::of_write(&error) {
                    ConnectionEnd::WriteStall => self.guard.end(ConnectionEnd::WriteStall),
                    end => {
                        self.reset |= is_reset(&error);
                        self.guard.note(end);
                    }
                }
                error
            }
            WriterError::Close(reason) => {
                self.guard.kick(reason);
                closed_by_us(&self.guard)
            }
            WriterError::Aborted => closed_by_us(&self.guard),
        })
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
        self.follow_upgrade();
        let read = match self.inbound {
            InboundPhase::Http { .. } => self.poll_http(cx, buf),
            InboundPhase::Frames(_) => self.poll_frames(cx, buf),
        };
        read.map_ok(drop)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.guard.writer().poll_write(cx, bufs);
        self.guard.start_pump();
        let written = ready!(written);
        Poll::Ready(self.written(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// HTTP is not held back, so this waits for the peer only after the upgrade.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing of the library is queued, and no lock is needed to know that.
        if !self.guard.write_blocked() {
            self.guard.response_taken();
            return Poll::Ready(Ok(()));
        }
        self.guard.writer().poll_flush(cx).map(Ok)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.guard.writer().poll_shutdown(cx);
        self.guard.start_pump();
        let shut = ready!(shut);
        if let Err(error) = self.written(shut) {
            return Poll::Ready(Err(error));
        }
        let this = self.get_mut();
        if this.reset {
            // Nothing more is acknowledged, and the next poll asks now whether the response has arrived.
            return Poll::Ready(Ok(()));
        }
        let lingered = ready!(this.linger.poll(cx, &this.guard, &this.socket));
        // The response is what counts; how the connection ended is noted.
        this.reset |= lingered.is_err_and(|error| is_reset(&error));
        Poll::Ready(Ok(()))
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.guard.note(ConnectionEnd::Server);
        self.guard.judge_delivery(self.reset);
        if let Some(observer) = self.guard.observer() {
            observer.closed();
        }
        self.guard.clear_observer();
        self.guard.writer().detach();
        self.table.remove(&self.guard);
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn closed_by_us(guard: &Guard) -> io::Error {
    let reason = guard.close_reason().map_or("kicked", ConnectionEnd::label);
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}
