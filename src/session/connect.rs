//! Connecting: from a token to a connection of the hub.
//!
//! A transport calls [`Sessions::admit`] when it is opened, [`Sessions::authenticate`] when it has the token, and
//! [`AdmittedSession::connect`] once events may be sent.

use std::sync::Arc;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_address::AddressBlock;
use fleetcast_core::domain::protocol::{CloseReason, GrantReason, ResyncReason};
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::resume::{Inspection, Resumption};
use fleetcast_core::hub::{ConnectionKey, Hub, Now, Start};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use super::expiry::TokenEnd;
use super::handshake_rooms::{HandshakeRooms, RejectedRoom};
use super::{AdmissionSlot, AnyOutlet, Session, Sessions, TransportHandle, TransportOutlet};
use crate::auth::TokenError;
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::{ConnectionLabels, RejectReason, ResumeOutcome};

const AT_CONNECT: &str = "at CONNECT";
const RELOADED: &str = "a reload has changed whom the token names";

/// What a client sends in order to connect. Where each part was found is the transport's business; nothing has been checked.
pub struct ConnectRequest {
    pub token: Option<SecretString>,
    /// `None`: the client starts fresh. Anything that is no text of a cursor, such as `""`, ends in a resync.
    pub cursor: Option<String>,
    /// A list of rooms to join.
    pub rooms: Option<Json>,
    /// Of the transport that it came by: what it counts against. `None`: it is exempt.
    pub slot: Option<Arc<AdmissionSlot>>,
}

/// What a resumption is counted as; a client that starts fresh asked for nothing.
fn outcome(resumption: Resumption) -> Option<ResumeOutcome> {
    match resumption {
        Resumption::Fresh => None,
        Resumption::Resumed => Some(ResumeOutcome::Resumed),
        Resumption::Resync(ResyncReason::CursorInvalid | ResyncReason::CursorForeign) => {
            Some(ResumeOutcome::BadCursor)
        }
        Resumption::Resync(_) => Some(ResumeOutcome::Resync),
    }
}

/// A session whose token was accepted and which is not connected yet: nothing is sent to it.
pub struct AdmittedSession {
    session: Arc<Session>,
    rooms: HandshakeRooms,
    cursor: Option<String>,
}

impl Sessions {
    /// From a token to a session. A rejection is counted and logged here; see [`RejectReason::refusal`] for the
    /// client's code. Waits for keys and for the brokers, a few seconds at most.
    pub async fn authenticate(
        self: &Arc<Self>,
        request: &ConnectRequest,
    ) -> Result<AdmittedSession, RejectReason> {
        self.check_readiness(AT_CONNECT)?;
        let limits = &self.shared_limits;
        let refuse = |reason| self.reject(reason, AT_CONNECT);
        let slot = request.slot.as_deref();
        let client = slot.and_then(AdmissionSlot::client);
        let shown = self.shown_claims(request.token.as_ref(), client, AT_CONNECT);
        let mut claims = shown.await?;
        if request.cursor.is_some() {
            let replay = limits.replay(&claims.organisation, &claims.user);
            replay.map_err(refuse)?;
        }
        if let Some(cursor) = &request.cursor
            && self.learn_partitions(&claims.organisation, cursor).await
        {
            // While it waited, a reload may have changed which claims are read: the policy in force needs those.
            claims = self.claims(request.token.as_ref(), AT_CONNECT).await?;
        }
        let identity = match slot {
            Some(slot) => slot.take_identity(limits, &claims).map_err(refuse)?,
            None => None,
        };
        if let Some(identity) = &identity {
            let rules = self.rules.load_full();
            limits.take_of_fleet(identity).await.map_err(refuse)?;
            if !Arc::ptr_eq(&rules, &self.rules.load_full()) {
                // A reload may have changed which claims are read.
                claims = self.claims(request.token.as_ref(), AT_CONNECT).await?;
                if !identity.is_of(&claims.organisation, &claims.user) {
                    // What was counted is of another user. `starting` is temporary: the client comes back and is judged again.
                    return Err(self.reject(RejectReason::Starting, RELOADED));
                }
            }
        }
        let session = Session::new(self.clone(), claims, identity);
        let mut rooms = HandshakeRooms::of(&session, request.rooms.as_ref());
        if rooms.awaits_grants() && self.has_grants() {
            // Another instance may have granted it, and what this one has read of that may be old.
            if !self.grants_are_read().await {
                let why = "a room needs a grant, and the grants cannot be read to their end";
                return Err(self.reject(RejectReason::GrantsPending, why));
            }
            // While it waited, a reload may have changed which claims are read, or the token may have been revoked.
            let claims = self.claims(request.token.as_ref(), AT_CONNECT).await?;
            if (&claims.organisation, &claims.user) != (&session.organisation, &session.user) {
                return Err(self.reject(RejectReason::GrantsPending, RELOADED));
            }
            session.claims.store(Arc::new(claims));
            rooms = HandshakeRooms::of(&session, request.rooms.as_ref());
        }
        Ok(AdmittedSession {
            session: Arc::new(session),
            rooms,
            cursor: request.cursor.clone(),
        })
    }

    /// What a token says that this address has shown: looked at only if its limit of rejected tokens allows that, and counted
    /// against it if it is rejected. `context` completes the log line.
    pub async fn shown_claims(
        &self,
        token: Option<&SecretString>,
        client: Option<AddressBlock>,
        context: &'static str,
    ) -> Result<Claims, RejectReason> {
        let limits = &self.shared_limits;
        (limits.may_try(client)).map_err(|reason| self.reject(reason, context))?;
        let claims = self.claims(token, context).await;
        claims.inspect_err(|reason| {
            if reason.refusal().is_some() {
                limits.token_rejected(client);
            }
        })
    }

