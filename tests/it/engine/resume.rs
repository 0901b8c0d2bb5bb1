//! I-E6: a proxy that is killed at any moment goes on from a place that leaves nothing out.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::LONG;
use super::load::{Load, TABLE, prepare};
use super::spaces::INT;
use crate::support::{Kind, lab::Lab};

on_both_servers!(five_kills_lose_nothing);

/// Slow enough that keys always wait to be applied when the process dies.
const SLOW: [(&str, &str); 2] =
    [("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(25);apply.round=sleep(120)"), ("TIDEGATE_COPY_CHUNK_TARGET_MS", "1")];

async fn five_kills_lose_nothing(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 12_000, 6).await?;
    lab.proxy.kill_hard();
    lab.proxy.launch(&SLOW).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 4, Duration::from_millis(3));
    load.more(50).await?;
    let options = "WITH strategy = 'copy', copy_workers = 2, postpone = true";
    let id = lab.admin().await?.migrate(TABLE, "ADD COLUMN x INT, MODIFY c BIGINT", options).await?;
    let mut rng = fastrand::Rng::with_seed(5);
    for kill in 1..=5 {
        tokio::time::sleep(Duration::from_millis(rng.u64(400..1600))).await;
        let status = lab.admin().await?.status(id).await?;
        ensure!(!status.is_final() && status.phase() != "parked", "before kill {kill}: {status:?}");
        lab.proxy.kill_hard();
        lab.proxy.launch(if kill < 5 { &SLOW } else { &[] }).await?;
    }
    let mut admin = lab.admin().await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    load.more(100).await?;
    let outcome = load.stop().await?;
    ensure!(outcome.seen.disconnects >= 5 * 4, "only {} connections broke: was the proxy killed?", outcome.seen.disconnects);
    ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
    outcome.assert_is(&mut conn).await?;
    lab.assert_nothing_left().await
}
