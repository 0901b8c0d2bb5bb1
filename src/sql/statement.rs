//! What kind of statement a text is, by its first words.
//!
//! Owns: [`classify`], which runs for each statement while a migration is active; it allocates nothing.
//! Never: refuses a text; what it does not know has no flags, and the byte search judges its names.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::sql::ddl::{self, Object};
use crate::sql::token::{Cursor, Kind, Token};

/// What a statement does to its session and its tables.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Statement {
    /// BEGIN, START TRANSACTION, XA START/BEGIN.
    pub starts_transaction: bool,
    /// START TRANSACTION WITH CONSISTENT SNAPSHOT: the snapshot is taken at once.
    pub takes_snapshot: bool,
    /// Its effect on data is only to read.
    pub is_read: bool,
    /// CALL, EXECUTE: what it touches cannot be told from its text.
    pub is_dynamic: bool,
    /// DDL (ALTER, DROP, TRUNCATE, RENAME, CREATE INDEX, …): [`ddl::targets`] tells its tables.
    pub is_ddl: bool,
    /// LOCK TABLES, FLUSH TABLES WITH READ LOCK, GET_LOCK, HANDLER OPEN, LOCK INSTANCE: its session may hold locks that
    /// the status flags do not show.
    pub takes_session_lock: bool,
    /// UNLOCK TABLES, RELEASE_ALL_LOCKS: what the former took is given back.
    pub releases_session_lock: bool,
}

impl Statement {
    /// A statement that could not be read.
    pub fn unknown() -> Self {
        Self { is_dynamic: true, ..Self::default() }
    }

    /// Adds what a later statement of the same text does.
    fn and_then(&mut self, next: &Self) {
        self.starts_transaction |= next.starts_transaction;
        self.takes_snapshot |= next.takes_snapshot;
        self.is_read &= next.is_read;
        self.is_dynamic |= next.is_dynamic;
        self.is_ddl |= next.is_ddl;
        if next.takes_session_lock || next.releases_session_lock {
            self.takes_session_lock = next.takes_session_lock;
            self.releases_session_lock = next.releases_session_lock;
        }
    }
}

/// Reads the first words of a text; where it holds several statements, their flags together. Of a LOCK and an UNLOCK in one
/// text the last one counts.
pub fn classify(text: &[u8]) -> Statement {
    let mut cursor = Cursor::new(text);
    let mut whole: Option<Statement> = None;
    loop {
        while cursor.eat_mark(b';') {}
        if cursor.peek().is_none() {
            break;
        }
        let (statement, body_follows) = read(&mut cursor);
        match &mut whole {
            None => whole = Some(statement),
            Some(whole) => whole.and_then(&statement),
        }
        if body_follows || !cursor.next_statement() {
            break;
        }
    }
    let mut whole = whole.unwrap_or_default();
    for call in calls(text) {
        match call {
            Call::Takes => whole.takes_session_lock = true,
            Call::ReleasesAll => whole.releases_session_lock |= !whole.takes_session_lock,
        }
    }
    whole
}

/// Reads one statement's first words; the second value says that what follows is a stored program's body.
fn read(cursor: &mut Cursor<'_>) -> (Statement, bool) {
    let mut statement = Statement::default();
    let mut body_follows = false;
    // Each turn takes at least one token: EXPLAIN ANALYZE, SET STATEMENT … FOR and WITH lead to the statement proper.
    loop {
        while cursor.eat_mark(b'(') {}
        let Some(first) = cursor.bump() else { break };
        if first.kind != Kind::Word {
            break;
        }
        if first.is_word("WITH") {
            if !cursor.seek(&["SELECT", "UPDATE", "DELETE", "INSERT", "REPLACE", "TABLE", "VALUES"]) {
                break;
            }
            continue;
        }
        if first.is_word("SET") && cursor.eat("STATEMENT") {
            if !cursor.seek(&["FOR"]) {
                break;
            }
            cursor.bump();
            continue;
        }
        if first.is_word("ANALYZE") {
            // ANALYZE TABLE, or MariaDB's ANALYZE [FORMAT = JSON] statement, which runs it.
            cursor.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
            if cursor.peek().is_some_and(|token| token.is_any(&["TABLE", "TABLES"])) {
                break;
            }
            skip_format(cursor);
            continue;
        }
        if first.is_any(&["EXPLAIN", "DESCRIBE", "DESC"]) {
            if runs_what_it_explains(cursor) {
                continue;
            }
            statement.is_read = true;
            break;
        }
        body_follows = read_proper(first, cursor, &mut statement);
        break;
    }
    (statement, body_follows)
}

