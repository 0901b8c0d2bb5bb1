//! Clients that write two tables in one transaction, and readers that look whether they ever see one new and one old.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::task::JoinHandle;

use crate::support::Lab;
use crate::support::servers::{self, APP};

/// Writers through the proxy; the next one goes round it.
const WRITERS: i32 = 3;

/// For each row: how often it was counted up, and how often that is not known.
type Counts = HashMap<i32, (u64, u64)>;

pub(super) struct Clients {
    is_stopping: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
    writers: Vec<JoinHandle<(Counts, Vec<String>)>>,
    readers: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    /// `are_cut_off`: connections through the proxy may break.
    pub(super) fn start(lab: &Lab, are_cut_off: bool) -> Self {
        let (is_stopping, turns, looks) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (through, round) = (lab.proxy.port, lab.server.port);
        let writers = (0..=WRITERS).map(|number| {
            let (stop, turns) = (is_stopping.clone(), turns.clone());
            let is_round = number == WRITERS;
            tokio::spawn(write(if is_round { round } else { through }, number, is_round, are_cut_off && !is_round, stop, turns))
        });
        let writers = writers.collect();
        let readers = [(through, are_cut_off), (through, are_cut_off), (round, false)].into_iter().map(|(port, is_cut_off)| {
            let (stop, looks) = (is_stopping.clone(), looks.clone());
            tokio::spawn(read(port, is_cut_off, port == round, stop, looks))
        });
        let readers = readers.collect();
        Self { is_stopping, turns, looks, writers, readers }
    }

