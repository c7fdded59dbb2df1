//! A client over HTTP long-polling: one connection asks, another one posts, as browsers do it. Packets are text.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::protocol::{Packet, field};

const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the packets of a payload.
const SEPARATOR: char = '\u{1e}';

pub(crate) struct Polling {
    polls: Connection,
    posts: Connection,
    /// With the session's id.
    path: String,
    /// Packets of polls that were not taken yet.
    packets: VecDeque<String>,
    /// A poll is under way.
    asked: bool,
}

impl Polling {
    /// The handshake of Engine.IO. `path` has the query already, but for the session.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<Self> {
        let mut polls = Connection::open(address).await?;
        polls.ask("GET", path, "").await?;
        let body = timeout(STEP_TIMEOUT, polls.answer())
            .await
            .context("no answer to the handshake")??;
        if Packet::parse(&body) != Packet::Open {
            bail!("the handshake was answered with {body:.80}");
        }
        let sid = field(&body, "sid").context("a session without an id")?;
        let mut posts = Connection::open(address).await?;
        posts.cookie.clone_from(&polls.cookie);
        Ok(Self {
            polls,
            posts,
            path: format!("{path}&sid={sid}"),
            packets: VecDeque::new(),
            asked: false,
        })
    }

    /// The next packet. May be dropped at any time and asked for again: nothing is lost by that.
    pub(crate) async fn next(&mut self) -> Result<String> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(packet);
            }
            if !self.asked {
                self.asked = true;
                self.polls.ask("GET", &self.path, "").await?;
            }
            let body = self.polls.answer().await?;
            self.asked = false;
            self.packets
                .extend(body.split(SEPARATOR).map(str::to_owned));
        }
    }

    pub(crate) async fn send(&mut self, packet: &str) -> Result<()> {
        self.posts.ask("POST", &self.path, packet).await?;
        timeout(STEP_TIMEOUT, self.posts.answer())
            .await
            .context("no answer to a post")??;
        Ok(())
    }

    /// Both connections, so that they can be reset.
    pub(crate) fn streams(&self) -> [&TcpStream; 2] {
        [&self.polls.stream, &self.posts.stream]
    }
}

/// One that is kept alive.
struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    /// What keeps a session at one server behind a proxy.
    cookie: String,
    /// Read and not taken yet.
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(host: SocketAddr) -> Result<Self> {
        let stream = timeout(STEP_TIMEOUT, TcpStream::connect(host))
            .await
            .context("TCP connect timed out")??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host,
            cookie: String::new(),
            buffer: Vec::new(),
        })
    }

    /// A request is a few hundred bytes, so it fits the send buffer whole and is not cut short.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let cookie = if self.cookie.is_empty() {
            String::new()
        } else {
            format!("Cookie: {}\r\n", self.cookie)
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{cookie}Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        timeout(STEP_TIMEOUT, self.stream.write_all(request.as_bytes()))
            .await
            .context("the peer takes no more data")??;
        Ok(())
    }

    /// The body of the answer, which must be a good one.
    async fn answer(&mut self) -> Result<String> {
        loop {
            if let Some(body) = self.take_answer()? {
                return Ok(body);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection ended");
            }
        }
    }

    /// The answer, once all of it is there.
    fn take_answer(&mut self) -> Result<Option<String>> {
        let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&self.buffer[..end]).context("a head that is no text")?;
        let mut length = None;
        let mut cookie = None;
        for line in head.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(
                    value
                        .trim()
                        .parse::<usize>()
                        .context("a length that is none")?,
                );
            } else if name.eq_ignore_ascii_case("set-cookie") {
                cookie = value.split(';').next().map(|pair| pair.trim().to_owned());
            }
        }
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            bail!("answered with status {status}");
        }
        let (begin, length) = (end + 4, length.context("an answer without a length")?);
        if self.buffer.len() < begin + length {
            return Ok(None);
        }
        if let Some(cookie) = cookie {
            self.cookie = cookie;
        }
        let body = self.buffer[begin..begin + length].to_vec();
        self.buffer.drain(..begin + length);
        Ok(Some(
            String::from_utf8(body).context("a body that is no text")?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_taken_whole_and_its_cookie_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut connection = Connection::open(listener.local_addr().expect("bound"))
            .await
            .expect("connected");
        let (mut peer, _) = listener.accept().await.expect("accepted");
        let answer =
            "HTTP/1.1 200 OK\r\nset-cookie: srv=s1; path=/\r\nContent-Length: 5\r\n\r\n2\u{1e}4ok";
        peer.write_all(&answer.as_bytes()[..70])
            .await
            .expect("sent");
        let first = timeout(Duration::from_millis(50), connection.answer()).await;
        assert!(first.is_err(), "it is not complete");
        peer.write_all(&answer.as_bytes()[70..])
            .await
            .expect("sent");
        assert_eq!(connection.answer().await.expect("complete"), "2\u{1e}4ok");
        assert_eq!(connection.cookie, "srv=s1");
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await
            .expect("sent");
        assert!(connection.answer().await.is_err());
    }
}
