//! Hands events to the server under test: to Fleetcast through Kafka, to its peers over a WebSocket of their own.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::event::{EventKind, channel};
use super::frames::{head_end, push_client_frame, take_frames, upgrade_request};
use crate::producer::client_config;

const TIMEOUT: Duration = Duration::from_secs(10);

/// How a producer fills its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linger {
    /// Each record is sent at once.
    None,
    /// 1 ms: records that are produced together are one batch.
    Millisecond,
}

/// An event that is to be published.
pub(crate) struct Publication {
    pub(crate) kind: EventKind,
    pub(crate) room: usize,
    pub(crate) number: u64,
    pub(crate) payload: Vec<u8>,
}

pub(crate) enum Publisher {
    Kafka(Box<KafkaPublisher>),
    Node(SocketPublisher),
    Bare(SocketPublisher),
}

impl Publisher {
    /// All of one room; they go together: as records one after the other, as packets in one write, or, to the bare writer, in one
    /// message.
    pub(crate) fn publish(&mut self, events: &[Publication]) -> Result<()> {
        match self {
            Self::Kafka(kafka) => events.iter().try_for_each(|event| kafka.publish(event)),
            Self::Node(socket) => {
                let mut frames = Vec::with_capacity(events.len() * 600);
                for event in events {
                    let mut packet = format!(
                        "42[\"publish\",{{\"room\":\"channel:{}\",\"event\":\"{}\",\"data\":",
                        channel(event.room),
                        event.kind.name()
                    )
                    .into_bytes();
                    packet.extend_from_slice(&event.payload);
                    packet.extend_from_slice(b"}]");
                    push_client_frame(&mut frames, &packet);
                }
                socket.send(&frames)
            }
            Self::Bare(socket) => {
                let Some(first) = events.first() else {
                    return Ok(());
                };
                let mut message = format!("pchannel:{}", channel(first.room)).into_bytes();
                for event in events {
                    message
                        .extend_from_slice(format!("\n42[\"{}\",", event.kind.name()).as_bytes());
                    message.extend_from_slice(&event.payload);
                    message.push(b']');
                }
                let mut frame = Vec::with_capacity(message.len() + 14);
                push_client_frame(&mut frame, &message);
                socket.send(&frame)
            }
        }
    }

    /// Waits until the brokers have everything, and forgets when they had it: by number, in nanoseconds since the epoch.
    pub(crate) fn appended(&mut self) -> Result<Option<BTreeMap<u64, u64>>> {
        match self {
            Self::Kafka(kafka) => kafka.appended().map(Some),
            Self::Node(_) | Self::Bare(_) => Ok(None),
        }
    }
}

/// When the brokers appended what.
#[derive(Default)]
struct Appends {
    reports: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    /// By number, in milliseconds since the epoch, rounded down.
    at: BTreeMap<u64, u64>,
    failed: Option<String>,
}

impl Appends {
    fn reports(&self) -> MutexGuard<'_, Reported> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Appends {}

impl ProducerContext for Appends {
    /// The record's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(message) => {
                let millis = message
                    .timestamp()
                    .to_millis()
                    .and_then(|time| u64::try_from(time).ok());
                self.reports().at.insert(number as u64, millis.unwrap_or(0));
            }
            Err((error, _)) => drop(
                self.reports()
                    .failed
                    .get_or_insert_with(|| error.to_string()),
            ),
        }
    }
}

pub(crate) struct KafkaPublisher {
    eager: ThreadedProducer<Appends>,
    batching: ThreadedProducer<Appends>,
    prefix: String,
    pub(crate) linger: Linger,
}

impl KafkaPublisher {
    pub(crate) fn connect(brokers: &str, prefix: &str) -> Result<Self> {
        let producer = |linger: &str| {
            let mut config = client_config(brokers);
            config
                .set("linger.ms", linger)
                .set("queue.buffering.max.messages", "1000000");
            config
                .create_with_context(Appends::default())
                .context("cannot make a Kafka producer")
        };
        Ok(Self {
            eager: producer("0")?,
            batching: producer("1")?,
            prefix: prefix.to_owned(),
            linger: Linger::None,
        })
    }

    fn publish(&self, event: &Publication) -> Result<()> {
        let producer = match self.linger {
            Linger::None => &self.eager,
            Linger::Millisecond => &self.batching,
        };
        let (topic, key) = (
            format!("{}{}", self.prefix, event.kind.topic()),
            channel(event.room),
        );
        let number = usize::try_from(event.number)?;
        let record = BaseRecord::with_opaque_to(&topic, number)
            .key(&key)
            .payload(&event.payload);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .context("cannot produce")
    }

    fn appended(&self) -> Result<BTreeMap<u64, u64>> {
        let mut all = BTreeMap::new();
        for producer in [&self.eager, &self.batching] {
            producer
                .flush(TIMEOUT)
                .context("the brokers do not acknowledge")?;
            let mut reports = producer.context().reports();
            if let Some(failed) = &reports.failed {
                bail!("a record was not acknowledged: {failed}");
            }
            all.append(&mut reports.at);
        }
        Ok(all
            .into_iter()
            .map(|(number, millis)| (number, millis * 1_000_000))
            .collect())
    }
}

/// A WebSocket that only this tool's own peers are published to by.
pub(crate) struct SocketPublisher {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl SocketPublisher {
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .context("cannot connect the publisher")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(upgrade_request(port, "").as_bytes())?;
        let mut publisher = Self {
            stream,
            unread: Vec::new(),
        };
        while head_end(&publisher.unread).is_none() {
            publisher.read().context("the publisher is not upgraded")?;
        }
        let end = head_end(&publisher.unread).context("a head")?;
        publisher.unread.drain(..end);
        let mut connect = Vec::new();
        push_client_frame(&mut connect, b"40");
        publisher.stream.write_all(&connect)?;
        let mut connected = false;
        while !connected {
            let taken = take_frames(&mut publisher.unread, |packet| {
                connected |= packet.starts_with(b"40");
            });
            publisher
                .unread
                .drain(..taken.context("the publisher was closed")?);
            if !connected {
                publisher.read().context("the publisher is not connected")?;
            }
        }
        publisher.stream.set_nonblocking(true)?;
        Ok(publisher)
    }

    fn read(&mut self) -> Result<usize> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer)?;
        ensure!(read > 0, "the server has closed the connection");
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn send(&mut self, frames: &[u8]) -> Result<()> {
        self.answer_pings()?;
        let mut written = 0;
        let begin = std::time::Instant::now();
        while written < frames.len() {
            match self.stream.write(&frames[written..]) {
                Ok(more) => written += more,
                // The server is busy with what it has; it reads on without our help.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(
                        begin.elapsed() < TIMEOUT,
                        "the server takes no publications"
                    );
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(error) => return Err(error).context("cannot publish"),
            }
        }
        Ok(())
    }

    /// Engine.IO's, or the server closes the connection.
    fn answer_pings(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server has closed the publisher's connection"),
            Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("the publisher's connection has broken"),
        }
        let mut pings = 0;
        let taken = take_frames(&mut self.unread, |packet| {
            pings += usize::from(packet == b"2");
        });
        self.unread
            .drain(..taken.context("the publisher was closed")?);
        let mut pong = Vec::new();
        for _ in 0..pings {
            push_client_frame(&mut pong, b"3");
        }
        self.stream.write_all(&pong).context("cannot answer a ping")
    }
}
