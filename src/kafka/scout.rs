//! Looks, again and again, which partitions there are and where they begin and end, on a thread and connections of its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ConsumerSettings;
use super::client::Context;
use super::offsets::{self, Bounds, Place};
use super::status::Shared;
use crate::clock;

/// What one look has shown. Everything in it was asked after `asked_ms`.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The newest call that this look answers.
    pub(super) number: u64,
    /// Monotonic milliseconds.
    pub(super) asked_ms: u64,
    pub(super) found: Vec<Found>,
    /// Partitions that were there and are not any more.
    pub(super) gone: Vec<Place>,
    pub(super) bounds: HashMap<Place, Bounds>,
    pub(super) missing: Vec<Arc<str>>,
    pub(super) leaderless: Vec<Place>,
    /// Why the look was cut short, or what an operator should know of.
    pub(super) error: Option<String>,
    /// The brokers answered every question.
    pub(super) answered: bool,
    /// Nothing of the start is still to be found, apart from what nobody leads.
    pub(super) complete: bool,
}

/// A partition to be read from now on.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) start: i64,
    pub(super) bounds: Bounds,
    /// It was there when its topic was first seen: loaded from as far back as is kept, and `caught_up` waits for it. All
    /// others appeared later and are read from their own beginning.
    pub(super) early: bool,
}

pub(super) struct Scout {
    client: BaseConsumer<Context>,
    settings: ConsumerSettings,
    topics: Vec<Arc<str>>,
    shared: Arc<Shared>,
    /// How many partitions a topic had when the brokers first gave a definite answer about it; 0: it was not there.
    first_counts: HashMap<Arc<str>, i32>,
    /// What was reported as found, and how many answers in a row have missed it since.
    known: HashMap<Place, u32>,
    timeout: Duration,
}

impl Scout {
    /// Longer after failures, up to the second: a slow network must not look like a dead one, a shutdown must not wait long.
    const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
    /// Calls for a look are collected for so long.
    const COLLECT: Duration = Duration::from_millis(200);
    /// A broker that has just started may not know all topics yet. What looks deleted is believed after so many answers.
    const MISSES: u32 = 3;

