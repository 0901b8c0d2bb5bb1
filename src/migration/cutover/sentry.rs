//! The protocols of MariaDB (and of MySQL before 8.0.13): a sentry under the retired name keeps a second session's RENAME waiting.
//!
//! C1 locks the source for reading (F19) and the sentry for writing; C2's RENAME, which the sentry keeps from running, must be
//! seen waiting; then C1 drops the sentry and unlocks, and RENAME goes before every client, because its names sort after
//! the source's and it therefore waits for the source first (F3, F4).
//!
//! Where names sort before the source's, RENAME waits for the shadow before it waits for the source, and a reader there would
//! let writers pass: C3 locks the shadow until RENAME has passed the sentry, and C1 unlocks only when it is seen waiting for
//! the source (F5).
//!
//! With foreign keys on either side C1 locks the source, the shadow and the tables around, and ties them (`foreign_keys.rs`). Behind it a
//! warden waits for the children with LOCK TABLES: it gets them when C1 unlocks, before every writer, and settles them once the RENAME is over.
//!
//! With triggers, C1 locks the source and the shadow for writing, so that it may take them off. Behind the RENAME an heir waits for the
//! source with LOCK TABLES: it gets the new table before every writer, and puts them on.
//!
//! Never: UNLOCK because a wait timed out. First the RENAME is ended, then the sentry dropped, then unlocked.

use std::time::Instant;

use tokio::task::JoinHandle;

use super::super::error::Error;
use super::crew::Crew;
use super::locked::{Applier, Attempt, CaughtUp, lock_and_catch_up};
use super::rename::{self, ASK_EVERY, END_PATIENCE, Rename};
use super::{Outcome, seen, settle};
use crate::gate::Held;
use crate::upstream::{self, Link};

/// LOCK TABLES on its way; it gives its connection back.
pub(super) struct Heir {
    pub(super) id: u32,
    pub(super) task: JoinHandle<Result<Link, upstream::Error>>,
}

impl Heir {
    /// Sends it.
    pub(super) fn sent(mut link: Link, sql: String) -> Self {
        Self { id: link.id(), task: tokio::spawn(async move { link.run(&sql).await.map(|()| link) }) }
    }
}

/// Who waits for what C1 lets go.
#[derive(Default)]
struct Heirs {
    heir: Option<Heir>,
    warden: Option<Heir>,
}

/// Locks, catches up, issues the RENAME, sees it wait, lets it go.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(attempt: &mut Attempt<'_>, held: &Held, crew: Crew, rename: Link) -> Result<Outcome, Error> {
    let names = &attempt.job.names;
    let (source, shadow, retired) = (names.source.quoted(), names.shadow.quoted(), names.retired.quoted());
    let (sql, applier) = if attempt.belongings.triggers.is_empty() && attempt.belongings.ties.is_empty() {
        (format!("LOCK TABLES {source} READ, {retired} WRITE"), Applier::Other)
    } else {
        (format!("LOCK TABLES {source} WRITE, {shadow} WRITE, {retired} WRITE{}", attempt.belongings.ties.locks(names)), Applier::Lock)
    };
    let lock = (sql.as_str(), "LOCK TABLES: somebody who bypasses the proxy is writing to the table");
    let mut caught_up = lock_and_catch_up(attempt, held, crew, lock, applier).await?;
    let prepared = match attempt.tie(&mut caught_up.crew.lock).await {
        Ok(()) => lock_shadow(attempt, &mut caught_up.crew).await,
        Err(error) => Err(error),
    };
    if let Err(error) = prepared {
        attempt.settle_ties(&mut caught_up.crew.lock).await;
        attempt.put_triggers_on(&mut caught_up.crew.lock).await;
        caught_up.crew.unlock().await;
        return Err(error);
    }
    held.set_step("rename");
    let rename = Rename::issue(rename, settle::rename_statement(&attempt.job.names));
    let mut heirs = Heirs::default();
    match may_go(attempt, &mut caught_up.crew, &rename, &mut heirs).await {
        Ok(()) => {
            let outcome = let_go(attempt, caught_up, rename).await;
            settle_children(attempt, heirs.warden, &outcome).await;
            inherit(attempt, heirs.heir).await;
            Ok(outcome)
        }
        Err(error) => Ok(match call_off(attempt, &mut caught_up.crew, rename, heirs).await {
            Outcome::NotCommitted(kind, _) => Outcome::NotCommitted(kind, error.to_string()),
            other => other,
        }),
    }
}

