//! Several tables in one migration: all of them change at one instant, or none does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::admin::{Status, server_error};
use crate::support::failpoints::Failpoints;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, Lab, compare};

mod clients;
mod failures;
mod foreign_keys;
mod revert;
mod triggers;

use clients::Clients;

on_both_servers!(
    two_tables_change_at_one_instant,
    one_refused_member_undoes_all,
    what_cannot_be_together_is_refused,
    commands_for_one_are_for_all,
    a_transaction_inside_goes_into_the_other_table,
    each_member_keeps_its_time_zone,
    force_rolls_back_who_is_in_the_way_of_one,
);

const LONG: Duration = Duration::from_secs(60);

/// The members, in the order of their names: that of the ids.
const TABLES: [&str; 2] = ["other.b", "shop.a"];

const SETUP: [&str; 6] = [
    "CREATE DATABASE shop",
    "CREATE DATABASE other",
    "CREATE TABLE shop.a (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0, w VARCHAR(20) NOT NULL DEFAULT 'a')",
    "CREATE TABLE other.b (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0, at TIMESTAMP NULL DEFAULT '2026-03-29 00:30:00')",
    "INSERT INTO shop.a (id) WITH RECURSIVE n AS (SELECT 0 i UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n",
    "INSERT INTO other.b (id) SELECT id FROM shop.a",
];

async fn prepared(kind: Kind, environment: &[(&str, &str)]) -> Result<Lab> {
    let lab = Lab::start_with(kind, Settings::default(), environment).await?;
    lab.sql(&SETUP).await?;
    Ok(lab)
}

/// Starts a group; gives the number of each member.
async fn migrate(admin: &mut Admin, text: &str) -> Result<Vec<u64>> {
    let rows = admin.rows(text).await?;
    let tables: Vec<String> = rows.iter().map(|row| format!("{}.{}", row.text("schema_name"), row.text("table_name"))).collect();
    ensure!(tables == TABLES, "{rows:?}");
    ensure!(rows.iter().all(|row| row.number("group_id") == rows[0].id() as f64), "{rows:?}");
    Ok(rows.iter().map(Status::id).collect())
}

async fn all_ready(admin: &mut Admin, ids: &[u64]) -> Result<()> {
    for id in ids {
        admin.wait_phase(*id, &["ready"], LONG).await?;
    }
    Ok(())
}

async fn all_done(admin: &mut Admin, ids: &[u64]) -> Result<()> {
    for id in ids {
        admin.wait_done(*id, LONG).await?;
    }
    Ok(())
}