    /// What a token says, if it is good and not revoked. A rejection is counted and logged here.
    async fn claims(
        &self,
        token: Option<&SecretString>,
        context: &'static str,
    ) -> Result<Claims, RejectReason> {
        let token = token.map(ExposeSecret::expose_secret);
        let verified = self.verifier.verify_given(token, clock::wall_ms() / 1000);
        let claims = verified.await.map_err(|denied| match denied {
            TokenError::KeyUnavailable => {
                let why = "the key of the token is not known yet";
                self.reject(RejectReason::KeysPending, why)
            }
            TokenError::Rejected(rejected) => {
                rejected.report(&self.metrics);
                rejected.code.into()
            }
        })?;
        if self.is_revoked(&claims) {
            return Err(self.reject(RejectReason::TokenRevoked, context));
        }
        Ok(claims)
    }
}

/// What comes of [`AdmittedSession::connect`] under the hub's lock.
struct Bound {
    key: ConnectionKey,
    resumption: Resumption,
    /// Partitions in which the client's cursor is ahead of this instance.
    ahead: Vec<u32>,
}

impl AdmittedSession {
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Gives the session to the hub, which feeds it from now on by the outlet. `outlet` is called once, under the hub's lock,
    /// with the rooms that are not joined: they are to be reported behind the welcome.
    ///
    /// `None`: the token was revoked since it was accepted. The transport is closed, and `outlet` was not called.
    pub fn connect(
        &self,
        transport: Arc<dyn TransportHandle>,
        labels: ConnectionLabels,
        outlet: impl FnOnce(Vec<RejectedRoom>) -> Box<dyn TransportOutlet>,
    ) -> Option<Resumption> {
        let session = &self.session;
        let sessions = &session.shared;
        session.begin(transport, labels);
        let claims = session.claims();
        let token = TokenEnd::new(claims.expires, sessions.verifier.ends(&claims));
        let bound = sessions.hub.with(|hub, now| {
            if sessions.is_revoked(&session.claims()) {
                return None;
            }
            let (rooms, rejected) = self.judge_rooms();
            // Judged here and not before: between a judgement and this moment the window may have moved.
            let start = self.judge_cursor(hub, now);
            let resumption = start.resumption();
            let ahead = match &start {
                Start::Resume(cursor, _) => hub.ahead(cursor),
                Start::Fresh | Start::Resync(_) => Vec::new(),
            };
            let latest = self.wanted_latest(resumption, &rooms);
            let organisation = session.organisation();
            let outlet = AnyOutlet::new(sessions.hub.clone(), outlet(rejected));
            let key = hub.connect(organisation, rooms, start, outlet, now);
            session.bind(key, token);
            if sessions.open.take_notice(key, now.wall / 1000) {
                hub.token_expiring(key, now);
            }
            let offered = session.offered_rooms(&sessions.rules.load().policy, hub.rooms(key));
            if !offered.is_empty() {
                hub.grant(key, &offered, GrantReason::Granted, now);
            }
            for room in &latest {
                hub.subscribe_latest(key, room, now);
            }
            if !latest.is_empty() {
                hub.cursor(key, now);
            }
            Some(Bound {
                key,
                resumption,
                ahead,
            })
        });
        let Some(Bound {
            key,
            resumption,
            ahead,
        }) = bound
        else {
            sessions.reject(RejectReason::TokenRevoked, "while it connected");
            session.close(CloseReason::TokenRevoked);
            return None;
        };
        if let Some(outcome) = outcome(resumption) {
            events::resume(&sessions.metrics, session.connection_id(), outcome);
        }
        if !ahead.is_empty() {
            let check = sessions.clone().check_ends(key, ahead);
            sessions.lifecycle.spawn("end-of-log", check);
        }
        Some(resumption)
    }

    /// Rooms by the policy and the grants that are in force now: since the token was accepted they may have changed.
    fn judge_rooms(&self) -> (Vec<Room>, Vec<RejectedRoom>) {
        let rules = self.session.shared.rules.load();
        let rooms = self.rooms.rooms.iter().cloned();
        let may_hold = |room: &Room| self.session.may_hold(&rules.policy, room);
        let (mut rooms, lost): (Vec<_>, Vec<_>) = rooms.partition(may_hold);
        let most = self.session.max_rooms();
        let mut rejected = Vec::new();
        for (report, room) in &self.rooms.rejected {
            match room {
                Some(room) if rooms.contains(room) => {}
                Some(room) if rooms.len() < most && may_hold(room) => rooms.push(room.clone()),
                _ => rejected.push(report.clone()),
            }
        }
        rejected.extend(lost.iter().map(RejectedRoom::forbidden));
        (rooms, rejected)
    }

    fn judge_cursor(&self, hub: &Hub<AnyOutlet>, now: Now) -> Start {
        let Some(text) = &self.cursor else {
            return Start::Fresh;
        };
        match hub.inspect(self.session.organisation(), text, now) {
            Inspection::Resume(cursor) => Start::Resume(cursor, text.as_str().into()),
            Inspection::Resync(reason) => Start::Resync(reason),
            // The metadata is fresh by now, so what is still unknown is deleted.
            Inspection::Unknown => Start::Resync(ResyncReason::TopicRecreated),
        }
    }

    /// A client that is resumed has the latest records already, or gets what it has missed of them.
    fn wanted_latest(&self, resumption: Resumption, rooms: &[Room]) -> Vec<Room> {
        let wanted = (self.rooms.latest.iter())
            .filter(|room| resumption != Resumption::Resumed && rooms.contains(room));
        wanted.cloned().collect()
    }
}
