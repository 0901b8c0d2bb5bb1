//! How long slow statements are believed to be the copy's doing.

use std::time::{Duration, Instant};

/// A rest that has not helped after so long was for nothing: somebody else makes statements slow. For as long again they are not looked at.
const LIMIT: Duration = Duration::from_secs(10);

/// How long slow statements are believed to be the copy's doing.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    since: Option<Instant>,
    ignored_until: Option<Instant>,
}

impl Patience {
    /// With the usual limit, or another.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit: limit.unwrap_or(LIMIT), since: None, ignored_until: None }
    }

    /// Whether the copy shall rest, given what is seen now.
    pub fn allows(&mut self, is_slow: bool, now: Instant) -> bool {
        if self.ignored_until.is_some_and(|until| now < until) {
            return false;
        }
        if !is_slow {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < self.limit {
            return true;
        }
        (self.since, self.ignored_until) = (None, Some(now + self.limit));
        tracing::info!("the application's statements stay slow although the copy rests; it goes on");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_that_does_not_help_ends_and_is_not_tried_at_once_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience { limit: Duration::from_secs(10), since: None, ignored_until: None };
        assert!(!patience.allows(false, at(0)));
        assert!(patience.allows(true, at(1)));
        assert!(!patience.allows(false, at(5)), "it has helped");
        assert!(patience.allows(true, at(6)));
        assert!(patience.allows(true, at(15)));
        assert!(!patience.allows(true, at(16)), "it has not helped");
        assert!(!patience.allows(true, at(25)));
        assert!(patience.allows(true, at(26)));
    }
}
