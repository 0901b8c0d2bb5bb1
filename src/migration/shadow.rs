//! The tables and schemas that a migration creates: shadow, sentry, retired; where they live and how they go away again.
//!
//! Facts: F3/F4 (names sort after the source), F17 (schemas of their own keep constraint names), F18 (SHOW CREATE, not LIKE).

use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Token as Part, Tokenizer};

use super::Refusal;
use super::error::Error;
use crate::ids::{TableName, quote_identifier};
use crate::sql::token::{Kind, Token, Tokens};
use crate::upstream::{Link, Server, literal};

/// A column that only a sentry has: it tells a sentry from a retired table.
const SENTRY_COLUMN: &str = "tidegate_sentry";

/// How the names of the oracle's small tables in the retired table's schema begin.
pub const PROBE_PREFIX: &str = "tidegate_probe_";

/// The three names of one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The table being changed.
    pub source: TableName,
    /// The table being built.
    pub shadow: TableName,
    /// The table swapped out; before the swap the sentry's place.
    pub retired: TableName,
}

impl Names {
    /// The names for a source. `~` sorts after every ASCII letter (F4).
    pub fn of(source: &TableName) -> Self {
        let beside = |prefix: &str| TableName::new(side_schema(prefix, &source.schema), source.table.clone());
        Self { source: source.clone(), shadow: beside("~shadow_"), retired: beside("~retired_") }
    }

    /// The names for the swap after `swaps` swaps: each swap puts the table that it takes out where the other one came from.
    pub fn after_swaps(source: &TableName, swaps: u64) -> Self {
        let names = Self::of(source);
        if swaps.is_multiple_of(2) { names } else { names.flipped() }
    }

    /// The names for swapping back.
    pub fn flipped(self) -> Self {
        Self { source: self.source, shadow: self.retired, retired: self.shadow }
    }

    /// Shadow and retired names sort after the source, as the two-session protocol needs (F3, F4).
    pub fn sort_after_source(&self) -> bool {
        self.shadow.schema.as_bytes() > self.source.schema.as_bytes() && self.retired.schema.as_bytes() > self.source.schema.as_bytes()
    }
}

/// `~shadow_shop`; long names are cut and told apart by a number made of the whole name.
fn side_schema(prefix: &str, schema: &str) -> String {
    if schema.chars().count() <= 50 {
        return format!("{prefix}{schema}");
    }
    // FNV-1a: stable from process to process, which the standard library's hasher is not.
    let hash = schema.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let head: String = schema.chars().take(40).collect();
    format!("{prefix}{head}~{:08x}", hash as u32)
}

/// Which of the three tables exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The source.
    pub source: bool,
    /// The shadow.
    pub shadow: bool,
    /// The retired table.
    pub retired: bool,
    /// A sentry in the retired table's place.
    pub sentry: bool,
}

/// Looks which tables exist.
///
/// # Errors
/// As the server says.
pub async fn look(link: &mut Link, names: &Names) -> Result<Existing, Error> {
    let exists = |name: &TableName| {
        format!(
            "(SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {})",
            literal(&name.schema),
            literal(&name.table)
        )
    };
    let sql = format!(
        "SELECT {}, {}, {}, (SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND COLUMN_NAME = '{SENTRY_COLUMN}')",
        exists(&names.source),
        exists(&names.shadow),
        exists(&names.retired),
        literal(&names.retired.schema),
        literal(&names.retired.table)
    );
    let rows = link.texts(&sql).await?;
    let is = |at: usize| rows.first().and_then(|row| row.get(at)).is_some_and(|cell| cell != "0");
    Ok(Existing { source: is(0), shadow: is(1), retired: is(2) && !is(3), sentry: is(3) })
}

/// Creates the side schemas where they are missing. A migration of a neighbouring table that ends drops those that are
/// empty, so this is done again before each attempt.
///
/// # Errors
/// As the server says.
pub async fn create_schemas(link: &mut Link, names: &Names) -> Result<(), crate::upstream::Error> {
    for side in [&names.shadow, &names.retired] {
        let there =
            link.cell(&format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(&side.schema))).await?;
        if there.as_deref() != Some("1") {
            link.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quote_identifier(&side.schema))).await?;
        }
    }
    Ok(())
}

