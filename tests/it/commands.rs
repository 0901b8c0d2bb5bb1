//! What the operator does to a running migration.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::lab::{Lab, TABLE};
use crate::support::load::Options;
use crate::support::process::run;
use crate::support::proxy::ADMIN;
use crate::support::servers::{APP, client_plugins, program};
use crate::support::{Admin, Kind, compare};

on_both_servers!(
    cancelled_migration_leaves_only_its_row,
    paused_copy_stands_still_until_resumed,
    postponed_migration_waits_for_cutover,
    cancelled_while_ready_leaves_the_source_alone,
    finished_migrations_are_remembered_over_a_restart,
    admin_answers_while_the_server_is_down,
    second_migration_of_the_same_table_waits_or_is_refused,
    shells_reach_the_admin_commands,
);

const ALTER: &str = "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id)";

async fn wait_for_rows(admin: &mut Admin, id: u64) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let status = admin.status(id).await?;
        if status.number("rows_copied") > 0.0 {
            ensure!(status.phase() == "copying", "the copy was over too soon for this test: {status:?}");
            return Ok(());
        }
        ensure!(Instant::now() < until && !status.is_final(), "no row is copied: {status:?}");
    }
}

async fn cancelled_migration_leaves_only_its_row(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(100_000, &Options { think: Duration::from_millis(10), ..Options::default() }).await?;
    let before = compare::definition(&mut lab.server.connect().await?, TABLE).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH strategy = 'copy'").await?;
    wait_for_rows(&mut admin, id).await?;
    admin.run(&format!("CANCEL MIGRATION {id}")).await?;
    admin.wait_phase(id, &["cancelled"], Duration::from_secs(30)).await?;
    load.more_statements(200).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_left().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(compare::definition(&mut lab.server.connect().await?, TABLE).await? == before, "the source was changed");
    let all = admin.rows("SHOW MIGRATIONS").await?;
    ensure!(all.len() == 1 && all.iter().all(|status| status.phase() == "cancelled"), "{all:?}");
    lab.proxy.assert_clean_log(&["cancel"])
}

async fn paused_copy_stands_still_until_resumed(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(100_000, &Options { think: Duration::from_millis(10), ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH strategy = 'copy'").await?;
    wait_for_rows(&mut admin, id).await?;
    admin.run(&format!("PAUSE MIGRATION {id}")).await?;
    // Chunks that were on their way may still arrive; then the number must stand.
    let mut copied = admin.status(id).await?.number("rows_copied");
    let (mut same, until) = (0, Instant::now() + Duration::from_secs(20));
    while same < 30 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let now = admin.status(id).await?.number("rows_copied");
        same = if now == copied { same + 1 } else { 0 };
        copied = now;
        ensure!(Instant::now() < until, "the copy does not stop: {copied} rows");
    }
    ensure!(!admin.status(id).await?.is_final(), "it went to its end although it was paused");
    admin.run(&format!("RESUME MIGRATION {id}")).await?;
    admin.wait_done(id, Duration::from_secs(90)).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await
}

async fn postponed_migration_waits_for_cutover(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(3000, &Options::default()).await?;
    let mut conn = lab.server.connect().await?;
    let before = compare::definition(&mut conn, TABLE).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    load.more_statements(2000).await?;
    let status = admin.status(id).await?;
    ensure!(status.phase() == "ready" && status.number("cutover_attempts") == 0.0, "{status:?}");
    ensure!(status.number("held_statements") == 0.0, "statements were held before the cut-over: {status:?}");
    ensure!(compare::definition(&mut conn, TABLE).await? == before, "it swapped although it was postponed");
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    admin.wait_done(id, Duration::from_secs(60)).await?;
    load.more_statements(300).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    lab.assert_nothing_left().await
}

async fn cancelled_while_ready_leaves_the_source_alone(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 500).await?;
    let before = compare::definition(&mut lab.server.connect().await?, TABLE).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    admin.run(&format!("CANCEL MIGRATION {id}")).await?;
    admin.wait_phase(id, &["cancelled"], Duration::from_secs(30)).await?;
    lab.assert_nothing_left().await?;
    ensure!(compare::definition(&mut lab.server.connect().await?, TABLE).await? == before, "the source was changed");
    Ok(())
}

