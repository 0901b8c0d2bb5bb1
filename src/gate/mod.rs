//! What stands between a session and a table that is being migrated.
//!
//! Owns: who is inside (passes), who waits (tickets), for how long each waited.
//! Never: what keeps data right (I-0). LOCK TABLES and RENAME on the server do that; the gate only decides where clients
//! wait. Opening it is therefore safe at every moment, and dropping any of its values opens or frees.
//! Invariants: I-G1 (once, in order), I-G2 (never longer than the deadline), I-G3 (one atomic load when nothing migrates).
//! See: `state.rs` for the states, `ticket.rs` for waiting, `hold.rs` for the migration's side.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::census::{Census, Record};
use crate::config::Fence;
use crate::ids::{MigrationId, SessionId, TableName};
use crate::metrics::{Kind, Metrics};

mod exposed;
mod hold;
mod lines;
mod registry;
mod shapes;
pub mod state;
mod ticket;

pub use hold::{Blocker, Draining, Held, HoldReport, NotDrained, all_drained};
pub use registry::{Gates, Installed, Verdict, Watch};
pub use shapes::{Shape, Shapes};
pub use ticket::Ticket;

use lines::Line;
use state::{Event, State};
use ticket::{Released, Waiter};

/// What a session asks of a gate.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub record: &'a Arc<Record>,
    /// The server's flags say that a transaction of this session is open.
    pub in_transaction: bool,
    /// Read or write, for the histogram.
    pub kind: Kind,
    /// `true`: the statement may touch the table and wants a pass. `false`: it only starts a transaction.
    pub touches: bool,
    /// The statement starts a transaction: where it is let through, its session counts as in one from that moment on.
    pub starts: bool,
}

/// The gate's answer.
#[derive(Debug)]
pub enum Admission {
    /// Go on. The pass is kept until the statement's reply has ended and no transaction is open; `None` where the
    /// statement does not touch the table.
    Entered(Option<Pass>),
    /// Wait for the ticket; it resolves to the same.
    Wait(Ticket),
}

/// One held statement's wait.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long it waited.
    pub waited: Duration,
    /// Read or write.
    pub kind: Kind,
}

/// What SHOW GATES shows of one gate.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose gate it is.
    pub migration: MigrationId,
    /// The table behind it.
    pub table: TableName,
    /// What it does with newcomers.
    pub state: State,
    /// Transactions and statements inside.
    pub inside: usize,
    /// Age of the oldest of them.
    pub oldest: Option<Duration>,
    /// Statements waiting.
    pub waiting: usize,
    /// What the migration is doing behind it.
    pub step: &'static str,
}

/// Who is inside a gate.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// Transactions and statements.
    pub inside: usize,
    /// Age of the oldest of them; where the fence waits for every snapshot, of that.
    pub oldest: Duration,
    /// Age of the oldest transaction that is not inside and that a swap would expose to old snapshots.
    pub exposed: Duration,
}

#[derive(Debug)]
struct Inside {
    record: Arc<Record>,
    since: Instant,
}

#[derive(Debug)]
struct Current {
    id: u64,
    deadline: Instant,
}

#[derive(Debug)]
struct Inner {
    state: State,
    hold: Option<Current>,
    step: &'static str,
    inside: HashMap<u64, Inside>,
    /// Sessions that have touched the table since the gate was built: their new transactions wait while it drains.
    users: HashMap<SessionId, Arc<Record>>,
    /// Their accounts: other sessions of these are taken for users too.
    accounts: HashSet<u64>,
    /// Until then every session is.
    knows_from: Instant,
    /// For so long transactions that have not touched the table may still keep the gate from closing.
    exposed_patience: Duration,
    /// Sessions whose transaction was open before the gate was built, with that transaction's beginning: nobody knows
    /// what they touched.
    suspects: HashMap<SessionId, (Arc<Record>, u64)>,
    /// Sessions that held locks on tables when the gate was built, and when that was: nobody knows on which.
    lockers: HashMap<SessionId, (Arc<Record>, Instant)>,
    waiters: VecDeque<Waiter>,
    released: VecDeque<Released>,
    samples: Vec<Sample>,
    /// Log lines of those who went through, until the last one has.
    lines: Vec<Line>,
}