/// Creates an empty shadow from the source's CREATE TABLE, which may be changed first. What an earlier run left is dropped first.
///
/// # Errors
/// As the server says.
pub async fn create(server: &Server, names: &Names, edit: impl FnOnce(&str) -> String) -> Result<(), Error> {
    let link = &mut server.connect_engine().await?;
    // SHOW CREATE TABLE may hold what a strict session would not create again, such as zero dates, or such as there are not, as defaults.
    link.run("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES'").await?;
    create_schemas(link, names).await?;
    for side in [&names.shadow, &names.retired] {
        link.run(&format!("DROP TABLE IF EXISTS {}", side.quoted())).await?;
    }
    let rows = link.rows(&format!("SHOW CREATE TABLE {}", names.source.quoted())).await?;
    let Some([_, Some(statement), ..]) = rows.first().map(Vec::as_slice) else {
        return Err(Error::Changed(format!("{} has no CREATE TABLE statement; is it a view?", names.source)));
    };
    let Ok(statement) = std::str::from_utf8(statement) else {
        return create_alike(link, names, &String::from_utf8_lossy(statement)).await;
    };
    let create = relocate(&without_inherited_collations(&edit(statement)), &names.source.schema, &names.shadow)
        .ok_or_else(|| Error::Changed(format!("the CREATE TABLE statement of {} cannot be read", names.source)))?;
    // An unqualified REFERENCES would mean the shadow's schema; the default schema of the connection does not matter.
    link.run(&create).await?;
    Ok(())
}

/// For a table whose CREATE TABLE is no text: MariaDB shows the DEFAULT of a BINARY column as bare bytes. There, LIKE keeps the names of
/// constraints (F18), but no foreign keys.
async fn create_alike(link: &mut Link, names: &Names, shown: &str) -> Result<(), Error> {
    if shown.contains("FOREIGN KEY") {
        let reason =
            format!("{} has foreign keys and a DEFAULT of bytes that are no text; the server cannot create it again", names.source);
        return Err(Refusal::new(1235, *b"42000", reason).into());
    }
    Ok(link.run(&format!("CREATE TABLE {} LIKE {}", names.shadow.quoted(), names.source.quoted())).await?)
}

/// MySQL shows the collation of a column that takes it from the table, and would show its character set as well where it were given
/// in the column's own definition: the words that say no more than the table's default are left out.
fn without_inherited_collations(statement: &str) -> String {
    let tokens: Vec<Token<'_>> = Tokens::new(statement.as_bytes()).collect();
    let mut depth = 0_usize;
    let mut is_charset_given = false;
    let mut found = Vec::new();
    let mut default = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Mark(b',') if depth == 1 => is_charset_given = false,
            Kind::Word if depth == 1 && token.is_word("CHARACTER") => is_charset_given = true,
            Kind::Word if depth == 1 && token.is_word("COLLATE") && !is_charset_given => {
                found.extend(tokens.get(at + 1).map(|collation| (token.at, *collation)));
            }
            Kind::Word if depth == 0 && token.is_word("COLLATE") && default.is_none() => default = tokens.get(at + 2).copied(),
            _ => {}
        }
    }
    let Some(default) = default else { return statement.to_owned() };
    let mut result = String::new();
    let mut from = 0;
    for (start, collation) in found.into_iter().filter(|(_, collation)| collation.bytes == default.bytes) {
        result.push_str(statement.get(from..start).unwrap_or_default().trim_end());
        from = collation.at + collation.bytes.len();
    }
    result.push_str(statement.get(from..).unwrap_or_default());
    result
}

