//! What an attempt cost, step by step.

use std::fmt;
use std::time::{Duration, Instant};

use crate::gate::HoldReport;
use crate::metrics::Metrics;

/// Durations of the steps, in order.
#[derive(Clone, Debug)]
pub struct Steps {
    last: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }
}

impl Steps {
    /// A step is over.
    pub fn mark(&mut self, step: &'static str) {
        let now = Instant::now();
        self.done.push((step, now - self.last));
        self.last = now;
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (step, time)) in self.done.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            write!(out, "{separator}{step} {:.1} ms", time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

/// One attempt's cost.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its steps.
    pub steps: Steps,
    /// What clients felt.
    pub hold: HoldReport,
    /// From the wish of the hold to its release.
    pub total: Duration,
}

impl Report {
    /// Puts the parts together.
    pub fn new(steps: Steps, hold: HoldReport, total: Duration) -> Self {
        Self { steps, hold, total }
    }

    /// Statements held.
    pub fn held(&self) -> u64 {
        self.hold.samples.len() as u64
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.hold.quantile(1.0)
    }

    /// Moves the histograms.
    pub fn observe(&self, metrics: &Metrics) {
        for (step, time) in &self.steps.done {
            metrics.stall(step, *time);
        }
        metrics.stall("total", self.total);
    }

    /// "Blocked queries on shop.orders for 23.4 ms (p50 9.1, p99 20.0, max 23.4; 187 statements held)".
    pub fn sentence(&self, table: &impl fmt::Display) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "blocked queries on {table} for {:.1} ms (p50 {:.1}, p99 {:.1}, max {:.1}; {} statements held)",
            ms(self.total),
            ms(self.hold.quantile(0.5)),
            ms(self.hold.quantile(0.99)),
            ms(self.longest()),
            self.held()
        )
    }
}
