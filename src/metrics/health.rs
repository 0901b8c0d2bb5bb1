//! What /ready goes by: is the listener up, was the server reached lately.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A server that was not reached for so long is no longer taken as reachable.
const LATELY: Duration = Duration::from_secs(15);

/// Shared by whoever knows something about it; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    is_listening: bool,
    reached: Option<Instant>,
    lost: Option<String>,
}

/// Why the proxy should get no new clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Before the listener is bound, and after the shutdown has begun.
    #[error("the proxy is not listening: it starts or shuts down")]
    NotListening,
    /// The probe failed.
    #[error("the server cannot be reached: {0}")]
    Lost(String),
    /// Nobody has reached it lately.
    #[error("the server has not been reached lately; see the log")]
    NotReached,
}

impl Health {
    /// The listener is bound, or no longer takes new clients.
    pub fn set_listening(&self, is_listening: bool) {
        self.lock().is_listening = is_listening;
    }

    /// The server answered.
    pub fn upstream_reached(&self) {
        let mut inner = self.lock();
        inner.reached = Some(Instant::now());
        inner.lost = None;
    }

    /// The server did not answer, in words without secrets.
    pub fn upstream_lost(&self, reason: String) {
        self.lock().lost = Some(reason);
    }

    /// Whether new clients should come.
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub fn ready(&self) -> Result<(), NotReady> {
        self.ready_at(Instant::now())
    }

    fn ready_at(&self, now: Instant) -> Result<(), NotReady> {
        let inner = self.lock();
        if !inner.is_listening {
            return Err(NotReady::NotListening);
        }
        if let Some(reason) = &inner.lost {
            return Err(NotReady::Lost(reason.clone()));
        }
        match inner.reached {
            Some(at) if now.saturating_duration_since(at) < LATELY => Ok(()),
            _ => Err(NotReady::NotReached),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_a_listener_and_a_server_that_answered_lately() {
        let health = Health::default();
        assert_eq!(health.ready(), Err(NotReady::NotListening));
        health.set_listening(true);
        assert_eq!(health.ready(), Err(NotReady::NotReached));
        health.upstream_reached();
        assert_eq!(health.ready(), Ok(()));
        assert_eq!(health.ready_at(Instant::now() + LATELY), Err(NotReady::NotReached));
        health.upstream_lost("refused".into());
        assert_eq!(health.ready(), Err(NotReady::Lost("refused".into())));
        health.upstream_reached();
        assert_eq!(health.ready(), Ok(()));
        health.set_listening(false);
        assert_eq!(health.ready(), Err(NotReady::NotListening));
    }
}
