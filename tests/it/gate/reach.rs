//! Which statements the gate holds: every way of reaching the table, and what does not reach it; each then answers as a direct
//! connection does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use crate::support::lab::Lab;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind};

on_both_servers!(
    every_way_to_the_table_is_held_and_nothing_else,
    names_are_held_however_they_are_written,
    upper_case_is_held_where_the_server_ignores_case,
    views_and_programs_that_come_later_are_known,
    a_client_that_goes_while_it_is_held_changes_nothing,
);

/// A gate that is younger takes everybody for a user of the table.
const LEARNING: Duration = Duration::from_secs(2);

/// One statement of a session of its own. An account is a user with a default schema: who has another one is a stranger.
struct Case {
    name: &'static str,
    /// Run before the hold, while the migration is ready.
    setup: Vec<String>,
    statement: String,
    is_prepared: bool,
    is_held: bool,
}

fn case(name: &'static str, is_held: bool, setup: &[&str], statement: &str) -> Case {
    let setup = setup.iter().map(|sql| (*sql).to_owned()).collect();
    Case { name, setup, statement: statement.to_owned(), is_prepared: false, is_held }
}

fn prepared(mut case: Case) -> Case {
    case.is_prepared = true;
    case
}

/// What a client is told: rows, or an error's code.
type Told = Result<Vec<Vec<Value>>, u16>;

async fn ask(conn: &mut Conn, case: &Case) -> Result<Told> {
    let answer: mysql_async::Result<Vec<Row>> = if case.is_prepared {
        conn.exec(case.statement.as_str(), ()).await
    } else {
        // All results of a text of several statements; the rows of the last with any.
        async {
            let mut result = conn.query_iter(case.statement.as_str()).await?;
            let mut last = Vec::new();
            while !result.is_empty() {
                let rows: Vec<Row> = result.collect().await?;
                if !rows.is_empty() {
                    last = rows;
                }
            }
            Ok(last)
        }
        .await
    };
    match answer {
        Ok(rows) => Ok(Ok(rows.into_iter().map(Row::unwrap).collect())),
        Err(mysql_async::Error::Server(error)) => Ok(Err(error.code)),
        Err(error) => Err(error.into()),
    }
}

/// A hold that lasts until this is dropped.
pub(super) struct Hold(tempfile::TempDir);

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.path().join("held"));
    }
}

/// A lab whose proxy stops at a failpoint, the first time that it comes there, until the second value is dropped.
pub(super) async fn lab_that_stops_at(kind: Kind, settings: Settings, failpoint: &str) -> Result<(Lab, Hold)> {
    let dir = tempfile::Builder::new().prefix("tidegate-hold-").tempdir()?;
    let failpoints = format!("{failpoint}=stop({})*1", dir.path().join("held").display());
    Ok((Lab::start_with(kind, settings, &[("TIDEGATE_FAILPOINTS", &failpoints)]).await?, Hold(dir)))
}

/// A lab whose first cut-over stays behind the drained gate.
pub(super) async fn lab_with_a_long_hold(kind: Kind, settings: Settings) -> Result<(Lab, Hold)> {
    lab_that_stops_at(kind, settings, "cutover.drained").await
}

/// Starts a migration and waits until it is ready.
pub(super) async fn held(admin: &mut Admin, table: &str) -> Result<u64> {
    let options = "WITH strategy = 'copy', postpone = true, drain_budget_ms = 20000, max_hold_ms = 60000";
    let id = admin.migrate(table, "ADD COLUMN note VARCHAR(64)", options).await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    Ok(id)
}

