//! What can be asked on the command line: one file per subcommand.
#![expect(
    clippy::doc_markdown,
    reason = "clap prints these comments as help, where backticks are noise"
)]

mod check;
mod healthcheck;
mod serve;
mod token;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::settings::Problems;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped as asked.
    Clean,
    /// Failed while running; for `healthcheck` and `token inspect`: the answer is no.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The settings are wrong; nothing was started.
    BadConfiguration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            // EX_CONFIG of sysexits.h.
            Exit::BadConfiguration => 78,
        })
    }
}

/// Carries Kafka records to Socket.IO clients: the last hop from the log to people.
///
/// Settings come from environment variables: JWT_SECRET and KAFKA_BOOTSTRAP_SERVERS are needed, the rest has defaults.
/// `fleetcast check --show` lists them all.
#[derive(Debug, Parser)]
#[command(
    name = "fleetcast",
    version,
    after_help = "Exit codes: 0 stopped as asked, 1 failed while running, 2 wrong usage, 78 wrong settings (nothing was started).\n\nTo see it without a Kafka of your own: fleetcast demo"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also when no subcommand is given)
    ///
    /// Reads the routed topics from Kafka and serves Socket.IO clients. SIGTERM or SIGINT drains: no new connections, the open
    /// ones are closed over DRAIN_SECONDS, then it exits with 0. A second signal cuts that short.
    Serve,
    /// Run the server with an embedded Kafka broker and a simulated city; needs nothing installed
    ///
    /// Listens on 127.0.0.1, serves the QA page at /, and prints tokens of several people to try it with. Every setting can be
    /// changed as for `serve`, except for the brokers, which are the embedded ones.
    Demo,
    /// Read the settings, report everything that is wrong, and start nothing
    Check(check::Arguments),
    /// Make and examine tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Ask the running server how it is: exit code 0 if it is well, 1 if not
    ///
    /// Made for container health checks, where no curl is at hand. Asks 127.0.0.1 (or HOST) on PORT.
    Healthcheck(healthcheck::Arguments),
    /// Print the version
    Version,
}

/// From the arguments (the program's name first) to the end of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(),
        Command::Demo => serve::demo(),
        Command::Check(arguments) => check::run(&arguments),
        Command::Token(command) => token::run(command),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Version => print(&Cli::command().render_version()).map(|()| Exit::Clean),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("fleetcast: {error:#}\n"));
        Exit::Failed
    })
}

/// Help and version are errors to clap, and no failures.
fn usage(error: &clap::Error) -> Exit {
    match (error.print(), error.use_stderr()) {
        (Ok(()), false) => Exit::Clean,
        (Ok(()) | Err(_), _) => Exit::Usage,
    }
}

/// Says what is wrong with the settings.
fn bad_configuration(problems: &Problems) -> Exit {
    complain(&format!(
        "fleetcast: {problems}\nnothing was started; docs/configuration.md explains every variable\n"
    ));
    Exit::BadConfiguration
}

/// To standard output. Whoever reads it may leave early (`| head`), which is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// To standard error. If nobody can be told, the exit code still tells.
fn complain(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }
}
