//! The three protocols: each swaps under load, each keeps what is written round the proxy while somebody reads the shadow, and
//! each is refused where it could lose something.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::protocols;
use crate::support::admin::server_error;
use crate::support::failpoints::Failpoints;
use crate::support::lab::{Lab, TABLE};
use crate::support::load::{Load, Options, judge, table};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind};

on_both_servers!(
    every_protocol_swaps_under_load,
    a_protocol_that_could_lose_is_refused,
    names_that_sort_before_the_source_lose_nothing,
    readers_on_the_shadow_lose_no_write,
    ddl_in_the_way_of_a_sentry_is_not_swapped_out,
);

const LONG: Duration = Duration::from_secs(60);

/// What only this protocol's attempts show in `steps`.
fn step_of(protocol: &str) -> &'static str {
    match protocol {
        "locked_rename" => "fence",
        "sentry" => "drop_sentry",
        _ => "unlock_shadow",
    }
}

async fn every_protocol_swaps_under_load(kind: Kind) -> Result<()> {
    // Long, for a machine that is busy: an attempt that outlives its hold is another test's.
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")]).await?;
    let load = lab.load(3000, &Options { transactions: 30, ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    for round in 0..3 {
        for protocol in protocols(kind) {
            let alter = format!("ADD COLUMN {protocol}_{round} INT");
            let id = admin.migrate(TABLE, &alter, &format!("WITH strategy = 'copy', cutover = '{protocol}'")).await?;
            let status = admin.wait_done(id, LONG).await.context(*protocol)?;
            let steps = status.text("steps");
            ensure!(steps.contains(step_of(protocol)), "{protocol} went another way: {steps}");
            ensure!((*protocol == "locked_rename") != steps.contains("drop_sentry"), "{protocol} went another way: {steps}");
            load.more_statements(200).await?;
        }
    }
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&["held"])
}

async fn a_protocol_that_could_lose_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    for schema in ["shop", "émoi"] {
        table::prepare(&mut conn, schema, 10, 1).await?;
    }
    let mut admin = lab.admin().await?;
    let mut refused = vec![("émoi.orders", "sentry", "sentry_locked_shadow")];
    if kind == Kind::MariaDb {
        refused.push(("shop.orders", "locked_rename", "MySQL 8.0.13"));
    }
    for (table, protocol, word) in refused {
        let error = admin.migrate(table, "ADD COLUMN x INT", &format!("WITH strategy = 'copy', cutover = '{protocol}'")).await;
        let error = error.err().with_context(|| format!("{protocol} was taken for {table}"))?;
        let (code, message) = server_error(&error).context("no answer of the admin port")?;
        ensure!(code == 1235 && message.contains(protocol) && message.contains(word), "{protocol}: {code} {message}");
    }
    ensure!(admin.rows("SHOW MIGRATIONS").await?.is_empty(), "a refused migration was stored");
    // By the configuration it is the same.
    let protocol = if kind == Kind::MariaDb { "locked_rename" } else { "sentry" };
    let table = if kind == Kind::MariaDb { "shop.orders" } else { "émoi.orders" };
    let second = crate::support::Proxy::start(&lab.server.address(), &[("TIDEGATE_CUTOVER_PROTOCOL", protocol)]).await?;
    let error = second.admin().await?.migrate(table, "ADD COLUMN x INT", "WITH strategy = 'copy'").await.err();
    ensure!(error.as_ref().and_then(server_error).is_some_and(|(code, _)| code == 1235), "{error:?}");
    Ok(())
}

