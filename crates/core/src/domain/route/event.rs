//! Which event a record is, and by which of its routes it goes.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::decode;
use super::super::protocol::is_reserved_event;
use super::super::skip::Skip;
use super::source::{RouteSource, View};
use super::trace::{Stage, StepVerdict, Trace};
use super::{Route, RouteTable, header, notes};

/// Longer names of events are unknown without being looked at.
const MAX_EVENT_NAME: usize = 128;

const STAGE: Stage = Stage::Event;

/// An event and the routes for records that name it, in the order of the file.
#[derive(Debug)]
pub(in crate::domain) struct EventRoutes {
    pub(in crate::domain) name: Arc<str>,
    pub(in crate::domain) routes: Vec<usize>,
}

/// Each once.
fn names(events: Vec<&EventRoutes>) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for event in events {
        if !names.contains(&&*event.name) {
            names.push(&event.name);
        }
    }
    names
}

impl RouteTable {
    /// The events that records of this topic may be, in the order of the file. None where the topic is not the profile's. Full
    /// name.
    pub fn events_on(&self, topic: &str) -> Vec<&str> {
        let Some(plan) = self.plan(topic) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for route in plan
            .fixed
            .iter()
            .filter_map(|&number| self.routes.get(number))
        {
            events.extend(route.fixed.and_then(|event| self.events.get(event)));
            if route.when.is_empty() {
                // It takes whatever comes this far.
                return names(events);
            }
        }
        let here = |event: &&EventRoutes| event.routes.iter().any(|&number| plan.has(number));
        events.extend(self.events.iter().filter(here));
        names(events)
    }

    /// By the topic alone, where a route says so; else by the name that the record gives.
    pub(super) fn find(
        &self,
        view: View<'_>,
        trace: &mut impl Trace,
    ) -> Result<(&Arc<str>, &Route), Skip> {
        for route in view
            .plan
            .fixed
            .iter()
            .filter_map(|&number| self.routes.get(number))
        {
            let event = route.fixed.and_then(|event| self.events.get(event));
            let Some(event) = event else { continue };
            if fits(route, view, &event.name, trace) {
                trace.found(STAGE, || {
                    format!("{:?} is what every record of this topic is", event.name)
                });
                return Ok((&event.name, route));
            }
        }
        let event = self.named(view, trace)?;
        for &number in &event.routes {
            let Some(route) = self.routes.get(number) else {
                continue;
            };
            if !view.plan.has(number) {
                trace.note(STAGE, StepVerdict::LeftOut, || {
                    format!("a route of {:?} is for other topics", event.name)
                });
            } else if fits(route, view, &event.name, trace) {
                return Ok((&event.name, route));
            }
        }
        Err(trace.refuse(STAGE, Skip::UnknownEvent, || {
            let topic = view.record.topic;
            format!(
                "no route of {:?} is for such a record of topic {topic:?}",
                event.name
            )
        }))
    }

    /// The event that the record names.
    fn named(&self, view: View<'_>, trace: &mut impl Trace) -> Result<&EventRoutes, Skip> {
        let name = self.event_name(view, trace)?;
        if name.len() > MAX_EVENT_NAME {
            return Err(trace.refuse(STAGE, Skip::UnknownEvent, || {
                let bytes = name.len();
                format!("a name of {bytes} bytes is longer than any event's ({MAX_EVENT_NAME})")
            }));
        }
        let routed = |name: &str| self.index.get(name).and_then(|&at| self.events.get(at));
        if let Some(event) = routed(&name) {
            trace.found(STAGE, || {
                notes::event_named(&name, &normalise(&name), &event.name)
            });
            return Ok(event);
        }
        let usual = normalise(&name);
        if is_reserved_event(&name) || is_reserved_event(&usual) {
            return Err(trace.refuse(STAGE, Skip::ReservedEvent, || {
                format!("{name:?} belongs to Socket.IO or to the protocol: a record must not pose as the server")
            }));
        }
        let Some(event) = routed(&usual) else {
            return Err(trace.refuse(STAGE, Skip::UnknownEvent, || {
                if *name == *usual {
                    format!("no route is for {name:?}")
                } else {
                    format!("no route is for {name:?}, nor for {usual:?}, its usual spelling")
                }
            }));
        };
        trace.found(STAGE, || notes::event_named(&name, &usual, &event.name));
        Ok(event)
    }

