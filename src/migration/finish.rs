//! After the last swap: keeps the gate while old snapshots live, and cleans up. See `revert.rs` for the time between.

use std::time::Duration;

use super::error::Error;
use super::phase::Event;
use super::runner::{Grip, Surroundings};
use super::{checkpoint, foreign_keys, policy, retired, shadow};
use crate::config::Fence;
use crate::gate::Installed;

/// Cleans up after the last swap.
///
/// # Errors
/// The server; the table itself is safe whatever happens here.
pub async fn run(around: &Surroundings, grip: &mut Grip) -> Result<(), Error> {
    // Each swap puts the table that it takes out where a shadow for swapping back would be.
    let names = grip.names.clone().flipped();
    let is_in_place = grip.stored.course.is_in_place();
    crate::failpoints::reach("cleanup.drop").await?;
    let (_, ties) = checkpoint::ties(&mut grip.link, grip.stored.id).await?;
    foreign_keys::settle_stored(&mut grip.link, &grip.stored.table, grip.stored.id, &ties).await?;
    let mut attempt = 0;
    loop {
        let cleaned = match is_in_place {
            true => shadow::drop_copy(&mut grip.link, &grip.names).await,
            false => match retired::shrink(around, grip, &names).await {
                Ok(()) => shadow::clean_up(&mut grip.link, &names).await,
                Err(error) => Err(error),
            },
        };
        match cleaned {
            Ok(()) => break,
            // Somebody reads the retired table, which is his right.
            Err(Error::Upstream(error)) if error.is_lock_conflict() => {
                attempt += 1;
                grip.board.set_note(format!("waiting for somebody who reads the old table {}, to drop it", names.retired));
                tokio::select! {
                    () = tokio::time::sleep(policy::pause(attempt)) => {}
                    () = around.shutdown.cancelled() => return Err(Error::Stopped),
                }
            }
            Err(error) => return Err(error),
        }
    }
    grip.board.set_backlog(Duration::ZERO, 0);
    let is_reverted = !is_in_place && grip.stored.swaps.is_multiple_of(2);
    grip.step(if is_reverted { Event::CleanedAfterRevert } else { Event::Cleaned }).await?;
    let status = grip.board.status();
    tracing::info!(
        migration = %status.id,
        table = %status.table,
        rows = status.rows_copied,
        attempts = status.cutover_attempts,
        held = status.held_statements,
        longest_stall_ms = format_args!("{:.1}", status.longest_stall.as_secs_f64() * 1e3),
        "{}", status.phase.name()
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
