//! Keys that the binary log has mentioned and that are not yet known to be right in the shadow. No I/O.
//!
//! Owns: for each key the last thing said of it, and the place in the log from which it must be read again after a crash.
//! Invariants: I-E2 (a key leaves only when it was settled as it was last mentioned), I-E6 ([`Pending::safe_position`] is
//! never ahead of a key that is not settled).

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::upstream::Position;

/// What the log says of a key; it matters only where the source has no such row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Inserted or updated: the row is there, or will be visible soon.
    Upsert,
    /// Deleted, or moved to another key.
    Delete,
}

/// A key taken for one round of applying.
#[derive(Clone, Debug)]
pub struct Taken<K> {
    /// The key.
    pub key: K,
    /// What was last said of it when it was taken.
    pub op: Op,
    /// The row under this key is not the one that was there before: it was inserted, or came from another key.
    pub is_new: bool,
    stamp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    InRound,
}

#[derive(Debug)]
struct Entry {
    op: Op,
    is_new: bool,
    stamp: u64,
    from: Position,
    place: Place,
}

#[derive(Debug)]
struct Inner<K> {
    entries: HashMap<K, Entry>,
    queue: VecDeque<K>,
    stamps: u64,
    /// Keys that verify looks at: for each the number of the event that touched it last. Kept while anybody watches.
    watched: HashMap<K, u64>,
    watchers: usize,
    /// Rows that have gone from one key to another.
    moved: u64,
}

/// The map of pending keys; shared by the tail (notes), the copy (notes what a chunk could not place), apply (takes and
/// settles) and verify (watches).
#[derive(Debug)]
pub struct Pending<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
    most: usize,
}

