//! One attempt to swap several tables in one RENAME: all of them, or none.
//!
//! The gates drain together and close at one instant (`gate::all_drained`), the tables are locked, caught up and renamed together. Budgets
//! (`max_hold_ms`, `drain_budget_ms`) are the attempt's, however many tables it has.
//! Members come in the order of their names, which is the order in which the server takes their locks. The first one's number marks the
//! connections that the members share.
//! Never: a locked shadow, foreign keys on MariaDB. Groups with them are refused (`migration/group`).
//! See: `mod.rs` above for one table; `locked.rs` (MySQL), `chain.rs` (MariaDB), `around.rs` (triggers and foreign keys).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::error::Error;
use super::super::job::Job;
use super::super::shadow::{self, Names};
use super::super::tail::{self, Reached};
use super::super::{apply, final_form};
use super::belongings::{self, Belongings};
use super::crew::{Around, Crew, Watchman};
use super::locked::{Attempt, ISSUED_LEAST};
use super::protocol::{self, Way};
use super::{BEGIN_PATIENCE, LEFT_FOR_THE_HOLD, Outcome, Report, Steps, apply_before, apply_until, drop_sentry_late, holders};
use crate::gate::{self, Gate, Held, HoldReport, NotDrained};
use crate::upstream::{self, Link};

mod around;
mod chain;
mod locked;

pub use around::reached_by_trigger;

/// One of the tables.
pub struct Member<'a> {
    /// Its run.
    pub job: &'a Job,
    /// Its gate.
    pub gate: &'a Arc<Gate>,
    /// Its tail.
    pub reached: watch::Receiver<Reached>,
}

/// The surroundings of an attempt.
struct Joint<'a> {
    members: Vec<Member<'a>>,
    /// One for each member.
    belongings: Vec<Belongings>,
    way: Way,
    /// One for each member, with the settings of its run.
    applies: Vec<Link>,
    control: Link,
    watchman: Watchman,
    deadline: Instant,
    /// The gates open by themselves then.
    hold_ends: Instant,
    steps: Steps,
    /// What it took to add foreign keys; to settle them takes about twice as much.
    tied_for: Duration,
}

/// The one statement that swaps all of them.
pub fn rename_statement<'n>(names: impl Iterator<Item = &'n Names>) -> String {
    let pairs = names.map(|Names { source, shadow, retired }| {
        format!("{} TO {}, {} TO {}", source.quoted(), retired.quoted(), shadow.quoted(), source.quoted())
    });
    format!("RENAME TABLE {}", pairs.collect::<Vec<_>>().join(", "))
}

/// Makes one attempt; gives a report for each member. The caller holds the turn of each job, so that nothing else applies.
///
/// # Errors
/// Where the attempt could not even begin, or a row of one of them is refused.
///
/// # Cancel safety
/// Not safe: once begun it must be awaited. Dropped, it leaves the truth to reading.
pub async fn attempt(mut members: Vec<Member<'_>>) -> Result<(Outcome, Vec<Report>), Error> {
    let jobs: Vec<&Job> = members.iter().map(|member| member.job).collect();
    let Some(leader) = jobs.first().copied() else { return Err(Error::Stuck("a group without tables".into(), "report it".into())) };
    let way = protocol::choose(leader.protocol(), &leader.facts, &leader.names)?;
    let begun = tokio::time::timeout(BEGIN_PATIENCE, begin(&jobs, way)).await;
    let Begun { mut crew, mut control, outside, mut applies, belongings } =
        begun.map_err(|_| upstream::Error::TooLong(BEGIN_PATIENCE, "opening the attempt's connections"))??;
    for (member, link) in members.iter_mut().zip(&mut applies) {
        apply_before(member.job, link, &mut control, &mut member.reached).await?;
    }
    let mut steps = Steps::default();
    let began = Instant::now();
    let deadline = began + leader.max_hold() * 4 / 5;
    let is_drained = CancellationToken::new();
    let draining = async {
        let held = drained(&members, began, &mut steps).await;
        is_drained.cancel();
        held
    };
    let applying = try_join_all(jobs.iter().zip(&mut applies).map(|(job, link)| apply_until(job, link, &is_drained)));
    let (held, applied) = tokio::join!(draining, Attempt::within(deadline, "applying while the gates drain", applying));
    let (held, _) = (held?, applied?);
    let held = match held {
        Ok(held) => held,
        Err(not_drained) => {
            drop_sentries(&mut control, &jobs).await;
            let report = Report::new(steps, HoldReport::default(), began.elapsed());
            return Ok((Outcome::NotCommitted("not_drained", not_drained), vec![report; members.len()]));
        }
    };
    // A part of the hold is kept for ending what must be ended from outside.
    let watchman = Watchman::begin(leader.server.clone(), outside, crew.ids(), deadline, leader);
    let hold_ends = began + leader.max_hold();
    let mut joint = Joint { members, belongings, way, applies, control, watchman, deadline, hold_ends, steps, tied_for: Duration::ZERO };
    let result = behind_the_gates(&mut joint, &held, &mut crew).await;
    let owners: Vec<_> = jobs.iter().copied().zip(&joint.belongings).collect();
    belongings::put_right_late(&owners).await;
    let Joint { members, mut control, watchman, mut steps, .. } = joint;
    if !matches!(result, Ok(Outcome::Committed | Outcome::Unknown(_))) {
        members.iter().for_each(|member| member.gate.set_swapped_at_us(0));
    }
    drop(watchman);
    if matches!(result, Ok(Outcome::Committed)) {
        // The outcome stands: nothing that is injected here may change it.
        let _ = crate::failpoints::reach("cutover.opening").await;
    }
    let holds = release(leader, held, &mut steps).await;
    let outcome = match judge(&jobs, result).await? {
        Outcome::NotCommitted(kind, reason) => {
            let who = suspects(&jobs, &mut control).await;
            drop_sentries(&mut control, &jobs).await;
            Outcome::NotCommitted(kind, format!("{reason}{who}"))
        }
        other => other,
    };
    let took = began.elapsed();
    Ok((outcome, holds.into_iter().map(|hold| Report::new(steps.clone(), hold, took)).collect()))
}

