//! What every run of a migration has, whatever it does: whose it is, on which table, by which server, behind which gates.

use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::progress::{Board, Wishes};
use super::runner::{Grip, Surroundings};
use super::shadow::Names;
use crate::config::{Config, Fence, Protocol};
use crate::gate::Gates;
use crate::ids::MigrationId;
use crate::upstream::{Facts, Server};

/// One run of one migration.
#[derive(Clone)]
pub struct Site {
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
    /// Swaps before this run: with any, it is a revert window, and no ALTER is being judged.
    pub swaps: u64,
    /// Its face.
    pub board: Arc<Board>,
    /// The gates.
    pub gates: Arc<Gates>,
    /// The configuration.
    pub config: Arc<Config>,
}

impl Site {
    /// The site of a run that has its grip.
    pub fn new(around: &Surroundings, grip: &Grip, names: Names, server: Server) -> Self {
        Self {
            id: grip.id(),
            names,
            specification: grip.stored.specification.clone(),
            options: grip.stored.options.clone(),
            facts: grip.facts.clone(),
            server,
            swaps: grip.stored.swaps,
            board: grip.board.clone(),
            gates: around.gates.clone(),
            config: around.config.clone(),
        }
    }

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
}
