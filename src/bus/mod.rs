//! Redis: what instances tell each other beside Kafka.
//!
//! - `link`: the connection, kept for as long as the process lives
//! - `fault`, `ping`: what is wrong with a Redis, and whether one answers

mod fault;
mod link;
mod ping;

pub use fault::RedisFault;
pub use link::{Incoming, Link, LinkState, Subscription};
pub use ping::ping;
