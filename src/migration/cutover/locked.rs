//! The steps that all protocols share: LOCK TABLES, the fence, the last changes applied.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::apply;
use super::super::error::Error;
use super::super::final_form;
use super::super::job::Job;
use super::super::tail::Reached;
use super::Steps;
use super::belongings::Belongings;
use super::crew::{Crew, Watchman};
use crate::gate::{Gate, Held};
use crate::upstream::{self, Link, Position};

/// A RENAME that has been issued gets this long even where the hold is over: a KILL would not make the disk faster.
pub(super) const ISSUED_LEAST: Duration = Duration::from_millis(500);

/// One attempt's surroundings.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Job,
    pub(super) reached: watch::Receiver<Reached>,
    pub(super) deadline: Instant,
    /// The gate opens by itself then.
    pub(super) hold_ends: Instant,
    pub(super) steps: &'a mut Steps,
    /// Asks for positions and states.
    pub(super) control: Link,
    pub(super) watchman: Watchman,
    /// The source's triggers and the foreign keys on both sides.
    pub(super) belongings: Belongings,
    /// What it took to add foreign keys; to settle them takes about twice as much.
    pub(super) tied_for: Duration,
}

impl Attempt<'_> {
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How long LOCK TABLES may wait: a writer or reader that bypasses the proxy gets no longer than the drain did.
    pub(super) fn lock_limit(&self) -> Duration {
        self.left().min(self.job.drain_budget().max(Duration::from_millis(100)))
    }

    /// Whether enough of the hold is left for a RENAME: one that outlives it would have clients wait in the server's queue, and on
    /// MySQL end the transaction of one that has a view on the table open (1213).
    pub(super) fn may_rename(&self) -> Result<(), upstream::Error> {
        let left = self.hold_ends.saturating_duration_since(Instant::now());
        if left >= self.job.max_hold() * 2 / 5 + self.tied_for * 2 {
            return Ok(());
        }
        Err(upstream::Error::TooLong(self.job.max_hold() - left, "what comes before the RENAME; too little of max_hold is left for it"))
    }

    /// The RENAME is on its way: what is left of the attempt, or a little more, but no longer than the gate is closed.
    pub(super) fn allow_for_rename(&mut self) -> Duration {
        self.deadline = self.deadline.max(Instant::now() + ISSUED_LEAST).min(self.hold_ends);
        self.watchman.set_deadline(self.deadline);
        self.left()
    }

    /// Nothing that the server is asked may take longer than the attempt.
    pub(super) async fn within<T, E: From<upstream::Error>>(
        deadline: Instant,
        what: &'static str,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        match tokio::time::timeout_at(deadline.into(), question).await {
            Ok(answer) => answer,
            Err(_) => Err(upstream::Error::TooLong(began.elapsed(), what).into()),
        }
    }

    /// The server's position now, and the tail there.
    pub(super) async fn tail_is_here(&mut self) -> Result<(), Error> {
        let position = Self::within(self.deadline, "the server's position", self.control.position(&self.job.facts)).await?;
        self.tail_reaches(&position).await
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

    /// Takes the triggers off, with the source locked for writing.
    async fn take_triggers_off(&mut self, link: &mut Link) -> Result<(), Error> {
        if self.belongings.triggers.is_empty() {
            return Ok(());
        }
        // The RENAME must have its part of the hold.
        let until = self.hold_ends - self.job.max_hold() * 2 / 5;
        self.belongings.take_triggers_off(self.job, &mut self.control, link, until, self.deadline).await?;
        self.steps.mark("triggers_off");
        Ok(crate::failpoints::reach("cutover.triggers_off").await?)
    }

    /// Puts the triggers on where they are off: see [`Belongings::put_triggers_on`].
    pub(super) async fn put_triggers_on(&mut self, link: &mut Link) {
        if !self.belongings.is_bare() {
            return;
        }
        self.allow_for_rename();
        self.belongings.put_triggers_on(self.job, link, self.deadline).await;
        self.steps.mark("triggers_on");
    }

    /// Gives the shadow the table's foreign keys, and each child a second one to the shadow; everything is locked and applied.
    pub(super) async fn tie(&mut self, link: &mut Link) -> Result<(), Error> {
        if self.belongings.ties.is_empty() {
            return Ok(());
        }
        self.belongings.prove_ties(self.job, link, self.deadline).await?;
        let began = Instant::now();
        self.belongings.tie(self.job, link, self.deadline).await?;
        self.tied_for = began.elapsed();
        self.steps.mark("foreign_keys");
        Ok(crate::failpoints::reach("cutover.tied").await?)
    }

    /// Brings foreign keys to where they belong; `link` has all of them locked.
    pub(super) async fn settle_ties(&mut self, link: &mut Link) {
        self.settle_ties_with(link, None).await;
    }

    /// The same where the children are locked by another session than the table that does not have the name.
    pub(super) async fn settle_ties_with(&mut self, children: &mut Link, side: Option<&mut Link>) {
        if !self.belongings.is_tied() {
            return;
        }
        self.allow_for_rename();
        self.belongings.settle_ties(self.job, children, side, self.deadline).await;
        self.steps.mark("foreign_keys_settled");
    }

    /// I-G6: from this moment on a snapshot that is older must not read the table. Noted before the RENAME is issued, as a
    /// hold that expires during it would let sessions go on; taken back where it did not happen.
    pub(super) fn note_swap(&self, gate: &Gate) {
        gate.set_swapped_at_us(self.job.gates.census().now_us());
    }
}

