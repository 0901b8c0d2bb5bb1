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

on_both_servers!(
    late_duplicates_are_refused,
    late_nulls_and_long_values_are_refused,
    a_row_that_is_mended_before_it_is_judged_is_not_refused,
    duplicates_during_the_copy_are_refused,
    a_late_row_whose_key_is_cut_is_refused,
    a_late_row_that_would_be_numbered_is_refused,
    a_late_row_that_is_another_ones_by_the_new_collation_is_refused,
    a_row_that_somebody_else_puts_there_is_not_taken_for_the_late_one,
);

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

/// The row had a NULL when it was applied, and has none when the server is asked what its ALTER says of it.
async fn a_row_that_is_mended_before_it_is_judged_is_not_refused(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let (mut conn, mut admin) = (lab.server.connect().await?, lab.admin().await?);
    table(&mut conn).await?;
    let id = admin.migrate(TABLE, "MODIFY c INT NOT NULL", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    failpoints.stop_at("apply.refused")?;
    conn.query_drop(format!("UPDATE {TABLE} SET c = NULL WHERE k = 300")).await?;
    failpoints.stopped(LONG).await?;
    conn.query_drop(format!("UPDATE {TABLE} SET c = 4711 WHERE k = 300")).await?;
    failpoints.go()?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    let row: Option<i64> = conn.query_first(format!("SELECT c FROM {TABLE} WHERE k = 300")).await?;
    ensure!(row == Some(4711), "{row:?}");
    lab.assert_nothing_left().await
}

/// Without strict mode the server gives such a row another key. It could not be found again: deleted in the source, it would stay in the
/// shadow. Found while it is applied, and where it comes when the gate has drained.
async fn a_late_row_whose_key_is_cut_is_refused(kind: Kind) -> Result<()> {
    let lenient = Settings { more: vec!["--sql-mode=NO_ENGINE_SUBSTITUTION".into()], ..Settings::default() };
    let (lab, failpoints) = Lab::with_failpoints(kind, lenient, &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "5000")]).await?;
    let mut conn = lab.server.connect().await?;
    let mut admin = lab.admin().await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    for (column, specification, late) in [
        ("VARCHAR(4) CHARACTER SET utf8mb4", "MODIFY k VARCHAR(4) CHARACTER SET latin1 NOT NULL", "'\u{416}'"),
        ("INT", "MODIFY k TINYINT NOT NULL", "3000"),
    ] {
        for is_drained in [false, true] {
            let context = || format!("{specification}, drained: {is_drained}");
            conn.query_drop("DROP TABLE IF EXISTS shop.cut").await?;
            conn.query_drop(format!("CREATE TABLE shop.cut (k {column} NOT NULL PRIMARY KEY)")).await?;
            conn.query_drop("INSERT INTO shop.cut VALUES ('1'), ('2'), ('3')").await?;
            let id = admin.migrate("shop.cut", specification, "WITH strategy = 'copy', postpone = true").await?;
            admin.wait_phase(id, &["ready"], LONG).await.with_context(context)?;
            if is_drained {
                failpoints.stop_at("cutover.drained")?;
                admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
                failpoints.stopped(LONG).await?;
            }
            // Round the proxy: the gate is closed.
            conn.query_drop(format!("INSERT INTO shop.cut VALUES ({late})")).await?;
            if is_drained {
                failpoints.go()?;
            }
            let status = admin.wait_phase(id, &["failed", "done"], LONG).await.with_context(context)?;
            let is_refused =
                status.phase() == "failed" && status.error_code() == 1235 && status.text("error").contains("cannot be followed");
            ensure!(is_refused, "{}: {status:?}", context());
            let kept: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM shop.cut WHERE k = {late}")).await?;
            ensure!(kept == Some(1), "{}: the row is not as it was", context());
            lab.assert_nothing_left().await.with_context(context)?;
        }
    }
    Ok(())
}

