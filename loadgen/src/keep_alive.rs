//! HTTP/1.1 with many requests on one connection, as browsers and back-ends do it. Bodies are text.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct KeepAlive {
    stream: TcpStream,
    host: SocketAddr,
    /// What keeps a session at one server behind a proxy.
    cookie: String,
    /// Read and not taken yet.
    buffer: Vec<u8>,
}

impl KeepAlive {
    pub(crate) async fn open(host: SocketAddr) -> Result<Self> {
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

    /// A request is a few kilobytes at most, so it fits the send buffer whole and is not cut short.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        media_type: &str,
        body: &str,
    ) -> Result<()> {
        let cookie = if self.cookie.is_empty() {
            String::new()
        } else {
            format!("Cookie: {}\r\n", self.cookie)
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{cookie}Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        timeout(STEP_TIMEOUT, self.stream.write_all(request.as_bytes()))
            .await
            .context("the peer takes no more data")??;
        Ok(())
    }

    /// Status and body of the answer. May be dropped at any time and asked for again: nothing is lost by that.
    pub(crate) async fn answer(&mut self) -> Result<(u16, String)> {
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection ended");
            }
        }
    }

    /// The answer, once all of it is there.
    fn take_answer(&mut self) -> Result<Option<(u16, String)>> {
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
        let status: u16 = status.parse().context("a status that is none")?;
        let (begin, length) = (end + 4, length.context("an answer without a length")?);
        if self.buffer.len() < begin + length {
            return Ok(None);
        }
        if let Some(cookie) = cookie {
            self.cookie = cookie;
        }
        let body = self.buffer[begin..begin + length].to_vec();
        self.buffer.drain(..begin + length);
        let body = String::from_utf8(body).context("a body that is no text")?;
        Ok(Some((status, body)))
    }

    /// Sends what the other one was given, so that both reach the same server behind a proxy.
    pub(crate) fn share_cookie(&mut self, other: &Self) {
        self.cookie.clone_from(&other.cookie);
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Closes it with a reset, whatever is on its way.
    pub(crate) fn cut(self) -> Result<()> {
        self.stream
            .set_zero_linger()
            .context("cannot set SO_LINGER")
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_taken_whole_and_its_cookie_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut connection = KeepAlive::open(listener.local_addr().expect("bound"))
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
        let answer = connection.answer().await.expect("complete");
        assert_eq!(answer, (200, "2\u{1e}4ok".to_owned()));
        assert_eq!(connection.cookie, "srv=s1");
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await
            .expect("sent");
        let answer = connection.answer().await.expect("complete");
        assert_eq!(answer, (400, String::new()));
    }
}
