//! Opening a WebSocket to the server, and the handshake of Engine.IO and Socket.IO on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::polling::Polling;
use crate::protocol::{Packet, field};

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// For TCP, for the upgrade and for the handshake, each.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server listens.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    url: String,
    /// For HTTP long-polling, with the query.
    polling: String,
}

/// How a client gets its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket {
        /// Of the TCP socket in bytes, set before connecting so that the window is offered accordingly.
        receive_buffer: Option<u32>,
    },
    Polling,
}

/// A session on either transport.
pub(crate) enum Line {
    WebSocket(Box<Socket>),
    Polling(Box<Polling>),
}

impl Line {
    /// The next packet; nothing if the connection ended in order. May be dropped and asked for again.
    pub(crate) async fn next(&mut self) -> Result<Option<Utf8Bytes>> {
        match self {
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(Some(text)),
                    Some(Ok(Message::Close(frame))) => bail!("closed by the server: {frame:?}"),
                    Some(Ok(Message::Binary(_))) => bail!(BrokenFrame("a binary frame".to_owned())),
                    // The library answers WebSocket pings by itself.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Err(error)) => return Err(of_stream(error)),
                    None => return Ok(None),
                }
            },
            Self::Polling(polling) => polling.next().await.map(|text| Some(text.into())),
        }
    }

    pub(crate) async fn send(&mut self, packet: String) -> Result<()> {
        match self {
            Self::WebSocket(socket) => send(socket, packet).await,
            Self::Polling(polling) => polling.send(&packet).await,
        }
    }

    /// Closes its TCP connections with a reset.
    pub(crate) fn cut(self) -> Result<()> {
        match self {
            Self::WebSocket(socket) => cut(*socket),
            Self::Polling(polling) => {
                for stream in polling.streams() {
                    stream.set_zero_linger().context("cannot set SO_LINGER")?;
                }
                Ok(())
            }
        }
    }
}

/// The server sent bytes that are no valid WebSocket frame of its own, or one that it never sends.
#[derive(Debug, thiserror::Error)]
#[error("broken frame: {0}")]
pub(crate) struct BrokenFrame(pub(crate) String);

fn of_stream(error: tungstenite::Error) -> anyhow::Error {
    use tungstenite::Error;
    match error {
        // However a connection ends, it may end within a frame.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => error.into(),
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) => {
            BrokenFrame(error.to_string()).into()
        }
        _ => error.into(),
    }
}

/// How opening a session failed, seen as a stock client would.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// `connect_error`: a stock client gives up.
    #[error("refused for good with connect_error {0}")]
    Refused(String),
    /// A stock client tries again.
    #[error("{0:#}")]
    Temporary(#[from] anyhow::Error),
}

impl Endpoint {
    /// `url`: `http://host:port`; `path`: of Engine.IO, such as `/socket.io/`.
    pub(crate) fn parse(url: &str, path: &str) -> Result<Self> {
        let authority = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("ws://"))
            .with_context(|| {
                format!("{url:?} does not start with http:// (TLS is not spoken here)")
            })?
            .trim_end_matches('/');
        let address = authority
            .to_socket_addrs()
            .with_context(|| format!("{authority:?} is not host:port"))?
            .next()
            .with_context(|| format!("{authority:?} has no address"))?;
        let separator = if path.ends_with('/') { "" } else { "/" };
        Ok(Self {
            address,
            url: format!("ws://{authority}{path}{separator}?EIO=4&transport=websocket"),
            polling: format!("{path}{separator}?EIO=4&transport=polling"),
        })
    }

    /// `receive_buffer`: of the TCP socket in bytes, set before connecting so that the window is offered accordingly.
    pub(crate) async fn open(&self, receive_buffer: Option<u32>) -> Result<Socket> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = timeout(STEP_TIMEOUT, socket.connect(self.address))
            .await
            .context("TCP connect timed out")??;
        stream.set_nodelay(true)?;
        // Thousands of clients: the library's 128 KiB each would be memory for nothing, and it zeroes the buffer at each read.
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(1024);
        let upgrade = client_async_with_config(self.url.as_str(), stream, Some(config));
        let (socket, _) = timeout(STEP_TIMEOUT, upgrade)
            .await
            .context("WebSocket upgrade timed out")??;
        Ok(socket)
    }

    /// Opens and connects the default namespace with `connect`, a `40…` packet.
    pub(crate) async fn session(
        &self,
        transport: Transport,
        connect: String,
    ) -> Result<Line, OpenError> {
        let mut line = match transport {
            Transport::WebSocket { receive_buffer } => {
                Line::WebSocket(Box::new(self.open(receive_buffer).await?))
            }
            Transport::Polling => {
                Line::Polling(Box::new(Polling::open(self.address, &self.polling).await?))
            }
        };
        timeout(STEP_TIMEOUT, handshake(&mut line, connect))
            .await
            .context("handshake timed out")??;
        Ok(line)
    }
}

