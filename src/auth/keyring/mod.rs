//! The keys that are known now, and how they stay current: files are read again when they change, the key server is asked
//! before its answer is stale and when a token names a key that nobody knows. What goes wrong leaves the old keys in place.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::KeySources;
use super::files::{Format, KeyFile};
use super::keys::{Allowed, Key, KeySet};
use super::server::{Answer, KeyServer};
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

/// A file that changes under the reader's eyes is read until it rests: so often, with this pause.
const SETTLE_TRIES: u32 = 20;
const SETTLE_PAUSE: Duration = Duration::from_millis(25);

/// A disk that takes longer is told of.
const READ: Duration = Duration::from_secs(5);

/// How often things are done. Tests are in a hurry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two looks at the files.
    pub(super) files_every: Duration,
    /// Between two questions to the key server that clients cause.
    pub(super) ask_every: Duration,
    /// Between two questions to a key server that is away: doubles from the first up to the longest.
    pub(super) retry_first: Duration,
    pub(super) retry_longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            files_every: Duration::from_secs(2),
            ask_every: Duration::from_secs(10),
            retry_first: Duration::from_millis(500),
            retry_longest: Duration::from_secs(30),
        }
    }
}

/// Tokens whose key was looked for and not found; the oldest are forgotten.
const PRESENTED: usize = 4_096;

/// How often something was asked: a number says "after that moment" without a clock. 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rounds {
    begun: u64,
    ended: u64,
    /// The last one that ended well.
    good: u64,
}

/// Tells those who wait for a key how far the look-ups are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    files: Rounds,
    server: Rounds,
}

/// What can be said of a token whose key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Everybody who might know the key was asked after the token came, and answered: nobody knows it.
    Settled,
    /// Somebody is being asked.
    Wait,
    /// Somebody should be asked, but does not answer or must not be asked yet.
    Later,
}

/// How the keys are, for `/ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHealth {
    /// False until every source has given its keys once.
    pub known: bool,
    pub trouble: Option<String>,
}

pub(super) struct Keyring {
    allowed: Allowed,
    pace: Pace,
    files: Vec<KeyFile>,
    server: Option<KeyServer>,
    current: ArcSwap<KeySet>,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    look_at_files: Notify,
    ask_server: Notify,
    /// Remembers contents and tokens by hashes that nobody outside can compute.
    hasher: RandomState,
}

struct State {
    fixed: Vec<Arc<Key>>,
    of_files: Vec<FileState>,
    of_server: ServerState,
    presented: Presented,
}

struct FileState {
    keys: Vec<Arc<Key>>,
    /// Of the content that was judged last, good or bad.
    seen: Option<u64>,
    trouble: Option<String>,
}

#[derive(Default)]
struct ServerState {
    keys: Vec<Arc<Key>>,
    answered: Option<Instant>,
    trouble: Option<String>,
    wanted: bool,
    last_begun: Option<Instant>,
}

/// When a token first came, in rounds.
#[derive(Default)]
struct Presented {
    first: HashMap<u64, Progress>,
    order: VecDeque<u64>,
}

/// The keys of the settings' own secrets.
fn fixed(secrets: &[SecretString], allowed: &Allowed) -> Vec<Arc<Key>> {
    let key = |secret: &SecretString| {
        let bytes = secret.expose_secret().as_bytes();
        Key::secret(None, bytes, None, allowed).map(Arc::new)
    };
    secrets.iter().filter_map(key).collect()
}

