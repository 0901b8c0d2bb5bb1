//! One client of two tables: transactions that cross both, in either order, each noted as the client saw it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};

use super::record::{End, History, Register, Snapshot, Transaction, Version};
use crate::support::servers::{APP, options};

/// Registers of both tables together.
pub(super) const REGISTERS: Register = 32;
/// Rows of its own that a client keeps at most.
const OWN_ROWS: usize = 12;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) port: u16,
    pub(super) began: Instant,
    pub(super) think: Duration,
    pub(super) is_stopping: AtomicBool,
    pub(super) statements: AtomicU64,
}

/// The table of a register.
pub(super) fn table(register: Register) -> &'static str {
    if register.is_multiple_of(2) { "shop.first" } else { "shop.second" }
}

/// How a client's sessions are set: the server and the proxy take other ways for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// BEGIN … COMMIT at REPEATABLE READ.
    Plain,
    /// READ COMMITTED: each statement has a snapshot of its own.
    Committed,
    /// autocommit = 0, no BEGIN.
    Manual,
}

/// A statement did not succeed; what is to be known of it is noted.
struct Failed;

pub(super) struct Client {
    number: i32,
    shared: Arc<Shared>,
    manner: Manner,
    conn: Option<Conn>,
    random: fastrand::Rng,
    history: History,
    tags: u64,
    /// Its own rows by their keys, with table and number.
    rows: BTreeMap<(usize, u64), i64>,
    numbers: i64,
    /// The transaction under way.
    open: Open,
}

#[derive(Default)]
struct Open {
    snapshots: Vec<Snapshot>,
    writes: Vec<Version>,
    rows: Option<BTreeMap<(usize, u64), i64>>,
}

type Read = (u8, u32, u64);

