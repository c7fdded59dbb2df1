//! What was written, before it means anything: which variable is set, by which name, to which text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::file::{FileLine, SettingsFile};
use super::issuers::{ISSUERS, IssuerText};
use super::report::{Notice, NoticeKind, SettingProblem, did_you_mean, meant, misspelt};
use super::table::{
    CONFIG, CONFIG_ARGUMENT, KAFKA_PROPERTIES, PREFIX, Variable, bare, find, find_alias,
    is_of_scripts, variables,
};
use super::values::Shape;
use super::{Masked, Presets, properties};
use crate::kafka::properties::is_secret;

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingText {
    pub text: String,
    pub source: SettingSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingSource {
    /// The option of the command line.
    Argument,
    /// The name in the environment.
    Environment(String),
    /// The key in the TOML file.
    File { key: String, line: FileLine },
    /// Set by the subcommand, below environment and file.
    Preset,
}

impl SettingSource {
    /// What an operator would look for to change it.
    pub(super) fn name(&self, variable: &str) -> String {
        match self {
            Self::Argument => CONFIG_ARGUMENT.to_owned(),
            Self::Environment(name) => name.clone(),
            Self::File { key, line } => format!("{key} ({line})"),
            Self::Preset => variable.to_owned(),
        }
    }

    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(line.line),
            _ => None,
        }
    }
}

/// All variables that are set, and what is wrong with the rest.
#[derive(Debug, Default)]
pub(super) struct Input {
    found: BTreeMap<&'static str, SettingText>,
    /// By the name with dots.
    pub properties: BTreeMap<String, SettingText>,
    pub problems: Vec<SettingProblem>,
    /// Lines and values of the file that cannot be read: what they should set is not known.
    pub broken: Vec<SettingProblem>,
    /// Variables that are set to something of a wrong type in the file.
    pub mistyped: Vec<&'static str>,
    pub issuers: Vec<IssuerText>,
    /// The file cannot be read at all, so nothing can be said about what is missing.
    pub unreadable: bool,
    pub notices: Vec<Notice>,
    /// How many variables were ignored that Kubernetes injects, or that scripts and tests of the repository use.
    pub injected: usize,
}

impl Input {
    /// The environment wins over the file that it names, and both over presets. Sources are added in this order.
    pub(super) fn collect(environment: &BTreeMap<String, String>, presets: &Presets) -> Self {
        let mut input = Self::default();
        if let (Some(variable), Some(path)) = (find(CONFIG), environment.get(CONFIG_ARGUMENT)) {
            input.add(variable, path, SettingSource::Argument);
        }
        input.add_environment(environment);
        if let Some(path) = input.get(CONFIG).map(|path| path.text.clone()) {
            match SettingsFile::read(&path) {
                Ok(file) => input.add_file(file, &path),
                Err(problem) => {
                    input.broken.push(problem);
                    input.unreadable = true;
                }
            }
        }
        for variable in variables() {
            if let Some(text) = presets.get(variable.name) {
                input.add(variable, text, SettingSource::Preset);
            }
        }
        input
    }

    fn add_environment(&mut self, environment: &BTreeMap<String, String>) {
        let before = environment.len();
        let mut environment = environment.clone();
        environment.retain(|name, text| !is_injected(name, text) && !is_of_scripts(name));
        self.injected = before - environment.len();
        for variable in variables() {
            for name in variable.names() {
                if let Some(text) = environment.get(&name) {
                    self.add(variable, text, SettingSource::Environment(name));
                }
            }
        }
        for (name, text) in &environment {
            if let Some(suffix) = bare(name).strip_prefix(KAFKA_PROPERTIES) {
                let property = properties::property_name(suffix);
                self.add_property(&property, text, SettingSource::Environment(name.clone()));
            } else if find_alias(name).is_some() || name == CONFIG_ARGUMENT {
                // Added above.
            } else if let Some(own) = legible_name(name) {
                self.problem(format!(
                    "unknown variable {name:?}: it is {own} with an invisible character, perhaps the byte order mark of a file"
                ));
            } else if name.starts_with(PREFIX) {
                let hint = did_you_mean(meant(name));
                self.problem(format!("unknown variable {name}{hint}"));
            } else if let Some(meant) = misspelt(name) {
                let hint = did_you_mean(Some(meant));
                self.warn(name, &format!("unknown variable, ignored{hint}"));
            }
        }
    }

