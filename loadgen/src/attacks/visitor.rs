//! Good clients that connect while there is an attack: how long that takes, and whether it succeeds.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::wire::{Opening, Wire};
use crate::bench::cases::quantile_ms;
use crate::bench::event::ORGANISATION;
use crate::protocol::connect_packet;
use crate::socket::Minter;

/// Between two connections.
const EVERY: Duration = Duration::from_millis(100);
/// For its CONNECT.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many users, each with an address of its own: none of them comes near a limit.
const USERS: u64 = 50;

#[derive(Debug, Default)]
pub(super) struct Visitor {
    /// Of each until its namespace was connected, in nanoseconds.
    took: Vec<u64>,
    /// How those ended that were not connected.
    pub(super) failures: Vec<String>,
}

impl Visitor {
    /// Connects, and leaves at once, until `stop` is set.
    pub(super) fn run(port: u16, minter: &Minter, stop: &AtomicBool) -> Result<Self> {
        let mut visitor = Self::default();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let user = number % USERS;
            number += 1;
            let token = minter.dispatcher(&format!("visitor-{user}"), ORGANISATION)?;
            let own = Ipv4Addr::new(127, 0, 2, 1 + u8::try_from(user)?);
            let begin = Instant::now();
            match Wire::session(own, port, &connect_packet(&token, "", &[]), PATIENCE) {
                Ok(Opening::Connected(_)) => {
                    let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    visitor.took.push(took);
                }
                Ok(Opening::Waiting(_)) => visitor.failures.push("no answer to CONNECT".to_owned()),
                Ok(Opening::Status(status)) => visitor.failures.push(format!("status {status}")),
                Ok(Opening::Closed) => visitor.failures.push("closed".to_owned()),
                Err(error) => visitor.failures.push(error.to_string()),
            }
            std::thread::sleep(EVERY.saturating_sub(begin.elapsed()));
        }
        Ok(visitor)
    }

    pub(super) fn p99_ms(&self) -> f64 {
        quantile_ms(self.took.clone(), 0.99)
    }
}
