//! What the outside can see of the process: log lines, counters, and the one function per event that makes both.

mod bus;
mod catalogue;
mod delivery_times;
pub mod events;
mod families;
mod histogram;
pub mod labels;
mod lag;
pub mod log;
mod loop_pauses;
pub mod metrics;
pub mod throttle;

pub use bus::RedisMetrics;
pub use catalogue::{DECLARED, Declared, MetricKind};
pub use delivery_times::DeliveryTimes;
pub use lag::render_lag;
pub use log::{LogFilter, LogFormat, LogSettings, init};
pub use loop_pauses::watch_loop;
pub use metrics::Metrics;
