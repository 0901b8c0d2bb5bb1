//! What is known of a session's transaction, from the status flags of each reply.
//!
//! Owns: whether a transaction is open, since when (in the census), whether it may have a snapshot, at which isolation.
//! Invariants: I-G6 (what may have an old snapshot counts as having one: unknown isolation is REPEATABLE READ).

use std::sync::atomic::Ordering;

use crate::census::Record;
use crate::wire::answer::{AUTOCOMMIT, IN_TRANSACTION};

/// ER_LOCK_DEADLOCK: the server has rolled the transaction back.
const DEADLOCK: u16 = 1213;

/// What a command does for its session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Begins a transaction; `works` where it takes a snapshot or carries more statements.
    Begin {
        /// A snapshot may exist as soon as it is done.
        works: bool,
    },
    /// COMMIT or ROLLBACK, perhaps AND CHAIN.
    End,
    /// A statement that may read or write.
    Statement,
    /// No statement on data.
    Nothing,
}

/// How much a transaction's snapshots matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Isolation {
    /// Not known, so taken for REPEATABLE READ.
    #[default]
    Snapshot,
    /// READ COMMITTED or READ UNCOMMITTED: every statement reads anew.
    Committed,
}

/// One session's transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    is_open: bool,
    /// Autocommit is off: the next statement opens one.
    is_manual: bool,
    /// It has executed some statement, so it may have a snapshot.
    has_worked: bool,
    /// An ERR came: the flags are not known until the next reply.
    is_uncertain: bool,
    isolation: Isolation,
    session_isolation: Isolation,
    next_isolation: Option<Isolation>,
    /// When the last command that begins a transaction was sent: its snapshot is not older.
    begin_sent_us: Option<u64>,
}

impl Transaction {
    /// A transaction is open, or may be.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Autocommit is off.
    pub(super) fn is_manual(&self) -> bool {
        self.is_manual
    }

