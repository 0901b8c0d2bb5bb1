//! The proxy dies, the server goes away: nothing is lost, and the migration goes on or says why not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::lab::{Lab, TABLE, assert_nothing_lost};
use crate::support::load::Options;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, Proxy, Server, compare};

on_both_servers!(
    proxy_killed_in_the_copy,
    proxy_dies_while_preparing,
    proxy_dies_in_the_copy,
    proxy_dies_while_applying,
    proxy_dies_while_verifying,
    proxy_dies_holding,
    proxy_dies_drained,
    proxy_dies_with_the_tables_locked,
    proxy_dies_caught_up,
    proxy_dies_with_the_rename_issued,
    proxy_dies_right_after_the_rename,
    proxy_dies_after_unlocking,
    proxy_dies_after_recording_the_swap,
    proxy_dies_while_cleaning_up,
    server_killed_in_the_copy,
);

const ALTER: &str = "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id)";

macro_rules! dies_at {
    ($($name:ident: $point:literal),+ $(,)?) => {$(
        async fn $name(kind: Kind) -> Result<()> {
            dies_at(kind, $point).await
        }
    )+};
}

dies_at!(
    proxy_dies_while_preparing: "prepare.shadow_created",
    proxy_dies_in_the_copy: "copy.chunk",
    proxy_dies_while_applying: "apply.round",
    proxy_dies_while_verifying: "verify.chunk",
    proxy_dies_holding: "cutover.hold",
    proxy_dies_drained: "cutover.drained",
    proxy_dies_with_the_tables_locked: "cutover.locked",
    proxy_dies_caught_up: "cutover.caught_up",
    proxy_dies_with_the_rename_issued: "cutover.rename_issued",
    proxy_dies_right_after_the_rename: "cutover.renamed",
    proxy_dies_after_unlocking: "cutover.unlocked",
    proxy_dies_after_recording_the_swap: "cutover.recorded",
    proxy_dies_while_cleaning_up: "cleanup.drop",
);

/// A server, and a proxy that will die at `point` once a migration reaches it.
async fn doomed_lab(kind: Kind, point: &str) -> Result<Lab> {
    let server = Server::start(kind, Settings::default()).await?;
    let mut proxy = Proxy::prepare(&server.address(), &[])?;
    proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
    Ok(Lab { proxy, server })
}

async fn dies_at(kind: Kind, point: &str) -> Result<()> {
    let mut lab = doomed_lab(kind, point).await?;
    let load = lab.load(4000, &Options { think: Duration::from_millis(8), ..Options::default() }).await?;
    let twin = {
        let mut conn = lab.server.connect().await?;
        let twin = compare::make_twin(&mut conn, "shop", "orders", false).await?;
        ensure!(compare::alter_twin(&mut conn, &twin, ALTER).await?.is_none());
        twin
    };
    // The answer to MIGRATE may be lost where the proxy dies at once.
    let _ = lab.admin().await?.migrate(TABLE, ALTER, "WITH strategy = 'copy'").await;
    let status = lab
        .proxy
        .ended(Duration::from_secs(60))
        .await
        .with_context(|| format!("failpoint {point} was not reached; log:\n{}", lab.proxy.log()))?;
    ensure!(!status.success(), "the proxy ended by itself: {status}");
    lab.proxy.launch(&[]).await?;
    load.more_statements(200).await?;

    let mut admin = lab.admin().await?;
    let migrations = admin.rows("SHOW MIGRATIONS").await?;
    let [one] = migrations.as_slice() else { anyhow::bail!("after the restart there are {} migrations, not 1", migrations.len()) };
    let end = finish_or_say_why(&mut admin, one.id()).await?;
    load.more_statements(500).await?;
    let outcome = load.stop().await?;
    assert_nothing_lost(&lab.server, &outcome).await?;
    ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
    lab.assert_nothing_left().await?;
    if end == "done" {
        lab.assert_like_twin(&twin).await?;
    }
    // What is left of the old process must not hold anything: a second migration goes through.
    let id = admin.migrate(TABLE, "ADD COLUMN after_all INT", "WITH strategy = 'copy'").await?;
    admin.wait_done(id, Duration::from_secs(60)).await?;
    lab.assert_nothing_left().await
}

