//! A log line for each statement that was held for long.
//!
//! The released go through one after the other, and each of them still has to be sent on: a line that one writes keeps those behind it
//! waiting. So lines are kept until the last one is through, and written by a task of their own.

use std::sync::Arc;
use std::time::Duration;

use super::Gate;
use crate::census::Record;
use crate::metrics::Outcome;

/// What is said of one held statement.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) record: Arc<Record>,
    pub(super) waited: Duration,
    pub(super) step: &'static str,
    pub(super) outcome: Outcome,
    pub(super) digest: String,
}

impl Line {
    fn write(&self, gate: &Gate) {
        tracing::info!(
            migration = %gate.migration,
            table = %gate.table,
            session = %self.record.id,
            user = self.record.user.get().map_or("", String::as_str),
            client = %self.record.client,
            held_ms = format_args!("{:.1}", self.waited.as_secs_f64() * 1e3),
            step = self.step,
            outcome = ?self.outcome,
            digest = %self.digest,
            "held statement"
        );
    }
}

/// Writes them, away from whoever calls where that is possible.
pub(super) fn write(gate: &Arc<Gate>, lines: Vec<Line>) {
    if lines.is_empty() {
        return;
    }
    let gate = gate.clone();
    let write = move || lines.iter().for_each(|line| line.write(&gate));
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(write)),
        Err(_) => write(),
    }
}
