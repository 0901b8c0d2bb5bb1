//! Triggers on the members of a group: each write fires them exactly once, whatever dies, and they are afterwards what they were.

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{LONG, all_done, migrate};
use crate::support::admin::server_error;
use crate::support::failpoints::Failpoints;
use crate::support::servers::Settings;
use crate::support::writers::{Plan, Writers};
use crate::support::{Kind, Lab, Proxy, Server};

on_both_servers!(
    every_write_fires_the_triggers_of_all,
    lost_connections_leave_no_table_without_them,
    attempts_that_are_called_off_put_all_on_again,
    the_proxy_dies_with_them_off,
    a_trigger_that_writes_to_another_member,
);

const SETUP: [&str; 12] = [
    "CREATE DATABASE shop",
    "CREATE DATABASE other",
    "CREATE TABLE shop.a (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT NOT NULL, doubled INT NOT NULL DEFAULT 0)",
    "CREATE TABLE other.b (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT NOT NULL, doubled INT NOT NULL DEFAULT 0)",
    "CREATE TABLE shop.fired (n BIGINT AUTO_INCREMENT PRIMARY KEY, place INT, what CHAR(1), row_id BIGINT, KEY (row_id))",
    "CREATE TRIGGER shop.on_insert AFTER INSERT ON shop.a FOR EACH ROW INSERT INTO shop.fired (place, what, row_id) VALUES (1, 'i', NEW.id)",
    "CREATE TRIGGER shop.doubles BEFORE UPDATE ON shop.a FOR EACH ROW SET NEW.doubled = 2 * NEW.v",
    "CREATE TRIGGER shop.on_update AFTER UPDATE ON shop.a FOR EACH ROW INSERT INTO shop.fired (place, what, row_id) VALUES (1, 'u', NEW.id)",
    "CREATE TRIGGER other.on_insert AFTER INSERT ON other.b FOR EACH ROW INSERT INTO shop.fired (place, what, row_id) VALUES (2, 'i', NEW.id)",
    "CREATE TRIGGER other.on_update AFTER UPDATE ON other.b FOR EACH ROW INSERT INTO shop.fired (place, what, row_id) VALUES (2, 'u', NEW.id)",
    "INSERT INTO shop.a (v) VALUES (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0), (0)",
    "INSERT INTO other.b (v) SELECT v FROM shop.a",
];

/// Clients that insert and update in one table or the other.
pub(super) const PLAN: Plan = Plan {
    turn: |client, number| {
        let table = if (client + number).is_multiple_of(2) { "shop.a" } else { "other.b" };
        vec![match number % 3 {
            0 => format!("INSERT INTO {table} (v) VALUES (0)"),
            _ => format!("UPDATE {table} SET v = v + 1 WHERE id = {}", number % 20 + 1),
        }]
    },
    forgiven: &[],
};

pub(super) fn settings() -> Settings {
    Settings { more: vec!["--log-bin-trust-function-creators=1".to_owned()], ..Settings::default() }
}

/// What the triggers are, without the time at which they were made.
async fn definitions(conn: &mut Conn) -> Result<Vec<String>> {
    let columns = "TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER, ACTION_STATEMENT, DEFINER, SQL_MODE";
    let sql = format!(
        "SELECT CONCAT_WS('|', {columns}) AS line FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA IN ('shop', 'other') ORDER BY 1"
    );
    Ok(conn.query(sql).await?)
}

