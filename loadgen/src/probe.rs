//! A patient client for the abuse tests, and the pair of neighbours that must be served whatever else happens.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::Common;
use crate::clock::Clock;
use crate::producer::client_config;
use crate::protocol::{Packet, connect_packet, is_success, subscribe_packet};
use crate::record::{EVENT, Payload, RecordWriter};
use crate::socket::{Endpoint, Minter, Socket, send};

/// How long a good record may take to a neighbour, and an answer to a good command.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
const LIFETIME_SECONDS: u64 = 3_600;

/// What the server said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Name, and payload without the cursor.
    Event(String, String),
    Ack(u64, String),
    /// `44…`, of any namespace.
    ConnectError(String),
    /// The connection is gone, by frame, by packet or without a word.
    Closed(String),
}

pub(crate) struct Probe {
    socket: Socket,
}

impl Probe {
    pub(crate) async fn connect(endpoint: &Endpoint, token: &str) -> Result<Self> {
        let socket = endpoint.websocket(connect_packet(token, "", &[])).await?;
        Ok(Self { socket })
    }

    /// A write to a connection that the server has closed is no error: what it said before is still to be heard.
    pub(crate) async fn say(&mut self, message: Message) -> bool {
        matches!(
            timeout(SERVED_WITHIN, self.socket.send(message)).await,
            Ok(Ok(()))
        )
    }

