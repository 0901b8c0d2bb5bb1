//! Makes shadow[key] equal to source[key] for every key that the log mentions.
//!
//! Invariants: I-E2 (an upsert is done only when a locking read of the row itself gave it back), I-E3 (never waits for a
//! lock on the source while holding one), I-E4 (in a round all deletes before all upserts), I-E5 (through [`overlap`]).
//!
//! What becomes of a key in a round:
//!
//! | locking read gives the row | a plain read sees it | last mention | then |
//! |---|---|---|---|
//! | yes | | any | written anew from the source; settled |
//! | yes, but a row of the shadow has a unique value of it | | any | that row is stale and has a mention of its own, or the two are duplicates: stays, see [`duplicates`] |
//! | no | yes | any | locked, or deleted and still visible: stays |
//! | no | no | upsert | inserted and not yet visible, or gone again: stays until the next mention or the fence |
//! | no | no | delete | DELETE; settled |
//! | no | another row, equal by the key's collation | delete | settled: that row has a mention of its own |

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::error::Error;
use super::job::Job;
use super::keys::Keys;
use super::oracle;
use crate::schema::key::Key;
use crate::upstream::{self, Link, Position};

pub mod duplicates;
pub mod overlap;
pub mod pending;

use pending::{Op, Taken};

const KEYS_LEAST: usize = 10;
const KEYS_MOST: usize = 400;

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
    let mut keys = 100;
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
                // The server's commit is most of a round, so the target is for a whole round.
                let took = began.elapsed();
                keys = if took > Duration::from_millis(40) { keys / 2 } else { keys + keys / 4 }.clamp(KEYS_LEAST, KEYS_MOST);
            }
            Err(Error::Upstream(error)) if error.is_lock_conflict() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => return error,
        }
    }
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
            Err(Error::Upstream(error)) if error.is_lock_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(job.pending.len())
}

/// Applies one batch of keys in one transaction.
///
/// # Errors
/// As the server says; the batch's keys are pending again then.
async fn round(job: &Job, link: &mut Link, count: usize) -> Result<Round, Error> {
    let chosen = job.overlap.begin_round(|is_free| job.pending.take(count, is_free), |taken: &Taken<Key>| taken.key.clone());
    let Some((taken, guard)) = chosen else { return Ok(Round::default()) };
    crate::failpoints::reach("apply.round").await.inspect_err(|_| put_all_back(job, &taken))?;
    let result = attempt(job, link, &taken).await;
    let round = match result {
        Ok(settled) => {
            let mut round = Round::default();
            for (taken, end) in taken.iter().zip(settled) {
                match end {
                    End::Settled => {
                        job.pending.settle(taken);
                        round.settled += 1;
                        continue;
                    }
                    End::TurnedAway => job.pending.turn_away(taken),
                    End::Left => job.pending.put_back(taken),
                }
                round.left += 1;
            }
            Ok(round)
        }
        Err(error) => {
            put_all_back(job, &taken);
            if !error.is_lost() {
                link.run("ROLLBACK").await?;
            }
            let keys: Vec<Key> = taken.iter().map(|taken| taken.key.clone()).collect();
            Err(oracle::refusal_of_keys(job, &keys, error).await)
        }
    };
    drop(guard);
    round
}

fn put_all_back(job: &Job, taken: &[Taken<Key>]) {
    for taken in taken {
        job.pending.put_back(taken);
    }
}

/// What became of one key in a round.
#[derive(Clone, Copy)]
enum End {
    Settled,
    TurnedAway,
    Left,
}

/// One transaction; gives for each key what became of it.
async fn attempt(job: &Job, link: &mut Link, taken: &[Taken<Key>]) -> Result<Vec<End>, upstream::Error> {
    let (keys, statements) = (&job.keys, &job.statements);
    let all = keys.all_literals(taken.iter().map(|taken| &taken.key));
    link.run("START TRANSACTION").await?;
    let mut locked = parse_all(keys, &link.rows(&statements.lock_rows(&all)).await?)?;
    // A row under another spelling of its key has a mention of its own.
    let wanted: HashSet<&Key> = taken.iter().map(|taken| &taken.key).collect();
    locked.retain(|key| wanted.contains(key));
    let absent: Vec<&Taken<Key>> = taken.iter().filter(|taken| !locked.contains(&taken.key)).collect();
    let gone = which_are_gone(job, link, &absent).await?;
    // I-E4: two raw keys can be one row to the server.
    let rewritten = keys.all_literals(&locked);
    let mut deleted: Vec<_> = gone.iter().filter(|gone| gone.delete).map(|gone| keys.literals(&gone.key)).collect();
    deleted.extend(rewritten.iter().cloned());
    if !deleted.is_empty() {
        link.run(&statements.delete(&deleted)).await?;
    }
    let mut turned_away = HashSet::new();
    if !rewritten.is_empty() {
        // Never REPLACE: it would remove another row that has the same value of a unique key, and nothing would bring that back.
        let done = link.change(&statements.insert_skipping(&rewritten)).await?;
        if done.affected < rewritten.len() as u64 {
            turned_away = parse_all(keys, &link.rows(&statements.missing_of(&rewritten)).await?)?;
        }
    }
    link.run("COMMIT").await?;
    let gone: HashSet<&Key> = gone.iter().map(|gone| &gone.key).collect();
    let end = |key: &Key| match key {
        key if turned_away.contains(key) => End::TurnedAway,
        key if locked.contains(key) || gone.contains(key) => End::Settled,
        _ => End::Left,
    };
    Ok(taken.iter().map(|taken| end(&taken.key)).collect())
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

fn parse_all(keys: &Keys, rows: &[Vec<Option<Vec<u8>>>]) -> Result<HashSet<Key>, upstream::Error> {
    rows.iter().map(|row| keys.parse(row)).collect()
}

/// Settles everything that is pending while nobody can write: deletes every pending key from the shadow, then takes what
/// the source has. `link` must be allowed to read the source and write the shadow under the lock. Gives the number of keys.
///
/// # Errors
/// As the server says; everything is pending again then, and the caller must not swap.
pub async fn settle_under_lock(job: &Job, link: &mut Link, boundary: &Position) -> Result<usize, Error> {
    let pending = job.pending.drain_under_lock();
    let keys: Vec<Key> = pending.iter().map(|(key, _)| key.clone()).collect();
    let result = async {
        for keys in keys.chunks(KEYS_MOST) {
            link.run(&job.statements.delete(&job.keys.all_literals(keys))).await?;
        }
        for keys in keys.chunks(KEYS_MOST) {
            link.run(&job.statements.insert(&job.keys.all_literals(keys))).await?;
        }
        Ok::<(), upstream::Error>(())
    };
    match result.await {
        Ok(()) => Ok(keys.len()),
        Err(error) => {
            for (key, op) in pending {
                job.pending.note(key, op, boundary);
            }
            Err(oracle::refusal_of_keys(job, keys.get(..keys.len().min(KEYS_MOST)).unwrap_or_default(), error).await)
        }
    }
}
