//! SIGHUP: what can be changed while the server runs becomes what is written now. All of it, or, if anything is wrong, nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::fleet::Fleet;
use super::log_reader::LogReader;
use super::origins::Origins;
use super::session_rules;
use super::stats::EventCounters;
use crate::auth::Verifier;
use crate::lifecycle::Lifecycle;
use crate::session::Sessions;
use crate::settings::{Problems, Settings};
use crate::telemetry::events::{self, Reloaded};

/// Files that take longer to read are as good as not there.
const READ: Duration = Duration::from_secs(10);

/// Reads everything again, for a server that runs with these settings. Blocks.
pub type Reread = Arc<dyn Fn(&Settings) -> Result<Settings, Problems> + Send + Sync>;

/// The parts that a reload reaches.
pub(super) struct Reload {
    pub(super) reread: Reread,
    /// What is in force.
    pub(super) settings: Settings,
    pub(super) log: Arc<LogReader>,
    pub(super) events: Arc<EventCounters>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) origins: Arc<ArcSwap<Origins>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) fleet: Option<Arc<Fleet>>,
}

impl Reload {
    /// Reloads whenever it is asked to, one after the other, until the process stops.
    pub(super) async fn watch(mut self, lifecycle: Lifecycle) {
        let stopping = lifecycle.stopping();
        loop {
            let asked = stopping.run_until_cancelled(lifecycle.reload_asked()).await;
            if asked.is_none() {
                return;
            }
            // Files may be slow, and the end does not wait for them.
            let Some(read) = stopping.run_until_cancelled(self.read()).await else {
                return;
            };
            match read {
                Ok(newer) => self.apply(newer).await,
                Err(why) => events::reload_refused(self.sessions.metrics(), &why),
            }
        }
    }

    async fn read(&self) -> Result<Settings, String> {
        let (reread, running) = (self.reread.clone(), self.settings.clone());
        let reading = tokio::task::spawn_blocking(move || reread(&running));
        match tokio::time::timeout(READ, reading).await {
            Ok(Ok(Ok(newer))) => Ok(newer),
            Ok(Ok(Err(problems))) => Err(problems.to_string()),
            Ok(Err(panicked)) => Err(panicked.to_string()),
            Err(_) => Err(format!("reading takes longer than {} s", READ.as_secs())),
        }
    }

    async fn apply(&mut self, newer: Settings) {
        newer.announce();
        let needs_restart = self.settings.restart_needed(&newer).join(", ");
        self.settings.apply(newer);
        let Settings {
            profile,
            listen,
            auth,
            bus,
            ..
        } = &self.settings;
        self.verifier.set_secrets(&auth.own.keys.secrets);
        if let (Some(fleet), Some(bus)) = (&self.fleet, bus) {
            fleet.set_keys(&bus.keys);
        }
        self.verifier.reload();
        // Before the policy: connections made from now on have the ids that it asks for.
        self.verifier.set_claim_rules(profile.claim_rules());
        self.origins.store(Arc::new(Origins::new(listen)));
        // Before the routes: what they newly send to a room is only for connections that the new policy admits to it.
        let revoked = self.sessions.set_rules(session_rules(profile)).await;
        self.events.learn(&profile.routes);
        self.log.reroute(&profile.routes);
        events::reloaded(
            self.sessions.metrics(),
            &Reloaded {
                profile: &profile.name,
                revoked_connections: revoked.connections,
                revoked_rooms: revoked.rooms,
                needs_restart: &needs_restart,
            },
        );
    }
}
