//! The migration's side of a gate: wishing a hold, waiting for the drain, giving it back.
//!
//! Invariant I-C5: the cut-over's steps take these values as proof; dropping any of them opens the gate.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::select_all;

use super::state::{Event, State};
use super::{Current, Gate, Inner, Sample};
use crate::census::Record;

/// Somebody who kept a gate from draining.
#[derive(Clone, Debug)]
pub struct Blocker {
    /// The session itself.
    pub record: Arc<Record>,
    /// "session 7 (connection 42, app from 127.0.0.1:5000)".
    pub session: String,
    /// How long its transaction has been open, or its statement has been running.
    pub age: Duration,
    /// It has not used the table: it is only waited for because a swap would expose it to old snapshots.
    pub is_only_exposed: bool,
}

/// The gate did not drain within its budget.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} kept the gate from draining{}", who(.blockers), .expired.then_some("; the hold outlived its deadline").unwrap_or_default())]
pub struct NotDrained {
    /// Whoever was still inside, oldest first.
    pub blockers: Vec<Blocker>,
    /// The hold's own deadline passed.
    pub expired: bool,
}

fn who(blockers: &[Blocker]) -> String {
    match blockers {
        [] => "nobody known".into(),
        [one] => format!("{}, inside for {:.1} s,", one.session, one.age.as_secs_f64()),
        [one, rest @ ..] => format!("{}, inside for {:.1} s, and {} more", one.session, one.age.as_secs_f64(), rest.len()),
    }
}

/// A wished hold: newcomers wait, whoever is inside may finish.
#[derive(Debug)]
pub struct Draining {
    guard: Guard,
    began: Instant,
    /// The same on the census' clock.
    began_us: u64,
}

/// A drained gate: nobody is inside, whoever comes waits.
#[derive(Debug)]
pub struct Held {
    guard: Guard,
    began: Instant,
}

/// What one hold cost its clients.
#[derive(Clone, Debug, Default)]
pub struct HoldReport {
    /// Every held statement's wait.
    pub samples: Vec<Sample>,
    /// From the wish to the opening.
    pub total: Duration,
}

impl HoldReport {
    /// The wait at this quantile (0.5, 0.99, 1.0); zero where nobody waited.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let mut waits: Vec<_> = self.samples.iter().map(|sample| sample.waited).collect();
        waits.sort_unstable();
        let Some(last) = waits.len().checked_sub(1) else { return Duration::ZERO };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (quantile * last as f64).round() as usize;
        waits.get(at).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
struct Guard {
    gate: Arc<Gate>,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.gate.open(self.id, Event::Released);
    }
}

impl Gate {
    /// Wishes that nobody new enters; `None` while another hold has the gate. The hold ends by itself at `deadline`.
    pub fn hold(self: &Arc<Self>, deadline: Instant) -> Option<Draining> {
        let id = self.number();
        let mut inner = self.lock();
        inner.state = inner.state.next(Event::HoldWished).ok()?;
        inner.hold = Some(Current { id, deadline });
        inner.step = "drain";
        inner.samples.clear();
        drop(inner);
        Some(Draining { guard: Guard { gate: self.clone(), id }, began: Instant::now(), began_us: self.census.now_us() })
    }
}

impl Gate {
    /// Whoever keeps, or would keep, the gate from draining; the oldest first.
    pub fn blockers(&self) -> Vec<Blocker> {
        self.blockers_among(&self.snapshots_to_wait_for(u64::MAX))
    }

    /// The same, with these snapshots among them.
    fn blockers_among(&self, snapshots: &[Arc<Record>]) -> Vec<Blocker> {
        let mut inner = self.lock();
        inner.forget_the_gone();
        let mut blockers: Vec<Blocker> = Vec::new();
        let mut add = |record: &Arc<Record>, age: Duration, is_only_exposed: bool| {
            if blockers.iter().all(|blocker| !Arc::ptr_eq(&blocker.record, record)) {
                blockers.push(Blocker { record: record.clone(), session: record.describe(), age, is_only_exposed });
            }
        };
        inner.inside.values().for_each(|inside| add(&inside.record, inside.since.elapsed(), false));
        inner.lockers.values().for_each(|(record, since)| add(record, since.elapsed(), false));
        for record in inner.suspects.values().map(|(record, _)| record).chain(inner.users.values()).chain(snapshots) {
            if let Some(age) = record.transaction_age() {
                add(record, age, false);
            }
        }
        for (record, age) in self.exposed(&inner) {
            add(&record, age, true);
        }
        blockers.sort_by_key(|blocker| std::cmp::Reverse(blocker.age));
        blockers
    }
}

impl Draining {
    /// Waits until nobody is inside.
    ///
    /// # Errors
    /// [`NotDrained`] with whoever is still inside when `budget` is over; the gate is open again then.
    ///
    /// # Cancel safety
    /// Dropping the future opens the gate.
    pub async fn drained(self, budget: Duration) -> Result<Held, NotDrained> {
        let nobody = || NotDrained { blockers: Vec::new(), expired: true };
        all_drained(vec![self], budget).await.and_then(|mut held| held.pop().ok_or_else(nobody))
    }