async fn finished_migrations_are_remembered_over_a_restart(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 500).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, "").await?;
    let done = admin.wait_done(id, Duration::from_secs(60)).await?;
    let ended = lab.proxy.terminate()?;
    ensure!(ended.success(), "SIGTERM ended the proxy with {ended}");
    lab.proxy.launch(&[]).await?;
    let again = lab.admin().await?.status(id).await?;
    for column in ["migration_id", "schema_name", "table_name", "alter_specification", "phase", "cutover_attempts"] {
        ensure!(
            done.has(column) && again.text(column) == done.text(column),
            "{column}: {:?} became {:?}",
            done.text(column),
            again.text(column)
        );
    }
    lab.proxy.assert_clean_log(&["SIGTERM", "shutting down", "held"])
}

async fn admin_answers_while_the_server_is_down(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 100).await?;
    let id = lab.admin().await?.migrate(TABLE, ALTER, "").await?;
    lab.admin().await?.wait_done(id, Duration::from_secs(60)).await?;
    lab.server.kill_hard();
    let mut admin = lab.admin().await.context("the admin cannot log in while the server is down")?;
    ensure!(admin.status(id).await?.phase() == "done");
    ensure!(admin.migrate(TABLE, "ADD COLUMN b INT", "").await.is_err(), "a migration was accepted without a server");
    ensure!(lab.proxy.connect().await.is_err(), "a client was let in although the server is down");
    lab.server.launch().await?;
    let one: Option<u8> = lab.proxy.connect().await?.query_first("SELECT 1").await?;
    ensure!(one == Some(1));
    Ok(())
}

async fn second_migration_of_the_same_table_waits_or_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 500).await?;
    let mut admin = lab.admin().await?;
    let first = admin.migrate(TABLE, "ADD COLUMN a INT", "WITH postpone = true, strategy = 'copy'").await?;
    admin.wait_phase(first, &["ready"], Duration::from_secs(60)).await?;
    let second = admin.migrate(TABLE, "ADD COLUMN b INT", "WITH strategy = 'copy'").await;
    if let Ok(second) = &second {
        let status = admin.status(*second).await?;
        ensure!(status.phase() == "queued", "two migrations of one table at once: {status:?}");
    }
    admin.run(&format!("CUTOVER MIGRATION {first}")).await?;
    admin.wait_done(first, Duration::from_secs(60)).await?;
    if let Ok(second) = second {
        admin.wait_done(second, Duration::from_secs(60)).await?;
    }
    lab.assert_nothing_left().await
}

async fn shells_reach_the_admin_commands(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 200).await?;
    for (package, name) in [("mysql", "mysql"), ("mariadb", "mariadb")] {
        let shell = program(package, name)?;
        let say = |user: (&str, &str), sql: &str| {
            let mut command = std::process::Command::new(&shell);
            command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{}", lab.proxy.port), &format!("-u{}", user.0)]);
            command.arg(format!("-p{}", user.1)).args(["-t", "-e", sql]);
            if name == "mariadb" {
                command.arg("--skip-ssl").env("MARIADB_PLUGIN_DIR", client_plugins("mariadb"));
            }
            tokio::task::block_in_place(|| run(&mut command)).with_context(|| format!("the {name} shell as {}: {sql}", user.0))
        };
        let table = say(ADMIN, "SHOW MIGRATIONS")?;
        ensure!(table.is_empty() || table.contains("migration_id"), "{table}");
        let answer = say(ADMIN, &format!("MIGRATE TABLE {TABLE} ADD COLUMN by_{name} INT"))?;
        ensure!(answer.contains("migration_id"), "{answer}");
        let mut admin = lab.admin().await?;
        let id = admin.rows("SHOW MIGRATIONS").await?.iter().map(crate::support::admin::Status::id).max().unwrap_or(0);
        admin.wait_done(id, Duration::from_secs(60)).await?;
        ensure!(say(ADMIN, "SHOW MIGRATIONS")?.contains("done"));
        // MySQL 9 shells have no mysql_native_password, which MariaDB asks for: no proxy could help there.
        if !(name == "mysql" && kind == Kind::MariaDb) {
            let count = say(APP, "SELECT COUNT(*) AS orders FROM shop.orders")?;
            ensure!(count.contains("200"), "{count}");
        }
    }
    Ok(())
}
