//! What may stand in the way of a cut-over: whoever it is, no client waits longer than max_hold for it, and the operator reads who.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::failures::IN_PLACE;
use super::protocols;
use crate::support::lab::{Lab, TABLE};
use crate::support::load::Options;
use crate::support::metrics::{self, Histogram};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, Proxy};

on_both_servers!(
    whoever_goes_round_the_proxy_is_named_and_holds_nobody_up,
    the_watchdog_frees_the_table_of_an_attempt_that_stands_still,
    pauses_between_attempts_grow,
    events_of_the_server_lose_nothing,
    an_attempt_that_is_late_does_not_rename,
);

const LONG: Duration = Duration::from_secs(60);

/// Nobody was held for more than twice max_hold (1 s); the rest of the time a statement is the server's, or this machine's.
pub(super) async fn nobody_was_held_for_long(proxy: &Proxy) -> Result<()> {
    let held = Histogram::read(&metrics::fetch(proxy.http_port, "/metrics").await?, "tidegate_held_statement_seconds", &[]);
    ensure!(held.above(2.0) == 0.0, "{} statements were held for more than 2 s: {held:?}", held.above(2.0));
    Ok(())
}

async fn postponed(admin: &mut Admin, protocol: &str) -> Result<u64> {
    let id = admin.migrate(TABLE, "FORCE", &format!("WITH strategy = 'copy', postpone = true, cutover = '{protocol}'")).await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    Ok(id)
}

