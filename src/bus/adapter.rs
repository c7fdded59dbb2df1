//! What instances tell each other: events that are in no log, the end of connections, revocations.
//!
//! Whatever is published is delivered here first, and Redis being away is no reason to wait: an event is dropped and counted then.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::accepted::AcceptedEmitters;
use super::channels::Names;
use super::fault::RedisFault;
use super::followed::Followed;
use super::instance::InstanceId;
use super::kept_revocations::KeptRevocations;
use super::link::{Incoming, LARGEST, Link, Subscription};
use super::message::{BusMessage, SignedMessage, Stamp};
use super::outgoing::{OutgoingMessages, OutgoingTask};
use super::senders::{NotNew, Senders};
use super::settings::RedisSettings;
use super::signature::BusKeys;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::telemetry::labels::BusOutcome;
use crate::telemetry::{Metrics, RedisMetrics};

/// Messages that are looked at before other tasks get the thread.
const AT_A_STRETCH: usize = 16;

/// What becomes of the messages of other instances.
pub trait BusReceiver: Send + Sync {
    /// An event for those who are connected here.
    fn event(&self, event: Ephemeral);

    /// Whether there are rooms of this kind, beside `org` and `user`.
    fn has_kind(&self, kind: &str) -> bool;

    /// Anything else. The next message waits for it.
    fn command(&self, message: BusMessage) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// This instance among the others.
pub struct Adapter {
    link: Arc<Link>,
    names: Names,
    instance: InstanceId,
    keys: Arc<ArcSwap<BusKeys>>,
    next_number: AtomicU64,
    outgoing: OutgoingMessages,
    followed: Followed,
    emitters: AcceptedEmitters,
    senders: Mutex<Senders>,
    counts: RedisMetrics,
}

/// What [`Adapter::start`] needs beside the adapter.
pub struct AdapterTasks {
    incoming: mpsc::Receiver<Incoming>,
    outgoing: OutgoingTask,
}

/// An event that is ready to be sent.
pub struct EncodedEvent {
    channel: String,
    message: Vec<u8>,
}

impl Adapter {
    /// Nothing is connected before [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// The URL is none of Redis.
    pub fn new(
        settings: &RedisSettings,
        emitters: AcceptedEmitters,
        metrics: &Metrics,
    ) -> Result<(Arc<Self>, AdapterTasks), RedisFault> {
        let (link, incoming) = Link::new(settings.url.expose_secret(), metrics)?;
        let (names, instance) = (Names::new(&settings.prefix), InstanceId::random());
        for channel in [names.control(), names.instance(instance)] {
            link.subscribe(Subscription::Channel(channel.into()));
        }
        emitters.subscribe(&link);
        let counts = metrics.bus();
        let (outgoing, sending) = OutgoingMessages::new(&link, &counts);
        let adapter = Self {
            followed: Followed::new(&link, &names),
            emitters,
            link,
            names,
            instance,
            keys: Arc::new(ArcSwap::from_pointee(settings.keys.clone())),
            // No message has the number 0.
            next_number: AtomicU64::new(1),
            outgoing,
            senders: Mutex::default(),
            counts,
        };
        let tasks = AdapterTasks {
            incoming,
            outgoing: sending,
        };
        Ok((Arc::new(adapter), tasks))
    }

    /// Connects, sends and receives, until `stop`.
    pub fn start(
        self: &Arc<Self>,
        tasks: AdapterTasks,
        receiver: Arc<dyn BusReceiver>,
        stop: &CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        let AdapterTasks { incoming, outgoing } = tasks;
        lifecycle.spawn("redis", self.link.clone().keep(stop.clone()));
        lifecycle.spawn("redis sender", outgoing.run(stop.clone()));
        let (adapter, end) = (self.clone(), stop.clone());
        lifecycle.spawn("redis receiver", async move {
            let receive = adapter.receive(incoming, receiver);
            end.run_until_cancelled(receive).await;
        });
        let (adapter, end) = (self.clone(), stop.clone());
        lifecycle.spawn("redis subscriptions", async move {
            adapter.followed.run(end).await;
        });
    }

    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What the others call this instance.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The secrets have changed.
    pub fn set_keys(&self, keys: &BusKeys) {
        self.keys.store(Arc::new(keys.clone()));
    }

    /// Events of the organisation are wanted here from soon on. To be called under any lock.
    pub fn follow(&self, organisation: &Id) {
        self.followed.follow(organisation);
    }

    /// They are not any more. To be called under any lock.
    pub fn leave(&self, organisation: &Id) {
        self.followed.leave(organisation);
    }

    /// Revocations that outlive the instances.
    pub fn kept_revocations(&self) -> KeptRevocations {
        KeptRevocations::new(&self.link, &self.names, &self.keys, &self.counts)
    }

    /// Makes a message of an event, which goes to others once it was delivered here. `None`: it cannot be sent now.
    pub fn encode(&self, event: Ephemeral) -> (Ephemeral, Option<EncodedEvent>) {
        if !self.link.is_up() {
            self.counts.messages.increment(BusOutcome::NotSent);
            return (event, None);
        }
        let message = BusMessage::Event(event);
        let (channel, bytes) = self.encoded(&message);
        let BusMessage::Event(event) = message else {
            unreachable!("it was made above");
        };
        if bytes.len() + channel.len() > LARGEST {
            self.counts.messages.increment(BusOutcome::TooLarge);
            return (event, None);
        }
        let encoded = EncodedEvent {
            channel,
            message: bytes,
        };
        (event, Some(encoded))
    }

