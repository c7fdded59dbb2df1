//! Redis: what instances tell each other beside Kafka.
//!
//! - `link`: the connection, kept for as long as the process lives; `intake`: what comes over it and waits
//! - `registry`: the connections of all instances
//! - `fault`, `ping`: what is wrong with a Redis, and whether one answers
//! - `settings`: what an operator says about it
//! - `adapter`: sends and receives; `outgoing`, `followed`, `reception` and `senders` are parts of it
//! - `accepted`: the emitters whose events are accepted, too
//! - `message`, `signature`, `channels`, `instance`: what is sent, and between whom
//! - `kept_revocations`: what is kept there

mod accepted;
mod adapter;
mod channels;
mod fault;
mod followed;
mod instance;
mod intake;
mod kept_revocations;
mod link;
mod message;
mod outgoing;
mod ping;
mod reception;
mod registry;
mod senders;
mod settings;
mod signature;

pub use accepted::AcceptedEmitters;
pub use adapter::{Adapter, AdapterTasks};
pub use channels::Names;
pub use fault::RedisFault;
pub use instance::InstanceId;
pub use intake::{Incoming, IncomingMessages, IntakeSettings};
pub use kept_revocations::{KeptPage, KeptRevocation, KeptRevocations};
pub use link::{Link, LinkState, Subscription};
pub use message::BusMessage;
pub use ping::ping;
pub use reception::BusReceiver;
pub use registry::{
    FleetCount, NAMED_ROOMS, OpenConnections, Registry, RegistryPlace, RegistryRange,
    RegistryRecord, RemoteConnection, RemotePart, SlotLimits, SortedPart, merged,
};
pub use settings::{RedisSettings, check_redis_url, redis_prefix};
pub use signature::BusKeys;
