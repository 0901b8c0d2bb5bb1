//! The life of a migration beyond the good way: reverting, waiting its turn, being throttled, losing its server.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::support::Admin;
use crate::support::admin::Status;

mod failover;
mod kills;
mod proxies;
mod queue;
mod revert;
mod server;

/// How long any one migration of these tests may take.
const LONG: Duration = Duration::from_secs(90);

/// Waits until a migration's row is as wanted.
pub(crate) async fn wait_until(admin: &mut Admin, id: u64, what: &str, is_there: impl Fn(&Status) -> bool) -> Result<Status> {
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if is_there(&status) {
            return Ok(status);
        }
        ensure!(Instant::now() < until && !status.is_final(), "waited for {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for the revert window after so many swaps.
pub(crate) async fn reversible(admin: &mut Admin, id: u64, swaps: f64) -> Result<Status> {
    wait_until(admin, id, "the revert window", |status| status.phase() == "reversible" && status.number("swaps") == swaps).await
}