    /// Sends it in the background, or drops and counts it.
    pub fn send(&self, event: EncodedEvent) {
        self.outgoing.put(event.channel, event.message);
    }

    /// Tells other instances, and gives how many Redis has passed it to, this one included where it listens too.
    ///
    /// # Errors
    ///
    /// Within a second: perhaps none has heard of it.
    pub async fn tell(&self, message: &BusMessage) -> Result<u64, RedisFault> {
        let (channel, bytes) = self.encoded(message);
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(bytes);
        let told = self.link.ask(&publish).await;
        self.counts.messages.increment(match &told {
            Ok(_) => BusOutcome::Sent,
            Err(_) => BusOutcome::NotSent,
        });
        told
    }

    fn encoded(&self, message: &BusMessage) -> (String, Vec<u8>) {
        let channel = message.channel(&self.names);
        let stamp = Stamp {
            sender: self.instance,
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            sent_ms: clock::wall_ms(),
        };
        let bytes = message.encode(&channel, stamp, &self.keys.load());
        (channel, bytes)
    }

    async fn receive(
        &self,
        mut incoming: mpsc::Receiver<Incoming>,
        receiver: Arc<dyn BusReceiver>,
    ) {
        let mut stretch = 0;
        while let Some(Incoming {
            channel, payload, ..
        }) = incoming.recv().await
        {
            let message = match self.emitted(&channel, &payload, &*receiver) {
                Some(event) => event.map(BusMessage::Event),
                None => self.read(&channel, &payload),
            };
            let outcome = match message {
                Ok(BusMessage::Event(event)) => {
                    receiver.event(event);
                    BusOutcome::Applied
                }
                Ok(message) => {
                    receiver.command(message).await;
                    BusOutcome::Applied
                }
                Err(outcome) => outcome,
            };
            self.counts.messages.increment(outcome);
            stretch += 1;
            if stretch == AT_A_STRETCH {
                stretch = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// An event of a back-end. A channel of instances is theirs, whatever the configuration says.
    fn emitted(
        &self,
        channel: &[u8],
        payload: &[u8],
        receiver: &dyn BusReceiver,
    ) -> Option<Result<Ephemeral, BusOutcome>> {
        if self.names.audience(channel, self.instance).is_some() {
            return None;
        }
        let has_kind = |kind: &str| receiver.has_kind(kind);
        self.emitters.read(channel, payload, has_kind)
    }

    fn read(&self, channel: &[u8], payload: &[u8]) -> Result<BusMessage, BusOutcome> {
        let audience = self.names.audience(channel, self.instance);
        let audience = audience.ok_or(BusOutcome::Malformed)?;
        let keys = self.keys.load();
        let signed = SignedMessage::verified(channel, payload, self.instance, &keys)?;
        let Stamp {
            sender,
            number,
            sent_ms,
        } = signed.stamp;
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let new = senders.note(sender, number, sent_ms, clock::wall_ms());
        drop(senders);
        match new {
            Ok(()) => signed.decode(audience, self.instance),
            Err(NotNew::Repeated) => Err(BusOutcome::Repeated),
            Err(NotNew::Stale) => {
                self.link.missed().notify_one();
                // A revocation only ever adds, so it is good at any age: this process may have been suspended.
                match signed.decode(audience, self.instance)? {
                    revocation @ BusMessage::Revocation(..) => Ok(revocation),
                    _ => Err(BusOutcome::Stale),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetcast_core::domain::id::UserId;
    use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};
    use futures_util::FutureExt;
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn h6_a_revocation_is_good_at_any_age_and_what_is_stale_is_told() {
        let settings = RedisSettings {
            url: "redis://127.0.0.1:1".into(),
            prefix: "fleetcast".to_owned(),
            keys: BusKeys::of(&[SecretString::from("a")]).unwrap(),
            keys_of_tokens: false,
        };
        let emitters = AcceptedEmitters::new(Vec::new(), 1024);
        let (adapter, _tasks) = Adapter::new(&settings, emitters, &Metrics::new()).unwrap();
        let organisation = Id::parse("o1").unwrap();
        let revocation = Revocation {
            issued_until: 90,
            until: None,
        };
        let target = RevocationTarget::Organisation(organisation.clone());
        let revoked = BusMessage::Revocation(target, revocation);
        let disconnect = BusMessage::Disconnect {
            organisation,
            user: UserId::parse("u1").unwrap(),
            may_return: false,
        };
        let read = |message: &BusMessage, number, age_ms| {
            let channel = message.channel(&adapter.names);
            let stamp = Stamp {
                sender: InstanceId([7; 16]),
                number,
                sent_ms: clock::wall_ms() - age_ms,
            };
            let bytes = message.encode(&channel, stamp, &settings.keys);
            adapter.read(channel.as_bytes(), &bytes)
        };
        let is_missed = || adapter.link.missed().notified().now_or_never().is_some();
        assert!(read(&disconnect, 1, 0).is_ok());
        assert!(read(&revoked, 2, 0).is_ok());
        assert!(!is_missed());
        let suspended_ms = 360_000;
        let kept = read(&revoked, 3, suspended_ms);
        assert!(matches!(kept, Ok(BusMessage::Revocation(..))), "{kept:?}");
        assert!(is_missed());
        let stale = read(&disconnect, 4, suspended_ms);
        assert!(matches!(stale, Err(BusOutcome::Stale)), "{stale:?}");
        assert!(is_missed());
    }
}
