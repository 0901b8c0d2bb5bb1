//! One client of the application: one connection, one journal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::journal::{Changes, Journal, Row};
use super::statement::{self, Statement, payload};
use super::{LONG, Live, Options, Seen};
use crate::support::servers::{APP, options as connect_options};

/// What came back for one statement.
enum Answer {
    /// The server did it; rows as (seq, counter, customer, text).
    Done { rows: Vec<Read>, changed: u64, id: i64 },
    /// The server, or the proxy, said no with this code: it did not happen.
    Refused,
    /// The connection broke: nobody knows.
    Lost,
}

type Read = (i32, i32, i32, Option<String>);

/// What the client wants to do next.
enum Wish {
    Write { statement: Statement, changes: Changes, changed: u64 },
    Read { statement: Statement, expected: Vec<Read> },
}

/// Codes that mean "the connection is ending" although they come as an answer.
const CODES_OF_A_LOST_CONNECTION: [u16; 9] = [1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013];

pub(super) struct Client {
    port: u16,
    schema: String,
    journal: Journal,
    options: Options,
    live: Arc<Live>,
    conn: Option<Conn>,
    random: fastrand::Rng,
    seen: Seen,
    /// Changes of the open transaction.
    overlay: Changes,
}

impl Client {
    pub(super) async fn connect(port: u16, schema: &str, journal: Journal, options: &Options, live: Arc<Live>) -> Result<Self> {
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(journal.client as u64);
        Ok(Self {
            port,
            schema: schema.to_owned(),
            journal,
            options: options.clone(),
            live,
            conn: Some(Conn::new(connect_options(port, APP)).await?),
            random: fastrand::Rng::with_seed(seed),
            seen: Seen::new()?,
            overlay: Changes::new(),
        })
    }

    pub(super) async fn run(mut self) -> Result<(Journal, Seen)> {
        while !self.live.is_stopping.load(Ordering::Relaxed) {
            if self.conn.is_none() {
                match Conn::new(connect_options(self.port, APP)).await {
                    Ok(conn) => self.conn = Some(conn),
                    Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
                }
                continue;
            }
            if !self.options.think.is_zero() {
                tokio::time::sleep(self.options.think.mul_f64(self.random.f64() * 2.0)).await;
            }
            if self.random.u32(0..100) < self.options.transactions {
                self.transaction().await;
            } else {
                self.single().await;
            }
        }
        if let Some(conn) = self.conn {
            let _ = conn.disconnect().await;
        }
        Ok((self.journal, self.seen))
    }

    /// One autocommit statement.
    async fn single(&mut self) {
        match self.choose() {
            Wish::Read { statement, expected } => {
                self.read(statement, &expected).await;
            }
            Wish::Write { statement, changes, changed } => match self.send(&statement).await {
                Answer::Done { changed: did, id, .. } => {
                    self.judge_changed(&statement, did, changed);
                    self.seen.writes += 1;
                    self.journal.commit(with_id(changes, id));
                }
                Answer::Refused => {}
                Answer::Lost => self.journal.lose(changes),
            },
        }
    }

    /// Two to five statements between BEGIN and COMMIT, or now and then ROLLBACK.
    async fn transaction(&mut self) {
        if !matches!(self.send_text("BEGIN").await, Answer::Done { .. }) {
            return;
        }
        let began = Instant::now();
        let mut writes = 0;
        for _ in 0..self.random.u32(2..=5) {
            let is_alive = match self.choose() {
                Wish::Read { statement, expected } => self.read(statement, &expected).await,
                Wish::Write { statement, changes, changed } => match self.send(&statement).await {
                    Answer::Done { changed: did, id, .. } => {
                        self.judge_changed(&statement, did, changed);
                        self.overlay.extend(with_id(changes, id));
                        writes += 1;
                        true
                    }
                    Answer::Refused | Answer::Lost => false,
                },
            };
            if !is_alive {
                // Refused: the whole transaction is given up. Lost: the server rolls back, COMMIT was never sent.
                self.overlay.clear();
                if self.conn.is_some() {
                    self.send_text("ROLLBACK").await;
                }
                return;
            }
        }
        let changes = std::mem::take(&mut self.overlay);
        if self.random.u32(0..100) < 15 {
            self.send_text("ROLLBACK").await;
            return;
        }
        let answer = self.send_text("COMMIT").await;
        self.seen.transactions.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.note_if_long(began);
        match answer {
            Answer::Done { .. } => {
                self.seen.writes += writes;
                self.journal.commit(changes);
            }
            Answer::Refused | Answer::Lost => self.journal.lose(changes),
        }
    }

    /// The row as this client's next statement must see it.
    fn view(&self, seq: i32) -> Option<&Row> {
        match self.overlay.get(&seq) {
            Some(changed) => changed.as_ref(),
            None => self.journal.row(seq),
        }
    }

    /// A row of this client's with a known key; often one of few, so that rows get hot.
    fn pick(&mut self) -> Option<(i32, Row)> {
        let end = self.journal.seq_end().max(1);
        let from = if self.random.u32(0..100) < 30 { self.random.i32(0..end.min(20)) } else { self.random.i32(0..end) };
        let (seq, _) = self.journal.row_from(from)?;
        let row = self.view(seq)?.clone();
        row.id.map(|_| (seq, row))
    }

