//! The key that identifies a row: its values, and how to read and write them exactly.
//!
//! Owns: which column types can be a migration's key, and their literals, independent of the connection's settings.
//! Never: takes a value through floating point, a time zone or a character set conversion.
//! Invariants: the binlog and a SELECT of [`KeyColumn::select_expression`] give the same [`KeyValue`] for the same row.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ids::quote_identifier;

/// One column's value of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyValue {
    /// NULL; before every other value, as on the server.
    Null,
    /// A signed integer.
    Int(i64),
    /// An unsigned integer, or an ENUM's index.
    UInt(u64),
    /// A string's bytes as the table stores them, or those of a UUID or an address; BINARY(n) with all its n bytes, CHAR(n) without trailing blanks.
    Bytes(Box<[u8]>),
    /// A decimal, date, time or year as the server writes it.
    Text(String),
}

/// A row's key: one value for each key column, in the key's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Box<[KeyValue]>);

/// A key column's type, as far as reading and writing its values needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// TINYINT to BIGINT.
    Int {
        /// Bytes on disk: 1, 2, 3, 4 or 8.
        bytes: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// CHAR, VARCHAR, BINARY, VARBINARY.
    String {
        /// The column's character set; `binary` for BINARY and VARBINARY.
        charset: String,
        /// The column's collation.
        collation: String,
        /// BINARY or VARBINARY: compared byte by byte.
        binary: bool,
        /// The n of BINARY(n); values are padded with zero bytes to it.
        fixed_len: Option<u32>,
    },
    /// DECIMAL.
    Decimal,
    /// DATE.
    Date,
    /// DATETIME.
    DateTime {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// TIME.
    Time {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// YEAR.
    Year,
    /// ENUM; its value is the index, from 1, 0 for the empty error value.
    Enum,
    /// SET; its value is the sum of its members' bits.
    Set,
    /// BIT.
    Bit,
    /// FLOAT or DOUBLE; the shortest text that is read as the same double.
    Float,
    /// TIMESTAMP, in UTC.
    Timestamp {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// MariaDB's types of a fixed number of bytes; its log holds them in the order of the text, without trailing zeros.
    Fixed(Fixed),
}

/// A type of a fixed number of bytes, with a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// UUID.
    Uuid,
    /// INET6.
    Inet6,
    /// INET4.
    Inet4,
}

impl Fixed {
    /// How many bytes a value has.
    pub fn length(self) -> u32 {
        if self == Self::Inet4 { 4 } else { 16 }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Inet6 => "inet6",
            Self::Inet4 => "inet4",
        }
    }

    fn parse(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Uuid => from_hex(&text.replace('-', "")).filter(|bytes| bytes.len() == 16),
            Self::Inet6 => text.parse().ok().map(|address: Ipv6Addr| address.octets().to_vec()),
            Self::Inet4 => text.parse().ok().map(|address: Ipv4Addr| address.octets().to_vec()),
        }
    }

    /// As hexadecimal digits where the bytes are not a value of the type, which the server then refuses.
    fn text(self, bytes: &[u8]) -> String {
        match (self, <[u8; 16]>::try_from(bytes), <[u8; 4]>::try_from(bytes)) {
            (Self::Inet6, Ok(octets), _) => Ipv6Addr::from(octets).to_string(),
            (Self::Inet4, _, Ok(octets)) => Ipv4Addr::from(octets).to_string(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A text that is no value of the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's text is no value of a key column of kind {0}")]
pub struct BadText(&'static str);

/// A column of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
}

impl KeyKind {
    /// Tells whether comparing values here gives exactly the server's order. Not for collated strings, decimals, times and UUIDs.
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Int { .. }
            | Self::Date
            | Self::DateTime { .. }
            | Self::Timestamp { .. }
            | Self::Year
            | Self::Enum
            | Self::Set
            | Self::Bit => true,
            Self::String { binary, .. } => *binary,
            Self::Fixed(fixed) => *fixed != Fixed::Uuid,
            Self::Decimal | Self::Time { .. } | Self::Float => false,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Int { .. } => "integer",
            Self::String { .. } => "string",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::DateTime { .. } => "datetime",
            Self::Time { .. } => "time",
            Self::Year => "year",
            Self::Enum => "enum",
            Self::Set => "set",
            Self::Bit => "bit",
            Self::Float => "floating point",
            Self::Timestamp { .. } => "timestamp",
            Self::Fixed(fixed) => fixed.title(),
        }
    }
}

/// Compares two keys; the server's order only where each column's kind is [`KeyKind::is_ordered`].
pub fn compare(left: &Key, right: &Key) -> Ordering {
    left.cmp(right)
}

/// A date of only zeros, or without a month or a day; not one whose year would not be seen in a number.
fn has_zero_part(date: &str) -> bool {
    let has_year = date.get(..4).is_some_and(|year| year >= "1000");
    !date.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) || has_year && (date.get(5..7) == Some("00") || date.get(8..10) == Some("00"))
}

/// Brings a string to the form that [`KeyValue::Bytes`] promises: BINARY(n) is stored, and logged, without its trailing zeros.
pub(super) fn padded(bytes: &[u8], fixed_len: Option<u32>) -> KeyValue {
    let mut bytes = bytes.to_vec();
    if let Some(length) = fixed_len.and_then(|length| usize::try_from(length).ok()) {
        bytes.resize(length.max(bytes.len()), 0);
    }
    KeyValue::Bytes(bytes.into_boxed_slice())
}

/// The text of a double; zero without its sign, as the server compares it.
pub(super) fn float(number: f64) -> KeyValue {
    KeyValue::Text(format!("{:e}", if number == 0.0 { 0.0 } else { number }))
}

impl KeyColumn {
    /// The kind of a column from its row in information_schema.columns (DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME,
    /// COLLATION_NAME); none where the type cannot be a migration's key: one that no unique index can hold
    /// whole. The values of a TIMESTAMP are in UTC, and so must the connection be.
    pub fn from_information_schema(data_type: &str, column_type: &str, charset: Option<&str>, collation: Option<&str>) -> Option<KeyKind> {
        let column_type = column_type.to_ascii_lowercase();
        let int = |bytes| Some(KeyKind::Int { bytes, unsigned: column_type.contains("unsigned") });
        let fsp = || length_of(&column_type).and_then(|fsp| u8::try_from(fsp).ok()).unwrap_or(0);
        let binary = |fixed_len| KeyKind::String { charset: "binary".to_owned(), collation: "binary".to_owned(), binary: true, fixed_len };
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" => int(1),
            "smallint" => int(2),
            "mediumint" => int(3),
            "int" => int(4),
            "bigint" => int(8),
            "decimal" => Some(KeyKind::Decimal),
            "date" => Some(KeyKind::Date),
            "datetime" => Some(KeyKind::DateTime { fsp: fsp() }),
            "time" => Some(KeyKind::Time { fsp: fsp() }),
            "year" => Some(KeyKind::Year),
            "enum" => Some(KeyKind::Enum),
            "set" => Some(KeyKind::Set),
            "bit" => Some(KeyKind::Bit),
            "float" | "double" => Some(KeyKind::Float),
            "timestamp" => Some(KeyKind::Timestamp { fsp: fsp() }),
            "uuid" => Some(KeyKind::Fixed(Fixed::Uuid)),
            "inet6" => Some(KeyKind::Fixed(Fixed::Inet6)),
            "inet4" => Some(KeyKind::Fixed(Fixed::Inet4)),
            "binary" => Some(binary(Some(length_of(&column_type).unwrap_or(1)))),
            "varbinary" => Some(binary(None)),
            "char" | "varchar" => {
                let (charset, collation) = (charset?.to_owned(), collation?.to_owned());
                Some(KeyKind::String { charset, collation, binary: false, fixed_len: None })
            }
            _ => None,
        }
    }

    /// The value as an SQL literal that means the same under every character set, sql_mode and time zone of a connection.
    /// A string carries no collation of its own, so that comparing it with a column goes by the column's.
    pub fn literal(&self, value: &KeyValue) -> String {
        if let (KeyKind::Fixed(fixed), KeyValue::Bytes(bytes)) = (&self.kind, value) {
            return format!("'{}'", fixed.text(bytes));
        }
        match value {
            KeyValue::Null => "NULL".to_owned(),
            KeyValue::Int(number) => number.to_string(),
            KeyValue::UInt(number) => number.to_string(),
            KeyValue::Bytes(bytes) => {
                let mut hex = String::with_capacity(bytes.len() * 2 + 48);
                if let KeyKind::String { charset, binary: false, .. } = &self.kind {
                    let _ = write!(hex, "_{charset} ");
                }
                hex.push_str("X'");
                for byte in bytes {
                    let _ = write!(hex, "{byte:02X}");
                }
                hex.push('\'');
                hex
            }
            KeyValue::Text(text) if matches!(self.kind, KeyKind::Decimal | KeyKind::Float) => text.clone(),
            // Under NO_ZERO_DATE and NO_ZERO_IN_DATE such a text is an error, a number is not.
            KeyValue::Text(text) if self.is_date() && has_zero_part(text) => {
                let digits: String = text.chars().filter(|letter| letter.is_ascii_digit() || *letter == '.').collect();
                let digits = digits.trim_start_matches('0');
                if digits.is_empty() || digits.starts_with('.') { format!("0{digits}") } else { digits.to_owned() }
            }
            KeyValue::Text(text) => format!("'{text}'"),
        }
    }

    fn is_date(&self) -> bool {
        matches!(self.kind, KeyKind::Date | KeyKind::DateTime { .. } | KeyKind::Timestamp { .. })
    }

    /// What a SELECT must ask for so that [`KeyColumn::parse_text`] gives the value exactly. Not under the sql_mode
    /// PAD_CHAR_TO_FULL_LENGTH, which adds blanks to CHAR.
    pub fn select_expression(&self) -> String {
        let name = quote_identifier(&self.name);
        match self.kind {
            KeyKind::String { .. } => format!("HEX({name})"),
            KeyKind::Enum | KeyKind::Bit => format!("{name}+0"),
            KeyKind::Set => format!("CAST({name} AS UNSIGNED)"),
            KeyKind::Float => format!("{name}+0.0e0"),
            _ => name,
        }
    }

    /// Reads a value of [`KeyColumn::select_expression`] as the text protocol gives it; none is NULL.
    ///
    /// # Errors
    /// [`BadText`] where the text is no value of the column's type.
    pub fn parse_text(&self, text: Option<&[u8]>) -> Result<KeyValue, BadText> {
        let bad = BadText(self.kind.title());
        let Some(text) = text else { return Ok(KeyValue::Null) };
        let text = std::str::from_utf8(text).map_err(|_| bad)?;
        match &self.kind {
            KeyKind::Int { unsigned: false, .. } => text.parse().map(KeyValue::Int).map_err(|_| bad),
            KeyKind::Int { unsigned: true, .. } => text.parse().map(KeyValue::UInt).map_err(|_| bad),
            // The sum of an ENUM and 0 is a DOUBLE on both servers, written without a fraction.
            KeyKind::Enum | KeyKind::Set | KeyKind::Bit => text.parse().map(KeyValue::UInt).map_err(|_| bad),
            KeyKind::Float => text.parse().map(float).map_err(|_| bad),
            KeyKind::Fixed(fixed) => Ok(KeyValue::Bytes(fixed.parse(text).ok_or(bad)?.into())),
            KeyKind::String { fixed_len, .. } => Ok(padded(&from_hex(text).ok_or(bad)?, *fixed_len)),
            KeyKind::Decimal
            | KeyKind::Date
            | KeyKind::DateTime { .. }
            | KeyKind::Timestamp { .. }
            | KeyKind::Time { .. }
            | KeyKind::Year => {
                let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:. ".contains(&byte));
                let text = if self.kind == KeyKind::Decimal { without_leading_zeros(text) } else { text.to_owned() };
                if plain { Ok(KeyValue::Text(text)) } else { Err(bad) }
            }
        }
    }
}

