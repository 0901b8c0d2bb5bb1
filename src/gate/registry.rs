//! All gates of this process, and the one atomic load that a statement costs while there are none (I-G3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{Gate, Snapshot};
use crate::census::Census;
use crate::config::Fence;
use crate::ids::{Counter, MigrationId, TableName};
use crate::metrics::Metrics;
use crate::sql::matcher::Matcher;
use crate::sql::statement::{self, Statement};
use crate::sql::token::Cursor;

/// The gates as they were at one moment; sessions keep it and ask for a new one when [`Gates::generation`] has moved.
#[derive(Debug, Default)]
pub struct Watch {
    /// The generation it belongs to.
    pub generation: u64,
    /// The gates, in the order of the bits of [`Verdict::gates`].
    pub gates: Vec<Arc<Gate>>,
    matcher: Matcher,
}

/// What a statement means to the gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What kind of statement it is.
    pub statement: Statement,
    /// Bit n: it may touch the table behind gate n.
    pub gates: u64,
}

impl Verdict {
    /// Whether the statement may touch the table behind the gate at this place.
    pub fn touches(&self, index: usize) -> bool {
        self.gates & 1u64.checked_shl(u32::try_from(index).unwrap_or(63)).unwrap_or(1 << 63) != 0
    }
}

impl Watch {
    /// Judges one statement's text. A false hit costs milliseconds at a cut-over; a miss costs a longer wait in the
    /// server's own lock queue; neither costs a row (I-0).
    pub fn judge(&self, text: &[u8]) -> Verdict {
        let statement = statement::classify(text);
        let is_all = statement.is_dynamic || (statement.takes_session_lock && locks_everything(text));
        let gates = if is_all { self.all() } else { self.matcher.touched(text) };
        Verdict { statement, gates }
    }

    /// The verdict on a statement that cannot be read: it may touch everything.
    pub fn unknown(&self) -> Verdict {
        Verdict { statement: Statement::unknown(), gates: self.all() }
    }

    fn all(&self) -> u64 {
        if self.gates.len() >= 64 { u64::MAX } else { (1 << self.gates.len()) - 1 }
    }
}

/// A global read lock or a backup lock is on every table, whatever the text mentions.
fn locks_everything(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text);
    loop {
        while cursor.eat_mark(b';') {}
        let is_global = if cursor.eat("FLUSH") {
            cursor.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
            cursor.eat_any(&["TABLES", "TABLE"]) && cursor.eat("WITH")
        } else {
            cursor.eat("BACKUP") || (cursor.eat("LOCK") && cursor.eat("INSTANCE"))
        };
        if is_global || !cursor.next_statement() {
            return is_global;
        }
    }
}

/// The registry of gates.
#[derive(Debug)]
pub struct Gates {
    generation: AtomicU64,
    numbers: Counter,
    watch: ArcSwap<Watch>,
    entries: Mutex<Vec<(Arc<Gate>, Vec<String>)>>,
    census: Arc<Census>,
    metrics: Metrics,
    log_held_over: Duration,
}

impl Gates {
    /// A registry without gates. `log_held_over`: held statements longer than this get a log line.
    pub fn new(census: Arc<Census>, metrics: Metrics, log_held_over: Duration) -> Self {
        Self {
            generation: AtomicU64::new(0),
            numbers: Counter::default(),
            watch: ArcSwap::default(),
            entries: Mutex::default(),
            census,
            metrics,
            log_held_over,
        }
    }

    /// 0 while there is no gate, else a number that moves whenever the set of gates does.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The gates of now.
    pub fn watch(&self) -> Arc<Watch> {
        self.watch.load_full()
    }

    /// The sessions that the gates look at.
    pub fn census(&self) -> &Arc<Census> {
        &self.census
    }

    /// Builds a gate before a table; it goes when the returned value is dropped. `hot_names` are all names by which a
    /// statement can reach the table: its own, views on it, programs and tables that mention it. `fence`: what becomes of
    /// transactions whose snapshot is older than the swap.
    pub fn install(self: &Arc<Self>, migration: MigrationId, table: TableName, hot_names: Vec<String>, fence: Fence) -> Installed {
        let gate = Arc::new(Gate::new(migration, table, fence, self.metrics.clone(), self.census.clone(), self.log_held_over));
        self.lock().push((gate.clone(), hot_names));
        self.publish();
        // Published first, scanned after: a transaction that begins in between is either seen here or judged there.
        let mut inner = gate.lock();
        for record in self.census.list() {
            let began = record.transaction_began_us();
            if began != 0 {
                inner.suspects.insert(record.id, (record.clone(), began));
            }
            if record.holds_tables.load(Ordering::Acquire) {
                inner.lockers.insert(record.id, (record, Instant::now()));
            }
        }
        drop(inner);
        Installed { gates: self.clone(), gate }
    }

    /// The rows of SHOW GATES.
    pub fn list(&self) -> Vec<Snapshot> {
        self.watch().gates.iter().map(|gate| gate.snapshot()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<Gate>, Vec<String>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self) {
        let entries = self.lock();
        let generation = if entries.is_empty() { 0 } else { self.numbers.next() };
        let names: Vec<&[String]> = entries.iter().map(|(_, names)| names.as_slice()).collect();
        let watch = Watch { generation, gates: entries.iter().map(|(gate, _)| gate.clone()).collect(), matcher: Matcher::new(&names) };
        self.watch.store(Arc::new(watch));
        self.generation.store(generation, Ordering::Release);
    }
}

impl Installed {
    /// Takes the names anew by which a statement can reach the table, where views or programs have changed meanwhile. Tells
    /// whether they differ.
    pub fn set_hot_names(&self, hot_names: Vec<String>) -> bool {
        let differs = {
            let mut entries = self.gates.lock();
            let entry = entries.iter_mut().find(|(gate, _)| Arc::ptr_eq(gate, &self.gate));
            match entry {
                Some((_, names)) if *names != hot_names => {
                    *names = hot_names;
                    true
                }
                _ => false,
            }
        };
        if differs {
            self.gates.publish();
        }
        differs
    }
}

/// A gate that stands; it is taken away when this is dropped.
#[derive(Debug)]
pub struct Installed {
    gates: Arc<Gates>,
    /// The gate itself.
    pub gate: Arc<Gate>,
}

impl Drop for Installed {
    fn drop(&mut self) {
        self.gates.lock().retain(|(gate, _)| !Arc::ptr_eq(gate, &self.gate));
        self.gates.publish();
    }
}
