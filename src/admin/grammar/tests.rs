//! What is read, what is cut out, what is refused and in which words.

use super::super::client::{self, Filter};
use super::*;

/// A MIGRATE of one table.
struct One {
    schema: Option<String>,
    table: String,
    specification: String,
    options: Options,
}

fn several(text: &str) -> Migrate {
    match parse(text) {
        Ok(Statement::Migrate(migrate)) => migrate,
        other => panic!("{text}: {other:?}"),
    }
}

fn migrate(text: &str) -> One {
    let Migrate { mut changes, options } = several(text);
    assert_eq!(changes.len(), 1, "{text}");
    let Change { schema, table, specification } = changes.remove(0);
    One { schema, table, specification, options }
}

fn refused(text: &str) -> Failure {
    match parse(text) {
        Err(failure) => failure,
        Ok(statement) => panic!("{text}: {statement:?}"),
    }
}

#[test]
fn the_specification_is_cut_out_verbatim() {
    for (text, schema, table, specification) in [
        ("MIGRATE TABLE db.t ADD COLUMN a INT", Some("db"), "t", "ADD COLUMN a INT"),
        ("migrate db.t add column a int;", Some("db"), "t", "add column a int"),
        ("  MIGRATE\n\tdb . t\n  ADD  COLUMN\n a  INT \n ; ; ", Some("db"), "t", "ADD  COLUMN\n a  INT"),
        ("MIGRATE t ENGINE=InnoDB", None, "t", "ENGINE=InnoDB"),
        ("MIGRATE TABLE t FORCE", None, "t", "FORCE"),
        ("MIGRATE table.t FORCE", Some("table"), "t", "FORCE"),
        ("MIGRATE `my.db`.`a``b` FORCE", Some("my.db"), "a`b", "FORCE"),
        ("MIGRATE `d\"b'`.`t ;` FORCE", Some("d\"b'"), "t ;", "FORCE"),
        ("MIGRATE shop.2024_orders FORCE", Some("shop"), "2024_orders", "FORCE"),
        ("MIGRATE shop.2024 FORCE", Some("shop"), "2024", "FORCE"),
        ("MIGRATE größe.straße ADD ß INT COMMENT 'ü;'", Some("größe"), "straße", "ADD ß INT COMMENT 'ü;'"),
        ("/* a; */ MIGRATE db.t /* b */ ADD a INT /* c */ -- d", Some("db"), "t", "/* b */ ADD a INT /* c */ -- d"),
        ("MIGRATE db.t ADD a INT # note\n, ADD b INT", Some("db"), "t", "ADD a INT # note\n, ADD b INT"),
        ("MIGRATE db.t (ADD a INT)", Some("db"), "t", "(ADD a INT)"),
        (
            "MIGRATE db.t ADD c CHAR(3) DEFAULT 'it''s', ADD d CHAR DEFAULT '\\''",
            Some("db"),
            "t",
            "ADD c CHAR(3) DEFAULT 'it''s', ADD d CHAR DEFAULT '\\''",
        ),
        (
            "MIGRATE db.t ADD a JSON DEFAULT (JSON_OBJECT()), ADD INDEX ((a->>'$.x'))",
            Some("db"),
            "t",
            "ADD a JSON DEFAULT (JSON_OBJECT()), ADD INDEX ((a->>'$.x'))",
        ),
        ("MIGRATE db.t ADD a INT DEFAULT 0x1F, ALGORITHM=COPY", Some("db"), "t", "ADD a INT DEFAULT 0x1F, ALGORITHM=COPY"),
        ("MIGRATE db.t /*!80000 ADD a INT */ ;", Some("db"), "t", "/*!80000 ADD a INT */"),
        (
            "MIGRATE db.t PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))",
            Some("db"),
            "t",
            "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))",
        ),
    ] {
        let got = migrate(text);
        assert_eq!((got.schema.as_deref(), got.table.as_str(), got.specification.as_str()), (schema, table, specification), "{text}");
        assert_eq!(got.options, Options::default(), "{text}");
    }
}

