//! Limits for what comes from one address, of one user and of one organisation.
//!
//! - `counts`: how many there are at a time
//! - `fleet`: how many there are on all instances together
//! - `buckets`: how many there may be in a second
//! - `rates`: how fast one connection may send
//!
//! An address is an [`AddressBlock`]; `None` in its place is exempt, see [`ClientAddress::block`]. Numbers of the same kind that have a
//! setting are in [`LimitSettings`], all others are constants here and listed in docs/operations.md.

mod buckets;
mod counts;
mod fleet;
mod rates;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, header};
use fleetcast_core::domain::client_address::{
    AddressBlock, ClientAddress, ForwardedHeader, RequestOrigin, TrustedProxies,
};
use fleetcast_core::domain::id::{Id, UserId};

use crate::telemetry::labels::RejectReason;
use buckets::{KeyedBuckets, quota};
use counts::KeyedCounts;
use fleet::FleetSlot;
use governor::Quota;
use rates::SendRates;

pub use buckets::ProcessClock;
pub use counts::CountedSlot;
pub use fleet::FleetCounts;
pub use rates::{CommandAdmission, CommandRate, PacketRate};

/// What is limited, and by how much. `None`: not at all.
#[derive(Debug, Clone, Default)]
pub struct LimitSettings {
    pub proxies: TrustedProxies,
    pub forwarded_header: ForwardedHeader,
    pub loopback_too: bool,
    pub connections_per_address: Option<NonZeroU32>,
    pub handshakes_per_second: Option<NonZeroU32>,
    pub connections_per_user: Option<NonZeroU32>,
    pub connections_per_organisation: Option<NonZeroU32>,
    pub commands_per_second: Option<NonZeroU32>,
}

/// What an address may get wrong at once, and in a second, at least: tokens that are rejected, and requests for sessions that are not
/// there, each for itself.
const FAILURES_AT_ONCE: u32 = 500;
const FAILURES_PER_SECOND: u32 = 20;

/// Where an address may have many connections: after a restart each of its polling clients asks for its old session, once or twice.
const FAILURES_OF_TWO_CONNECTIONS: u32 = 5;
const CONNECTIONS_PER_FAILURE_IN_A_SECOND: u32 = 10;

/// Of a user: all of its connections may resume three times at once, then each once in ten seconds.
const REPLAYS_AT_ONCE: NonZeroU32 = NonZeroU32::new(3).unwrap();
const SECONDS_PER_REPLAY: u32 = 10;

/// TCP connections of an address for each session that it may have: a polling client has three at times.
const SOCKETS_PER_SESSION: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Written by proxies that may not say whom they speak for.
const PROXY_HEADERS: [&str; 4] = ["via", "x-real-ip", "x-forwarded-proto", "x-forwarded-host"];

/// A user of an organisation.
type OwnedUser = (Id, UserId);

pub struct Limits {
    proxies: TrustedProxies,
    forwarded_header: ForwardedHeader,
    loopback_too: bool,
    addresses: Option<Arc<KeyedCounts<AddressBlock>>>,
    peers: Option<Arc<KeyedCounts<AddressBlock>>>,
    users: Option<Arc<KeyedCounts<OwnedUser>>>,
    organisations: Option<Arc<KeyedCounts<Id>>>,
    handshakes: Option<KeyedBuckets<AddressBlock>>,
    rejected_tokens: Option<KeyedBuckets<AddressBlock>>,
    unknown_sessions: Option<KeyedBuckets<AddressBlock>>,
    replays: Option<KeyedBuckets<OwnedUser>>,
    rates: Option<SendRates>,
    /// Not set where instances do not count together.
    fleet: OnceLock<Arc<dyn FleetCounts>>,
}

/// What the connections of one user on one transport take, together, of the limits of that user and its organisation. Released when the
/// last of them drops it.
pub struct IdentitySlot {
    owner: OwnedUser,
    _user: Option<CountedSlot<OwnedUser>>,
    /// Boxed, because most have none.
    _organisation: Option<Box<CountedSlot<Id>>>,
    /// What it has taken, or has asked for, of all instances together.
    fleet: OnceLock<Box<FleetSlot>>,
}

