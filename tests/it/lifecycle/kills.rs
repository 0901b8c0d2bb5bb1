//! kill -9 of proxy or server at random moments of many migrations under load: all finish, nothing is lost.
//!
//! Short in `make test`; `TIDEGATE_TEST_KILLS=100` for the whole length.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::LONG;
use crate::engine::load::{Load, TABLE, prepare};
use crate::engine::spaces::INT;
use crate::support::environment::number;
use crate::support::servers::Settings;
use crate::support::{Kind, lab::Lab};

on_both_servers!(kills_at_random_lose_nothing);

const ALTERS: [&str; 4] = ["ADD COLUMN x INT", "MODIFY c BIGINT, ADD INDEX (note)", "DROP COLUMN x", "MODIFY c INT, DROP INDEX note"];

async fn kills_at_random_lose_nothing(kind: Kind) -> Result<()> {
    let times: usize = number("TIDEGATE_TEST_KILLS", 3);
    // A kill of the server must lose nothing that it has acknowledged.
    let mut lab = Lab::start_with(kind, Settings { is_durable: true, ..Settings::default() }, &[]).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 8000, 4).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 17, Duration::from_millis(5));
    load.more(20).await?;
    let mut rng = Rng::with_seed(23);
    for (nth, specification) in ALTERS.into_iter().cycle().take(times).enumerate() {
        let id = lab.admin().await?.migrate(TABLE, specification, "WITH strategy = 'copy'").await?;
        tokio::time::sleep(Duration::from_millis(rng.u64(0..2500))).await;
        if nth % 3 == 1 {
            lab.server.kill_hard();
            tokio::time::sleep(Duration::from_millis(rng.u64(0..500))).await;
            lab.server.launch().await?;
        } else {
            lab.proxy.kill_hard();
            lab.proxy.launch(&[]).await?;
        }
        finished(&lab, id).await.with_context(|| format!("migration {id}, {specification}"))?;
    }
    load.more(50).await?;
    let outcome = load.stop().await?;
    outcome.assert_is(&mut lab.server.connect().await?).await?;
    lab.assert_nothing_left().await
}

/// Waits for `done`; a parked migration gets RESUME, as its text asks for.
async fn finished(lab: &Lab, id: u64) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let status = lab.admin().await?.status(id).await?;
        match status.phase() {
            "done" => return Ok(()),
            "parked" => drop(lab.admin().await?.run(&format!("RESUME MIGRATION {id}")).await),
            _ => ensure!(!status.is_final(), "it ended {status:?}"),
        }
        ensure!(Instant::now() < until, "it does not finish: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
