//! Fleetcast: the last hop from Kafka to people. ARCHITECTURE.md walks through it.

pub mod api;
pub mod app;
pub mod auth;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod demo;
#[cfg(test)]
mod direction;
pub mod kafka;
pub mod lifecycle;
pub mod limits;
pub mod net;
pub mod problem;
pub mod session;
pub mod settings;
pub mod socketio;
pub mod telemetry;
