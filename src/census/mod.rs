//! Who is connected, and who is in which transaction.
//!
//! Owns: one [`Record`] for each session, written by that session alone and read by anybody.
//! Never: a lock on a session's way; every field that changes is an atomic.

pub mod latency;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::ids::{Counter, SessionId};

/// A wish that the session's transaction be rolled back, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rollback {
    /// Nobody wishes it.
    None,
    /// It shall be, as soon as no reply is owed.
    Wanted,
    /// The server has done it; the client's next statement is told so.
    Done,
    /// The server does not do it: an XA transaction.
    Refused,
}

/// One session as others see it.
#[derive(Debug)]
pub struct Record {
    /// The proxy's own number.
    pub id: SessionId,
    /// The client's address, or the path of its socket.
    pub client: String,
    /// When the client connected.
    pub connected: Instant,
    /// The server's connection id, 0 before the greeting.
    pub connection_id: AtomicU64,
    /// The user name, once the client has said it.
    pub user: OnceLock<String>,
    /// Statements forwarded.
    pub statements: AtomicU64,
    /// Holds LOCK TABLES, a global read lock, GET_LOCK or a HANDLER: never held at a gate.
    pub holds_locks: AtomicBool,
    /// Holds locks on tables that no status flag shows (LOCK TABLES, a global read lock, an open HANDLER): it is inside a
    /// gate as long as it does.
    pub holds_tables: AtomicBool,
    /// The open transaction may have a snapshot from which its later statements read.
    pub has_snapshot: AtomicBool,
    /// The open transaction is known to read anew with each statement: READ COMMITTED and below.
    pub reads_anew: AtomicBool,
    /// Woken when a KILL QUERY or KILL from another session is meant for this one.
    pub interrupted: Notify,
    epoch: Instant,
    /// User and default schema, hashed; 0 before the login is over.
    account: AtomicU64,
    transaction_began_us: AtomicU64,
    held_since_us: AtomicU64,
    rollback: AtomicU8,
    /// Wakes the session to look at the wish.
    rollback_waker: AtomicWaker,
}

impl Record {
    /// A microsecond clock that starts with the census; never 0.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// What sessions of the same application have in common: user and default schema, as a number. `None` before the login is over.
    pub fn account(&self) -> Option<u64> {
        Some(self.account.load(Ordering::Relaxed)).filter(|account| *account != 0)
    }

    /// Notes the default schema; `None` where it cannot be told.
    pub fn set_schema(&self, schema: Option<&str>) {
        let mut hasher = DefaultHasher::new();
        (self.user.get(), schema).hash(&mut hasher);
        self.account.store(hasher.finish().max(1), Ordering::Relaxed);
    }

    /// Notes that the server's status flags say that a transaction is open; keeps the first such moment.
    pub fn transaction_open(&self) {
        if self.transaction_began_us.load(Ordering::Relaxed) == 0 {
            self.transaction_began_us.store(self.now_us(), Ordering::Release);
        }
    }

    /// Notes that a transaction has taken the place of the one before, at a moment of [`Record::now_us`].
    pub fn transaction_replaced(&self, at_us: u64) {
        self.transaction_began_us.store(at_us.max(1), Ordering::Release);
    }

    /// Notes that no transaction is open.
    pub fn transaction_closed(&self) {
        if self.transaction_began_us.load(Ordering::Relaxed) != 0 {
            self.has_snapshot.store(false, Ordering::Relaxed);
            self.reads_anew.store(false, Ordering::Relaxed);
            self.transaction_began_us.store(0, Ordering::Release);
        }
    }

    /// Microseconds on the census' clock at which the open transaction was first seen; 0 when none is open.
    pub fn transaction_began_us(&self) -> u64 {
        self.transaction_began_us.load(Ordering::Acquire)
    }

    /// Since when a transaction has been open that may read from an old snapshot, on the census' clock.
    pub fn snapshot_began_us(&self) -> Option<u64> {
        let began = self.transaction_began_us();
        (began != 0 && self.has_snapshot.load(Ordering::Relaxed)).then_some(began)
    }

    /// How long the open transaction has been open.
    pub fn transaction_age(&self) -> Option<Duration> {
        match self.transaction_began_us() {
            0 => None,
            began => Some(Duration::from_micros(self.now_us().saturating_sub(began))),
        }
    }

    /// Notes that a statement of this session waits at a gate, or no longer does.
    pub fn set_held(&self, held: bool) {
        self.held_since_us.store(if held { self.now_us() } else { 0 }, Ordering::Relaxed);
    }

    /// How long the session's statement has been waiting at a gate.
    pub fn held_for(&self) -> Option<Duration> {
        match self.held_since_us.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_micros(self.now_us().saturating_sub(since))),
        }
    }

    /// Wishes that the session's open transaction be rolled back: FORCE.
    pub fn want_rollback(&self) {
        self.rollback.store(Rollback::Wanted as u8, Ordering::Release);
        self.rollback_waker.wake();
    }

    /// What has become of the wish.
    pub fn rollback(&self) -> Rollback {
        match self.rollback.load(Ordering::Acquire) {
            wanted if wanted == Rollback::Wanted as u8 => Rollback::Wanted,
            done if done == Rollback::Done as u8 => Rollback::Done,
            refused if refused == Rollback::Refused as u8 => Rollback::Refused,
            _ => Rollback::None,
        }
    }

    /// The session notes what it has done about the wish.
    pub fn set_rollback(&self, rollback: Rollback) {
        self.rollback.store(rollback as u8, Ordering::Release);
    }

    /// The session's task, to be woken by a wish.
    pub fn wake_for_rollback(&self, waker: &Waker) {
        self.rollback_waker.register(waker);
    }

    /// "session 7 (connection 42, app from 127.0.0.1:5000)".
    pub fn describe(&self) -> String {
        format!(
            "session {} (connection {}, {} from {})",
            self.id,
            self.connection_id.load(Ordering::Relaxed),
            self.user.get().map_or("not logged in", String::as_str),
            self.client
        )
    }
}

