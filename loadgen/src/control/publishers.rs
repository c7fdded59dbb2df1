//! Back-ends that publish over HTTP at a steady rate, each message under an idempotency key, and that send every third one twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::Rng;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::api::Api;
use super::audience::channel;
use super::watched::ORGANISATION;
use crate::bitmap::Bitmap;
use crate::check::RoomLedger;
use crate::clock::Clock;
use crate::latency::histogram;
use crate::record::{EVENT, RecordWriter};

const PATH: &str = "/api/publish";
const PAYLOAD_BYTES: usize = 300;
/// A connection is cut at a moment up to so long after the request: before it is read, while it is written, after the answer.
const CUT_WITHIN: Duration = Duration::from_millis(10);
/// Between two tries of a message whose first has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// A message that is not accepted within that is given up.
const GIVE_UP: Duration = Duration::from_secs(30);
const SAMPLES: usize = 5;

#[derive(Debug, Clone)]
pub(super) struct PublishPlan {
    /// Of the listener that serves the API.
    pub(super) address: SocketAddr,
    /// Messages a second; what is sent twice comes on top.
    pub(super) rate: u32,
    pub(super) lasts: Duration,
    pub(super) rooms: usize,
    /// Connections. A room belongs to one of them, so its messages are published one after the other and have an order.
    pub(super) workers: usize,
    pub(super) run: String,
    pub(super) clock: Clock,
}

impl PublishPlan {
    /// More messages than any room gets.
    pub(super) fn bound(&self) -> Result<u32> {
        let messages = u64::from(self.rate) * self.lasts.as_secs();
        u32::try_from(messages / self.workers as u64 + 2).context("too many messages for a room")
    }
}

/// What became of all messages.
pub(super) struct Published {
    /// By room: produced is what was tried, acknowledged what was answered with 202.
    pub(super) ledgers: Vec<RoomLedger>,
    pub(super) requests: u64,
    /// Sent once more although the first try was answered.
    pub(super) again_after_answer: u64,
    /// Sent once more after the connection of the first try was cut.
    pub(super) again_after_cut: u64,
    /// Tries that failed by themselves: the connection broke or was refused, or the answer was a temporary one.
    pub(super) failed_tries: u64,
    /// Other answers than 202, by status.
    pub(super) refused: BTreeMap<u16, u64>,
    pub(super) given_up: u64,
    /// Of the last try, from the request to 202.
    pub(super) answers: Histogram<u64>,
    pub(super) took: Duration,
    /// The first few answers that were not 202.
    pub(super) samples: Vec<String>,
}

impl Published {
    pub(super) fn new(ledgers: Vec<RoomLedger>) -> Self {
        Self {
            ledgers,
            requests: 0,
            again_after_answer: 0,
            again_after_cut: 0,
            failed_tries: 0,
            refused: BTreeMap::new(),
            given_up: 0,
            answers: histogram(),
            took: Duration::ZERO,
            samples: Vec::new(),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        let ledgers = self.ledgers.iter();
        ledgers.map(|ledger| ledger.acknowledged.len()).sum()
    }

    /// Whether the message was accepted; `None`: another try may help.
    fn note(&mut self, answer: Result<(u16, String)>, took: Duration) -> Option<bool> {
        self.requests += 1;
        match answer {
            Ok((202, _)) => {
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.answers.saturating_record(took);
                Some(true)
            }
            Ok((status, text)) => {
                self.fail(Some(status), &format!("answered {status}: {text:.200}"));
                (status != 503).then_some(false)
            }
            Err(error) => {
                self.fail(None, &format!("{error:#}"));
                None
            }
        }
    }

    fn fail(&mut self, status: Option<u16>, text: &str) {
        self.failed_tries += 1;
        if let Some(status) = status {
            *self.refused.entry(status).or_default() += 1;
        }
        if self.samples.len() < SAMPLES {
            self.samples.push(text.to_owned());
        }
    }
}

/// Publishes until the plan's time is over. Blocks: it wants a thread of its own. `accepted` counts as it goes.
pub(super) fn publish(plan: &PublishPlan, accepted: &Arc<AtomicU64>) -> Result<Published> {
    let bound = plan.bound()?;
    let empty = RoomLedger {
        produced: Bitmap::with_bound(bound),
        acknowledged: Bitmap::with_bound(bound),
    };
    let published = Rc::new(RefCell::new(Published::new(vec![empty; plan.rooms])));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begin = {
        let _entered = runtime.enter();
        Instant::now()
    };
    let local = LocalSet::new();
    for worker in 0..plan.workers {
        let publisher = PublishWorker {
            plan: plan.clone(),
            api: Api::new(plan.address),
            writer: RecordWriter::new(&plan.run, plan.clock.rfc3339(), PAYLOAD_BYTES),
            published: Rc::clone(&published),
            accepted: Arc::clone(accepted),
        };
        local.spawn_local(publisher.run(worker, begin));
    }
    runtime.block_on(local);
    let mut published = Rc::into_inner(published)
        .context("a publisher is still running")?
        .into_inner();
    published.took = begin.elapsed();
    Ok(published)
}

struct PublishWorker {
    plan: PublishPlan,
    api: Api,
    writer: RecordWriter,
    published: Rc<RefCell<Published>>,
    accepted: Arc<AtomicU64>,
}

/// Whether a message is sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    AfterAnswer,
    AfterCut,
}

