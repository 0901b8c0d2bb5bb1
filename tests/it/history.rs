//! Many cut-overs in a row, of two tables whose transactions cross, with faults, and what every client saw of them.
//!
//! Short in `make test`; `TIDEGATE_TEST_CUTOVERS=200` for the whole length. `check.rs` is the judge; its own tests, and the one
//! here that changes rows behind everybody's back, show that it finds what is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;

use crate::support::environment::number;
use crate::support::{Admin, Kind, Lab, Server, servers::Settings};

mod check;
mod client;
mod faults;
mod record;

use check::Fault;
use client::{Client, REGISTERS, Shared};
use record::{History, Version};

on_both_servers!(many_cut_overs_in_a_row_are_seen_by_nobody, a_history_that_was_falsified_is_found_out);

const ALTERS: [&str; 6] = [
    "ADD COLUMN extra INT NOT NULL DEFAULT 5",
    "ADD INDEX by_tag (tag)",
    "MODIFY filler VARCHAR(200) NOT NULL DEFAULT 'some text'",
    "DROP INDEX by_tag",
    "DROP COLUMN extra",
    "MODIFY filler VARCHAR(100) NOT NULL DEFAULT 'some text'",
];

/// Creates both tables and fills them with registers.
async fn make_tables(server: &Server) -> Result<()> {
    let mut conn = server.connect().await?;
    conn.query_drop("CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4").await?;
    conn.query_drop("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'").await?;
    for name in ["shop.first", "shop.second"] {
        conn.query_drop(format!(
            "CREATE TABLE {name} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, client INT NOT NULL, version INT UNSIGNED NOT NULL, \
             tag BIGINT UNSIGNED NOT NULL, filler VARCHAR(100) NOT NULL DEFAULT 'some text', PRIMARY KEY (id), KEY client (client)) \
             ENGINE=InnoDB AUTO_INCREMENT=1000"
        ))
        .await?;
    }
    for register in 0..REGISTERS {
        let name = client::table(register);
        conn.query_drop(format!("INSERT INTO {name} (id, client, version, tag) VALUES ({register}, -1, 0, 0)")).await?;
    }
    Ok(())
}

/// The registers as they are in the tables now, straight from the server.
async fn last_versions(server: &Server) -> Result<Vec<Version>> {
    let mut conn = server.connect().await?;
    let of = |table: &str| format!("SELECT id, version, tag FROM {table} WHERE client = -1");
    let rows: Vec<(u8, u32, u64)> = conn.query(format!("{} UNION ALL {}", of("shop.first"), of("shop.second"))).await?;
    Ok(rows.into_iter().map(|(register, version, tag)| Version { register, version, tag }).collect())
}

/// The clients at work.
struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Result<History>>>,
}

impl Clients {
    fn start(port: u16, number: i32, think: Duration) -> Self {
        let shared =
            Arc::new(Shared { port, began: Instant::now(), think, is_stopping: AtomicBool::new(false), statements: AtomicU64::new(0) });
        let seed = 7;
        let tasks = (0..number).map(|number| tokio::spawn(Client::new(number, shared.clone(), seed).run())).collect();
        Self { shared, tasks }
    }

