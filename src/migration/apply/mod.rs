//! Makes shadow[key] equal to source[key] for every key that the log mentions.
//!
//! Invariants: I-E2 (an upsert is done only when a locking read of the row itself gave it back), I-E3 (through [`free`]), I-E4 (in a round all deletes before all upserts), I-E5 (through [`overlap`]).
//!
//! What becomes of a key in a round:
//!
//! | locking read gives the row | a plain read sees it | last mention | then |
//! |---|---|---|---|
//! | yes | | any | DELETE and INSERT; settled unless another unique key turns the row away |
//! | no | yes | any | locked, or deleted and still visible: stays |
//! | no | no | upsert | inserted and not yet visible, or gone again: stays until the next mention or the fence |
//! | no | no | delete | DELETE; settled |
//! | no | another row, equal by the key's collation | delete | settled: that row has a mention of its own |
//!
//! The locks of that read end with it, before the shadow is touched. Who had changed the row before it was then visible, since both
//! servers show a transaction's rows before they release its locks; who changes it afterwards is mentioned after the key was taken, and
//! the key stays.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::error::Error;
use super::job::Job;
use super::statements::{Literals, Rows};
use super::{duplicates, final_form, kept, oracle};
use crate::schema::key::Key;
use crate::upstream::{self, Link};

mod free;
pub mod overlap;
pub mod pending;

use free::{free, parse_all};
use pending::{Op, Taken};

const KEYS_LEAST: usize = 10;
const KEYS_MOST: usize = 400;
/// How long a round should take: chunks of the copy that have a key of it wait for its end.
const ROUND_TARGET: Duration = Duration::from_millis(40);

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Keys that are right now.
    pub settled: usize,
    /// Keys that wait for another round.
    pub left: usize,
}

