//! What the outside can see of the process: log lines, counters, and the one function per event that makes both.

pub mod events;
pub mod labels;
pub mod log;
pub mod metrics;
pub mod throttle;

pub use log::{LogFilter, LogFormat, LogSettings, init};
pub use metrics::Metrics;
