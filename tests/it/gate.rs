//! Sessions at the gate of a running migration: held, killed while held, fenced.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::lab::{Lab, TABLE};
use crate::support::{Admin, Kind};

mod bypass;
mod reach;
mod shapes;
mod snapshots;

on_both_servers!(
    a_held_statement_is_killed_through_the_proxy,
    a_snapshot_older_than_the_swap_is_fenced,
    a_session_with_locked_tables_is_waited_for,
    attributes_do_not_hide_a_statement_from_the_gate,
);

const ALTER: &str = "ADD COLUMN note VARCHAR(64)";

async fn ready(lab: &Lab, admin: &mut Admin) -> Result<u64> {
    let id = admin.migrate(TABLE, ALTER, "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await.with_context(|| lab.proxy.log())?;
    Ok(id)
}

async fn a_held_statement_is_killed_through_the_proxy(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 300).await?;
    let mut admin = lab.admin().await?;
    let id = ready(&lab, &mut admin).await?;
    let (mut victim, mut killer) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
    let victims_id = victim.id();
    let asking = tokio::spawn(async move {
        // Most of these are answered at once; one of them waits at the gate.
        loop {
            match victim.query_first::<u64, _>("SELECT COUNT(*) FROM shop.orders").await {
                Ok(Some(300)) => tokio::time::sleep(Duration::from_millis(1)).await,
                Ok(other) => return Err(anyhow::anyhow!("{other:?} rows")),
                Err(mysql_async::Error::Server(error)) if error.message.contains("while the proxy held it") => {
                    return Ok((victim, error.code));
                }
                // The KILL came a moment too late and met the statement on the server.
                Err(mysql_async::Error::Server(error)) if error.code == 1317 => {}
                Err(error) => return Err(error.into()),
            }
        }
    });
    // Somebody who does not come through the proxy makes the attempts last.
    let mut bypass = lab.server.connect().await?;
    bypass.query_drop("LOCK TABLES shop.orders READ").await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + Duration::from_secs(60);
    while !asking.is_finished() {
        if is_somebody_held(&mut admin, &asking, Duration::from_millis(400)).await? {
            killer.query_drop(format!("KILL QUERY {victims_id}")).await?;
        }
        // On MySQL an attempt begins only while the lock is young, so it is taken anew whether anybody was held or not.
        bypass.query_drop("UNLOCK TABLES").await?;
        bypass.query_drop("LOCK TABLES shop.orders READ").await?;
        ensure!(Instant::now() < until, "no held statement was killed within a minute");
    }
    let (mut victim, code) = asking.await??;
    ensure!(code == 1317);
    bypass.query_drop("UNLOCK TABLES").await?;
    let rows: Option<u64> = victim.query_first("SELECT COUNT(*) FROM shop.orders").await?;
    ensure!(rows == Some(300), "the session does not go on after the kill");
    admin.wait_done(id, Duration::from_secs(60)).await?;
    lab.assert_nothing_left().await
}

/// Whether a statement waits at a gate before the time is over or the task ends.
async fn is_somebody_held<T>(admin: &mut Admin, task: &tokio::task::JoinHandle<T>, time: Duration) -> Result<bool> {
    let until = Instant::now() + time;
    while !task.is_finished() && Instant::now() < until {
        if admin.rows("SHOW GATES").await?.iter().any(|gate| gate.number("waiting") >= 1.0) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(false)
}

/// F6: a snapshot that was taken before the copy had ended sees only a part of the shadow's rows. The fence answers with
/// 1412, which applications know as "try again", instead of the wrong rows.
async fn a_snapshot_older_than_the_swap_is_fenced(kind: Kind) -> Result<()> {
    const ROWS: i32 = 100_000;
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, ROWS).await?;
    lab.sql(&["CREATE TABLE shop.other (a INT)", "INSERT INTO shop.other VALUES (1)"]).await?;
    // Prepared before the migration: it counts as use of the table only when it is executed.
    let mut prepared = lab.proxy.connect().await?;
    let statement = prepared.prep("SELECT COUNT(*) FROM shop.orders WHERE id > ?").await?;
    let mut admin = lab.admin().await?;
    // No secondary index is left: one that is built after the snapshot makes the server itself answer 1412 on either connection.
    let alter = "ADD COLUMN note VARCHAR(64), DROP INDEX client_seq";
    let id = admin.migrate(TABLE, alter, "WITH strategy = 'copy', postpone = true").await?;
    while admin.status(id).await?.number("rows_copied") == 0.0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut direct = lab.server.connect().await?;
    let mut proxied = lab.proxy.connect().await?;
    let mut committed = lab.proxy.connect().await?;
    committed.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    for conn in [&mut direct, &mut proxied, &mut prepared, &mut committed] {
        conn.query_drop("BEGIN").await?;
        let one: Option<i32> = conn.query_first("SELECT a FROM shop.other").await?;
        ensure!(one == Some(1));
    }
    let status = admin.status(id).await?;
    ensure!(status.phase() == "copying", "the copy was over too soon for this test: {status:?}");
    admin.wait_phase(id, &["ready"], Duration::from_secs(90)).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reversible", "cleaning_up", "done"], Duration::from_secs(60)).await?;
    let count = "SELECT COUNT(*) FROM shop.orders";
    let partial: Option<i32> = direct.query_first(count).await?;
    ensure!(partial.is_some_and(|rows| rows < ROWS), "a direct connection was to read too few rows, and read {partial:?}");
    refused(proxied.query_first::<i32, _>(count).await, "a text")?;
    refused(prepared.exec_first::<i32, _, _>(&statement, (0,)).await, "a prepared statement")?;
    let rows: Option<i32> = committed.query_first(count).await?;
    ensure!(rows == Some(ROWS), "READ COMMITTED reads anew: {rows:?}");
    for conn in [&mut proxied, &mut prepared] {
        conn.query_drop("ROLLBACK").await?;
        conn.query_drop("BEGIN").await?;
        let rows: Option<i32> = conn.query_first(count).await?;
        ensure!(rows == Some(ROWS), "after a new BEGIN: {rows:?}");
        conn.query_drop("COMMIT").await?;
    }
    for conn in [&mut direct, &mut committed] {
        conn.query_drop("COMMIT").await?;
    }
    admin.wait_done(id, Duration::from_secs(60)).await?;
    lab.assert_nothing_left().await
}