impl IdentitySlot {
    pub fn is_of(&self, organisation: &Id, user: &UserId) -> bool {
        self.owner.0 == *organisation && self.owner.1 == *user
    }
}

impl Limits {
    pub fn new(settings: LimitSettings) -> Self {
        let handshakes = settings.handshakes_per_second;
        let failures = || failures(&settings).map(KeyedBuckets::new);
        Self {
            rejected_tokens: failures(),
            unknown_sessions: failures(),
            proxies: settings.proxies,
            forwarded_header: settings.forwarded_header,
            loopback_too: settings.loopback_too,
            addresses: settings.connections_per_address.map(KeyedCounts::new),
            peers: (settings.connections_per_address)
                .map(|most| KeyedCounts::new(most.saturating_mul(SOCKETS_PER_SESSION))),
            users: settings.connections_per_user.map(KeyedCounts::new),
            organisations: settings.connections_per_organisation.map(KeyedCounts::new),
            handshakes: handshakes.map(|most| KeyedBuckets::new(quota(most, most))),
            replays: settings.connections_per_user.map(|connections| {
                let per_second = NonZeroU32::new(connections.get() / SECONDS_PER_REPLAY);
                let burst = connections.saturating_mul(REPLAYS_AT_ONCE);
                KeyedBuckets::new(quota(per_second.unwrap_or(NonZeroU32::MIN), burst))
            }),
            rates: settings.commands_per_second.map(SendRates::new),
            fleet: OnceLock::new(),
        }
    }

