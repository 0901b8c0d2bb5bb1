//! The copy goes slower while clients' statements take longer beside it, and rests while the application, the server or a replica is worse
//! off than `[throttle]` allows; applying goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::engine::load::{TABLE, prepare};
use crate::engine::spaces::INT;
use crate::replicas::replica_behind;
use crate::support::servers::{ENGINE, Settings};
use crate::support::{Admin, Kind, lab::Lab, metrics};

on_both_servers!(
    slow_statements_make_the_copy_rest_and_not_the_applying,
    a_rest_that_does_not_help_ends,
    statements_that_take_longer_slow_the_copy_down,
    a_busy_server_makes_the_copy_rest,
    a_query_of_the_operators_makes_the_copy_rest,
    a_replica_that_is_behind_makes_the_copy_rest,
    a_large_table_is_dropped_in_parts_at_a_calm_moment,
);

const LONG: Duration = Duration::from_secs(120);
/// A copy of seconds, in many chunks.
const SLOW_COPY: &str = "copy.chunk=sleep(40);copy.rows=value(100)";
const OPTIONS: &str = "WITH strategy = 'copy', copy_workers = 1";

async fn start(kind: Kind, limits: &[(&str, &str)], failpoints: &str) -> Result<Lab> {
    let failpoints = format!("{SLOW_COPY};{failpoints}");
    let mut environment = vec![("TIDEGATE_FAILPOINTS", failpoints.as_str())];
    environment.extend(limits);
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    prepare(&mut lab.server.connect().await?, INT, 10_000, 1).await?;
    Ok(lab)
}

/// Clients whose every statement takes a while, until the flag is set.
async fn slow_clients(lab: &Lab, count: usize, seconds: f64) -> Result<(Arc<AtomicBool>, Vec<JoinHandle<Result<()>>>)> {
    let (over, _, clients) = clients(lab, count, seconds).await?;
    Ok((over, clients))
}

/// Clients whose every statement takes so many microseconds and may take others later.
async fn clients(lab: &Lab, count: usize, seconds: f64) -> Result<(Arc<AtomicBool>, Arc<AtomicU64>, Vec<JoinHandle<Result<()>>>)> {
    let (over, time_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new((seconds * 1e6) as u64)));
    let mut clients = Vec::new();
    for _ in 0..count {
        let (mut conn, over, time_us) = (lab.proxy.connect().await?, over.clone(), time_us.clone());
        clients.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                conn.query_drop(format!("SELECT SLEEP({:.6})", time_us.load(Ordering::Relaxed) as f64 / 1e6)).await?;
            }
            Ok(())
        }));
    }
    Ok((over, time_us, clients))
}

async fn ended(over: Arc<AtomicBool>, clients: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    Ok(())
}

