//! The log: JSON lines for machines, plain lines on a terminal, both on standard output.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt as lines};

/// Crates whose `debug` lines print packets, headers and so tokens. A plain `LOG_LEVEL=debug` leaves them at `warn`.
pub const CAPPED: &[&str] = &[
    "axum",
    "engineioxide",
    "engineioxide_core",
    "hyper",
    "hyper_util",
    "rdkafka",
    "socketioxide",
    "socketioxide_core",
    "socketioxide_parser_common",
    "tokio_tungstenite",
    "tower_http",
    "tungstenite",
];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub filter: LogFilter,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain on a terminal, else JSON.
    Auto,
    Json,
    Pretty,
}

/// A level, and other levels for modules: `info`, `debug,fleetcast::kafka=trace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    level: LevelFilter,
    targets: BTreeMap<String, LevelFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    #[error("\"{0}\" is not a level: off, error, warn, info, debug, trace")]
    Level(String),
    #[error("\"{0}\" is not the path of a module")]
    Target(String),
}

impl LogFilter {
    /// Crates that were asked, by name, to log what may hold tokens.
    pub fn uncapped(&self) -> impl Iterator<Item = &str> {
        self.targets
            .iter()
            .filter(|(target, level)| {
                let name = target.split("::").next().unwrap_or(target);
                **level > LevelFilter::WARN && CAPPED.contains(&name)
            })
            .map(|(target, _)| target.as_str())
    }

    fn targets(&self) -> Targets {
        let cap = self.level.min(LevelFilter::WARN);
        Targets::new()
            .with_default(self.level)
            .with_targets(CAPPED.iter().map(|name| (*name, cap)))
            .with_targets(self.targets.clone())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let mut filter = Self {
            level: LevelFilter::INFO,
            targets: BTreeMap::new(),
        };
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.split_once('=') {
                None => filter.level = level(part)?,
                Some((target, value)) => {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
                    if target.is_empty() || !target.bytes().all(plain) {
                        return Err(LogFilterError::Target(target.to_owned()));
                    }
                    filter.targets.insert(target.to_owned(), level(value)?);
                }
            }
        }
        Ok(filter)
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.level)?;
        for (target, level) in &self.targets {
            write!(formatter, ",{target}={level}")?;
        }
        Ok(())
    }
}

fn level(text: &str) -> Result<LevelFilter, LogFilterError> {
    let text = text.trim().to_ascii_lowercase();
    if LEVELS.contains(&text.as_str()) {
        text.parse().map_err(|_| LogFilterError::Level(text))
    } else {
        Err(LogFilterError::Level(text))
    }
}

/// Sets the process's log up. Once; a second call fails.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let terminal = io::stdout().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if json {
        lines::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        lines::layer()
            .with_ansi(terminal)
            .with_target(false)
            .boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(settings.filter.targets()))
        .try_init()?;
    for target in settings.filter.uncapped() {
        super::events::setting_warning(
            "LOG_LEVEL",
            &format!("the lines of {target} at this level may hold tokens and payloads"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn filter(text: &str) -> LogFilter {
        text.parse().unwrap()
    }

    #[test]
    fn debug_leaves_the_crates_that_print_packets_at_warn() {
        for text in ["debug", "trace"] {
            let targets = filter(text).targets();
            assert!(targets.would_enable("fleetcast::socketio", &Level::DEBUG));
            for name in CAPPED {
                assert!(!targets.would_enable(name, &Level::INFO), "{name}");
                assert!(targets.would_enable(name, &Level::WARN), "{name}");
            }
            assert!(!targets.would_enable("engineioxide::transport::ws", &Level::DEBUG));
        }
        assert!(!filter("off").targets().would_enable("hyper", &Level::ERROR));
    }

    #[test]
    fn packet_logs_need_their_target_by_name_and_log_a_warning() {
        let filter = filter("info,socketioxide=debug,fleetcast::kafka=trace");
        assert!(filter.targets().would_enable("socketioxide", &Level::DEBUG));
        assert!(
            filter
                .targets()
                .would_enable("fleetcast::kafka", &Level::TRACE)
        );
        assert!(
            !filter
                .targets()
                .would_enable("fleetcast::net", &Level::DEBUG)
        );
        assert_eq!(filter.uncapped().collect::<Vec<_>>(), ["socketioxide"]);
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        assert_eq!(
            "dbug".parse::<LogFilter>(),
            Err(LogFilterError::Level("dbug".to_owned()))
        );
        for wrong in ["hyper=loud", "=info", "a b=info", "[x]=info", "7"] {
            assert!(wrong.parse::<LogFilter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shown_filter_parses_to_the_same_filter() {
        for text in ["info", "warn,a::b=trace,c=off"] {
            assert_eq!(filter(text).to_string(), text);
            assert_eq!(
                filter(
                    &text
                        .to_uppercase()
                        .replace("A::B", "a::b")
                        .replace("C=", "c=")
                ),
                filter(text)
            );
        }
    }
}
