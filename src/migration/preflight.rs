//! What is checked before anything is created: each refusal in one sentence with the remedy.

use super::Refusal;
use super::cutover::protocol::{self, Way};
use super::error::Error;
use super::shadow::Names;
use super::{foreign_keys, triggers};
use crate::config::Protocol;
use crate::ids::TableName;
use crate::schema::mapping::{Mapping, Pair};
use crate::schema::table::{Column, Table, same_name};
use crate::sql::alter::{self, Clause};
use crate::sql::token::Tokens;
use crate::upstream::{Facts, Link, literal};

/// A table and a wish that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The table's name as the server writes it.
    pub table: TableName,
    /// The clauses of the ALTER.
    pub clauses: Vec<Clause>,
    /// The three names.
    pub names: Names,
}

fn refuse<T>(code: u16, sqlstate: &[u8; 5], message: String) -> Result<T, Error> {
    Err(Refusal::new(code, *sqlstate, message).into())
}

fn not_yet<T>(message: String) -> Result<T, Error> {
    refuse(1235, b"42000", message)
}

/// Checks the ALTER by its text alone.
///
/// # Errors
/// A [`Refusal`].
pub fn check_specification(specification: &str) -> Result<Vec<Clause>, Error> {
    let clauses = match alter::clauses(specification) {
        Ok(clauses) => clauses,
        Err(error) => return refuse(1064, b"42000", format!("{error}; the specification is what follows ALTER TABLE name")),
    };
    if clauses.is_empty() {
        return refuse(1064, b"42000", "the ALTER specification is empty; say MIGRATE TABLE db.t ADD COLUMN …, for example".into());
    }
    for clause in &clauses {
        match clause {
            Clause::RenameTable => {
                return not_yet(
                    "a migration cannot rename the table itself; do that with the server's own RENAME TABLE, which copies nothing".into(),
                );
            }
            Clause::ChangesRows(words) => {
                return not_yet(format!("{words} changes rows, not only the schema; give it to the server itself"));
            }
            _ => {}
        }
    }
    Ok(clauses)
}

/// MariaDB takes ALTERs that drop a column and change it as well, which makes a new one of it; and those that change a column twice and add
/// another under its new name. The clauses do not say which column is which then.
///
/// # Errors
/// A [`Refusal`].
pub fn check_contradiction(clauses: &[Clause]) -> Result<(), Error> {
    let is_dropped = |name: &str| clauses.iter().any(|clause| matches!(clause, Clause::DropColumn(dropped) if same_name(dropped, name)));
    let is_added = |name: &str| clauses.iter().any(|clause| matches!(clause, Clause::AddColumn(added) if same_name(added, name)));
    for clause in clauses {
        let Clause::RenameColumn { from, to } = clause else { continue };
        if is_dropped(from) {
            return not_yet(format!("the ALTER drops the column {from} and changes it as well; leave one of them out"));
        }
        if is_added(to) {
            return not_yet(format!("the ALTER adds a column {to} and gives the column {from} that name as well; leave one of them out"));
        }
    }
    Ok(())
}

/// Checks server and table. `link` is one of the engine's.
///
/// # Errors
/// A [`Refusal`], or the server.
pub async fn check(link: &mut Link, facts: &Facts, table: &TableName, specification: &str, wish: Protocol) -> Result<Checked, Error> {
    let clauses = check_specification(specification)?;
    check_account(link, facts).await?;
    check_log(link, facts).await?;
    let table = check_table(link, table).await?;
    let names = Names::of(&table);
    let way = protocol::choose(wish, facts, &names)?;
    foreign_keys::check(link, facts, &table, specification, way.carries_foreign_keys(facts)).await?;
    protocol::check(way, facts, link).await?;
    if way == Way::SentryLockedShadow && triggers::are_on(link, &table).await? {
        return not_yet(format!(
            "{table} has triggers, which cutover = 'sentry_locked_shadow' cannot bring over the swap; drop them, migrate, create them again"
        ));
    }
    Ok(Checked { table, clauses, names })
}

