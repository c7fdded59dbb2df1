//! A profile file becomes routes and a policy. docs/routes.md is the reference of the format.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use fleetcast_core::domain::claims::ClaimRules;
use fleetcast_core::domain::decode::Format;
use fleetcast_core::domain::envelope::EventEnvelope;
use fleetcast_core::domain::policy::{KindPolicy, Policy};
use fleetcast_core::domain::publish_rights::PublishRights;
use fleetcast_core::domain::route::RouteTable;
use fleetcast_core::domain::spec::{
    At, OrganisationSpec, RouteSpec, SourceSpec, SpecProblem, TableSpec, TopicSpec,
};
use serde::Deserialize;

use document::Document;

/// Embedded in the binary, so that a built-in name needs no file beside it.
const BUILTIN: &[(&str, &str)] = &[("dispatch", include_str!("../../../profiles/dispatch.toml"))];

/// A file of this size is no profile. Bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What Fleetcast knows about a trade. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    pub routes: Arc<RouteTable>,
    pub policy: Arc<Policy>,
    pub envelope: EventEnvelope,
    /// Roles that issuers call otherwise: their name -> ours.
    pub roles: Arc<BTreeMap<String, String>>,
    /// What tokens may publish.
    pub publish: Arc<PublishRights>,
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

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    topics: Vec<TopicSpec>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    event: Option<SourceSpec>,
    organisation: OrganisationSpec,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    routes: Vec<RouteSpec>,
    #[serde(default)]
    policy: BTreeMap<String, KindPolicy>,
    #[serde(default)]
    roles: BTreeMap<String, String>,
    #[serde(default)]
    publish: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    envelope: EventEnvelope,
}

impl Profile {
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// How the claims of tokens are read.
    pub fn claim_rules(&self) -> ClaimRules {
        ClaimRules {
            default_organisation: self.routes.default_organisation().cloned(),
            listed: self.policy.claims().map(str::to_owned).collect(),
            renamed: (*self.roles).clone(),
        }
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
                "unknown built-in profile {name:?}; built-in profiles: {}",
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
        let errors = |mut problems: Vec<(usize, String)>| {
            problems.sort_by_key(|(line, _)| *line);
            let lines = problems.into_iter();
            let lines = lines.map(|(line, message)| format!("{source}:{line}: {message}"));
            ProfileErrors(lines.collect())
        };
        let document = Document::parse(text).map_err(errors)?;
        let (file, mistakes) = document.read::<ProfileFile>();
        let mut problems: Vec<(usize, String)> = (mistakes.iter())
            .map(|mistake| (mistake.line, mistake.message.clone()))
            .collect();
        let Some(file) = file else {
            return Err(errors(problems));
        };
        if file.name.is_empty() {
            let line = document.line(&At::key("name"));
            problems.push((line, "a profile needs a name".to_owned()));
        }
        let mut complain = |at: &At, message: String| {
            if !mistakes.iter().any(|mistake| mistake.explains(at)) {
                problems.push((document.line(at), message));
            }
        };

        let spec = TableSpec {
            topic_prefix: topic_prefix.to_owned(),
            topics: file.topics,
            service_topics: service_topics.to_vec(),
            format: file.format,
            event: file.event,
            organisation: file.organisation,
            aliases: file.aliases,
            routes: file.routes,
            max_event_bytes,
        };
        let names: Vec<String> = spec.routes.iter().map(events).collect();
        let routes = spec.build().map_err(|found| {
            for problem in found {
                complain(&problem.at, in_its_part(&problem, &names));
            }
        });
        let policy = Policy::build(file.policy).map_err(|found| {
            for (kind, message) in found {
                let at = At::key("policy").then(&kind);
                complain(&at, format!("policy of {kind}: {message}"));
            }
        });
        let publish = PublishRights::build(file.publish).map_err(|found| {
            for (role, wrong, event) in found {
                let at = At::key("publish").then(&role);
                complain(
                    &at,
                    format!("role {role} may not publish {event:?}: {wrong}"),
                );
            }
        });
        if let (Ok(routes), Ok(policy), []) = (&routes, &policy, &*mistakes) {
            for (at, message) in disagreements(routes, policy) {
                complain(&at, message);
            }
            for (at, message) in renamed_to_nothing(&file.roles, policy) {
                complain(&at, message);
            }
        }
        match (routes, policy, publish) {
            (Ok(routes), Ok(policy), Ok(publish)) if problems.is_empty() => Ok(Self {
                name: file.name,
                routes: Arc::new(routes),
                policy: Arc::new(policy),
                envelope: file.envelope,
                roles: Arc::new(file.roles),
                publish: Arc::new(publish),
            }),
            _ => Err(errors(problems)),
        }
    }
}

/// What a route is called in messages.
fn events(route: &RouteSpec) -> String {
    match &route.event {
        Some(event) => event.clone(),
        None => route.events.join(", "),
    }
}

/// A problem, with the part of the file that it is about.
fn in_its_part(problem: &SpecProblem, routes: &[String]) -> String {
    let message = &problem.message;
    if let Some(route) = problem.at.route().and_then(|number| routes.get(number)) {
        return format!("route of {route}: {message}");
    }
    let at = problem.at.to_string();
    match at.split(['.', '[']).next() {
        Some(part @ ("event" | "organisation")) => format!("{part}: {message}"),
        _ => message.clone(),
    }
}

/// Kinds of rooms that records go to and no policy admits, or the other way round: one of the two names is probably misspelt,
/// which would otherwise show only by events that do not arrive.
fn disagreements(routes: &RouteTable, policy: &Policy) -> Vec<(At, String)> {
    let routed = routes.kinds();
    let joinable: Vec<&str> = policy.kinds().collect();
    let not_joinable = (routed.iter())
        .filter(|kind| !matches!(**kind, "org" | "user") && !joinable.contains(kind))
        .map(|kind| {
            let message =
                format!("routes name rooms of kind {kind}, which no policy allows to join");
            (At::key("routes").item(0), message)
        });
    let not_routed = (joinable.iter())
        .filter(|kind| !routed.contains(**kind))
        .map(|kind| {
            let message =
                format!("policy of {kind}: no route sends anything to rooms of this kind");
            (At::key("policy").then(kind), message)
        });
    not_joinable.chain(not_routed).collect()
}

/// A role that is renamed to one that may join nothing is probably misspelt.
fn renamed_to_nothing(roles: &BTreeMap<String, String>, policy: &Policy) -> Vec<(At, String)> {
    let known = policy.roles();
    let unknown = roles
        .iter()
        .filter(|(_, own)| !known.contains(own.as_str()));
    let problem = |(theirs, own): (&String, &String)| {
        let message = format!("role {theirs} is renamed to {own}, which no policy knows");
        (At::key("roles").then(theirs), message)
    };
    unknown.map(problem).collect()
}

fn read(path: &str) -> Result<String, String> {
    let names = Profile::builtin_names().collect::<Vec<_>>().join(", ");
    let meta = std::fs::metadata(path).map_err(|error| {
        format!("cannot read profile {path:?}: {error} (built-in profiles: {names})")
    })?;
    // A device or pipe might never end.
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(format!(
            "cannot read profile {path:?}: expected a file of at most {MAX_FILE} bytes"
        ));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read profile {path:?}: {error}"))
}

#[cfg(test)]
mod dispatch_tests;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;
