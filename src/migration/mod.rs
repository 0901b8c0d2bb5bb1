//! Migrations: from the operator's wish to the swapped table.

use std::time::Duration;

use crate::config::{Fence, Protocol, Strategy};
use crate::ids::{MigrationId, TableName};

mod apply;
mod busy;
mod bypass;
mod checkpoint;
mod copy;
mod cutover;
mod deferred;
mod describe;
mod duplicates;
mod error;
mod failover;
mod final_form;
mod finish;
mod foreign_keys;
mod group;
mod in_place;
mod instant;
mod job;
mod kept;
mod keys;
mod oracle;
mod packed;
pub mod phase;
mod policy;
mod preflight;
mod prepare;
mod probe;
mod progress;
mod queue;
mod retired;
mod revert;
mod run;
mod runner;
mod service;
mod shadow;
mod shapes;
mod site;
mod statements;
mod tail;
mod throttle;
mod triggers;
mod verify;

pub use bypass::Writer;
pub use instant::Course;
pub use phase::Phase;
pub use service::Service;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// One table, or several that are swapped together.
    pub changes: Vec<Change>,
    /// WITH …
    pub options: Options,
}

/// One table's part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The table to change.
    pub table: TableName,
    /// What follows `ALTER TABLE name`, verbatim.
    pub specification: String,
}

/// Options of `MIGRATE … WITH name = value`; `None` takes the configuration's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Wait in Ready for CUTOVER.
    pub postpone: bool,
    /// How the table is changed.
    pub strategy: Option<Strategy>,
    /// Leave the comparison before the cut-over out.
    pub skip_verify: bool,
    /// Longest hold.
    pub max_hold: Option<Duration>,
    /// Longest drain.
    pub drain_budget: Option<Duration>,
    /// What becomes of transactions whose snapshot is older than the swap.
    pub fence: Option<Fence>,
    /// Swap although statements that clients send would fail on the new table.
    pub ignore_breaking: bool,
    /// Chunks copied at once.
    pub copy_workers: Option<usize>,
    /// How long the retired table is kept.
    pub revert_window: Option<Duration>,
    /// How the tables are swapped.
    pub cutover: Option<Protocol>,
    /// The copy never rests by itself.
    pub ignores_throttle: bool,
}

/// One migration as SHOW MIGRATIONS shows it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its number.
    pub id: MigrationId,
    /// The table.
    pub table: TableName,
    /// The ALTER specification as given.
    pub specification: String,
    /// Where it is.
    pub phase: Phase,
    /// The operator paused the copy.
    pub is_paused: bool,
    /// It waits in Ready until the operator says CUTOVER.
    pub is_postponed: bool,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// The server's estimate of all rows.
    pub rows_total: u64,
    /// Rows copied a second, lately.
    pub rows_per_second: f64,
    /// Time until the copy ends at this rate.
    pub eta: Option<Duration>,
    /// How far the tail is behind the server.
    pub lag: Duration,
    /// Keys seen in the binlog and not yet applied.
    pub pending_keys: u64,
    /// Cut-over attempts so far.
    pub cutover_attempts: u64,
    /// Statements held so far, in all attempts.
    pub held_statements: u64,
    /// The longest wait of any of them.
    pub longest_stall: Duration,
    /// The server's error number of the last failure, 0 for none.
    pub error_code: u16,
    /// The last failure in words, with the remedy.
    pub error: String,
    /// What it is doing or waiting for, in words.
    pub note: String,
    /// The last attempt's steps with their times, such as `drain 1.2 ms, lock 0.9 ms, …`.
    pub steps: String,
    /// Statements of clients that the new table would refuse, one a line, with the server's error.
    pub breaking: String,
    /// Swaps so far: after an odd number the altered table has the name, after an even one the table as it was.
    pub swaps: u64,
    /// Why the copy rests by itself or goes slower; empty where it does neither.
    pub throttled: String,
    /// Whom FORCE has rolled back or ended, and whom it has left alone.
    pub forced: String,
    /// How the table is changed.
    pub course: Course,
    /// The tables that it is swapped together with: the first one's number.
    pub group: Option<MigrationId>,
    /// UTC, as the server writes it.
    pub started_at: String,
    /// UTC, empty while it runs.
    pub finished_at: String,
}

/// What an operator tells a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop copying; applying goes on.
    Pause,
    /// Go on copying, or try again after parking.
    Resume,
    /// Undo everything.
    Cancel,
    /// Swap now instead of waiting in Ready.
    Cutover,
    /// Swap back, in the revert window.
    Revert,
    /// End the revert window.
    CleanUp,
    /// The same, and whoever is in the way for too long is rolled back or ended.
    ForceCutover,
}

/// What the operator is told when something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The server's own error number.
    pub code: u16,
    /// Five characters.
    pub sqlstate: [u8; 5],
    /// One sentence with the remedy.
    pub message: String,
}
