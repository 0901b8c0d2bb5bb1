//! Which tables a DDL statement would change.
//!
//! Owns: finding the tables in ALTER, DROP, TRUNCATE, RENAME, CREATE, OPTIMIZE and REPAIR.
//! Never: judges temporary tables (a session's own business), nor statements that leave a table as it is (ANALYZE, CHECK).

use crate::ids::TableName;
use crate::sql::token::{Cursor, Kind, Token};

/// The tables that a DDL statement changes; unqualified names belong to `default_schema`. Empty where it is no DDL on tables.
///
/// Names are as the text writes them: under lower_case_table_names = 1 or 2 the caller compares without case. DROP DATABASE
/// gives the schema with an empty table, which stands for all of its tables. A foreign key changes the table that it refers
/// to as well, except under CREATE TABLE IF NOT EXISTS, which programs say at each start and which then does nothing.
pub fn targets(text: &[u8], default_schema: &str) -> Vec<TableName> {
    let mut found = Found { default_schema, tables: Vec::new() };
    let mut cursor = Cursor::new(text);
    loop {
        while cursor.eat_mark(b';') || cursor.eat_mark(b'(') {}
        if read(&mut cursor, &mut found) == Body::Follows || !cursor.next_statement() {
            return found.tables;
        }
    }
}

/// Tells CREATE TRIGGER and DROP TRIGGER.
pub fn is_about_trigger(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.eat_any(&["CREATE", "DROP"]) && object(&mut cursor) == Object::Trigger
}

/// What CREATE, ALTER or DROP is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Table,
    TemporaryTable,
    Index,
    Trigger,
    Schema,
    /// A stored program: semicolons in it separate the statements of its body.
    Program,
    Other,
}

/// Goes past OR REPLACE, DEFINER = …, UNIQUE and the like up to and past the word that says what it is about.
pub(super) fn object(cursor: &mut Cursor<'_>) -> Object {
    let mut temporary = false;
    // More words than any server allows before the object's kind.
    for _ in 0..32 {
        let Some(token) = cursor.peek() else { return Object::Other };
        if token.is_mark(b';') {
            return Object::Other;
        }
        cursor.bump();
        let object = match () {
            () if token.is_any(&["TABLE", "TABLES"]) && temporary => Object::TemporaryTable,
            () if token.is_any(&["TABLE", "TABLES"]) => Object::Table,
            () if token.is_word("INDEX") => Object::Index,
            () if token.is_word("TRIGGER") => Object::Trigger,
            () if token.is_any(&["DATABASE", "SCHEMA"]) => Object::Schema,
            () if token.is_any(&["PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"]) => Object::Program,
            () if token.is_any(&["VIEW", "USER", "ROLE", "SERVER", "SEQUENCE", "TABLESPACE", "UNDO", "LOGFILE", "INSTANCE"]) => {
                Object::Other
            }
            () => {
                temporary |= token.is_word("TEMPORARY");
                continue;
            }
        };
        return object;
    }
    Object::Other
}

#[derive(PartialEq, Eq)]
enum Body {
    /// What follows belongs to a stored program.
    Follows,
    Ended,
}

struct Found<'a> {
    default_schema: &'a str,
    tables: Vec<TableName>,
}

impl Found<'_> {
    fn push(&mut self, name: Option<(Option<String>, String)>) -> bool {
        let Some((schema, table)) = name else { return false };
        let name = TableName::new(schema.unwrap_or_else(|| self.default_schema.to_owned()), table);
        if !self.tables.contains(&name) {
            self.tables.push(name);
        }
        true
    }

    /// `a, b, c`.
    fn list(&mut self, cursor: &mut Cursor<'_>) {
        while self.push(cursor.qualified_name()) && cursor.eat_mark(b',') {}
    }

    /// The name after each of these words, up to the statement's end.
    fn each_after(&mut self, cursor: &mut Cursor<'_>, words: &[&str]) {
        while let Some(token) = cursor.peek().filter(|token| !token.is_mark(b';')) {
            cursor.bump();
            if token.is_any(words) {
                self.push(cursor.qualified_name());
            }
        }
    }
}

