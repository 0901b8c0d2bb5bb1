//! Lets copy and comparison go as fast as the application does not notice, and rest while the application, the server or a replica is worse
//! off than the settings allow. Applying never rests.
//!
//! Signals, in the order in which they are looked at: the application's own statements as the proxy sees them, the server's running
//! threads, its history of old row versions, a query of the operator's, the lag of replicas. A limit of 0 leaves a signal out.

use std::time::{Duration, Instant};

use super::job::Job;
use super::site::Site;
use crate::census::latency::{self, Seen, Watch, count, p99_us};
use crate::config::Throttle;
use pace::Pace;
use patience::Patience;
use replica::Replica;
use server::Asked;

mod pace;
mod patience;
mod replica;
mod server;

pub use pace::FASTEST;

/// How often the signals are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How long no chunk begins where it must be seen what statements take without one.
const HUSH: Duration = Duration::from_millis(250);

/// The longest rest after a chunk.
const REST_MOST: Duration = Duration::from_secs(2);

/// Why the copy rests: the name of the signal in the metrics, and words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `latency`, `threads_running`, `history_length`, `query` or `replica_lag`.
    pub signal: &'static str,
    /// What was seen, and the limit.
    pub words: String,
}

/// Looks at the signals until it is dropped, and shows on the board what they ask for. `watch` has seen the time before the copy.
pub async fn run(job: Job, mut watch: Watch) {
    let settings = job.config.throttle.clone();
    if job.options.ignores_throttle {
        return;
    }
    let mut pace = Pace::new(settings.latency_growth_percent, watch.since_last(), Instant::now());
    let mut signals = Signals::new(&job);
    let (mut seen, mut before) = (Seen::default(), Instant::now());
    loop {
        let (now, rested) = (Instant::now(), before.elapsed());
        before = now;
        if settings.latency_growth_percent > 0 {
            let look = pace.look(&seen, now);
            job.board.set_pace(look.percent, look.words, rested);
            if look.wants_hush {
                job.gates.census().latency.hush(HUSH);
                job.board.metrics().throttled_for(job.id, "baseline", HUSH);
            }
        }
        let reason = signals.look(&seen).await;
        job.board.set_throttled(reason, rested);
        tokio::time::sleep(EVERY).await;
        seen = watch.since_last();
    }
}

/// One chunk's turn, which begins when nothing asks for a rest.
#[derive(Debug)]
pub struct Turn {
    began: Instant,
    _chunk: latency::Chunk,
}

impl Turn {
    /// Waits for it.
    pub async fn begin(site: &Site) -> Self {
        site.board.unthrottled().await;
        let chunk = site.gates.census().latency.chunk().await;
        Self { began: Instant::now(), _chunk: chunk }
    }

    /// The chunk is through; rests for as long as the pace wants.
    pub async fn over(self, site: &Site) {
        let took = self.began.elapsed();
        drop(self);
        let percent = f64::from(site.board.pace().max(1));
        let rest = took.mul_f64((f64::from(FASTEST) - percent).max(0.0) / percent);
        if !rest.is_zero() {
            tokio::time::sleep(rest.min(REST_MOST)).await;
        }
    }
}

/// The limits of `[throttle]`, held against what is seen.
pub struct Signals {
    settings: Throttle,
    patience: Patience,
    server: Asked,
    replicas: Vec<Replica>,
}

impl Signals {
    /// Nothing is asked yet.
    pub fn new(site: &Site) -> Self {
        let settings = site.config.throttle.clone();
        Self {
            patience: Patience::new(crate::failpoints::value("throttle.patience").map(Duration::from_millis)),
            server: Asked::new(site.server.clone()),
            replicas: settings.replicas().map(|address| Replica::new(site.server.at(address), site.facts.is_mariadb)).collect(),
            settings,
        }
    }

    /// The first that is exceeded, given the statements that were answered since the last look.
    pub async fn look(&mut self, seen: &Seen) -> Option<Reason> {
        let (limit_ms, all) = (self.settings.latency_ms, seen.all());
        let slowest_us = p99_us(&all).filter(|time| limit_ms > 0 && *time > limit_ms * 1000);
        if self.patience.allows(slowest_us.is_some(), Instant::now()) {
            #[allow(clippy::cast_precision_loss)]
            let slowest_ms = slowest_us.unwrap_or(0) as f64 / 1e3;
            let words = format!("one in a hundred of {} statements took {slowest_ms:.1} ms or longer, more than {limit_ms}", count(&all));
            return Some(Reason { signal: "latency", words });
        }
        if let Some(reason) = self.server.complaint(&self.settings).await {
            return Some(reason);
        }
        for replica in &mut self.replicas {
            if let Some(words) = replica.complaint(self.settings.replica_lag_s).await {
                return Some(Reason { signal: "replica_lag", words });
            }
        }
        None
    }
}
