//! The cursor: how far a client has seen the log, as a short text that any instance can read.
//!
//! It grants nothing: organisation and rooms come from the token. So it needs no secret, and it is parsed as hostile input.
//!
//! ```text
//! "v1." base64url( form:u8  issued:varint  organisation:u32  body  crc32:u32 )
//! body, form 0: digest:u32 of the sorted table of partitions, a bit per partition of it, then a varint per set bit
//! body, form 1: count:varint, then (partition hash:u32, varint) each
//! ```
//!
//! Each varint of the body is the first offset of that partition that the client has *not* seen. Numbers are little-endian.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::id::Id;

/// Every cursor starts with this, and nothing else that we send as a last argument does.
pub const PREFIX: &str = "v1.";

/// The longest text that is looked at: a thousand partitions in the long form.
pub const MAX_LEN: usize = 16 * 1024;

/// 2025-01-01T00:00:00Z in milliseconds since the Unix epoch: small numbers are short varints.
const EPOCH_MS: u64 = 1_735_689_600_000;

/// Times are kept in tenths of a second, rounded down: an older cursor is the safe side.
const TICK_MS: u64 = 100;

const FORM_TABLE: u8 = 0;
const FORM_HASHES: u8 = 1;

/// How far somebody has seen the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Everything written up to this moment was read by the issuer: milliseconds since the Unix epoch.
    pub issued: u64,
    /// [`organisation_hash`] of the organisation it was issued for.
    pub organisation: u32,
    /// Partition hash and first offset not seen, sorted by hash, each hash once.
    pub positions: Vec<(u32, i64)>,
}

/// Why a text is no cursor that can be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("not a cursor, or a damaged one")]
    Invalid,
    /// Well formed, but issued over a table of partitions that this instance has not seen.
    #[error("a cursor over an unknown table of partitions")]
    UnknownTable,
}

/// A sorted list of partition hashes that instances agree on, and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub digest: u32,
    pub hashes: Arc<[u32]>,
}

impl Table {
    pub fn new(mut hashes: Vec<u32>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        let mut hasher = crc32fast::Hasher::new();
        for hash in &hashes {
            hasher.update(&hash.to_le_bytes());
        }
        Self {
            digest: hasher.finalize(),
            hashes: hashes.into(),
        }
    }
}

/// Names a partition the same way on every instance. A recreated topic has another id, so another hash.
pub fn partition_hash(topic: &str, topic_id: Option<[u8; 16]>, number: i32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(&[0]);
    hasher.update(&topic_id.unwrap_or_default());
    hasher.update(&number.to_le_bytes());
    hasher.finalize()
}

/// Tells whose cursor it is; a collision costs nothing, because a cursor grants nothing.
pub fn organisation_hash(organisation: &Id) -> u32 {
    crc32fast::hash(organisation.as_str().as_bytes())
}

impl Cursor {
    /// The first offset of the partition that is not covered, if the cursor names it.
    pub fn next(&self, hash: u32) -> Option<i64> {
        let at = self
            .positions
            .binary_search_by_key(&hash, |(hash, _)| *hash)
            .ok()?;
        self.positions.get(at).map(|(_, next)| *next)
    }