fn read(cursor: &mut Cursor<'_>, found: &mut Found<'_>) -> Body {
    let Some(mut first) = cursor.bump() else { return Body::Ended };
    // SET STATEMENT name = value FOR …
    while first.is_word("SET") && cursor.eat("STATEMENT") && cursor.seek(&["FOR"]) {
        cursor.bump();
        let Some(token) = cursor.bump() else { return Body::Ended };
        first = token;
    }
    if first.kind != Kind::Word {
        return Body::Ended;
    }
    if first.is_word("CREATE") {
        return read_create(cursor, found);
    }
    if first.is_word("ALTER") {
        return read_alter(cursor, found);
    }
    if first.is_word("DROP") {
        read_drop(cursor, found);
    } else if first.is_word("TRUNCATE") {
        cursor.eat("TABLE");
        found.push(cursor.qualified_name());
    } else if first.is_word("RENAME") && cursor.eat_any(&["TABLE", "TABLES"]) {
        cursor.eat_if_exists();
        read_rename(cursor, found);
    } else if first.is_any(&["OPTIMIZE", "REPAIR"]) {
        cursor.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
        if cursor.eat_any(&["TABLE", "TABLES"]) {
            found.list(cursor);
        }
    }
    Body::Ended
}

fn read_create(cursor: &mut Cursor<'_>, found: &mut Found<'_>) -> Body {
    match object(cursor) {
        Object::Table => {
            if !cursor.eat_if_exists() {
                found.push(cursor.qualified_name());
                found.each_after(cursor, &["REFERENCES"]);
            }
        }
        Object::Index => read_on(cursor, found),
        Object::Trigger => {
            read_on(cursor, found);
            return Body::Follows;
        }
        Object::Program => return Body::Follows,
        Object::TemporaryTable | Object::Schema | Object::Other => {}
    }
    Body::Ended
}

fn read_alter(cursor: &mut Cursor<'_>, found: &mut Found<'_>) -> Body {
    match object(cursor) {
        Object::Table => {
            cursor.eat_if_exists();
            found.push(cursor.qualified_name());
            // EXCHANGE PARTITION p WITH TABLE t, CONVERT TABLE t TO PARTITION p.
            found.each_after(cursor, &["REFERENCES", "TABLE"]);
            Body::Ended
        }
        Object::Program => Body::Follows,
        _ => Body::Ended,
    }
}

fn read_drop(cursor: &mut Cursor<'_>, found: &mut Found<'_>) {
    match object(cursor) {
        Object::Table => {
            cursor.eat_if_exists();
            found.list(cursor);
        }
        Object::Index => read_on(cursor, found),
        Object::Schema => {
            cursor.eat_if_exists();
            if let Some(schema) = cursor.peek().as_ref().and_then(Token::name) {
                found.push(Some((Some(schema), String::new())));
            }
        }
        _ => {}
    }
}

/// `… ON t`
fn read_on(cursor: &mut Cursor<'_>, found: &mut Found<'_>) {
    if cursor.seek(&["ON"]) {
        cursor.bump();
        found.push(cursor.qualified_name());
    }
}

