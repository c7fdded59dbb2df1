//! A transport in memory: what is sent to a client lands in a list of bounded length.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::outlet::{Item, Offered, Outlet};
use serde_json::Value;

use crate::session::{
    AdmissionSlot, ConnectRequest, RejectedRoom, Resumption, Session, Sessions, SharedFrames,
    TransportHandle, TransportOutlet,
};
use crate::telemetry::labels::{ConnectionLabels, RejectReason};

/// What this transport calls its connections.
pub(super) const LABELS: ConnectionLabels = ConnectionLabels {
    transport: "memory",
    namespace: "-",
};

/// What a client received.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MemoryEvent {
    pub(super) event: String,
    pub(super) body: Value,
    pub(super) cursor: Option<String>,
}

/// One connection: the client's end and the server's in one.
pub(super) struct MemoryTransport {
    pipe: Mutex<SessionPipe>,
    closed: Mutex<Option<CloseReason>>,
    _slot: AdmissionSlot,
}

#[derive(Default)]
struct SessionPipe {
    capacity: usize,
    received: Vec<MemoryEvent>,
    offered_while_full: usize,
}

impl MemoryTransport {
    /// Connects a client that takes `capacity` events until [`Self::take_more`].
    pub(super) async fn connect(
        sessions: &Arc<Sessions>,
        request: ConnectRequest,
        capacity: usize,
    ) -> Result<(SessionClient, Resumption), RejectReason> {
        let (client, resumption) = Self::connect_slowly(sessions, request, capacity, || ()).await?;
        Ok((
            client,
            resumption.expect("the token is not revoked meanwhile"),
        ))
    }

    /// The same, and something happens once the token is accepted.
    pub(super) async fn connect_slowly(
        sessions: &Arc<Sessions>,
        request: ConnectRequest,
        capacity: usize,
        meanwhile: impl FnOnce(),
    ) -> Result<(SessionClient, Option<Resumption>), RejectReason> {
        let slot = sessions.admit(None, "at the handshake of the memory transport")?;
        let admitted = sessions.authenticate(&request).await?;
        meanwhile();
        let transport = Arc::new(Self {
            pipe: Mutex::new(SessionPipe {
                capacity,
                ..SessionPipe::default()
            }),
            closed: Mutex::default(),
            _slot: slot,
        });
        let session = admitted.session().clone();
        let outlet = |rejected| -> Box<dyn TransportOutlet> {
            Box::new(MemoryOutlet {
                transport: transport.clone(),
                session: session.clone(),
                rejected,
            })
        };
        let resumption = admitted.connect(transport.clone(), LABELS, outlet);
        let client = SessionClient { session, transport };
        Ok((client, resumption))
    }

    fn pipe(&self) -> MutexGuard<'_, SessionPipe> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TransportHandle for MemoryTransport {
    fn close(&self, reason: CloseReason) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.get_or_insert(reason);
    }
}

struct MemoryOutlet {
    transport: Arc<MemoryTransport>,
    session: Arc<Session>,
    rejected: Vec<RejectedRoom>,
}

impl MemoryOutlet {
    fn received(&self, item: Item<'_>) -> MemoryEvent {
        match item {
            Item::Control(item) => {
                let event = self.session.server_event(item);
                let body = event.body.as_ref();
                MemoryEvent {
                    event: event.name.to_owned(),
                    body: body.map_or(Value::Null, |body| parsed(body.get())),
                    cursor: event.cursor.map(ToString::to_string),
                }
            }
            Item::Publication(delivery) => MemoryEvent {
                event: delivery.publication().event.to_string(),
                body: parsed(delivery.publication().payload.get()),
                cursor: Some(delivery.cursor().to_string()),
            },
            Item::Snapshot {
                publication,
                cursor,
            } => MemoryEvent {
                event: publication.event.to_string(),
                body: parsed(publication.payload.get()),
                cursor: Some(cursor.to_string()),
            },
            Item::Ephemeral(_) => panic!("these tests publish no ephemeral events"),
        }
    }
}

impl TransportOutlet for MemoryOutlet {}

impl Outlet for MemoryOutlet {
    type Shared = SharedFrames;

    fn offer(&mut self, item: Item<'_>) -> Offered {
        let mut pipe = self.transport.pipe();
        if pipe.received.len() >= pipe.capacity {
            pipe.offered_while_full += 1;
            return Offered::Full;
        }
        let received = self.received(item);
        pipe.received.push(received);
        // No transport sends anything before the welcome.
        for room in self.rejected.drain(..) {
            let event = self.session.error_event(room.failure, &room.about);
            pipe.received.push(MemoryEvent {
                event: event.name.to_owned(),
                body: parsed(event.body.expect("errors have a body").get()),
                cursor: None,
            });
        }
        Offered::Taken
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("events are JSON")
}

/// A connected client.
pub(super) struct SessionClient {
    pub(super) session: Arc<Session>,
    transport: Arc<MemoryTransport>,
}

impl SessionClient {
    /// What it has received so far.
    pub(super) fn received(&self) -> Vec<MemoryEvent> {
        self.transport.pipe().received.clone()
    }

    /// The first `count` events, once they are there.
    pub(super) async fn receive(&self, count: usize) -> Vec<MemoryEvent> {
        self.until(|pipe| pipe.received.len() >= count).await;
        self.transport.pipe().received.clone()
    }

    /// Waits until the server has found the pipe full.
    pub(super) async fn blocked(&self) {
        self.until(|pipe| pipe.offered_while_full > 0).await;
    }

    /// The client takes `more` events.
    pub(super) fn take_more(&self, more: usize) {
        self.transport.pipe().capacity += more;
        self.session.ready();
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        let closed = &self.transport.closed;
        *closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport has noticed that it is closed.
    pub(super) fn end(self) {
        let reason = self.close_reason().unwrap_or(CloseReason::ClientLeft);
        self.session.end(reason);
    }

    async fn until(&self, condition: impl Fn(&SessionPipe) -> bool) {
        let waiting = async {
            while !condition(&self.transport.pipe()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        let received = &self.transport.pipe().received;
        assert!(reached.is_ok(), "not within 5 s; received {received:?}");
    }
}
