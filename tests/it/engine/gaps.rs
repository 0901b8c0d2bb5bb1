//! F8: events that are in the log before their rows are visible. Semi-sync with AFTER_SYNC and no replica holds the gap open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::load::{Load, TABLE, prepare};
use super::spaces::INT;
use super::{LONG, copy_is_under_way, migrated};
use crate::support::servers::Settings;
use crate::support::{Kind, Server, lab::Lab};

on_both_servers!(
    rows_that_come_late_to_sight_are_not_lost,
    rows_hidden_for_seconds_are_not_lost,
    updates_hidden_for_seconds_are_not_lost_whatever_the_key,
);

/// Semi-sync of one server.
struct SemiSync {
    conn: Conn,
    prefix: &'static str,
}

impl SemiSync {
    async fn install(server: &Server) -> Result<Self> {
        let mut conn = server.connect().await?;
        let (prefix, nobody) = match server.kind {
            Kind::MySql => {
                conn.query_drop("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'").await?;
                ("rpl_semi_sync_source", "no_replica")
            }
            Kind::MariaDb => ("rpl_semi_sync_master", "no_slave"),
        };
        conn.query_drop(format!("SET GLOBAL {prefix}_wait_point = 'AFTER_SYNC'")).await?;
        conn.query_drop(format!("SET GLOBAL {prefix}_wait_{nobody} = 1")).await?;
        Ok(Self { conn, prefix })
    }

    /// The next commits wait so long between log and sight; then the server gives semi-sync up until this is said again.
    async fn open_gap(&mut self, ms: u32) -> Result<()> {
        for (name, value) in [("enabled", 0), ("timeout", ms), ("enabled", 1)] {
            self.conn.query_drop(format!("SET GLOBAL {}_{name} = {value}", self.prefix)).await?;
        }
        Ok(())
    }

    async fn is_given_up(&mut self) -> Result<bool> {
        let status: Option<(String, String)> = self.conn.query_first(format!("SHOW GLOBAL STATUS LIKE '{}_status'", self.prefix)).await?;
        Ok(status.context("no semi-sync")?.1 == "OFF")
    }

