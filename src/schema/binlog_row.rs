//! The key columns out of the binary log's row events; every other column is stepped over by its length.
//!
//! Owns: the layout of TABLE_MAP_EVENT and of the rows events (versions 1 and 2, and PARTIAL_UPDATE_ROWS), as both servers write
//! them, and the length of every column type.
//! Never: guesses. Bytes that do not fit the layout are an error, and so is a key column that an image leaves out.
//! Invariants: no bytes lead to a panic, and a value is borrowed until its key is built.
//! See: the manual of MySQL's source, "Rows_log_event" and "Table_map_log_event".

use crate::schema::key::{Key, KeyKind, KeyValue, padded};

/// Why an event could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The event ends inside a value.
    #[error("the event ends inside a value, at byte {0} of its rows")]
    Truncated(usize),
    /// A column type of the table map is not known here.
    #[error("column {position} has type {code}, which is not known")]
    UnknownType {
        /// The column's position, from 0.
        position: usize,
        /// The type's code in the table map.
        code: u8,
    },
    /// The key column's type in the log is not the one that the schema says.
    #[error("key column {0} has another type in the log than in the schema: was the table altered?")]
    OtherType(usize),
    /// The key names a column that the table map does not have.
    #[error("the table map has no column {0}: was the table altered?")]
    NoColumn(usize),
    /// The image leaves the key column out (binlog_row_image=MINIMAL).
    #[error("the row image leaves out key column {0}: binlog_row_image=MINIMAL logs only the primary key and what a statement set")]
    KeyAbsent(usize),
    /// The bytes cannot be a value of their type.
    #[error("column {0} holds bytes that are no value of its type")]
    BadValue(usize),
    /// The event's own head cannot be read.
    #[error("the event's head cannot be read")]
    BadHead,
}

/// A table map: which table a table id stands for, and its columns' types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// The number that rows events name the table by.
    pub table_id: u64,
    /// The schema's name, in UTF-8.
    pub schema: &'a [u8],
    /// The table's name, in UTF-8.
    pub table: &'a [u8],
    /// One type code per column.
    pub column_types: &'a [u8],
    /// The columns' metadata, packed one after the other.
    pub column_metadata: &'a [u8],
}

/// What a rows event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsKind {
    /// WRITE_ROWS: images after.
    Write,
    /// UPDATE_ROWS: pairs of images, before and after.
    Update,
    /// PARTIAL_UPDATE_ROWS: the same, JSON columns after as differences.
    PartialUpdate,
    /// DELETE_ROWS: images before.
    Delete,
}

impl RowsKind {
    /// The kind of an event type's code; none where it holds no rows that can be read (MariaDB's compressed events 166 to 171
    /// hold some that cannot: whoever reads the log must stop there).
    pub fn of_event(code: u8) -> Option<Self> {
        match code {
            23 | 30 => Some(Self::Write),
            24 | 31 => Some(Self::Update),
            25 | 32 => Some(Self::Delete),
            39 => Some(Self::PartialUpdate),
            _ => None,
        }
    }
}

/// A rows event's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// The table's number in the [`TableMap`].
    pub table_id: u64,
    /// What it does.
    pub kind: RowsKind,
    /// Bit per column: present in the images before. Empty for Write.
    pub columns_before: &'a [u8],
    /// Bit per column: present in the images after. Empty for Delete.
    pub columns_after: &'a [u8],
    /// The images.
    pub rows: &'a [u8],
}

/// A change of one row, as far as its key tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key that the row had; none for an insert.
    pub before: Option<Key>,
    /// The key that the row has; none for a delete.
    pub after: Option<Key>,
}

impl<'a> TableMap<'a> {
    /// Reads the body of a TABLE_MAP_EVENT (19), without the common header and checksum.
    ///
    /// # Errors
    /// [`DecodeError::BadHead`] where the bytes are no table map.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        Self::read(&mut reader).ok_or(DecodeError::BadHead)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let table_id = reader.little(6)?;
        reader.take(2)?;
        let mut name = || {
            let length = reader.little(1)?;
            let name = reader.take(usize::try_from(length).ok()?)?;
            reader.take(1)?;
            Some(name)
        };
        let (schema, table) = (name()?, name()?);
        let count = reader.packed()?;
        let column_types = reader.take(count)?;
        let length = reader.packed()?;
        let column_metadata = reader.take(length)?;
        Some(Self { table_id, schema, table, column_types, column_metadata })
    }
}

