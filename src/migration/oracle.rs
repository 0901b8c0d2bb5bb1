//! Asks the server itself why a row cannot go over: its own ALTER on a small table with just those rows.

use super::Refusal;
use super::error::Error;
use super::job::Job;
use super::keys::KeyRange;
use crate::ids::{TableName, quote_identifier};
use crate::schema::key::Key;
use crate::upstream;

/// The refusal for an error met while copying a range; an error that is no fault of the rows comes back as it was.
pub async fn refusal_in_range(job: &Job, range: &KeyRange, error: upstream::Error) -> Error {
    if !is_about_rows(&error) {
        return error.into();
    }
    let rows = job.statements.of_source(&own_columns(job), &job.keys.range(range));
    explain(job, &rows, error).await
}

/// The refusal for an error met while applying some keys.
pub async fn refusal_of_keys(job: &Job, keys: &[Key], error: upstream::Error) -> Error {
    if !is_about_rows(&error) {
        return error.into();
    }
    explain(job, &rows_of(job, keys), error).await
}

/// The server's own refusal of an ALTER on a table with just these rows; `None` where it takes them or cannot be asked.
pub async fn refusal_if_any(job: &Job, keys: &[Key], error: &upstream::Error) -> Option<Refusal> {
    ask(job, &rows_of(job, keys)).await.ok().flatten().filter(|refusal| Some(refusal.code) == error.code())
}

/// Data exceptions, constraint violations, and the numbers that carry no such state.
fn is_about_rows(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Server { code, sqlstate, .. } => {
            sqlstate.starts_with("22")
                || sqlstate.starts_with("23")
                || matches!(code, 1265 | 1292 | 1366 | 1411 | 1526 | 1748 | 3140 | 3819 | 4025)
        }
        _ => false,
    }
}

/// The source's rows with these keys, in one statement and so in one snapshot.
fn rows_of(job: &Job, keys: &[Key]) -> String {
    let each = job.keys.all_literals(keys);
    each.iter().map(|key| job.statements.row_of_source(&own_columns(job), key)).collect::<Vec<_>>().join(" UNION ALL ")
}

fn own_columns(job: &Job) -> String {
    job.source
        .columns
        .iter()
        .filter(|column| !column.is_generated())
        .map(|column| quote_identifier(&column.name))
        .collect::<Vec<_>>()
        .join(", ")
}

async fn explain(job: &Job, rows: &str, error: upstream::Error) -> Error {
    match ask(job, rows).await {
        Ok(Some(refusal)) => refusal.into(),
        // The server's ALTER takes these rows, or cannot be asked: its error on the row itself stands.
        Ok(None) => Refusal::from_upstream(&error).into(),
        Err(other) => {
            tracing::debug!(migration = %job.id, table = %job.names.source, %other, "the server could not be asked why a row cannot go over");
            Refusal::from_upstream(&error).into()
        }
    }
}

/// Runs the server's own ALTER on a table with these rows; gives its error.
async fn ask(job: &Job, rows: &str) -> Result<Option<Refusal>, upstream::Error> {
    if job.is_window() {
        // No ALTER leads from this source to this shadow.
        return Ok(None);
    }
    let mut link = job.server.connect_engine().await?;
    // Several workers may ask at once, and any of them may be cut off: an undo drops what is left by the prefix. Not in the shadow's
    // schema, where the names of the shadow's constraints are taken.
    let probe = TableName::new(job.names.retired.schema.clone(), format!("{}{}", super::shadow::PROBE_PREFIX, link.id()));
    super::shadow::create_schemas(&mut link, &job.names).await?;
    link.run("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'").await?;
    link.run(&format!("CREATE TABLE {} LIKE {}", probe.quoted(), job.names.source.quoted())).await?;
    link.run(&format!("INSERT INTO {} ({}) {rows}", probe.quoted(), own_columns(job))).await?;
    link.run("SET SESSION sql_mode = @@GLOBAL.sql_mode").await?;
    let answer = link.run(&format!("ALTER TABLE {} {}", probe.quoted(), job.specification)).await;
    link.run(&format!("DROP TABLE IF EXISTS {}", probe.quoted())).await?;
    Ok(answer.err().map(|error| {
        let mut refusal = Refusal::from_upstream(&error);
        refusal.message = refusal.message.replace(&probe.table, &job.names.source.table).replace(&probe.schema, &job.names.source.schema);
        refusal
    }))
}
