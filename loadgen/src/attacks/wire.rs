//! A connection of an attacker: blocking, and not bound to any protocol.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::bench::frames::{head_end, push_client_frame, take_frames, upgrade_request};
use crate::socket::bound_socket;

/// Of each step: a server that takes longer has not answered.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Wire {
    stream: TcpStream,
    port: u16,
    unread: Vec<u8>,
    /// Packets that came together with the one that connected the namespace.
    early: Vec<Vec<u8>>,
}

/// How the opening of a session ended, if the connection did not break.
pub(super) enum Opening {
    /// Its namespace is connected.
    Connected(Wire),
    /// Its namespace is not: the server has not said yet what becomes of it.
    Waiting(Wire),
    /// An HTTP status that is not 101.
    Status(u16),
    /// `connect_error`, or the end of the connection after the upgrade.
    Closed,
}

impl Wire {
    pub(super) fn connect(own: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = bound_socket(own)?;
        // An attacker leaves no connection in TIME_WAIT: it would run out of ports.
        socket.set_linger(Some(Duration::ZERO))?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect_timeout(&server.into(), TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            port,
            unread: Vec::new(),
            early: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }

    /// Status and body of the next HTTP answer. Answers of this server say how long they are.
    pub(super) fn answer(&mut self) -> io::Result<(u16, String)> {
        let end = loop {
            match head_end(&self.unread) {
                Some(end) => break end,
                None => self.read()?,
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let status = status.ok_or(ErrorKind::InvalidData)?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = end + length.unwrap_or(0);
        while self.unread.len() < whole {
            self.read()?;
        }
        let body = String::from_utf8_lossy(&self.unread[end..whole]).into_owned();
        self.unread.drain(..whole);
        Ok((status, body))
    }

    /// `headers`: further lines, each with its end.
    pub(super) fn upgrade(&mut self, headers: &str) -> io::Result<u16> {
        let request = upgrade_request(self.port, headers);
        self.write(request.as_bytes())?;
        Ok(self.answer()?.0)
    }

    pub(super) fn get(&mut self, query: &str) -> io::Result<(u16, String)> {
        let port = self.port;
        let request = format!(
            "GET /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        );
        self.write(request.as_bytes())?;
        self.answer()
    }

    /// The head of a POST whose body has so many bytes.
    pub(super) fn post_head(&self, sid: &str, length: usize) -> String {
        let port = self.port;
        format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    /// Opens a WebSocket and connects the namespace with this packet, for which the server has so long.
    pub(super) fn session(
        own: Ipv4Addr,
        port: u16,
        connect: &str,
        patience: Duration,
    ) -> io::Result<Opening> {
        let mut wire = Self::connect(own, port)?;
        let status = wire.upgrade("")?;
        if status != 101 {
            return Ok(Opening::Status(status));
        }
        let until = Instant::now() + patience;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            wire.patience(left.max(Duration::from_millis(1)))?;
            let mut seen = Vec::new();
            let open = wire.packets(|packet| seen.push(packet.to_vec()));
            match open {
                Ok(true) => {}
                Err(error) if is_silence(&error) => break,
                Err(error) if !is_end(&error) => return Err(error),
                Ok(false) | Err(_) => return Ok(Opening::Closed),
            }
            let mut seen = seen.into_iter();
            while let Some(packet) = seen.next() {
                match packet.as_slice() {
                    [b'0', ..] => wire.send(connect)?,
                    [b'4', b'0', ..] => {
                        wire.early = seen.collect();
                        return Ok(Opening::Connected(wire));
                    }
                    [b'4', b'4', ..] => return Ok(Opening::Closed),
                    _ => {}
                }
            }
        }
        Ok(Opening::Waiting(wire))
    }

    /// Sends a packet as a text frame.
    pub(super) fn send(&mut self, packet: &str) -> io::Result<()> {
        let mut frame = Vec::with_capacity(packet.len() + 14);
        push_client_frame(&mut frame, packet.as_bytes());
        self.write(&frame)
    }

    /// Waits for something, and calls `each` with every packet that is whole. False: the server has sent a Close frame.
    pub(super) fn packets(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        if !self.early.is_empty() {
            self.early.drain(..).for_each(|packet| each(&packet));
            return Ok(true);
        }
        if self.unread.is_empty() {
            self.read()?;
        }
        let mut before = 0;
        loop {
            let Some(taken) = take_frames(&mut self.unread, &mut each) else {
                return Ok(false);
            };
            self.unread.drain(..taken);
            before += taken;
            if before > 0 {
                return Ok(true);
            }
            self.read()?;
        }
    }

    /// How long a read waits.
    pub(super) fn patience(&mut self, wait: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(wait))
    }

    /// Throws away what has come, without waiting. Returns how many bytes that were.
    pub(super) fn discard(&mut self) -> io::Result<usize> {
        self.unread.clear();
        self.stream.set_nonblocking(true)?;
        let result = self.discard_all();
        self.stream.set_nonblocking(false)?;
        result
    }

    fn discard_all(&mut self) -> io::Result<usize> {
        let (mut buffer, mut all) = ([0; 16 * 1024], 0);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => all += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The server has ended the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// The server has not answered in time, or takes no more.
pub(super) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn answers_are_taken_one_by_one_and_come_from_the_given_address() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let own = Ipv4Addr::new(127, 0, 0, 2);
        let mut wire = Wire::connect(own, port).expect("connected");
        let (mut peer, from) = listener.accept().expect("accepted");
        assert_eq!(from.ip(), own);
        peer.write_all(
            b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\n\r\n",
        )
        .expect("sent");
        assert_eq!(wire.answer().expect("whole"), (429, "no".to_owned()));
        assert_eq!(wire.answer().expect("whole"), (200, String::new()));
        drop(peer);
        assert!(is_end(&wire.answer().expect_err("it has ended")));
    }

    /// What opening a session comes to if the server says this and no more.
    fn opening(answer: &'static [u8]) -> Opening {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("accepted");
            peer.write_all(answer).expect("sent");
            peer
        });
        let patience = Duration::from_millis(50);
        let opening = Wire::session(Ipv4Addr::LOCALHOST, port, "40", patience).expect("no error");
        drop(server.join().expect("no panic"));
        opening
    }

    #[test]
    fn a_session_is_connected_waits_is_closed_or_has_a_status() {
        const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching\r\n\r\n\x81\x020{";
        const CONNECTED: &[u8] = b"HTTP/1.1 101 Switching\r\n\r\n\x81\x020{\x81\x0440{}";
        const WELCOMED: &[u8] = b"HTTP/1.1 101 Switching\r\n\r\n\x81\x020{\x81\x0440{}\x81\x0442[]";
        const CLOSED: &[u8] = b"HTTP/1.1 101 Switching\r\n\r\n\x88\x00";
        assert!(matches!(opening(UPGRADED), Opening::Waiting(_)));
        assert!(matches!(opening(CONNECTED), Opening::Connected(_)));
        let Opening::Connected(mut wire) = opening(WELCOMED) else {
            panic!("it is connected");
        };
        let mut packets = Vec::new();
        let open = wire.packets(|packet| packets.extend_from_slice(packet));
        assert!(open.expect("nothing is awaited") && packets == b"42[]");
        assert!(matches!(opening(CLOSED), Opening::Closed));
        let refused = opening(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(refused, Opening::Status(503)));
    }
}
