//! The TOML of a profile: what serde makes of it, with every mistake instead of the first, and the lines of all that it says.

use std::ops::Range;

use fleetcast_core::domain::spec::{At, Step};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::settings::file::line_of;
use crate::settings::report::{did_you_mean, nearest};

/// More mistakes than a profile has unless it is something else: reading stops there, because each costs another reading.
const MOST_MISTAKES: usize = 100;

pub(super) struct Document<'t> {
    text: &'t str,
    root: Spanned<DeValue<'t>>,
}

/// What serde does not accept: an unknown field, a wrong type, a missing field.
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) message: String,
    steps: Vec<Step>,
}

impl<'t> Document<'t> {
    /// Fails with the lines that are not TOML.
    pub(super) fn parse(text: &'t str) -> Result<Self, Vec<(usize, String)>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
            return Ok(Self { text, root });
        }
        let line = |error: &toml::de::Error| line_of(text, &error.span().unwrap_or_default());
        let errors = errors.iter();
        Err(errors
            .map(|error| (line(error), error.message().to_owned()))
            .collect())
    }

    /// Serde stops at its first mistake, so that is taken out and the rest is read again, until all is read or too much is missing.
    pub(super) fn read<T: DeserializeOwned>(&self) -> (Option<T>, Vec<Mistake>) {
        let mut root = self.root.clone();
        let mut mistakes: Vec<Mistake> = Vec::new();
        while mistakes.len() < MOST_MISTAKES {
            let error = match T::deserialize(ValueDeserializer::from(root.clone())) {
                Ok(value) => return (Some(value), mistakes),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            let steps = find(root.get_ref(), &span).unwrap_or_default();
            // What is missing may be what was taken out.
            let follows = error.message().starts_with("missing field")
                && mistakes.iter().any(|one| one.steps.starts_with(&steps));
            let is_last = steps.is_empty();
            remove(&mut root, &steps);
            if !follows {
                mistakes.push(Mistake {
                    line: line_of(self.text, &span),
                    message: with_suggestion(error.message()),
                    steps,
                });
            }
            if is_last {
                break;
            }
        }
        (None, mistakes)
    }

    /// Of what is missing: the line of what it is missing from.
    pub(super) fn line(&self, at: &At) -> usize {
        let mut value = &self.root;
        for step in at.steps() {
            let inside = match (step, value.get_ref()) {
                // `latest_of` is an older name of `key`.
                (Step::Key(name), DeValue::Table(table)) => table
                    .get(name.as_str())
                    .or_else(|| table.get("latest_of").filter(|_| name == "key")),
                (Step::Item(number), DeValue::Array(items)) => items.get(*number),
                // A source that is written as the list of its fields.
                (Step::Key(name), DeValue::Array(_)) if name == "fields" => continue,
                _ => None,
            };
            match inside {
                Some(inside) => value = inside,
                None => break,
            }
        }
        line_of(self.text, &value.span())
    }
}

impl Mistake {
    /// Whether a problem there may be a consequence of this mistake: one in the policy stays in its kind, one in a route may
    /// leave other parts without that route, and any other may be behind whatever is wrong with routes.
    pub(super) fn explains(&self, at: &At) -> bool {
        let part = |steps: &[Step]| match steps.first() {
            Some(Step::Key(part)) => part.clone(),
            _ => String::new(),
        };
        let (own, other) = (part(&self.steps), part(at.steps()));
        let entry = &self.steps[..self.steps.len().min(2)];
        if own == other && matches!(own.as_str(), "routes" | "policy") {
            at.steps().starts_with(entry)
        } else {
            own != "policy" && other != "policy"
        }
    }
}

/// Where a key or a value with this span is.
fn find(value: &DeValue<'_>, span: &Range<usize>) -> Option<Vec<Step>> {
    let inside = |step: Step, value: &Spanned<DeValue<'_>>| {
        let deeper = find(value.get_ref(), span);
        let here = (value.span() == *span).then(Vec::new);
        let mut steps = deeper.or(here)?;
        steps.insert(0, step);
        Some(steps)
    };
    match value {
        DeValue::Table(table) => table.iter().find_map(|(key, value)| {
            let step = Step::Key(key.get_ref().to_string());
            if key.span() == *span {
                Some(vec![step])
            } else {
                inside(step, value)
            }
        }),
        DeValue::Array(items) => {
            (items.iter().enumerate()).find_map(|(number, item)| inside(Step::Item(number), item))
        }
        _ => None,
    }
}

/// Removes the innermost key on the way there: an item of a list stays, for the numbers of the others.
fn remove(value: &mut Spanned<DeValue<'_>>, steps: &[Step]) {
    let is_last = !steps
        .iter()
        .skip(1)
        .any(|step| matches!(step, Step::Key(_)));
    match (steps, value.get_mut()) {
        ([Step::Key(name), ..], DeValue::Table(table)) if is_last => {
            table.remove(name.as_str());
        }
        ([Step::Key(name), rest @ ..], DeValue::Table(table)) => {
            if let Some(inner) = table.get_mut(name.as_str()) {
                remove(inner, rest);
            }
        }
        ([Step::Item(number), rest @ ..], DeValue::Array(items)) => {
            if let Some(inner) = items.get_mut(*number) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// Serde's message names the word that it does not know and then those that it does, all of them quoted.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split(['`', '"']).skip(1).step_by(2);
    let Some(unknown) = quoted.next() else {
        return message.to_owned();
    };
    let allowed = (unknown.len() / 3).clamp(1, 3);
    match nearest(unknown, quoted, |_| allowed) {
        Some(meant) => {
            let problem = message.split(", expected").next().unwrap_or(message);
            problem.to_owned() + &did_you_mean(Some(meant))
        }
        None => message.to_owned(),
    }
}
