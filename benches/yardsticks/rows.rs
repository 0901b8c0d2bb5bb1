//! `make bench-rows`: whether a row costs more, and the proxy needs more memory, where a table has many.
//!
//! Tables of SIZES rows (100000,1000000,20000000), each migrated once with all rows compared, while clients change rows of it, insert and
//! delete. A proxy of its own for each. SERVER (mysql, mariadb; both by default) chooses. Afterwards rows and definition are compared, on the
//! server, with those of a table that was altered by it and met the same writes: writes go to both.
#![allow(missing_docs, dead_code)]

#[path = "../../tests/support/mod.rs"]
mod support;
mod yardstick;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use support::lab::Lab;
use support::servers::Settings;
use support::{Kind, compare};

const SPECIFICATION: &str = "ADD COLUMN note VARCHAR(64), MODIFY amount DECIMAL(12,2), ADD INDEX (amount)";

/// The table that the server alters itself.
const TWIN: &str = "`twin`.`t`";

const CLIENTS: i64 = 4;

fn main() -> ExitCode {
    yardstick::run(bench())
}

async fn bench() -> Result<()> {
    let sizes = std::env::var("SIZES").unwrap_or_else(|_| "100000,1000000,20000000".into());
    println!("{SPECIFICATION}; {CLIENTS} clients write meanwhile; commits do not wait for the disk\n");
    println!(
        "| server | rows | writes meanwhile | migration | for each row | the server's own ALTER, nobody writing | proxy's memory before, at its peak |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for kind in yardstick::servers() {
        for size in sizes.split(',') {
            let size: i64 = size.trim().parse().with_context(|| format!("SIZES: {size:?} is no number"))?;
            bench_one(kind, size).await.with_context(|| format!("{kind}, {size} rows"))?;
        }
    }
    Ok(())
}

async fn bench_one(kind: Kind, size: i64) -> Result<()> {
    let settings = Settings { buffer_pool_mib: 2048, more: vec!["--max-binlog-size=1G".into()], ..Settings::default() };
    let lab = Lab::start_with(kind, settings, &[]).await?;
    let mut conn = lab.server.connect().await?;
    fill(&lab, size).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let conn = lab.proxy.connect().await?;
        clients.push(tokio::spawn(write(conn, client, size, stop.clone(), writes.clone())));
    }
    let before = lab.proxy.memory_kib();
    let began = Instant::now();
    let mut admin = lab.admin().await?;
    let id = admin.migrate("big.t", SPECIFICATION, "WITH strategy = 'copy', throttle = false").await?;
    admin.wait_done(id, Duration::from_secs(7200)).await?;
    let (took, peak) = (began.elapsed(), lab.proxy.peak_memory_kib());
    let count = writes.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    let began = Instant::now();
    let refused = compare::alter_twin(&mut conn, TWIN, SPECIFICATION).await?;
    ensure!(refused.is_none(), "{refused:?}");
    let own = began.elapsed();
    compare::assert_same_definition(&mut conn, "big.t", TWIN).await?;
    compare::assert_same_rows(&mut conn, ("big", "t"), ("twin", "t")).await?;
    println!(
        "| {kind} | {size} | {count} | {:.1} s | {:.1} µs | {:.1} s | {:.1}, {:.1} MiB |",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / size as f64,
        own.as_secs_f64(),
        before as f64 / 1024.0,
        peak as f64 / 1024.0
    );
    Ok(())
}

/// Two equal tables of about a hundred bytes a row.
async fn fill(lab: &Lab, size: i64) -> Result<()> {
    let mut conn = lab.server.connect().await?;
    for statement in [
        "CREATE DATABASE big",
        "CREATE TABLE big.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, amount DECIMAL(10,2) NOT NULL, \
         status VARCHAR(20) NOT NULL, payload VARCHAR(100), KEY (customer))",
        "CREATE TABLE big.n (i INT PRIMARY KEY)",
        "INSERT INTO big.n WITH RECURSIVE n AS (SELECT 0 i UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n",
    ] {
        conn.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    compare::make_twin(&mut conn, "big", "t", false).await?;
    tokio::try_join!(fill_one(lab.server.connect().await?, "big.t", size), fill_one(lab.server.connect().await?, TWIN, size))?;
    Ok(conn.query_drop("ANALYZE TABLE big.t").await?)
}

/// A hundred thousand rows at a time.
async fn fill_one(mut conn: Conn, table: &str, size: i64) -> Result<()> {
    // Nobody reads of it in the log.
    conn.query_drop("SET unique_checks = 0, sql_log_bin = 0").await?;
    for from in (0..size).step_by(100_000) {
        let some = (size - from).min(100_000);
        conn.query_drop(format!(
            "INSERT INTO {table} SELECT k + 1, k * 7919 % 50021, (k % 100000) / 100, 'new', REPEAT(CHAR(97 + k % 26), 40) FROM \
             (SELECT {from} + a.i * 1000 + b.i AS k FROM big.n a JOIN big.n b WHERE a.i < 100) n WHERE k < {from} + {some} ORDER BY k"
        ))
        .await?;
    }
    Ok(())
}

/// Each write goes to both tables, in one transaction; rows of different clients are never the same.
async fn write(mut conn: Conn, client: i64, size: i64, stop: Arc<AtomicBool>, writes: Arc<AtomicU64>) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(client as u64);
    let mut next = size + 1 + client;
    while !stop.load(Ordering::Relaxed) {
        let id = random.i64(0..size / CLIENTS) * CLIENTS + client + 1;
        let one = match random.u32(0..10) {
            0 | 1 => {
                next += CLIENTS;
                format!("INSERT INTO {{t}} (id, customer, amount, status) VALUES ({next}, {client}, 1.5, 'late')")
            }
            2 => format!("DELETE FROM {{t}} WHERE id = {id}"),
            _ => format!("UPDATE {{t}} SET amount = amount + 1, status = 'paid' WHERE id = {id}"),
        };
        conn.query_drop("BEGIN").await?;
        for table in ["big.t", TWIN] {
            conn.query_drop(one.replace("{t}", table)).await?;
        }
        conn.query_drop("COMMIT").await?;
        writes.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
