//! Polls, again and again, which partitions there are (`topic.rs`) of which topics (`wanted.rs`), which topics these are
//! (`ids.rs`), and where partitions begin and end; on a thread and connections of its own.

mod further;
mod ids;
mod topic;
mod wanted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::record::TopicPartition;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::further::{FurtherStart, FurtherTries};
use self::ids::TopicIds;
use self::wanted::WantedTopics;
use super::ConsumerSettings;
use super::client::Context;
use super::diagnose::diagnose;
use super::ffi::MetadataClient;
use super::offsets::{self, Bounds};
use super::status::SharedStatus;
use crate::clock;

/// What one look has shown. Everything in it was asked after `asked_ms`.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The newest call that this look answers.
    pub(super) number: u64,
    /// Monotonic milliseconds.
    pub(super) asked_ms: u64,
    pub(super) found: Vec<FoundPartition>,
    /// Partitions that existed and do not any more.
    pub(super) deleted: Vec<TopicPartition>,
    /// Partitions that are there, of topics that are not wanted any more.
    pub(super) unwanted: Vec<TopicPartition>,
    /// The ids of topics, where the brokers have said.
    pub(super) ids: HashMap<Arc<str>, [u8; 16]>,
    pub(super) bounds: HashMap<TopicPartition, Bounds>,
    /// Found, and read from no further back than others, because the brokers have not said where that would be.
    pub(super) shallow: Vec<TopicPartition>,
    pub(super) missing: Vec<Arc<str>>,
    pub(super) leaderless: Vec<TopicPartition>,
    /// Why the look was cut short, or what an operator should know of.
    pub(super) error: Option<String>,
    /// Why the brokers cannot be used, if retrying will not help.
    pub(super) diagnosis: Option<String>,
    /// The brokers answered every question.
    pub(super) answered: bool,
    /// Everything of the start has been found, apart from partitions without a leader.
    pub(super) complete: bool,
}

/// A partition to be read from now on.
#[derive(Debug, Clone)]
pub(super) struct FoundPartition {
    pub(super) place: TopicPartition,
    /// What lies below is not given to the hub.
    pub(super) start: i64,
    /// Reading begins here: at `start`, or before it for the [`Router`](super::Router) alone.
    pub(super) read_from: i64,
    pub(super) bounds: Bounds,
    /// It was there when its topic was first seen: loaded from as far back as is kept, and `caught_up` waits for it. All
    /// others appeared later and are read from their own beginning.
    pub(super) early: bool,
}

pub(super) struct MetadataPoller {
    client: MetadataClient<Context>,
    settings: ConsumerSettings,
    wanted: WantedTopics,
    ids: TopicIds,
    shared: Arc<SharedStatus>,
    /// How many partitions a topic had when the brokers first gave a definite answer about it; 0: it was not there.
    first_counts: HashMap<Arc<str>, i32>,
    further: FurtherTries,
    /// What was reported as found, and how many answers in a row have missed it since.
    known: HashMap<TopicPartition, u32>,
    timeout: Duration,
    /// The newest call that a look has answered.
    answered: u64,
    /// The list of topics was asked for too soon after the last one, and comes in so long.
    postponed: Option<Duration>,
    /// What was found when it was last looked for, and when that was, in monotonic milliseconds.
    diagnosis: Option<(Option<String>, u64)>,
}

impl MetadataPoller {
    /// Longer after failures, up to the second: a slow network must not look like a dead one, a shutdown must not wait long.
    const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
    /// Between two diagnoses of why the brokers cannot be reached.
    const DIAGNOSE_MS: u64 = 10_000;
    /// Calls for a look are collected for so long.
    const COLLECT: Duration = Duration::from_millis(200);

    pub(super) fn new(
        client: MetadataClient<Context>,
        settings: ConsumerSettings,
        shared: Arc<SharedStatus>,
    ) -> Self {
        Self {
            client,
            wanted: WantedTopics::new(shared.topics.load_full()),
            settings,
            ids: TopicIds::default(),
            shared,
            first_counts: HashMap::new(),
            further: FurtherTries::default(),
            known: HashMap::new(),
            timeout: Self::TIMEOUTS.0,
            answered: 0,
            postponed: None,
            diagnosis: None,
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
            let intervals = self.settings.intervals;
            let pause = if settled {
                intervals.look
            } else {
                intervals.retry
            };
            let pause = self.postponed.map_or(pause, |wait| pause.min(wait));
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
            while self.client.consumer().poll(Duration::ZERO).is_some() {}
            if !go_on {
                break;
            }
        }
    }

    fn look(&mut self, stop: &CancellationToken) -> Report {
        let asked = self.shared.asked();
        let called = asked > self.answered;
        let mut report = Report {
            asked_ms: clock::monotonic_ms(),
            ..Report::default()
        };
        let topics = self.shared.topics.load_full();
        if self.wanted.change(&topics) {
            self.drop_unwanted(&mut report);
        }
        // A call is answered by a list that was asked for after it: what was made in between is not in the last one.
        let wait_ms = self.wanted.wait_ms(report.asked_ms);
        self.postponed = (called && wait_ms > 0).then(|| Duration::from_millis(wait_ms));
        report.number = match self.postponed {
            Some(_) => self.answered,
            None => asked,
        };
        // The question goes out first and its answer is looked at last, so nothing waits for it.
        let names = self.wanted.topics();
        (self.ids).ask(&mut self.client, &names, called, report.asked_ms);
        match self.look_into(&mut report, called, stop) {
            Ok(()) => {
                report.answered = true;
                self.answered = report.number;
                self.timeout = Self::TIMEOUTS.0;
                self.diagnosis = None;
            }
            Err(error) => {
                self.timeout = (self.timeout * 2).min(Self::TIMEOUTS.1);
                report.error = Some(self.masked(&error));
                report.diagnosis = self.diagnose(stop);
            }
        }
        report.ids = self.ids.take(&mut self.client, called);
        if (report.found.iter()).any(|found| !report.ids.contains_key(&found.place.0)) {
            self.ids.hurry();
        }
        report
    }

