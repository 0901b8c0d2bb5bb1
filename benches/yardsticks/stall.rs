//! `make bench-stall`: what clients feel at a cut-over, step by step: with 4, 16 and 64 connections, many cut-overs each, on both
//! servers; what part of it is the proxy's own, and what a session on another table felt.
//!
//! CUTOVERS, SERVER (mysql, mariadb; both by default), CONNECTIONS, THINK_MS (a client's mean pause between its operations, 4), NICE (of
//! the clients, 10) and SERVER_NICE (0; above it, the proxy runs as if the server had cores of its own) change it.
//!
//! What the machine itself costs stands in a second table, from the same run: how late a thread of this program is woken, what a bare
//! client's commit takes beside the load, and what a *herd* takes, as many bare connections as clients, all of which send one statement at
//! the same instant: that is what a release is, without a proxy.
//!
//! The aim for the own share is said of cut-overs among transactions that are short themselves. *Calm* ones are those: when CUTOVER was
//! said no client's statement or transaction was open, or had just ended, that took longer than 10 ms, and to the end of the cut-over no
//! transaction of the bare client did, which nothing holds. TMPDIR on a file system in memory takes the disk out of all this.
#![allow(missing_docs, dead_code)]

#[path = "../../tests/support/mod.rs"]
mod support;
mod yardstick;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use support::Kind;
use support::admin::Status;
use support::lab::{Lab, TABLE};
use support::load::{LONG, Options};
use support::servers::Settings;

/// Steps that are the proxy's: what is left to do when the gate has drained, and letting everybody go.
const OWN: [&str; 5] = ["catch_up", "fence", "apply", "final_form", "release"];

/// Steps that are the server's: locking, renaming, unlocking.
const SERVERS_OWN: [&str; 7] = ["lock", "lock_shadow", "rename_waits", "drop_sentry", "rename", "unlock", "unlock_shadow"];

/// How long before CUTOVER a client's transaction may have ended and still tells how the machine was.
const JUST_BEFORE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    yardstick::run(bench())
}

async fn bench() -> Result<()> {
    let cut_overs = yardstick::number("CUTOVERS", 50);
    println!("{cut_overs} cut-overs for each line; milliseconds as p50 / p99 / longest; commits reach the disk\n");
    println!(
        "| server | connections | statements/s | held statements | each held statement | whole attempt | drain | catch up, fence, apply | lock | rename, unlock | release | \
         own share | own share without drain | another table, outside of cut-overs | another table, within |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let only = yardstick::number("CONNECTIONS", 0);
    let (mut machine, mut calm, mut steps) = (String::new(), String::new(), String::new());
    for kind in yardstick::servers() {
        for connections in [4, 16, 64].into_iter().filter(|connections| only == 0 || only == *connections) {
            let line = bench_one(kind, connections, cut_overs).await.with_context(|| format!("{kind}, {connections} connections"))?;
            machine.push_str(&line.machine);
            calm.push_str(&line.calm);
            steps.push_str(&line.steps);
        }
    }
    println!(
        "\nThe machine in the same run:\n\n| server | connections | clients' transactions | a sleep of 5 ms is late by | a bare commit, beside the load | \
         a bare commit, alone | a herd: the last one sends after | the last one is answered after |\n|---|---:|---:|---:|---:|---:|---:|---:|\n{machine}"
    );
    println!(
        "Calm cut-overs, no transaction about which was longer than {} ms:\n\n| server | connections | calm | own share | own share without drain | \
         each of its steps |\n|---|---:|---:|---:|---:|---|\n{calm}",
        LONG.as_millis()
    );
    println!("Each step:\n\n{steps}");
    Ok(())
}

/// The clients stand for other machines: here, on the same cores, they must not keep server and proxy from running. Threads that
/// already run are meant, so that the next server does not inherit it.
fn yield_to_the_others(process: u32, nice: i32) {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let id = thread.file_name().to_string_lossy().into_owned();
        let _ =
            std::process::Command::new("renice").args(["-n", &nice.to_string(), "-p", &id]).stdout(std::process::Stdio::null()).status();
    }
}

/// What is shown below the first table.
struct Line {
    machine: String,
    calm: String,
    steps: String,
}

