//! A small Socket.IO client over long polling.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::http::{self, Answer};
use super::{Client, Packet, open_websocket};

pub(crate) struct Polling {
    address: SocketAddr,
    pub(crate) sid: String,
}

impl Polling {
    /// In `/`; its welcome comes with the next poll.
    pub(crate) async fn connect(address: SocketAddr, auth: &Value) -> Self {
        let answer = get(address, "/socket.io/?EIO=4&transport=polling").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let Packet::Open(open) = Packet::parse(&answer.body) else {
            panic!("no open packet: {answer:?}");
        };
        let sid = open["sid"].as_str().unwrap().to_owned();
        let polling = Self { address, sid };
        polling.post(&format!("40{auth}")).await;
        polling
    }

    pub(crate) async fn post(&self, body: &str) {
        let target = self.target();
        let answer = http::request(self.address, "POST", &target, &[], body).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }

    /// One answer, as it is.
    pub(crate) async fn get(&self) -> Answer {
        get(self.address, &self.target()).await
    }

    /// One answer to a poll with this `t`.
    pub(crate) async fn get_marked(&self, mark: &str) -> Answer {
        get(self.address, &self.marked(mark)).await
    }

    /// A poll whose answer is not waited for. Its connection stays open after it.
    pub(crate) async fn hold(&self, target: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) fn marked(&self, mark: &str) -> String {
        format!("{}&t={mark}", self.target())
    }

    /// The packets of one answer; pings are answered.
    pub(crate) async fn poll(&self) -> Vec<Packet> {
        let answer = self.get().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let packets: Vec<_> = answer.body.split('\u{1e}').map(Packet::parse).collect();
        if packets.iter().any(|packet| matches!(packet, Packet::Ping)) {
            self.post("3").await;
        }
        packets
    }

    /// Goes on as a WebSocket, in the steps of the stock client: the probe while a poll may be held, no poll any more once
    /// it is answered, then the upgrade. With what that poll brought.
    pub(crate) async fn upgrade(self, poll_meanwhile: bool) -> (Client, Vec<Packet>) {
        let probe = async {
            let websocket = open_websocket(self.address.into(), Some(&self.sid)).await;
            let mut client = Client::over(websocket);
            client.send("2probe").await;
            let answer = client.packet().await;
            assert!(matches!(answer, Some(Packet::Probed)), "{answer:?}");
            client
        };
        let polled = async {
            if poll_meanwhile {
                self.poll().await
            } else {
                Vec::new()
            }
        };
        let (mut client, packets) = tokio::join!(probe, polled);
        client.send("5").await;
        (client, packets)
    }

    pub(crate) fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    http::request(address, "GET", target, &[], "")
        .await
        .unwrap()
}
