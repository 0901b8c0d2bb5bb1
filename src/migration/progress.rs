//! What a migration shows of itself: its status in memory, its metrics, and the operator's wishes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::bypass::Writers;
use super::checkpoint::Stored;
use super::throttle::{FASTEST, Reason};
use super::{Course, Options, Phase, Status};
use crate::metrics::Metrics;

/// The signal that slows the copy down, in the metrics and the status.
const GROWTH: &str = "latency_growth";

/// What the operator wishes; runners look at it and wait for it to change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Do not copy.
    pub is_paused: bool,
    /// Wait in Ready.
    pub is_postponed: bool,
    /// Swap although clients' statements would fail on the new table.
    pub ignores_breaking: bool,
    /// Clear the way; not stored, as an operator who is not there any more forces nobody.
    pub is_forced: bool,
    /// Undo.
    pub is_cancelled: bool,
    /// Swap until there were this many: REVERT wishes one more.
    pub swaps_wanted: u64,
    /// End the revert window.
    pub is_window_over: bool,
    /// Counts RESUME: a parked migration tries again when it moves.
    pub resumed: u64,
}

/// One migration's face.
#[derive(Debug)]
pub struct Board {
    status: Mutex<Status>,
    throttled: watch::Sender<Option<Reason>>,
    /// Of a hundred parts of the time, those in which the copy may run; and why not in all.
    pace: Mutex<(u8, String)>,
    wishes: watch::Sender<Wishes>,
    metrics: Metrics,
    writers: Writers,
    rate: Mutex<(Instant, u64)>,
    /// What the server has been busy with for long, shown with the note.
    busy: Mutex<String>,
    /// Swaps so far, and why there cannot be another.
    swaps: Mutex<(u64, Option<String>)>,
}