#[test]
fn several_tables_are_told_apart_by_the_word_table() {
    for (text, changes) in [
        ("MIGRATE TABLE a ADD COLUMN x INT, TABLE b DROP COLUMN y", vec![(None, "a", "ADD COLUMN x INT"), (None, "b", "DROP COLUMN y")]),
        (
            "migrate db.a ADD x INT, ADD y INT , table `d 2`.`table`\n FORCE , ADD z INT, TABLE table.t ENGINE=InnoDB, COMMENT=', TABLE c ' ;",
            vec![
                (Some("db"), "a", "ADD x INT, ADD y INT"),
                (Some("d 2"), "table", "FORCE , ADD z INT"),
                (Some("table"), "t", "ENGINE=InnoDB, COMMENT=', TABLE c '"),
            ],
        ),
        (
            "MIGRATE TABLE a PARTITION BY LIST (x) (PARTITION p VALUES IN (1), TABLE b), TABLE b FORCE",
            vec![(None, "a", "PARTITION BY LIST (x) (PARTITION p VALUES IN (1), TABLE b)"), (None, "b", "FORCE")],
        ),
        // Quoted, it is a column.
        ("MIGRATE TABLE a ADD x INT, ADD `TABLE` INT", vec![(None, "a", "ADD x INT, ADD `TABLE` INT")]),
        ("MIGRATE TABLE a ADD x INT, TABLE = 5", vec![(None, "a", "ADD x INT, TABLE = 5")]),
        ("MIGRATE TABLE a ADD x INT /* , TABLE b FORCE */ # , TABLE c", vec![(None, "a", "ADD x INT /* , TABLE b FORCE */ # , TABLE c")]),
    ] {
        let got = several(text);
        let got: Vec<_> = got.changes.iter().map(|one| (one.schema.as_deref(), one.table.as_str(), one.specification.as_str())).collect();
        assert_eq!(got, changes, "{text}");
    }
    let got = several("MIGRATE TABLE a ADD x INT, TABLE b FORCE WITH postpone = true, verify = false");
    assert!(got.options.postpone && got.options.skip_verify);
    assert_eq!(got.changes[1].specification, "FORCE");
}

#[test]
fn a_group_that_cannot_be_read_is_refused() {
    for (text, part) in [
        ("MIGRATE TABLE a, TABLE b FORCE", "nothing to do with the table a"),
        ("MIGRATE TABLE a FORCE, TABLE b", "nothing to do with the table b"),
        ("MIGRATE TABLE a FORCE, TABLE b.", "expected MIGRATE"),
        ("MIGRATE TABLE a FORCE WITH postpone = true, TABLE b FORCE", "stands once, at the end"),
        ("MIGRATE TABLE a FORCE; , TABLE b FORCE", "one statement at a time"),
        ("MIGRATE TABLE a FORCE, TABLE b WITH postpone = true", "nothing to do with the table b"),
    ] {
        let failure = refused(text);
        assert_eq!(failure.code, 1064, "{text}");
        assert!(failure.message.contains(part), "{text}: {}", failure.message);
    }
}

#[test]
fn with_is_an_option_list_only_where_it_is_one() {
    for specification in [
        "ADD FULLTEXT INDEX ft (a) WITH PARSER ngram",
        "EXCHANGE PARTITION p WITH TABLE t2",
        "EXCHANGE PARTITION p WITH TABLE t2 WITHOUT VALIDATION",
        "EXCHANGE PARTITION p WITH TABLE t2 WITH VALIDATION",
        "ADD a TEXT COMMENT 'x WITH postpone = true'",
        "ADD a TEXT COMMENT \"x WITH postpone = true\"",
        "ADD a INT /* WITH postpone = true */",
        "ADD a INT -- WITH postpone = true",
        "ADD `WITH postpone = true` INT",
        "ADD a INT DEFAULT (b WITH postpone = true)",
        "ADD SYSTEM VERSIONING, ADD a INT WITHOUT SYSTEM VERSIONING",
        "ADD a INT WITH SYSTEM VERSIONING",
    ] {
        let got = migrate(&format!("MIGRATE db.t {specification}"));
        assert_eq!(got.specification, specification);
        assert_eq!(got.options, Options::default(), "{specification}");
        let got = migrate(&format!("MIGRATE db.t {specification}\nWITH postpone = true;"));
        assert_eq!(got.specification, specification);
        assert!(got.options.postpone, "{specification}");
    }
}

