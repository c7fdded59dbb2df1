//! One connection: TCP, WebSocket, Engine.IO, Socket.IO, each with its deadline.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::packet::{OpenPacket, Packet};

/// For each step of connecting, and for each frame that is sent.
const STEP: Duration = Duration::from_secs(10);

/// Larger frames end the connection. Bytes.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    authority: String,
    path: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// A stock client gives up on this.
    #[error("refused: {0}")]
    Refused(String),
    #[error("the server ended the session: it is not to be tried again")]
    Dismissed,
    /// Worth another try.
    #[error("{0}")]
    Lost(String),
}

pub(super) struct ClientLink {
    socket: WebSocketStream<TcpStream>,
    /// No frame for so long means that the server is gone.
    silence: Duration,
    last: Instant,
}

impl Endpoint {
    pub(super) fn of(address: SocketAddr) -> Self {
        Self {
            authority: address.to_string(),
            path: "/socket.io/".to_owned(),
        }
    }

    /// `http://host:port` or `ws://host:port`, and a path that is not the usual one.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("ws://"));
        let Some(rest) = rest else {
            let tls = url.starts_with("https://") || url.starts_with("wss://");
            return Err(if tls {
                "this client does not speak TLS: name the server's own port, behind the proxy"
                    .to_owned()
            } else {
                "it does not begin with http://".to_owned()
            });
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(['@', '?', '#']) {
            return Err("it names no host".to_owned());
        }
        let port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let path = match path.trim_end_matches('/') {
            "" => "/socket.io/".to_owned(),
            "ws" => {
                return Err(
                    "/ws is a namespace and no path: leave it out, or write /ws/socket.io"
                        .to_owned(),
                );
            }
            path => format!("/{path}/"),
        };
        Ok(Self {
            authority: if port {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            },
            path,
        })
    }
}

impl ClientLink {
    /// Until the namespace is connected with `connect`, a `40…` packet.
    pub(super) async fn open(endpoint: &Endpoint, connect: &str) -> Result<Self, LinkError> {
        let Endpoint { authority, path } = endpoint;
        let stream = timeout(STEP, TcpStream::connect(authority.as_str())).await;
        let stream = stream
            .map_err(|_| LinkError::Lost(format!("{authority} does not answer")))?
            .map_err(|error| LinkError::Lost(format!("cannot connect to {authority}: {error}")))?;
        let url = format!("ws://{authority}{path}?EIO=4&transport=websocket");
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME))
            .max_frame_size(Some(MAX_FRAME));
        let upgrade = client_async_with_config(url.as_str(), stream, Some(config));
        let (socket, _) = timeout(STEP, upgrade)
            .await
            .map_err(|_| LinkError::Lost("no answer to the WebSocket upgrade".to_owned()))?
            .map_err(|error| no_upgrade(authority, path, &error))?;
        let mut link = Self {
            socket,
            silence: STEP,
            last: Instant::now(),
        };
        loop {
            match link.next().await? {
                Packet::Open(OpenPacket {
                    ping_interval,
                    ping_timeout,
                }) => {
                    let most = ping_interval.saturating_add(ping_timeout);
                    link.silence = Duration::from_millis(most).max(STEP);
                    link.send(connect).await?;
                }
                Packet::Connected => return Ok(link),
                _ => {}
            }
        }
    }

    /// The next packet that means something; pings are answered here. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Packet, LinkError> {
        loop {
            let message = timeout_at(self.last + self.silence, self.socket.next())
                .await
                .map_err(|_| {
                    let seconds = self.silence.as_secs();
                    LinkError::Lost(format!("nothing was heard for {seconds} s"))
                })?;
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    return Err(LinkError::Lost(format!("the connection was lost: {error}")));
                }
                None => return Err(LinkError::Lost("the connection was closed".to_owned())),
            };
            self.last = Instant::now();
            let text = match message {
                Message::Text(text) => text,
                Message::Close(_) => {
                    return Err(LinkError::Lost("the connection was closed".to_owned()));
                }
                _ => continue,
            };
            match Packet::parse(text.as_str()) {
                Packet::Ping => self.send("3").await?,
                Packet::Refused(why) => return Err(LinkError::Refused(why)),
                Packet::Disconnect => return Err(LinkError::Dismissed),
                Packet::Other => {}
                packet => return Ok(packet),
            }
        }
    }

    pub(super) async fn send(&mut self, frame: &str) -> Result<(), LinkError> {
        timeout(STEP, self.socket.send(Message::text(frame)))
            .await
            .map_err(|_| LinkError::Lost("the server takes nothing".to_owned()))?
            .map_err(|error| LinkError::Lost(error.to_string()))
    }

    /// Disconnects as a stock client does. That it does not arrive is no failure.
    pub(super) async fn close(mut self) {
        if self.send("41").await.is_ok() {
            drop(timeout(Duration::from_secs(1), self.socket.close(None)).await);
        }
    }
}

/// A server that starts, stops or is full says 503 and is worth another try; one that has no such path is not.
fn no_upgrade(authority: &str, path: &str, error: &WebSocketError) -> LinkError {
    let at = format!("no WebSocket at http://{authority}{path}");
    match error {
        WebSocketError::Http(answer) if answer.status().is_client_error() => {
            LinkError::Refused(format!("{at}: the server answers {}", answer.status()))
        }
        WebSocketError::Http(answer) => {
            LinkError::Lost(format!("{at}: the server answers {}", answer.status()))
        }
        error => LinkError::Lost(format!("{at}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_with_an_optional_path() {
        for (url, authority, path) in [
            ("http://127.0.0.1:8001", "127.0.0.1:8001", "/socket.io/"),
            ("ws://localhost:1/", "localhost:1", "/socket.io/"),
            ("http://h/ws/socket.io", "h:80", "/ws/socket.io/"),
            ("http://[::1]:8001", "[::1]:8001", "/socket.io/"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(
                (&*endpoint.authority, &*endpoint.path),
                (authority, path),
                "{url}"
            );
        }
        for wrong in [
            "",
            "localhost:8001",
            "https://h",
            "http://",
            "http://u@h",
            "http://?x",
            "http://h:8001/ws",
            "http://h:8001/ws/",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