pub(super) async fn prepare(server: &Server) -> Result<Vec<String>> {
    let mut conn = server.connect().await?;
    for statement in SETUP {
        conn.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    definitions(&mut conn).await
}

/// Fails where a write did not fire its triggers, or fired them twice.
pub(super) async fn judge(server: &Server, before: &[String]) -> Result<()> {
    let mut conn = server.connect().await?;
    for (place, table) in [(1, "shop.a"), (2, "other.b")] {
        let mut count = async |sql: &str| -> Result<i64> { conn.query_first(sql.to_owned()).await?.context("no answer") };
        let rows = count(&format!("SELECT COUNT(*) FROM {table}")).await?;
        let fired = format!("SELECT COUNT(DISTINCT row_id) FROM shop.fired WHERE what = 'i' AND place = {place}");
        ensure!(rows == count(&fired).await?, "{table}: rows were inserted without the trigger");
        let twice = format!("SELECT COUNT(*) - COUNT(DISTINCT row_id) FROM shop.fired WHERE what = 'i' AND place = {place}");
        ensure!(count(&twice).await? == 0, "{table}: a trigger fired twice");
        let updates = count(&format!("SELECT COALESCE(CAST(SUM(v) AS SIGNED), 0) FROM {table}")).await?;
        let fired = count(&format!("SELECT COUNT(*) FROM shop.fired WHERE what = 'u' AND place = {place}")).await?;
        ensure!(updates == fired, "{table}: {updates} updates fired {fired} triggers");
    }
    let wrong: Option<i64> = conn.query_first("SELECT COUNT(*) FROM shop.a WHERE v > 0 AND doubled <> 2 * v").await?;
    ensure!(wrong == Some(0), "{wrong:?} rows were updated without the trigger before it");
    let after = definitions(&mut conn).await?;
    ensure!(before == after, "the triggers were\n{before:#?}\nand are\n{after:#?}");
    Ok(())
}

fn group(nth: usize) -> String {
    let change = if nth.is_multiple_of(2) { "ADD COLUMN x INT" } else { "DROP COLUMN x" };
    format!("MIGRATE TABLE shop.a {change}, TABLE other.b {change} WITH max_hold_ms = 8000")
}

/// Clients through the proxy and round it.
async fn every_write_fires_the_triggers_of_all(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, through, round, round, round], PLAN);
    let mut admin = lab.admin().await?;
    for nth in 0..4 {
        writers.more(60).await?;
        let ids = migrate(&mut admin, &group(nth)).await?;
        all_done(&mut admin, &ids).await?;
    }
    // One of them with triggers, the other without.
    lab.sql(&["DROP TRIGGER other.on_insert", "DROP TRIGGER other.on_update"]).await?;
    let ids = migrate(&mut admin, &group(4)).await?;
    all_done(&mut admin, &ids).await?;
    writers.end_without_an_error().await?;
    lab.sql(&[
        "DELETE FROM shop.fired WHERE place = 2",
        "INSERT INTO shop.fired (place, what, row_id) SELECT 2, 'i', id FROM other.b",
        "UPDATE other.b SET v = 0",
        SETUP[8],
        SETUP[9],
    ])
    .await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

/// Where an attempt stands, whose connections die there, and of which member.
fn losses(kind: Kind) -> Vec<(&'static str, &'static str, usize)> {
    let mut losses = vec![("cutover.triggers_off", "lock", 0), ("cutover.rename_issued", "lock", 0), ("cutover.renamed", "lock", 0)];
    if kind == Kind::MariaDb {
        losses = vec![
            ("cutover.triggers_off", "lock", 1),
            ("cutover.rename_issued", "heir", 0),
            ("cutover.rename_issued", "heir", 1),
            ("cutover.rename_issued", "rename", 0),
            ("cutover.source_unlocked", "lock", 1),
            ("cutover.source_unlocked", "heir", 1),
            ("cutover.source_unlocked", "rename", 0),
            ("cutover.renamed", "heir", 1),
        ];
    }
    losses
}

