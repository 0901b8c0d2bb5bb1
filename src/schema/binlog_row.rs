//! The key columns out of the binary log's row events; every other column is stepped over by its length.
//!
//! Owns: the layout of TABLE_MAP_EVENT and of the rows events (versions 1 and 2, and PARTIAL_UPDATE_ROWS), as both servers write
//! them.
//! Never: guesses. Bytes that do not fit the layout are an error, and so is a key column that an image leaves out.
//! Invariants: no bytes lead to a panic, and a value is borrowed until its key is built.
//! See: the manual of MySQL's source, "Rows_log_event" and "Table_map_log_event".

use crate::schema::binlog_value::{Reader, Reading, Width, code, column, decode, reading};
use crate::schema::key::{Key, KeyKind, KeyValue};

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
    }

    const INT: KeyKind = KeyKind::Int { bytes: 4, unsigned: false };

    fn kind(data_type: &str, column_type: &str) -> KeyKind {
        crate::schema::key::KeyColumn::from_information_schema(data_type, column_type, Some("utf8mb4"), Some("utf8mb4_bin")).unwrap()
    }

    /// What a server logged: `(event type, body)` of the rows event, with the table map before it.
    fn read(map: &str, code: u8, rows: &str, key: &[(usize, KeyKind)]) -> Result<Vec<Change>, DecodeError> {
        let (map, rows) = (bytes(map), bytes(rows));
        let map = TableMap::parse(&map)?;
        let rows = RowsEvent::parse(code, &rows)?.unwrap();
        assert_eq!((map.table_id, map.schema, map.table), (rows.table_id, b"kp".as_slice(), b"k".as_slice()));
        let layout = RowLayout::new(map.column_types, map.column_metadata, key)?;
        decode_rows(&layout, rows.kind, rows.columns_before, rows.columns_after, rows.rows)
    }

    // Recorded from MySQL 9.7 and MariaDB 10.11: one row of a table with every type, its primary key an INT at the end.
    const MYSQL_MAP: &str = "c300000000000100026b7000016b001e01020903080405f6100d0a1312110ffefe0ffefefcfcfcfcf5ff03f203031c04081e0b0501030506b004ce20fe051400f701f80101020304040404ffffff1f01024080020d3f00fcff0001fcff0006fcff000701000d0102";
    const MYSQL_ROW: &str = "c30000000000110002001effffffff00000004fffffffeffff07000000f7ffffffffffffff0000c03f00000000000004407ffffffff3eb655bcae2329affff00057843c80f7fef7cf06099a58641460aae605e379bf20aae6003006162630300616263016101780205016102006262030000636363010000007a1700000000010016000b000100020c006102000a0005010005020019000000000000000101000000000000000000f03f0000000000000040080000000000803f00000040080000004d000000";
    const MARIADB_MAP: &str = "5f00000000000100026b7000016b002001020903080405f6100d0a1312110ffefe0ffefefcfcfcfcfcff038d8cfefe032204081e0b0501030506b004ce20fe051400f701f801010203040404b10402fe10fe10ffffff7f";
    const MARIADB_ROW: &str = "5f0000000000010020ffffffff00000004fffffffeffff07000000f7ffffffffffffff0000c03f00000000000004407ffffffff3eb655bcae2329affff00057843c80f7fef7cf06099a58641460aae605e379bf20aae6003006162630300616263016101780205016102006262030000636363010000007a0b0000007b2261223a5b312c325d7d19000000000000000101000000000000000000f03f0000000000000040090000616161616161616133000078787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878781012345678123412341234123456789abc10000000000000000000000000000000014d000000";

    #[test]
    fn every_type_is_stepped_over() {
        for (map, code, row, position) in [(MYSQL_MAP, 30, MYSQL_ROW, 29), (MARIADB_MAP, 23, MARIADB_ROW, 31)] {
            let changes = read(map, code, row, &[(position, INT)]).unwrap();
            assert_eq!(changes, [Change { before: None, after: Some(Key([KeyValue::Int(77)].into())) }]);
        }
    }

    #[test]
    fn every_kind_of_key_is_read() {
        let text = |text: &str| KeyValue::Text(text.into());
        let string = |text: &str| KeyValue::Bytes(text.as_bytes().into());
        let expected = [
            (0, kind("tinyint", "tinyint"), KeyValue::Int(-1)),
            (1, kind("smallint", "smallint unsigned"), KeyValue::UInt(65535)),
            (2, kind("mediumint", "mediumint"), KeyValue::Int(-2)),
            (2, kind("mediumint", "mediumint unsigned"), KeyValue::UInt(16_777_214)),
            (3, kind("int", "int"), KeyValue::Int(7)),
            (4, kind("bigint", "bigint"), KeyValue::Int(-9)),
            (4, kind("bigint", "bigint unsigned"), KeyValue::UInt(u64::MAX - 8)),
            (7, KeyKind::Decimal, text("-12345678901.50000000000")),
            (9, KeyKind::Year, text("2020")),
            (10, KeyKind::Date, text("2020-02-03")),
            (11, KeyKind::Time { fsp: 3 }, text("-01:02:03.400")),
            (12, KeyKind::DateTime { fsp: 5 }, text("2020-02-03 04:05:06.70000")),
            (14, kind("varchar", "varchar(300)"), string("abc")),
            (15, kind("char", "char(200)"), string("abc")),
            (16, kind("binary", "binary(5)"), string("a\0\0\0\0")),
            (17, kind("varbinary", "varbinary(20)"), string("x")),
            (18, KeyKind::Enum, KeyValue::UInt(2)),
        ];
        for (map, code, row) in [(MYSQL_MAP, 30, MYSQL_ROW), (MARIADB_MAP, 23, MARIADB_ROW)] {
            for (position, kind, value) in &expected {
                let changes = read(map, code, row, &[(*position, kind.clone())]).unwrap();
                assert_eq!(changes, [Change { before: None, after: Some(Key([value.clone()].into())) }], "column {position}");
            }
        }
    }

    #[test]
    fn a_kind_that_is_not_the_logs_is_refused() {
        for (position, kind) in
            [(3, KeyKind::Int { bytes: 8, unsigned: false }), (12, KeyKind::DateTime { fsp: 6 }), (20, kind("varchar", "varchar(9)"))]
        {
            assert_eq!(read(MYSQL_MAP, 30, MYSQL_ROW, &[(position, kind)]), Err(DecodeError::OtherType(position)));
        }
        assert_eq!(read(MYSQL_MAP, 30, MYSQL_ROW, &[(99, INT)]), Err(DecodeError::NoColumn(99)));
    }

    fn composite(values: (u64, &str)) -> Key {
        Key([KeyValue::UInt(values.0), KeyValue::Bytes(values.1.as_bytes().into())].into())
    }

    // k (a VARCHAR(5), n INT, b INT UNSIGNED DEFAULT 3, PRIMARY KEY (b, a)), as logged by MySQL 9.7.
    const COMPOSITE_MAP: &str = "c100000000000100026b7000016b00030f0303021400020101400203fcff00";

    fn composite_key() -> [(usize, KeyKind); 2] {
        [(2, KeyKind::Int { bytes: 4, unsigned: true }), (0, kind("varchar", "varchar(5)"))]
    }

    #[test]
    fn a_key_has_the_order_of_its_columns() {
        let row = "c100000000001100020003ff000178010000000200000002017903000000";
        let after = |key| Change { before: None, after: Some(composite(key)) };
        assert_eq!(read(COMPOSITE_MAP, 30, row, &composite_key()), Ok(vec![after((2, "x")), after((3, "y"))]));
    }

    #[test]
    fn a_minimal_image_takes_the_rest_of_its_key_from_the_image_before() {
        let key_changed = "c100000000001100020003050100017802000000000171";
        let change = Change { before: Some(composite((2, "x"))), after: Some(composite((2, "q"))) };
        assert_eq!(read(COMPOSITE_MAP, 31, key_changed, &composite_key()), Ok(vec![change]));
        let other_changed = "c1000000000011000200030502000171020000000009000000000179030000000009000000";
        let same = |key| Change { before: Some(composite(key)), after: Some(composite(key)) };
        assert_eq!(read(COMPOSITE_MAP, 31, other_changed, &composite_key()), Ok(vec![same((2, "q")), same((3, "y"))]));
        let deleted = "c1000000000011000200030500017102000000";
        assert_eq!(read(COMPOSITE_MAP, 32, deleted, &composite_key()), Ok(vec![Change { before: Some(composite((2, "q"))), after: None }]));
    }

    #[test]
    fn a_key_column_that_no_image_has_is_an_error() {
        // INSERT INTO k (a) VALUES ('d') under binlog_row_image=MINIMAL: b is left to its default.
        let row = "c10000000000110002000301000164";
        assert_eq!(read(COMPOSITE_MAP, 30, row, &composite_key()), Err(DecodeError::KeyAbsent(2)));
    }

    #[test]
    fn partial_json_is_stepped_over() {
        let map = "c200000000000100026b7000016b000403f5f5030204040e010100";
        let row = "c200000000001100020004010700010000000101000b000000090000000003242e6103050b000e0000000203000d0005010005090005030000020000000101040c000000090000000003242e6103050b00";
        let change =
            |before, after| Change { before: Some(Key([KeyValue::Int(before)].into())), after: Some(Key([KeyValue::Int(after)].into())) };
        assert_eq!(read(map, 39, row, &[(0, INT)]), Ok(vec![change(1, 11), change(2, 12)]));
    }

    #[test]
    fn an_event_that_holds_no_readable_rows_is_none() {
        for code in [2, 19, 40, 166, 169] {
            assert_eq!(RowsEvent::parse(code, &[0; 20]), Ok(None));
        }
    }

    #[test]
    fn a_cut_event_is_an_error_wherever_it_is_cut() {
        let (map, row) = (bytes(MYSQL_MAP), bytes(MYSQL_ROW));
        let map = TableMap::parse(&map).unwrap();
        let layout = RowLayout::new(map.column_types, map.column_metadata, &[(29, INT)]).unwrap();
        let head = row.len() - RowsEvent::parse(30, &row).unwrap().unwrap().rows.len();
        for end in 0..row.len() {
            let Ok(event) = RowsEvent::parse(30, &row[..end]) else { continue };
            let event = event.unwrap();
            let changes = decode_rows(&layout, event.kind, event.columns_before, event.columns_after, event.rows);
            assert!(end == head || changes.is_err(), "cut at {end}");
        }
    }

    #[test]
    fn rows_without_columns_do_not_go_on_forever() {
        let layout = RowLayout::new(&[3], &[], &[]).unwrap();
        assert_eq!(decode_rows(&layout, RowsKind::Delete, &[0], &[], &[1, 2]), Err(DecodeError::Truncated(0)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            types in proptest::collection::vec(any::<u8>(), 0..8),
            metadata in proptest::collection::vec(any::<u8>(), 0..20),
            event in proptest::collection::vec(any::<u8>(), 0..80),
            code in proptest::sample::select(vec![23_u8, 24, 25, 30, 31, 32, 39]),
        ) {
            let _ = TableMap::parse(&event);
            let _ = RowsEvent::parse(code, &event);
            if let (Ok(layout), Some(kind)) = (RowLayout::new(&types, &metadata, &[]), RowsKind::of_event(code)) {
                let _ = decode_rows(&layout, kind, &[0xff], &[0xff], &event);
            }
        }

        #[test]
        fn no_value_panics(event in proptest::collection::vec(any::<u8>(), 0..80), precision in 0_u8..70, scale in 0_u8..40, fsp in 0_u8..7) {
            let types = [1_u8, 9, 8, 246, 10, 12, 18, 19, 11, 13, 254, 254];
            let metadata = [precision, scale, fsp, fsp, 0xfe, 20, 247, 1];
            let kinds = [
                kind("tinyint", "tinyint"),
                kind("mediumint", "mediumint"),
                kind("bigint", "bigint"),
                KeyKind::Decimal,
                KeyKind::Date,
                KeyKind::DateTime { fsp: 0 },
                KeyKind::DateTime { fsp },
                KeyKind::Time { fsp },
                KeyKind::Time { fsp: 0 },
                KeyKind::Year,
                kind("binary", "binary(5)"),
                KeyKind::Enum,
            ];
            let key: Vec<(usize, KeyKind)> = kinds.into_iter().enumerate().collect();
            if let Ok(layout) = RowLayout::new(&types, &metadata, &key) {
                for present in [[0xff_u8, 0x0f], [0x10, 0], [0xc0, 3], [8, 0]] {
                    let _ = decode_rows(&layout, RowsKind::Write, &[], &present, &event);
                }
            }
        }
    }
}
