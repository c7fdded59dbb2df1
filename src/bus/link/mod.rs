//! The connection to Redis: one, for commands and messages alike, made again whenever it is lost.
//!
//! It is not the library's own reconnecting connection: that one does not notice a server which has gone silent, as behind a cut
//! cable; commands wait while it reconnects; and it does not tell when it has subscribed again, which is when whatever this instance
//! keeps in Redis has to be written once more.

mod subscriptions;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, ScriptInvocation, Value,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use self::subscriptions::Subscription;
use self::subscriptions::WantedMessages;
use super::fault::RedisFault;
use super::intake::{BusIntake, IncomingMessages, IntakeSettings};
use crate::telemetry::labels::RedisOutcome;
use crate::telemetry::{Metrics, RedisMetrics, events};

/// A command that is not answered within it has failed.
const ANSWER: Duration = Duration::from_secs(1);
/// How often it is asked whether Redis is there.
const PROBE: Duration = Duration::from_secs(1);
/// After so many probes in a row without an answer the connection is given up. One alone may be the fault of a busy machine.
const SILENT_PROBES: u32 = 2;
/// Between two attempts to connect. Each is half as long again as the one before it, and up to a half longer by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lived so long was a good one: what follows begins with the first pause.
const GOOD: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It answers, and all subscriptions are made. The number is another one for each connection: what was kept in Redis before may be gone.
    Up(u64),
    Down(RedisFault),
}

impl LinkState {
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

/// What commands go over.
#[derive(Clone)]
struct LinkConnection {
    epoch: u64,
    connection: MultiplexedConnection,
}

pub struct Link {
    info: ConnectionInfo,
    /// Removed from error texts.
    password: Option<String>,
    state: watch::Sender<LinkState>,
    connection: Mutex<Option<LinkConnection>>,
    wanted: Mutex<WantedMessages>,
    wanted_changed: Notify,
    /// The connection that is to be made again, by its number.
    given_up: watch::Sender<u64>,
    intake: BusIntake,
    metrics: Metrics,
    counts: RedisMetrics,
}

impl Link {
    /// Nothing is connected before [`keep`](Self::keep) runs.
    ///
    /// # Errors
    ///
    /// The URL is none of Redis.
    pub fn new(
        url: &str,
        intake: IntakeSettings,
        metrics: &Metrics,
    ) -> Result<(Arc<Self>, IncomingMessages), RedisFault> {
        let info = connection_info(url)?;
        let password = info.redis_settings().password().map(str::to_owned);
        let (intake, messages) = BusIntake::new(intake, metrics);
        let link = Self {
            info,
            password,
            state: watch::Sender::new(LinkState::Down(RedisFault::NotYet)),
            connection: Mutex::default(),
            wanted: Mutex::default(),
            wanted_changed: Notify::new(),
            given_up: watch::Sender::new(0),
            intake,
            metrics: metrics.clone(),
            counts: metrics.bus(),
        };
        Ok((Arc::new(link), messages))
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    /// Notified when a message was dropped that was an order of another instance, or may have been one: what can be read in another way
    /// is to be read again.
    pub fn missed(&self) -> &Arc<Notify> {
        self.intake.missed()
    }

    /// Sends a command.
    ///
    /// # Errors
    ///
    /// At once while Redis is away; else within a second.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFault> {
        let LinkConnection {
            epoch,
            mut connection,
        } = self.connection()?;
        let asked = command.query_async(&mut connection);
        self.answered(epoch, asked).await
    }

    /// Sends several commands in one piece; as [`ask`](Self::ask). The first error stands for all.
    pub async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisFault> {
        let LinkConnection {
            epoch,
            mut connection,
        } = self.connection()?;
        let asked = commands.query_async(&mut connection);
        self.answered(epoch, asked).await
    }

    /// Runs a script; as [`ask`](Self::ask).
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        let LinkConnection {
            epoch,
            mut connection,
        } = self.connection()?;
        let asked = script.invoke_async(&mut connection);
        self.answered(epoch, asked).await
    }

    fn connection(&self) -> Result<LinkConnection, RedisFault> {
        if let Some(connection) = &*lock(&self.connection) {
            return Ok(connection.clone());
        }
        self.counts.commands.increment(RedisOutcome::NotConnected);
        match &*self.state.borrow() {
            LinkState::Down(fault) => Err(fault.clone()),
            LinkState::Up(_) => Err(RedisFault::Lost),
        }
    }

