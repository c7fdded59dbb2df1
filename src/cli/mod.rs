//! What can be asked on the command line: one file per subcommand.
#![expect(
    clippy::doc_markdown,
    reason = "clap prints these comments as help, where backticks are noise"
)]

mod brokers;
mod check;
mod client;
mod config;
mod drain;
mod healthcheck;
mod lines;
mod produce;
mod profile;
mod serve;
mod token;
mod token_steps;
mod topics;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::settings::{Problems, process_environment, table};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped as asked.
    Clean,
    /// Failed while running; where something was asked (`healthcheck`, `token inspect`, `profile check`): the answer is no.
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
/// Settings come from environment variables and from a TOML file (--config): JWT_SECRET and KAFKA_BOOTSTRAP_SERVERS are
/// needed, the rest has defaults. `fleetcast check --show` lists them all.
#[derive(Debug, Parser)]
#[command(
    name = "fleetcast",
    version,
    after_help = "Exit codes:
  0   done, or stopped as asked
  1   failed while running; where something was asked, the answer is no
  2   wrong usage
  78  wrong settings, profile or file (nothing was started or done)

Examples:
  fleetcast demo                           a city with its own Kafka
  fleetcast check                          what a start would say
  fleetcast profile check mine.toml --record sample.json
                                           where a record would go, and why
  fleetcast client --token $TOKEN --room channel:7
                                           what a client sees
  eval \"$(fleetcast completion bash)\"      completion in this shell"
)]
struct Cli {
    /// TOML file with settings, below the environment; FLEETCAST_CONFIG does the same
    ///
    /// `fleetcast config example` prints one with every setting and its default.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<String>,
    #[command(subcommand)]
    command: Option<CliCommand>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the server (also when no subcommand is given)
    ///
    /// Reads the routed topics from Kafka and serves Socket.IO clients. SIGTERM or SIGINT drains: no new connections, the open
    /// ones are closed over DRAIN_SECONDS, then it exits with 0. A second signal cuts that short. SIGHUP reads settings, profile
    /// and keys again, and changes what can be changed while it runs.
    Serve,
    /// Run the server with an embedded Kafka broker and a simulated city; needs nothing installed
    ///
    /// Listens on 127.0.0.1, serves the QA page at /, and prints tokens of several people to try it with. Every setting can be
    /// changed as for `serve`, except for the brokers, which are the embedded ones.
    Demo,
    /// Read the settings, report everything that is wrong, ask Kafka, and start nothing
    ///
    /// Tells which topics each route of the profile finds, and what is missing.
    #[command(after_help = check::HELP)]
    Check(check::CheckArguments),
    /// Print docs/configuration.md, or a settings file with every setting
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// See and check profiles: which records become which events, for whom
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Make topics as a file, or this server, wants them
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Send records, and print where each one stands in the log
    ///
    /// The value is sent as it is, also if it is not JSON. Without --value and --file each line of standard input is one record.
    #[command(after_help = produce::HELP)]
    Produce(Box<produce::ProduceArguments>),
    /// Connect as a client would: join rooms, follow events
    #[command(after_help = client::HELP)]
    Client(Box<client::ClientArguments>),
    /// Make and examine tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Ask the running server how it is: exit code 0 if it is healthy, 1 if not
    ///
    /// Made for container health checks, where no curl is at hand, and for scripts that start a server: `healthcheck --ready
    /// --wait 30s` returns once it accepts clients. Asks 127.0.0.1 (or HOST) on PORT.
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Have a running server close a share of its connections, which come back through the balancer
    ///
    /// For a scale-out: new instances have no connections, and the old ones keep theirs. Asks POST /api/drain of the internal
    /// listener, with INTERNAL_TOKEN if it is set, and does not wait for the end.
    #[command(after_help = drain::HELP)]
    Drain(drain::DrainArguments),
    /// Print a script that completes this program's arguments
    #[command(after_help = "bash: eval \"$(fleetcast completion bash)\" in ~/.bashrc
zsh:  fleetcast completion zsh > \"${fpath[1]}/_fleetcast\"
fish: fleetcast completion fish > ~/.config/fish/completions/fleetcast.fish")]
    Completion {
        #[arg(value_enum)]
        shell: config::Shell,
    },
    /// Print the version
    Version,
}

