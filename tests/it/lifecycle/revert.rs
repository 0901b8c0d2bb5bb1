//! REVERT: what was written after the swap is there after swapping back, at every kill, and the way forward stays open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{LONG, reversible, wait_until};
use crate::engine::load::{Load, TABLE, prepare};
use crate::engine::spaces::{INT, OTHERS};
use crate::support::admin::server_error;
use crate::support::environment::number;
use crate::support::{Admin, Kind, compare, lab::Lab};

on_both_servers!(
    reverted_and_reverted_again_loses_nothing,
    dropped_columns_keep_their_values,
    rows_that_push_each_other_out_are_all_there,
    many_writes_and_back_again,
    window_ends_by_itself_and_by_cleanup,
    value_that_does_not_fit_ends_the_way_back,
    ddl_in_the_window_ends_the_way_back,
    revert_survives_a_kill_at_every_step,
    kills_in_the_window_lose_nothing,
);

const ALTER: &str = "ADD COLUMN x INT, MODIFY c BIGINT, ADD INDEX (note)";
/// What a busy machine may lead to, without harm.
const BUSY: [&str; 3] = ["an attempt is not over at its deadline", "a hold outlived its deadline", "clients went on before"];
const WINDOW: &str = "WITH strategy = 'copy', revert_window_s = 600";

/// A window under load, over and back again, with integer and text keys.
async fn reverted_and_reverted_again_loses_nothing(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    for space in [INT, OTHERS[0]] {
        let journals = prepare(&mut conn, space, 3000, 6).await?;
        let before = compare::definition(&mut conn, TABLE).await?;
        let twin = compare::make_twin(&mut conn, "shop", "t", false).await?;
        ensure!(compare::alter_twin(&mut conn, &twin, ALTER).await?.is_none());
        let load = Load::start(lab.proxy.port, space, journals, 7, Duration::from_millis(6));
        load.more(100).await?;
        let mut admin = lab.admin().await?;
        let id = admin.migrate(TABLE, ALTER, WINDOW).await?;
        reversible(&mut admin, id, 1.0).await?;
        wait_until(&mut admin, id, "the way back", |status| status.text("note").contains("REVERT MIGRATION")).await?;
        for swaps in [2.0, 3.0, 4.0] {
            load.more(300).await?;
            admin.run(&format!("REVERT MIGRATION {id}")).await?;
            reversible(&mut admin, id, swaps).await?;
            if swaps == 2.0 {
                ensure!(compare::definition(&mut conn, TABLE).await? == before, "the table is not as it was");
            } else if swaps == 3.0 {
                compare::assert_same_definition(&mut conn, TABLE, &twin).await?;
            }
        }
        load.more(100).await?;
        admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
        let status = admin.wait_phase(id, &["reverted"], LONG).await?;
        load.more(50).await?;
        let outcome = load.stop().await?;
        outcome.assert_clean(&mut conn).await.with_context(|| format!("{}, {status:?}", space.name))?;
        ensure!(compare::definition(&mut conn, TABLE).await? == before, "the table is not as it was");
    }
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&BUSY)
}

/// The same statements to the migrated table and to one that was never migrated.
struct Mirrored {
    proxied: Conn,
    control: Conn,
    rng: Rng,
    next: i64,
}

impl Mirrored {
    async fn both(&mut self, statement: &str) -> Result<()> {
        self.proxied.query_drop(statement.replace("{t}", "shop.t")).await.with_context(|| statement.to_owned())?;
        self.control.query_drop(statement.replace("{t}", "control.t")).await.with_context(|| statement.to_owned())?;
        ensure!(self.proxied.affected_rows() == self.control.affected_rows(), "not the same rows: {statement}");
        Ok(())
    }

    fn some_key(&mut self) -> i64 {
        self.rng.i64(0..self.next)
    }

    async fn write(&mut self) -> Result<()> {
        let key = self.some_key();
        self.next += 1;
        let new = self.next;
        match self.rng.u32(0..6) {
            0 | 1 => self.both(&format!("UPDATE {{t}} SET c = c + 1 WHERE k = {key}")).await,
            2 => self.both(&format!("INSERT INTO {{t}} (k, u, c) VALUES ({new}, {new}, {key})")).await,
            3 => self.both(&format!("DELETE FROM {{t}} WHERE k = {key}")).await,
            4 => {
                self.both(&format!("DELETE FROM {{t}} WHERE k = {key}")).await?;
                self.both(&format!("INSERT INTO {{t}} (k, u, c) VALUES ({key}, -{new}, 1)")).await
            }
            _ => self.swap(key, new).await,
        }
    }

