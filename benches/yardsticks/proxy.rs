//! `make bench-proxy`: what a query costs on a direct connection, through HAProxy in TCP mode, and through Tidegate.
//!
//! All three run side by side in alternating rounds against one private server; the table shows medians.
//! ROUNDS, TIME (seconds for each measurement) and CONNECTIONS change it.
#![allow(missing_docs, dead_code)]

#[path = "../../tests/support/mod.rs"]
mod support;
mod yardstick;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use support::process::{Process, free_port, run};
use support::servers::{APP, Settings, client_plugins, home, program};
use support::{Kind, Proxy, Server};

fn main() -> ExitCode {
    yardstick::run(bench())
}

/// HAProxy in TCP mode; killed on drop.
struct HaProxy {
    port: u16,
    process: Process,
    _dir: tempfile::TempDir,
}

impl HaProxy {
    fn start(upstream: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let config = dir.path().join("haproxy.cfg");
        std::fs::write(
            &config,
            format!(
                "global\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
                 listen mysql\n bind 127.0.0.1:{port}\n server one {upstream}\n"
            ),
        )?;
        let mut command = Command::new(program("haproxy", "haproxy")?);
        command.arg("-db").arg("-f").arg(&config);
        let process = Process::spawn(command, &dir.path().join("haproxy.log"), dir.path())?;
        Ok(Self { port, process, _dir: dir })
    }
}

/// One way to the server and what was measured on it.
struct Way<'a> {
    name: &'static str,
    port: u16,
    process: Option<&'a dyn Fn() -> Duration>,
    results: Vec<Measured>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    queries_per_second: f64,
    p99_ms: f64,
    cpu_us_per_query: f64,
}

async fn bench() -> Result<()> {
    let (rounds, seconds, connections) =
        (yardstick::number("ROUNDS", 5), yardstick::number("TIME", 8), yardstick::number("CONNECTIONS", 8));
    let server = Server::start(Kind::MySql, Settings { buffer_pool_mib: 256, ..Settings::default() }).await?;
    let mut conn = server.connect().await?;
    conn.query_drop("CREATE DATABASE sbtest").await?;
    let haproxy = HaProxy::start(&server.address())?;
    let proxy = Proxy::start(&server.address(), &[]).await?;
    let version: String = conn.query_first("SELECT VERSION()").await?.unwrap_or_default();
    wait_for(haproxy.port).await?;
    sysbench(server.port, connections, &["--tables=1", "--table-size=100000", "prepare"])?;

    println!(
        "sysbench oltp_point_select, {connections} connections, {rounds} rounds of {seconds} s each, alternating; {} {version}\n",
        server.kind
    );
    println!("| protocol | way | queries/s | p99 ms | proxy CPU µs/query |\n|---|---|---:|---:|---:|");
    for (protocol, prepare) in [("text", "--db-ps-mode=disable"), ("prepared", "--db-ps-mode=auto")] {
        let (of_haproxy, of_tidegate) = (|| haproxy.process.cpu_time(), || proxy.cpu_time());
        let mut ways = [
            Way { name: "direct", port: server.port, process: None, results: Vec::new() },
            Way { name: "HAProxy", port: haproxy.port, process: Some(&of_haproxy), results: Vec::new() },
            Way { name: "Tidegate", port: proxy.port, process: Some(&of_tidegate), results: Vec::new() },
        ];
        for round in 0..rounds {
            // Each round begins with another way, so that none profits from its place.
            for at in 0..ways.len() {
                let way = &mut ways[(at + round as usize) % 3];
                let before = way.process.map(|cpu| cpu());
                let time = format!("--time={seconds}");
                let output =
                    sysbench(way.port, connections, &["--tables=1", "--table-size=100000", prepare, "--percentile=99", &time, "run"])?;
                let cpu = way.process.map(|cpu| cpu()).zip(before).map(|(after, before)| after - before).unwrap_or_default();
                way.results.push(read(&output, cpu)?);
            }
        }
        let medians: Vec<Measured> = ways.iter().map(|way| median(&way.results)).collect();
        for (way, result) in ways.iter().zip(&medians) {
            let cpu = if way.process.is_some() { format!("{:.2}", result.cpu_us_per_query) } else { "–".to_owned() };
            println!("| {protocol} | {} | {:.0} | {:.2} | {cpu} |", way.name, result.queries_per_second, result.p99_ms);
        }
        if let [direct, haproxy, tidegate] = medians[..] {
            println!(
                "| {protocol} | Tidegate : HAProxy | {:.2} | {:.2} | {:.2} |",
                tidegate.queries_per_second / haproxy.queries_per_second,
                tidegate.p99_ms / haproxy.p99_ms,
                tidegate.cpu_us_per_query / haproxy.cpu_us_per_query
            );
            println!(
                "| {protocol} | Tidegate : direct | {:.2} | {:.2} | |",
                tidegate.queries_per_second / direct.queries_per_second,
                tidegate.p99_ms / direct.p99_ms
            );
        }
    }
    let bare = proxy.memory_kib();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(proxy.connect().await?);
    }
    println!(
        "\nAn idle session costs Tidegate {:.1} KiB (200 sessions on {bare} KiB).",
        (proxy.memory_kib().saturating_sub(bare)) as f64 / 200.0
    );
    Ok(())
}

/// Waits until the port takes connections.
async fn wait_for(port: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        ensure!(Instant::now() < until, "nobody listens on port {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn sysbench(port: u16, connections: i32, arguments: &[&str]) -> Result<String> {
    let scripts = home().join("sysbench/usr/share/sysbench");
    let mut command = Command::new(program("sysbench", "sysbench")?);
    command.current_dir(&scripts).env("LUA_PATH", format!("{}/?.lua;;", scripts.display()));
    command.env("MARIADB_PLUGIN_DIR", client_plugins("sysbench"));
    command.arg(Path::new("oltp_point_select.lua"));
    command.args([format!("--mysql-port={port}"), format!("--threads={connections}")]);
    command.args(["--mysql-host=127.0.0.1", "--mysql-ssl=off", &format!("--mysql-user={}", APP.0), &format!("--mysql-password={}", APP.1)]);
    run(command.args(arguments)).context("sysbench")
}

fn read(output: &str, cpu: Duration) -> Result<Measured> {
    let after = |word: &str| -> Option<&str> { Some(output.split_once(word)?.1.trim_start()) };
    let queries: f64 = after("total:")
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("no number of queries in sysbench's output")?;
    let rate = after("queries:").and_then(|rest| rest.split_once('(')?.1.split_whitespace().next()?.parse().ok());
    let p99 = after("99th percentile:").and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok(Measured {
        queries_per_second: rate.context("no rate in sysbench's output")?,
        p99_ms: p99.context("no percentile in sysbench's output")?,
        cpu_us_per_query: cpu.as_secs_f64() * 1e6 / queries,
    })
}

fn median(results: &[Measured]) -> Measured {
    let of = |part: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = results.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Measured {
        queries_per_second: of(|one| one.queries_per_second),
        p99_ms: of(|one| one.p99_ms),
        cpu_us_per_query: of(|one| one.cpu_us_per_query),
    }
}