    /// Waits until this many more statements were answered.
    async fn more_statements(&self, number: u64) -> Result<()> {
        let goal = self.shared.statements.load(Ordering::Relaxed) + number;
        let until = Instant::now() + Duration::from_secs(60);
        while self.shared.statements.load(Ordering::Relaxed) < goal {
            ensure!(Instant::now() < until, "the clients did not get {number} more statements answered within a minute");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn stop(self) -> Result<History> {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for task in self.tasks {
            let ended = tokio::time::timeout(Duration::from_secs(90), task).await;
            history.add(ended.context("a client's statement was not answered within 90 s after the end")???);
        }
        Ok(history)
    }
}

async fn many_cut_overs_in_a_row_are_seen_by_nobody(kind: Kind) -> Result<()> {
    let cut_overs = number("TIDEGATE_TEST_CUTOVERS", 6);
    let settings = Settings::default();
    let lab = Lab::start_with(kind, settings, &[("TIDEGATE_FAILPOINTS", faults::FAILPOINTS)]).await?;
    make_tables(&lab.server).await?;
    // With a debug build and a shorter pause a slow machine's transactions are older than `drain_budget_ms` all the time.
    let pause = if cfg!(debug_assertions) && cut_overs <= 6 { 200 } else { 40 };
    let clients = Clients::start(lab.proxy.port, 64, Duration::from_millis(number("TIDEGATE_TEST_THINK_MS", pause)));
    clients.more_statements(1000).await?;
    let killer = faults::Killer::start(&lab, 30, cut_overs).await?;
    let mut admin = lab.admin().await?;
    let (mut done, mut attempts, mut round) = (0, 0.0, 0);
    while done < cut_overs {
        // Both tables by turns, and every fourth time at once: two gates, whose transactions cross.
        let alter = ALTERS[round / 2 % ALTERS.len()];
        let both = round % 8 == 6;
        let tables: &[&str] = if both { &["shop.first", "shop.second"] } else { &[["shop.first", "shop.second"][round % 2]] };
        let mut ids = Vec::new();
        for table in tables {
            ids.push(admin.migrate(table, alter, "WITH strategy = 'copy'").await.with_context(|| format!("{alter} on {table}"))?);
        }
        for id in ids {
            let status = finished(&mut admin, id).await;
            let Ok(status) = status else { bail!("{status:?}\n{}\n{}", faults::processes(&lab.server).await, lab.proxy.log()) };
            attempts += status.number("cutover_attempts");
            done += 1;
        }
        round += if both { 2 } else { 1 };
        clients.more_statements(100).await?;
    }
    clients.more_statements(500).await?;
    let history = clients.stop().await?;
    let kills = killer.kills();
    drop(killer);
    let faults = check::check(&history, &last_versions(&lab.server).await?);
    println!(
        "{kind}: {done} cut-overs in {attempts} attempts, {kills} connections killed; {} transactions, {} statements, longest {:?}, \
         {} disconnects, errors {:?}, {faults:?}",
        history.transactions.len(),
        history.statements,
        history.longest,
        history.disconnects,
        history.errors
    );
    ensure!(faults.is_clean(), "{faults:#?}");
    ensure!(history.contradictions.is_empty(), "{:#?}", history.contradictions);
    ensure!(history.errors.is_empty(), "clients saw errors: {:?}", history.errors);
    ensure!(history.disconnects == 0, "{} connections broke", history.disconnects);
    lab.assert_nothing_left().await
}

/// Waits for the end; a fault may park the migration, and then it is told to go on.
async fn finished(admin: &mut Admin, id: u64) -> Result<crate::support::admin::Status> {
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let status = admin.status(id).await?;
        match status.phase() {
            "done" => return Ok(status),
            "failed" | "cancelled" => bail!("migration {id} ended: {status:?}"),
            "parked" => admin.run(&format!("RESUME MIGRATION {id}")).await?,
            _ => {}
        }
        ensure!(Instant::now() < until, "migration {id} does not end: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same clients on a direct connection: they find nothing wrong; and after each kind of meddling they do.
async fn a_history_that_was_falsified_is_found_out(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    make_tables(&server).await?;
    let clients = Clients::start(server.port, 16, Duration::from_millis(2));
    clients.more_statements(20_000).await?;
    let history = clients.stop().await?;
    let faults = check::check(&history, &last_versions(&server).await?);
    ensure!(faults.is_clean() && history.contradictions.is_empty() && history.errors.is_empty(), "{faults:#?} {history:?}");
    // Every kind of transaction was there, or the rest proves nothing.
    let crossing = history.transactions.iter().filter(|one| {
        let tables = |rest| one.writes.iter().any(|write| write.register % 2 == rest);
        tables(0) && tables(1)
    });
    ensure!(crossing.count() > 100 && history.transactions.iter().any(|one| one.snapshots.iter().any(|seen| seen.versions.len() > 30)));

    let mut meddler = server.connect().await?;
    meddler.query_drop("DROP DATABASE shop").await?;
    make_tables(&server).await?;
    let clients = Clients::start(server.port, 16, Duration::from_millis(2));
    clients.more_statements(5000).await?;
    // Writes are lost: the register goes back, so far that somebody reads it before it is where it was.
    meddler.query_drop("UPDATE shop.first SET version = version DIV 2 WHERE id = 4").await?;
    // A write happens twice.
    meddler.query_drop("UPDATE shop.second SET version = version + 1 WHERE id = 5").await?;
    clients.more_statements(3000).await?;
    // Part of a table is not there for a moment.
    meddler.query_drop("UPDATE shop.first SET client = -2 WHERE id = 8").await?;
    clients.more_statements(1000).await?;
    meddler.query_drop("UPDATE shop.first SET client = -1 WHERE id = 8").await?;
    // A row of a client is gone.
    meddler.query_drop("DELETE FROM shop.second WHERE client >= 0 LIMIT 20").await?;
    clients.more_statements(3000).await?;
    let history = clients.stop().await?;
    let faults = check::check(&history, &last_versions(&server).await?);
    // Whether a client reads the register twice, or after a write of its own, is chance.
    ensure!(faults.counts.contains_key(&Fault::WentBack) || faults.counts.contains_key(&Fault::Stale), "{faults:#?}");
    for fault in [Fault::Doubled, Fault::NeverWritten] {
        ensure!(faults.counts.contains_key(&fault), "{fault:?} was not found: {faults:#?}");
    }
    for words in ["must have found the registers", "its own rows of shop.second"] {
        ensure!(history.contradictions.iter().any(|one| one.contains(words)), "{words}: {:#?}", history.contradictions);
    }
    Ok(())
}
