//! On which line of a profile something stands.

use std::ops::Range;

use fleetcast_core::domain::spec::{At, Step};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file with the places of all that it says.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// `None`: the text is no TOML, which is told elsewhere.
    table: Option<Spanned<DeTable<'t>>>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self {
            text,
            table: DeTable::parse(text).ok(),
        }
    }

    /// From 1. Of what is missing: the line of what it is missing from.
    pub(super) fn line(&self, at: &At) -> usize {
        let Some(table) = &self.table else {
            return 1;
        };
        let [Step::Key(first), rest @ ..] = at.steps() else {
            return 1;
        };
        let Some(mut value) = table.get_ref().get(first.as_str()) else {
            return 1;
        };
        for step in rest {
            let inside = match (step, value.get_ref()) {
                (Step::Key(name), DeValue::Table(table)) => {
                    // An older name for the same.
                    let other = if name == "key" { "latest_of" } else { name };
                    table.get(name.as_str()).or_else(|| table.get(other))
                }
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

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or_default();
    before.matches('\n').count() + 1
}
