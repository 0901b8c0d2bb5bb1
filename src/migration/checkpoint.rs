//! All state of all migrations, in the server, in schema `tidegate`.
//!
//! Owns: the table `tidegate.migrations`. Invariant: I-E6 (the stored position is never ahead of what is applied: the
//! caller hands in [`super::apply::pending::Pending::safe_position`]).

use crate::config::{Fence, Protocol};
use crate::ids::{MigrationId, TableName};
use crate::upstream::{Error, Link, Position, literal};

use super::failover::Gtids;
use super::instant::Course;
use super::phase::Phase;
use super::{Options, Strategy};

const SCHEMA: &str = "CREATE DATABASE IF NOT EXISTS `tidegate` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS `tidegate`.`migrations` (
    migration_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    schema_name VARCHAR(64) NOT NULL,
    table_name VARCHAR(64) NOT NULL,
    alter_specification LONGTEXT NOT NULL,
    options VARCHAR(1000) NOT NULL,
    phase VARCHAR(32) NOT NULL,
    is_paused TINYINT NOT NULL DEFAULT 0,
    is_cancelled TINYINT NOT NULL DEFAULT 0,
    is_copied TINYINT NOT NULL DEFAULT 0,
    server_identity VARCHAR(255) NOT NULL DEFAULT '',
    binlog_file VARCHAR(255) NOT NULL DEFAULT '',
    binlog_position BIGINT UNSIGNED NOT NULL DEFAULT 0,
    gtids_through LONGTEXT NULL,
    gtids_applied LONGTEXT NULL,
    watermark LONGTEXT NOT NULL,
    deferred_indexes LONGTEXT NOT NULL,
    rows_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    cutover_attempts BIGINT UNSIGNED NOT NULL DEFAULT 0,
    held_statements BIGINT UNSIGNED NOT NULL DEFAULT 0,
    longest_stall_us BIGINT UNSIGNED NOT NULL DEFAULT 0,
    steps VARCHAR(2000) NOT NULL DEFAULT '',
    error_code INT UNSIGNED NOT NULL DEFAULT 0,
    error VARCHAR(4000) NOT NULL DEFAULT '',
    started_at DATETIME(6) NOT NULL,
    finished_at DATETIME(6) NULL,
    swaps BIGINT UNSIGNED NOT NULL DEFAULT 0,
    swaps_wanted BIGINT UNSIGNED NOT NULL DEFAULT 0,
    swapped_at DATETIME(6) NULL,
    is_turned TINYINT NOT NULL DEFAULT 0,
    is_window_over TINYINT NOT NULL DEFAULT 0,
    course VARCHAR(32) NOT NULL DEFAULT '',
    definition_before LONGTEXT NULL,
    definition_after LONGTEXT NULL,
    triggers LONGTEXT NULL,
    foreign_keys LONGTEXT NULL,
    ties LONGTEXT NULL,
    group_id BIGINT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Columns that stores of earlier versions lack.
