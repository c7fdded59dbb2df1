//! The cursor: how far a client has seen the log, as a short text that any instance can read.
//!
//! It grants nothing: organisation and rooms come from the token. So it needs no secret, and it is parsed as hostile input.
//!
//! ```text
//! "v1." base64url( form:u8  issued:varint  organisation:u24  body  crc32:u32 )
//! body, form 2: digest:u24 and tag:u16 of the sorted table of partitions, a bit per partition of it, then a varint per set bit
//! body, form 3: count:varint, then (partition hash:u32, tag:u16, varint) each
//! ```
//!
//! Each varint of the body is the first offset of that partition that the client has *not* seen. Numbers are little-endian.
//! A partition is named by topic and number; the [`Tag`] beside it says which topic of that name it was, where that is known.

mod names;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::id::Id;

pub use names::{Table, Tag, partition_hash};

/// Every cursor starts with this, and nothing else that we send as a last argument does.
pub const PREFIX: &str = "v1.";

/// The longest text that is looked at: a thousand partitions in the long form.
pub const MAX_LEN: usize = 16 * 1024;

/// 2025-01-01T00:00:00Z in milliseconds since the Unix epoch: small numbers are short varints.
const EPOCH_MS: u64 = 1_735_689_600_000;

/// Times are kept in tenths of a second, rounded down: an older cursor is the safe side.
const TICK_MS: u64 = 100;

const FORM_TABLE: u8 = 2;
const FORM_HASHES: u8 = 3;

/// What is left of a hash in three bytes.
const U24: u32 = 0x00ff_ffff;

/// How far a client has seen the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Everything written up to this moment was read by the issuer: milliseconds since the Unix epoch.
    pub issued: u64,
    /// [`organisation_hash`] of the organisation it was issued for.
    pub organisation: u32,
    /// Sorted by hash, each hash once.
    pub marks: Vec<Mark>,
}

/// How far a client has seen one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// [`partition_hash`].
    pub hash: u32,
    /// Of which topic of that name.
    pub tag: Tag,
    /// The first offset not seen.
    pub next: i64,
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

/// Tells whose cursor it is; a collision costs nothing, because a cursor grants nothing.
pub fn organisation_hash(organisation: &Id) -> u32 {
    crc32fast::hash(organisation.as_str().as_bytes()) & U24
}

impl Cursor {
    /// What the cursor says of the partition, if it names it.
    pub fn mark(&self, hash: u32) -> Option<Mark> {
        let at = self
            .marks
            .binary_search_by_key(&hash, |mark| mark.hash)
            .ok()?;
        self.marks.get(at).copied()
    }

    /// The first offset of the partition that is not covered, if the cursor names it.
    pub fn next(&self, hash: u32) -> Option<i64> {
        self.mark(hash).map(|mark| mark.next)
    }

