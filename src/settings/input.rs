//! What was written, before it means anything: which variable is set, by which name, to which text.

use std::collections::BTreeMap;

use super::file::{Entry, Place, Written};
use super::report::{Notice, NoticeKind, Problem, slip_of, suggestion};
use super::table::{self, CONFIG, CONFIG_ARGUMENT, KAFKA_PROPERTIES, PREFIX, VARIABLES, Variable};
use super::values::Kind;
use super::{Texts, properties, show};
use crate::kafka;

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub text: String,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The option of the command line.
    Argument,
    /// The name in the environment.
    Environment(String),
    /// The key in the TOML file.
    File {
        key: String,
        place: Place,
    },
    /// Set by the subcommand, below environment and file.
    Preset,
    Default,
    /// Neither set nor has it a default.
    Unset,
}

impl Source {
    /// What somebody would look for who has to change it.
    pub(super) fn name(&self, variable: &str) -> String {
        match self {
            Self::Argument => CONFIG_ARGUMENT.to_owned(),
            Self::Environment(name) => name.clone(),
            Self::File { key, place } => format!("{key} ({place})"),
            Self::Preset | Self::Default | Self::Unset => variable.to_owned(),
        }
    }

    /// Of the file.
    fn line(&self) -> Option<usize> {
        match self {
            Self::File { place, .. } => Some(place.line()),
            _ => None,
        }
    }
}

/// All variables that are set, and what is wrong with the rest.
#[derive(Debug, Default)]
pub(super) struct Input {
    found: BTreeMap<&'static str, Found>,
    /// By the name with dots.
    pub properties: BTreeMap<String, Found>,
    /// Those of a file that could not be read as a whole come first.
    pub problems: Vec<Problem>,
    broken: usize,
    /// There is no file where one should be: what it would say is not known, so nothing is missing.
    pub unreadable: bool,
    pub notices: Vec<Notice>,
    /// How many variables of Kubernetes were ignored.
    pub of_kubernetes: usize,
}

impl Input {
    /// The environment wins over the file that it names, and both over presets.
    pub(super) fn collect(
        environment: &BTreeMap<String, String>,
        presets: &BTreeMap<&'static str, String>,
    ) -> Self {
        let argument = environment.get(CONFIG_ARGUMENT);
        let path = argument.or_else(|| environment.get(CONFIG));
        let path = path.map(|path| path.trim());
        let written = match path {
            Some(path) if !path.is_empty() => Written::read(path),
            _ => Written::default(),
        };
        let mut input = Self {
            broken: written.broken.len(),
            unreadable: written.unreadable,
            problems: written.broken,
            ..Self::default()
        };
        let mut claimed = vec![CONFIG_ARGUMENT.to_owned()];
        for variable in VARIABLES {
            if let (CONFIG, Some(path)) = (variable.name, argument) {
                input.take(variable, path, Source::Argument);
            }
            for name in variable.names() {
                if let Some(text) = environment.get(&name)
                    && !is_of_kubernetes(&name, text)
                {
                    input.take(variable, text, Source::Environment(name.clone()));
                    claimed.push(name);
                }
            }
        }
        for (name, text) in environment {
            if !claimed.contains(name) {
                input.take_other(name, text);
            }
        }
        input.problems.extend(written.unknown);
        let mut secrets = Vec::new();
        for Entry {
            name,
            key,
            text,
            place,
        } in written.values
        {
            let is_url = matches!(name.kind, Kind::Url | Kind::FileOrUrl);
            let has_password = is_url && show::without_password(&text).contains(show::MASK);
            if (name.secret || has_password) && !text.is_empty() {
                secrets.push(key.clone());
            }
            input.take(name, &text, Source::File { key, place });
        }
        for Entry {
            name,
            key,
            text,
            place,
        } in written.properties
        {
            if kafka::properties::is_secret(&name) && !text.is_empty() {
                secrets.push(key.clone());
            }
            input.take_property(&name, &text, Source::File { key, place });
        }
        if let (Some(path), true, false) = (path, written.open_to_all, secrets.is_empty()) {
            let secrets = secrets.join(", ");
            let warning =
                format!("it holds secrets ({secrets}), and everybody on this machine may read it");
            input.warn(path, &warning);
        }
        for variable in VARIABLES {
            if let Some(text) = presets.get(variable.name) {
                input.found.entry(variable.name).or_insert_with(|| Found {
                    text: text.clone(),
                    source: Source::Preset,
                });
            }
        }
        input
    }

