//! Asks the server itself why a row cannot go over: its own ALTER on a small table with just those rows.

use std::time::Duration;

use super::Refusal;
use super::error::Error;
use super::job::Job;
use super::keys::KeyRange;
use super::probe;
use super::statements::Rows;
use crate::schema::key::Key;
use crate::upstream;

/// How often the server is asked, where something else comes between.
const ASKED_MOST: usize = 3;

/// The refusal for an error met while copying a range; an error that is no fault of the rows comes back as it was.
pub async fn refusal_in_range(job: &Job, range: &KeyRange, error: upstream::Error) -> Error {
    if !is_about_rows(&error) {
        return error.into();
    }
    let rows = job.statements.of_source(&job.source.stored_columns(), &Rows::In(job.keys.range(range)));
    explain(job, &rows, error).await.unwrap_or_else(|error| last_word(job, error))
}

/// The refusal for an error met while applying some keys; an error that is no fault of the rows comes back as it was.
///
/// # Errors
/// The error itself where the server's ALTER takes these rows as they are now: another row may be in their way, or they were others when
/// the error came. See [`last_word`].
pub async fn refusal_of_keys(job: &Job, keys: &[Key], error: upstream::Error) -> Result<Error, upstream::Error> {
    if !is_about_rows(&error) {
        return Ok(error.into());
    }
    explain(job, &rows_of(job, keys), error).await
}

/// What an error leads to that stays although the server's ALTER takes the rows.
pub fn last_word(job: &Job, error: upstream::Error) -> Error {
    // A duplicate may be one of a row that was not asked about.
    let is_cut = if error.code() == Some(1062) { job.mapping.may_cut_key() } else { job.mapping.changes_key() };
    if is_cut { cut_key(job).into() } else { Refusal::from_upstream(&error).into() }
}

/// The server's own refusal of an ALTER on a table with just these rows; `None` where it takes them or cannot be asked.
pub async fn refusal_if_any(job: &Job, keys: &[Key], error: &upstream::Error) -> Option<Refusal> {
    ask(job, &rows_of(job, keys)).await.ok().flatten().filter(|refusal| Some(refusal.code) == error.code())
}

/// The server's own refusal of an ALTER on a table with the source's rows in a range; `None` where it takes them or cannot be asked.
pub async fn refusal_of_range(job: &Job, range: &KeyRange) -> Option<Refusal> {
    let rows = job.statements.of_source(&job.source.stored_columns(), &Rows::In(job.keys.range(range)));
    ask(job, &rows).await.ok().flatten()
}

/// Data exceptions, constraint violations, and the numbers that carry no such state.
fn is_about_rows(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Server { code, sqlstate, .. } => {
            sqlstate.starts_with("22")
                || sqlstate.starts_with("23")
                || matches!(code, 1265 | 1292 | 1366 | 1411 | 1525 | 1526 | 1748 | 3140 | 3819 | 4025)
        }
        _ => false,
    }
}

/// The source's rows with these keys, in one statement and so in one snapshot.
fn rows_of(job: &Job, keys: &[Key]) -> String {
    let each = job.keys.all_literals(keys);
    each.iter().map(|key| job.statements.row_of_source(&job.source.stored_columns(), key)).collect::<Vec<_>>().join(" UNION ALL ")
}

async fn explain(job: &Job, rows: &str, error: upstream::Error) -> Result<Error, upstream::Error> {
    for _ in 0..ASKED_MOST {
        match ask(job, rows).await {
            Ok(Some(refusal)) => return Ok(refusal.into()),
            Ok(None) => return Err(error),
            Err(other) => {
                tracing::debug!(migration = %job.id, table = %job.names.source, %other, "the server could not be asked why a row cannot go over");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Its error on the row itself stands.
    Ok(Refusal::from_upstream(&error).into())
}

/// The refusal where a key does not come through the ALTER as it was: the server may take it, but its row cannot be followed.
pub fn cut_key(job: &Job) -> Refusal {
    let message = format!(
        "the ALTER changes values of the key by which the rows of {} are told apart, as the sql_mode allows; such rows cannot be followed. Set a strict \
         sql_mode to see which ones, or give the ALTER to the server itself",
        job.names.source
    );
    Refusal::new(1235, *b"42000", message)
}

/// Runs the server's own ALTER on a table with these rows; gives its error.
async fn ask(job: &Job, rows: &str) -> Result<Option<Refusal>, upstream::Error> {
    if job.is_window() {
        // No ALTER leads from this source to this shadow.
        return Ok(None);
    }
    probe::ask(&job.server, &job.names, Some((&job.source.stored_columns(), rows)), &job.specification).await
}
