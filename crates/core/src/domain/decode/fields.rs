//! The places in a record's JSON that a table asks for, as a tree of names.

use std::fmt;

/// Places that one profile may ask for; what stands there is kept in an array on the stack, and which were met in 64 bits.
pub const MAX_PLACES: usize = 64;

/// Keys of a path.
pub const MAX_PATH: usize = 8;

/// The member that holds the event's own fields, beside those of the envelope.
pub const BODY: &str = "data";

/// A place, and where its value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldSlot(pub(super) usize);

/// The tree. Anything else in a record is skipped over.
#[derive(Debug, Default)]
pub(in crate::domain) struct Fields {
    /// The members of the record itself.
    top: Children,
    places: Vec<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Its text is kept, beside what may be looked for inside.
    kept: bool,
    children: Children,
}

/// Members by the length of their names: most members of a record have no candidate at all.
#[derive(Debug, Default)]
struct Children {
    by_length: Vec<Vec<(Box<str>, FieldSlot)>>,
}

impl Children {
    fn find(&self, name: &str) -> Option<FieldSlot> {
        let candidates = self.by_length.get(name.len())?;
        let found = candidates.iter().find(|(wanted, _)| **wanted == *name);
        found.map(|(_, slot)| *slot)
    }

    fn add(&mut self, name: &str, slot: FieldSlot) {
        if self.by_length.len() <= name.len() {
            self.by_length
                .resize_with(name.len().saturating_add(1), Vec::new);
        }
        if let Some(candidates) = self.by_length.get_mut(name.len()) {
            candidates.push((name.into(), slot));
        }
    }
}

/// A field that routing looks at, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) struct Field {
    /// As people write it: `incident_id`, `meta.org.id`.
    name: Box<str>,
    pub(super) body: Option<FieldSlot>,
    pub(super) main: FieldSlot,
    at: FieldPlace,
}

impl Field {
    /// Where the field stands if it is not in the body.
    pub(in crate::domain) fn place(&self) -> FieldPlace {
        self.at
    }

    /// Where it is looked for, for people.
    pub(in crate::domain) fn looked_for(&self) -> Looked {
        match (self.body, self.at) {
            (Some(_), _) => Looked::BodyAndTop,
            (None, FieldPlace::Path) => Looked::Path,
            (None, _) => Looked::Top,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Looked {
    BodyAndTop,
    Top,
    Path,
}

/// Where a field stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum FieldPlace {
    Top,
    /// In the value of [`BODY`].
    Body,
    /// Where its name says.
    Path,
}

impl fmt::Display for FieldPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Top => " at the top",
            Self::Body => " in data",
            Self::Path => "",
        })
    }
}

impl Fields {
    /// A field by its name alone: at the top, and before that in the body if `in_body`. `None`: there are [`MAX_PLACES`]
    /// already.
    pub(in crate::domain) fn named(&mut self, name: &str, in_body: bool) -> Option<Field> {
        let body = if in_body {
            let body = self.child(None, BODY)?;
            Some(self.kept(Some(body), name)?)
        } else {
            None
        };
        Some(Field {
            name: name.into(),
            body,
            main: self.kept(None, name)?,
            at: FieldPlace::Top,
        })
    }

    /// A field by the keys that lead to it, from the top. `None` as above; also without a key.
    pub(in crate::domain) fn path(&mut self, keys: &[String]) -> Option<Field> {
        let (last, before) = keys.split_last()?;
        let mut at = None;
        for key in before {
            at = Some(self.child(at, key)?);
        }
        Some(Field {
            name: keys.join(".").into(),
            body: None,
            main: self.kept(at, last)?,
            at: FieldPlace::Path,
        })
    }

    fn kept(&mut self, of: Option<FieldSlot>, name: &str) -> Option<FieldSlot> {
        let slot = self.child(of, name)?;
        self.places.get_mut(slot.0)?.kept = true;
        Some(slot)
    }

    fn child(&mut self, of: Option<FieldSlot>, name: &str) -> Option<FieldSlot> {
        if let Some(slot) = self.find(of, name) {
            return Some(slot);
        }
        if self.places.len() >= MAX_PLACES {
            return None;
        }
        let slot = FieldSlot(self.places.len());
        self.places.push(Wanted::default());
        let children = match of {
            None => &mut self.top,
            Some(of) => &mut self.places.get_mut(of.0)?.children,
        };
        children.add(name, slot);
        Some(slot)
    }

    /// The place of a member of the record itself, or of the value at a place.
    pub(super) fn find(&self, of: Option<FieldSlot>, name: &str) -> Option<FieldSlot> {
        let children = match of {
            None => &self.top,
            Some(of) => &self.places.get(of.0)?.children,
        };
        children.find(name)
    }

    pub(super) fn is_kept(&self, slot: FieldSlot) -> bool {
        self.places.get(slot.0).is_some_and(|wanted| wanted.kept)
    }

    /// Something inside is asked for.
    pub(super) fn is_entered(&self, slot: FieldSlot) -> bool {
        let wanted = self.places.get(slot.0);
        wanted.is_some_and(|wanted| !wanted.children.by_length.is_empty())
    }
}