    /// Where a request comes from. `preamble` is what a PROXY preamble of its connection named.
    pub fn client(
        &self,
        tcp_peer: IpAddr,
        preamble: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> ClientAddress {
        let lines = |name| -> Vec<&[u8]> {
            let lines = headers.get_all(name).iter();
            lines.map(header::HeaderValue::as_bytes).collect()
        };
        let origin = RequestOrigin {
            tcp_peer,
            preamble,
            x_forwarded_for: &lines("x-forwarded-for"),
            forwarded: &lines("forwarded"),
            other_proxy_headers: PROXY_HEADERS.iter().any(|name| headers.contains_key(*name)),
        };
        ClientAddress::of(&origin, &self.proxies, self.forwarded_header)
    }

    /// What it counts against; `None`: it is exempt.
    pub fn block(&self, client: ClientAddress) -> Option<AddressBlock> {
        client.block(self.loopback_too)
    }

    /// This address has shown a token that was rejected. Whether it may show another one is up to [`may_try`](Self::may_try).
    pub fn token_rejected(&self, client: Option<AddressBlock>) {
        if let (Some(rejected), Some(client)) = (&self.rejected_tokens, client) {
            rejected.take(&client);
        }
    }

    /// An error: tokens of this address were rejected too often.
    pub fn may_try(&self, client: Option<AddressBlock>) -> Result<(), RejectReason> {
        match (&self.rejected_tokens, client) {
            (Some(rejected), Some(client)) if !rejected.has(&client) => Err(RejectReason::AuthRate),
            _ => Ok(()),
        }
    }

    /// This address has asked for a session that is not there, which needs no token and costs next to nothing: only further requests of
    /// that kind are refused for it. False: it has done so too often.
    pub fn unknown_session(&self, client: Option<AddressBlock>) -> bool {
        match (&self.unknown_sessions, client) {
            (Some(unknown), Some(client)) => unknown.take(&client),
            _ => true,
        }
    }

    /// One more connection of this user that shows a cursor.
    pub fn replay(&self, organisation: &Id, user: &UserId) -> Result<(), RejectReason> {
        match &self.replays {
            Some(replays) if !replays.take(&(organisation.clone(), user.clone())) => {
                Err(RejectReason::ReplayRate)
            }
            _ => Ok(()),
        }
    }

    /// One more handshake of this address.
    pub fn handshake(&self, client: Option<AddressBlock>) -> Result<(), RejectReason> {
        self.may_try(client)?;
        match (&self.handshakes, client) {
            (Some(handshakes), Some(client)) if !handshakes.take(&client) => {
                Err(RejectReason::HandshakeRate)
            }
            _ => Ok(()),
        }
    }

    /// One more TCP connection of this peer, of which no request has come yet. `None`: it is exempt, as proxies are, whose clients
    /// share their connections.
    pub fn take_peer(
        &self,
        peer: IpAddr,
    ) -> Result<Option<CountedSlot<AddressBlock>>, RejectReason> {
        let is_proxy = self.proxies.contains(peer);
        let client = ClientAddress {
            address: peer,
            by_proxy: false,
        };
        let block = self.block(client).filter(|_| !is_proxy);
        let (Some(peers), Some(block)) = (&self.peers, block) else {
            return Ok(None);
        };
        let slot = peers.take(&block);
        slot.map(Some).ok_or(RejectReason::IpLimit)
    }

    /// One more transport of this address.
    pub fn take_address(
        &self,
        client: Option<AddressBlock>,
    ) -> Result<Option<CountedSlot<AddressBlock>>, RejectReason> {
        let (Some(addresses), Some(client)) = (&self.addresses, client) else {
            return Ok(None);
        };
        let slot = addresses.take(&client);
        slot.map(Some).ok_or(RejectReason::IpLimit)
    }

    /// One more connection of this user. `None`: they are not limited.
    pub fn take_identity(
        &self,
        organisation: &Id,
        user: &UserId,
    ) -> Result<Option<Arc<IdentitySlot>>, RejectReason> {
        if self.users.is_none() && self.organisations.is_none() {
            return Ok(None);
        }
        let owner = (organisation.clone(), user.clone());
        // What was taken is released with the error.
        let of_user = take(self.users.as_ref(), &owner, RejectReason::UserLimit)?;
        let reason = RejectReason::OrganisationLimit;
        let of_organisation = take(self.organisations.as_ref(), organisation, reason)?;
        Ok(Some(Arc::new(IdentitySlot {
            owner,
            _user: of_user,
            _organisation: of_organisation.map(Box::new),
            fleet: OnceLock::new(),
        })))
    }

    /// For the commands of one socket, which may hold so many rooms.
    pub fn command_rate(&self, max_rooms: usize) -> Option<CommandRate> {
        self.rates.map(|rates| rates.commands(max_rooms))
    }

    /// For the packets of one transport, whose sockets may hold so many rooms each.
    pub fn packet_rate(&self, max_rooms: usize) -> Option<PacketRate> {
        self.rates.map(|rates| rates.packets(max_rooms))
    }

    /// Drops what is not needed any more. Once a second.
    pub fn clean(&self) {
        let of_addresses = [
            &self.handshakes,
            &self.rejected_tokens,
            &self.unknown_sessions,
        ];
        for buckets in of_addresses.into_iter().flatten() {
            buckets.clean();
        }
        if let Some(replays) = &self.replays {
            replays.clean();
        }
    }
}

/// What an address may get wrong. `None`: as much as it likes, because neither its connections nor its handshakes are limited, as where
/// all clients have one address.
fn failures(settings: &LimitSettings) -> Option<Quota> {
    let connections = settings.connections_per_address;
    if connections.is_none() && settings.handshakes_per_second.is_none() {
        return None;
    }
    let connections = connections.map_or(0, NonZeroU32::get);
    let at_once = (connections / 2).saturating_mul(FAILURES_OF_TWO_CONNECTIONS);
    let per_second = connections / CONNECTIONS_PER_FAILURE_IN_A_SECOND;
    let at_least = |number: u32, least: u32| NonZeroU32::new(number.max(least));
    Some(quota(
        at_least(per_second, FAILURES_PER_SECOND)?,
        at_least(at_once, FAILURES_AT_ONCE)?,
    ))
}

fn take<K: std::hash::Hash + Eq + Clone>(
    counts: Option<&Arc<KeyedCounts<K>>>,
    key: &K,
    otherwise: RejectReason,
) -> Result<Option<CountedSlot<K>>, RejectReason> {
    let Some(counts) = counts else {
        return Ok(None);
    };
    counts.take(key).map(Some).ok_or(otherwise)
}

#[cfg(test)]
mod tests;