    /// The next thing that is not housekeeping; nothing if the server stays silent until then.
    pub(crate) async fn hear(&mut self, until: Instant) -> Option<Heard> {
        loop {
            let message = match timeout_at(until, self.socket.next()).await.ok()? {
                None => return Some(Heard::Closed("connection ended".to_owned())),
                Some(Err(error)) => return Some(Heard::Closed(error.to_string())),
                Some(Ok(Message::Close(frame))) => {
                    return Some(Heard::Closed(format!("close frame {frame:?}")));
                }
                Some(Ok(message)) => message,
            };
            let Message::Text(text) = message else {
                continue;
            };
            let text = text.as_str();
            match Packet::parse(text) {
                Packet::Ping => {
                    if let Err(error) = send(&mut self.socket, "3".to_owned()).await {
                        return Some(Heard::Closed(error.to_string()));
                    }
                }
                Packet::Event(event) => {
                    return Some(Heard::Event(
                        event.name.to_owned(),
                        event.split_cursor().0.to_owned(),
                    ));
                }
                Packet::Ack { id, args } => return Some(Heard::Ack(id, args.to_owned())),
                Packet::Close => return Some(Heard::Closed("Engine.IO close".to_owned())),
                Packet::Disconnect => {
                    return Some(Heard::Closed("Socket.IO DISCONNECT".to_owned()));
                }
                _ if text.starts_with("44") => {
                    return Some(Heard::ConnectError(text[2..].to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Sends a good command under `id` and waits for its acknowledgement; events meanwhile are kept in `strays`.
    pub(crate) async fn command(
        &mut self,
        packet: String,
        id: u64,
        strays: &mut Vec<String>,
    ) -> Result<String> {
        send(&mut self.socket, packet).await?;
        let until = Instant::now() + SERVED_WITHIN;
        loop {
            match self
                .hear(until)
                .await
                .context("no answer to a good command")?
            {
                Heard::Ack(of, args) if of == id => return Ok(args),
                Heard::Ack(of, args) => {
                    bail!("an acknowledgement {of} that was not expected: {args}")
                }
                Heard::Event(name, payload) => strays.extend(stray(&name, &payload)),
                Heard::ConnectError(text) | Heard::Closed(text) => bail!("closed: {text}"),
            }
        }
    }

    /// Whether a good command is still answered.
    pub(crate) async fn is_served(&mut self) -> Result<Vec<String>> {
        let mut strays = Vec::new();
        let answer = self
            .command("429999[\"rooms\"]".to_owned(), 9999, &mut strays)
            .await?;
        if is_success(&answer) {
            Ok(strays)
        } else {
            Err(anyhow!("rooms was answered {answer}"))
        }
    }
}

/// An event that no good record or command explains.
fn stray(name: &str, payload: &str) -> Option<String> {
    let known = matches!(name, "connection_established" | "cursor" | "stale");
    (!known).then(|| format!("{name} {}", head(payload, 200)))
}

pub(crate) fn head(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A record as the abuse tests put it into Kafka.
#[derive(Debug, Default)]
pub(crate) struct RawRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    /// Milliseconds since the epoch; none: now.
    pub(crate) timestamp: Option<i64>,
}

/// The neighbours' organisations and the one channel that both have.
pub(crate) const ORGANISATIONS: [&str; 2] = ["lgp0", "lgp1"];
pub(crate) const CHANNEL: &str = "poison";

/// An event that one of the neighbours should not have got, or not from the good records.
#[derive(Debug)]
pub(crate) struct Stray {
    /// Whose: index in `ORGANISATIONS`.
    pub(crate) side: usize,
    pub(crate) text: String,
}

pub(crate) fn listed(strays: &[Stray]) -> String {
    let texts = strays
        .iter()
        .map(|stray| format!("{} heard {}", ORGANISATIONS[stray.side], stray.text));
    texts.collect::<Vec<_>>().join("; ")
}

/// One neighbour in each of two organisations, and the good records that they live on.
pub(crate) struct Neighbours {
    probes: [Probe; 2],
    producer: FutureProducer,
    topic: String,
    clock: Clock,
    run: String,
    writer: RecordWriter,
    round: u32,
}

impl Neighbours {
    pub(crate) async fn connect(common: &Common, topic: &str, endpoint: &Endpoint) -> Result<Self> {
        let clock = Clock::start();
        let run = format!("p{:x}", clock.now_ns());
        let minter = minter(common, clock)?;
        let probe = async |organisation: &str| -> Result<Probe> {
            let mut probe =
                Probe::connect(endpoint, &minter.dispatcher("lg-neighbour", organisation)?).await?;
            let subscribe = subscribe_packet(0, &[format!("channel:{CHANNEL}")]);
            let answer = probe.command(subscribe, 0, &mut Vec::new()).await?;
            if is_success(&answer) {
                Ok(probe)
            } else {
                Err(anyhow!("subscribe was answered {answer}"))
            }
        };
        let probes = [
            probe(ORGANISATIONS[0]).await?,
            probe(ORGANISATIONS[1]).await?,
        ];
        let mut config = client_config(&common.brokers);
        let producer = config
            .set("linger.ms", "0")
            .create()
            .context("cannot make a Kafka producer")?;
        let writer = RecordWriter::new(&run, clock.rfc3339(), 300);
        Ok(Self {
            probes,
            producer,
            topic: topic.to_owned(),
            clock,
            run,
            writer,
            round: 0,
        })
    }

    /// Puts a record into partition 0, where the good ones go too. `Err`: the broker did not take it.
    pub(crate) async fn produce(&self, raw: &RawRecord) -> Result<()> {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &raw.headers {
            headers = headers.insert(rdkafka::message::Header {
                key,
                value: Some(value),
            });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.topic).partition(0).headers(headers);
        record.key = raw.key.as_deref();
        record.payload = raw.value.as_deref();
        record.timestamp = raw.timestamp;
        self.producer
            .send(record, Timeout::After(SERVED_WITHIN))
            .await
            .map_err(|(error, _)| error)?;
        Ok(())
    }

    /// One good record to each neighbour. Gives everything that they heard before it and that was not theirs;
    /// an error when the good one itself does not arrive.
    pub(crate) async fn round(&mut self) -> Result<Vec<Stray>> {
        let round = self.round;
        self.round += 1;
        for organisation in ORGANISATIONS {
            let value = self
                .writer
                .write(organisation, CHANNEL, round, self.clock.now_ns())
                .to_vec();
            let record = RawRecord {
                key: Some(CHANNEL.into()),
                value: Some(value),
                ..RawRecord::default()
            };
            self.produce(&record)
                .await
                .context("a good record was not taken by the broker")?;
        }
        let until = Instant::now() + SERVED_WITHIN;
        let mut strays = Vec::new();
        for (side, probe) in self.probes.iter_mut().enumerate() {
            loop {
                let heard = probe.hear(until).await;
                let heard = heard.with_context(|| {
                    format!("good record {round} did not reach neighbour {side}")
                })?;
                let (name, payload) = match heard {
                    Heard::Event(name, payload) => (name, payload),
                    Heard::Ack(id, args) => {
                        bail!("an acknowledgement {id} that was not expected: {args}")
                    }
                    Heard::ConnectError(text) | Heard::Closed(text) => {
                        bail!("neighbour {side} was closed: {text}")
                    }
                };
                if name == EVENT
                    && let Payload::Untouched(stamp) = Payload::read(&payload)
                    && (stamp.organisation, stamp.channel) == (ORGANISATIONS[side], CHANNEL)
                    && (stamp.run, stamp.sequence) == (self.run.as_str(), round)
                {
                    break;
                }
                strays.extend(stray(&name, &payload).map(|text| Stray { side, text }));
            }
        }
        Ok(strays)
    }

    /// A command of each neighbour is answered.
    pub(crate) async fn are_served(&mut self) -> Result<Vec<Stray>> {
        let mut strays = Vec::new();
        for (side, probe) in self.probes.iter_mut().enumerate() {
            let heard = probe
                .is_served()
                .await
                .with_context(|| format!("neighbour {side}"))?;
            strays.extend(heard.into_iter().map(|text| Stray { side, text }));
        }
        Ok(strays)
    }
}

pub(crate) fn minter(common: &Common, clock: Clock) -> Result<Minter> {
    Minter::new(&common.secret, clock.unix_seconds() + LIFETIME_SECONDS)
}
