//! Columns of the followed table that the table with the name does not have: rows that are written again keep their values.
//!
//! Only in a revert window. Apply makes a row right by deleting and inserting it; here the values of such columns are set aside
//! before and put back in the same transaction. A row that is new under its key gets the columns' defaults.
//!
//! A row that another unique key turns away goes back as it was, or what was set aside for it would be lost. That may in turn push out
//! rows of the same round: one at most for each unique key, and each row goes back once, so it ends.

use std::collections::HashSet;

use super::apply::pending::Taken;
use super::job::Job;
use super::statements::{Literals, Statements, by_number, one_of, same_key};
use crate::ids::{TableName, quote_identifier};
use crate::schema::key::Key;
use crate::schema::mapping::Mapping;
use crate::schema::table::{Column, Table, same_name};
use crate::upstream::{self, Link};

/// The statements for such columns.
#[derive(Clone, Debug)]
pub struct Kept {
    aside: String,
    create: String,
    set_aside: String,
    put_back: String,
    insert_new: String,
    /// Puts rows back as they were; `None` where no other unique key can turn one away.
    restore: Option<String>,
    shadow_key: Vec<String>,
    source_key: Vec<String>,
    not_aside: String,
    skip: String,
}

impl Kept {
    /// `None` where every column of the shadow has one of the source.
    pub fn new(source: &TableName, shadow_name: &TableName, shadow: &Table, mapping: &Mapping) -> Option<Self> {
        let is_paired = |column: &Column| mapping.pairs.iter().any(|pair| same_name(&pair.shadow.name, &column.name));
        let kept: Vec<&Column> = shadow.columns.iter().filter(|column| !column.is_generated() && !is_paired(column)).collect();
        if kept.is_empty() {
            return None;
        }
        let quoted = |names: Vec<&str>| names.into_iter().map(quote_identifier).collect::<Vec<_>>();
        let with = |alias: &str, names: &[String]| names.iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>();
        let key = quoted(mapping.key.columns.iter().map(|pair| pair.shadow.name.as_str()).collect());
        let source_key = quoted(mapping.key.columns.iter().map(|pair| pair.source.name.as_str()).collect());
        let from = quoted(mapping.pairs.iter().map(|pair| pair.source.name.as_str()).collect());
        let to = quoted(mapping.pairs.iter().map(|pair| pair.shadow.name.as_str()).collect());
        let names = quoted(kept.iter().map(|column| column.name.as_str()).collect());
        let may_turn_away = shadow.indexes.iter().filter(|index| index.is_unique).count() > 1;
        let whole = quoted(shadow.columns.iter().filter(|column| !column.is_generated()).map(|column| column.name.as_str()).collect());
        // A generated column cannot be given a value; where the key has one, it is read with the others for its value alone.
        let beside = key.iter().filter(|name| !whole.contains(name)).cloned().collect();
        let stored = if may_turn_away { [beside, whole.clone()].concat() } else { [key.as_slice(), &names].concat() }.join(", ");
        let aside = format!("{}.`tidegate_aside`", quote_identifier(&shadow_name.schema));
        let (table, source) = (shadow_name.quoted(), source.quoted());
        // The source has no alias: under LOCK TABLES that would need a lock of its own.
        let source_key = with(&source, &source_key);
        let is_aside = same_key(&with("`tg_aside`", &key), &source_key, &by_number(mapping));
        // A column without any default: what a server that is not strict puts in its place.
        let (needy, implied): (Vec<String>, Vec<String>) =
            kept.iter().filter_map(|column| Some((quote_identifier(&column.name), implied_default(column)?))).unzip();
        let skip = key.first().map_or(String::new(), |first| format!(" ON DUPLICATE KEY UPDATE {table}.{first} = {table}.{first}"));
        Some(Self {
            create: format!("CREATE TEMPORARY TABLE {aside} (KEY ({})) AS SELECT {stored} FROM {table} LIMIT 0", key.join(", ")),
            set_aside: format!("INSERT INTO {aside} SELECT {stored} FROM {table} WHERE "),
            restore: may_turn_away.then(|| {
                let whole = whole.join(", ");
                format!("REPLACE INTO {table} ({whole}) SELECT {whole} FROM {aside} WHERE ")
            }),
            put_back: format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {aside} AS `tg_aside` STRAIGHT_JOIN {source} FORCE INDEX ({}) ON {} WHERE ",
                [to.as_slice(), &names].concat().join(", "),
                [with(&source, &from), with("`tg_aside`", &names)].concat().join(", "),
                quote_identifier(&mapping.key.source_index),
                is_aside
            ),
            insert_new: format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {source} FORCE INDEX ({}) WHERE ",
                [to, needy].concat().join(", "),
                [with(&source, &from), implied].concat().join(", "),
                quote_identifier(&mapping.key.source_index)
            ),
            shadow_key: key,
            source_key,
            not_aside: format!(" AND NOT EXISTS (SELECT 1 FROM {aside} AS `tg_aside` WHERE {is_aside})"),
            aside,
            skip,
        })
    }

    /// Creates the place where values are set aside, as this connection's own.
    ///
    /// # Errors
    /// As the server says.
    async fn prepare(&self, link: &mut Link) -> Result<(), upstream::Error> {
        match link.run(&format!("DELETE FROM {}", self.aside)).await {
            Err(error) if matches!(error.code(), Some(1146 | 1100)) => link.run(&self.create).await,
            other => other,
        }
    }

    async fn set_aside(&self, link: &mut Link, keys: &[Literals]) -> Result<(), upstream::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        link.run(&format!("{}{}", self.set_aside, one_of(&self.shadow_key, keys))).await
    }

    /// Inserts rows of the source, with what was set aside for them, or with defaults. With `skip`, a row that another unique
    /// key turns away is left out.
    async fn insert(&self, link: &mut Link, keys: &[Literals], skip: bool) -> Result<(), upstream::Error> {
        let condition = one_of(&self.source_key, keys);
        let skip_turned_away = if skip { self.skip.as_str() } else { "" };
        link.run(&format!("{}{condition}{skip_turned_away}", self.put_back)).await?;
        // Those that have come back just now are there by the same key.
        link.run(&format!("{}{condition}{}{skip_turned_away}", self.insert_new, self.not_aside)).await
    }
}