/// A reader, a writer and a prepared XA transaction that stay, each while the application goes on.
async fn whoever_goes_round_the_proxy_is_named_and_holds_nobody_up(kind: Kind) -> Result<()> {
    let more = if kind == Kind::MariaDb { vec!["--plugin-load-add=metadata_lock_info".to_owned()] } else { Vec::new() };
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    let load = lab.load(500, &Options { clients: 8, ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    let insert = "INSERT INTO shop.orders (id, customer_id, client, seq) VALUES (-7, 0, -1, 0)";
    let obstacles: [(&str, &[&str], &str); 3] = [
        ("a reader", &["BEGIN", "SELECT COUNT(*) FROM shop.orders"], "COMMIT"),
        ("a stuck transaction", &["BEGIN", insert], "ROLLBACK"),
        ("a prepared XA transaction", &["XA START 'x'", insert, "XA END 'x'", "XA PREPARE 'x'"], "XA ROLLBACK 'x'"),
    ];
    for protocol in protocols(kind) {
        for (what, statements, end) in &obstacles {
            let id = postponed(&mut admin, protocol).await?;
            let mut conn = lab.server.connect().await?;
            for statement in *statements {
                conn.query_drop(*statement).await?;
            }
            admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
            let named = format!("connection {} of app", conn.id());
            note_says(&mut admin, id, &named).await.with_context(|| format!("{protocol}: {what}"))?;
            load.more_statements(300).await?;
            ensure!(!admin.status(id).await?.is_final(), "{protocol}: the swap was made under {what}");
            conn.query_drop(*end).await.with_context(|| format!("{protocol}: {what} was ended"))?;
            admin.wait_done(id, LONG).await.with_context(|| format!("{protocol}: {what}"))?;
        }
    }
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    nobody_was_held_for_long(&lab.proxy).await?;
    lab.assert_nothing_left().await
}

async fn note_says(admin: &mut Admin, id: u64, word: &str) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.text("note").contains(word) {
            return Ok(());
        }
        ensure!(!status.is_final() && Instant::now() < until, "the note does not say {word:?}: {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The attempt hangs with the tables locked, and nothing in it looks at a clock: its connections are ended from outside.
async fn the_watchdog_frees_the_table_of_an_attempt_that_stands_still(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let load = lab.load(300, &Options { clients: 4, ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    let mut conn = lab.server.connect().await?;
    let swaps = protocols(kind).iter().flat_map(|protocol| ["cutover.locked", "cutover.rename_issued"].map(|point| (*protocol, point)));
    // Where the server alters the table behind the gate, the attempt has the same watchman.
    for (protocol, point) in swaps.chain([(IN_PLACE, "cutover.alter_issued")]) {
        let id = if protocol == IN_PLACE {
            let id = admin.migrate(TABLE, "COMMENT = 'orders'", "WITH strategy = 'instant', postpone = true").await?;
            admin.wait_phase(id, &["ready"], LONG).await?;
            id
        } else {
            postponed(&mut admin, protocol).await?
        };
        let before = kills(&mut conn).await?;
        failpoints.stop_at(point)?;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        failpoints.stopped(LONG).await?;
        load.more_statements(40).await.with_context(|| format!("{protocol}: clients do not go on while the attempt stands at {point}"))?;
        connection_is_gone(&mut conn, id).await.with_context(|| format!("{protocol} at {point}"))?;
        ensure!(failpoints.is_stopped(), "the attempt did not stand still");
        // Not by the server's own wait_timeout, which comes seconds later.
        ensure!(kills(&mut conn).await? > before, "{protocol} at {point}: nobody was ended by KILL");
        failpoints.go()?;
        admin.wait_done(id, LONG).await.with_context(|| format!("{protocol} at {point}"))?;
        let watched = format!("connections are ended migration={id} ");
        ensure!(lab.proxy.log().lines().any(|line| line.contains(&watched)), "it was not the watchdog that ended the connections");
    }
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    nobody_was_held_for_long(&lab.proxy).await?;
    lab.assert_nothing_left().await
}

async fn kills(conn: &mut Conn) -> Result<u64> {
    let row: Option<(String, u64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Com_kill'").await?;
    Ok(row.context("no Com_kill")?.1)
}

async fn connection_is_gone(conn: &mut Conn, id: u64) -> Result<()> {
    let until = Instant::now() + LONG;
    while conn.query_first::<u64, _>(format!("SELECT IS_FREE_LOCK('tidegate lock {id}')")).await? != Some(1) {
        ensure!(Instant::now() < until, "C1 is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Half a second, one, two: at least so long lies between an attempt and the next.
async fn pauses_between_attempts_grow(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 100).await?;
    let mut admin = lab.admin().await?;
    let id = postponed(&mut admin, "auto").await?;
    lab.sql(&["CREATE TABLE `~retired_shop`.orders (keep_me INT)"]).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let mut seen: Vec<(f64, Instant)> = Vec::new();
    let until = Instant::now() + LONG;
    while seen.len() < 4 {
        let attempts = admin.status(id).await?.number("cutover_attempts");
        if attempts > seen.last().map_or(0.0, |(attempts, _)| *attempts) {
            seen.push((attempts, Instant::now()));
        }
        ensure!(Instant::now() < until, "only {} attempts were made", seen.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    lab.sql(&["DROP TABLE `~retired_shop`.orders"]).await?;
    for (pair, least) in seen.windows(2).zip([500, 1000, 2000]) {
        let [(_, before), (_, after)] = pair else { continue };
        // The first of each pair may have been seen a little late.
        let least = Duration::from_millis(least * 9 / 10);
        ensure!(*after - *before >= least, "an attempt followed after {:?}, and not after {least:?} or more", *after - *before);
    }
    admin.wait_done(id, LONG).await?;
    lab.assert_nothing_left().await
}

/// The server's own scheduler writes, in connections of its own that no proxy sees.
async fn events_of_the_server_lose_nothing(kind: Kind) -> Result<()> {
    let more = vec!["--event-scheduler=ON".to_owned()];
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    lab.sql(&[
        "CREATE TABLE shop.written (n INT PRIMARY KEY, times INT NOT NULL) ENGINE=InnoDB",
        "INSERT INTO shop.written VALUES (1, 0)",
        "CREATE PROCEDURE shop.write_some() BEGIN DECLARE n INT DEFAULT 0; WHILE n < 100 DO START TRANSACTION; \
         INSERT INTO shop.orders (customer_id, client, seq) VALUES (1, -5, n); UPDATE shop.written SET times = times + 1; COMMIT; \
         SET n = n + 1; DO SLEEP(0.005); END WHILE; END",
        "CREATE EVENT shop.writes ON SCHEDULE EVERY 1 SECOND DO CALL shop.write_some()",
    ])
    .await?;
    let mut admin = lab.admin().await?;
    let mut conn = lab.server.connect().await?;
    let written = "SELECT times FROM shop.written";
    for (n, protocol) in protocols(kind).iter().cycle().take(6).enumerate() {
        let before: Option<u64> = conn.query_first(written).await?;
        let until = Instant::now() + LONG;
        while conn.query_first::<u64, _>(written).await? <= before {
            ensure!(Instant::now() < until, "the event does not write");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let id = admin.migrate(TABLE, "FORCE", &format!("WITH strategy = 'copy', cutover = '{protocol}'")).await?;
        admin.wait_done(id, LONG).await.context(*protocol)?;
        let id = admin.migrate(TABLE, &format!("ADD COLUMN c{n} INT"), "WITH strategy = 'instant'").await?;
        admin.wait_done(id, LONG).await.context("in place")?;
    }
    lab.sql(&["DROP EVENT shop.writes"]).await?;
    let until = Instant::now() + LONG;
    while conn
        .query_first::<u64, _>("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app' AND id <> CONNECTION_ID()")
        .await?
        != Some(0)
    {
        ensure!(Instant::now() < until, "the last event does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let times: Option<u64> = conn.query_first(written).await?;
    let rows: Option<u64> = conn.query_first("SELECT COUNT(*) FROM shop.orders WHERE client = -5").await?;
    ensure!(rows == times, "the event wrote {times:?} rows, and {rows:?} are there");
    lab.assert_nothing_left().await
}

/// A RENAME that outlives the hold lets clients into the server's queue, where one with a view open can be a deadlock's victim: an
/// attempt that has little of its hold left does not begin it.
async fn an_attempt_that_is_late_does_not_rename(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    crate::migrations::quiet_table(&lab, 100).await?;
    let mut admin = lab.admin().await?;
    for protocol in protocols(kind) {
        // After three fifths of it, and before the watchman comes at four.
        failpoints.set("cutover.caught_up=sleep(13500)*1")?;
        let id = admin.migrate(TABLE, "FORCE", &format!("WITH strategy = 'copy', max_hold_ms = 20000, cutover = '{protocol}'")).await?;
        note_says(&mut admin, id, "too little of max_hold is left").await.context(*protocol)?;
        admin.wait_done(id, LONG).await.context(*protocol)?;
    }
    lab.assert_nothing_left().await
}
