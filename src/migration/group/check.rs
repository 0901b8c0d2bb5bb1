//! What a group asks for beyond what each of its tables does: each refusal in one sentence with the remedy.

use super::super::cutover::protocol::{self, Way};
use super::super::cutover::together;
use super::super::error::Error;
use super::super::{Change, Options, Refusal, Strategy, foreign_keys, preflight};
use crate::config::Config;
use crate::ids::TableName;
use crate::sql::references;
use crate::upstream::{Facts, Link};

/// Each table has connections of its own in an attempt, and all of them are locked at once.
const TABLES_MOST: usize = 16;

/// A wish that passed.
pub struct Checked {
    /// Tables and specifications, in the order of the names: that of their numbers, gates and locks.
    pub members: Vec<(TableName, String)>,
    /// The options as they are stored.
    pub options: Options,
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Refusal::new(1235, *b"42000", message).into())
}

/// Checks every table for itself, and then what they cannot be together.
///
/// # Errors
/// A [`Refusal`], or the server.
pub async fn check(link: &mut Link, facts: &Facts, config: &Config, changes: &[Change], options: &Options) -> Result<Checked, Error> {
    let mut options = options.clone();
    if changes.len() > TABLES_MOST {
        return refuse(format!("one migration takes at most {TABLES_MOST} tables; migrate the others on their own"));
    }
    // What is altered in place cannot be swapped together with others.
    if options.strategy.unwrap_or(config.migrations.strategy) == Strategy::Instant {
        return refuse(
            "several tables in one migration are always copied, so that they can be swapped together; say strategy = 'copy', or migrate each on its \
             own with strategy = 'instant'"
                .into(),
        );
    }
    options.strategy = Some(Strategy::Copy);
    // One for all of them, also where the configuration is changed meanwhile.
    options.revert_window = Some(options.revert_window.unwrap_or(config.cutover.revert_window()));
    let mut members: Vec<(TableName, String)> = Vec::new();
    for Change { table, specification } in changes {
        let wish = options.cutover.unwrap_or(config.cutover.protocol);
        let checked = preflight::check(link, facts, table, specification, wish).await.map_err(|error| super::of_member(table, error))?;
        let table = checked.table;
        let fits = match protocol::choose(wish, facts, &checked.names)? {
            Way::LockedRename => true,
            Way::Sentry => facts.is_mariadb,
            Way::SentryLockedShadow => false,
        };
        if !fits {
            let way = if facts.is_mariadb { "sentry" } else { "locked_rename" };
            let why = if facts.is_mariadb && !checked.names.sort_after_source() {
                format!("the schema name {} sorts after Tidegate's own schemas, which that cannot do; migrate it on its own", table.schema)
            } else {
                "leave the option cutover out".to_owned()
            };
            return refuse(format!("several tables are swapped together by cutover = '{way}' only on this server: {why}"));
        }
        // One table is let go after the other there, so nobody has all of those around locked over the swap.
        if facts.is_mariadb && (!references::of(specification).is_empty() || foreign_keys::are_around(link, &table).await?) {
            return refuse(format!(
                "{table} has foreign keys or gets one, or others refer to it with theirs; on {} such a table cannot be migrated together with others. \
                 Migrate it on its own, or drop the foreign keys and add them again afterwards",
                facts.name()
            ));
        }
        if members.iter().any(|(other, _)| *other == table) {
            return Err(
                Refusal::new(1066, *b"42000", format!("{table} is named twice; give it one specification with all its changes")).into()
            );
        }
        members.push((table, specification.clone()));
    }
    members.sort_by(|(one, _), (other, _)| {
        (one.schema.as_bytes(), one.table.as_bytes()).cmp(&(other.schema.as_bytes(), other.table.as_bytes()))
    });
    if facts.is_mariadb
        && let Some((table, other)) =
            together::reached_by_trigger(link, &members.iter().map(|(table, _)| table).collect::<Vec<_>>()).await?
    {
        return refuse(format!(
            "a trigger of {table} uses {other}, or names it; on {} such tables cannot be swapped together. Migrate each on its own, or drop the trigger and \
             create it again afterwards",
            facts.name()
        ));
    }
    Ok(Checked { members, options })
}
