//! From the writer into the kernel: what is taken, what is reported of it, and how long a wait may be.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::super::frames::Frames;
use super::super::observer::Observer;
use super::super::send_queue::SendQueue;
use super::super::socket::Socket;
use super::WriterError;
use super::one_sided::OneSided;
use super::stall::StallClock;

/// When the kernel is asked to take something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelCall {
    /// If it has called the socket writable, as far as is remembered.
    WhenReady,
    /// Also if it has not.
    Always,
}

/// In this order in memory: see [`WriterState`](super::state::WriterState).
#[repr(C)]
pub(super) struct Outflow {
    /// None once the stream is dropped.
    socket: Option<Arc<dyn Socket>>,
    aborted: bool,
    /// Our FIN is on its way.
    ended: bool,
    /// Bytes that the kernel has taken.
    written: u64,
    one_sided: OneSided,
    stall: StallClock,
    /// Follows the bytes that the kernel has taken.
    frames: Frames,
}

impl Outflow {
    pub(super) fn new(socket: Arc<dyn Socket>, deadline: Duration) -> Self {
        Self {
            socket: Some(socket),
            aborted: false,
            ended: false,
            written: 0,
            frames: Frames::new(),
            stall: StallClock::new(deadline),
            one_sided: OneSided::default(),
        }
    }

    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    pub(super) fn expect_upgrade(&mut self) {
        self.frames.expect_upgrade();
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && !self.aborted
    }

    /// A write of HTTP waits for the peer.
    pub(super) fn waits(&self) -> bool {
        self.stall.is_running()
    }

    /// Whether a write is worth a try, after one of HTTP that has to wait.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(socket), true) = (&self.socket, self.stall.is_running()) else {
            return Poll::Ready(Ok(()));
        };
        match socket.poll_write_ready(cx) {
            Poll::Pending => self.stall.poll_look(cx).map(Ok),
            ready @ Poll::Ready(_) => ready,
        }
    }

    /// Writes what goes now of HTTP, at least one byte, or waits until that is possible.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<usize, WriterError>> {
        loop {
            let (Some(socket), false) = (&self.socket, self.aborted) else {
                return Poll::Ready(Err(WriterError::Aborted));
            };
            match socket.try_write(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(self.sent(bufs, result, observer)),
            }
            if let Poll::Ready(ready) = socket.poll_write_ready(cx) {
                ready?;
                continue;
            }
            ready!(self.stall.poll_look(cx));
            // Past the readiness that tokio remembers.
            let result = match socket.try_write_unready(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.stall.look_failed() {
                        continue;
                    }
                    Err(io::ErrorKind::TimedOut.into())
                }
                result => result,
            };
            return Poll::Ready(self.sent(bufs, result, observer));
        }
    }

    /// Writes what goes now. `WouldBlock` counts as nothing. What of it are the library's bytes is to be [followed](Self::follow). After
    /// an error nothing more goes out.
    pub(super) fn try_send(
        &mut self,
        bufs: &[IoSlice<'_>],
        call: KernelCall,
        observer: Option<&dyn Observer>,
    ) -> Result<usize, WriterError> {
        let (Some(socket), false) = (&self.socket, self.aborted) else {
            return Err(WriterError::Aborted);
        };
        let result = match call {
            KernelCall::WhenReady => socket.try_write(bufs),
            KernelCall::Always => socket.try_write_unready(bufs),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => {
                self.aborted = true;
                Err(error.into())
            }
            Ok(taken) => {
                self.taken(taken, observer);
                Ok(taken)
            }
        }
    }

    fn sent(
        &mut self,
        bufs: &[IoSlice<'_>],
        result: io::Result<usize>,
        observer: Option<&dyn Observer>,
    ) -> Result<usize, WriterError> {
        let taken = result?;
        self.taken(taken, observer);
        let mut left = taken;
        for buf in bufs {
            let here = left.min(buf.len());
            self.follow(&buf[..here], observer);
            left -= here;
        }
        Ok(taken)
    }

    fn taken(&mut self, taken: usize, observer: Option<&dyn Observer>) {
        if taken > 0 {
            self.stall.stop();
            self.one_sided.taken(taken);
            self.written += taken as u64;
            if let Some(observer) = observer {
                observer.bytes_written(taken);
            }
        }
    }

    /// The kernel has taken these bytes of the library.
    pub(super) fn follow(&mut self, bytes: &[u8], observer: Option<&dyn Observer>) {
        if self.frames.is_http() {
            return;
        }
        self.frames.advance(bytes, &mut |frame| {
            if let Some(observer) = observer {
                observer.frame_written(frame);
            }
        });
    }

    /// Bytes came from the peer. True: it sends on and on, and takes too little.
    pub(super) fn received(&mut self, bytes: usize) -> bool {
        !self.frames.is_http() && self.one_sided.received(bytes)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Without our FIN.
    pub(super) fn send_queue(&self) -> SendQueue {
        let asked = self.socket.as_ref().map(|socket| socket.send_queue());
        let queue = asked.and_then(Result::ok).unwrap_or_default();
        let fin = usize::from(self.ended);
        SendQueue {
            unacknowledged: queue.unacknowledged.saturating_sub(fin),
            unsent: queue.unsent.saturating_sub(fin),
        }
    }

    pub(super) fn shut_down(&mut self, how: Shutdown) -> io::Result<()> {
        self.ended = true;
        self.socket
            .as_ref()
            .map_or(Ok(()), |socket| socket.shut_down(how))
    }

    /// Nothing more goes out.
    pub(super) fn abort(&mut self) -> io::Result<()> {
        self.aborted = true;
        self.shut_down(Shutdown::Both)
    }

    /// `None`: nothing can be written any more.
    pub(super) fn open_socket(&self) -> Option<Arc<dyn Socket>> {
        self.socket.clone().filter(|_| !self.aborted)
    }

    pub(super) fn take_socket(&mut self) -> Option<Arc<dyn Socket>> {
        self.socket.take()
    }
}
