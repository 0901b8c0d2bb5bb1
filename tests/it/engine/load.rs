//! An application made to find fault with the engine: it moves keys and unique values about, and knows every row's image.
//!
//! Invariants: a slot (a place in the key space) has one writer, so the journals together are the whole table; a group of
//! writes whose answer was lost is kept as either-or and its slots are left alone from then on; a client's unique values are
//! its own, so that the load itself can provoke neither a duplicate nor a wait between clients.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use super::spaces::Space;
use crate::support::servers::{APP, connect};

/// The table's name.
pub const TABLE: &str = "shop.t";
/// Between the unique values of one client and of the next.
const CLIENT_RANGE: i64 = 100_000_000;

/// One row but for its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub variant: u32,
    pub unique: i64,
    pub counter: i64,
    pub note: String,
}

/// Codes that come as an answer and mean that the connection is ending.
const LOST: [u16; 6] = [1053, 1158, 1159, 1160, 1161, 1927];

/// What a group of writes does to its slots: before and after.
type Effects = Vec<(u32, Option<Row>, Option<Row>)>;

/// What one client knows of its rows.
#[derive(Debug, Default)]
pub struct Journal {
    rows: BTreeMap<u32, Row>,
    free: Vec<u32>,
    unknown: Vec<Effects>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub operations: u64,
    pub disconnects: u64,
    pub errors: BTreeMap<(u16, String), u64>,
    /// Statements that did not find the row which the journal has.
    pub misses: Vec<String>,
}

#[derive(Debug, Default)]
struct Live {
    operations: AtomicU64,
    is_stopping: AtomicBool,
}

/// A running load.
pub struct Load {
    space: Space,
    live: Arc<Live>,
    tasks: Vec<JoinHandle<(Journal, Seen)>>,
}

/// A load that has ended.
#[derive(Debug)]
pub struct Outcome {
    space: Space,
    journals: Vec<Journal>,
    pub seen: Seen,
}

/// Creates the table with a row in every other slot and gives each of the clients its share.
pub async fn prepare(conn: &mut Conn, space: Space, rows: u32, clients: u32) -> Result<Vec<Journal>> {
    conn.query_drop("CREATE DATABASE IF NOT EXISTS shop").await?;
    conn.query_drop(format!("DROP TABLE IF EXISTS {TABLE}")).await?;
    let create = format!(
        "CREATE TABLE {TABLE} ({}, u INT NOT NULL, c INT, note VARCHAR(40), PRIMARY KEY ({}), UNIQUE KEY (u)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        space.columns, space.primary
    );
    conn.query_drop(create).await?;
    let mut journals: Vec<Journal> = (0..clients).map(|_| Journal::default()).collect();
    let mut values = String::new();
    for slot in 0..rows * 2 {
        let owner = slot / 2 % clients;
        let Some(journal) = journals.get_mut(owner as usize) else { bail!("no client {owner}") };
        if slot % 2 == 1 {
            journal.free.push(slot);
            continue;
        }
        let row = Row { variant: 0, unique: base(owner) + i64::from(slot), counter: 0, note: "seed".into() };
        write!(values, "{}({}, {}, 0, 'seed')", if values.is_empty() { "" } else { ", " }, (space.key)(slot, 0).values, row.unique)?;
        journal.rows.insert(slot, row);
        if values.len() > 60_000 || slot + 2 >= rows * 2 {
            conn.query_drop(format!("INSERT INTO {TABLE} ({}, u, c, note) VALUES {values}", space.primary)).await?;
            values.clear();
        }
    }
    Ok(journals)
}

fn base(client: u32) -> i64 {
    i64::from(client + 1) * CLIENT_RANGE
}

