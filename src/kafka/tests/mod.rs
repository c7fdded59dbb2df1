//! The consumer against brokers: librdkafka's mock cluster (`mock.rs`), and real Kafka (`real.rs`) where the mock knows nothing
//! of the matter.
#![expect(
    clippy::disallowed_methods,
    reason = "there is no lifecycle here: the rig starts the threads itself, and real Kafka's address is in the environment"
)]

mod compacted;
mod mock;
mod producer;
mod real;
mod real_ids;
mod rig;
mod wanted;
