//! The revert window of a group: its tables follow each for itself, and are swapped back together, whatever dies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use super::{Clients, LONG, definitions, foreign_keys, migrate, prepared, renames, triggers};
use crate::lifecycle;
use crate::support::admin::{Status, server_error};
use crate::support::servers::Settings;
use crate::support::writers::Writers;
use crate::support::{Admin, Kind, Lab};

on_both_servers!(
    swapped_back_and_forth_together,
    what_one_cannot_follow_ends_the_way_back_of_all,
    the_window_ends_for_all,
    the_proxy_dies_on_the_way_back,
    triggers_and_foreign_keys_go_back_as_well,
);

const WINDOW: &str = "WITH revert_window_s = 600, max_hold_ms = 20000";

/// All of them in the window after so many swaps.
async fn reversible(admin: &mut Admin, ids: &[u64], swaps: f64) -> Result<()> {
    for id in ids {
        lifecycle::reversible(admin, *id, swaps).await?;
    }
    Ok(())
}

async fn ended(admin: &mut Admin, ids: &[u64], phase: &str) -> Result<()> {
    for id in ids {
        admin.wait_phase(*id, &[phase], LONG).await?;
    }
    Ok(())
}

/// Readers and writers look all the while whether they ever meet one new table and one old.
async fn swapped_back_and_forth_together(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let before = definitions(&lab).await?;
    let clients = Clients::start(&lab, false);
    clients.more(30).await?;
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b ADD COLUMN x INT {WINDOW}")).await?;
    reversible(&mut admin, &ids, 1.0).await?;
    let altered = definitions(&lab).await?;
    ensure!(altered != before, "nothing was altered");
    for swaps in [2.0, 3.0, 4.0] {
        clients.more(60).await?;
        // Said of any of them.
        admin.run(&format!("REVERT MIGRATION {}", ids[swaps as usize % 2])).await?;
        reversible(&mut admin, &ids, swaps).await?;
        let is_back = (swaps as u64).is_multiple_of(2);
        ensure!(definitions(&lab).await? == if is_back { before.clone() } else { altered.clone() }, "after {swaps} swaps");
    }
    clients.more(30).await?;
    admin.run(&format!("CLEANUP MIGRATION {}", ids[1])).await?;
    ended(&mut admin, &ids, "reverted").await?;
    clients.stop(&lab).await?;
    let renames = renames(&mut lab.server.connect().await?).await?;
    ensure!(renames.len() == 4 && renames.iter().all(|text| text.contains("`shop`.`a`") && text.contains("`other`.`b`")), "{renames:?}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

async fn what_one_cannot_follow_ends_the_way_back_of_all(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let mut admin = lab.admin().await?;
    let text = format!("MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b MODIFY v BIGINT NOT NULL DEFAULT 0 {WINDOW}");
    let ids = migrate(&mut admin, &text).await?;
    reversible(&mut admin, &ids, 1.0).await?;
    let mut client = lab.proxy.connect().await?;
    client.query_drop("UPDATE other.b SET v = 5000000000 WHERE id = 1").await?;
    for id in &ids {
        lifecycle::wait_until(&mut admin, *id, "the obstacle", |status| status.text("note").starts_with("cannot be reverted")).await?;
        let refused = admin.run(&format!("REVERT MIGRATION {id}")).await.err().context("REVERT was taken")?;
        ensure!(server_error(&refused).is_some_and(|(code, text)| code == 1105 && text.contains("Out of range")), "{refused:#}");
    }
    client.query_drop("UPDATE shop.a SET v = 3, x = 4 WHERE id = 1").await?;
    let values: Option<(i64, i64, i64)> = client.query_first("SELECT b.v, a.v, x FROM other.b JOIN shop.a USING (id) WHERE id = 1").await?;
    ensure!(values == Some((5_000_000_000, 3, 4)), "{values:?}");
    admin.run(&format!("CLEANUP MIGRATION {}", ids[0])).await?;
    ended(&mut admin, &ids, "done").await?;
    lab.assert_nothing_left().await
}

async fn the_window_ends_for_all(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, "MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b FORCE WITH revert_window_s = 2").await?;
    ended(&mut admin, &ids, "done").await?;
    lab.assert_nothing_left().await?;
    for id in &ids {
        let late = admin.run(&format!("REVERT MIGRATION {id}")).await.err().context("REVERT after the window was taken")?;
        ensure!(server_error(&late).is_some_and(|(code, _)| code == 1105), "{late:#}");
    }
    let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a DROP COLUMN x, TABLE other.b FORCE {WINDOW}")).await?;
    reversible(&mut admin, &ids, 1.0).await?;
    let second = admin.run("MIGRATE TABLE other.b ADD COLUMN y INT").await.err().context("a second migration began in the window")?;
    ensure!(server_error(&second).is_some_and(|(code, text)| code == 1846 && text.contains("CLEANUP")), "{second:#}");
    // A wish that is taken back while it waits for the tables to be let go.
    let mut reader = lab.proxy.connect().await?;
    reader.query_drop("BEGIN").await?;
    reader.query_drop("UPDATE shop.a SET v = 1 WHERE id = 1").await?;
    admin.run(&format!("REVERT MIGRATION {}", ids[0])).await?;
    for id in &ids {
        admin.wait_phase(*id, &["reverting", "swapping_back"], LONG).await?;
    }
    while admin.run(&format!("CANCEL MIGRATION {}", ids[1])).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reversible(&mut admin, &ids, 1.0).await?;
    reader.query_drop("COMMIT").await?;
    admin.run(&format!("CLEANUP MIGRATION {}", ids[0])).await?;
    ended(&mut admin, &ids, "done").await?;
    lab.assert_nothing_left().await
}

/// Every step of a swap back, and those between the books of the one table and of the other.
async fn the_proxy_dies_on_the_way_back(kind: Kind) -> Result<()> {
    let mut lab = prepared(kind, &[]).await?;
    let clients = Clients::start(&lab, true);
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b ADD COLUMN x INT {WINDOW}")).await?;
    let mut swaps = 1.0;
    let mut points = vec![
        "group.wished",
        "revert.wished",
        "group.begun",
        "cutover.locked",
        "cutover.rename_issued",
        "cutover.renamed",
        "cutover.unlocked",
        "group.swapped",
        "cutover.recorded",
    ];
    if kind == Kind::MariaDb {
        points.push("cutover.source_unlocked");
    }
    for point in points {
        reversible(&mut admin, &ids, swaps).await?;
        lab.proxy.kill_hard();
        lab.proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
        clients.more(20).await?;
        admin = lab.admin().await?;
        reversible(&mut admin, &ids, swaps).await?;
        let _ = admin.run(&format!("REVERT MIGRATION {}", ids[0])).await;
        lab.proxy.ended(LONG).await.with_context(|| format!("{point} was not reached:\n{}", lab.proxy.log()))?;
        lab.proxy.launch(&[]).await?;
        admin = lab.admin().await?;
        swaps += 1.0;
        // The wish is stored: whoever takes over swaps back.
        reversible(&mut admin, &ids, swaps).await.context(point)?;
        clients.more(20).await?;
    }
    admin.run(&format!("CLEANUP MIGRATION {}", ids[0])).await?;
    ended(&mut admin, &ids, if (swaps as u64).is_multiple_of(2) { "reverted" } else { "done" }).await?;
    clients.stop(&lab).await?;
    let renames = renames(&mut lab.server.connect().await?).await?;
    ensure!(renames.len() as f64 == swaps, "{swaps} swaps, and a replica is told of {renames:?}");
    lab.assert_nothing_left().await
}

async fn triggers_and_foreign_keys_go_back_as_well(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, triggers::settings(), &[]).await?;
    let before = triggers::prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, through, round, round], triggers::PLAN);
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b ADD COLUMN x INT {WINDOW}")).await?;
    there_and_back(&mut admin, &ids, &writers).await?;
    writers.end_without_an_error().await?;
    triggers::judge(&lab.server, &before).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])?;
    drop(lab);
    if kind == Kind::MariaDb {
        // Refused, with a window or without: `foreign_keys.rs`.
        return Ok(());
    }
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = foreign_keys::prepare(&lab.server).await?;
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, through, round], foreign_keys::PLAN);
    let mut admin = lab.admin().await?;
    let text = format!("{}, revert_window_s = 600", foreign_keys::group(0));
    let ids: Vec<u64> = admin.rows(&text).await?.iter().map(Status::id).collect();
    there_and_back(&mut admin, &ids, &writers).await?;
    writers.end_without_an_error().await?;
    foreign_keys::judge(&lab.server, &before, 0).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

/// Swapped, back, again, and back for good.
async fn there_and_back(admin: &mut Admin, ids: &[u64], writers: &Writers) -> Result<()> {
    for swaps in [1.0, 2.0, 3.0, 4.0] {
        reversible(admin, ids, swaps).await?;
        writers.more(60).await?;
        if swaps < 4.0 {
            admin.run(&format!("REVERT MIGRATION {}", ids[1])).await?;
        }
    }
    admin.run(&format!("CLEANUP MIGRATION {}", ids[0])).await?;
    ended(admin, ids, "reverted").await
}
