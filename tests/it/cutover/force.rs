//! CUTOVER … FORCE: really rolls back first, ends holders only, leaves waiters and prepared XA transactions alone, and says so.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::lab::{Lab, TABLE};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind};

on_both_servers!(
    idle_transactions_through_the_proxy_are_rolled_back_and_told_so,
    holders_round_the_proxy_are_ended_and_waiters_are_not,
    prepared_xa_transactions_are_never_ended,
    locked_tables_through_the_proxy_are_ended,
);

const LONG: Duration = Duration::from_secs(60);

/// A server that shows who holds what: MySQL by itself, MariaDB with a plugin that it brings.
async fn showing(kind: Kind) -> Result<Lab> {
    let more = if kind == Kind::MariaDb { vec!["--plugin-load-add=metadata_lock_info".to_owned()] } else { Vec::new() };
    // Long, for a test that must let go in time what it does not want to lose.
    let environment = [("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000"), ("TIDEGATE_CUTOVER_DRAIN_BUDGET_MS", "1500")];
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &environment).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    if kind == Kind::MySql {
        // Accounts with it can be ended by accounts with it only, which applications and the engine should not be.
        lab.sql(&["REVOKE SYSTEM_USER ON *.* FROM 'app'@'%'"]).await?;
    }
    Ok(lab)
}

