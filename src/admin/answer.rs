//! What a statement is answered with, before it becomes packets.

/// OK or a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Done.
    Ok,
    /// A result set.
    Rows(Rows),
}

/// A result set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// Each as long as `columns`.
    pub(super) rows: Vec<Vec<Value>>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: Kind,
}

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// BIGINT UNSIGNED.
    Integer,
    /// DOUBLE.
    Double,
    /// VARCHAR.
    Text,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// For [`Kind::Integer`].
    Integer(u64),
    /// For [`Kind::Double`].
    Double(f64),
    /// For [`Kind::Text`].
    Text(String),
}

impl Rows {
    /// An empty table with these columns.
    pub(super) fn new(columns: &[(&str, Kind)]) -> Self {
        let columns = columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// An empty table of texts.
    pub(super) fn texts(columns: &[&str]) -> Self {
        Self::new(&columns.iter().map(|name| (*name, Kind::Text)).collect::<Vec<_>>())
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Integer(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

/// Longest text that is shown; a row then always fits one packet.
const TEXT_BYTES_MAX: usize = 1 << 20;

impl From<String> for Value {
    fn from(mut text: String) -> Self {
        if text.len() > TEXT_BYTES_MAX {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// An error for the client, with the server's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The server's own error number.
    pub(super) code: u16,
    /// Five characters.
    pub(super) sqlstate: [u8; 5],
    /// One sentence with the remedy.
    pub(super) message: String,
}

impl Failure {
    /// The statement is not in the grammar (1064).
    pub(super) fn syntax(message: impl Into<String>) -> Self {
        Self { code: 1064, sqlstate: *b"42000", message: message.into() }
    }

    /// Any other error.
    pub(super) fn new(code: u16, sqlstate: &[u8; 5], message: impl Into<String>) -> Self {
        Self { code, sqlstate: *sqlstate, message: message.into() }
    }
}

impl From<crate::migration::Refusal> for Failure {
    fn from(refusal: crate::migration::Refusal) -> Self {
        Self { code: refusal.code, sqlstate: refusal.sqlstate, message: refusal.message }
    }
}