async fn bench_one(kind: Kind, connections: i32, cut_overs: i32) -> Result<Line> {
    let settings = Settings { is_durable: true, buffer_pool_mib: 512, ..Settings::default() };
    let lab = Lab::start_with(kind, settings, &[("TIDEGATE_CUTOVER_LOG_HELD_OVER_MS", "0")]).await?;
    yield_to_the_others(std::process::id(), yardstick::number("NICE", 10));
    if let Some(server) = lab.server.process_id() {
        yield_to_the_others(server, yardstick::number("SERVER_NICE", 0));
    }
    let think = Duration::from_millis(yardstick::number("THINK_MS", 4).unsigned_abs().into());
    let load = lab.load(2000, &Options { clients: connections, think, ..Options::default() }).await?;
    lab.sql(&["CREATE TABLE shop.quiet (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0)"]).await?;
    let rows: Vec<String> = (0..=connections).map(|id| format!("({id})")).collect();
    lab.sql(&[&format!("INSERT INTO shop.quiet (id) VALUES {}", rows.join(", "))]).await?;
    let bystander = Bystander::start(&lab).await?;
    let bare = Bare::start(&lab).await?;
    let mut admin = lab.admin().await?;
    let (mut steps, mut windows) = (Steps::default(), Vec::new());
    let began = (Instant::now(), load.live().statements.load(Ordering::Relaxed));
    for round in 0..cut_overs {
        let specification = if round % 2 == 0 { "ADD COLUMN note VARCHAR(64)" } else { "DROP COLUMN note" };
        let id = admin.migrate(TABLE, specification, "WITH strategy = 'copy', verify = false, postpone = true").await?;
        admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
        let window = Instant::now();
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        let status = loop {
            let status = admin.status(id).await?;
            if matches!(status.phase(), "reversible" | "cleaning_up" | "done") {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        windows.push((window, Instant::now()));
        steps.add(&status);
        admin.wait_done(id, Duration::from_secs(60)).await?;
    }
    yield_to_the_others(std::process::id(), 0);
    let statements = load.live().statements.load(Ordering::Relaxed) - began.1;
    let rate = statements as f64 / began.0.elapsed().as_secs_f64();
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    let held = held_times(&lab.proxy.log());
    let (within, outside) = bystander.stop(&windows).await?;
    let (commits, late) = bare.stop().await?;
    let calm = steps.calm(&windows, &outcome.seen.long, &commits);
    println!(
        "| {kind} | {connections} | {rate:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        held.len(),
        quantiles(held.clone()),
        steps.of(&[]),
        steps.of(&["drain"]),
        steps.of(&OWN[..4]),
        steps.of(&["lock", "lock_shadow"]),
        steps.of(&["rename_waits", "drop_sentry", "rename", "unlock", "unlock_shadow"]),
        steps.of(&["release"]),
        steps.except(&SERVERS_OWN),
        steps.of(&OWN),
        quantiles(outside),
        quantiles(within)
    );
    let herd = Herd::run(&lab, connections).await?;
    let transactions = &outcome.seen.transactions;
    let ms = |microseconds: u64| microseconds as f64 / 1e3;
    Ok(Line {
        machine: format!(
            "| {kind} | {connections} | {:.1} / {:.1} / {:.1} | {} | {} | {} | {} | {} |\n",
            ms(transactions.value_at_quantile(0.5)),
            ms(transactions.value_at_quantile(0.99)),
            ms(transactions.max()),
            quantiles(late),
            quantiles(milliseconds(commits)),
            quantiles(bare_commits(&lab).await?),
            quantiles(herd.sent),
            quantiles(herd.answered)
        ),
        calm: format!(
            "| {kind} | {connections} | {} of {} | {} | {} | {} |\n",
            calm.0.len(),
            steps.0.len(),
            calm.except(&SERVERS_OWN),
            calm.of(&OWN),
            OWN.map(|name| format!("{name} {}", calm.of(&[name]))).join("; ")
        ),
        steps: format!("{kind}, {connections} connections: {}\n", steps.each()),
    })
}

/// The steps of each last attempt, by name.
#[derive(Default)]
struct Steps(Vec<BTreeMap<String, f64>>);

impl Steps {
    fn add(&mut self, status: &Status) {
        let steps = status.text("steps").split(", ").filter_map(|step| {
            let (name, time) = step.trim_end_matches(" ms").rsplit_once(' ')?;
            Some((name.to_owned(), time.parse().ok()?))
        });
        self.0.push(steps.collect());
    }

    /// The times of some steps together; of none: of all.
    fn of(&self, names: &[&str]) -> String {
        let sum = |steps: &BTreeMap<String, f64>| {
            steps.iter().filter(|(name, _)| names.is_empty() || names.contains(&name.as_str())).map(|(_, time)| time).sum()
        };
        quantiles(self.0.iter().map(sum).collect())
    }

    /// Every step by itself, in the order of the first attempt.
    fn each(&self) -> String {
        let mut names: Vec<&String> = self.0.iter().flat_map(BTreeMap::keys).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| format!("{name} {}", self.of(&[name]))).collect::<Vec<_>>().join("; ")
    }

    /// Those whose window no long transaction touched.
    fn calm(&self, windows: &[(Instant, Instant)], of_clients: &[(Instant, Duration)], bare: &[(Instant, Duration)]) -> Self {
        let touches =
            |(began, took): &(Instant, Duration), from: Instant, to: Instant| *took > LONG && *began < to && *began + *took > from;
        let is_calm = |(from, to): &(Instant, Instant)| {
            let before = *from - JUST_BEFORE;
            // Whatever of the clients' began later may have been held.
            !of_clients.iter().any(|one| touches(one, before, *from)) && !bare.iter().any(|one| touches(one, before, *to))
        };
        Self(self.0.iter().zip(windows).filter(|(_, window)| is_calm(window)).map(|(steps, _)| steps.clone()).collect())
    }

    fn except(&self, names: &[&str]) -> String {
        let sum =
            |steps: &BTreeMap<String, f64>| steps.iter().filter(|(name, _)| !names.contains(&name.as_str())).map(|(_, time)| time).sum();
        quantiles(self.0.iter().map(sum).collect())
    }
}

/// What the disk and the server cost whoever commits one row, straight and with nothing else going on: the last changes are
/// applied behind the gate by one such transaction.
async fn bare_commits(lab: &Lab) -> Result<Vec<f64>> {
    let mut conn = lab.server.connect().await?;
    let mut times = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let began = Instant::now();
        for sql in ["START TRANSACTION", "UPDATE shop.quiet SET n = n + 1 WHERE id = 1", "COMMIT"] {
            conn.query_drop(sql).await?;
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// A client that goes straight to the server beside the load and commits one row now and then; and how late it is woken.
struct Bare {
    is_stopping: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<(Timed, Vec<f64>)>>,
}

/// When each was begun, and how long it took.
type Timed = Vec<(Instant, Duration)>;

fn milliseconds(times: Timed) -> Vec<f64> {
    times.into_iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect()
}

impl Bare {
    async fn start(lab: &Lab) -> Result<Self> {
        let mut conn = lab.server.connect().await?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = is_stopping.clone();
        let task = tokio::spawn(async move {
            let (mut commits, mut late) = (Vec::new(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let pause = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                late.push((pause.elapsed().as_secs_f64() - 5e-3) * 1e3);
                let began = Instant::now();
                for sql in ["START TRANSACTION", "UPDATE shop.quiet SET n = n + 1 WHERE id = 0", "COMMIT"] {
                    conn.query_drop(sql).await?;
                }
                commits.push((began, began.elapsed()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok((commits, late))
        });
        Ok(Self { is_stopping, task })
    }

    async fn stop(self) -> Result<(Timed, Vec<f64>)> {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// As many bare connections as there were clients, with nothing else going on: all of them send one statement at the same instant, every
/// second one a read. What the last one waits until it gets to send is the machine's share of a release.
#[derive(Default)]
struct Herd {
    sent: Vec<f64>,
    answered: Vec<f64>,
}

impl Herd {
    async fn run(lab: &Lab, connections: i32) -> Result<Self> {
        let mut herd = Self::default();
        let mut members = Vec::new();
        for id in 1..=connections {
            members.push((id, lab.server.connect().await?));
        }
        for _ in 0..50 {
            let go = Arc::new(tokio::sync::Notify::new());
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            for (id, mut conn) in members.drain(..) {
                let (go, sender) = (go.clone(), sender.clone());
                tokio::spawn(async move {
                    let begun = go.notified();
                    tokio::pin!(begun);
                    begun.as_mut().enable();
                    let _ = sender.send(None);
                    begun.await;
                    let sent = Instant::now();
                    let sql = if id % 2 == 0 { "SELECT n FROM shop.quiet WHERE id" } else { "UPDATE shop.quiet SET n = n + 1 WHERE id" };
                    let answer = conn.query_drop(format!("{sql} = {id}")).await;
                    let _ = sender.send(Some((id, conn, sent, Instant::now(), answer)));
                });
            }
            drop(sender);
            for _ in 0..connections {
                receiver.recv().await.context("a member of the herd has died")?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let began = Instant::now();
            go.notify_waiters();
            let (mut last_sent, mut last_answered) = (began, began);
            while let Some(message) = receiver.recv().await {
                let (id, conn, sent, answered, answer) = message.context("a member of the herd begins twice")?;
                answer?;
                (last_sent, last_answered) = (last_sent.max(sent), last_answered.max(answered));
                members.push((id, conn));
            }
            herd.sent.push((last_sent - began).as_secs_f64() * 1e3);
            herd.answered.push((last_answered - began).as_secs_f64() * 1e3);
        }
        Ok(herd)
    }
}

/// Each held statement's time, from the log.
fn held_times(log: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains("held statement"));
    lines.filter_map(|line| line.split("held_ms=").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

fn quantiles(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or_default();
    format!("{:.1} / {:.1} / {:.1}", at(0.5), at(0.99), at(1.0))
}

/// One session that reads another table, again and again.
struct Bystander {
    is_stopping: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Timed>>,
}

impl Bystander {
    async fn start(lab: &Lab) -> Result<Self> {
        let mut conn = lab.proxy.connect().await?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = is_stopping.clone();
        let task = tokio::spawn(async move {
            let mut reads = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                conn.query_drop("SELECT id FROM shop.quiet WHERE id = 1").await?;
                reads.push((sent, sent.elapsed()));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(reads)
        });
        Ok(Self { is_stopping, task })
    }

    /// Milliseconds of the reads that met a cut-over, and of the others.
    async fn stop(self, windows: &[(Instant, Instant)]) -> Result<(Vec<f64>, Vec<f64>)> {
        self.is_stopping.store(true, Ordering::Relaxed);
        let reads = self.task.await??;
        let meets = |(sent, took): &(Instant, Duration)| windows.iter().any(|(from, to)| sent < to && *sent + *took > *from);
        let (within, outside): (Vec<_>, Vec<_>) = reads.into_iter().partition(meets);
        Ok((milliseconds(within), milliseconds(outside)))
    }
}