    /// Waits for so many more transactions and looks.
    pub(super) async fn more(&self, turns: u64) -> Result<()> {
        let wanted = [&self.turns, &self.looks].map(|count| count.load(Ordering::Relaxed) + turns);
        let until = Instant::now() + Duration::from_secs(60);
        while self.turns.load(Ordering::Relaxed) < wanted[0] || self.looks.load(Ordering::Relaxed) < wanted[1] {
            ensure!(Instant::now() < until, "the clients do not go on");
            if self.writers.iter().any(JoinHandle::is_finished) || self.readers.iter().any(JoinHandle::is_finished) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Ends them; fails where one saw an error, where a write is missing or doubled, or where the tables did not change at once.
    pub(super) async fn stop(self, lab: &Lab) -> Result<()> {
        self.is_stopping.store(true, Ordering::Relaxed);
        let (mut counts, mut errors) = (Counts::new(), Vec::new());
        for writer in self.writers {
            let (own, seen) = writer.await?;
            counts.extend(own);
            errors.extend(seen);
        }
        for reader in self.readers {
            errors.extend(reader.await?);
        }
        ensure!(errors.is_empty(), "clients saw {} errors: {:#?}", errors.len(), errors.iter().take(5).collect::<Vec<_>>());
        let mut conn = lab.server.connect().await?;
        let rows: Vec<(i32, Option<u64>, Option<u64>)> = conn
            .query("SELECT a.id, a.v, b.v FROM shop.a a LEFT JOIN other.b b ON a.id = b.id UNION SELECT b.id, a.v, b.v FROM other.b b LEFT JOIN shop.a a ON a.id = b.id")
            .await?;
        ensure!(rows.len() >= 1000, "{} rows", rows.len());
        for (id, a, b) in rows {
            let (known, unknown) = counts.get(&id).copied().unwrap_or_default();
            let value =
                a.filter(|_| a == b).with_context(|| format!("row {id} was counted to {a:?} in one table and to {b:?} in the other"))?;
            ensure!((known..=known + unknown).contains(&value), "row {id} is {value}; {known} were acknowledged, {unknown} not answered");
        }
        Ok(())
    }
}

async fn write(
    port: u16,
    number: i32,
    is_round: bool,
    is_cut_off: bool,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
) -> (Counts, Vec<String>) {
    let (mut counts, mut errors) = (Counts::new(), Vec::new());
    let (mut conn, mut turn) = (None, 0);
    while !stop.load(Ordering::Relaxed) && errors.is_empty() {
        let Some(link) = &mut conn else {
            conn = connected(port, is_cut_off, &mut errors).await;
            continue;
        };
        turn += 1;
        // Rows of its own, so that nobody meets a deadlock; now and then a new one.
        let id = if turn % 7 == 0 { 10_000 * (number + 1) + turn } else { 100 * number + turn % 100 };
        let count = counts.entry(id).or_default();
        match one_turn(link, id, turn, is_round).await {
            Ok(()) => {
                count.0 += 1;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if is_cut_off && !matches!(error, mysql_async::Error::Server(_)) => {
                count.1 += 1;
                conn = None;
            }
            Err(error) => errors.push(format!("writer {number}: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(if is_round { 20 } else { 4 })).await;
    }
    (counts, errors)
}

async fn one_turn(link: &mut Conn, id: i32, turn: i32, is_round: bool) -> Result<(), mysql_async::Error> {
    let mut tables = ["shop.a", "other.b"];
    if turn % 2 == 0 {
        tables.reverse();
    }
    // A transaction that goes round the proxy and has read one of them may be ended by the server behind LOCK TABLES on both.
    if !is_round {
        link.query_drop("BEGIN").await?;
    }
    for table in tables {
        link.query_drop(format!("INSERT INTO {table} (id, v) VALUES ({id}, 1) ON DUPLICATE KEY UPDATE v = v + 1")).await?;
    }
    if !is_round {
        link.query_drop("COMMIT").await?;
    }
    Ok(())
}

async fn connected(port: u16, is_cut_off: bool, errors: &mut Vec<String>) -> Option<Conn> {
    match servers::connect(port, APP).await {
        Ok(conn) => Some(conn),
        Err(_) if is_cut_off => {
            tokio::time::sleep(Duration::from_millis(10)).await;
            None
        }
        Err(error) => {
            errors.push(format!("connecting: {error:#}"));
            None
        }
    }
}

async fn read(port: u16, is_cut_off: bool, is_round: bool, stop: Arc<AtomicBool>, looks: Arc<AtomicU64>) -> Vec<String> {
    let (mut conn, mut turn, mut errors) = (None, 0, Vec::new());
    while !stop.load(Ordering::Relaxed) && errors.is_empty() {
        let Some(link) = &mut conn else {
            conn = connected(port, is_cut_off, &mut errors).await;
            continue;
        };
        turn += 1;
        let seen =
            if is_round || turn % 2 == 0 { look_at_once(link).await } else { look_in_a_snapshot(link, turn % (100 * WRITERS)).await };
        match seen {
            Ok(None) => drop(looks.fetch_add(1, Ordering::Relaxed)),
            Ok(Some(wrong)) => errors.push(wrong),
            Err(error) if is_cut_off && !matches!(error, mysql_async::Error::Server(_)) => conn = None,
            Err(error) => errors.push(format!("reader: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    errors
}

/// Each table has three columns before and four after, or the other way round.
async fn look_at_once(link: &mut Conn) -> Result<Option<String>, mysql_async::Error> {
    let row: Option<Row> = link.query_first("SELECT * FROM shop.a JOIN other.b USING (id) LIMIT 1").await?;
    let columns = row.map_or(0, |row| row.len());
    Ok((columns != 5 && columns != 7).then(|| format!("a join saw {columns} columns")))
}

/// Both tables by one transaction's eyes: a row of a writer that has transactions.
async fn look_in_a_snapshot(link: &mut Conn, id: i32) -> Result<Option<String>, mysql_async::Error> {
    link.query_drop("START TRANSACTION").await?;
    let a: Option<Row> = link.query_first(format!("SELECT * FROM shop.a WHERE id = {id}")).await?;
    let b: Option<Row> = link.query_first(format!("SELECT * FROM other.b WHERE id = {id}")).await?;
    link.query_drop("COMMIT").await?;
    let columns = |row: &Option<Row>| row.as_ref().map_or(0, Row::len);
    let value = |row: &Option<Row>| row.as_ref().and_then(|row| row.get::<u64, _>(1));
    let is_same = columns(&a) == columns(&b) && value(&a) == value(&b);
    Ok((!is_same)
        .then(|| format!("row {id}: {} columns and {:?}, but {} columns and {:?}", columns(&a), value(&a), columns(&b), value(&b))))
}
