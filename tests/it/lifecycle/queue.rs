//! Several migrations at once: as many as the configuration allows; the others wait their turn.

use anyhow::{Result, ensure};

use super::{LONG, wait_until};
use crate::support::servers::Settings;
use crate::support::{Kind, lab::Lab};

on_both_servers!(migrations_wait_their_turn_and_run_side_by_side);

async fn migrations_wait_their_turn_and_run_side_by_side(kind: Kind) -> Result<()> {
    let slow = "copy.chunk=sleep(150)";
    let environment = [("TIDEGATE_MIGRATIONS_AT_ONCE", "2"), ("TIDEGATE_FAILPOINTS", slow), ("TIDEGATE_COPY_CHUNK_TARGET_MS", "1")];
    let mut lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    lab.sql(&["CREATE DATABASE shop"]).await?;
    for table in ["a", "b", "c", "d"] {
        lab.sql(&[
            &format!("CREATE TABLE shop.{table} (k INT AUTO_INCREMENT PRIMARY KEY, c INT)"),
            &format!(
                "INSERT INTO shop.{table} (c) WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n"
            ),
            &format!("INSERT INTO shop.{table} (c) SELECT x.c FROM shop.{table} x JOIN shop.{table} y ON y.k <= 20"),
        ])
        .await?;
    }
    let mut admin = lab.admin().await?;
    let mut ids = Vec::new();
    for table in ["a", "b", "c", "d"] {
        ids.push(admin.migrate(&format!("shop.{table}"), "ADD COLUMN x INT", "WITH strategy = 'copy', copy_workers = 1").await?);
    }
    let [a, b, c, d] = ids[..] else { anyhow::bail!("{ids:?}") };
    let waiting = wait_until(&mut admin, c, "the queue", |status| status.text("note").contains("waits its turn")).await?;
    ensure!(waiting.phase() == "queued", "{waiting:?}");
    ensure!(admin.status(d).await?.phase() == "queued");
    ensure!(admin.status(a).await?.phase() == "copying" && admin.status(b).await?.phase() == "copying", "two were to copy");
    admin.run(&format!("CANCEL MIGRATION {d}")).await?;
    wait_final(&mut lab, d, "cancelled").await?;
    ensure!(admin.status(c).await?.phase() == "queued", "it did not wait");
    // A queue survives the proxy; each migration goes on from its own checkpoint.
    lab.proxy.kill_hard();
    lab.proxy.launch(&[("TIDEGATE_FAILPOINTS", "")]).await?;
    for id in [a, b, c] {
        wait_final(&mut lab, id, "done").await?;
    }
    lab.assert_nothing_left().await
}

async fn wait_final(lab: &mut Lab, id: u64, phase: &str) -> Result<()> {
    lab.admin().await?.wait_phase(id, &[phase], LONG).await.map(drop)
}