#[test]
fn unusual_lexemes_neither_end_nor_break_a_specification() {
    for specification in [
        "ADD a TEXT COMMENT \"a\\\"b WITH postpone = true\"",
        "ADD a TEXT COMMENT 'a\\'b WITH postpone = true'",
        "ADD a TEXT COMMENT \"it\"\"s; 'x'\"",
        "ADD a TEXT COMMENT 'back\\\\'",
        "ADD a VARCHAR(9) DEFAULT _utf8mb4'x;' COLLATE utf8mb4_bin",
        "ADD a BINARY(2) DEFAULT X'4142', ADD b BIT(3) DEFAULT b'101', ADD c CHAR(3) DEFAULT N'x;'",
        "ADD a INT DEFAULT --1",
        "ADD a INT DEFAULT (1--1)",
        "ADD a$b INT, ADD `$$` INT, ADD c$$ INT",
        "ADD a INT /* /* */, ADD b INT",
        "ADD a INT /*+ x */, ADD b INT /*M!100100 COMMENT 'x' */",
        "ADD a INT COMMENT '{x} ? :y @z $1 %'",
        "ADD a INT AS (b->>'$.c' || d <=> e), ADD f DOUBLE DEFAULT 1e-3, ADD g INT DEFAULT (@@port + 1 << 2 ^ 3 & ~4 | 5)",
        "ADD a INT COMMENT 'a' 'b;'",
        "ADD a INT COMMENT 'line\none -- no comment; '",
        "ADD \u{1F600} INT COMMENT '\u{1F600};'",
        "MODIFY `WITH` INT COMMENT 'x', RENAME COLUMN `a = b` TO `with x = 1`",
    ] {
        for tail in ["", ";", " WITH verify = false", "\nWITH verify = false ;"] {
            let got = migrate(&format!("MIGRATE db.t {specification}{tail}"));
            assert_eq!(got.specification, specification, "{tail}");
            assert_eq!(got.options.skip_verify, tail.contains("WITH"), "{specification}{tail}");
        }
    }
}

#[test]
fn every_option_is_read() {
    let text = "MIGRATE db.t FORCE with Postpone=TRUE, strategy = 'copy', verify=off, max_hold_ms=500, drain_budget_ms = 100, \
                fence = 'Wait', ignore_breaking = on, copy_workers = 3, `revert_window_s` = 60, cutover = 'sentry', throttle = 0";
    let options = Options {
        postpone: true,
        strategy: Some(Strategy::Copy),
        skip_verify: true,
        max_hold: Some(Duration::from_millis(500)),
        drain_budget: Some(Duration::from_millis(100)),
        ignore_breaking: true,
        fence: Some(crate::config::Fence::Wait),
        copy_workers: Some(3),
        revert_window: Some(Duration::from_secs(60)),
        cutover: Some(Protocol::Sentry),
        ignores_throttle: true,
    };
    assert_eq!(migrate(text).options, options);
    assert_eq!(migrate("MIGRATE t FORCE WITH strategy = instant").options.strategy, Some(Strategy::Instant));
    assert_eq!(migrate("MIGRATE t FORCE WITH verify = true").options, Options::default());
}

#[test]
fn the_documents_name_every_option() {
    for (page, text) in
        [("admin.md", include_str!("../../../docs/admin.md")), ("migrations.md", include_str!("../../../docs/migrations.md"))]
    {
        for (option, _) in OPTIONS {
            let row = |line: &str| {
                line.strip_prefix("| ").is_some_and(|cells| cells.split(" | ").next().is_some_and(|cell| cell.contains(option)))
            };
            assert!(text.lines().any(row), "docs/{page} has no row for the option {option}");
        }
    }
}

