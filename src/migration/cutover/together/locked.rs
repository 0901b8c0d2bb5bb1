//! MySQL 8.0.13 and later: the session that holds LOCK TABLES on all tables renames all of them itself.

use super::super::super::error::Error;
use super::super::Outcome;
use super::super::crew::Crew;
use super::{Joint, rename_statement, set_step};
use crate::gate::Held;

/// Locks, catches up, renames, unlocks.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(joint: &mut Joint<'_>, held: &[Held], crew: &mut Crew) -> Result<Outcome, Error> {
    set_step(held, "lock");
    let sql = joint.lock_statement();
    let what = "LOCK TABLES: somebody who bypasses the proxy has one of the tables open";
    crew.lock.run_within(&sql, joint.lock_limit(), &mut crew.watchdog, what).await?;
    joint.steps.mark("lock");
    let prepared = async {
        joint.catch_up(held, crew).await?;
        joint.tie(&mut crew.lock).await
    };
    if let Err(error) = prepared.await {
        joint.settle_ties(&mut crew.lock).await;
        joint.put_all_triggers_on(crew).await;
        // Nothing was renamed, and nobody shall wait until the server has noticed that the connection is gone.
        crew.unlock().await;
        return Err(error);
    }
    Ok(rename(joint, held, crew).await)
}

async fn rename(joint: &mut Joint<'_>, held: &[Held], crew: &mut Crew) -> Outcome {
    set_step(held, "rename");
    let injected = crate::failpoints::reach("cutover.rename_issued").await.map_err(|error| error.to_string());
    if let Err(reason) = injected.and_then(|()| joint.may_rename().map_err(|error| error.to_string())) {
        joint.settle_ties(&mut crew.lock).await;
        joint.put_all_triggers_on(crew).await;
        crew.unlock().await;
        return Outcome::NotCommitted("not_locked", reason);
    }
    joint.note_swap();
    let limit = joint.allow_for_rename();
    let sql = rename_statement(joint.members.iter().map(|member| &member.job.names));
    let result = crew.lock.run_within(&sql, limit, &mut crew.watchdog, "RENAME TABLE").await;
    joint.steps.mark("rename");
    let outcome = match (result, crate::failpoints::reach("cutover.renamed").await) {
        (Ok(()), Err(error)) => Outcome::Unknown(error.to_string()),
        (result, _) => Outcome::of_rename(result),
    };
    // The lock goes with the names: nobody finds a table without its triggers, nor a child that points elsewhere.
    joint.settle_ties(&mut crew.lock).await;
    joint.put_all_triggers_on(crew).await;
    // Unlocked in any case: what was renamed stays renamed, what was not is the source as it was.
    crew.unlock().await;
    joint.steps.mark("unlock");
    outcome
}
