//! `check`: what a start would say about the settings.

use std::fmt::Write;

use super::{Exit, bad_configuration, print};
use crate::app;
use crate::settings::show::{self, Shown};
use crate::settings::{Presets, Settings, docs, process_environment};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print every setting as it holds, secrets masked, and where it comes from
    #[arg(long)]
    show: bool,
    /// Print docs/configuration.md
    #[arg(long, hide = true)]
    markdown: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.markdown {
        print(&docs::markdown())?;
        return Ok(Exit::Clean);
    }
    let (environment, presets) = (process_environment(), Presets::new());
    if arguments.show {
        print(&table(&show::effective(&environment, &presets)))?;
    }
    let settings = Settings::from_map(&environment, &presets);
    match settings.and_then(|settings| app::check(&settings).map(|()| settings)) {
        Ok(settings) => {
            let mut text = String::new();
            for notice in &settings.notices {
                writeln!(text, "warning: {notice}")?;
            }
            text.push_str("ok: the settings are complete and fit together\n");
            print(&text)?;
            Ok(Exit::Clean)
        }
        Err(problems) => Ok(bad_configuration(&problems)),
    }
}

fn table(settings: &[Shown]) -> String {
    let width = |column: fn(&Shown) -> &str| {
        let widths = settings.iter().map(|shown| column(shown).chars().count());
        // One very long value must not push everything aside.
        widths.max().unwrap_or(0).min(48)
    };
    let (name, value) = (width(|shown| &shown.name), width(|shown| &shown.value));
    let mut text = String::new();
    for shown in settings {
        let note = if shown.served {
            ""
        } else {
            " (not in this version)"
        };
        let Shown {
            name: of,
            value: is,
            origin,
            ..
        } = shown;
        writeln!(text, "{of:name$}  {is:value$}  {origin}{note}")
            .expect("writing to a string cannot fail");
    }
    text
}