    /// Why there is no answer, if the settings or a certificate are to blame. Looked for now and then only: it takes a
    /// connection of its own.
    fn diagnose(&mut self, stop: &CancellationToken) -> Option<String> {
        let now_ms = clock::monotonic_ms();
        let old = |(_, at): &(_, u64)| now_ms.saturating_sub(*at) >= Self::DIAGNOSE_MS;
        if self.diagnosis.as_ref().is_none_or(old) && !stop.is_cancelled() {
            let found = diagnose(&self.settings, Self::TIMEOUTS.1);
            self.diagnosis = Some((found, clock::monotonic_ms()));
        }
        self.diagnosis.clone().and_then(|(found, _)| found)
    }

    fn masked(&self, error: &KafkaError) -> String {
        let context = self.client.consumer().client().context();
        context.masked(&error.to_string())
    }

    fn look_into(
        &mut self,
        report: &mut Report,
        called: bool,
        stop: &CancellationToken,
    ) -> Result<(), KafkaError> {
        report.complete = true;
        let (client, now_ms) = (self.client.consumer(), report.asked_ms);
        let list = called && self.postponed.is_none();
        for new in self.wanted.list(client, list, now_ms, self.timeout)? {
            // It was not there when the topics were listed last.
            self.first_counts.entry(new).or_insert(0);
        }
        let mut new = Vec::new();
        let mut led = Vec::new();
        for topic in self.wanted.topics() {
            if stop.is_cancelled() {
                report.complete = false;
                return Ok(());
            }
            self.look_at_topic(&topic, report, &mut new, &mut led)?;
        }
        let client = self.client.consumer();
        let bounds = offsets::bounds(client, &led, self.timeout)?;
        let early: Vec<TopicPartition> = new
            .iter()
            .filter(|(_, early)| *early)
            .map(|(place, _)| place.clone())
            .collect();
        let (by_time, tells_times) = match self.settings.keep {
            Some(keep) if !stop.is_cancelled() => {
                let by_time = offsets::since(client, &early, ago(keep), self.timeout)?;
                let tells_times = self.tells_times(&by_time, &bounds)?;
                (by_time, tells_times)
            }
            _ => (HashMap::new(), true),
        };
        let further = self.further(&early);
        for (place, early) in new {
            let by_time = by_time.get(&place).copied();
            let Some(&bounds) = bounds.get(&place) else {
                report.complete = false;
                continue;
            };
            let by_time_asked = early && self.settings.keep.is_some();
            if by_time_asked && by_time.is_none() {
                report.complete = false;
                continue;
            }
            let start = if by_time_asked {
                offsets::start(bounds, by_time, tells_times)
            } else {
                bounds.low
            };
            let read_from = match further.get(&place) {
                None => start,
                Some(&answer) => match self.further.judge(&place, answer) {
                    FurtherStart::At(offset) => {
                        offsets::start(bounds, Some(offset), tells_times).min(start)
                    }
                    FurtherStart::AskAgain => {
                        report.complete = false;
                        continue;
                    }
                    FurtherStart::GivenUp => {
                        report.shallow.push(place.clone());
                        start
                    }
                },
            };
            self.known.insert(place.clone(), 0);
            report.found.push(FoundPartition {
                place,
                start,
                read_from,
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
        by_time: &HashMap<TopicPartition, i64>,
        bounds: &HashMap<TopicPartition, Bounds>,
    ) -> Result<bool, KafkaError> {
        let holds_some =
            |place: &&TopicPartition| bounds.get(*place).is_some_and(|b| b.low < b.high);
        if by_time
            .iter()
            .any(|(place, offset)| *offset >= 0 && holds_some(&place))
        {
            return Ok(true);
        }
        let Some(place) = by_time.keys().find(holds_some) else {
            return Ok(true);
        };
        let one = std::slice::from_ref(place);
        let first = offsets::since(self.client.consumer(), one, 0, self.timeout)?;
        Ok(first.values().all(|offset| *offset >= 0))
    }

    /// Where reading begins of those of these partitions that are read from further back. `None`: their leaders have not said.
    fn further(&self, places: &[TopicPartition]) -> HashMap<TopicPartition, Option<i64>> {
        let (Some(keep), Some(own)) = (self.settings.keep, &self.settings.own) else {
            return HashMap::new();
        };
        let of_it = places.iter().filter(|(topic, _)| *topic == own.name);
        let places: Vec<_> = of_it.cloned().collect();
        let since = ago(keep.saturating_add(own.further));
        let answers = offsets::since(self.client.consumer(), &places, since, self.timeout);
        // All other topics can do without.
        let answers = answers.unwrap_or_default();
        let answer = |place: TopicPartition| {
            let answer = answers.get(&place).copied();
            (place, answer)
        };
        places.into_iter().map(answer).collect()
    }
}

/// Milliseconds since the Unix epoch.
fn ago(time: Duration) -> u64 {
    clock::wall_ms().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
