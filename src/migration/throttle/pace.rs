//! How much of the time a migration may read tables in, by what clients' statements take beside its chunks and without them.
//!
//! It has no clock and asks nobody: it is shown what was seen, and says the pace.

use std::time::{Duration, Instant};

use crate::census::latency::{Histogram, Seen, count, p99_us};

/// Of a hundred parts of the time, those in which a chunk may run.
pub const FASTEST: u8 = 100;
const SLOWEST: u8 = 10;

/// Tenths of the pace that are taken off where statements take too long, and the part of a hundred that is added where they do not.
const BRAKE: u8 = 3;
const STEP: u8 = 10;

/// Fewer statements say nothing about the slowest in a hundred.
const ENOUGH: u64 = 100;

/// So much more than without a chunk nobody notices, however short it was.
const SLACK_US: f64 = 5_000.0;

/// Where fewer than [`ENOUGH`] statements come in so long, hardly anybody is there to be hindered.
const STALE: Duration = Duration::from_secs(5);

/// How old the time without chunks may become; where it is not known yet, how soon it is asked for again.
const HUSH_EVERY: Duration = Duration::from_secs(10);
const HUSH_AGAIN: Duration = Duration::from_secs(2);

/// What a new time without chunks weighs against those before.
const WEIGHT: f64 = 0.3;

/// What a look leads to.
#[derive(Debug, PartialEq)]
pub struct Look {
    /// Of a hundred parts of the time, those in which chunks may run.
    pub percent: u8,
    /// Why not in all of them; empty where they may.
    pub words: String,
    /// It must be seen again what statements take without a chunk.
    pub wants_hush: bool,
}

/// The pace of one migration.
#[derive(Debug)]
pub struct Pace {
    growth_percent: u64,
    percent: u8,
    words: String,
    seen: Seen,
    judged: Instant,
    /// Ninety-nine in a hundred statements without a chunk took no longer, in microseconds; older ones weigh less.
    without_us: Option<f64>,
    /// When that was found, or last asked for.
    heard: Option<Instant>,
}

impl Pace {
    /// At its fastest. `growth_percent`: how much longer statements may take beside a chunk; `before`: what was seen before the first one.
    pub fn new(growth_percent: u64, before: Seen, now: Instant) -> Self {
        let seen = Seen { quiet: before.quiet, ..Seen::default() };
        let mut pace = Self { growth_percent, percent: FASTEST, words: String::new(), seen, judged: now, without_us: None, heard: None };
        pace.listen(now);
        pace
    }

    /// Takes in what was answered since the last look.
    pub fn look(&mut self, seen: &Seen, now: Instant) -> Look {
        self.seen.add(seen);
        self.listen(now);
        let is_somebody_there = count(&self.seen.beside) > 0;
        self.judge(now);
        let every = if self.without_us.is_some() { HUSH_EVERY } else { HUSH_AGAIN };
        let is_due = self.heard.is_none_or(|heard| now.duration_since(heard) >= every);
        let wants_hush = is_somebody_there && is_due;
        if wants_hush {
            self.heard = Some(now);
        }
        Look { percent: self.percent, words: self.words.clone(), wants_hush }
    }

    /// What statements take without a chunk.
    fn listen(&mut self, now: Instant) {
        let Some(time) = enough(&mut self.seen.quiet).and_then(|times| p99_us(&times)) else { return };
        #[allow(clippy::cast_precision_loss)]
        let time = time as f64;
        self.without_us = Some(self.without_us.map_or(time, |before| before + (time - before) * WEIGHT));
        self.heard = Some(now);
    }

    /// What they take beside one, and what it leads to.
    fn judge(&mut self, now: Instant) {
        let Some(beside) = enough(&mut self.seen.beside) else {
            if now.duration_since(self.judged) >= STALE {
                (self.seen.beside, self.judged) = (Seen::default().beside, now);
                self.faster();
            }
            return;
        };
        self.judged = now;
        let (Some(beside_us), Some(without_us)) = (p99_us(&beside), self.without_us) else { return };
        #[allow(clippy::cast_precision_loss)]
        let (time, growth) = (beside_us as f64, self.growth_percent as f64 / 100.0);
        let limit = without_us * (1.0 + growth) + SLACK_US;
        if time <= limit {
            return self.faster();
        }
        self.percent = (self.percent - self.percent.div_ceil(10) * BRAKE).max(SLOWEST);
        self.words = format!(
            "one in a hundred statements takes {:.1} ms or longer beside the copy, {:.1} ms without it, and {:.1} are allowed",
            time / 1e3,
            without_us / 1e3,
            limit / 1e3
        );
    }