impl Client {
    pub(super) fn new(number: i32, shared: Arc<Shared>, seed: u64) -> Self {
        let manner = match number % 4 {
            0 | 2 => Manner::Plain,
            1 => Manner::Committed,
            _ => Manner::Manual,
        };
        Self {
            number,
            shared,
            manner,
            conn: None,
            random: fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number as u64)),
            history: History::default(),
            tags: (number as u64 + 1) << 40,
            rows: BTreeMap::new(),
            numbers: 0,
            open: Open::default(),
        }
    }

    pub(super) async fn run(mut self) -> Result<History> {
        while !self.shared.is_stopping.load(Ordering::Relaxed) {
            if self.conn.is_none() && self.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            }
            tokio::time::sleep(self.shared.think.mul_f64(self.random.f64() * 2.0)).await;
            let is_several = self.random.u32(0..100) < 60;
            let end = if is_several { self.transaction().await } else { self.single().await };
            if end.is_err() {
                self.give_up(End::RolledBack).await;
            }
        }
        if let Some(conn) = self.conn.take() {
            let _ = conn.disconnect().await;
        }
        Ok(self.history)
    }

    async fn connect(&mut self) -> Result<()> {
        let mut conn = Conn::new(options(self.shared.port, APP)).await?;
        match self.manner {
            Manner::Plain => {}
            Manner::Committed => conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?,
            Manner::Manual => conn.query_drop("SET autocommit = 0").await?,
        }
        self.conn = Some(conn);
        Ok(())
    }

    /// One statement; without autocommit its COMMIT too.
    async fn single(&mut self) -> Result<(), Failed> {
        match self.random.u32(0..10) {
            0..4 => {
                let register = self.random.u8(0..REGISTERS);
                self.read(&[register]).await?;
            }
            4..6 => self.read_all().await?,
            6 => self.read_own().await?,
            _ => {
                let register = self.random.u8(0..REGISTERS);
                self.write(register).await?;
            }
        }
        let sql = if self.manner == Manner::Manual { "COMMIT" } else { "DO 1" };
        self.end(sql).await
    }

    /// Reads and writes in both tables. Registers in ascending order, so that clients never wait for each other in a ring; the
    /// order of the tables is any.
    async fn transaction(&mut self) -> Result<(), Failed> {
        if self.manner != Manner::Manual {
            self.ask("BEGIN", Vec::new()).await?;
        }
        let mut registers: Vec<Register> = (0..self.random.u8(2..5)).map(|_| self.random.u8(0..REGISTERS)).collect();
        registers.sort_unstable();
        registers.dedup();
        let only_reads = self.random.u32(0..100) < 25;
        for register in &registers {
            if only_reads || self.random.u32(0..100) < 30 {
                let other = self.random.u8(0..REGISTERS);
                self.read(&[*register, other]).await?;
            } else {
                self.write(*register).await?;
            }
        }
        match self.random.u32(0..10) {
            0 => self.read_all().await?,
            1..4 if !only_reads => self.change_own().await?,
            _ => {}
        }
        if self.random.u32(0..100) < 15 {
            self.give_up(End::RolledBack).await;
            return Ok(());
        }
        self.end("COMMIT").await
    }

    /// Ends what is under way and notes it.
    async fn end(&mut self, sql: &str) -> Result<(), Failed> {
        match self.ask(sql, Vec::new()).await {
            Ok(_) => {
                self.note(End::Committed(self.shared.began.elapsed()));
                Ok(())
            }
            Err(Failed) => {
                self.note(End::Unknown);
                Err(Failed)
            }
        }
    }

    async fn give_up(&mut self, end: End) {
        if self.conn.is_some() {
            let _ = self.ask("ROLLBACK", Vec::new()).await;
        }
        self.note(end);
    }

    fn note(&mut self, end: End) {
        let Open { snapshots, writes, rows } = std::mem::take(&mut self.open);
        if let (End::Committed(_), Some(rows)) = (end, rows) {
            self.rows = rows;
        }
        if !snapshots.is_empty() || !writes.is_empty() {
            self.history.transactions.push(Transaction { client: self.number, snapshots, writes, end });
        }
    }

    async fn read(&mut self, registers: &[Register]) -> Result<(), Failed> {
        let sent = self.shared.began.elapsed();
        let parts: Vec<String> = registers
            .iter()
            .map(|register| format!("SELECT id, version, tag FROM {} WHERE client = -1 AND id = {register}", table(*register)))
            .collect();
        let found = self.ask(&parts.join(" UNION "), Vec::new()).await?;
        let mut wanted = registers.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        self.saw(sent, found, &wanted);
        Ok(())
    }

    /// Whole tables, by the primary key or by the second index: part of a table shows.
    async fn read_all(&mut self) -> Result<(), Failed> {
        let sent = self.shared.began.elapsed();
        let hint = ["", " FORCE INDEX (PRIMARY)", " FORCE INDEX (client)"][self.random.usize(0..3)];
        let of = |table: &str| format!("SELECT id, version, tag FROM {table}{hint} WHERE client = -1");
        let (sql, wanted): (_, Vec<Register>) = match self.random.u32(0..3) {
            0 => (of("shop.first"), (0..REGISTERS).step_by(2).collect()),
            1 => (of("shop.second"), (1..REGISTERS).step_by(2).collect()),
            _ => (format!("{} UNION ALL {}", of("shop.first"), of("shop.second")), (0..REGISTERS).collect()),
        };
        let found = self.ask(&sql, Vec::new()).await?;
        self.saw(sent, found, &wanted);
        Ok(())
    }

    /// Notes what was read; its own uncommitted writes are compared here, nobody else can.
    fn saw(&mut self, sent: Duration, found: Vec<Read>, wanted: &[Register]) {
        let mut versions: Vec<Version> = found.into_iter().map(|(register, version, tag)| Version { register, version, tag }).collect();
        versions.sort_unstable_by_key(|version| version.register);
        if !versions.iter().map(|version| version.register).eq(wanted.iter().copied()) {
            self.contradict(format!("read {versions:?}, and must have found the registers {wanted:?}"));
            return;
        }
        let own: Vec<Version> =
            versions.extract_if(.., |seen| self.open.writes.iter().any(|write| write.register == seen.register)).collect();
        for seen in own {
            if !self.open.writes.contains(&seen) {
                self.contradict(format!("wrote {:?} in its transaction, and then read {seen:?}", self.open.writes));
            }
        }
        match self.open.snapshots.last_mut() {
            Some(snapshot) if self.manner != Manner::Committed => snapshot.versions.extend(versions),
            _ => self.open.snapshots.push(Snapshot { sent, versions }),
        }
    }

    async fn write(&mut self, register: Register) -> Result<(), Failed> {
        self.tags += 1;
        let tag = self.tags;
        let sql = format!("UPDATE {} SET version = LAST_INSERT_ID(version + 1), tag = ? WHERE id = ?", table(register));
        let is_alone = self.open.writes.is_empty() && self.manner != Manner::Manual;
        let asked = self.ask(&sql, vec![tag.into(), register.into()]).await;
        let Some(conn) = self.conn.as_ref().filter(|_| asked.is_ok()) else {
            if is_alone && self.conn.is_none() {
                self.contradict(format!("the answer to an autocommitted write of register {register} was lost; it cannot be followed"));
            }
            return Err(Failed);
        };
        let (changed, version) = (conn.affected_rows(), conn.last_insert_id().unwrap_or_default());
        if changed != 1 {
            self.contradict(format!("a write of register {register} changed {changed} rows"));
        }
        let version = Version { register, version: u32::try_from(version).unwrap_or(0), tag };
        self.open.writes.retain(|write| write.register != register);
        self.open.writes.push(version);
        Ok(())
    }

    /// Rows of its own: a new one in each table, or one away from each.
    async fn change_own(&mut self) -> Result<(), Failed> {
        let mut rows = self.open.rows.clone().unwrap_or_else(|| self.rows.clone());
        let tables = if self.random.bool() { [0, 1] } else { [1, 0] };
        for place in tables {
            let name = table(place as Register);
            let mine: Vec<(usize, u64)> = rows.keys().filter(|(table, _)| *table == place).copied().collect();
            if mine.len() > self.random.usize(0..OWN_ROWS) {
                let (_, id) = mine[self.random.usize(0..mine.len())];
                self.ask(&format!("DELETE FROM {name} WHERE id = ?"), vec![id.into()]).await?;
                if self.changed() != 1 {
                    self.contradict(format!("the DELETE of its own row {id} of {name} changed {} rows", self.changed()));
                }
                rows.remove(&(place, id));
            } else {
                self.numbers += 1;
                let values = vec![self.number.into(), self.numbers.into(), self.number.into()];
                self.ask(&format!("INSERT INTO {name} (client, version, tag) VALUES (?, ?, ?)"), values).await?;
                let id = self.conn.as_ref().and_then(Conn::last_insert_id).unwrap_or_default();
                rows.insert((place, id), self.numbers);
            }
            self.open.rows = Some(rows.clone());
        }
        self.read_own().await
    }

    fn changed(&self) -> u64 {
        self.conn.as_ref().map_or(0, Conn::affected_rows)
    }

    /// Its own rows are there, each once, and no others.
    async fn read_own(&mut self) -> Result<(), Failed> {
        let place = self.random.usize(0..2);
        let sql = format!("SELECT 0, version, id FROM {} WHERE client = {}", table(place as Register), self.number);
        let mut found: Vec<(u64, i64)> =
            self.ask(&sql, Vec::new()).await?.into_iter().map(|(_, number, id)| (id, i64::from(number))).collect();
        found.sort_unstable();
        let rows = self.open.rows.as_ref().unwrap_or(&self.rows);
        let expected: Vec<(u64, i64)> =
            rows.iter().filter(|((table, _), _)| *table == place).map(|((_, id), number)| (*id, *number)).collect();
        if found != expected {
            self.contradict(format!("its own rows of {} are {found:?} and must be {expected:?}", table(place as Register)));
        }
        Ok(())
    }

    fn contradict(&mut self, what: String) {
        if self.history.contradictions.len() < 20 {
            self.history.contradictions.push(format!("client {} ({:?}): {what}", self.number, self.manner));
        }
    }

    /// One statement: with values as text or prepared, as chance will have it.
    async fn ask(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Read>, Failed> {
        let Some(conn) = &mut self.conn else { return Err(Failed) };
        let is_prepared = !matches!(sql, "BEGIN" | "COMMIT" | "ROLLBACK" | "DO 1") && self.random.bool();
        let sent = Instant::now();
        let answer = if is_prepared {
            conn.exec::<Read, _, _>(sql, values).await
        } else {
            let mut values = values.iter();
            let text: String = sql.split_inclusive('?').map(|part| filled(part, &mut values)).collect();
            conn.query::<Read, _>(text).await
        };
        self.history.longest = self.history.longest.max(sent.elapsed());
        self.history.statements += 1;
        self.shared.statements.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(rows) => Ok(rows),
            Err(mysql_async::Error::Server(error)) => {
                *self.history.errors.entry((error.code, error.message)).or_default() += 1;
                Err(Failed)
            }
            Err(error) => {
                self.history.disconnects += 1;
                self.contradict(format!("{sql}: {error}"));
                self.conn = None;
                Err(Failed)
            }
        }
    }
}

fn filled(part: &str, values: &mut std::slice::Iter<'_, Value>) -> String {
    match part.strip_suffix('?') {
        Some(before) => format!("{before}{}", values.next().map(|value| value.as_sql(false)).unwrap_or_default()),
        None => part.to_owned(),
    }
}
