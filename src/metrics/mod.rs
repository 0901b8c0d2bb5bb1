//! The names under which Prometheus finds everything, and the few calls that move them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::ids::MigrationId;

/// Whether a held statement reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
pub enum Kind {
    /// SELECT and the like.
    read,
    /// Everything that may change data, and starts of transactions.
    write,
}

/// What became of a held statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
pub enum Outcome {
    /// It went to the server.
    forwarded,
    /// Its client went away while it waited.
    client_gone,
    /// A KILL reached it.
    killed,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
pub enum LoginResult {
    /// The server let the client in.
    ok,
    /// The server or the proxy refused it.
    refused,
    /// The server could not be reached.
    upstream_unreachable,
    /// The client broke the protocol, went away or took too long.
    broken,
    /// The admin user logged in.
    admin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabels {
    migration_id: u64,
    kind: Kind,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    result: LoginResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MigrationLabels {
    migration_id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    migration_id: u64,
    phase: &'static str,
}

/// Seconds: from a tenth of a millisecond to ten seconds.
fn stall_buckets() -> Histogram {
    Histogram::new([0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
}

/// All metrics of one process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Commands forwarded to the server since the start.
    pub commands: Counter,
    /// Statements waiting at a gate now.
    pub held_now: Gauge,
    /// Transactions answered with 1412 because their snapshot was older than a swap.
    pub fenced: Counter,
    held_seconds: Family<HeldLabels, Histogram, fn() -> Histogram>,
    stall_seconds: Family<StepLabels, Histogram, fn() -> Histogram>,
    attempts: Family<OutcomeLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    rows_copied: Family<MigrationLabels, Counter>,
    phase: Family<PhaseLabels, Gauge>,
    lag_seconds: Family<MigrationLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    pending_keys: Family<MigrationLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything under the prefix `tidegate_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let held_seconds = Family::new_with_constructor(stall_buckets as fn() -> Histogram);
        let stall_seconds = Family::new_with_constructor(stall_buckets as fn() -> Histogram);
        let mut metrics = Self {
            registry: Arc::new(Registry::default()),
            sessions: Gauge::default(),
            commands: Counter::default(),
            held_now: Gauge::default(),
            fenced: Counter::default(),
            held_seconds,
            stall_seconds,
            attempts: Family::default(),
            logins: Family::default(),
            rows_copied: Family::default(),
            phase: Family::default(),
            lag_seconds: Family::default(),
            pending_keys: Family::default(),
        };
        registry.register("sessions", "Sessions open now", metrics.sessions.clone());
        registry.register("commands", "Commands forwarded to the server", metrics.commands.clone());
        registry.register("held_statements", "Statements waiting at a gate now", metrics.held_now.clone());
        registry.register(
            "fenced_transactions",
            "Transactions answered with 1412 because their snapshot was older than a swap",
            metrics.fenced.clone(),
        );
        registry.register("held_statement_seconds", "How long each held statement waited at the gate", metrics.held_seconds.clone());
        registry.register(
            "stall_seconds",
            "How long cut-over attempts kept clients waiting, by step; step=total is the whole of an attempt",
            metrics.stall_seconds.clone(),
        );
        registry.register("cutover_attempts", "Cut-over attempts by outcome", metrics.attempts.clone());
        registry.register("logins", "Logins by result", metrics.logins.clone());
        registry.register("migration_rows_copied", "Rows copied to the shadow table", metrics.rows_copied.clone());
        registry.register("migration_phase", "1 for the phase that a migration is in", metrics.phase.clone());
        registry.register("migration_lag_seconds", "How far the binlog tail is behind the server", metrics.lag_seconds.clone());
        registry.register("migration_pending_keys", "Keys seen in the binlog and not yet applied", metrics.pending_keys.clone());
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// One held statement's time.
    pub fn held(&self, migration: MigrationId, kind: Kind, outcome: Outcome, time: Duration) {
        self.held_seconds.get_or_create(&HeldLabels { migration_id: migration.0, kind, outcome }).observe(time.as_secs_f64());
    }

    /// One step of a cut-over attempt; `total` for the whole.
    pub fn stall(&self, step: &'static str, time: Duration) {
        self.stall_seconds.get_or_create(&StepLabels { step }).observe(time.as_secs_f64());
    }

    /// One attempt's outcome: `committed`, `not_committed`, `not_drained`, `not_locked`, `unknown`.
    pub fn attempt(&self, outcome: &'static str) {
        self.attempts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// One login's result.
    pub fn login(&self, result: LoginResult) {
        self.logins.get_or_create(&LoginLabels { result }).inc();
    }

    /// Rows copied since the last call.
    pub fn rows_copied(&self, migration: MigrationId, rows: u64) {
        self.rows_copied.get_or_create(&MigrationLabels { migration_id: migration.0 }).inc_by(rows);
    }

    /// The migration left one phase and entered another.
    pub fn phase(&self, migration: MigrationId, left: Option<&'static str>, entered: &'static str) {
        if let Some(phase) = left {
            self.phase.remove(&PhaseLabels { migration_id: migration.0, phase });
        }
        self.phase.get_or_create(&PhaseLabels { migration_id: migration.0, phase: entered }).set(1);
    }

    /// How far the tail is behind, and how many keys wait to be applied.
    pub fn backlog(&self, migration: MigrationId, lag: Duration, pending: usize) {
        let labels = MigrationLabels { migration_id: migration.0 };
        self.lag_seconds.get_or_create(&labels).set(lag.as_secs_f64());
        self.pending_keys.get_or_create(&labels).set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// Only where the formatter fails, which for a `String` it does not.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