#[test]
fn a_wrong_option_is_named_with_what_was_expected() {
    for (list, code, part) in [
        ("WITH postpon = true", 1064, "the options are postpone, strategy"),
        ("WITH postpone = maybe", 1231, "true or false"),
        ("WITH strategy = 'inplace'", 1231, "'auto', 'instant' or 'copy'"),
        ("WITH cutover = 'atomic'", 1231, "'auto', 'locked_rename', 'sentry' or 'sentry_locked_shadow'"),
        ("WITH max_hold_ms = 0", 1231, "from 1 to 60000"),
        ("WITH max_hold_ms = 1.5", 1231, "from 1 to 60000"),
        ("WITH max_hold_ms = '5'", 1231, "from 1 to 60000"),
        ("WITH copy_workers = 99", 1231, "from 1 to 64"),
        ("WITH max_hold_ms = 10, drain_budget_ms = 20", 1231, "part of the hold"),
        ("WITH postpone", 1064, "'= value' was expected"),
        ("WITH postpone true", 1064, "'= value' was expected"),
        ("WITH postpone =", 1064, "name = value was expected"),
        ("WITH postpone = true,", 1064, "name = value was expected"),
        ("WITH postpone = true, verify", 1064, "name = value was expected"),
        ("WITH postpone = true verify = true", 1064, "comma"),
        ("WITH postpone = true, postpone = true", 1064, "twice"),
    ] {
        let failure = refused(&format!("MIGRATE db.t FORCE {list}"));
        assert_eq!(failure.code, code, "{list}: {}", failure.message);
        assert!(failure.message.contains(part), "{list}: {}", failure.message);
    }
}

#[test]
fn migrate_without_a_table_or_anything_to_do_is_refused() {
    for text in [
        "MIGRATE",
        "MIGRATE TABLE",
        "MIGRATE db.",
        "MIGRATE db.t",
        "MIGRATE TABLE db.t ;",
        "MIGRATE 'db.t' FORCE",
        "MIGRATE db.t WITH postpone = true",
        "MIGRATE db.t /* x */",
    ] {
        let failure = refused(text);
        assert_eq!(failure.code, 1064, "{text}");
        assert!(failure.message.contains("MIGRATE [TABLE] db.t"), "{text}: {}", failure.message);
    }
    assert!(refused("MIGRATE db.t FORCE; DROP TABLE x").message.contains("one statement at a time"));
    assert!(refused("MIGRATE db.t ADD a TEXT COMMENT 'x").message.contains("close every quote"));
}

#[test]
fn the_other_commands_are_read_in_any_case() {
    let id = MigrationId(7);
    for (text, statement) in [
        ("SHOW MIGRATIONS", Statement::Migrations { like: None }),
        ("show migrations like 'shop.%';", Statement::Migrations { like: Some("shop.%".into()) }),
        ("Show Migration 7", Statement::Migration(id)),
        ("PAUSE MIGRATION 7", Statement::Tell(id, Command::Pause)),
        ("resume migration 7;", Statement::Tell(id, Command::Resume)),
        ("CANCEL /* now */ MIGRATION 7", Statement::Tell(id, Command::Cancel)),
        ("CUTOVER MIGRATION 7 -- go", Statement::Tell(id, Command::Cutover)),
        ("SHOW GATES", Statement::Gates),
        ("SHOW SESSIONS", Statement::Sessions),
        ("SHOW CONFIG", Statement::Config),
        ("SHOW STATUS", Statement::Status { like: None }),
        ("SHOW GLOBAL STATUS LIKE 'up%'", Statement::Status { like: Some("up%".into()) }),
        ("SHOW VERSION", Statement::Version),
        ("help", Statement::Help),
        ("help 'migrate'", Statement::Help),
        ("SHOW HELP", Statement::Help),
    ] {
        assert_eq!(parse(text), Ok(statement), "{text}");
    }
}

