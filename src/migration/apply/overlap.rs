//! Keeps apply off the keys of chunks that are being copied, and chunks off the keys that are being applied. No I/O.
//!
//! Invariant I-E5: what touches a key inside a chunk that is being copied waits until that chunk has committed. A chunk's
//! snapshot may be older than a delete; were the delete applied first, the chunk would bring the row back for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long applying may find all its keys inside chunks before new chunks wait for it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whether a range (first argument) covers a key.
type Covers<R, K> = dyn Fn(&R, &K) -> bool + Send + Sync;

struct Inner<R, K> {
    chunks: Vec<(u64, R)>,
    round: Vec<K>,
    next: u64,
    hungry_since: Option<Instant>,
}

/// The two sides' agreement; cheap to clone.
pub struct Overlap<R, K> {
    inner: Arc<Mutex<Inner<R, K>>>,
    covers: Arc<Covers<R, K>>,
    changed: Arc<Notify>,
}

impl<R, K> Clone for Overlap<R, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), covers: self.covers.clone(), changed: self.changed.clone() }
    }
}

/// A chunk being copied, until [`ChunkGuard::over`]. Dropped without it the chunk has been given up and may still run on the server: its
/// range stays closed, and the run that gave it up is at its end.
#[must_use]
pub struct ChunkGuard<R, K> {
    overlap: Overlap<R, K>,
    id: u64,
}

/// A round being applied; over when dropped.
pub struct RoundGuard<R, K> {
    overlap: Overlap<R, K>,
}

impl<R: Clone, K: Clone> Overlap<R, K> {
    /// `covers` must be true whenever the server might see the key within the range; where the server's order cannot be
    /// told here it is always true, and the two sides take turns.
    pub fn new(covers: impl Fn(&R, &K) -> bool + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner { chunks: Vec::new(), round: Vec::new(), next: 0, hungry_since: None })),
            covers: Arc::new(covers),
            changed: Arc::new(Notify::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R, K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no key of the present round lies in the range, then marks the range as being copied.
    pub async fn begin_chunk(&self, range: R) -> ChunkGuard<R, K> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut inner = self.lock();
                let is_patient = inner.hungry_since.is_none_or(|since| since.elapsed() < PATIENCE);
                if is_patient && !inner.round.iter().any(|key| (self.covers)(&range, key)) {
                    let id = inner.next;
                    inner.next += 1;
                    inner.chunks.push((id, range));
                    return ChunkGuard { overlap: self.clone(), id };
                }
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
        }
    }

    /// Begins a round with the keys that `choose` picks; it is handed the test of what may be picked. `None` where it picks
    /// nothing. Only one round runs at a time.
    pub fn begin_round<T>(
        &self,
        choose: impl FnOnce(&dyn Fn(&K) -> bool) -> Vec<T>,
        key_of: impl Fn(&T) -> K,
    ) -> Option<(Vec<T>, RoundGuard<R, K>)> {
        let mut inner = self.lock();
        let covered = std::cell::Cell::new(false);
        let chosen = {
            let chunks = &inner.chunks;
            let is_free = |key: &K| {
                let inside = chunks.iter().any(|(_, range)| (self.covers)(range, key));
                covered.set(covered.get() || inside);
                !inside
            };
            choose(&is_free)
        };
        if chosen.is_empty() {
            if covered.get() {
                inner.hungry_since.get_or_insert_with(Instant::now);
            } else {
                inner.hungry_since = None;
            }
            return None;
        }
        inner.hungry_since = None;
        inner.round = chosen.iter().map(key_of).collect();
        drop(inner);
        Some((chosen, RoundGuard { overlap: self.clone() }))
    }
}

impl<R, K> ChunkGuard<R, K> {
    /// The server has answered: the chunk is in the shadow, or changed nothing.
    pub fn over(self) {
        self.overlap.inner.lock().unwrap_or_else(PoisonError::into_inner).chunks.retain(|(id, _)| *id != self.id);
        self.overlap.changed.notify_waiters();
    }
}

impl<R, K> Drop for RoundGuard<R, K> {
    fn drop(&mut self) {
        self.overlap.inner.lock().unwrap_or_else(PoisonError::into_inner).round.clear();
        self.overlap.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap() -> Overlap<(u32, u32), u32> {
        Overlap::new(|range: &(u32, u32), key: &u32| range.0 < *key && *key <= range.1)
    }

    fn choose<'a>(keys: &'a [u32]) -> impl FnOnce(&dyn Fn(&u32) -> bool) -> Vec<u32> + 'a {
        move |is_free| keys.iter().copied().filter(|key| is_free(key)).collect()
    }

    #[tokio::test]
    async fn a_key_inside_a_chunk_waits_for_its_commit() {
        let overlap = overlap();
        let chunk = overlap.begin_chunk((10, 20)).await;
        let (chosen, round) = overlap.begin_round(choose(&[5, 15, 25]), |key| *key).unwrap();
        assert_eq!(chosen, [5, 25]);
        drop(round);
        chunk.over();
        assert_eq!(overlap.begin_round(choose(&[15]), |key| *key).unwrap().0, [15]);
    }

    #[tokio::test]
    async fn a_chunk_that_was_given_up_keeps_its_keys() {
        let overlap = overlap();
        drop(overlap.begin_chunk((10, 20)).await);
        assert_eq!(overlap.begin_round(choose(&[5, 15]), |key| *key).unwrap().0, [5]);
    }

    #[tokio::test]
    async fn a_chunk_waits_for_the_round_that_touches_it() {
        let overlap = overlap();
        let (_, round) = overlap.begin_round(choose(&[15]), |key| *key).unwrap();
        let other = overlap.begin_chunk((20, 30)).await;
        let waiting = overlap.clone();
        let chunk = tokio::spawn(async move { waiting.begin_chunk((10, 20)).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!chunk.is_finished());
        drop(round);
        chunk.await.unwrap().over();
        other.over();
    }

    #[tokio::test]
    async fn applying_gets_its_turn_where_everything_seems_covered() {
        let overlap: Overlap<(), u32> = Overlap::new(|(), _| true);
        let first = overlap.begin_chunk(()).await;
        assert!(overlap.begin_round(choose(&[1]), |key| *key).is_none());
        tokio::time::sleep(PATIENCE).await;
        let waiting = overlap.clone();
        let second = tokio::spawn(async move { waiting.begin_chunk(()).await });
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(!second.is_finished(), "new chunks wait once applying is out of patience");
        first.over();
        let (chosen, round) = overlap.begin_round(choose(&[1]), |key| *key).unwrap();
        assert_eq!(chosen, [1]);
        drop(round);
        second.await.unwrap().over();
    }
}
