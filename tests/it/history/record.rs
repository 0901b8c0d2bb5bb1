//! What the clients saw: every transaction with what it read and wrote, and when. Pure.
//!
//! A *register* is a row that counts its own writes: each write makes its version one higher and leaves a tag that nobody
//! else uses. So a version names one write, and a read names the write that it saw.

use std::time::Duration;

/// The number of a register; even ones are in the first table, odd ones in the second.
pub(super) type Register = u8;

/// One register as it was seen or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) register: Register,
    /// 0 as it was filled; one more with each write.
    pub(super) version: u32,
    /// Of the write that made this version; 0 as it was filled.
    pub(super) tag: u64,
}

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// When its first statement was sent: everything acknowledged before must be in it.
    pub(super) sent: Duration,
    pub(super) versions: Vec<Version>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At this time the client had the server's word.
    Committed(Duration),
    RolledBack,
    /// The answer was lost.
    Unknown,
}

/// One transaction of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) client: i32,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) writes: Vec<Version>,
    pub(super) end: End,
}

/// Everything that was seen, the transactions of one client in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) transactions: Vec<Transaction>,
    /// What a client could tell by itself to be wrong, in words.
    pub(super) contradictions: Vec<String>,
    /// Errors that clients got, by code and text.
    pub(super) errors: std::collections::BTreeMap<(u16, String), u64>,
    /// Connections that broke under a client.
    pub(super) disconnects: u64,
    /// The longest time that a statement took.
    pub(super) longest: Duration,
    /// Statements sent.
    pub(super) statements: u64,
}

impl History {
    /// Adds what another client saw.
    pub(super) fn add(&mut self, other: Self) {
        self.transactions.extend(other.transactions);
        self.contradictions.extend(other.contradictions);
        for (error, times) in other.errors {
            *self.errors.entry(error).or_default() += times;
        }
        self.disconnects += other.disconnects;
        self.longest = self.longest.max(other.longest);
        self.statements += other.statements;
    }
}