#[test]
fn a_slip_is_answered_with_what_was_meant() {
    for (text, part) in [
        ("SHOW MIGRATONS", "did you mean SHOW MIGRATIONS? It is written SHOW MIGRATIONS [LIKE"),
        ("SHOW GATE", "did you mean SHOW GATES? HELP"),
        ("SHWO MIGRATIONS", "did you mean SHOW MIGRATIONS"),
        ("MIGRTE TABLE db.t FORCE", "did you mean MIGRATE? It is written MIGRATE [TABLE]"),
        ("PAUSE MIGRATON 7", "did you mean PAUSE MIGRATION? It"),
        ("PAUSE 7", "expected PAUSE MIGRATION id"),
        ("CANCEL MIGRATION", "expected CANCEL MIGRATION id"),
        ("CANCEL MIGRATION x", "expected CANCEL MIGRATION id"),
        ("CUTOVER MIGRATION 7 8", "expected CUTOVER MIGRATION id"),
        ("CUTOVER MIGRATION 99999999999999999999999", "expected CUTOVER MIGRATION id"),
        ("SHOW MIGRATION", "expected SHOW MIGRATION id"),
        ("SHOW MIGRATIONS LIKE", "expected SHOW MIGRATIONS [LIKE"),
        ("SHOW GATES NOW", "nothing was expected after SHOW GATES"),
        ("SHOW MIGRATIONS; SHOW GATES", "one statement at a time"),
        ("INSERT INTO t VALUES (1)", "this is Tidegate's admin port"),
        ("SELECT * FROM t", "this is Tidegate's admin port"),
        ("select $$", "HELP lists the commands"),
        ("SET MIGRATION 7 max_hold_ms = 5", "admin"),
        ("KILL 5", "application user"),
    ] {
        let failure = refused(text);
        assert_eq!(failure.code, 1064, "{text}");
        assert!(failure.message.contains(part), "{text}: {}", failure.message);
    }
    assert_eq!(refused(" ; ").code, 1065);
    assert_eq!(refused("/* nothing */").code, 1065);
}

#[test]
fn what_clients_send_by_themselves_is_understood() {
    for text in [
        "select @@version_comment limit 1",
        "SELECT @@max_allowed_packet",
        "/* mysql-connector-j-8.4.0 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS \
         character_set_client, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, \
         @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
        "SELECT @@max_allowed_packet,@@wait_timeout,@@socket",
        "SELECT DATABASE()",
        "SELECT DATABASE(), USER() LIMIT 1",
        "select connection_id()",
        "SELECT 1",
        "SELECT 1 FROM DUAL",
        "SELECT 'x' AS y",
        "SELECT CURRENT_USER",
    ] {
        assert!(matches!(parse(text), Ok(Statement::Client(client::Statement::Select { .. }))), "{text}: {:?}", parse(text));
    }
    for text in [
        "SET NAMES utf8mb4",
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_general_ci'",
        "SET autocommit=1, sql_mode = concat(@@sql_mode,',STRICT_TRANS_TABLES')",
        "SET @@session.autocommit = OFF",
        "SET SESSION TRANSACTION READ ONLY",
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "ROLLBACK",
    ] {
        assert_eq!(parse(text), Ok(Statement::Client(client::Statement::Nothing)), "{text}");
    }
    assert_eq!(parse("USE `my-db`;"), Ok(Statement::Client(client::Statement::Use("my-db".into()))));
    for (text, filter) in [
        ("SHOW VARIABLES", Filter::All),
        ("SHOW SESSION VARIABLES LIKE 'lower_case_table_names'", Filter::Like("lower_case_table_names".into())),
        ("SHOW VARIABLES WHERE Variable_name in ('a', 'b')", Filter::Names(vec!["a".into(), "b".into()])),
    ] {
        assert_eq!(parse(text), Ok(Statement::Client(client::Statement::Variables(filter))), "{text}");
    }
    for text in ["SHOW WARNINGS", "SHOW DATABASES", "show tables", "SHOW FULL TABLES FROM `x`", "SHOW COLLATION"] {
        assert!(matches!(parse(text), Ok(Statement::Client(_))), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_grammar_panic(text in "\\PC{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("MIGRATE {text}"));
        let _ = parse(&format!("MIGRATE db.t FORCE WITH {text}"));
        let _ = parse(&format!("SELECT {text}"));
    }

    #[test]
    fn whatever_stands_in_a_string_stays_in_the_specification(comment in "[^'\\\\]{0,40}") {
        let specification = format!("ADD COLUMN a INT COMMENT '{comment}'");
        let got = migrate(&format!("MIGRATE db.t {specification} WITH verify = false;"));
        proptest::prop_assert_eq!(got.specification, specification);
        proptest::prop_assert!(got.options.skip_verify);
    }
}
