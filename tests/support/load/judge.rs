//! Decides from the journals and the table's contents whether anything is missing, doubled or wrong. Pure.

use super::journal::{Changes, Journal, Row};
use super::statement::payload;
use super::table::{Contents, Found};

/// What is wrong with the table; all zero when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that must be there.
    pub rows: u64,
    /// Acknowledged writes whose effect is not there: missing rows, counters that are too low, deletes undone.
    pub missing: u64,
    /// Writes whose effect is there more than once: rows twice, counters that are too high.
    pub doubled: u64,
    /// Rows that contradict themselves or the journal in another way.
    pub wrong: u64,
    /// Groups of writes whose answer was lost, and that turned out whole: done or not done.
    pub settled: u64,
    /// The first of the faults in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Nothing missing, doubled or wrong.
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.doubled == 0 && self.wrong == 0
    }

    fn say(&mut self, what: String) {
        if self.examples.len() < 20 {
            self.examples.push(what);
        }
    }
}

/// Compares what every client knows with what is there.
pub fn judge(journals: &[Journal], contents: &Contents) -> Verdict {
    let mut verdict = Verdict::default();
    for journal in journals {
        let client = journal.client;
        for seq in (0..journal.seq_end()).filter(|seq| !journal.is_frozen(*seq)) {
            let found = contents.get(&(client, seq)).map_or(&[][..], Vec::as_slice);
            judge_row(&mut verdict, client, seq, journal.row(seq), found);
        }
        for unknown in journal.unknown() {
            let is = |states: &Changes| {
                states.iter().all(|(seq, row)| {
                    let mut trial = Verdict::default();
                    let found = contents.get(&(client, *seq)).map_or(&[][..], Vec::as_slice);
                    judge_row(&mut trial, client, *seq, row.as_ref(), found);
                    trial.is_clean()
                })
            };
            if is(&unknown.before) || is(&unknown.after) {
                verdict.settled += 1;
            } else {
                verdict.wrong += 1;
                let found: Vec<_> = unknown.after.keys().map(|seq| (*seq, contents.get(&(client, *seq)))).collect();
                verdict.say(format!(
                    "client {client}: a write with a lost answer is neither done nor undone: {unknown:?}, there is {found:?}"
                ));
            }
        }
    }
    for ((client, seq), found) in contents {
        let is_known = journals.iter().any(|journal| journal.client == *client && *seq < journal.seq_end());
        if !is_known {
            verdict.wrong += 1;
            verdict.say(format!("client {client}, seq {seq}: nobody wrote this row: {found:?}"));
        }
    }
    verdict
}

fn judge_row(verdict: &mut Verdict, client: i32, seq: i32, expected: Option<&Row>, found: &[Found]) {
    let place = format!("client {client}, seq {seq}");
    let Some(expected) = expected else {
        if !found.is_empty() {
            verdict.missing += 1;
            verdict.say(format!("{place}: the row is there although its DELETE (or ROLLBACK) was acknowledged: {found:?}"));
        }
        return;
    };
    verdict.rows += 1;
    let [row, more @ ..] = found else {
        verdict.missing += 1;
        verdict.say(format!("{place}: the row is missing; it must be {expected:?}"));
        return;
    };
    if !more.is_empty() {
        verdict.doubled += more.len() as u64;
        verdict.say(format!("{place}: the row is there {} times: {found:?}", found.len()));
    }
    match row.counter - expected.counter {
        0 if row.customer != expected.customer || expected.id.is_some_and(|id| id != row.id) => {
            verdict.wrong += 1;
            verdict.say(format!("{place}: {row:?} must be {expected:?}"));
        }
        0 if row.payload != payload(client, seq, row.counter) => {
            verdict.wrong += 1;
            verdict.say(format!("{place}: the text does not belong to the counter: {row:?}"));
        }
        0 => {}
        less @ ..0 => {
            verdict.missing += u64::from(less.unsigned_abs());
            verdict.say(format!("{place}: {} acknowledged change(s) missing: {row:?} must be {expected:?}", -less));
        }
        more => {
            verdict.doubled += u64::from(more.unsigned_abs());
            verdict.say(format!("{place}: changed {more} time(s) too often: {row:?} must be {expected:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counter: i32) -> Row {
        Row { id: Some(1), counter, customer: 5 }
    }

    fn found(counter: i32) -> Found {
        Found { id: 1, counter, customer: 5, payload: payload(0, 0, counter) }
    }

    fn journal() -> Journal {
        let mut journal = Journal::new(0);
        journal.adopt(0, row(3));
        journal
    }

    fn judge_one(found: Vec<Found>) -> Verdict {
        judge(&[journal()], &Contents::from([((0, 0), found)]))
    }

    #[test]
    fn the_expected_row_is_clean() {
        let verdict = judge_one(vec![found(3)]);
        assert!(verdict.is_clean() && verdict.rows == 1, "{verdict:?}");
    }

    #[test]
    fn a_lost_row_is_missing() {
        assert_eq!(judge(&[journal()], &Contents::new()).missing, 1);
    }

    #[test]
    fn a_lost_change_is_missing() {
        assert_eq!(judge_one(vec![found(1)]).missing, 2);
    }

    #[test]
    fn a_doubled_increment_is_doubled() {
        assert_eq!(judge_one(vec![found(4)]).doubled, 1);
    }

    #[test]
    fn a_row_that_is_there_twice_is_doubled() {
        assert_eq!(judge_one(vec![found(3), Found { id: 2, ..found(3) }]).doubled, 1);
    }

    #[test]
    fn a_deleted_row_that_came_back_is_missing_its_delete() {
        let mut journal = journal();
        journal.commit(Changes::from([(0, None)]));
        assert_eq!(judge(&[journal], &Contents::from([((0, 0), vec![found(3)])])).missing, 1);
    }

    #[test]
    fn half_of_a_change_is_wrong() {
        assert_eq!(judge_one(vec![Found { payload: payload(0, 0, 2), ..found(3) }]).wrong, 1);
        assert_eq!(judge_one(vec![Found { customer: 6, ..found(3) }]).wrong, 1);
        assert_eq!(judge_one(vec![Found { id: 9, ..found(3) }]).wrong, 1);
    }

    #[test]
    fn a_row_that_nobody_wrote_is_wrong() {
        let verdict = judge(&[journal()], &Contents::from([((0, 0), vec![found(3)]), ((0, 9), vec![found(0)]), ((4, 0), vec![found(0)])]));
        assert_eq!(verdict.wrong, 2);
    }

    #[test]
    fn a_lost_answer_may_be_done_or_undone_but_not_by_half() {
        let mut journal = Journal::new(0);
        journal.adopt(0, row(3));
        journal.adopt(1, Row { id: Some(2), ..row(3) });
        journal.lose(Changes::from([(0, Some(row(4))), (1, None)]));
        let second = Found { id: 2, payload: payload(0, 1, 3), ..found(3) };
        let undone = Contents::from([((0, 0), vec![found(3)]), ((0, 1), vec![second.clone()])]);
        let done = Contents::from([((0, 0), vec![found(4)])]);
        let half = Contents::from([((0, 0), vec![found(4)]), ((0, 1), vec![second])]);
        let journals = [journal];
        assert_eq!((judge(&journals, &undone).is_clean(), judge(&journals, &undone).settled), (true, 1));
        assert!(judge(&journals, &done).is_clean());
        assert_eq!(judge(&journals, &half).wrong, 1);
    }
}
