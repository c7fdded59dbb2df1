//!
pub mod feed;
