//! MariaDB: a session that holds LOCK TABLES cannot rename, and RENAME takes the locks of its tables one after the other, in the order of
//! their names. So each source has a lock session and a sentry of its own, and they are let go one after the other:
//!
//! RENAME is seen waiting for the first source → its C1 drops its sentry and unlocks → RENAME has it, and is seen waiting for the second
//! source → that one's C1 drops its sentry and unlocks → … → RENAME has all of them.
//!
//! A sentry is dropped only by the session that has its source locked, and only while RENAME waits for that source: so where a sentry is
//! gone, RENAME is the next one on that table (I-C1); and where a C1 dies too early, its sentry is still there and RENAME fails as a whole.
//! Other than for one table, RENAME has not asked for the later sources while it waits for the first one.
//!
//! A C1 whose table has triggers locks it and its shadow for writing, so that it may take them off. Behind the RENAME an heir waits for that
//! table with LOCK TABLES: it gets it before every writer, whichever table has the name then, and puts them on.
//!
//! Never: UNLOCK because a wait timed out. First the RENAME is ended.

use std::time::Instant;

use super::super::super::error::Error;
use super::super::crew::Crew;
use super::super::locked::Attempt;
use super::super::rename::{self, ASK_EVERY, END_PATIENCE, Rename};
use super::super::sentry::{self, Heir};
use super::super::{Outcome, seen};
use super::{Joint, rename_statement, set_step};
use crate::gate::Held;
use crate::upstream::Link;

/// What a RENAME must not end before.
const ALL_UNLOCKED: &str = "all tables were unlocked";

/// Locks, catches up, issues the RENAME, lets it through table by table.
///
/// # Errors
/// Where nothing was renamed.
pub(super) async fn swap(joint: &mut Joint<'_>, held: &[Held], crew: &mut Crew, rename: Link) -> Result<Outcome, Error> {
    set_step(held, "lock");
    let prepared = async {
        lock(joint, crew).await?;
        joint.catch_up(held, crew).await
    };
    if let Err(error) = prepared.await {
        joint.put_all_triggers_on(crew).await;
        crew.unlock().await;
        return Err(error);
    }
    set_step(held, "rename");
    let mut rename = Rename::issue(rename, rename_statement(joint.members.iter().map(|member| &member.job.names)));
    let mut heirs = Vec::new();
    if let Err(error) = may_go(joint, crew, &rename, &mut heirs).await {
        let outcome = rename.end(&mut crew.watchdog).await.unwrap_or_else(rename::does_not_end);
        for (_, heir) in heirs {
            sentry::dismiss(&mut crew.watchdog, heir).await;
        }
        joint.put_all_triggers_on(crew).await;
        crew.unlock().await;
        return Ok(match outcome {
            Outcome::NotCommitted(kind, _) => Outcome::NotCommitted(kind, error.to_string()),
            other => other,
        });
    }
    joint.note_swap();
    joint.allow_for_rename();
    if let Err(error) = let_go(joint, crew, &rename).await {
        tracing::debug!(%error, "the tables were not let go in good order");
        let outcome = rename.end(&mut crew.watchdog).await.unwrap_or_else(rename::does_not_end);
        crew.unlock().await;
        inherit(joint, heirs).await;
        return Ok(match outcome {
            Outcome::NotCommitted(kind, own) => Outcome::NotCommitted(kind, format!("{error} ({own})")),
            other => other,
        });
    }
    joint.steps.mark("unlock");
    let outcome = rename.answered(joint.left(), &mut crew.watchdog).await;
    joint.steps.mark("rename");
    let injected = crate::failpoints::reach("cutover.renamed").await;
    inherit(joint, heirs).await;
    Ok(match injected {
        Ok(()) => outcome,
        Err(error) => Outcome::Unknown(error.to_string()),
    })
}

/// Whoever waits for a member's source, and the member's place.
type Heirs = Vec<(usize, Heir)>;

/// Each heir has its source, whichever table that is now, and puts the triggers on.
async fn inherit(joint: &mut Joint<'_>, heirs: Heirs) {
    for (nth, mut heir) in heirs {
        if let Ok(Ok(Ok(mut link))) = tokio::time::timeout(joint.allow_for_rename(), &mut heir.task).await {
            joint.put_triggers_on(nth, &mut link).await;
            // Closed, where it does not unlock: the lock must go before the triggers are put on by another.
            if tokio::time::timeout(END_PATIENCE, link.run("UNLOCK TABLES")).await.is_ok_and(|unlocked| unlocked.is_ok()) {
                continue;
            }
        }
        sentry::dismiss(&mut joint.control, heir).await;
    }
}