/// The source's CREATE TABLE with the shadow's name, and its unqualified REFERENCES pointing to the source's schema.
fn relocate(statement: &str, source_schema: &str, shadow: &TableName) -> Option<String> {
    let head = "CREATE TABLE ";
    let rest = statement.strip_prefix(head)?;
    let name_end = 1 + end_of_quoted(rest)?;
    let body = rest.get(name_end..)?;
    let mut result = format!("{head}{}", shadow.quoted());
    let mut at = 0;
    // Only words outside of strings and comments count; the tokenizer tells them.
    for (offset, token) in significant_tokens(body)? {
        if token.eq_ignore_ascii_case("REFERENCES") {
            let end = offset + token.len();
            let after = body.get(end..)?;
            let table = after.trim_start();
            let name_starts = end + (after.len() - table.len());
            let name_ends = name_starts + 1 + end_of_quoted(table)?;
            if !body.get(name_ends..)?.starts_with('.') {
                result.push_str(body.get(at..name_starts)?);
                result.push_str(&quote_identifier(source_schema));
                result.push('.');
                at = name_starts;
            }
        }
    }
    result.push_str(body.get(at..)?);
    Some(result)
}

/// Offset of the closing backtick of a name that begins the text.
pub fn end_of_quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'`') {
        return None;
    }
    let mut at = 1;
    while at < bytes.len() {
        if bytes.get(at) == Some(&b'`') {
            if bytes.get(at + 1) == Some(&b'`') {
                at += 2;
                continue;
            }
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Unquoted words with their byte offsets.
fn significant_tokens(text: &str) -> Option<Vec<(usize, String)>> {
    let dialect = MySqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).with_unescape(false).tokenize_with_location().ok()?;
    let line_starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    tokens
        .into_iter()
        .filter_map(|token| match token.token {
            Part::Word(word) if word.quote_style.is_none() => Some((token.span.start, word.value)),
            _ => None,
        })
        .map(|(start, word)| {
            let line = usize::try_from(start.line.checked_sub(1)?).ok()?;
            let column = usize::try_from(start.column.checked_sub(1)?).ok()?;
            let from = *line_starts.get(line)?;
            let (offset, _) = text.get(from..)?.char_indices().nth(column)?;
            Some((from + offset, word))
        })
        .collect()
}

/// Creates the sentry in the retired table's place.
///
/// # Errors
/// As the server says; 1050 where something else stands there, which must not be taken for a sentry and dropped.
pub async fn create_sentry(link: &mut Link, names: &Names) -> Result<(), Error> {
    Ok(link.run(&format!("CREATE TABLE {} ({SENTRY_COLUMN} INT PRIMARY KEY)", names.retired.quoted())).await?)
}

/// Drops what stands in the retired table's place if it is a sentry, and only then.
///
/// # Errors
/// As the server says.
pub async fn drop_sentry(link: &mut Link, names: &Names) -> Result<(), Error> {
    if look(link, names).await?.sentry {
        link.run(&format!("DROP TABLE IF EXISTS {}", names.retired.quoted())).await?;
    }
    Ok(())
}

/// Undoes everything before a swap: drops shadow and sentry, and the side schemas where nothing else lives in them.
///
/// # Errors
/// As the server says. Never drops anything where the source does not exist: then a swap may have happened.
pub async fn undo(link: &mut Link, names: &Names) -> Result<(), Error> {
    let existing = look(link, names).await?;
    if !existing.source {
        return Err(Error::Stuck(
            format!("{} does not exist, so nothing was dropped", names.source),
            format!(
                "look into the schemas {} and {}, bring the table back by RENAME TABLE, then RESUME",
                names.shadow.schema, names.retired.schema
            ),
        ));
    }
    link.run(&format!("DROP TABLE IF EXISTS {}", names.shadow.quoted())).await.or_else(no_such_schema)?;
    if existing.sentry {
        link.run(&format!("DROP TABLE IF EXISTS {}", names.retired.quoted())).await?;
    }
    drop_probes(link, names).await?;
    drop_empty_schemas(link, names).await
}

/// Drops what questions to the server's own ALTER have left, where a question was cut off.
async fn drop_probes(link: &mut Link, names: &Names) -> Result<(), Error> {
    let probes = link
        .texts(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ({}, {}) AND TABLE_NAME LIKE {}",
            literal(&names.shadow.schema),
            literal(&names.retired.schema),
            literal(&format!("{}%", PROBE_PREFIX.replace('_', "\\_")))
        ))
        .await?;
    for probe in probes {
        if let [schema, table] = probe.as_slice() {
            link.run(&format!("DROP TABLE IF EXISTS {}", TableName::new(schema.clone(), table.clone()).quoted())).await?;
        }
    }
    Ok(())
}

