//! What the proxy itself needs: large values and results pass in a bounded room (I-P2), idle sessions are cheap, and after
//! any traffic memory and descriptors come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::support::environment::number;
use crate::support::lab::Lab;
use crate::support::raw::{BASE, DEPRECATE_EOF, Raw};
use crate::support::servers::{APP, Settings, options};
use crate::support::{Kind, metrics};

on_both_servers!(
    values_of_64_megabytes_pass_in_a_megabyte,
    long_results_pass_in_a_megabyte,
    idle_sessions_give_everything_back,
    random_traffic_with_cut_connections_leaves_nothing_behind,
);

/// By so much the proxy may grow, in KiB.
const GROWTH_MAX: u64 = 1024;
const BLOB: usize = 64 << 20;

async fn big_conn(port: u16) -> Result<Conn> {
    let options = OptsBuilder::from_opts(options(port, APP)).max_allowed_packet(Some(200 << 20));
    Conn::new(options).await.context("connecting for large packets")
}

async fn values_of_64_megabytes_pass_in_a_megabyte(kind: Kind) -> Result<()> {
    let more = vec!["--max-allowed-packet=200M".to_owned()];
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.blobs (id INT PRIMARY KEY, data LONGBLOB) ENGINE=MyISAM"]).await?;
    let mut conn = big_conn(lab.proxy.port).await?;
    // The first round warms the program's pages and the allocator's up.
    for (round, length) in [1 << 20, BLOB].into_iter().enumerate() {
        let before = lab.proxy.memory_kib();
        lab.proxy.forget_peak()?;
        let blob: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        conn.exec_drop("INSERT INTO shop.blobs VALUES (?, ?)", (round, &blob)).await?;
        let text = format!("INSERT INTO shop.blobs VALUES ({}, REPEAT('x', 5)) /* {} */", round + 10, "c".repeat(length));
        conn.query_drop(text).await?;
        let prepared: Option<Vec<u8>> = conn.exec_first("SELECT data FROM shop.blobs WHERE id = ?", (round,)).await?;
        ensure!(prepared.as_ref() == Some(&blob), "the blob came back otherwise");
        let plain: Option<Vec<u8>> = conn.query_first(format!("SELECT data FROM shop.blobs WHERE id = {round}")).await?;
        ensure!(plain.as_ref() == Some(&blob), "the blob came back otherwise as text");
        let grown = lab.proxy.peak_memory_kib().saturating_sub(before);
        println!("{kind}: values of {} MiB: the proxy grew by {grown} KiB at its peak", length >> 20);
        ensure!(round == 0 || grown < GROWTH_MAX, "the proxy grew by {grown} KiB for values of 64 MiB");
    }
    lab.proxy.assert_clean_log(&[])
}

async fn long_results_pass_in_a_megabyte(kind: Kind) -> Result<()> {
    let more = if kind == Kind::MySql { vec!["--cte-max-recursion-depth=100000000".to_owned()] } else { Vec::new() };
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    let rows = number("TIDEGATE_TEST_ROWS", 300_000);
    let mut raw = Raw::login(lab.proxy.port, APP, BASE | DEPRECATE_EOF, usize::MAX).await?;
    for (round, rows) in [10_000, rows].into_iter().enumerate() {
        let before = lab.proxy.memory_kib();
        lab.proxy.forget_peak()?;
        let text = match kind {
            Kind::MySql => {
                format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i, 'a row' FROM n")
            }
            Kind::MariaDb => format!("SELECT seq, 'a row' FROM mysql.seq_1_to_{rows}"),
        };
        raw.send(3, text.as_bytes()).await?;
        let seen = raw.count_rows().await?;
        ensure!(seen == rows, "{seen} rows of {rows} came");
        let grown = lab.proxy.peak_memory_kib().saturating_sub(before);
        println!("{kind}: {rows} rows: the proxy grew by {grown} KiB at its peak");
        ensure!(round == 0 || grown < GROWTH_MAX, "the proxy grew by {grown} KiB for {rows} rows");
    }
    lab.proxy.assert_clean_log(&[])
}

async fn sessions_of(lab: &Lab) -> Result<f64> {
    Ok(metrics::sum(&metrics::fetch(lab.proxy.http_port, "/metrics").await?, "tidegate_sessions", &[]))
}

/// Waits until nobody is connected and as many descriptors are open as at the beginning.
async fn all_gone(lab: &Lab, descriptors: usize) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let (sessions, open) = (sessions_of(lab).await?, lab.proxy.descriptors());
        if sessions == 0.0 && open <= descriptors {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{sessions} sessions and {open} descriptors are left; there were {descriptors} at the beginning");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn idle_sessions_give_everything_back(kind: Kind) -> Result<()> {
    let wanted = number("TIDEGATE_TEST_SESSIONS", 200);
    let more = vec![format!("--max-connections={}", wanted + 50), "--open-files-limit=10000".to_owned(), "--back-log=1000".to_owned()];
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    lab.proxy.connect().await?.disconnect().await?;
    all_gone(&lab, usize::MAX).await?;
    let descriptors = lab.proxy.descriptors();
    let mut memory = Vec::new();
    for _ in 0..4 {
        let before = lab.proxy.memory_kib();
        let mut sessions = Vec::new();
        for _ in 0..wanted {
            sessions.push(lab.proxy.connect().await?);
        }
        let open = sessions_of(&lab).await?;
        ensure!(open == wanted as f64, "{open} sessions are counted");
        println!("{kind}: {wanted} idle sessions: {} KiB more than before", lab.proxy.memory_kib().saturating_sub(before));
        for conn in sessions.iter_mut().step_by(7) {
            conn.ping().await?;
        }
        for conn in sessions {
            conn.disconnect().await?;
        }
        all_gone(&lab, descriptors).await?;
        memory.push(lab.proxy.memory_kib());
    }
    // The allocator keeps what the first rounds needed; after them nothing may be added.
    println!("{kind}: memory after each round: {memory:?} KiB");
    ensure!(memory[3] < memory[1] + GROWTH_MAX, "every round leaves memory behind: {memory:?} KiB");
    lab.proxy.assert_clean_log(&[])
}

