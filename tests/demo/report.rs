//! The end of the demo: what was sent, held, lost; and whether that is good.

use std::time::Duration;

use anyhow::Result;
use mysql_async::Conn;

use crate::screen::{Screen, grouped, time};
use crate::support::admin::Status;
use crate::support::compare;
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::load::{Outcome, Verdict, judge, table};
use crate::support::metrics::{self, Histogram};

/// Everything that the demo found out.
pub struct Report<'a> {
    outcome: &'a Outcome,
    verdict: Verdict,
    status: Status,
    took: Duration,
    held: Histogram,
    difference: Option<String>,
    left: Vec<String>,
    log: Option<String>,
}

impl<'a> Report<'a> {
    /// Reads every row back, the two definitions, and the metrics.
    pub async fn make(lab: &Lab, direct: &mut Conn, outcome: &'a Outcome, status: Status, took: Duration, twin: &str) -> Result<Self> {
        let verdict = judge::judge(&outcome.journals, &table::contents(direct, SCHEMA).await?);
        let text = metrics::fetch(lab.proxy.http_port, "/metrics").await?;
        let held = Histogram::read(&text, "tidegate_held_statement_seconds", &[]);
        let difference = compare::assert_same_definition(direct, TABLE, twin).await.err().map(|error| error.to_string());
        let log = lab.proxy.assert_clean_log(&[]).err().map(|error| error.to_string());
        Ok(Self { outcome, verdict, status, took, held, difference, left: compare::leftovers(direct).await?, log })
    }

    /// True where nothing at all is wrong.
    pub fn is_good(&self) -> bool {
        self.status.phase() == "done"
            && self.verdict.is_clean()
            && self.outcome.seen.errors.is_empty()
            && self.outcome.seen.disconnects == 0
            && self.outcome.seen.stale_reads == 0
            && self.difference.is_none()
            && self.left.is_empty()
    }

    /// Writes it for people.
    pub fn print(&self, screen: &Screen) {
        let (seen, verdict, status) = (&self.outcome.seen, &self.verdict, &self.status);
        let attempts = status.number("cutover_attempts");
        let plural = if attempts == 1.0 { "" } else { "s" };
        let is_done = status.phase() == "done";
        screen.fact(
            "migration",
            &format!("{} after {}, {attempts} cut-over attempt{plural}", status.phase(), time(self.took)),
            Some(is_done),
        );
        if !is_done {
            screen.fact("its error", &format!("{} ({})", status.text("error"), status.error_code()), Some(false));
        }
        screen.fact("statements sent", &grouped(seen.statements as f64), None);
        let errors = seen.error_count() + seen.disconnects;
        screen.fact("errors of clients", &grouped(errors as f64), Some(errors == 0));
        for ((code, text), times) in seen.errors.iter().take(5) {
            println!("        {times} times {code}: {text}");
        }
        screen.fact(
            "acknowledged writes",
            &format!("{} in {} rows read back", grouped(seen.writes as f64), grouped(verdict.rows as f64)),
            None,
        );
        screen.fact("   missing", &grouped(verdict.missing as f64), Some(verdict.missing == 0));
        screen.fact("   doubled", &grouped(verdict.doubled as f64), Some(verdict.doubled == 0));
        screen.fact("   otherwise wrong", &grouped(verdict.wrong as f64), Some(verdict.wrong == 0));
        for example in verdict.examples.iter().take(5) {
            println!("        {example}");
        }
        screen.fact("reads that went back", &grouped(seen.stale_reads as f64), Some(seen.stale_reads == 0));
        for example in seen.stale_examples.iter().take(3) {
            println!("        {example}");
        }
        println!();
        let held = status.number("held_statements");
        screen.fact("statements held", &grouped(held), None);
        if self.held.count > 0.0 {
            let bound = |share| time(Duration::from_secs_f64(self.held.quantile(share).min(60.0)));
            screen.fact("   half within", &bound(0.5), None);
            screen.fact("   99 % within", &bound(0.99), None);
        }
        screen.fact("longest stall", &time(status.longest_stall()), None);
        let view = format!("p50 {}, p99 {}, longest {}", time(seen.quantile(0.5)), time(seen.quantile(0.99)), time(seen.longest()));
        screen.fact("seen by the clients", &view, None);
        for (at, step) in status.text("steps").split(", ").enumerate() {
            screen.fact(if at == 0 { "cut-over, step by step" } else { "" }, step, None);
        }
        println!();
        let equal =
            if self.difference.is_none() { "equal to what the server's own ALTER makes" } else { "differs from the server's own ALTER" };
        screen.fact("final schema", equal, Some(self.difference.is_none()));
        if let Some(difference) = &self.difference {
            println!("{difference}");
        }
        let left = if self.left.is_empty() { "nothing".to_owned() } else { self.left.join(", ") };
        screen.fact("left on the server", &left, Some(self.left.is_empty()));
        if let Some(log) = &self.log {
            screen.fact("warnings in the log", log, None);
        }
        if self.is_good() {
            screen.good("The table changed, and not one statement failed or was lost.");
        }
    }
}
