//! Rows of the shadow that become others behind the engine's back: the comparison finds each of them, says which, and swaps nothing.

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use super::LONG;
use crate::support::lab::Lab;
use crate::support::servers::Settings;
use crate::support::{Kind, compare};

on_both_servers!(a_row_that_differs_ends_the_migration,);

/// ALTERs whose rows are compared as they are, as they are although the type is another one, and converted first.
const ALTERS: [&str; 3] =
    ["ADD COLUMN x INT", "MODIFY amount DECIMAL(12,2) NOT NULL, MODIFY note VARCHAR(40)", "MODIFY amount DECIMAL(12,4) NOT NULL"];

/// What happens to the shadow, and the keys of which one is named.
const DAMAGE: [(&str, &[u32]); 5] = [
    ("UPDATE `~shadow_shop`.t SET amount = amount + 1 WHERE k = 7", &[7]),
    ("UPDATE `~shadow_shop`.t SET note = NULL WHERE k = 7", &[7]),
    ("UPDATE `~shadow_shop`.t SET amount = IF(k = 7, 8, 7) WHERE k IN (7, 8)", &[7, 8]),
    ("DELETE FROM `~shadow_shop`.t WHERE k = 7", &[7]),
    ("INSERT INTO `~shadow_shop`.t (k, amount, note) VALUES (500, 1, 'x')", &[500]),
];

async fn a_row_that_differs_ends_the_migration(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let (mut conn, mut admin) = (lab.server.connect().await?, lab.admin().await?);
    conn.query_drop("CREATE DATABASE shop").await?;
    conn.query_drop("CREATE TABLE shop.t (k INT PRIMARY KEY, amount DECIMAL(10,2) NOT NULL, note VARCHAR(20))").await?;
    conn.query_drop(
        "INSERT INTO shop.t WITH RECURSIVE n AS (SELECT 1 k UNION ALL SELECT k + 1 FROM n WHERE k < 100) SELECT k, k, '' FROM n",
    )
    .await?;
    let before = compare::definition(&mut conn, "shop.t").await?;
    for alter in ALTERS {
        for (damage, keys) in DAMAGE {
            let what = format!("{alter}: {damage}");
            failpoints.stop_at("verify.chunk")?;
            let id = admin.migrate("shop.t", alter, "WITH strategy = 'copy'").await?;
            failpoints.stopped(LONG).await.with_context(|| what.clone())?;
            let until = std::time::Instant::now() + LONG;
            while conn.query_first::<u64, _>("SELECT COUNT(*) FROM `~shadow_shop`.t").await? != Some(100) {
                ensure!(std::time::Instant::now() < until, "{what}: the copy does not end");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            conn.query_drop(damage).await?;
            failpoints.go()?;
            let status = admin.wait_phase(id, &["failed", "done"], LONG).await?;
            let said = format!("{status:?}");
            let names_one = keys.iter().any(|key| said.contains(&format!("the row k = {key} of shop.t differs in the shadow")));
            ensure!(status.phase() == "failed" && names_one, "{what}: {said}");
            ensure!(compare::definition(&mut conn, "shop.t").await? == before, "{what}: the table was changed");
            lab.assert_nothing_left().await.context(what)?;
        }
    }
    Ok(())
}
