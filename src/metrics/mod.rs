//! The names under which Prometheus finds everything, and the few calls that move them.
//!
//! Owns: every metric's name, unit and labels, and what /ready goes by.
//! Never: labels that grow with traffic (users, statements, addresses).
//! See: docs/metrics.md, `health.rs`.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::ids::MigrationId;

mod health;

pub use health::{Health, NotReady};

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
struct SignalLabels {
    migration_id: u64,
    signal: &'static str,
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
    /// 1 while the server answers the proxy's own probe, else 0.
    pub upstream_up: Gauge,
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
    bypassing: Family<MigrationLabels, Counter>,
    throttled: Family<SignalLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    pace: Family<MigrationLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
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
            upstream_up: Gauge::default(),
            fenced: Counter::default(),
            held_seconds,
            stall_seconds,
            attempts: Family::default(),
            logins: Family::default(),
            rows_copied: Family::default(),
            phase: Family::default(),
            lag_seconds: Family::default(),
            pending_keys: Family::default(),
            bypassing: Family::default(),
            throttled: Family::default(),
            pace: Family::default(),
        };
        registry.register("build", "What is running", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("upstream_up", "1 while the server answers the proxy's own probe", metrics.upstream_up.clone());
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
        registry.register(
            "bypassing_transactions",
            "Transactions on a migrating table of connections that are not the proxy's",
            metrics.bypassing.clone(),
        );
        registry.register(
            "migration_throttled_seconds",
            "How long the copy has rested by itself, by the signal that asked for it",
            metrics.throttled.clone(),
        );
        registry.register(
            "migration_copy_ratio",
            "The part of the time in which the copy may run, by what clients' statements take; 1 is all of it",
            metrics.pace.clone(),
        );
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

    /// A transaction on the table did not come through the proxy.
    pub fn bypassed(&self, migration: MigrationId) {
        self.bypassing.get_or_create(&MigrationLabels { migration_id: migration.0 }).inc();
    }

    /// How far the tail is behind, and how many keys wait to be applied.
    pub fn backlog(&self, migration: MigrationId, lag: Duration, pending: usize) {
        let labels = MigrationLabels { migration_id: migration.0 };
        self.lag_seconds.get_or_create(&labels).set(lag.as_secs_f64());
        self.pending_keys.get_or_create(&labels).set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// The copy has rested for so long because of a signal.
    pub fn throttled_for(&self, migration: MigrationId, signal: &'static str, time: Duration) {
        self.throttled.get_or_create(&SignalLabels { migration_id: migration.0, signal }).inc_by(time.as_secs_f64());
    }

    /// How much of the time the copy may run in, and how long it has not since this was said last.
    pub fn paced(&self, migration: MigrationId, signal: &'static str, percent: u8, time: Duration) {
        self.pace.get_or_create(&MigrationLabels { migration_id: migration.0 }).set(f64::from(percent) / 100.0);
        if !time.is_zero() {
            self.throttled_for(migration, signal, time);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of_everything() -> String {
        let metrics = Metrics::new();
        metrics.held(MigrationId(1), Kind::write, Outcome::forwarded, Duration::from_millis(3));
        metrics.stall("total", Duration::from_millis(3));
        metrics.attempt("committed");
        metrics.login(LoginResult::ok);
        metrics.rows_copied(MigrationId(1), 1000);
        metrics.phase(MigrationId(1), None, "copying");
        metrics.backlog(MigrationId(1), Duration::from_millis(3), 5);
        metrics.sessions.inc();
        metrics.text().expect("text")
    }

    #[test]
    fn the_names_that_dashboards_rely_on_are_there() {
        let text = text_of_everything();
        for line in [
            "tidegate_held_statement_seconds_count{migration_id=\"1\",kind=\"write\",outcome=\"forwarded\"} 1",
            "tidegate_stall_seconds_count{step=\"total\"} 1",
            "tidegate_sessions 1",
            "tidegate_migration_rows_copied_total{migration_id=\"1\"} 1000",
            "tidegate_migration_phase{migration_id=\"1\",phase=\"copying\"} 1",
            "tidegate_build_info{version=\"0.1.0\"} 1",
            "tidegate_upstream_up 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_phase_that_was_left_is_gone() {
        let metrics = Metrics::new();
        metrics.phase(MigrationId(1), None, "copying");
        metrics.phase(MigrationId(1), Some("copying"), "ready");
        let text = metrics.text().expect("text");
        assert!(!text.contains("phase=\"copying\"") && text.contains("phase=\"ready\""), "{text}");
    }

    #[test]
    fn every_metric_is_in_the_documentation() {
        let page = include_str!("../../docs/metrics.md");
        let text = text_of_everything();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(page.contains(name), "{name} is missing in docs/metrics.md");
        }
    }
}