    fn add_file(&mut self, file: SettingsFile, path: &str) {
        for (variable, SettingText { text, source }) in file.values {
            self.add(variable, &text, source);
        }
        for (name, SettingText { text, source }) in file.properties {
            self.add_property(&name, &text, source);
        }
        if file.world_readable && !file.secrets.is_empty() {
            let secrets = file.secrets.join(", ");
            let warning =
                format!("it holds secrets ({secrets}), and every user of this machine may read it");
            self.warn(path, &warning);
        }
        self.broken.extend(file.broken);
        self.issuers = file.issuers;
        self.mistyped.extend(file.mistyped);
        self.problems.extend(file.unknown);
    }

    pub(super) fn get(&self, name: &str) -> Option<&SettingText> {
        self.found.get(name)
    }

    /// Everything as it holds.
    pub(super) fn texts(&self) -> Masked {
        let variables = variables().filter_map(|variable| {
            let found = self.get(variable.name).map(|found| found.text.as_str());
            let text = found.or(variable.default_text())?;
            Some((variable.name.to_owned(), text.to_owned()))
        });
        let properties = (self.properties.iter())
            .map(|(name, found)| (properties::variable_name(name), found.text.clone()));
        let issuers = (self.issuers.iter().zip(1..)).flat_map(|(issuer, number)| {
            let fields = issuer.fields.iter();
            fields
                .map(move |(name, (text, _))| (format!("{ISSUERS}[{number}].{name}"), text.clone()))
        });
        Masked(variables.chain(properties).chain(issuers).collect())
    }

    /// The first that is added stays. An empty text counts as unset: docker compose passes every variable that it lists.
    fn add(&mut self, variable: &'static Variable, text: &str, source: SettingSource) {
        let is_secret = variable.kind.shape == Shape::Secret;
        let given = text;
        let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
        let text = if is_secret { text } else { visible.as_str() };
        let trimmed = text.trim();
        let text = if is_secret { text } else { trimmed };
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
        // Secrets of tokens are rejected for invisible characters: see `auth::jwt_secret`.
        let is_jwt_secret = is_secret && variable.name.starts_with("JWT_");
        // A name of a claim may stand in quotes.
        let shown = match given.trim().strip_prefix('"') {
            Some(inside) if variable.name.starts_with("JWT_CLAIM_") => inside,
            _ => given,
        };
        self.check_visible(&name, shown, is_secret, is_jwt_secret, &source);
        if text != trimmed && !is_jwt_secret {
            let warning = "it begins or ends with white space, which is part of the secret";
            self.warn(&name, warning);
        }
        match (self.found.get(variable.name), &source) {
            (None, _) => {
                let text = text.to_owned();
                let found = SettingText { text, source };
                self.found.insert(variable.name, found);
            }
            (Some(winner), SettingSource::Environment(_)) if winner.text != text => {
                if let SettingSource::Environment(winning) = &winner.source {
                    let warning = format!("{winning} is set to something else and wins");
                    self.warn(&name, &warning);
                }
            }
            _ => {}
        }
    }

    /// Characters that are invisible in a file or a terminal, and those that a shell would have removed.
    fn check_visible(
        &mut self,
        name: &str,
        text: &str,
        is_secret: bool,
        is_judged: bool,
        source: &SettingSource,
    ) {
        let at = |problem: String| match source {
            SettingSource::File { line, .. } => SettingProblem::at(line, &problem),
            _ => SettingProblem(problem, None),
        };
        if let Some(found) = text
            .chars()
            .find(|c| is_invisible(*c))
            .filter(|_| !is_judged)
        {
            let code = u32::from(found);
            self.problems.push(at(format!(
                "cannot use {name}: it holds an invisible character (U+{code:04X})"
            )));
        }
        let trimmed = text.trim();
        let quoted = ['"', '\''].iter().any(|quote| {
            trimmed.len() > 1 && trimmed.starts_with(*quote) && trimmed.ends_with(*quote)
        });
        let why = "it stands in quotes, which are part of the value here";
        if quoted && is_secret {
            self.warn(name, why);
        } else if quoted {
            self.problems.push(at(format!("cannot use {name}: {why}")));
        }
    }