/// C3, where there is one.
async fn lock_shadow(attempt: &mut Attempt<'_>, crew: &mut Crew) -> Result<(), Error> {
    let limit = attempt.lock_limit();
    let Some(shadow) = &mut crew.shadow else { return Ok(()) };
    let sql = format!("LOCK TABLES {} WRITE", attempt.job.names.shadow.quoted());
    shadow.run_within(&sql, limit, &mut crew.watchdog, "LOCK TABLES on the shadow: somebody has it open").await?;
    attempt.steps.mark("lock_shadow");
    Ok(crate::failpoints::reach("cutover.shadow_locked").await?)
}

/// Sends LOCK TABLES, and sees it wait.
async fn appoint(attempt: &mut Attempt<'_>, link: Link, sql: String, give_up: Instant, place: &mut Option<Heir>) -> Result<(), Error> {
    let id = link.id();
    *place = Some(Heir::sent(link, sql));
    while !Attempt::within(give_up, "the heir was not seen waiting", seen::waits(&mut attempt.control, id, "LOCK")).await? {
        tokio::time::sleep(ASK_EVERY).await;
    }
    attempt.steps.mark("heir_waits");
    Ok(())
}

/// The warden has the children. Where the RENAME's end is not known, nothing is settled before it is.
async fn settle_children(attempt: &mut Attempt<'_>, warden: Option<Heir>, outcome: &Outcome) {
    let is_known = !matches!(outcome, Outcome::Unknown(_));
    let Some(mut warden) = warden else {
        if attempt.belongings.is_tied()
            && is_known
            && let Ok(mut link) = attempt.job.server.connect_engine().await
        {
            attempt.settle_ties(&mut link).await;
        }
        return;
    };
    if is_known
        && let Ok(Ok(Ok(mut link))) = tokio::time::timeout(attempt.allow_for_rename(), &mut warden.task).await
        && let Ok(mut side) = attempt.job.server.connect_engine().await
    {
        attempt.settle_ties_with(&mut link, Some(&mut side)).await;
        if tokio::time::timeout(END_PATIENCE, link.run("UNLOCK TABLES")).await.is_ok_and(|unlocked| unlocked.is_ok()) {
            return;
        }
    }
    dismiss(&mut attempt.control, warden).await;
}

/// Its lock must go before what it should have done is done by another.
pub(super) async fn dismiss(link: &mut Link, heir: Heir) {
    heir.task.abort();
    let _ = tokio::time::timeout(END_PATIENCE, link.kill(heir.id)).await;
}

/// The heir has the source, whichever table that is now, and puts the triggers on.
async fn inherit(attempt: &mut Attempt<'_>, heir: Option<Heir>) {
    let Some(mut heir) = heir else { return };
    if let Ok(Ok(Ok(mut link))) = tokio::time::timeout(attempt.allow_for_rename(), &mut heir.task).await {
        attempt.put_triggers_on(&mut link).await;
        // Closed, where it does not unlock: the lock must go before the triggers are put on by another.
        if tokio::time::timeout(END_PATIENCE, link.run("UNLOCK TABLES")).await.is_ok_and(|unlocked| unlocked.is_ok()) {
            return;
        }
    }
    dismiss(&mut attempt.control, heir).await;
}

/// Asks the server until C2 waits for a table's metadata lock, and looks whether all is as it must be.
async fn may_go(attempt: &mut Attempt<'_>, crew: &mut Crew, rename: &Rename, heirs: &mut Heirs) -> Result<(), Error> {
    let before = "the sentry was dropped";
    // Enough is left after this for the RENAME itself.
    let give_up = Instant::now() + attempt.left() / 2;
    rename.is_seen_waiting(&mut attempt.control, give_up, before).await?;
    let ddl = Attempt::within(attempt.deadline, "the list of processes", seen::ddl_under_way(attempt.job, &mut attempt.control)).await?;
    if let Some(who) = ddl {
        return Err(Error::Stuck(who, "it would be swapped out with the old table".into()));
    }
    attempt.steps.mark("rename_waits");
    if let Some(link) = crew.heir.take() {
        let sql = format!("LOCK TABLES {} WRITE", attempt.job.names.source.quoted());
        appoint(attempt, link, sql, give_up, &mut heirs.heir).await?;
    }
    if let Some(link) = crew.warden.take() {
        appoint(attempt, link, attempt.belongings.ties.lock_children(), give_up, &mut heirs.warden).await?;
    }
    crate::failpoints::reach("cutover.rename_issued").await?;
    // C1 must be alive, or its locks are gone and the sentry is all that is left; so must C3; and C2, or all is for nothing.
    Attempt::within(attempt.deadline, "the lock's connection", crew.lock.run("DO 1")).await?;
    if let Some(shadow) = &mut crew.shadow {
        Attempt::within(attempt.deadline, "the connection that locks the shadow", shadow.run("DO 1")).await?;
    }
    rename.still_waits(before)?;
    Ok(attempt.may_rename()?)
}

