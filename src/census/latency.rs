//! How long the clients' statements take the server, beside the engine's reading of tables and without it, while somebody asks.
//!
//! Owns: two histograms that every session adds to, and the count of the engine's chunks that run now. While nobody asks, a statement costs
//! one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use histogram::Histogram;
use histogram::{AtomicHistogram, Config};

/// Times in microseconds up to 19 hours, each known to three in a hundred.
const SHAPE: Config = match Config::new(5, 36) {
    Ok(shape) => shape,
    Err(_) => panic!("the shape of a histogram"),
};
const LONGEST_US: u64 = (1 << 36) - 1;

/// What is measured of all sessions together.
pub struct Latency {
    epoch: Instant,
    watchers: AtomicUsize,
    /// Chunks that run.
    chunks: AtomicUsize,
    /// When the last chunk ended.
    quiet_since_us: AtomicU64,
    /// Until when no chunk begins.
    hushed_until_us: AtomicU64,
    quiet: AtomicHistogram,
    beside: AtomicHistogram,
}

impl Latency {
    /// Nobody asks, and no chunk runs. `epoch`: where the sessions' clocks begin.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            watchers: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            quiet_since_us: AtomicU64::new(0),
            hushed_until_us: AtomicU64::new(0),
            quiet: AtomicHistogram::with_config(&SHAPE),
            beside: AtomicHistogram::with_config(&SHAPE),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Somebody asks.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// A statement is answered to the end. `sent_us`: when it was sent to the server, in microseconds since the epoch.
    pub fn answered(&self, sent_us: u64) {
        let is_quiet = self.chunks.load(Ordering::Acquire) == 0 && sent_us >= self.quiet_since_us.load(Ordering::Acquire);
        let times = if is_quiet { &self.quiet } else { &self.beside };
        // It refuses only what is longer than the longest.
        drop(times.increment(self.now_us().saturating_sub(sent_us).min(LONGEST_US)));
    }

    /// Begins to ask.
    pub fn watch(self: &Arc<Self>) -> Watch {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watch { latency: self.clone(), before: Seen { quiet: self.quiet.load(), beside: self.beside.load() } }
    }

    /// No chunk of any migration begins for so long, so that it is seen what statements take without one.
    pub fn hush(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.hushed_until_us.fetch_max(self.now_us().saturating_add(time), Ordering::Relaxed);
    }

    /// The engine is about to read a part of a table; waits while there is a hush.
    pub async fn chunk(self: &Arc<Self>) -> Chunk {
        loop {
            let left = self.hushed_until_us.load(Ordering::Relaxed).saturating_sub(self.now_us());
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
        self.chunks.fetch_add(1, Ordering::Release);
        Chunk(self.clone())
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Latency").field("watchers", &self.watchers).field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// While it lives, what clients send is beside the engine's work.
#[derive(Debug)]
pub struct Chunk(Arc<Latency>);

impl Drop for Chunk {
    fn drop(&mut self) {
        self.0.quiet_since_us.fetch_max(self.0.now_us(), Ordering::Release);
        self.0.chunks.fetch_sub(1, Ordering::Release);
    }
}

/// How long statements took, in microseconds.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Those during which no chunk ran.
    pub quiet: Histogram,
    /// The others.
    pub beside: Histogram,
}

impl Default for Seen {
    fn default() -> Self {
        Self { quiet: Histogram::with_config(&SHAPE), beside: Histogram::with_config(&SHAPE) }
    }
}

impl Seen {
    /// All of them.
    pub fn all(&self) -> Histogram {
        sum(&self.quiet, &self.beside)
    }

    /// Adds what was seen later.
    pub fn add(&mut self, later: &Self) {
        (self.quiet, self.beside) = (sum(&self.quiet, &later.quiet), sum(&self.beside, &later.beside));
    }
}

/// Of two of the same shape.
fn sum(one: &Histogram, other: &Histogram) -> Histogram {
    one.wrapping_add(other).unwrap_or_else(|_| one.clone())
}

/// How many there are.
pub fn count(times: &Histogram) -> u64 {
    times.as_slice().iter().sum()
}

/// Ninety-nine in a hundred took no longer, in microseconds; `None` of nothing.
pub fn p99_us(times: &Histogram) -> Option<u64> {
    times.quantile_bucket(0.99).ok().flatten().map(|bucket| bucket.end())
}

/// Somebody who asks, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    latency: Arc<Latency>,
    before: Seen,
}

impl Watch {
    /// What was answered since the last call.
    pub fn since_last(&mut self) -> Seen {
        let now = Seen { quiet: self.latency.quiet.load(), beside: self.latency.beside.load() };
        let since = |now: &Histogram, before: &Histogram| now.wrapping_sub(before).unwrap_or_else(|_| now.clone());
        let seen = Seen { quiet: since(&now.quiet, &self.before.quiet), beside: since(&now.beside, &self.before.beside) };
        self.before = now;
        seen
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.latency.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seen: &Seen) -> (u64, u64) {
        (count(&seen.quiet), count(&seen.beside))
    }

    #[tokio::test]
    async fn statements_beside_a_chunk_are_told_from_the_others_for_each_who_asks() {
        let latency = Arc::new(Latency::new(Instant::now()));
        assert!(!latency.is_watched());
        let mut one = latency.watch();
        latency.answered(latency.now_us());
        let chunk = latency.chunk().await;
        let mut other = latency.watch();
        let sent_beside = latency.now_us();
        latency.answered(sent_beside);
        tokio::time::sleep(Duration::from_millis(2)).await;
        drop(chunk);
        latency.answered(sent_beside);
        latency.answered(latency.now_us());
        assert_eq!(counts(&one.since_last()), (2, 2));
        assert_eq!(counts(&one.since_last()), (0, 0));
        assert_eq!(counts(&other.since_last()), (1, 2));
        drop(one);
        assert!(latency.is_watched());
        drop(other);
        assert!(!latency.is_watched());
    }

    #[tokio::test]
    async fn no_chunk_begins_in_a_hush() {
        let latency = Arc::new(Latency::new(Instant::now()));
        latency.hush(Duration::from_millis(30));
        let until = latency.hushed_until_us.load(Ordering::Relaxed);
        let _chunk = latency.chunk().await;
        assert!(latency.now_us() >= until);
    }

    #[test]
    fn the_ninety_ninth_of_a_hundred_is_found_to_three_in_a_hundred() {
        let mut times = Seen::default();
        assert_eq!(p99_us(&times.all()), None);
        for time in 1..=99 {
            times.quiet.increment(time).expect("within the shape");
        }
        times.beside.increment(1_000_000).expect("within the shape");
        assert!(p99_us(&times.all()).is_some_and(|time| (99..=101).contains(&time)), "{:?}", p99_us(&times.all()));
        times.beside.increment(1_000_000).expect("within the shape");
        assert!(p99_us(&times.all()).is_some_and(|time| (1_000_000..=1_040_000).contains(&time)), "{:?}", p99_us(&times.all()));
        assert_eq!(count(&times.all()), 101);
    }
}