/// Waits for the end; a parked or failed migration must say why and must be cancellable.
async fn finish_or_say_why(admin: &mut Admin, id: u64) -> Result<&'static str> {
    let until = std::time::Instant::now() + Duration::from_secs(90);
    loop {
        let status = admin.status(id).await?;
        match status.phase() {
            "done" => return Ok("done"),
            "failed" | "cancelled" => {
                ensure!(!status.text("error").is_empty(), "it ended without saying why: {status:?}");
                return Ok("failed");
            }
            "parked" => {
                ensure!(!status.text("error").is_empty(), "it is parked and does not say why: {status:?}");
                admin.run(&format!("CANCEL MIGRATION {id}")).await?;
                admin.wait_phase(id, &["cancelled"], Duration::from_secs(30)).await?;
                return Ok("cancelled");
            }
            _ => {}
        }
        ensure!(std::time::Instant::now() < until, "the migration neither ends nor says why: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn proxy_killed_in_the_copy(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let load = lab.load(60_000, &Options::default()).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH strategy = 'copy'").await?;
    let until = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let status = admin.status(id).await?;
        if status.phase() == "copying" && status.number("rows_copied") > 0.0 {
            break;
        }
        ensure!(!status.is_final(), "the copy was over before it could be killed: {status:?}");
        ensure!(std::time::Instant::now() < until, "no row is copied: {status:?}");
    }
    lab.proxy.kill_hard();
    lab.proxy.launch(&[]).await?;
    load.more_statements(200).await?;
    let mut admin = lab.admin().await?;
    let end = finish_or_say_why(&mut admin, id).await?;
    ensure!(end == "done", "it ended {end}: {:?}", admin.status(id).await?);
    load.more_statements(300).await?;
    let outcome = load.stop().await?;
    assert_nothing_lost(&lab.server, &outcome).await?;
    ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
    ensure!(outcome.seen.disconnects >= 16, "only {} connections broke: was the proxy killed?", outcome.seen.disconnects);
    lab.assert_nothing_left().await
}

async fn server_killed_in_the_copy(kind: Kind) -> Result<()> {
    let mut lab = Lab::start_with(kind, Settings { is_durable: true, ..Settings::default() }, &[]).await?;
    let load = lab.load(60_000, &Options::default()).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH strategy = 'copy'").await?;
    admin.wait_phase(id, &["copying"], Duration::from_secs(30)).await?;
    lab.server.kill_hard();
    let meanwhile = admin.status(id).await.context("the admin commands must work while the server is down")?;
    ensure!(!meanwhile.is_final(), "{meanwhile:?}");
    let refused = lab.proxy.connect().await;
    ensure!(refused.is_err(), "a client was let in although the server is down");
    lab.server.launch().await?;
    load.more_statements(200).await?;
    let mut status = admin.status(id).await?;
    let until = std::time::Instant::now() + Duration::from_secs(90);
    while !status.is_final() {
        if status.phase() == "parked" {
            ensure!(!status.text("error").is_empty(), "it is parked and does not say why: {status:?}");
            let _ = admin.run(&format!("RESUME MIGRATION {id}")).await;
        }
        ensure!(std::time::Instant::now() < until, "the migration does not go on: {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = admin.status(id).await?;
    }
    ensure!(status.phase() == "done", "{status:?}");
    let outcome = load.stop().await?;
    assert_nothing_lost(&lab.server, &outcome).await?;
    lab.assert_nothing_left().await?;
    let mut conn = lab.server.connect().await?;
    let note: Option<u64> =
        conn.query_first("SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'shop' AND column_name = 'note'").await?;
    ensure!(note == Some(1), "the column is not there");
    Ok(())
}
