//! Reads tables out of the server's dictionary.

use super::error::Error;
use crate::ids::TableName;
use crate::schema::table::{Column, Index, Part, Table};
use crate::upstream::{Link, literal};

/// Reads a table's columns and indexes.
///
/// # Errors
/// As the server says.
pub async fn table(link: &mut Link, name: &TableName) -> Result<Table, Error> {
    let this = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&name.schema), literal(&name.table));
    let columns = link
        .texts(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION, COLUMN_DEFAULT IS NOT NULL \
             FROM information_schema.COLUMNS WHERE {this} ORDER BY ORDINAL_POSITION"
        ))
        .await?
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter();
            let mut next = || cells.next().unwrap_or_default();
            Column {
                name: next(),
                data_type: next(),
                column_type: next(),
                is_nullable: next() == "YES",
                charset: next(),
                collation: next(),
                extra: next(),
                generation: next(),
                has_default: next() == "1",
            }
        })
        .collect();
    let parts = link
        .texts(&format!(
            "SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, NULLABLE FROM information_schema.STATISTICS WHERE {this} \
             ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    let mut indexes: Vec<Index> = Vec::new();
    for row in parts {
        let [index, non_unique, column, sub_part, nullable] = row.as_slice() else { continue };
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
/// and tables that its foreign keys lead to (writing to those locks it too).
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
    // Views on views, functions in views, triggers that call functions: until nothing new turns up.
    let mut looked = 0;
    while looked < names.len() && names.len() < 200 {
        let Some(known) = names.get(looked).cloned() else { break };
        looked += 1;
        let like = literal(&format!("%{}%", known.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
        for sql in [
            format!("SELECT TABLE_NAME FROM information_schema.VIEWS WHERE VIEW_DEFINITION LIKE {like}"),
            format!("SELECT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE ACTION_STATEMENT LIKE {like}"),
            format!(
                "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'FUNCTION' AND ROUTINE_DEFINITION LIKE {like}"
            ),
        ] {
            let found = link.texts(&sql).await?;
            add(&mut names, found);
        }
    }
    Ok(names)
}

fn add(names: &mut Vec<String>, rows: Vec<Vec<String>>) {
    for name in rows.into_iter().filter_map(|row| row.into_iter().next()) {
        if !name.is_empty() && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
}
