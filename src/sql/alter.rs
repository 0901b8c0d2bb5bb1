//! What the engine must know of an ALTER specification: the server judges the rest.
//!
//! Owns: cutting a specification into clauses, and reading the names that a clause changes.
//! Never: refuses what a server might take; a clause that it does not know is [`Clause::Other`].

use crate::sql::token::{Kind, Token, Tokens};

/// One clause that changes names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// CHANGE [COLUMN] from to …, RENAME COLUMN from TO to.
    RenameColumn {
        /// The column's name in the source.
        from: String,
        /// Its name in the shadow.
        to: String,
    },
    /// DROP [COLUMN] name.
    DropColumn(String),
    /// ADD [COLUMN] name … (each name of a parenthesised list).
    AddColumn(String),
    /// RENAME [TO | AS] name: the table itself.
    RenameTable,
    /// EXCHANGE, DISCARD, IMPORT, TRUNCATE, DROP PARTITION and the like, which change rows, not only the schema; the words.
    ChangesRows(String),
    /// AUTO_INCREMENT = n, the table option.
    Counter,
    /// ALGORITHM = …
    Algorithm(String),
    /// LOCK = …
    Lock(String),
    /// Anything else; its first words, for people.
    Other(String),
}

/// The text could not be cut into clauses (an open quote or parenthesis).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ALTER specification cannot be read: {0}")]
pub struct Unreadable(pub String);

/// What starts a key, constraint or partition after ADD or DROP; all reserved words, so no column has such a name unquoted.
const NOT_A_COLUMN: [&str; 10] =
    ["INDEX", "KEY", "PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK", "PARTITION"];

/// Words that can only begin a new clause, never another item of an ORDER BY list.
const STARTS_CLAUSE: [&str; 9] = ["ADD", "DROP", "CHANGE", "RENAME", "ALTER", "CONVERT", "ORDER", "LOCK", "FORCE"];

/// Cuts an ALTER specification (what follows `ALTER TABLE name`) into clauses.
///
/// # Errors
/// [`Unreadable`] where a quote, comment or parenthesis does not end, or where a second statement follows.
pub fn clauses(specification: &str) -> Result<Vec<Clause>, Unreadable> {
    let tokens = readable(specification)?;
    let mut rest = tokens.as_slice();
    let mut clauses = Vec::new();
    // What MariaDB allows before the clauses.
    loop {
        match rest {
            [wait, seconds, more @ ..] if wait.is_word("WAIT") && seconds.kind == Kind::Number => rest = more,
            [word, more @ ..] if word.is_any(&["NOWAIT", "ONLINE", "OFFLINE"]) => rest = more,
            [word, more @ ..] if word.is_word("IGNORE") => {
                clauses.push(Clause::ChangesRows("IGNORE".to_owned()));
                rest = more;
            }
            _ => break,
        }
    }
    while !rest.is_empty() {
        let mut end = next_comma(rest);
        if takes_all_that_follows(rest) {
            end = rest.len();
        } else if starts_with(rest, &["ORDER", "BY"]) {
            while end < rest.len() && !rest.get(end + 1).is_some_and(|token| token.is_any(&STARTS_CLAUSE)) {
                end += 1 + next_comma(&rest[end + 1..]);
            }
        }
        read_clause(&rest[..end], &mut clauses);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(clauses)
}

/// The tokens of a specification that can be read: everything open is closed, and nothing follows a semicolon.
fn readable(specification: &str) -> Result<Vec<Token<'_>>, Unreadable> {
    let mut tokens = Vec::new();
    let mut open = Vec::new();
    let mut ended = false;
    for token in Tokens::new(specification.as_bytes()) {
        match token.kind {
            Kind::Mark(b';') => {
                ended = true;
                continue;
            }
            _ if ended => return Err(Unreadable(format!("a second statement begins at byte {}", token.at + 1))),
            Kind::Open => return Err(Unreadable(format!("the quote or comment at byte {} does not end", token.at + 1))),
            Kind::Mark(b'(') => open.push(token.at),
            Kind::Mark(b')') if open.pop().is_none() => {
                return Err(Unreadable(format!("the parenthesis at byte {} closes none", token.at + 1)));
            }
            _ => {}
        }
        tokens.push(token);
    }
    match open.last() {
        Some(at) => Err(Unreadable(format!("the parenthesis at byte {} is not closed", at + 1))),
        None => Ok(tokens),
    }
}

