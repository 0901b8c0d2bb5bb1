//! What the server shows of those who wait: never slept for, always asked.

use super::super::site::Site;
use crate::ids::TableName;
use crate::upstream::{self, Link, literal};

/// Whether a statement of this connection that begins with this word waits for a table's metadata lock.
pub(super) async fn waits(link: &mut Link, id: u32, word: &str) -> Result<bool, upstream::Error> {
    let sql = format!("SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {id} AND INFO LIKE '{word}%'");
    Ok(link.cell(&sql).await?.is_some_and(|state| state.starts_with("Waiting for table metadata lock")))
}

/// Whether the ALTER of this connection waits for a table's metadata lock.
pub(super) async fn alter_waits(link: &mut Link, alter: u32) -> Result<bool, upstream::Error> {
    let sql = format!("SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {alter} AND INFO LIKE 'ALTER%'");
    Ok(link.cell(&sql).await?.is_some_and(|state| state.starts_with("Waiting for table metadata lock")))
}

/// Whether the RENAME of this connection waits for the *source*, so that nobody gets at it before the RENAME.
///
/// MySQL shows who waits for which table. MariaDB shows it to those who try: a read that does not wait is turned away while an
/// exclusive lock is waited for, and goes through beside C1's READ lock while none is.
pub(super) async fn rename_waits_for_source(site: &Site, link: &mut Link, rename: u32) -> Result<bool, upstream::Error> {
    let source = &site.names.source;
    if site.facts.is_mariadb {
        let sql = format!("SET STATEMENT lock_wait_timeout = 0 FOR SELECT 1 FROM {} LIMIT 0", source.quoted());
        return match link.run(&sql).await {
            Ok(()) => Ok(false),
            Err(error) if error.code() == Some(1205) => Ok(true),
            Err(error) => Err(error),
        };
    }
    let sql = format!(
        "SELECT COUNT(*) FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
         WHERE t.PROCESSLIST_ID = {rename} AND m.LOCK_STATUS = 'PENDING' AND m.OBJECT_TYPE = 'TABLE' AND m.OBJECT_SCHEMA = {} AND m.OBJECT_NAME = {}",
        literal(&source.schema),
        literal(&source.table)
    );
    Ok(link.cell(&sql).await?.is_some_and(|count| count != "0"))
}

/// Whether an exclusive lock on a table is waited for, or held, on MariaDB: PREPARE wants to know the table and nothing of its rows, so
/// LOCK TABLES, held or waited for, does not keep it out.
pub(super) async fn is_wanted_alone(table: &TableName, link: &mut Link) -> Result<bool, upstream::Error> {
    let sql = format!("SELECT 1 FROM {} LIMIT 0", table.quoted());
    match link.run(&format!("SET STATEMENT lock_wait_timeout = 0 FOR PREPARE tidegate_wanted FROM {}", literal(&sql))).await {
        Ok(()) => Ok(false),
        Err(error) if error.code() == Some(1205) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Statements that never take an exclusive lock on a table: behind a RENAME that waits, they wait as well.
const HARMLESS: &str = "SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|VALUES|TABLE|LOAD|CALL|DO|SET|EXECUTE|PREPARE|LOCK|UNLOCK|HANDLER|SHOW|DESC|EXPLAIN|\
                        CHECK|CHECKSUM|BEGIN|START|COMMIT|ROLLBACK|XA|KILL|USE|FLUSH|BINLOG";

/// Statements that want rows of a table at the most.
const ON_ROWS: &str = "SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|VALUES|DO|SET|SHOW|DESC|EXPLAIN|BEGIN|START|COMMIT|ROLLBACK|KILL|USE";

/// Somebody round the proxy who changes the source's definition at this moment. Asked while the RENAME waits: whoever comes later
/// waits behind it, but whoever came before would get the old table when C1 unlocks, and his change would be swapped out with it.
pub(super) async fn ddl_under_way(site: &Site, link: &mut Link) -> Result<Option<String>, upstream::Error> {
    running_but(HARMLESS, site, link).await
}

/// Somebody round the proxy whose statement may take a lock on the source that keeps readers out, or changes its definition.
pub(super) async fn lock_wanted(site: &Site, link: &mut Link) -> Result<Option<String>, upstream::Error> {
    running_but(ON_ROWS, site, link).await
}

/// Somebody else's statement that mentions the source and does not begin with one of these words.
async fn running_but(harmless: &str, site: &Site, link: &mut Link) -> Result<Option<String>, upstream::Error> {
    let mention = site.names.source.table.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let sql = format!(
        "SELECT ID, USER, TIME, LEFT(INFO, 100) FROM information_schema.PROCESSLIST \
         WHERE INFO LIKE {} AND USER <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND COMMAND <> 'Sleep' \
         AND INFO NOT REGEXP {} ORDER BY TIME DESC LIMIT 1",
        literal(&format!("%{mention}%")),
        literal(&format!("^([[:space:](]|/[*].*[*]/)*({harmless})([^a-zA-Z_]|$)"))
    );
    let rows = link.texts(&sql).await?;
    Ok(rows.first().and_then(|row| match row.as_slice() {
        [id, user, seconds, text] => Some(format!("connection {id} of {user} has been running {text} for {seconds} s")),
        _ => None,
    }))
}
