//! The PROXY preamble (haproxy's proxy-protocol.txt, versions 1 and 2) with which a trusted proxy names its client.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::{HeaderResult, v1, v2};
use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::guard::Guard;
use super::socket::Socket;

/// Bytes of the longest line of version 1, with its end.
const MOST_TEXT: usize = 107;
/// Bytes of version 2 up to its length.
const BINARY_HEAD: usize = 16;
/// Bytes that may follow them: addresses, and what the proxy adds about TLS.
const MOST_BINARY: usize = 4096;

/// Reads the preamble and notes what it names; nothing behind it is read. False: the connection is to be closed.
pub(super) async fn read(socket: &dyn Socket, guard: &Guard, deadline: Duration) -> bool {
    let mut bytes = Vec::new();
    let read = async {
        while let Some(wanted) = wanted(&bytes) {
            let start = bytes.len();
            bytes.resize(start + wanted, 0);
            let read = read_some(socket, &mut bytes[start..]).await?;
            bytes.truncate(start + read);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        io::Result::Ok(())
    };
    let Ok(Ok(())) = timeout(deadline, read).await else {
        return false;
    };
    let client = match parse(&bytes) {
        Some(Preamble::Client(client)) => client,
        Some(Preamble::NoClient) => guard.tcp_peer(),
        None => return false,
    };
    guard.set_peer(client);
    true
}

async fn read_some(socket: &dyn Socket, into: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| socket.poll_read_ready(cx)).await?;
        match socket.try_read(&mut ReadBuf::new(into)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// How many more bytes of the preamble may be read without reading beyond it. `None`: it is whole, or no preamble.
fn wanted(bytes: &[u8]) -> Option<usize> {
    // The first one tells the versions apart.
    if bytes.is_empty() {
        return Some(1);
    }
    let prefix = v2::PROTOCOL_PREFIX;
    let common = bytes.len().min(prefix.len());
    if bytes[..common] == prefix[..common] {
        let Some(length) = bytes.get(BINARY_HEAD - 2..BINARY_HEAD) else {
            return Some(BINARY_HEAD - bytes.len());
        };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let left = (BINARY_HEAD + length).saturating_sub(bytes.len());
        return (length <= MOST_BINARY && left > 0).then_some(left);
    }
    let prefix = v1::PROTOCOL_PREFIX.as_bytes();
    let common = bytes.len().min(prefix.len());
    let is_open =
        bytes[..common] == prefix[..common] && !bytes.ends_with(b"\n") && bytes.len() < MOST_TEXT;
    // One by one: the request follows.
    is_open.then_some(1)
}

/// What a whole preamble says of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preamble {
    Client(SocketAddr),
    /// There is none, as in the proxy's own checks, or it has no address.
    NoClient,
}

/// `None`: these bytes are not a preamble.
fn parse(bytes: &[u8]) -> Option<Preamble> {
    let client = |ip: IpAddr, port| Some(Preamble::Client(SocketAddr::new(ip, port)));
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(it) => client(it.source_address.into(), it.source_port),
            v1::Addresses::Tcp6(it) => client(it.source_address.into(), it.source_port),
            v1::Addresses::Unknown => Some(Preamble::NoClient),
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(it)) => {
                client(it.source_address.into(), it.source_port)
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(it)) => {
                client(it.source_address.into(), it.source_port)
            }
            _ => Some(Preamble::NoClient),
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, Shutdown};
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::net::memory::MemorySocket;
    use crate::net::writer::FrameWriter;
    use crate::net::{ConnectionTable, RecordObserver, RecordStamp};

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, body].concat()
    }

    /// Reads from a peer that has sent these bytes and closed: what is named, and how much was read.
    fn run(sent: &[u8]) -> (Option<Preamble>, usize) {
        let mut read = Vec::new();
        while let Some(wanted) = wanted(&read) {
            let next = &sent[read.len()..];
            if next.is_empty() {
                return (None, read.len());
            }
            read.extend_from_slice(&next[..wanted.min(next.len())]);
        }
        (parse(&read), read.len())
    }

    #[test]
    fn h24_preambles_of_both_versions_name_the_client_and_leave_the_request() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 7;
        v6[33] = 9;
        let with_more = [v4.as_slice(), &[4, 0, 2, 0, 0]].concat();
        for (preamble, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".to_vec(),
                Some("192.0.2.1:4660"),
            ),
            (
                b"PROXY TCP6 2001::7 ::1 9 80\r\n".to_vec(),
                Some("[2001::7]:9"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("192.0.2.1:4660")),
            (v2(0x21, 0x11, &with_more), Some("192.0.2.1:4660")),
            (v2(0x21, 0x21, &v6), Some("[2001::7]:9")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let expected = expected.map_or(Preamble::NoClient, |text| {
                Preamble::Client(text.parse().unwrap())
            });
            let whole = [preamble.as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(
                run(&whole),
                (Some(expected), preamble.len()),
                "{preamble:?}"
            );
        }
    }

    #[test]
    fn h24_what_is_no_preamble_is_refused_within_few_bytes() {
        for (sent, most) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1),
            (b"PROXX TCP4".to_vec(), 5),
            (
                [b"PROXY TCP4 ".as_slice(), &[b'1'; 500]].concat(),
                MOST_TEXT,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4660\r\n".to_vec(),
                MOST_TEXT,
            ),
            (b"PROXY TCP4 999.0.2.1 10.0.0.1 1 1\r\n".to_vec(), MOST_TEXT),
            (v2(0x21, 0x11, &[0; 5_000]), BINARY_HEAD),
            (v2(0x21, 0x11, &[0; 11]), 100),
            (v2(0x31, 0x11, &[0; 12]), 100),
            (b"\r\n\r\n\0\r\nQUIT".to_vec(), 12),
            (Vec::new(), 0),
        ] {
            let (named, read) = run(&sent);
            assert!(
                named.is_none() && read <= most,
                "{sent:?}: {named:?} {read}"
            );
        }
    }

    struct NoRecords;

    impl RecordObserver for NoRecords {
        fn records_written(&self, _: RecordStamp, _: u64, _: u64) {
            panic!("nothing is written");
        }
    }

    const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 9);

    /// Reads from a socket on which these bytes come in pieces of so many, the last size again and again, and then its end. Whether
    /// the connection goes on, whom it is from, and what is left for the request.
    fn read_pieces(sent: &[u8], sizes: &[usize]) -> (bool, Option<SocketAddr>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (socket, table) = (
                MemorySocket::new(),
                ConnectionTable::new(Arc::new(NoRecords)),
            );
            let long = Duration::from_secs(10);
            let writer = FrameWriter::new(socket.clone(), table.writers(long, TaskTracker::new()));
            let guard = table.insert(PROXY, writer, None);
            let send = async {
                let (mut left, mut sizes) = (sent, sizes.iter().copied());
                let mut size = 1;
                while !left.is_empty() {
                    size = sizes.next().unwrap_or(size).min(left.len());
                    let (piece, rest) = left.split_at(size);
                    socket.receive(piece);
                    left = rest;
                    tokio::task::yield_now().await;
                }
                socket.shut_down(Shutdown::Both).unwrap();
            };
            let (goes_on, ()) = tokio::join!(read(&*socket, &guard, long), send);
            let mut left = vec![0; sent.len()];
            let length = socket.try_read(&mut ReadBuf::new(&mut left)).unwrap();
            left.truncate(length);
            (goes_on, guard.named_peer(), left)
        })
    }

    /// The bytes and whom they name.
    fn whole_preamble() -> impl Strategy<Value = (Vec<u8>, SocketAddr)> {
        let v4 = any::<(Ipv4Addr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let v6 = any::<(Ipv6Addr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let more = prop::collection::vec(any::<u8>(), 0..300);
        (prop_oneof![v4, v6], any::<bool>(), more).prop_map(|(client, binary, more)| {
            let port = client.port();
            let bytes = match (client.ip(), binary) {
                (IpAddr::V4(ip), false) => format!("PROXY TCP4 {ip} 10.0.0.1 {port} 80\r\n").into(),
                (IpAddr::V6(ip), false) => format!("PROXY TCP6 {ip} ::1 {port} 80\r\n").into(),
                (IpAddr::V4(ip), true) => {
                    let ports = [port.to_be_bytes(), [0, 80]].concat();
                    let body = [&ip.octets()[..], &[10, 0, 0, 1], &ports, &more].concat();
                    v2(0x21, 0x11, &body)
                }
                (IpAddr::V6(ip), true) => {
                    let ports = [port.to_be_bytes(), [0, 80]].concat();
                    let body = [&ip.octets()[..], &[0; 16], &ports, &more].concat();
                    v2(0x21, 0x21, &body)
                }
            };
            (bytes, client)
        })
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1_usize..60, 0..20)
    }

    proptest! {
        #[test]
        fn h24_no_bytes_panic_and_little_is_read(
            start in prop::sample::select(vec![b"PROXY TCP4 ".to_vec(), b"PROXY ".to_vec(), v2(0x21, 0x11, &[]), v2::PROTOCOL_PREFIX.to_vec(), Vec::new()]),
            rest in prop::collection::vec(any::<u8>(), 0..6_000),
            cut in 0_usize..30,
        ) {
            let kept = start.len().saturating_sub(cut);
            let (_, read) = run(&[&start[..kept], &rest].concat());
            prop_assert!(read <= BINARY_HEAD + MOST_BINARY);
        }

        /// However it is cut into segments, and whatever comes behind it.
        #[test]
        fn h24_a_preamble_that_comes_in_pieces_names_its_client_and_leaves_the_rest(
            (preamble, client) in whole_preamble(),
            rest in prop::collection::vec(any::<u8>(), 0..80),
            sizes in sizes(),
        ) {
            let (goes_on, named, left) = read_pieces(&[preamble, rest.clone()].concat(), &sizes);
            prop_assert_eq!((goes_on, named, left), (true, Some(client), rest));
        }

        /// One byte that is another one, or an end that comes early: it is the same preamble, one of another client, or none, and
        /// never is more read than belongs to it.
        #[test]
        fn h24_a_broken_preamble_that_comes_in_pieces_ends_the_connection_or_is_whole(
            (mut preamble, _) in whole_preamble(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            kept in any::<prop::sample::Index>(),
            rest in prop::collection::vec(any::<u8>(), 0..5_000),
            sizes in sizes(),
        ) {
            let at = at.index(preamble.len());
            preamble[at] = byte;
            if !rest.len().is_multiple_of(3) {
                preamble.truncate(kept.index(preamble.len()));
            }
            let sent = [preamble, rest].concat();
            let (at_once, taken) = run(&sent);
            let (goes_on, named, left) = read_pieces(&sent, &sizes);
            prop_assert_eq!(goes_on, at_once.is_some());
            // In small pieces it may show earlier that it is none.
            let rest = sent.len() - taken;
            prop_assert!(left.len() == rest || (!goes_on && left.len() > rest));
            prop_assert!(taken <= BINARY_HEAD + MOST_BINARY);
            let expected = at_once.map(|preamble| match preamble {
                Preamble::Client(client) => client,
                Preamble::NoClient => PROXY,
            });
            prop_assert_eq!(named, expected);
        }
    }
}
