//! The one pass over a record's JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::json;
use super::fields::{FieldSlot, Fields, MAX_PLACES};

/// What was found so far.
pub(super) struct Walker<'f, 'a> {
    fields: &'f Fields,
    pub(super) values: [Option<&'a RawValue>; MAX_PLACES],
    /// Places that were met, a bit each.
    met: u64,
    /// A place was met twice. Kept for the end: text that is no JSON at all is that first.
    pub(super) ambiguous: bool,
    /// What is looked into is taken as text first.
    gentle: bool,
}

/// Walks again through what the library refused, as `JSON.parse` would read it: half a surrogate pair in the name of a member, or
/// as the whole of what is looked into, and a number beyond all floats there. None of these is ours to mind. `None`: it is no
/// JSON. This takes twice the time, and only such records pay for it.
pub(super) fn gently<'f, 'a>(fields: &'f Fields, json: &'a str) -> Option<Walker<'f, 'a>> {
    let whole = json::whole_surrogates(json);
    let mut found = Walker {
        gentle: true,
        ..Walker::new(fields)
    };
    found.walk(&whole).ok()?;
    let mut walker = Walker {
        met: found.met,
        ambiguous: found.ambiguous,
        ..Walker::new(fields)
    };
    // Each byte is where it was, so the values are cut out of what the producer wrote.
    for (kept, value) in walker.values.iter_mut().zip(found.values) {
        let Some(value) = value.map(RawValue::get) else {
            continue;
        };
        let start = value.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
        let end = start.checked_add(value.len())?;
        *kept = Some(serde_json::from_str(json.get(start..end)?).ok()?);
    }
    Some(walker)
}

impl<'f, 'a> Walker<'f, 'a> {
    pub(super) fn new(fields: &'f Fields) -> Self {
        Self {
            fields,
            values: [None; MAX_PLACES],
            met: 0,
            ambiguous: false,
            gentle: false,
        }
    }

    /// Through all of `json`, which must be an object.
    pub(super) fn walk(&mut self, json: &'a str) -> serde_json::Result<()> {
        let mut json = serde_json::Deserializer::from_str(json);
        Members {
            walker: self,
            of: None,
        }
        .deserialize(&mut json)?;
        json.end()
    }

    fn meet(&mut self, slot: FieldSlot) {
        let bit = u32::try_from(slot.0)
            .ok()
            .and_then(|at| 1_u64.checked_shl(at));
        let bit = bit.unwrap_or_default();
        self.ambiguous |= self.met & bit != 0;
        self.met |= bit;
    }

    fn keep(&mut self, slot: FieldSlot, value: &'a RawValue) {
        if let Some(kept) = self.values.get_mut(slot.0) {
            *kept = Some(value);
        }
    }
}

/// A value whose members are looked at: the record itself, or what stands at a place. Recursion goes as deep as the paths of
/// the profile, however deep the record is.
///
/// Anything but an object has no members.
struct Members<'d, 'f, 'a> {
    walker: &'d mut Walker<'f, 'a>,
    of: Option<FieldSlot>,
}

impl<'a> DeserializeSeed<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.of.is_none() {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'a> Visitor<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { walker, of } = self;
        let fields = walker.fields;
        while let Some(found) = map.next_key_seed(Name { fields, of })? {
            let Some(slot) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            walker.meet(slot);
            let inside = Members {
                walker: &mut *walker,
                of: Some(slot),
            };
            let kept = fields.is_kept(slot);
            if !kept && !inside.walker.gentle {
                map.next_value_seed(inside)?;
                continue;
            }
            let value: &'a RawValue = map.next_value()?;
            // What is handed on and looked into is the one thing that is read twice; its own text has no other bounds.
            if fields.is_entered(slot) && value.get().starts_with('{') {
                let mut json = serde_json::Deserializer::from_str(value.get());
                inside.deserialize(&mut json).map_err(M::Error::custom)?;
            }
            if kept {
                walker.keep(slot, value);
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut elements: S) -> Result<(), S::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The place that a member's name stands for. It is compared after its escapes are resolved, as any client's parser would do.
struct Name<'f> {
    fields: &'f Fields,
    of: Option<FieldSlot>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<FieldSlot>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<FieldSlot>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<FieldSlot>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<FieldSlot>, E> {
        Ok(self.fields.find(self.of, name))
    }
}
