//! The protocol of MariaDB (and of MySQL before 8.0.13): two sessions and a sentry under the retired name.
//!
//! C1 locks the source for reading (F19) and the sentry for writing; C2's RENAME, which the sentry keeps from running, must be
//! seen waiting; then C1 drops the sentry and unlocks, and RENAME goes before every client, because its names sort after
//! the source's and it therefore waits for the source first (F3, F4).
//! Never: UNLOCK because a wait timed out. First the RENAME is ended, then the sentry dropped, then unlocked.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::apply;
use super::super::error::Error;
use super::{Attempt, Crew, Outcome};
use crate::gate::Held;
use crate::upstream::{self, Link};

/// How often it is asked whether RENAME waits.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// C1 holds its locks; everything is applied through the fence.
struct CaughtUp<'h> {
    held: &'h Held,
    crew: Crew,
}

/// C2's RENAME on its way.
struct Rename {
    id: u32,
    task: JoinHandle<Result<(), upstream::Error>>,
}

/// Locks, catches up, issues the RENAME, sees it wait, lets it go.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(attempt: &mut Attempt<'_>, held: &Held, crew: Crew, rename: Link) -> Result<Outcome, Error> {
    let mut caught_up = lock_and_catch_up(attempt, held, crew).await?;
    caught_up.held.set_step("rename");
    let mut rename = issue(attempt, rename);
    match see_it_wait(attempt, &mut caught_up.crew, &mut rename).await {
        Ok(()) => Ok(let_go(attempt, caught_up, rename).await),
        Err(error) => {
            let outcome = call_off(attempt, caught_up, rename).await;
            Ok(outcome.unwrap_or_else(|| Outcome::NotCommitted("not_committed", error.to_string())))
        }
    }
}

async fn lock_and_catch_up<'h>(attempt: &mut Attempt<'_>, held: &'h Held, mut crew: Crew) -> Result<CaughtUp<'h>, Error> {
    held.set_step("lock");
    let names = &attempt.job.names;
    let limit = attempt.lock_limit();
    let sql = format!("LOCK TABLES {} READ, {} WRITE", names.source.quoted(), names.retired.quoted());
    crew.lock.run_within(&sql, limit, &mut crew.watchdog, "LOCK TABLES: somebody who bypasses the proxy is writing to the table").await?;
    attempt.steps.mark("lock");
    crate::failpoints::reach("cutover.locked").await?;
    held.set_step("fence");
    let position = crew.control.position(&attempt.job.facts).await?;
    attempt.tail_reaches(&position).await?;
    attempt.steps.mark("fence");
    apply::settle_under_lock(attempt.job, &mut crew.apply).await?;
    attempt.steps.mark("apply");
    crate::failpoints::reach("cutover.caught_up").await?;
    Ok(CaughtUp { held, crew })
}

fn issue(attempt: &Attempt<'_>, mut link: Link) -> Rename {
    let sql = super::settle::rename_statement(&attempt.job.names);
    let id = link.id();
    Rename { id, task: tokio::spawn(async move { link.run(&sql).await }) }
}

/// Asks the server until C2 waits for a table's metadata lock.
async fn see_it_wait(attempt: &mut Attempt<'_>, crew: &mut Crew, rename: &mut Rename) -> Result<(), Error> {
    let sql = format!("SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {} AND INFO LIKE 'RENAME%'", rename.id);
    // Enough is left after this for the RENAME itself.
    let give_up = Instant::now() + attempt.left() / 2;
    loop {
        if rename.task.is_finished() {
            return Err(Error::Stuck("RENAME ended before the sentry was dropped".into(), "it is tried again".into()));
        }
        let state = crew.control.cell(&sql).await?;
        if state.as_deref().is_some_and(|state| state.starts_with("Waiting for table metadata lock")) {
            // C1 must be alive, or its locks are gone and the sentry is all that is left.
            crew.lock.run("DO 1").await?;
            attempt.steps.mark("rename_waits");
            return crate::failpoints::reach("cutover.rename_issued").await.map_err(Error::from);
        }
        if Instant::now() > give_up {
            return Err(upstream::Error::TooLong(attempt.left(), "RENAME was not seen waiting").into());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Drops the sentry, unlocks, and waits for the RENAME.
async fn let_go(attempt: &mut Attempt<'_>, caught_up: CaughtUp<'_>, mut rename: Rename) -> Outcome {
    let CaughtUp { held, mut crew } = caught_up;
    attempt.note_swap(held.gate());
    let drop_sentry = format!("DROP TABLE {}", attempt.job.names.retired.quoted());
    if let Err(error) = crew.lock.run(&drop_sentry).await {
        // Whether it was dropped is not known; RENAME has not been let through by an UNLOCK, but C1 may be dead.
        let _ = crew.watchdog.kill_query(rename.id).await;
        let ended = ended(&mut rename.task).await;
        let _ = crew.lock.run("UNLOCK TABLES").await;
        return ended.unwrap_or_else(|| Outcome::Unknown(error.to_string()));
    }
    attempt.steps.mark("drop_sentry");
    let unlock = crew.lock.run("UNLOCK TABLES").await;
    if unlock.is_err() {
        let _ = crew.watchdog.kill(crew.lock.id()).await;
    }
    attempt.steps.mark("unlock");
    let limit = attempt.left().max(Duration::from_millis(100));
    let outcome = match tokio::time::timeout(limit, &mut rename.task).await {
        Ok(result) => judge(result),
        Err(_) => {
            // Somebody has the shadow open. RENAME holds the source's name meanwhile: end it.
            let _ = crew.watchdog.kill_query(rename.id).await;
            ended(&mut rename.task).await.unwrap_or_else(|| Outcome::Unknown("RENAME does not end".into()))
        }
    };
    attempt.steps.mark("rename");
    match crate::failpoints::reach("cutover.renamed").await {
        Ok(()) => outcome,
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// Before the sentry is dropped: first ends the RENAME, then drops the sentry, then unlocks.
async fn call_off(attempt: &Attempt<'_>, caught_up: CaughtUp<'_>, mut rename: Rename) -> Option<Outcome> {
    let CaughtUp { mut crew, .. } = caught_up;
    let _ = crew.watchdog.kill_query(rename.id).await;
    let outcome = ended(&mut rename.task).await;
    if outcome.is_none() {
        let _ = crew.watchdog.kill(rename.id).await;
    }
    let _ = crew.lock.run(&format!("DROP TABLE IF EXISTS {}", attempt.job.names.retired.quoted())).await;
    let _ = crew.lock.run("UNLOCK TABLES").await;
    match outcome {
        Some(Outcome::NotCommitted(..)) => None,
        Some(other) => Some(other),
        None => Some(Outcome::Unknown("RENAME does not end".into())),
    }
}

/// The RENAME's answer, if it comes within two seconds.
async fn ended(task: &mut JoinHandle<Result<(), upstream::Error>>) -> Option<Outcome> {
    let result = tokio::time::timeout(Duration::from_secs(2), task).await.ok()?;
    Some(judge(result))
}

fn judge(result: Result<Result<(), upstream::Error>, tokio::task::JoinError>) -> Outcome {
    match result {
        Ok(result) => Outcome::of_rename(result),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}