    /// The maximum of both in every partition: what somebody has seen who has seen both.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let mut positions = Vec::with_capacity(self.positions.len().max(other.positions.len()));
        let (mut left, mut right) = (
            self.positions.iter().peekable(),
            other.positions.iter().peekable(),
        );
        loop {
            let take = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => (a.0, a.1.max(b.1)),
                (Some(a), Some(b)) if a.0 < b.0 => **a,
                (_, Some(b)) => **b,
                (Some(a), None) => **a,
                (None, None) => break,
            };
            left.next_if(|a| a.0 == take.0);
            right.next_if(|b| b.0 == take.0);
            positions.push(take);
        }
        Self {
            issued: self.issued.max(other.issued),
            organisation: self.organisation,
            positions,
        }
    }

    /// The text for the wire. With a table the partitions are bits of it; any that it lacks force the long form.
    pub fn encode(&self, table: Option<&Table>) -> Arc<str> {
        let mut bytes = Vec::with_capacity(24 + self.positions.len() * 9);
        let short = table.filter(|table| {
            self.positions
                .iter()
                .all(|(hash, _)| table.hashes.binary_search(hash).is_ok())
        });
        bytes.push(if short.is_some() {
            FORM_TABLE
        } else {
            FORM_HASHES
        });
        put_varint(&mut bytes, self.issued.saturating_sub(EPOCH_MS) / TICK_MS);
        bytes.extend_from_slice(&self.organisation.to_le_bytes());
        if let Some(table) = short {
            bytes.extend_from_slice(&table.digest.to_le_bytes());
            let start = bytes.len();
            bytes.resize(start + table.hashes.len().div_ceil(8), 0);
            for (rank, hash) in table.hashes.iter().enumerate() {
                if let Some(next) = self.next(*hash) {
                    bytes[start + rank / 8] |= 1 << (rank % 8);
                    put_varint(&mut bytes, u64::try_from(next).unwrap_or(0));
                }
            }
        } else {
            put_varint(&mut bytes, self.positions.len() as u64);
            for (hash, next) in &self.positions {
                bytes.extend_from_slice(&hash.to_le_bytes());
                put_varint(&mut bytes, u64::try_from(*next).unwrap_or(0));
            }
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut text = String::with_capacity(PREFIX.len() + bytes.len().div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        text.into()
    }

    /// Reads what [`Cursor::encode`] wrote, or anything at all. `table` finds a table by its digest.
    pub fn decode<'t>(
        text: &str,
        table: impl FnOnce(u32) -> Option<&'t Table>,
    ) -> Result<Self, CursorError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(CursorError::Invalid)?;
        if text.len() > MAX_LEN {
            return Err(CursorError::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| CursorError::Invalid)?;
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(CursorError::Invalid)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(CursorError::Invalid);
        }
        let mut rest = Reader(content);
        let form = rest.byte()?;
        let issued = rest
            .varint()?
            .checked_mul(TICK_MS)
            .and_then(|since| since.checked_add(EPOCH_MS))
            .ok_or(CursorError::Invalid)?;
        let organisation = rest.u32()?;
        let mut positions = Vec::new();
        match form {
            FORM_TABLE => {
                let table = table(rest.u32()?).ok_or(CursorError::UnknownTable)?;
                let bits = rest.take(table.hashes.len().div_ceil(8))?;
                for (rank, hash) in table.hashes.iter().enumerate() {
                    if bits[rank / 8] & (1 << (rank % 8)) != 0 {
                        positions.push((*hash, rest.offset()?));
                    }
                }
            }
            FORM_HASHES => {
                for _ in 0..rest.varint()? {
                    let hash = rest.u32()?;
                    if positions.last().is_some_and(|(last, _)| *last >= hash) {
                        return Err(CursorError::Invalid);
                    }
                    positions.push((hash, rest.offset()?));
                }
            }
            _ => return Err(CursorError::Invalid),
        }
        if rest.0.is_empty() {
            Ok(Self {
                issued,
                organisation,
                positions,
            })
        } else {
            Err(CursorError::Invalid)
        }
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(lowest_byte(value) | 0x80);
        value >>= 7;
    }
    bytes.push(lowest_byte(value));
}

