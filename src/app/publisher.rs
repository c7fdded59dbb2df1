//! Publishes what the API was given: into the log, or to the connections that are here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{Extensions, HeaderMap};
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_address::AddressBlock;
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::publish_rights::MayNotPublish;
use fleetcast_core::domain::published::Message;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::feed::Feed;
use futures_util::future::join_all;
use secrecy::SecretString;

use super::client_settings;
use super::fleet::Fleet;
use super::log_reader::LogReader;
use crate::api::publish::{
    Authenticated, NotWritten, PublishRules, Publisher, Unavailable, WriteReports,
    yield_between_messages,
};
use crate::kafka::{
    ClientError, ConsumerSettings, OutgoingRecord, Producer, WriteError, WrittenAt,
};
use crate::net::Guard;
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
    fleet: Option<Arc<Fleet>>,
    max_event_bytes: usize,
}

impl LogPublisher {
    pub(super) fn new(
        settings: &Settings,
        log: &Arc<LogReader>,
        sessions: &Arc<Sessions>,
        fleet: Option<Arc<Fleet>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: client_settings(&settings.kafka),
            producer: OnceLock::new(),
            log: log.clone(),
            sessions: sessions.clone(),
            fleet,
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
                let why = NotWritten::Unknown(error.to_string());
                let failed = vec![Err(why); messages.len()];
                return Box::pin(std::future::ready(failed));
            }
        };
        Box::pin(async move {
            let queue = |message: &Message| {
                producer.queue(OutgoingRecord {
                    topic: &topic,
                    key: Some(&message.key),
                    headers: &message.headers(),
                    value: message.data.get().as_bytes(),
                })
            };
            let place = |at: WrittenAt| format!("{topic}/{}/{}", at.partition, at.offset);
            let written = write_all(&messages, queue).await.into_iter();
            written.map(|report| report.map(place)).collect()
        })
    }

    fn emit(&self, event: Ephemeral) {
        if let Some(fleet) = &self.fleet {
            return fleet.emit(event);
        }
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

    fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<AddressBlock> {
        let limits = self.sessions.shared_limits();
        let Some(guard) = extensions.get::<Arc<Guard>>() else {
            // A client of which nothing is known is not exempt.
            return Some(AddressBlock::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)));
        };
        let named = guard.named_peer().map(|named| named.ip());
        limits.block(limits.client(guard.tcp_peer().ip(), named, headers))
    }

    fn authenticate<'a>(
        &'a self,
        token: Option<&'a SecretString>,
        client: Option<AddressBlock>,
    ) -> Authenticated<'a> {
        Box::pin(
            self.sessions
                .shown_claims(token, client, "at POST /api/publish"),
        )
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

/// Queues all before it waits for the first report, in their order. Behind one that is not taken none is queued: it would come
/// before that one, which is sent again.
async fn write_all<F>(
    messages: &[Message],
    queue: impl Fn(&Message) -> Result<F, WriteError>,
) -> Vec<Result<WrittenAt, NotWritten>>
where
    F: Future<Output = Result<WrittenAt, WriteError>>,
{
    let mut queued = Vec::with_capacity(messages.len());
    let mut refused = None;
    for (number, message) in messages.iter().enumerate() {
        yield_between_messages(number).await;
        match queue(message) {
            Ok(report) => queued.push(report),
            Err(error) => {
                refused = Some(not_written(error));
                break;
            }
        }
    }
    let reports = join_all(queued).await.into_iter();
    let mut reports: Vec<_> = reports.map(|report| report.map_err(not_written)).collect();
    if let Some(refused) = refused {
        reports.resize(messages.len(), Err(refused));
    }
    reports
}

fn not_written(error: WriteError) -> NotWritten {
    match error {
        WriteError::TooLarge => NotWritten::TooLarge,
        WriteError::NotAllowed => NotWritten::NotAllowed,
        error => NotWritten::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{Ready, ready};

    use fleetcast_core::domain::id::Id;
    use serde_json::value::to_raw_value;

    use super::*;

    /// Another one of its key must not get in front of what is sent again.
    #[tokio::test]
    async fn h20_behind_a_message_that_the_queue_does_not_take_none_is_written() {
        let organisation = Id::parse("o1").unwrap();
        let messages = vec![
            Message {
                event: "a".into(),
                rooms: vec![Room::organisation(&organisation)],
                organisation,
                data: to_raw_value(&[1]).unwrap(),
                key: "k".to_owned(),
                idempotency: None,
            };
            5
        ];
        let at = WrittenAt {
            partition: 0,
            offset: 7,
        };
        let asked = RefCell::new(0);
        let queue = |_: &Message| -> Result<Ready<Result<WrittenAt, WriteError>>, WriteError> {
            *asked.borrow_mut() += 1;
            match *asked.borrow() {
                1 => Ok(ready(Ok(at))),
                2 => Ok(ready(Err(WriteError::TimedOut))),
                3 => Err(WriteError::Full),
                _ => Ok(ready(Ok(at))),
            }
        };
        let reports = write_all(&messages, queue).await;
        assert_eq!(asked.into_inner(), 3);
        let unknown = |error: WriteError| Err(NotWritten::Unknown(error.to_string()));
        let full = || unknown(WriteError::Full);
        let expected = [
            Ok(at),
            unknown(WriteError::TimedOut),
            full(),
            full(),
            full(),
        ];
        assert_eq!(reports, expected);
    }
}