impl<'a> RowsEvent<'a> {
    /// Reads the body of a rows event, without the common header and checksum. `code` is the event type; none where it is no rows
    /// event.
    ///
    /// # Errors
    /// [`DecodeError::BadHead`] where the bytes are no rows event.
    pub fn parse(code: u8, body: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let Some(kind) = RowsKind::of_event(code) else { return Ok(None) };
        Self::read(kind, code >= 30, &mut Reader::new(body)).map(Some).ok_or(DecodeError::BadHead)
    }

    fn read(kind: RowsKind, has_extra_data: bool, reader: &mut Reader<'a>) -> Option<Self> {
        let table_id = reader.little(6)?;
        reader.take(2)?;
        if has_extra_data {
            // The length counts its own two bytes.
            let length = usize::try_from(reader.little(2)?).ok()?;
            reader.take(length.checked_sub(2)?)?;
        }
        let bitmap = reader.packed()?.div_ceil(8);
        let first = reader.take(bitmap)?;
        let (columns_before, columns_after): (&[u8], &[u8]) = match kind {
            RowsKind::Write => (&[], first),
            RowsKind::Delete => (first, &[]),
            RowsKind::Update | RowsKind::PartialUpdate => (first, reader.take(bitmap)?),
        };
        Some(Self { table_id, kind, columns_before, columns_after, rows: reader.rest() })
    }
}

/// How long a column's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Fixed(usize),
    /// So many bytes tell the length.
    Prefixed(usize),
}

/// How a key column's bytes become its value.
#[derive(Clone, Debug)]
enum Reading {
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
}

#[derive(Clone, Debug)]
struct Column {
    width: Width,
    key: Option<(usize, Reading)>,
}

/// A table's columns as the log has them, and which of them are its key.
#[derive(Clone, Debug)]
pub struct RowLayout {
    columns: Vec<Column>,
    /// The column of each value of the key.
    positions: Vec<usize>,
    json_columns: usize,
}

impl RowLayout {
    /// Joins a table map's types and metadata with the key: per key column, in the key's order, its position in the table (from 0)
    /// and its kind.
    ///
    /// # Errors
    /// Where a type is unknown, or the key does not fit the map.
    pub fn new(column_types: &[u8], column_metadata: &[u8], key: &[(usize, KeyKind)]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(column_metadata);
        let mut columns = Vec::with_capacity(column_types.len());
        for (position, &code) in column_types.iter().enumerate() {
            let (code, width, metadata) = column(position, code, &mut reader)?;
            let slot = key.iter().position(|(wanted, _)| *wanted == position);
            let key = match slot {
                Some(slot) => Some((slot, reading(code, metadata, &key[slot].1).ok_or(DecodeError::OtherType(position))?)),
                None => None,
            };
            columns.push(Column { width, key });
        }
        let positions: Vec<usize> = key.iter().map(|(position, _)| *position).collect();
        if let Some(missing) = positions.iter().find(|position| **position >= columns.len()) {
            return Err(DecodeError::NoColumn(*missing));
        }
        let json_columns = column_types.iter().filter(|code| **code == code::JSON).count();
        Ok(Self { columns, positions, json_columns })
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }
}

/// Reads the keys out of a rows event.
///
/// # Errors
/// Where the bytes do not fit the layout, or an image leaves out a key column that no other image of the row has.
pub fn decode_rows(
    layout: &RowLayout,
    kind: RowsKind,
    columns_before: &[u8],
    columns_after: &[u8],
    rows: &[u8],
) -> Result<Vec<Change>, DecodeError> {
    let mut reader = Reader::new(rows);
    let mut changes = Vec::new();
    while !reader.is_empty() {
        let start = reader.at;
        let before = match kind {
            RowsKind::Write => None,
            _ => Some(image(layout, columns_before, &mut reader)?),
        };
        if kind == RowsKind::PartialUpdate && reader.packed().ok_or(DecodeError::Truncated(reader.at))? & 1 == 1 {
            reader.take(layout.json_columns.div_ceil(8)).ok_or(DecodeError::Truncated(reader.at))?;
        }
        let mut after = match kind {
            RowsKind::Delete => None,
            _ => Some(image(layout, columns_after, &mut reader)?),
        };
        // A column that the image after leaves out has the value that it had.
        if let (Some(before), Some(after)) = (&before, &mut after) {
            for (old, new) in before.iter().zip(after) {
                if new.is_none() {
                    new.clone_from(old);
                }
            }
        }
        let before = before.map(|image| whole(layout, image)).transpose()?;
        let after = after.map(|image| whole(layout, image)).transpose()?;
        changes.push(Change { before, after });
        if reader.at == start {
            return Err(DecodeError::Truncated(start));
        }
    }
    Ok(changes)
}

