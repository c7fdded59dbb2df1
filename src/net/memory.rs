//! A socket in memory whose kernel takes as many bytes as a test says.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::send_queue::SendQueue;
use super::socket::{Socket, SocketReady};

#[derive(Default)]
pub(super) struct MemorySocket {
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    /// How many bytes the next writes take; 0: the kernel is full. Afterwards it is full for ever.
    takes: VecDeque<usize>,
    /// Not writable until the next entry of `takes`.
    full: bool,
    written: Vec<u8>,
    writes: usize,
    attempts: usize,
    writers: Vec<Waker>,
    incoming: VecDeque<u8>,
    reader: Option<Waker>,
    shut: Option<Shutdown>,
    reset: bool,
    /// What was not acknowledged when the peer reset the connection; the next read tells of the reset.
    peer_reset: Option<SendQueue>,
    reset_was_read: bool,
}

impl MemorySocket {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next writes take so many bytes each.
    pub(super) fn allow(&self, takes: impl IntoIterator<Item = usize>) {
        let mut state = self.lock();
        state.takes.extend(takes);
        state.full = false;
        state.writers.drain(..).for_each(Waker::wake);
    }

    pub(super) fn receive(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.incoming.extend(bytes);
        state.reader.take().inspect(Waker::wake_by_ref);
    }

    /// The peer resets the connection with so many bytes unacknowledged.
    pub(super) fn peer_resets(&self, unacknowledged: usize) {
        let mut state = self.lock();
        state.peer_reset = Some(SendQueue {
            unacknowledged,
            unsent: 0,
        });
        state.reader.take().inspect(Waker::wake_by_ref);
    }

    pub(super) fn written(&self) -> Vec<u8> {
        self.lock().written.clone()
    }

    /// What was written behind so many bytes.
    pub(super) fn written_from(&self, start: usize) -> Vec<u8> {
        self.lock().written[start..].to_vec()
    }

    /// Calls to the kernel that took something.
    pub(super) fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Calls to the kernel.
    pub(super) fn attempts(&self) -> usize {
        self.lock().attempts
    }

    pub(super) fn shut(&self) -> Option<Shutdown> {
        self.lock().shut
    }

    pub(super) fn is_reset(&self) -> bool {
        self.lock().reset
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap()
    }
}

impl Socket for MemorySocket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let is_over = state.shut == Some(Shutdown::Both) || state.peer_reset.is_some();
        if !state.incoming.is_empty() || is_over {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut state = self.lock();
        if state.peer_reset.is_some() {
            // The kernel says so once, and then that nothing more comes.
            return if std::mem::replace(&mut state.reset_was_read, true) {
                Ok(0)
            } else {
                Err(io::ErrorKind::ConnectionReset.into())
            };
        }
        if state.incoming.is_empty() && state.shut != Some(Shutdown::Both) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = buf.remaining().min(state.incoming.len());
        let bytes: Vec<u8> = state.incoming.drain(..read).collect();
        buf.put_slice(&bytes);
        Ok(read)
    }

    fn send_queue(&self) -> io::Result<SendQueue> {
        Ok(self.lock().peer_reset.unwrap_or_default())
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.full || state.shut == Some(Shutdown::Both) {
            return Poll::Ready(Ok(()));
        }
        if state.takes.is_empty() {
            state.writers.push(cx.waker().clone());
        } else {
            // Writable again, as soon as the task has waited once.
            state.full = false;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn writable(self: Arc<Self>) -> SocketReady {
        Box::pin(poll_fn(move |cx| self.poll_write_ready(cx)))
    }

    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        state.attempts += 1;
        if state.shut.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Some(mut left @ 1..) = state.takes.pop_front() else {
            state.full = true;
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let before = state.written.len();
        for buf in bufs {
            let here = left.min(buf.len());
            state.written.extend_from_slice(&buf[..here]);
            left -= here;
        }
        state.writes += 1;
        Ok(state.written.len() - before)
    }

    fn try_write_unready(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write(bufs)
    }

    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        let mut state = self.lock();
        state.shut = Some(how);
        state.reader.take().inspect(Waker::wake_by_ref);
        state.writers.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn reset_on_close(&self) -> io::Result<()> {
        self.lock().reset = true;
        Ok(())
    }
}