/// Only now, with nothing locked and nobody held, the server is asked what its own ALTERs say.
async fn judge(jobs: &[&Job], result: Result<Outcome, Error>) -> Result<Outcome, Error> {
    let error = match result {
        Ok(outcome) => return Ok(outcome),
        Err(Error::Upstream(error)) => error,
        Err(error @ (Error::Injected(_) | Error::Stuck(..))) => return Ok(Outcome::NotCommitted("not_locked", error.to_string())),
        Err(error) => return Err(error),
    };
    for job in jobs {
        match apply::explain_pending(job, error.clone()).await {
            Error::Upstream(_) => {}
            refused => return Err(refused),
        }
    }
    Ok(Outcome::NotCommitted("not_locked", error.to_string()))
}

/// What an attempt needs before anybody is held.
struct Begun {
    crew: Crew,
    control: Link,
    outside: Link,
    applies: Vec<Link>,
    belongings: Vec<Belongings>,
}

async fn begin(jobs: &[&Job], way: Way) -> Result<Begun, Error> {
    let Some(leader) = jobs.first() else { return Err(Error::Stuck("a group without tables".into(), "report it".into())) };
    let mut control = leader.server.connect_engine().await?;
    let outside = leader.server.connect_engine().await?;
    let belongings = around::read(jobs, way, &mut control).await?;
    let mut applies = Vec::new();
    for job in jobs {
        applies.push(job.server.connect_engine().await?);
    }
    let all: Vec<_> = jobs.iter().zip(&belongings).map(|(job, own)| (&job.site, own.around())).collect();
    let crew = Crew::open(leader, way, Around::default()).await?.joined_by(if way.has_sentry() { &all } else { &[] }).await?;
    for job in jobs {
        shadow::create_schemas(&mut control, &job.names).await?;
        // One of an attempt that was cut off.
        shadow::drop_sentry(&mut control, &job.names).await?;
        if way.has_sentry() {
            shadow::create_sentry(&mut control, &job.names).await?;
        }
    }
    if way.has_sentry() {
        crate::failpoints::reach("cutover.sentry_created").await?;
    }
    Ok(Begun { crew, control, outside, applies, belongings })
}