/// Reads a statement whose first word is its verb; true where a stored program's body follows.
fn read_proper(verb: Token<'_>, cursor: &mut Cursor<'_>, statement: &mut Statement) -> bool {
    if verb.is_any(&["SELECT", "SHOW", "TABLE", "VALUES", "CHECKSUM", "HELP"]) {
        statement.is_read = true;
    } else if verb.is_any(&["INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT", "ROLLBACK", "SET", "USE"]) {
        // The commonest of what has no flag.
    } else if verb.is_word("BEGIN") {
        // BEGIN NOT ATOMIC is a compound statement with a body of its own.
        let compound = cursor.eat("NOT");
        statement.is_dynamic = compound;
        statement.starts_transaction = !compound;
        return compound;
    } else if verb.is_word("START") {
        statement.starts_transaction = cursor.eat("TRANSACTION");
        statement.takes_snapshot = statement.starts_transaction && cursor.seek(&["SNAPSHOT"]);
    } else if verb.is_word("XA") {
        statement.starts_transaction = cursor.eat_any(&["START", "BEGIN"]);
    } else if verb.is_any(&["CALL", "EXECUTE"]) {
        statement.is_dynamic = true;
    } else if verb.is_any(&["CREATE", "ALTER", "DROP"]) {
        let object = ddl::object(cursor);
        statement.is_ddl = object != Object::TemporaryTable;
        return !verb.is_word("DROP") && matches!(object, Object::Program | Object::Trigger);
    } else if verb.is_any(&["TRUNCATE", "RENAME", "OPTIMIZE", "REPAIR"]) {
        statement.is_ddl = true;
    } else {
        read_locks(verb, cursor, statement);
    }
    false
}

/// Reads what takes or gives back locks that outlive the statement.
fn read_locks(verb: Token<'_>, cursor: &mut Cursor<'_>, statement: &mut Statement) {
    if verb.is_word("LOCK") {
        statement.takes_session_lock = true;
    } else if verb.is_word("UNLOCK") {
        statement.releases_session_lock = true;
    } else if verb.is_word("FLUSH") {
        cursor.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
        // WITH READ LOCK, FOR EXPORT.
        statement.takes_session_lock = cursor.eat_any(&["TABLES", "TABLE"]) && cursor.seek(&["READ", "EXPORT"]);
    } else if verb.is_word("BACKUP") {
        let stage = cursor.eat("STAGE");
        statement.releases_session_lock = cursor.eat(if stage { "END" } else { "UNLOCK" });
        statement.takes_session_lock = !statement.releases_session_lock;
    } else if verb.is_word("HANDLER") {
        let named = cursor.qualified_name().is_some();
        statement.takes_session_lock = named && cursor.eat("OPEN");
        statement.is_read = named && cursor.eat("READ");
    }
}

/// Goes past EXPLAIN's options; true where it runs the statement that follows.
fn runs_what_it_explains(cursor: &mut Cursor<'_>) -> bool {
    let mut analyze = false;
    loop {
        if cursor.eat("ANALYZE") {
            analyze = true;
        } else if !skip_format(cursor) && !cursor.eat_any(&["EXTENDED", "PARTITIONS"]) {
            return analyze;
        }
    }
}

fn skip_format(cursor: &mut Cursor<'_>) -> bool {
    let hit = cursor.eat("FORMAT");
    if hit {
        cursor.eat_mark(b'=');
        cursor.bump();
    }
    hit
}

enum Call {
    Takes,
    ReleasesAll,
}

/// Functions that take locks of the session, wherever they are called.
static CALLS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let names = ["get_lock", "release_all_locks", "service_get_write_locks", "service_get_read_locks", "version_tokens_lock_"];
    AhoCorasick::builder().ascii_case_insensitive(true).build(names).ok()
});