/// Checks what an ALTER in place needs.
///
/// # Errors
/// A [`Refusal`], or the server.
pub async fn check_in_place(link: &mut Link, facts: &Facts, table: &TableName) -> Result<TableName, Error> {
    check_account(link, facts).await?;
    check_table(link, table).await
}

async fn check_account(link: &mut Link, facts: &Facts) -> Result<(), Error> {
    let supported = if facts.is_mariadb { facts.version >= (10, 6, 0) } else { facts.version >= (8, 0, 13) };
    if !supported {
        return not_yet(format!("{} is not supported; Tidegate needs MySQL 8.0.13 or MariaDB 10.6, or later", facts.name()));
    }
    let grants: Vec<String> = link.texts("SHOW GRANTS").await?.into_iter().filter_map(|row| row.into_iter().next()).collect();
    if let Some(missing) = crate::schema::privileges::missing(&grants, facts.is_mariadb).first() {
        return refuse(
            1227,
            b"42000",
            format!("the engine's account lacks the privilege {}; run {}", missing.privilege, missing.grant_statement),
        );
    }
    Ok(())
}

async fn check_log(link: &mut Link, facts: &Facts) -> Result<(), Error> {
    let format = link.texts("SELECT @@global.log_bin, @@global.binlog_format").await?;
    let cell = |at: usize| format.first().and_then(|row| row.get(at)).map_or("", String::as_str);
    if cell(0) != "1" {
        return refuse(1381, b"HY000", "the server writes no binary log; set log_bin in its configuration and restart it".into());
    }
    if cell(1) != "ROW" {
        return refuse(
            1105,
            b"HY000",
            format!("binlog_format is {}; SET GLOBAL binlog_format = 'ROW' and let the applications reconnect", cell(1)),
        );
    }
    let status = link.texts(facts.position_statement()).await?;
    if let Some(filter) = status.first().and_then(|row| row.iter().skip(2).take(2).find(|filter| !filter.is_empty())) {
        return not_yet(format!(
            "the server filters its binary log (binlog-do-db or binlog-ignore-db: {filter}), so changes could be missed; remove the filter and restart it"
        ));
    }
    if !facts.is_mariadb && link.cell("SELECT @@global.binlog_order_commits").await?.as_deref() != Some("1") {
        return not_yet(
            "binlog_order_commits is off, so changes may become visible in another order than the binary log has them; SET GLOBAL binlog_order_commits = ON".into(),
        );
    }
    let (variable, wanted) = if facts.is_mariadb { ("log_bin_compress", "0") } else { ("binlog_row_value_options", "") };
    let value = link.cell(&format!("SELECT @@global.{variable}")).await?.unwrap_or_default();
    if value != wanted {
        return not_yet(format!(
            "{variable} is {value}, which the tail cannot read yet; SET GLOBAL {variable} = {}",
            if wanted.is_empty() { "''" } else { wanted }
        ));
    }
    Ok(())
}

async fn check_table(link: &mut Link, table: &TableName) -> Result<TableName, Error> {
    let schema = table.schema.to_ascii_lowercase();
    if matches!(schema.as_str(), "mysql" | "sys" | "information_schema" | "performance_schema" | "tidegate") || schema.starts_with('~') {
        return refuse(1044, b"42000", format!("tables of the schema {} cannot be migrated", table.schema));
    }
    let rows = link
        .texts(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&table.schema),
            literal(&table.table)
        ))
        .await?;
    let Some([schema, name, kind, engine]) = rows.first().map(Vec::as_slice) else {
        return refuse(1146, b"42S02", format!("Table '{table}' doesn't exist"));
    };
    match kind.as_str() {
        "BASE TABLE" => {}
        "VIEW" => return refuse(1347, b"HY000", format!("'{table}' is a view; migrate the tables under it")),
        other => return not_yet(format!("'{table}' is a {other}, which cannot be migrated")),
    }
    if !engine.eq_ignore_ascii_case("InnoDB") {
        return not_yet(format!(
            "'{table}' is stored in {engine}; only InnoDB tables can be migrated. The server's own ALTER TABLE {table} ENGINE=InnoDB converts it"
        ));
    }
    Ok(TableName::new(schema.clone(), name.clone()))
}