async fn ready(admin: &mut Admin) -> Result<u64> {
    let id = admin.migrate(TABLE, "ADD COLUMN note VARCHAR(64)", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    Ok(id)
}

/// Waits until the note says what is waited for.
async fn waits_for(admin: &mut Admin, id: u64, word: &str) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.text("note").contains(word) {
            return Ok(());
        }
        ensure!(!status.is_final(), "the migration did not wait: {status:?}");
        ensure!(Instant::now() < until, "the note never said {word:?}: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rows(conn: &mut Conn) -> Result<Option<u64>> {
    Ok(conn.query_first("SELECT COUNT(*) FROM shop.orders").await?)
}

fn code(answer: &mysql_async::Result<()>) -> u16 {
    match answer {
        Err(mysql_async::Error::Server(error)) => error.code,
        _ => 0,
    }
}

const INSERT: &str = "INSERT INTO shop.orders (customer_id, client, seq) VALUES (1, -1, 1)";

async fn idle_transactions_through_the_proxy_are_rolled_back_and_told_so(kind: Kind) -> Result<()> {
    let lab = showing(kind).await?;
    let mut admin = lab.admin().await?;
    // One began before the gate stood, one after; one without a plain BEGIN.
    let mut before = lab.proxy.connect().await?;
    before.query_drop("BEGIN").await?;
    before.query_drop(INSERT).await?;
    let id = ready(&mut admin).await?;
    let (mut after, mut manual) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
    after.query_drop("START TRANSACTION").await?;
    ensure!(rows(&mut after).await? == Some(300));
    manual.query_drop("SET autocommit = 0").await?;
    manual.query_drop(INSERT).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    waits_for(&mut admin, id, "transactions on the table").await?;
    ensure!(!admin.status(id).await?.is_final());
    admin.run(&format!("CUTOVER MIGRATION {id} FORCE")).await?;
    let status = admin.wait_done(id, LONG).await.with_context(|| lab.proxy.log())?;
    // Whatever they say next is answered with 1213 once; only a ROLLBACK is what has happened anyway.
    ensure!(code(&before.query_drop("COMMIT").await) == 1213, "COMMIT of a transaction that was rolled back was not refused");
    ensure!(code(&after.exec_drop("SELECT COUNT(*) FROM shop.orders WHERE id > ?", (0,)).await) == 1213);
    manual.query_drop("ROLLBACK").await.context("ROLLBACK is what has happened")?;
    for conn in [&mut before, &mut after, &mut manual] {
        ensure!(rows(conn).await? == Some(300), "a transaction was not rolled back, or its session does not go on");
    }
    for conn in [&before, &after, &manual] {
        let named = format!("connection {},", conn.id());
        ensure!(
            status.text("forced").split("; ").any(|what| what.starts_with("rolled back") && what.contains(&named)),
            "{}: {named}",
            status.text("forced")
        );
        ensure!(lab.proxy.log().lines().any(|line| line.contains("FORCE: rolled back") && line.contains(&named)));
    }
    ensure!(!status.text("forced").contains("ended"), "somebody was ended although a rollback was enough: {status:?}");
    lab.assert_nothing_left().await
}

async fn holders_round_the_proxy_are_ended_and_waiters_are_not(kind: Kind) -> Result<()> {
    let lab = showing(kind).await?;
    let mut admin = lab.admin().await?;
    let id = ready(&mut admin).await?;
    let mut holder = lab.server.connect().await?;
    holder.query_drop("BEGIN").await?;
    holder.query_drop(INSERT).await?;
    let mut other = lab.server.connect().await?;
    other.query_drop("CREATE TABLE shop.other (a INT)").await?;
    other.query_drop("BEGIN").await?;
    other.query_drop("INSERT INTO shop.other VALUES (1)").await?;
    // Waits for the holder, with DDL that the server keeps waiting for the metadata lock.
    let mut waiter = lab.server.connect().await?;
    let waiter_id = waiter.id();
    let waiting = tokio::spawn(async move { (waiter.query_drop("LOCK TABLES shop.orders WRITE").await, waiter) });
    let mut watcher = lab.server.connect().await?;
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {waiter_id} AND state LIKE 'Waiting for table metadata%'");
    let until = Instant::now() + LONG;
    while watcher.query_first::<u64, _>(&sql).await? != Some(1) {
        ensure!(Instant::now() < until, "nobody waits for the holder");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    waits_for(&mut admin, id, &format!("connection {} of app", holder.id())).await?;
    admin.run(&format!("CUTOVER MIGRATION {id} FORCE")).await?;
    // The waiter gets what it waited for, because the holder is gone; then it is a holder itself, and lets go by itself.
    let (answer, mut waiter) = tokio::time::timeout(LONG, waiting).await.with_context(|| lab.proxy.log())??;
    answer.context("the waiter was ended")?;
    waiter.query_drop("UNLOCK TABLES").await.context("the waiter was ended as soon as it had the lock")?;
    let status = admin.wait_done(id, LONG).await.with_context(|| lab.proxy.log())?;
    ensure!(holder.query_drop("COMMIT").await.is_err(), "the holder's transaction went on");
    other.query_drop("COMMIT").await.context("a transaction on another table was ended")?;
    ensure!(rows(&mut watcher).await? == Some(300), "the holder's transaction was not rolled back");
    let forced = status.text("forced");
    ensure!(forced.contains("ended") && forced.contains(&format!("connection {} of app", holder.id())), "{status:?}");
    ensure!(!forced.contains(&format!("connection {} ", other.id())), "{status:?}");
    lab.assert_nothing_left().await
}

async fn prepared_xa_transactions_are_never_ended(kind: Kind) -> Result<()> {
    let lab = showing(kind).await?;
    let mut admin = lab.admin().await?;
    let id = ready(&mut admin).await?;
    let (mut round, mut through) = (lab.server.connect().await?, lab.proxy.connect().await?);
    for (conn, name) in [(&mut round, "round"), (&mut through, "through")] {
        conn.query_drop(format!("XA START '{name}'")).await?;
        conn.query_drop(INSERT).await?;
        conn.query_drop(format!("XA END '{name}'")).await?;
        conn.query_drop(format!("XA PREPARE '{name}'")).await?;
    }
    admin.run(&format!("CUTOVER MIGRATION {id} FORCE")).await?;
    waits_for(&mut admin, id, "XA RECOVER").await.with_context(|| lab.proxy.log())?;
    let until = Instant::now() + LONG;
    for conn in [&round, &through] {
        // Who is reported was old enough to be ended.
        loop {
            let status = admin.status(id).await?;
            let forced = status.text("forced");
            ensure!(!status.is_final() && !forced.contains("ended"), "{status:?}");
            if forced.split("; ").any(|what| what.contains("left alone") && what.contains(&format!("connection {}", conn.id()))) {
                break;
            }
            ensure!(Instant::now() < until, "connection {} is not reported: {forced}", conn.id());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for (conn, name) in [(&mut round, "round"), (&mut through, "through")] {
        conn.query_drop(format!("XA COMMIT '{name}'")).await.with_context(|| format!("the prepared transaction {name} was ended"))?;
    }
    admin.wait_done(id, LONG).await.with_context(|| lab.proxy.log())?;
    ensure!(rows(&mut round).await? == Some(302), "a prepared transaction was not committed");
    lab.assert_nothing_left().await
}

/// Locks of LOCK TABLES are in no transaction: nothing can be rolled back, so the session is ended.
async fn locked_tables_through_the_proxy_are_ended(kind: Kind) -> Result<()> {
    let lab = showing(kind).await?;
    let mut admin = lab.admin().await?;
    let id = ready(&mut admin).await?;
    let mut locker = lab.proxy.connect().await?;
    locker.query_drop("LOCK TABLES shop.orders READ").await?;
    admin.run(&format!("CUTOVER MIGRATION {id} FORCE")).await?;
    let status = admin.wait_done(id, LONG).await.with_context(|| lab.proxy.log())?;
    ensure!(status.text("forced").contains(&format!("connection {},", locker.id())), "{status:?}");
    ensure!(locker.query_drop("UNLOCK TABLES").await.is_err());
    lab.assert_nothing_left().await
}