    fn faster(&mut self) {
        self.percent = self.percent.saturating_add(STEP).min(FASTEST);
        if self.percent == FASTEST {
            self.words.clear();
        }
    }
}

/// Takes the times, where there are enough to be judged.
fn enough(times: &mut Histogram) -> Option<Histogram> {
    (count(times) >= ENOUGH).then(|| std::mem::replace(times, Seen::default().quiet))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many statements without a chunk and beside one, each of so many milliseconds.
    fn seen((quiet, quiet_ms): (u64, u64), (beside, beside_ms): (u64, u64)) -> Seen {
        let mut seen = Seen::default();
        seen.quiet.add(quiet_ms * 1000, quiet).expect("within the shape");
        seen.beside.add(beside_ms * 1000, beside).expect("within the shape");
        seen
    }

    const NOBODY: (u64, u64) = (0, 1);

    #[test]
    fn it_slows_down_step_by_step_and_never_stands_still() {
        let now = Instant::now();
        let mut pace = Pace::new(100, seen((200, 10), NOBODY), now);
        let mut percents = Vec::new();
        for _ in 0..8 {
            percents.push(pace.look(&seen(NOBODY, (200, 40)), now).percent);
        }
        assert_eq!(percents, [70, 49, 34, 22, 13, 10, 10, 10]);
        let words = pace.look(&Seen::default(), now).words;
        assert!(words.contains("41.0 ms") && words.contains("10.2 ms"), "{words}");
    }

    #[test]
    fn it_goes_on_as_before_when_statements_do() {
        let now = Instant::now();
        let mut pace = Pace::new(100, seen((200, 10), NOBODY), now);
        for _ in 0..3 {
            pace.look(&seen(NOBODY, (200, 40)), now);
        }
        let percents: Vec<u8> = (0..7).map(|_| pace.look(&seen(NOBODY, (200, 20)), now).percent).collect();
        assert_eq!(percents, [44, 54, 64, 74, 84, 94, 100]);
        assert_eq!(pace.look(&Seen::default(), now).words, "");
    }

    #[test]
    fn what_nobody_notices_slows_nothing_down() {
        let now = Instant::now();
        let mut pace = Pace::new(100, seen((200, 1), NOBODY), now);
        assert_eq!(pace.look(&seen(NOBODY, (200, 6)), now).percent, FASTEST);
        assert_eq!(pace.look(&seen(NOBODY, (200, 8)), now).percent, 70);
    }

    #[test]
    fn statements_that_are_slow_without_it_as_well_allow_more() {
        let now = Instant::now();
        let mut pace = Pace::new(100, seen((200, 1), NOBODY), now);
        assert_eq!(pace.look(&seen(NOBODY, (200, 100)), now).percent, 70);
        for _ in 0..20 {
            pace.look(&seen((200, 100), NOBODY), now);
        }
        assert_eq!(pace.look(&seen(NOBODY, (200, 100)), now).percent, 80);
    }

    #[test]
    fn few_statements_are_not_judged_and_nobody_is_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new(100, seen((200, 1), NOBODY), start);
        assert_eq!(pace.look(&seen(NOBODY, (60, 100)), start).percent, FASTEST);
        assert_eq!(pace.look(&seen(NOBODY, (60, 100)), start).percent, 70, "together they are enough");
        assert_eq!(pace.look(&seen(NOBODY, (60, 100)), start).percent, 70);
        assert_eq!(pace.look(&Seen::default(), start + STALE).percent, 80);
        assert_eq!(pace.look(&seen(NOBODY, (60, 100)), start + STALE).percent, 80, "what is old does not count");
    }

    #[test]
    fn it_asks_for_a_hush_where_it_does_not_know_and_somebody_is_there() {
        let start = Instant::now();
        let mut pace = Pace::new(100, Seen::default(), start);
        assert!(!pace.look(&Seen::default(), start).wants_hush);
        let look = pace.look(&seen(NOBODY, (200, 100)), start);
        assert!(look.wants_hush && look.percent == FASTEST, "nothing is known to be too long: {look:?}");
        assert!(!pace.look(&seen((10, 1), (10, 1)), start).wants_hush);
        assert!(pace.look(&seen((10, 1), (10, 1)), start + HUSH_AGAIN).wants_hush);
        let start = start + HUSH_AGAIN;
        assert!(!pace.look(&seen((100, 1), (10, 1)), start).wants_hush);
        assert!(!pace.look(&seen(NOBODY, (10, 1)), start + HUSH_EVERY / 2).wants_hush);
        assert!(pace.look(&seen(NOBODY, (10, 1)), start + HUSH_EVERY).wants_hush);
        assert!(!pace.look(&seen(NOBODY, (10, 1)), start + HUSH_EVERY).wants_hush);
    }
}
