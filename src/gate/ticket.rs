//! Waiting at a gate: a ticket is one held statement.
//!
//! Invariants: I-G1 (released in order of arrival, each once; a ticket that is dropped is never released), I-G2 (the
//! ticket itself opens the gate when the hold outlives its deadline, so that no other task needs to be alive).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::Sleep;

use super::lines::{self, Line};
use super::state::Event;
use super::{Ask, Gate, Inner, Pass, Sample};
use crate::census::Record;
use crate::metrics::{Kind, Outcome};

/// How many released statements are woken at first, in order; a worker thread lets them through one after the other. Each wakes
/// one more, so that a thousand do not arrive as a herd. Fewer at first would make the last one wait for as many thread
/// switches as there are statements, which on a busy machine is longer than the cut-over itself.
const RELEASED_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Waiter {
    ticket: u64,
    record: Arc<Record>,
    wants_pass: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Released {
    ticket: u64,
    pass: Option<Pass>,
    waker: Option<Waker>,
}

/// A held statement's place in the queue. Resolves to what [`super::Admission::Entered`] would have carried.
///
/// # Cancel safety
/// Dropping it gives the place up: the statement counts as never admitted.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    id: u64,
    hold: u64,
    record: Arc<Record>,
    kind: Kind,
    since: Instant,
    digest: String,
    outcome: Option<Outcome>,
    deadline: Pin<Box<Sleep>>,
}

impl Ticket {
    pub(super) fn queue(gate: &Arc<Gate>, inner: &mut Inner, ask: &Ask<'_>, digest: String) -> Self {
        let id = gate.number();
        inner.waiters.push_back(Waiter { ticket: id, record: ask.record.clone(), wants_pass: ask.touches, waker: None });
        gate.metrics.held_now.inc();
        ask.record.set_held(true);
        let (hold, deadline) = inner.hold.as_ref().map_or((0, Instant::now()), |current| (current.id, current.deadline));
        Self {
            gate: gate.clone(),
            id,
            hold,
            record: ask.record.clone(),
            kind: ask.kind,
            since: Instant::now(),
            digest,
            outcome: None,
            deadline: Box::pin(tokio::time::sleep_until(deadline.into())),
        }
    }

    /// Moves everybody who waits to the released ones, each with a pass of its own; gives the first few to be woken, without the lock that
    /// each of them takes first.
    #[must_use]
    pub(super) fn release_all(gate: &Arc<Gate>, inner: &mut Inner) -> Vec<Waker> {
        while let Some(waiter) = inner.waiters.pop_front() {
            let pass = waiter.wants_pass.then(|| gate.pass(inner, &waiter.record));
            inner.released.push_back(Released { ticket: waiter.ticket, pass, waker: waiter.waker });
        }
        inner.released.iter_mut().take(RELEASED_AT_ONCE).filter_map(|released| released.waker.take()).collect()
    }

    /// Gives the place up because a KILL reached the statement.
    pub fn kill(mut self) {
        self.outcome = Some(Outcome::killed);
    }

    /// Takes this ticket out of the released ones and wakes the next.
    fn take_released(&self, inner: &mut Inner) -> Option<Released> {
        let at = inner.released.iter().position(|released| released.ticket == self.id)?;
        let taken = inner.released.remove(at);
        if let Some(next) = inner.released.iter_mut().find(|released| released.waker.is_some())
            && let Some(waker) = next.waker.take()
        {
            waker.wake();
        }
        if inner.released.is_empty() {
            self.gate.changed.notify_waiters();
        }
        taken
    }
}

impl Future for Ticket {
    type Output = Option<Pass>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let gate = self.gate.clone();
        let mut inner = gate.lock();
        if let Some(released) = self.take_released(&mut inner) {
            inner.samples.push(Sample { waited: self.since.elapsed(), kind: self.kind });
            drop(inner);
            self.outcome = Some(Outcome::forwarded);
            return Poll::Ready(released.pass);
        }
        if let Some(waiter) = inner.waiters.iter_mut().find(|waiter| waiter.ticket == self.id) {
            waiter.waker = Some(context.waker().clone());
        }
        drop(inner);
        if self.deadline.as_mut().poll(context).is_ready() {
            // I-G2: opening is always safe, so whoever notices first does it.
            tracing::warn!(migration = %gate.migration, table = %gate.table, "a hold outlived its deadline; the gate opens, the attempt is called off");
            gate.open(self.hold, Event::Expired);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        let outcome = self.outcome.unwrap_or(Outcome::client_gone);
        let (given_up, lines) = {
            let mut inner = self.gate.lock();
            inner.waiters.retain(|waiter| waiter.ticket != self.id);
            let given_up = self.take_released(&mut inner);
            if waited > self.gate.log_held_over {
                let (record, digest, step) = (self.record.clone(), std::mem::take(&mut self.digest), inner.step);
                inner.lines.push(Line { record, waited, step, outcome, digest });
            }
            (given_up, if inner.released.is_empty() { std::mem::take(&mut inner.lines) } else { Vec::new() })
        };
        drop(given_up);
        self.record.set_held(false);
        self.gate.metrics.held_now.dec();
        self.gate.metrics.held(self.gate.migration, self.kind, outcome, waited);
        lines::write(&self.gate, lines);
    }
}
