//! Writers that go round the proxy are counted and named, those that go through it are not; nobody loses anything.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::lab::{Lab, TABLE};
use crate::support::{Kind, metrics};

on_both_servers!(writers_round_the_proxy_are_named);

async fn writers_round_the_proxy_are_named(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    let (mut bypass, mut proxied, mut gone) = (lab.server.connect().await?, lab.proxy.connect().await?, lab.proxy.connect().await?);
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN note VARCHAR(64)", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    ensure!(admin.rows("SHOW BYPASS").await?.is_empty());
    // The clock of the log has whole seconds: what is of the second in which the tail began does not count.
    let until = Instant::now() + Duration::from_secs(30);
    let rows = loop {
        for conn in [&mut proxied, &mut gone] {
            conn.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = 1").await?;
        }
        bypass.query_drop("BEGIN").await?;
        bypass.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = 2").await?;
        // Long enough to be seen where only the process list tells.
        bypass.query_drop("UPDATE shop.orders SET counter = counter + 1 + 0 * SLEEP(0.7) WHERE id = 3").await?;
        bypass.query_drop("COMMIT").await?;
        let rows = admin.rows("SHOW BYPASS").await?;
        if rows.iter().any(|row| row.text("user") == "app" && row.number("transactions") >= 2.0) {
            break rows;
        }
        ensure!(Instant::now() < until, "{rows:?}");
    };
    gone.disconnect().await?;
    proxied.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = 1").await?;
    let [row] = rows.as_slice() else { anyhow::bail!("{} lines, not one: {rows:?}", rows.len()) };
    ensure!(row.number("connection_id") == f64::from(bypass.id()) && row.text("table_name") == "orders" && row.id() == id, "{row:?}");
    ensure!(row.text("host").starts_with("127.0.0.1") || row.text("host").starts_with("localhost"), "{row:?}");
    let how = if kind == Kind::MySql { "binary log" } else { "process list" };
    ensure!(row.text("seen_in") == how, "{row:?}");
    let text = metrics::fetch(lab.proxy.http_port, "/metrics").await?;
    ensure!(metrics::sum(&text, "tidegate_bypassing_transactions_total", &[]) >= row.number("transactions"), "{text}");
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_done(id, Duration::from_secs(60)).await?;
    let mut conn = lab.server.connect().await?;
    let counters: Vec<i64> = conn.query("SELECT counter FROM shop.orders WHERE id < 4 ORDER BY id").await?;
    ensure!(counters[0] == 2 * counters[1] + 1 && counters[1] == counters[2], "{counters:?}");
    lab.assert_nothing_left().await
}
