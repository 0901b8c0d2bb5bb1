//! Readers and the swap: old snapshots of every kind (F6), and who may go on while a gate drains (F14).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::reach::{Hold, lab_that_stops_at};
use crate::support::lab::{Lab, TABLE};
use crate::support::metrics;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind};

on_both_servers!(
    every_old_snapshot_reads_all_rows_or_is_refused,
    without_the_fence_readers_see_what_the_server_shows,
    the_swap_waits_for_snapshots_of_strangers_where_it_is_told_to,
    readers_across_swaps_never_see_a_part_of_the_table,
    a_transaction_goes_on_while_the_gate_drains,
);

const ROWS: u64 = 300;
/// No index is built afterwards: the server itself answers 1412 to a snapshot that is older than an index.
const ALTER: &str = "ADD COLUMN note VARCHAR(64), DROP INDEX client_seq";

/// Each begins a transaction with a snapshot that does not touch the table: its level, its beginning, its first read.
const SNAPSHOTS: [(&str, &str); 7] = [
    ("REPEATABLE READ", "BEGIN"),
    ("REPEATABLE READ", "START TRANSACTION READ ONLY"),
    ("REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"),
    ("REPEATABLE READ", "SET autocommit = 0"),
    ("SERIALIZABLE", "BEGIN"),
    ("READ COMMITTED", "BEGIN"),
    ("READ UNCOMMITTED", "BEGIN"),
];

/// Ways of reading how many rows there are.
const COUNTS: [&str; 4] = [
    "SELECT COUNT(*) FROM shop.orders",
    "SELECT COUNT(*) FROM shop.all_orders",
    "SELECT shop.how_many()",
    "SELECT COUNT(*) FROM shop.other JOIN shop.`orders` AS o ON o.id > 0",
];

/// A lab whose first copy waits before its first chunk as long as the second value is there: a snapshot taken then sees an empty
/// shadow.
async fn slow_lab(kind: Kind) -> Result<(Lab, Hold)> {
    let (lab, hold) = lab_that_stops_at(kind, Settings::default(), "copy.chunk").await?;
    crate::migrations::quiet_table(&lab, ROWS as i32).await?;
    lab.sql(&[
        "CREATE TABLE shop.other (a INT)",
        "INSERT INTO shop.other VALUES (1)",
        "CREATE VIEW shop.all_orders AS SELECT * FROM shop.orders",
        "SET GLOBAL log_bin_trust_function_creators = 1",
        "CREATE FUNCTION shop.how_many() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM shop.orders)",
    ])
    .await?;
    Ok((lab, hold))
}

async fn begin(conn: &mut Conn, level: &str, how: &str) -> Result<()> {
    conn.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).await?;
    conn.query_drop(how).await?;
    let one: Option<i32> = conn.query_first("SELECT a FROM shop.other").await?;
    ensure!(one == Some(1));
    Ok(())
}

/// What a reader is told: a number of rows, or an error's code.
async fn ask(conn: &mut Conn, sql: &str, is_prepared: bool) -> Result<Result<u64, u16>> {
    let answer = if is_prepared { conn.exec_first::<u64, _, _>(sql, ()).await } else { conn.query_first::<u64, _>(sql).await };
    match answer {
        Ok(rows) => Ok(Ok(rows.context("no row")?)),
        Err(mysql_async::Error::Server(error)) => Ok(Err(error.code)),
        Err(error) => Err(error.into()),
    }
}

/// Starts a migration, and in the middle of its copy a pair of transactions for each kind: direct, and through the proxy.
async fn pairs_in_the_copy(lab: &Lab, hold: Hold, admin: &mut Admin, options: &str) -> Result<(u64, Vec<(Conn, Conn)>)> {
    let id = admin.migrate(TABLE, ALTER, &format!("WITH strategy = 'copy'{options}")).await?;
    admin.wait_phase(id, &["copying"], Duration::from_secs(30)).await?;
    let mut pairs = Vec::new();
    for (level, how) in SNAPSHOTS {
        let mut pair = (lab.server.connect().await?, lab.proxy.connect().await?);
        begin(&mut pair.0, level, how).await?;
        begin(&mut pair.1, level, how).await?;
        pairs.push(pair);
    }
    let status = admin.status(id).await?;
    ensure!(status.phase() == "copying" && status.number("rows_copied") == 0.0, "the copy was over too soon for this test: {status:?}");
    drop(hold);
    Ok((id, pairs))
}

