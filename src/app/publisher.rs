//! Publishes what the API was given: into the log, or to the connections that are here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::protocol::Refusal;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::publish_rights::MayNotPublish;
use fleetcast_core::domain::published::Message;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::feed::Feed;
use futures_util::future::join_all;
use secrecy::SecretString;

use super::client_settings;
use super::log_reader::LogReader;
use crate::api::publish::{Authenticated, PublishRules, Publisher, Unavailable, WriteReports};
use crate::kafka::{
    ClientError, ConsumerSettings, OutgoingRecord, Producer, WriteError, WrittenAt,
};
use crate::session::Sessions;
use crate::settings::Settings;

/// A message that not all replicas have by then counts as not written.
const DELIVERY: Duration = Duration::from_secs(10);

pub(super) struct LogPublisher {
    client: ConsumerSettings,
    /// Made when it is first needed: most servers publish nothing.
    producer: OnceLock<Producer>,
    log: Arc<LogReader>,
    sessions: Arc<Sessions>,
    max_event_bytes: usize,
}

impl LogPublisher {
    pub(super) fn new(
        settings: &Settings,
        log: &Arc<LogReader>,
        sessions: &Arc<Sessions>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: client_settings(&settings.kafka),
            producer: OnceLock::new(),
            log: log.clone(),
            sessions: sessions.clone(),
            max_event_bytes: settings.sockets.max_event_bytes,
        })
    }

    fn producer(&self) -> Result<&Producer, ClientError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        let made = Producer::new(&self.client, DELIVERY)?;
        Ok(self.producer.get_or_init(|| made))
    }
}

impl Publisher for LogPublisher {
    fn rules(&self) -> PublishRules {
        let (routes, rules) = (self.log.routes(), self.sessions.rules());
        let kinds = routes.kinds().into_iter().chain(rules.policy.kinds());
        PublishRules {
            kinds: kinds.map(str::to_owned).collect(),
            default_organisation: routes.default_organisation().cloned(),
            max_event_bytes: self.max_event_bytes,
        }
    }

    fn write(&self, messages: Vec<Message>) -> WriteReports<'_> {
        let topic = self.log.published().topic().clone();
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => {
                let failed = vec![Err(error.to_string()); messages.len()];
                return Box::pin(std::future::ready(failed));
            }
        };
        // All are queued before the first report is waited for, in their order.
        let queue = |message: &Message| {
            producer.write(OutgoingRecord {
                topic: &topic,
                key: Some(&message.key),
                headers: &message.headers(),
                value: message.data.get().as_bytes(),
            })
        };
        let queued: Vec<_> = messages.iter().map(queue).collect();
        Box::pin(async move {
            let place = |report: Result<WrittenAt, WriteError>| match report {
                Ok(at) => Ok(format!("{topic}/{}/{}", at.partition, at.offset)),
                Err(error) => Err(error.to_string()),
            };
            join_all(queued).await.into_iter().map(place).collect()
        })
    }

    fn emit(&self, event: Ephemeral) {
        let hub = self.sessions.hub();
        hub.with(|hub, now| hub.apply(Feed::Ephemeral(event), now));
    }

    fn unavailable(&self) -> Option<Unavailable> {
        let (status, topic) = (self.log.status(), self.log.published().topic());
        if status
            .partitions
            .iter()
            .any(|partition| partition.topic == *topic && partition.reached)
        {
            return None;
        }
        Some(Unavailable(format!(
            "topic {topic} (PUBLISH_TOPIC) is not there, or cannot be read by this server yet"
        )))
    }

    fn authenticate<'a>(&'a self, token: Option<&'a SecretString>) -> Authenticated<'a> {
        Box::pin(async move {
            let claims = self.sessions.claims(token).await;
            claims.map_err(|reason| reason.refusal().map(Refusal::as_str))
        })
    }

    fn check_rights(
        &self,
        claims: &Claims,
        event: &str,
        rooms: &[Room],
    ) -> Result<(), MayNotPublish> {
        let rules = self.sessions.rules();
        let may_join = |room: &Room| self.sessions.may_join(claims, room);
        rules.publish.check(claims, event, rooms, may_join)
    }

    fn has_too_many_keys(&self) -> bool {
        self.log.published().is_full()
    }
}
