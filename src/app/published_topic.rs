//! The topic of what is published over HTTP, as every instance reads it back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::published::{self, Occurrence, RecentKeys};
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::skip::Skip;

use crate::clock;
use crate::settings::Settings;
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

/// A message with the idempotency key of another one, whose record is no older than this, repeats it.
pub(super) const REPEATED_WITHIN: Duration = Duration::from_mins(5);

/// How far the clocks of those who publish may be apart.
const SKEW: Duration = Duration::from_secs(30);

/// Keys are remembered for so long, and the topic is read so much further back, for its keys alone.
pub(super) const KEYS_KEPT: Duration = REPEATED_WITHIN.saturating_add(SKEW);

/// Keys that are remembered, about 100 bytes each: 7/8 of 2^20, beyond which a hash map takes twice the memory. Over [`FULL`]
/// nothing with a key is accepted for publishing, which is 2,700 messages/s for as long as keys are kept.
const MOST_KEYS: usize = 917_504;
const FULL: usize = 900_000;

pub(super) struct PublishedTopic {
    topic: Arc<str>,
    max_event_bytes: usize,
    recent: Mutex<RecentKeys>,
    /// How many keys there are. Others look at it without the lock.
    keys: AtomicUsize,
    metrics: Metrics,
}

impl PublishedTopic {
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let recent = RecentKeys::new(ms(REPEATED_WITHIN), ms(KEYS_KEPT), MOST_KEYS);
        Self {
            topic: settings.kafka.publish_topic.as_str().into(),
            max_event_bytes: settings.sockets.max_event_bytes,
            recent: Mutex::new(recent),
            keys: AtomicUsize::new(0),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn is(&self, topic: &str) -> bool {
        *self.topic == *topic
    }

    /// Whether no more keys can be told apart.
    pub(super) fn is_full(&self) -> bool {
        if self.keys.load(Ordering::Relaxed) < FULL {
            return false;
        }
        // Nothing with a key comes while it is full, so what is old is dropped here.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.expire(now());
        self.keys.store(recent.len(), Ordering::Relaxed);
        recent.len() >= FULL
    }

    /// Called on the reader's thread for each record of the topic.
    pub(super) fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Result<Publication, Skip> {
        let (publication, key) = published::route(record, topic, self.max_event_bytes)?;
        let Some(key) = key else {
            return Ok(publication);
        };
        let (place, now) = ((record.partition, record.offset), now());
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = recent.note(key, place, record.timestamp.unwrap_or(now), now);
        self.keys.store(recent.len(), Ordering::Relaxed);
        drop(recent);
        match seen {
            Occurrence::First => Ok(publication),
            Occurrence::Repeated => Err(Skip::Duplicate),
            Occurrence::FirstOfTooMany => {
                let context = "a retry of what was published may be delivered twice";
                let fault = "there are more idempotency keys than can be remembered";
                events::fault(&self.metrics, Component::Http, context, fault);
                Ok(publication)
            }
        }
    }
}

fn now() -> i64 {
    i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX)
}