/// C1 has its locks, and everything that anybody has written is in the shadow. Borrows the hold: to end that while the tables
/// are locked does not compile (I-C5).
pub(super) struct CaughtUp<'h> {
    pub(super) held: &'h Held,
    pub(super) crew: Crew,
}

/// Who applies the last changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applier {
    /// The lock's own connection: under a WRITE lock no other can read the source.
    Lock,
    /// A connection of its own: others may read the source under a READ lock (F19).
    Other,
}

/// Locks with the statement given, waits for the fence, applies the rest.
///
/// # Errors
/// Where it cannot; the locks end with the crew's connections.
pub(super) async fn lock_and_catch_up<'h>(
    attempt: &mut Attempt<'_>,
    held: &'h Held,
    mut crew: Crew,
    (sql, what): (&str, &'static str),
    applier: Applier,
) -> Result<CaughtUp<'h>, Error> {
    held.set_step("lock");
    crew.lock.run_within(sql, attempt.lock_limit(), &mut crew.watchdog, what).await?;
    attempt.steps.mark("lock");
    let result = catch_up(attempt, held, &mut crew, applier).await;
    if result.is_err() {
        attempt.put_triggers_on(&mut crew.lock).await;
        // Nothing was renamed, and nobody shall wait until the server has noticed that the connection is gone.
        crew.unlock().await;
    }
    result.map(|()| CaughtUp { held, crew })
}

async fn catch_up(attempt: &mut Attempt<'_>, held: &Held, crew: &mut Crew, applier: Applier) -> Result<(), Error> {
    crate::failpoints::reach("cutover.locked").await?;
    held.set_step("fence");
    attempt.tail_is_here().await?;
    attempt.steps.mark("fence");
    let is_lock = applier == Applier::Lock;
    let link = if is_lock { &mut crew.lock } else { &mut crew.apply };
    let settled = apply::settle_under_lock(attempt.job, link, is_lock);
    Attempt::within(attempt.deadline, "applying the last changes", settled).await?;
    attempt.steps.mark("apply");
    Attempt::within(attempt.deadline, "the last changes of the shadow's definition", final_form::take(attempt.job, link)).await?;
    attempt.steps.mark("final_form");
    attempt.take_triggers_off(&mut crew.lock).await?;
    Ok(crate::failpoints::reach("cutover.caught_up").await?)
}
