//! Compares source and shadow before the cut-over: chunk by chunk behind the copy, without a lock.
//!
//! Never: repairs. A key that differs although no event touched it ends the migration, with the key.
//! How a difference is told from a change under way: the keys are watched, the tail is waited for, pending keys are applied,
//! and the chunk is read again. Only a key that still differs and that no event has touched since the watch began is damaged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::copy::Copy;
use super::error::Error;
use super::job::Job;
use super::keys::KeyRange;
use super::statements::Rows;
use super::tail::{self, Reached};
use super::throttle::Turn;
use super::{Refusal, duplicates, oracle};
use crate::schema::key::Key;
use crate::schema::mapping::Pair;
use crate::upstream::{self, Link};

mod expression;

use expression::Side;

const CHUNK_ROWS: u64 = 20_000;

/// Chunks compared at once, when the copy is over.
const WORKERS: usize = 2;

/// How long the tail may take to come forward.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many suspects are looked at by their keys; of more the whole chunk is read again.
const FEW: usize = 1000;

/// How often a key that changes all the time is looked at.
const ROUNDS: usize = 5;

/// How often rows are converted anew that the server's own ALTER takes when it is asked.
const CONVERSIONS_MOST: u32 = 5;

/// What a chunk's comparison needs.
struct Comparison {
    job: Job,
    reached: watch::Receiver<Reached>,
    source_checksum: String,
    shadow_checksum: String,
    other_checksum: String,
    /// Some column's values become others: the source's rows go through a scratch table first.
    converts: bool,
}

/// One worker's connections.
struct Links {
    source: Link,
    shadow: Link,
    scratch: String,
}