    pub(super) fn get(&self, name: &str) -> Option<&Found> {
        self.found.get(name)
    }

    /// Everything as it holds.
    pub(super) fn texts(&self) -> Texts {
        let variables = VARIABLES.iter().filter_map(|variable| {
            let found = self.get(variable.name).map(|found| found.text.as_str());
            let text = found.or(variable.default_text())?;
            Some((variable.name.to_owned(), text.to_owned()))
        });
        let properties = (self.properties.iter())
            .map(|(name, found)| (properties::variable_name(name), found.text.clone()));
        Texts(variables.chain(properties).collect())
    }

    /// Forgets what is wrong, but for what may hide values.
    pub(super) fn forget_problems(&mut self) {
        self.problems.truncate(self.broken);
    }

    /// What is written is taken in the order of precedence, so the first one stays. An empty text counts as unset: docker
    /// compose passes every variable that it lists.
    fn take(&mut self, variable: &'static Variable, text: &str, source: Source) {
        let text = if variable.secret { text } else { text.trim() };
        let name = source.name(variable.name);
        if text.is_empty() {
            if matches!(variable.name, "JWT_ISSUER" | "JWT_AUDIENCE") {
                self.warn(&name, "it is empty, so this claim is not looked at");
            }
            return;
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.problem(format!("cannot use {name}: it is not text in UTF-8"));
        }
        if variable.secret && text.trim() != text {
            self.warn(
                &name,
                "it begins or ends with white space, which is part of the secret",
            );
        }
        let found = Found {
            text: text.to_owned(),
            source,
        };
        match self.found.get(variable.name) {
            None => {
                self.found.insert(variable.name, found);
            }
            Some(Found {
                text: winner,
                source: Source::Environment(winning),
            }) if winner != text && matches!(found.source, Source::Environment(_)) => {
                let warning = format!("{winning} is set to something else and wins");
                self.warn(&name, &warning);
            }
            Some(_) => {}
        }
    }

    /// A variable of the environment that the table does not name.
    fn take_other(&mut self, name: &str, text: &str) {
        let plain = name.strip_prefix(PREFIX).unwrap_or(name);
        if let Some(suffix) = plain.strip_prefix(KAFKA_PROPERTIES) {
            let property = properties::property_name(suffix);
            self.take_property(&property, text, Source::Environment(name.to_owned()));
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

    fn take_property(&mut self, property: &str, text: &str, source: Source) {
        if text.trim().is_empty() {
            return;
        }
        let name = source.name(property);
        let line = source.line();
        if property.is_empty() {
            let problem = format!("{name} names no property of librdkafka");
            self.problems.push(Problem(problem, line));
            return;
        }
        // Names are visited in the order of the alphabet: FLEETCAST_… comes first, and wins.
        if self.properties.contains_key(property) {
            return;
        }
        if let Some(why) = kafka::properties::refusal(property, text.trim()) {
            let problem = format!("{name} may not set {property}: {why}");
            self.problems.push(Problem(problem, line));
            return;
        }
        if let Some(warning) = properties::warning(property, text.trim()) {
            self.warn(&name, warning);
        }
        let text = text.to_owned();
        let found = Found { text, source };
        self.properties.insert(property.to_owned(), found);
    }

    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(Problem(text, None));
    }

    /// `cannot use PORT="80a": …`, and in the file `fleetcast.toml:3: cannot use port="80a": …`. No secret is quoted.
    pub(super) fn wrong(&mut self, name: &str, why: &str) {
        let (Some(found), Some(variable)) = (self.found.get(name), table::find(name)) else {
            self.problem(format!("cannot use {name}: {why}"));
            return;
        };
        let text = match variable.kind {
            _ if variable.secret => String::new(),
            Kind::Url | Kind::FileOrUrl => format!("={:?}", show::without_password(&found.text)),
            _ => format!("={:?}", found.text),
        };
        let problem = match &found.source {
            Source::Environment(name) => format!("cannot use {name}{text}: {why}"),
            Source::File { key, place } => format!("{place}: cannot use {key}{text}: {why}"),
            Source::Argument | Source::Preset | Source::Default | Source::Unset => {
                format!("cannot use {name}{text}: {why}")
            }
        };
        let line = found.source.line();
        self.problems.push(Problem(problem, line));
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
