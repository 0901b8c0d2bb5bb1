//! Whom a swap would expose to old snapshots (F6), though he has not touched the table: his open transaction is waited for, and his
//! next one waits, so that nobody has to be answered with 1412.
//!
//! Owns: what is known of who uses the table. A session counts as a user once it has touched the table while the gate stands, and so does
//! every session of the same account (user and default schema): applications open new connections all the time. A young gate knows nobody
//! yet and takes every session for one.
//! Never: a reason to wait for ever. What is waited for here is bounded for each transaction and for the migration; what is left then is
//! the fence's (I-G6).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Gate, Inner};
use crate::census::Record;

/// For so long a gate takes every session for one that uses the table.
pub(super) const LEARNING: Duration = Duration::from_secs(2);

/// A transaction that is older is not waited for: a report on another table may take hours.
const MOST: Duration = Duration::from_secs(10);

/// For so long in all a migration lets itself be kept from its swap by transactions that have not touched the table.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    /// Whether a session may touch the table in a transaction, as far as is known.
    pub(super) fn may_use(&self, record: &Record) -> bool {
        let has_used = self.users.contains_key(&record.id) || record.account().is_some_and(|account| self.accounts.contains(&account));
        has_used || Instant::now() < self.knows_from
    }

    /// How long a session's open transaction has been open, where a swap would expose it and it is not older than `most`.
    fn exposed_for(&self, record: &Record, most: Duration) -> Option<Duration> {
        let age = record.transaction_age().filter(|age| *age < most)?;
        let counts = self.users.contains_key(&record.id) || (!record.reads_anew.load(Ordering::Relaxed) && self.may_use(record));
        counts.then_some(age)
    }
}

impl Gate {
    /// Takes a wait for exposed transactions from what the migration has for them; `false` where nothing is left.
    pub fn wait_for_the_exposed(&self, wait: Duration) -> bool {
        let mut inner = self.lock();
        let is_patient = !inner.exposed_patience.is_zero();
        inner.exposed_patience = inner.exposed_patience.saturating_sub(wait);
        is_patient
    }

    /// The same for an attempt that is called off because of them.
    pub(super) fn call_off_for_the_exposed(&self) -> bool {
        self.wait_for_the_exposed(PATIENCE / 5)
    }

    /// Waits for them no longer than for a drain: FORCE.
    pub fn leave_the_exposed(&self) {
        self.lock().exposed_patience = Duration::ZERO;
    }

    /// The age up to which a transaction counts as exposed; when patience is over, only those that may end while the gate drains.
    pub(super) fn exposed_most(inner: &Inner, budget: Duration) -> Duration {
        if inner.exposed_patience.is_zero() { budget } else { MOST }
    }

    /// Whether such a transaction is open.
    pub(super) fn is_somebody_exposed(&self, inner: &Inner, most: Duration) -> bool {
        self.census.any(|record| inner.exposed_for(record, most).is_some())
    }

    /// Sessions with such a transaction, and how long it has been open.
    pub(super) fn exposed(&self, inner: &Inner) -> Vec<(Arc<Record>, Duration)> {
        let records = self.census.list();
        records.into_iter().filter_map(|record| inner.exposed_for(&record, MOST).map(|age| (record, age))).collect()
    }
}