impl Endpoint {
    /// The same on a WebSocket, for those who want to send what is no packet.
    pub(crate) async fn websocket(&self, connect: String) -> Result<Socket, OpenError> {
        let transport = Transport::WebSocket {
            receive_buffer: None,
        };
        match self.session(transport, connect).await? {
            Line::WebSocket(socket) => Ok(*socket),
            Line::Polling(_) => Err(anyhow!("a WebSocket was asked for").into()),
        }
    }
}

async fn handshake(line: &mut Line, connect: String) -> Result<(), OpenError> {
    let mut connect = Some(connect);
    if let Line::Polling(_) = line {
        // Its Engine.IO session is open already.
        line.send(connect.take().unwrap_or_default()).await?;
    }
    loop {
        let text = line.next().await?.context("closed in the handshake")?;
        match Packet::parse(text.as_str()) {
            Packet::Open => {
                let packet = connect.take().context("a second Engine.IO open packet")?;
                line.send(packet).await?;
            }
            Packet::Ping => line.send("3".to_owned()).await?,
            Packet::Connect => return Ok(()),
            Packet::ConnectError(json) => {
                return Err(OpenError::Refused(
                    field(json, "message").unwrap_or(json).to_owned(),
                ));
            }
            Packet::Noop => {}
            other => return Err(anyhow!("{other:?} before the namespace was connected").into()),
        }
    }
}

/// Sends one text frame; a peer that takes nothing for ten seconds is an error.
pub(crate) async fn send(socket: &mut Socket, packet: String) -> Result<()> {
    timeout(STEP_TIMEOUT, socket.send(Message::text(packet)))
        .await
        .context("the peer takes no more data")??;
    Ok(())
}

/// Closes the TCP connection with a reset, as a lost network looks to the server at its worst.
pub(crate) fn cut(socket: Socket) -> Result<()> {
    socket
        .get_ref()
        .set_zero_linger()
        .context("cannot set SO_LINGER")?;
    drop(socket);
    Ok(())
}

/// A socket that will connect from this address of this machine.
pub(crate) fn bound_socket(own: Ipv4Addr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    Ok(socket)
}

/// Mints tokens as the identity provider of a customer would.
pub(crate) struct Minter {
    key: EncodingKey,
    /// Unix seconds.
    expires: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    organization_id: &'a str,
    roles: [&'a str; 1],
    exp: u64,
}

impl Minter {
    pub(crate) fn new(secret: &str, expires: u64) -> Result<Self> {
        if secret.is_empty() {
            bail!("the secret is empty: give --secret or JWT_SECRET");
        }
        Ok(Self {
            key: EncodingKey::from_secret(secret.as_bytes()),
            expires,
        })
    }

    /// A dispatcher: may join every channel of the own organisation.
    pub(crate) fn dispatcher(&self, user: &str, organisation: &str) -> Result<String> {
        let claims = Claims {
            sub: user,
            organization_id: organisation,
            roles: ["dispatcher"],
            exp: self.expires,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .context("cannot sign a token")
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::error::CapacityError;

    use super::*;

    #[test]
    fn a_broken_frame_is_not_taken_for_the_end_of_a_connection() {
        use tungstenite::Error;
        let broken = |error| of_stream(error).is::<BrokenFrame>();
        assert!(broken(ProtocolError::NonZeroReservedBits.into()));
        assert!(broken(ProtocolError::UnexpectedContinueFrame.into()));
        assert!(broken(Error::Utf8(String::new())));
        assert!(broken(CapacityError::TooManyHeaders.into()));
        assert!(!broken(ProtocolError::ResetWithoutClosingHandshake.into()));
        assert!(!broken(
            io::Error::from(io::ErrorKind::ConnectionReset).into()
        ));
        assert!(!broken(Error::ConnectionClosed));
    }

    #[test]
    fn an_endpoint_is_a_host_a_port_and_a_path() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8001/", "/socket.io").expect("valid");
        assert_eq!(
            endpoint.url,
            "ws://127.0.0.1:8001/socket.io/?EIO=4&transport=websocket"
        );
        for wrong in ["127.0.0.1:8001", "https://127.0.0.1:1", "http://127.0.0.1"] {
            assert!(Endpoint::parse(wrong, "/socket.io/").is_err(), "{wrong}");
        }
    }
}
