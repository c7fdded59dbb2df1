//! The server with one of the seeded bugs, for `loadgen chaos --teeth`: what `SEEDED_BUG` names, or none.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleetcast::cli::run(std::env::args_os()).into()
}
