//! Whose address a request counts against: the one place that decides it.
//!
//! Nothing of what a request says about itself counts unless its peer is a trusted proxy. Of what trusted proxies have written only
//! the end counts: hops are read from right to left, and the first one that is not a trusted proxy is the client. What stands
//! left of it the client may have written itself.

mod forwarded;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// Networks whose proxies are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    #[error("expected an IP address or a network such as 10.0.0.0/8, found {0:?}")]
    NoNetwork(String),
    #[error("{0:?} contains every address: any client could name itself as it likes")]
    Everything(String),
}

impl TrustedProxies {
    /// Addresses and networks in CIDR notation.
    pub fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, InvalidProxy> {
        entries.map(network).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(entry: &str) -> Result<IpNet, InvalidProxy> {
    let wrong = || InvalidProxy::NoNetwork(entry.to_owned());
    let network = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => canonical(entry.parse::<IpNet>().map_err(|_| wrong())?).ok_or_else(wrong)?,
    };
    if network.prefix_len() == 0 {
        return Err(InvalidProxy::Everything(entry.to_owned()));
    }
    Ok(network.trunc())
}

/// IPv4 addresses that are written as IPv6 are compared as IPv4. `None`: the network reaches beyond those.
fn canonical(network: IpNet) -> Option<IpNet> {
    /// Bits in front of the IPv4 address.
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    match v6.addr().to_ipv4_mapped() {
        Some(v4) => {
            let prefix = v6.prefix_len().checked_sub(MAPPED)?;
            Ipv4Net::new(v4, prefix).ok().map(IpNet::V4)
        }
        None => Some(network),
    }
}

/// The header in which the trusted proxies name the client. A client can write the other one as it likes, so that one never counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// What is known of where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct RequestOrigin<'a> {
    /// The other end of the TCP connection.
    pub tcp_peer: IpAddr,
    /// What a PROXY preamble named, which is read from trusted proxies only.
    pub preamble: Option<IpAddr>,
    /// All lines, in their order.
    pub x_forwarded_for: &'a [&'a [u8]],
    pub forwarded: &'a [&'a [u8]],
    /// Another header is there that proxies write and clients do not.
    pub other_proxy_headers: bool,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// An IPv4 address is one of IPv4 in any spelling.
    pub address: IpAddr,
    /// A proxy is between, whether it is trusted or not.
    pub by_proxy: bool,
}

impl ClientAddress {
    pub fn of(
        origin: &RequestOrigin<'_>,
        proxies: &TrustedProxies,
        header: ForwardedHeader,
    ) -> Self {
        let peer = origin.preamble.unwrap_or(origin.tcp_peer).to_canonical();
        let x_forwarded_for = !origin.x_forwarded_for.is_empty();
        let forwarded = !origin.forwarded.is_empty();
        let address = if !proxies.contains(peer) {
            peer
        } else if header == ForwardedHeader::XForwardedFor {
            client(peer, forwarded::listed(origin.x_forwarded_for), proxies)
        } else {
            client(peer, forwarded::paired(origin.forwarded), proxies)
        };
        Self {
            address,
            by_proxy: origin.preamble.is_some()
                || x_forwarded_for
                || forwarded
                || origin.other_proxy_headers
                // Also one that writes no header at all.
                || proxies.contains(origin.tcp_peer),
        }
    }

    /// What it counts against. `None`: nothing, because it is this machine itself: what a proxy on it passes on is not.
    pub fn block(self, limits_loopback: bool) -> Option<AddressBlock> {
        let exempt = self.address.is_loopback() && !self.by_proxy && !limits_loopback;
        (!exempt).then(|| self.address.into())
    }
}

/// Follows the hops from the right: `peer` is the last one that is known for certain. A hop that cannot be read ends the walk at the
/// proxy that reported it.
fn client(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    proxies: &TrustedProxies,
) -> IpAddr {
    let mut certain = peer;
    for hop in hops {
        let Some(hop) = hop else { break };
        certain = hop;
        if !proxies.contains(hop) {
            break;
        }
    }
    certain
}

/// Addresses that are limited together: one address of IPv4, or a /64 of IPv6, which one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressBlock {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for AddressBlock {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => translated(v6).map_or_else(|| Self::V6(high(v6)), Self::V4),
        }
    }
}

/// The client behind a NAT64 with the well-known prefix (RFC 6052, `64:ff9b::/96`): else all of IPv4 would be one block.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

fn high(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
        .into_iter()
        .fold(0, |bits, segment| bits << 16 | u64::from(segment))
}
