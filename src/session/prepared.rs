//! The texts of a session's prepared statements: prepared before a migration, they are executed during it.
//!
//! Invariants: I-P2 (bounded; what does not fit is judged as unknown).

use std::collections::HashMap;
use std::sync::Arc;

use crate::gate::{Verdict, Watch};
use crate::wire::command::LAST_PREPARED;

use super::notes::{self, Note};

/// The longest text that is remembered.
pub(super) const TEXT_MAX: usize = 64 << 10;
/// All texts of one session.
const TOTAL_MAX: usize = 4 << 20;

#[derive(Debug)]
struct Remembered {
    text: Arc<[u8]>,
    note: Note,
    verdict: Option<(u64, Verdict)>,
    /// The gates' generation at which its text was last told to them.
    told: u64,
    /// Whether its first execution asked for a cursor; `None` before that.
    began_with_cursor: Option<bool>,
}

/// The statements of one session by their ids.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    statements: HashMap<u32, Remembered>,
    last: Option<Arc<[u8]>>,
    total: usize,
}

impl Prepared {
    /// Notes the text of a COM_STMT_PREPARE that goes to the server; `None` where it is too long to remember.
    pub(super) fn sent(&mut self, text: Option<Arc<[u8]>>) {
        self.last = text;
    }

    /// Notes the id that the server gave to a text.
    pub(super) fn insert(&mut self, id: u32, text: Arc<[u8]>) {
        self.remove(id);
        if self.total + text.len() <= TOTAL_MAX {
            self.total += text.len();
            let remembered = Remembered { note: notes::read(&text), text, verdict: None, told: 0, began_with_cursor: None };
            self.statements.insert(id, remembered);
        }
    }

    /// Forgets a statement: COM_STMT_CLOSE.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(gone) = self.statements.remove(&id) {
            self.total -= gone.text.len();
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The text of a statement.
    pub(super) fn text(&self, id: u32) -> Option<Arc<[u8]>> {
        if id == LAST_PREPARED { self.last.clone() } else { self.statements.get(&id).map(|remembered| remembered.text.clone()) }
    }

    /// The text of a statement that the gates of this generation have not been told yet.
    pub(super) fn untold(&mut self, id: u32, generation: u64) -> Option<Arc<[u8]>> {
        let remembered = self.statements.get_mut(&id).filter(|remembered| remembered.told != generation)?;
        remembered.told = generation;
        Some(remembered.text.clone())
    }

    /// What executing a statement changes in its session.
    pub(super) fn note(&self, id: u32) -> Note {
        if id == LAST_PREPARED {
            return self.last.as_ref().map_or(Note::STATEMENT, |text| notes::read(text));
        }
        self.statements.get(&id).map_or(Note::STATEMENT, |remembered| remembered.note.clone())
    }

    /// Notes that a statement is executed, asking for a cursor or not; tells whether its first execution asked for one.
    pub(super) fn executed(&mut self, id: u32, asks_for_cursor: bool) -> bool {
        let Some(remembered) = self.statements.get_mut(&id) else { return false };
        *remembered.began_with_cursor.get_or_insert(asks_for_cursor)
    }

    /// Judges a statement; the verdict is kept until the gates change.
    pub(super) fn judge(&mut self, id: u32, watch: &Watch) -> Verdict {
        if id == LAST_PREPARED {
            return self.last.as_ref().map_or_else(|| watch.unknown(), |text| watch.judge(text));
        }
        let Some(remembered) = self.statements.get_mut(&id) else { return watch.unknown() };
        if let Some((generation, verdict)) = &remembered.verdict
            && *generation == watch.generation
        {
            return verdict.clone();
        }
        let verdict = watch.judge(&remembered.text);
        remembered.verdict = Some((watch.generation, verdict.clone()));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &[u8]) -> Arc<[u8]> {
        Arc::from(of)
    }

    #[test]
    fn texts_are_kept_until_closed_and_within_bounds() {
        let mut prepared = Prepared::default();
        prepared.insert(1, text(b"SELECT 1"));
        assert_eq!(prepared.text(1), Some(text(b"SELECT 1")));
        prepared.remove(1);
        prepared.remove(1);
        assert_eq!((prepared.text(1), prepared.total), (None, 0));
        let long = text(&vec![b'x'; TEXT_MAX]);
        for id in 0..200 {
            prepared.insert(id, long.clone());
        }
        assert!(prepared.total <= TOTAL_MAX);
        assert_eq!(prepared.text(199), None);
        prepared.sent(Some(text(b"SELECT 2")));
        assert_eq!(prepared.text(LAST_PREPARED), Some(text(b"SELECT 2")));
    }

    #[test]
    fn the_first_execution_says_whether_a_cursor_is_kept() {
        let mut prepared = Prepared::default();
        prepared.insert(1, text(b"SELECT 1"));
        prepared.insert(2, text(b"SELECT 1"));
        assert!(prepared.executed(1, true) && prepared.executed(1, false));
        assert!(!prepared.executed(2, false) && !prepared.executed(2, true) && !prepared.executed(3, true));
    }

    #[test]
    fn what_is_not_remembered_is_unknown() {
        let verdict = Prepared::default().judge(7, &Watch::default());
        assert!(verdict.statement.is_dynamic);
    }
}
