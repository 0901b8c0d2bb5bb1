//! Migrations under an application's load: what clients must not notice, and what must be in the table.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::environment::number;
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::load::{Load, Options, table};
use crate::support::metrics::{self, Histogram};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, compare};

on_both_servers!(
    main_job_under_sixteen_connections,
    twenty_migrations_in_a_row_under_load,
    idle_table_becomes_what_the_server_makes_of_it,
    open_reader_delays_the_cut_over_and_no_client_waits_for_it,
    reader_on_the_shadow_loses_nothing,
    writers_round_the_proxy_lose_nothing,
    transaction_that_has_only_read_may_still_write,
);

/// Far more than max_hold, and far less than the readers and transactions that a cut-over must not wait for: this machine is
/// shared, and a test is no stopwatch.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// The main job.
const MAIN_JOB: &str = "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id)";

async fn twin_of_the_table(lab: &Lab, specification: &str) -> Result<String> {
    let mut conn = lab.server.connect().await?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "orders", false).await?;
    let refusal = compare::alter_twin(&mut conn, &twin, specification).await?;
    ensure!(refusal.is_none(), "the server itself refuses {specification}: {refusal:?}");
    Ok(twin)
}

async fn main_job_under_sixteen_connections(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(20_000, &Options::default()).await?;
    let twin = twin_of_the_table(&lab, MAIN_JOB).await?;
    load.more_statements(500).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, MAIN_JOB, "").await?;
    let status = admin.wait_done(id, Duration::from_secs(120)).await?;
    load.more_statements(1000).await?;
    let outcome = load.stop().await?;

    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    lab.assert_like_twin(&twin).await?;
    lab.assert_nothing_left().await?;
    ensure!(status.longest_stall() <= HELD_AT_MOST, "a statement was held for {:?}", status.longest_stall());
    ensure!(status.number("rows_copied") >= 15_000.0, "{status:?}");
    ensure!(status.number("cutover_attempts") >= 1.0 && !status.text("steps").is_empty(), "{status:?}");
    let text = metrics::fetch(lab.proxy.http_port, "/metrics").await?;
    let held = Histogram::read(&text, "tidegate_held_statement_seconds", &[]);
    ensure!(held.count == status.number("held_statements"), "SHOW MIGRATION and /metrics disagree on what was held: {held:?}, {status:?}");
    ensure!(Histogram::read(&text, "tidegate_stall_seconds", &["step=\"total\""]).count >= 1.0, "no stall in /metrics");
    ensure!(metrics::sum(&text, "tidegate_migration_phase", &["phase=\"done\""]) == 1.0, "no phase in /metrics");
    lab.proxy.assert_clean_log(&["held"])
}

/// Twenty ALTERs of every kind that leave the application's columns alone; each begins where the one before ended.
const TWENTY: [&str; 20] = [
    "ADD COLUMN note VARCHAR(64)",
    "ADD INDEX by_customer (customer_id)",
    "ADD COLUMN flags INT UNSIGNED NOT NULL DEFAULT 7 AFTER seq",
    "MODIFY status VARCHAR(40) NOT NULL DEFAULT 'new'",
    "DROP COLUMN note",
    "ADD COLUMN note TEXT, ADD INDEX by_status (status, customer_id)",
    "MODIFY amount DECIMAL(14,4) NOT NULL DEFAULT 0",
    "DROP INDEX by_customer, ADD INDEX by_customer_and_seq (customer_id, seq)",
    "MODIFY payload VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "ALTER COLUMN flags SET DEFAULT 9",
    "MODIFY counter BIGINT NOT NULL DEFAULT 0",
    "ADD COLUMN twice BIGINT GENERATED ALWAYS AS (counter * 2) STORED",
    "DROP COLUMN twice",
    "ADD COLUMN at_last DATETIME(3) NULL FIRST",
    "CHANGE COLUMN at_last changed_at DATETIME(6) NULL",
    "DROP INDEX by_status, DROP COLUMN note",
    "COMMENT = 'orders of the shop'",
    "MODIFY payload VARCHAR(300)",
    "DROP COLUMN flags, DROP COLUMN changed_at",
    "FORCE",
];

/// At each swap the gate stays closed until new and retired table, which nobody can write then, were compared.
async fn twenty_migrations_in_a_row_under_load(kind: Kind) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let closed = dir.path().join("closed");
    let pause = format!("cutover.opening=stop({})", closed.display());
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_FAILPOINTS", &pause)]).await?;
    let load = lab
        .load(5000, &Options { clients: 8, key_changes: 4, transactions: 30, think: Duration::from_millis(10), ..Options::default() })
        .await?;
    let mut admin = lab.admin().await?;
    for specification in TWENTY {
        let twin = twin_of_the_table(&lab, specification).await?;
        let id = admin.migrate(TABLE, specification, "WITH strategy = 'copy', max_hold_ms = 60000").await?;
        let compared = compare_at_the_swap(&lab, &mut admin, id, &closed).await;
        let _ = std::fs::remove_file(&closed);
        compared.context(specification)?;
        admin.wait_done(id, Duration::from_secs(90)).await?;
        lab.assert_like_twin(&twin).await.context(specification)?;
        load.more_statements(200).await?;
    }
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    ensure!(admin.rows("SHOW MIGRATIONS").await?.iter().filter(|status| status.phase() == "done").count() == TWENTY.len());
    lab.assert_nothing_left().await
}

