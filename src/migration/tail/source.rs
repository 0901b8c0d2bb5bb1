//! How the source appears in the binary log: its name, and where in a row image its key stands. Pure.

use super::super::shadow::Names;
use crate::ids::TableName;
use crate::schema::binlog_row::{Change, DecodeError, RowLayout, RowsEvent, TableMap, decode_rows};
use crate::schema::key::KeyKind;
use crate::sql::matcher::Matcher;

/// The source as the tail knows it.
#[derive(Debug)]
pub struct Source {
    names: Names,
    ignore_case: bool,
    columns: usize,
    key: Vec<(usize, KeyKind)>,
    layout: Option<(Vec<u8>, Vec<u8>, RowLayout)>,
    named: Matcher,
    mark: String,
}

impl Source {
    /// `columns` is the number of the table's columns, `key` where each key column stands and what it is.
    /// `hot_names` are all names by which a statement can reach the table; `mark` is in every DDL statement of the engine's own.
    pub fn new(names: Names, ignore_case: bool, columns: usize, key: Vec<(usize, KeyKind)>, hot_names: &[String], mark: String) -> Self {
        let named = Matcher::new(&[hot_names]);
        Self { names, ignore_case, columns, key, layout: None, named, mark }
    }

    /// The source's name.
    pub fn table(&self) -> &TableName {
        &self.names.source
    }

    fn same(&self, name: &TableName, schema: &[u8], table: &[u8]) -> bool {
        let same = |one: &str, other: &[u8]| {
            one.as_bytes() == other || self.ignore_case && one.to_lowercase() == String::from_utf8_lossy(other).to_lowercase()
        };
        // DROP DATABASE names a schema and no table.
        same(&name.schema, schema) && (table.is_empty() || same(&name.table, table))
    }

    /// Whether this is the source.
    pub fn is(&self, schema: &[u8], table: &[u8]) -> bool {
        self.same(&self.names.source, schema, table)
    }

    /// Whether a statement is the engine's own, by the comment that it carries.
    pub fn is_own(&self, text: &[u8]) -> bool {
        memchr::memmem::find(text, self.mark.as_bytes()).is_some()
    }

    /// Whether this is the shadow.
    pub fn is_shadow(&self, schema: &[u8], table: &[u8]) -> bool {
        self.same(&self.names.shadow, schema, table)
    }

    /// Whether a text names the source, in whatever schema.
    pub fn is_named_in(&self, text: &[u8]) -> bool {
        self.named.touched(text) != 0
    }

    /// Learns the row images' layout from a table map of the source.
    ///
    /// # Errors
    /// Where the map does not fit the table as it was when the migration began.
    pub fn learn(&mut self, map: &TableMap<'_>) -> Result<(), DecodeError> {
        if self.layout.as_ref().is_some_and(|(types, metadata, _)| types == map.column_types && metadata == map.column_metadata) {
            return Ok(());
        }
        if map.column_types.len() != self.columns {
            return Err(DecodeError::NoColumn(map.column_types.len()));
        }
        let layout = RowLayout::new(map.column_types, map.column_metadata, &self.key)?;
        self.layout = Some((map.column_types.to_vec(), map.column_metadata.to_vec(), layout));
        Ok(())
    }

    /// Reads the keys out of a rows event of the source.
    ///
    /// # Errors
    /// Where the bytes do not fit the layout.
    pub fn decode(&self, rows: &RowsEvent<'_>) -> Result<Vec<Change>, DecodeError> {
        let Some((_, _, layout)) = &self.layout else { return Err(DecodeError::BadHead) };
        decode_rows(layout, rows.kind, rows.columns_before, rows.columns_after, rows.rows)
    }
}