    /// Two rows swap their unique values.
    async fn swap(&mut self, key: i64, new: i64) -> Result<()> {
        let other = self.some_key();
        let unique = |key: i64| format!("SELECT u FROM control.t WHERE k = {key}");
        let one: Option<i64> = self.control.query_first(unique(key)).await?;
        let two: Option<i64> = self.control.query_first(unique(other)).await?;
        let (Some(one), Some(two)) = (one, two) else { return Ok(()) };
        self.both("BEGIN").await?;
        for (key, value) in [(key, -1_000_000 - new), (other, one), (key, two)] {
            self.both(&format!("UPDATE {{t}} SET u = {value} WHERE k = {key}")).await?;
        }
        self.both("COMMIT").await
    }
}

/// Two equal tables: one to be migrated, one that never is.
async fn twins(conn: &mut Conn, columns: &str, rows: &str) -> Result<()> {
    for schema in ["shop", "control"] {
        conn.query_drop(format!("CREATE DATABASE {schema}")).await?;
        conn.query_drop(format!("CREATE TABLE {schema}.t ({columns})")).await?;
        conn.query_drop(format!("INSERT INTO {schema}.t {rows}")).await?;
    }
    Ok(())
}

async fn dropped_columns_keep_their_values(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let columns = "k BIGINT PRIMARY KEY, gone INT NULL DEFAULT 7, u BIGINT UNIQUE, must VARCHAR(10) NOT NULL, c INT, at DATETIME NOT NULL DEFAULT '2020-02-02'";
    let (mut proxied, mut control) = (lab.proxy.connect().await?, lab.server.connect().await?);
    control.query_drop("SET SESSION sql_mode = ''").await?;
    let values: Vec<String> = (0..500).map(|k| format!("({k}, {k} * 3, {k}, 'm{k}', 0, '2021-01-01')")).collect();
    twins(&mut control, columns, &format!("(k, gone, u, must, c, at) VALUES {}", values.join(", "))).await?;
    proxied.query_drop("SET SESSION sql_mode = ''").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "DROP COLUMN gone, DROP COLUMN must, DROP COLUMN at, ADD COLUMN x INT", WINDOW).await?;
    let mut mirrored = Mirrored { proxied, control, rng: Rng::with_seed(11), next: 500 };
    for swaps in [1.0, 2.0, 3.0, 4.0] {
        reversible(&mut admin, id, swaps).await?;
        for _ in 0..400 {
            mirrored.write().await?;
        }
        if swaps == 4.0 {
            break;
        }
        admin.run(&format!("REVERT MIGRATION {id}")).await?;
        if swaps == 1.0 {
            reversible(&mut admin, id, 2.0).await?;
            compare::assert_same_rows(&mut mirrored.control, ("shop", "t"), ("control", "t")).await?;
        }
    }
    compare::assert_same_rows(&mut mirrored.control, ("shop", "t"), ("control", "t")).await?;
    a_row_that_moves_gets_defaults(&mut admin, id, &mut mirrored).await?;
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&BUSY)
}

/// One row holds the value that the second wants, and cannot be touched; the second goes back to its own, which the third has taken by
/// then.
async fn rows_that_push_each_other_out_are_all_there(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let (proxied, mut control) = (lab.proxy.connect().await?, lab.server.connect().await?);
    let values: Vec<String> = (0..30).map(|k| format!("({k}, {k} * 7, {k})")).collect();
    twins(&mut control, "k BIGINT PRIMARY KEY, gone INT NULL, u BIGINT UNIQUE", &format!("VALUES {}", values.join(", "))).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "DROP COLUMN gone", WINDOW).await?;
    reversible(&mut admin, id, 1.0).await?;
    let mut mirrored = Mirrored { proxied, control, rng: Rng::with_seed(5), next: 30 };
    for first in [0, 10, 20] {
        mirrored.both("BEGIN").await?;
        for (key, value) in [(first, 100 + first), (first + 1, first), (first + 2, first + 1), (first + 3, first + 2)] {
            mirrored.both(&format!("UPDATE {{t}} SET u = {value} WHERE k = {key}")).await?;
        }
        // Whoever waits for the row has it when the transaction ends.
        let mut holder = lab.server.connect().await?;
        let id_of_holder = holder.id();
        let waiting = tokio::spawn(async move {
            holder.query_drop("BEGIN").await?;
            holder.query_drop(format!("SELECT * FROM shop.t WHERE k = {first} FOR UPDATE")).await?;
            anyhow::Ok(holder)
        });
        let question = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id_of_holder} AND INFO LIKE '%FOR UPDATE'");
        let until = Instant::now() + LONG;
        while mirrored.control.query_first::<u64, _>(&question).await? != Some(1) {
            ensure!(Instant::now() < until, "nobody waits for the row");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        mirrored.both("COMMIT").await?;
        let mut holder = waiting.await??;
        tokio::time::sleep(Duration::from_millis(500)).await;
        holder.query_drop("ROLLBACK").await?;
    }
    admin.run(&format!("REVERT MIGRATION {id}")).await?;
    reversible(&mut admin, id, 2.0).await?;
    compare::assert_same_rows(&mut mirrored.control, ("shop", "t"), ("control", "t")).await?;
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&BUSY)
}

