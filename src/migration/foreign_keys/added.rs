//! Foreign keys that the ALTER adds: rows that break them are looked for as the server's own ALTER does.
//!
//! Nobody watches over such a key before the swap: rows of the table come without a parent, and parents go. So the answer that counts is the
//! one under the lock, with the table, its shadow and the parents locked. The same question is asked before, where nobody waits for it: it
//! tells early what is broken already, and how long the question takes.

use std::time::{Duration, Instant};

use super::{ForeignKey, Ties, of};
use crate::ids::{TableName, quote_identifier};
use crate::migration::Refusal;
use crate::migration::error::Error;
use crate::migration::job::Job;
use crate::migration::shadow::Names;
use crate::schema::mapping::Mapping;
use crate::schema::table::same_name;
use crate::sql::references;
use crate::upstream::{self, Link, literal};

/// The second name of the shadow where a key refers to its own table.
const PARENT: &str = "tidegate_parent";

/// The tables that the ALTER's REFERENCES name, as the server writes them; as they were said where there are none.
///
/// # Errors
/// As the server says.
pub async fn named(link: &mut Link, source: &TableName, specification: &str) -> Result<Vec<TableName>, upstream::Error> {
    let mut tables = Vec::new();
    for reference in references::of(specification) {
        let said = TableName::new(reference.schema.unwrap_or_else(|| source.schema.clone()), reference.table);
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&said.schema),
            literal(&said.table)
        );
        tables.push(match link.texts(&sql).await?.first().map(Vec::as_slice) {
            Some([schema, table]) => TableName::new(schema.clone(), table.clone()),
            _ => said,
        });
    }
    Ok(tables)
}

fn new_name(column: &str, mapping: &Mapping) -> String {
    let pair = mapping.pairs.iter().find(|pair| same_name(&pair.source.name, column));
    pair.map_or_else(|| column.to_owned(), |pair| pair.shadow.name.clone())
}

/// The columns that a key refers to have the names of the parent's shadow.
pub(super) fn refer_by_new_names(key: &mut ForeignKey, parent: &Mapping) {
    for (_, referred) in &mut key.columns {
        *referred = new_name(referred, parent);
    }
}

/// A foreign key of the source with the names that its columns have in the shadow.
fn renamed(key: &ForeignKey, mapping: &Mapping) -> ForeignKey {
    let name = |column: &String| new_name(column, mapping);
    let is_self = key.parent == key.table;
    let columns = key.columns.iter().map(|(own, theirs)| (name(own), if is_self { name(theirs) } else { theirs.clone() }));
    ForeignKey { columns: columns.collect(), ..key.clone() }
}

/// The table's own after a swap the other way: with the columns' names on that side.
pub(super) fn all_renamed(keys: &[ForeignKey], mapping: &Mapping) -> Vec<ForeignKey> {
    keys.iter().map(|key| renamed(key, mapping)).collect()
}

fn same_columns(one: &ForeignKey, other: &ForeignKey) -> bool {
    one.columns.len() == other.columns.len()
        && one.columns.iter().zip(&other.columns).all(|(one, other)| same_name(&one.0, &other.0) && same_name(&one.1, &other.1))
}

/// Those of `own` that the source does not have under any name: nobody has watched over them.
///
/// # Errors
/// As the server says.
async fn unwatched(link: &mut Link, names: &Names, own: &[ForeignKey], mapping: &Mapping) -> Result<Vec<ForeignKey>, upstream::Error> {
    Ok(not_among(own, &watched(link, names, own, mapping).await?))
}

/// The source's own, with the names that their columns have in the shadow.
pub(super) async fn watched(
    link: &mut Link,
    names: &Names,
    own: &[ForeignKey],
    mapping: &Mapping,
) -> Result<Vec<ForeignKey>, upstream::Error> {
    if own.is_empty() {
        return Ok(Vec::new());
    }
    Ok(all_renamed(&of(link, &names.source).await?, mapping))
}

fn not_among(own: &[ForeignKey], watched: &[ForeignKey]) -> Vec<ForeignKey> {
    let is_new = |key: &&ForeignKey| !watched.iter().any(|one| one.parent == key.parent && same_columns(one, key));
    own.iter().filter(is_new).cloned().collect()
}

