//! Families: one counter or gauge for each value of a closed label, all there from the start.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::catalogue::Declared;
use super::labels::Label;

/// One counter for each value of a closed label.
#[derive(Clone)]
pub struct Counters<L> {
    by_value: Arc<[Counter]>,
    /// All values of the label together: what a recorder takes it does not give back.
    total: Arc<AtomicU64>,
    label: PhantomData<L>,
}

impl<L: Label> Counters<L> {
    pub(super) fn new(
        recorder: &PrometheusRecorder,
        declared: Declared,
        first: Option<(&str, &str)>,
    ) -> Self {
        let by_value = L::ALL
            .iter()
            .map(|value| {
                let labels: Vec<_> = first
                    .into_iter()
                    .chain([(L::NAME, value.as_str())])
                    .collect();
                counter(recorder, declared, &labels)
            })
            .collect();
        Self {
            by_value,
            total: Arc::default(),
            label: PhantomData,
        }
    }

    pub fn increment(&self, value: L) {
        self.add(value, 1);
    }

    pub fn add(&self, value: L, count: u64) {
        self.by_value[value.index()].increment(count);
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    /// All that was added, whatever the label. What was set by [`Self::absolute`] is not in it.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// For what is counted elsewhere and shown here: the total so far.
    pub fn absolute(&self, value: L, total: u64) {
        self.by_value[value.index()].absolute(total);
    }
}

/// One counter for each pair of values of two closed labels.
pub struct Counters2<A, B> {
    rows: Vec<Counters<B>>,
    label: PhantomData<A>,
}

impl<A: Label, B: Label> Counters2<A, B> {
    pub(super) fn new(recorder: &PrometheusRecorder, declared: Declared) -> Self {
        let rows = A::ALL
            .iter()
            .map(|first| Counters::new(recorder, declared, Some((A::NAME, first.as_str()))))
            .collect();
        Self {
            rows,
            label: PhantomData,
        }
    }

    pub fn increment(&self, first: A, second: B) {
        self.rows[first.index()].increment(second);
    }

    /// All that was counted, whatever the labels.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(Counters::total).sum()
    }
}

pub(super) fn counter(
    recorder: &PrometheusRecorder,
    declared: Declared,
    labels: &[(&str, &str)],
) -> Counter {
    recorder.register_counter(&key(declared, labels), &metadata(declared))
}

pub(super) fn gauge(
    recorder: &PrometheusRecorder,
    declared: Declared,
    labels: &[(&str, &str)],
) -> Gauge {
    recorder.register_gauge(&key(declared, labels), &metadata(declared))
}

pub(super) fn key(declared: Declared, labels: &[(&str, &str)]) -> Key {
    let labels: Vec<metrics::Label> = labels
        .iter()
        .map(|(name, value)| metrics::Label::new((*name).to_owned(), (*value).to_owned()))
        .collect();
    Key::from_parts(declared.name, labels)
}

pub(super) fn metadata(declared: Declared) -> Metadata<'static> {
    Metadata::new(declared.name, Level::INFO, None)
}