/// A DECIMAL as the log has it: with ZEROFILL the server writes zeros before it.
fn without_leading_zeros(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let rest = digits.trim_start_matches('0');
    let zero = if rest.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "0" };
    format!("{sign}{zero}{rest}")
}

/// The number in `type(n)`.
pub(super) fn length_of(column_type: &str) -> Option<u32> {
    let (_, after) = column_type.split_once('(')?;
    let (number, _) = after.split_once(')')?;
    number.trim().parse().ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(data_type: &str, column_type: &str, charset: Option<&str>) -> KeyColumn {
        let collation = charset.map(|charset| format!("{charset}_bin"));
        let kind = KeyColumn::from_information_schema(data_type, column_type, charset, collation.as_deref()).unwrap();
        KeyColumn { name: "a`b".into(), kind }
    }

    #[test]
    fn uuids_and_addresses_are_read_and_written() {
        for (data_type, text, literal) in [
            ("uuid", "123e4567-e89b-12d3-a456-426655440000", "'123e4567e89b12d3a456426655440000'"),
            ("inet6", "2001:db8::", "'2001:db8::'"),
            ("inet6", "::ffff:1.2.3.4", "'::ffff:1.2.3.4'"),
            ("inet4", "1.2.3.0", "'1.2.3.0'"),
        ] {
            let column = column(data_type, data_type, None);
            let value = column.parse_text(Some(text.as_bytes())).unwrap();
            assert_eq!(column.literal(&value), literal);
            assert_eq!(column.parse_text(Some(literal.trim_matches('\'').as_bytes())).unwrap(), value);
            assert!(column.parse_text(Some(b"x")).is_err());
        }
    }

    #[test]
    fn types_that_no_whole_index_holds_are_no_keys() {
        for data_type in ["json", "geometry", "text", "blob", "vector"] {
            assert_eq!(KeyColumn::from_information_schema(data_type, data_type, Some("utf8mb4"), Some("utf8mb4_bin")), None, "{data_type}");
        }
    }

    #[test]
    fn literals_do_not_depend_on_the_connection() {
        let text = column("varchar", "varchar(10)", Some("utf8mb4"));
        assert_eq!(text.literal(&KeyValue::Bytes(b"a'\xf0".as_slice().into())), "_utf8mb4 X'6127F0'");
        assert_eq!(text.literal(&KeyValue::Bytes(b"".as_slice().into())), "_utf8mb4 X''");
        assert_eq!(column("varbinary", "varbinary(10)", None).literal(&KeyValue::Bytes(b"ab".as_slice().into())), "X'6162'");
        assert_eq!(column("bigint", "bigint unsigned", None).literal(&KeyValue::UInt(u64::MAX)), "18446744073709551615");
        assert_eq!(column("decimal", "decimal(5,2)", None).literal(&KeyValue::Text("-1.50".into())), "-1.50");
        assert_eq!(
            column("datetime", "datetime(3)", None).literal(&KeyValue::Text("2020-01-02 03:04:05.678".into())),
            "'2020-01-02 03:04:05.678'"
        );
        for (said, literal) in [
            ("0000-00-00 00:00:00.000", "0.000"),
            ("2020-00-10 01:02:03.500", "20200010010203.500"),
            ("0001-00-10 00:00:00.000", "'0001-00-10 00:00:00.000'"),
        ] {
            assert_eq!(column("datetime", "datetime(3)", None).literal(&KeyValue::Text(said.into())), literal);
        }
        assert_eq!(text.literal(&KeyValue::Null), "NULL");
        let ratio = column("double", "double", None);
        for (said, literal) in
            [("0.1", "1e-1"), ("-0", "0e0"), ("1.7976931348623157e308", "1.7976931348623157e308"), ("16777216", "1.6777216e7")]
        {
            assert_eq!(ratio.literal(&ratio.parse_text(Some(said.as_bytes())).unwrap()), literal);
        }
    }

    #[test]
    fn a_decimal_with_zeros_before_it_is_the_one_in_the_log() {
        let price = column("decimal", "decimal(9,3) unsigned zerofill", None);
        for (said, kept) in
            [("000030.810", "30.810"), ("000000.000", "0.000"), ("000000", "0"), ("-1.50", "-1.50"), ("0.5", "0.5"), ("100", "100")]
        {
            assert_eq!(price.parse_text(Some(said.as_bytes())), Ok(KeyValue::Text(kept.into())));
        }
    }

    #[test]
    fn a_binary_column_is_padded_to_its_length() {
        let id = column("binary", "binary(4)", None);
        assert_eq!(id.parse_text(Some(b"6100")), Ok(KeyValue::Bytes(b"a\0\0\0".as_slice().into())));
        assert_eq!(id.parse_text(Some(b"6100F")), Err(BadText("string")));
    }

    #[test]
    fn kinds_tell_whether_they_are_ordered() {
        assert!(column("int", "int(10) unsigned zerofill", None).kind.is_ordered());
        assert!(column("binary", "binary(16)", None).kind.is_ordered());
        assert!(column("datetime", "datetime(6)", None).kind.is_ordered());
        assert!(!column("char", "char(3)", Some("ascii")).kind.is_ordered());
        assert!(!column("decimal", "decimal(10,2)", None).kind.is_ordered());
        assert!(!column("time", "time", None).kind.is_ordered());
        let key = |values: Vec<KeyValue>| Key(values.into());
        assert_eq!(
            compare(&key(vec![KeyValue::Int(-2), KeyValue::UInt(9)]), &key(vec![KeyValue::Int(1), KeyValue::UInt(1)])),
            Ordering::Less
        );
    }

    #[test]
    fn selects_ask_for_what_can_be_read() {
        assert_eq!(column("char", "char(3)", Some("ascii")).select_expression(), "HEX(`a``b`)");
        assert_eq!(column("enum", "enum('a','b')", Some("ascii")).select_expression(), "`a``b`+0");
        assert_eq!(column("mediumint", "mediumint", None).parse_text(Some(b"-1")), Ok(KeyValue::Int(-1)));
        assert_eq!(column("enum", "enum('a','b')", Some("ascii")).parse_text(Some(b"2")), Ok(KeyValue::UInt(2)));
        assert_eq!(column("date", "date", None).parse_text(Some(b"2020-02-30' OR 1")), Err(BadText("date")));
        assert_eq!(column("date", "date", None).parse_text(None), Ok(KeyValue::Null));
    }

    proptest! {
        #[test]
        fn strings_survive_hex(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let blob = column("varbinary", "varbinary(40)", None);
            let literal = blob.literal(&KeyValue::Bytes(bytes.clone().into()));
            let hex = literal.trim_start_matches("X'").trim_end_matches('\'');
            prop_assert_eq!(blob.parse_text(Some(hex.as_bytes())), Ok(KeyValue::Bytes(bytes.into())));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            for kind in [KeyKind::Int { bytes: 1, unsigned: true }, KeyKind::Decimal, KeyKind::Enum, column("binary", "binary(2)", None).kind] {
                let _ = KeyColumn { name: String::new(), kind }.parse_text(Some(&text));
            }
        }
    }
}
