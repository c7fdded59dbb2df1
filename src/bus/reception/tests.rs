//! What is dropped, what is done, and who else gets the thread meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};
use fleetcast_core::domain::room::Room;
use futures_util::FutureExt;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::*;
use crate::bus::intake::{BusIntake, IncomingMessages, IntakeSettings};
use crate::bus::message::Stamp;

const OTHER: InstanceId = InstanceId([1; 16]);
const OWN: InstanceId = InstanceId([2; 16]);
const MAX_EVENT_BYTES: usize = 262_144;

#[derive(Default)]
struct ReceivedMessages {
    /// How many, and their bytes, of each slice.
    slices: Mutex<Vec<(usize, usize)>>,
    commands: Mutex<Vec<BusMessage>>,
    /// There is never room for events.
    is_full: AtomicBool,
}

impl BusReceiver for ReceivedMessages {
    fn events(&self, events: Vec<Ephemeral>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let bytes = events.iter().map(Ephemeral::size).sum();
        self.slices.lock().unwrap().push((events.len(), bytes));
        Box::pin(async {
            if self.is_full.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        })
    }

    fn has_kind(&self, _: &str) -> bool {
        true
    }

    fn command(&self, message: BusMessage) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.commands.lock().unwrap().push(message);
        Box::pin(async {})
    }
}

struct Bench {
    judge: MessageJudge,
    intake: BusIntake,
    messages: Option<IncomingMessages>,
    metrics: Metrics,
    recorder: Arc<ReceivedMessages>,
    next_number: u64,
}

fn keys() -> BusKeys {
    BusKeys::of(&[SecretString::from("a")]).unwrap()
}

fn organisation() -> Id {
    Id::parse("o1").unwrap()
}

fn event(bytes: usize) -> BusMessage {
    let text = format!("[\"{}\"]", "x".repeat(bytes - 4));
    BusMessage::Event(Ephemeral {
        event: Arc::from("typing"),
        organisation: organisation(),
        rooms: vec![Room::organisation(&organisation())],
        arguments: vec![RawValue::from_string(text).unwrap()],
    })
}

fn disconnect() -> BusMessage {
    BusMessage::Disconnect {
        organisation: organisation(),
        user: UserId::parse("ann").unwrap(),
        may_return: true,
    }
}

fn revocation() -> BusMessage {
    let revocation = Revocation {
        issued_until: 1_795_000_000,
        until: None,
    };
    let target = RevocationTarget::Organisation(organisation());
    BusMessage::Revocation(target, revocation)
}

impl Bench {
    fn new() -> Self {
        let (names, metrics) = (Names::new("f"), Metrics::new());
        let settings = IntakeSettings {
            control: vec![names.control(), names.instance(OWN)],
            max_event_bytes: MAX_EVENT_BYTES,
        };
        let (intake, messages) = BusIntake::new(settings, &metrics);
        let judge = MessageJudge {
            names,
            instance: OWN,
            keys: Arc::new(ArcSwap::from_pointee(keys())),
            emitters: Arc::new(AcceptedEmitters::new(Vec::new(), MAX_EVENT_BYTES)),
            started_ms: clock::wall_ms(),
            missed: intake.missed().clone(),
            counts: metrics.bus(),
            metrics: metrics.clone(),
        };
        Self {
            judge,
            intake,
            messages: Some(messages),
            metrics,
            recorder: Arc::default(),
            next_number: 1,
        }
    }

    fn send_at(&mut self, message: &BusMessage, sent_ms: u64) {
        let channel = message.channel(&self.judge.names);
        let stamp = Stamp {
            sender: OTHER,
            number: self.next_number,
            sent_ms,
        };
        self.next_number += 1;
        let bytes = message.encode(&channel, stamp, &keys());
        self.intake.put(channel.into_bytes(), bytes);
    }

    fn send(&mut self, message: &BusMessage) {
        self.send_at(message, clock::wall_ms());
    }

    /// Both tasks, until `end` is over.
    async fn run(&mut self, end: impl Future<Output = ()>) {
        let IncomingMessages { control, events } = self.messages.take().unwrap();
        let receiver: Arc<dyn BusReceiver> = self.recorder.clone();
        tokio::select! {
            biased;
            () = self.judge.deliver(events, receiver.clone()) => unreachable!(),
            () = self.judge.obey(control, receiver) => unreachable!(),
            () = end => {}
        }
    }