impl<K: Eq + Hash + Clone> Pending<K> {
    /// An empty map that asks for a pause when it holds `most` keys.
    pub fn new(most: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), queue: VecDeque::new(), stamps: 0, watched: HashMap::new(), watchers: 0, moved: 0 };
        Self { inner: Mutex::new(inner), changed: Notify::new(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the log says of a key; the last one wins. `from` is where the transaction that says so begins.
    pub fn note(&self, key: K, op: Op, from: &Position) {
        self.note_as(key, op, false, from);
    }

    /// Notes that a row was inserted, or moved, to a key.
    pub fn note_new(&self, key: K, from: &Position) {
        self.note_as(key, Op::Upsert, true, from);
    }

    /// Notes that a row has gone from one key to another.
    pub fn note_moved(&self, before: K, after: K, from: &Position) {
        self.lock().moved += 1;
        self.note(before, Op::Delete, from);
        self.note_new(after, from);
    }

    /// How often [`Pending::note_moved`] was said.
    pub fn moved(&self) -> u64 {
        self.lock().moved
    }

    fn note_as(&self, key: K, op: Op, is_new: bool, from: &Position) {
        let mut inner = self.lock();
        inner.stamps += 1;
        let stamp = inner.stamps;
        if inner.watchers > 0 {
            inner.watched.insert(key.clone(), stamp);
        }
        match inner.entries.get_mut(&key) {
            // The first mention stays as the place to read again from.
            Some(entry) => (entry.op, entry.stamp, entry.is_new) = (op, stamp, entry.is_new || is_new),
            None => {
                inner.entries.insert(key.clone(), Entry { op, is_new, stamp, from: from.clone(), place: Place::Queued });
                inner.queue.push_back(key);
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Takes up to `count` keys that `may_take` allows, oldest first. Each must come back by [`Pending::settle`] or
    /// [`Pending::put_back`].
    pub fn take(&self, count: usize, may_take: impl Fn(&K) -> bool) -> Vec<Taken<K>> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        let mut looks = inner.queue.len().min(count.saturating_mul(8));
        while looks > 0 && taken.len() < count {
            looks -= 1;
            let Some(key) = inner.queue.pop_front() else { break };
            if !may_take(&key) {
                left.push(key);
                continue;
            }
            if let Some(entry) = inner.entries.get_mut(&key) {
                entry.place = Place::InRound;
                taken.push(Taken { key, op: entry.op, is_new: entry.is_new, stamp: entry.stamp });
            }
        }
        inner.queue.extend(left);
        taken
    }

    /// The key is right in the shadow as it was when it was taken; it leaves unless the log has mentioned it since.
    pub fn settle(&self, taken: &Taken<K>) {
        let mut inner = self.lock();
        match inner.entries.get_mut(&taken.key) {
            Some(entry) if entry.stamp == taken.stamp => {
                inner.entries.remove(&taken.key);
            }
            Some(entry) => {
                entry.place = Place::Queued;
                inner.queue.push_back(taken.key.clone());
            }
            None => {}
        }
    }

    /// The key could not be settled; it waits for another round.
    pub fn put_back(&self, taken: &Taken<K>) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(&taken.key)
            && entry.place == Place::InRound
        {
            entry.place = Place::Queued;
            inner.queue.push_back(taken.key.clone());
        }
    }

    /// Keys pending, those in a round included.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one key is pending.
    pub fn contains(&self, key: &K) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// The tail should pause.
    pub fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    /// Where a process that starts again must read from: `reached`, or earlier if a key from there is not settled (I-E6).
    pub fn safe_position(&self, reached: &Position) -> Position {
        let inner = self.lock();
        inner.entries.values().map(|entry| &entry.from).chain(std::iter::once(reached)).min().unwrap_or(reached).clone()
    }

    /// Some of the keys that wait, without taking them.
    pub fn some(&self, count: usize) -> Vec<K> {
        self.lock().queue.iter().take(count).cloned().collect()
    }

    /// Begins to notice which keys events touch; a key that is pending counts as touched.
    pub fn watch(&self, keys: impl IntoIterator<Item = K>) -> Watch<'_, K> {
        let mut inner = self.lock();
        inner.watchers += 1;
        let since = inner.stamps;
        let pending = keys.into_iter().filter(|key| inner.entries.contains_key(key)).collect();
        Watch { map: self, since, pending }
    }

    /// Resolves after the next note.
    pub async fn noted_again(&self) {
        self.changed.notified().await;
    }
}

/// Notices which keys are touched while it lives.
#[derive(Debug)]
pub struct Watch<'a, K: Eq + Hash + Clone> {
    map: &'a Pending<K>,
    since: u64,
    pending: HashSet<K>,
}

impl<K: Eq + Hash + Clone> Watch<'_, K> {
    /// Whether an event has touched a key since the watch began, or had before and was not yet applied.
    pub fn was_touched(&self, key: &K) -> bool {
        self.pending.contains(key) || self.map.lock().watched.get(key).is_some_and(|stamp| *stamp > self.since)
    }
}

