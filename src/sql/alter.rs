//! What the engine must know of an ALTER specification: the server judges the rest.

/// One clause that changes names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// CHANGE [COLUMN] from to …, RENAME COLUMN from TO to.
    RenameColumn {
        /// The column's name in the source.
        from: String,
        /// Its name in the shadow.
        to: String,
    },
    /// DROP [COLUMN] name.
    DropColumn(String),
    /// ADD [COLUMN] name … (each name of a parenthesised list).
    AddColumn(String),
    /// RENAME [TO | AS] name: the table itself.
    RenameTable,
    /// EXCHANGE, DISCARD, IMPORT, TRUNCATE, DROP PARTITION and the like, which change rows, not only the schema; the words.
    ChangesRows(String),
    /// ALGORITHM = …
    Algorithm(String),
    /// LOCK = …
    Lock(String),
    /// Anything else; its first words, for people.
    Other(String),
}

/// The text could not be cut into clauses (an open quote or parenthesis).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ALTER specification cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Cuts an ALTER specification (what follows `ALTER TABLE name`) into clauses.
///
/// # Errors
/// [`Unreadable`] where a quote, comment or parenthesis does not end.
pub fn clauses(_specification: &str) -> Result<Vec<Clause>, Unreadable> {
    Ok(Vec::new())
}