/// Whether the ALTER leaves the table's own foreign keys as they are, apart from the names of columns.
///
/// # Errors
/// As the server says.
pub async fn stay_as_they_are(link: &mut Link, names: &Names, own: &[ForeignKey], mapping: &Mapping) -> Result<bool, upstream::Error> {
    let before = all_renamed(&of(link, &names.source).await?, mapping);
    let is_there = |key: &ForeignKey| {
        before.iter().any(|one| ForeignKey { columns: key.columns.clone(), ..one.clone() } == *key && same_columns(one, key))
    };
    Ok(before.len() == own.len() && own.iter().all(is_there))
}

/// A question that gives a row where a row of `child` has no parent. Each value is looked up once.
fn orphans(key: &ForeignKey, child: &TableName, parent: &TableName) -> String {
    let own: Vec<String> = key.columns.iter().map(|(own, _)| quote_identifier(own)).collect();
    let no_null: Vec<String> = own.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let (from, theirs) = match child == parent {
        true => (format!("{} AS {PARENT}", parent.quoted()), PARENT.to_owned()),
        false => (parent.quoted(), parent.quoted()),
    };
    let is_parent = key.columns.iter().map(|(own, column)| format!("{theirs}.{} = k.{}", quote_identifier(column), quote_identifier(own)));
    format!(
        "SELECT 1 FROM (SELECT DISTINCT {} FROM {} WHERE {}) AS k WHERE NOT EXISTS (SELECT 1 FROM {from} WHERE {}) LIMIT 1",
        own.join(", "),
        child.quoted(),
        no_null.join(" AND "),
        is_parent.collect::<Vec<_>>().join(" AND ")
    )
}

fn broken(key: &ForeignKey, table: &TableName) -> Refusal {
    let (own, parent) = (key.columns.iter().map(|(own, _)| own.as_str()).collect::<Vec<_>>().join(", "), &key.parent);
    Refusal::new(
        1452,
        *b"23000",
        format!(
            "Cannot add or update a child row: a foreign key constraint fails: rows of {table} have no parent in {parent} by the new foreign key \
             {} ({own}); the table is as it was. Delete or mend those rows, and keep others from coming, then migrate again",
            key.name
        ),
    )
}

/// So much of a hold may go into the question; the rest is the RENAME's, and what comes before it.
fn time_for_it(max_hold: Duration) -> Duration {
    max_hold * 3 / 10
}

/// Before anything is copied: asks of the source, where its columns say what the shadow's will.
///
/// # Errors
/// The refusal with the server's own number, or one where the question takes longer than statements may be held.
pub async fn check_source(
    link: &mut Link,
    names: &Names,
    own: &[ForeignKey],
    mapping: &Mapping,
    max_hold: Duration,
    members: &[TableName],
) -> Result<(), Error> {
    for key in unwatched(link, names, own, mapping).await? {
        // What it refers to in another table that is migrated with this one stands in that one's shadow.
        if key.parent != names.source && members.contains(&key.parent) {
            continue;
        }
        let is_self = key.parent == names.source;
        let before = |column: &str| {
            let pair = mapping.pairs.iter().find(|pair| same_name(&pair.shadow.name, column))?;
            pair.source.has_type_of(&pair.shadow).then(|| pair.source.name.clone())
        };
        let columns: Option<Vec<(String, String)>> =
            key.columns.iter().map(|(own, theirs)| Some((before(own)?, if is_self { before(theirs)? } else { theirs.clone() }))).collect();
        let Some(columns) = columns else { continue };
        let sql = orphans(&ForeignKey { columns, ..key.clone() }, &names.source, &key.parent);
        let took = ask(link, &key, names, &sql).await?;
        // A second time from memory, as at the cut-over.
        if took > time_for_it(max_hold) && ask(link, &key, names, &sql).await? > time_for_it(max_hold) {
            return Err(Refusal::new(1235, *b"42000", too_long(&key, names, took, max_hold)).into());
        }
    }
    Ok(())
}

