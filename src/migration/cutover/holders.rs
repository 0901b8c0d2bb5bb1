//! Who has the source or the shadow open, as the server shows it (F12): for the operator, and for FORCE.

use std::time::Duration;

use super::super::site::Site;
use crate::ids::TableName;
use crate::upstream::{self, Link, literal};

/// How long to wait before asking again. Both servers keep `INNODB_TRX` as it was until nobody has read it for 100 ms: who asks more often
/// is shown the same transactions for ever.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(150);

/// Somebody who holds a metadata lock. Never one who only waits for it, and never the engine itself.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    /// His connection; `None` where there is nobody any more, only a prepared XA transaction.
    pub(super) connection: Option<u64>,
    pub(super) user: String,
    /// Of his transaction, or of what he is doing.
    pub(super) age: Duration,
    /// In a prepared XA transaction, or where the server does not show that, perhaps in one.
    pub(super) is_xa: bool,
    /// Changes with his next transaction, or without one with his next statement.
    pub(super) mark: String,
}

impl Holder {
    /// "connection 42 of app".
    pub(super) fn name(&self) -> String {
        match self.connection {
            Some(id) if self.is_xa => format!("connection {id} of {} (perhaps a prepared XA transaction, see XA RECOVER)", self.user),
            Some(id) => format!("connection {id} of {}", self.user),
            None => "a prepared XA transaction whose client is gone (see XA RECOVER)".to_owned(),
        }
    }
}

/// All holders; `None` where the server does not show them.
pub(super) async fn on_the_server(site: &Site, link: &mut Link) -> Result<Option<Vec<Holder>>, upstream::Error> {
    let rows = if site.facts.is_mariadb { of_mariadb(site, link).await } else { of_mysql(site, link).await };
    let rows = match rows {
        // Without the privilege it cannot be seen.
        Err(error) if matches!(error.code(), Some(1142 | 1044 | 1227)) => return Ok(None),
        rows => rows?,
    };
    Ok(rows.map(|rows| rows.iter().filter_map(|row| parse(row)).collect()))
}

/// connection, user, seconds, is_xa, mark
fn parse(row: &[String]) -> Option<Holder> {
    let [id, user, seconds, is_xa, mark] = row else { return None };
    Some(Holder {
        connection: id.parse().ok().filter(|id| *id != 0),
        user: user.clone(),
        age: Duration::from_secs(seconds.parse().unwrap_or(0)),
        is_xa: is_xa == "1",
        mark: mark.clone(),
    })
}

type Rows = Option<Vec<Vec<String>>>;

fn is_one_of(site: &Site, schema: &str, table: &str) -> String {
    let is = |name: &TableName| format!("({schema} = {} AND {table} = {})", literal(&name.schema), literal(&name.table));
    format!("({} OR {})", is(&site.names.source), is(&site.names.shadow))
}

/// MySQL shows every granted lock with its owner; one without a connection is that of a prepared XA transaction.
async fn of_mysql(site: &Site, link: &mut Link) -> Result<Rows, upstream::Error> {
    let sql = format!(
        "SELECT DISTINCT COALESCE(t.PROCESSLIST_ID, 0), COALESCE(t.PROCESSLIST_USER, ''), \
         COALESCE(IF(x.STATE = 'ACTIVE', FLOOR(x.TIMER_WAIT / 1e12), NULL), t.PROCESSLIST_TIME, 0), \
         t.PROCESSLIST_ID IS NULL OR COALESCE(x.STATE = 'ACTIVE' AND x.XA_STATE IN ('PREPARED', 'IDLE'), 0), \
         CONCAT(m.OWNER_THREAD_ID, '/', IF(COALESCE(x.STATE, '') = 'ACTIVE', x.EVENT_ID, CONCAT('statement ', m.OWNER_EVENT_ID))) \
         FROM performance_schema.metadata_locks m LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
         LEFT JOIN performance_schema.events_transactions_current x ON x.THREAD_ID = m.OWNER_THREAD_ID \
         WHERE m.OBJECT_TYPE = 'TABLE' AND m.LOCK_STATUS = 'GRANTED' AND {} \
         AND COALESCE(t.PROCESSLIST_USER, '') <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)",
        is_one_of(site, "m.OBJECT_SCHEMA", "m.OBJECT_NAME")
    );
    link.texts(&sql).await.map(Some)
}

/// MariaDB shows them only with its plugin metadata_lock_info. Which connection is in a prepared XA transaction it does not show:
/// while there is any such transaction, whoever is idle may be in it.
async fn of_mariadb(site: &Site, link: &mut Link) -> Result<Rows, upstream::Error> {
    let plugin = "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO' AND PLUGIN_STATUS = 'ACTIVE'";
    if link.cell(plugin).await?.as_deref() != Some("1") {
        return Ok(None);
    }
    let has_prepared = !link.rows("XA RECOVER").await?.is_empty();
    let sql = format!(
        "SELECT DISTINCT COALESCE(p.ID, 0), COALESCE(p.USER, ''), GREATEST(COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), p.TIME, 0), 0), \
         p.ID IS NULL OR ({} AND p.COMMAND = 'Sleep'), \
         IF(COALESCE(x.trx_id, 0) <> 0, CONCAT('transaction ', x.trx_id), CONCAT('statement ', COALESCE(p.QUERY_ID, 0))) \
         FROM information_schema.METADATA_LOCK_INFO m LEFT JOIN information_schema.PROCESSLIST p ON p.ID = m.THREAD_ID \
         LEFT JOIN information_schema.INNODB_TRX x ON x.trx_mysql_thread_id = m.THREAD_ID \
         WHERE m.LOCK_TYPE = 'Table metadata lock' AND {} AND COALESCE(p.USER, '') <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)",
        u8::from(has_prepared),
        is_one_of(site, "m.TABLE_SCHEMA", "m.TABLE_NAME")
    );
    link.texts(&sql).await.map(Some)
}

/// For the operator, after an attempt that was called off: who has the tables open, or, where the server does not show that, who
/// has the oldest transactions of all. Empty, or a clause to be added to the reason. A server that does not answer soon is not
/// waited for.
pub(super) async fn suspects_soon(site: &Site, link: &mut Link) -> String {
    let who = tokio::time::timeout(Duration::from_secs(2), suspects(site, link)).await;
    who.ok().and_then(Result::ok).unwrap_or_default()
}

async fn suspects(site: &Site, link: &mut Link) -> Result<String, upstream::Error> {
    let (what, mut who) = match on_the_server(site, link).await? {
        Some(holders) => ("open there", holders),
        None => ("the oldest transactions on the server are of", oldest_transactions(link).await?),
    };
    who.sort_by_key(|holder| std::cmp::Reverse(holder.age));
    who.truncate(3);
    if who.is_empty() {
        return Ok(String::new());
    }
    let list: Vec<String> = who.iter().map(|holder| format!("{}, {} s", holder.name(), holder.age.as_secs())).collect();
    Ok(format!(" ({what}: {})", list.join("; ")))
}

async fn oldest_transactions(link: &mut Link) -> Result<Vec<Holder>, upstream::Error> {
    let sql = "SELECT COALESCE(p.ID, 0), COALESCE(p.USER, ''), GREATEST(COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), 0), 0), p.ID IS NULL, '' \
               FROM information_schema.INNODB_TRX x LEFT JOIN information_schema.PROCESSLIST p ON p.ID = x.trx_mysql_thread_id \
               WHERE COALESCE(p.USER, '') <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1) ORDER BY x.trx_started LIMIT 3";
    Ok(link.texts(sql).await?.iter().filter_map(|row| parse(row)).collect())
}
