//! After the swap: keeps the gate while old snapshots live, keeps the retired table while it is wanted, then cleans up.

use std::time::Duration;

use super::error::Error;
use super::phase::{Event, Phase};
use super::runner::{Grip, Surroundings};
use super::{policy, shadow};
use crate::config::Fence;
use crate::gate::Installed;

/// Finishes a swapped migration.
///
/// # Errors
/// The server; the table itself is safe whatever happens here.
pub async fn run(around: &Surroundings, grip: &mut Grip) -> Result<(), Error> {
    if grip.phase == Phase::Reversible {
        let window = grip.stored.options.revert_window.unwrap_or_default();
        if !window.is_zero() {
            grip.board.set_note(format!("keeps the old table as {} for {} s", grip.names.retired, window.as_secs()));
        }
        tokio::select! {
            () = tokio::time::sleep(window) => {}
            () = around.shutdown.cancelled() => return Err(Error::Stopped),
        }
        grip.step(Event::WindowOver).await?;
    }
    crate::failpoints::reach("cleanup.drop").await?;
    let mut attempt = 0;
    loop {
        match shadow::clean_up(&mut grip.link, &grip.names).await {
            Ok(()) => break,
            // Somebody reads the retired table, which is his right.
            Err(Error::Upstream(error)) if error.is_lock_conflict() => {
                attempt += 1;
                grip.board.set_note(format!("waiting for somebody who reads the old table {}, to drop it", grip.names.retired));
                tokio::select! {
                    () = tokio::time::sleep(policy::pause(attempt)) => {}
                    () = around.shutdown.cancelled() => return Err(Error::Stopped),
                }
            }
            Err(error) => return Err(error),
        }
    }
    grip.board.set_backlog(Duration::ZERO, 0);
    grip.step(Event::Cleaned).await?;
    let status = grip.board.status();
    tracing::info!(
        migration = %status.id,
        table = %status.table,
        rows = status.rows_copied,
        attempts = status.cutover_attempts,
        held = status.held_statements,
        longest_stall_ms = format_args!("{:.1}", status.longest_stall.as_secs_f64() * 1e3),
        "done"
    );
    Ok(())
}

/// Keeps a gate standing after the swap until the last transaction that is older than it has ended (I-G6).
pub fn stand_while_snapshots_live(gate: Installed) {
    if gate.gate.fence() == Fence::Off {
        return;
    }
    // Nobody waits for this, and nothing that fails later may end it.
    tokio::spawn(stand(gate));
}

async fn stand(gate: Installed) {
    loop {
        let swapped_at = gate.gate.swapped_at_us();
        let is_alive = gate.gate.has_transaction_older_than(swapped_at);
        if !is_alive {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