    async fn answered<T>(
        &self,
        epoch: u64,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisFault> {
        let answer = self.within_time(asked).await;
        // That server has become a replica: the name may lead to another one by now. A later connection is none of its business.
        if matches!(answer, Err(RedisFault::Replica)) {
            self.given_up.send_replace(epoch);
        }
        self.counts.commands.increment(match &answer {
            Ok(_) => RedisOutcome::Ok,
            Err(RedisFault::TimedOut(_)) => RedisOutcome::TimedOut,
            Err(RedisFault::Lost | RedisFault::Unreachable(_)) => RedisOutcome::Lost,
            Err(_) => RedisOutcome::Refused,
        });
        answer
    }

    async fn within_time<T>(
        &self,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisFault> {
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RedisFault::of(&error, self.password.as_deref(), ANSWER)),
            Err(_) => Err(RedisFault::TimedOut(ANSWER)),
        }
    }

    /// Connects, and connects again, until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        for epoch in 1.. {
            let begin = tokio::time::Instant::now();
            let served = stop.run_until_cancelled(self.serve(epoch)).await;
            lock(&self.connection).take();
            let Some(fault) = served else {
                return;
            };
            self.set_down(&fault);
            if begin.elapsed() > GOOD {
                pause = FIRST_PAUSE;
            }
            let by_chance = rand::rng().random_range(1.0..1.5);
            let wait = tokio::time::sleep(pause.mul_f64(by_chance));
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
            pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
        }
    }

    /// One connection, from its beginning to its end. Gives what ended it.
    async fn serve(&self, epoch: u64) -> RedisFault {
        let lost = Arc::new(Notify::new());
        let mut connection = match self.connect(&lost).await {
            Ok(connection) => connection,
            Err(fault) => return fault,
        };
        let mut subscribed = BTreeSet::new();
        self.want_all_again();
        if let Err(fault) = self
            .subscribe_changed(&mut connection, &mut subscribed)
            .await
        {
            return fault;
        }
        // While it loads its file it subscribes, and refuses everything else.
        if let Err(fault) = self.probe(&mut connection).await {
            return fault;
        }
        *lock(&self.connection) = Some(LinkConnection {
            epoch,
            connection: connection.clone(),
        });
        self.set_up(epoch);
        let mut given_up = self.given_up.subscribe();
        let mut probes = tokio::time::interval(PROBE);
        let mut silent = 0;
        loop {
            tokio::select! {
                () = lost.notified() => return RedisFault::Lost,
                () = is_given_up(&mut given_up, epoch) => return RedisFault::GivenUp,
                () = self.wanted_changed.notified() => {
                    let asked = self.subscribe_changed(&mut connection, &mut subscribed).await;
                    // What is not answered may yet be done, later than what is asked for next: a new connection has no past.
                    if let Err(fault) = asked {
                        return fault;
                    }
                }
                _ = probes.tick() => match self.probe(&mut connection).await {
                    Ok(()) => silent = 0,
                    Err(RedisFault::TimedOut(_)) if silent + 1 < SILENT_PROBES => silent += 1,
                    Err(fault) => return fault,
                },
            }
        }
    }

    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisFault> {
        let ping = redis::cmd("PING");
        let answer = ping.query_async::<Value>(connection);
        self.within_time(answer).await.map(drop)
    }

    async fn connect(&self, lost: &Arc<Notify>) -> Result<MultiplexedConnection, RedisFault> {
        let client = Client::open(self.info.clone()).map_err(|_| RedisFault::Url)?;
        let (intake, lost) = (self.intake.clone(), lost.clone());
        let pushed = move |push: PushInfo| -> Result<(), RedisFault> {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            } else {
                intake.take(push);
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(pushed);
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = self.within_time(connected).await?;
        let hello = redis::cmd("HELLO");
        let hello: Value = self.within_time(hello.query_async(&mut connection)).await?;
        RedisFault::of_hello(&hello).map_or(Ok(connection), Err)
    }

    fn set_up(&self, epoch: u64) {
        self.state.send_replace(LinkState::Up(epoch));
        self.counts.up.set(1.0);
        events::redis_up(&self.info.addr().to_string());
    }

    fn set_down(&self, fault: &RedisFault) {
        self.counts.up.set(0.0);
        let before = self.state.send_replace(LinkState::Down(fault.clone()));
        let is_news = match &before {
            LinkState::Up(_) => true,
            LinkState::Down(before) => *before == RedisFault::NotYet,
        };
        if is_news {
            events::redis_down(&self.metrics, &self.info.addr().to_string(), fault);
        }
    }
}

async fn is_given_up(given_up: &mut watch::Receiver<u64>, epoch: u64) {
    drop(given_up.wait_for(|given_up| *given_up == epoch).await);
}

/// How the server is reached.
pub(super) fn connection_info(url: &str) -> Result<ConnectionInfo, RedisFault> {
    let info = url.into_connection_info().map_err(|_| RedisFault::Url)?;
    let settings = info.redis_settings().clone();
    let settings = settings.set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_tcp_settings(tcp).set_redis_settings(settings))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