/// A schema whose name begins with a letter that sorts after `~`: only the third session makes a sentry safe there.
async fn names_that_sort_before_the_source_lose_nothing(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let lab = stoppable(kind, &failpoints).await?;
    let options = Options { clients: 8, transactions: 0, ..Options::default() };
    let journals = table::prepare(&mut lab.server.connect().await?, "émoi", 2000, options.clients).await?;
    // Round the proxy, so that nothing but the server's own locks keeps the rows.
    let load = Load::start(lab.server.port, "émoi", journals, &options).await?;
    let mut admin = lab.admin().await?;
    for round in 0..4 {
        let alter = format!("ADD COLUMN round_{round} INT");
        let with = "WITH strategy = 'copy', cutover = 'sentry_locked_shadow'";
        let by_itself = if round == 3 && kind == Kind::MariaDb { "WITH strategy = 'copy'" } else { with };
        let id = admin.migrate("émoi.orders", &alter, by_itself).await?;
        let status = admin.wait_done(id, LONG).await?;
        ensure!(status.text("steps").contains("unlock_shadow"), "{status:?}");
        load.more_statements(200).await?;
    }
    let outcome = load.stop().await?;
    let verdict = judge::judge(&outcome.journals, &table::contents(&mut lab.server.connect().await?, "émoi").await?);
    ensure!(verdict.is_clean(), "acknowledged writes are not as they must be: {verdict:#?}");
    ensure!(outcome.seen.errors.is_empty() && outcome.seen.disconnects == 0, "{:?}", outcome.seen.errors);
    lab.assert_nothing_left().await?;
    for point in ["cutover.rename_issued", "cutover.sentry_dropped", "cutover.shadow_unlocked"] {
        a_reader_comes_at(&lab, &failpoints, "émoi", "sentry_locked_shadow", point).await.context(point)?;
    }
    Ok(())
}

/// F3, F4, F5, F17: a reader takes the shadow, and somebody writes round the proxy, at each step of each protocol.
async fn readers_on_the_shadow_lose_no_write(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let lab = stoppable(kind, &failpoints).await?;
    table::prepare(&mut lab.server.connect().await?, "shop", 300, 1).await?;
    for protocol in protocols(kind) {
        let mut points = vec!["cutover.drained", "cutover.locked", "cutover.caught_up", "cutover.rename_issued"];
        if *protocol != "locked_rename" {
            points.push("cutover.sentry_dropped");
        }
        if *protocol == "sentry_locked_shadow" {
            points.extend(["cutover.shadow_locked", "cutover.shadow_unlocked"]);
        }
        for point in points {
            a_reader_comes_at(&lab, &failpoints, "shop", protocol, point).await.with_context(|| format!("{protocol}, {point}"))?;
        }
    }
    lab.assert_nothing_left().await
}

async fn stoppable(kind: Kind, failpoints: &Failpoints) -> Result<Lab> {
    let (name, file) = failpoints.environment();
    // Long: the attempt stands still while the test does its part.
    let environment = [(name, file.as_str()), ("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000"), ("TIDEGATE_CUTOVER_DRAIN_BUDGET_MS", "2000")];
    Lab::start_with(kind, Settings::default(), &environment).await
}

/// One migration that stops at a point, where a reader opens a transaction on the shadow and a writer goes round the proxy; both
/// answers are awaited at their leisure. What the writer was told is done must be in the table at the end.
async fn a_reader_comes_at(lab: &Lab, failpoints: &Failpoints, schema: &str, protocol: &str, point: &str) -> Result<()> {
    let mut conn = lab.server.connect().await?;
    let before: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM `{schema}`.orders")).await?;
    failpoints.stop_at(point)?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(&format!("{schema}.orders"), "FORCE", &format!("WITH strategy = 'copy', cutover = '{protocol}'")).await?;
    failpoints.stopped(LONG).await?;
    let mut reader = lab.server.connect().await?;
    let mut writer = lab.server.connect().await?;
    reader.query_drop("BEGIN").await?;
    let (shadow, insert) = (
        format!("SELECT COUNT(*) FROM `~shadow_{schema}`.orders"),
        format!("INSERT INTO `{schema}`.orders (customer_id, client, seq, payload) VALUES (1, -1, 0, 'round the proxy')"),
    );
    let (reader_id, writer_id) = (reader.id(), writer.id());
    let reading = tokio::spawn(async move {
        // Where the shadow has become the table the name is gone; the reader's part is over then.
        let answer: mysql_async::Result<Option<u64>> = reader.query_first(shadow).await;
        (reader, answer)
    });
    answered_or_waiting(&mut conn, reader_id, || reading.is_finished()).await?;
    let writing = tokio::spawn(async move { writer.query_drop(insert).await });
    answered_or_waiting(&mut conn, writer_id, || writing.is_finished()).await?;
    failpoints.go()?;
    writing.await?.context("the writer round the proxy")?;
    let (mut reader, _) = reading.await?;
    let _ = reader.query_drop("COMMIT").await;
    admin.wait_done(id, LONG).await?;
    let after: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM `{schema}`.orders")).await?;
    ensure!(after == before.map(|rows| rows + 1), "the table had {before:?} rows; one was inserted, and now it has {after:?}");
    Ok(())
}