/// The gate of one table.
#[derive(Debug)]
pub struct Gate {
    /// Whose gate it is.
    pub migration: MigrationId,
    /// The table behind it.
    pub table: TableName,
    inner: Mutex<Inner>,
    changed: Notify,
    numbers: AtomicU64,
    swapped_at_us: AtomicU64,
    fence: Fence,
    shapes: Shapes,
    metrics: Metrics,
    census: Arc<Census>,
    log_held_over: Duration,
}

impl Gate {
    fn new(migration: MigrationId, table: TableName, fence: Fence, metrics: Metrics, census: Arc<Census>, log_held_over: Duration) -> Self {
        Self {
            migration,
            table,
            census,
            inner: Mutex::new(Inner {
                state: State::Open,
                hold: None,
                step: "open",
                inside: HashMap::new(),
                users: HashMap::new(),
                accounts: HashSet::new(),
                knows_from: Instant::now() + exposed::LEARNING,
                exposed_patience: exposed::PATIENCE,
                suspects: HashMap::new(),
                lockers: HashMap::new(),
                waiters: VecDeque::new(),
                released: VecDeque::new(),
                samples: Vec::new(),
                lines: Vec::new(),
            }),
            changed: Notify::new(),
            numbers: AtomicU64::new(1),
            swapped_at_us: AtomicU64::new(0),
            fence,
            shapes: Shapes::default(),
            metrics,
            log_held_over,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Decides about one statement: a pass, or a ticket to wait with. `digest` is asked for only where it waits.
    pub fn admit(self: &Arc<Self>, ask: &Ask<'_>, digest: impl FnOnce() -> String) -> Admission {
        let mut inner = self.lock();
        let exempt = ask.record.holds_locks.load(Ordering::Relaxed);
        let waits = match inner.state {
            State::Open => false,
            _ if exempt => false,
            // F14: parking a statement of an open transaction would deadlock the drain.
            State::Draining => !ask.in_transaction && (ask.touches || inner.may_use(ask.record)),
            State::Held => ask.touches || (!ask.in_transaction && inner.may_use(ask.record)),
        };
        if waits {
            return Admission::Wait(Ticket::queue(self, &mut inner, ask, digest()));
        }
        if ask.starts {
            // Seen by whoever closes the gate, before the statement is on its way.
            ask.record.transaction_open();
        }
        if !ask.touches {
            return Admission::Entered(None);
        }
        Admission::Entered(Some(self.pass(&mut inner, ask.record)))
    }

    fn pass(self: &Arc<Self>, inner: &mut Inner, record: &Arc<Record>) -> Pass {
        let id = self.number();
        inner.inside.insert(id, Inside { record: record.clone(), since: Instant::now() });
        inner.users.entry(record.id).or_insert_with(|| record.clone());
        inner.accounts.extend(record.account());
        Pass { gate: self.clone(), id }
    }

    /// A session's transaction ended, or the session itself: whoever waits for the drain looks again.
    pub fn nudge(&self) {
        if self.lock().state == State::Draining {
            self.changed.notify_waiters();
        }
    }

    /// Moment of the swap on the census' clock, 0 before it.
    pub fn swapped_at_us(&self) -> u64 {
        self.swapped_at_us.load(Ordering::Acquire)
    }

    /// Notes the moment of the swap: from now on older snapshots are fenced (I-G6).
    pub fn set_swapped_at_us(&self, at: u64) {
        self.swapped_at_us.store(at, Ordering::Release);
    }

    /// The statements that clients have sent to the table.
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// What becomes of transactions whose snapshot is older than the swap.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Sessions with a transaction that began before a moment and may have a snapshot, where the swap is to wait for all of
    /// them, also for those that never used the table.
    fn snapshots_to_wait_for(&self, moment_us: u64) -> Vec<Arc<Record>> {
        if self.fence() != Fence::Wait {
            return Vec::new();
        }
        self.census.list().into_iter().filter(|record| record.snapshot_began_us().is_some_and(|began| began < moment_us)).collect()
    }

    /// Who is inside; transactions and locks that are older than the gate count.
    pub fn occupancy(&self) -> Occupancy {
        let snapshots = self.snapshots_to_wait_for(u64::MAX);
        let snapshots = snapshots.iter().filter_map(|record| record.transaction_age()).max().unwrap_or_default();
        let mut inner = self.lock();
        inner.forget_the_gone();
        let oldest = inner.inside.values().map(|inside| inside.since.elapsed()).max().unwrap_or_default();
        let suspect = inner.suspects.values().filter_map(|(record, _)| record.transaction_age()).max().unwrap_or_default();
        let locks = inner.lockers.values().map(|(_, since)| since.elapsed()).max().unwrap_or_default();
        Occupancy {
            inside: inner.inside.len() + inner.suspects.len() + inner.lockers.len(),
            oldest: oldest.max(suspect).max(locks).max(snapshots),
            exposed: self.exposed(&inner).into_iter().map(|(_, age)| age).max().unwrap_or_default(),
        }
    }

    /// Whether transactions that are older than the gate are waited for, because nobody knows what they have touched.
    pub fn has_suspects(&self) -> bool {
        let mut inner = self.lock();
        inner.forget_the_gone();
        !inner.suspects.is_empty()
    }

    /// Waits no longer for transactions that are older than the gate and do not have the table open, as the server shows it. What they
    /// touch from now on the gate sees.
    pub fn acquit(&self, has_it_open: impl Fn(u64) -> bool) {
        self.lock().suspects.retain(|_, (record, _)| has_it_open(record.connection_id.load(Ordering::Relaxed)));
    }

    /// Whether a transaction that began before a moment of the census' clock is still open, of any session.
    pub fn has_transaction_older_than(&self, moment_us: u64) -> bool {
        self.census.any(|record| {
            let began = record.transaction_began_us();
            began != 0 && began < moment_us
        })
    }

    /// Resolves when somebody has left while the gate is draining.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The row of SHOW GATES.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            migration: self.migration,
            table: self.table.clone(),
            state: inner.state,
            inside: inner.inside.len(),
            oldest: inner.inside.values().map(|inside| inside.since.elapsed()).max(),
            waiting: inner.waiters.len(),
            step: inner.step,
        }
    }

