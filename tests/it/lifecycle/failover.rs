//! The server dies in the copy and its replica is promoted: the run goes on there by GTID, or begins afresh where that is not safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::{LONG, wait_until};
use crate::support::failpoints::Failpoints;
use crate::support::relay::Relay;
use crate::support::replica;
use crate::support::servers::{APP, Settings, connect};
use crate::support::{Kind, Proxy, Server, compare};

on_both_servers!(a_promoted_replica_is_gone_on_with, a_promoted_replica_without_the_log_begins_afresh);

const ROWS: u64 = 4000;
const ALTER: &str = "ADD COLUMN x INT NOT NULL DEFAULT 7, ADD INDEX (c), MODIFY note VARCHAR(300)";

async fn server(kind: Kind, number: u8) -> Result<Server> {
    let mut more = vec![format!("--server-id={number}")];
    more.extend(match kind {
        Kind::MySql => vec!["--gtid-mode=ON".to_owned(), "--enforce-gtid-consistency=ON".to_owned()],
        Kind::MariaDb => vec!["--log-slave-updates=1".to_owned(), "--gtid-strict-mode=1".to_owned()],
    });
    Server::start(kind, Settings { more, ..Settings::default() }).await
}

/// A server and its replica, which both have everything from now on.
async fn pair(kind: Kind) -> Result<(Server, Server)> {
    let (first, second) = (server(kind, 1).await?, server(kind, 2).await?);
    replica::follow_by_gtid(&second, &first).await?;
    Ok((first, second))
}

