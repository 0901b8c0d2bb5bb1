//! One value of a binary log's row: how long it is, and what it says where it belongs to a key.
//!
//! Owns: the length of every column type, and exact readers for the types that can be a key.
//! Never: panics, whatever the bytes.

use crate::schema::binlog_row::DecodeError;
use crate::schema::key::{KeyKind, KeyValue, float, padded};

/// How long a column's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Fixed(usize),
    /// So many bytes tell the length.
    Prefixed(usize),
}

/// How a key column's bytes become its value.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    Int { unsigned: bool },
    Index,
    String { fixed_len: Option<u32> },
    Decimal { precision: usize, scale: usize },
    Date,
    DateTime { fsp: u8 },
    OldDateTime,
    Time { fsp: u8 },
    OldTime,
    Year,
    Bit,
    Float,
    Double,
    Timestamp { fsp: u8 },
    OldTimestamp,
}

/// The type codes of the table map that need a name.
pub(super) mod code {
    pub(in crate::schema) const FLOAT: u8 = 4;
    pub(in crate::schema) const DOUBLE: u8 = 5;
    pub(in crate::schema) const TIMESTAMP: u8 = 7;
    pub(in crate::schema) const BIT: u8 = 16;
    pub(in crate::schema) const TIMESTAMP2: u8 = 17;
    pub(in crate::schema) const DATE: u8 = 10;
    pub(in crate::schema) const TIME: u8 = 11;
    pub(in crate::schema) const DATETIME: u8 = 12;
    pub(in crate::schema) const YEAR: u8 = 13;
    pub(in crate::schema) const NEWDATE: u8 = 14;
    pub(in crate::schema) const VARCHAR: u8 = 15;
    pub(in crate::schema) const DATETIME2: u8 = 18;
    pub(in crate::schema) const TIME2: u8 = 19;
    pub(in crate::schema) const JSON: u8 = 245;
    pub(in crate::schema) const NEWDECIMAL: u8 = 246;
    pub(in crate::schema) const ENUM: u8 = 247;
    pub(in crate::schema) const SET: u8 = 248;
    pub(in crate::schema) const VAR_STRING: u8 = 253;
    pub(in crate::schema) const STRING: u8 = 254;
}

/// A column's real type, its width, and its metadata, which is taken from the reader.
pub(super) fn column(position: usize, code: u8, metadata: &mut Reader<'_>) -> Result<(u8, Width, [u8; 2]), DecodeError> {
    let length = match code {
        4 | 5 | 17..=19 | 140 | 242 | 245 | 249..=252 | 255 => 1,
        15 | 16 | 141 | 246..=248 | 253 | 254 => 2,
        _ => 0,
    };
    let meta = match metadata.take(length) {
        Some([one, two]) => [*one, *two],
        Some([one]) => [*one, 0],
        Some(_) => [0, 0],
        None => return Err(DecodeError::BadHead),
    };
    let prefix_of = |longest: usize| Width::Prefixed(if longest < 256 { 1 } else { 2 });
    let fraction = usize::from(meta[0]).min(6).div_ceil(2);
    let width = match code {
        // TINY, YEAR; SHORT; INT24, DATE, TIME, NEWDATE; LONG, FLOAT, TIMESTAMP; DOUBLE, LONGLONG, DATETIME; NULL.
        1 | 13 => Width::Fixed(1),
        2 => Width::Fixed(2),
        9 | 10 | 11 | 14 => Width::Fixed(3),
        3 | 4 | 7 => Width::Fixed(4),
        5 | 8 | 12 => Width::Fixed(8),
        6 => Width::Fixed(0),
        // TIMESTAMP2, DATETIME2, TIME2.
        17 => Width::Fixed(4 + fraction),
        18 => Width::Fixed(5 + fraction),
        19 => Width::Fixed(3 + fraction),
        // VARCHAR, MariaDB's compressed VARCHAR, VAR_STRING.
        15 | 141 | 253 => prefix_of(usize::from(u16::from_le_bytes(meta))),
        // BIT: bits beyond whole bytes, whole bytes.
        16 => Width::Fixed(usize::from(meta[1]) + usize::from(meta[0] > 0)),
        // MariaDB's compressed BLOB, VECTOR, JSON, the BLOB family, GEOMETRY: bytes of the length.
        140 | 242 | 245 | 249..=252 | 255 if (1..=4).contains(&meta[0]) => Width::Prefixed(usize::from(meta[0])),
        code::NEWDECIMAL => Width::Fixed(decimal_width(usize::from(meta[0]), usize::from(meta[1])).ok_or(DecodeError::BadHead)?),
        code::ENUM | code::SET => Width::Fixed(usize::from(meta[1])),
        code::STRING => return string(meta).ok_or(DecodeError::UnknownType { position, code }),
        _ => return Err(DecodeError::UnknownType { position, code }),
    };
    Ok((code, width, meta))
}

