//! What was written, before it means anything: which variable is set, by which name, to which text.

use std::collections::BTreeMap;

use super::properties;
use super::report::{Notice, NoticeKind, Problem, slip_of, suggestion};
use super::table::{KAFKA_PROPERTIES, PREFIX, VARIABLES};
use super::values::Wrong;
use crate::kafka;

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub text: String,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The name in the environment.
    Environment(String),
    /// Set by the subcommand, below the environment.
    Preset,
    Default,
    /// Neither set nor has it a default.
    Unset,
}

/// All variables that are set, and what is wrong with the rest.
#[derive(Debug, Default)]
pub(super) struct Input {
    found: BTreeMap<&'static str, Found>,
    /// By the name with dots.
    pub properties: BTreeMap<String, Found>,
    pub problems: Vec<Problem>,
    pub notices: Vec<Notice>,
    /// How many variables of Kubernetes were ignored.
    pub of_kubernetes: usize,
}

impl Input {
    pub(super) fn collect(
        environment: &BTreeMap<String, String>,
        presets: &BTreeMap<&'static str, String>,
    ) -> Self {
        let mut input = Self::default();
        let mut claimed = Vec::new();
        for variable in VARIABLES {
            for name in variable.names() {
                if let Some(text) = environment.get(&name)
                    && !is_of_kubernetes(&name, text)
                {
                    input.take(variable.name, variable.secret, &name, text);
                    claimed.push(name);
                }
            }
            if let Some(text) = presets.get(variable.name) {
                input.found.entry(variable.name).or_insert_with(|| Found {
                    text: text.clone(),
                    source: Source::Preset,
                });
            }
        }
        for (name, text) in environment {
            if !claimed.contains(name) {
                input.take_other(name, text);
            }
        }
        input
    }

    pub(super) fn get(&self, name: &str) -> Option<&Found> {
        self.found.get(name)
    }

    /// `names` come in the order of precedence, so the first one stays. An empty text counts as unset: docker compose passes
    /// every variable that it lists.
    fn take(&mut self, variable: &'static str, secret: bool, name: &str, text: &str) {
        let text = if secret { text } else { text.trim() };
        if text.is_empty() {
            if matches!(variable, "JWT_ISSUER" | "JWT_AUDIENCE") {
                self.warn(name, "it is empty, so this claim is not looked at");
            }
            return;
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.problem(format!("cannot use {name}: it is not text in UTF-8"));
        }
        if secret && text.trim() != text {
            self.warn(
                name,
                "it begins or ends with white space, which is part of the secret",
            );
        }
        match self.found.get(variable) {
            None => {
                let found = Found {
                    text: text.to_owned(),
                    source: Source::Environment(name.to_owned()),
                };
                self.found.insert(variable, found);
            }
            Some(Found {
                text: winner,
                source: Source::Environment(winning),
            }) if winner != text => {
                let warning = format!("{winning} is set to something else and wins");
                self.warn(name, &warning);
            }
            Some(_) => {}
        }
    }

    /// A variable that the table does not name.
    fn take_other(&mut self, name: &str, text: &str) {
        let plain = name.strip_prefix(PREFIX).unwrap_or(name);
        if let Some(suffix) = plain.strip_prefix(KAFKA_PROPERTIES) {
            self.take_property(name, suffix, text);
        } else if is_of_kubernetes(name, text) {
            self.of_kubernetes += 1;
        } else if name.starts_with(PREFIX) {
            let hint =
                suggestion(name).map_or(String::new(), |meant| format!(": did you mean {meant}?"));
            self.problem(format!("unknown variable {name}{hint}"));
        } else if let Some(meant) = slip_of(name) {
            let warning = format!("unknown variable, ignored: did you mean {meant}?");
            self.warn(name, &warning);
        }
    }