const ADDED: [(&str, &str); 14] = [
    ("swaps", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
    ("swaps_wanted", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
    ("swapped_at", "DATETIME(6) NULL"),
    ("is_turned", "TINYINT NOT NULL DEFAULT 0"),
    ("is_window_over", "TINYINT NOT NULL DEFAULT 0"),
    ("triggers", "LONGTEXT NULL"),
    ("foreign_keys", "LONGTEXT NULL"),
    ("ties", "LONGTEXT NULL"),
    ("gtids_through", "LONGTEXT NULL"),
    ("gtids_applied", "LONGTEXT NULL"),
    ("course", "VARCHAR(32) NOT NULL DEFAULT ''"),
    ("definition_before", "LONGTEXT NULL"),
    ("definition_after", "LONGTEXT NULL"),
    ("group_id", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
];

/// How long the store may take: a network that swallows everything must not look like a slow server for ever.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// One migration as stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number.
    pub id: MigrationId,
    /// The table.
    pub table: TableName,
    /// The ALTER specification.
    pub specification: String,
    /// WITH ….
    pub options: Options,
    /// The last phase stored.
    pub phase: Phase,
    /// The operator paused it.
    pub is_paused: bool,
    /// The operator cancelled it.
    pub is_cancelled: bool,
    /// Every chunk is in the shadow.
    pub is_copied: bool,
    /// The server that the position belongs to.
    pub server_identity: String,
    /// Where the tail must start; `None` before the shadow exists.
    pub position: Option<Position>,
    /// The same place for another server.
    pub gtids: Gtids,
    /// Every row up to this key is copied; the key's columns as read by the key's expressions.
    pub watermark: Vec<String>,
    /// Indexes that the shadow still lacks, as [`super::deferred::take_off`] gave them.
    pub deferred_indexes: String,
    /// Counters.
    pub rows_copied: u64,
    /// The server's estimate.
    pub rows_total: u64,
    /// Attempts so far.
    pub cutover_attempts: u64,
    /// Statements held so far.
    pub held_statements: u64,
    /// Microseconds of the longest wait.
    pub longest_stall_us: u64,
    /// The last attempt's steps.
    pub steps: String,
    /// The last failure.
    pub error_code: u16,
    /// In words.
    pub error: String,
    /// UTC.
    pub started_at: String,
    /// UTC, empty while it runs.
    pub finished_at: String,
    /// Swaps so far: after an odd number the new table has the name.
    pub swaps: u64,
    /// REVERT wishes this many.
    pub swaps_wanted: u64,
    /// The position lies behind the last swap's RENAME.
    pub is_turned: bool,
    /// The operator said CLEANUP.
    pub is_window_over: bool,
    /// How the table is changed.
    pub course: Course,
    /// In place: the table's definition before the ALTER.
    pub definition_before: String,
    /// In place: what the server made of it on an empty copy.
    pub definition_after: String,
    /// Triggers that an attempt may have taken off, as [`super::triggers::Triggers::write`] gave them; empty where none are missing.
    pub triggers: String,
    /// What an attempt may have done about foreign keys, as [`super::foreign_keys::Ties::write`] gave it; empty where all are as they must be.
    pub ties: String,
    /// The tables that it is swapped together with: the first one's number.
    pub group: Option<MigrationId>,
}

/// What a run changes as it goes.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Where to read from after a crash.
    pub position: Option<Position>,
    /// The same place for another server.
    pub gtids: Gtids,
    /// Every row up to this key is copied.
    pub watermark: Vec<String>,
    /// Every chunk is in the shadow.
    pub is_copied: bool,
    /// Rows copied.
    pub rows_copied: u64,
}

/// Whether the store was ever created on this server.
///
/// # Errors
/// As the server says.
pub async fn exists(link: &mut Link) -> Result<bool, Error> {
    let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'tidegate' AND TABLE_NAME = 'migrations'";
    Ok(link.cell(tables).await?.as_deref() == Some("1"))
}

/// Creates schema and table where they are missing.
///
/// # Errors
/// As the server says.
pub async fn create(link: &mut Link) -> Result<(), Error> {
    if exists(link).await? {
        return upgrade(link).await;
    }
    link.run(SCHEMA).await?;
    link.run(TABLE).await
}

/// Gives a store of an earlier version the columns that it lacks.
///
/// # Errors
/// As the server says.
pub async fn upgrade(link: &mut Link) -> Result<(), Error> {
    let columns = "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'tidegate' AND TABLE_NAME = 'migrations'";
    let there: Vec<String> = link.texts(columns).await?.into_iter().flatten().collect();
    let missing: Vec<String> = ADDED
        .iter()
        .filter(|(name, _)| !there.iter().any(|column| column == name))
        .map(|(name, definition)| format!("ADD COLUMN {name} {definition}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    match link.run(&format!("ALTER TABLE `tidegate`.`migrations` {}", missing.join(", "))).await {
        // Another proxy was faster.
        Err(Error::Server { code: 1060, .. }) => {}
        other => other?,
    }
    if there.iter().any(|column| column == "swaps") {
        return Ok(());
    }
    // Whatever had swapped then had swapped once.
    link.run("UPDATE `tidegate`.`migrations` SET swaps = 1 WHERE swaps = 0 AND phase IN ('reversible', 'cleaning_up', 'done')").await
}

/// Stores a new migration and gives its number.
///
/// # Errors
/// As the server says.
pub async fn insert(link: &mut Link, table: &TableName, specification: &str, options: &Options) -> Result<MigrationId, Error> {
    let sql = format!(
        "INSERT INTO `tidegate`.`migrations` (schema_name, table_name, alter_specification, options, phase, watermark, deferred_indexes, started_at) \
         VALUES ({}, {}, {}, {}, 'queued', '', '', UTC_TIMESTAMP(6))",
        literal(&table.schema),
        literal(&table.table),
        literal(specification),
        literal(&write_options(options))
    );
    Ok(MigrationId(link.change(&sql).await?.insert_id))
}

/// Stores the members of a new group, all or none, and gives their numbers.
///
/// # Errors
/// As the server says.
pub async fn insert_group(link: &mut Link, members: &[(TableName, String)], options: &Options) -> Result<Vec<MigrationId>, Error> {
    link.run("START TRANSACTION").await?;
    let mut ids = Vec::new();
    for (table, specification) in members {
        ids.push(insert(link, table, specification, options).await?);
    }
    let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let group = list.first().map_or("0", String::as_str);
    link.run(&format!("UPDATE `tidegate`.`migrations` SET group_id = {group} WHERE migration_id IN ({})", list.join(", "))).await?;
    link.run("COMMIT").await?;
    Ok(ids)
}

/// Reads all migrations, or those that are not at their end.
///
/// # Errors
/// As the server says.
pub async fn read(link: &mut Link, condition: &str) -> Result<Vec<Stored>, Error> {
    let rows = link
        .texts(&format!(
            "SELECT migration_id, schema_name, table_name, alter_specification, options, phase, is_paused, is_cancelled, is_copied, server_identity, \
             binlog_file, binlog_position, watermark, rows_copied, rows_total, cutover_attempts, held_statements, longest_stall_us, steps, error_code, \
             error, started_at, finished_at, deferred_indexes, swaps, swaps_wanted, is_turned, is_window_over, \
             gtids_through, gtids_applied, course, definition_before, definition_after, triggers, ties, group_id FROM `tidegate`.`migrations` WHERE {condition} ORDER BY migration_id"
        ))
        .await?;
    Ok(rows.iter().filter_map(|row| parse(row)).collect())
}

fn parse(row: &[String]) -> Option<Stored> {
    let number = |at: usize| row.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let text = |at: usize| row.get(at).cloned().unwrap_or_default();
    Some(Stored {
        id: MigrationId(number(0)),
        table: TableName::new(text(1), text(2)),
        specification: text(3),
        options: read_options(&text(4)),
        phase: Phase::from_name(&text(5))?,
        is_paused: number(6) != 0,
        is_cancelled: number(7) != 0,
        is_copied: number(8) != 0,
        server_identity: text(9),
        position: Position::new(&text(10), number(11)),
        watermark: read_list(&text(12)),
        rows_copied: number(13),
        rows_total: number(14),
        cutover_attempts: number(15),
        held_statements: number(16),
        longest_stall_us: number(17),
        steps: text(18),
        error_code: u16::try_from(number(19)).unwrap_or(0),
        error: text(20),
        started_at: text(21),
        finished_at: text(22),
        deferred_indexes: text(23),
        swaps: number(24),
        swaps_wanted: number(25),
        is_turned: number(26) != 0,
        is_window_over: number(27) != 0,
        gtids: Gtids { through: text(28), applied: text(29) },
        course: Course::from_name(&text(30)),
        definition_before: text(31),
        definition_after: text(32),
        triggers: text(33),
        ties: text(34),
        group: Some(MigrationId(number(35))).filter(|group| group.0 != 0),
    })
}

/// Stores a phase; a final one ends the migration.
///
/// # Errors
/// As the server says.
pub async fn set_phase(link: &mut Link, id: MigrationId, phase: Phase) -> Result<(), Error> {
    let finished = if phase.is_final() { ", finished_at = UTC_TIMESTAMP(6)" } else { "" };
    set(link, id, &format!("phase = '{}'{finished}", phase.name())).await
}

/// Stores a swap: the phase after it, who has the name now, and that the log must be followed in the other direction from the
/// swap's own place on.
///
/// # Errors
/// As the server says.
pub async fn set_swapped(link: &mut Link, id: MigrationId, phase: Phase, swaps: u64) -> Result<(), Error> {
    let name = phase.name();
    set(link, id, &format!("phase = '{name}', swaps = {swaps}, swapped_at = UTC_TIMESTAMP(6), is_turned = 0, is_window_over = 0")).await
}

/// Stores from where the log must be read in the revert window.
///
/// # Errors
/// As the server says.
pub async fn set_turned(link: &mut Link, id: MigrationId, owner: &Owner, position: &Position) -> Result<(), Error> {
    let file = literal(&position.file);
    let columns = format!("binlog_file = {file}, binlog_position = {}, is_turned = 1", position.offset);
    set_while(link, id, &columns, Some(owner)).await
}

/// Stores the foreign keys that the table shall have after the swap.
///
/// # Errors
/// As the server says.
pub async fn set_foreign_keys(link: &mut Link, id: MigrationId, keys: &str) -> Result<(), Error> {
    set(link, id, &format!("foreign_keys = {}", literal(keys))).await
}

/// Stores what an attempt is about to do about foreign keys; empty: all are as they must be.
///
/// # Errors
/// As the server says.
pub async fn set_ties(link: &mut Link, id: MigrationId, ties: &str) -> Result<(), Error> {
    set(link, id, &format!("ties = {}", literal(ties))).await
}

/// The foreign keys that the table shall have after the swap, and what an attempt may have done.
///
/// # Errors
/// As the server says.
pub async fn ties(link: &mut Link, id: MigrationId) -> Result<(String, String), Error> {
    let sql = format!("SELECT foreign_keys, ties FROM `tidegate`.`migrations` WHERE migration_id = {id}");
    let mut row = link.texts(&sql).await?.pop().unwrap_or_default().into_iter();
    Ok((row.next().unwrap_or_default(), row.next().unwrap_or_default()))
}

/// Stores the triggers that an attempt is about to take off; empty: all are there.
///
/// # Errors
/// As the server says.
pub async fn set_triggers(link: &mut Link, id: MigrationId, triggers: &str) -> Result<(), Error> {
    set(link, id, &format!("triggers = {}", literal(triggers))).await
}

/// The triggers that an attempt may have taken off; empty where none are missing.
///
/// # Errors
/// As the server says.
pub async fn triggers(link: &mut Link, id: MigrationId) -> Result<String, Error> {
    let sql = format!("SELECT triggers FROM `tidegate`.`migrations` WHERE migration_id = {id}");
    Ok(link.cell(&sql).await?.unwrap_or_default())
}

/// How long ago the last swap was.
///
/// # Errors
/// As the server says.
pub async fn since_swap(link: &mut Link, id: MigrationId) -> Result<std::time::Duration, Error> {
    let age = "COALESCE(GREATEST(TIMESTAMPDIFF(MICROSECOND, swapped_at, UTC_TIMESTAMP(6)), 0), 0)";
    let us = link.cell(&format!("SELECT {age} FROM `tidegate`.`migrations` WHERE migration_id = {id}")).await?;
    Ok(std::time::Duration::from_micros(us.and_then(|us| us.parse().ok()).unwrap_or(0)))
}

/// Stores what the operator wished for the revert window.
///
/// # Errors
/// As the server says.
pub async fn set_window_wish(link: &mut Link, id: MigrationId, swaps_wanted: u64, is_window_over: bool) -> Result<(), Error> {
    set(link, id, &format!("swaps_wanted = {swaps_wanted}, is_window_over = {}", u8::from(is_window_over))).await
}

/// Stores the place to go on from, together with what a start needs to know.
///
/// # Errors
/// As the server says.
pub async fn set_start(
    link: &mut Link,
    id: MigrationId,
    identity: &str,
    deferred_indexes: &str,
    progress: &Progress,
    rows_total: u64,
) -> Result<(), Error> {
    let (identity, indexes) = (literal(identity), literal(deferred_indexes));
    let columns = progress_columns(progress);
    set(link, id, &format!("server_identity = {identity}, deferred_indexes = {indexes}, rows_total = {rows_total}, {columns}")).await
}

/// Stores that the run goes on on another server, and where in that one's log.
///
/// # Errors
/// As the server says.
pub async fn set_server(link: &mut Link, id: MigrationId, identity: &str, position: &Position) -> Result<(), Error> {
    let (identity, file) = (literal(identity), literal(&position.file));
    set(link, id, &format!("server_identity = {identity}, binlog_file = {file}, binlog_position = {}", position.offset)).await
}

/// Stores how the table is changed, and by which definitions of it a lost answer is settled.
///
/// # Errors
/// As the server says.
pub async fn set_course(link: &mut Link, id: MigrationId, course: Course, before: &str, after: &str) -> Result<(), Error> {
    let (before, after) = (literal(before), literal(after));
    set(link, id, &format!("course = '{}', definition_before = {before}, definition_after = {after}", course.name())).await
}

/// Forgets the place to go on from.
///
/// # Errors
/// As the server says.
pub async fn clear_start(link: &mut Link, id: MigrationId) -> Result<(), Error> {
    set(link, id, "server_identity = '', binlog_file = '', binlog_position = 0, gtids_through = '', gtids_applied = '', watermark = '', is_copied = 0, rows_copied = 0").await
}

/// Stores how far the run has come.
///
/// # Errors
/// As the server says.
pub async fn set_progress(link: &mut Link, id: MigrationId, owner: &Owner, progress: &Progress) -> Result<(), Error> {
    set_while(link, id, &progress_columns(progress), Some(owner)).await
}

fn progress_columns(progress: &Progress) -> String {
    let position = progress.position.as_ref().map_or(String::new(), |at| {
        let Gtids { through, applied } = &progress.gtids;
        let (file, through, applied) = (literal(&at.file), literal(through), literal(applied));
        format!("binlog_file = {file}, binlog_position = {}, gtids_through = {through}, gtids_applied = {applied}, ", at.offset)
    });
    format!(
        "{position}watermark = {}, is_copied = {}, rows_copied = {}",
        literal(&write_list(&progress.watermark)),
        u8::from(progress.is_copied),
        progress.rows_copied
    )
}

/// Stores what a cut-over attempt cost.
///
/// # Errors
/// As the server says.
pub async fn add_attempt(link: &mut Link, id: MigrationId, held: u64, longest_us: u64, steps: &str) -> Result<(), Error> {
    set(
        link,
        id,
        &format!(
            "cutover_attempts = cutover_attempts + 1, held_statements = held_statements + {held}, \
             longest_stall_us = GREATEST(longest_stall_us, {longest_us}), steps = {}",
            literal(&cut(steps, 2000))
        ),
    )
    .await
}

/// Stores the last failure.
///
/// # Errors
/// As the server says.
pub async fn set_error(link: &mut Link, id: MigrationId, code: u16, error: &str) -> Result<(), Error> {
    set(link, id, &format!("error_code = {code}, error = {}", literal(&cut(error, 4000)))).await
}

/// Stores a failure and the phase that it leads to: both or neither.
///
/// # Errors
/// As the server says.
pub async fn set_failed(link: &mut Link, id: MigrationId, phase: Phase, code: u16, error: &str) -> Result<(), Error> {
    set(link, id, &format!("phase = '{}', error_code = {code}, error = {}", phase.name(), literal(&cut(error, 4000)))).await
}

/// Stores what the operator wished.
///
/// # Errors
/// As the server says.
pub async fn set_wish(link: &mut Link, id: MigrationId, is_paused: bool, is_cancelled: bool, options: &Options) -> Result<(), Error> {
    set(
        link,
        id,
        &format!(
            "is_paused = {}, is_cancelled = {}, options = {}",
            u8::from(is_paused),
            u8::from(is_cancelled),
            literal(&write_options(options))
        ),
    )
    .await
}

async fn set(link: &mut Link, id: MigrationId, assignments: &str) -> Result<(), Error> {
    set_while(link, id, assignments, None).await
}

/// The run that may store: what one that has lost its lease sent last is not carried out however late the server reads it.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The lease's name.
    pub lease: String,
    /// The connection that has it.
    pub connection: u32,
}

async fn set_while(link: &mut Link, id: MigrationId, assignments: &str, owner: Option<&Owner>) -> Result<(), Error> {
    let only =
        owner.map_or_else(String::new, |Owner { lease, connection }| format!(" AND IS_USED_LOCK({}) = {connection}", literal(lease)));
    let sql = format!("UPDATE `tidegate`.`migrations` SET {assignments} WHERE migration_id = {id}{only}");
    match tokio::time::timeout(PATIENCE, link.run(&sql)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Lost(format!("the store does not answer within {PATIENCE:?}"))),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn write_list(list: &[String]) -> String {
    list.iter().map(|item| format!("{}:{item}", item.len())).collect()
}

fn read_list(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    let mut rest = text;
    while let Some((length, tail)) = rest.split_once(':') {
        let Some((item, next)) = length.parse().ok().and_then(|length: usize| tail.split_at_checked(length)) else { break };
        list.push(item.to_owned());
        rest = next;
    }
    list
}

fn write_options(options: &Options) -> String {
    let strategy = options.strategy.unwrap_or_default().name();
    let mut text = format!("postpone={} strategy={strategy} verify={}", options.postpone, !options.skip_verify);
    let mut add = |name: &str, value: Option<u128>| {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value}"));
        }
    };
    add("max_hold_ms", options.max_hold.map(|time| time.as_millis()));
    add("drain_budget_ms", options.drain_budget.map(|time| time.as_millis()));
    add("copy_workers", options.copy_workers.map(|workers| workers as u128));
    add("revert_window_s", options.revert_window.map(|time| u128::from(time.as_secs())));
    if let Some(protocol) = options.cutover {
        text.push_str(&format!(" cutover={}", protocol.name()));
    }
    if options.ignore_breaking {
        text.push_str(" ignore_breaking=true");
    }
    if options.ignores_throttle {
        text.push_str(" throttle=false");
    }
    if let Some(fence) = options.fence {
        text.push_str(&format!(" fence={}", fence.name()));
    }
    text
}

