//! A profile file becomes routes and a policy. `profiles/dispatch.toml` teaches the format.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fleetcast_core::domain::policy::{KindPolicy, Policy};
use fleetcast_core::domain::route::RouteTable;
use fleetcast_core::domain::spec::{Part, RouteSpec, SourceSpec, TableSpec, TopicSpec};
use serde::Deserialize;
use toml::Spanned;

/// Embedded in the binary, so that a built-in name needs no file beside it.
const BUILTIN: &[(&str, &str)] = &[("dispatch", include_str!("../../profiles/dispatch.toml"))];

/// A file of this size is no profile. Bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What Fleetcast knows about a trade. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    pub routes: Arc<RouteTable>,
    pub policy: Arc<Policy>,
}

/// All that is wrong with a profile, one line each, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileErrors(pub Vec<String>);

impl fmt::Display for ProfileErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ProfileErrors {}

/// The file as it is written. The parts that a message can be about carry their place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    topics: Spanned<Vec<TopicSpec>>,
    event: Spanned<SourceSpec>,
    organisation: Spanned<SourceSpec>,
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<String>>,
    routes: Vec<Spanned<RouteSpec>>,
    #[serde(default)]
    policy: BTreeMap<String, Spanned<KindPolicy>>,
}

impl Profile {
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The file of a built-in profile.
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        let found = BUILTIN.iter().find(|(builtin, _)| *builtin == name);
        found.map(|(_, text)| *text)
    }

    /// `FLEETCAST_PROFILE`: a built-in name, else the path of a file, whose patterns match none of `service_topics`.
    pub fn load(
        setting: &str,
        topic_prefix: &str,
        max_event_bytes: usize,
        service_topics: &[String],
    ) -> Result<Self, ProfileErrors> {
        if Self::builtin_names().any(|name| name == setting) {
            return Self::builtin(setting, topic_prefix, max_event_bytes);
        }
        let text = read(setting).map_err(|problem| ProfileErrors(vec![problem]))?;
        Self::parse(
            &text,
            setting,
            topic_prefix,
            max_event_bytes,
            service_topics,
        )
    }

    pub fn builtin(
        name: &str,
        topic_prefix: &str,
        max_event_bytes: usize,
    ) -> Result<Self, ProfileErrors> {
        let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) else {
            return Err(ProfileErrors(vec![format!(
                "there is no built-in profile {name:?}; built in are {}",
                Self::builtin_names().collect::<Vec<_>>().join(", ")
            )]));
        };
        Self::parse(
            text,
            &format!("profiles/{name}.toml"),
            topic_prefix,
            max_event_bytes,
            &[],
        )
    }

    /// `source` is what messages call the text, usually its path.
    pub fn parse(
        text: &str,
        source: &str,
        topic_prefix: &str,
        max_event_bytes: usize,
        service_topics: &[String],
    ) -> Result<Self, ProfileErrors> {
        let file: File = toml::from_str(text).map_err(|error| {
            // The crate's own rendering shows the text around the place over several lines.
            let line = error.span().map_or(1, |span| line_of(text, &span));
            ProfileErrors(vec![format!("{source}:{line}: {}", error.message())])
        })?;
        let mut problems = Vec::new();
        if file.name.is_empty() {
            problems.push((1, "a profile has a name".to_owned()));
        }

        let places = Places::of(text, &file);
        let spec = TableSpec {
            topic_prefix: topic_prefix.to_owned(),
            topics: file.topics.into_inner(),
            service_topics: service_topics.to_vec(),
            event: file.event.into_inner(),
            organisation: file.organisation.into_inner(),
            aliases: file
                .aliases
                .into_iter()
                .map(|(alias, event)| (alias, event.into_inner()))
                .collect(),
            routes: file.routes.into_iter().map(Spanned::into_inner).collect(),
            max_event_bytes,
        };
        let events: Vec<String> = spec
            .routes
            .iter()
            .map(|route| route.events.join(", "))
            .collect();
        let routes = spec.build().map_err(|found| {
            problems.extend(found.into_iter().map(|problem| {
                let message = match problem.part {
                    Part::Route(number) => format!(
                        "route of {}: {}",
                        events.get(number).map_or("", String::as_str),
                        problem.message
                    ),
                    Part::Event => format!("event: {}", problem.message),
                    Part::Organisation => format!("organisation: {}", problem.message),
                    Part::Topics | Part::Alias(_) => problem.message,
                };
                (places.line(&problem.part), message)
            }));
        });
        let kinds = file
            .policy
            .into_iter()
            .map(|(kind, policy)| (kind, policy.into_inner()))
            .collect();
        let policy = Policy::build(kinds).map_err(|found| {
            problems.extend(found.into_iter().map(|(kind, message)| {
                let line = places.policy.get(&kind).copied().unwrap_or(1);
                (line, format!("policy of {kind}: {message}"))
            }));
        });

        if let (Ok(routes), Ok(policy)) = (&routes, &policy) {
            problems.extend(disagreements(routes, policy, &places));
        }
        match (routes, policy) {
            (Ok(routes), Ok(policy)) if problems.is_empty() => Ok(Self {
                name: file.name,
                routes: Arc::new(routes),
                policy: Arc::new(policy),
            }),
            _ => {
                problems.sort_by_key(|(line, _)| *line);
                let lines = problems
                    .into_iter()
                    .map(|(line, message)| format!("{source}:{line}: {message}"));
                Err(ProfileErrors(lines.collect()))
            }
        }
    }
}