    /// Opens the gate if the hold with this number still has it; lets everybody who waits in, in order of arrival.
    fn open(self: &Arc<Self>, hold: u64, event: Event) {
        let mut inner = self.lock();
        if inner.hold.as_ref().is_none_or(|current| current.id != hold) {
            return;
        }
        inner.hold = None;
        inner.step = "open";
        if let Ok(state) = inner.state.next(event) {
            inner.state = state;
        }
        let first = Ticket::release_all(self, &mut inner);
        drop(inner);
        first.into_iter().for_each(Waker::wake);
        self.changed.notify_waiters();
    }
}

impl Inner {
    /// Nobody is inside, as far as is known.
    fn is_empty(&self) -> bool {
        self.inside.is_empty() && self.suspects.is_empty() && self.lockers.is_empty()
    }

    fn forget_the_gone(&mut self) {
        self.suspects.retain(|_, (record, began)| record.transaction_began_us() == *began);
        self.lockers.retain(|_, (record, _)| record.holds_tables.load(Ordering::Acquire));
        self.users.retain(|_, record| Arc::strong_count(record) > 1);
    }
}

/// What a transaction holds while it is inside; leaving is dropping it.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    id: u64,
}

impl Pass {
    /// The gate this pass is for.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.inside.remove(&self.id);
        let notify = inner.state == State::Draining;
        drop(inner);
        if notify {
            self.gate.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