/// Drops the empty copy on which an ALTER in place was proved.
///
/// # Errors
/// As the server says.
pub async fn drop_copy(link: &mut Link, names: &Names) -> Result<(), Error> {
    link.run(&format!("DROP TABLE IF EXISTS {}", names.shadow.quoted())).await.or_else(no_such_schema)?;
    drop_empty_schemas(link, names).await
}

/// Drops the retired table after the swap.
///
/// # Errors
/// As the server says.
pub async fn clean_up(link: &mut Link, names: &Names) -> Result<(), Error> {
    let existing = look(link, names).await?;
    if existing.source && !existing.shadow {
        link.run(&format!("DROP TABLE IF EXISTS {}", names.retired.quoted())).await.or_else(no_such_schema)?;
    }
    // They were made before the first swap, whatever the direction of the last one.
    drop_probes(link, &Names::of(&names.source)).await?;
    drop_empty_schemas(link, names).await
}

fn no_such_schema(error: crate::upstream::Error) -> Result<(), crate::upstream::Error> {
    if error.code() == Some(1049) { Ok(()) } else { Err(error) }
}

async fn drop_empty_schemas(link: &mut Link, names: &Names) -> Result<(), Error> {
    for side in [&names.shadow, &names.retired] {
        let left =
            link.cell(&format!("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}", literal(&side.schema))).await?;
        if left.as_deref() == Some("0") {
            link.run(&format!("DROP DATABASE IF EXISTS {}", quote_identifier(&side.schema))).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_names_sort_after_and_fit() {
        let names = Names::of(&TableName::new("shop", "orders"));
        assert_eq!(names.shadow, TableName::new("~shadow_shop", "orders"));
        assert!(names.sort_after_source());
        let long = Names::of(&TableName::new("x".repeat(64), "t"));
        assert!(long.shadow.schema.len() <= 64 && long.retired.schema.len() <= 64);
        let other = Names::of(&TableName::new(format!("{}y", "x".repeat(63)), "t"));
        assert_ne!(long.shadow.schema, other.shadow.schema);
        assert!(!Names::of(&TableName::new("émoi", "t")).sort_after_source());
    }

    #[test]
    fn collations_that_come_from_the_table_are_not_given_to_columns() {
        let statement = "CREATE TABLE `t` (\n  `a` varchar(9) COLLATE utf8mb4_bin DEFAULT 'x COLLATE utf8mb4_bin',\n  `b` varchar(9) CHARACTER SET latin1 COLLATE latin1_bin,\n  \
                         `c` varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,\n  `d` int GENERATED ALWAYS AS ((`a` collate utf8mb4_bin)) VIRTUAL\n) ENGINE=InnoDB \
                         DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
        assert_eq!(without_inherited_collations(statement), statement.replacen(" COLLATE utf8mb4_bin DEFAULT", " DEFAULT", 1));
        assert_eq!(without_inherited_collations("CREATE TABLE `t` (`a` int)"), "CREATE TABLE `t` (`a` int)");
    }

    #[test]
    fn references_point_to_the_schema_of_the_source() {
        let statement = "CREATE TABLE `t``x` (\n  `id` int COMMENT 'REFERENCES `no`',\n  `é` int,\n  CONSTRAINT `a` FOREIGN KEY (`id`) REFERENCES `p``q` (`id`),\n  \
                         CONSTRAINT `b` FOREIGN KEY (`id`) REFERENCES `other`.`p` (`id`)\n) ENGINE=InnoDB";
        let relocated = relocate(statement, "db`1", &TableName::new("~shadow_db`1", "t`x")).unwrap();
        assert_eq!(
            relocated,
            "CREATE TABLE `~shadow_db``1`.`t``x` (\n  `id` int COMMENT 'REFERENCES `no`',\n  `é` int,\n  CONSTRAINT `a` FOREIGN KEY (`id`) REFERENCES \
             `db``1`.`p``q` (`id`),\n  CONSTRAINT `b` FOREIGN KEY (`id`) REFERENCES `other`.`p` (`id`)\n) ENGINE=InnoDB"
        );
    }
}