/// `a [WAIT n] TO b, c TO d`
fn read_rename(cursor: &mut Cursor<'_>, found: &mut Found<'_>) {
    while found.push(cursor.qualified_name()) {
        if cursor.eat("WAIT") {
            cursor.bump();
        }
        cursor.eat("NOWAIT");
        if !cursor.eat("TO") || !found.push(cursor.qualified_name()) || !cursor.eat_mark(b',') {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = targets(text.as_bytes(), "shop").iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn altered_tables_are_named() {
        check("ALTER TABLE t ADD a INT", &["shop.t"]);
        check("alter online ignore table if exists `a``b`.`c d` drop x", &["a`b.c d"]);
        check("ALTER TABLE . t FORCE", &["shop.t"]);
        check("ALTER TABLE x.t EXCHANGE PARTITION p WITH TABLE y.u", &["x.t", "y.u"]);
        check("ALTER TABLE c ADD FOREIGN KEY (a) REFERENCES p (id), ADD b INT", &["shop.c", "shop.p"]);
        check("SET STATEMENT max_statement_time = 1 FOR ALTER TABLE t FORCE", &["shop.t"]);
        check("/*!40000 ALTER TABLE `t` DISABLE KEYS */;", &["shop.t"]);
        check("ALTER TABLE t COMMENT 'REFERENCES x'", &["shop.t"]);
        check("ALTER VIEW v AS SELECT 1", &[]);
        check("ALTER DATABASE d CHARACTER SET utf8mb4", &[]);
    }

    #[test]
    fn dropped_truncated_and_renamed_tables_are_named() {
        check("DROP TABLE a, x.b RESTRICT", &["shop.a", "x.b"]);
        check("DROP TABLES IF EXISTS /* c */ `a`,b", &["shop.a", "shop.b"]);
        check("TRUNCATE t", &["shop.t"]);
        check("TRUNCATE TABLE x.t", &["x.t"]);
        check("RENAME TABLE a TO b, x.c TO d", &["shop.a", "shop.b", "x.c", "shop.d"]);
        check("RENAME TABLE IF EXISTS a WAIT 3 TO b", &["shop.a", "shop.b"]);
        check("DROP DATABASE IF EXISTS d", &["d."]);
        check("RENAME USER a TO b", &[]);
        check("DROP VIEW v", &[]);
        check("DROP TRIGGER tr", &[]);
    }

    #[test]
    fn created_things_name_the_table_that_they_change() {
        check("CREATE UNIQUE INDEX i USING BTREE ON x.t (a)", &["x.t"]);
        check("CREATE FULLTEXT INDEX IF NOT EXISTS `ON` ON t (a)", &["shop.t"]);
        check("DROP INDEX i ON t ALGORITHM=INPLACE", &["shop.t"]);
        check("CREATE DEFINER=`a`@`%` TRIGGER tr BEFORE INSERT ON t FOR EACH ROW BEGIN DROP TABLE x; DROP TABLE y; END", &["shop.t"]);
        check("/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 TRIGGER tr AFTER DELETE ON `t` FOR EACH ROW SET @a=1 */", &["shop.t"]);
        check("CREATE OR REPLACE TABLE t (a INT)", &["shop.t"]);
        check("CREATE TABLE new LIKE t", &["shop.new"]);
        check("CREATE TABLE new SELECT * FROM t", &["shop.new"]);
        check("CREATE TABLE c (a INT, FOREIGN KEY (a) REFERENCES x.t (id))", &["shop.c", "x.t"]);
        check("CREATE TABLE IF NOT EXISTS t (a INT)", &[]);
        check("CREATE PROCEDURE p() BEGIN SELECT 1; DROP TABLE t; END", &[]);
    }

    #[test]
    fn what_changes_no_table_names_none() {
        for text in [
            "",
            ";",
            "SELECT * FROM t",
            "INSERT INTO t VALUES ('; DROP TABLE t')",
            "ANALYZE TABLE t",
            "CHECK TABLE t",
            "CREATE TEMPORARY TABLE t (a INT)",
            "CREATE OR REPLACE TEMPORARY TABLE t (a INT)",
            "DROP TEMPORARY TABLE t",
            "SHOW CREATE TABLE t",
            "CREATE USER u",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn every_statement_of_a_text_is_read() {
        check(
            "SELECT ';'; DROP TABLE a; /* ; */ ;; TRUNCATE b; OPTIMIZE LOCAL TABLE c, d; REPAIR TABLE e",
            &["shop.a", "shop.b", "shop.c", "shop.d", "shop.e"],
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "ALTER ", "TABLE ", "DROP ", "CREATE ", "RENAME ", "TO ", "ON ", "SET ", "STATEMENT ", "FOR ", "IF ", "EXISTS ", ";", ".", "`", "'",
                    "(", ")", ",", "t ", "/*!", "*/", "\u{fffd}",
                ]),
                0..30,
            ),
        ) {
            targets(words.concat().as_bytes(), "s");
        }
    }
}
