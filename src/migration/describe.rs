//! Reads tables out of the server's dictionary.

use super::error::Error;
use crate::ids::TableName;
use crate::schema::table::{Column, Index, Part, Table};
use crate::sql::matcher::Matcher;
use crate::upstream::{Link, literal};

/// The server's error for a text that does not fit into the dictionary's own character set.
const CANNOT_CONVERT: u16 = 3854;

/// Reads a table's columns and indexes.
///
/// # Errors
/// As the server says.
pub async fn table(link: &mut Link, name: &TableName) -> Result<Table, Error> {
    let this = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&name.schema), literal(&name.table));
    let columns = link
        .rows(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION, COLUMN_DEFAULT \
             FROM information_schema.COLUMNS WHERE {this} ORDER BY ORDINAL_POSITION"
        ))
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row;
            let default = row.pop().flatten().map(|text| String::from_utf8_lossy(&text).into_owned());
            let mut cells = row.into_iter();
            let mut next = || cells.next().flatten().map_or_else(String::new, |text| String::from_utf8_lossy(&text).into_owned());
            Column {
                name: next(),
                data_type: next(),
                column_type: next(),
                is_nullable: next() == "YES",
                charset: next(),
                collation: next(),
                extra: next(),
                generation: next(),
                default,
            }
        })
        .collect();
    // The dictionary's view does not tell the indexes' order, by which InnoDB chooses the clustered one.
    let parts = match link.texts(&format!("SHOW INDEX FROM {}", name.quoted())).await {
        Err(error) if matches!(error.code(), Some(1146 | 1049)) => Vec::new(),
        parts => parts?,
    };
    let mut indexes: Vec<Index> = Vec::new();
    for row in parts {
        let [_, non_unique, index, _, column, _, _, sub_part, _, nullable, ..] = row.as_slice() else { continue };
        let part =
            Part { column: (!column.is_empty()).then(|| column.clone()), has_prefix: !sub_part.is_empty(), is_nullable: nullable == "YES" };
        match indexes.last_mut().filter(|last| last.name == *index) {
            Some(last) => last.parts.push(part),
            None => indexes.push(Index { name: index.clone(), is_unique: non_unique == "0", parts: vec![part] }),
        }
    }
    Ok(Table { columns, indexes })
}

/// All names by which a statement can reach a table: its own, views, stored programs, tables whose triggers mention it,
/// and tables on either side of foreign keys (writing to those locks it too, and a cut-over locks them).
///
/// # Errors
/// As the server says.
pub async fn hot_names(link: &mut Link, name: &TableName) -> Result<Vec<String>, Error> {
    let mut names = vec![name.table.clone()];
    let parents = link
        .texts(&format!(
            "SELECT DISTINCT REFERENCED_TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
             AND REFERENCED_TABLE_NAME IS NOT NULL",
            literal(&name.schema),
            literal(&name.table)
        ))
        .await?;
    add(&mut names, parents);
    let children = link
        .texts(&format!(
            "SELECT DISTINCT TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = {} AND REFERENCED_TABLE_NAME = {}",
            literal(&name.schema),
            literal(&name.table)
        ))
        .await?;
    add(&mut names, children);
    add(&mut names, tables_of_triggers(link, name).await?);
    let mut others = Vec::new();
    for (what, schema, name, text) in [
        ("VIEWS", "TABLE_SCHEMA", "TABLE_NAME", "VIEW_DEFINITION"),
        ("TRIGGERS", "TRIGGER_SCHEMA", "EVENT_OBJECT_TABLE", "ACTION_STATEMENT"),
        ("ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME", "ROUTINE_DEFINITION"),
    ] {
        let functions = if what == "ROUTINES" { " AND ROUTINE_TYPE = 'FUNCTION'" } else { "" };
        let from = format!(
            "FROM information_schema.{what} WHERE {schema} NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema'){functions}"
        );
        match link.texts(&format!("SELECT {name}, {text} {from}")).await {
            Ok(rows) => others.extend(rows),
            // MySQL cannot show a text with four-byte characters: what cannot be read may name the table.
            Err(error) if error.code() == Some(CANNOT_CONVERT) => {
                for row in link.texts(&format!("SELECT DISTINCT {schema}, {name} {from}")).await? {
                    let [in_schema, called] = row.as_slice() else { continue };
                    let this =
                        format!("SELECT {name}, {text} {from} AND {schema} = {} AND {name} = {}", literal(in_schema), literal(called));
                    match link.texts(&this).await {
                        Ok(rows) => others.extend(rows),
                        Err(error) if error.code() == Some(CANNOT_CONVERT) => add(&mut names, vec![vec![called.clone()]]),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    // Views on views, functions in views, triggers that call functions: until nothing new turns up.
    let mut known = 0;
    while known < names.len() {
        known = names.len();
        let named = Matcher::new(&[&names]);
        let (found, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|row| row.get(1).is_some_and(|text| named.touched(text.as_bytes()) != 0));
        others = rest;
        add(&mut names, found);
    }
    Ok(names)
}

/// The tables that the table's own triggers mention, themselves or through stored programs: who locks the table locks them too.
///
/// # Errors
/// As the server says.
pub async fn tables_of_triggers(link: &mut Link, name: &TableName) -> Result<Vec<Vec<String>>, Error> {
    let sql = format!(
        "SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {} AND EVENT_OBJECT_TABLE = {}",
        literal(&name.schema),
        literal(&name.table)
    );
    let mut texts: Vec<String> = match link.texts(&sql).await {
        Ok(rows) => rows.into_iter().flatten().collect(),
        Err(error) if error.code() == Some(CANNOT_CONVERT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let named = |name: &String, texts: &[String]| {
        let one = Matcher::new(&[std::slice::from_ref(name)]);
        texts.iter().any(|text| one.touched(text.as_bytes()) != 0)
    };
    let own = "NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')";
    let sql = format!("SELECT ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA {own}");
    let mut routines = match link.texts(&sql).await {
        Err(error) if error.code() == Some(CANNOT_CONVERT) => Vec::new(),
        other => other?,
    };
    let mut known = 0;
    while known < texts.len() {
        known = texts.len();
        let (found, rest): (Vec<_>, Vec<_>) = routines.into_iter().partition(|row| row.first().is_some_and(|name| named(name, &texts)));
        routines = rest;
        texts.extend(found.into_iter().filter_map(|row| row.into_iter().nth(1)));
    }
    let tables = link.texts(&format!("SELECT DISTINCT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA {own}")).await?;
    Ok(tables.into_iter().filter(|row| row.first().is_some_and(|name| named(name, &texts))).collect())
}

fn add(names: &mut Vec<String>, rows: Vec<Vec<String>>) {
    for name in rows.into_iter().filter_map(|row| row.into_iter().next()) {
        if !name.is_empty() && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
}
