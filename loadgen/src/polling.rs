//! A client over HTTP long-polling: one connection asks, another one posts, as browsers do it. Packets are text.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::keep_alive::KeepAlive;
use crate::protocol::{Packet, field};

/// What browsers say of a packet.
const TEXT: &str = "text/plain;charset=UTF-8";
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the packets of a payload.
const SEPARATOR: char = '\u{1e}';

pub(crate) struct Polling {
    polls: KeepAlive,
    posts: KeepAlive,
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
        let mut polls = KeepAlive::open(address).await?;
        polls.ask("GET", path, TEXT, "").await?;
        let body = timeout(STEP_TIMEOUT, good_answer(&mut polls))
            .await
            .context("no answer to the handshake")??;
        if Packet::parse(&body) != Packet::Open {
            bail!("the handshake was answered with {body:.80}");
        }
        let sid = field(&body, "sid").context("a session without an id")?;
        let mut posts = KeepAlive::open(address).await?;
        posts.share_cookie(&polls);
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
                self.polls.ask("GET", &self.path, TEXT, "").await?;
            }
            let body = good_answer(&mut self.polls).await?;
            self.asked = false;
            self.packets
                .extend(body.split(SEPARATOR).map(str::to_owned));
        }
    }

    pub(crate) async fn send(&mut self, packet: &str) -> Result<()> {
        self.posts.ask("POST", &self.path, TEXT, packet).await?;
        timeout(STEP_TIMEOUT, good_answer(&mut self.posts))
            .await
            .context("no answer to a post")??;
        Ok(())
    }

    /// Both connections, so that they can be reset.
    pub(crate) fn streams(&self) -> [&TcpStream; 2] {
        [self.polls.stream(), self.posts.stream()]
    }
}

/// The body of a 200.
async fn good_answer(connection: &mut KeepAlive) -> Result<String> {
    match connection.answer().await? {
        (200, body) => Ok(body),
        (status, _) => bail!("answered with status {status}"),
    }
}