/// One client that does what comes to its mind, and now and then breaks off in the middle of it.
async fn restless(port: u16, mut random: fastrand::Rng, until: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        if random.u8(..4) == 0 {
            done += broken_off(port, &mut random).await?;
            continue;
        }
        let Ok(mut conn) = crate::support::servers::connect(port, APP).await else { continue };
        for _ in 0..random.u8(1..30) {
            // Deadlocks and errors of every kind belong to it.
            let (id, length) = (random.u16(..200), random.usize(..60_000));
            let outcome = match random.u8(..12) {
                0 => conn.query_drop("BEGIN").await,
                1 => conn.query_drop("COMMIT").await,
                2 => conn.query_drop("SELEKT").await,
                3 => conn.query_drop(format!("SELECT REPEAT('x', {length}), 2; SELECT 3")).await,
                4 => {
                    conn.exec_drop(
                        "INSERT INTO shop.restless VALUES (?, ?) ON DUPLICATE KEY UPDATE text = VALUES(text)",
                        (id, "y".repeat(length)),
                    )
                    .await
                }
                5 => conn.exec_drop("SELECT id, LENGTH(text) FROM shop.restless WHERE id > ?", (id,)).await,
                6 => conn.query_drop("SELECT * FROM shop.restless").await,
                7 => conn.exec_drop("DELETE FROM shop.restless WHERE id = ?", (id,)).await,
                8 => conn.reset().await.map(|_| ()),
                9 => conn.ping().await,
                10 => conn.query_drop(format!("KILL {}", conn.id())).await,
                _ => conn.query_drop("SET SESSION innodb_lock_wait_timeout = 1").await,
            };
            done += 1;
            if let Err(mysql_async::Error::Io(_)) = outcome {
                break;
            }
        }
        if random.bool() {
            let _ = conn.disconnect().await;
        }
    }
    Ok(done)
}

/// A connection that ends in the middle of a login, of a command, of its answer, or of nothing.
async fn broken_off(port: u16, random: &mut fastrand::Rng) -> Result<u64> {
    if random.u8(..4) == 0 {
        use tokio::io::AsyncWriteExt;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let noise: Vec<u8> = (0..random.usize(..100)).map(|_| random.u8(..)).collect();
        let _ = stream.write_all(&noise).await;
        return Ok(1);
    }
    let Ok(mut raw) = Raw::login(port, APP, BASE | if random.bool() { DEPRECATE_EOF } else { 0 }, usize::MAX).await else { return Ok(1) };
    let text = match random.u8(..4) {
        0 => "SELECT REPEAT('x', 5000000)".to_owned(),
        1 => "BEGIN; UPDATE shop.restless SET text = 'z' WHERE id < 9; SELECT SLEEP(0.2)".to_owned(),
        2 => format!("SELECT '{}'", "w".repeat(random.usize(..300_000))),
        _ => "SELECT SLEEP(5)".to_owned(),
    };
    let command = raw.command(3, text.as_bytes());
    let part = if random.bool() { command.len() } else { random.usize(..command.len()) };
    let _ = raw.write(&command[..part]).await;
    if random.bool() {
        let _ = tokio::time::timeout(Duration::from_millis(random.u64(..200)), raw.packet()).await;
    }
    Ok(1)
}

async fn random_traffic_with_cut_connections_leaves_nothing_behind(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.restless (id INT PRIMARY KEY, text LONGTEXT)"]).await?;
    lab.proxy.connect().await?.disconnect().await?;
    all_gone(&lab, usize::MAX).await?;
    let descriptors = lab.proxy.descriptors();
    let time = Duration::from_secs(number("TIDEGATE_TEST_SOAK_S", 10));
    let mut memory = Vec::new();
    let mut done = 0;
    for quarter in 0..4_u64 {
        let until = Instant::now() + time / 4;
        let clients = (0..24).map(|number| tokio::spawn(restless(lab.proxy.port, fastrand::Rng::with_seed(quarter * 100 + number), until)));
        for client in clients.collect::<Vec<_>>() {
            done += client.await??;
        }
        all_gone(&lab, descriptors).await?;
        memory.push(lab.proxy.memory_kib());
    }
    println!("{kind}: {done} commands in {time:?}; memory after each quarter: {memory:?} KiB");
    // A statement that sleeps goes on for a while on the server, as it does without a proxy.
    let mut direct = lab.server.connect().await?;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let others = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app' AND id <> CONNECTION_ID()";
        let left: Option<u64> = direct.query_first(others).await?;
        if left == Some(0) {
            break;
        }
        ensure!(Instant::now() < until, "{left:?} sessions are left on the server");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(memory[3] < memory[1] + 4 * GROWTH_MAX, "memory grows: {memory:?} KiB");
    ensure!(!lab.proxy.log().contains("panicked"), "a panic:\n{}", lab.proxy.log());
    Ok(())
}
