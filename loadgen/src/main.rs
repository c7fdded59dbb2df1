//! Load, latency, loss, order and abuse against a running Fleetcast, from outside: nothing of the server is imported.
//!
//! `run` measures and checks, `bench` and `adapter` compare with other servers, `control` measures revocation, refresh,
//! publishing and a limit of memory, `chaos` breaks servers and brokers, `poison` breaks records, `commands`
//! breaks client packets, `attacks` puts limits to the test. Exit code 0: all as promised; 1: a promise was broken; 2: the run
//! itself could not be made.

mod adapter;
mod attacks;
mod bench;
mod bitmap;
mod chaos;
mod check;
mod client;
mod clock;
mod commands;
mod control;
mod crowd;
mod http;
mod keep_alive;
mod latency;
mod layout;
mod metrics;
mod page;
mod poison;
mod polling;
mod probe;
mod process;
mod producer;
mod protocol;
mod record;
mod report;
mod run;
mod scrape;
mod serve;
mod socket;
mod temper;
mod test_bed;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hold clients, produce records, and report deliveries, latency, loss, repeats, order and leaks
    Run(Box<layout::Args>),
    /// Break servers, brokers and connections, and check that nothing is lost and nothing comes twice
    Chaos(Box<chaos::Args>),
    /// Measure a server against plain Node and a bare writer, and compare with what must be reached
    Bench(Box<bench::Args>),
    /// Measure and check revocation, token refresh, publishing over HTTP and a limit of memory
    Control(control::Args),
    /// The bare writer that `bench` compares with
    #[command(hide = true)]
    Bare(bench::bare::Args),
    /// Put broken records between good ones: only the good ones may arrive
    Poison(poison::Args),
    /// Send broken commands: each is answered or the connection closed, and neighbours are served
    Commands(commands::Args),
    /// Measure what an event costs that goes from one instance to another by Redis, beside Node's adapter
    Adapter(adapter::Args),
    /// Attack a server with its limits and one without, and measure what its other clients notice
    Attacks(attacks::Args),
}

/// What all subcommands need.
#[derive(Debug, clap::Args)]
struct Common {
    /// Public listener of the server
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    url: String,
    /// Path of Engine.IO
    #[arg(long, default_value = "/socket.io/")]
    path: String,
    /// Kafka bootstrap servers
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// HS256 secret of the server, to mint tokens with
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    secret: String,
}

#[expect(
    clippy::print_stderr,
    reason = "a command line says on stderr why it failed"
)]
fn main() -> ExitCode {
    let clean = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Control(args) => control::run(&args),
        Command::Adapter(args) => adapter::run(&args),
        Command::Bare(args) => bench::bare::run(&args),
        Command::Poison(args) => poison::run(&args),
        Command::Commands(args) => commands::run(&args),
        Command::Attacks(args) => attacks::run(&args),
    };
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// `20s`, `500ms`, `2m`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 20s or 500ms"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("{unit:?} is not a unit: ms, s or m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        assert!(parse_duration("s").is_err() && parse_duration("5x").is_err());
    }
}
