//! Triggers across the swap: each write fires them exactly once, whatever dies, and they are afterwards what they were.
//!
//! A write and what its triggers write are one transaction, so the tables themselves tell whether a trigger was missing or there twice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::servers::Settings;
use crate::support::writers::{Plan, Writers};
use crate::support::{Kind, Lab, Proxy, Server};

on_both_servers!(
    every_write_fires_them_across_swaps_and_reverts,
    called_off_attempts_put_them_on_again,
    a_lost_lock_puts_them_on_again,
    too_little_time_for_them_calls_the_attempt_off,
    proxy_dies_trying_them,
    proxy_dies_with_the_triggers_off,
    proxy_dies_renamed_with_the_triggers_off,
    proxy_dies_with_the_triggers_on,
    what_cannot_be_made_again_is_refused,
    a_transaction_on_a_table_that_they_write_is_waited_for,
);

const LONG: Duration = Duration::from_secs(60);
const TABLE: &str = "shop.t";

const SETUP: [&str; 9] = [
    "CREATE DATABASE shop",
    "CREATE TABLE shop.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT NOT NULL, doubled INT NOT NULL DEFAULT 0)",
    "CREATE TABLE shop.fired (n BIGINT AUTO_INCREMENT PRIMARY KEY, what CHAR(1), row_id BIGINT, KEY (row_id))",
    "CREATE PROCEDURE shop.note(kind CHAR(1), row_id BIGINT) INSERT INTO shop.fired (what, row_id) VALUES (kind, row_id)",
    "CREATE TRIGGER shop.on_insert AFTER INSERT ON shop.t FOR EACH ROW CALL shop.note('i', NEW.id)",
    "CREATE TRIGGER shop.adds BEFORE UPDATE ON shop.t FOR EACH ROW SET NEW.doubled = NEW.v + 1",
    "CREATE TRIGGER shop.doubles BEFORE UPDATE ON shop.t FOR EACH ROW FOLLOWS adds SET NEW.doubled = 2 * NEW.doubled",
    "CREATE TRIGGER shop.on_update AFTER UPDATE ON shop.t FOR EACH ROW INSERT INTO shop.fired (what, row_id) VALUES ('u', NEW.id)",
    "INSERT INTO shop.t (v) VALUES (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0)",
];

/// Clients that insert and update.
const PLAN: Plan = Plan {
    turn: |_, number| {
        vec![match number % 3 {
            0 => "INSERT INTO shop.t (v) VALUES (0)".to_owned(),
            _ => format!("UPDATE shop.t SET v = v + 1 WHERE id = {}", number % 20 + 1),
        }]
    },
    forgiven: &[],
};

/// What a table's triggers are, without the time at which they were made.
async fn definitions(conn: &mut Conn) -> Result<Vec<String>> {
    let columns = "TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER, ACTION_STATEMENT, DEFINER, SQL_MODE, \
                   CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION";
    let sql = format!("SELECT CONCAT_WS('|', {columns}) AS line FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop' ORDER BY 1");
    Ok(conn.query(sql).await?)
}

/// Fails where a write did not fire its triggers, or fired them twice.
async fn judge(server: &Server, before: &[String]) -> Result<()> {
    let mut conn = server.connect().await?;
    let mut count = async |sql: &str| -> Result<i64> { conn.query_first(sql).await?.context("no answer") };
    let never = "SELECT COUNT(*) FROM shop.t WHERE NOT EXISTS (SELECT 1 FROM shop.fired WHERE what = 'i' AND row_id = t.id)";
    ensure!(count(never).await? == 0, "rows were inserted without the trigger");
    let twice = "SELECT COUNT(*) - COUNT(DISTINCT row_id) FROM shop.fired WHERE what = 'i'";
    ensure!(count(twice).await? == 0, "a trigger fired twice");
    let updates = count("SELECT COALESCE(CAST(SUM(v) AS SIGNED), 0) FROM shop.t").await?;
    let fired = count("SELECT COUNT(*) FROM shop.fired WHERE what = 'u'").await?;
    ensure!(updates == fired, "{updates} updates fired {fired} triggers");
    let wrong = count("SELECT COUNT(*) FROM shop.t WHERE v > 0 AND doubled <> 2 * (v + 1)").await?;
    ensure!(wrong == 0, "{wrong} rows were updated without the triggers before it, or in another order");
    let after = definitions(&mut conn).await?;
    ensure!(before == after, "the triggers were\n{before:#?}\nand are\n{after:#?}");
    Ok(())
}

/// No client was told an error, each write fired its triggers, and nothing is left.
async fn end(writers: Writers, lab: &Lab, before: &[String]) -> Result<()> {
    writers.end_without_an_error().await?;
    judge(&lab.server, before).await?;
    lab.assert_nothing_left().await
}

async fn prepare(server: &Server) -> Result<Vec<String>> {
    let mut conn = server.connect().await?;
    for statement in SETUP {
        conn.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    definitions(&mut conn).await
}

fn settings() -> Settings {
    Settings { more: vec!["--log-bin-trust-function-creators=1".to_owned()], ..Settings::default() }
}

async fn every_write_fires_them_across_swaps_and_reverts(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, through, through, round, round], PLAN);
    let mut admin = lab.admin().await?;
    for (round, protocol) in ["auto", "sentry"].into_iter().enumerate() {
        let alter = format!("ADD COLUMN extra_{round} INT NOT NULL DEFAULT {round}");
        let options = format!("WITH strategy = 'copy', revert_window_s = 600, cutover = '{protocol}'");
        let id = admin.migrate(TABLE, &alter, &options).await?;
        admin.wait_phase(id, &["reversible"], LONG).await?;
        writers.more(100).await?;
        for swaps in [2.0, 3.0] {
            admin.run(&format!("REVERT MIGRATION {id}")).await?;
            let until = Instant::now() + LONG;
            while admin.status(id).await?.number("swaps") < swaps {
                ensure!(Instant::now() < until, "REVERT does not end: {:?}", admin.status(id).await?);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            admin.wait_phase(id, &["reversible"], LONG).await?;
            writers.more(100).await?;
        }
        admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
        admin.wait_done(id, LONG).await?;
    }
    end(writers, &lab, &before).await?;
    lab.proxy.assert_clean_log(&[])
}

