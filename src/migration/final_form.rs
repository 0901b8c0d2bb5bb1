//! What a shadow has only until the swap, and what it gets only at the swap.
//!
//! Owns: the helper by which rows are found where the ALTER changes the key ([`crate::schema::mapping::Helper`]), and the
//! AUTO_INCREMENT counter, which the server's own ALTER leaves as it was; the order of the indexes.
//! Both are brought to their final form under the lock, so that no row is written afterwards; where the attempt is called
//! off, the helper comes back before anything is applied again.

use super::Refusal;
use super::error::Error;
use super::job::Job;
use super::shadow::Names;
use super::{deferred, describe};
use crate::ids::{MigrationId, TableName, quote_identifier};
use crate::schema::mapping::{HELPER, Helper};
use crate::schema::table::{Column, Table};
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

/// Refuses where the indexes stand in another order than the ALTER alone had left them in (`altered`): MariaDB sorts a UNIQUE index that has
/// become USING HASH to another place with the next ALTER, and the shadow needs one.
///
/// # Errors
/// The refusal; the server's.
pub async fn check_order(link: &mut Link, names: &Names, altered: &Table) -> Result<(), Error> {
    let now = describe::table(link, &names.shadow).await?;
    // Some come later, and the helper goes.
    let shared = |one: &Table, other: &Table| -> Vec<String> {
        let all = one.indexes.iter().map(|index| index.name.clone());
        all.filter(|name| other.indexes.iter().any(|index| index.name == *name)).collect()
    };
    if shared(altered, &now) == shared(&now, altered) {
        return Ok(());
    }
    let message = format!(
        "this ALTER leaves the indexes of {} in an order that the server changes with the next ALTER, as it does with a UNIQUE index that becomes USING \
         HASH; the new table must be altered again here, and would not be the same. Give the ALTER to the server itself",
        names.source
    );
    Err(Refusal::new(1235, *b"42000", message).into())
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

/// Sets the shadow's counter to the source's where it is behind it: numbers of rows that are gone are not given again.
///
/// # Errors
/// As the server says.
pub async fn match_counter(job: &Job, link: &mut Link) -> Result<(), upstream::Error> {
    let source = counter_to_reach(job, link).await?;
    set_counter(job, link, source).await
}

/// The same before anybody is held, where it may be lower as well: a row that was applied and has gone again, such as one whose number an
/// UPDATE had raised, has moved the shadow's. The server keeps it above the numbers that are there.
///
/// # Errors
/// As the server says.
pub async fn match_counter_early(job: &Job, link: &mut Link) -> Result<(), upstream::Error> {
    let Some((source, shadow)) = counters(job, link).await? else { return Ok(()) };
    // Where its numbers are used up a partitioned table counts beyond them, as the server's own ALTER leaves it.
    if source == shadow || source < shadow && highest(job, link).await? >= source {
        return Ok(());
    }
    set_counter(job, link, Some(source)).await
}

/// The highest of the shadow's numbers; 0 where there is none.
async fn highest(job: &Job, link: &mut Link) -> Result<u64, upstream::Error> {
    let Some(column) = counting_column(job) else { return Ok(0) };
    let sql = format!("SELECT MAX({}) FROM {}", quote_identifier(&column.name), job.names.shadow.quoted());
    Ok(link.cell(&sql).await?.and_then(|highest| highest.parse().ok()).unwrap_or(0))
}

async fn set_counter(job: &Job, link: &mut Link, counter: Option<u64>) -> Result<(), upstream::Error> {
    let Some(counter) = counter else { return Ok(()) };
    link.run(&format!("ALTER TABLE {} {} AUTO_INCREMENT = {counter}", deferred::mark(job.id), job.names.shadow.quoted())).await
}

/// The source's counter, where the shadow is to have it and is behind it: its last rows were taken back, or deleted again.
///
/// # Errors
/// As the server says.
pub async fn counter_to_reach(job: &Job, link: &mut Link) -> Result<Option<u64>, upstream::Error> {
    Ok(counters(job, link).await?.filter(|(source, shadow)| source > shadow).map(|(source, _)| source))
}

/// The source's counter and the shadow's; `None` where the shadow is not to have the source's.
async fn counters(job: &Job, link: &mut Link) -> Result<Option<(u64, u64)>, upstream::Error> {
    if job.sets_counter || !job.source.columns.iter().any(counts) || !job.shadow.columns.iter().any(counts) {
        return Ok(None);
    }
    let (source, shadow) = (counter(job, link, &job.names.source).await?, counter(job, link, &job.names.shadow).await?);
    Ok(Some((source, shadow)))
}

/// Brings the shadow's counter to a number by a row that comes and goes within the open transaction: that costs no commit of its own, as
/// ALTER TABLE does. Where no row can be made up, such as for a unique key or a CHECK, nothing is done, and ALTER TABLE is left.
///
/// # Errors
/// Where the connection is lost.
pub async fn step_to(job: &Job, link: &mut Link, counter: u64) -> Result<(), upstream::Error> {
    let Some(column) = counting_column(job).filter(|column| column.is_integer()) else { return Ok(()) };
    let (shadow, name, number) = (job.names.shadow.quoted(), quote_identifier(&column.name), counter.saturating_sub(1));
    link.run("SAVEPOINT tidegate_counter").await?;
    let stepped = async {
        // IGNORE fills every other column with what stands for nothing, and leaves the row out where that is not allowed.
        let made = link.change(&format!("INSERT IGNORE INTO {shadow} ({name}) VALUES ({number})")).await?.affected;
        let gone = link.change(&format!("DELETE FROM {shadow} WHERE {name} = {number}")).await?.affected;
        // A number that is too large for the column would have been made another one.
        Ok::<bool, upstream::Error>(made == gone)
    };
    match stepped.await {
        Ok(true) => Ok(()),
        Ok(false) | Err(upstream::Error::Server { .. }) => link.run("ROLLBACK TO SAVEPOINT tidegate_counter").await,
        Err(error) => Err(error),
    }
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
    let becomes = job.mapping.pairs.iter().find(|pair| counts(&pair.shadow) && !counts(&pair.source));
    let Some(pair) = becomes.filter(|_| !job.is_window()) else { return Ok(false) };
    // It has an index of its own, as every AUTO_INCREMENT column.
    let sql = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {} WHERE {} = 0 LIMIT 1) AS `tg_zero` WHERE NOT FIND_IN_SET('NO_AUTO_VALUE_ON_ZERO', @@GLOBAL.sql_mode)",
        job.names.shadow.quoted(),
        quote_identifier(&pair.shadow.name)
    );
    Ok(link.cell(&sql).await?.as_deref() == Some("1"))
}

