//! The cut-over: from a ready shadow to the swapped table, in one attempt that either happens or leaves no trace.
//!
//! Invariants: I-0 (the locks on the server keep data right; the gate only decides where clients wait), I-C1 (between the last
//! applied event and the swap nobody can write), I-C2 (the name always resolves: one RENAME), I-C3 (three outcomes, the
//! third settled by reading), I-C5 (a step takes the proof of the step before; a locked table borrows the hold).
//! See: `locked_rename.rs` (MySQL), `sentry.rs` (MariaDB), `moment.rs` (when to begin), `settle.rs` (what happened).

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::apply;
use super::error::Error;
use super::job::Job;
use super::shadow;
use super::tail::Reached;
use crate::gate::{Gate, Held, HoldReport};
use crate::upstream::{self, Link, Position};

mod locked_rename;
pub mod moment;
mod report;
mod sentry;
pub mod settle;

pub use report::{Report, Steps};

/// What an attempt led to.
#[derive(Debug)]
pub enum Outcome {
    /// The shadow is the table.
    Committed,
    /// The source still is the table; the reason, for people.
    NotCommitted(&'static str, String),
    /// The answer was lost; only reading the server tells.
    Unknown(String),
}

impl Outcome {
    /// What the RENAME's own answer says.
    fn of_rename(result: Result<(), upstream::Error>) -> Self {
        match result {
            Ok(()) => Self::Committed,
            Err(error @ upstream::Error::Server { .. }) if !error.is_lost() => Self::NotCommitted("not_committed", error.to_string()),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

/// The connections of one attempt, opened before anybody is held.
struct Crew {
    /// Holds LOCK TABLES.
    lock: Link,
    /// Runs the RENAME where the lock's own session may not.
    rename: Option<Link>,
    /// Applies.
    apply: Link,
    /// Asks for positions and states.
    control: Link,
    /// Ends what waits too long.
    watchdog: Link,
}

impl Crew {
    async fn open(job: &Job) -> Result<Self, upstream::Error> {
        let rename = if job.facts.renames_under_lock() { None } else { Some(impatient(job, settle::RENAME_TAG).await?) };
        Ok(Self {
            lock: impatient(job, settle::LOCK_TAG).await?,
            rename,
            apply: job.server.connect_engine().await?,
            control: job.server.connect_engine().await?,
            watchdog: job.server.connect_engine().await?,
        })
    }
}

/// A connection whose lock waits end after a second on the server's own clock, and that the server closes soon after this
/// process has frozen: a frozen proxy must not hold a table.
///
/// It takes a named lock, which the server frees only when it has really done with the connection: see [`settle::end_stragglers`].
async fn impatient(job: &Job, tag: &str) -> Result<Link, upstream::Error> {
    let mut link = job.server.connect_engine().await?;
    let seconds = job.max_hold().as_secs() + 3;
    let tagged = link.cell(&format!("SELECT GET_LOCK({}, 2)", upstream::literal(&settle::tag_name(tag, job.id)))).await?;
    if tagged.as_deref() != Some("1") {
        return Err(upstream::Error::Lost("an earlier attempt's connection is still there".into()));
    }
    link.run(&format!("SET SESSION lock_wait_timeout = 1, wait_timeout = {seconds}, autocommit = 1")).await?;
    Ok(link)
}

/// One attempt's surroundings.
struct Attempt<'a> {
    job: &'a Job,
    reached: watch::Receiver<Reached>,
    deadline: Instant,
    steps: &'a mut Steps,
}

impl Attempt<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How long LOCK TABLES may wait: a writer or reader that bypasses the proxy gets no longer than the drain did.
    fn lock_limit(&self) -> Duration {
        self.left().min(self.job.drain_budget().max(Duration::from_millis(100)))
    }

    /// Waits until the tail has noted everything before a position.
    async fn tail_reaches(&mut self, position: &Position) -> Result<(), Error> {
        let left = self.left();
        let there = self.reached.wait_for(|reached| reached.position >= *position);
        match tokio::time::timeout(left, there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(upstream::Error::Lost("the tail has ended".into()).into()),
            Err(_) => Err(upstream::Error::TooLong(left, "the binary log's tail").into()),
        }
    }

    /// I-G6: from this moment on a snapshot that is older must not read the table. Noted before the RENAME is issued, as a
    /// hold that expires during it would let sessions go on; taken back where it did not happen.
    fn note_swap(&self, gate: &Gate) {
        gate.set_swapped_at_us(self.job.gates.census().now_us());
    }
}

/// Makes one attempt. The caller holds the job's turn, so that nothing else applies.
///
/// # Errors
/// Where the attempt could not even begin.
///
/// # Cancel safety
/// Not safe: once begun it must be awaited. Dropped, it leaves the truth to [`settle::read`].
pub async fn attempt(job: &Job, gate: &std::sync::Arc<Gate>, reached: watch::Receiver<Reached>) -> Result<(Outcome, Report), Error> {
    let mut crew = Crew::open(job).await?;
    shadow::create_schemas(&mut crew.control, &job.names).await?;
    if crew.rename.is_some() {
        shadow::create_sentry(&mut crew.control, &job.names).await?;
    }
    let mut steps = Steps::default();
    let began = Instant::now();
    let deadline = began + job.max_hold();
    let Some(draining) = gate.hold(deadline) else {
        return Ok((Outcome::NotCommitted("not_drained", "another attempt has the gate".into()), Report::default()));
    };
    crate::failpoints::reach("cutover.hold").await?;
    let drained = draining.drained(job.drain_budget()).await;
    steps.mark("drain");
    let held = match drained {
        Ok(held) => held,
        Err(not_drained) => {
            drop_sentry_later(&mut crew, job).await;
            return Ok((
                Outcome::NotCommitted("not_drained", not_drained.to_string()),
                Report::new(steps, HoldReport::default(), began.elapsed()),
            ));
        }
    };
    let mut attempt = Attempt { job, reached, deadline, steps: &mut steps };
    let result = behind_the_gate(&mut attempt, &held, crew).await;
    if !matches!(result, Ok(Outcome::Committed | Outcome::Unknown(_))) {
        gate.set_swapped_at_us(0);
    }
    let expired = held.has_expired();
    let hold = held.release().await;
    steps.mark("release");
    if expired {
        tracing::warn!(migration = %job.id, table = %job.names.source, "clients went on before the attempt had ended; they waited in the server's own queue for the rest");
    }
    let outcome = match result {
        Ok(outcome) => outcome,
        // Only now, with nothing locked and nobody held, the server is asked what its own ALTER says.
        Err(Error::Upstream(error)) => match apply::explain_pending(job, error).await {
            Error::Upstream(error) => Outcome::NotCommitted("not_locked", error.to_string()),
            error => return Err(error),
        },
        Err(error @ Error::Injected(_)) => Outcome::NotCommitted("not_locked", error.to_string()),
        Err(error) => return Err(error),
    };
    Ok((outcome, Report::new(steps, hold, began.elapsed())))
}

async fn drop_sentry_later(crew: &mut Crew, job: &Job) {
    if crew.rename.is_some()
        && let Err(error) = shadow::drop_sentry(&mut crew.control, &job.names).await
    {
        tracing::debug!(migration = %job.id, table = %job.names.source, %error, "a sentry stays until the next attempt");
    }
}

async fn behind_the_gate(attempt: &mut Attempt<'_>, held: &Held, mut crew: Crew) -> Result<Outcome, Error> {
    crate::failpoints::reach("cutover.drained").await?;
    // Nobody who goes through the proxy writes now: most of the fence is passed before anything is locked.
    held.set_step("catch_up");
    let position = crew.control.position(&attempt.job.facts).await?;
    attempt.tail_reaches(&position).await?;
    let deadline = Instant::now() + attempt.left() / 2;
    apply::until_settled(attempt.job, &mut crew.apply, deadline).await?;
    attempt.steps.mark("catch_up");
    match crew.rename.take() {
        None => locked_rename::swap(attempt, held, crew).await,
        Some(rename) => sentry::swap(attempt, held, crew, rename).await,
    }
}
