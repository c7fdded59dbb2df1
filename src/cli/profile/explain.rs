//! One sample's way through the routes, as text and as JSON.

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use fleetcast_core::domain::explain::Explanation;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::route::{Skip, StepVerdict};
use serde_json::{Value, json};

use super::super::plain;
use super::sample::Sample;
use crate::settings::Profile;

pub(super) struct Explained {
    name: String,
    sample: Sample,
    explanation: Explanation,
}

impl Explained {
    pub(super) fn of(profile: &Profile, sample: Sample, path: &Path) -> Self {
        let headers: Vec<(&str, &[u8])> = sample
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let record = Record {
            topic: &sample.topic,
            partition: 0,
            offset: 0,
            timestamp: sample.timestamp,
            key: sample.key.as_deref().map(str::as_bytes),
            value: sample.value.as_deref(),
            headers: &headers,
        };
        let explanation = profile
            .routes
            .explain(&record, &Arc::from(sample.topic.as_str()));
        Self {
            name: path.display().to_string(),
            sample,
            explanation,
        }
    }

    pub(super) fn is_routed(&self) -> bool {
        self.explanation.outcome.is_ok()
    }

    pub(super) fn json(&self) -> Value {
        let mut document = json!({
            "sample": self.name,
            "topic": self.sample.topic,
            "steps": self.explanation.steps,
        });
        match &self.explanation.outcome {
            Ok(publication) => {
                document["outcome"] = "routed".into();
                document["event"] = (*publication.event).into();
                document["organization_id"] = publication.organisation.as_str().into();
                document["rooms"] = rooms(publication).into();
                document["class"] = class(publication.class).into();
                document["key"] = publication.latest_of.as_deref().into();
                document["ack"] = publication.ack.into();
                document["payload_bytes"] = publication.payload.get().len().into();
            }
            Err(skip) => {
                document["outcome"] = skip.outcome().into();
                document["refused"] = skip.is_poison().into();
            }
        }
        document
    }

    pub(super) fn write(&self, text: &mut String, profile: &Profile) -> fmt::Result {
        writeln!(text, "{}", plain(&self.name))?;
        for step in &self.explanation.steps {
            let mark = match step.verdict {
                StepVerdict::Absent | StepVerdict::LeftOut => '-',
                StepVerdict::Found => '+',
                StepVerdict::Refused => '!',
            };
            let stage = step.stage.as_str();
            writeln!(text, "  {mark} {stage:<12} {}", plain(&step.note))?;
        }
        match &self.explanation.outcome {
            Ok(publication) => write_way(text, publication),
            Err(skip) => self.write_refusal(text, *skip, profile),
        }
    }

    fn write_refusal(&self, text: &mut String, skip: Skip, profile: &Profile) -> fmt::Result {
        let fate = if skip.is_poison() {
            "refused and counted"
        } else {
            "passed over"
        };
        writeln!(text, "  = reaches no client: outcome {skip}, {fate}")?;
        if skip == Skip::NotJson
            && let Some(Err(error)) = self.sample.value.as_deref().map(json_error)
        {
            writeln!(text, "    hint: {}", plain(&error.to_string()))?;
        }
        if skip == Skip::UnknownEvent
            && let Some(last) = self.explanation.steps.last()
            && let Some(named) = last.note.split('"').nth(1)
            && let Some(near) = nearest(named, profile.routes.events())
        {
            writeln!(text, "    hint: did you mean {near}?")?;
        }
        Ok(())
    }
}

fn write_way(text: &mut String, publication: &Publication) -> fmt::Result {
    let rooms = rooms(publication).join(", ");
    write!(text, "  = {} to {}", publication.event, plain(&rooms))?;
    write!(text, "; class {}", class(publication.class))?;
    if let Some(latest_of) = &publication.latest_of {
        write!(text, " of {}", plain(latest_of))?;
    }
    if publication.ack {
        text.push_str(", acknowledged");
    }
    writeln!(text, ", {} bytes", publication.payload.get().len())
}

/// The parser's own words, with line and column.
fn json_error(bytes: &[u8]) -> serde_json::Result<serde::de::IgnoredAny> {
    serde_json::from_slice(bytes)
}

fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LIKE: f64 = 0.85;
    names
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

fn rooms(publication: &Publication) -> Vec<String> {
    publication.rooms.iter().map(ToString::to_string).collect()
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Critical => "critical",
        Class::Event => "event",
        Class::Latest => "latest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_event() {
        let events = || ["incident_created", "task_assigned"].into_iter();
        assert_eq!(
            nearest("incident_craeted", events()),
            Some("incident_created")
        );
        assert_eq!(nearest("weather", events()), None);
    }
}
