//! How many of the clients' statements take the server longer than a limit, while somebody asks.
//!
//! Owns: two counters that every session adds to. While nobody asks, a statement costs one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The counters.
#[derive(Debug, Default)]
pub struct Latency {
    watchers: AtomicUsize,
    limit_us: AtomicU64,
    answered: AtomicU64,
    slow: AtomicU64,
}

/// Statements answered since somebody began to ask, and those of them that took longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// All of them.
    pub all: u64,
    /// Those above the limit.
    pub slow: u64,
}

impl Latency {
    /// Somebody asks.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// A statement's time from being sent to the server to the end of the answer.
    pub fn answered(&self, time_us: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if time_us > self.limit_us.load(Ordering::Relaxed) {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins to ask. The limit is one for all who do: it is a setting of the proxy.
    pub fn watch(self: &Arc<Self>, limit: Duration) -> Watch {
        self.limit_us.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let mut watch = Watch { latency: self.clone(), before: Answered::default() };
        watch.since_last();
        watch
    }
}

/// Somebody who asks, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    latency: Arc<Latency>,
    before: Answered,
}

impl Watch {
    /// What was answered since the last call.
    pub fn since_last(&mut self) -> Answered {
        let now = Answered { all: self.latency.answered.load(Ordering::Relaxed), slow: self.latency.slow.load(Ordering::Relaxed) };
        let before = std::mem::replace(&mut self.before, now);
        Answered { all: now.all.saturating_sub(before.all), slow: now.slow.saturating_sub(before.slow) }
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

    #[test]
    fn slow_statements_are_counted_for_each_who_asks() {
        let latency = Arc::new(Latency::default());
        assert!(!latency.is_watched());
        let mut one = latency.watch(Duration::from_millis(2));
        latency.answered(1999);
        latency.answered(2001);
        let mut other = latency.watch(Duration::from_millis(2));
        latency.answered(3000);
        assert_eq!(one.since_last(), Answered { all: 3, slow: 2 });
        assert_eq!(one.since_last(), Answered::default());
        assert_eq!(other.since_last(), Answered { all: 1, slow: 1 });
        drop(one);
        assert!(latency.is_watched());
        drop(other);
        assert!(!latency.is_watched());
    }
}