    /// Opens a gap again whenever the server has given up; gives how often.
    fn keep_open(mut self, ms: u32) -> JoinHandle<Result<u32>> {
        tokio::spawn(async move {
            let mut times = 0;
            let until = Instant::now() + LONG;
            while Instant::now() < until {
                if self.is_given_up().await? {
                    times += 1;
                    self.open_gap(ms).await?;
                    let there: Option<u32> =
                        self.conn.query_first("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'stop'").await?;
                    if there == Some(1) {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.conn.query_drop(format!("SET GLOBAL {}_enabled = 0", self.prefix)).await?;
            Ok(times)
        })
    }
}

async fn rows_that_come_late_to_sight_are_not_lost(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 10_000, 6).await?;
    let keeper = SemiSync::install(&lab.server).await?.keep_open(30);
    let load = Load::start(lab.proxy.port, INT, journals, 2, Duration::from_millis(2));
    load.more(100).await?;
    let mut admin = lab.admin().await?;
    for specification in ["ADD COLUMN x INT", "MODIFY c BIGINT, ADD INDEX (note)"] {
        migrated(&mut admin, specification).await?;
    }
    load.more(50).await?;
    let outcome = load.stop().await?;
    conn.query_drop("CREATE DATABASE stop").await?;
    let times = keeper.await??;
    ensure!(times > 20, "the gap was open only {times} times");
    outcome.assert_clean(&mut conn).await
}

/// Single-row writes of their own connections, all at once, each visible only when the gap closes.
async fn write_into_the_gap(conns: Vec<Conn>, semi_sync: &mut SemiSync, statements: Vec<String>) -> Result<JoinHandle<Result<()>>> {
    semi_sync.open_gap(3000).await?;
    Ok(tokio::spawn(async move {
        let began = Instant::now();
        let mut writers = tokio::task::JoinSet::new();
        for (nth, (mut conn, statement)) in conns.into_iter().zip(statements).enumerate() {
            if nth == 1 {
                // On MariaDB few of them get into the log before the gap closes: the first one is certain.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            writers.spawn(async move {
                conn.query_drop(&statement).await.with_context(|| statement.clone())?;
                ensure!(conn.affected_rows() == 1, "{} rows by {statement}", conn.affected_rows());
                Ok(())
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        ensure!(began.elapsed() > Duration::from_secs(2), "the gap was open for {:?} only", began.elapsed());
        Ok(())
    }))
}

/// Pairs of a delete and an insert.
const PAIRS: i64 = 20;

/// Connections for the writes of one gap.
async fn writers(lab: &Lab) -> Result<Vec<Conn>> {
    let mut conns = Vec::new();
    for _ in 0..PAIRS * 2 {
        conns.push(lab.proxy.connect().await?);
    }
    Ok(conns)
}

/// Deletes and inserts spread over the table from a key on; `round` keeps their keys apart.
fn spread(round: i64, from: i64, keys: &mut BTreeSet<i64>) -> Vec<String> {
    let mut statements = Vec::new();
    for nth in 0..PAIRS {
        let gone = from + nth * (60_000 - from) / PAIRS / 100 * 100 + 20 * round;
        keys.remove(&gone);
        keys.insert(gone + 1);
        statements.push(format!("DELETE FROM {TABLE} WHERE k = {gone}"));
        statements.push(format!("INSERT INTO {TABLE} (k, u, c, note) VALUES ({}, -{gone}, 9, 'new')", gone + 1));
    }
    statements
}

async fn rows_hidden_for_seconds_are_not_lost(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_COPY_CHUNK_TARGET_MS", "1"), ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(400)*4")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let mut conn = lab.server.connect().await?;
    prepare(&mut conn, INT, 3000, 1).await?;
    let mut keys: BTreeSet<i64> = (0..3000).map(|nth| nth * 20).collect();
    let mut semi_sync = SemiSync::install(&lab.server).await?;
    let mut admin = lab.admin().await?;
    let conns = writers(&lab).await?;
    let options = "WITH strategy = 'copy', postpone = true, copy_workers = 1";
    let id = admin.migrate(TABLE, "ADD COLUMN x INT, ADD INDEX (note)", options).await?;
    copy_is_under_way(&mut admin, id).await?;
    // The first chunk ends before 20000. The next one reads in the gap rows whose deletes the tail has seen already; nothing
    // of them is in the shadow yet, so that applying them writes nothing and waits for nothing.
    write_into_the_gap(conns, &mut semi_sync, spread(1, 20_000, &mut keys)).await?.await??;
    ensure!(admin.status(id).await?.phase() == "copying", "the copy was over before the gap closed");
    admin.wait_phase(id, &["ready"], LONG).await?;
    write_into_the_gap(writers(&lab).await?, &mut semi_sync, spread(2, 0, &mut keys)).await?.await??;
    // And once more with the cut-over in the gap.
    let writing = write_into_the_gap(writers(&lab).await?, &mut semi_sync, spread(3, 0, &mut keys)).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    writing.await??;
    admin.wait_done(id, LONG).await?;
    let found: Vec<i64> = conn.query(format!("SELECT k FROM {TABLE} ORDER BY k")).await?;
    let found: BTreeSet<i64> = found.into_iter().collect();
    let lost: Vec<_> = keys.difference(&found).collect();
    let back: Vec<_> = found.difference(&keys).collect();
    ensure!(lost.is_empty() && back.is_empty(), "inserted and gone: {lost:?}; deleted and back: {back:?}");
    Ok(())
}

/// Tables whose rows are told apart by an index that is not the one in which InnoDB keeps them, or that looks so: columns and keys, the ALTER,
/// and the values of one row.
const KEYS: [(&str, &str, &str); 7] = [
    ("a INT NOT NULL, m CHAR(11) NOT NULL, c INT NOT NULL, UNIQUE KEY uid (a, m), UNIQUE KEY k1 (m)", "ADD COLUMN x INT", "{n}, 'm{n}', 0"),
    ("a INT NOT NULL, m CHAR(11) NOT NULL, c INT, UNIQUE KEY uid (a, m), UNIQUE KEY k1 (m)", "ADD COLUMN x INT", "{n}, 'm{n}', 0"),
    ("a INT NOT NULL, m INT NOT NULL, c INT NOT NULL, UNIQUE KEY z (m), UNIQUE KEY b (a)", "DROP INDEX z", "{n}, {n}, 0"),
    (
        "id INT, name VARCHAR(40) NOT NULL, m INT NOT NULL, c INT NOT NULL, PRIMARY KEY (id, name(3)), UNIQUE KEY k (m)",
        "ADD COLUMN x INT",
        "{n}, 'n{n}', {n}, 0",
    ),
    ("id INT PRIMARY KEY, m INT NOT NULL, c INT NOT NULL, UNIQUE KEY k (m)", "DROP COLUMN id, ADD PRIMARY KEY (m)", "{n}, {n}, 0"),
    ("id INT PRIMARY KEY, m INT NOT NULL, c INT NOT NULL, KEY both_of_them (id, c)", "ADD COLUMN x INT", "{n}, {n}, 0"),
    (
        "t TEXT, a INT NOT NULL, m INT NOT NULL, c INT AS (m) VIRTUAL, UNIQUE KEY z (a), UNIQUE KEY b (m), KEY w (m, c)",
        "DROP INDEX z",
        "'0', {n}, {n}, DEFAULT",
    ),
];

/// What is in the log and not yet visible must be left alone, though no column of the key changes (F20): the old row would be taken for the
/// new one, and nothing would ever mention it again.
async fn updates_hidden_for_seconds_are_not_lost_whatever_the_key(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    let mut admin = lab.admin().await?;
    let mut ids = Vec::new();
    for (nth, (definition, alter, row)) in KEYS.iter().enumerate() {
        conn.query_drop(format!("CREATE TABLE shop.t{nth} ({definition})")).await?;
        let rows: Vec<String> = (0..10).map(|n| format!("({})", row.replace("{n}", &n.to_string()))).collect();
        conn.query_drop(format!("INSERT INTO shop.t{nth} VALUES {}", rows.join(", "))).await?;
        ids.push(admin.migrate(&format!("shop.t{nth}"), alter, "WITH strategy = 'copy', postpone = true").await?);
    }
    for id in &ids {
        admin.wait_phase(*id, &["ready"], LONG).await?;
    }
    let mut semi_sync = SemiSync::install(&lab.server).await?;
    semi_sync.open_gap(3000).await?;
    let changes = KEYS.iter().enumerate().map(|(nth, (definition, ..))| {
        let set = if definition.starts_with("t TEXT") { "t = '1'" } else { "c = 1" };
        format!("UPDATE shop.t{nth} SET {set}")
    });
    // One transaction, so that all of them are in the log before any is visible.
    let began = Instant::now();
    conn.query_drop("BEGIN").await?;
    for change in changes {
        conn.query_drop(change).await?;
    }
    conn.query_drop("COMMIT").await?;
    ensure!(began.elapsed() > Duration::from_secs(2), "the gap was open for {:?} only", began.elapsed());
    for (nth, id) in ids.iter().enumerate() {
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        admin.wait_done(*id, LONG).await?;
        let changed = if KEYS[nth].0.starts_with("t TEXT") { "t = '1'" } else { "c = 1" };
        let there: Option<(u64, u64)> =
            conn.query_first(format!("SELECT COUNT(*), CAST(SUM({changed}) AS UNSIGNED) FROM shop.t{nth}")).await?;
        ensure!(there == Some((10, 10)), "{}: rows, and rows as they were written last: {there:?}", KEYS[nth].0);
    }
    Ok(())
}