/// Waits until the copy rests with these words.
async fn rests(admin: &mut Admin, id: u64, words: &str) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.text("throttled").contains(words) {
            return Ok(());
        }
        if !matches!(status.phase(), "queued" | "preparing" | "copying") || Instant::now() > until {
            bail!("it did not rest for {words}: {status:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Seconds that the metrics tell of.
async fn rested_seconds(lab: &Lab, signal: &str) -> Result<f64> {
    let text = metrics::fetch(lab.proxy.http_port, "/metrics").await?;
    Ok(metrics::sum(&text, "tidegate_migration_throttled_seconds_total", &[&format!("signal=\"{signal}\"")]))
}

/// Waits until it has rested for about two more looks at the signals.
async fn rests_longer(lab: &Lab, signal: &str) -> Result<()> {
    let (before, until) = (rested_seconds(lab, signal).await?, Instant::now() + LONG);
    while rested_seconds(lab, signal).await? < before + 0.9 {
        ensure!(Instant::now() < until, "the metrics do not tell of a rest for {signal}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The copy rests: no row is copied, and what is written meanwhile is applied.
async fn only_the_copy_rests(lab: &Lab, admin: &mut Admin, id: u64, signal: &str) -> Result<()> {
    rests_longer(lab, signal).await?;
    let before = admin.status(id).await?;
    let mut direct = lab.server.connect().await?;
    direct.query_drop(format!("UPDATE {TABLE} SET c = 4711 ORDER BY k LIMIT 1")).await?;
    let (schema, table) = TABLE.split_once('.').unwrap_or_default();
    let until = Instant::now() + LONG;
    loop {
        let there: Option<u64> = direct.query_first(format!("SELECT COUNT(*) FROM `~shadow_{schema}`.`{table}` WHERE c = 4711")).await?;
        if there == Some(1) {
            break;
        }
        ensure!(Instant::now() < until, "the write was not applied while the copy rested");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rests_longer(lab, signal).await?;
    let after = admin.status(id).await?;
    ensure!(after.phase() == "copying" && !after.text("throttled").is_empty(), "it does not rest: {after:?}");
    ensure!(before.number("rows_copied") == after.number("rows_copied"), "rows were copied in a rest: {before:?}, {after:?}");
    Ok(())
}

/// Nothing asks for a rest any more.
async fn goes_on(lab: &Lab, admin: &mut Admin, id: u64) -> Result<()> {
    let status = admin.wait_done(id, LONG).await?;
    ensure!(status.text("throttled").is_empty(), "done, and still resting: {status:?}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

async fn slow_statements_make_the_copy_rest_and_not_the_applying(kind: Kind) -> Result<()> {
    let lab = start(kind, &[("TIDEGATE_THROTTLE_LATENCY_MS", "50")], "throttle.patience=value(600000)").await?;
    let (over, clients) = slow_clients(&lab, 2, 0.2).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    rests(&mut admin, id, "latency: ").await?;
    only_the_copy_rests(&lab, &mut admin, id, "latency").await?;
    ended(over, clients).await?;
    goes_on(&lab, &mut admin, id).await?;
    // Who is told to ignore it copies through.
    let (over, clients) = slow_clients(&lab, 2, 0.2).await?;
    let before = rested_seconds(&lab, "latency").await?;
    let id = admin.migrate(TABLE, "DROP COLUMN x", &format!("{OPTIONS}, throttle = false")).await?;
    admin.wait_done(id, LONG).await?;
    ensure!(rested_seconds(&lab, "latency").await? == before, "it rested although it was told not to");
    ended(over, clients).await
}

async fn a_rest_that_does_not_help_ends(kind: Kind) -> Result<()> {
    let lab = start(kind, &[("TIDEGATE_THROTTLE_LATENCY_MS", "50")], "throttle.patience=value(1200)").await?;
    let (over, clients) = slow_clients(&lab, 2, 0.2).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    rests(&mut admin, id, "latency: ").await?;
    goes_on(&lab, &mut admin, id).await?;
    ensure!(!clients.iter().any(JoinHandle::is_finished), "the clients ended before the migration");
    ended(over, clients).await
}

async fn statements_that_take_longer_slow_the_copy_down(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(40);copy.rows=value(20)")]).await?;
    prepare(&mut lab.server.connect().await?, INT, 10_000, 1).await?;
    let (over, time_us, clients) = clients(&lab, 8, 0.002).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    // What statements take without a chunk is seen in a rest of a quarter of a second.
    let until = Instant::now() + LONG;
    while rested_seconds(&lab, "baseline").await? == 0.0 && admin.status(id).await?.number("rows_copied") < 1000.0 {
        ensure!(Instant::now() < until, "nothing is copied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    time_us.store(100_000, Ordering::Relaxed);
    rests(&mut admin, id, "latency_growth: one in a hundred statements takes").await?;
    ensure!(admin.status(id).await?.phase() == "copying", "it is slower, and does not rest");
    rests_longer(&lab, "latency_growth").await?;
    ensure!(ratio(&lab).await? < 0.9, "the metrics do not tell of it");
    let before = admin.status(id).await?.number("rows_copied");
    // They take as long where the copy rests: it is not to blame, and goes as fast as before.
    while !admin.status(id).await?.text("throttled").is_empty() {
        ensure!(Instant::now() < until, "it stays slow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(admin.status(id).await?.number("rows_copied") > before, "nothing was copied meanwhile");
    time_us.store(2_000, Ordering::Relaxed);
    goes_on(&lab, &mut admin, id).await?;
    ensure!(ratio(&lab).await? == 1.0, "the copy is over");
    ended(over, clients).await
}

/// Of the time, the part in which the copy may run.
async fn ratio(lab: &Lab) -> Result<f64> {
    Ok(metrics::sum(&metrics::fetch(lab.proxy.http_port, "/metrics").await?, "tidegate_migration_copy_ratio", &[]))
}

async fn a_query_of_the_operators_makes_the_copy_rest(kind: Kind) -> Result<()> {
    let limits = [("TIDEGATE_THROTTLE_QUERY", "SELECT n FROM shop.brake"), ("TIDEGATE_THROTTLE_QUERY_LIMIT", "5")];
    let lab = start(kind, &limits, "").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    rests(&mut admin, id, "query: the query fails (").await?;
    checked(&lab, &limits, false, "not ok  [throttle] query: the server refuses it: ")?;
    lab.sql(&["CREATE TABLE shop.brake (n VARCHAR(20))"]).await?;
    checked(&lab, &limits, true, "ok      [throttle] query: gives no row")?;
    lab.sql(&["INSERT INTO shop.brake VALUES ('soon')"]).await?;
    checked(&lab, &limits, false, "not ok  [throttle] query: gives \"soon\", which is not a number")?;
    rests(&mut admin, id, "query: the query gives \"soon\", which is not a number").await?;
    lab.sql(&["UPDATE shop.brake SET n = '5.5'"]).await?;
    checked(&lab, &limits, true, "ok      [throttle] query: gives 5.5")?;
    rests(&mut admin, id, "query: the query gives 5.5, more than 5").await?;
    only_the_copy_rests(&lab, &mut admin, id, "query").await?;
    lab.sql(&["UPDATE shop.brake SET n = '5'"]).await?;
    goes_on(&lab, &mut admin, id).await
}

/// Every table counts as large. The proxy dies when the first part is to go.
async fn a_large_table_is_dropped_in_parts_at_a_calm_moment(kind: Kind) -> Result<()> {
    let limits = [("TIDEGATE_THROTTLE_QUERY", "SELECT n FROM shop.brake"), ("TIDEGATE_THROTTLE_QUERY_LIMIT", "5")];
    let failpoints = "cleanup.large=value(0);cleanup.partition=abort";
    let mut environment = vec![("TIDEGATE_FAILPOINTS", failpoints)];
    environment.extend(limits);
    let mut lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    lab.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.brake (n INT)",
        "INSERT INTO shop.brake VALUES (0)",
        "CREATE TABLE shop.parts (id INT PRIMARY KEY, c INT) PARTITION BY RANGE (id) (PARTITION `p``0` VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), \
         PARTITION p2 VALUES LESS THAN MAXVALUE)",
        "INSERT INTO shop.parts VALUES (1, 1), (11, 11), (21, 21), (22, 22)",
    ])
    .await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.parts", "ADD COLUMN x INT", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    lab.sql(&["UPDATE shop.brake SET n = 7"]).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.text("note").contains("waits for a calm moment to drop the old table") {
            ensure!(status.phase() == "cleaning_up" && status.text("note").contains("the query gives 7, more than 5"), "{status:?}");
            break;
        }
        ensure!(!status.is_final() && Instant::now() < until, "it does not wait: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut direct = lab.server.connect().await?;
    let old = "SELECT COUNT(*) FROM `~retired_shop`.parts";
    ensure!(direct.query_first::<u32, _>(old).await? == Some(4), "the old table is there while it waits");
    lab.proxy.connect().await?.query_drop("INSERT INTO shop.parts VALUES (2, 2, 2)").await?;
    lab.sql(&["UPDATE shop.brake SET n = 0"]).await?;
    lab.proxy.ended(LONG).await?;
    lab.proxy.launch(&[("TIDEGATE_FAILPOINTS", "cleanup.large=value(0)")]).await?;
    lab.admin().await?.wait_done(id, LONG).await?;
    let emptied = truncated_partitions(&mut direct).await?;
    ensure!(emptied == ["`p``0`", "`p1`", "`p2`"], "{emptied:?}");
    let rows: Vec<(i32, Option<i32>)> = direct.query("SELECT id, x FROM shop.parts ORDER BY id").await?;
    ensure!(rows == [(1, None), (2, Some(2)), (11, None), (21, None), (22, None)], "{rows:?}");
    lab.assert_nothing_left().await
}

/// Those of the old table, out of the binary log.
async fn truncated_partitions(conn: &mut Conn) -> Result<Vec<String>> {
    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await?;
    let mut found = Vec::new();
    for log in logs {
        let name: String = log.get(0).unwrap_or_default();
        let events: Vec<mysql_async::Row> = conn.query(format!("SHOW BINLOG EVENTS IN '{name}'")).await?;
        let texts = events.iter().filter_map(|event| event.get::<String, _>(5));
        found.extend(texts.filter_map(|text| Some(text.split_once("`parts` TRUNCATE PARTITION ")?.1.split(" /*").next()?.to_owned())));
    }
    Ok(found)
}

/// `tidegate check` has this line.
fn checked(lab: &Lab, settings: &[(&str, &str)], is_well: bool, line: &str) -> Result<()> {
    let (ok, text) = lab.proxy.check(settings)?;
    ensure!(ok == is_well && text.lines().any(|said| said.starts_with(line)), "not {line:?} in\n{text}");
    Ok(())
}

async fn a_busy_server_makes_the_copy_rest(kind: Kind) -> Result<()> {
    let limits = [("TIDEGATE_THROTTLE_THREADS_RUNNING", "15"), ("TIDEGATE_THROTTLE_HISTORY_LENGTH", "2000")];
    let lab = start(kind, &limits, "").await?;
    let (over, clients) = slow_clients(&lab, 20, 0.3).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    rests(&mut admin, id, "threads run on the server").await?;
    only_the_copy_rests(&lab, &mut admin, id, "threads_running").await?;
    // One reason takes over from the other: somebody keeps old versions.
    let mut reader = lab.server.connect().await?;
    reader.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    keep_old_versions(&mut lab.server.connect().await?).await?;
    ended(over, clients).await?;
    rests(&mut admin, id, "old row versions").await?;
    reader.query_drop("COMMIT").await?;
    goes_on(&lab, &mut admin, id).await
}

async fn keep_old_versions(conn: &mut Conn) -> Result<()> {
    conn.query_drop("CREATE TABLE shop.versions (id INT PRIMARY KEY, n INT)").await?;
    conn.query_drop("INSERT INTO shop.versions VALUES (1, 0)").await?;
    for _ in 0..2500 {
        conn.query_drop("UPDATE shop.versions SET n = n + 1").await?;
    }
    Ok(())
}

async fn a_replica_that_is_behind_makes_the_copy_rest(kind: Kind) -> Result<()> {
    let mut lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_FAILPOINTS", SLOW_COPY)]).await?;
    let replica = replica_behind(&lab.server, lab.server.port).await?;
    prepare(&mut lab.server.connect().await?, INT, 10_000, 1).await?;
    let mut there = replica.connect().await?;
    if kind == Kind::MariaDb {
        there.query_drop(format!("GRANT REPLICA MONITOR ON *.* TO '{}'@'%'", ENGINE.0)).await?;
    }
    lab.proxy.kill_hard();
    let address = replica.address();
    lab.proxy.launch(&[("TIDEGATE_THROTTLE_REPLICAS", &address), ("TIDEGATE_THROTTLE_REPLICA_LAG_S", "1")]).await?;
    // What follows a locked table waits on the replica: it gets behind.
    lab.sql(&["CREATE TABLE shop.waits (id INT PRIMARY KEY)", "INSERT INTO shop.waits VALUES (1)"]).await?;
    until_there(&mut there).await?;
    there.query_drop("LOCK TABLES shop.waits READ").await?;
    lab.sql(&["INSERT INTO shop.waits VALUES (2)"]).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN x INT", OPTIONS).await?;
    rests(&mut admin, id, "s behind, more than 1").await?;
    only_the_copy_rests(&lab, &mut admin, id, "replica_lag").await?;
    there.query_drop("UNLOCK TABLES").await?;
    let stop = if kind == Kind::MySql { "STOP REPLICA" } else { "STOP SLAVE" };
    there.query_drop(stop).await?;
    rests(&mut admin, id, "does not replicate").await?;
    there.query_drop(stop.replace("STOP", "START")).await?;
    goes_on(&lab, &mut admin, id).await
}

async fn until_there(replica: &mut Conn) -> Result<()> {
    let until = Instant::now() + LONG;
    while replica.query_first::<u32, _>("SELECT COUNT(*) FROM shop.waits").await.ok().flatten() != Some(1) {
        ensure!(Instant::now() < until, "the replica does not replicate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