fn refused(answer: mysql_async::Result<Option<i32>>, what: &str) -> Result<()> {
    match answer {
        Err(mysql_async::Error::Server(error)) if error.code == 1412 && error.message.contains("shop.orders") => Ok(()),
        other => bail!("{what} of an old snapshot was answered with {other:?}"),
    }
}

/// Locks on tables show in no status flag; a session that has them counts as inside until it gives them back, also
/// where they are older than the migration.
async fn a_session_with_locked_tables_is_waited_for(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 300).await?;
    let (mut before, mut after) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
    before.query_drop("LOCK TABLES shop.orders READ").await?;
    let mut admin = lab.admin().await?;
    let id = ready(&lab, &mut admin).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    swaps_nothing(&mut admin, id, &mut before).await?;
    after.query_drop("SELECT 1; LOCK TABLES shop.orders READ").await?;
    before.query_drop("UNLOCK TABLES").await?;
    swaps_nothing(&mut admin, id, &mut after).await?;
    after.query_drop("UNLOCK TABLES").await?;
    let status = admin.wait_done(id, Duration::from_secs(60)).await?;
    // A lock that has just been taken may still go soon: an attempt waits for it once, then no more are made.
    ensure!(status.number("cutover_attempts") <= 3.0, "attempts were made against a known lock: {status:?}");
    lab.assert_nothing_left().await
}

/// Fails where the swap happens, or the holder of the lock waits, while it has the table locked.
async fn swaps_nothing(admin: &mut Admin, id: u64, holder: &mut Conn) -> Result<()> {
    for _ in 0..40 {
        let status = admin.status(id).await?;
        ensure!(matches!(status.phase(), "ready" | "cutting_over"), "{status:?}");
        let rows: Option<u64> = holder.query_first("SELECT COUNT(*) FROM shop.orders").await?;
        ensure!(rows == Some(300));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn attributes_do_not_hide_a_statement_from_the_gate(kind: Kind) -> Result<()> {
    use crate::support::raw::{BASE, QUERY_ATTRIBUTES, Raw, framed};
    use crate::support::servers::APP;
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 300).await?;
    let mut admin = lab.admin().await?;
    let id = ready(&lab, &mut admin).await?;
    let attributes: &[u8] = if kind == Kind::MySql { &[1, 1, 0, 1, 253, 0, 1, b'n', 2, b'v', b'w'] } else { &[] };
    let flag = if kind == Kind::MySql { QUERY_ATTRIBUTES } else { 0 };
    let mut raw = Raw::login(lab.proxy.port, APP, BASE | flag, usize::MAX).await?;
    for text in ["ALTER TABLE shop.orders ADD x INT", "SELECT 1; USE shop; ALTER TABLE orders ADD x INT"] {
        raw.write(&framed(0, &[&[3], attributes, text.as_bytes()].concat())).await?;
        let (_, answer) = raw.packet().await?;
        ensure!(answer.get(..3) == Some(&[0xff, 0x36, 0x07]), "{text}: {:?}", String::from_utf8_lossy(&answer));
    }
    admin.run(&format!("CANCEL MIGRATION {id}")).await?;
    admin.wait_phase(id, &["cancelled"], Duration::from_secs(30)).await?;
    Ok(())
}
