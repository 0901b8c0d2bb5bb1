//! The protocol of MySQL 8.0.13 and later (F1): the session that holds LOCK TABLES renames both tables itself.
//!
//! `Held → Locked → CaughtUp → swap`: each step takes the proof of the one before, and `Locked` borrows the hold, so that ending
//! the hold while the tables are locked does not compile (I-C5).

use std::time::Duration;

use super::super::apply;
use super::super::error::Error;
use super::{Attempt, Crew, Outcome};
use crate::gate::Held;

/// Both tables are locked by the crew's lock connection.
struct Locked<'h> {
    held: &'h Held,
    crew: Crew,
}

/// Everything that anybody has written is in the shadow, and nobody can write.
struct CaughtUp<'h>(Locked<'h>);

/// Locks, catches up, renames, unlocks.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(attempt: &mut Attempt<'_>, held: &Held, crew: Crew) -> Result<Outcome, Error> {
    let locked = lock(attempt, held, crew).await?;
    let caught_up = catch_up(attempt, locked).await?;
    Ok(rename(attempt, caught_up).await)
}

async fn lock<'h>(attempt: &mut Attempt<'_>, held: &'h Held, mut crew: Crew) -> Result<Locked<'h>, Error> {
    held.set_step("lock");
    let names = &attempt.job.names;
    let limit = attempt.lock_limit();
    let sql = format!("LOCK TABLES {} WRITE, {} WRITE", names.source.quoted(), names.shadow.quoted());
    crew.lock.run_within(&sql, limit, &mut crew.watchdog, "LOCK TABLES: somebody who bypasses the proxy has the table open").await?;
    attempt.steps.mark("lock");
    crate::failpoints::reach("cutover.locked").await?;
    Ok(Locked { held, crew })
}

async fn catch_up<'h>(attempt: &mut Attempt<'_>, mut locked: Locked<'h>) -> Result<CaughtUp<'h>, Error> {
    locked.held.set_step("fence");
    let position = locked.crew.control.position(&attempt.job.facts).await?;
    attempt.tail_reaches(&position).await?;
    attempt.steps.mark("fence");
    apply::settle_under_lock(attempt.job, &mut locked.crew.lock).await?;
    attempt.steps.mark("apply");
    crate::failpoints::reach("cutover.caught_up").await?;
    Ok(CaughtUp(locked))
}

async fn rename(attempt: &mut Attempt<'_>, caught_up: CaughtUp<'_>) -> Outcome {
    let CaughtUp(Locked { held, mut crew }) = caught_up;
    held.set_step("rename");
    let limit = attempt.left().max(Duration::from_millis(500));
    let sql = super::settle::rename_statement(&attempt.job.names);
    if let Err(error) = crate::failpoints::reach("cutover.rename_issued").await {
        return Outcome::NotCommitted("not_locked", error.to_string());
    }
    attempt.note_swap(held.gate());
    let result = crew.lock.run_within(&sql, limit, &mut crew.watchdog, "RENAME TABLE").await;
    attempt.steps.mark("rename");
    let injected = crate::failpoints::reach("cutover.renamed").await;
    let outcome = match (result, injected) {
        (Ok(()), Err(error)) => Outcome::Unknown(error.to_string()),
        (result, _) => Outcome::of_rename(result),
    };
    // Unlocked in any case: what was renamed stays renamed, what was not is the source as it was.
    let unlock = tokio::time::timeout(Duration::from_secs(1), crew.lock.run("UNLOCK TABLES")).await;
    if !matches!(unlock, Ok(Ok(()))) {
        let _ = crew.watchdog.kill(crew.lock.id()).await;
    }
    attempt.steps.mark("unlock");
    outcome
}
