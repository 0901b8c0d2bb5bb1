//! Attempts to break the engine's invariants: what copy, tail, apply and resume must keep right under hostile traffic.
//!
//! See `load.rs` for the application and its journal, `spaces.rs` for the keys it uses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::Admin;
use crate::support::admin::Status;

mod bypass;
mod damage;
mod gaps;
mod hot;
mod late;
pub mod load;
mod resume;
pub mod spaces;
mod traffic;

/// How long any one migration of these tests may take.
const LONG: Duration = Duration::from_secs(90);

/// Waits until the copy has begun to copy.
pub async fn copy_is_under_way(admin: &mut Admin, id: u64) -> Result<Status> {
    let until = std::time::Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.phase() == "copying" && status.number("rows_copied") > 0.0 {
            return Ok(status);
        }
        ensure!(matches!(status.phase(), "queued" | "preparing" | "copying"), "the copy was over before it was seen: {status:?}");
        ensure!(std::time::Instant::now() < until, "no row is copied: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Migrates by copying and waits for the end.
async fn migrated(admin: &mut Admin, specification: &str) -> Result<Status> {
    let id = admin.migrate(load::TABLE, specification, "WITH strategy = 'copy'").await.context(specification.to_owned())?;
    admin.wait_done(id, LONG).await.context(specification.to_owned())
}