pub(super) async fn begin_hold(admin: &mut Admin, id: u64) -> Result<()> {
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + Duration::from_secs(30);
    while !admin.rows("SHOW GATES").await?.iter().any(|gate| gate.text("state") == "held") {
        ensure!(Instant::now() < until, "no hold begins: {:?} {:?}", admin.status(id).await?, admin.rows("SHOW GATES").await?);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Sends every case's statement at a held gate; compares who waits and what each is told with what must be and with a direct
/// connection.
async fn judge((lab, hold): (Lab, Hold), table: &str, cases: Vec<Case>) -> Result<()> {
    let mut admin = lab.admin().await?;
    let id = held(&mut admin, table).await?;
    let mut conns = Vec::new();
    for case in &cases {
        let mut conn = lab.proxy.connect().await?;
        for sql in &case.setup {
            conn.query_drop(sql).await.with_context(|| format!("{}: {sql}", case.name))?;
        }
        if case.is_prepared {
            conn.prep(case.statement.as_str()).await.with_context(|| case.name)?;
        }
        conns.push(conn);
    }
    tokio::time::sleep(LEARNING).await;
    begin_hold(&mut admin, id).await?;
    let ids: Vec<u64> = conns.iter().map(|conn| u64::from(conn.id())).collect();
    let cases = std::sync::Arc::new(cases);
    let mut tasks = Vec::new();
    for (number, mut conn) in conns.into_iter().enumerate() {
        let cases = cases.clone();
        tasks.push(tokio::spawn(async move {
            let told = ask(&mut conn, &cases[number]).await;
            (conn, told)
        }));
    }
    // Each either waits at the gate or is answered.
    let until = Instant::now() + Duration::from_secs(20);
    let waiting = loop {
        let sessions = admin.rows("SHOW SESSIONS").await?;
        let waiting: BTreeSet<u64> = sessions
            .iter()
            .filter(|session| !session.text("held_ms").is_empty())
            .filter_map(|session| session.text("connection_id").parse().ok())
            .collect();
        if ids.iter().zip(&tasks).all(|(id, task)| task.is_finished() || waiting.contains(id)) {
            break waiting;
        }
        ensure!(Instant::now() < until, "neither held nor answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let gates = admin.rows("SHOW GATES").await?;
    ensure!(gates.iter().any(|gate| gate.text("state") == "held"), "the hold was over before all had come: {gates:?}");
    let mut wrong = Vec::new();
    for (case, id) in cases.iter().zip(&ids) {
        if waiting.contains(id) != case.is_held {
            wrong.push(format!("{}: {} must {}be held", case.name, case.statement, if case.is_held { "" } else { "not " }));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(hold);
    admin.wait_done(id, Duration::from_secs(60)).await?;
    for (case, task) in cases.iter().zip(tasks) {
        let (mut conn, told) = task.await?;
        let told = told.with_context(|| case.name)?;
        let mut direct = lab.server.connect().await?;
        for sql in &case.setup {
            direct.query_drop(sql).await.with_context(|| format!("{}, direct: {sql}", case.name))?;
        }
        let shown = ask(&mut direct, case).await?;
        ensure!(told == shown, "{}: {} is answered with {told:?}, on a direct connection with {shown:?}", case.name, case.statement);
        // The session goes on.
        let _ = conn.query_drop("ROLLBACK").await;
        let one: Option<u64> = conn.query_first("SELECT 1").await.with_context(|| case.name)?;
        ensure!(one == Some(1), "{}", case.name);
    }
    lab.assert_nothing_left().await
}

const COUNT: &str = "SELECT COUNT(*) FROM shop.orders";

async fn make_reach(lab: &Lab) -> Result<()> {
    crate::migrations::quiet_table(lab, 300).await?;
    lab.sql(&[
        "SET GLOBAL log_bin_trust_function_creators = 1",
        "CREATE TABLE shop.other (a INT PRIMARY KEY, b INT)",
        "INSERT INTO shop.other VALUES (1, 0)",
        "CREATE TABLE shop.quiet (a INT PRIMARY KEY, b INT)",
        "INSERT INTO shop.quiet VALUES (1, 0)",
        "CREATE TABLE shop.noted (a INT)",
        "CREATE DATABASE branch",
        "CREATE TABLE branch.orders (a INT)",
        "CREATE VIEW shop.first_view AS SELECT id, counter FROM shop.orders",
        "CREATE VIEW shop.second_view AS SELECT COUNT(*) AS rows_there FROM shop.first_view",
        "CREATE FUNCTION shop.how_many() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM shop.orders)",
        "CREATE VIEW shop.third_view AS SELECT shop.how_many() AS rows_there",
        "CREATE PROCEDURE shop.show_count() SELECT COUNT(*) FROM shop.orders",
        "CREATE TRIGGER shop.on_noted BEFORE INSERT ON shop.noted FOR EACH ROW UPDATE shop.orders SET amount = 1 WHERE id = NEW.a",
        "CREATE TRIGGER shop.on_other BEFORE DELETE ON shop.other FOR EACH ROW SET @n = shop.how_many()",
    ])
    .await
}

async fn every_way_to_the_table_is_held_and_nothing_else(kind: Kind) -> Result<()> {
    let (lab, hold) = lab_with_a_long_hold(kind, Settings::default()).await?;
    make_reach(&lab).await?;
    let mut cases = vec![
        case("text", true, &[], COUNT),
        prepared(case("binary", true, &[], COUNT)),
        prepared(case("binary, another table", false, &[], "SELECT b FROM shop.quiet")),
        case("text PREPARE", true, &["PREPARE s FROM 'SELECT COUNT(*) FROM shop.orders'"], "EXECUTE s"),
        case("several statements", true, &[], "SELECT 1; SELECT COUNT(*) FROM shop.orders"),
        case("several statements elsewhere", false, &[], "SELECT 1; SELECT b FROM shop.quiet"),
        case("default schema", true, &["USE shop"], "SELECT COUNT(*) FROM orders"),
        case("autocommit off", true, &["SET autocommit = 0"], COUNT),
        case("autocommit off, a user's first", true, &["SET autocommit = 0", COUNT, "COMMIT"], "SELECT b FROM shop.quiet"),
        case("autocommit off, of an account that uses it", true, &["SET autocommit = 0"], "SELECT b FROM shop.quiet"),
        case("autocommit off, a stranger", false, &["USE branch", "SET autocommit = 0"], "SELECT b FROM shop.quiet"),
        case("in a stranger's transaction", true, &[], "BEGIN; SELECT COUNT(*) FROM shop.orders; COMMIT"),
        case("BEGIN of an account that uses it", true, &[], "BEGIN"),
        case("BEGIN of a stranger", false, &["USE branch"], "BEGIN"),
        case(
            "XA of a stranger",
            false,
            &["USE branch"],
            "XA START 'stranger'; SELECT b FROM shop.quiet; XA END 'stranger'; XA ROLLBACK 'stranger'",
        ),
        case("view", true, &[], "SELECT COUNT(*) FROM shop.first_view"),
        case("view on a view", true, &[], "SELECT * FROM shop.second_view"),
        case("view on a function", true, &[], "SELECT * FROM shop.third_view"),
        case("function", true, &[], "SELECT shop.how_many()"),
        case("procedure", true, &[], "CALL shop.show_count()"),
        case("trigger of another table", true, &[], "INSERT INTO shop.noted VALUES (1)"),
        case("trigger with a function", true, &[], "DELETE FROM shop.other WHERE a = 5"),
        case("write", true, &[], "UPDATE shop.orders SET counter = counter WHERE id = 3"),
        case("join", true, &[], "SELECT COUNT(*) FROM shop.quiet JOIN shop.orders ON 1 = 1"),
        case("subquery", true, &[], "SELECT (SELECT MAX(id) FROM shop.orders) FROM shop.quiet"),
        case("common table expression", true, &[], "WITH c AS (SELECT id FROM shop.orders) SELECT COUNT(*) FROM c"),
        case("LOCK TABLES", true, &[], "LOCK TABLES shop.orders READ; UNLOCK TABLES"),
        case("LOCK TABLES elsewhere", false, &[], "LOCK TABLES shop.quiet READ; UNLOCK TABLES"),
        case("GET_LOCK holder", false, &["DO GET_LOCK('of a holder', 0)"], COUNT),
        case("named lock given back", true, &["DO GET_LOCK('given back', 0)", "DO RELEASE_LOCK('given back')"], COUNT),
        case("HANDLER", true, &[], "HANDLER shop.orders OPEN AS h; HANDLER h READ FIRST LIMIT 0; HANDLER h CLOSE"),
        case("HANDLER elsewhere", false, &["HANDLER shop.quiet OPEN AS h"], "HANDLER h READ FIRST"),
        case(
            "temporary table",
            true,
            &["CREATE TEMPORARY TABLE shop.orders (a INT)", "INSERT INTO shop.orders VALUES (7)"],
            "SELECT * FROM shop.orders",
        ),
        case("same name elsewhere", true, &[], "SELECT COUNT(*) FROM branch.orders"),
        case("SHOW", true, &[], "SHOW COLUMNS FROM shop.quiet LIKE 'orders'"),
        case("EXPLAIN", true, &[], "EXPLAIN SELECT 1 FROM shop.orders WHERE 1 = 0"),
        case("nothing", false, &[], "SELECT 1"),
        case("longer names", false, &[], "SELECT 'reorders', 'orders_old', 1 AS my_orders"),
        case("SET", false, &[], "SET @a = 5"),
        case("USE", false, &[], "USE branch"),
    ];
    if kind == Kind::MariaDb {
        cases.push(case("EXECUTE IMMEDIATE", true, &[], "EXECUTE IMMEDIATE 'SELECT COUNT(*) FROM shop.orders'"));
        cases.push(case("sequence of statements", true, &[], "BEGIN NOT ATOMIC SELECT COUNT(*) FROM shop.orders; END"));
    }
    judge((lab, hold), "shop.orders", cases).await
}

async fn names_are_held_however_they_are_written(kind: Kind) -> Result<()> {
    let (lab, hold) = lab_with_a_long_hold(kind, Settings::default()).await?;
    make_reach(&lab).await?;
    let mut cases = vec![
        case("backticks", true, &[], "SELECT COUNT(*) FROM `shop`.`orders`"),
        case("blanks", true, &[], "SELECT COUNT(*) FROM shop . orders"),
        case("ANSI_QUOTES", true, &["SET sql_mode = 'ANSI_QUOTES'"], "SELECT COUNT(*) FROM \"shop\".\"orders\""),
        case("no ANSI_QUOTES", true, &[], "SELECT \"orders\""),
        case("version comment", true, &[], "SELECT COUNT(*) FROM /*!50000 shop.orders */"),
        case("version comment, glued", true, &[], "SELECT COUNT(*) FROM/*!50000shop.orders*/"),
        case("comments", true, &[], "SELECT/**/COUNT(*)/* x */FROM-- x\nshop.#\norders"),
        case("latin1", true, &["SET NAMES latin1"], COUNT),
        case("gbk", true, &["SET NAMES gbk"], "SELECT COUNT(*) FROM shop.`orders`"),
        case("sjis", true, &["SET NAMES sjis"], COUNT),
        case("no backslash escapes", true, &["SET sql_mode = 'NO_BACKSLASH_ESCAPES'"], "SELECT COUNT(*), '\\' FROM shop.orders"),
        case("upper case, another table here", true, &[], "SELECT COUNT(*) FROM shop.ORDERS"),
        case("in the text of a PREPARE", true, &[], "PREPARE s FROM 'SELECT 1 FROM\\nshop.orders'; EXECUTE s; DEALLOCATE PREPARE s"),
        case("hidden from the text", true, &["SET @t = CONCAT('SELECT COUNT(*) FROM shop.or', 'ders')", "PREPARE s FROM @t"], "EXECUTE s"),
    ];
    if kind == Kind::MariaDb {
        cases.push(case("MariaDB's comment", true, &[], "SELECT COUNT(*) FROM /*M!100100 shop.orders */"));
    }
    judge((lab, hold), "shop.orders", cases).await?;

    // Names that no byte search finds: then everything is held, and everything is answered as ever.
    for name in ["bücher", "a`b", "it's \"one\""] {
        let (lab, hold) = lab_with_a_long_hold(kind, Settings::default()).await?;
        let quoted = format!("`{}`", name.replace('`', "``"));
        lab.sql(&[
            "CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4",
            &format!("CREATE TABLE shop.{quoted} (id INT PRIMARY KEY, a INT)"),
            &format!("INSERT INTO shop.{quoted} VALUES (1, 1), (2, 2)"),
        ])
        .await?;
        let cases = vec![
            case("plain", true, &[], &format!("SELECT COUNT(*) FROM shop.{quoted}")),
            case("latin1", true, &["SET NAMES utf8mb4"], &format!("SELECT MAX(a) FROM shop.{quoted}")),
            prepared(case("binary", true, &[], &format!("SELECT MIN(a) FROM shop.{quoted}"))),
        ];
        judge((lab, hold), &format!("shop.{quoted}"), cases).await.with_context(|| name)?;
    }
    Ok(())
}

async fn upper_case_is_held_where_the_server_ignores_case(kind: Kind) -> Result<()> {
    let settings = Settings { ignores_case: true, ..Settings::default() };
    let (lab, hold) = lab_with_a_long_hold(kind, settings).await?;
    make_reach(&lab).await?;
    let cases = vec![
        case("upper case", true, &[], "SELECT COUNT(*) FROM SHOP.ORDERS"),
        case("mixed, quoted", true, &[], "SELECT COUNT(*) FROM `Shop`.`Orders`"),
        case("view", true, &[], "SELECT COUNT(*) FROM shop.FIRST_VIEW"),
        case("function", true, &[], "SELECT SHOP.How_Many()"),
        case("trigger", true, &[], "INSERT INTO Shop.Noted VALUES (1)"),
        case("another", false, &[], "SELECT B FROM SHOP.QUIET"),
    ];
    judge((lab, hold), "Shop.Orders", cases).await
}

async fn views_and_programs_that_come_later_are_known(kind: Kind) -> Result<()> {
    let (lab, hold) = lab_with_a_long_hold(kind, Settings::default()).await?;
    make_reach(&lab).await?;
    let mut admin = lab.admin().await?;
    let id = held(&mut admin, "shop.orders").await?;
    lab.sql(&["CREATE VIEW shop.late_view AS SELECT COUNT(*) FROM shop.second_view", "DROP VIEW shop.third_view"]).await?;
    begin_hold(&mut admin, id).await?;
    let mut conn = lab.proxy.connect().await?;
    let task = tokio::spawn(async move { conn.query_first::<u64, _>("SELECT * FROM shop.late_view").await });
    let until = Instant::now() + Duration::from_secs(20);
    while !admin.rows("SHOW GATES").await?.iter().any(|gate| gate.number("waiting") >= 1.0) {
        ensure!(!task.is_finished(), "a view that came while the migration ran was not held");
        ensure!(Instant::now() < until, "nobody waits");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(hold);
    admin.wait_done(id, Duration::from_secs(60)).await?;
    ensure!(task.await?? == Some(1));
    lab.assert_nothing_left().await
}

/// Held clients that close, break, are killed or have pipelined: what they sent is executed once or not at all.
async fn a_client_that_goes_while_it_is_held_changes_nothing(kind: Kind) -> Result<()> {
    use crate::support::raw::{BASE, Raw, framed};
    use crate::support::servers::APP;
    let (lab, hold) = lab_with_a_long_hold(kind, Settings::default()).await?;
    make_reach(&lab).await?;
    let mut admin = lab.admin().await?;
    let id = held(&mut admin, "shop.orders").await?;
    begin_hold(&mut admin, id).await?;
    let update = |row: u32| [&[3][..], format!("UPDATE shop.orders SET counter = counter + 1 WHERE id = {row}").as_bytes()].concat();
    // 1: closes. 2: closes with more behind its statement than the proxy reads. 3: stays. 4: stays, with more behind.
    let mut clients = Vec::new();
    for row in 1..=4_u32 {
        let mut raw = Raw::login(lab.proxy.port, APP, BASE, usize::MAX).await?;
        raw.write(&framed(0, &update(row))).await?;
        clients.push(raw);
    }
    waiting(&mut admin, 4).await?;
    for _ in 0..3 {
        clients[3].write(&framed(0, &update(4))).await?;
    }
    let mut gone = clients.drain(..2);
    drop(gone.next());
    if let Some(mut raw) = gone.next() {
        let more = [&[3][..], b"SELECT '", &vec![b'x'; 20_000], b"'"].concat();
        for _ in 0..5 {
            // More than the proxy's own buffer takes; the rest lies in the sockets, with the end behind it.
            raw.write(&framed(0, &more)).await?;
        }
    }
    drop(gone);
    // Both are noticed before the gate opens.
    waiting(&mut admin, 2).await?;
    let gates = admin.rows("SHOW GATES").await?;
    ensure!(gates.iter().any(|gate| gate.text("state") == "held"), "the hold was over before the clients were noticed: {gates:?}");
    drop(hold);
    for (raw, answers) in clients.iter_mut().zip([1, 4]) {
        for _ in 0..answers {
            let (_, answer) = raw.packet().await?;
            ensure!(answer.first() == Some(&0), "{answer:?}");
        }
    }
    admin.wait_done(id, Duration::from_secs(60)).await?;
    let mut conn = lab.server.connect().await?;
    let counters: Vec<(i64, i32)> = conn.query("SELECT id, counter FROM shop.orders WHERE id < 5 ORDER BY id").await?;
    ensure!(counters == [(1, 0), (2, 0), (3, 1), (4, 4)], "{counters:?}");
    lab.assert_nothing_left().await
}

async fn waiting(admin: &mut Admin, number: u32) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let gates = admin.rows("SHOW GATES").await?;
        match gates.first() {
            Some(gate) if gate.number("waiting") == f64::from(number) => return Ok(()),
            Some(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(2)).await,
            _ => bail!("there are not {number} waiting: {gates:?}"),
        }
    }
}