/// While no lock is there clients of the proxy are held; those who go round it are not part of this.
async fn lost_connections_leave_no_table_without_them(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, settings(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    let mut admin = lab.admin().await?;
    for (nth, (point, whose, member)) in losses(kind).into_iter().enumerate() {
        failpoints.stop_at(point)?;
        let ids = migrate(&mut admin, &group(nth)).await?;
        failpoints.stopped(LONG).await.with_context(|| format!("{point}: {}", lab.proxy.log()))?;
        lab.server.kill_holder(&format!("tidegate {whose} {}", ids[member])).await.context(point)?;
        failpoints.go()?;
        all_done(&mut admin, &ids).await.with_context(|| format!("{point}, {whose} {member}"))?;
        writers.more(20).await?;
    }
    writers.end_without_an_error().await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}

async fn attempts_that_are_called_off_put_all_on_again(kind: Kind) -> Result<()> {
    let points = "cutover.triggers_off=error*1;cutover.rename_issued=error*1;cutover.triggers_on=error*1;cutover.renamed=error*1";
    let lab = Lab::start_with(kind, settings(), &[("TIDEGATE_FAILPOINTS", points)]).await?;
    let before = prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, round, round], PLAN);
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, &group(0)).await?;
    all_done(&mut admin, &ids).await?;
    ensure!(admin.status(ids[1]).await?.number("cutover_attempts") >= 3.0, "the failpoints were not reached");
    writers.end_without_an_error().await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}

/// All clients go through the proxy, which lets none in before all triggers are on.
async fn the_proxy_dies_with_them_off(kind: Kind) -> Result<()> {
    let server = Server::start(kind, settings()).await?;
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let mut lab = Lab { proxy: Proxy::start(&server.address(), &[(name, file.as_str())]).await?, server };
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    let mut points = vec!["cutover.triggers_off", "cutover.renamed", "cutover.triggers_on"];
    if kind == Kind::MariaDb {
        points.insert(1, "cutover.source_unlocked");
    }
    for (nth, point) in points.into_iter().enumerate() {
        writers.more(20).await?;
        failpoints.set(&format!("{point}=abort*1"))?;
        let ids = migrate(&mut lab.admin().await?, &group(nth)).await.context(point)?;
        lab.proxy.ended(LONG).await.with_context(|| format!("{point} was not reached; log:\n{}", lab.proxy.log()))?;
        failpoints.set("")?;
        lab.proxy.launch(&[]).await?;
        writers.more(20).await?;
        all_done(&mut lab.admin().await?, &ids).await.context(point)?;
    }
    writers.stop().await?;
    judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await
}

/// On MySQL one session locks all of them; on MariaDB the one's lock session would have the other's table.
async fn a_trigger_that_writes_to_another_member(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, settings(), &[]).await?;
    lab.sql(&SETUP[..4]).await?;
    lab.sql(&["CREATE TRIGGER shop.doubled AFTER INSERT ON shop.a FOR EACH ROW INSERT INTO other.b (id, v) VALUES (NEW.id, NEW.v)"])
        .await?;
    let before = definitions(&mut lab.server.connect().await?).await?;
    let mut admin = lab.admin().await?;
    if kind == Kind::MariaDb {
        let error = admin.run(&group(0)).await.err().context("it was taken")?;
        let (code, text) = server_error(&error).context("no error of a server")?;
        ensure!(code == 1235 && text.contains("a trigger of shop.a uses other.b"), "{code} {text}");
        return lab.assert_nothing_left().await;
    }
    let plan = Plan { turn: |_, _| vec!["INSERT INTO shop.a (v) VALUES (1)".to_owned()], forgiven: &[] };
    let writers = Writers::start(&[lab.proxy.port, lab.proxy.port, lab.server.port], plan);
    for nth in 0..2 {
        writers.more(50).await?;
        let ids = migrate(&mut admin, &group(nth)).await?;
        all_done(&mut admin, &ids).await?;
    }
    writers.end_without_an_error().await?;
    let mut conn = lab.server.connect().await?;
    let missing: Option<i64> =
        conn.query_first("SELECT (SELECT COUNT(*) FROM shop.a) - (SELECT COUNT(*) FROM shop.a JOIN other.b USING (id, v))").await?;
    ensure!(missing == Some(0), "{missing:?} rows did not fire the trigger");
    ensure!(definitions(&mut conn).await? == before, "the trigger is another one");
    lab.assert_nothing_left().await
}