    /// By the first source that names an event. A source that is there but makes no name (not UTF-8, not a string) is not
    /// passed over: the next one may be about something else.
    fn event_name<'r>(
        &'r self,
        view: View<'r>,
        trace: &mut impl Trace,
    ) -> Result<Cow<'r, str>, Skip> {
        for source in &self.event.0 {
            match source {
                RouteSource::Header(name) => {
                    // Kafka's own rule for a header that repeats: the last one counts.
                    if let Some(value) = header::values(name, view.record).next_back() {
                        let text = header::text(value).ok_or_else(|| {
                            trace.refuse(STAGE, Skip::UnknownEvent, || {
                                format!("header {name} is not UTF-8")
                            })
                        })?;
                        trace.found(STAGE, || {
                            format!("header {name} says {:?}", notes::shortened(&text))
                        });
                        return Ok(text);
                    }
                }
                RouteSource::Field(field) => {
                    if let Some((_, value)) = view.fields.get(field) {
                        let shown = || notes::shortened(value.get());
                        let text = decode::text(value).ok_or_else(|| {
                            trace.refuse(STAGE, Skip::UnknownEvent, || {
                                format!("field {field} is {}, which is not text", shown())
                            })
                        })?;
                        trace.found(STAGE, || format!("field {field} says {}", shown()));
                        return Ok(text);
                    }
                }
                RouteSource::Topic(group) => {
                    if let Some(text) = view.plan.group(group) {
                        trace.found(STAGE, || {
                            format!("{group} in the topic's name says {text:?}")
                        });
                        return Ok(Cow::Borrowed(text));
                    }
                }
                // The builder lets neither through.
                RouteSource::Key(_) | RouteSource::Fixed(_) => continue,
            }
            trace.note(STAGE, StepVerdict::Absent, || match source {
                RouteSource::Field(field) => format!("there is no field {field}{}", field.place()),
                source => notes::not_there(std::slice::from_ref(source)),
            });
        }
        Err(trace.refuse(STAGE, Skip::NoEvent, || {
            "nothing names the event".to_owned()
        }))
    }
}

/// The record has the headers that the route asks for.
fn fits(route: &Route, view: View<'_>, event: &str, trace: &mut impl Trace) -> bool {
    let lacking = route.when.iter().find(|(name, value)| {
        let mut named = header::values(name, view.record).peekable();
        // Of several all must say it: another reader may go by any of them.
        named.peek().is_none() || !named.all(|found| says(&found, value))
    });
    if let Some((name, value)) = lacking {
        trace.note(STAGE, StepVerdict::LeftOut, || {
            format!("a route of {event:?} is for records whose header {name} is {value:?}")
        });
    }
    lacking.is_none()
}

/// As content types are compared: case makes no difference, and neither do parameters (`; charset=utf-8`).
fn says(found: &[u8], value: &str) -> bool {
    let found = found.split(|&byte| byte == b';').next().unwrap_or_default();
    found.trim_ascii().eq_ignore_ascii_case(value.as_bytes())
}

/// `incident.created`, `incident-created`, `IncidentCreated` and `incidentCreated` become `incident_created`.
pub(in crate::domain) fn normalise(name: &str) -> String {
    let mut usual = String::with_capacity(name.len() + 4);
    let mut after_word = false;
    for character in name.chars() {
        match character {
            '.' | '-' => usual.push('_'),
            'A'..='Z' => {
                if after_word {
                    usual.push('_');
                }
                usual.push(character.to_ascii_lowercase());
            }
            _ => usual.push(character),
        }
        after_word = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    usual
}