/// The position of the first comma outside parentheses, or the end.
fn next_comma(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Mark(b',') if depth == 0 => return at,
            _ => {}
        }
    }
    tokens.len()
}

fn starts_with(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.is_word(word))
}

/// Clauses on partitions stand alone or last, and their lists of partitions have commas (`DROP PARTITION p0, p1`).
fn takes_all_that_follows(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [first, second, ..] => {
            (second.is_word("PARTITION") && !first.is_any(&["RENAME", "CHANGE", "MODIFY", "ALTER"]))
                || (first.is_word("PARTITION") && second.is_word("BY"))
        }
        _ => false,
    }
}

fn read_clause(tokens: &[Token<'_>], clauses: &mut Vec<Clause>) {
    let Some((first, rest)) = tokens.split_first() else { return };
    // The only other place of the word, a column's definition, has neither after it.
    if tokens
        .windows(2)
        .any(|two| matches!(two, [word, next] if word.is_word("AUTO_INCREMENT") && (next.is_mark(b'=') || next.kind == Kind::Number)))
    {
        clauses.push(Clause::Counter);
    }
    let other = || Clause::Other(first_words(tokens, 3));
    let clause = if first.is_word("CHANGE") {
        match skip_column(rest) {
            [from, to, ..] => rename(*from, *to),
            _ => None,
        }
    } else if first.is_word("RENAME") {
        read_rename(rest)
    } else if first.is_word("DROP") {
        read_drop(rest)
    } else if first.is_word("ADD") {
        return read_add(tokens, rest, clauses);
    } else if first.is_any(&["ALGORITHM", "LOCK"]) {
        let value = rest.iter().find(|token| !token.is_mark(b'=')).and_then(Token::name).unwrap_or_default().to_ascii_uppercase();
        Some(if first.is_word("LOCK") { Clause::Lock(value) } else { Clause::Algorithm(value) })
    } else if changes_rows(first, rest.first()) {
        Some(Clause::ChangesRows(first_words(tokens, 2)))
    } else {
        None
    };
    clauses.push(clause.unwrap_or_else(other));
}

/// Clauses that move or remove rows: a copy of the table cannot repeat them.
fn changes_rows(first: &Token<'_>, second: Option<&Token<'_>>) -> bool {
    let Some(second) = second else { return false };
    (first.is_any(&["TRUNCATE", "EXCHANGE"]) && second.is_word("PARTITION"))
        || (first.is_any(&["DISCARD", "IMPORT"]) && second.is_any(&["PARTITION", "TABLESPACE"]))
        || (first.is_word("CONVERT") && second.is_any(&["PARTITION", "TABLE"]))
}

fn read_rename(rest: &[Token<'_>]) -> Option<Clause> {
    match rest {
        [what, ..] if what.is_word("COLUMN") => match skip_column(rest) {
            [from, to, name, ..] if to.is_word("TO") => rename(*from, *name),
            _ => None,
        },
        [what, ..] if what.is_any(&["INDEX", "KEY"]) => None,
        [_, ..] => Some(Clause::RenameTable),
        [] => None,
    }
}

fn read_drop(rest: &[Token<'_>]) -> Option<Clause> {
    match rest {
        [what, ..] if what.is_word("PARTITION") => Some(Clause::ChangesRows("DROP PARTITION".to_owned())),
        [what, ..] if what.is_any(&NOT_A_COLUMN) => None,
        [system, versioning, ..] if system.is_word("SYSTEM") && versioning.is_word("VERSIONING") => None,
        [period, of, ..] if period.is_word("PERIOD") && of.is_word("FOR") => None,
        _ => skip_column(rest).first().and_then(Token::name).map(Clause::DropColumn),
    }
}

fn read_add(tokens: &[Token<'_>], rest: &[Token<'_>], clauses: &mut Vec<Clause>) {
    let columns = skip_column(rest);
    match columns {
        [open, list @ .., _] if open.is_mark(b'(') => {
            let mut list = list;
            while !list.is_empty() {
                let end = next_comma(list);
                clauses.push(added(&list[..end]).unwrap_or_else(|| Clause::Other(format!("ADD {}", first_words(&list[..end], 2)))));
                list = list.get(end + 1..).unwrap_or_default();
            }
        }
        _ if rest.len() == columns.len() => clauses.push(added(rest).unwrap_or_else(|| Clause::Other(first_words(tokens, 3)))),
        _ => {
            let name = columns.first().and_then(Token::name);
            clauses.push(name.map_or_else(|| Clause::Other(first_words(tokens, 3)), Clause::AddColumn));
        }
    }
}

/// The column that an item of ADD adds; none where it adds a key or something else.
fn added(item: &[Token<'_>]) -> Option<Clause> {
    match item {
        [first, ..] if first.is_any(&NOT_A_COLUMN) => None,
        [system, versioning, ..] if system.is_word("SYSTEM") && versioning.is_word("VERSIONING") => None,
        [period, of, ..] if period.is_word("PERIOD") && of.is_word("FOR") => None,
        [vector, index, ..] if vector.is_word("VECTOR") && index.is_any(&["INDEX", "KEY"]) => None,
        _ => item.first().and_then(Token::name).map(Clause::AddColumn),
    }
}

fn rename(from: Token<'_>, to: Token<'_>) -> Option<Clause> {
    Some(Clause::RenameColumn { from: from.name()?, to: to.name()? })
}

/// Goes past [COLUMN] [IF [NOT] EXISTS].
fn skip_column<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut rest = tokens;
    for words in [["COLUMN"].as_slice(), &["IF", "NOT", "EXISTS"], &["IF", "EXISTS"]] {
        if starts_with(rest, words) {
            rest = &rest[words.len()..];
        }
    }
    rest
}

/// The first words as the user wrote them; strings are left out.
fn first_words(tokens: &[Token<'_>], count: usize) -> String {
    let words = tokens.iter().take_while(|token| matches!(token.kind, Kind::Word | Kind::Name | Kind::Number)).take(count);
    words.map(|token| String::from_utf8_lossy(token.bytes)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rename_of(from: &str, to: &str) -> Clause {
        Clause::RenameColumn { from: from.into(), to: to.into() }
    }
    fn add(name: &str) -> Clause {
        Clause::AddColumn(name.into())
    }
    fn drop_of(name: &str) -> Clause {
        Clause::DropColumn(name.into())
    }
    fn rows(words: &str) -> Clause {
        Clause::ChangesRows(words.into())
    }
    fn other(words: &str) -> Clause {
        Clause::Other(words.into())
    }

    #[track_caller]
    fn check(specification: &str, expected: &[Clause]) {
        assert_eq!(clauses(specification).as_deref(), Ok(expected), "{specification}");
    }

    #[test]
    fn columns_are_renamed() {
        check("CHANGE a b INT", &[rename_of("a", "b")]);
        check("change column `a``x` `b,c` varchar(10) default 'DROP x, y' after z", &[rename_of("a`x", "b,c")]);
        check("CHANGE COLUMN IF EXISTS a b INT, CHANGE b a INT", &[rename_of("a", "b"), rename_of("b", "a")]);
        check("RENAME COLUMN a TO b, RENAME COLUMN \"c\" TO d", &[rename_of("a", "b"), rename_of("c", "d")]);
        check("/*!80000 RENAME COLUMN a*/TO/* x */b", &[rename_of("a", "b")]);
    }

    #[test]
    fn columns_are_dropped() {
        check("DROP a, DROP COLUMN b, DROP COLUMN IF EXISTS c, DROP IF EXISTS `d` CASCADE", &["a", "b", "c", "d"].map(drop_of));
        check("DROP `index`, DROP COLUMN `primary`", &["index", "primary"].map(drop_of));
        check("DROP system, DROP SYSTEM VERSIONING", &[drop_of("system"), other("DROP SYSTEM VERSIONING")]);
    }

    #[test]
    fn dropping_a_key_drops_no_column() {
        for what in ["INDEX i", "KEY i", "PRIMARY KEY", "FOREIGN KEY f", "CHECK c", "CONSTRAINT c", "INDEX IF EXISTS i"] {
            let found = clauses(&format!("DROP {what}")).unwrap();
            assert!(matches!(found.as_slice(), [Clause::Other(_)]), "{what}: {found:?}");
        }
    }

    #[test]
    fn columns_are_added() {
        check("ADD a INT, ADD COLUMN b DECIMAL(10,2) DEFAULT 1.5 COMMENT 'x, DROP y'", &[add("a"), add("b")]);
        check("ADD COLUMN IF NOT EXISTS a INT, ADD IF NOT EXISTS b INT", &[add("a"), add("b")]);
        check("ADD (a INT, b ENUM('x,y)','z'), KEY k (a)), ADD COLUMN (c INT)", &[add("a"), add("b"), other("ADD KEY k"), add("c")]);
        check("ADD g INT AS (a + b) STORED, ADD é INT, ADD 1st INT", &[add("g"), add("é"), add("1st")]);
        check("ADD COLUMN `key` INT, ADD COLUMN vector VECTOR(3)", &[add("key"), add("vector")]);
    }

    #[test]
    fn adding_a_key_adds_no_column() {
        for what in [
            "INDEX i (a, b)",
            "KEY IF NOT EXISTS i (a)",
            "PRIMARY KEY (a)",
            "UNIQUE (a)",
            "FULLTEXT KEY ft (a, b) WITH PARSER ngram",
            "SPATIAL INDEX s (g)",
            "CONSTRAINT c CHECK (a > 0)",
            "FOREIGN KEY (a) REFERENCES p (id)",
            "CHECK (a in (1, 2))",
            "PARTITION (PARTITION p2 VALUES LESS THAN (20), PARTITION p3 VALUES LESS THAN (30))",
            "SYSTEM VERSIONING",
            "PERIOD FOR p (a, b)",
            "VECTOR INDEX v (a)",
        ] {
            let found = clauses(&format!("ADD {what}")).unwrap();
            assert!(matches!(found.as_slice(), [Clause::Other(_)]), "{what}: {found:?}");
        }
    }

    #[test]
    fn the_table_is_renamed() {
        for what in ["RENAME t2", "RENAME TO t2", "RENAME AS db.t2", "RENAME = t2", "rename `index`"] {
            check(what, &[Clause::RenameTable]);
        }
        check("RENAME INDEX a TO b, RENAME KEY c TO d", &[other("RENAME INDEX a"), other("RENAME KEY c")]);
    }

    #[test]
    fn partition_words_that_change_rows_are_told_from_those_that_keep_them() {
        check("DROP PARTITION p0, p1", &[rows("DROP PARTITION")]);
        check("DROP PARTITION IF EXISTS p0", &[rows("DROP PARTITION")]);
        check("TRUNCATE PARTITION ALL", &[rows("TRUNCATE PARTITION")]);
        check("EXCHANGE PARTITION p0 WITH TABLE t2 WITHOUT VALIDATION", &[rows("EXCHANGE PARTITION")]);
        check("DISCARD TABLESPACE", &[rows("DISCARD TABLESPACE")]);
        check("IMPORT PARTITION p0, p1 TABLESPACE", &[rows("IMPORT PARTITION")]);
        check("CONVERT PARTITION p0 TO TABLE x", &[rows("CONVERT PARTITION")]);
        check("CONVERT TO CHARACTER SET utf8mb4", &[other("CONVERT TO CHARACTER")]);
        check(
            "REORGANIZE PARTITION p0, p1 INTO (PARTITION a VALUES LESS THAN (1), PARTITION b VALUES LESS THAN (2))",
            &[other("REORGANIZE PARTITION p0")],
        );
        check("COALESCE PARTITION 2", &[other("COALESCE PARTITION 2")]);
        check("REBUILD PARTITION p0, p1", &[other("REBUILD PARTITION p0")]);
        check("REMOVE PARTITIONING", &[other("REMOVE PARTITIONING")]);
    }

    #[test]
    fn lists_without_parentheses_stay_one_clause() {
        check("ORDER BY a, b DESC, c", &[other("ORDER BY a")]);
        check("ORDER BY a, b, DROP c", &[other("ORDER BY a"), drop_of("c")]);
        check(
            "ADD a INT PARTITION BY RANGE COLUMNS (x, y) (PARTITION p0 VALUES LESS THAN (1, 2), PARTITION p1 VALUES LESS THAN (3, 4))",
            &[add("a")],
        );
        check("ENGINE=InnoDB ROW_FORMAT=DYNAMIC, COMMENT='a, DROP b' , FORCE", &[other("ENGINE"), other("COMMENT"), other("FORCE")]);
    }

    #[test]
    fn the_counter_is_seen() {
        check("AUTO_INCREMENT = 5, ADD a INT", &[Clause::Counter, other("AUTO_INCREMENT"), add("a")]);
        check("COMMENT 'x' auto_increment 7", &[Clause::Counter, other("COMMENT")]);
        check("ADD a INT AUTO_INCREMENT UNIQUE", &[add("a")]);
    }

    #[test]
    fn algorithm_and_lock_are_seen() {
        check("ADD a INT, ALGORITHM=instant, LOCK = None", &[add("a"), Clause::Algorithm("INSTANT".into()), Clause::Lock("NONE".into())]);
        check("ADD COLUMN a INT, ALGORITHM = COPY", &[add("a"), Clause::Algorithm("COPY".into())]);
        check("algorithm copy, ADD COLUMN a INT", &[Clause::Algorithm("COPY".into()), add("a")]);
        let comment = "ADD COLUMN `ALGORITHM` INT COMMENT 'ALGORITHM=COPY', ALGORITHM=INPLACE";
        check(comment, &[add("ALGORITHM"), Clause::Algorithm("INPLACE".into())]);
        check("ALGORITHM COPY, LOCK DEFAULT, DROP a", &[Clause::Algorithm("COPY".into()), Clause::Lock("DEFAULT".into()), drop_of("a")]);
    }

    #[test]
    fn prefixes_of_mariadb_are_passed() {
        check("WAIT 5 ADD a INT", &[add("a")]);
        check("NOWAIT DROP a", &[drop_of("a")]);
        check("IGNORE ADD UNIQUE (a)", &[rows("IGNORE"), other("ADD UNIQUE")]);
    }

    #[test]
    fn words_in_strings_and_comments_do_not_matter() {
        check("COMMENT 'DROP a' -- , DROP b\n, ADD c INT # DROP d", &[other("COMMENT"), add("c")]);
        check("MODIFY a INT COMMENT \"x', DROP b\" /* , DROP c */", &[other("MODIFY a INT")]);
        check("ADD a INT;", &[add("a")]);
        check("", &[]);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for text in
            ["ADD a INT DEFAULT 'x", "ADD (a INT", "ADD a INT)", "ADD `a", "ADD a /* x", "ADD a INT; DROP TABLE t", "ADD a /*!80000 INT"]
        {
            assert!(clauses(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([A-Z ]|ADD |DROP |CHANGE |RENAME |COLUMN |ORDER BY |PARTITION |IF |['\"`(),;/*!=.0-9é]){0,40}") {
            let _ = clauses(&text);
        }
    }
}
