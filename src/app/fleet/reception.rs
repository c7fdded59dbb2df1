//! What comes from other instances by Redis, and what this instance does then.

use std::pin::Pin;

use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::hub::feed::Feed;

use super::super::closing::{close, close_user};
use super::Fleet;
use crate::api::connections::Ending;
use crate::bus::{BusMessage, BusReceiver};

fn ending(may_return: bool) -> Ending {
    if may_return {
        Ending::MayReturn
    } else {
        Ending::MustNotReturn
    }
}

impl BusReceiver for Fleet {
    /// By the driver, as records of Kafka are: it looks at the work of each and at what connections may be sent before they are flushed.
    fn events(&self, events: Vec<Ephemeral>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let batch = events.into_iter().map(Feed::Ephemeral).collect();
            if let Some(feed) = self.feed.upgrade() {
                // The driver has ended: so does the process.
                drop(feed.send(batch).await);
            }
        })
    }

    fn has_kind(&self, kind: &str) -> bool {
        let rules = self.sessions.rules();
        let is_in_policy = rules.policy.kinds().any(|known| known == kind);
        is_in_policy || self.log.routes().kinds().contains(kind)
    }

    fn command(&self, message: BusMessage) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            match message {
                BusMessage::Event(event) => self.deliver(event),
                BusMessage::Kick {
                    connection_id,
                    may_return,
                    ..
                } => {
                    if let Some(session) = self.sessions.open().by_connection_id(&connection_id) {
                        close(&session, ending(may_return));
                    }
                }
                BusMessage::Disconnect {
                    organisation,
                    user,
                    may_return,
                } => {
                    close_user(&self.sessions, &organisation, &user, ending(may_return)).await;
                }
                BusMessage::Rooms(operation) => {
                    self.sessions.operate(&operation).await;
                }
                // Open sessions are ended in the background.
                BusMessage::Revocation(target, revocation) => match &self.keeper {
                    Some(keeper) => keeper.heard(target, revocation),
                    None => drop(self.sessions.revoke(&target, revocation)),
                },
            }
        })
    }
}
