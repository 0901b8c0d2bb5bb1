//! Secondary indexes that are left off the shadow while it is filled, and built afterwards by the server's own sorted build,
//! which is several times faster than inserting row by row.
//!
//! Only plain non-unique indexes and FULLTEXT ones, and plain ones only where there is no other kind beside them: the order of a
//! table's indexes is part of its definition, and taking all of them off and adding all of them again in their order keeps it.
//! None over a virtual column or an expression: on both servers such an index is corrupt (CHECK TABLE … EXTENDED) where rows change while it is built.
//! FULLTEXT ones always: they stand last anyway, and where several copy workers fill one at once it lacks rows, on MySQL 9.7.

use super::error::Error;
use super::job::Job;
use super::shadow::{Names, end_of_quoted};
use crate::ids::{MigrationId, quote_identifier};
use crate::upstream::{self, Link};

/// How often a build is tried where too many changes arrive while it runs.
const TRIES: usize = 3;

/// The server's error for that: innodb_online_alter_log_max_size was reached.
const LOG_TOO_BIG: u16 = 1799;

/// One index as SHOW CREATE TABLE defines it: `KEY name (…) …`, `FULLTEXT KEY name (…) …`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Definition {
    name: String,
    text: String,
}

/// A comment by which the tail knows the engine's own DDL in the log.
pub fn mark(id: MigrationId) -> String {
    format!("/* tidegate {id} */")
}

/// Takes the indexes off an empty shadow; gives their definitions, one in each line, to be stored.
///
/// # Errors
/// As the server says.
pub async fn take_off(link: &mut Link, names: &Names, id: MigrationId) -> Result<String, upstream::Error> {
    let rows = link.texts(&format!("SHOW CREATE TABLE {}", names.shadow.quoted())).await?;
    let statement = rows.first().and_then(|row| row.get(1)).map_or("", String::as_str);
    if statement.lines().any(|line| line.trim_start().starts_with("FULLTEXT ")) {
        // MariaDB: where a column was added in place, a FULLTEXT index that is dropped and built again finds nothing.
        link.run(&format!("ALTER TABLE {} {} FORCE, ALGORITHM=COPY", mark(id), names.shadow.quoted())).await?;
    } else if statement.contains(") VIRTUAL") || statement.contains("((") {
        // MySQL 9.7: where a virtual column was moved in place, deletes leave entries in its index.
        link.run(&format!("ALTER TABLE {} {} FORCE", mark(id), names.shadow.quoted())).await?;
    }
    let definitions = deferrable(statement);
    if definitions.is_empty() {
        return Ok(String::new());
    }
    let drops: Vec<String> = definitions.iter().map(|definition| format!("DROP KEY {}", quote_identifier(&definition.name))).collect();
    link.run(&format!("ALTER TABLE {} {} {}", mark(id), names.shadow.quoted(), drops.join(", "))).await?;
    Ok(definitions.into_iter().map(|definition| definition.text).collect::<Vec<_>>().join("\n"))
}

