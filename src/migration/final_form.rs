//! What a shadow has only until the swap, and what it gets only at the swap.
//!
//! Owns: the helper by which rows are found where the ALTER changes the key ([`crate::schema::mapping::Helper`]), and the
//! AUTO_INCREMENT counter, which the server's own ALTER leaves as it was.
//! Both are brought to their final form under the lock, so that no row is written afterwards; where the attempt is called
//! off, the helper comes back before anything is applied again.

use super::Refusal;
use super::error::Error;
use super::job::Job;
use super::shadow::Names;
use super::{deferred, describe};
use crate::ids::{MigrationId, TableName, quote_identifier};
use crate::schema::mapping::{HELPER, Helper};
use crate::schema::table::Table;
use crate::upstream::{self, Link, literal};

/// Takes the helper out of a description of the shadow; tells whether it was there.
pub fn without_helper(table: &mut Table) -> bool {
    let indexes = table.indexes.len();
    table.indexes.retain(|index| index.name != HELPER);
    table.columns.retain(|column| !column.name.starts_with(HELPER) || !column.is_generated());
    table.indexes.len() < indexes
}

/// Gives the shadow its helper.
///
/// # Errors
/// As the server says.
pub async fn add_helper(link: &mut Link, shadow: &TableName, helper: &Helper, id: MigrationId) -> Result<(), upstream::Error> {
    let mut parts: Vec<String> =
        helper.columns.iter().map(|(name, definition)| format!("ADD COLUMN {} {definition}", quote_identifier(name))).collect();
    let index: Vec<String> = helper.index.iter().map(|name| quote_identifier(name)).collect();
    parts.push(format!("ADD UNIQUE INDEX {} ({})", quote_identifier(HELPER), index.join(", ")));
    link.run(&format!("ALTER TABLE {} {} {}", deferred::mark(id), shadow.quoted(), parts.join(", "))).await
}

/// The refusal where the server does not take the helper: the ALTER itself is right.
pub fn no_helper(names: &Names, error: &upstream::Error) -> Refusal {
    let words = Refusal::from_upstream(error).message;
    let message = format!(
        "the ALTER changes the key by which the rows of {} are told apart, and the server does not take what would keep the old one until the swap ({words}). \
         Give the ALTER to the server itself, or add another UNIQUE key over NOT NULL columns first",
        names.source
    );
    Refusal::new(1235, *b"42000", message)
}

/// The helper comes back where an attempt took it off and did not swap.
///
/// # Errors
/// As the server says.
pub async fn restore(job: &Job) -> Result<(), Error> {
    let Some(helper) = &job.mapping.helper else { return Ok(()) };
    let mut link = job.server.connect_engine().await?;
    if !without_helper(&mut describe::table(&mut link, &job.names.shadow).await?) {
        add_helper(&mut link, &job.names.shadow, helper, job.id).await?;
    }
    Ok(())
}

/// Brings the shadow to its final form, when the last row is in it. `link` must be allowed to read the source's dictionary and to alter
/// the shadow under the lock.
///
/// # Errors
/// As the server says; the caller must not swap then.
pub async fn take(job: &Job, link: &mut Link) -> Result<(), upstream::Error> {
    match_counter(job, link).await?;
    if has_zero_to_number(job, link).await? {
        return Err(upstream::Error::Unexpected("a row with 0 came, which the server would give a number".into()));
    }
    let Some(helper) = &job.mapping.helper else { return Ok(()) };
    let columns = helper.columns.iter().map(|(name, _)| format!(", DROP COLUMN {}", quote_identifier(name)));
    let sql = format!(
        "ALTER TABLE {} {} DROP INDEX {}{}",
        deferred::mark(job.id),
        job.names.shadow.quoted(),
        quote_identifier(HELPER),
        columns.collect::<String>()
    );
    link.run(&sql).await
}

/// Sets the shadow's counter to the source's where it is behind it: numbers of rows that are gone are not given again. Done before
/// anybody is held as well, so that it costs nothing under the lock but where the last writes were taken back.
///
/// # Errors
/// As the server says.
pub async fn match_counter(job: &Job, link: &mut Link) -> Result<(), upstream::Error> {
    let has_counter = |table: &Table| table.columns.iter().any(|column| column.extra.to_ascii_lowercase().contains("auto_increment"));
    if job.sets_counter || !has_counter(&job.source) || !has_counter(&job.shadow) {
        return Ok(());
    }
    if !job.facts.is_mariadb {
        link.run("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    // One question: it is asked under the lock.
    let sql = format!("SELECT {}, {}", counter(&job.names.source), counter(&job.names.shadow));
    let row = link.texts(&sql).await?.pop().unwrap_or_default();
    let number = |at: usize| row.get(at).and_then(|counter| counter.parse::<u64>().ok()).unwrap_or(0);
    let (source, shadow) = (number(0), number(1));
    if source > shadow {
        link.run(&format!("ALTER TABLE {} {} AUTO_INCREMENT = {source}", deferred::mark(job.id), job.names.shadow.quoted())).await?;
    }
    Ok(())
}

/// Refuses where the ALTER makes a column AUTO_INCREMENT and a row has 0 in it: the server's own would give such a row a new number,
/// in the order in which it meets the rows.
///
/// # Errors
/// The refusal; the server's.
pub async fn check_zeros(job: &Job, link: &mut Link) -> Result<(), Error> {
    if !has_zero_to_number(job, link).await? {
        return Ok(());
    }
    let message = format!(
        "a row of {} has 0 in the column that this ALTER makes AUTO_INCREMENT; the server would give it a new number, which is not done here. \
         Change the row, or put NO_AUTO_VALUE_ON_ZERO into the server's sql_mode, which keeps the 0",
        job.names.source
    );
    Err(Refusal::new(1235, *b"42000", message).into())
}

async fn has_zero_to_number(job: &Job, link: &mut Link) -> Result<bool, upstream::Error> {
    let is_counter = |column: &crate::schema::table::Column| column.extra.to_ascii_lowercase().contains("auto_increment");
    let becomes = job.mapping.pairs.iter().find(|pair| is_counter(&pair.shadow) && !is_counter(&pair.source));
    let Some(pair) = becomes.filter(|_| !job.is_window()) else { return Ok(false) };
    // It has an index of its own, as every AUTO_INCREMENT column.
    let sql = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {} WHERE {} = 0 LIMIT 1) AS `tg_zero` WHERE NOT FIND_IN_SET('NO_AUTO_VALUE_ON_ZERO', @@GLOBAL.sql_mode)",
        job.names.shadow.quoted(),
        quote_identifier(&pair.shadow.name)
    );
    Ok(link.cell(&sql).await?.as_deref() == Some("1"))
}

fn counter(table: &TableName) -> String {
    format!(
        "(SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {})",
        literal(&table.schema),
        literal(&table.table)
    )
}