impl<K: Eq + Hash + Clone> Drop for Watch<'_, K> {
    fn drop(&mut self) {
        let mut inner = self.map.lock();
        inner.watchers -= 1;
        if inner.watchers == 0 {
            inner.watched.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position::new("binlog.000001", offset).unwrap()
    }

    fn pending() -> Pending<u32> {
        Pending::new(100)
    }

    #[test]
    fn the_last_mention_wins_and_costs_one_write() {
        let pending = pending();
        for _ in 0..1000 {
            pending.note(7, Op::Upsert, &at(10));
        }
        pending.note(7, Op::Delete, &at(20));
        let taken = pending.take(10, |_| true);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].op, Op::Delete);
        pending.settle(&taken[0]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_key_that_is_mentioned_during_its_round_stays() {
        let pending = pending();
        pending.note(7, Op::Upsert, &at(10));
        let taken = pending.take(10, |_| true);
        pending.note(7, Op::Delete, &at(20));
        assert!(pending.take(10, |_| true).is_empty(), "never in two rounds at once");
        pending.settle(&taken[0]);
        let again = pending.take(10, |_| true);
        assert_eq!((again[0].key, again[0].op), (7, Op::Delete));
        pending.settle(&again[0]);
        assert!(pending.is_empty());
    }

    #[test]
    fn the_safe_position_is_that_of_the_oldest_unsettled_key() {
        let pending = pending();
        pending.note(1, Op::Upsert, &at(10));
        pending.note(2, Op::Upsert, &at(20));
        pending.note(1, Op::Upsert, &at(30));
        assert_eq!(pending.safe_position(&at(40)), at(10));
        let taken = pending.take(1, |key| *key == 1);
        assert_eq!(pending.safe_position(&at(40)), at(10), "a key in a round is not settled");
        pending.settle(&taken[0]);
        assert_eq!(pending.safe_position(&at(40)), at(20));
        let taken = pending.take(1, |_| true);
        pending.put_back(&taken[0]);
        assert_eq!(pending.safe_position(&at(40)), at(20));
        pending.settle(&pending.take(1, |_| true)[0]);
        assert_eq!(pending.safe_position(&at(40)), at(40));
    }

    #[test]
    fn keys_that_may_not_be_taken_wait_behind_the_others() {
        let pending = pending();
        for key in 0..4 {
            pending.note(key, Op::Upsert, &at(10));
        }
        let taken: Vec<_> = pending.take(10, |key| key % 2 == 0).into_iter().map(|taken| taken.key).collect();
        assert_eq!(taken, [0, 2]);
        let taken: Vec<_> = pending.take(10, |_| true).into_iter().map(|taken| taken.key).collect();
        assert_eq!(taken, [1, 3]);
    }

    #[test]
    fn a_watched_key_tells_whether_it_was_touched() {
        let pending = pending();
        pending.note(1, Op::Upsert, &at(10));
        let early = pending.watch([1, 2, 3]);
        pending.note(3, Op::Delete, &at(20));
        let late = pending.watch([2]);
        assert!(early.was_touched(&1), "pending when the watch began");
        assert!(!early.was_touched(&2));
        assert!(early.was_touched(&3));
        assert!(!late.was_touched(&3), "touched before this watch began, and not asked about");
        pending.note(2, Op::Upsert, &at(30));
        assert!(early.was_touched(&2) && late.was_touched(&2));
    }

    proptest::proptest! {
        /// Against a model: whatever happens, a key is pending if and only if it was noted after it was last settled whole.
        #[test]
        fn nothing_noted_is_ever_lost(steps in proptest::collection::vec((0u32..6, 0u8..4), 1..200)) {
            let pending = Pending::new(1000);
            let mut model: HashMap<u32, Op> = HashMap::new();
            let mut rounds: Vec<(Taken<u32>, bool)> = Vec::new();
            for (key, action) in steps {
                match action {
                    0 | 1 => {
                        let op = if action == 0 { Op::Upsert } else { Op::Delete };
                        pending.note(key, op, &at(1));
                        model.insert(key, op);
                        for (taken, stale) in &mut rounds {
                            *stale |= taken.key == key;
                        }
                    }
                    2 => rounds.extend(pending.take(2, |_| true).into_iter().map(|taken| (taken, false))),
                    _ => {
                        if let Some((taken, stale)) = rounds.pop() {
                            pending.settle(&taken);
                            if !stale {
                                model.remove(&taken.key);
                            }
                        }
                    }
                }
                proptest::prop_assert_eq!(pending.len(), model.len());
            }
            for (taken, _) in rounds {
                pending.put_back(&taken);
            }
            let mut left: Vec<_> = pending.take(1000, |_| true).into_iter().map(|taken| (taken.key, taken.op)).collect();
            left.sort_by_key(|(key, _)| *key);
            let mut expected: Vec<_> = model.into_iter().collect();
            expected.sort_by_key(|(key, _)| *key);
            proptest::prop_assert_eq!(left, expected);
        }
    }
}
