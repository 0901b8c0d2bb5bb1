//! Everything that can be seen of a schema: definitions as the server shows them, the dictionary's rows, every row's bytes.

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

/// Labelled texts; the schema's own name stands as `THIS`.
pub type Picture = Vec<(String, String)>;

/// What SHOW CREATE TABLE does not say: a table of the dictionary, columns, an order.
const DICTIONARY: &[(&str, &str, &str, &str)] = &[
    (
        "TRIGGERS",
        "TRIGGER_SCHEMA",
        "TRIGGER_NAME, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_ORDER, ACTION_STATEMENT, ACTION_TIMING, SQL_MODE, DEFINER, \
         CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION",
        "EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER",
    ),
    ("TABLES", "TABLE_SCHEMA", "TABLE_NAME, TABLE_TYPE, ENGINE, ROW_FORMAT, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT", "TABLE_NAME"),
];

/// Looks at a schema.
pub async fn of(conn: &mut Conn, schema: &str) -> Result<Picture> {
    conn.query_drop("SET time_zone = '+00:00', sql_mode = ''").await?;
    // MySQL keeps figures for a day; MariaDB has no such setting.
    let _ = conn.query_drop("SET SESSION information_schema_stats_expiry = 0").await;
    let mut picture = Vec::new();
    let tables: Vec<(String, String)> = conn
        .exec("SELECT TABLE_NAME AS name, TABLE_TYPE AS type FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY 1", (schema,))
        .await?;
    for (table, kind) in &tables {
        let text = definition(conn, schema, table).await?;
        picture.push((format!("SHOW CREATE TABLE {table}"), text.replace(schema, "THIS")));
        if kind == "BASE TABLE" {
            let name = format!("`{schema}`.`{}`", table.replace('`', "``"));
            // Rows and indexes may be at odds where neither shows.
            let checked: Vec<Row> = conn.query(format!("CHECK TABLE {name} EXTENDED")).await?;
            picture.extend(checked.iter().map(|row| (format!("CHECK TABLE {table}"), cell(row, 3).replace(schema, "THIS"))));
            rows(conn, schema, table, text.contains("PARTITION BY"), &mut picture)
                .await
                .with_context(|| format!("reading the rows of {table}"))?;
        }
    }
    for (name, own, columns, order) in DICTIONARY {
        let sql = format!("SELECT {columns} FROM information_schema.{name} WHERE {own} = '{schema}' ORDER BY {order}");
        let rows: Vec<Row> = conn.query(sql).await.with_context(|| format!("reading {name}"))?;
        for row in rows {
            picture.push((format!("{name} {}", cell(&row, 0)), line(&row).replace(schema, "THIS")));
        }
    }
    Ok(picture)
}

/// A table as SHOW CREATE TABLE has it.
pub async fn definition(conn: &mut Conn, schema: &str, table: &str) -> Result<String> {
    let row: Option<Row> = conn.query_first(format!("SHOW CREATE TABLE `{schema}`.`{}`", table.replace('`', "``"))).await?;
    Ok(row.as_ref().and_then(|row| row.as_ref(1)).map_or_else(String::new, show))
}

/// The server's own ALTER may move an AUTO_INCREMENT counter that nobody has moved: MariaDB's copy by one, MySQL's in place where the numbers of
/// a partitioned table are used up. One that is as it was `before` is right as well.
pub fn forgive_counters(ours: &mut Picture, own: &Picture, before: &str) {
    let Some(was) = counter(before) else { return };
    for (label, text) in ours.iter_mut().filter(|(label, _)| label.starts_with("SHOW CREATE TABLE")) {
        let servers = own.iter().find(|(other, _)| other == label).and_then(|(_, text)| counter(text));
        if let (Some(mine), Some(servers)) = (counter(text), servers)
            && mine == was
        {
            *text = text.replacen(&format!(" AUTO_INCREMENT={mine} "), &format!(" AUTO_INCREMENT={servers} "), 1);
        }
    }
}

