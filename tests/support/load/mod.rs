//! An application to be migrated under: clients that write, read and remember every answer.
//!
//! Owns: the clients' connections and journals. Invariants: a client writes only rows of its own, so that its journal
//! decides exactly what must be in the table; a write whose answer was lost is kept as either-or, and its rows are
//! not touched again. Never: a statement that breaks when a column is added.

mod client;
pub mod journal;
pub mod judge;
pub mod statement;
pub mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

pub use journal::Journal;
#[allow(unused_imports)]
pub use judge::Verdict;

/// How the application behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once; each is one client.
    pub clients: i32,
    /// Mean pause of a client between its operations; zero for none.
    pub think: Duration,
    /// Percent of operations that change a row's primary key.
    pub key_changes: u32,
    /// Percent of operations that are transactions of several statements.
    pub transactions: u32,
    /// The random numbers' beginning; the same seed gives the same operations.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { clients: 16, think: Duration::from_millis(4), key_changes: 2, transactions: 15, seed: 1 }
    }
}

/// Numbers that can be read while the load runs.
#[derive(Debug, Default)]
pub struct Live {
    /// Statements sent, of every kind.
    pub statements: AtomicU64,
    /// Errors that clients saw.
    pub errors: AtomicU64,
    is_stopping: AtomicBool,
}

/// What one client, or all of them together, saw.
#[derive(Debug)]
pub struct Seen {
    /// Statements sent, BEGIN and COMMIT among them.
    pub statements: u64,
    /// Writes that the server has acknowledged, those of rolled back transactions not counted.
    pub writes: u64,
    /// Errors by code and text, without those of lost connections.
    pub errors: BTreeMap<(u16, String), u64>,
    /// Connections that broke under a client.
    pub disconnects: u64,
    /// Reads that did not show what the client itself had written before: their number and some examples.
    pub stale_reads: u64,
    /// What the first wrong reads were.
    pub stale_examples: Vec<String>,
    /// Time of each statement in microseconds, as the client saw it.
    pub latency: Histogram<u64>,
    /// Time from BEGIN to the answer of COMMIT in microseconds, without what BEGIN itself waited.
    pub transactions: Histogram<u64>,
    /// When each statement or transaction that took longer than [`LONG`] was begun, and how long it took.
    pub long: Vec<(Instant, Duration)>,
}

/// What a person calls long, of a statement on a healthy server.
pub const LONG: Duration = Duration::from_millis(10);

impl Seen {
    fn new() -> Result<Self> {
        Ok(Self {
            statements: 0,
            writes: 0,
            errors: BTreeMap::new(),
            disconnects: 0,
            stale_reads: 0,
            stale_examples: Vec::new(),
            latency: Histogram::new_with_bounds(1, 600_000_000, 3)?,
            transactions: Histogram::new_with_bounds(1, 600_000_000, 3)?,
            long: Vec::new(),
        })
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.statements += other.statements;
        self.writes += other.writes;
        self.disconnects += other.disconnects;
        self.stale_reads += other.stale_reads;
        self.stale_examples.extend(other.stale_examples);
        self.stale_examples.truncate(10);
        for (error, times) in other.errors {
            *self.errors.entry(error).or_default() += times;
        }
        self.latency.add(&other.latency)?;
        self.transactions.add(&other.transactions)?;
        self.long.extend(other.long);
        Ok(())
    }

    /// Errors of every kind.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The longest time that any statement took.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }

    /// The time within which this share of the statements was answered.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(share))
    }
}

/// The application after it has stopped.
#[derive(Debug)]
pub struct Outcome {
    /// All clients together.
    pub seen: Seen,
    /// What each client knows of its rows.
    pub journals: Vec<Journal>,
}

/// The running application.
#[derive(Debug)]
pub struct Load {
    live: Arc<Live>,
    clients: Vec<JoinHandle<Result<(Journal, Seen)>>>,
}

impl Load {
    /// Starts the clients on `port`; they go on from what `journals` say, or from a freshly filled table.
    pub async fn start(port: u16, schema: &str, journals: Vec<Journal>, options: &Options) -> Result<Self> {
        let live = Arc::new(Live::default());
        let mut clients = Vec::new();
        for journal in journals {
            let client = client::Client::connect(port, schema, journal, options, live.clone()).await?;
            clients.push(tokio::spawn(client.run()));
        }
        Ok(Self { live, clients })
    }

    /// Numbers to look at while it runs.
    pub fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Waits until this many more statements were answered; an error when that takes longer than a minute.
    pub async fn more_statements(&self, number: u64) -> Result<()> {
        let goal = self.live.statements.load(Ordering::Relaxed) + number;
        let until = Instant::now() + Duration::from_secs(60);
        while self.live.statements.load(Ordering::Relaxed) < goal {
            anyhow::ensure!(Instant::now() < until, "the application did not get {number} more statements answered within a minute");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Lets every client end what it is doing, and collects what they know.
    pub async fn stop(self) -> Result<Outcome> {
        self.live.is_stopping.store(true, Ordering::Relaxed);
        let mut seen = Seen::new()?;
        let mut journals = Vec::new();
        for client in self.clients {
            let ended = tokio::time::timeout(Duration::from_secs(90), client).await;
            let (journal, one) = ended.context("a client's statement was not answered within 90 s after the end")???;
            journals.push(journal);
            seen.add(one)?;
        }
        Ok(Outcome { seen, journals })
    }
}
