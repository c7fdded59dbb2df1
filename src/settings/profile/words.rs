//! The words that a profile's tables may have, and those of which only some values are known. Read before serde does, which stops
//! at its first mistake: so every slip is told at once, with what was probably meant.

use fleetcast_core::domain::decode::Format;
use fleetcast_core::domain::publication::Class;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::lines::line_of;

/// What may stand somewhere.
enum Shape {
    /// Whatever serde makes of it.
    Free,
    /// A table of these words.
    Words(&'static [(&'static str, Shape)]),
    /// A list of these, or a table of them by names that the profile chooses.
    Each(&'static Shape),
    /// One of a few texts.
    One(fn(&str) -> Result<(), String>, &'static [&'static str]),
}

use Shape::{Each, Free, One, Words};

const FORMAT: Shape = One(known::<Format>, &["json", "json-schema"]);
const CLASS: Shape = One(known::<Class>, &["critical", "event", "latest"]);
const KEY: Shape = Words(&[("separator", Free), ("part", Free)]);
const SOURCE: Shape = Words(&[
    ("headers", Free),
    ("fields", Free),
    ("key", KEY),
    ("topic", Free),
    ("default", Free),
    ("agree", Free),
]);
const TOPIC: Shape = Words(&[("names", Free), ("pattern", Free), ("format", FORMAT)]);
const ROOM: Shape = Words(&[("kind", Free), ("id", SOURCE), ("optional", Free)]);
const ROUTE: Shape = Words(&[
    ("events", Free),
    ("event", Free),
    ("topics", Each(&TOPIC)),
    ("format", FORMAT),
    ("when", Free),
    ("payload", Free),
    ("rooms", Each(&ROOM)),
    ("class", CLASS),
    ("key", SOURCE),
    ("latest_of", SOURCE),
    ("ack", Free),
]);
const POLICY: Shape = Words(&[("any", Free), ("listed", Free)]);
const FILE: Shape = Words(&[
    ("name", Free),
    ("topics", Each(&TOPIC)),
    ("format", FORMAT),
    ("event", SOURCE),
    ("organisation", SOURCE),
    ("aliases", Free),
    ("routes", Each(&ROUTE)),
    ("policy", Each(&POLICY)),
]);

/// A word or a text that the format does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slip {
    pub(super) line: usize,
    pub(super) message: String,
    /// The part of the file, and which entry of it: `routes` and 2, `policy.asset`.
    part: String,
    entry: Option<usize>,
}

/// Takes all slips out of the file, so that what is left can be read and judged.
pub(super) fn take_out(text: &str, file: &mut DeTable<'_>) -> Vec<Slip> {
    let mut walk = Walk {
        text,
        slips: Vec::new(),
        part: String::new(),
        entry: None,
    };
    if let Words(words) = FILE {
        walk.table(file, words, true);
    }
    walk.slips
}

/// Whether a problem there may be no more than what a slip has led to.
pub(super) fn led_to(slips: &[Slip], part: &str, entry: Option<usize>) -> bool {
    if part.starts_with("policy.") {
        return slips.iter().any(|slip| slip.part == part);
    }
    slips.iter().any(|slip| match slip.part.as_str() {
        policy if policy.starts_with("policy") => false,
        "routes" => part != "routes" || slip.entry == entry,
        _ => true,
    })
}

struct Walk<'t> {
    text: &'t str,
    slips: Vec<Slip>,
    part: String,
    entry: Option<usize>,
}

impl Walk<'_> {
    fn table(&mut self, table: &mut DeTable<'_>, words: &[(&str, Shape)], top: bool) {
        let mut unknown = Vec::new();
        for (key, value) in &mut *table {
            let name: &str = key.get_ref();
            if top {
                self.part = name.to_owned();
                self.entry = None;
            }
            if let Some((_, shape)) = words.iter().find(|(word, _)| *word == name) {
                if !self.keeps(value, shape, top) {
                    unknown.push(name.to_owned());
                }
            } else {
                let known = words.iter().map(|(word, _)| *word);
                let hint = match meant(name, known.clone()) {
                    hint if hint.is_empty() => {
                        let known: Vec<_> = known.map(|word| format!("`{word}`")).collect();
                        format!(", expected one of {}", known.join(", "))
                    }
                    hint => hint,
                };
                let message = format!("unknown field `{name}`{hint}");
                self.slip(line_of(self.text, &key.span()), message);
                unknown.push(name.to_owned());
            }
        }
        for name in unknown {
            table.remove(name.as_str());
        }
    }

    /// False when the value itself is to be taken out.
    fn keeps(&mut self, value: &mut Spanned<DeValue<'_>>, shape: &Shape, top: bool) -> bool {
        let span = value.span();
        match (shape, value.get_mut()) {
            (Words(words), DeValue::Table(table)) => self.table(table, words, false),
            (Each(shape), DeValue::Array(items)) => {
                for (number, item) in items.iter_mut().enumerate() {
                    if top {
                        self.entry = Some(number);
                    }
                    self.keeps(item, shape, false);
                }
            }
            (Each(shape), DeValue::Table(table)) => {
                for (name, item) in &mut *table {
                    if top {
                        self.part = format!("policy.{}", name.get_ref());
                    }
                    self.keeps(item, shape, false);
                }
            }
            (One(judge, known), DeValue::String(text)) => {
                if let Err(why) = judge(text) {
                    let message = format!("{why}{}", meant(text, known.iter().copied()));
                    self.slip(line_of(self.text, &span), message);
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    fn slip(&mut self, line: usize, message: String) {
        self.slips.push(Slip {
            line,
            message,
            part: self.part.clone(),
            entry: self.entry,
        });
    }
}

fn known<'de, T: Deserialize<'de>>(text: &str) -> Result<(), String> {
    let text = text.to_owned().into_deserializer();
    let read: Result<T, serde::de::value::Error> = T::deserialize(text);
    read.map(drop).map_err(|error| error.to_string())
}

/// `: did you mean headers?`, or nothing.
fn meant<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let apart = |word: &'a str| (strsim::damerau_levenshtein(unknown, word), word);
    let allowed = (unknown.len() / 3).clamp(1, 3);
    match known.map(apart).min() {
        Some((distance, word)) if distance <= allowed => format!(": did you mean {word}?"),
        _ => String::new(),
    }
}
