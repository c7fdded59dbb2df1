//! Delivery: from the window to the outlets of connections.
//!
//! A publication [fans out](fan_out) to the live connections as it is appended. The lagging ones are fed in [turns](turn): what
//! the server itself says ([`controls`]), then [snapshots](snapshot) that were asked for, then the [`replay`] of the window,
//! which [conflates](conflate) what has been superseded. [`cursors`] says which cursor is true for a connection at each point.

pub(in crate::hub) mod conflate;
mod controls;
mod cursors;
mod fan_out;
pub mod outlet;
mod replay;
mod snapshot;
pub(in crate::hub) mod turn;
