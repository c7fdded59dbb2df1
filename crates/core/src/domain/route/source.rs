//! Where something is found in a record, and what is said there.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::super::decode::{self, Decoded, Field, FieldPlace};
use super::super::id::{Id, InvalidId, InvalidUserId, UserId};
use super::super::record::Record;
use super::super::room::{InvalidRoomId, Kind, Which};
use super::super::skip::Skip;
use super::plan::TopicPlan;
use super::{header, notes};

/// Looked at in order; the first that is there decides. One that is there and says nothing useful is not passed over: the next
/// may be about something else.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Sources(pub(in crate::domain) Vec<RouteSource>);

#[derive(Debug, Clone)]
pub(in crate::domain) enum RouteSource {
    Header(Box<str>),
    Field(Field),
    Key(KeyRule),
    /// A group of the topic's pattern.
    Topic(Box<str>),
    /// The profile says it.
    Fixed(Id),
}

/// Which part of a record's key is meant.
#[derive(Debug, Clone)]
pub(in crate::domain) enum KeyRule {
    Whole,
    /// Between separators, counted from 0.
    Part {
        separator: Box<str>,
        number: usize,
    },
}

/// What the walk looks at.
#[derive(Clone, Copy)]
pub(super) struct View<'r> {
    pub(super) record: &'r Record<'r>,
    pub(super) fields: &'r Decoded<'r>,
    pub(super) plan: &'r TopicPlan,
}

/// What a source says. Whether it is an identifier is not checked yet.
pub(super) enum Said<'r> {
    Text(Cow<'r, str>),
    /// It is not UTF-8.
    NoText,
    Json(FieldPlace, &'r RawValue),
    /// The key has not so many parts.
    NoPart(&'r str),
    Fixed(&'r Id),
}

impl Said<'_> {
    pub(super) fn id(&self) -> Result<Id, InvalidId> {
        match self {
            Self::Text(text) => Id::parse(text),
            Self::Json(_, value) => decode::id(value),
            Self::Fixed(id) => Ok((*id).clone()),
            Self::NoText | Self::NoPart(_) => Err(InvalidId),
        }
    }

    /// The room of this kind that it names.
    pub(super) fn which(&self, kind: &Kind) -> Result<Which, InvalidRoomId> {
        if !kind.is_user() {
            return Ok(Which::One(self.id()?));
        }
        let user = match self {
            Self::Text(text) => UserId::parse(text),
            Self::Json(_, value) => decode::user_id(value),
            Self::Fixed(id) => Ok(UserId::from(*id)),
            Self::NoText | Self::NoPart(_) => Err(InvalidUserId),
        };
        Ok(Which::User(user?))
    }
}

/// Whose a record is.
#[derive(Debug)]
pub(in crate::domain) struct Organisation {
    pub(in crate::domain) by: Sources,
    /// Sources after the first must say the same.
    pub(in crate::domain) agree: bool,
}

impl RouteSource {
    /// `None`: it is not there. Fails when it is there twice and differs.
    pub(super) fn look<'r>(&'r self, view: View<'r>) -> Result<Option<Said<'r>>, Skip> {
        Ok(match self {
            Self::Header(name) => {
                let value = header::only(name, view.record)?;
                value.map(|value| header::text(value).map_or(Said::NoText, Said::Text))
            }
            Self::Field(field) => {
                let found = view.fields.get(field);
                found.map(|(place, value)| Said::Json(place, value))
            }
            Self::Key(rule) => view.record.key.map(|key| rule.apply(key)),
            Self::Topic(group) => view.plan.group(group).map(|text| Said::Text(text.into())),
            Self::Fixed(id) => Some(Said::Fixed(id)),
        })
    }

    /// What it says in a second place, where it is looked for in two.
    pub(super) fn look_on<'r>(&'r self, view: View<'r>) -> Option<Said<'r>> {
        let Self::Field(field) = self else {
            return None;
        };
        let (place, value) = view.fields.get_on(field)?;
        Some(Said::Json(place, value))
    }

    /// For people: `channel_id in data is 7`.
    pub(super) fn says(&self, said: &Said<'_>) -> String {
        let quoted = match said {
            Said::Text(text) => format!("says {:?}", notes::shortened(text)),
            Said::NoText => "is not UTF-8".to_owned(),
            Said::NoPart(key) => format!("is not there in {:?}", notes::shortened(key)),
            Said::Json(_, value) => format!("is {}", notes::shortened(value.get())),
            Said::Fixed(id) => format!("says {id}"),
        };
        match (self, said) {
            (Self::Header(name), _) => format!("header {name} {quoted}"),
            (Self::Field(field), Said::Json(place, _)) => format!("{field}{place} {quoted}"),
            (Self::Field(field), _) => format!("{field} {quoted}"),
            (Self::Key(KeyRule::Whole), _) => format!("the record's key {quoted}"),
            (Self::Key(KeyRule::Part { separator, number }), _) => {
                let part = number.saturating_add(1);
                format!("part {part} of the record's key, between {separator:?}, {quoted}")
            }
            (Self::Topic(group), _) => format!("{group} in the topic's name {quoted}"),
            (Self::Fixed(_), _) => format!("the profile {quoted}"),
        }
    }
}

/// What the first source says that is there.
pub(super) struct Heard<'r> {
    by: &'r Sources,
    number: usize,
    pub(super) source: &'r RouteSource,
    pub(super) said: Said<'r>,
}

impl Sources {
    /// Fails with the source that is there twice and differs.
    pub(super) fn first<'r>(
        &'r self,
        view: View<'r>,
    ) -> Result<Option<Heard<'r>>, (&'r RouteSource, Skip)> {
        for (number, source) in self.0.iter().enumerate() {
            if let Some(said) = source.look(view).map_err(|skip| (source, skip))? {
                return Ok(Some(Heard {
                    by: self,
                    number,
                    source,
                    said,
                }));
            }
        }
        Ok(None)
    }
}

/// For people: what is said, after what was looked for before it.
impl fmt::Display for Heard<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = self.source.says(&self.said);
        match self.by.0.get(..self.number) {
            None | Some([]) => formatter.write_str(&says),
            Some(before) => write!(formatter, "{}, but {says}", notes::not_there(before)),
        }
    }
}

impl KeyRule {
    fn apply<'r>(&self, key: &'r [u8]) -> Said<'r> {
        let Ok(key) = std::str::from_utf8(key) else {
            return Said::NoText;
        };
        // Kafka Connect's JSON converter writes a string with its quotes.
        let text = if key.starts_with('"') {
            serde_json::from_str::<String>(key).map_or(Cow::Borrowed(key), Cow::Owned)
        } else {
            Cow::Borrowed(key)
        };
        match self {
            Self::Whole => Said::Text(text),
            Self::Part { separator, number } => {
                let part = match text {
                    Cow::Borrowed(text) => text.split(&**separator).nth(*number).map(Cow::from),
                    Cow::Owned(text) => {
                        let part = text.split(&**separator).nth(*number);
                        part.map(|part| Cow::from(part.to_owned()))
                    }
                };
                part.map_or(Said::NoPart(key), Said::Text)
            }
        }
    }
}