async fn fenced(lab: &Lab) -> Result<f64> {
    Ok(metrics::sum(&metrics::fetch(lab.proxy.http_port, "/metrics").await?, "tidegate_fenced_transactions_total", &[]))
}

/// F6 as a differential test: whatever a direct connection is shown, through the proxy it is all rows or 1412.
async fn every_old_snapshot_reads_all_rows_or_is_refused(kind: Kind) -> Result<()> {
    let (lab, hold) = slow_lab(kind).await?;
    let mut admin = lab.admin().await?;
    let (id, mut pairs) = pairs_in_the_copy(&lab, hold, &mut admin, "").await?;
    admin.wait_phase(id, &["reversible", "cleaning_up", "done"], Duration::from_secs(60)).await?;
    let mut partial = 0;
    for ((level, how), (direct, proxied)) in SNAPSHOTS.iter().zip(&mut pairs) {
        for (sql, is_prepared) in COUNTS.into_iter().flat_map(|sql| [(sql, false), (sql, true)]) {
            let place = format!("{level}, {how}, {sql}, prepared {is_prepared}");
            let shown = ask(direct, sql, is_prepared).await?;
            let told = ask(proxied, sql, is_prepared).await.context(place.clone())?;
            partial += u32::from(shown.is_ok_and(|rows| rows < ROWS));
            let is_fenced = !level.starts_with("READ");
            let must_be = if is_fenced { Err(1412) } else { Ok(ROWS) };
            ensure!(told == must_be, "{place}: the proxy answers {told:?}, a direct connection {shown:?}");
            ensure!(is_fenced || shown == Ok(ROWS), "{place}: {shown:?}");
        }
        // What does not touch the table goes on in the same transaction, and a new one sees everything.
        ensure!(ask(proxied, "SELECT a FROM shop.other", false).await? == Ok(1));
        proxied.query_drop("ROLLBACK").await?;
        ensure!(ask(proxied, COUNTS[0], false).await? == Ok(ROWS));
        proxied.query_drop("COMMIT").await?;
        direct.query_drop("COMMIT").await?;
    }
    ensure!(partial >= 16, "only {partial} reads of direct connections saw a part: is F6 still so?");
    ensure!(fenced(&lab).await? == 5.0 * 8.0, "{} in the metric", fenced(&lab).await?);
    admin.wait_done(id, Duration::from_secs(60)).await?;
    lab.assert_nothing_left().await
}

async fn without_the_fence_readers_see_what_the_server_shows(kind: Kind) -> Result<()> {
    let (lab, hold) = slow_lab(kind).await?;
    let mut admin = lab.admin().await?;
    let (id, mut pairs) = pairs_in_the_copy(&lab, hold, &mut admin, ", fence = 'off'").await?;
    admin.wait_phase(id, &["reversible", "cleaning_up", "done"], Duration::from_secs(60)).await?;
    let mut partial = 0;
    for ((level, how), (direct, proxied)) in SNAPSHOTS.iter().zip(&mut pairs) {
        for sql in COUNTS {
            let (shown, told) = (ask(direct, sql, false).await?, ask(proxied, sql, false).await?);
            ensure!(shown == told, "{level}, {how}, {sql}: the proxy answers {told:?}, a direct connection {shown:?}");
            partial += u32::from(told.is_ok_and(|rows| rows < ROWS));
        }
        proxied.query_drop("COMMIT").await?;
        direct.query_drop("COMMIT").await?;
    }
    ensure!(partial > 0 && fenced(&lab).await? == 0.0);
    admin.wait_done(id, Duration::from_secs(60)).await?;
    Ok(())
}

