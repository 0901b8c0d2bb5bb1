//! The server changes under a migration: another one answers, or its log is gone. Nothing is written where it does not belong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use super::{LONG, wait_until};
use crate::engine::copy_is_under_way;
use crate::support::relay::Relay;
use crate::support::servers::Settings;
use crate::support::{Kind, Proxy, Server, compare, lab::Lab};

on_both_servers!(another_server_at_the_address_is_left_alone, purged_log_is_recognised);

/// The second server has a table of the name, and a shadow beside it: without looking who answers, a swap would go through there.
async fn another_server_at_the_address_is_left_alone(kind: Kind) -> Result<()> {
    let (first, second) = (Server::start(kind, Settings::default()).await?, Server::start(kind, Settings::default()).await?);
    let relay = Relay::start(first.port).await?;
    let proxy = Proxy::start(&relay.address(), &[]).await?;
    let create = "CREATE TABLE shop.t (k INT PRIMARY KEY, c INT)";
    for server in [&first, &second] {
        let mut conn = server.connect().await?;
        for statement in ["CREATE DATABASE shop", create, "INSERT INTO shop.t VALUES (1, 1), (2, 2)"] {
            conn.query_drop(statement).await?;
        }
    }
    let mut there = second.connect().await?;
    there.query_drop("CREATE DATABASE `~shadow_shop`").await?;
    there.query_drop("CREATE DATABASE `~retired_shop`").await?;
    there.query_drop("CREATE TABLE `~shadow_shop`.t (k INT PRIMARY KEY, c INT, x INT)").await?;
    let before = compare::definition(&mut there, "shop.t").await?;

    let mut admin = proxy.admin().await?;
    // Whoever is inside keeps the migration from swapping until the address means another server.
    let mut inside = proxy.connect().await?;
    inside.query_drop("BEGIN").await?;
    inside.query_drop("UPDATE shop.t SET c = 5 WHERE k = 1").await?;
    let id = admin.migrate("shop.t", "ADD COLUMN x INT", "WITH strategy = 'copy', verify = false").await?;
    wait_until(&mut admin, id, "the wait for the transaction", |status| status.text("note").contains("transactions on the table")).await?;
    relay.retarget(second.port);
    inside.query_drop("COMMIT").await?;
    wait_until(&mut admin, id, "a word on the other server", |status| status.text("note").contains("another server answers")).await?;
    ensure!(compare::definition(&mut there, "shop.t").await? == before, "a table of the other server was changed");
    let left: Option<u64> = there.query_first("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE '~%'").await?;
    ensure!(left == Some(1), "the other server's side tables were touched: {left:?}");
    relay.retarget(first.port);
    admin.wait_done(id, LONG).await?;
    let rows: Vec<(i32, i32)> = first.connect().await?.query("SELECT k, c FROM shop.t WHERE x IS NULL ORDER BY k").await?;
    ensure!(rows == [(1, 5), (2, 2)], "{rows:?}");
    proxy.assert_clean_log(&["does not know the migration", "cannot be read"])
}

async fn purged_log_is_recognised(kind: Kind) -> Result<()> {
    let slow = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(200)")];
    let mut lab = Lab::start_with(kind, Settings::default(), &slow).await?;
    let mut conn = lab.server.connect().await?;
    crate::engine::load::prepare(&mut conn, crate::engine::spaces::INT, 8000, 1).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "ADD COLUMN x INT", "WITH strategy = 'copy'").await?;
    copy_is_under_way(&mut admin, id).await?;
    lab.proxy.kill_hard();
    // Days later.
    conn.query_drop("FLUSH BINARY LOGS").await?;
    conn.query_drop("UPDATE shop.t SET c = 77 WHERE k = 0").await?;
    let status = if kind == Kind::MySql { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let row: mysql_async::Row = conn.query_first(status).await?.context("no log")?;
    let file: String = row.get(0).context("no file")?;
    // The server keeps a file as long as the dead proxy's stream reads it.
    let until = std::time::Instant::now() + LONG;
    loop {
        conn.query_drop(format!("PURGE BINARY LOGS TO '{file}'")).await?;
        let first: mysql_async::Row = conn.query_first("SHOW BINARY LOGS").await?.context("no log")?;
        if first.get::<String, _>(0).as_ref() == Some(&file) {
            break;
        }
        ensure!(std::time::Instant::now() < until, "the log cannot be purged");
        let streams: Vec<u64> = conn.query("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'").await?;
        for id in streams {
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lab.proxy.launch(&[]).await?;
    let mut admin = lab.admin().await?;
    let parked = wait_until(&mut admin, id, "parking", |status| status.phase() == "parked").await?;
    ensure!(parked.error_code() == 1236, "{parked:?}");
    ensure!(parked.text("error").contains("CANCEL this migration and start it again"), "{parked:?}");
    admin.run(&format!("CANCEL MIGRATION {id}")).await?;
    wait_until(&mut admin, id, "the end", |status| status.phase() == "cancelled").await?;
    let id = admin.migrate("shop.t", "ADD COLUMN x INT", "WITH strategy = 'copy'").await?;
    admin.wait_done(id, LONG).await?;
    let value: Option<i64> = conn.query_first("SELECT c FROM shop.t WHERE k = 0 AND x IS NULL").await?;
    ensure!(value == Some(77), "{value:?}");
    tokio::time::timeout(Duration::from_secs(20), lab.assert_nothing_left()).await?
}