/// Rooms that records go to and nobody may join, or the other way round: a slip of the pen in one of the two names, and
/// otherwise found only by the events that do not come.
fn disagreements(routes: &RouteTable, policy: &Policy, places: &Places) -> Vec<(usize, String)> {
    let routed = routes.kinds();
    let joinable: Vec<&str> = policy.kinds().collect();
    let unheard = routed
        .iter()
        .filter(|kind| !matches!(**kind, "org" | "user") && !joinable.contains(kind))
        .map(|kind| {
            let line = places.routes.first().copied().unwrap_or(1);
            (
                line,
                format!("routes name rooms of kind {kind}, which no policy lets anybody join"),
            )
        });
    let silent = joinable
        .iter()
        .filter(|kind| !routed.contains(**kind))
        .map(|kind| {
            let line = places.policy.get(*kind).copied().unwrap_or(1);
            (
                line,
                format!("policy of {kind}: no route sends anything to rooms of this kind"),
            )
        });
    unheard.chain(silent).collect()
}

fn read(path: &str) -> Result<String, String> {
    let names = Profile::builtin_names().collect::<Vec<_>>().join(", ");
    let meta = std::fs::metadata(path).map_err(|error| {
        format!("cannot read profile {path:?}: {error} (built-in profiles are {names})")
    })?;
    // A device or pipe might never end.
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(format!(
            "profile {path:?} is no file of at most {MAX_FILE} bytes"
        ));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read profile {path:?}: {error}"))
}

/// Lines of the parts of a file, from 1.
struct Places {
    topics: usize,
    event: usize,
    organisation: usize,
    aliases: BTreeMap<String, usize>,
    routes: Vec<usize>,
    policy: BTreeMap<String, usize>,
}

impl Places {
    fn of(text: &str, file: &File) -> Self {
        Self {
            topics: line_of(text, &file.topics.span()),
            event: line_of(text, &file.event.span()),
            organisation: line_of(text, &file.organisation.span()),
            aliases: (file.aliases.iter())
                .map(|(alias, event)| (alias.clone(), line_of(text, &event.span())))
                .collect(),
            routes: (file.routes.iter())
                .map(|route| line_of(text, &route.span()))
                .collect(),
            policy: (file.policy.iter())
                .map(|(kind, policy)| (kind.clone(), line_of(text, &policy.span())))
                .collect(),
        }
    }

    fn line(&self, part: &Part) -> usize {
        match part {
            Part::Topics => Some(self.topics),
            Part::Event => Some(self.event),
            Part::Organisation => Some(self.organisation),
            Part::Alias(alias) => self.aliases.get(alias).copied(),
            Part::Route(number) => self.routes.get(*number).copied(),
        }
        .unwrap_or(1)
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or_default();
    before.matches('\n').count() + 1
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
