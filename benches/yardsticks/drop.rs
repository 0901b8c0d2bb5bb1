//! `make bench-drop`: what everybody else feels while the server drops a large table, as a migration's clean-up does.
//!
//! A table of GIB gibibytes (4) is filled, so that it fills the buffer pool too; clients on another table read and commit, first for
//! themselves, then while the large one is dropped. SERVER (mysql, mariadb; both by default) chooses, ROUNDS (1) repeats.
#![allow(missing_docs, dead_code)]

#[path = "../../tests/support/mod.rs"]
mod support;
mod yardstick;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use support::Kind;
use support::lab::Lab;
use support::servers::Settings;
use tokio::task::JoinHandle;

/// Clients of each kind.
const CLIENTS: u32 = 2;

/// How long is measured before the drop, and after it has answered.
const BEFORE: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    yardstick::run(bench())
}

async fn bench() -> Result<()> {
    let (gib, rounds) = (yardstick::number("GIB", 4), yardstick::number("ROUNDS", 1));
    println!("{gib} GiB, buffer pool 1 GiB; milliseconds as p50 / p99 / longest; commits reach the disk\n");
    println!(
        "| server | DROP TABLE took | reads before | reads meanwhile | commits before | commits meanwhile | small DDL before | small DDL meanwhile |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for kind in yardstick::servers() {
        for _ in 0..rounds {
            bench_one(kind, gib).await.with_context(|| kind.to_string())?;
        }
    }
    Ok(())
}

async fn bench_one(kind: Kind, gib: i32) -> Result<()> {
    let settings = Settings { is_durable: true, buffer_pool_mib: 1024, more: vec!["--max-binlog-size=1G".into()], ..Settings::default() };
    let lab = Lab::start_with(kind, settings, &[]).await?;
    let mut conn = lab.server.connect().await?;
    fill(&mut conn, gib).await?;
    let before = measure(&lab, async {
        tokio::time::sleep(BEFORE).await;
        Ok(())
    });
    let before = before.await?;
    let mut took = Duration::ZERO;
    let meanwhile = measure(&lab, async {
        let began = Instant::now();
        conn.query_drop("DROP TABLE big.t").await?;
        took = began.elapsed();
        tokio::time::sleep(AFTER).await;
        Ok(())
    });
    let meanwhile = meanwhile.await?;
    let cells: Vec<String> = before.iter().zip(&meanwhile).flat_map(|(before, meanwhile)| [before.clone(), meanwhile.clone()]).collect();
    println!("| {kind} | {:.0} | {} |", took.as_secs_f64() * 1e3, cells.join(" | "));
    Ok(())
}

async fn fill(conn: &mut Conn, gib: i32) -> Result<()> {
    conn.query_drop("CREATE DATABASE big").await?;
    conn.query_drop("CREATE TABLE big.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, filler VARBINARY(1000) NOT NULL, KEY (n))")
        .await?;
    conn.query_drop("CREATE TABLE big.small (id INT PRIMARY KEY, n INT NOT NULL)").await?;
    let numbers = "WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) ";
    conn.query_drop(format!("INSERT INTO big.small {numbers} SELECT i, 0 FROM n")).await?;
    let filler = "CONCAT(RANDOM_BYTES(500), RANDOM_BYTES(500))";
    conn.query_drop(format!("INSERT INTO big.t (n, filler) SELECT a.id, {filler} FROM big.small a JOIN big.small b ON b.id <= 20")).await?;
    // About a kilobyte each.
    let mut rows = 20_000_i64;
    while rows < i64::from(gib) * 1_000_000 {
        for from in (0..rows).step_by(20_000) {
            conn.query_drop(format!("INSERT INTO big.t (n, filler) SELECT n, filler FROM big.t WHERE id > {from} LIMIT 20000")).await?;
        }
        rows *= 2;
    }
    Ok(())
}

/// What clients feel until something is over: reads, commits, and CREATE and DROP of a small table, each p50 / p99 / longest.
async fn measure(lab: &Lab, something: impl Future<Output = Result<()>>) -> Result<Vec<String>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients: Vec<(usize, JoinHandle<Result<Vec<Duration>>>)> = Vec::new();
    for client in 0..CLIENTS {
        for what in 0..3 {
            if what == 2 && client > 0 {
                continue;
            }
            let conn = lab.server.connect().await?;
            clients.push((what, tokio::spawn(run(conn, what, client, stop.clone()))));
        }
    }
    let over = something.await;
    stop.store(true, Ordering::Relaxed);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for (what, client) in clients {
        times[what].extend(client.await??);
    }
    over?;
    Ok(times.into_iter().map(quantiles).collect())
}

async fn run(mut conn: Conn, what: usize, client: u32, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let (mut times, mut id) = (Vec::new(), client);
    while !stop.load(Ordering::Relaxed) {
        id = (id + 7) % 1000 + 1;
        let began = Instant::now();
        match what {
            0 => drop(conn.query_first::<i64, _>(format!("SELECT n FROM big.small WHERE id = {id}")).await?),
            1 => conn.query_drop(format!("UPDATE big.small SET n = n + 1 WHERE id = {id}")).await?,
            _ => {
                conn.query_drop("CREATE TABLE big.tiny (id INT PRIMARY KEY)").await?;
                conn.query_drop("DROP TABLE big.tiny").await?;
            }
        }
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(times)
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |quantile: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = ((times.len() as f64 - 1.0) * quantile).max(0.0) as usize;
        times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!("{:.1} / {:.1} / {:.1}", at(0.5), at(0.99), at(1.0))
}
