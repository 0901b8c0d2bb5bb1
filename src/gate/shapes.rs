//! Which statements clients have sent to a table, one of each shape, so that those that the new table would refuse are known
//! before the swap.
//!
//! Invariants: bounded in number and in bytes. Never: shows a value; texts stay here, others see digests.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sql::{digest, shape};

/// Shapes that are remembered; an application has some hundreds at most.
const SHAPES_MAX: usize = 2000;
/// The longest text that is remembered.
const TEXT_MAX: usize = 16 << 10;

/// One statement.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Tells shapes apart.
    pub fingerprint: u64,
    /// The first text of this shape.
    pub text: Arc<[u8]>,
    /// The session's default schema then.
    pub schema: Option<String>,
}

#[derive(Debug)]
struct Seen {
    shape: Shape,
    /// `None` until it was tried; then the server's error on the new table, if there is one.
    verdict: Option<Option<String>>,
}

/// The statements on one table.
#[derive(Debug, Default)]
pub struct Shapes {
    seen: Mutex<HashMap<u64, Seen>>,
}

impl Shapes {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a statement that a client sends.
    pub fn note(&self, text: &[u8], schema: Option<&str>) {
        if text.len() > TEXT_MAX {
            return;
        }
        // The same text means another table in another schema.
        let fingerprint = {
            let mut hasher = DefaultHasher::new();
            (shape::fingerprint(text), schema).hash(&mut hasher);
            hasher.finish()
        };
        let mut seen = self.lock();
        if seen.len() < SHAPES_MAX {
            seen.entry(fingerprint).or_insert_with(|| Seen {
                shape: Shape { fingerprint, text: text.into(), schema: schema.map(str::to_owned) },
                verdict: None,
            });
        }
    }

    /// Those that were not tried yet.
    pub fn untried(&self) -> Vec<Shape> {
        self.lock().values().filter(|seen| seen.verdict.is_none()).map(|seen| seen.shape.clone()).collect()
    }

    /// Notes what the server says of one on the new table.
    pub fn tried(&self, fingerprint: u64, error: Option<String>) {
        if let Some(seen) = self.lock().get_mut(&fingerprint) {
            seen.verdict = Some(error);
        }
    }

    /// Those that the new table would refuse: without their values, with the server's error.
    pub fn breaking(&self) -> Vec<String> {
        let mut breaking: Vec<String> = self
            .lock()
            .values()
            .filter_map(|seen| Some(format!("{}: {}", digest::digest(&seen.shape.text), seen.verdict.as_ref()?.as_ref()?)))
            .collect();
        breaking.sort_unstable();
        breaking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_shape_is_tried_once() {
        let shapes = Shapes::default();
        for number in 0..3 {
            shapes.note(format!("INSERT INTO t VALUES ({number})").as_bytes(), Some("shop"));
        }
        shapes.note(b"SELECT a FROM t", None);
        shapes.note(&vec![b'x'; TEXT_MAX + 1], None);
        let untried = shapes.untried();
        assert_eq!(untried.len(), 2);
        for shape in untried {
            shapes.tried(shape.fingerprint, shape.schema.is_some().then(|| "no".to_owned()));
        }
        assert!(shapes.untried().is_empty());
        assert_eq!(shapes.breaking(), ["INSERT INTO t VALUES (?): no"]);
        shapes.note(b"INSERT INTO t VALUES (5)", Some("shop"));
        assert!(shapes.untried().is_empty());
        shapes.note(b"INSERT INTO t VALUES (5)", Some("elsewhere"));
        assert_eq!(shapes.untried().len(), 1, "another table");
    }

    #[test]
    fn their_number_is_bounded() {
        let shapes = Shapes::default();
        for number in 0..SHAPES_MAX + 10 {
            shapes.note(format!("SELECT a{number} FROM t").as_bytes(), None);
        }
        assert_eq!(shapes.untried().len(), SHAPES_MAX);
    }
}
