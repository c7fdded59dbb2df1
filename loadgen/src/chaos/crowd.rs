//! The clients of a run, on threads of their own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::client::Client;
use crate::clock::Clock;
use crate::crowd;
use crate::latency::Latencies;
use crate::socket::{Endpoint, Minter};

use super::Args;
use super::habit::Habit;
use super::history::ClientHistory;
use super::part::{Around, Orders, Seated, Shared};
use super::scenario::Scenario;
use super::seating::Seating;

/// Histories by the client's index, and what all of them measured.
pub(super) type Share = Result<(Vec<(usize, ClientHistory)>, Latencies)>;

/// What clients are made of.
pub(super) struct Crowd<'a> {
    pub(super) args: &'a Args,
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) run: String,
    pub(super) secret: String,
    pub(super) clock: Clock,
    pub(super) seating: Arc<Seating>,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) endpoint: Endpoint,
}

impl Crowd<'_> {
    pub(super) fn start(self) -> Result<Vec<JoinHandle<Share>>> {
        let minter = Minter::new(
            &self.secret,
            self.clock.unix_seconds() + self.seconds + 3_600,
        )?;
        let mut shares: Vec<Vec<(usize, String)>> = vec![Vec::new(); self.args.threads];
        for index in 0..self.seating.clients {
            let organisation = self.seating.organisation_of_client(index);
            let organisation = self
                .seating
                .name(self.seating.organisation_room(organisation))
                .0;
            let token = minter.dispatcher(&format!("chaos-{index}"), &organisation)?;
            shares[index % self.args.threads].push((index, token));
        }
        let mut threads = Vec::new();
        for share in shares {
            let (scenario, form, seed, seconds) =
                (self.scenario, self.args.form, self.seed, self.seconds);
            let (clock, rate, run) = (self.clock, self.args.connect_rate, self.run.clone());
            let (seating, shared) = (Arc::clone(&self.seating), Arc::clone(&self.shared));
            let (orders, endpoint) = (self.orders.clone(), self.endpoint.clone());
            let backoff = Duration::from_millis(self.args.backoff_ms);
            let hold = move || {
                let around = Rc::new(Around {
                    clock,
                    shared,
                    seating,
                    orders: orders.clone(),
                    latencies: RefCell::new(Latencies::new()),
                    scratch: RefCell::default(),
                    backoff,
                });
                let seated = share.into_iter().map(|(index, token)| {
                    let habit = scenario.habit(index, form, seconds);
                    seat(index, token, habit, &run, &around, seed)
                });
                let mut stopped = orders;
                let stop = async {
                    // An error means that the run is gone: then it is time to stop as well.
                    let _stopped = stopped.wait_for(|orders| orders.stop).await;
                };
                let clients = crowd::hold(seated.collect(), &endpoint, rate, stop)?;
                let histories = clients
                    .into_iter()
                    .map(|client| (client.index, client.part.history.into_inner()));
                let histories = histories.collect();
                Ok((histories, around.latencies.replace(Latencies::new())))
            };
            threads.push(
                std::thread::Builder::new()
                    .name("clients".to_owned())
                    .spawn(hold)?,
            );
        }
        Ok(threads)
    }
}

fn seat(
    index: usize,
    token: String,
    habit: Habit,
    run: &str,
    around: &Rc<Around>,
    seed: u64,
) -> Client<Seated> {
    let seating = &around.seating;
    let slow = matches!(
        habit,
        Habit::Trickle { .. } | Habit::Stop { .. } | Habit::StopForGood { .. }
    );
    let rooms = seating.rooms_of_client(index, slow);
    let organisation = seating.organisation_of_client(index);
    let own = seating.organisation_room(organisation);
    let history = ClientHistory::new(&seating.name(own).0, run, own, &rooms);
    let asked = rooms.iter().map(|room| seating.asked(*room)).collect();
    let random = SmallRng::seed_from_u64(seed ^ (index as u64) << 20);
    let part = Seated::new(index, habit, history, Rc::clone(around), random);
    Client::new(index, token, asked, part)
}
