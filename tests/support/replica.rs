//! One server as another's replica.

use anyhow::{Context, Result};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::servers::{APP, Kind, Server};

/// Makes a server follow what is written to another one from now on, reading from a port that leads to it.
pub async fn follow(replica: &Server, source: &Server, port: u16) -> Result<()> {
    let (user, password) = APP;
    let is_mysql = source.kind == Kind::MySql;
    let status: Row = source
        .connect()
        .await?
        .query_first(if is_mysql { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" })
        .await?
        .context("no log")?;
    let (file, position): (String, u64) = (status.get(0).context("no file")?, status.get(1).context("no position")?);
    let statements = match source.kind {
        Kind::MySql => [
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = '{user}', \
                 SOURCE_PASSWORD = '{password}', SOURCE_LOG_FILE = '{file}', SOURCE_LOG_POS = {position}, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_SSL = 0, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1"
            ),
            "START REPLICA".to_owned(),
        ],
        Kind::MariaDb => [
            format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
                 MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1"
            ),
            "START SLAVE".to_owned(),
        ],
    };
    run(replica, &statements).await
}

/// The same by GTID, with everything that the source has as good as had already.
pub async fn follow_by_gtid(replica: &Server, source: &Server) -> Result<()> {
    let (port, user, password) = (source.port, APP.0, APP.1);
    let mut there = source.connect().await?;
    let statements = match source.kind {
        Kind::MySql => {
            let gtids: String = there.query_first("SELECT @@GLOBAL.gtid_executed").await?.context("no GTIDs")?;
            [
                "RESET BINARY LOGS AND GTIDS".to_owned(),
                format!("SET GLOBAL gtid_purged = '{gtids}'"),
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = '{user}', SOURCE_PASSWORD = '{password}', \
                     SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_SSL = 0"
                ),
                "START REPLICA".to_owned(),
            ]
        }
        Kind::MariaDb => {
            let gtids: String = there.query_first("SELECT @@GLOBAL.gtid_binlog_pos").await?.context("no GTIDs")?;
            [
                "RESET MASTER".to_owned(),
                format!("SET GLOBAL gtid_slave_pos = '{gtids}'"),
                format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
                     MASTER_USE_GTID = slave_pos"
                ),
                "START SLAVE".to_owned(),
            ]
        }
    };
    run(replica, &statements).await
}

async fn run(server: &Server, statements: &[String]) -> Result<()> {
    let mut conn = server.connect().await?;
    for statement in statements {
        conn.query_drop(statement).await.with_context(|| statement.clone())?;
    }
    Ok(())
}