fn read_options(text: &str) -> Options {
    use std::time::Duration;
    let mut options = Options::default();
    for (name, value) in text.split(' ').filter_map(|entry| entry.split_once('=')) {
        let number = value.parse::<u64>().ok();
        match name {
            "postpone" => options.postpone = value == "true",
            "verify" => options.skip_verify = value == "false",
            "strategy" => options.strategy = Strategy::from_name(value),
            "max_hold_ms" => options.max_hold = number.map(Duration::from_millis),
            "drain_budget_ms" => options.drain_budget = number.map(Duration::from_millis),
            "ignore_breaking" => options.ignore_breaking = value == "true",
            "throttle" => options.ignores_throttle = value == "false",
            "fence" => options.fence = Fence::of_name(value),
            "copy_workers" => options.copy_workers = number.and_then(|number| usize::try_from(number).ok()),
            "cutover" => options.cutover = Protocol::from_name(value),
            "revert_window_s" => options.revert_window = number.map(Duration::from_secs),
            _ => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn options_survive_storing() {
        let options = Options {
            postpone: true,
            strategy: Some(Strategy::Copy),
            skip_verify: true,
            max_hold: Some(Duration::from_millis(700)),
            drain_budget: None,
            fence: Some(Fence::Wait),
            ignore_breaking: true,
            copy_workers: Some(3),
            revert_window: Some(Duration::from_secs(60)),
            cutover: Some(Protocol::SentryLockedShadow),
            ignores_throttle: true,
        };
        assert_eq!(read_options(&write_options(&options)), options);
        let unset = Options { strategy: Some(Strategy::Auto), ..Options::default() };
        assert_eq!(read_options(&write_options(&Options::default())), unset);
    }

    #[test]
    fn watermarks_survive_storing() {
        for list in [vec![], vec!["12".to_owned()], vec!["a:b".to_owned(), String::new(), "3:x".to_owned()]] {
            assert_eq!(read_list(&write_list(&list)), list);
        }
    }
}
