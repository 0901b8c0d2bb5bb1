//! The cut-over: from a ready shadow to the swapped table, in one attempt that either happens or leaves no trace.
//!
//! Invariants: I-0 (the locks on the server keep data right; the gate only decides where clients wait), I-C1 (between the last
//! applied event and the swap nobody can write), I-C2 (the name always resolves: one RENAME), I-C3 (three outcomes, the
//! third settled by reading), I-C5 (a step takes the proof of the step before; a locked table borrows the hold).
//! See: `protocol.rs` (which way), `locked.rs` (what all share), `locked_rename.rs` (MySQL), `sentry.rs` (MariaDB), `moment.rs`
//! (when to begin), `settle.rs` (what happened).

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::apply;
use super::error::Error;
use super::job::Job;
use super::shadow;
use super::tail::Reached;
use crate::gate::{Gate, Held, HoldReport};
use crate::upstream::{self, Link};

mod crew;
mod force;
mod holders;
mod locked;
mod locked_rename;
pub mod moment;
pub mod protocol;
mod report;
mod seen;
mod sentry;
pub mod settle;

use crew::{Crew, Watchman};
use locked::Attempt;
use protocol::Way;

pub use force::Force;
pub use report::{Report, Steps};

/// How long opening the attempt's connections may take, before anybody is held.
const BEGIN_PATIENCE: Duration = Duration::from_secs(15);

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

/// Makes one attempt. The caller holds the job's turn, so that nothing else applies.
///
/// # Errors
/// Where the attempt could not even begin.
///
/// # Cancel safety
/// Not safe: once begun it must be awaited. Dropped, it leaves the truth to [`settle::read`].
pub async fn attempt(job: &Job, gate: &std::sync::Arc<Gate>, reached: watch::Receiver<Reached>) -> Result<(Outcome, Report), Error> {
    let way = protocol::choose(job.protocol(), &job.facts, &job.names)?;
    let begun = tokio::time::timeout(BEGIN_PATIENCE, begin(job, way)).await;
    let (crew, mut control, outside) =
        begun.map_err(|_| upstream::Error::TooLong(BEGIN_PATIENCE, "opening the attempt's connections"))??;
    let mut steps = Steps::default();
    let began = Instant::now();
    let Some(draining) = gate.hold(began + job.max_hold()) else {
        return Ok((Outcome::NotCommitted("not_drained", "another attempt has the gate".into()), Report::default()));
    };
    crate::failpoints::reach("cutover.hold").await?;
    let drained = draining.drained(job.drain_budget()).await;
    steps.mark("drain");
    let held = match drained {
        Ok(held) => held,
        Err(not_drained) => {
            drop_sentry_late(&mut control, job).await;
            return Ok((
                Outcome::NotCommitted("not_drained", not_drained.to_string()),
                Report::new(steps, HoldReport::default(), began.elapsed()),
            ));
        }
    };
    // A part of the hold is kept for ending what must be ended from outside.
    let deadline = began + job.max_hold() * 4 / 5;
    let watchman = Watchman::begin(job.server.clone(), outside, crew.ids(), deadline, job);
    let mut attempt = Attempt { job, reached, deadline, steps: &mut steps, control, watchman };
    let result = behind_the_gate(&mut attempt, &held, crew, way).await;
    if !matches!(result, Ok(Outcome::Committed | Outcome::Unknown(_))) {
        gate.set_swapped_at_us(0);
    }
    let Attempt { mut control, watchman, .. } = attempt;
    drop(watchman);
    if matches!(result, Ok(Outcome::Committed)) {
        // The outcome stands: nothing that is injected here may change it.
        let _ = crate::failpoints::reach("cutover.opening").await;
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
    let outcome = match outcome {
        Outcome::NotCommitted(kind, reason) => {
            let who = tokio::time::timeout(Duration::from_secs(2), holders::suspects(job, &mut control)).await;
            drop_sentry_late(&mut control, job).await;
            let who = who.ok().and_then(Result::ok).unwrap_or_default();
            Outcome::NotCommitted(kind, format!("{reason}{who}"))
        }
        other => other,
    };
    Ok((outcome, Report::new(steps, hold, began.elapsed())))
}

/// What can be done before anybody is held: the connections, and the sentry.
async fn begin(job: &Job, way: Way) -> Result<(Crew, Link, Link), Error> {
    let crew = Crew::open(job, way).await?;
    let mut control = job.server.connect_engine().await?;
    let outside = job.server.connect_engine().await?;
    shadow::create_schemas(&mut control, &job.names).await?;
    // One of an attempt that was cut off, perhaps of another protocol.
    shadow::drop_sentry(&mut control, &job.names).await?;
    if way.has_sentry() {
        shadow::create_sentry(&mut control, &job.names).await?;
        crate::failpoints::reach("cutover.sentry_created").await?;
    }
    Ok((crew, control, outside))
}

/// Drops the sentry of an attempt that is over; where it cannot, the next attempt does.
async fn drop_sentry_late(control: &mut Link, job: &Job) {
    let dropped = tokio::time::timeout(Duration::from_secs(2), shadow::drop_sentry(control, &job.names)).await;
    if !matches!(dropped, Ok(Ok(()))) {
        tracing::debug!(migration = %job.id, table = %job.names.source, ?dropped, "a sentry stays until the next attempt");
    }
}

async fn behind_the_gate(attempt: &mut Attempt<'_>, held: &Held, mut crew: Crew, way: Way) -> Result<Outcome, Error> {
    crate::failpoints::reach("cutover.drained").await?;
    // Nobody who goes through the proxy writes now: most of the fence is passed before anything is locked.
    held.set_step("catch_up");
    attempt.tail_is_here().await?;
    let give_up = Instant::now() + attempt.left() / 2;
    let settled = tokio::time::timeout_at(attempt.deadline.into(), apply::until_settled(attempt.job, &mut crew.apply, give_up));
    settled.await.map_err(|_| upstream::Error::TooLong(attempt.job.max_hold(), "applying what is pending"))??;
    attempt.steps.mark("catch_up");
    tracing::debug!(migration = %attempt.job.id, protocol = way.name(), "locks the tables");
    match crew.rename.take() {
        None => locked_rename::swap(attempt, held, crew).await,
        Some(rename) => sentry::swap(attempt, held, crew, rename).await,
    }
}
