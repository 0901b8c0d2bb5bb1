//! The cut-over: from a ready shadow to the swapped table, in one attempt that either happens or leaves no trace.
//!
//! Invariants: I-0 (the locks on the server keep data right; the gate only decides where clients wait), I-C1 (between the last
//! applied event and the swap nobody can write), I-C2 (the name always resolves: one RENAME), I-C3 (three outcomes, the
//! third settled by reading), I-C5 (a step takes the proof of the step before; a locked table borrows the hold).
//! See: `protocol.rs` (which way), `locked.rs` (what all share), `locked_rename.rs` (MySQL), `sentry.rs` (MariaDB), `rename.rs` (its RENAME), `moment.rs`
//! (when to begin), `settle.rs` (what happened), `alter.rs` (where nothing was copied), `together/` (several tables).

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::foreign_keys::Ties;
use super::job::Job;
use super::site::Site;
use super::tail::{self, Reached};
use super::triggers;
use super::{apply, checkpoint, shadow};
use crate::gate::{Gate, Held, HoldReport};
use crate::upstream::{self, Link};

pub mod alter;
mod belongings;
mod crew;
mod force;
mod holders;
mod locked;
mod locked_rename;
pub mod moment;
pub mod protocol;
mod rename;
mod report;
mod seen;
mod sentry;
pub mod settle;
pub mod together;

use belongings::Belongings;
use crew::{Crew, Watchman};
use locked::Attempt;
use protocol::Way;

pub use report::{Report, Steps};

/// How long opening the attempt's connections may take, before anybody is held.
const BEGIN_PATIENCE: Duration = Duration::from_secs(15);

/// How long the changes that came meanwhile may be applied before the hold; what is left then is applied behind the gate.
const APPLY_BEFORE: Duration = Duration::from_millis(500);

/// With so many keys pending a hold begins: some rows are held by the application all the time.
const LEFT_FOR_THE_HOLD: usize = 20;

/// So many pending keys are left for when the tables are locked: there one commit is enough for all of them, and each commit is several
/// times as long as the rows of this many keys.
const LEFT_FOR_THE_LOCK: usize = 200;

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
    let Begun { mut crew, mut control, outside, belongings } =
        begun.map_err(|_| upstream::Error::TooLong(BEGIN_PATIENCE, "opening the attempt's connections"))??;
    // While the connections were opened nobody has applied.
    let mut reached = reached;
    apply_before(job, &mut crew.apply, &mut control, &mut reached).await?;
    let mut steps = Steps::default();
    let began = Instant::now();
    let is_drained = CancellationToken::new();
    let draining = async {
        let held = drained(job, gate, began, &mut steps).await;
        is_drained.cancel();
        held
    };
    let deadline = began + job.max_hold() * 4 / 5;
    let applying = Attempt::within(deadline, "applying while the gate drains", apply_until(job, &mut crew.apply, &is_drained));
    let (held, applied) = tokio::join!(draining, applying);
    let held = held?;
    applied?;
    let held = match held {
        Ok(held) => held,
        Err(called_off) => {
            drop_sentry_late(&mut control, job).await;
            return Ok(called_off);
        }
    };
    // A part of the hold is kept for ending what must be ended from outside.
    let watchman = Watchman::begin(job.server.clone(), outside, crew.ids(), deadline, job);
    let hold_ends = began + job.max_hold();
    let mut attempt =
        Attempt { job, reached, deadline, hold_ends, steps: &mut steps, control, watchman, belongings, tied_for: Duration::ZERO };
    let result = behind_the_gate(&mut attempt, &held, crew, way).await;
    belongings::put_right_late(&[(job, &attempt.belongings)]).await;
    if !matches!(result, Ok(Outcome::Committed | Outcome::Unknown(_))) {
        gate.set_swapped_at_us(0);
    }
    let Attempt { mut control, watchman, .. } = attempt;
    drop(watchman);
    if matches!(result, Ok(Outcome::Committed)) {
        // The outcome stands: nothing that is injected here may change it.
        let _ = crate::failpoints::reach("cutover.opening").await;
    }
    let hold = release(job, held, &mut steps).await;
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
            let who = holders::suspects_soon(job, &mut control).await;
            drop_sentry_late(&mut control, job).await;
            Outcome::NotCommitted(kind, format!("{reason}{who}"))
        }
        other => other,
    };
    Ok((outcome, Report::new(steps, hold, began.elapsed())))
}

/// Applies what has come while nobody did, so that little is left when clients wait for it.
async fn apply_before(job: &Job, link: &mut Link, control: &mut Link, reached: &mut watch::Receiver<Reached>) -> Result<(), Error> {
    let give_up = Instant::now() + APPLY_BEFORE;
    while Instant::now() < give_up {
        let position = control.position(&job.facts).await?;
        let is_there = tail::reaches(reached, &position, give_up - Instant::now()).await;
        if apply::until_settled(job, link, give_up).await? <= LEFT_FOR_THE_HOLD && is_there {
            return Ok(());
        }
    }
    Ok(())
}

