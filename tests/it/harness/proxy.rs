//! A TCP proxy that can be cut, stalled and restored, for either side of the server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Background;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Nothing passes, nothing is closed.
    Stalled,
    /// All connections are closed, and new ones at once.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    flow: watch::Sender<Flow>,
    _accepts: Background,
}

/// What a broker says of its address is changed on the way, or its clients would go past the proxy.
#[derive(Clone, Copy)]
struct Advertised {
    broker: u16,
    proxy: u16,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        Self::start(target, false).await
    }

    /// To a Kafka broker on 127.0.0.1.
    pub(crate) async fn to_broker(address: &str) -> Self {
        Self::start(address.parse().unwrap(), true).await
    }

    async fn start(target: SocketAddr, broker: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (flow, watched) = watch::channel(Flow::Open);
        let (target, now) = watch::channel(target);
        let accepts = Background::start(async move {
            let mut relays = Vec::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let flow = watched.clone();
                if *flow.borrow() == Flow::Cut {
                    continue;
                }
                let target = now.clone();
                let now = *target.borrow();
                let advertised = broker.then_some(Advertised {
                    broker: now.port(),
                    proxy: address.port(),
                });
                relays.push(Background::start(relay(client, target, flow, advertised)));
            }
        });
        Self {
            address,
            target,
            flow,
            _accepts: accepts,
        }
    }

    pub(crate) fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }

    /// Closes all connections; new ones lead to another broker.
    pub(crate) fn lead_to(&self, address: &str) {
        self.target.send_replace(address.parse().unwrap());
    }

    pub(crate) fn stall(&self) {
        self.flow.send_replace(Flow::Stalled);
    }

    pub(crate) fn restore(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

async fn relay(
    client: TcpStream,
    mut target: watch::Receiver<SocketAddr>,
    mut flow: watch::Receiver<Flow>,
    advertised: Option<Advertised>,
) {
    let address = *target.borrow_and_update();
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (upward, downward) = (flow.clone(), flow.clone());
    tokio::select! {
        _ = flow.wait_for(|flow| *flow == Flow::Cut) => {}
        _ = target.changed() => {}
        _ = pass(from_client, to_server, upward) => {}
        _ = async {
            match advertised {
                Some(advertised) => pass_frames(from_server, to_client, downward, advertised).await,
                None => pass(from_server, to_client, downward).await,
            }
        } => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        drop(flow.wait_for(|flow| *flow != Flow::Stalled).await);
        to.write_all(&buffer[..count]).await?;
    }
}

/// Kafka's answers, each with its length in front. The address is followed by the port as four bytes, so that the length
/// stays what it is.
async fn pass_frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
    advertised: Advertised,
) -> std::io::Result<()> {
    const HOST: &[u8] = b"127.0.0.1";
    let told = [HOST, &u32::from(advertised.broker).to_be_bytes()].concat();
    let meant = [HOST, &u32::from(advertised.proxy).to_be_bytes()].concat();
    loop {
        let length = from.read_u32().await?;
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await?;
        let mut at = 0;
        while let Some(found) = frame[at..]
            .windows(told.len())
            .position(|window| window == told)
        {
            frame[at + found..at + found + meant.len()].copy_from_slice(&meant);
            at += found + meant.len();
        }
        drop(flow.wait_for(|flow| *flow != Flow::Stalled).await);
        to.write_u32(length).await?;
        to.write_all(&frame).await?;
    }
}