/// Waits until a connection's statement is answered, or waits on the server for a lock.
async fn answered_or_waiting(conn: &mut Conn, id: u32, is_answered: impl Fn() -> bool) -> Result<()> {
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND state LIKE 'Waiting for table metadata lock%'");
    for _ in 0..5000 {
        if is_answered() || conn.query_first::<u64, _>(&sql).await? == Some(1) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("connection {id} is neither answered nor seen waiting")
}

/// DDL of somebody who goes round the proxy and comes between LOCK TABLES and the RENAME would run before the RENAME when C1
/// unlocks: what it did would be swapped out with the old table. The attempt is called off instead, and names him.
async fn ddl_in_the_way_of_a_sentry_is_not_swapped_out(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let lab = stoppable(kind, &failpoints).await?;
    for protocol in protocols(kind) {
        for ddl in ["TRUNCATE TABLE shop.orders", "ALTER TABLE shop.orders ADD COLUMN theirs INT"] {
            let mut conn = lab.server.connect().await?;
            table::prepare(&mut conn, "shop", 300, 1).await?;
            failpoints.stop_at("cutover.caught_up")?;
            let mut admin = lab.admin().await?;
            let id = admin.migrate(TABLE, "ADD COLUMN ours INT", &format!("WITH strategy = 'copy', cutover = '{protocol}'")).await?;
            failpoints.stopped(LONG).await?;
            let mut other = lab.server.connect().await?;
            let other_id = other.id();
            let theirs = tokio::spawn(async move { other.query_drop(ddl).await });
            answered_or_waiting(&mut conn, other_id, || theirs.is_finished()).await?;
            ensure!(!theirs.is_finished(), "{ddl} was not kept waiting by LOCK TABLES");
            failpoints.go()?;
            theirs.await?.with_context(|| format!("{protocol}, {ddl}"))?;
            let end = ended(&mut admin, id).await?;
            let did_it = if ddl.starts_with("TRUNCATE") {
                "SELECT COUNT(*) = 0 FROM shop.orders"
            } else {
                "SELECT COUNT(*) = 1 FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'orders' AND column_name = 'theirs'"
            };
            let is_done: Option<bool> = conn.query_first(did_it).await?;
            ensure!(is_done == Some(true), "{protocol}: {ddl} was answered with OK and has no effect; the migration is {end}");
            lab.assert_nothing_left().await.with_context(|| format!("{protocol}, {ddl}"))?;
            if end == "failed" {
                let log = lab.proxy.log();
                let named = log.lines().any(|line| line.contains("called off") && line.contains(&format!("connection {other_id} of app")));
                ensure!(named, "{protocol}: the log does not name connection {other_id}");
            }
        }
    }
    Ok(())
}

async fn ended(admin: &mut Admin, id: u64) -> Result<String> {
    for _ in 0..3000 {
        let status = admin.status(id).await?;
        if status.is_final() {
            return Ok(status.phase().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the migration does not end: {:?}", admin.status(id).await?)
}