fn calls(text: &[u8]) -> impl Iterator<Item = Call> + '_ {
    CALLS.as_ref().into_iter().flat_map(move |search| search.find_iter(text)).filter_map(move |hit| {
        let alone = !text[..hit.start()].last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
        // A blank or a comment may stand before the parenthesis.
        let after = text[hit.end()..].iter().find(|byte| !byte.is_ascii_whitespace());
        match hit.pattern().as_usize() {
            4 => alone.then_some(Call::Takes),
            _ if !alone || !matches!(after, Some(b'(' | b'/' | b'-' | b'#' | b'`')) => None,
            1 => Some(Call::ReleasesAll),
            _ => Some(Call::Takes),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flags(text: &str) -> String {
        let Statement { starts_transaction, takes_snapshot, is_read, is_dynamic, is_ddl, takes_session_lock, releases_session_lock } =
            classify(text.as_bytes());
        let named = [
            (starts_transaction, "starts"),
            (takes_snapshot, "snapshot"),
            (is_read, "read"),
            (is_dynamic, "dynamic"),
            (is_ddl, "ddl"),
            (takes_session_lock, "locks"),
            (releases_session_lock, "unlocks"),
        ];
        named.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(expected: &str, texts: &[&str]) {
        for text in texts {
            assert_eq!(flags(text), expected, "{text}");
        }
    }

    #[test]
    fn reads_are_told() {
        check(
            "read",
            &[
                "SELECT 1",
                "  /* c */ select * from t for update",
                "-- c\n((SELECT 1) UNION (SELECT 2))",
                "WITH RECURSIVE a (x) AS (SELECT 1 UNION DELETE), b AS (UPDATE) SELECT * FROM a",
                "SHOW TABLES",
                "DESC t",
                "EXPLAIN UPDATE t SET a = 1",
                "EXPLAIN FORMAT=JSON DELETE FROM t",
                "EXPLAIN ANALYZE SELECT 1",
                "EXPLAIN ANALYZE FORMAT=TREE SELECT 1",
                "ANALYZE FORMAT=JSON SELECT 1",
                "TABLE t",
                "VALUES ROW(1)",
                "HANDLER db.t READ NEXT",
                "CHECKSUM TABLE t",
                "/*!40001 SELECT 1 */",
                "SET STATEMENT max_statement_time=1 FOR SELECT 1",
                "SELECT 1; SELECT 2;",
            ],
        );
    }

    #[test]
    fn writes_and_the_rest_have_no_flag() {
        check(
            "",
            &[
                "",
                ";",
                "INSERT INTO t VALUES (1)",
                "WITH a AS (SELECT 1) UPDATE t, a SET t.x = 1",
                "EXPLAIN ANALYZE UPDATE t SET a = 1",
                "ANALYZE DELETE FROM t",
                "ANALYZE TABLE t",
                "COMMIT",
                "SET autocommit = 0",
                "START SLAVE",
                "XA END 'x'",
                "PREPARE s FROM 'SELECT 1'",
                "SELECT 1; DELETE FROM t",
                "SET STATEMENT a = (SELECT 'x' FOR UPDATE) FOR DELETE FROM t",
                "CREATE TEMPORARY TABLE t (a INT)",
                "FLUSH TABLES",
                "HANDLER t CLOSE",
                "'",
            ],
        );
    }

    #[test]
    fn starts_of_transactions_are_told() {
        check("starts", &["BEGIN", "begin work", "START TRANSACTION READ ONLY", "XA START 'x'", "XA BEGIN 'x'", "/*!40000 BEGIN*/"]);
        check("starts snapshot", &["START TRANSACTION WITH CONSISTENT SNAPSHOT", "start transaction read only, with consistent snapshot;"]);
        check("starts", &["BEGIN; DELETE FROM t; COMMIT"]);
    }

    #[test]
    fn what_hides_its_tables_is_dynamic() {
        check(
            "dynamic",
            &["CALL p()", "EXECUTE s USING @a", "EXECUTE IMMEDIATE 'x'", "BEGIN NOT ATOMIC COMMIT; END", "SELECT 1; CALL p()"],
        );
    }

    #[test]
    fn ddl_is_told() {
        check(
            "ddl",
            &[
                "ALTER TABLE t FORCE",
                "DROP TABLE t",
                "TRUNCATE t",
                "RENAME TABLE a TO b",
                "CREATE UNIQUE INDEX i ON t (a)",
                "CREATE TABLE t (a INT)",
                "CREATE PROCEDURE p() BEGIN START TRANSACTION; LOCK TABLES t READ; END",
                "CREATE DEFINER=a@b TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN CALL p(); END",
                "OPTIMIZE TABLE t",
                "SELECT ';'; DROP TABLE t",
            ],
        );
    }

    #[test]
    fn locks_of_a_session_are_told() {
        check(
            "locks",
            &[
                "LOCK TABLES t READ",
                "LOCK TABLE t WRITE",
                "LOCK INSTANCE FOR BACKUP",
                "FLUSH TABLES WITH READ LOCK",
                "FLUSH LOCAL TABLES a, b WITH READ LOCK",
                "FLUSH TABLES t FOR EXPORT",
                "BACKUP STAGE START",
                "BACKUP LOCK db.t",
                "HANDLER db.t OPEN AS h",
                "DO GET_LOCK('x', 1)",
                "UNLOCK TABLES; LOCK TABLES t READ",
            ],
        );
        check("read locks", &["SELECT get_lock ('x', 1)", "SELECT GET_LOCK/**/('x', 1)", "SELECT 1, `get_lock`('x', 1)"]);
        check("read", &["SELECT get_lock FROM t", "SELECT forget_lock('x')", "SELECT is_free_lock('x')"]);
    }

    #[test]
    fn releases_of_locks_are_told() {
        check("unlocks", &["UNLOCK TABLES", "UNLOCK INSTANCE", "BACKUP STAGE END", "BACKUP UNLOCK", "LOCK TABLES t READ; UNLOCK TABLES"]);
        check("read unlocks", &["SELECT RELEASE_ALL_LOCKS()"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            classify(&bytes);
        }

        #[test]
        fn no_words_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "SET ", "STATEMENT ", "FOR ", "WITH ", "EXPLAIN ", "ANALYZE ", "FORMAT", "=", "(", ")", "BEGIN ", ";", "'", "HANDLER ", "t ", ".",
                    "CREATE ", "TRIGGER ", "get_lock", "/*!", "*/", "FLUSH ", "TABLES ",
                ]),
                0..30,
            ),
        ) {
            classify(words.concat().as_bytes());
        }
    }
}