    fn has_expired(&self, inner: &Inner) -> bool {
        inner.hold.as_ref().is_none_or(|current| current.id != self.guard.id)
    }

    /// Whether nobody is inside and nobody is exposed who is still waited for; where patience is over, only those who are younger than
    /// `budget` are.
    fn may_close(&self, inner: &mut Inner, budget: Duration) -> bool {
        inner.forget_the_gone();
        let gate = &self.guard.gate;
        gate.snapshots_to_wait_for(self.began_us).is_empty()
            && inner.is_empty()
            && !gate.is_somebody_exposed(inner, Gate::exposed_most(inner, budget))
            && inner.state.next(Event::Drained).is_ok()
    }
}

/// Waits until nobody is inside any of these gates. All of them close at the same instant: until then a transaction that is inside one
/// may go into any other, or two tables that transactions write together could never be drained. The gates must come in one order
/// that everybody keeps.
///
/// # Errors
/// [`NotDrained`] with whoever is still inside when `budget` is over; all gates are open again then.
///
/// # Cancel safety
/// Dropping the future opens the gates.
pub async fn all_drained(draining: Vec<Draining>, budget: Duration) -> Result<Vec<Held>, NotDrained> {
    let give_up = tokio::time::Instant::now() + budget;
    let gates: Vec<Arc<Gate>> = draining.iter().map(|draining| draining.guard.gate.clone()).collect();
    let held = |draining: Vec<Draining>| draining.into_iter().map(|Draining { guard, began, .. }| Held { guard, began }).collect();
    loop {
        let mut changed: Vec<_> = gates.iter().map(|gate| Box::pin(gate.changed())).collect();
        for changed in &mut changed {
            changed.as_mut().enable();
        }
        if close(&draining, budget)? {
            return Ok(held(draining));
        }
        // Transactions that started before the gate was built end without telling it: look again now and then.
        let look_again = tokio::time::Instant::now() + Duration::from_millis(5);
        tokio::select! {
            _ = select_all(changed) => {}
            () = tokio::time::sleep_until(look_again.min(give_up)) => {}
        }
        if tokio::time::Instant::now() >= give_up {
            // Those who have not touched the table are left to the fence when they have been waited for long enough.
            let is_left = gates.iter().all(|gate| gate.lock().is_empty() && !gate.call_off_for_the_exposed());
            if close(&draining, if is_left { Duration::ZERO } else { budget })? {
                return Ok(held(draining));
            }
            return Err(not_drained(&draining, false));
        }
    }
}

/// Closes the gates if all of them may be.
fn close(draining: &[Draining], budget: Duration) -> Result<bool, NotDrained> {
    let mut inner: Vec<MutexGuard<'_, Inner>> = draining.iter().map(|draining| draining.guard.gate.lock()).collect();
    if draining.iter().zip(&inner).any(|(draining, inner)| draining.has_expired(inner)) {
        drop(inner);
        return Err(not_drained(draining, true));
    }
    if !draining.iter().zip(&mut inner).all(|(draining, inner)| draining.may_close(inner, budget)) {
        return Ok(false);
    }
    for inner in &mut inner {
        inner.state = State::Held;
        inner.step = "held";
    }
    Ok(true)
}

/// Who keeps them from draining, each once, the oldest first.
fn not_drained(draining: &[Draining], expired: bool) -> NotDrained {
    let mut blockers: Vec<Blocker> = Vec::new();
    for Draining { guard, began_us, .. } in draining {
        for blocker in guard.gate.blockers_among(&guard.gate.snapshots_to_wait_for(*began_us)) {
            if blockers.iter().all(|known| !Arc::ptr_eq(&known.record, &blocker.record)) {
                blockers.push(blocker);
            }
        }
    }
    blockers.sort_by_key(|blocker| std::cmp::Reverse(blocker.age));
    NotDrained { blockers, expired }
}

impl Held {
    /// Names what is being done behind the gate, for SHOW GATES and the log.
    pub fn set_step(&self, step: &'static str) {
        let mut inner = self.guard.gate.lock();
        if inner.hold.as_ref().is_some_and(|current| current.id == self.guard.id) {
            inner.step = step;
        }
    }

    /// `true` once the deadline has opened the gate under this hold.
    pub fn has_expired(&self) -> bool {
        self.guard.gate.lock().hold.as_ref().is_none_or(|current| current.id != self.guard.id)
    }

    /// The gate that is held.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.guard.gate
    }

    /// Opens the gate and waits until every held statement has gone through, so that all of them are counted.
    ///
    /// # Cancel safety
    /// The gate opens in any case.
    pub async fn release(self) -> HoldReport {
        let gate = self.guard.gate.clone();
        let began = self.began;
        drop(self);
        let total = began.elapsed();
        let give_up = tokio::time::Instant::now() + Duration::from_secs(1);
        loop {
            let changed = gate.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if gate.lock().released.is_empty() {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(give_up) => break,
            }
        }
        let samples = std::mem::take(&mut gate.lock().samples);
        HoldReport { samples, total }
    }
}
