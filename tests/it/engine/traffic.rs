//! Moving keys and moving unique values while migrations run, with keys of every type: at the end every row is its writer's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::{Load, TABLE, prepare};
use super::spaces::{INT, OTHERS};
use super::{LONG, copy_is_under_way, migrated};
use crate::support::servers::Settings;
use crate::support::{Kind, lab::Lab};

on_both_servers!(every_row_is_exact_after_three_migrations, keys_of_every_type_are_followed, long_chunks_do_not_bring_deleted_rows_back,);

async fn every_row_is_exact_after_three_migrations(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 20_000, 6).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 1, Duration::from_millis(2));
    load.more(300).await?;
    let mut admin = lab.admin().await?;
    for specification in ["ADD COLUMN x INT", "MODIFY c BIGINT", "ADD INDEX (note)"] {
        let status = migrated(&mut admin, specification).await?;
        ensure!(status.number("rows_copied") > 10_000.0, "{status:?}");
        load.more(100).await?;
    }
    let outcome = load.stop().await?;
    outcome.assert_clean(&mut conn).await?;
    lab.assert_nothing_left().await
}

async fn keys_of_every_type_are_followed(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(10)")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let mut conn = lab.server.connect().await?;
    for (space, seed) in OTHERS.into_iter().zip(1..) {
        let journals = prepare(&mut conn, space, 2000, 5).await?;
        let load = Load::start(lab.proxy.port, space, journals, seed, Duration::from_millis(2));
        load.more(200).await?;
        let mut admin = lab.admin().await?;
        let status = migrated(&mut admin, "ADD COLUMN x INT, ADD INDEX (note)").await.context(space.name)?;
        ensure!(status.number("rows_copied") > 1000.0, "{status:?}");
        load.more(100).await?;
        let outcome = load.stop().await?;
        outcome.assert_clean(&mut conn).await.context(space.name)?;
    }
    lab.assert_nothing_left().await
}

/// One worker and chunks of seconds: nearly every write falls into the chunk that is being copied (I-E5).
async fn long_chunks_do_not_bring_deleted_rows_back(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "3000")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 60_000, 8).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 3, Duration::from_millis(1));
    load.more(100).await?;
    let mut admin = lab.admin().await?;
    for specification in ["ADD COLUMN x INT, ADD INDEX (note)", "MODIFY c BIGINT"] {
        let id = admin.migrate(TABLE, specification, "WITH strategy = 'copy', copy_workers = 1").await?;
        copy_is_under_way(&mut admin, id).await?;
        admin.wait_done(id, LONG).await?;
    }
    let outcome = load.stop().await?;
    outcome.assert_clean(&mut conn).await
}
