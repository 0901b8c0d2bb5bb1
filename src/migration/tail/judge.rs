//! What a statement in the binary log means to a migration. Pure.

use super::super::error::Error;
use super::Source;
use crate::sql::ddl;
use crate::sql::token::Cursor;

/// Judges one statement; `true` where it ends a transaction.
///
/// # Errors
/// [`Error::Changed`] for DDL on the source or the shadow, and for changes of the source that were logged as statements.
pub(super) fn query(source: &Source, text: &[u8], schema: &str) -> Result<bool, Error> {
    let cursor = Cursor::new(text);
    let Some(first) = cursor.peek() else { return Ok(false) };
    if first.is_any(&["COMMIT", "ROLLBACK"]) {
        return Ok(true);
    }
    if first.is_any(&["BEGIN", "SAVEPOINT", "XA"]) {
        return Ok(false);
    }
    // Triggers change no row and no column; those of the source go with its name.
    if ddl::is_about_trigger(text) {
        return Ok(false);
    }
    // The engine's own: indexes of the shadow, and foreign keys of the tables around, which name the source as their parent.
    if source.is_own(text) {
        return Ok(false);
    }
    for target in ddl::targets(text, schema) {
        if source.is(target.schema.as_bytes(), target.table.as_bytes()) {
            return Err(Error::Changed(format!(
                "somebody changed {} itself while it was being migrated ({}); the migration was undone, the table is as they left it. Start it again",
                source.table(),
                crate::sql::digest::digest(text)
            )));
        }
        if source.is_shadow(target.schema.as_bytes(), target.table.as_bytes()) {
            return Err(Error::Changed(format!(
                "somebody changed the shadow table of {} ({}); start the migration again",
                source.table(),
                crate::sql::digest::digest(text)
            )));
        }
    }
    if first.is_any(&["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "SELECT", "DO", "SET"]) && source.is_named_in(text) {
        return Err(logged_as_statement(source));
    }
    // DDL commits; so does everything else that is logged as a statement outside of BEGIN.
    Ok(false)
}

/// Whether a statement in the log ends a transaction.
pub(super) fn ends_transaction(text: &[u8]) -> bool {
    Cursor::new(text).peek().is_some_and(|first| first.is_any(&["COMMIT", "ROLLBACK"]))
}

/// The error for a change of rows that was logged as its statement.
pub(super) fn logged_as_statement(source: &Source) -> Error {
    Error::Changed(format!(
        "a session writes {} with binlog_format = STATEMENT, which cannot be followed; let every session use ROW and start the migration again",
        source.table()
    ))
}