/// STRING stands for CHAR, BINARY, ENUM and SET; the metadata tells which, and hides two bits of a CHAR's length in the type.
fn string(meta: [u8; 2]) -> Option<(u8, Width, [u8; 2])> {
    let real = meta[0] | 0x30;
    match real {
        code::ENUM | code::SET => Some((real, Width::Fixed(usize::from(meta[1])), meta)),
        code::STRING => {
            let longest = usize::from(meta[1]) | usize::from((meta[0] & 0x30) ^ 0x30) << 4;
            Some((real, Width::Prefixed(if longest < 256 { 1 } else { 2 }), meta))
        }
        // A type of MariaDB's own (UUID, INET6) is logged as a plain STRING of up to 255 bytes without a type.
        _ if meta[0] == 0 => Some((code::STRING, Width::Prefixed(1), meta)),
        _ => None,
    }
}

/// How the key column is to be read; none where the log's type is not the schema's.
pub(super) fn reading(code: u8, metadata: [u8; 2], kind: &KeyKind) -> Option<Reading> {
    match (kind, code) {
        (KeyKind::Int { bytes: 1, unsigned }, 1)
        | (KeyKind::Int { bytes: 2, unsigned }, 2)
        | (KeyKind::Int { bytes: 3, unsigned }, 9)
        | (KeyKind::Int { bytes: 4, unsigned }, 3)
        | (KeyKind::Int { bytes: 8, unsigned }, 8) => Some(Reading::Int { unsigned: *unsigned }),
        (KeyKind::Enum, code::ENUM) | (KeyKind::Set, code::SET) => Some(Reading::Index),
        (KeyKind::Bit, code::BIT) => Some(Reading::Bit),
        (KeyKind::Float, code::FLOAT) => Some(Reading::Float),
        (KeyKind::Float, code::DOUBLE) => Some(Reading::Double),
        (KeyKind::Timestamp { fsp }, code::TIMESTAMP2) if *fsp == metadata[0] && *fsp <= 6 => Some(Reading::Timestamp { fsp: *fsp }),
        (KeyKind::Timestamp { fsp: 0 }, code::TIMESTAMP) => Some(Reading::OldTimestamp),
        (KeyKind::String { fixed_len, .. }, code::VARCHAR | code::VAR_STRING | code::STRING) => {
            Some(Reading::String { fixed_len: *fixed_len })
        }
        (KeyKind::Fixed(fixed), code::STRING) => Some(Reading::String { fixed_len: Some(fixed.length()) }),
        (KeyKind::Decimal, code::NEWDECIMAL) => {
            Some(Reading::Decimal { precision: usize::from(metadata[0]), scale: usize::from(metadata[1]) })
        }
        (KeyKind::Date, code::DATE | code::NEWDATE) => Some(Reading::Date),
        (KeyKind::DateTime { fsp }, code::DATETIME2) if *fsp == metadata[0] && *fsp <= 6 => Some(Reading::DateTime { fsp: *fsp }),
        (KeyKind::DateTime { fsp: 0 }, code::DATETIME) => Some(Reading::OldDateTime),
        (KeyKind::Time { fsp }, code::TIME2) if *fsp == metadata[0] && *fsp <= 6 => Some(Reading::Time { fsp: *fsp }),
        (KeyKind::Time { fsp: 0 }, code::TIME) => Some(Reading::OldTime),
        (KeyKind::Year, code::YEAR) => Some(Reading::Year),
        _ => None,
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn big(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(super) fn decode(reading: &Reading, bytes: &[u8]) -> Option<KeyValue> {
    Some(match reading {
        Reading::Int { unsigned: true } | Reading::Index => KeyValue::UInt(little(bytes)),
        Reading::Int { unsigned: false } => {
            let unused = 64_usize.checked_sub(bytes.len() * 8)?;
            let shifted = little(bytes).checked_shl(u32::try_from(unused).ok()?)?;
            KeyValue::Int(i64::from_le_bytes(shifted.to_le_bytes()) >> unused)
        }
        Reading::String { fixed_len } => padded(bytes, *fixed_len),
        Reading::Decimal { precision, scale } => KeyValue::Text(decimal(bytes, *precision, *scale)?),
        Reading::Date => {
            let date = little(bytes);
            KeyValue::Text(format!("{:04}-{:02}-{:02}", date >> 9, date >> 5 & 15, date & 31))
        }
        Reading::DateTime { fsp } => KeyValue::Text(datetime(bytes, *fsp)?),
        Reading::OldDateTime => {
            let (date, time) = (little(bytes) / 1_000_000, little(bytes) % 1_000_000);
            let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
            KeyValue::Text(format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", time / 10_000, time / 100 % 100, time % 100))
        }
        Reading::Time { fsp } => KeyValue::Text(time(bytes, *fsp)?),
        Reading::OldTime => {
            let raw = little(bytes);
            let (sign, time) = if raw & 0x80_0000 == 0 { ("", raw) } else { ("-", 0x100_0000_u64.checked_sub(raw)?) };
            KeyValue::Text(format!("{sign}{:02}:{:02}:{:02}", time / 10_000, time / 100 % 100, time % 100))
        }
        Reading::Bit => KeyValue::UInt(big(bytes)),
        Reading::Float => float(f64::from(f32::from_le_bytes(bytes.try_into().ok()?))),
        Reading::Double => float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Reading::Timestamp { fsp } => {
            let (whole, fraction) = bytes.split_at_checked(4)?;
            KeyValue::Text(timestamp(big(whole)) + &fraction_text(big(fraction), *fsp))
        }
        Reading::OldTimestamp => KeyValue::Text(timestamp(little(bytes))),
        Reading::Year => KeyValue::Text(match little(bytes) {
            0 => "0000".to_owned(),
            year => (1900 + year).to_string(),
        }),
    })
}

/// DATETIME2: a sign bit, 17 bits of year * 13 + month, 5 of day, 5 of hour, 6 of minute, 6 of second; then the fraction.
fn datetime(bytes: &[u8], fsp: u8) -> Option<String> {
    let (whole, fraction) = bytes.split_at_checked(5)?;
    let packed = big(whole).checked_sub(0x80_0000_0000)?;
    let (months, day) = (packed >> 22, packed >> 17 & 31);
    let (hour, minute, second) = (packed >> 12 & 31, packed >> 6 & 63, packed & 63);
    let seconds = format!("{:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", months / 13, months % 13);
    Some(seconds + &fraction_text(big(fraction), fsp))
}

/// Seconds since 1970 as date and time in UTC; 0 is the zero date.
fn timestamp(seconds: u64) -> String {
    if seconds == 0 {
        return "0000-00-00 00:00:00".to_owned();
    }
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02} {:02}:{:02}:{:02}", days + 1, second / 3600, second / 60 % 60, second % 60)
}

/// TIME2: a number with its fraction, offset so that it sorts; 10 bits of hour, 6 of minute, 6 of second before the fraction.
fn time(bytes: &[u8], fsp: u8) -> Option<String> {
    let bits = u32::try_from(bytes.len() * 8).ok()?;
    let zero = 1_u64.checked_shl(bits.checked_sub(1)?)?;
    let raw = big(bytes);
    let (sign, magnitude) = if raw >= zero { ("", raw - zero) } else { ("-", zero - raw) };
    let fraction_bits = bits.checked_sub(24)?;
    let (whole, fraction) = (magnitude >> fraction_bits, magnitude & ((1 << fraction_bits) - 1));
    let seconds = format!("{sign}{:02}:{:02}:{:02}", whole >> 12 & 1023, whole >> 6 & 63, whole & 63);
    Some(seconds + &fraction_text(fraction, fsp))
}

/// The fraction is stored in an even number of digits, and shown in `fsp`.
fn fraction_text(fraction: u64, fsp: u8) -> String {
    let digits = usize::from(fsp);
    if digits == 0 {
        return String::new();
    }
    let stored = digits.div_ceil(2) * 2;
    let text = format!("{fraction:0stored$}");
    format!(".{}", text.get(..digits).unwrap_or(&text))
}

/// Bytes that hold so many decimal digits, up to 9.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

fn decimal_width(precision: usize, scale: usize) -> Option<usize> {
    let whole = precision.checked_sub(scale)?;
    Some(whole / 9 * 4 + DIGIT_BYTES[whole % 9] + scale / 9 * 4 + DIGIT_BYTES[scale % 9])
}

/// DECIMAL: groups of nine digits in four bytes, the odd digits outermost; the top bit is the sign, negative values inverted.
fn decimal(bytes: &[u8], precision: usize, scale: usize) -> Option<String> {
    let whole = precision.checked_sub(scale)?;
    let negative = bytes.first()? & 0x80 == 0;
    let flip = if negative { 0xff } else { 0 };
    let mut stored: Vec<u8> = bytes.iter().map(|byte| byte ^ flip).collect();
    *stored.first_mut()? ^= 0x80;
    let mut reader = Reader::new(&stored);
    let mut digits = String::new();
    let groups = [whole % 9].into_iter().chain(std::iter::repeat_n(9, whole / 9 + scale / 9)).chain([scale % 9]);
    for count in groups.filter(|count| *count > 0) {
        let group = big(reader.take(DIGIT_BYTES[count])?);
        let text = format!("{group:0count$}");
        if text.len() != count {
            return None;
        }
        digits.push_str(&text);
    }
    let (before, after) = digits.split_at_checked(whole)?;
    let before = before.trim_start_matches('0');
    let sign = if negative { "-" } else { "" };
    let before = if before.is_empty() { "0" } else { before };
    Some(if scale == 0 { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") })
}

/// Bytes and how many of them have been read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..length)?;
        self.at += length;
        Some(taken)
    }

    pub(super) fn little(&mut self, length: usize) -> Option<u64> {
        self.take(length).map(little)
    }

    /// A length-encoded integer.
    pub(super) fn packed(&mut self) -> Option<usize> {
        let number = match self.little(1)? {
            small @ 0..=250 => small,
            252 => self.little(2)?,
            253 => self.little(3)?,
            254 => self.little(8)?,
            _ => return None,
        };
        usize::try_from(number).ok()
    }

    pub(super) fn value(&mut self, width: Width) -> Option<&'a [u8]> {
        let length = match width {
            Width::Fixed(length) => length,
            Width::Prefixed(prefix) => usize::try_from(self.little(prefix)?).ok()?,
        };
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn seconds_become_dates() {
        for (seconds, date) in [
            (0, "0000-00-00 00:00:00"),
            (1, "1970-01-01 00:00:01"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_868_799, "2000-02-29 23:59:59"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (2_147_483_647, "2038-01-19 03:14:07"),
            (4_102_444_800, "2100-01-01 00:00:00"),
        ] {
            assert_eq!(timestamp(seconds), date);
        }
    }
}
