//! What one client knows of its own rows. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A row as it must be in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The primary key; `None` where the answer that carried it was lost.
    pub id: Option<i64>,
    /// How many times the client has changed the row.
    pub counter: i32,
    /// The indexed column.
    pub customer: i32,
}

/// New states of rows, by sequence number; `None` for a deleted row.
pub type Changes = BTreeMap<i32, Option<Row>>;

/// Writes whose answer was lost: all of them happened, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The rows before.
    pub before: Changes,
    /// The rows after.
    pub after: Changes,
}

/// One client's memory. Rows are named by (client, seq), which no statement ever changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The client's number.
    pub client: i32,
    rows: BTreeMap<i32, Row>,
    deleted: BTreeMap<i32, Row>,
    unknown: Vec<Unknown>,
    frozen: BTreeSet<i32>,
    next_seq: i32,
    next_private_id: i64,
}

impl Journal {
    /// A client without rows.
    pub fn new(client: i32) -> Self {
        Self {
            client,
            rows: BTreeMap::new(),
            deleted: BTreeMap::new(),
            unknown: Vec::new(),
            frozen: BTreeSet::new(),
            next_seq: 0,
            next_private_id: -1_000_000_000 * i64::from(client + 1),
        }
    }

    /// Notes a row that is in the table already.
    pub fn adopt(&mut self, seq: i32, row: Row) {
        self.next_seq = self.next_seq.max(seq + 1);
        self.rows.insert(seq, row);
    }

    /// Gives out a sequence number that was never used.
    pub fn new_seq(&mut self) -> i32 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Gives out a primary key that no other client and no counter will use.
    pub fn new_private_id(&mut self) -> i64 {
        self.next_private_id -= 1;
        self.next_private_id
    }

    /// The row as it must be now; `None` where it must not be there.
    pub fn row(&self, seq: i32) -> Option<&Row> {
        self.rows.get(&seq)
    }

    /// All rows that must be there, frozen ones left out.
    pub fn rows(&self) -> &BTreeMap<i32, Row> {
        &self.rows
    }

    /// A row at or after this number, or else the first.
    pub fn row_from(&self, seq: i32) -> Option<(i32, &Row)> {
        self.rows.range(seq..).next().or_else(|| self.rows.iter().next()).map(|(seq, row)| (*seq, row))
    }

    /// A deleted row whose place may be used again.
    pub fn a_deleted_row(&self) -> Option<(i32, &Row)> {
        self.deleted.iter().next().map(|(seq, row)| (*seq, row))
    }

    /// The numbers that were ever given out.
    pub fn seq_end(&self) -> i32 {
        self.next_seq
    }

    /// True where a lost answer leaves open what the row is.
    pub fn is_frozen(&self, seq: i32) -> bool {
        self.frozen.contains(&seq)
    }

    /// The lost answers.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Notes acknowledged changes.
    pub fn commit(&mut self, changes: Changes) {
        for (seq, row) in changes {
            match row {
                Some(row) => {
                    self.deleted.remove(&seq);
                    self.rows.insert(seq, row);
                }
                None => {
                    if let Some(row) = self.rows.remove(&seq) {
                        self.deleted.insert(seq, row);
                    }
                }
            }
        }
    }

    /// Notes changes of which nobody knows whether they happened; their rows are left alone from now on.
    pub fn lose(&mut self, after: Changes) {
        if after.is_empty() {
            return;
        }
        let mut before = Changes::new();
        for seq in after.keys() {
            before.insert(*seq, self.rows.remove(seq));
            self.deleted.remove(seq);
            self.frozen.insert(*seq);
        }
        self.unknown.push(Unknown { before, after });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counter: i32) -> Row {
        Row { id: Some(7), counter, customer: 1 }
    }

    #[test]
    fn a_committed_change_replaces_the_row() {
        let mut journal = Journal::new(0);
        journal.adopt(0, row(0));
        journal.commit(Changes::from([(0, Some(row(1)))]));
        assert_eq!(journal.row(0), Some(&row(1)));
        journal.commit(Changes::from([(0, None)]));
        assert_eq!((journal.row(0), journal.a_deleted_row()), (None, Some((0, &row(1)))));
    }

    #[test]
    fn a_lost_answer_freezes_its_rows_with_both_possibilities() {
        let mut journal = Journal::new(0);
        journal.adopt(0, row(0));
        journal.lose(Changes::from([(0, Some(row(1))), (1, Some(row(0)))]));
        assert!(journal.is_frozen(0) && journal.is_frozen(1) && journal.rows().is_empty());
        let unknown = journal.unknown()[0].clone();
        assert_eq!(unknown.before, Changes::from([(0, Some(row(0))), (1, None)]));
        assert_eq!(unknown.after, Changes::from([(0, Some(row(1))), (1, Some(row(0)))]));
    }

    #[test]
    fn private_keys_of_two_clients_never_meet() {
        let (mut a, mut b) = (Journal::new(0), Journal::new(1));
        assert!(a.new_private_id() > b.new_private_id() + 900_000_000);
    }
}