    pub(super) fn new(
        client: BaseConsumer<Context>,
        settings: ConsumerSettings,
        topics: Vec<Arc<str>>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            client,
            settings,
            topics,
            shared,
            first_counts: HashMap::new(),
            known: HashMap::new(),
            timeout: Self::TIMEOUTS.0,
        }
    }

    pub(super) fn run(
        mut self,
        runtime: &Runtime,
        reports: &mpsc::Sender<Report>,
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let report = self.look(stop);
            let settled =
                report.answered && report.complete && !self.known.values().any(|&n| n > 0);
            let pace = self.settings.pace;
            let pause = if settled { pace.look } else { pace.retry };
            let go_on = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return false,
                    sent = reports.send(report) => if sent.is_err() { return false },
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return false,
                    () = tokio::time::sleep(Self::COLLECT.min(pause)) => {}
                }
                tokio::select! {
                    () = stop.cancelled() => false,
                    () = self.shared.call.notified() => true,
                    () = tokio::time::sleep(pause) => true,
                }
            });
            // This client reads nothing, but its log lines and errors wait in a queue until they are taken.
            while self.client.poll(Duration::ZERO).is_some() {}
            if !go_on {
                break;
            }
        }
    }

    fn look(&mut self, stop: &CancellationToken) -> Report {
        let mut report = Report {
            number: self.shared.asked(),
            asked_ms: clock::monotonic_ms(),
            ..Report::default()
        };
        match self.look_into(&mut report, stop) {
            Ok(()) => {
                report.answered = true;
                self.timeout = Self::TIMEOUTS.0;
            }
            Err(error) => {
                self.timeout = (self.timeout * 2).min(Self::TIMEOUTS.1);
                report.error = Some(self.client.client().context().masked(&error.to_string()));
            }
        }
        report
    }

    fn look_into(
        &mut self,
        report: &mut Report,
        stop: &CancellationToken,
    ) -> Result<(), KafkaError> {
        report.complete = true;
        let mut new = Vec::new();
        let mut led = Vec::new();
        for topic in self.topics.clone() {
            if stop.is_cancelled() {
                report.complete = false;
                return Ok(());
            }
            self.look_at_topic(&topic, report, &mut new, &mut led)?;
        }
        let bounds = offsets::bounds(&self.client, &led, self.timeout)?;
        let early: Vec<Place> = new
            .iter()
            .filter(|(_, early)| *early)
            .map(|(place, _)| place.clone())
            .collect();
        let (by_time, tells_times) = if stop.is_cancelled() {
            (HashMap::new(), true)
        } else {
            let by_time = offsets::since(&self.client, &early, self.beginning(), self.timeout)?;
            let tells_times = self.tells_times(&by_time, &bounds)?;
            (by_time, tells_times)
        };
        for (place, early) in new {
            let by_time = by_time.get(&place).copied();
            let Some(&bounds) = bounds.get(&place) else {
                report.complete = false;
                continue;
            };
            if early && by_time.is_none() {
                report.complete = false;
                continue;
            }
            let start = if early {
                offsets::start(bounds, by_time, tells_times)
            } else {
                bounds.low
            };
            self.known.insert(place.clone(), 0);
            report.found.push(Found {
                place,
                start,
                bounds,
                early,
            });
        }
        report.bounds = bounds;
        Ok(())
    }

    /// Whether these brokers can look up offsets by time. librdkafka's mock broker cannot: it answers "none that young" even
    /// for the year 1970, also where there are records.
    fn tells_times(
        &self,
        by_time: &HashMap<Place, i64>,
        bounds: &HashMap<Place, Bounds>,
    ) -> Result<bool, KafkaError> {
        let holds_some = |place: &&Place| bounds.get(*place).is_some_and(|b| b.low < b.high);
        if by_time
            .iter()
            .any(|(place, offset)| *offset >= 0 && holds_some(&place))
        {
            return Ok(true);
        }
        let Some(place) = by_time.keys().find(holds_some) else {
            return Ok(true);
        };
        let first = offsets::since(&self.client, std::slice::from_ref(place), 0, self.timeout)?;
        Ok(first.values().all(|offset| *offset >= 0))
    }

    fn beginning(&self) -> u64 {
        let keep_ms = u64::try_from(self.settings.keep.as_millis()).unwrap_or(u64::MAX);
        clock::wall_ms().saturating_sub(keep_ms)
    }

    fn look_at_topic(
        &mut self,
        topic: &Arc<str>,
        report: &mut Report,
        new: &mut Vec<(Place, bool)>,
        led: &mut Vec<Place>,
    ) -> Result<(), KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), self.timeout)?;
        let Some(answer) = metadata
            .topics()
            .iter()
            .find(|answer| answer.name() == &**topic)
        else {
            report.complete = false;
            return Ok(());
        };
        match answer.error() {
            None => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
            ) => {
                report.missing.push(Arc::clone(topic));
                self.first_counts.entry(Arc::clone(topic)).or_insert(0);
                self.missed(topic, &BTreeSet::new(), report);
                return Ok(());
            }
            Some(error @ RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                // Not "appeared later" once it is allowed: no definite answer yet.
                report.missing.push(Arc::clone(topic));
                report.error = Some(format!(
                    "topic {topic}: {}",
                    KafkaError::MetadataFetch(error.into())
                ));
                return Ok(());
            }
            Some(error) => {
                // Usually "leader not available", for a moment after a topic was made.
                report.complete = false;
                report.error = Some(format!(
                    "topic {topic}: {}",
                    KafkaError::MetadataFetch(error.into())
                ));
                return Ok(());
            }
        }
        // Only after the error check: of a topic with an error rust-rdkafka would make a slice from a null pointer.
        let partitions = answer.partitions();
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let first_count = *self.first_counts.entry(Arc::clone(topic)).or_insert(count);
        let mut seen = BTreeSet::new();
        for partition in partitions {
            let place = (Arc::clone(topic), partition.id());
            seen.insert(partition.id());
            if partition.leader() < 0 {
                report.leaderless.push(place);
                continue;
            }
            if !self.known.contains_key(&place) {
                new.push((place.clone(), partition.id() < first_count));
            }
            led.push(place);
        }
        self.missed(topic, &seen, report);
        Ok(())
    }

    /// Counts what the answer about a topic left out, and reports as gone what it has left out too often.
    fn missed(&mut self, topic: &Arc<str>, seen: &BTreeSet<i32>, report: &mut Report) {
        let mut gone = Vec::new();
        for (place, misses) in &mut self.known {
            if place.0 != *topic {
                continue;
            }
            *misses = if seen.contains(&place.1) {
                0
            } else {
                *misses + 1
            };
            if *misses >= Self::MISSES {
                gone.push(place.clone());
            }
        }
        for place in gone {
            self.known.remove(&place);
            // Should it come back, it is another log.
            self.first_counts.insert(Arc::clone(topic), 0);
            report.gone.push(place);
        }
    }
}