impl Board {
    /// The face of a stored migration.
    pub fn new(stored: &Stored, metrics: Metrics) -> Self {
        let status = Status {
            id: stored.id,
            table: stored.table.clone(),
            specification: stored.specification.clone(),
            phase: stored.phase,
            is_paused: stored.is_paused,
            is_postponed: stored.options.postpone,
            rows_copied: stored.rows_copied,
            rows_total: stored.rows_total,
            rows_per_second: 0.0,
            eta: None,
            lag: Duration::ZERO,
            pending_keys: 0,
            cutover_attempts: stored.cutover_attempts,
            held_statements: stored.held_statements,
            longest_stall: Duration::from_micros(stored.longest_stall_us),
            error_code: stored.error_code,
            error: stored.error.clone(),
            note: String::new(),
            steps: stored.steps.clone(),
            breaking: String::new(),
            swaps: stored.swaps,
            throttled: String::new(),
            forced: String::new(),
            course: stored.course,
            group: stored.group,
            started_at: stored.started_at.clone(),
            finished_at: stored.finished_at.clone(),
        };
        let wishes = Wishes {
            is_paused: stored.is_paused,
            is_postponed: stored.options.postpone,
            ignores_breaking: stored.options.ignore_breaking,
            is_forced: false,
            is_cancelled: stored.is_cancelled,
            swaps_wanted: stored.swaps_wanted,
            is_window_over: stored.is_window_over,
            resumed: 0,
        };
        if !stored.phase.is_final() {
            metrics.phase(stored.id, None, stored.phase.name());
        }
        Self {
            status: Mutex::new(status),
            throttled: watch::channel(None).0,
            pace: Mutex::new((FASTEST, String::new())),
            wishes: watch::channel(wishes).0,
            metrics,
            writers: Writers::default(),
            rate: Mutex::new((Instant::now(), stored.rows_copied)),
            busy: Mutex::default(),
            swaps: Mutex::new((stored.swaps, None)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of SHOW MIGRATIONS.
    pub fn status(&self) -> Status {
        let wishes = self.wishes.borrow().clone();
        let mut status = self.lock().clone();
        status.is_paused = wishes.is_paused;
        status.is_postponed = wishes.is_postponed;
        status.swaps = self.swaps().0;
        status.throttled = self.throttled();
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.is_empty() {
            let separator = if status.note.is_empty() { "" } else { "; " };
            status.note = format!("{}{separator}{busy}", status.note);
        }
        status
    }

    /// The wishes, and their changes.
    pub fn wishes(&self) -> watch::Receiver<Wishes> {
        self.wishes.subscribe()
    }

    /// Changes the wishes; gives the new ones.
    pub fn wish(&self, change: impl FnOnce(&mut Wishes)) -> Wishes {
        self.wishes.send_modify(change);
        self.wishes.borrow().clone()
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Who writes to the table without going through the proxy.
    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// Shows why the copy shall rest, or that it need not; `since_last` is the time since this was said last.
    pub fn set_throttled(&self, reason: Option<Reason>, since_last: Duration) {
        let id = self.lock().id;
        self.throttled.send_if_modified(|now| {
            if let Some(before) = now {
                self.metrics.throttled_for(id, before.signal, since_last);
            }
            let turns = now.is_some() != reason.is_some();
            if turns {
                match &reason {
                    Some(reason) => tracing::info!(migration = %id, signal = reason.signal, "the copy rests: {}", reason.words),
                    None => tracing::info!(migration = %id, "the copy goes on"),
                }
            }
            *now = reason;
            turns
        });
    }

    fn throttled(&self) -> String {
        if let Some(reason) = self.throttled.borrow().as_ref() {
            return format!("{}: {}", reason.signal, reason.words);
        }
        let pace = self.lock_pace();
        let (percent, words) = &*pace;
        if *percent < FASTEST { format!("{GROWTH}: {words}; the copy runs {percent} % of the time") } else { String::new() }
    }

    fn lock_pace(&self) -> MutexGuard<'_, (u8, String)> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a hundred parts of the time, those in which the copy may run.
    pub fn pace(&self) -> u8 {
        self.lock_pace().0
    }

    /// Shows how fast the copy may go, and why not faster; `since_last` is the time since this was said last.
    pub fn set_pace(&self, percent: u8, words: String, since_last: Duration) {
        let id = self.lock().id;
        let (before, _) = std::mem::replace(&mut *self.lock_pace(), (percent, words.clone()));
        self.metrics.paced(id, GROWTH, percent, since_last.mul_f64(f64::from(FASTEST.saturating_sub(before)) / f64::from(FASTEST)));
        match (before == FASTEST, percent == FASTEST) {
            (true, false) => tracing::info!(migration = %id, signal = GROWTH, percent, "the copy goes slower: {words}"),
            (false, true) => tracing::info!(migration = %id, "the copy goes as fast as it can"),
            _ => {}
        }
    }

    /// Waits until nothing asks the copy to rest.
    pub async fn unthrottled(&self) {
        // The sender is this board's own.
        drop(self.throttled.subscribe().wait_for(Option::is_none).await);
    }

    /// Shows another phase.
    pub fn set_phase(&self, phase: Phase) {
        let mut status = self.lock();
        let left = status.phase;
        status.phase = phase;
        status.note.clear();
        if phase.is_final() {
            status.finished_at = now_utc();
        }
        self.metrics.phase(status.id, Some(left.name()), phase.name());
    }

    /// Swaps so far, and why REVERT cannot work, where that is known.
    pub fn swaps(&self) -> (u64, Option<String>) {
        self.swaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how many swaps there were, and why there cannot be another.
    pub fn set_swaps(&self, swaps: u64, obstacle: Option<String>) {
        *self.swaps.lock().unwrap_or_else(PoisonError::into_inner) = (swaps, obstacle);
    }

    /// Shows how the table is changed.
    pub fn set_course(&self, course: Course) {
        self.lock().course = course;
    }

    /// Shows what it is doing or waiting for.
    pub fn set_note(&self, note: impl Into<String>) {
        self.lock().note = note.into();
    }

    /// Shows what the server has been busy with for long; empty where with nothing.
    pub fn set_busy(&self, busy: String) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy;
    }

    /// Shows which statements of clients the new table would refuse.
    pub fn set_breaking(&self, breaking: &[String]) {
        self.lock().breaking = breaking.join("\n");
    }

    /// Adds what FORCE has done to somebody; `false` where it is known already.
    pub fn add_forced(&self, what: &str) -> bool {
        let mut status = self.lock();
        if status.forced.contains(what) {
            return false;
        }
        let separator = if status.forced.is_empty() { "" } else { "; " };
        // Bounded: whoever comes back again and again is in the log.
        if status.forced.len() < 4000 {
            status.forced.push_str(separator);
            status.forced.push_str(what);
        }
        true
    }

    /// Shows a failure, or that there is none.
    pub fn set_error(&self, code: u16, error: impl Into<String>) {
        let mut status = self.lock();
        (status.error_code, status.error) = (code, error.into());
    }

    /// Shows the server's estimate of all rows.
    pub fn set_rows_total(&self, rows: u64) {
        self.lock().rows_total = rows;
    }

    /// Shows how many rows are copied.
    pub fn set_rows_copied(&self, rows: u64) {
        let mut status = self.lock();
        self.metrics.rows_copied(status.id, rows.saturating_sub(status.rows_copied));
        status.rows_copied = rows;
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = rate.0.elapsed();
        if elapsed > Duration::from_millis(500) {
            #[allow(clippy::cast_precision_loss)]
            let now = rows.saturating_sub(rate.1) as f64 / elapsed.as_secs_f64();
            status.rows_per_second = if status.rows_per_second > 0.0 { status.rows_per_second * 0.6 + now * 0.4 } else { now };
            *rate = (Instant::now(), rows);
            let left = status.rows_total.saturating_sub(rows);
            #[allow(clippy::cast_precision_loss)]
            let eta = (status.rows_per_second >= 1.0).then(|| Duration::from_secs_f64((left as f64 / status.rows_per_second).min(1e9)));
            status.eta = eta;
        }
    }

    /// The copy is over: no rate any more, and the total is what was copied.
    pub fn set_copied(&self) {
        let mut status = self.lock();
        (status.rows_per_second, status.eta) = (0.0, None);
        status.rows_total = status.rows_copied;
    }

    /// Shows how far the tail is behind and how much waits to be applied.
    pub fn set_backlog(&self, lag: Duration, pending: usize) {
        let mut status = self.lock();
        status.lag = lag;
        status.pending_keys = pending as u64;
        self.metrics.backlog(status.id, lag, pending);
    }

    /// Adds one cut-over attempt's cost.
    pub fn add_attempt(&self, held: u64, longest: Duration, steps: &str) {
        let mut status = self.lock();
        status.cutover_attempts += 1;
        status.held_statements += held;
        status.longest_stall = status.longest_stall.max(longest);
        status.steps = steps.to_owned();
    }
}

/// The present moment as the server would write it in UTC.
fn now_utc() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Howard Hinnant's civil-from-days, for days after 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:06}", second / 3600, second / 60 % 60, second % 60, since.subsec_micros())
}

/// The options as they are stored once the operator has changed his wishes.
pub fn options_with(options: &Options, wishes: &Wishes) -> Options {
    Options { postpone: wishes.is_postponed, ignore_breaking: wishes.ignores_breaking, ..options.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_is_written_as_the_server_does() {
        let text = now_utc();
        assert_eq!(text.len(), 26, "{text}");
        assert!(text.as_str() > "2025-01-01" && text.as_str() < "2100-01-01", "{text}");
    }
}