/// Applies while the gate drains, as those inside go on writing; but no more often than it must be: who has drained the gate would wait
/// for the end of a round.
async fn apply_until(job: &Job, link: &mut Link, is_over: &CancellationToken) -> Result<(), Error> {
    while !is_over.is_cancelled() {
        if job.pending.len() > LEFT_FOR_THE_LOCK {
            apply::once(job, link).await?;
            continue;
        }
        tokio::select! {
            () = is_over.cancelled() => {}
            () = job.pending.noted_again() => {}
        }
    }
    Ok(())
}

/// Wishes the hold and waits until nobody is inside; else what the attempt has led to.
async fn drained(
    site: &Site,
    gate: &std::sync::Arc<Gate>,
    began: Instant,
    steps: &mut Steps,
) -> Result<Result<Held, (Outcome, Report)>, Error> {
    let Some(draining) = gate.hold(began + site.max_hold()) else {
        return Ok(Err((Outcome::NotCommitted("not_drained", "another attempt has the gate".into()), Report::default())));
    };
    crate::failpoints::reach("cutover.hold").await?;
    let drained = draining.drained(site.drain_budget()).await;
    steps.mark("drain");
    Ok(drained.map_err(|not_drained| {
        let report = Report::new(steps.clone(), HoldReport::default(), began.elapsed());
        (Outcome::NotCommitted("not_drained", not_drained.to_string()), report)
    }))
}

/// Opens the gate, and says so where it had opened by itself.
async fn release(site: &Site, held: Held, steps: &mut Steps) -> HoldReport {
    let expired = held.has_expired();
    let hold = held.release().await;
    steps.mark("release");
    if expired {
        tracing::warn!(migration = %site.id, table = %site.names.source, "clients went on before the attempt had ended; they waited in the server's own queue for the rest");
    }
    hold
}

/// What an attempt needs before anybody is held.
struct Begun {
    crew: Crew,
    control: Link,
    outside: Link,
    belongings: Belongings,
}

/// What can be done before anybody is held: the connections, the sentry, triggers and foreign keys read and stored.
async fn begin(job: &Job, way: Way) -> Result<Begun, Error> {
    let mut control = job.server.connect_engine().await?;
    let outside = job.server.connect_engine().await?;
    // The caller has the turn: nothing is written to the shadow meanwhile.
    let triggers = triggers::try_on_shadow(&mut control, &job.server, &job.names).await?;
    if !triggers.is_empty() {
        if way == Way::SentryLockedShadow {
            return Err(Error::Stuck("the table has triggers now, which this protocol cannot bring over".into(), "drop them".into()));
        }
        checkpoint::set_triggers(&mut control, job.id, &triggers.write()).await?;
    }
    let ties = Ties::read(&mut control, &job.names, job.id, &job.mapping, job.swaps).await?;
    if !ties.is_empty() {
        if !way.carries_foreign_keys(&job.facts) {
            return Err(Error::Stuck(
                "foreign keys refer to the table now, which this protocol cannot bring over".into(),
                "drop them".into(),
            ));
        }
        checkpoint::set_ties(&mut control, job.id, &ties.write()).await?;
    }
    let belongings = Belongings::new(triggers, ties);
    let crew = Crew::open(job, way, belongings.around()).await?;
    shadow::create_schemas(&mut control, &job.names).await?;
    // One of an attempt that was cut off, perhaps of another protocol.
    shadow::drop_sentry(&mut control, &job.names).await?;
    if way.has_sentry() {
        shadow::create_sentry(&mut control, &job.names).await?;
        crate::failpoints::reach("cutover.sentry_created").await?;
    }
    Ok(Begun { crew, control, outside, belongings })
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
    let began = Instant::now();
    attempt.tail_is_here().await?;
    let (tail, keys) = (began.elapsed(), attempt.job.pending.len());
    if keys > LEFT_FOR_THE_LOCK {
        let give_up = Instant::now() + attempt.left() / 2;
        let settled = tokio::time::timeout_at(attempt.deadline.into(), apply::until_settled(attempt.job, &mut crew.apply, give_up));
        settled.await.map_err(|_| upstream::Error::TooLong(attempt.job.max_hold(), "applying what is pending"))??;
    }
    attempt.steps.mark("catch_up");
    let apply = began.elapsed() - tail;
    tracing::debug!(migration = %attempt.job.id, protocol = way.name(), ?tail, keys, ?apply, "caught up behind the gate; locks the tables");
    match crew.rename.take() {
        None => locked_rename::swap(attempt, held, crew).await,
        Some(rename) => sentry::swap(attempt, held, crew, rename).await,
    }
}