/// The replica has applied all that it was sent, and becomes the server.
async fn promote(second: &Server) -> Result<()> {
    let mut conn = second.connect().await?;
    let is_mysql = second.kind == Kind::MySql;
    conn.query_drop(if is_mysql { "STOP REPLICA IO_THREAD" } else { "STOP SLAVE IO_THREAD" }).await?;
    let until = Instant::now() + LONG;
    loop {
        let status: Row =
            conn.query_first(if is_mysql { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" }).await?.context("no replica")?;
        let state: Option<String> = row_text(&status, if is_mysql { "Replica_SQL_Running_State" } else { "Slave_SQL_Running_State" });
        if state.as_deref().is_some_and(|state| state.contains("read all relay log")) {
            break;
        }
        ensure!(Instant::now() < until, "the replica does not come to its end: {state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    conn.query_drop(if is_mysql { "STOP REPLICA" } else { "STOP SLAVE" }).await?;
    conn.query_drop(if is_mysql { "RESET REPLICA ALL" } else { "RESET SLAVE ALL" }).await?;
    Ok(())
}

fn row_text(row: &Row, column: &str) -> Option<String> {
    row.get::<Option<String>, _>(column).flatten()
}

/// Clients that write through the proxy and come again when their connection is gone; what was acknowledged by a server that then
/// died may be lost, so nothing is remembered.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(port: u16) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..4_u64).map(|seed| tokio::spawn(write(port, seed, stop.clone(), written.clone()))).collect();
        Self { stop, written, tasks }
    }

    /// Waits until so many more writes were answered.
    async fn write_more(&self, count: u64) -> Result<()> {
        let (wanted, until) = (self.written.load(Ordering::SeqCst) + count, Instant::now() + LONG);
        while self.written.load(Ordering::SeqCst) < wanted {
            ensure!(Instant::now() < until, "the writers do not get on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

async fn write(port: u16, seed: u64, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut conn) = connect(port, APP).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            let k = random.u64(0..ROWS * 11 / 10);
            let sql = match random.u8(0..4) {
                0 => format!("DELETE FROM shop.t WHERE k = {k}"),
                1 => format!("REPLACE INTO shop.t (k, c, note) VALUES ({k}, {}, 'new {seed}')", random.u32(..)),
                _ => format!("UPDATE shop.t SET c = c + 1, note = CONCAT(LEFT(note, 90), '{seed}') WHERE k = {k}"),
            };
            match conn.query_drop(sql).await {
                Ok(()) => written.fetch_add(1, Ordering::SeqCst),
                Err(_) => break,
            };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Fails the first server over to its replica in the middle of a copy, and finishes the migration there under load. Gives the log.
async fn failed_over(kind: Kind, is_purged: bool) -> Result<String> {
    let (mut first, second) = pair(kind).await?;
    let relay = Relay::start(first.port).await?;
    let failpoints = Failpoints::new()?;
    let (name, value) = failpoints.environment();
    let proxy = Proxy::start(&relay.address(), &[(name, &value), ("TIDEGATE_COPY_CHUNK_TARGET_MS", "1")]).await?;
    let mut conn = first.connect().await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    conn.query_drop("CREATE TABLE shop.t (k BIGINT UNSIGNED PRIMARY KEY, c BIGINT UNSIGNED, note VARCHAR(100)) ENGINE=InnoDB").await?;
    let rows: Vec<(u64, u64)> = (0..ROWS).map(|k| (k, k * 3)).collect();
    for rows in rows.chunks(500) {
        let values: Vec<String> = rows.iter().map(|(k, c)| format!("({k}, {c}, 'row {k}')")).collect();
        conn.query_drop(format!("INSERT INTO shop.t VALUES {}", values.join(", "))).await?;
    }
    let writers = Writers::start(proxy.port);

    let mut admin = proxy.admin().await?;
    failpoints.set("copy.rows=value(50);copy.chunk=sleep(100)")?;
    let id = admin.migrate("shop.t", ALTER, "WITH strategy = 'copy', postpone = true").await?;
    wait_until(&mut admin, id, "some copied rows", |status| status.number("rows_copied") > 300.0).await?;
    // The copy waits; tail, apply and books go on.
    admin.run(&format!("PAUSE MIGRATION {id}")).await?;
    let mut there = second.connect().await?;
    let until = Instant::now() + LONG;
    let stored = "SELECT rows_copied FROM tidegate.migrations WHERE rows_copied > 300 AND gtids_through <> '' AND gtids_applied <> ''";
    while !matches!(there.query_first::<u64, _>(stored).await, Ok(Some(_))) {
        ensure!(Instant::now() < until, "no checkpoint with GTIDs comes to the replica: {:?}", admin.status(id).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = admin.status(id).await?;
    ensure!(status.phase() == "copying", "the copy was over too soon for this test: {status:?}");
    first.kill_hard();
    promote(&second).await?;
    if is_purged {
        there.query_drop("FLUSH BINARY LOGS").await?;
        let files: Vec<Row> = there.query("SHOW BINARY LOGS").await?;
        let last: String = files.last().and_then(|row| row.get(0)).context("no log")?;
        let until = Instant::now() + LONG;
        // A file that recovery may still need stays for a moment.
        while there.query::<Row, _>("SHOW BINARY LOGS").await?.len() > 1 {
            ensure!(Instant::now() < until, "the log cannot be purged");
            there.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await?;
        }
    }
    let had_copied: u64 = there.query_first("SELECT rows_copied FROM tidegate.migrations").await?.context("no checkpoint")?;
    relay.retarget(second.port);
    writers.write_more(200).await?;
    failpoints.go()?;
    admin.run(&format!("RESUME MIGRATION {id}")).await?;
    wait_until(&mut admin, id, "the wait for CUTOVER", |status| status.phase() == "ready" && status.text("note").contains("CUTOVER"))
        .await?;
    writers.write_more(200).await?;
    writers.end().await?;
    // The server's own word on the same rows.
    let twin = compare::make_twin(&mut there, "shop", "t", true).await?;
    ensure!(compare::alter_twin(&mut there, &twin, ALTER).await?.is_none());
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let done = admin.wait_done(id, LONG).await?;
    compare::assert_same_definition(&mut there, "shop.t", &twin).await?;
    compare::assert_same_rows(&mut there, ("shop", "t"), (compare::TWIN_SCHEMA, "t")).await?;
    ensure!(compare::leftovers(&mut there).await?.is_empty());
    let log = proxy.log();
    if !is_purged {
        ensure!(
            log.contains(&format!("rows_copied={had_copied}")),
            "the rows that the replica had were not kept ({had_copied}): {done:?}\n{log}"
        );
        ensure!(had_copied > 300);
    }
    proxy.assert_clean_log(&["cannot be read", "cannot be reached", "begins afresh", "unreachable"])?;
    Ok(log)
}

async fn a_promoted_replica_is_gone_on_with(kind: Kind) -> Result<()> {
    let log = failed_over(kind, false).await?;
    ensure!(log.contains("has everything by replication: goes on there"), "{log}");
    ensure!(!log.contains("begins afresh"), "{log}");
    Ok(())
}

async fn a_promoted_replica_without_the_log_begins_afresh(kind: Kind) -> Result<()> {
    let log = failed_over(kind, true).await?;
    ensure!(log.contains("begins afresh"), "{log}");
    Ok(())
}