    async fn run_for_a_while(&mut self) {
        self.run(async {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn count(&self, outcome: &str) -> u64 {
        count(&self.metrics, outcome)
    }
}

fn count(metrics: &Metrics, outcome: &str) -> u64 {
    let series = format!("fleetcast_bus_messages_total{{outcome=\"{outcome}\"}} ");
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("a series").parse().expect("a count")
}

#[tokio::test]
async fn a_disconnect_waits_for_no_event() {
    let mut bench = Bench::new();
    bench.recorder.is_full.store(true, Ordering::Relaxed);
    for _ in 0..500 {
        bench.send(&event(10));
    }
    bench.send(&disconnect());
    bench.run_for_a_while().await;
    assert_eq!(bench.recorder.slices.lock().unwrap().len(), 1);
    assert_eq!(bench.recorder.commands.lock().unwrap().len(), 1);
    assert_eq!(bench.count("applied"), 1);
}

/// Those that were overtaken by far are no repeated ones.
#[tokio::test]
async fn events_that_an_order_has_overtaken_count_all_the_same() {
    let mut bench = Bench::new();
    bench.send(&event(10));
    bench.next_number += 20_000;
    bench.send(&disconnect());
    let IncomingMessages { control, events } = bench.messages.take().unwrap();
    let receiver: Arc<dyn BusReceiver> = bench.recorder.clone();
    // The order comes first.
    tokio::select! {
        biased;
        () = bench.judge.obey(control, receiver.clone()) => {}
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(bench.count("applied"), 1);
    tokio::select! {
        biased;
        () = bench.judge.deliver(events, receiver) => {}
        () = tokio::task::yield_now() => {}
    }
    assert_eq!((bench.count("applied"), bench.count("repeated")), (2, 0));
}

#[tokio::test]
async fn events_are_handed_over_in_slices_of_messages_and_of_bytes() {
    let mut bench = Bench::new();
    for _ in 0..150 {
        bench.send(&event(10));
    }
    for _ in 0..5 {
        bench.send(&event(200_000));
    }
    bench.run_for_a_while().await;
    let slices = bench.recorder.slices.lock().unwrap().clone();
    let sizes: Vec<_> = slices.iter().map(|(events, _)| *events).collect();
    assert_eq!(sizes, [64, 64, 24, 2, 1]);
    assert_eq!(bench.count("applied"), 155);
}

/// Verified before they are known to be garbage, which takes the thread as good ones do.
#[tokio::test]
async fn others_get_the_thread_between_large_messages_without_a_good_signature() {
    let mut bench = Bench::new();
    let channel = bench.judge.names.organisation(&organisation());
    let mut garbage = vec![0; 300_000];
    garbage[0] = 1;
    for _ in 0..40 {
        (bench.intake).put(channel.clone().into_bytes(), garbage.clone());
    }
    let metrics = bench.metrics.clone();
    let mut most = 0;
    let watch = async {
        let mut before = 0;
        while before < 40 {
            let now = count(&metrics, "bad_signature");
            most = most.max(now - before);
            before = now;
            tokio::task::yield_now().await;
        }
    };
    bench.run(watch).await;
    assert_eq!(most, 1);
}

/// It was suspended for long, and this is what waited for it.
#[tokio::test]
async fn h6_a_revocation_is_done_at_any_age_and_what_is_stale_is_reported() {
    let mut bench = Bench::new();
    bench.judge.started_ms -= 3_600_000;
    let long_ago = clock::wall_ms() - 360_000;
    let is_missed = |bench: &Bench| bench.judge.missed.notified().now_or_never().is_some();
    assert!(!is_missed(&bench));
    bench.send_at(&disconnect(), long_ago);
    bench.send_at(&revocation(), long_ago);
    bench.run_for_a_while().await;
    assert_eq!((bench.count("stale"), bench.count("applied")), (1, 1));
    assert!(is_missed(&bench));
}

/// It was recorded before this instance began to remember senders.
#[tokio::test]
async fn what_was_sent_before_the_start_is_not_done_unless_it_revokes() {
    let mut bench = Bench::new();
    let now = bench.judge.started_ms;
    for before in [BEFORE_START_MS + 1, 60_000] {
        bench.send_at(&disconnect(), now - before);
        bench.send_at(&event(10), now - before);
        bench.send_at(&revocation(), now - before);
    }
    bench.send_at(&event(10), now - BEFORE_START_MS);
    bench.send_at(&disconnect(), now - BEFORE_START_MS);
    bench.run_for_a_while().await;
    assert_eq!((bench.count("stale"), bench.count("applied")), (4, 4));
    let commands = bench.recorder.commands.lock().unwrap();
    let [
        BusMessage::Revocation(..),
        BusMessage::Revocation(..),
        BusMessage::Disconnect { .. },
    ] = &commands[..]
    else {
        panic!("{commands:?}");
    };
}
