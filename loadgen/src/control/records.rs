//! Records that flow through Kafka at a steady pace while something else is done.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::ControlRun;
use super::audience::channel;
use super::watched::ORGANISATION;
use crate::check::RoomLedger;
use crate::producer::{AckTimes, Pace, PacedProducer, Produced, Room, client_config};
use crate::record::RecordWriter;

/// Records to come.
pub(super) struct Stream {
    producer: PacedProducer,
    acks: Arc<AckTimes>,
    pace: Pace,
}

impl Stream {
    /// `rate`: over all rooms. `bytes`: of a record.
    pub(super) fn plan(
        run: &ControlRun<'_>,
        topic: &str,
        rooms: usize,
        rate: u32,
        lasts: Duration,
        bytes: usize,
    ) -> Result<Self> {
        let channels = (0..rooms).map(channel);
        Self::into_channels(run, topic, channels, rate, lasts, bytes)
    }

    /// The same into these channels.
    pub(super) fn into_channels(
        run: &ControlRun<'_>,
        topic: &str,
        channels: impl Iterator<Item = usize>,
        rate: u32,
        lasts: Duration,
        bytes: usize,
    ) -> Result<Self> {
        let rooms = channels.map(|channel| Room {
            organisation: ORGANISATION.to_owned(),
            channel: channel.to_string(),
        });
        let rooms: Vec<Room> = rooms.collect();
        let records = u64::from(rate) * u64::try_from(lasts.as_millis())? / 1_000;
        let bound = u32::try_from(records / rooms.len() as u64 + 1)
            .context("too many records for a room")?;
        let acks = Arc::new(AckTimes::new(rooms.len(), bound));
        let mut config = client_config(&run.bed.cluster.addresses);
        config.set("linger.ms", "1");
        let writer = RecordWriter::new(&run.bed.run, run.clock.rfc3339(), bytes);
        let producer =
            PacedProducer::connect(&config, topic, rooms, Arc::clone(&acks), run.clock, writer)?;
        Ok(Self {
            producer,
            acks,
            pace: Pace { rate, records },
        })
    }

    pub(super) fn bound(&self) -> u32 {
        self.acks.bound()
    }

    pub(super) fn acks(&self) -> Arc<AckTimes> {
        Arc::clone(&self.acks)
    }

    pub(super) fn start(self) -> Result<Flow> {
        let Self { producer, pace, .. } = self;
        let thread = std::thread::Builder::new()
            .name("producer".to_owned())
            .spawn(move || producer.run(&pace))?;
        Ok(Flow { thread })
    }
}

/// Records that flow.
pub(super) struct Flow {
    thread: JoinHandle<Result<Produced>>,
}

impl Flow {
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the last record. What each room was given.
    pub(super) fn finish(self) -> Result<Vec<RoomLedger>> {
        let produced = self.thread.join();
        let produced = produced.map_err(|_| anyhow!("the producer panicked"))??;
        // Then order and loss say nothing of the server.
        ensure!(
            produced.misplaced == 0 && produced.failed == 0,
            "Kafka failed the producer: {} records misplaced, {} failed ({:?})",
            produced.misplaced,
            produced.failed,
            produced.first_failure
        );
        Ok(produced.ledgers)
    }
}