    /// The maximum of both in every partition: what a client has seen that has seen both.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let mut marks = Vec::with_capacity(self.marks.len().max(other.marks.len()));
        let (mut left, mut right) = (self.marks.iter().peekable(), other.marks.iter().peekable());
        loop {
            // Both are sorted, so the lower of the two next hashes is the next of the result, and the result is sorted.
            let take = match (left.peek(), right.peek()) {
                // The higher position covers the lower one. One of the tags may be unknown; two that differ do not get here,
                // because such a cursor is not resumed.
                (Some(a), Some(b)) if a.hash == b.hash => Mark {
                    hash: a.hash,
                    tag: a.tag.or(b.tag),
                    next: a.next.max(b.next),
                },
                (Some(a), Some(b)) if a.hash < b.hash => **a,
                (_, Some(b)) => **b,
                (Some(a), None) => **a,
                (None, None) => break,
            };
            // A partition that both name is taken from both.
            left.next_if(|a| a.hash == take.hash);
            right.next_if(|b| b.hash == take.hash);
            marks.push(take);
        }
        // Everything written up to either moment was seen.
        Self {
            issued: self.issued.max(other.issued),
            organisation: self.organisation,
            marks,
        }
    }

    /// The text for the wire. With a table the partitions are bits of it; any that it lacks, or knows as another topic's, force
    /// the long form.
    pub fn encode(&self, table: Option<&Table>) -> Arc<str> {
        let mut bytes = Vec::with_capacity(24 + self.marks.len() * 11);
        let fits = |mark: &Mark, table: &Table| table.tag_of(mark.hash) == Some(mark.tag);
        let short = table.filter(|table| self.marks.iter().all(|mark| fits(mark, table)));
        bytes.push(if short.is_some() {
            FORM_TABLE
        } else {
            FORM_HASHES
        });
        put_varint(&mut bytes, self.issued.saturating_sub(EPOCH_MS) / TICK_MS);
        put_u24(&mut bytes, self.organisation);
        if let Some(table) = short {
            put_u24(&mut bytes, table.digest);
            bytes.extend_from_slice(&table.tag.to_le_bytes());
            let start = bytes.len();
            bytes.resize(start + table.names.len().div_ceil(8), 0);
            for (rank, (hash, _)) in table.names.iter().enumerate() {
                if let Some(next) = self.next(*hash) {
                    bytes[start + rank / 8] |= 1 << (rank % 8);
                    put_varint(&mut bytes, u64::try_from(next).unwrap_or(0));
                }
            }
        } else {
            put_varint(&mut bytes, self.marks.len() as u64);
            for mark in &self.marks {
                bytes.extend_from_slice(&mark.hash.to_le_bytes());
                bytes.extend_from_slice(&mark.tag.to_le_bytes());
                put_varint(&mut bytes, u64::try_from(mark.next).unwrap_or(0));
            }
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut text = String::with_capacity(PREFIX.len() + bytes.len().div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        text.into()
    }

    /// Reads what [`Cursor::encode`] wrote, or anything at all. `table` finds a table by its digest and tag; one with the same
    /// digest serves too where either tag is unknown.
    pub fn decode<'t>(
        text: &str,
        table: impl FnOnce(u32, Tag) -> Option<&'t Table>,
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
        let mut rest = CursorReader(content);
        let form = rest.byte()?;
        let issued = rest
            .varint()?
            .checked_mul(TICK_MS)
            .and_then(|since| since.checked_add(EPOCH_MS))
            .ok_or(CursorError::Invalid)?;
        let organisation = rest.u24()?;
        let mut marks: Vec<Mark> = Vec::new();
        match form {
            FORM_TABLE => {
                let (digest, tag) = (rest.u24()?, rest.tag()?);
                let table = table(digest, tag).ok_or(CursorError::UnknownTable)?;
                let same = tag != Tag::UNKNOWN && tag == table.tag;
                let bits = rest.take(table.names.len().div_ceil(8))?;
                for (rank, (hash, tag)) in table.names.iter().enumerate() {
                    if bits[rank / 8] & (1 << (rank % 8)) != 0 {
                        marks.push(Mark {
                            hash: *hash,
                            tag: if same { *tag } else { Tag::UNKNOWN },
                            next: rest.offset()?,
                        });
                    }
                }
            }
            FORM_HASHES => {
                for _ in 0..rest.varint()? {
                    let mark = Mark {
                        hash: rest.u32()?,
                        tag: rest.tag()?,
                        next: rest.offset()?,
                    };
                    if marks.last().is_some_and(|last| last.hash >= mark.hash) {
                        return Err(CursorError::Invalid);
                    }
                    marks.push(mark);
                }
            }
            _ => return Err(CursorError::Invalid),
        }
        if rest.0.is_empty() {
            Ok(Self {
                issued,
                organisation,
                marks,
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

fn put_u24(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes()[..3]);
}

fn lowest_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Takes bytes off the front, and never past the end.
struct CursorReader<'a>(&'a [u8]);

impl<'a> CursorReader<'a> {
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

    fn u24(&mut self) -> Result<u32, CursorError> {
        let taken = self.take(3)?;
        Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], 0]))
    }

    fn tag(&mut self) -> Result<Tag, CursorError> {
        let taken = self.take(2)?;
        Ok(Tag::from_le_bytes([taken[0], taken[1]]))
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
mod tests;