async fn two_tables_change_at_one_instant(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let mut conn = lab.server.connect().await?;
    let twins = [compare::make_twin(&mut conn, "shop", "a", false).await?, compare::make_twin(&mut conn, "other", "b", false).await?];
    let clients = Clients::start(&lab, false);
    clients.more(50).await?;
    let mut admin = lab.admin().await?;
    let changes = [
        ["ADD COLUMN x INT NOT NULL DEFAULT 5, ADD KEY (v, w)", "ADD COLUMN y DATETIME(3) NULL"],
        ["DROP COLUMN x", "DROP COLUMN y, MODIFY v BIGINT NOT NULL DEFAULT 0"],
    ];
    for [a, b] in changes {
        let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a {a}, TABLE other.b {b}")).await?;
        all_done(&mut admin, &ids).await?;
        clients.more(50).await?;
        for (twin, change) in twins.iter().zip([a, b]) {
            let refused = compare::alter_twin(&mut conn, twin, change).await?;
            ensure!(refused.is_none(), "{refused:?}");
        }
    }
    clients.stop(&lab).await?;
    compare::assert_same_definition(&mut conn, "shop.a", &twins[0]).await?;
    compare::assert_same_definition(&mut conn, "other.b", &twins[1]).await?;
    let renames = renames(&mut conn).await?;
    ensure!(renames.len() == 2 && renames.iter().all(|text| text.contains("`shop`.`a`") && text.contains("`other`.`b`")), "{renames:?}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

/// What a replica is told of swaps.
async fn renames(conn: &mut Conn) -> Result<Vec<String>> {
    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await?;
    let mut found = Vec::new();
    for log in logs {
        let name = log.get::<String, _>(0).context("a binary log without a name")?;
        let events: Vec<mysql_async::Row> = conn.query(format!("SHOW BINLOG EVENTS IN '{name}'")).await?;
        let texts = events.into_iter().filter_map(|event| event.get::<Option<String>, _>(5).flatten());
        found.extend(texts.filter(|text| text.contains("RENAME TABLE")));
    }
    Ok(found)
}

/// Nothing of the group is there any more, and the tables are as they were.
async fn as_before(lab: &Lab, before: &[String]) -> Result<()> {
    lab.assert_nothing_left().await?;
    let mut conn = lab.server.connect().await?;
    for (table, before) in TABLES.iter().zip(before) {
        ensure!(compare::definition(&mut conn, table).await? == *before, "{table} is not as it was");
    }
    Ok(())
}

async fn definitions(lab: &Lab) -> Result<Vec<String>> {
    let mut conn = lab.server.connect().await?;
    let mut all = Vec::new();
    for table in TABLES {
        all.push(compare::definition(&mut conn, table).await?);
    }
    Ok(all)
}

async fn one_refused_member_undoes_all(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let before = definitions(&lab).await?;
    let mut admin = lab.admin().await?;
    // By the ALTER itself, of either member.
    for (text, table) in [
        ("MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b DROP COLUMN nothing", "other.b"),
        ("MIGRATE TABLE shop.a DROP COLUMN nothing, TABLE other.b ADD COLUMN x INT", "shop.a"),
    ] {
        let error = admin.run(text).await.expect_err("it was to be refused");
        let (code, message) = server_error(&error).context("no answer")?;
        ensure!(code == 1091 && message.starts_with(table), "{code} {message}");
        as_before(&lab, &before).await?;
    }
    // By a row, seen when all is copied.
    lab.sql(&["UPDATE other.b SET v = 7 WHERE id IN (3, 900)"]).await?;
    let text = "MIGRATE TABLE shop.a ADD COLUMN x INT, TABLE other.b ADD UNIQUE KEY (v, at) WITH strategy = 'copy'";
    let ids = match admin.rows(text).await {
        Ok(rows) => rows.iter().map(Status::id).collect::<Vec<_>>(),
        // It may be seen before the answer.
        Err(_) => admin.rows("SHOW MIGRATIONS").await?.iter().rev().take(2).map(Status::id).collect(),
    };
    for id in &ids {
        let until = Instant::now() + LONG;
        let status = loop {
            let status = admin.status(*id).await?;
            if status.is_final() {
                break status;
            }
            ensure!(Instant::now() < until, "{status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        ensure!(status.phase() == "failed" && status.error_code() == 1062 && status.text("error").contains("other.b"), "{status:?}");
    }
    as_before(&lab, &before).await?;
    lab.proxy.assert_clean_log(&[])
}

async fn what_cannot_be_together_is_refused(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let last = 'z';
    lab.sql(&[&format!("CREATE TABLE shop.{last} (id INT PRIMARY KEY)")]).await?;
    let mut admin = lab.admin().await?;
    let other = if kind == Kind::MySql { "sentry" } else { "sentry_locked_shadow" };
    let cutover = format!("MIGRATE TABLE shop.a FORCE, TABLE shop.z FORCE WITH cutover = '{other}'");
    for (text, code, part) in [
        ("MIGRATE TABLE shop.a ADD x INT, TABLE shop.z FORCE, TABLE shop.a ADD y INT", 1066, "named twice"),
        ("MIGRATE TABLE shop.a FORCE, TABLE shop.z FORCE WITH strategy = 'instant'", 1235, "always copied"),
        (&cutover, 1235, "leave the option cutover out"),
        ("MIGRATE TABLE shop.a FORCE, TABLE shop.nothing FORCE", 1146, "shop.nothing"),
    ] {
        let error = admin.run(text).await.expect_err(text);
        let (code_got, message) = server_error(&error).with_context(|| text.to_owned())?;
        ensure!(code_got == code && message.contains(part), "{text}: {code_got} {message}");
    }
    ensure!(admin.rows("SHOW MIGRATIONS").await?.is_empty(), "something was stored");
    // One that waits keeps its tables from being migrated by another.
    let ids = migrate(&mut admin, "MIGRATE TABLE shop.a FORCE, TABLE other.b FORCE WITH postpone = true").await?;
    let error = admin.run("MIGRATE TABLE shop.z FORCE, TABLE shop.a FORCE").await.expect_err("shop.a is taken");
    ensure!(server_error(&error).is_some_and(|(code, _)| code == 1846), "{error:?}");
    admin.run(&format!("CANCEL MIGRATION {}", ids[1])).await?;
    admin.wait_phase(ids[0], &["cancelled"], LONG).await?;
    lab.proxy.assert_clean_log(&[])
}

async fn commands_for_one_are_for_all(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[]).await?;
    let before = definitions(&lab).await?;
    let mut admin = lab.admin().await?;
    let text = "MIGRATE TABLE shop.a ADD x INT, TABLE other.b ADD x INT WITH postpone = true";
    for said in 0..2 {
        let ids = migrate(&mut admin, text).await?;
        all_ready(&mut admin, &ids).await?;
        admin.run(&format!("PAUSE MIGRATION {}", ids[said])).await?;
        for id in &ids {
            ensure!(admin.status(*id).await?.number("paused") == 1.0, "{id} was not told");
        }
        admin.run(&format!("CANCEL MIGRATION {}", ids[1 - said])).await?;
        for id in &ids {
            admin.wait_phase(*id, &["cancelled"], LONG).await?;
        }
        as_before(&lab, &before).await?;
    }
    // Paused, the copy waits; a row of the one that is ready is followed meanwhile.
    let ids = migrate(&mut admin, text).await?;
    all_ready(&mut admin, &ids).await?;
    lab.sql(&["UPDATE shop.a SET w = 'late' WHERE id = 5", "DELETE FROM other.b WHERE id = 6"]).await?;
    admin.run(&format!("CUTOVER MIGRATION {}", ids[1])).await?;
    all_done(&mut admin, &ids).await?;
    let error = admin.run(&format!("REVERT MIGRATION {}", ids[0])).await.expect_err("there is no window");
    ensure!(server_error(&error).is_some_and(|(code, message)| code == 1105 && message.contains("nothing more can be done")), "{error:?}");
    let mut conn = lab.server.connect().await?;
    let late: Option<(String, Option<i32>)> = conn.query_first("SELECT w, x FROM shop.a WHERE id = 5").await?;
    ensure!(late == Some(("late".into(), None)), "{late:?}");
    let rows: Option<(u64, u64)> =
        conn.query_first("SELECT (SELECT COUNT(x IS NULL) FROM shop.a), (SELECT COUNT(x IS NULL) FROM other.b)").await?;
    ensure!(rows == Some((1000, 999)), "{rows:?}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

/// Both gates drain until the transaction that is inside one of them has been in the other, and has ended.
async fn a_transaction_inside_goes_into_the_other_table(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let environment = [(name, file.as_str())];
    let lab = prepared(kind, &environment).await?;
    let mut admin = lab.admin().await?;
    let with = "WITH postpone = true, drain_budget_ms = 20000, max_hold_ms = 30000";
    for (nth, (first, second)) in [("shop.a", "other.b"), ("other.b", "shop.a")].into_iter().enumerate() {
        let ids = migrate(&mut admin, &format!("MIGRATE TABLE shop.a FORCE, TABLE other.b FORCE {with}")).await?;
        all_ready(&mut admin, &ids).await?;
        let (mut inside, mut late) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
        inside.query_drop("BEGIN").await?;
        inside.query_drop(format!("UPDATE {first} SET v = v + 1 WHERE id = 1")).await?;
        failpoints.stop_at("cutover.hold")?;
        admin.run(&format!("CUTOVER MIGRATION {}", ids[0])).await?;
        failpoints.stopped(LONG).await?;
        let waits = tokio::spawn(async move { late.query_drop("UPDATE shop.a SET v = v + 1 WHERE id = 2").await.map(|()| late) });
        gates(&mut admin, "a statement waits", |gates| gates.iter().any(|gate| gate.number("waiting") > 0.0)).await?;
        failpoints.go()?;
        // Several looks at who is inside go by. While one is, none is closed.
        for _ in 0..40 {
            let gates = admin.rows("SHOW GATES").await?;
            ensure!(gates.len() == 2 && gates.iter().all(|gate| gate.text("state") == "draining"), "{gates:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let go_on = inside.query_drop(format!("UPDATE {second} SET v = v + 1 WHERE id = 1"));
        tokio::time::timeout(Duration::from_secs(10), go_on).await.context("it waits at the other gate")??;
        inside.query_drop("COMMIT").await?;
        waits.await??;
        all_done(&mut admin, &ids).await?;
        ensure!(admin.status(ids[0]).await?.number("cutover_attempts") == 1.0, "an attempt was called off");
        let mut conn = lab.server.connect().await?;
        let values: Option<(u64, u64)> =
            conn.query_first("SELECT a.v, b.v FROM shop.a a JOIN other.b b ON a.id = b.id WHERE a.id = 1").await?;
        ensure!(values == Some((nth as u64 + 1, nth as u64 + 1)), "{values:?}");
    }
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

async fn gates(admin: &mut Admin, what: &str, is_so: impl Fn(&[Status]) -> bool) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let gates = admin.rows("SHOW GATES").await?;
        if is_so(&gates) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "waited for {what}: {gates:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One is followed by a TIMESTAMP, which is read in UTC; the other turns one into local time. Rows come before the cut-over, and by a transaction that ends
/// only while LOCK TABLES waits for it: those are applied under the lock, where one connection may apply for both.
async fn each_member_keeps_its_time_zone(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let patient = [("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000"), ("TIDEGATE_CUTOVER_DRAIN_BUDGET_MS", "5000")];
    let lab = Lab::start_with(kind, Settings::default(), &[[(name, file.as_str())].as_slice(), &patient].concat()).await?;
    lab.sql(&["SET GLOBAL time_zone = '+05:30'"]).await?;
    lab.sql(&[
        "CREATE DATABASE shop",
        "CREATE DATABASE other",
        "CREATE TABLE shop.a (id INT PRIMARY KEY, at TIMESTAMP NULL)",
        "CREATE TABLE other.b (at TIMESTAMP NOT NULL DEFAULT '2026-01-01 00:00:00', id INT, v INT, PRIMARY KEY (at, id))",
        "INSERT INTO shop.a VALUES (1, '2026-03-29 01:30:00'), (2, '2026-10-25 02:30:00'), (3, NULL), (4, '2026-07-01 12:00:00')",
        "INSERT INTO other.b VALUES ('2026-03-29 01:30:00', 1, 0), ('2026-10-25 02:30:00', 2, 0), ('2026-07-01 12:00:00', 3, 0)",
    ])
    .await?;
    let mut conn = lab.server.connect().await?;
    let twins = [compare::make_twin(&mut conn, "shop", "a", true).await?, compare::make_twin(&mut conn, "other", "b", true).await?];
    let changes = ["MODIFY at DATETIME NULL", "ADD COLUMN w INT NOT NULL DEFAULT 3"];
    let mut admin = lab.admin().await?;
    let text = format!("MIGRATE TABLE shop.a {}, TABLE other.b {} WITH postpone = true", changes[0], changes[1]);
    let ids = migrate(&mut admin, &text).await?;
    all_ready(&mut admin, &ids).await?;
    let writes = |a: &str, b: &str, number: i32, day: &str| {
        [
            format!("INSERT INTO {a} VALUES ({number}, '{day} 23:45:00')"),
            format!("UPDATE {a} SET at = '{day} 04:15:00' WHERE id = 1"),
            format!("INSERT INTO {b} VALUES ('{day} 23:45:00', {number}, 1)"),
            format!("UPDATE {b} SET at = '{day} 04:15:00' WHERE id = 1"),
            format!("UPDATE {b} SET v = v + 1 WHERE id = 2"),
        ]
    };
    for (number, day) in [(10, "2026-05-05"), (11, "2026-11-01")] {
        for write in [writes("shop.a", "other.b", number, day), writes(&twins[0], &twins[1], number, day)].concat() {
            if number == 10 || write.contains("twin") {
                conn.query_drop(write).await?;
            }
        }
    }
    failpoints.stop_at("cutover.drained")?;
    admin.run(&format!("CUTOVER MIGRATION {}", ids[0])).await?;
    failpoints.stopped(LONG).await?;
    let mut inside = lab.server.connect().await?;
    inside.query_drop("BEGIN").await?;
    for write in writes("shop.a", "other.b", 11, "2026-11-01") {
        inside.query_drop(write).await?;
    }
    failpoints.go()?;
    let question = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOCK TABLES%' AND STATE LIKE 'Waiting for%'";
    let until = Instant::now() + LONG;
    while conn.query_first::<u64, _>(question).await? == Some(0) {
        ensure!(Instant::now() < until, "LOCK TABLES was not seen waiting");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    inside.query_drop("COMMIT").await?;
    all_done(&mut admin, &ids).await?;
    for ((table, twin), change) in [(("shop", "a"), ("twin", "a")), (("other", "b"), ("twin", "b"))].into_iter().zip(changes) {
        let name = format!("{}.{}", table.0, table.1);
        ensure!(compare::alter_twin(&mut conn, &format!("{}.{}", twin.0, twin.1), change).await?.is_none());
        compare::assert_same_definition(&mut conn, &name, &format!("{}.{}", twin.0, twin.1)).await?;
        compare::assert_same_rows(&mut conn, table, twin).await?;
    }
    conn.query_drop("DROP DATABASE twin").await?;
    lab.assert_nothing_left().await
}

/// Whoever is inside either table is rolled back and told so; the group goes over.
async fn force_rolls_back_who_is_in_the_way_of_one(kind: Kind) -> Result<()> {
    let lab = prepared(kind, &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "10000")]).await?;
    let mut admin = lab.admin().await?;
    for (held, other) in [("shop.a", "other.b"), ("other.b", "shop.a")] {
        let ids = migrate(&mut admin, "MIGRATE TABLE shop.a FORCE, TABLE other.b FORCE WITH postpone = true").await?;
        all_ready(&mut admin, &ids).await?;
        let mut inside = lab.proxy.connect().await?;
        inside.query_drop("BEGIN").await?;
        inside.query_drop(format!("UPDATE {held} SET v = v + 1 WHERE id = 1")).await?;
        admin.run(&format!("CUTOVER MIGRATION {}", ids[0])).await?;
        let until = Instant::now() + LONG;
        loop {
            let mut notes = String::new();
            for id in &ids {
                notes.push_str(admin.status(*id).await?.text("note"));
            }
            if notes.contains("transactions on the table") {
                break;
            }
            ensure!(Instant::now() < until, "nothing says what is waited for: {notes}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        admin.run(&format!("CUTOVER MIGRATION {} FORCE", ids[1])).await?;
        all_done(&mut admin, &ids).await?;
        let refused = inside.query_drop("COMMIT").await;
        ensure!(matches!(&refused, Err(mysql_async::Error::Server(error)) if error.code == 1213), "{refused:?}");
        let values: Option<(u64, u64)> =
            inside.query_first(format!("SELECT (SELECT SUM(v) FROM {held}), (SELECT SUM(v) FROM {other})")).await?;
        ensure!(values == Some((0, 0)), "the transaction was not rolled back: {values:?}");
        let mut told = String::new();
        for id in &ids {
            told.push_str(admin.status(*id).await?.text("forced"));
        }
        ensure!(told.contains("rolled back"), "{told:?}");
    }
    lab.assert_nothing_left().await
}
