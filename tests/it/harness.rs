//! The tests' own tools, tried on a direct connection: they find nothing where nothing is wrong, and find what is.

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::lab::{SCHEMA, assert_nothing_lost};
use crate::support::load::{Load, Options, Outcome, judge, table};
use crate::support::servers::Settings;
use crate::support::{Kind, Server, compare};

on_both_servers!(
    load_on_a_direct_connection_is_clean,
    judges_find_what_was_done_behind_their_back,
    reads_that_go_back_are_noticed,
    server_killed_under_load_loses_nothing,
    twins_are_compared_to_the_byte,
);

async fn some_load(server: &Server, statements: u64) -> Result<Outcome> {
    let options = Options::default();
    let journals = table::prepare(&mut server.connect().await?, SCHEMA, 5000, options.clients).await?;
    let load = Load::start(server.port, SCHEMA, journals, &options).await?;
    load.more_statements(statements).await?;
    load.stop().await
}

async fn load_on_a_direct_connection_is_clean(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let outcome = some_load(&server, 10_000).await?;
    assert_nothing_lost(&server, &outcome).await?;
    ensure!(outcome.seen.errors.is_empty(), "{:?}", outcome.seen.errors);
    ensure!(outcome.seen.writes > 2000 && outcome.seen.disconnects == 0, "{:?}", outcome.seen);
    Ok(())
}

async fn judges_find_what_was_done_behind_their_back(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let outcome = some_load(&server, 2000).await?;
    let mut conn = server.connect().await?;
    let ids: Vec<i64> = conn.query("SELECT id FROM shop.orders WHERE counter > 0 ORDER BY id LIMIT 4").await?;
    let [lost, doubled, undone, twice] = ids[..] else { anyhow::bail!("too few changed rows: {ids:?}") };
    conn.query_drop(format!("DELETE FROM shop.orders WHERE id = {lost}")).await?;
    conn.query_drop(format!("UPDATE shop.orders SET counter = counter + 1 WHERE id = {doubled}")).await?;
    conn.query_drop(format!("UPDATE shop.orders SET counter = counter - 1 WHERE id = {undone}")).await?;
    let columns = "customer_id, client, seq, counter, payload";
    conn.query_drop(format!("INSERT INTO shop.orders ({columns}) SELECT {columns} FROM shop.orders WHERE id = {twice}")).await?;
    let verdict = judge::judge(&outcome.journals, &table::contents(&mut conn, SCHEMA).await?);
    ensure!((verdict.missing, verdict.doubled, verdict.wrong) == (2, 2, 0), "{verdict:?}");
    Ok(())
}

async fn reads_that_go_back_are_noticed(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let options = Options { transactions: 0, ..Options::default() };
    let mut conn = server.connect().await?;
    let journals = table::prepare(&mut conn, SCHEMA, 500, options.clients).await?;
    let load = Load::start(server.port, SCHEMA, journals, &options).await?;
    load.more_statements(500).await?;
    conn.query_drop("UPDATE shop.orders SET counter = counter - 1 WHERE counter > 0").await?;
    load.more_statements(2000).await?;
    let outcome = load.stop().await?;
    ensure!(outcome.seen.stale_reads > 0, "no client noticed that its rows went back");
    Ok(())
}

async fn server_killed_under_load_loses_nothing(kind: Kind) -> Result<()> {
    let mut server = Server::start(kind, Settings { is_durable: true, ..Settings::default() }).await?;
    let options = Options::default();
    let journals = table::prepare(&mut server.connect().await?, SCHEMA, 2000, options.clients).await?;
    let load = Load::start(server.port, SCHEMA, journals, &options).await?;
    load.more_statements(1000).await?;
    server.kill_hard();
    server.launch().await?;
    load.more_statements(1000).await?;
    let outcome = load.stop().await?;
    assert_nothing_lost(&server, &outcome).await?;
    ensure!(outcome.seen.disconnects >= 16, "{} disconnects", outcome.seen.disconnects);
    Ok(())
}

async fn twins_are_compared_to_the_byte(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let mut conn = server.connect().await?;
    table::prepare(&mut conn, SCHEMA, 300, 4).await?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "orders", true).await?;
    compare::assert_same_definition(&mut conn, "shop.orders", &twin).await?;
    compare::assert_same_rows(&mut conn, (SCHEMA, "orders"), (compare::TWIN_SCHEMA, "orders")).await?;
    conn.query_drop("UPDATE shop.orders SET status = 'NEW' WHERE id = 7").await?;
    let difference = compare::assert_same_rows(&mut conn, (SCHEMA, "orders"), (compare::TWIN_SCHEMA, "orders")).await;
    ensure!(difference.is_err(), "'NEW' was taken for 'new'");
    ensure!(compare::alter_twin(&mut conn, &twin, "ADD COLUMN note VARCHAR(64)").await?.is_none());
    ensure!(compare::assert_same_definition(&mut conn, "shop.orders", &twin).await.is_err(), "a column more was not noticed");
    let refusal = compare::alter_twin(&mut conn, &twin, "ADD UNIQUE KEY u (status)").await?;
    ensure!(refusal.as_ref().is_some_and(|refusal| refusal.0 == 1062), "{refusal:?}");
    Ok(())
}
