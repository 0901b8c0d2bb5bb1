//! What every part of one copying run needs to know; fixed for the length of the run.

use std::ops::Deref;
use std::sync::Arc;

use super::apply::overlap::Overlap;
use super::apply::pending::Pending;
use super::kept::Kept;
use super::keys::{KeyRange, Keys};
use super::site::Site;
use super::statements::Statements;
use crate::schema::key::Key;
use crate::schema::mapping::Mapping;
use crate::schema::table::Table;

/// Keys that may wait to be applied before the tail pauses.
pub const PENDING_MOST: usize = 1_000_000;

/// Copy workers of one migration.
pub const COPY_WORKERS_MOST: usize = 64;

/// One run of a migration that copies, or of its way back.
#[derive(Clone)]
pub struct Job {
    /// Whose run it is, and where.
    pub site: Site,
    /// The source.
    pub source: Arc<Table>,
    /// The shadow.
    pub shadow: Arc<Table>,
    /// Which column goes where.
    pub mapping: Arc<Mapping>,
    /// The key.
    pub keys: Arc<Keys>,
    /// The ALTER sets the AUTO_INCREMENT counter itself.
    pub sets_counter: bool,
    /// The SQL.
    pub statements: Arc<Statements>,
    /// Keys to apply.
    pub pending: Arc<Pending<Key>>,
    /// Who copies and applies what at this moment.
    pub overlap: Overlap<KeyRange, Key>,
    /// Whoever holds it applies; a cut-over takes it, so that no round of another task meets a lock or a swapped table.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// In a revert window: columns of the shadow that the source does not have.
    pub kept: Option<Arc<Kept>>,
}

impl Deref for Job {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Job {
    /// Chunks copied at once.
    pub fn copy_workers(&self) -> usize {
        let configured = (self.config.copy.workers > 0).then_some(self.config.copy.workers);
        // MariaDB's INSERT … SELECT holds the table's AUTO_INCREMENT lock to its end: more workers only wait for each other.
        let measured = if self.facts.is_mariadb { 1 } else { 4 };
        self.options.copy_workers.or(configured).unwrap_or(measured).clamp(1, COPY_WORKERS_MOST)
    }
}