/// The counter among the options of a CREATE TABLE.
fn counter(create: &str) -> Option<u64> {
    let options = create.rsplit_once("\n) ")?.1.lines().next()?;
    options.split_once(" AUTO_INCREMENT=")?.1.split(' ').next()?.parse().ok()
}

/// Every row of a table as text that holds every byte of it, in an order of the texts; and how many are in each partition.
async fn rows(conn: &mut Conn, schema: &str, table: &str, is_partitioned: bool, picture: &mut Picture) -> Result<()> {
    let name = format!("`{schema}`.`{}`", table.replace('`', "``"));
    let columns: Vec<(String, String)> = conn
        .exec(
            "SELECT COLUMN_NAME AS name, DATA_TYPE AS type FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
             ORDER BY ORDINAL_POSITION",
            (schema, table),
        )
        .await?;
    let expressions: Vec<String> = columns.iter().map(|(column, kind)| exact(column, kind)).collect();
    let found: Vec<Row> = conn.query(format!("SELECT {} FROM {name}", expressions.join(", "))).await?;
    let mut lines: Vec<String> = found.iter().map(line).collect();
    lines.sort();
    picture.extend(lines.into_iter().map(|line| (format!("row of {table}"), line)));
    if !is_partitioned {
        return Ok(());
    }
    let partitions: Vec<String> = conn
        .exec(
            "SELECT DISTINCT PARTITION_NAME AS name FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
             AND PARTITION_NAME IS NOT NULL ORDER BY 1",
            (schema, table),
        )
        .await?;
    for partition in partitions {
        let count: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM {name} PARTITION (`{partition}`)")).await?;
        picture.push((format!("rows of {table} in partition {partition}"), format!("{count:?}")));
    }
    Ok(())
}

/// A column's value without any loss; long ones as their length and digest.
fn exact(column: &str, kind: &str) -> String {
    let name = format!("`{}`", column.replace('`', "``"));
    match kind.to_lowercase().as_str() {
        "enum" | "set" => format!("CONCAT({name} + 0, ':', HEX({name}))"),
        "float" => format!("({name} + 0.0e0)"),
        "double" => name,
        "json" => format!("CAST({name} AS CHAR)"),
        kind if kind.contains("char") || kind.contains("text") || kind.contains("blob") || kind.contains("binary") => {
            format!("IF(LENGTH({name}) > 300, CONCAT(LENGTH({name}), ':', SHA2({name}, 256)), HEX({name}))")
        }
        "bit" | "vector" | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geomcollection" | "geometrycollection" => {
            format!("HEX({name})")
        }
        _ => format!("CAST({name} AS CHAR)"),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        // MariaDB shows defaults of BINARY columns as bare bytes.
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap_or_else(|_| bytes.escape_ascii().to_string()),
        other => other.as_sql(true),
    }
}

fn cell(row: &Row, at: usize) -> String {
    row.as_ref(at).map_or_else(String::new, show)
}

/// A row of a result in one line.
pub fn line(row: &Row) -> String {
    (0..row.len()).map(|at| cell(row, at)).collect::<Vec<_>>().join(" | ")
}

/// What one picture has and the other does not, in a few lines.
pub fn differences(ours: &Picture, own: &Picture) -> Vec<String> {
    let lacks = |side: &str, these: &Picture, those: &Picture| {
        let mut left = those.clone();
        let mut found = Vec::new();
        for entry in these {
            match left.iter().position(|other| other == entry) {
                Some(at) => drop(left.swap_remove(at)),
                None => found.push(format!("{side} {}: {}", entry.0, entry.1.chars().take(1500).collect::<String>())),
            }
        }
        found
    };
    let mut found = lacks("migrated:", ours, own);
    found.extend(lacks("server's:", own, ours));
    let more = found.len().saturating_sub(14);
    found.truncate(14);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}
