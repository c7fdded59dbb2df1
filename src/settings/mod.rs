//! The only reader of the environment and of files.

pub mod profile;
