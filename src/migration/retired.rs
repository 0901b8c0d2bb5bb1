//! Takes the old table away so that nobody feels it: at a calm moment, and a partitioned one part by part.
//!
//! What a DROP TABLE costs others grows with the file that the file system must free (ADR 18). A small table is dropped at once.

use std::time::{Duration, Instant};

use super::error::Error;
use super::runner::{Grip, Surroundings};
use super::shadow::Names;
use super::site::Site;
use super::throttle::Signals;
use crate::ids::{TableName, quote_identifier};
use crate::upstream::{Link, literal};

/// Bytes. The file system frees less before anybody notices.
const LARGE: u64 = 256 << 20;

/// How often it is seen whether the moment is calm.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The old table takes disk: after so long it is dropped at any moment.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A rest after each partition, as a multiple of what it took.
const REST: u32 = 4;

/// Waits for a calm moment and takes away whatever of the old table can go by itself; DROP TABLE is left to do. May be done again.
///
/// # Errors
/// The server; [`Error::Stopped`] where the proxy stops meanwhile.
pub async fn shrink(around: &Surroundings, grip: &mut Grip, names: &Names) -> Result<(), Error> {
    let table = &names.retired;
    if size(&mut grip.link, table).await? < crate::failpoints::value("cleanup.large").unwrap_or(LARGE) {
        return Ok(());
    }
    let mut calm = Calm::new(around, grip, names);
    calm.wait(around).await?;
    for partition in partitions(&mut grip.link, table).await? {
        crate::failpoints::reach("cleanup.partition").await?;
        let began = Instant::now();
        let sql = format!("ALTER TABLE {} TRUNCATE PARTITION {}", table.quoted(), quote_identifier(&partition));
        match grip.link.run(&sql).await {
            Ok(()) => {}
            Err(error) if error.is_lost() || error.is_lock_conflict() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(migration = %grip.stored.id, %table, %error, "the old table's partitions are dropped with it, and not before");
                break;
            }
        }
        tokio::time::sleep(began.elapsed() * REST).await;
        calm.wait(around).await?;
    }
    Ok(())
}

async fn size(link: &mut Link, table: &TableName) -> Result<u64, Error> {
    let sql = format!("SELECT DATA_LENGTH + INDEX_LENGTH FROM information_schema.TABLES WHERE {}", is(table));
    Ok(link.cell(&sql).await?.and_then(|size| size.parse().ok()).unwrap_or(0))
}

async fn partitions(link: &mut Link, table: &TableName) -> Result<Vec<String>, Error> {
    let sql =
        format!("SELECT DISTINCT PARTITION_NAME FROM information_schema.PARTITIONS WHERE {} AND PARTITION_NAME IS NOT NULL", is(table));
    Ok(link.texts(&sql).await?.into_iter().flatten().collect())
}

fn is(table: &TableName) -> String {
    format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&table.schema), literal(&table.table))
}

/// Waits until no limit of `[throttle]` is exceeded.
struct Calm {
    site: Site,
    signals: Signals,
    until: Instant,
}

impl Calm {
    fn new(around: &Surroundings, grip: &Grip, names: &Names) -> Self {
        let site = Site::new(around, grip, names.clone(), grip.server.clone());
        Self { signals: Signals::new(&site), site, until: Instant::now() + PATIENCE }
    }

    async fn wait(&mut self, around: &Surroundings) -> Result<(), Error> {
        if self.site.options.ignores_throttle {
            return Ok(());
        }
        let mut watch = self.site.gates.census().latency.watch();
        while Instant::now() < self.until
            && let Some(reason) = self.signals.look(&watch.since_last()).await
        {
            let table = &self.site.names.retired;
            self.site.board.set_note(format!("waits for a calm moment to drop the old table {table}: {}", reason.words));
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = around.shutdown.cancelled() => return Err(Error::Stopped),
            }
        }
        self.site.board.set_note("");
        Ok(())
    }
}