async fn the_swap_waits_for_snapshots_of_strangers_where_it_is_told_to(kind: Kind) -> Result<()> {
    let (lab, hold) = slow_lab(kind).await?;
    let mut admin = lab.admin().await?;
    let (id, mut pairs) = pairs_in_the_copy(&lab, hold, &mut admin, ", fence = 'wait'").await?;
    for (direct, _) in &mut pairs {
        direct.query_drop("COMMIT").await?;
    }
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    // One after the other ends; as long as one with a snapshot is left, the table stays as it is, and it reads all of it.
    let mut left: Vec<(&str, Conn)> = SNAPSHOTS.iter().zip(pairs).map(|((level, _), (_, proxied))| (*level, proxied)).collect();
    while let Some((level, mut conn)) = left.pop() {
        if !level.starts_with("READ") {
            // An attempt may begin while the transaction is young; it does not drain.
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let status = admin.status(id).await?;
                ensure!(matches!(status.phase(), "ready" | "cutting_over"), "{level} is open: {status:?}");
                // Not for a while, as for one that may come to the table under any setting.
                if status.text("note").contains("fence = 'wait'") {
                    break;
                }
                ensure!(Instant::now() < until, "nothing says what is waited for: {status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ensure!(ask(&mut conn, COUNTS[0], false).await? == Ok(ROWS));
        }
        conn.query_drop("COMMIT").await?;
    }
    admin.wait_done(id, Duration::from_secs(60)).await?;
    ensure!(fenced(&lab).await? == 0.0);
    lab.assert_nothing_left().await
}

/// Readers of every kind in transactions of every length, while the table is swapped again and again.
async fn readers_across_swaps_never_see_a_part_of_the_table(kind: Kind) -> Result<()> {
    let (lab, hold) = slow_lab(kind).await?;
    drop(hold);
    let stop = tokio_util::sync::CancellationToken::new();
    let mut readers = Vec::new();
    for (number, (level, how)) in SNAPSHOTS.into_iter().cycle().take(14).enumerate() {
        let (mut conn, stop) = (lab.proxy.connect().await?, stop.clone());
        readers.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut refused = 0_u64;
            while !stop.is_cancelled() {
                begin(&mut conn, level, how).await?;
                let reads = random.u32(1..4);
                for _ in 0..reads {
                    tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
                    match ask(&mut conn, COUNTS[random.usize(0..COUNTS.len())], random.bool()).await? {
                        Ok(ROWS) => {}
                        Err(1412) => refused += 1,
                        other => anyhow::bail!("{level}, {how}: {other:?}"),
                    }
                }
                conn.query_drop("COMMIT").await?;
                conn.query_drop("SET autocommit = 1").await?;
            }
            Ok(refused)
        }));
    }
    let mut admin = lab.admin().await?;
    for round in 0..5 {
        let id = admin
            .migrate(TABLE, &format!("ADD COLUMN round_{round} INT"), "WITH strategy = 'copy', drain_budget_ms = 1000, max_hold_ms = 60000")
            .await?;
        admin.wait_done(id, Duration::from_secs(120)).await?;
    }
    stop.cancel();
    for reader in readers {
        reader.await??;
    }
    lab.assert_nothing_left().await
}

/// F14: one transaction waits inside the gate for a row lock of another, which only now comes to the table. Were it parked at
/// the gate, gate, row lock and transaction would wait for each other, and no server could see it.
async fn a_transaction_goes_on_while_the_gate_drains(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, ROWS as i32).await?;
    lab.sql(&["CREATE TABLE shop.other (a INT PRIMARY KEY, b INT)", "INSERT INTO shop.other VALUES (1, 0)"]).await?;
    let (mut first, mut second) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
    let mut admin = lab.admin().await?;
    let options = "WITH strategy = 'copy', postpone = true, drain_budget_ms = 20000, max_hold_ms = 30000";
    let id = admin.migrate(TABLE, ALTER, options).await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;

    first.query_drop("BEGIN").await?;
    first.query_drop("UPDATE shop.other SET b = 1 WHERE a = 1").await?;
    second.query_drop("BEGIN").await?;
    second.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = 1").await?;
    let waiting = tokio::spawn(async move {
        second.query_drop("UPDATE shop.other SET b = 2 WHERE a = 1").await?;
        second.query_drop("COMMIT").await?;
        anyhow::Ok(())
    });
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + Duration::from_secs(15);
    while !admin.rows("SHOW GATES").await?.iter().any(|gate| gate.text("state") == "draining") {
        ensure!(Instant::now() < until, "no attempt begins: {:?}", admin.status(id).await?);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // A third, which is in no transaction, does wait.
    let mut third = lab.proxy.connect().await?;
    let held = tokio::spawn(async move { third.query_first::<u64, _>("SELECT COUNT(*) FROM shop.orders").await });
    while !admin.rows("SHOW GATES").await?.iter().any(|gate| gate.number("waiting") >= 1.0) {
        ensure!(Instant::now() < until, "nobody waits: {:?}", admin.rows("SHOW GATES").await?);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    first.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = 2").await?;
    ensure!(!waiting.is_finished() && !held.is_finished(), "somebody went on too soon: the test shows nothing");
    first.query_drop("COMMIT").await?;
    waiting.await??;
    ensure!(held.await?? == Some(ROWS));
    let status = admin.wait_done(id, Duration::from_secs(60)).await?;
    ensure!(status.number("cutover_attempts") == 1.0, "the first attempt was to succeed: {status:?}");
    lab.assert_nothing_left().await
}