/// Applies until something ends it; it never ends well.
///
/// # Cancel safety
/// A round that was under way is rolled back by the server; its keys stay pending.
pub async fn run(job: Job) -> Error {
    let mut link = match job.server.connect_engine().await {
        Ok(link) => link,
        Err(error) => return error.into(),
    };
    let (mut keys, mut passing) = (100, Passing::default());
    loop {
        let turn = job.turn.clone().lock_owned().await;
        let began = Instant::now();
        let result = round(&job, &mut link, keys).await;
        drop(turn);
        match result {
            Ok(Round { settled: 0, left: 0 }) => {
                let _ = tokio::time::timeout(Duration::from_millis(20), job.pending.noted_again()).await;
            }
            Ok(round) => {
                if round.settled == 0 {
                    // Only keys that others hold: a while later some are free.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                } else {
                    tokio::task::yield_now().await;
                }
                keys = next_size(keys, began.elapsed(), job.pending.len());
            }
            Err(Trouble::Passing(error)) => {
                if passing.stays() {
                    return oracle::last_word(&job, error);
                }
                tracing::debug!(migration = %job.id, table = %job.names.source, %error, "the server's ALTER takes rows that could not be applied; trying again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(Trouble::Lasting(Error::Upstream(error))) if error.is_lock_conflict() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(Trouble::Lasting(error)) => return error,
        }
    }
}

/// Why a round has applied nothing.
enum Trouble {
    /// The server's ALTER takes the rows as they are now: they were others when the error came.
    Passing(upstream::Error),
    /// Whatever else.
    Lasting(Error),
}

impl From<upstream::Error> for Trouble {
    fn from(error: upstream::Error) -> Self {
        Self::Lasting(error.into())
    }
}

/// So often in a row trouble is taken for one that passes.
const PASSING_MOST: u32 = 30;

/// Trouble that does not come back for so long has passed.
const PASSED: Duration = Duration::from_secs(2);

/// Counts trouble that ought to pass.
#[derive(Default)]
struct Passing {
    times: u32,
    last: Option<Instant>,
}

impl Passing {
    /// It has come again; `true` where it comes too often to pass.
    fn stays(&mut self) -> bool {
        let now = Instant::now();
        let has_passed = self.last.replace(now).is_none_or(|last| now.duration_since(last) > PASSED);
        self.times = if has_passed { 1 } else { self.times + 1 };
        self.times > PASSING_MOST
    }
}

/// How many keys the next round takes. The target is for a whole round, of which the server's commit is most. On a machine so
/// busy that even the smallest round misses it, small rounds would fall behind for ever: a backlog is taken in larger pieces.
fn next_size(keys: usize, took: Duration, backlog: usize) -> usize {
    let wanted = if took > ROUND_TARGET { keys / 2 } else { keys + keys / 4 };
    wanted.max(backlog / 4).clamp(KEYS_LEAST, KEYS_MOST)
}

/// Applies until nothing is pending or a round settles nothing more; for a cut-over, which has the turn. Gives what is left.
///
/// # Errors
/// As the server says.
pub async fn until_settled(job: &Job, link: &mut Link, deadline: Instant) -> Result<usize, Error> {
    let mut idle = 0;
    while !job.pending.is_empty() && Instant::now() < deadline && idle < 3 {
        match round(job, link, KEYS_MOST).await {
            Ok(round) => idle = if round.settled == 0 { idle + 1 } else { 0 },
            Err(Trouble::Passing(_)) => idle += 1,
            Err(Trouble::Lasting(Error::Upstream(error))) if error.is_lock_conflict() => {}
            Err(Trouble::Lasting(error)) => return Err(error),
        }
    }
    Ok(job.pending.len())
}

/// One round, for a cut-over, which has the turn. That somebody else has a row is no error.
///
/// # Errors
/// As the server says.
pub async fn once(job: &Job, link: &mut Link) -> Result<(), Error> {
    match round(job, link, KEYS_MOST).await {
        // Only rows that others hold: a moment later some are free.
        Ok(Round { settled: 0, .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
        Ok(_) | Err(Trouble::Passing(_)) => {}
        Err(Trouble::Lasting(Error::Upstream(error))) if error.is_lock_conflict() => {}
        Err(Trouble::Lasting(error)) => return Err(error),
    }
    Ok(())
}

/// Applies one batch of keys in one transaction.
///
/// # Errors
/// As the server says; the batch's keys are pending again then.
async fn round(job: &Job, link: &mut Link, count: usize) -> Result<Round, Trouble> {
    let chosen = job.overlap.begin_round(|is_free| job.pending.take(count, is_free), |taken: &Taken<Key>| taken.key.clone());
    let Some((taken, guard)) = chosen else { return Ok(Round::default()) };
    let out = Out { job, taken };
    crate::failpoints::reach("apply.round").await.map_err(|error| Trouble::Lasting(error.into()))?;
    let result = attempt(job, link, &out.taken).await;
    let round = match result {
        Ok(Some(settled)) => {
            let mut settled = settled.into_iter();
            let settled = out.settle(|_| settled.next().unwrap_or(false));
            Ok(settled)
        }
        Ok(None) => {
            drop(out);
            link.run("ROLLBACK").await?;
            Err(Trouble::Lasting(oracle::cut_key(job).into()))
        }
        Err(error) => {
            let keys: Vec<Key> = out.taken.iter().map(|taken| taken.key.clone()).collect();
            drop(out);
            if !error.is_lost() {
                link.run("ROLLBACK").await?;
            }
            drop(crate::failpoints::reach("apply.refused").await);
            Err(oracle::refusal_of_keys(job, &keys, error).await.map_or_else(Trouble::Passing, Trouble::Lasting))
        }
    };
    drop(guard);
    round
}

/// Keys that are out of the map. Those that are not settled go back when this is dropped, also where the future that held it was
/// (I-E6).
struct Out<'a> {
    job: &'a Job,
    taken: Vec<Taken<Key>>,
}

impl Out<'_> {
    /// Settles the keys that are right, puts the others back.
    fn settle(mut self, mut is_settled: impl FnMut(&Taken<Key>) -> bool) -> Round {
        let mut round = Round::default();
        for taken in std::mem::take(&mut self.taken) {
            if is_settled(&taken) {
                self.job.pending.settle(&taken);
                round.settled += 1;
            } else {
                self.job.pending.put_back(&taken);
                round.left += 1;
            }
        }
        round
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        for taken in &self.taken {
            self.job.pending.put_back(taken);
        }
    }
}

/// One transaction; gives for each key whether it is settled. `None` where a key did not come through as it was: nothing is committed then.
async fn attempt(job: &Job, link: &mut Link, taken: &[Taken<Key>]) -> Result<Option<Vec<bool>>, upstream::Error> {
    let (keys, statements) = (&job.keys, &job.statements);
    let free = free(job, link, &taken.iter().map(|taken| &taken.key).collect::<Vec<_>>()).await?;
    let absent: Vec<&Taken<Key>> = taken.iter().filter(|taken| !free.contains(&taken.key)).collect();
    link.run("START TRANSACTION").await?;
    let gone = which_are_gone(job, link, &absent).await?;
    // I-E4: two raw keys can be one row to the server.
    let deleted: Vec<_> = gone.iter().filter(|gone| gone.delete).map(|gone| keys.literals(&gone.key)).collect();
    if !deleted.is_empty() {
        link.run(&statements.delete(&deleted)).await?;
    }
    let placed = match &job.kept {
        None => place(job, link, free).await?,
        Some(kept) => Some(kept::place(job, kept, link, taken, free).await?),
    };
    let Some(placed) = placed else { return Ok(None) };
    link.run("COMMIT").await?;
    let gone: HashSet<&Key> = gone.iter().map(|gone| &gone.key).collect();
    Ok(Some(taken.iter().map(|taken| placed.contains(&taken.key) || gone.contains(&taken.key)).collect()))
}

/// Writes rows to the shadow as they are now; gives those that are there afterwards. Never REPLACE: it would delete another row that
/// holds the same value of a unique key, and nothing would bring that row back. A row that another unique key turns away, or one that
/// somebody else has put there under its key since it was deleted,
/// stays pending: either the other row has an event of its own, or the fence's plain INSERT gets the server's 1062.
///
/// `None` where a row went in under another key than it has in the source: without strict mode the server cuts a value to fit, and what
/// becomes of that row in the source would never reach it.
async fn place(job: &Job, link: &mut Link, free: HashSet<Key>) -> Result<Option<HashSet<Key>>, upstream::Error> {
    if free.is_empty() {
        return Ok(Some(free));
    }
    let list: Vec<Key> = free.into_iter().collect();
    let literals = job.keys.all_literals(&list);
    link.run(&job.statements.delete(&literals)).await?;
    // A failpoint that fails is one that stands for nothing here.
    drop(crate::failpoints::reach("apply.placing").await);
    let done = link.change(&job.statements.insert_where_free(&literals)).await?;
    if done.affected >= list.len() as u64 && !job.mapping.changes_key() {
        return Ok(Some(list.into_iter().collect()));
    }
    let rows = link.rows(&job.statements.exist_in_shadow(&literals)).await?;
    let there = rows.into_iter().next().unwrap_or_default();
    let placed: HashSet<Key> =
        list.into_iter().zip(there).filter(|(_, there)| there.as_deref() == Some(b"1")).map(|(key, _)| key).collect();
    // More are there than went in: somebody else has put a row under a key, and nobody can tell which. They are placed anew.
    if placed.len() as u64 > done.affected {
        return Ok(Some(HashSet::new()));
    }
    Ok(Some(placed).filter(|placed| placed.len() as u64 == done.affected))
}

struct Gone {
    key: Key,
    /// Delete it from the shadow; else another row has taken its place there.
    delete: bool,
}

/// Which of the keys that the locking read did not give back are known to be gone for good.
async fn which_are_gone(job: &Job, link: &mut Link, absent: &[&Taken<Key>]) -> Result<Vec<Gone>, upstream::Error> {
    let deletes: Vec<&Key> = absent.iter().filter(|taken| taken.op == Op::Delete).map(|taken| &taken.key).collect();
    if deletes.is_empty() {
        return Ok(Vec::new());
    }
    let literals = job.keys.all_literals(deletes.iter().copied());
    let seen = parse_all(&job.keys, &link.rows(&job.statements.see_rows(&literals)).await?)?;
    let unseen: Vec<&Key> = deletes.into_iter().filter(|key| !seen.contains(*key)).collect();
    if unseen.is_empty() || job.keys.is_ordered() {
        return Ok(unseen.into_iter().map(|key| Gone { key: key.clone(), delete: true }).collect());
    }
    let rows = link.rows(&job.statements.exist(&job.keys.all_literals(unseen.iter().copied()))).await?;
    let equal_exists = rows.into_iter().next().unwrap_or_default();
    Ok(unseen
        .into_iter()
        .zip(equal_exists)
        .map(|(key, exists)| Gone { key: key.clone(), delete: exists.as_deref() == Some(b"0") })
        .collect())
}

/// Settles everything that is pending while nobody can write: deletes every pending key from the shadow, then takes what
/// the source has, and its AUTO_INCREMENT counter. `link` must be allowed to read the source and write the shadow under the lock. Gives the
/// number of keys.
///
/// One transaction, whoever has the lock, so that it costs one commit and an error changes nothing; sent in as few pieces as its size
/// allows, for the same reason: clients wait meanwhile. Where `is_lock` the link is the lock's own connection, which may begin no
/// transaction by a statement, as that would unlock; neither COMMIT nor autocommit = 0 does.
///
/// # Errors
/// As the server says; everything stays pending then, from where it was (I-E6), and the caller must not swap. Asks the server
/// nothing more: a lock is held.
pub async fn settle_under_lock(job: &Job, link: &mut Link, is_lock: bool) -> Result<usize, upstream::Error> {
    let out = Out { job, taken: job.pending.take(usize::MAX, |_| true) };
    if let Some(kept) = &job.kept {
        kept::settle_under_lock(job, kept, link, &out.taken, KEYS_MOST).await?;
        final_form::match_counter(job, link).await?;
        return Ok(out.settle(|_| true).settled);
    }
    let (begin, end) =
        if is_lock { ("SET SESSION autocommit = 0", "COMMIT; SET SESSION autocommit = 1") } else { ("START TRANSACTION", "COMMIT") };
    let result = async {
        if !out.taken.is_empty() {
            link.run_all(&settling(job, &out.taken, begin)).await?;
            keys_came_through(job, link, &out.taken).await?;
        }
        let counter = final_form::counter_to_reach(job, link).await?;
        if let Some(counter) = counter {
            if out.taken.is_empty() {
                link.run(begin).await?;
            }
            final_form::step_to(job, link, counter).await?;
        }
        if counter.is_some() || !out.taken.is_empty() {
            link.run(end).await?;
        }
        if counter.is_some() { final_form::match_counter(job, link).await } else { Ok(()) }
    };
    let result = result.await;
    if let Err(upstream::Error::Server { .. } | upstream::Error::Unexpected(_)) = result {
        // Nobody shall commit a half of it by giving the lock back. Where this does not succeed, the connection has gone.
        let _ = link.run(if is_lock { "ROLLBACK; SET SESSION autocommit = 1" } else { "ROLLBACK" }).await;
    }
    result?;
    Ok(out.settle(|_| true).settled)
}

/// Sees that the shadow has as many of these rows as the source, which nobody can write: see [`place`].
async fn keys_came_through(job: &Job, link: &mut Link, taken: &[Taken<Key>]) -> Result<(), upstream::Error> {
    if !job.mapping.changes_key() {
        return Ok(());
    }
    for some in taken.chunks(KEYS_MOST) {
        let rows = Rows::Under(job.keys.all_literals(some.iter().map(|taken| &taken.key)));
        let theirs = link.cell(&job.statements.of_source("COUNT(*)", &rows)).await?;
        let ours = link.cell(&job.statements.of_shadow("COUNT(*)", &rows)).await?;
        if theirs != ours {
            return Err(upstream::Error::Unexpected("rows whose key the new definition does not keep".into()));
        }
    }
    Ok(())
}

/// The statements of [`settle_under_lock`] that bring the rows over.
fn settling(job: &Job, taken: &[Taken<Key>], begin: &str) -> Vec<String> {
    let parts: Vec<Vec<Literals>> =
        taken.chunks(KEYS_MOST).map(|some| job.keys.all_literals(some.iter().map(|taken| &taken.key))).collect();
    let mut all = vec![begin.to_owned()];
    all.extend(parts.iter().map(|part| job.statements.delete(part)));
    for (number, part) in parts.iter().enumerate() {
        if number > 0 && !job.keys.is_ordered() {
            // The row of a key in an earlier chunk may be the row of one of these too, by the key's collation.
            all.push(job.statements.delete(part));
        }
        all.push(job.statements.insert(part));
    }
    all
}

/// What the server's own ALTER says of the rows that are pending, where `error` is about rows; for use without a lock.
pub async fn explain_pending(job: &Job, error: upstream::Error) -> Error {
    if error.code() == Some(1062)
        && let Ok(mut link) = job.server.connect_engine().await
        && let Err(refusal @ Error::Refused(_)) = duplicates::look(job, &mut link).await
    {
        return refusal;
    }
    let out = Out { job, taken: job.pending.take(KEYS_MOST, |_| true) };
    let keys: Vec<Key> = out.taken.iter().map(|taken| taken.key.clone()).collect();
    drop(out);
    if keys.is_empty() {
        return error.into();
    }
    oracle::refusal_of_keys(job, &keys, error).await.unwrap_or_else(|error| oracle::last_word(job, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_grow_while_they_are_quick_and_shrink_where_they_are_slow() {
        let (quick, slow) = (Duration::from_millis(5), Duration::from_millis(90));
        assert_eq!(next_size(100, quick, 0), 125);
        assert_eq!(next_size(KEYS_MOST, quick, 0), KEYS_MOST);
        assert_eq!(next_size(100, slow, 0), 50);
        assert_eq!(next_size(KEYS_LEAST, slow, 0), KEYS_LEAST);
    }

    #[test]
    fn a_backlog_is_taken_in_large_pieces_however_slow_rounds_are() {
        let slow = Duration::from_millis(500);
        assert_eq!(next_size(KEYS_LEAST, slow, 3000), KEYS_MOST);
        assert_eq!(next_size(KEYS_LEAST, slow, 200), 50);
    }
}