impl Again {
    /// Every third message, half of them one way, half the other.
    fn of(number: usize) -> Self {
        match number % 6 {
            2 => Self::AfterAnswer,
            5 => Self::AfterCut,
            _ => Self::No,
        }
    }
}

impl PublishWorker {
    /// Takes every so many-eth message in its turn; behind the plan it does not wait, and what the time does not suffice for is not sent.
    async fn run(mut self, worker: usize, begin: Instant) {
        let plan = self.plan.clone();
        let rooms: Vec<usize> = (worker..plan.rooms).step_by(plan.workers).collect();
        let mut sequences = vec![0; rooms.len()];
        for turn in 0.. {
            let number = turn * plan.workers + worker;
            let due = Duration::from_secs(1).mul_f64(f64_of(number) / f64::from(plan.rate));
            if due.max(begin.elapsed()) >= plan.lasts {
                return;
            }
            sleep_until(begin + due).await;
            let slot = turn % rooms.len();
            self.message(rooms[slot], sequences[slot], Again::of(turn))
                .await;
            sequences[slot] += 1;
        }
    }

    async fn message(&mut self, room: usize, sequence: u32, again: Again) {
        let body = self.body(room, sequence);
        self.published.borrow_mut().ledgers[room]
            .produced
            .insert(sequence);
        if again == Again::AfterCut {
            let after = CUT_WITHIN.mul_f64(rand::rng().random());
            let cut = self.api.post_and_cut(PATH, &body, after).await;
            let mut published = self.published.borrow_mut();
            published.requests += 1;
            published.again_after_cut += 1;
            if let Err(error) = cut {
                published.fail(None, &format!("{error:#}"));
            }
        }
        if !self.until_accepted(&body).await {
            self.published.borrow_mut().given_up += 1;
            return;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.published.borrow_mut().ledgers[room]
            .acknowledged
            .insert(sequence);
        if again == Again::AfterAnswer {
            self.published.borrow_mut().again_after_answer += 1;
            if !self.until_accepted(&body).await {
                self.published.borrow_mut().given_up += 1;
            }
        }
    }

    /// Tries until the answer is 202, or too long, or it is one that another try does not change.
    async fn until_accepted(&mut self, body: &str) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < GIVE_UP {
            let asked = Instant::now();
            let answer = self.api.post(PATH, body).await;
            if let Some(accepted) = self.published.borrow_mut().note(answer, asked.elapsed()) {
                return accepted;
            }
            sleep(PAUSE).await;
        }
        false
    }

    /// One message, whose data is a record of this run.
    fn body(&mut self, room: usize, sequence: u32) -> String {
        let channel = channel(room).to_string();
        let sent_ns = self.plan.clock.now_ns();
        let data = self.writer.write(ORGANISATION, &channel, sequence, sent_ns);
        let data = std::str::from_utf8(data).expect("a record is ASCII");
        format!(
            "{{\"event\":\"{EVENT}\",\"organization_id\":\"{ORGANISATION}\",\"rooms\":[\"channel:{channel}\"],\
             \"idempotency_key\":\"{}-{room}-{sequence}\",\"data\":{data}}}",
            self.plan.run
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits are plenty for a number of a message"
)]
fn f64_of(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_message_is_sent_again_half_of_them_after_a_cut() {
        let count = |like: Again| (0..600).filter(|number| Again::of(*number) == like).count();
        assert_eq!(count(Again::AfterAnswer), 100);
        assert_eq!(count(Again::AfterCut), 100);
    }
}
