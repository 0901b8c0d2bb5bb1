//! Copies the source's rows into the shadow, chunk by chunk, on the server.
//!
//! Owns: the order of chunks, their size, the watermark. Never: overwrites a row of the shadow (I-E1).
//! Invariants: I-E1, I-E5 (through [`super::apply::overlap`]), F7 (READ COMMITTED: no locks on the source).

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::apply::pending::Op;
use super::cutover::settle;
use super::error::Error;
use super::job::Job;
use super::keys::KeyRange;
use super::oracle;
use super::tail::Reached;
use super::throttle::{self, Turn};
use crate::schema::key::Key;
use crate::upstream::Link;

mod watermark;

use watermark::Watermark;

const ROWS_LEAST: u64 = 50;
const ROWS_MOST: u64 = 50_000;
const ROWS_FIRST: u64 = 1000;

/// So often a chunk that the server's ALTER takes is tried again.
const VANISHED_MOST: u32 = 10;

/// Hands out chunks; the workers share it.
struct Cursor {
    link: Link,
    after: Option<Key>,
    is_over: bool,
    rows: u64,
}

/// The copy of one run.
pub struct Copy {
    job: Job,
    cursor: Mutex<Cursor>,
    done: StdMutex<Watermark>,
    reached: watch::Receiver<Reached>,
}

struct Chunk {
    number: u64,
    range: KeyRange,
    rows: u64,
}

impl Copy {
    /// Prepares to go on after the key that is the watermark; `rows` were copied before.
    ///
    /// # Errors
    /// Where the server cannot be reached or the watermark cannot be read.
    pub async fn new(job: Job, watermark: Vec<String>, rows: u64, reached: watch::Receiver<Reached>) -> Result<Self, Error> {
        let after = if watermark.is_empty() { None } else { Some(job.keys.parse_texts(&watermark)?) };
        let link = job.server.connect_engine().await?;
        let cursor = Cursor { link, after, is_over: false, rows: crate::failpoints::value("copy.rows").unwrap_or(ROWS_FIRST) };
        Ok(Self { job, cursor: Mutex::new(cursor), done: StdMutex::new(Watermark::new(watermark, rows)), reached })
    }

    /// The key up to which everything is copied, and the number of rows copied.
    pub fn watermark(&self) -> (Vec<String>, u64) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Copies everything that is left, with as many workers as the job has.
    ///
    /// # Errors
    /// The first worker's error.
    ///
    /// # Cancel safety
    /// A chunk that runs on the server goes on running there; a new run must end it first (see [`super::cutover::settle`]).
    pub async fn run(self: Arc<Self>) -> Result<(), Error> {
        let mut workers = tokio::task::JoinSet::new();
        for number in 0..self.job.copy_workers() {
            let copy = self.clone();
            workers.spawn(async move { copy.work(number).await });
        }
        while let Some(worker) = workers.join_next().await {
            worker.map_err(|error| Error::Changed(format!("a copy worker died: {error}")))??;
        }
        Ok(())
    }

    async fn work(&self, number: usize) -> Result<(), Error> {
        let mut link = self.job.server.connect_engine().await?;
        // A chunk may lie unread in the server's receive buffer when the run ends, where no list of processes shows it.
        settle::take_copy_tag(&mut link, self.job.id, number).await?;
        let mut wishes = self.job.board.wishes();
        let mut next = self.next().await?;
        while let Some(chunk) = next {
            // Pausing stops the copy only; applying goes on, so that nothing piles up.
            drop(wishes.wait_for(|wishes| !wishes.is_paused).await);
            let turn = Turn::begin(&self.job).await;
            crate::failpoints::reach("copy.chunk").await?;
            let copied = async {
                let began = Instant::now();
                let rows = self.copy(&mut link, &chunk).await?;
                Ok::<_, Error>((rows, began.elapsed()))
            };
            // The end of the next chunk is looked for while this one is copied.
            let (copied, following) = tokio::join!(copied, self.next());
            let (rows, took) = copied?;
            self.adapt(chunk.rows, took).await;
            let (_, total) = self.done.lock().unwrap_or_else(PoisonError::into_inner).finish(chunk.number, rows);
            self.job.board.set_rows_copied(total);
            next = following?;
            turn.over(&self.job).await;
        }
        Ok(())
    }