    fn choose(&mut self) -> Wish {
        let dice = self.random.u32(0..100);
        let Some((seq, row)) = self.pick() else { return self.wish_insert() };
        let id = row.id.unwrap_or_default();
        let (client, schema) = (self.journal.client, &self.schema);
        let next = Row { id: row.id, counter: row.counter + 1, customer: statement::customer(client, seq, row.counter + 1) };
        if dice < self.options.key_changes {
            let to = self.journal.new_private_id();
            let statement = statement::change_key(&self.schema, id, to, client, seq, next.counter);
            return Wish::Write { statement, changes: Changes::from([(seq, Some(Row { id: Some(to), ..next }))]), changed: 1 };
        }
        match dice {
            0..30 => Wish::Read { statement: statement::read_one(schema, id), expected: vec![expected(client, seq, &row)] },
            30..40 => {
                let to = seq + self.random.i32(1..15);
                let rows = (seq..=to).filter_map(|seq| Some(expected(client, seq, self.view(seq)?))).collect();
                Wish::Read { statement: statement::read_range(schema, client, seq, to), expected: rows }
            }
            40..68 => Wish::Write {
                statement: statement::update(schema, id, client, seq, next.counter),
                changes: Changes::from([(seq, Some(next))]),
                changed: 1,
            },
            68..76 => Wish::Write { statement: statement::delete(schema, id), changes: Changes::from([(seq, None)]), changed: 1 },
            76..86 => self.wish_insert_again_or_upsert(seq, id, next),
            _ => self.wish_insert(),
        }
    }

    fn wish_insert(&mut self) -> Wish {
        let (client, seq) = (self.journal.client, self.journal.new_seq());
        let row = Row { id: None, counter: 0, customer: statement::customer(client, seq, 0) };
        Wish::Write { statement: statement::insert(&self.schema, client, seq), changes: Changes::from([(seq, Some(row))]), changed: 1 }
    }

    /// Puts a deleted row back under its old key where there is one, or else counts a change of a living one.
    fn wish_insert_again_or_upsert(&mut self, seq: i32, id: i64, next: Row) -> Wish {
        let client = self.journal.client;
        let deleted = self.journal.a_deleted_row().filter(|(seq, _)| !self.overlay.contains_key(seq));
        if let Some((seq, Row { id: Some(id), .. })) = deleted {
            let row = Row { id: Some(*id), counter: 0, customer: statement::customer(client, seq, 0) };
            let statement = statement::insert_again(&self.schema, *id, client, seq);
            return Wish::Write { statement, changes: Changes::from([(seq, Some(row))]), changed: 1 };
        }
        let statement = statement::upsert(&self.schema, id, client, seq, next.counter);
        Wish::Write { statement, changes: Changes::from([(seq, Some(next))]), changed: 2 }
    }

    /// Reads and compares; false where the transaction cannot go on.
    async fn read(&mut self, statement: Statement, expected: &[Read]) -> bool {
        match self.send(&statement).await {
            Answer::Done { mut rows, .. } => {
                rows.retain(|row| !self.journal.is_frozen(row.0));
                if rows != expected {
                    self.contradict(format!("{}: expected {expected:?}, got {rows:?}", statement.text()));
                }
                true
            }
            Answer::Refused | Answer::Lost => false,
        }
    }

    fn judge_changed(&mut self, statement: &Statement, did: u64, expected: u64) {
        if did != expected {
            self.contradict(format!("{}: changed {did} rows, not {expected}", statement.text()));
        }
    }

    fn contradict(&mut self, what: String) {
        self.seen.stale_reads += 1;
        if self.seen.stale_examples.len() < 10 {
            self.seen.stale_examples.push(what);
        }
    }

    async fn send(&mut self, statement: &Statement) -> Answer {
        if self.random.bool() {
            return self.send_text(&statement.text()).await;
        }
        let (sql, values) = statement.clone().prepared();
        let Some(conn) = &mut self.conn else { return Answer::Lost };
        let started = Instant::now();
        let answer = conn.exec::<Read, _, _>(sql, values).await;
        self.note(started, answer)
    }

    async fn send_text(&mut self, sql: &str) -> Answer {
        let Some(conn) = &mut self.conn else { return Answer::Lost };
        let started = Instant::now();
        let answer = conn.query::<Read, _>(sql).await;
        self.note(started, answer)
    }

    fn note_if_long(&mut self, began: Instant) {
        let took = began.elapsed();
        if took > LONG {
            self.seen.long.push((began, took));
        }
    }

    fn note(&mut self, started: Instant, answer: mysql_async::Result<Vec<Read>>) -> Answer {
        self.seen.statements += 1;
        self.live.statements.fetch_add(1, Ordering::Relaxed);
        self.seen.latency.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.note_if_long(started);
        match (answer, &self.conn) {
            (Ok(rows), Some(conn)) => {
                let id = conn.last_insert_id().and_then(|id| i64::try_from(id).ok()).unwrap_or_default();
                Answer::Done { rows, changed: conn.affected_rows(), id }
            }
            (Err(mysql_async::Error::Server(error)), _) if !CODES_OF_A_LOST_CONNECTION.contains(&error.code) => {
                self.live.errors.fetch_add(1, Ordering::Relaxed);
                *self.seen.errors.entry((error.code, error.message)).or_default() += 1;
                Answer::Refused
            }
            _ => {
                self.seen.disconnects += 1;
                self.conn = None;
                Answer::Lost
            }
        }
    }
}

fn expected(client: i32, seq: i32, row: &Row) -> Read {
    (seq, row.counter, row.customer, Some(payload(client, seq, row.counter)))
}

/// A row without a key gets the one that the server gave it.
fn with_id(mut changes: Changes, id: i64) -> Changes {
    for row in changes.values_mut().flatten() {
        row.id = row.id.or(Some(id));
    }
    changes
}