/// The shadow's AUTO_INCREMENT column; a table has one at most.
fn counting_column(job: &Job) -> Option<&Column> {
    job.shadow.columns.iter().find(|column| counts(column))
}

fn counts(column: &Column) -> bool {
    column.extra.to_ascii_lowercase().contains("auto_increment")
}

/// The number that the server would give next. Read out of SHOW CREATE TABLE, which is the quickest to tell; where the sql_mode has that
/// leave it out (MySQL's ANSI, MariaDB's NO_TABLE_OPTIONS), out of the dictionary, as it is now and not as MySQL remembers it.
async fn counter(job: &Job, link: &mut Link, table: &TableName) -> Result<u64, upstream::Error> {
    let rows = link.texts(&format!("SHOW CREATE TABLE {}", table.quoted())).await?;
    if let Some(counter) = rows.first().and_then(|row| told_counter(row.get(1)?)) {
        return Ok(counter);
    }
    if !job.facts.is_mariadb {
        link.run("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    let sql = format!(
        "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&table.schema),
        literal(&table.table)
    );
    Ok(link.cell(&sql).await?.and_then(|counter| counter.parse().ok()).unwrap_or(0))
}

/// The counter in a CREATE TABLE as the server writes it; `None` where it leaves the table's options out. It leaves out a 1.
fn told_counter(create: &str) -> Option<u64> {
    let options = create.split_once("\n) ")?.1.lines().next()?;
    // A comment comes last, and may hold anything.
    let options = options.split('\'').next()?;
    if !options.contains("ENGINE=") {
        return None;
    }
    let Some((_, number)) = options.split_once(" AUTO_INCREMENT=") else { return Some(1) };
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::told_counter;

    #[test]
    fn a_counter_is_read_out_of_the_options_and_nowhere_else() {
        let table = |options: &str| format!("CREATE TABLE `t` (\n  `a` int COMMENT ') ENGINE=x AUTO_INCREMENT=7'\n{options}");
        assert_eq!(told_counter(&table(") ENGINE=InnoDB AUTO_INCREMENT=42 DEFAULT CHARSET=utf8mb4")), Some(42));
        assert_eq!(told_counter(&table(") ENGINE=InnoDB AUTO_INCREMENT=18446744073709551615")), Some(u64::MAX));
        assert_eq!(told_counter(&table(") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT=' AUTO_INCREMENT=9'")), Some(1));
        assert_eq!(told_counter(&table(") ENGINE=InnoDB\n/*!50100 PARTITION BY HASH (`a`) AUTO_INCREMENT=3 */")), Some(1));
        assert_eq!(told_counter(&table(") /*!50100 TABLESPACE `x` */ ENGINE=InnoDB AUTO_INCREMENT=5")), Some(5));
        assert_eq!(told_counter(&table(")")), None, "NO_TABLE_OPTIONS");
    }
}
