//! What every part of one migration's run needs to know; fixed for the length of the run.

use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::apply::overlap::Overlap;
use super::apply::pending::Pending;
use super::kept::Kept;
use super::keys::{KeyRange, Keys};
use super::progress::{Board, Wishes};
use super::shadow::Names;
use super::statements::Statements;
use crate::config::{Config, Fence, Protocol};
use crate::gate::Gates;
use crate::ids::MigrationId;
use crate::schema::key::Key;
use crate::schema::mapping::Mapping;
use crate::schema::table::Table;
use crate::upstream::{Facts, Server};

/// Keys that may wait to be applied before the tail pauses.
pub const PENDING_MOST: usize = 1_000_000;

/// One run of one migration.
#[derive(Clone)]
pub struct Job {
    /// Whose run it is.
    pub id: MigrationId,
    /// The three names.
    pub names: Names,
    /// What follows `ALTER TABLE name`.
    pub specification: String,
    /// WITH ….
    pub options: Options,
    /// What kind of server it is.
    pub facts: Facts,
    /// The way to it.
    pub server: Server,
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
    /// Swaps before this run: with any, it is a revert window, and no ALTER is being judged.
    pub swaps: u64,
    /// Its face.
    pub board: Arc<Board>,
    /// The gates.
    pub gates: Arc<Gates>,
    /// The configuration.
    pub config: Arc<Config>,
}

impl Job {
    /// The shadow is a table that was swapped out, and follows until the window ends.
    pub fn is_window(&self) -> bool {
        self.swaps > 0
    }

    /// The operator does not want the swap any more that this run is for.
    pub fn is_given_up(&self, wishes: &Wishes) -> bool {
        if self.is_window() { wishes.swaps_wanted <= self.swaps } else { wishes.is_cancelled }
    }

    /// Longest time that any statement may be held.
    pub fn max_hold(&self) -> Duration {
        self.options.max_hold.unwrap_or_else(|| self.config.cutover.max_hold())
    }

    /// Longest time that the gate may drain.
    pub fn drain_budget(&self) -> Duration {
        self.options.drain_budget.unwrap_or_else(|| self.config.cutover.drain_budget()).min(self.max_hold())
    }

    /// How the tables shall be swapped.
    pub fn protocol(&self) -> Protocol {
        self.options.cutover.unwrap_or(self.config.cutover.protocol)
    }

    /// What becomes of transactions whose snapshot is older than the swap.
    pub fn fence(&self) -> Fence {
        self.options.fence.unwrap_or(self.config.cutover.fence)
    }

    /// Chunks copied at once.
    pub fn copy_workers(&self) -> usize {
        let configured = (self.config.copy.workers > 0).then_some(self.config.copy.workers);
        // MariaDB's INSERT … SELECT holds the table's AUTO_INCREMENT lock to its end: more workers only wait for each other.
        let measured = if self.facts.is_mariadb { 1 } else { 4 };
        self.options.copy_workers.or(configured).unwrap_or(measured).clamp(1, 64)
    }
}