fn whole(layout: &RowLayout, image: Vec<Option<KeyValue>>) -> Result<Key, DecodeError> {
    let values: Option<Vec<KeyValue>> = image.iter().cloned().collect();
    match values {
        Some(values) => Ok(Key(values.into_boxed_slice())),
        None => {
            let slot = image.iter().position(Option::is_none).unwrap_or_default();
            Err(DecodeError::KeyAbsent(layout.positions.get(slot).copied().unwrap_or_default()))
        }
    }
}

fn bit(bitmap: &[u8], position: usize) -> bool {
    bitmap.get(position / 8).is_some_and(|byte| byte >> (position % 8) & 1 == 1)
}

/// Reads one image: per key column its value, none where the image leaves it out.
fn image(layout: &RowLayout, present: &[u8], reader: &mut Reader<'_>) -> Result<Vec<Option<KeyValue>>, DecodeError> {
    let mut values = vec![None; layout.positions.len()];
    let count = (0..layout.columns.len()).filter(|position| bit(present, *position)).count();
    let nulls = reader.take(count.div_ceil(8)).ok_or(DecodeError::Truncated(reader.at))?;
    let mut place = 0;
    for (position, column) in layout.columns.iter().enumerate() {
        if !bit(present, position) {
            continue;
        }
        let is_null = bit(nulls, place);
        place += 1;
        let bytes = if is_null { None } else { Some(reader.value(column.width).ok_or(DecodeError::Truncated(reader.at))?) };
        let Some((slot, reading)) = &column.key else { continue };
        let value = match bytes {
            None => KeyValue::Null,
            Some(bytes) => decode(reading, bytes).ok_or(DecodeError::BadValue(position))?,
        };
        if let Some(place) = values.get_mut(*slot) {
            *place = Some(value);
        }
    }
    Ok(values)
}

/// The type codes of the table map that need a name.
mod code {
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
}

/// A column's real type, its width, and its metadata, which is taken from the reader.
fn column(position: usize, code: u8, metadata: &mut Reader<'_>) -> Result<(u8, Width, [u8; 2]), DecodeError> {
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
fn reading(code: u8, metadata: [u8; 2], kind: &KeyKind) -> Option<Reading> {
    match (kind, code) {
        (KeyKind::Int { bytes: 1, unsigned }, 1)
        | (KeyKind::Int { bytes: 2, unsigned }, 2)
        | (KeyKind::Int { bytes: 3, unsigned }, 9)
        | (KeyKind::Int { bytes: 4, unsigned }, 3)
        | (KeyKind::Int { bytes: 8, unsigned }, 8) => Some(Reading::Int { unsigned: *unsigned }),
        (KeyKind::Enum, code::ENUM) => Some(Reading::Index),
        (KeyKind::String { fixed_len, .. }, code::VARCHAR | code::VAR_STRING | code::STRING) => {
            Some(Reading::String { fixed_len: *fixed_len })
        }
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

fn decode(reading: &Reading, bytes: &[u8]) -> Option<KeyValue> {
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
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn little(&mut self, length: usize) -> Option<u64> {
        self.take(length).map(little)
    }

    /// A length-encoded integer.
    fn packed(&mut self) -> Option<usize> {
        let number = match self.little(1)? {
            small @ 0..=250 => small,
            252 => self.little(2)?,
            253 => self.little(3)?,
            254 => self.little(8)?,
            _ => return None,
        };
        usize::try_from(number).ok()
    }

    fn value(&mut self, width: Width) -> Option<&'a [u8]> {
        let length = match width {
            Width::Fixed(length) => length,
            Width::Prefixed(prefix) => usize::try_from(self.little(prefix)?).ok()?,
        };
        self.take(length)
    }
}
