//! What instances tell each other: events that are in no log, the end of connections, revocations.
//!
//! Whatever is published is delivered here first, and Redis being away is no reason to wait: an event is dropped and counted then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::Ephemeral;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::accepted::AcceptedEmitters;
use super::channels::Names;
use super::fault::RedisFault;
use super::followed::Followed;
use super::instance::InstanceId;
use super::intake::{IncomingMessages, IntakeSettings, largest_message};
use super::kept_revocations::KeptRevocations;
use super::link::{Link, Subscription};
use super::message::{BusMessage, Stamp};
use super::outgoing::{OutgoingMessages, OutgoingTask};
use super::reception::{BusReceiver, MessageJudge};
use super::settings::RedisSettings;
use super::signature::BusKeys;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::telemetry::labels::BusOutcome;
use crate::telemetry::{Metrics, RedisMetrics};

/// This instance among the others.
pub struct Adapter {
    link: Arc<Link>,
    names: Names,
    instance: InstanceId,
    keys: Arc<ArcSwap<BusKeys>>,
    next_number: AtomicU64,
    outgoing: OutgoingMessages,
    followed: Followed,
    largest: usize,
    counts: RedisMetrics,
}

/// What [`Adapter::start`] needs beside the adapter.
pub struct AdapterTasks {
    incoming: IncomingMessages,
    judge: MessageJudge,
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
        let (names, instance) = (Names::new(&settings.prefix), InstanceId::random());
        let control = [names.control(), names.instance(instance)];
        let intake = IntakeSettings {
            control: control.to_vec(),
            max_event_bytes: emitters.max_event_bytes(),
        };
        let (link, incoming) = Link::new(settings.url.expose_secret(), intake, metrics)?;
        for channel in control {
            link.subscribe(Subscription::Channel(channel.into()));
        }
        let emitters = Arc::new(emitters);
        let counts = metrics.bus();
        let (outgoing, sending) = OutgoingMessages::new(&link, &counts);
        let keys = Arc::new(ArcSwap::from_pointee(settings.keys.clone()));
        let judge = MessageJudge {
            names: names.clone(),
            instance,
            keys: keys.clone(),
            emitters: emitters.clone(),
            started_ms: clock::wall_ms(),
            missed: link.missed().clone(),
            metrics: metrics.clone(),
            counts: counts.clone(),
        };
        let adapter = Self {
            largest: largest_message(emitters.max_event_bytes()),
            followed: Followed::new(&link, &names, emitters),
            link,
            names,
            instance,
            keys,
            // No message has the number 0.
            next_number: AtomicU64::new(1),
            outgoing,
            counts,
        };
        let tasks = AdapterTasks {
            incoming,
            judge,
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
        let AdapterTasks {
            incoming,
            judge,
            outgoing,
        } = tasks;
        let judge = Arc::new(judge);
        lifecycle.spawn("redis", self.link.clone().keep(stop.clone()));
        lifecycle.spawn("redis sender", outgoing.run(stop.clone()));
        let (orders, to, end) = (judge.clone(), receiver.clone(), stop.clone());
        lifecycle.spawn("redis control", async move {
            let obey = orders.obey(incoming.control, to);
            end.run_until_cancelled(obey).await;
        });
        let end = stop.clone();
        lifecycle.spawn("redis events", async move {
            let deliver = judge.deliver(incoming.events, receiver);
            end.run_until_cancelled(deliver).await;
        });
        let (adapter, end) = (self.clone(), stop.clone());
        lifecycle.spawn("redis subscriptions", async move {
            adapter.followed.run(end).await;
        });
    }

    pub fn link(&self) -> &Arc<Link> {
        &self.link
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
        if bytes.len() + channel.len() > self.largest {
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
}
