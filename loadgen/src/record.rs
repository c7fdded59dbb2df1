//! The records that this tool produces, and how a client knows them again.
//!
//! The server promises to leave a payload untouched, so a client compares it byte for byte with what the producer
//! writes while it picks the numbers out. What differs is read as JSON, counted as altered, and still judged.

use serde::Deserialize;

pub(crate) const EVENT: &str = "transmission_started";

const BEFORE_ORGANISATION: &[u8] =
    b"{\"event_type\":\"transmission_started\",\"organization_id\":\"";
const BEFORE_TIMESTAMP: &[u8] = b"\",\"timestamp\":\"";
const BEFORE_CHANNEL: &[u8] = b"\",\"data\":{\"channel_id\":\"";
const BEFORE_RUN: &[u8] = b"\",\"run\":\"";
const BEFORE_SEQUENCE: &[u8] = b"\",\"seq\":";
const BEFORE_SENT: &[u8] = b",\"sent\":";
const BEFORE_NOTE: &[u8] = b",\"note\":\"";
const END: &[u8] = b"\"}}";

/// What a record says about itself.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub(crate) organisation: &'a str,
    pub(crate) channel: &'a str,
    /// Tells this run's records from an earlier run's.
    pub(crate) run: &'a str,
    /// Counts the records of one room from 0.
    pub(crate) sequence: u32,
    /// When the producer handed it to the Kafka client, in nanoseconds since the epoch.
    pub(crate) sent_ns: u64,
}

/// Writes records of one run; all have the same timestamp text and filler.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    run: String,
    timestamp: String,
    bytes: usize,
    buffer: Vec<u8>,
}

impl RecordWriter {
    /// `bytes`: the length of a record's value; short ones are as long as their fields make them.
    pub(crate) fn new(run: &str, timestamp: String, bytes: usize) -> Self {
        Self {
            run: run.to_owned(),
            timestamp,
            bytes,
            buffer: Vec::with_capacity(bytes + 64),
        }
    }

    pub(crate) fn write(
        &mut self,
        organisation: &str,
        channel: &str,
        sequence: u32,
        sent_ns: u64,
    ) -> &[u8] {
        let Self {
            run,
            timestamp,
            bytes,
            buffer,
        } = self;
        buffer.clear();
        let (sequence, sent) = (sequence.to_string(), sent_ns.to_string());
        for part in [
            BEFORE_ORGANISATION,
            organisation.as_bytes(),
            BEFORE_TIMESTAMP,
            timestamp.as_bytes(),
            BEFORE_CHANNEL,
            channel.as_bytes(),
            BEFORE_RUN,
            run.as_bytes(),
            BEFORE_SEQUENCE,
            sequence.as_bytes(),
            BEFORE_SENT,
            sent.as_bytes(),
            BEFORE_NOTE,
        ] {
            buffer.extend_from_slice(part);
        }
        let filled = bytes.saturating_sub(END.len()).max(buffer.len());
        buffer.resize(filled, FILLER);
        buffer.extend_from_slice(END);
        buffer
    }
}

const FILLER: u8 = b'x';

/// A payload as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Untouched(Stamp<'a>),
    /// One of this tool's records by its fields, but not by its bytes.
    Altered(Stamp<'a>),
    /// Not made by this tool.
    Strange,
}

impl<'a> Payload<'a> {
    pub(crate) fn read(text: &'a str) -> Self {
        if let Some(stamp) = read_exact(text) {
            return Payload::Untouched(stamp);
        }
        serde_json::from_str::<Loose<'a>>(text).map_or(Payload::Strange, |loose| {
            Payload::Altered(Stamp {
                organisation: loose.organization_id,
                channel: loose.data.channel_id,
                run: loose.data.run,
                sequence: loose.data.seq,
                sent_ns: loose.data.sent,
            })
        })
    }
}

fn read_exact(text: &str) -> Option<Stamp<'_>> {
    let mut scan = Scan(text);
    scan.expect(BEFORE_ORGANISATION)?;
    let organisation = scan.until(b'"')?;
    scan.expect(BEFORE_TIMESTAMP)?;
    scan.until(b'"')?;
    scan.expect(BEFORE_CHANNEL)?;
    let channel = scan.until(b'"')?;
    scan.expect(BEFORE_RUN)?;
    let run = scan.until(b'"')?;
    scan.expect(BEFORE_SEQUENCE)?;
    let sequence = scan.until(b',')?.parse().ok()?;
    scan.expect(BEFORE_SENT)?;
    let sent_ns = scan.until(b',')?.parse().ok()?;
    scan.expect(BEFORE_NOTE)?;
    let note = scan.0.as_bytes().strip_suffix(END)?;
    // Folded over all bytes rather than stopped at the first difference: the compiler makes vector code of it.
    let odd = note.iter().fold(0, |odd, byte| odd | (byte ^ FILLER));
    (odd == 0).then_some(Stamp {
        organisation,
        channel,
        run,
        sequence,
        sent_ns,
    })
}

struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    fn expect(&mut self, literal: &[u8]) -> Option<()> {
        self.0
            .as_bytes()
            .starts_with(literal)
            .then(|| self.0 = &self.0[literal.len()..])
    }

    /// The text before `stop`, which stays unread.
    fn until(&mut self, stop: u8) -> Option<&'a str> {
        let at = self.0.bytes().position(|byte| byte == stop)?;
        let (text, rest) = self.0.split_at(at);
        self.0 = rest;
        Some(text)
    }
}

#[derive(Deserialize)]
struct Loose<'a> {
    organization_id: &'a str,
    #[serde(borrow)]
    data: LooseData<'a>,
}

#[derive(Deserialize)]
struct LooseData<'a> {
    channel_id: &'a str,
    run: &'a str,
    seq: u32,
    sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp<'static> = Stamp {
        organisation: "lg0",
        channel: "7",
        run: "r1",
        sequence: 42,
        sent_ns: 1_700_000_000_000_000_001,
    };

    fn written(bytes: usize) -> String {
        let mut writer = RecordWriter::new("r1", "2026-11-21T12:00:00Z".to_owned(), bytes);
        String::from_utf8(writer.write("lg0", "7", 42, STAMP.sent_ns).to_vec()).expect("ASCII")
    }

    #[test]
    fn a_record_has_the_wanted_length_and_is_read_back() {
        let text = written(500);
        assert_eq!(text.len(), 500);
        assert_eq!(Payload::read(&text), Payload::Untouched(STAMP));
    }

    #[test]
    fn a_record_too_short_for_its_fields_is_still_json() {
        let text = written(1);
        assert!(
            serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(),
            "{text}"
        );
        assert_eq!(Payload::read(&text), Payload::Untouched(STAMP));
    }

    #[test]
    fn a_changed_byte_is_seen_and_the_fields_are_read_all_the_same() {
        let text = written(500);
        assert_eq!(
            Payload::read(&text.replacen("xx", "xy", 1)),
            Payload::Altered(STAMP)
        );
        assert_eq!(
            Payload::read(&text.replacen(',', ", ", 1)),
            Payload::Altered(STAMP)
        );
        assert_eq!(Payload::read("{\"data\":{}}"), Payload::Strange);
        assert_eq!(Payload::read("null"), Payload::Strange);
    }
}
