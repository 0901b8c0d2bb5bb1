//! The copy rests while the application, the server or a replica is worse off than `[throttle]` allows; applying goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    a_busy_server_makes_the_copy_rest,
    a_replica_that_is_behind_makes_the_copy_rest,
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
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..count {
        let (mut conn, over) = (lab.proxy.connect().await?, over.clone());
        clients.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                conn.query_drop(format!("SELECT SLEEP({seconds})")).await?;
            }
            Ok(())
        }));
    }
    Ok((over, clients))
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