/// Each C1 locks its source for reading (F19) and its sentry for writing; where it has triggers, the source and the shadow for writing.
async fn lock(joint: &mut Joint<'_>, crew: &mut Crew) -> Result<(), Error> {
    let what = "LOCK TABLES: somebody who bypasses the proxy is writing to one of the tables";
    let limit = joint.lock_limit();
    for (nth, job) in joint.jobs().into_iter().enumerate() {
        let (source, shadow, sentry) = (job.names.source.quoted(), job.names.shadow.quoted(), job.names.retired.quoted());
        let sql = if joint.lock_applies(nth) {
            format!("LOCK TABLES {source} WRITE, {shadow} WRITE, {sentry} WRITE")
        } else {
            format!("LOCK TABLES {source} READ, {sentry} WRITE")
        };
        let (link, watchdog) = crew.lock_of(nth);
        link.run_within(&sql, limit, watchdog, what).await?;
    }
    joint.steps.mark("lock");
    Ok(())
}

/// Asks the server until RENAME waits for a table's metadata lock, which is the first source's, and looks whether all is as it must be.
async fn may_go(joint: &mut Joint<'_>, crew: &mut Crew, rename: &Rename, heirs: &mut Heirs) -> Result<(), Error> {
    // Enough is left after this for the RENAME itself.
    let give_up = Instant::now() + joint.left() / 2;
    rename.is_seen_waiting(&mut joint.control, give_up, ALL_UNLOCKED).await?;
    for (nth, job) in joint.jobs().into_iter().enumerate() {
        nobody_else(joint, job).await?;
        // Who is turned away there later is turned away by RENAME.
        if nth > 0 && is_wanted(joint, job).await? {
            let who = format!("somebody waits for an exclusive lock on {}", job.names.source);
            return Err(Error::Stuck(who, "it is tried again".into()));
        }
    }
    joint.steps.mark("rename_waits");
    for (nth, job) in joint.jobs().into_iter().enumerate() {
        let Some(link) = crew.heirs.get_mut(nth).and_then(Option::take) else { continue };
        let id = link.id();
        // Of those who wait for a table, whoever wants it alone goes first, so it does not matter that RENAME asks for some of them later.
        heirs.push((nth, Heir::sent(link, format!("LOCK TABLES {} WRITE", job.names.source.quoted()))));
        while !Attempt::within(give_up, "the heir was not seen waiting", seen::waits(&mut joint.control, id, "LOCK")).await? {
            tokio::time::sleep(ASK_EVERY).await;
        }
        joint.steps.mark("heir_waits");
    }
    crate::failpoints::reach("cutover.rename_issued").await?;
    // Each C1 must be alive, or its locks are gone and its sentry is all that is left; and C2, or all is for nothing.
    for nth in 0..joint.members.len() {
        Attempt::within(joint.deadline, "a lock's connection", crew.lock_of(nth).0.run("DO 1")).await?;
    }
    rename.still_waits(ALL_UNLOCKED)?;
    Ok(joint.may_rename()?)
}

/// Somebody round the proxy who wants more than rows of the table would be taken for RENAME, or be swapped out with the old table.
async fn nobody_else(joint: &mut Joint<'_>, job: &super::Job) -> Result<(), Error> {
    let question = seen::lock_wanted(job, &mut joint.control);
    match Attempt::within(joint.deadline, "the list of processes", question).await? {
        Some(who) => Err(Error::Stuck(who, "it would be swapped out with the old table".into())),
        None => Ok(()),
    }
}

/// Whether an exclusive lock on the source is waited for, or held.
async fn is_wanted(joint: &mut Joint<'_>, job: &super::Job) -> Result<bool, Error> {
    let question = seen::is_wanted_alone(&job.names.source, &mut joint.control);
    Ok(Attempt::within(joint.deadline, "RENAME was not seen waiting for a source", question).await?)
}

/// Drops the sentries and unlocks, table by table, each when RENAME waits for that table.
async fn let_go(joint: &mut Joint<'_>, crew: &mut Crew, rename: &Rename) -> Result<(), Error> {
    for (nth, job) in joint.jobs().into_iter().enumerate() {
        while nth > 0 && !is_wanted(joint, job).await? {
            rename.still_waits(ALL_UNLOCKED)?;
            tokio::time::sleep(ASK_EVERY).await;
        }
        if nth > 0 {
            nobody_else(joint, job).await?;
        }
        let link = crew.lock_of(nth).0;
        let drop_sentry = format!("DROP TABLE {}", job.names.retired.quoted());
        Attempt::within(joint.deadline, "DROP TABLE of a sentry", link.run(&drop_sentry)).await?;
        crate::failpoints::reach("cutover.sentry_dropped").await?;
        Attempt::within(joint.deadline, "UNLOCK TABLES of a source", link.run("UNLOCK TABLES")).await?;
        crate::failpoints::reach("cutover.source_unlocked").await?;
    }
    joint.steps.mark("drop_sentry");
    Ok(())
}