/// Builds those of the stored definitions that the shadow lacks.
///
/// # Errors
/// As the server says; [`Error::Stuck`] where the application writes faster than an index can be built.
pub async fn build(job: &Job, definitions: &str) -> Result<(), Error> {
    if definitions.is_empty() {
        return Ok(());
    }
    // MariaDB judges defaults anew with each DDL: what the ALTER has left stays.
    let mut link = job.server.with_any_date().connect_engine().await?;
    for _ in 0..TRIES {
        let there = super::describe::table(&mut link, &job.names.shadow).await?;
        let missing: Vec<String> = definitions
            .lines()
            .filter_map(parse)
            .filter(|definition| !there.indexes.iter().any(|index| index.name == definition.name))
            .map(|definition| format!("ADD {}", definition.text))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        job.board.set_note(format!("building {} indexes", missing.len()));
        crate::failpoints::reach("copy.indexes").await?;
        match add(job, &mut link, missing).await {
            Ok(()) => {
                job.board.set_note("");
                return Ok(());
            }
            Err(error) if error.code() == Some(LOG_TOO_BIG) || error.is_lock_conflict() => {
                tracing::info!(migration = %job.id, table = %job.names.source, %error, "the indexes could not be built; trying again");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Stuck(
        format!("the application changes {} faster than its indexes can be built", job.names.source),
        "SET GLOBAL innodb_online_alter_log_max_size to a larger value, then RESUME".into(),
    ))
}

/// Adds all plain indexes at once, and FULLTEXT ones one by one, as the server wants them.
async fn add(job: &Job, link: &mut Link, additions: Vec<String>) -> Result<(), upstream::Error> {
    let (texts, plain): (Vec<String>, Vec<String>) = additions.into_iter().partition(|addition| addition.starts_with("ADD FULLTEXT"));
    let plain = Some(plain.join(", ")).filter(|plain| !plain.is_empty());
    for addition in plain.into_iter().chain(texts) {
        link.run(&format!("ALTER TABLE {} {} {addition}", mark(job.id), job.names.shadow.quoted())).await?;
    }
    Ok(())
}

/// The plain and FULLTEXT indexes of a CREATE TABLE statement, in order; only FULLTEXT ones where an index of another kind stands among
/// them, where one is over what is computed, or where an AUTO_INCREMENT column has no other index.
fn deferrable(statement: &str) -> Vec<Definition> {
    let is_virtual = |line: &&str| line.starts_with('`') && line.contains(" GENERATED ALWAYS AS ") && line.contains(") VIRTUAL");
    let columns = statement.lines().map(str::trim).filter(is_virtual);
    let computed: Vec<&str> = columns.filter_map(|line| line.get(..=end_of_quoted(line)?)).collect();
    let mut definitions = Vec::new();
    let mut leading = Vec::new();
    let mut is_text_only = false;
    for line in statement.lines().map(|line| line.trim().trim_end_matches(',')) {
        let kind = line.split(' ').next().unwrap_or_default();
        match kind {
            "SPATIAL" | "VECTOR" => is_text_only = true,
            "KEY" | "FULLTEXT" => match parse(line) {
                Some(definition) => {
                    is_text_only |= line.contains("((") || computed.iter().any(|column| line.contains(column));
                    definitions.push(definition);
                }
                None => return Vec::new(),
            },
            "PRIMARY" | "UNIQUE" => leading.extend(line.split_once("(`").and_then(|(_, rest)| rest.split('`').next())),
            _ => {}
        }
    }
    let counter = statement
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with('`') && line.contains(" AUTO_INCREMENT"))
        .and_then(|line| end_of_quoted(line).and_then(|end| line.get(1..end)));
    is_text_only |= counter.is_some_and(|counter| !leading.contains(&counter));
    definitions.retain(|definition| !is_text_only || definition.text.starts_with("FULLTEXT "));
    definitions
}

fn parse(line: &str) -> Option<Definition> {
    let rest = line.strip_prefix("FULLTEXT ").unwrap_or(line).strip_prefix("KEY ")?;
    let name = rest.get(1..end_of_quoted(rest)?)?.replace("``", "`");
    Some(Definition { name, text: line.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: &str = "CREATE TABLE `t` (\n  `id` bigint NOT NULL AUTO_INCREMENT,\n  `a` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`a`),\n  \
                             KEY `x,``y` (`a`,`id`) USING BTREE COMMENT 'KEY `no` (',\n  KEY `z` (`a`)\n) ENGINE=InnoDB";

    #[test]
    fn plain_indexes_are_taken_in_order() {
        let found = deferrable(STATEMENT);
        assert_eq!(found.iter().map(|definition| definition.name.as_str()).collect::<Vec<_>>(), ["x,`y", "z"]);
        assert_eq!(found[0].text, "KEY `x,``y` (`a`,`id`) USING BTREE COMMENT 'KEY `no` ('");
        assert_eq!(parse(&found[1].text).as_ref(), Some(&found[1]));
        let with_text = STATEMENT.replace("\n) ENGINE", ",\n  FULLTEXT KEY `f` (`a`) /*!50100 WITH PARSER `ngram` */ \n) ENGINE");
        assert_eq!(deferrable(&with_text).last().map(|definition| definition.name.as_str()), Some("f"));
    }

    #[test]
    fn nothing_is_taken_where_the_order_could_change() {
        assert_eq!(deferrable(&STATEMENT.replace("  KEY `z`", "  SPATIAL KEY `f` (`a`),\n  KEY `z`")), []);
        let with_computed = STATEMENT.replace("`a` int DEFAULT NULL", "`a` bigint(20) GENERATED ALWAYS AS (`id` * 2 + 1) VIRTUAL");
        assert_eq!(deferrable(&with_computed), [], "a virtual column");
        assert_eq!(deferrable(&STATEMENT.replace("KEY `z` (`a`)", "KEY `z` ((lower(`a`)))")), [], "an expression");
        let with_stored = with_computed.replace("VIRTUAL", "STORED");
        assert_eq!(deferrable(&with_stored).len(), 2, "a stored column is one like others");
        assert_eq!(deferrable(&STATEMENT.replace("PRIMARY KEY (`id`)", "PRIMARY KEY (`a`)")), [], "the counter needs its index");
        let with_both = STATEMENT.replace("\n) ENGINE", ",\n  SPATIAL KEY `s` (`g`),\n  FULLTEXT KEY `f` (`a`)\n) ENGINE");
        assert_eq!(deferrable(&with_both).iter().map(|definition| definition.name.as_str()).collect::<Vec<_>>(), ["f"]);
    }
}
