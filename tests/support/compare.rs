//! Compares a migrated table with a twin that the server itself altered.

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// The schema in which twins live.
pub const TWIN_SCHEMA: &str = "twin";

/// `SHOW CREATE TABLE` without the counter of AUTO_INCREMENT.
pub async fn definition(conn: &mut Conn, table: &str) -> Result<String> {
    let row: Option<(String, String)> = conn.query_first(format!("SHOW CREATE TABLE {table}")).await?;
    let (_, text) = row.with_context(|| format!("{table} has no definition"))?;
    Ok(without_counter(&text))
}

fn without_counter(text: &str) -> String {
    match text.split_once(" AUTO_INCREMENT=") {
        Some((before, rest)) => format!("{before}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => text.to_owned(),
    }
}

/// Creates the twin of `schema.table` as `twin.table`, with its rows where wanted. The names of constraints stay.
pub async fn make_twin(conn: &mut Conn, schema: &str, table: &str, with_rows: bool) -> Result<String> {
    let twin = format!("`{TWIN_SCHEMA}`.`{table}`");
    let row: Option<(String, String)> = conn.query_first(format!("SHOW CREATE TABLE `{schema}`.`{table}`")).await?;
    let (_, text) = row.with_context(|| format!("{schema}.{table} is not there"))?;
    conn.query_drop(format!("CREATE DATABASE IF NOT EXISTS `{TWIN_SCHEMA}`")).await?;
    conn.query_drop(format!("DROP TABLE IF EXISTS {twin}")).await?;
    conn.query_drop(format!("USE `{TWIN_SCHEMA}`")).await?;
    conn.query_drop(text).await?;
    if with_rows {
        conn.query_drop(format!("INSERT INTO {twin} SELECT * FROM `{schema}`.`{table}`")).await?;
    }
    Ok(twin)
}

/// The same with its rows, where generated columns forbid `SELECT *`.
pub async fn make_twin_by_columns(conn: &mut Conn, schema: &str, table: &str) -> Result<String> {
    let twin = make_twin(conn, schema, table, false).await?;
    let columns: Vec<String> = conn
        .exec(
            "SELECT CONCAT('`', column_name, '`') FROM information_schema.columns WHERE table_schema = ? AND table_name = ? \
             AND extra NOT LIKE '%GENERATED%' OR table_schema = ? AND table_name = ? AND extra LIKE 'DEFAULT_GENERATED%' ORDER BY ordinal_position",
            (schema, table, schema, table),
        )
        .await?;
    let columns = columns.join(", ");
    conn.query_drop(format!("INSERT INTO {twin} ({columns}) SELECT {columns} FROM `{schema}`.`{table}`")).await?;
    Ok(twin)
}

/// Lets the server alter the twin; gives the server's own refusal, if it refuses.
pub async fn alter_twin(conn: &mut Conn, twin: &str, specification: &str) -> Result<Option<(u16, String)>> {
    match conn.query_drop(format!("ALTER TABLE {twin} {specification}")).await {
        Ok(()) => Ok(None),
        Err(mysql_async::Error::Server(refusal)) => Ok(Some((refusal.code, refusal.message))),
        Err(other) => Err(other.into()),
    }
}

/// Fails where the two definitions differ; the message shows both.
pub async fn assert_same_definition(conn: &mut Conn, table: &str, twin: &str) -> Result<()> {
    let (ours, theirs) = (definition(conn, table).await?, definition(conn, twin).await?);
    ensure!(ours == theirs, "the definition differs from what the server's own ALTER makes.\nmigrated:\n{ours}\nserver's own:\n{theirs}");
    Ok(())
}

/// Fails where the two tables do not hold the same rows; the server compares every column of every row.
pub async fn assert_same_rows(conn: &mut Conn, table: (&str, &str), twin: (&str, &str)) -> Result<()> {
    let columns = columns(conn, table).await?;
    assert_same_columns(conn, table, twin, &columns).await
}

/// Fails where the two tables do not hold the same rows, as far as both have the columns.
pub async fn assert_same_rows_of_common_columns(conn: &mut Conn, table: (&str, &str), other: (&str, &str)) -> Result<()> {
    let theirs = columns(conn, other).await?;
    let common: Vec<Column> =
        columns(conn, table).await?.into_iter().filter(|column| theirs.iter().any(|their| their.0 == column.0)).collect();
    ensure!(common.len() > 1, "the tables have no columns in common: {common:?}");
    assert_same_columns(conn, table, other, &common).await
}

/// A column's name, its collation, and `PRI` where it belongs to the primary key.
type Column = (String, Option<String>, String);

async fn columns(conn: &mut Conn, table: (&str, &str)) -> Result<Vec<Column>> {
    Ok(conn
        .exec(
            "SELECT column_name AS a, collation_name AS b, column_key AS c FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            table,
        )
        .await?)
}

async fn assert_same_columns(conn: &mut Conn, table: (&str, &str), twin: (&str, &str), columns: &[Column]) -> Result<()> {
    let name = |(schema, table): (&str, &str)| format!("`{schema}`.`{table}`");
    let key: Vec<&str> = columns.iter().filter(|column| column.2 == "PRI").map(|column| column.0.as_str()).collect();
    ensure!(!key.is_empty(), "{} has no primary key to compare by", name(table));
    let on = key.iter().map(|column| format!("a.`{column}` = b.`{column}`")).collect::<Vec<_>>().join(" AND ");
    let same = columns
        .iter()
        .map(|(column, collation, _)| match collation {
            // A collation may call different strings equal; their bytes may not differ.
            Some(_) => format!("CAST(a.`{column}` AS BINARY) <=> CAST(b.`{column}` AS BINARY)"),
            None => format!("a.`{column}` <=> b.`{column}`"),
        })
        .collect::<Vec<_>>()
        .join(" AND ");
    let (a, b) = (name(table), name(twin));
    let counts: Option<(u64, u64, u64)> = conn
        .query_first(format!(
            "SELECT (SELECT COUNT(*) FROM {a}), (SELECT COUNT(*) FROM {b}), (SELECT COUNT(*) FROM {a} a JOIN {b} b ON {on} WHERE {same})"
        ))
        .await?;
    let (ours, theirs, equal) = counts.context("no answer to the comparison")?;
    ensure!(ours == theirs && ours == equal, "{a} has {ours} rows, {b} has {theirs}, and {equal} are equal in both");
    Ok(())
}

/// Names of what a migration must not leave behind: side schemas with their tables, and triggers.
pub async fn leftovers(conn: &mut Conn) -> Result<Vec<String>> {
    Ok(conn
        .query(
            "SELECT CONCAT('table ', table_schema, '.', table_name) AS name FROM information_schema.tables WHERE table_schema LIKE '~%' \
             UNION ALL SELECT CONCAT('schema ', schema_name) FROM information_schema.schemata WHERE schema_name LIKE '~%' \
             UNION ALL SELECT CONCAT('table ', table_schema, '.', table_name) FROM information_schema.tables \
             WHERE table_schema NOT IN ('mysql', 'sys', 'tidegate', 'performance_schema', 'information_schema') \
             AND (table_name LIKE '%sentry%' OR table_name LIKE '~%')",
        )
        .await?)
}

/// What the engine's account is doing on the server right now, beside sleeping and reading the binlog.
pub async fn engine_activity(conn: &mut Conn) -> Result<Vec<String>> {
    Ok(conn
        .query(
            "SELECT CONCAT(id, ' ', command, ' ', COALESCE(state, ''), ' ', COALESCE(info, '')) AS what FROM information_schema.processlist \
             WHERE user = 'tidegate' AND command NOT IN ('Sleep', 'Binlog Dump', 'Binlog Dump GTID', 'Daemon')",
        )
        .await?)
}

#[cfg(test)]
mod tests {
    use super::without_counter;

    #[test]
    fn only_the_counter_is_left_out_of_a_definition() {
        assert_eq!(
            without_counter("CREATE TABLE `t` (\n) ENGINE=InnoDB AUTO_INCREMENT=123 DEFAULT CHARSET=latin1"),
            "CREATE TABLE `t` (\n) ENGINE=InnoDB DEFAULT CHARSET=latin1"
        );
        assert_eq!(without_counter("CREATE TABLE `t` (\n) ENGINE=InnoDB"), "CREATE TABLE `t` (\n) ENGINE=InnoDB");
    }
}