impl Load {
    /// Starts a client for each journal.
    pub fn start(port: u16, space: Space, journals: Vec<Journal>, seed: u64, think: Duration) -> Self {
        let live = Arc::new(Live::default());
        let clients = journals.into_iter().zip(0..).map(|(journal, number)| {
            let client = Client {
                number,
                port,
                space,
                journal,
                seen: Seen::default(),
                rng: Rng::with_seed(seed * 1000 + u64::from(number)),
                fresh: base(number) + CLIENT_RANGE / 2,
                think,
            };
            tokio::spawn(client.run(live.clone()))
        });
        Self { space, tasks: clients.collect(), live }
    }

    /// Waits until so many more operations are done.
    pub async fn more(&self, operations: u64) -> Result<()> {
        let aim = self.live.operations.load(Ordering::Relaxed) + operations;
        let until = Instant::now() + Duration::from_secs(60);
        while self.live.operations.load(Ordering::Relaxed) < aim {
            ensure!(Instant::now() < until, "the load does not come forward");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Stops all clients.
    pub async fn stop(self) -> Result<Outcome> {
        self.live.is_stopping.store(true, Ordering::Relaxed);
        let mut outcome = Outcome { space: self.space, journals: Vec::new(), seen: Seen::default() };
        for task in self.tasks {
            let (journal, seen) = tokio::time::timeout(Duration::from_secs(30), task).await.context("a client hangs")??;
            outcome.journals.push(journal);
            outcome.seen.operations += seen.operations;
            outcome.seen.disconnects += seen.disconnects;
            outcome.seen.misses.extend(seen.misses);
            for (error, times) in seen.errors {
                *outcome.seen.errors.entry(error).or_default() += times;
            }
        }
        Ok(outcome)
    }
}

struct Client {
    number: u32,
    port: u16,
    space: Space,
    journal: Journal,
    seen: Seen,
    rng: Rng,
    fresh: i64,
    think: Duration,
}

/// Statements that belong together, each of which must change one row, and what they do.
struct Group {
    statements: Vec<String>,
    effects: Effects,
}

impl Client {
    async fn run(mut self, live: Arc<Live>) -> (Journal, Seen) {
        let mut conn = None;
        while !live.is_stopping.load(Ordering::Relaxed) {
            let Some(open) = &mut conn else {
                conn = connect(self.port, APP).await.ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let group = self.plan();
            if self.play(open, group).await.is_err() {
                self.seen.disconnects += 1;
                conn = None;
            }
            live.operations.fetch_add(1, Ordering::Relaxed);
            self.seen.operations += 1;
            tokio::time::sleep(self.think.mul_f64(self.rng.f64() * 2.0)).await;
        }
        (self.journal, self.seen)
    }

    /// Plays a group as one transaction; the error is a lost connection.
    async fn play(&mut self, conn: &mut Conn, group: Group) -> Result<(), Error> {
        match self.send(conn, &group.statements).await {
            Ok(()) => self.accept(&group.effects),
            Err(Error::Server(error)) if !LOST.contains(&error.code) => {
                *self.seen.errors.entry((error.code, error.message)).or_default() += 1;
                conn.query_drop("ROLLBACK").await?;
            }
            Err(error) => {
                for (slot, ..) in &group.effects {
                    self.journal.rows.remove(slot);
                    self.journal.free.retain(|free| free != slot);
                }
                self.journal.unknown.push(group.effects);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn send(&mut self, conn: &mut Conn, statements: &[String]) -> Result<(), Error> {
        let is_transaction = statements.len() > 1;
        if is_transaction {
            conn.query_drop("BEGIN").await?;
        }
        for statement in statements {
            conn.query_drop(statement).await?;
            if conn.affected_rows() != 1 && self.seen.misses.len() < 10 {
                self.seen.misses.push(format!("{} rows by {statement}", conn.affected_rows()));
            }
        }
        if is_transaction {
            conn.query_drop("COMMIT").await?;
        }
        Ok(())
    }

    fn accept(&mut self, effects: &Effects) {
        for (slot, before, after) in effects {
            match after {
                Some(row) => {
                    self.journal.rows.insert(*slot, row.clone());
                    if before.is_none() {
                        self.journal.free.retain(|free| free != slot);
                    }
                }
                None => {
                    self.journal.rows.remove(slot);
                    self.journal.free.push(*slot);
                }
            }
        }
    }

    fn fresh(&mut self) -> i64 {
        self.fresh += 1;
        self.fresh
    }

    fn any_row(&mut self) -> Option<(u32, Row)> {
        let last = *self.journal.rows.keys().next_back()?;
        let from = self.rng.u32(..=last);
        self.journal.rows.range(from..).next().map(|(slot, row)| (*slot, row.clone()))
    }

    fn plan(&mut self) -> Group {
        let kind = self.rng.u32(..100);
        let group = match kind {
            0..20 => self.insert(),
            20..45 => None,
            45..57 => self.delete(),
            57..67 => self.change_key(),
            67..77 => self.put_back(),
            _ => self.swap(),
        };
        group.or_else(|| self.update()).or_else(|| self.insert()).unwrap_or(Group { statements: Vec::new(), effects: Vec::new() })
    }

    fn insertion(&self, slot: u32, row: &Row) -> String {
        let values = (self.space.key)(slot, row.variant).values;
        format!(
            "INSERT INTO {TABLE} ({}, u, c, note) VALUES ({values}, {}, {}, '{}')",
            self.space.primary, row.unique, row.counter, row.note
        )
    }

    fn at(&self, slot: u32, row: &Row) -> String {
        (self.space.key)(slot, row.variant).condition
    }

    fn new_row(&mut self) -> Row {
        let unique = self.fresh();
        Row { variant: self.rng.u32(..self.space.variants), unique, counter: 1, note: format!("new {}", self.number) }
    }

    fn insert(&mut self) -> Option<Group> {
        let slot = *self.journal.free.get(self.rng.usize(..self.journal.free.len().max(1)))?;
        let row = self.new_row();
        Some(Group { statements: vec![self.insertion(slot, &row)], effects: vec![(slot, None, Some(row))] })
    }

    fn update(&mut self) -> Option<Group> {
        let (slot, row) = self.any_row()?;
        let after = Row { counter: row.counter + 1, note: format!("{:x}", self.rng.u64(..)), ..row.clone() };
        let statement = format!("UPDATE {TABLE} SET c = c + 1, note = '{}' WHERE {}", after.note, self.at(slot, &row));
        Some(Group { statements: vec![statement], effects: vec![(slot, Some(row), Some(after))] })
    }

    fn delete(&mut self) -> Option<Group> {
        let (slot, row) = self.any_row()?;
        let statement = format!("DELETE FROM {TABLE} WHERE {}", self.at(slot, &row));
        Some(Group { statements: vec![statement], effects: vec![(slot, Some(row), None)] })
    }

    /// To another slot, or to another spelling in the same one.
    fn change_key(&mut self) -> Option<Group> {
        let (slot, row) = self.any_row()?;
        let here = self.space.variants > 1 && self.rng.bool();
        let (target, variant) = if here {
            (slot, (row.variant + self.rng.u32(1..self.space.variants)) % self.space.variants)
        } else {
            (*self.journal.free.get(self.rng.usize(..self.journal.free.len().max(1)))?, self.rng.u32(..self.space.variants))
        };
        let after = Row { variant, ..row.clone() };
        let set = (self.space.key)(target, variant).set;
        let statement = format!("UPDATE {TABLE} SET {set} WHERE {}", self.at(slot, &row));
        let effects = if here { vec![(slot, Some(row), Some(after))] } else { vec![(slot, Some(row), None), (target, None, Some(after))] };
        Some(Group { statements: vec![statement], effects })
    }

    /// Deletes a row and inserts another one in its slot.
    fn put_back(&mut self) -> Option<Group> {
        let (slot, row) = self.any_row()?;
        let after = self.new_row();
        let statements = vec![format!("DELETE FROM {TABLE} WHERE {}", self.at(slot, &row)), self.insertion(slot, &after)];
        Some(Group { statements, effects: vec![(slot, Some(row), Some(after))] })
    }

    /// Two rows swap their unique values.
    fn swap(&mut self) -> Option<Group> {
        let (one, other) = (self.any_row()?, self.any_row()?);
        if one.0 == other.0 {
            return None;
        }
        let ((i, a), (j, b)) = if one.0 < other.0 { (one, other) } else { (other, one) };
        let set = |unique: i64, at: String| format!("UPDATE {TABLE} SET u = {unique} WHERE {at}");
        let parked = -self.fresh();
        let (at_i, at_j) = (self.at(i, &a), self.at(j, &b));
        let statements = vec![set(parked, at_i.clone()), set(a.unique, at_j), set(b.unique, at_i)];
        let (after_a, after_b) = (Row { unique: b.unique, ..a.clone() }, Row { unique: a.unique, ..b.clone() });
        Some(Group { statements, effects: vec![(i, Some(a), Some(after_a)), (j, Some(b), Some(after_b))] })
    }
}

type Image = (i64, Option<i64>, Option<String>);

impl Outcome {
    fn expected<'a>(&self, rows: impl IntoIterator<Item = (u32, &'a Row)>) -> HashMap<String, Image> {
        let image = |row: &Row| (row.unique, Some(row.counter), Some(row.note.clone()));
        rows.into_iter().map(|(slot, row)| ((self.space.key)(slot, row.variant).shown, image(row))).collect()
    }

    /// Fails unless the table is exactly what the journals say.
    pub async fn assert_is(&self, conn: &mut Conn) -> Result<()> {
        ensure!(self.seen.misses.is_empty(), "rows were not found by their own writer: {:#?}", self.seen.misses);
        let select = format!("SELECT {}, u, c, note FROM {TABLE}", self.space.shown);
        let rows: Vec<(String, i64, Option<i64>, Option<String>)> = conn.query(select).await?;
        let count = rows.len();
        let mut found: HashMap<String, Image> = rows.into_iter().map(|(key, u, c, note)| (key, (u, c, note))).collect();
        ensure!(found.len() == count, "{} keys are there twice", count - found.len());
        let mut wrong = Vec::new();
        for group in self.journals.iter().flat_map(|journal| &journal.unknown) {
            let mut there = HashMap::new();
            for (slot, ..) in group {
                for variant in 0..self.space.variants {
                    there.extend(found.remove_entry(&(self.space.key)(*slot, variant).shown));
                }
            }
            let before = self.expected(group.iter().filter_map(|(slot, before, _)| Some((*slot, before.as_ref()?))));
            let after = self.expected(group.iter().filter_map(|(slot, _, after)| Some((*slot, after.as_ref()?))));
            if there != before && there != after {
                wrong.push(format!("neither before nor after: {there:?}, not {before:?} and not {after:?}"));
            }
        }
        let expected = self.expected(self.journals.iter().flat_map(|journal| &journal.rows).map(|(slot, row)| (*slot, row)));
        for (key, image) in expected {
            match found.remove(&key) {
                Some(there) if there == image => {}
                there => wrong.push(format!("{key} is {there:?} and not {image:?}")),
            }
        }
        wrong.extend(found.into_iter().map(|(key, image)| format!("{key} should not be there: {image:?}")));
        let some = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        ensure!(wrong.is_empty(), "{} of {count} rows are not what their writers know:\n{some}", wrong.len());
        Ok(())
    }

    /// As [`Outcome::assert_is`], and no client saw an error or a broken connection.
    pub async fn assert_clean(&self, conn: &mut Conn) -> Result<()> {
        ensure!(self.seen.errors.is_empty(), "clients saw errors: {:?}", self.seen.errors);
        ensure!(self.seen.disconnects == 0, "{} connections broke", self.seen.disconnects);
        self.assert_is(conn).await
    }
}