impl Keyring {
    /// Reads every file; the key server is not asked before `keep`.
    pub(super) fn open(sources: &KeySources, pace: Pace) -> anyhow::Result<Self> {
        let allowed = Allowed(sources.algorithms.clone());
        let hasher = RandomState::new();
        let fixed = fixed(&sources.secrets, &allowed);
        let files = sources.files();
        let mut of_files = Vec::new();
        for file in &files {
            let read = || {
                let content = file.read()?;
                let keys = file.parse(&content, &allowed)?;
                Ok((hasher.hash_one(&content), keys))
            };
            let (seen, keys) = read().map_err(|why: String| {
                let path = file.path.display();
                anyhow::anyhow!("cannot use {} ({path}): {why}", file.variable())
            })?;
            of_files.push(FileState {
                keys: keys.into_iter().map(Arc::new).collect(),
                seen: Some(seen),
                trouble: None,
            });
        }
        let server = sources.url().map(KeyServer::new).transpose()?;
        let keyring = Self {
            allowed,
            pace,
            files,
            server,
            current: ArcSwap::default(),
            state: Mutex::new(State {
                fixed,
                of_files,
                of_server: ServerState {
                    wanted: true,
                    ..ServerState::default()
                },
                presented: Presented::default(),
            }),
            progress: watch::Sender::new(Progress::default()),
            look_at_files: Notify::new(),
            ask_server: Notify::new(),
            hasher,
        };
        keyring.publish(&keyring.lock());
        Ok(keyring)
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    pub(super) fn health(&self) -> KeyHealth {
        let state = self.lock();
        let server = &state.of_server;
        let mut trouble: Vec<String> = state
            .of_files
            .iter()
            .zip(&self.files)
            .filter_map(|(state, file)| Some((state.trouble.as_ref()?, file)))
            .map(|(why, file)| format!("{}: {why}; the keys from before hold", file.variable()))
            .collect();
        if let Some(why) = &server.trouble {
            trouble.push(match server.answered {
                None => format!("key server: {why}"),
                Some(at) => {
                    let seconds = at.elapsed().as_secs();
                    format!("key server: {why}; its keys of {seconds} s ago hold")
                }
            });
        }
        KeyHealth {
            known: self.server.is_none() || server.answered.is_some(),
            trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
        }
    }

    pub(super) fn set_secrets(&self, secrets: &[SecretString]) {
        let mut state = self.lock();
        state.fixed = fixed(secrets, &self.allowed);
        self.publish(&state);
    }

    /// Files are read and the key server is asked now, whatever was changed and however long ago that was.
    pub(super) fn reload(&self) {
        {
            let mut state = self.lock();
            state.of_server.wanted = true;
            for file in &mut state.of_files {
                file.seen = None;
            }
        }
        self.look_at_files.notify_one();
        self.ask_server.notify_one();
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Asks those who might know a key for this algorithm, as often as that is allowed. Gives the moment when this token first
    /// came: only what was asked later is an answer to it.
    pub(super) fn ask(&self, token: &str, algorithm: Algorithm) -> Progress {
        let now = *self.progress.borrow();
        let mut state = self.lock();
        let hash = self.hasher.hash_one(token);
        let first = state.presented.first(hash, now);
        if self.files_may_have(algorithm) {
            self.look_at_files.notify_one();
        }
        if self.server_may_have(algorithm) && now.server.begun == now.server.ended {
            let server = &mut state.of_server;
            let rested = server
                .last_begun
                .is_none_or(|begun| begun.elapsed() >= self.pace.ask_every);
            if rested && now.server.good <= first.server.begun {
                server.wanted = true;
                self.ask_server.notify_one();
            }
        }
        first
    }

    pub(super) fn outlook(&self, algorithm: Algorithm, first: Progress, now: Progress) -> Outlook {
        let files = if self.files_may_have(algorithm) && now.files.good <= first.files.begun {
            // They are looked at without delay. A bad file may hide the key.
            let begun_since = now.files.ended > first.files.begun;
            if begun_since {
                Outlook::Later
            } else {
                Outlook::Wait
            }
        } else {
            Outlook::Settled
        };
        let server = if self.server_may_have(algorithm) && now.server.good <= first.server.begun {
            let under_way = now.server.begun > now.server.ended || self.lock().of_server.wanted;
            if under_way {
                Outlook::Wait
            } else {
                Outlook::Later
            }
        } else {
            Outlook::Settled
        };
        match (files, server) {
            (Outlook::Settled, Outlook::Settled) => Outlook::Settled,
            (Outlook::Wait, _) | (_, Outlook::Wait) => Outlook::Wait,
            _ => Outlook::Later,
        }
    }

    fn files_may_have(&self, algorithm: Algorithm) -> bool {
        use AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
        self.files.iter().any(|file| {
            let families: &[_] = match file.format {
                Format::Secrets => &[Hmac],
                Format::Pem => &[Rsa, Ec, Ed],
                Format::Jwks => &[Hmac, Rsa, Ec, Ed],
            };
            self.allowed.of_families(families).contains(&algorithm)
        })
    }

    fn server_may_have(&self, algorithm: Algorithm) -> bool {
        use AlgorithmFamily::{Ec, Ed, Rsa};
        self.server.is_some()
            && self
                .allowed
                .of_families(&[Rsa, Ec, Ed])
                .contains(&algorithm)
    }

    /// Keeps the files' keys current until `stopping`.
    pub(super) async fn keep_files(self: Arc<Self>, metrics: Metrics, stopping: CancellationToken) {
        if self.files.is_empty() {
            return;
        }
        let work = async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(self.pace.files_every) => {}
                    () = self.look_at_files.notified() => {}
                }
                self.progress
                    .send_modify(|progress| progress.files.begun += 1);
                let mut good = true;
                for index in 0..self.files.len() {
                    good &= self.look_at(index, &metrics).await;
                }
                self.progress.send_modify(|progress| {
                    progress.files.ended = progress.files.begun;
                    if good {
                        progress.files.good = progress.files.ended;
                    }
                });
            }
        };
        stopping.run_until_cancelled(work).await;
    }

    /// Is what the file says now in force?
    async fn look_at(&self, index: usize, metrics: &Metrics) -> bool {
        let file = &self.files[index];
        let content = self.settled(index, metrics).await;
        let judged = match &content {
            Ok(content) => {
                let seen = self.hasher.hash_one(content);
                if self.lock().of_files[index].seen == Some(seen) {
                    return self.lock().of_files[index].trouble.is_none();
                }
                file.parse(content, &self.allowed)
                    .map_err(|why| (why, Some(seen)))
                    .map(|keys| (keys, seen))
            }
            Err(why) => Err((why.clone(), None)),
        };
        let mut state = self.lock();
        let known = &mut state.of_files[index];
        match judged {
            Ok((keys, seen)) => {
                let count = keys.len();
                known.keys = keys.into_iter().map(Arc::new).collect();
                known.seen = Some(seen);
                known.trouble = None;
                self.publish(&state);
                events::keys_read(file.variable(), count);
                true
            }
            Err((why, seen)) => {
                let told = known.trouble.as_ref() == Some(&why);
                known.seen = seen;
                known.trouble = Some(why.clone());
                drop(state);
                metrics.errors.increment(Component::Keys);
                if !told {
                    events::keys_kept(file.variable(), &why);
                }
                false
            }
        }
    }

    /// The content once two looks have seen the same: whoever writes a file in place is not done in one stroke.
    async fn settled(&self, index: usize, metrics: &Metrics) -> Result<Vec<u8>, String> {
        let mut content = self.read(index, metrics).await;
        for _ in 0..SETTLE_TRIES {
            if let Ok(content) = &content {
                let seen = Some(self.hasher.hash_one(content));
                if self.lock().of_files[index].seen == seen {
                    break;
                }
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
            let again = self.read(index, metrics).await;
            let rests = again == content;
            content = again;
            if rests {
                break;
            }
        }
        content
    }

    async fn read(&self, index: usize, metrics: &Metrics) -> Result<Vec<u8>, String> {
        let file = self.files[index].clone();
        let mut reading = tokio::task::spawn_blocking(move || file.read());
        let outcome = if let Ok(outcome) = tokio::time::timeout(READ, &mut reading).await {
            outcome
        } else {
            let why = format!("reading it takes more than {} s", READ.as_secs());
            events::keys_kept(self.files[index].variable(), &why);
            metrics.errors.increment(Component::Keys);
            {
                let known = &mut self.lock().of_files[index];
                known.trouble = Some(why);
                known.seen = None;
            }
            // A second thread would hang as this one does.
            reading.await
        };
        outcome.unwrap_or_else(|_| Err("reading it failed".to_owned()))
    }

    /// Keeps the key server's keys current until `stopping`.
    pub(super) async fn keep_server(
        self: Arc<Self>,
        metrics: Metrics,
        stopping: CancellationToken,
    ) {
        let Some(server) = &self.server else { return };
        let work = async {
            let mut failures = 0;
            loop {
                let wait = if let Some(good_for) = self.ask_once(server, &metrics).await {
                    failures = 0;
                    good_for
                } else {
                    failures += 1;
                    back_off(self.pace, failures)
                };
                self.until_due(Instant::now() + wait).await;
            }
        };
        stopping.run_until_cancelled(work).await;
    }

    async fn until_due(&self, due: Instant) {
        loop {
            if self.lock().of_server.wanted {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                // Left over from a question that has been asked meanwhile, maybe: look again.
                () = self.ask_server.notified() => {}
            }
        }
    }

    /// One question to the server, for how long its answer is good. The command line asks once, too.
    async fn ask_once(&self, server: &KeyServer, metrics: &Metrics) -> Option<Duration> {
        let anew = {
            let mut state = self.lock();
            state.of_server.last_begun = Some(Instant::now());
            std::mem::take(&mut state.of_server.wanted)
        };
        self.progress
            .send_modify(|progress| progress.server.begun += 1);
        let answer = server.fetch(&self.allowed, anew).await;
        let good_for = self.take(server, answer, metrics);
        self.progress.send_modify(|progress| {
            progress.server.ended = progress.server.begun;
            if good_for.is_some() {
                progress.server.good = progress.server.ended;
            }
        });
        good_for
    }

    fn take(
        &self,
        server: &KeyServer,
        answer: Result<Answer, String>,
        metrics: &Metrics,
    ) -> Option<Duration> {
        let mut state = self.lock();
        let known = &mut state.of_server;
        match answer {
            Ok(Answer { keys, good_for }) => {
                let news = known.answered.is_none() || known.trouble.is_some();
                let count = keys.len();
                known.keys = keys.into_iter().map(Arc::new).collect();
                known.answered = Some(Instant::now());
                known.trouble = None;
                self.publish(&state);
                if news {
                    events::key_server_up(&server.name(), count);
                }
                Some(good_for)
            }
            Err(why) => {
                let (news, has_keys) = (known.trouble.is_none(), known.answered.is_some());
                known.trouble = Some(why.clone());
                drop(state);
                metrics.errors.increment(Component::Keys);
                if news {
                    events::key_server_down(&server.name(), &why, has_keys);
                }
                None
            }
        }
    }

    /// Asks the key server, if there is one, and says what it said. For the command line.
    pub(super) async fn ask_now(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        if self.ask_once(server, metrics).await.is_none() {
            let trouble = self.lock().of_server.trouble.clone();
            return Err(anyhow::anyhow!(trouble.unwrap_or_default()))
                .with_context(|| format!("the key server {} gave no keys", server.name()));
        }
        Ok(())
    }

    fn publish(&self, state: &State) {
        let of_files = state.of_files.iter().flat_map(|file| &file.keys);
        let all = state
            .fixed
            .iter()
            .chain(of_files)
            .chain(&state.of_server.keys);
        self.current.store(Arc::new(KeySet(all.cloned().collect())));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presented {
    fn first(&mut self, token: u64, now: Progress) -> Progress {
        if let Some(first) = self.first.get(&token) {
            return *first;
        }
        if self.order.len() >= PRESENTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.order.push_back(token);
        self.first.insert(token, now);
        now
    }
}

/// Spread, so that instances that lost the server together do not come back together.
fn back_off(pace: Pace, failures: u32) -> Duration {
    let doubled = pace
        .retry_first
        .saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(pace.retry_longest)
        .mul_f64(rand::rng().random_range(0.75..1.25))
}

/// What is wrong with the sources that are at hand, each with the variable that names it.
pub fn check(sources: &KeySources) -> Vec<(&'static str, String)> {
    let allowed = Allowed(sources.algorithms.clone());
    let mut problems = Vec::new();
    let mut usable = sources.url().is_some();
    for file in sources.files() {
        match file
            .read()
            .and_then(|content| file.parse(&content, &allowed))
        {
            Ok(keys) => usable |= !keys.is_empty(),
            Err(why) => problems.push((file.variable(), format!("{}: {why}", file.path.display()))),
        }
    }
    usable |= sources.secrets.iter().any(|secret| {
        Key::secret(None, secret.expose_secret().as_bytes(), None, &allowed).is_some()
    });
    if !usable && problems.is_empty() {
        let why = "it leaves no algorithm that any of the keys can be used with";
        problems.push(("JWT_ALGORITHMS", why.to_owned()));
    }
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}