    async fn next(&self) -> Result<Option<Chunk>, Error> {
        let mut cursor = self.cursor.lock().await;
        if cursor.is_over {
            return Ok(None);
        }
        let keys = &self.job.keys;
        let after = cursor.after.clone();
        let literals = after.as_ref().map(|key| keys.literals(key));
        let rows = cursor.rows;
        let found = cursor.link.rows(&self.job.statements.boundary(literals.as_ref(), rows)).await?;
        let (through, texts) = match found.first() {
            Some(row) => (Some(keys.parse(row)?), keys.texts(row)),
            None => (None, Vec::new()),
        };
        cursor.is_over = through.is_none();
        cursor.after.clone_from(&through);
        let number = self.done.lock().unwrap_or_else(PoisonError::into_inner).begin(texts);
        Ok(Some(Chunk { number, range: KeyRange { after, through }, rows }))
    }

    /// Brings the next chunks nearer to the time that a chunk should take: a slow pace has short ones.
    async fn adapt(&self, rows: u64, took: Duration) {
        if crate::failpoints::value("copy.rows").is_some() {
            return;
        }
        let mut cursor = self.cursor.lock().await;
        let pace = f64::from(self.job.board.pace()) / f64::from(throttle::FASTEST);
        let target = Duration::from_millis(self.job.config.copy.chunk_target_ms.max(1)).as_secs_f64() * pace;
        let factor = (target / took.as_secs_f64().max(1e-4)).clamp(0.5, 2.0);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let next = (rows as f64 * factor) as u64;
        cursor.rows = next.clamp(ROWS_LEAST, ROWS_MOST);
    }

    /// Copies one chunk; gives the number of rows read.
    async fn copy(&self, link: &mut Link, chunk: &Chunk) -> Result<u64, Error> {
        let job = &self.job;
        let range = job.keys.range(&chunk.range);
        let sql = format!("/* tidegate {} */ {}", job.id, job.statements.copy(&range));
        let guard = job.overlap.begin_chunk(chunk.range.clone()).await;
        let (mut conflicts, mut vanished) = (0, 0);
        let done = loop {
            match link.change(&sql).await {
                Ok(done) => break done,
                Err(error) if error.is_lock_conflict() => {
                    conflicts += 1;
                    tracing::debug!(migration = %job.id, table = %job.names.source, %error, conflicts, "a chunk met a lock; trying again");
                    tokio::time::sleep(Duration::from_millis(10 * conflicts.min(20))).await;
                }
                // A row that was in the way and is gone when the server is asked is no reason any more.
                Err(error)
                    if !error.is_lost() && vanished < VANISHED_MOST && oracle::refusal_of_range(job, &chunk.range).await.is_none() =>
                {
                    vanished += 1;
                    tracing::debug!(migration = %job.id, table = %job.names.source, %error, vanished, "the server takes the rows of a chunk that could not be copied; trying again");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(oracle::refusal_in_range(job, &chunk.range, error).await),
            }
        };
        guard.over();
        let rows = done.info_number("Records").unwrap_or(done.affected);
        // A row that was skipped counts as read and not as changed.
        if done.affected < rows {
            self.note_missing(link, &chunk.range).await?;
        }
        Ok(rows)
    }

    /// I-E1: rows that another unique key turned away become pending; apply settles those whose value has only moved, and
    /// verify reports the others.
    async fn note_missing(&self, link: &mut Link, range: &KeyRange) -> Result<(), Error> {
        let boundary = self.reached.borrow().boundary.clone();
        for row in link.rows(&self.job.statements.missing(&self.job.keys.range(range))).await? {
            self.job.pending.note(self.job.keys.parse(&row)?, Op::Upsert, &boundary);
        }
        Ok(())
    }
}