/// Compares everything, each chunk once it is copied: what changes after that goes through apply, whenever it is compared.
///
/// # Errors
/// [`Error::Refused`] with the server's own 1062 where a new unique key turns a row away; [`Error::Damaged`] for a difference
/// that nothing explains; the server's errors.
pub async fn run(job: Job, reached: watch::Receiver<Reached>, copy: Arc<Copy>, copied: watch::Receiver<bool>) -> Result<(), Error> {
    // Without strict mode a NULL becomes a value where the column is NOT NULL now.
    let fills = |pair: &Pair| pair.source.is_nullable && !pair.shadow.is_nullable;
    let converts = job.mapping.pairs.iter().any(|pair| fills(pair) || !pair.keeps_bytes());
    let pairs = job.mapping.pairs.as_slice();
    // Where values are converted, the source's rows are compared as the scratch table has them, which is like the shadow.
    let source_side = if converts { Side::Shadow } else { Side::Source };
    let comparison = Arc::new(Comparison {
        source_checksum: expression::row(pairs, source_side, ""),
        shadow_checksum: expression::row(pairs, Side::Shadow, ""),
        other_checksum: expression::row(pairs, Side::Shadow, "`tg_other`."),
        converts,
        reached,
        job: job.clone(),
    });
    let cursor = Arc::new(Mutex::new(Cursor { link: job.server.connect_engine().await?, next: Some(None) }));
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        let (comparison, cursor, copy, mut copied) = (comparison.clone(), cursor.clone(), copy.clone(), copied.clone());
        workers.spawn(async move {
            if number > 0 {
                // Beside the copy one is enough; afterwards the server has more to give.
                drop(copied.wait_for(|copied| *copied).await);
            }
            let mut links = comparison.connect().await?;
            while let Some(range) = next(&comparison.job, &cursor, &copy, &mut copied).await? {
                let turn = Turn::begin(&comparison.job).await;
                crate::failpoints::reach("verify.chunk").await?;
                comparison.chunk(&mut links, &range).await?;
                turn.over(&comparison.job).await;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| Error::Changed(format!("a verify worker died: {error}")))??;
    }
    Ok(())
}

/// Where the next chunk begins: after a key, at the very beginning, or nowhere any more.
struct Cursor {
    link: Link,
    next: Option<Option<Key>>,
}

/// The next chunk of what is copied; waits for the copy, and gives `None` when everything was given out.
async fn next(job: &Job, cursor: &Mutex<Cursor>, copy: &Copy, copied: &mut watch::Receiver<bool>) -> Result<Option<KeyRange>, Error> {
    loop {
        // Read first: what was copied after this is looked at the next time.
        let is_copied = *copied.borrow();
        let (watermark, _) = copy.watermark();
        if is_copied || !watermark.is_empty() {
            let mut cursor = cursor.lock().await;
            let Some(after) = cursor.next.clone() else { return Ok(None) };
            let limit = if is_copied { None } else { Some(job.keys.parse_texts(&watermark)?) };
            let within = job.keys.range(&KeyRange { after: after.clone(), through: limit });
            let found = cursor
                .link
                .rows(&job.statements.boundary_within(&within, crate::failpoints::value("verify.rows").unwrap_or(CHUNK_ROWS)))
                .await?;
            let through = found.first().map(|row| job.keys.parse(row)).transpose()?;
            if through.is_some() || is_copied {
                cursor.next = through.clone().map(Some);
                return Ok(Some(KeyRange { after, through }));
            }
        }
        drop(tokio::time::timeout(Duration::from_millis(50), copied.changed()).await);
    }
}

impl Comparison {
    async fn connect(&self) -> Result<Links, Error> {
        let mut links = Links {
            source: self.job.server.connect_engine().await?,
            shadow: self.job.server.connect_engine().await?,
            scratch: format!("{}.`tidegate_scratch`", crate::ids::quote_identifier(&self.job.names.shadow.schema)),
        };
        if self.converts {
            links.source.run(&self.job.statements.create_scratch(&links.scratch)).await?;
        }
        Ok(links)
    }

    async fn chunk(&self, links: &mut Links, range: &KeyRange) -> Result<(), Error> {
        let rows = Rows::In(self.job.keys.range(range));
        self.check_moments(&mut links.source, &rows).await?;
        // XOR alone would not see that two rows have exchanged values: CRC32 is linear by it. The product is not.
        let sum = |row: &str| format!("COUNT(*), COALESCE(BIT_XOR({row} * 2654435761), 0)");
        let shadow_sql = self.job.statements.of_shadow(&sum(&self.shadow_checksum), &rows);
        let (source, shadow) =
            tokio::join!(self.source_sum(&mut links.source, &links.scratch, range, &sum), links.shadow.texts(&shadow_sql));
        // Equal sums say nothing about rows whose key has become another one on the way, on both sides alike.
        let is_equal = source? == shadow? && (!self.job.mapping.may_cut_key() || self.are_keys_whole(&mut links.source, range).await?);
        if is_equal { Ok(()) } else { self.key_by_key(links, range).await }
    }

    /// The shadow has every key of the source.
    async fn are_keys_whole(&self, link: &mut Link, range: &KeyRange) -> Result<bool, Error> {
        let lacking = self.job.statements.missing(&self.job.keys.range(range));
        Ok(link.rows(&format!("{lacking} LIMIT 1")).await?.is_empty())
    }

    /// Keys of the source that the shadow does not have.
    async fn cut_keys(&self, link: &mut Link, rows: &Rows) -> Result<HashSet<Key>, Error> {
        let statements = &self.job.statements;
        let all = link.rows(&statements.of_source(&self.job.keys.expressions().join(", "), rows)).await?;
        let shared = link.rows(&statements.joined("1", &self.job.names.shadow.quoted(), rows)).await?;
        let (all, shared) = (self.checksums(&all)?, self.checksums(&shared)?);
        Ok(all.into_keys().filter(|key| !shared.contains_key(key)).collect())
    }

    /// Puts the source's rows into the scratch table as the ALTER would. A row that the server refuses may be gone the next moment.
    async fn convert(&self, link: &mut Link, scratch: &str, rows: &Rows, range: &KeyRange) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            // Not DELETE: the rows of a temporary table that are deleted stay in its pages, and each chunk would read those of all before.
            link.run(&format!("TRUNCATE TABLE {scratch}")).await?;
            let error = match link.run(&self.job.statements.convert_into(scratch, rows)).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_lost() => return Err(error.into()),
                Err(error) => error,
            };
            tries += 1;
            let refusal = oracle::refusal_of_range(&self.job, range).await;
            if refusal.is_some() || tries > CONVERSIONS_MOST {
                return Err(refusal.map_or_else(|| error.into(), Error::from));
            }
            tracing::debug!(migration = %self.job.id, table = %self.job.names.source, %error, tries, "the server takes the rows that could not be converted; trying again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn source_sum(
        &self,
        link: &mut Link,
        scratch: &str,
        range: &KeyRange,
        sum: &impl Fn(&str) -> String,
    ) -> Result<Vec<Vec<String>>, Error> {
        let rows = Rows::In(self.job.keys.range(range));
        if !self.converts {
            return Ok(link.texts(&self.job.statements.of_source(&sum(&self.source_checksum), &rows)).await?);
        }
        self.convert(link, scratch, &rows, range).await?;
        Ok(link.texts(&format!("SELECT {} FROM {scratch}", sum(&self.source_checksum))).await?)
    }

    /// Keys that differ now: lacking or different in the shadow, and those that only the shadow has.
    async fn differences(&self, links: &mut Links, rows: &Rows, range: &KeyRange) -> Result<HashSet<Key>, Error> {
        let (keys, statements) = (&self.job.keys, &self.job.statements);
        let source_rows = if self.converts {
            self.convert(&mut links.source, &links.scratch, rows, range).await?;
            links.source.rows(&statements.joined(&self.other_checksum, &links.scratch, rows)).await?
        } else {
            let what = format!("{}, {}", keys.expressions().join(", "), self.source_checksum);
            links.source.rows(&statements.of_source(&what, rows)).await?
        };
        let shadow_name = self.job.names.shadow.quoted();
        let shadow_rows = links.shadow.rows(&statements.joined(&self.other_checksum, &shadow_name, rows)).await?;
        let wanted = self.checksums(&source_rows)?;
        let mut got = self.checksums(&shadow_rows)?;
        let mut differ = if self.job.mapping.may_cut_key() { self.cut_keys(&mut links.source, rows).await? } else { HashSet::new() };
        for (key, checksum) in wanted {
            if got.remove(&key) != Some(checksum) {
                differ.insert(key);
            }
        }
        for row in links.shadow.rows(&statements.surplus(rows)).await? {
            differ.insert(keys.parse(&row)?);
        }
        Ok(differ)
    }

    fn checksums(&self, rows: &[Vec<Option<Vec<u8>>>]) -> Result<HashMap<Key, Vec<u8>>, Error> {
        let mut checksums = HashMap::with_capacity(rows.len());
        for row in rows {
            let checksum = row.get(self.job.statements.key_width()).cloned().flatten().unwrap_or_default();
            checksums.insert(self.job.keys.parse(row)?, checksum);
        }
        Ok(checksums)
    }

    /// Each suspect must be seen equal once. A key that events touch in every one of the rounds counts as right: its row is
    /// written anew from the source with each of them, and once more under the lock.
    async fn key_by_key(&self, links: &mut Links, range: &KeyRange) -> Result<(), Error> {
        let chunk = Rows::In(self.job.keys.range(range));
        let mut suspects = self.differences(links, &chunk, range).await?;
        for _ in 0..ROUNDS {
            if suspects.is_empty() {
                return Ok(());
            }
            let watch = self.job.pending.watch(suspects.iter().cloned());
            self.settled(links, &suspects).await?;
            let still = if suspects.len() <= FEW {
                self.differences(links, &Rows::Under(self.job.keys.all_literals(&suspects)), range).await?
            } else {
                self.differences(links, &chunk, range).await?
            };
            self.tail_reaches_now(links).await?;
            suspects.retain(|key| still.contains(key));
            if let Some(key) = suspects.iter().find(|key| !watch.was_touched(key)) {
                return Err(self.explain(links, range, key).await);
            }
        }
        tracing::debug!(migration = %self.job.id, table = %self.job.names.source, keys = suspects.len(), "keys that change all the time were left to apply");
        Ok(())
    }

    async fn tail_reaches_now(&self, links: &mut Links) -> Result<(), Error> {
        let now = links.source.position(&self.job.facts).await?;
        if !tail::reaches(&mut self.reached.clone(), &now, PATIENCE).await {
            return Err(upstream::Error::Lost("the tail does not come forward".into()).into());
        }
        Ok(())
    }

    /// Waits until the tail is past this moment and each of the keys was seen settled, or patience ends (keys that the
    /// application holds all the time stay pending: they were touched, so they are not damaged).
    async fn settled(&self, links: &mut Links, suspects: &HashSet<Key>) -> Result<(), Error> {
        self.tail_reaches_now(links).await?;
        let give_up = Instant::now() + Duration::from_millis(300);
        let mut unsettled: Vec<&Key> = suspects.iter().collect();
        while Instant::now() < give_up {
            unsettled.retain(|key| self.job.pending.contains(key));
            if unsettled.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The server gives a NULL the moment of the ALTER where a TIMESTAMP column takes none any more, on MySQL unless its mode is strict: no
    /// other moment is that one.
    async fn check_moments(&self, link: &mut Link, rows: &Rows) -> Result<(), Error> {
        let fills = |pair: &&Pair| pair.source.is_nullable && !pair.shadow.is_nullable && pair.shadow.data_type == "timestamp";
        let filled: Vec<&Pair> = self.job.mapping.pairs.iter().filter(fills).collect();
        if filled.is_empty() || !self.job.facts.is_mariadb && link.cell("SELECT @@sql_mode LIKE '%STRICT_%'").await?.as_deref() == Some("1")
        {
            return Ok(());
        }
        for pair in filled {
            let what = format!("COUNT(*) - COUNT({})", crate::ids::quote_identifier(&pair.source.name));
            if link.cell(&self.job.statements.of_source(&what, rows)).await?.as_deref() != Some("0") {
                let message = format!(
                    "a row of {} has NULL in the column {}, which becomes the moment of the ALTER where the column takes no NULL any more: that cannot be \
                     repeated. Fill it first, or give the ALTER to the server itself",
                    self.job.names.source, pair.source.name
                );
                return Err(Refusal::new(1235, *b"42000", message).into());
            }
        }
        Ok(())
    }

    /// Why a row is not in the shadow as it should be: the server's own 1062, or damage.
    async fn explain(&self, links: &mut Links, range: &KeyRange, key: &Key) -> Error {
        let literals = self.job.keys.literals(key);
        let sql = self.job.statements.insert(std::slice::from_ref(&literals));
        if let Err(error) = links.source.run("START TRANSACTION").await {
            return error.into();
        }
        let answer = links.source.run(&sql).await;
        if let Err(error) = links.source.run("ROLLBACK").await {
            return error.into();
        }
        let key_itself = links.source.rows(&self.job.statements.row_of_shadow("1", &literals)).await;
        let is_turned_away = matches!((&answer, &key_itself), (Err(error), Ok(rows)) if error.code() == Some(1062) && rows.is_empty());
        match answer {
            Err(error) if is_turned_away && !self.job.mapping.may_cut_key() => return Refusal::from_upstream(&error).into(),
            Err(error) if error.is_lost() => return error.into(),
            _ => {}
        }
        // What turns it away may be the row itself, under the key that the server has cut.
        if is_turned_away && let Ok(Some(refusal)) = duplicates::refusal(&self.job, &mut links.source, key).await {
            return refusal.into();
        }
        match oracle::refusal_of_range(&self.job, range).await {
            // Values that the server cuts to fit may be equal afterwards.
            Some(refusal) => refusal.into(),
            None if self.job.mapping.changes_key() => oracle::cut_key(&self.job).into(),
            None => Error::Damaged(format!(
                "the row {} of {} differs in the shadow although nothing touched it; nothing was swapped. Please report this, with the ALTER and both rows' columns",
                self.job.keys.show(key),
                self.job.names.source
            )),
        }
    }
}