async fn called_off_attempts_put_them_on_again(kind: Kind) -> Result<()> {
    let points = "cutover.triggers_off=error*1;cutover.rename_issued=error*1;cutover.triggers_on=error*1;cutover.renamed=error*1";
    let lab = Lab::start_with(kind, settings(), &[("TIDEGATE_FAILPOINTS", points)]).await?;
    let before = prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, round, round], PLAN);
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', max_hold_ms = 5000").await?;
    let status = admin.wait_done(id, LONG).await?;
    ensure!(status.number("cutover_attempts") >= 3.0, "the failpoints were not reached: {status:?}");
    end(writers, &lab, &before).await
}

async fn a_lost_lock_puts_them_on_again(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    failpoints.stop_at("cutover.triggers_off")?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', max_hold_ms = 5000").await?;
    failpoints.stopped(LONG).await?;
    lab.server.kill_holder(&format!("tidegate lock {id}")).await?;
    failpoints.go()?;
    admin.wait_done(id, LONG).await?;
    end(writers, &lab, &before).await
}

/// Each costs the disk so much that they would not be on again within max_hold: they are put back, and it is said.
async fn too_little_time_for_them_calls_the_attempt_off(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    failpoints.set("cutover.trigger_off=sleep(900)")?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', max_hold_ms = 10000").await?;
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.text("note").contains("max_hold_ms is too short") {
            break;
        }
        ensure!(!status.is_final() && Instant::now() < until, "it was swapped all the same: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failpoints.set("")?;
    admin.wait_done(id, LONG).await?;
    end(writers, &lab, &before).await
}

async fn proxy_dies_trying_them(kind: Kind) -> Result<()> {
    proxy_dies(kind, "triggers.tried").await
}

async fn proxy_dies_with_the_triggers_off(kind: Kind) -> Result<()> {
    proxy_dies(kind, "cutover.triggers_off").await
}

async fn proxy_dies_renamed_with_the_triggers_off(kind: Kind) -> Result<()> {
    // MariaDB has them on by then.
    proxy_dies(kind, "cutover.renamed").await
}

async fn proxy_dies_with_the_triggers_on(kind: Kind) -> Result<()> {
    proxy_dies(kind, "cutover.triggers_on").await
}

/// The proxy dies there and is started again; all clients go through it.
async fn proxy_dies(kind: Kind, point: &str) -> Result<()> {
    let server = Server::start(kind, settings()).await?;
    let mut proxy = Proxy::prepare(&server.address(), &[])?;
    proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
    let mut lab = Lab { proxy, server };
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    writers.more(50).await?;
    // The answer to MIGRATE may be lost where the proxy dies at once.
    let _ = lab.admin().await?.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', revert_window_s = 600").await;
    lab.proxy.ended(LONG).await.with_context(|| format!("failpoint {point} was not reached; log:\n{}", lab.proxy.log()))?;
    lab.proxy.launch(&[]).await?;
    writers.more(50).await?;
    let mut admin = lab.admin().await?;
    let id = admin.rows("SHOW MIGRATIONS").await?.first().context("the migration is gone")?.id();
    admin.wait_phase(id, &["reversible"], LONG).await?;
    writers.more(50).await?;
    // What is written to the table that lost the name must not fire triggers either.
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    writers.stop().await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}

async fn what_cannot_be_made_again_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let mut admin = lab.admin().await?;
    let mut refused = async |alter: &str, options: &str| -> Result<(u16, String)> {
        let error = admin.migrate(TABLE, alter, options).await.err().with_context(|| format!("{alter} {options} was taken"))?;
        crate::support::admin::server_error(&error).context("no error of a server")
    };
    let (code, text) = refused("DROP COLUMN doubled", "WITH strategy = 'copy'").await?;
    ensure!(code == 1054 && text.contains("doubled") && text.contains("change or drop the trigger"), "{code} {text}");
    let (code, text) = refused("ADD COLUMN z INT", "WITH strategy = 'copy', cutover = 'sentry_locked_shadow'").await?;
    ensure!(code == 1235 && text.contains("triggers"), "{code} {text}");
    lab.sql(&["ALTER DATABASE shop COLLATE utf8mb4_bin"]).await?;
    let (code, text) = refused("ADD COLUMN z INT", "WITH strategy = 'copy'").await?;
    ensure!(code == 1235 && text.contains("utf8mb4_bin"), "{code} {text}");
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}

async fn a_transaction_on_a_table_that_they_write_is_waited_for(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    // LOCK TABLES on the table locks this one too: through a procedure that its trigger calls.
    let mut conn = lab.proxy.connect().await?;
    conn.query_drop("BEGIN").await?;
    conn.query_drop("UPDATE shop.fired SET what = what WHERE n = 0").await?;
    // A transaction that is younger than the budget may still be drained.
    conn.query_drop("DO SLEEP(0.4)").await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        ensure!(status.number("cutover_attempts") == 0.0, "an attempt met the transaction: {status:?}");
        if status.text("note").contains("transaction") {
            break;
        }
        ensure!(Instant::now() < until, "nobody waits for the transaction: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    conn.query_drop("COMMIT").await?;
    admin.wait_done(id, LONG).await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}