/// Refuses CONVERT TO CHARACTER SET where the server has turned the members of an ENUM or SET into other letters: it does so with members
/// outside of ASCII and from or to character sets of wide letters; its own ALTER keeps their numbers, or leaves none.
///
/// # Errors
/// The refusal.
pub fn check_members(table: &TableName, mapping: &Mapping, specification: &str) -> Result<(), Error> {
    let is_garbled = |pair: &&Pair| {
        let (source, shadow) = (&pair.source, &pair.shadow);
        let is_wide = |column: &Column| column.charset.starts_with("utf16") || matches!(column.charset.as_str(), "ucs2" | "utf32");
        let is_plain = source.column_type.is_ascii() && !is_wide(source) && !is_wide(shadow);
        matches!(source.data_type.as_str(), "enum" | "set")
            && source.data_type == shadow.data_type
            && !is_plain
            && source.column_type != shadow.column_type
    };
    let converts = Tokens::new(specification.as_bytes()).any(|token| token.is_word("CONVERT"));
    match mapping.pairs.iter().find(is_garbled) {
        Some(pair) if converts => not_yet(format!(
            "CONVERT TO CHARACTER SET makes {} of {table}'s column {}, which was {}: the server misreads its members. Leave CONVERT out, and give the \
             columns their character sets by MODIFY",
            pair.shadow.column_type, pair.source.name, pair.source.column_type
        )),
        _ => Ok(()),
    }
}

/// Refuses where the dictionary's columns are not what the log's row images hold.
///
/// # Errors
/// A [`Refusal`].
pub fn check_columns(table: &TableName, description: &Table) -> Result<(), Error> {
    if description.columns.is_empty() {
        return refuse(1146, b"42S02", format!("Table '{table}' doesn't exist"));
    }
    if description.columns.iter().any(|column| column.name == "FTS_DOC_ID") {
        return not_yet(format!(
            "{table} numbers its rows for FULLTEXT indexes by a column FTS_DOC_ID of its own; InnoDB takes such numbers in rising order only, and rows \
             that change meanwhile would come out of order. Give the ALTER to the server itself"
        ));
    }
    Ok(())
}

/// Refuses an ALTER that takes the table out of InnoDB: what is written in another engine cannot be taken back.
///
/// # Errors
/// A [`Refusal`], or the server.
pub async fn check_engine(link: &mut Link, names: &Names) -> Result<(), Error> {
    let sql = format!(
        "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&names.shadow.schema),
        literal(&names.shadow.table)
    );
    match link.cell(&sql).await? {
        Some(engine) if !engine.eq_ignore_ascii_case("InnoDB") => not_yet(format!(
            "the ALTER stores {} in {engine}; only InnoDB tables can be migrated. Give it to the server itself",
            names.source
        )),
        _ => Ok(()),
    }
}

/// Refuses where connections in UTC, which a TIMESTAMP key needs, would convert other values than the server's own ALTER.
///
/// # Errors
/// A [`Refusal`].
pub fn check_time_zone(table: &TableName, source: &Table, shadow: &Table, mapping: &Mapping) -> Result<(), Error> {
    let is_zoned = |column: &Column| column.data_type == "timestamp";
    let converted = mapping.pairs.iter().find(|pair| is_zoned(&pair.source) != is_zoned(&pair.shadow)).map(|pair| &pair.shadow);
    // An expression may ask for the time.
    let computed = shadow.columns.iter().find(|column| {
        let default = column.default.as_deref().unwrap_or_default().to_ascii_lowercase();
        let is_new = !mapping.pairs.iter().any(|pair| pair.shadow.name == column.name);
        column.is_generated() || is_new && (default.contains('(') || default.contains("current"))
    });
    match converted.or(computed).or_else(|| source.columns.iter().find(|column| column.is_generated())) {
        Some(column) => not_yet(format!(
            "rows of {table} are told apart by a TIMESTAMP, and the values of {} may depend on the time zone; this cannot be migrated yet. Change it \
             with the server's own ALTER, or add another UNIQUE key over NOT NULL columns first",
            column.name
        )),
        None => Ok(()),
    }
}
