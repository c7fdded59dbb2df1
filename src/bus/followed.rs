//! The organisations whose events this instance is sent, by other instances and by emitters: those that have sessions here, and for a while
//! those that had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::id::Id;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accepted::AcceptedEmitters;
use super::channels::Names;
use super::link::{Link, Subscription};

/// A user who reloads a page leaves and comes back: so long its organisation is followed all the same.
const LINGER: Duration = Duration::from_secs(5);

/// How often those that are left for longer are looked for.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Followed {
    link: Arc<Link>,
    names: Names,
    emitters: Arc<AcceptedEmitters>,
    /// Since when each of them has no session.
    left: Mutex<HashMap<Id, Instant>>,
}

impl Followed {
    pub(super) fn new(link: &Arc<Link>, names: &Names, emitters: Arc<AcceptedEmitters>) -> Self {
        Self {
            link: link.clone(),
            names: names.clone(),
            emitters,
            left: Mutex::default(),
        }
    }

    pub(super) fn follow(&self, organisation: &Id) {
        // Held over the change of the subscription, so that `drop_left` cannot end one that has just begun again.
        let mut left = self.left();
        left.remove(organisation);
        for channel in self.channels(organisation) {
            self.link.subscribe(channel);
        }
    }

    pub(super) fn leave(&self, organisation: &Id) {
        self.left().insert(organisation.clone(), Instant::now());
    }

    /// Ends subscriptions, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            self.drop_left();
        }
    }

    fn drop_left(&self) {
        let mut left = self.left();
        left.retain(|organisation, since| {
            let lingers = since.elapsed() < LINGER;
            if !lingers {
                for channel in self.channels(organisation) {
                    self.link.unsubscribe(&channel);
                }
            }
            lingers
        });
    }

    fn channels(&self, organisation: &Id) -> impl Iterator<Item = Subscription> {
        let own = Subscription::Channel(self.names.organisation(organisation).into());
        std::iter::once(own).chain(self.emitters.channels(organisation))
    }

    fn left(&self) -> MutexGuard<'_, HashMap<Id, Instant>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
