//! `config doc` and `completion`: what this program says about itself.

use clap::CommandFactory;

use super::{Cli, Exit, print};
use crate::settings::{docs, example};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Print docs/configuration.md: every variable, its default and its meaning
    #[command(after_help = "Example: fleetcast config doc | less")]
    Doc,
    /// Print a settings file in TOML with every setting and its default, all of them commented out
    #[command(after_help = "Example: fleetcast config example > fleetcast.toml")]
    Example,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(command: &ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Doc => print(&docs::markdown())?,
        ConfigCommand::Example => print(&example::toml())?,
    }
    Ok(Exit::Clean)
}

pub(super) fn completion(shell: Shell) -> anyhow::Result<Exit> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fleetcast", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Clean)
}
