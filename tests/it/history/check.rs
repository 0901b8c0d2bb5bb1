//! Decides from a history whether any client saw what cannot have been. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::record::{End, History, Register, Snapshot, Transaction, Version};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// An acknowledged write is not there.
    Lost,
    /// Two acknowledged writes made the same version, or a version has no writer.
    Doubled,
    /// A read saw what nobody wrote, or what was rolled back.
    NeverWritten,
    /// A client saw an older state than it had seen before.
    WentBack,
    /// A read did not see what was acknowledged before it began.
    Stale,
    /// A snapshot saw one write of a transaction and not another.
    Torn,
}

/// Faults with their descriptions, the first of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) counts: std::collections::BTreeMap<Fault, u64>,
    pub(super) examples: Vec<String>,
}

impl Faults {
    fn add(&mut self, fault: Fault, what: impl FnOnce() -> String) {
        let count = self.counts.entry(fault).or_default();
        *count += 1;
        if *count <= 5 {
            self.examples.push(format!("{fault:?}: {}", what()));
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Who made a version.
#[derive(Clone, Copy, Debug)]
struct Writer {
    tag: u64,
    /// The number of the transaction in the history.
    transaction: usize,
    is_sure: bool,
}

/// Checks the history against itself and against what is in the tables at the end.
pub(super) fn check(history: &History, last: &[Version]) -> Faults {
    let mut faults = Faults::default();
    let writers = writers(history, &mut faults);
    check_end(history, last, &writers, &mut faults);
    let acknowledged = Acknowledged::new(history);
    let mut seen: HashMap<(i32, Register), u32> = HashMap::new();
    for (number, transaction) in history.transactions.iter().enumerate() {
        for snapshot in &transaction.snapshots {
            check_snapshot(history, number, snapshot, &writers, &acknowledged, &mut faults);
        }
        check_order(transaction, &mut seen, &mut faults);
    }
    faults
}

type Writers = HashMap<(Register, u32), Writer>;

fn writers(history: &History, faults: &mut Faults) -> Writers {
    let mut writers = Writers::new();
    for (number, transaction) in history.transactions.iter().enumerate() {
        let is_sure = match transaction.end {
            End::Committed(_) => true,
            End::Unknown => false,
            End::RolledBack => continue,
        };
        for write in &transaction.writes {
            let new = Writer { tag: write.tag, transaction: number, is_sure };
            match writers.get(&(write.register, write.version)) {
                Some(other) if other.is_sure && is_sure => {
                    faults.add(Fault::Doubled, || format!("{write:?} of client {} was written by {other:?} too", transaction.client));
                }
                Some(other) if other.is_sure => {}
                _ => {
                    writers.insert((write.register, write.version), new);
                }
            }
        }
    }
    writers
}

/// Every acknowledged write is in the tables, and every version has its writer.
fn check_end(history: &History, last: &[Version], writers: &Writers, faults: &mut Faults) {
    let ends: HashMap<Register, &Version> = last.iter().map(|version| (version.register, version)).collect();
    for transaction in history.transactions.iter().filter(|transaction| matches!(transaction.end, End::Committed(_))) {
        for write in &transaction.writes {
            if ends.get(&write.register).is_none_or(|end| end.version < write.version) {
                faults.add(Fault::Lost, || {
                    format!("{write:?} of client {}; at the end: {:?}", transaction.client, ends.get(&write.register))
                });
            }
        }
    }
    for end in last {
        for version in 1..=end.version {
            if !writers.contains_key(&(end.register, version)) {
                faults.add(Fault::Doubled, || {
                    format!("register {} has reached version {}, but nobody wrote {version}", end.register, end.version)
                });
            }
        }
        if end.version > 0 && writers.get(&(end.register, end.version)).is_some_and(|writer| writer.tag != end.tag) {
            faults.add(Fault::NeverWritten, || format!("at the end there is {end:?}"));
        }
    }
}

/// The highest version of each register that was acknowledged up to a moment.
struct Acknowledged(HashMap<Register, Vec<(Duration, u32)>>);

impl Acknowledged {
    fn new(history: &History) -> Self {
        let mut all: HashMap<Register, Vec<(Duration, u32)>> = HashMap::new();
        for transaction in &history.transactions {
            if let End::Committed(at) = transaction.end {
                for write in &transaction.writes {
                    all.entry(write.register).or_default().push((at, write.version));
                }
            }
        }
        for moments in all.values_mut() {
            moments.sort_unstable();
            let mut highest = 0;
            for (_, version) in moments {
                highest = highest.max(*version);
                *version = highest;
            }
        }
        Self(all)
    }

    fn before(&self, register: Register, moment: Duration) -> u32 {
        let Some(moments) = self.0.get(&register) else { return 0 };
        let at = moments.partition_point(|(acknowledged, _)| *acknowledged < moment);
        at.checked_sub(1).map_or(0, |at| moments[at].1)
    }
}

fn check_snapshot(
    history: &History,
    number: usize,
    snapshot: &Snapshot,
    writers: &Writers,
    acknowledged: &Acknowledged,
    faults: &mut Faults,
) {
    let client = history.transactions[number].client;
    let seen: HashMap<Register, u32> = snapshot.versions.iter().map(|version| (version.register, version.version)).collect();
    for version in &snapshot.versions {
        let must = acknowledged.before(version.register, snapshot.sent);
        if version.version < must {
            faults.add(Fault::Stale, || format!("client {client} read {version:?} after version {must} was acknowledged"));
        }
        if version.version == 0 && version.tag == 0 {
            continue;
        }
        let Some(writer) = writers.get(&(version.register, version.version)).filter(|writer| writer.tag == version.tag) else {
            faults.add(Fault::NeverWritten, || format!("client {client} read {version:?}"));
            continue;
        };
        for sibling in &history.transactions[writer.transaction].writes {
            if seen.get(&sibling.register).is_some_and(|seen| *seen < sibling.version) {
                faults.add(Fault::Torn, || {
                    format!("client {client} read {version:?} without {sibling:?} of the same transaction: {snapshot:?}")
                });
            }
        }
    }
}

/// Within one client nothing goes back.
fn check_order(transaction: &Transaction, seen: &mut HashMap<(i32, Register), u32>, faults: &mut Faults) {
    let client = transaction.client;
    let is_committed = matches!(transaction.end, End::Committed(_));
    let reads = transaction.snapshots.iter().flat_map(|snapshot| &snapshot.versions);
    let writes = transaction.writes.iter().filter(|_| is_committed);
    for version in reads.chain(writes) {
        let last = seen.entry((client, version.register)).or_default();
        if version.version < *last {
            faults.add(Fault::WentBack, || format!("client {client} saw version {last} and then {version:?}"));
        }
        *last = version.version.max(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn version(register: Register, version: u32, tag: u64) -> Version {
        Version { register, version, tag }
    }

    fn write(client: i32, acknowledged: u64, writes: &[Version]) -> Transaction {
        Transaction { client, snapshots: Vec::new(), writes: writes.to_vec(), end: End::Committed(at(acknowledged)) }
    }

    fn read(client: i32, sent: u64, versions: &[Version]) -> Transaction {
        let snapshot = Snapshot { sent: at(sent), versions: versions.to_vec() };
        Transaction { client, snapshots: vec![snapshot], writes: Vec::new(), end: End::Committed(at(sent + 1)) }
    }

    fn found(transactions: Vec<Transaction>, last: &[Version]) -> Vec<(Fault, u64)> {
        check(&History { transactions, ..History::default() }, last).counts.into_iter().collect()
    }

    #[test]
    fn a_true_history_is_clean() {
        let transactions = vec![
            read(2, 0, &[version(0, 0, 0), version(1, 0, 0)]),
            write(1, 10, &[version(0, 1, 7), version(1, 1, 8)]),
            write(2, 20, &[version(1, 2, 9)]),
            read(1, 30, &[version(0, 1, 7), version(1, 2, 9)]),
            // It began before the write was acknowledged: either is right.
            read(3, 19, &[version(0, 1, 7), version(1, 1, 8)]),
        ];
        assert_eq!(found(transactions, &[version(0, 1, 7), version(1, 2, 9)]), []);
    }

    #[test]
    fn a_lost_write_is_found() {
        assert_eq!(found(vec![write(1, 10, &[version(0, 1, 7)])], &[version(0, 0, 0)]), [(Fault::Lost, 1)]);
        assert_eq!(found(vec![write(1, 10, &[version(0, 1, 7)])], &[]), [(Fault::Lost, 1)]);
        // The register was put back and written again: the version is there, but it is another's.
        let twice = vec![write(1, 10, &[version(0, 1, 7)]), write(2, 20, &[version(0, 1, 9)])];
        assert_eq!(found(twice, &[version(0, 1, 7)]), [(Fault::Doubled, 1)]);
    }

    #[test]
    fn a_write_that_happened_twice_is_found() {
        assert_eq!(found(vec![write(1, 10, &[version(0, 1, 7)])], &[version(0, 2, 7)]), [(Fault::Doubled, 1)]);
    }

    #[test]
    fn what_was_rolled_back_must_not_be_seen() {
        let undone = Transaction { end: End::RolledBack, ..write(1, 10, &[version(0, 1, 7)]) };
        assert_eq!(found(vec![undone.clone(), read(2, 20, &[version(0, 1, 7)])], &[version(0, 0, 0)]), [(Fault::NeverWritten, 1)]);
        assert_eq!(found(vec![undone], &[version(0, 1, 7)]), [(Fault::Doubled, 1)]);
        assert_eq!(found(vec![read(2, 20, &[version(0, 0, 5)])], &[version(0, 0, 0)]), [(Fault::NeverWritten, 1)]);
    }

    #[test]
    fn a_read_that_goes_back_is_found() {
        let (old, new) = (version(0, 0, 0), version(0, 1, 7));
        let transactions = vec![read(2, 5, &[new]), read(2, 6, &[old]), write(1, 10, &[new])];
        assert_eq!(found(transactions, &[new]), [(Fault::WentBack, 1)]);
    }

    #[test]
    fn a_read_of_an_older_state_than_was_acknowledged_is_found() {
        let transactions = vec![write(1, 10, &[version(0, 1, 7)]), read(2, 11, &[version(0, 0, 0)])];
        assert_eq!(found(transactions, &[version(0, 1, 7)]), [(Fault::Stale, 1)]);
    }

    #[test]
    fn half_of_a_transaction_is_found() {
        let both = [version(0, 1, 7), version(1, 1, 8)];
        let transactions = vec![read(2, 5, &[version(0, 1, 7), version(1, 0, 0)]), write(1, 10, &both)];
        assert_eq!(found(transactions, &both), [(Fault::Torn, 1)]);
    }

    #[test]
    fn a_lost_answer_may_be_either() {
        let maybe = Transaction { end: End::Unknown, ..write(1, 10, &[version(0, 1, 7)]) };
        assert_eq!(found(vec![maybe.clone()], &[version(0, 1, 7)]), []);
        assert_eq!(found(vec![maybe.clone()], &[version(0, 0, 0)]), []);
        assert_eq!(found(vec![maybe, write(2, 20, &[version(0, 1, 9)])], &[version(0, 1, 9)]), []);
    }
}
