//! One migration's key: from what the server says to values, and back to SQL. Pure.

use std::cmp::Ordering;

use super::Refusal;
use super::statements::{Literals, Range};
use crate::schema::key::{Key, KeyColumn, KeyKind, KeyValue};
use crate::schema::mapping::Mapping;
use crate::upstream;

/// A chunk's two ends as keys; `None` is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Everything greater than this.
    pub after: Option<Key>,
    /// Up to this and including it.
    pub through: Option<Key>,
}

/// The key's columns.
#[derive(Clone, Debug)]
pub struct Keys {
    columns: Vec<KeyColumn>,
    is_ordered: bool,
}

impl Keys {
    /// Reads the key's kinds off a mapping.
    ///
    /// # Errors
    /// A [`Refusal`] where a column's type cannot be a migration's key.
    pub fn new(mapping: &Mapping) -> Result<Self, Refusal> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut columns = Vec::new();
        for pair in &mapping.key.columns {
            let column = &pair.source;
            let (charset, collation) = (some(&column.charset), some(&column.collation));
            let kind = KeyColumn::from_information_schema(&column.data_type, &column.column_type, charset.as_deref(), collation.as_deref());
            let Some(kind) = kind else {
                return Err(Refusal::new(
                    1235,
                    *b"42000",
                    format!(
                        "the key column {} is of type {}, which cannot tell rows apart here yet; add a UNIQUE key over NOT NULL columns of integer, \
                         text, binary, decimal or date types",
                        column.name, column.column_type
                    ),
                ));
            };
            columns.push(KeyColumn { name: column.name.clone(), kind });
        }
        let is_ordered = columns.iter().all(|column| column.kind.is_ordered());
        Ok(Self { columns, is_ordered })
    }

    /// Kinds, in the key's order.
    pub fn kinds(&self) -> impl Iterator<Item = &KeyKind> {
        self.columns.iter().map(|column| &column.kind)
    }

    /// The expressions that read the key.
    pub fn expressions(&self) -> Vec<String> {
        self.columns.iter().map(KeyColumn::select_expression).collect()
    }

    /// Reads the key out of the first cells of a row of [`Keys::expressions`].
    ///
    /// # Errors
    /// Where the server gave something else.
    pub fn parse(&self, row: &[Option<Vec<u8>>]) -> Result<Key, upstream::Error> {
        if row.len() < self.columns.len() {
            return Err(upstream::Error::Unexpected("a row without its key".into()));
        }
        let values: Result<Vec<KeyValue>, _> =
            self.columns.iter().zip(row).map(|(column, cell)| column.parse_text(cell.as_deref())).collect();
        let values = values.map_err(|error| upstream::Error::Unexpected(error.to_string()))?;
        Ok(Key(values.into_boxed_slice()))
    }

    /// The key's cells of a row as texts, for storing.
    pub fn texts(&self, row: &[Option<Vec<u8>>]) -> Vec<String> {
        row.iter()
            .take(self.columns.len())
            .map(|cell| cell.as_ref().map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned()))
            .collect()
    }

    /// Reads a stored key.
    ///
    /// # Errors
    /// Where it was not stored by [`Keys::texts`].
    pub fn parse_texts(&self, texts: &[String]) -> Result<Key, upstream::Error> {
        let cells: Vec<Option<Vec<u8>>> = texts.iter().map(|text| Some(text.clone().into_bytes())).collect();
        self.parse(&cells)
    }

    /// The key as SQL literals.
    pub fn literals(&self, key: &Key) -> Literals {
        self.columns.iter().zip(key.0.iter()).map(|(column, value)| column.literal(value)).collect()
    }

    /// Many keys as SQL literals.
    pub fn all_literals<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<Literals> {
        keys.into_iter().map(|key| self.literals(key)).collect()
    }

    /// A range as SQL literals.
    pub fn range(&self, range: &KeyRange) -> Range {
        Range { after: range.after.as_ref().map(|key| self.literals(key)), through: range.through.as_ref().map(|key| self.literals(key)) }
    }

    /// Reading and writing the key needs connections in UTC.
    pub fn needs_utc(&self) -> bool {
        self.kinds().any(|kind| matches!(kind, KeyKind::Timestamp { .. }))
    }

    /// Comparing keys here gives exactly the server's order and equality.
    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Whether the server might see the key within the range.
    pub fn may_cover(&self, range: &KeyRange, key: &Key) -> bool {
        if !self.is_ordered {
            return true;
        }
        range.after.as_ref().is_none_or(|after| key.cmp(after) == Ordering::Greater)
            && range.through.as_ref().is_none_or(|through| key.cmp(through) != Ordering::Greater)
    }

    /// A key for people: values of integer keys, otherwise the literals.
    pub fn show(&self, key: &Key) -> String {
        self.columns
            .iter()
            .zip(self.literals(key))
            .map(|(column, literal)| format!("{} = {literal}", column.name))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