/// Drops the sentry, unlocks, and waits for the RENAME.
async fn let_go(attempt: &mut Attempt<'_>, caught_up: CaughtUp<'_>, mut rename: Rename) -> Outcome {
    let CaughtUp { held, mut crew } = caught_up;
    attempt.note_swap(held.gate());
    attempt.allow_for_rename();
    if let Err(error) = pass_the_sentry(attempt, &mut crew, &rename).await {
        tracing::debug!(migration = %attempt.job.id, %error, "the sentry was not passed in good order");
        return end_rename_then_unlock(&mut crew, rename).await.unwrap_or_else(|| Outcome::Unknown(error.to_string()));
    }
    crew.unlock().await;
    attempt.steps.mark("unlock");
    let outcome = rename.answered(attempt.left(), &mut crew.watchdog).await;
    attempt.steps.mark("rename");
    match crate::failpoints::reach("cutover.renamed").await {
        Ok(()) => outcome,
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// Until C1 may unlock: the sentry is gone, and where C3 had the shadow, RENAME waits for the source.
async fn pass_the_sentry(attempt: &mut Attempt<'_>, crew: &mut Crew, rename: &Rename) -> Result<(), Error> {
    let drop_sentry = format!("DROP TABLE {}", attempt.job.names.retired.quoted());
    Attempt::within(attempt.deadline, "DROP TABLE of the sentry", crew.lock.run(&drop_sentry)).await?;
    attempt.steps.mark("drop_sentry");
    crate::failpoints::reach("cutover.sentry_dropped").await?;
    let Some(shadow) = &mut crew.shadow else { return Ok(()) };
    // Without C1's lock a writer could pass while RENAME waits for the shadow: C3 holds it until C1 has answered once more.
    Attempt::within(attempt.deadline, "the lock's connection", crew.lock.run("DO 1")).await?;
    Attempt::within(attempt.deadline, "UNLOCK TABLES of the shadow", shadow.run("UNLOCK TABLES")).await?;
    loop {
        rename.still_waits("the source was unlocked")?;
        let question = seen::rename_waits_for_source(attempt.job, &mut attempt.control, rename.id);
        if Attempt::within(attempt.deadline, "RENAME was not seen waiting for the source", question).await? {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    attempt.steps.mark("unlock_shadow");
    crate::failpoints::reach("cutover.shadow_unlocked").await?;
    Attempt::within(attempt.deadline, "the lock's connection", crew.lock.run("DO 1")).await?;
    Ok(())
}

/// Before the sentry is dropped: first ends the RENAME, then drops the sentry, then unlocks.
async fn call_off(attempt: &mut Attempt<'_>, crew: &mut Crew, mut rename: Rename, heirs: Heirs) -> Outcome {
    let outcome = rename.end(&mut crew.watchdog).await;
    for heir in [heirs.heir, heirs.warden].into_iter().flatten() {
        dismiss(&mut crew.watchdog, heir).await;
    }
    if outcome.is_some() {
        attempt.settle_ties(&mut crew.lock).await;
    }
    let drop_sentry = format!("DROP TABLE IF EXISTS {}", attempt.job.names.retired.quoted());
    let _ = tokio::time::timeout(END_PATIENCE, crew.lock.run(&drop_sentry)).await;
    attempt.put_triggers_on(&mut crew.lock).await;
    crew.unlock().await;
    outcome.unwrap_or_else(rename::does_not_end)
}

/// After the sentry may have been dropped: where RENAME has passed it, it has happened; else it has not.
async fn end_rename_then_unlock(crew: &mut Crew, mut rename: Rename) -> Option<Outcome> {
    let outcome = rename.end(&mut crew.watchdog).await;
    crew.unlock().await;
    outcome
}