/// A 0 where the ALTER makes the column AUTO_INCREMENT: the server would give the row a number of its own, at its moment.
async fn a_late_row_that_would_be_numbered_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    conn.query_drop("CREATE TABLE shop.numbered (id INT NOT NULL PRIMARY KEY)").await?;
    conn.query_drop("INSERT INTO shop.numbered VALUES (1), (2)").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.numbered", "MODIFY id INT NOT NULL AUTO_INCREMENT", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    conn.query_drop("INSERT INTO shop.numbered VALUES (0)").await?;
    lab.proxy.connect().await?.query_drop("UPDATE shop.numbered SET id = 3 WHERE id = 2").await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let status = admin.wait_phase(id, &["failed", "done"], LONG).await?;
    ensure!(status.phase() == "failed" && status.error_code() == 1235 && status.text("error").contains("AUTO_INCREMENT"), "{status:?}");
    let rows: Vec<u64> = conn.query("SELECT id FROM shop.numbered ORDER BY id").await?;
    ensure!(rows == [0, 1, 3], "{rows:?}");
    lab.assert_nothing_left().await
}

/// Two keys that differ now and are one by the new collation: the later row must not take the place of the earlier one.
async fn a_late_row_that_is_another_ones_by_the_new_collation_is_refused(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "5000")]).await?;
    let mut conn = lab.server.connect().await?;
    let mut admin = lab.admin().await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    let column = |collation: &str| format!("k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL");
    for is_drained in [false, true] {
        conn.query_drop("DROP TABLE IF EXISTS shop.cut").await?;
        conn.query_drop(format!("CREATE TABLE shop.cut ({} PRIMARY KEY, c INT)", column("utf8mb4_bin"))).await?;
        conn.query_drop("INSERT INTO shop.cut VALUES ('a', 1), ('b', 2)").await?;
        let specification = format!("MODIFY {}", column("utf8mb4_general_ci"));
        let id = admin.migrate("shop.cut", &specification, "WITH strategy = 'copy', postpone = true").await?;
        admin.wait_phase(id, &["ready"], LONG).await?;
        if is_drained {
            failpoints.stop_at("cutover.drained")?;
            admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
            failpoints.stopped(LONG).await?;
        }
        // Round the proxy: the gate may be closed.
        conn.query_drop("INSERT INTO shop.cut VALUES ('A', 3)").await?;
        if is_drained {
            failpoints.go()?;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        }
        let status = admin.wait_phase(id, &["failed", "done"], LONG).await?;
        let rows: Vec<(String, i64)> = conn.query("SELECT k, c FROM shop.cut ORDER BY c").await?;
        ensure!(rows == [("a".into(), 1), ("b".into(), 2), ("A".into(), 3)], "drained: {is_drained}: {rows:?}, {status:?}");
        ensure!(status.phase() == "failed" && status.error_code() == 1062, "drained: {is_drained}: {status:?}");
        lab.assert_nothing_left().await?;
    }
    Ok(())
}

/// Such as a chunk of an earlier run that the server reads late: what it brings may be older.
async fn a_row_that_somebody_else_puts_there_is_not_taken_for_the_late_one(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let (mut conn, mut admin) = (lab.server.connect().await?, lab.admin().await?);
    conn.query_drop("CREATE DATABASE shop").await?;
    conn.query_drop("CREATE TABLE shop.kept (k INT PRIMARY KEY, c INT NOT NULL)").await?;
    conn.query_drop("INSERT INTO shop.kept VALUES (1, 1), (2, 1), (3, 1)").await?;
    let id = admin.migrate("shop.kept", "ADD COLUMN x INT", "WITH strategy = 'copy', postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    conn.query_drop("DELETE FROM `~shadow_shop`.kept WHERE k = 1").await?;
    failpoints.stop_at("apply.placing")?;
    conn.query_drop("UPDATE shop.kept SET c = 2 WHERE k < 3").await?;
    failpoints.stopped(LONG).await?;
    conn.query_drop("INSERT INTO `~shadow_shop`.kept (k, c) VALUES (1, 1)").await?;
    failpoints.go()?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    let rows: Vec<(i32, i32)> = conn.query("SELECT k, c FROM shop.kept ORDER BY k").await?;
    ensure!(rows == [(1, 2), (2, 2), (3, 1)], "{rows:?}");
    lab.assert_nothing_left().await
}