    fn take_property(&mut self, name: &str, suffix: &str, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let property = properties::property_name(suffix);
        if property.is_empty() {
            self.problem(format!("{name} names no property of librdkafka"));
            return;
        }
        if let Some(why) = kafka::properties::refusal(&property, text.trim()) {
            self.problem(format!("{name} may not set {property}: {why}"));
            return;
        }
        if let Some(warning) = properties::warning(&property, text.trim()) {
            self.warn(name, warning);
        }
        // Names are visited in the order of the alphabet: FLEETCAST_… comes first, and wins.
        self.properties.entry(property).or_insert_with(|| Found {
            text: text.to_owned(),
            source: Source::Environment(name.to_owned()),
        });
    }

    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(Problem(text));
    }

    /// `cannot use PORT="80a": …`; the text of a secret is not quoted.
    pub(super) fn wrong(&mut self, variable: &str, secret: bool, why: &Wrong) {
        let Some(found) = self.found.get(variable) else {
            self.problem(format!("cannot use {variable}: {why}"));
            return;
        };
        let name = match &found.source {
            Source::Environment(name) => name.as_str(),
            Source::Preset | Source::Default | Source::Unset => variable,
        };
        let problem = if secret {
            format!("cannot use {name}: {why}")
        } else {
            format!("cannot use {name}={:?}: {why}", found.text)
        };
        self.problem(problem);
    }

    pub(super) fn warn(&mut self, name: &str, warning: &str) {
        self.notices.push(Notice {
            name: name.to_owned(),
            what: NoticeKind::Warning(warning.to_owned()),
        });
    }
}

/// Is this one that Kubernetes injects for a Service whose name begins with `fleetcast`? For `fleetcast` and `fleetcast-internal`:
/// `FLEETCAST_SERVICE_HOST`, `FLEETCAST_PORT=tcp://…`, `FLEETCAST_PORT_8001_TCP_ADDR`, `FLEETCAST_INTERNAL_SERVICE_PORT`, ….
/// `FLEETCAST_PORT=8001` is ours.
fn is_of_kubernetes(name: &str, text: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if link && (rest == "PORT" || rest.ends_with("_PORT")) {
        return true;
    }
    let service = rest.starts_with("SERVICE_")
        || rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_");
    service || numbered_port(rest)
}

/// `PORT_8001_TCP` and `…_PORT_8001_TCP_{PROTO,PORT,ADDR}`.
fn numbered_port(rest: &str) -> bool {
    let mut words = rest.split('_').skip_while(|word| *word != "PORT").skip(1);
    let number = words
        .next()
        .is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    number
        && words
            .next()
            .is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_injects_is_told_from_what_is_ours() {
        for (name, text) in [
            ("FLEETCAST_PORT", "tcp://10.96.0.12:8001"),
            ("FLEETCAST_SERVICE_HOST", "10.96.0.12"),
            ("FLEETCAST_SERVICE_PORT", "8001"),
            ("FLEETCAST_SERVICE_PORT_HTTP", "8001"),
            ("FLEETCAST_PORT_8001_TCP", "tcp://10.96.0.12:8001"),
            ("FLEETCAST_PORT_8001_TCP_PROTO", "tcp"),
            ("FLEETCAST_PORT_8001_TCP_ADDR", "10.96.0.12"),
            ("FLEETCAST_INTERNAL_PORT", "tcp://10.96.0.13:9001"),
            ("FLEETCAST_INTERNAL_SERVICE_HOST", "10.96.0.13"),
            ("FLEETCAST_INTERNAL_PORT_9001_TCP", "tcp://10.96.0.13:9001"),
        ] {
            assert!(is_of_kubernetes(name, text), "{name}");
        }
        for (name, text) in [
            ("FLEETCAST_PORT", "8001"),
            ("FLEETCAST_PORTS", "8001"),
            ("FLEETCAST_PORT_EIGHT", "8001"),
            ("PORT", "tcp://10.96.0.12:8001"),
        ] {
            assert!(!is_of_kubernetes(name, text), "{name}");
        }
    }
}