    /// What may be set is judged by the reader.
    fn add_property(&mut self, property: &str, text: &str, source: SettingSource) {
        if text.trim().is_empty() {
            return;
        }
        let name = source.name(property);
        let is_secret = is_secret(property);
        self.check_visible(&name, text, is_secret, false, &source);
        // Names of the environment come in the order of the alphabet: FLEETCAST_… is first, and wins.
        let text = text.to_owned();
        let property = self.properties.entry(property.to_owned());
        property.or_insert(SettingText { text, source });
    }

    pub(super) fn is_good(&self) -> bool {
        self.problems.is_empty() && self.broken.is_empty()
    }

    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(SettingProblem(text, None));
    }

    /// `cannot use PORT="80a": …`, and in the file `fleetcast.toml:3: cannot use port="80a": …`. No secret is quoted.
    pub(super) fn wrong(&mut self, name: &str, why: &str) {
        let (Some(found), Some(variable)) = (self.get(name), find(name)) else {
            return self.problem(format!("cannot use {name}: {why}"));
        };
        let text = match variable.kind.shape {
            Shape::Secret => String::new(),
            _ => format!("={:?}", variable.kind.masked(&found.text)),
        };
        let problem = |name: &str| format!("cannot use {name}{text}: {why}");
        let problem = match &found.source {
            SettingSource::File { key, line } => SettingProblem::at(line, &problem(key)),
            SettingSource::Environment(name) => SettingProblem(problem(name), None),
            SettingSource::Argument | SettingSource::Preset => SettingProblem(problem(name), None),
        };
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, name: &str, warning: &str) {
        self.notices.push(Notice {
            name: name.to_owned(),
            what: NoticeKind::Warning(warning.to_owned()),
        });
    }
}

/// Takes no place where text is shown, or looks like a space and is none.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202f}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The name of ours that this one is without its invisible characters.
fn legible_name(name: &str) -> Option<String> {
    let own: String = name.chars().filter(|c| !is_invisible(*c)).collect();
    let is_ours = find_alias(&own).is_some() || bare(&own).starts_with(KAFKA_PROPERTIES);
    (own != name && is_ours).then_some(own)
}

/// Whether this is one that Kubernetes injects for a Service whose name begins with `fleetcast`. For `fleetcast` and
/// `fleetcast-internal`: `FLEETCAST_SERVICE_HOST`, `FLEETCAST_PORT=tcp://…`, `FLEETCAST_PORT_8001_TCP_ADDR`,
/// `FLEETCAST_INTERNAL_SERVICE_PORT`, …. `FLEETCAST_PORT=8001` is ours.
fn is_injected(name: &str, text: &str) -> bool {
    static INJECTED: LazyLock<Regex> = LazyLock::new(|| {
        let service = "(SERVICE_[^=]*|[^=]*_SERVICE_(HOST|PORT(_[^=]*)?))=";
        let port = "([^=]*_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_[^=]*)?=|=(tcp|udp|sctp)://)";
        let pattern = format!("^{PREFIX}({service}|{port})");
        Regex::new(&pattern).expect("a test uses it")
    });
    INJECTED.is_match(&format!("{name}={text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_variables_are_distinguished_from_ours() {
        for (name, text) in [
            ("FLEETCAST_PORT", "tcp://10.96.0.12:8001"),
            ("FLEETCAST_SERVICE_HOST", "10.96.0.12"),
            ("FLEETCAST_SERVICE_PORT", "8001"),
            ("FLEETCAST_SERVICE_PORT_HTTP", "8001"),
            ("FLEETCAST_SERVICE_ACCOUNT", "default"),
            ("FLEETCAST_PORT_8001_TCP", "tcp://10.96.0.12:8001"),
            ("FLEETCAST_PORT_8001_TCP_PROTO", "tcp"),
            ("FLEETCAST_PORT_8001_TCP_ADDR", "10.96.0.12"),
            ("FLEETCAST_INTERNAL_PORT", "tcp://10.96.0.13:9001"),
            ("FLEETCAST_INTERNAL_SERVICE_HOST", "10.96.0.13"),
            ("FLEETCAST_INTERNAL_PORT_9001_TCP", "tcp://10.96.0.13:9001"),
        ] {
            assert!(is_injected(name, text), "{name}");
        }
        for (name, text) in [
            ("FLEETCAST_PORT", "8001"),
            ("FLEETCAST_PORTS", "8001"),
            ("FLEETCAST_PORT_EIGHT", "8001"),
            ("PORT", "tcp://10.96.0.12:8001"),
        ] {
            assert!(!is_injected(name, text), "{name}");
        }
    }
}
