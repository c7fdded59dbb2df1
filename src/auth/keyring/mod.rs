//! The keys that are known now, and how they stay current: files are read again when they change, the key server is asked
//! before its answer is stale and when a token names an unknown key. What goes wrong leaves the old keys in place.
//!
//! - here: what is known, and how it is
//! - `look_up`: a token whose key is not known: which sources are asked, and whether an answer is to be expected
//! - `keep_files`, `keep_server`: how each kind of source is kept current

mod keep_files;
mod keep_server;
mod look_up;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::KeySources;
use super::files::KeyFile;
use super::keys::{Allowed, Key, KeySet};
use super::server::KeyServer;

pub(super) use look_up::Outlook;
use look_up::{Presented, Progress};

/// How often things are done. Tests are in a hurry.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefreshIntervals {
    /// Between two looks at the files.
    pub(super) files_every: Duration,
    /// Between two questions to the key server that clients cause.
    pub(super) ask_every: Duration,
    /// Between two questions to a key server that is away: doubles from the first up to the longest.
    pub(super) retry_first: Duration,
    pub(super) retry_longest: Duration,
}

impl Default for RefreshIntervals {
    fn default() -> Self {
        Self {
            files_every: Duration::from_secs(2),
            ask_every: Duration::from_secs(10),
            retry_first: Duration::from_millis(500),
            retry_longest: Duration::from_secs(30),
        }
    }
}

/// How the keys are, for `/ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHealth {
    /// False until every source has given its keys once.
    pub known: bool,
    pub problem: Option<String>,
}

pub(super) struct Keyring {
    allowed: Allowed,
    pace: RefreshIntervals,
    files: Vec<KeyFile>,
    server: Option<KeyServer>,
    current: ArcSwap<KeySet>,
    state: Mutex<KeyringState>,
    progress: watch::Sender<Progress>,
    look_at_files: Notify,
    ask_server: Notify,
    /// Remembers contents and tokens by hashes that cannot be computed outside.
    hasher: RandomState,
}

struct KeyringState {
    fixed: Vec<Arc<Key>>,
    of_files: Vec<FileState>,
    of_server: ServerState,
    presented: Presented,
}

struct FileState {
    keys: Vec<Arc<Key>>,
    /// Of the content that was judged last, good or bad.
    seen: Option<u64>,
    problem: Option<String>,
}

#[derive(Default)]
struct ServerState {
    keys: Vec<Arc<Key>>,
    answered: Option<Instant>,
    problem: Option<String>,
    wanted: bool,
    last_begun: Option<Instant>,
}

impl Keyring {
    /// Reads every file; the key server is not asked before `keep`.
    pub(super) fn open(sources: &KeySources, pace: RefreshIntervals) -> anyhow::Result<Self> {
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
                problem: None,
            });
        }
        let server = sources.url().map(KeyServer::new).transpose()?;
        let keyring = Self {
            allowed,
            pace,
            files,
            server,
            current: ArcSwap::default(),
            state: Mutex::new(KeyringState {
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
        let mut problem: Vec<String> = state
            .of_files
            .iter()
            .zip(&self.files)
            .filter_map(|(state, file)| Some((state.problem.as_ref()?, file)))
            .map(|(why, file)| {
                let (setting, path) = (file.variable(), file.path.display());
                format!("{setting} ({path}): {why}; the keys from before hold")
            })
            .collect();
        if let Some(why) = &server.problem {
            problem.push(match server.answered {
                None => format!("key server: {why}"),
                Some(at) => {
                    let seconds = at.elapsed().as_secs();
                    format!("key server: {why}; its keys of {seconds} s ago hold")
                }
            });
        }
        KeyHealth {
            known: self.server.is_none() || server.answered.is_some(),
            problem: (!problem.is_empty()).then(|| problem.join("; ")),
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

    fn publish(&self, state: &KeyringState) {
        let of_files = state.of_files.iter().flat_map(|file| &file.keys);
        let all = state
            .fixed
            .iter()
            .chain(of_files)
            .chain(&state.of_server.keys);
        self.current.store(Arc::new(KeySet(all.cloned().collect())));
    }

    fn lock(&self) -> MutexGuard<'_, KeyringState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of the settings' own secrets.
fn fixed(secrets: &[SecretString], allowed: &Allowed) -> Vec<Arc<Key>> {
    let key = |secret: &SecretString| {
        let bytes = secret.expose_secret().as_bytes();
        Key::secret(None, bytes, None, allowed).map(Arc::new)
    };
    secrets.iter().filter_map(key).collect()
}
