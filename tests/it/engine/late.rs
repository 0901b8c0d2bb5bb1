//! Rows that the new definition does not take and that come only after the copy: refused as the server would, nothing lost.

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::load::{TABLE, prepare};
use super::spaces::INT;
use super::{LONG, copy_is_under_way};
use crate::support::lab::{Lab, SCHEMA};
use crate::support::servers::Settings;
use crate::support::{Kind, compare};

on_both_servers!(late_duplicates_are_refused, late_nulls_and_long_values_are_refused, duplicates_during_the_copy_are_refused);

/// A quiet table whose notes are all different.
async fn table(conn: &mut Conn) -> Result<()> {
    prepare(conn, INT, 2000, 1).await?;
    conn.query_drop(format!("UPDATE {TABLE} SET note = CONCAT('note ', k)")).await?;
    Ok(())
}

async fn rows(conn: &mut Conn) -> Result<Vec<(i64, i64, Option<i64>, Option<String>)>> {
    Ok(conn.query(format!("SELECT k, u, c, note FROM {TABLE} ORDER BY k")).await?)
}

/// When the rows come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Copying,
    Ready,
    /// The cut-over is asked for in the same moment.
    AtTheCutOver,
}

/// Writes at such a time; the migration must then fail with the number that the server's own ALTER gives, and leave the table alone.
async fn refused(lab: &Lab, specification: &str, when: When, writes: &[&str]) -> Result<()> {
    let mut conn = lab.server.connect().await?;
    table(&mut conn).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, specification, "WITH strategy = 'copy', postpone = true, copy_workers = 1").await?;
    match when {
        When::Copying => drop(copy_is_under_way(&mut admin, id).await?),
        When::Ready | When::AtTheCutOver => drop(admin.wait_phase(id, &["ready"], LONG).await?),
    }
    let definition = compare::definition(&mut conn, TABLE).await?;
    let mut client = lab.proxy.connect().await?;
    for write in writes {
        client.query_drop(*write).await?;
    }
    let before = rows(&mut conn).await?;
    if when == When::AtTheCutOver {
        // It may have been refused already.
        let _ = admin.run(&format!("CUTOVER MIGRATION {id}")).await;
    }
    let status = admin.wait_phase(id, &["failed", "done"], LONG).await;
    ensure!(rows(&mut conn).await? == before, "rows were lost or changed");
    let status = status?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "t", true).await?;
    let (code, message) = compare::alter_twin(&mut conn, &twin, specification).await?.context("the server itself takes it")?;
    ensure!(status.phase() == "failed", "the server says {code} {message:?}, the migration went through: {status:?}");
    ensure!(status.error_code() == code, "the server says {code} {message:?}, Tidegate says {status:?}");
    ensure!(compare::definition(&mut conn, TABLE).await? == definition, "the source was touched");
    lab.assert_nothing_left().await
}

async fn late_duplicates_are_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let twice =
        ["INSERT INTO shop.t (k, u, c, note) VALUES (1, -1, 1, 'twice')", "INSERT INTO shop.t (k, u, c, note) VALUES (3, -3, 1, 'twice')"];
    refused(&lab, "ADD UNIQUE KEY (note)", When::Ready, &twice).await.context("two new rows")?;
    let like_an_old_one = ["INSERT INTO shop.t (k, u, c, note) VALUES (1, -1, 1, 'note 20')"];
    refused(&lab, "ADD UNIQUE KEY (note)", When::AtTheCutOver, &like_an_old_one).await.context("a new row like a copied one")?;
    let becomes_like = ["UPDATE shop.t SET note = 'note 20' WHERE k = 30000"];
    refused(&lab, "ADD UNIQUE KEY (note)", When::AtTheCutOver, &becomes_like).await.context("a copied row becomes like another")
}

async fn duplicates_during_the_copy_are_refused(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(150)")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let writes = ["INSERT INTO shop.t (k, u, c, note) VALUES (1, -1, 1, 'note 20')", "UPDATE shop.t SET note = 'note 40' WHERE k = 39900"];
    refused(&lab, "ADD UNIQUE KEY (note)", When::Copying, &writes).await
}

async fn late_nulls_and_long_values_are_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    refused(&lab, "MODIFY c INT NOT NULL", When::Ready, &["UPDATE shop.t SET c = NULL WHERE k = 300"]).await.context("NULL")?;
    refused(&lab, "MODIFY note VARCHAR(20)", When::AtTheCutOver, &["UPDATE shop.t SET note = REPEAT('x', 30) WHERE k = 300"])
        .await
        .context("long")?;
    refused(&lab, "MODIFY c TINYINT", When::AtTheCutOver, &["UPDATE shop.t SET c = 300 WHERE k = 300"]).await.context("out of range")
}
