//! One MessagePack value as JSON text, so that all emitters are read alike from there on.
//!
//! What JSON has not is refused: bytes, numbers that are none, names that are no text, extensions. The one exception is a `Date` of
//! JavaScript, which becomes the text that `JSON.stringify` makes of it, as it does on its way through a server in Node.js.

use rmp::Marker;
use rmp::decode::{self, DecodeStringError};
use time::OffsetDateTime;

use super::Refused;
use crate::domain::decode::MAX_DEPTH;

/// Arrays and maps around an argument of an event: the message, the packet and its data.
const AROUND: usize = 3;

/// The extension for points in time.
const TIMESTAMP: i8 = -1;

/// `most`: bytes of the text. Whatever lengths stand in the message, no more is allocated than the text takes: every element takes at
/// least a byte of what is there.
pub(super) fn to_json(message: &[u8], most: usize) -> Result<String, Refused> {
    let mut reader = MessagePack {
        rest: message,
        text: Vec::new(),
        most,
    };
    reader.value(0)?;
    if !reader.rest.is_empty() {
        return Err(Refused::Malformed);
    }
    String::from_utf8(reader.text).map_err(|_| Refused::Malformed)
}

struct MessagePack<'a> {
    rest: &'a [u8],
    text: Vec<u8>,
    most: usize,
}

impl MessagePack<'_> {
    /// `depth`: of the arrays and maps around it. Recursion ends with it.
    fn value(&mut self, depth: usize) -> Result<(), Refused> {
        let rest = &mut self.rest;
        match marker(rest)? {
            Marker::Null => {
                decode::read_nil(rest).map_err(malformed)?;
                self.text.extend_from_slice(b"null");
            }
            Marker::True | Marker::False => {
                let value = decode::read_bool(rest).map_err(malformed)?;
                self.write(&value);
            }
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => {
                // All that fit into 64 bits, with or without a sign.
                let value: i128 = decode::read_int(rest).map_err(malformed)?;
                self.write(&value);
            }
            Marker::F32 => {
                let value = decode::read_f32(rest).map_err(malformed)?;
                self.float(value.into())?;
            }
            Marker::F64 => {
                let value = decode::read_f64(rest).map_err(malformed)?;
                self.float(value)?;
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.string()?,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let count = decode::read_array_len(rest).map_err(malformed)?;
                self.all(count, *b"[]", depth, |reader| {
                    reader.value(depth.saturating_add(1))
                })?;
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                let count = decode::read_map_len(rest).map_err(malformed)?;
                self.all(count, *b"{}", depth, |reader| {
                    reader.name()?;
                    reader.text.push(b':');
                    reader.value(depth.saturating_add(1))
                })?;
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => return Err(Refused::Binary),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => self.extension()?,
            Marker::Reserved => return Err(Refused::Malformed),
        }
        if self.text.len() > self.most {
            return Err(Refused::TooLarge);
        }
        Ok(())
    }

    fn all(
        &mut self,
        count: u32,
        [open, close]: [u8; 2],
        depth: usize,
        one: impl Fn(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if depth >= MAX_DEPTH.saturating_add(AROUND) {
            return Err(Refused::TooDeep);
        }
        self.text.push(open);
        for number in 0..count {
            if number > 0 {
                self.text.push(b',');
            }
            one(self)?;
        }
        self.text.push(close);
        Ok(())
    }

    /// Of a member.
    fn name(&mut self) -> Result<(), Refused> {
        match marker(self.rest)? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.string(),
            _ => Err(Refused::BadArgument),
        }
    }

    fn string(&mut self) -> Result<(), Refused> {
        let (text, rest) = decode::read_str_from_slice(self.rest).map_err(|error| match error {
            DecodeStringError::InvalidUtf8(..) => Refused::BadArgument,
            _ => Refused::Malformed,
        })?;
        self.rest = rest;
        self.write(text);
        Ok(())
    }

    fn float(&mut self, value: f64) -> Result<(), Refused> {
        if !value.is_finite() {
            return Err(Refused::BadArgument);
        }
        self.write(&value);
        Ok(())
    }

    fn extension(&mut self) -> Result<(), Refused> {
        let meta = decode::read_ext_meta(&mut self.rest).map_err(malformed)?;
        let size = usize::try_from(meta.size).map_err(|_| Refused::Malformed)?;
        let (data, rest) = self.rest.split_at_checked(size).ok_or(Refused::Malformed)?;
        self.rest = rest;
        if meta.typeid != TIMESTAMP {
            return Err(Refused::BadArgument);
        }
        let date = date(data).ok_or(Refused::BadArgument)?;
        self.write(&date);
        Ok(())
    }

    fn write(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.text, value).expect("texts and finite numbers are JSON");
    }
}

/// What comes next; it stays there.
fn marker(rest: &[u8]) -> Result<Marker, Refused> {
    let first = rest.first().ok_or(Refused::Malformed)?;
    Ok(Marker::from_u8(*first))
}

fn malformed<E>(_: E) -> Refused {
    Refused::Malformed
}

/// The three forms of a timestamp, as `Date.prototype.toISOString` writes it. `None`: a year that takes more than four digits.
fn date(data: &[u8]) -> Option<String> {
    let (seconds, nanoseconds) = match data.len() {
        4 => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(data.try_into().ok()?);
            let (nanoseconds, seconds) = (both >> 34, both & ((1 << 34) - 1));
            (
                i64::try_from(seconds).ok()?,
                u32::try_from(nanoseconds).ok()?,
            )
        }
        12 => {
            let (nanoseconds, seconds) = data.split_first_chunk()?;
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            (seconds, u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let date = date.replace_nanosecond(nanoseconds).ok()?;
    let year = u16::try_from(date.year()).ok()?;
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = date.to_hms();
    let millisecond = date.millisecond();
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
    ))
}