fn lowest_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Takes bytes off the front, and never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CursorError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CursorError::Invalid)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CursorError> {
        self.take(1).map(|taken| taken[0])
    }

    fn u32(&mut self) -> Result<u32, CursorError> {
        let taken = self.take(4)?;
        taken
            .try_into()
            .map(u32::from_le_bytes)
            .map_err(|_| CursorError::Invalid)
    }

    fn varint(&mut self) -> Result<u64, CursorError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(CursorError::Invalid);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CursorError::Invalid)
    }

    fn offset(&mut self) -> Result<i64, CursorError> {
        i64::try_from(self.varint()?).map_err(|_| CursorError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn cursor(positions: &[(u32, i64)]) -> Cursor {
        Cursor {
            issued: NOW,
            organisation: 7,
            positions: positions.to_vec(),
        }
    }

    fn nothing(_: u32) -> Option<&'static Table> {
        None
    }

    #[test]
    fn fifteen_partitions_fit_in_110_characters() {
        let hashes: Vec<u32> = (0..15)
            .map(|number| partition_hash("incident", None, number))
            .collect();
        let table = Table::new(hashes);
        let positions: Vec<_> = table
            .hashes
            .iter()
            .map(|hash| (*hash, 250_000_000))
            .collect();
        let text = cursor(&positions).encode(Some(&table));
        assert!(text.len() <= 110, "{} characters: {text}", text.len());
    }

    #[test]
    fn a_table_is_needed_to_read_the_short_form() {
        let table = Table::new(vec![3, 1, 2]);
        let text = cursor(&[(1, 5), (3, 9)]).encode(Some(&table));
        assert_eq!(
            Cursor::decode(&text, nothing),
            Err(CursorError::UnknownTable)
        );
        assert_eq!(
            Cursor::decode(&text, |_| Some(&table)),
            Ok(cursor(&[(1, 5), (3, 9)]))
        );
    }

    #[test]
    fn a_partition_outside_the_table_forces_the_long_form() {
        let table = Table::new(vec![1, 2]);
        let text = cursor(&[(1, 5), (9, 9)]).encode(Some(&table));
        assert_eq!(
            Cursor::decode(&text, nothing),
            Ok(cursor(&[(1, 5), (9, 9)]))
        );
    }

    #[test]
    fn merging_takes_the_maximum_everywhere() {
        let merged = cursor(&[(1, 5), (3, 9)]).merged(&cursor(&[(1, 4), (2, 7), (3, 10)]));
        assert_eq!(merged.positions, vec![(1, 5), (2, 7), (3, 10)]);
    }

    #[test]
    fn a_recreated_topic_is_another_partition() {
        assert_ne!(
            partition_hash("a", None, 0),
            partition_hash("a", Some([1; 16]), 0)
        );
        assert_ne!(partition_hash("a", None, 0), partition_hash("a", None, 1));
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "\\PC{0,200}", tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(Cursor::decode(&text, nothing));
            let mut bytes = tail;
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            let table = Table::new(vec![1, 2, 3, 4, 5, 6, 7, 8, 9]);
            let sealed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes));
            drop(Cursor::decode(&sealed, |_| Some(&table)));
        }

        #[test]
        fn what_is_written_is_read_back(
            mut positions in proptest::collection::btree_map(any::<u32>(), 0..i64::MAX, 0..40),
            since in 0_u64..100_000_000_000,
            short in any::<bool>(),
        ) {
            let issued = EPOCH_MS + since / TICK_MS * TICK_MS;
            let written = Cursor { issued, organisation: 1, positions: positions.iter().map(|(h, n)| (*h, *n)).collect() };
            positions.insert(77, 1);
            let table = Table::new(positions.keys().copied().collect());
            let text = written.encode(short.then_some(&table));
            prop_assert_eq!(Cursor::decode(&text, |_| Some(&table)), Ok(written));
        }

        #[test]
        fn a_damaged_cursor_is_invalid(at in 3_usize..30, with in "[A-Za-z0-9_-]") {
            let text = cursor(&[(1, 5), (3, 9)]).encode(None).to_string();
            let mut damaged = text.clone();
            damaged.replace_range(at..=at, &with);
            if damaged != text {
                prop_assert_eq!(Cursor::decode(&damaged, nothing), Err(CursorError::Invalid));
            }
        }
    }
}
