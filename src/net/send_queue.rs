//! What of a connection's bytes has not reached its peer. `rustix` makes the calls; that the kernel answers each with one `int` has to
//! be promised to it.
#![expect(
    unsafe_code,
    reason = "no crate offers SIOCOUTQ and SIOCOUTQNSD as safe functions"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// Of Linux (tcp(7)), as on x86, ARM and RISC-V.
const SIOCOUTQ: Opcode = 0x5411;
const SIOCOUTQNSD: Opcode = 0x894b;

/// Bytes that the kernel has taken. Our FIN counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SendQueue {
    /// Those that the peer's kernel has not acknowledged.
    pub(super) unacknowledged: usize,
    /// Those of them that have not been sent at all.
    pub(super) unsent: usize,
}

/// It can be asked after a reset, too: then it is what was left.
pub(super) fn send_queue(socket: impl AsFd) -> io::Result<SendQueue> {
    // SAFETY: both write one int through the pointer that `Getter` gives them, and do nothing else.
    let (unacknowledged, unsent) = unsafe {
        (
            ioctl(&socket, Getter::<SIOCOUTQ, c_int>::new())?,
            ioctl(&socket, Getter::<SIOCOUTQNSD, c_int>::new())?,
        )
    };
    Ok(SendQueue {
        unacknowledged: usize::try_from(unacknowledged).unwrap_or(0),
        unsent: usize::try_from(unsent).unwrap_or(0),
    })
}
