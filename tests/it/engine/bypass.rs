//! Somebody goes round the proxy: DDL and statement-based writes that the engine cannot follow end the migration, and it says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::load::{TABLE, prepare};
use super::spaces::INT;
use super::{LONG, copy_is_under_way};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, compare, lab::Lab};

on_both_servers!(ddl_behind_the_proxy_ends_the_migration, ddl_through_the_proxy_is_refused, statement_based_writes_end_the_migration);

async fn slow_lab(kind: Kind) -> Result<Lab> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(100)")];
    Lab::start_with(kind, Settings::default(), &environment).await
}

async fn fingerprint(conn: &mut Conn) -> Result<(String, Option<(String, u64)>)> {
    Ok((compare::definition(conn, TABLE).await?, conn.query_first(format!("CHECKSUM TABLE {TABLE} EXTENDED")).await?))
}

async fn begun(admin: &mut Admin) -> Result<u64> {
    let id = admin.migrate(TABLE, "ADD COLUMN x INT, ADD INDEX (note)", "WITH strategy = 'copy', copy_workers = 1").await?;
    copy_is_under_way(admin, id).await?;
    Ok(id)
}

async fn ddl_behind_the_proxy_ends_the_migration(kind: Kind) -> Result<()> {
    let lab = slow_lab(kind).await?;
    let mut conn = lab.server.connect().await?;
    let mut admin = lab.admin().await?;
    for (ddl, word) in [
        ("ALTER TABLE shop.t ADD COLUMN theirs INT", "alter"),
        ("TRUNCATE TABLE shop.t", "truncate"),
        ("ALTER TABLE shop.t DROP COLUMN note", "alter"),
        ("CREATE INDEX theirs ON shop.t (c)", "create index"),
        ("RENAME TABLE shop.t TO shop.elsewhere, shop.elsewhere TO shop.t", "rename"),
    ] {
        prepare(&mut conn, INT, 3000, 1).await?;
        let id = begun(&mut admin).await.context(ddl)?;
        conn.query_drop(ddl).await?;
        let left = fingerprint(&mut conn).await?;
        let status = admin.wait_phase(id, &["failed"], LONG).await.context(ddl)?;
        let error = status.text("error").to_lowercase();
        ensure!(error.contains("shop.t") && error.contains(word), "{ddl}: the error does not name it: {status:?}");
        ensure!(fingerprint(&mut conn).await? == left, "{ddl}: the table is not as it was left");
        lab.assert_nothing_left().await.context(ddl)?;
    }
    Ok(())
}

async fn ddl_through_the_proxy_is_refused(kind: Kind) -> Result<()> {
    let lab = slow_lab(kind).await?;
    let mut conn = lab.server.connect().await?;
    prepare(&mut conn, INT, 3000, 1).await?;
    let mut admin = lab.admin().await?;
    let id = begun(&mut admin).await?;
    let mut client = lab.proxy.connect().await?;
    for ddl in ["ALTER TABLE shop.t ADD COLUMN theirs INT", "TRUNCATE TABLE shop.t", "DROP TABLE shop.t"] {
        match client.query_drop(ddl).await {
            Err(mysql_async::Error::Server(error)) => ensure!(error.code == 1846, "{ddl}: {error:?}"),
            other => anyhow::bail!("{ddl} was answered with {other:?}"),
        }
    }
    admin.wait_done(id, LONG).await?;
    let rows: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM {TABLE}")).await?;
    ensure!(rows == Some(3000), "{rows:?} rows");
    Ok(())
}

async fn statement_based_writes_end_the_migration(kind: Kind) -> Result<()> {
    let lab = slow_lab(kind).await?;
    let mut conn = lab.server.connect().await?;
    prepare(&mut conn, INT, 3000, 1).await?;
    let mut writer = lab.server.connect().await?;
    if let Err(error) = writer.query_drop("SET SESSION binlog_format = 'STATEMENT'").await {
        // A server without that format cannot be written to in this way: nothing to follow.
        ensure!(kind == Kind::MySql, "{error:?}");
        return Ok(());
    }
    let mut admin = lab.admin().await?;
    let id = begun(&mut admin).await?;
    writer.query_drop(format!("UPDATE {TABLE} SET c = c + 1 WHERE k < 100")).await?;
    let left = fingerprint(&mut conn).await?;
    let status = admin.wait_phase(id, &["failed"], LONG).await?;
    let error = status.text("error");
    ensure!(error.contains("shop.t") && error.contains("STATEMENT"), "{status:?}");
    ensure!(fingerprint(&mut conn).await? == left, "the table is not as it was left");
    tokio::time::sleep(Duration::from_millis(10)).await;
    lab.assert_nothing_left().await
}
