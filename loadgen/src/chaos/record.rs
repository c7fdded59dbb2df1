//! The records of a chaos run: each says where it stands in its partition and among its room's records there.

use std::fmt::Write as _;

use serde::Deserialize;

/// What a record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp<'a> {
    pub(crate) organisation: &'a str,
    /// `None`: for every user of the organisation, or a position.
    pub(crate) channel: Option<&'a str>,
    /// Of class `latest`: the position of what has this number.
    pub(crate) asset: Option<u32>,
    /// Tells this run's records from an earlier run's.
    pub(crate) run: &'a str,
    /// Partition of a topic, as the ledger numbers them; a recreated topic has new ones.
    pub(crate) lane: u16,
    /// Counts the records of the lane from 0: rises with the offset.
    pub(crate) order: u32,
    /// Counts the records of the room, or of the asset, in the lane from 0.
    pub(crate) sequence: u32,
    /// When it was handed to the Kafka client, in nanoseconds since the epoch.
    pub(crate) sent_ns: u64,
}

pub(crate) const CHANNEL_EVENT: &str = "transmission_started";
pub(crate) const ORGANISATION_EVENT: &str = "task_updated";
pub(crate) const POSITION_EVENT: &str = "asset_position_updated";
/// All positions of an organisation are for the room of this incident too, so that many keys are in one room.
pub(crate) const POSITIONS: &str = "positions";

/// All records of a run have the same timestamp text: it means nothing here.
const TIMESTAMP: &str = "2026-01-01T00:00:00Z";

/// Writes the record, filled up to `bytes`.
pub(crate) fn write(stamp: &Stamp<'_>, bytes: usize, into: &mut String) {
    let Stamp {
        organisation,
        channel,
        asset,
        run,
        lane,
        order,
        sequence,
        sent_ns,
    } = stamp;
    into.clear();
    let event = match (channel, asset) {
        (_, Some(_)) => POSITION_EVENT,
        (Some(_), None) => CHANNEL_EVENT,
        (None, None) => ORGANISATION_EVENT,
    };
    let begun = write!(
        into,
        "{{\"event_type\":\"{event}\",\"organization_id\":\"{organisation}\",\"timestamp\":\"{TIMESTAMP}\",\"data\":{{"
    );
    let channel = channel.map_or(Ok(()), |id| write!(into, "\"channel_id\":\"{id}\","));
    let asset = asset.map_or(Ok(()), |id| {
        write!(
            into,
            "\"asset_id\":\"{id}\",\"incident_id\":\"{POSITIONS}\","
        )
    });
    let rest = write!(
        into,
        "\"run\":\"{run}\",\"lane\":{lane},\"order\":{order},\"sequence\":{sequence},\"sent\":{sent_ns},\"note\":\""
    );
    debug_assert!(
        begun.and(channel).and(asset).and(rest).is_ok(),
        "writing to a String does not fail"
    );
    let left = bytes.saturating_sub(into.len() + 3);
    into.extend(std::iter::repeat_n('x', left));
    into.push_str("\"}}");
}

/// What a client got, seen against what it must have been.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Untouched(Stamp<'a>),
    /// Of our making, but not byte for byte.
    Altered(Stamp<'a>),
    /// Not of our making.
    Strange,
}

impl<'a> Payload<'a> {
    /// `scratch` is only spared an allocation.
    pub(crate) fn read(text: &'a str, scratch: &mut String) -> Self {
        let Ok(record) = serde_json::from_str::<Record<'a>>(text) else {
            return Payload::Strange;
        };
        let data = record.data;
        let stamp = Stamp {
            organisation: record.organization_id,
            channel: data.channel_id,
            asset: data.asset_id.and_then(|id| id.parse().ok()),
            run: data.run,
            lane: data.lane,
            order: data.order,
            sequence: data.sequence,
            sent_ns: data.sent,
        };
        write(&stamp, text.len(), scratch);
        if scratch == text {
            Payload::Untouched(stamp)
        } else {
            Payload::Altered(stamp)
        }
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    organization_id: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default)]
    channel_id: Option<&'a str>,
    #[serde(default)]
    asset_id: Option<&'a str>,
    run: &'a str,
    lane: u16,
    order: u32,
    sequence: u32,
    sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_changed_byte_is_seen() {
        for (channel, asset) in [(Some("7"), None), (None, None), (None, Some(12))] {
            let stamp = Stamp {
                organisation: "lg0",
                channel,
                asset,
                run: "r1",
                lane: 3,
                order: 9,
                sequence: 2,
                sent_ns: 1_700_000_000_000_000_001,
            };
            let (mut text, mut scratch) = (String::new(), String::new());
            write(&stamp, 500, &mut text);
            assert_eq!(text.len(), 500);
            assert_eq!(
                Payload::read(&text, &mut scratch),
                Payload::Untouched(stamp)
            );
            let other = text.replacen("xx", "xy", 1);
            assert_eq!(Payload::read(&other, &mut scratch), Payload::Altered(stamp));
            assert_eq!(Payload::read("{}", &mut scratch), Payload::Strange);
        }
    }
}