fn too_long(key: &ForeignKey, names: &Names, took: Duration, max_hold: Duration) -> String {
    format!(
        "to look for rows of {} that break the new foreign key {} takes {} ms, which is too long for a cut-over that may hold statements for {} ms; \
         say WITH max_hold_ms = {} or more, or leave the key out and add it afterwards on the server with foreign_key_checks = 0, which looks at no row",
        names.source,
        key.name,
        took.as_millis(),
        max_hold.as_millis(),
        took.as_millis() * 5
    )
}

async fn ask(link: &mut Link, key: &ForeignKey, names: &Names, sql: &str) -> Result<Duration, Error> {
    let began = Instant::now();
    match link.cell(sql).await? {
        None => Ok(began.elapsed()),
        Some(_) => Err(broken(key, &names.source).into()),
    }
}

/// Before anybody is held: whether the question can be asked in a hold. What it answers does not count yet, as the shadow may lag.
/// `members` are those of a group, with this one.
///
/// # Errors
/// [`Error::Stuck`] where it takes too long.
pub async fn check_time(job: &Job, members: &[&Job]) -> Result<(), Error> {
    if references::of(&job.specification).is_empty() || job.is_window() {
        return Ok(());
    }
    let mut link = job.server.connect_engine().await?;
    let ties = Ties::read(&mut link, &job.names, job.id, &job.mapping, job.swaps).await?.among(members);
    for key in &ties.unwatched {
        let sql = ties.question(key, &job.names);
        let (mut took, longest) = (Duration::MAX, time_for_it(job.max_hold()));
        for _ in 0..2 {
            let began = Instant::now();
            link.cell(&sql).await?;
            took = took.min(began.elapsed());
            if took <= longest {
                break;
            }
        }
        if took > longest {
            return Err(Error::Stuck(
                too_long(key, &job.names, took, job.max_hold()),
                format!("raise max_hold_ms in [cutover], start the proxy again and RESUME, or CANCEL MIGRATION {}", job.id),
            ));
        }
    }
    link.close().await;
    Ok(())
}

impl Ties {
    /// Those that nobody has watched over, where `members` are swapped together: columns of theirs may have new names.
    pub(super) fn unwatched_among(&self, members: &[&Job]) -> Vec<ForeignKey> {
        let mut watched = self.watched.clone();
        for key in watched.iter_mut().filter(|key| key.parent != key.table) {
            let Some(parent) = members.iter().find(|job| job.names.source == key.parent) else { continue };
            refer_by_new_names(key, &parent.mapping);
        }
        not_among(&self.own, &watched)
    }

    /// What LOCK TABLES must name so that the question can be asked under it, where a key refers to its own table.
    pub fn second_locks(&self, names: &Names) -> String {
        match self.unwatched.iter().any(|key| key.parent == names.source || key.parent == names.shadow) {
            true => format!(", {} AS {PARENT} READ", names.shadow.quoted()),
            false => String::new(),
        }
    }

    fn question(&self, key: &ForeignKey, names: &Names) -> String {
        let parent = if key.parent == names.source { &names.shadow } else { &key.parent };
        orphans(key, &names.shadow, parent)
    }

    /// With the table, its shadow and the parents locked and everything applied: whether every row has its parents.
    ///
    /// # Errors
    /// The refusal with the server's own number, or the server.
    pub async fn prove(&self, link: &mut Link, names: &Names) -> Result<(), Error> {
        for key in &self.unwatched {
            ask(link, key, names, &self.question(key, names)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::foreign_keys::tests::key;

    #[test]
    fn each_value_is_looked_up_once_and_a_table_may_be_its_own_parent() {
        let (child, parent) = (TableName::new("~s", "c"), TableName::new("s", "p"));
        assert_eq!(
            orphans(&key(), &child, &parent),
            "SELECT 1 FROM (SELECT DISTINCT `a`, `é` FROM `~s`.`c` WHERE `a` IS NOT NULL AND `é` IS NOT NULL) AS k WHERE NOT EXISTS \
             (SELECT 1 FROM `s`.`p` WHERE `s`.`p`.`b` = k.`a` AND `s`.`p`.`` = k.`é`) LIMIT 1"
        );
        assert!(orphans(&key(), &child, &child).contains("FROM `~s`.`c` AS tidegate_parent WHERE tidegate_parent.`b` = k.`a`"));
    }
}
