//! Which rows of the source nobody has locked, asked without ever standing in a row's queue.
//!
//! Invariants: I-E2 (a row that is given back is visible to whoever reads after this), I-E3 (the engine has locks on rows of the source
//! only within one statement here, and that statement never waits: no transaction can wait for it while it waits for another).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::migration::job::Job;
use crate::migration::keys::Keys;
use crate::schema::key::Key;
use crate::upstream::{self, Link};

/// How long one round asks; what was not asked then counts as locked. It holds nobody up meanwhile.
const PATIENCE: Duration = Duration::from_millis(60);

/// The keys, of those given, under which the source has a row that nobody else has locked. No transaction may be open on `link`: the
/// locks are to end with the statement.
///
/// # Errors
/// As the server says.
pub async fn free(job: &Job, link: &mut Link, keys: &[&Key]) -> Result<HashSet<Key>, upstream::Error> {
    let mut found = HashSet::new();
    let mut parts = vec![keys];
    let began = Instant::now();
    while let Some(part) = parts.pop() {
        let literals = job.keys.all_literals(part.iter().copied());
        match link.rows(&job.statements.lock_rows(&literals)).await {
            Ok(rows) => found.extend(parse_all(&job.keys, &rows)?),
            Err(error) if error.is_lock_conflict() && !job.statements.skips_locked() => {
                if part.len() > 1 {
                    let (one, other) = part.split_at(part.len() / 2);
                    parts.extend([other, one]);
                }
                if began.elapsed() > PATIENCE {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Keys out of rows that begin with the key's expressions.
///
/// # Errors
/// Where they are not what was asked for.
pub fn parse_all(keys: &Keys, rows: &[Vec<Option<Vec<u8>>>]) -> Result<HashSet<Key>, upstream::Error> {
    rows.iter().map(|row| keys.parse(row)).collect()
}