/// Wishes all holds and waits until nobody is inside any of the gates; else the reason for people.
async fn drained(members: &[Member<'_>], began: Instant, steps: &mut Steps) -> Result<Result<Vec<Held>, String>, Error> {
    let Some(leader) = members.first().map(|member| member.job) else { return Ok(Ok(Vec::new())) };
    let mut draining = Vec::new();
    for member in members {
        let Some(wished) = member.gate.hold(began + leader.max_hold()) else { return Ok(Err("another attempt has the gate".into())) };
        draining.push(wished);
    }
    crate::failpoints::reach("cutover.hold").await?;
    let drained = gate::all_drained(draining, leader.drain_budget()).await;
    steps.mark("drain");
    Ok(drained.map_err(|not_drained: NotDrained| not_drained.to_string()))
}

/// Opens all gates at once, and says so where one had opened by itself.
async fn release(leader: &Job, held: Vec<Held>, steps: &mut Steps) -> Vec<HoldReport> {
    let expired = held.iter().any(Held::has_expired);
    // Each opens when it is first polled: none stays closed while another one's statements are counted.
    let holds = join_all(held.into_iter().map(Held::release)).await;
    steps.mark("release");
    if expired {
        tracing::warn!(migration = %leader.id, table = %leader.names.source, "clients went on before the attempt had ended; they waited in the server's own queue for the rest");
    }
    holds
}

async fn suspects(jobs: &[&Job], control: &mut Link) -> String {
    let mut all = Vec::new();
    for job in jobs {
        let who = holders::suspects_soon(job, control).await;
        if !all.contains(&who) {
            all.push(who);
        }
    }
    all.concat()
}

async fn drop_sentries(control: &mut Link, jobs: &[&Job]) {
    for job in jobs {
        drop_sentry_late(control, job).await;
    }
}

async fn behind_the_gates(joint: &mut Joint<'_>, held: &[Held], crew: &mut Crew) -> Result<Outcome, Error> {
    crate::failpoints::reach("cutover.drained").await?;
    // Nobody who goes through the proxy writes now: most of the fence is passed before anything is locked.
    set_step(held, "catch_up");
    joint.tails_are_here().await?;
    let give_up = Instant::now() + joint.left() / 2;
    let settling = joint.members.iter().zip(&mut joint.applies).map(|(member, link)| settle_most(member.job, link, give_up));
    Attempt::within(joint.deadline, "applying what is pending", try_join_all(settling)).await?;
    joint.steps.mark("catch_up");
    match crew.rename.take() {
        None => locked::swap(joint, held, crew).await,
        Some(rename) => chain::swap(joint, held, crew, rename).await,
    }
}

/// Applies until few keys are left: somebody round the proxy may bring new ones all the time.
async fn settle_most(job: &Job, link: &mut Link, give_up: Instant) -> Result<(), Error> {
    loop {
        apply::once(job, link).await?;
        if job.pending.len() <= LEFT_FOR_THE_HOLD || Instant::now() >= give_up {
            return Ok(());
        }
    }
}

fn set_step(held: &[Held], step: &'static str) {
    held.iter().for_each(|held| held.set_step(step));
}

impl<'a> Joint<'a> {
    fn jobs(&self) -> Vec<&'a Job> {
        self.members.iter().map(|member| member.job).collect()
    }

    fn max_hold(&self) -> Duration {
        self.members.first().map_or(Duration::ZERO, |member| member.job.max_hold())
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How long LOCK TABLES may wait: see [`Attempt::lock_limit`].
    fn lock_limit(&self) -> Duration {
        let budget = self.members.first().map_or(Duration::ZERO, |member| member.job.drain_budget());
        self.left().min(budget.max(Duration::from_millis(100)))
    }

    /// Whether enough of the hold is left for a RENAME: see [`Attempt::may_rename`].
    fn may_rename(&self) -> Result<(), upstream::Error> {
        let (left, max_hold) = (self.hold_ends.saturating_duration_since(Instant::now()), self.max_hold());
        if left >= max_hold * 2 / 5 + self.tied_for * 2 {
            return Ok(());
        }
        Err(upstream::Error::TooLong(max_hold - left, "what comes before the RENAME; too little of max_hold is left for it"))
    }

    /// The RENAME is on its way: see [`Attempt::allow_for_rename`].
    fn allow_for_rename(&mut self) -> Duration {
        self.deadline = self.deadline.max(Instant::now() + ISSUED_LEAST).min(self.hold_ends);
        self.watchman.set_deadline(self.deadline);
        self.left()
    }

    /// The server's position now, and every tail there.
    async fn tails_are_here(&mut self) -> Result<(), Error> {
        let Some(facts) = self.members.first().map(|member| &member.job.facts) else { return Ok(()) };
        let position = Attempt::within(self.deadline, "the server's position", self.control.position(facts)).await?;
        for member in &mut self.members {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if !tail::reaches(&mut member.reached, &position, left).await {
                return Err(upstream::Error::TooLong(left, "the binary log's tail").into());
            }
        }
        Ok(())
    }

    /// Nobody can write: waits for the fence, applies the rest, and takes off what the RENAME cannot carry.
    async fn catch_up(&mut self, held: &[Held], crew: &mut Crew) -> Result<(), Error> {
        crate::failpoints::reach("cutover.locked").await?;
        set_step(held, "fence");
        self.tails_are_here().await?;
        self.steps.mark("fence");
        for (nth, job) in self.jobs().into_iter().enumerate() {
            let is_lock = self.lock_applies(nth);
            let Some(own) = self.applies.get_mut(nth) else { continue };
            let link = if is_lock {
                let lock = crew.lock_of(nth).0;
                Attempt::within(self.deadline, "the settings of the lock's session", around::take_over_settings(own, lock)).await?;
                lock
            } else {
                own
            };
            let settled = apply::settle_under_lock(job, link, is_lock);
            Attempt::within(self.deadline, "applying the last changes", settled).await?;
            Attempt::within(self.deadline, "the last changes of the shadow's definition", final_form::take(job, link)).await?;
        }
        self.steps.mark("apply");
        self.take_triggers_off(crew).await?;
        Ok(crate::failpoints::reach("cutover.caught_up").await?)
    }

    /// I-G6, for all tables: see [`Attempt::note_swap`].
    fn note_swap(&self) {
        for member in &self.members {
            member.gate.set_swapped_at_us(member.job.gates.census().now_us());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TableName;

    #[test]
    fn one_rename_swaps_all_of_them() {
        let names = [Names::of(&TableName::new("a", "t")), Names::of(&TableName::new("b", "t"))];
        assert_eq!(
            rename_statement(names.iter()),
            "RENAME TABLE `a`.`t` TO `~retired_a`.`t`, `~shadow_a`.`t` TO `a`.`t`, `b`.`t` TO `~retired_b`.`t`, `~shadow_b`.`t` TO `b`.`t`"
        );
    }
}
