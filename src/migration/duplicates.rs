//! Rows that a unique key of the shadow turns away: moved for a moment, or duplicates that the server's ALTER would refuse too?
//!
//! A turned-away row stays pending. Looking at it together with the row that is in its way, in one statement's snapshot, the
//! server's own ALTER tells which it is (see [`super::oracle`]); a true duplicate ends the migration early, instead of at
//! the fence, where the plain INSERT would find it at the latest.

use super::error::Error;
use super::job::Job;
use super::{Refusal, oracle};
use crate::ids::quote_identifier;
use crate::schema::key::Key;
use crate::schema::table::same_name;
use crate::upstream::{self, Link};

/// So many pending keys are looked at in one go.
const LOOKED_AT: usize = 8;

/// Looks at some pending keys.
///
/// # Errors
/// [`Error::Refused`] with the server's own error for a true duplicate; the connection's errors.
pub async fn look(job: &Job, link: &mut Link) -> Result<(), Error> {
    if !could_be(job) {
        return Ok(());
    }
    for key in job.pending.some(LOOKED_AT) {
        if let Some(refusal) = refusal(job, link, &key).await? {
            return Err(refusal.into());
        }
    }
    Ok(())
}

/// The server's own refusal where a row and the one that keeps it out of the shadow are duplicates by the new definition.
///
/// # Errors
/// Where the connection is lost.
pub async fn refusal(job: &Job, link: &mut Link, key: &Key) -> Result<Option<Refusal>, upstream::Error> {
    match in_its_way(job, link, key).await {
        Ok(None) => Ok(None),
        Ok(Some(other)) => {
            let error = upstream::Error::Server { code: 1062, sqlstate: "23000".into(), message: String::new() };
            Ok(oracle::refusal_if_any(job, &[key.clone(), other], &error).await)
        }
        Err(error) if error.is_lost() => Err(error),
        // Collations that cannot be compared here, for example: the fence is the judge then.
        Err(error) => {
            tracing::debug!(migration = %job.id, table = %job.names.source, %error, "a turned-away row could not be looked at");
            Ok(None)
        }
    }
}

/// The shadow has a unique key besides the one that tells rows apart, or its key compares in another way than the source's.
fn could_be(job: &Job) -> bool {
    job.mapping.changes_key() || job.shadow.indexes.iter().filter(|index| index.is_unique).count() > 1
}

/// The key of a row of the shadow that keeps this row of the source out; `None` where it is in, or nothing is in its way.
async fn in_its_way(job: &Job, link: &mut Link, key: &Key) -> Result<Option<Key>, upstream::Error> {
    let literals = job.keys.literals(key);
    if !link.rows(&job.statements.row_of_shadow("1", &literals)).await?.is_empty() {
        return Ok(None);
    }
    for index in job.shadow.indexes.iter().filter(|index| index.is_unique) {
        let mut conditions = Vec::new();
        for name in index.parts.iter().filter_map(|part| part.column.as_deref()) {
            // A column that the ALTER adds has the same default in every row.
            let Some(pair) = job.mapping.pairs.iter().find(|pair| same_name(&pair.shadow.name, name)) else { continue };
            let value = job.statements.row_of_source(&quote_identifier(&pair.source.name), &literals);
            conditions.push(format!("{} = ({value})", quote_identifier(&pair.shadow.name)));
        }
        let condition = if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") };
        if let Some(row) = link.rows(&job.statements.shadow_keys_where(&condition)).await?.first() {
            return Ok(Some(job.keys.parse(row)?));
        }
    }
    Ok(None)
}
