//! The protocol of MySQL 8.0.13 and later (F1): the session that holds LOCK TABLES renames both tables itself.
//!
//! `Held → CaughtUp → swap`: each step takes the proof of the one before (I-C5).

use super::super::error::Error;
use super::crew::Crew;
use super::locked::{Applier, Attempt, CaughtUp, lock_and_catch_up};
use super::{Outcome, settle};
use crate::gate::Held;

/// Locks, catches up, renames, unlocks.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(attempt: &mut Attempt<'_>, held: &Held, crew: Crew) -> Result<Outcome, Error> {
    let names = &attempt.job.names;
    let sql =
        format!("LOCK TABLES {} WRITE, {} WRITE{}", names.source.quoted(), names.shadow.quoted(), attempt.belongings.ties.locks(names));
    let lock = (sql.as_str(), "LOCK TABLES: somebody who bypasses the proxy has the table open");
    let mut caught_up = lock_and_catch_up(attempt, held, crew, lock, Applier::Lock).await?;
    if let Err(error) = attempt.tie(&mut caught_up.crew.lock).await {
        attempt.settle_ties(&mut caught_up.crew.lock).await;
        attempt.put_triggers_on(&mut caught_up.crew.lock).await;
        caught_up.crew.unlock().await;
        return Err(error);
    }
    Ok(rename(attempt, caught_up).await)
}

async fn rename(attempt: &mut Attempt<'_>, caught_up: CaughtUp<'_>) -> Outcome {
    let CaughtUp { held, mut crew } = caught_up;
    held.set_step("rename");
    let injected = crate::failpoints::reach("cutover.rename_issued").await.map_err(|error| error.to_string());
    if let Err(reason) = injected.and_then(|()| attempt.may_rename().map_err(|error| error.to_string())) {
        attempt.settle_ties(&mut crew.lock).await;
        attempt.put_triggers_on(&mut crew.lock).await;
        crew.unlock().await;
        return Outcome::NotCommitted("not_locked", reason);
    }
    attempt.note_swap(held.gate());
    let limit = attempt.allow_for_rename();
    let sql = settle::rename_statement(&attempt.job.names);
    let result = crew.lock.run_within(&sql, limit, &mut crew.watchdog, "RENAME TABLE").await;
    attempt.steps.mark("rename");
    let injected = crate::failpoints::reach("cutover.renamed").await;
    let outcome = match (result, injected) {
        (Ok(()), Err(error)) => Outcome::Unknown(error.to_string()),
        (result, _) => Outcome::of_rename(result),
    };
    // The lock goes with the name: nobody finds the table without its triggers, nor a child that points elsewhere.
    attempt.settle_ties(&mut crew.lock).await;
    attempt.put_triggers_on(&mut crew.lock).await;
    // Unlocked in any case: what was renamed stays renamed, what was not is the source as it was.
    crew.unlock().await;
    attempt.steps.mark("unlock");
    outcome
}
