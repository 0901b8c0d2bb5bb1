//! Tells a true duplicate from a unique value that is on its way from one row to another.
//!
//! A row that the shadow turned away has its value in common with another row there. That row is stale, and then the log's
//! mention of it is older than the one of the row that was turned away; or the two are duplicates by a unique key that the
//! ALTER makes. So once all other keys that were pending have been settled, and the row was not mentioned again, what still
//! turns it away is a duplicate. Where keys never come to rest the fence under the lock decides.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::Refusal;
use super::super::error::Error;
use super::super::job::Job;
use super::super::tail::Reached;
use crate::upstream::Link;

/// How long the other keys may take to be settled.
const PATIENCE: Duration = Duration::from_secs(2);

/// Fails with the server's own 1062 where one of the keys that were turned away is a duplicate for certain.
///
/// # Errors
/// [`Error::Refused`]; the server's errors.
///
/// # Cancel safety
/// Safe: its transaction is rolled back.
pub async fn check(job: &Job, link: &mut Link, reached: &mut watch::Receiver<Reached>) -> Result<(), Error> {
    if job.pending.turned_away().is_none() || !tail_reaches_now(job, link, reached).await? {
        return Ok(());
    }
    let Some((key, stamp, mut others)) = job.pending.turned_away() else { return Ok(()) };
    let give_up = Instant::now() + PATIENCE;
    while !others.is_empty() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(5)).await;
        job.pending.retain_moving(&mut others);
    }
    if !others.is_empty() {
        return Ok(());
    }
    let literals = job.keys.literals(&key);
    link.run("START TRANSACTION").await?;
    let answer = link.run(&job.statements.insert(std::slice::from_ref(&literals))).await;
    link.run("ROLLBACK").await?;
    let Err(error) = answer else { return Ok(()) };
    if error.code() != Some(1062) || !link.rows(&job.statements.row_of_shadow("1", &literals)).await?.is_empty() {
        return Ok(());
    }
    // What the INSERT read of the row may be newer than its mention.
    if tail_reaches_now(job, link, reached).await? && job.pending.is_as_mentioned(&key, stamp) {
        return Err(Refusal::from_upstream(&error).into());
    }
    Ok(())
}

async fn tail_reaches_now(job: &Job, link: &mut Link, reached: &mut watch::Receiver<Reached>) -> Result<bool, Error> {
    let now = link.position(&job.facts).await?;
    Ok(tokio::time::timeout(PATIENCE, reached.wait_for(|reached| reached.position >= now)).await.is_ok_and(|there| there.is_ok()))
}