/// Writes rows as they are now in an open transaction; gives those that are there afterwards. Rows that another unique key turns away
/// are as they were.
///
/// # Errors
/// As the server says.
pub async fn place(
    job: &Job,
    kept: &Kept,
    link: &mut Link,
    taken: &[Taken<Key>],
    free: HashSet<Key>,
) -> Result<HashSet<Key>, upstream::Error> {
    if free.is_empty() {
        return Ok(free);
    }
    let new: HashSet<&Key> = taken.iter().filter(|taken| taken.is_new).map(|taken| &taken.key).collect();
    kept.prepare(link).await?;
    kept.set_aside(link, &job.keys.all_literals(free.iter().filter(|key| !new.contains(key)))).await?;
    let mut placed: Vec<Key> = free.into_iter().collect();
    let literals = job.keys.all_literals(&placed);
    link.run(&job.statements.delete(&literals)).await?;
    kept.insert(link, &literals, true).await?;
    // A row that goes back can only be in the way of those written just now: the others were there beside it before.
    while !placed.is_empty() {
        let there = exist(&job.statements, link, &job.keys.all_literals(&placed)).await?;
        let (there, away): (Vec<_>, Vec<_>) = placed.into_iter().zip(there).partition(|(_, is_there)| *is_there);
        placed = there.into_iter().map(|(key, _)| key).collect();
        let lost: Vec<&Key> = away.iter().map(|(key, _)| key).filter(|key| !new.contains(key)).collect();
        let Some(restore) = kept.restore.as_ref().filter(|_| !lost.is_empty()) else { break };
        link.run(&format!("{restore}{}", one_of(&kept.shadow_key, &job.keys.all_literals(lost)))).await?;
    }
    Ok(placed.into_iter().collect())
}

async fn exist(statements: &Statements, link: &mut Link, keys: &[Literals]) -> Result<Vec<bool>, upstream::Error> {
    let row = link.rows(&statements.exist_in_shadow(keys)).await?.into_iter().next().unwrap_or_default();
    Ok(row.into_iter().map(|cell| cell.as_deref() == Some(b"1")).collect())
}

/// As [`super::apply::settle_under_lock`] for rows of which something is kept; all of it or nothing.
///
/// # Errors
/// As the server says.
pub async fn settle_under_lock(job: &Job, kept: &Kept, link: &mut Link, taken: &[Taken<Key>], most: usize) -> Result<(), upstream::Error> {
    if taken.is_empty() {
        return Ok(());
    }
    // Neither this nor COMMIT lets go of LOCK TABLES; START TRANSACTION would.
    link.run("SET SESSION autocommit = 0").await?;
    let result = async {
        kept.prepare(link).await?;
        for some in taken.chunks(most) {
            let old = some.iter().filter(|taken| !taken.is_new).map(|taken| &taken.key);
            kept.set_aside(link, &job.keys.all_literals(old)).await?;
            link.run(&job.statements.delete(&job.keys.all_literals(some.iter().map(|taken| &taken.key)))).await?;
        }
        for some in taken.chunks(most) {
            let literals = job.keys.all_literals(some.iter().map(|taken| &taken.key));
            if !job.keys.is_ordered() {
                // The row of a key in an earlier chunk may be the row of one of these too, by the key's collation.
                link.run(&job.statements.delete(&literals)).await?;
            }
            kept.insert(link, &literals, false).await?;
        }
        link.run("COMMIT").await
    };
    let result = result.await;
    if result.is_err() {
        link.run("ROLLBACK").await?;
    }
    link.run("SET SESSION autocommit = 1").await?;
    result
}

/// What stands for a value in a column that is NOT NULL and has no default; `None` where the server has one itself.
fn implied_default(column: &Column) -> Option<String> {
    if column.is_nullable || column.default.is_some() || column.extra.to_ascii_lowercase().contains("auto_increment") {
        return None;
    }
    Some(match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "bit" | "year" | "time" => "0".into(),
        "date" | "datetime" | "timestamp" => "'1970-01-02 00:00:00'".into(),
        "json" => "'null'".into(),
        "enum" => "1".into(),
        "geometry" | "point" => "ST_GeomFromText('POINT(0 0)')".into(),
        "uuid" => "'00000000-0000-0000-0000-000000000000'".into(),
        "inet4" => "'0.0.0.0'".into(),
        "inet6" => "'::'".into(),
        _ => "''".into(),
    })
}
