//! `make bench-copy`: the server's own `ALTER TABLE …, ALGORITHM=COPY` against Tidegate's migration of an equal table.
//!
//! Idle tables, the comparison of all rows included in Tidegate's time, alternating rounds, medians.
//! ROWS, ROUNDS and SERVER (mysql, mariadb; both by default) change it.
#![allow(missing_docs, dead_code)]

#[path = "../../tests/support/mod.rs"]
mod support;
mod yardstick;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use support::lab::{Lab, SCHEMA, TABLE};
use support::load::table;
use support::servers::Settings;
use support::{Kind, compare};

fn main() -> ExitCode {
    yardstick::run(bench())
}

const SPECIFICATION: &str = "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id)";

/// What the server is told so that it copies the table, as Tidegate does; left to itself it would add the index in place.
const COPY: &str = "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id), ALGORITHM=COPY";

async fn bench() -> Result<()> {
    let (rows, rounds) = (yardstick::number("ROWS", 800_000), yardstick::number("ROUNDS", 3));
    println!("{SPECIFICATION}; {rows} rows, {rounds} rounds, alternating, idle table; commits reach the disk\n");
    println!(
        "| server | ALTER, ALGORITHM=COPY | Tidegate, all rows compared | Tidegate : COPY | Tidegate without comparing | ALTER as the server chooses |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for kind in yardstick::servers() {
        bench_one(kind, rows, rounds).await?;
    }
    Ok(())
}

async fn bench_one(kind: Kind, rows: i32, rounds: i32) -> Result<()> {
    let settings = Settings { is_durable: true, buffer_pool_mib: 1024, more: vec!["--max-binlog-size=1G".into()], ..Settings::default() };
    let lab = Lab::start_with(kind, settings, &[]).await?;
    let mut conn = lab.server.connect().await?;
    table::prepare(&mut conn, SCHEMA, rows, 16).await?;
    let mut admin = lab.admin().await?;
    let (mut own, mut ours, mut bare, mut chosen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in 0..4 {
            // Every measurement begins with a fresh copy of the untouched table.
            let twin = compare::make_twin(&mut conn, SCHEMA, "orders", true).await?;
            match (turn + round) % 4 {
                0 => own.push(alter(&mut conn, &twin, COPY).await?),
                1 => chosen.push(alter(&mut conn, &twin, SPECIFICATION).await?),
                2 => ours.push(migrate(&mut admin, "WITH strategy = 'copy'").await?),
                _ => bare.push(migrate(&mut admin, "WITH strategy = 'copy', verify = false").await?),
            }
        }
    }
    let [own, ours, bare, chosen] = [own, ours, bare, chosen].map(|times| median(times).as_secs_f64());
    println!("| {kind} | {own:.1} s | {ours:.1} s | {:.2} | {bare:.1} s | {chosen:.1} s |", ours / own);
    let changed = compare::definition(&mut conn, "twin.orders").await?;
    let source = compare::definition(&mut conn, TABLE).await?;
    ensure!(changed != source, "the last round changed nothing");
    Ok(())
}

/// Lets the server alter the fresh copy itself.
async fn alter(conn: &mut mysql_async::Conn, twin: &str, specification: &str) -> Result<Duration> {
    let started = Instant::now();
    let refusal = compare::alter_twin(conn, twin, specification).await?;
    ensure!(refusal.is_none(), "{refusal:?}");
    Ok(started.elapsed())
}

/// Migrates the fresh copy; from MIGRATE to the phase `done`.
async fn migrate(admin: &mut support::Admin, options: &str) -> Result<Duration> {
    let started = Instant::now();
    let id = admin.migrate("twin.orders", SPECIFICATION, options).await?;
    admin.wait_done(id, Duration::from_secs(1800)).await?;
    Ok(started.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