/// All sessions of this process.
#[derive(Debug)]
pub struct Census {
    epoch: Instant,
    numbers: Counter,
    records: Mutex<HashMap<SessionId, Arc<Record>>>,
    served: Mutex<Served>,
    /// How long the clients' statements take.
    pub latency: Arc<latency::Latency>,
}

/// Connections of sessions that are over: their last transactions may not have been read from the log yet.
#[derive(Debug, Default)]
struct Served {
    order: VecDeque<u64>,
    all: HashSet<u64>,
}

/// How many of them are remembered.
const SERVED_MAX: usize = 20_000;

impl Served {
    fn add(&mut self, connection: u64) {
        if self.all.insert(connection) {
            self.order.push_back(connection);
        }
        if self.order.len() > SERVED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

impl Default for Census {
    fn default() -> Self {
        let epoch = Instant::now();
        Self {
            epoch,
            numbers: Counter::default(),
            records: Mutex::default(),
            served: Mutex::default(),
            latency: Arc::new(latency::Latency::new(epoch)),
        }
    }
}

impl Census {
    /// Enters a new session; it leaves when the returned value is dropped.
    pub fn enter(self: &Arc<Self>, client: String) -> Entered {
        let record = Arc::new(Record {
            id: SessionId(self.numbers.next()),
            client,
            connected: Instant::now(),
            connection_id: AtomicU64::new(0),
            user: OnceLock::new(),
            statements: AtomicU64::new(0),
            holds_locks: AtomicBool::new(false),
            holds_tables: AtomicBool::new(false),
            has_snapshot: AtomicBool::new(false),
            reads_anew: AtomicBool::new(false),
            account: AtomicU64::new(0),
            interrupted: Notify::new(),
            epoch: self.epoch,
            transaction_began_us: AtomicU64::new(0),
            held_since_us: AtomicU64::new(0),
            rollback: AtomicU8::new(Rollback::None as u8),
            rollback_waker: AtomicWaker::new(),
        });
        self.lock().insert(record.id, record.clone());
        Entered { census: self.clone(), record }
    }

    /// Microseconds on the clock of [`Record::transaction_began_us`].
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// All sessions, by number.
    pub fn list(&self) -> Vec<Arc<Record>> {
        let mut records: Vec<_> = self.lock().values().cloned().collect();
        records.sort_by_key(|record| record.id);
        records
    }

    /// Whether something is true of a session.
    pub fn any(&self, is: impl FnMut(&Arc<Record>) -> bool) -> bool {
        self.lock().values().any(is)
    }

    /// The session whose server side has this connection id.
    pub fn by_connection(&self, connection_id: u64) -> Option<Arc<Record>> {
        self.lock().values().find(|record| record.connection_id.load(Ordering::Relaxed) == connection_id).cloned()
    }

    /// Whether a connection to the server belongs to a session, or did so not long ago.
    pub fn has_served(&self, connection_id: u64) -> bool {
        self.by_connection(connection_id).is_some()
            || self.served.lock().unwrap_or_else(PoisonError::into_inner).all.contains(&connection_id)
    }

    /// Number of sessions.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the census; leaving is dropping it.
#[derive(Debug)]
pub struct Entered {
    census: Arc<Census>,
    /// The session's record.
    pub record: Arc<Record>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.record.transaction_closed();
        self.record.holds_locks.store(false, Ordering::Relaxed);
        self.record.holds_tables.store(false, Ordering::Release);
        let connection = self.record.connection_id.load(Ordering::Relaxed);
        if connection != 0 {
            self.census.served.lock().unwrap_or_else(PoisonError::into_inner).add(connection);
        }
        self.census.lock().remove(&self.record.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_listed_until_dropped() {
        let census = Arc::new(Census::default());
        let entered = census.enter("here".into());
        entered.record.connection_id.store(42, Ordering::Relaxed);
        assert_eq!(census.by_connection(42).map(|record| record.id), Some(entered.record.id));
        assert_eq!(census.count(), 1);
        drop(entered);
        assert_eq!(census.count(), 0);
        assert!(census.has_served(42) && !census.has_served(43));
    }

    #[test]
    fn the_first_moment_of_a_transaction_is_kept() {
        let census = Arc::new(Census::default());
        let entered = census.enter("here".into());
        assert_eq!(entered.record.transaction_age(), None);
        entered.record.transaction_open();
        let began = entered.record.transaction_began_us();
        std::thread::sleep(Duration::from_millis(2));
        entered.record.transaction_open();
        assert_eq!(entered.record.transaction_began_us(), began);
        entered.record.transaction_closed();
        assert_eq!(entered.record.transaction_began_us(), 0);
    }
}
