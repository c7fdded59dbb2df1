//! What bytes are read from and written to: a TCP connection today, with TLS inside later.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::send_queue::{SendQueue, send_queue};

/// A connection without locks and without waiting: every call returns at once, and readiness is asked for by a waker. The
/// stream reads from it, [`FrameWriter`](super::writer::FrameWriter) writes to it, on one task or on two.
///
/// TLS will be a second implementation, around this one:
/// - `try_write` encrypts at most one record ahead of the kernel, keeps what the kernel did not take, and returns
///   `WouldBlock` while it keeps any. So a byte that it has taken may be one record away from the kernel, and the writer must
///   go on waiting for [`writable`](Self::writable) when its own queue is empty: a method `try_flush`, which is a no-op for TCP,
///   and one more line in the writer's `pump`.
/// - reading may have to write (key updates) and the other way round: one mutex of its own round the session, taken inside
///   the writer's lock, never held while waiting.
/// - `shut_down` sends `close_notify` first, if the kernel takes it at once.
///
/// The PROXY protocol needs no implementation of its own: `preamble` reads it before the first `try_read` of hyper.
pub(super) trait Socket: Send + Sync {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// 0: the peer has closed its direction. `WouldBlock`: nothing has come.
    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize>;

    /// The one place for a waker is that of HTTP's writer; the pump uses [`writable`](Self::writable).
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Also ready when both directions are shut down.
    fn writable(self: Arc<Self>) -> SocketReady;

    /// Takes the first bytes of `bufs`, as many as go now, with one call to the kernel at most. `WouldBlock`: none.
    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`try_write`](Self::try_write), but asks the kernel although it has not called the socket writable.
    ///
    /// Linux calls a socket writable only when a third of its buffer is free and less than half of `unsent` waits. A peer
    /// that reads a trickle frees less, and has made progress all the same.
    fn try_write_unready(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    fn send_queue(&self) -> io::Result<SendQueue>;

    /// Shutting down both directions wakes every task that waits for the socket, also with a full window.
    fn shut_down(&self, how: Shutdown) -> io::Result<()>;

    /// Closing the socket resets the connection: what the kernel still has to send is discarded.
    fn reset_on_close(&self) -> io::Result<()>;
}

/// What a task waits for beside others.
pub(super) type SocketReady = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl Socket for TcpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        self.try_read_buf(buf)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    fn writable(self: Arc<Self>) -> SocketReady {
        Box::pin(async move { TcpStream::writable(&self).await })
    }

    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(bufs)
    }

    fn try_write_unready(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // One buffer needs no list of them.
        if let [buf] = bufs {
            return Ok(send(self, buf, SendFlags::NOSIGNAL)?);
        }
        let mut control = SendAncillaryBuffer::default();
        Ok(sendmsg(self, bufs, &mut control, SendFlags::NOSIGNAL)?)
    }

    fn send_queue(&self) -> io::Result<SendQueue> {
        send_queue(self)
    }

    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        match SockRef::from(self).shutdown(how) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }
}

/// The seam of the accept loop: what a TCP connection becomes before hyper and the writer see it. TLS wraps it here.
pub(super) fn layered(tcp: TcpStream) -> Arc<dyn Socket> {
    Arc::new(tcp)
}
