//! What Fleetcast decides, without I/O: a record becomes a publication (`domain`), and the hub (`hub`) hands it to the
//! connections that may see it. No clock, no runtime, no sockets: time and values are passed in.
#![forbid(unsafe_code)]

pub mod domain;
pub mod hub;