/// As many writes in the window as TIDEGATE_TEST_REVERT_WRITES says, then back: the table is as one that was never migrated and met the same.
async fn many_writes_and_back_again(kind: Kind) -> Result<()> {
    let writes: u64 = number("TIDEGATE_TEST_REVERT_WRITES", 1500);
    let lab = Lab::start(kind).await?;
    let (proxied, mut control) = (lab.proxy.connect().await?, lab.server.connect().await?);
    let values: Vec<String> = (0..5000).map(|k| format!("({k}, {k}, 0, 'note {k}')")).collect();
    twins(&mut control, "k BIGINT PRIMARY KEY, u BIGINT UNIQUE, c INT, note VARCHAR(20)", &format!("VALUES {}", values.join(", "))).await?;
    let before = compare::definition(&mut control, "shop.t").await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", ALTER, "WITH strategy = 'copy', revert_window_s = 86400").await?;
    reversible(&mut admin, id, 1.0).await?;
    let mut mirrored = Mirrored { proxied, control, rng: Rng::with_seed(17), next: 5000 };
    let began = Instant::now();
    for _ in 0..writes {
        mirrored.write().await?;
    }
    println!("{kind}: {writes} writes in the window in {:.0} s", began.elapsed().as_secs_f64());
    admin.run(&format!("REVERT MIGRATION {id}")).await?;
    reversible(&mut admin, id, 2.0).await?;
    compare::assert_same_rows(&mut mirrored.control, ("shop", "t"), ("control", "t")).await?;
    for _ in 0..100 {
        mirrored.write().await?;
    }
    compare::assert_same_rows(&mut mirrored.control, ("shop", "t"), ("control", "t")).await?;
    ensure!(compare::definition(&mut mirrored.control, "shop.t").await? == before, "the table is not as it was");
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&BUSY)
}

/// The documented limit: under another key a row is a new one to the table that only follows.
async fn a_row_that_moves_gets_defaults(admin: &mut Admin, id: u64, mirrored: &mut Mirrored) -> Result<()> {
    mirrored.both("INSERT INTO {t} (k, c) VALUES (900001, 1)").await?;
    mirrored.proxied.query_drop("UPDATE shop.t SET gone = 8 WHERE k = 900001").await?;
    admin.run(&format!("REVERT MIGRATION {id}")).await?;
    reversible(admin, id, 5.0).await?;
    mirrored.both("UPDATE {t} SET k = 900002 WHERE k = 900001").await?;
    wait_until(admin, id, "a word on the moved row", |status| status.text("note").contains("changed its key")).await?;
    admin.run(&format!("REVERT MIGRATION {id}")).await?;
    reversible(admin, id, 6.0).await?;
    let gone: Option<i64> = mirrored.proxied.query_first("SELECT gone FROM shop.t WHERE k = 900002").await?;
    ensure!(gone == Some(7), "{gone:?}");
    Ok(())
}

async fn small_table(lab: &Lab) -> Result<()> {
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.t (k INT PRIMARY KEY, c INT)", "INSERT INTO shop.t VALUES (1, 1), (2, 2)"]).await
}

async fn window_ends_by_itself_and_by_cleanup(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    small_table(&lab).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "ADD COLUMN x INT", "WITH strategy = 'copy', revert_window_s = 2").await?;
    admin.wait_done(id, LONG).await?;
    lab.assert_nothing_left().await?;
    let late = admin.run(&format!("REVERT MIGRATION {id}")).await.err().context("REVERT after the window was taken")?;
    ensure!(server_error(&late).is_some_and(|(code, _)| code == 1105), "{late:#}");

    let id = admin.migrate("shop.t", "DROP COLUMN x", WINDOW).await?;
    reversible(&mut admin, id, 1.0).await?;
    let second = admin.migrate("shop.t", "ADD COLUMN y INT", "").await.err().context("a second migration began in the window")?;
    ensure!(server_error(&second).is_some_and(|(code, text)| code == 1846 && text.contains("CLEANUP")), "{second:#}");
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    lab.assert_nothing_left().await
}