/// From the arguments (the program's name first) to the end of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let environment = environment(cli.config);
    let outcome = match cli.command.unwrap_or(CliCommand::Serve) {
        CliCommand::Serve => serve::serve(environment),
        CliCommand::Demo => serve::demo(environment),
        CliCommand::Check(arguments) => check::run(&arguments, &environment),
        CliCommand::Config(command) => config::run(&command),
        CliCommand::Profile(command) => profile::run(command),
        CliCommand::Topics(command) => topics::run(command, environment),
        CliCommand::Produce(arguments) => produce::run(*arguments, environment),
        CliCommand::Client(arguments) => client::run(*arguments, &environment),
        CliCommand::Completion { shell } => config::completion(shell),
        CliCommand::Token(command) => token::run(command, &environment),
        CliCommand::Drain(arguments) => drain::run(&arguments, &environment),
        CliCommand::Healthcheck(arguments) => healthcheck::run(&arguments, &environment),
        CliCommand::Version => print(&Cli::command().render_version()).map(|()| Exit::Clean),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("fleetcast: {error:#}\n"));
        Exit::Failed
    })
}

/// What was written, and on the command line wins.
fn environment(config: Option<String>) -> BTreeMap<String, String> {
    let mut environment = process_environment();
    if let Some(path) = config {
        environment.insert(table::CONFIG_ARGUMENT.to_owned(), path);
    }
    environment
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

/// To standard output. The reader may leave early (`| head`), which is no failure.
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

/// To standard error. If that is closed, the exit code still says it.
fn complain(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Text from outside must not steer the terminal, nor turn round or hide what stands beside it: characters that show nothing of their own
/// are written as `\u{202e}`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if shows(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_unicode());
        }
    }
    plain
}

/// JSON that says the same without such characters; its own line breaks stay.
fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if shows(c) || c == '\n' {
            plain.push(c);
            continue;
        }
        // Beyond the first 65,536, JSON writes a pair.
        for unit in c.encode_utf16(&mut [0; 2]) {
            plain.extend(["\\u", format!("{unit:04x}").as_str()]);
        }
    }
    plain
}

/// Everything but control characters, those that only format (Unicode's Cf, with the ones that change the direction), separators of lines,
/// what is no character, and what is drawn as nothing. The standard library knows all but the last, for `{:?}`.
fn shows(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    if is_blank(c) {
        return false;
    }
    // Behind a letter, where accents are no less than what they stand on.
    let behind = String::from_iter(['a', c]);
    behind.escape_debug().nth(1) == Some(c)
}

/// Letters and marks that are drawn as nothing: fillers, selectors of variants, the grapheme joiner, Braille without a dot.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

/// `name=value`; the value may be empty.
fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn text_from_outside_neither_steers_the_terminal_nor_hides_what_it_says() {
        for (text, shown) in [
            ("auth0|5f", "auth0|5f"),
            ("a\\\"'b", "a\\\"'b"),
            ("Tomás e\u{301} हिन्दी 車 😀", "Tomás e\u{301} हिन्दी 車 😀"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\n\u{7f}\u{9b}b", "a\\u{a}\\u{7f}\\u{9b}b"),
            ("ann\u{202e}gro.live", "ann\\u{202e}gro.live"),
            (
                "a\u{200b}\u{2066}\u{feff}b",
                "a\\u{200b}\\u{2066}\\u{feff}b",
            ),
            ("a\u{ad}\u{61c}\u{2028}b", "a\\u{ad}\\u{61c}\\u{2028}b"),
            ("a\u{e0041}b", "a\\u{e0041}b"),
            ("a\u{3164}\u{2800}b", "a\\u{3164}\\u{2800}b"),
            ("\u{115f}\u{1160}\u{ffa0}", "\\u{115f}\\u{1160}\\u{ffa0}"),
            ("a\u{34f}\u{fe0f}b", "a\\u{34f}\\u{fe0f}b"),
            ("a\u{e01ef}\u{180b}b", "a\\u{e01ef}\\u{180b}b"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn json_from_outside_says_the_same_without_steering_the_terminal() {
        let text = "ann\u{9b}2J\u{202e}gro\u{2028}\u{7f}\u{e0041}\n\u{1b}é車😀\\u";
        let value = serde_json::json!({ text: [text] });
        for json in [value.to_string(), format!("{value:#}")] {
            let plain = plain_json(&json);
            assert!(plain.chars().all(|c| shows(c) || c == '\n'), "{plain:?}");
            assert!(plain.contains("é車😀") && plain.contains("\\udb40\\udc41"));
            assert_eq!(plain.lines().count(), json.lines().count());
            let read: serde_json::Value = serde_json::from_str(&plain).unwrap();
            assert_eq!(read, value);
        }
    }

    /// What is wrapped by hand is not wrapped once more on a terminal of the usual width.
    #[test]
    fn help_below_the_options_fits_80_columns() {
        fn long(command: &clap::Command, found: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string);
            let lines = help.as_deref().unwrap_or_default().lines();
            let long_ones = lines.filter(|line| line.chars().count() > 78);
            found.extend(long_ones.map(|line| format!("{}: {line}", command.get_name())));
            for sub in command.get_subcommands() {
                long(sub, found);
            }
        }
        let mut found = Vec::new();
        long(&Cli::command(), &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
