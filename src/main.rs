//! The life of the process: what was asked on the command line, and the exit code that says how it went.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleetcast::cli::run(std::env::args_os()).into()
}