/// The altered table takes what the table before cannot hold: it must say so, and cut nothing.
async fn value_that_does_not_fit_ends_the_way_back(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    small_table(&lab).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "MODIFY c BIGINT", WINDOW).await?;
    reversible(&mut admin, id, 1.0).await?;
    let mut client = lab.proxy.connect().await?;
    client.query_drop("UPDATE shop.t SET c = 5000000000 WHERE k = 1").await?;
    wait_until(&mut admin, id, "the obstacle", |status| status.text("note").contains("cannot be reverted")).await?;
    let refused = admin.run(&format!("REVERT MIGRATION {id}")).await.err().context("REVERT was taken")?;
    ensure!(server_error(&refused).is_some_and(|(code, text)| code == 1105 && text.contains("Out of range")), "{refused:#}");
    client.query_drop("UPDATE shop.t SET c = c + 1 WHERE k = 1").await?;
    let value: Option<i64> = client.query_first("SELECT c FROM shop.t WHERE k = 1").await?;
    ensure!(value == Some(5_000_000_001), "{value:?}");
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    lab.assert_nothing_left().await
}

async fn ddl_in_the_window_ends_the_way_back(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    small_table(&lab).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate("shop.t", "MODIFY c BIGINT", WINDOW).await?;
    reversible(&mut admin, id, 1.0).await?;
    lab.sql(&["ALTER TABLE shop.t ADD COLUMN later INT"]).await?;
    wait_until(&mut admin, id, "the obstacle", |status| status.text("note").contains("cannot be reverted")).await?;
    ensure!(admin.run(&format!("REVERT MIGRATION {id}")).await.is_err(), "REVERT was taken");
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_done(id, LONG).await?;
    lab.assert_nothing_left().await
}

/// Each step of a swap back, one after the other in one window.
async fn revert_survives_a_kill_at_every_step(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 1000, 4).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 9, Duration::from_millis(4));
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, WINDOW).await?;
    let mut swaps = reversible(&mut admin, id, 1.0).await?.number("swaps");
    for point in [
        "revert.wished",
        "cutover.hold",
        "cutover.drained",
        "cutover.locked",
        "cutover.caught_up",
        "cutover.rename_issued",
        "cutover.renamed",
        "cutover.unlocked",
        "cutover.recorded",
    ] {
        lab.proxy.kill_hard();
        lab.proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
        load.more(30).await?;
        let mut admin = lab.admin().await?;
        reversible(&mut admin, id, swaps).await?;
        let _ = admin.run(&format!("REVERT MIGRATION {id}")).await;
        lab.proxy.ended(Duration::from_secs(60)).await.with_context(|| format!("{point} was not reached:\n{}", lab.proxy.log()))?;
        lab.proxy.launch(&[]).await?;
        // The wish is stored: whoever takes over swaps back.
        swaps = reversible(&mut lab.admin().await?, id, swaps + 1.0).await.context(point)?.number("swaps");
        load.more(30).await?;
    }
    let mut admin = lab.admin().await?;
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["done", "reverted"], LONG).await?;
    let outcome = load.stop().await?;
    ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
    outcome.assert_is(&mut conn).await?;
    lab.assert_nothing_left().await
}

/// Slow rounds, so that keys always wait to be applied when the process dies.
async fn kills_in_the_window_lose_nothing(kind: Kind) -> Result<()> {
    const SLOW: [(&str, &str); 1] = [("TIDEGATE_FAILPOINTS", "apply.round=sleep(100)")];
    let mut lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let journals = prepare(&mut conn, INT, 1000, 4).await?;
    let load = Load::start(lab.proxy.port, INT, journals, 13, Duration::from_millis(3));
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, ALTER, WINDOW).await?;
    reversible(&mut admin, id, 1.0).await?;
    let mut rng = Rng::with_seed(3);
    for kill in 1..=4 {
        lab.proxy.kill_hard();
        lab.proxy.launch(if kill < 4 { &SLOW } else { &[] }).await?;
        load.more(rng.u64(40..200)).await?;
        reversible(&mut lab.admin().await?, id, 1.0).await?;
    }
    let mut admin = lab.admin().await?;
    admin.run(&format!("REVERT MIGRATION {id}")).await?;
    reversible(&mut admin, id, 2.0).await?;
    load.more(100).await?;
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    let outcome = load.stop().await?;
    ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
    outcome.assert_is(&mut conn).await?;
    lab.assert_nothing_left().await
}
