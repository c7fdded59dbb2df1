//! Records of other shapes than the dispatch profile's: what a route may say about them, written as a profile would.

mod any_record;
mod headers;
mod matched;
mod organisation;
mod taken_out;

use serde_json::Value;

use super::super::spec::{OrganisationSpec, RouteSpec, TableSpec};
use super::*;

/// A table from the parts of a profile.
fn table(profile: &Value) -> RouteTable {
    fn part<T: serde::de::DeserializeOwned>(profile: &Value, name: &str) -> T {
        T::deserialize(&profile[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    let spec = TableSpec {
        topics: part(profile, "topics"),
        event: part(profile, "event"),
        organisation: part::<OrganisationSpec>(profile, "organisation"),
        routes: part::<Vec<RouteSpec>>(profile, "routes"),
        max_event_bytes: 10_000,
        ..TableSpec::default()
    };
    spec.build()
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[derive(Clone, Copy)]
struct SampleRecord<'a> {
    topic: &'a str,
    key: Option<&'a str>,
    headers: &'a [(&'a str, &'a [u8])],
    value: &'a str,
}

const NOTHING: SampleRecord<'_> = SampleRecord {
    topic: "t",
    key: None,
    headers: &[],
    value: "{}",
};

/// `event of organisation to rooms: payload`, or the outcome. The explanation must say the same.
fn outcome(table: &RouteTable, sample: SampleRecord<'_>) -> String {
    let record = Record {
        topic: sample.topic,
        partition: 0,
        offset: 0,
        timestamp: None,
        key: sample.key.map(str::as_bytes),
        value: Some(sample.value.as_bytes()),
        headers: sample.headers,
    };
    let shown = |outcome: Result<Publication, Skip>| match outcome {
        Err(skip) => skip.outcome().to_owned(),
        Ok(publication) => {
            let Publication {
                event,
                organisation,
                rooms,
                payload,
                latest_of,
                ..
            } = publication;
            let rooms: Vec<String> = rooms
                .iter()
                .inspect(|room| assert_eq!(room.organisation, organisation))
                .map(ToString::to_string)
                .collect();
            let latest = latest_of.map_or(String::new(), |key| format!(" latest {key}"));
            format!(
                "{event} of {organisation} to {}{latest}: {payload}",
                rooms.join(" ")
            )
        }
    };
    let topic = Arc::from(sample.topic);
    let explained = table.explain(&record, &topic);
    let refusals = explained.steps.iter();
    let refusals = refusals.filter(|step| step.verdict == StepVerdict::Refused);
    assert_eq!(refusals.count(), usize::from(explained.outcome.is_err()));
    let explained = shown(explained.outcome);
    assert_eq!(shown(table.route(&record, &topic)), explained);
    explained
}