/// Waits until the failpoint behind the swap has created the file, and compares the two tables; the gate opens when the file goes.
async fn compare_at_the_swap(lab: &Lab, admin: &mut Admin, id: u64, closed: &Path) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(90);
    while !closed.exists() {
        let status = admin.status(id).await?;
        ensure!(!status.is_final() && Instant::now() < until, "no swap: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut conn = lab.server.connect().await?;
    compare::assert_same_rows_of_common_columns(&mut conn, ("shop", "orders"), ("~retired_shop", "orders")).await?;
    let gates = admin.rows("SHOW GATES").await?;
    ensure!(gates.iter().any(|gate| gate.text("state") == "held"), "the gate opened during the comparison: {gates:?}");
    Ok(())
}

async fn idle_table_becomes_what_the_server_makes_of_it(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let json = if kind == Kind::MySql { "JSON" } else { "LONGTEXT" };
    lab.sql(&[
        "CREATE DATABASE shop",
        &format!(
            "CREATE TABLE shop.things (a INT NOT NULL, b VARCHAR(20) COLLATE utf8mb4_bin NOT NULL, tiny TINYINT, medium MEDIUMINT, \
             big BIGINT UNSIGNED, price DECIMAL(20,6), ratio DOUBLE, day DATE, at DATETIME(6), moment TIMESTAMP(3) NULL, span TIME(2), y YEAR, \
             latin VARCHAR(30) CHARACTER SET latin1, raw VARBINARY(40), fixed BINARY(8), long_text MEDIUMTEXT, long_raw BLOB, \
             choice ENUM('one','two','three'), several SET('x','y','z'), bits BIT(11), doc {json}, made INT AS (a + 1) VIRTUAL, \
             CONSTRAINT positive CHECK (a > -1000000), PRIMARY KEY (b, a), KEY (choice)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        ),
    ])
    .await?;
    let columns = "a, b, tiny, medium, big, price, ratio, day, at, moment, span, y, latin, raw, fixed, long_text, long_raw, choice, several, bits, doc";
    conn.query_drop(format!(
        "INSERT INTO shop.things ({columns}) VALUES \
         (1, 'a', -128, -8388608, 18446744073709551615, -12345678901234.567891, 0.1, '2024-02-29', '2024-02-29 23:59:59.999999', \
          '2038-01-19 03:14:07.999', '-838:59:59.00', 1901, 'Größe', x'00ff00', x'0100', REPEAT('ä', 3000), x'fffe00', 'two', 'x,z', b'10000000001', \
          '{{\"k\": [1, 2.5, null, \"ü\"]}}'), \
         (1, 'A', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
         (-2, 'a ', 0, 0, 0, 0, -0.0, '1000-01-01', '1000-01-01 00:00:00', '1970-01-02 00:00:01', '00:00:00', 2155, '', '', '', '', '', 'one', '', b'0', '[]')"
    ))
    .await?;
    // Doubles the table until it has some thousands of rows.
    for power in 0..11 {
        let rest = columns.strip_prefix("a, b, ").unwrap_or_default();
        conn.query_drop(format!("INSERT INTO shop.things ({columns}) SELECT a + {}, b, {rest} FROM shop.things", 10 << power)).await?;
    }
    let mut admin = lab.admin().await?;
    for specification in [
        "MODIFY latin VARCHAR(60) CHARACTER SET utf8mb4, ADD COLUMN note VARCHAR(10) DEFAULT 'x'",
        "MODIFY big DECIMAL(30,2), MODIFY tiny INT, DROP COLUMN ratio",
        "DROP PRIMARY KEY, ADD PRIMARY KEY (a, b)",
        "RENAME COLUMN price TO cost, ADD INDEX (cost, at)",
        "MODIFY choice ENUM('zero','one','two','three','four')",
    ] {
        let twin = compare::make_twin_by_columns(&mut conn, SCHEMA, "things").await?;
        let refusal = compare::alter_twin(&mut conn, &twin, specification).await?;
        ensure!(refusal.is_none(), "the server itself refuses {specification}: {refusal:?}");
        let id = admin.migrate("shop.things", specification, "WITH strategy = 'copy'").await?;
        admin.wait_done(id, Duration::from_secs(60)).await.map_err(|error| error.context(specification))?;
        compare::assert_same_definition(&mut conn, "shop.things", &twin).await.map_err(|error| error.context(specification))?;
        let (table, twin) = ((SCHEMA, "things"), (compare::TWIN_SCHEMA, "things"));
        compare::assert_same_rows(&mut conn, table, twin).await.map_err(|error| error.context(specification))?;
    }
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

/// How long the open reader stays: short in `make test`; TIDEGATE_TEST_READER_S=20 for the whole length.
fn reader_time() -> Duration {
    Duration::from_secs(number("TIDEGATE_TEST_READER_S", 6))
}

async fn open_reader_delays_the_cut_over_and_no_client_waits_for_it(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(2000, &Options::default()).await?;
    let mut reader = lab.proxy.connect().await?;
    reader.query_drop("START TRANSACTION").await?;
    let before: Option<u64> = reader.query_first("SELECT COUNT(*) FROM shop.orders").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, MAIN_JOB, "").await?;
    tokio::time::sleep(reader_time()).await;
    let meanwhile = admin.status(id).await?;
    ensure!(!meanwhile.is_final() && meanwhile.phase() != "parked", "the migration ended under an open reader: {meanwhile:?}");
    let still: Option<u64> = reader.query_first("SELECT COUNT(*) FROM shop.orders").await?;
    ensure!(still == before, "the reader's snapshot changed from {before:?} to {still:?}");
    reader.query_drop("COMMIT").await?;
    let status = admin.wait_done(id, Duration::from_secs(60)).await?;
    load.more_statements(300).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(status.longest_stall() <= HELD_AT_MOST, "a statement was held for {:?}", status.longest_stall());
    let held = Histogram::read(&metrics::fetch(lab.proxy.http_port, "/metrics").await?, "tidegate_held_statement_seconds", &[]);
    ensure!(held.above(2.0) == 0.0, "{} statements were held for more than 2 s: {held:?}", held.above(2.0));
    lab.assert_nothing_left().await
}

/// I-0, I-C1: what writes round the proxy is held by no gate; the locks on the server are all that keeps its rows.
async fn writers_round_the_proxy_lose_nothing(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    // Without transactions of several statements: one that has read and then writes while LOCK TABLES waits gets 1213 by right.
    let options = Options { transactions: 0, ..Options::default() };
    let journals = table::prepare(&mut lab.server.connect().await?, SCHEMA, 5000, options.clients).await?;
    let load = Load::start(lab.server.port, SCHEMA, journals, &options).await?;
    let mut admin = lab.admin().await?;
    for round in 0..6 {
        let id = admin.migrate(TABLE, &format!("ADD COLUMN round_{round} INT"), "WITH strategy = 'copy'").await?;
        admin.wait_done(id, Duration::from_secs(120)).await?;
    }
    load.more_statements(500).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.errors.is_empty(), "{:?}", outcome.seen.errors);
    lab.assert_nothing_left().await
}

async fn reader_on_the_shadow_loses_nothing(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(3000, &Options::default()).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, MAIN_JOB, "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    let mut reader = lab.server.connect().await?;
    let shadow: Option<(String, String)> = reader
        .query_first(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE '~shadow%' AND table_name = 'orders'",
        )
        .await?;
    let Some((schema, name)) = shadow else { anyhow::bail!("no shadow of orders in a schema like '~shadow%'") };
    reader.query_drop("BEGIN").await?;
    let _: Option<u64> = reader.query_first(format!("SELECT COUNT(*) FROM `{schema}`.`{name}`")).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    // Long enough for an attempt to have met the reader: attempts are counted, and the count is waited for.
    for _ in 0..150 {
        let status = admin.status(id).await?;
        if status.number("cutover_attempts") >= 1.0 && status.phase() != "cutting_over" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader.query_drop("COMMIT").await?;
    let status = admin.wait_done(id, Duration::from_secs(60)).await?;
    load.more_statements(300).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(status.longest_stall() <= HELD_AT_MOST, "a statement was held for {:?}", status.longest_stall());
    lab.assert_nothing_left().await
}

/// On the server, a pending LOCK TABLES … WRITE or RENAME makes the next write of a transaction that has only read the
/// table so far end in a deadlock (1213). The cut-over must not begin while such a transaction is inside.
async fn transaction_that_has_only_read_may_still_write(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(1000, &Options { clients: 8, ..Options::default() }).await?;
    let mut conn = lab.proxy.connect().await?;
    conn.query_drop("INSERT INTO shop.orders (id, customer_id, client, seq, payload) VALUES (-5, 0, -1, 0, 'of the test')").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, MAIN_JOB, "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
    for round in 0..5 {
        conn.query_drop("BEGIN").await?;
        let _: Option<i32> = conn.query_first("SELECT counter FROM shop.orders WHERE id = -5").await?;
        if round == 0 {
            admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        }
        load.more_statements(100).await?;
        conn.query_drop("UPDATE shop.orders SET counter = counter + 1 WHERE id = -5").await.context("the write after the read")?;
        conn.query_drop("COMMIT").await?;
    }
    admin.wait_done(id, Duration::from_secs(60)).await?;
    let outcome = load.stop().await?;
    let counter: Option<i32> = conn.query_first("SELECT counter FROM shop.orders WHERE id = -5").await?;
    ensure!(counter == Some(5), "{counter:?}");
    conn.query_drop("DELETE FROM shop.orders WHERE id = -5").await?;
    lab.assert_nothing_lost(&outcome).await
}

/// A table that nobody uses, for tests that only need one.
pub async fn quiet_table(lab: &Lab, rows: i32) -> Result<()> {
    table::prepare(&mut lab.server.connect().await?, SCHEMA, rows, 4).await.map(|_| ())
}
