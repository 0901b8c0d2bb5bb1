//! Chance strikes the engine: named failpoints that fail or sleep now and then, and KILLs of its connections in a cut-over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable;

use crate::support::servers::ENGINE;
use crate::support::{Lab, Server};

/// For the environment of a proxy: each point of a cut-over fails or sleeps in some percent of the times it is reached.
pub(super) const FAILPOINTS: &str = "cutover.hold=error%5;cutover.drained=error%5;cutover.locked=error%5;cutover.caught_up=error%5;\
     cutover.rename_issued=error%5;cutover.renamed=error%5;cutover.unlocked=error%3;cutover.recorded=error%3;\
     verify.chunk=error%5;copy.chunk=error%5";

/// Kills connections of the engine until it is dropped.
pub(super) struct Killer {
    task: tokio::task::JoinHandle<Result<()>>,
    kills: std::sync::Arc<AtomicU64>,
}

impl Killer {
    /// Strikes in some percent of the cut-overs, at any step of them.
    pub(super) async fn start(lab: &Lab, percent: u32, seed: u64) -> Result<Self> {
        let mut conn = lab.server.connect().await?;
        let mut admin = lab.admin().await?;
        let kills = std::sync::Arc::new(AtomicU64::new(0));
        let count = kills.clone();
        let task = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut was_held = false;
            loop {
                let is_held = admin.rows("SHOW GATES").await?.iter().any(|gate| gate.text("state") != "open");
                if is_held && !was_held && random.u32(0..100) < percent {
                    tokio::time::sleep(Duration::from_micros(random.u64(0..25_000))).await;
                    if let Some(id) = newest_of_the_engine(&mut conn, &mut random).await? {
                        count.fetch_add(1, Ordering::Relaxed);
                        // That it has just gone by itself is no error.
                        let _ = conn.query_drop(format!("KILL {id}")).await;
                    }
                }
                was_held = is_held;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Ok(Self { task, kills })
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One of the engine's connections: the newest are those of the attempt.
async fn newest_of_the_engine(conn: &mut mysql_async::Conn, random: &mut fastrand::Rng) -> Result<Option<u64>> {
    let sql = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{}' ORDER BY ID DESC LIMIT 7", ENGINE.0);
    let ids: Vec<u64> = conn.query(sql).await?;
    Ok(random.choice(ids))
}

/// The text of `SHOW PROCESSLIST`, for a failure's message.
pub(super) async fn processes(server: &Server) -> String {
    let rows = async {
        let mut conn = server.connect().await?;
        let sql = "SELECT ID, USER, COMMAND, TIME, STATE, LEFT(INFO, 120) FROM information_schema.PROCESSLIST ORDER BY TIME DESC LIMIT 20";
        anyhow::Ok(conn.query::<(u64, String, String, i64, Option<String>, Option<String>), _>(sql).await?)
    };
    format!("{:?}", rows.await)
}