    /// An ERR left the flags unknown.
    pub(super) fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }

    /// A snapshot may exist that later statements read from.
    pub(super) fn may_have_snapshot(&self) -> bool {
        self.is_open && self.has_worked && self.isolation == Isolation::Snapshot
    }

    /// Notes that a command goes to the server: a transaction that it opens counts from now, not from its reply.
    pub(super) fn sent(&mut self, work: Work, record: &Record) {
        let begins = matches!(work, Work::Begin { .. });
        if begins {
            self.begin_sent_us = Some(record.now_us());
        }
        let opens = begins || (work == Work::Statement && self.is_manual);
        if opens && !self.is_open {
            record.transaction_open();
        }
        if opens {
            record.reads_anew.store(self.isolation_of(opens) == Isolation::Committed, Ordering::Relaxed);
        }
        let reads = work == Work::Statement && (self.is_open || opens) || matches!(work, Work::Begin { works: true });
        if reads && self.isolation_of(opens) == Isolation::Snapshot {
            record.has_snapshot.store(true, Ordering::Relaxed);
        }
    }

    /// The level of the open transaction, or of the one that a command opens.
    fn isolation_of(&self, opens: bool) -> Isolation {
        if opens && !self.is_open { self.next_isolation.unwrap_or(self.session_isolation) } else { self.isolation }
    }

    /// Takes the status flags of a reply. Returns `true` where a transaction has ended.
    pub(super) fn replied(&mut self, status: u16, work: Work, record: &Record) -> bool {
        self.is_uncertain = false;
        self.is_manual = status & AUTOCOMMIT == 0;
        let was_open = self.is_open;
        self.is_open = status & IN_TRANSACTION != 0;
        if !self.is_open {
            record.transaction_closed();
            self.has_worked = false;
            if work != Work::Nothing && self.next_isolation == Some(Isolation::Committed) {
                // A transaction of one statement may have used it up.
                self.next_isolation = None;
            }
            return was_open;
        }
        let is_new = !was_open || matches!(work, Work::Begin { .. } | Work::End);
        if is_new {
            self.isolation = self.next_isolation.take().unwrap_or(self.session_isolation);
            self.has_worked = matches!(work, Work::Statement | Work::Begin { works: true });
            if was_open {
                // An implicit commit, or AND CHAIN: one has ended and another begun, not before this was sent.
                let sent = if matches!(work, Work::Begin { .. }) { self.begin_sent_us.take() } else { None };
                record.transaction_replaced(sent.unwrap_or_else(|| record.now_us()));
            }
            record.transaction_open();
        } else if work == Work::Statement {
            self.has_worked = true;
        }
        record.has_snapshot.store(self.may_have_snapshot(), Ordering::Relaxed);
        record.reads_anew.store(self.isolation == Isolation::Committed, Ordering::Relaxed);
        was_open && is_new
    }

    /// Takes an ERR, which carries no flags. Returns `true` where a transaction has surely ended.
    pub(super) fn failed(&mut self, code: u16, work: Work, record: &Record) -> bool {
        if code == DEADLOCK {
            let was_open = self.is_open;
            self.is_open = false;
            self.has_worked = false;
            record.transaction_closed();
            return was_open;
        }
        if self.is_open || record.transaction_began_us() != 0 {
            self.is_open = true;
            self.is_uncertain = true;
            self.has_worked |= work == Work::Statement;
            record.has_snapshot.store(self.may_have_snapshot(), Ordering::Relaxed);
        }
        false
    }

    /// Takes a change of the isolation level; `once` for the next transaction only.
    pub(super) fn set_isolation(&mut self, isolation: Isolation, once: bool) {
        if once {
            self.next_isolation = Some(isolation);
        } else {
            self.session_isolation = isolation;
            self.next_isolation = None;
        }
    }

    /// Something has changed the isolation level, and what it is now cannot be told.
    pub(super) fn doubt(&mut self) {
        self.isolation = Isolation::Snapshot;
        self.session_isolation = Isolation::Snapshot;
        self.next_isolation = None;
    }

    /// The open transaction began at a level that cannot be told; later ones are as set.
    pub(super) fn doubt_this_one(&mut self) {
        self.isolation = Isolation::Snapshot;
    }

    /// Forgets everything: COM_RESET_CONNECTION, COM_CHANGE_USER.
    pub(super) fn reset(&mut self, record: &Record) {
        *self = Self::default();
        record.transaction_closed();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::census::{Census, Entered};

    fn session() -> Entered {
        Arc::new(Census::default()).enter("here".into())
    }

    #[test]
    fn a_transaction_counts_from_when_it_was_sent() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.sent(Work::Begin { works: false }, &session.record);
        let began = session.record.transaction_began_us();
        assert_ne!(began, 0);
        transaction.replied(3, Work::Begin { works: false }, &session.record);
        assert_eq!(session.record.transaction_began_us(), began);
        assert!(transaction.is_open() && !transaction.may_have_snapshot());
        transaction.replied(3, Work::Statement, &session.record);
        assert!(transaction.may_have_snapshot());
        assert!(transaction.replied(2, Work::End, &session.record));
        assert_eq!(session.record.transaction_began_us(), 0);
    }

    #[test]
    fn a_transaction_begun_within_another_is_a_new_one() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.replied(3, Work::Statement, &session.record);
        let began = session.record.transaction_began_us();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(transaction.replied(3, Work::Begin { works: false }, &session.record));
        assert!(session.record.transaction_began_us() > began);
        assert!(!transaction.may_have_snapshot());
    }

    #[test]
    fn an_error_leaves_an_open_transaction_uncertain_and_a_deadlock_ends_it() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.failed(1062, Work::Statement, &session.record);
        assert!(!transaction.is_open());
        transaction.replied(3, Work::Statement, &session.record);
        transaction.failed(1062, Work::Statement, &session.record);
        assert!(transaction.is_open() && transaction.is_uncertain());
        assert!(transaction.failed(1213, Work::Statement, &session.record));
        assert!(!transaction.is_open());
    }

    #[test]
    fn a_level_for_the_next_transaction_is_used_up_by_one_statement() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.set_isolation(Isolation::Committed, true);
        transaction.replied(2, Work::Statement, &session.record);
        transaction.replied(3, Work::Begin { works: true }, &session.record);
        assert!(transaction.may_have_snapshot());
    }

    #[test]
    fn a_snapshot_within_another_transaction_is_as_old_as_its_command() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.replied(3, Work::Statement, &session.record);
        let work = Work::Begin { works: true };
        transaction.sent(work, &session.record);
        let sent = session.record.now_us();
        std::thread::sleep(std::time::Duration::from_millis(2));
        transaction.replied(3, work, &session.record);
        assert!(session.record.transaction_began_us() <= sent, "the swap may have been in between");
    }

    #[test]
    fn read_committed_has_no_snapshot_to_fear() {
        let session = session();
        let mut transaction = Transaction::default();
        transaction.set_isolation(Isolation::Committed, true);
        transaction.replied(3, Work::Statement, &session.record);
        assert!(!transaction.may_have_snapshot());
        transaction.replied(2, Work::End, &session.record);
        transaction.replied(3, Work::Statement, &session.record);
        assert!(transaction.may_have_snapshot(), "only the next one was READ COMMITTED");
        transaction.replied(2, Work::End, &session.record);
        transaction.set_isolation(Isolation::Committed, false);
        transaction.replied(3, Work::Begin { works: true }, &session.record);
        assert!(!transaction.may_have_snapshot());
    }
}
