//! I-E3: the engine waits for nobody while it holds a lock, so that no transaction of an application is ever its victim.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::load::{TABLE, prepare};
use super::spaces::INT;
use super::{LONG, copy_is_under_way};
use crate::support::environment::number;
use crate::support::servers::Settings;
use crate::support::{Kind, lab::Lab};

on_both_servers!(hot_rows_meet_no_deadlock_and_no_wait);

const HOT: i64 = 40;

/// What one client did: transactions for each row, and errors.
#[derive(Default)]
struct Done {
    updates: BTreeMap<i64, i64>,
    errors: BTreeMap<u16, u64>,
}

/// Hot rows are spread over the table, so that every chunk has some.
fn hot_key(nth: i64) -> i64 {
    nth * 5000
}

async fn client(mut conn: Conn, seed: u64, stop: Arc<AtomicBool>) -> Result<Done> {
    let (mut done, mut rng) = (Done::default(), fastrand::Rng::with_seed(seed));
    // The server's own default: with less, a machine that is slow enough for sixteen clients in a queue would count as an engine's fault.
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 50").await?;
    while !stop.load(Ordering::Relaxed) {
        let (one, other) = (rng.i64(0..HOT), rng.i64(0..HOT - 1));
        let other = if other >= one { other + 1 } else { other };
        let (low, high) = (hot_key(one.min(other)), hot_key(one.max(other)));
        match transaction(&mut conn, low, high, rng.u64(0..4)).await {
            Ok(()) => {
                *done.updates.entry(low).or_default() += 1;
                *done.updates.entry(high).or_default() += 1;
            }
            Err(Error::Server(error)) => {
                *done.errors.entry(error.code).or_default() += 1;
                conn.query_drop("ROLLBACK").await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// Locks from the highest key down: clients cannot deadlock among themselves, but with an engine that waits, since a read of
/// several keys locks from the lowest up.
async fn transaction(conn: &mut Conn, low: i64, high: i64, pause_ms: u64) -> Result<(), Error> {
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!("UPDATE {TABLE} SET c = c + 1 WHERE k = {high}")).await?;
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    conn.query_drop(format!("UPDATE {TABLE} SET c = c + 1 WHERE k = {low}")).await?;
    conn.query_drop("COMMIT").await
}

async fn hot_rows_meet_no_deadlock_and_no_wait(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(70)")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let mut conn = lab.server.connect().await?;
    prepare(&mut conn, INT, 10_000, 1).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for seed in 0..16 {
        clients.push(tokio::spawn(client(lab.proxy.connect().await?, seed, stop.clone())));
    }
    let began = Instant::now();
    // TIDEGATE_TEST_HOT_S=600 for the whole length.
    let seconds = number("TIDEGATE_TEST_HOT_S", 8);
    // The same load without a migration, to tell what is the engine's and what is the machine's.
    let is_control = std::env::var_os("TIDEGATE_TEST_HOT_CONTROL").is_some();
    let mut admin = lab.admin().await?;
    if is_control {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    } else {
        let id =
            admin.migrate(TABLE, "ADD COLUMN x INT, ADD INDEX (c)", "WITH strategy = 'copy', postpone = true, copy_workers = 4").await?;
        copy_is_under_way(&mut admin, id).await?;
        admin.wait_phase(id, &["ready"], LONG).await?;
        tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(began.elapsed())).await;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        admin.wait_done(id, LONG).await?;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut updates, mut errors) = (BTreeMap::<i64, i64>::new(), BTreeMap::<u16, u64>::new());
    for client in clients {
        let done = client.await??;
        done.updates.into_iter().for_each(|(key, times)| *updates.entry(key).or_default() += times);
        done.errors.into_iter().for_each(|(code, times)| *errors.entry(code).or_default() += times);
    }
    let done = updates.values().sum::<i64>();
    ensure!(errors.is_empty(), "clients saw errors (by number), and {done} updates done: {errors:?}");
    ensure!(done > 1000, "too little was written to prove anything: {updates:?}");
    let found: Vec<(i64, i64)> = conn.query(format!("SELECT k, c FROM {TABLE} WHERE c <> 0 ORDER BY k")).await?;
    println!(
        "{kind}: {done} updates in {:.0} s{}, no error",
        began.elapsed().as_secs_f64(),
        if is_control { " without a migration" } else { "" }
    );
    ensure!(found == updates.into_iter().collect::<Vec<_>>(), "counters are not what the clients were told");
    Ok(())
}
