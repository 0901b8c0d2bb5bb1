//! Foreign keys around the members of a group, on MySQL: from one member to another, to tables that are no members, and from such ones.
//! No orphan, no wrong refusal, and afterwards they are what they were.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::admin::{Status, server_error};
use crate::support::failpoints::Failpoints;
use crate::support::servers::Settings;
use crate::support::writers::{Plan, Writers};
use crate::support::{Admin, Kind, Lab, Proxy, Server};

on_both_servers!(
    both_sides_of_a_key_change_their_type,
    lost_connections_leave_no_key_astray,
    attempts_that_are_called_off_leave_all_as_they_were,
    the_proxy_dies_with_two_keys_each,
    what_does_not_fit_is_refused,
    new_keys_are_proved_under_the_locks,
);

/// Each swap changes foreign keys by a dozen statements, and each attempt is made again after a pause.
const LONG: Duration = Duration::from_secs(240);

/// The parent and the child that are migrated, a parent and a child that are not. `up` refers to its own table.
const SETUP: [&str; 8] = [
    "CREATE DATABASE shop",
    "CREATE DATABASE other",
    "CREATE TABLE shop.root (id INT PRIMARY KEY)",
    "CREATE TABLE shop.p (id INT AUTO_INCREMENT PRIMARY KEY, root_id INT, up INT, v INT NOT NULL DEFAULT 0, KEY (root_id), \
     CONSTRAINT p_root FOREIGN KEY (root_id) REFERENCES root (id), CONSTRAINT p_up FOREIGN KEY (up) REFERENCES p (id))",
    "CREATE TABLE other.c (id INT AUTO_INCREMENT PRIMARY KEY, p_id INT NOT NULL, KEY k (p_id), \
     CONSTRAINT c_p FOREIGN KEY (p_id) REFERENCES shop.p (id) ON DELETE CASCADE ON UPDATE RESTRICT)",
    "CREATE TABLE shop.leaf (id INT AUTO_INCREMENT PRIMARY KEY, c_code INT, p_code INT, \
     CONSTRAINT l_c FOREIGN KEY (c_code) REFERENCES other.c (code) ON DELETE SET NULL, CONSTRAINT l_p FOREIGN KEY (p_code) REFERENCES p (code))",
    "INSERT INTO shop.root VALUES (0), (1), (2), (3), (4), (5), (6), (7)",
    "INSERT INTO shop.p (id, code, root_id) VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)",
];

/// The members are referred to from outside by columns that keep their type.
fn setup() -> Vec<String> {
    let code = "code INT NULL UNIQUE, v INT";
    let statement = |text: &&str| {
        text.replace("v INT NOT NULL DEFAULT 0", "code INT NULL UNIQUE, v INT NOT NULL DEFAULT 0")
            .replace("KEY k (p_id)", &format!("{code}, KEY k (p_id)"))
    };
    SETUP.iter().map(statement).collect()
}

/// Rows of its own, so that nobody else's write can make it fail: one client's next group of writes.
fn turn(client: usize, number: usize) -> Vec<String> {
    let code = (client + 1) * 1_000_000 + number;
    match number % 5 {
        0 | 1 => vec![
            "BEGIN".into(),
            format!("INSERT INTO shop.p (root_id, code) VALUES ({}, {code})", client % 8),
            "SET @p = LAST_INSERT_ID()".into(),
            "UPDATE shop.p SET up = @p WHERE id = @p".into(),
            format!("INSERT INTO other.c (p_id, code, v) VALUES (@p, {code}, {client})"),
            format!("INSERT INTO shop.leaf (c_code, p_code) VALUES ({code}, {code})"),
            "COMMIT".into(),
        ],
        2 => vec![format!("UPDATE shop.p SET v = v + 1 WHERE code BETWEEN {} AND {code}", code - 3)],
        3 => vec![format!("DELETE FROM shop.leaf WHERE p_code BETWEEN {} AND {code}", code - 3), "DO 1".into()],
        // The rows of c go by the cascade.
        _ => vec![format!("UPDATE shop.p SET up = NULL WHERE code BETWEEN {} AND {code}", code - 4), delete(code)],
    }
}

fn delete(code: usize) -> String {
    format!(
        "DELETE FROM shop.p WHERE code BETWEEN {} AND {code} AND code NOT IN (SELECT p_code FROM shop.leaf WHERE p_code IS NOT NULL)",
        code - 4
    )
}

pub(super) const PLAN: Plan = Plan { turn, forgiven: &[1213] };

async fn definition(conn: &mut Conn, table: &str) -> Result<String> {
    let row: Option<(String, String)> = conn.query_first(format!("SHOW CREATE TABLE {table}")).await?;
    let text = row.context("no such table")?.1;
    Ok(match text.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => text,
    })
}

async fn definitions(server: &Server) -> Result<Vec<String>> {
    let mut conn = server.connect().await?;
    let mut all = Vec::new();
    for table in ["shop.root", "shop.p", "other.c", "shop.leaf"] {
        all.push(definition(&mut conn, table).await?);
    }
    Ok(all)
}

pub(super) async fn prepare(server: &Server) -> Result<Vec<String>> {
    let mut conn = server.connect().await?;
    for statement in setup() {
        conn.query_drop(&statement).await.with_context(|| statement.to_owned())?;
    }
    definitions(server).await
}

/// On MariaDB such groups are refused.
async fn is_refused(lab: &Lab) -> Result<()> {
    let error = lab.admin().await?.run(&group(0)).await.err().context("it was taken")?;
    let (code, text) = server_error(&error).context("no error of a server")?;
    ensure!(code == 1235 && text.contains("foreign key"), "{code} {text}");
    lab.assert_nothing_left().await
}

/// Every second group takes back what the first has done.
pub(super) fn group(nth: usize) -> String {
    let kind = if nth.is_multiple_of(2) { "BIGINT" } else { "INT" };
    format!(
        "MIGRATE TABLE shop.p MODIFY id {kind} AUTO_INCREMENT, MODIFY up {kind} NULL, TABLE other.c MODIFY p_id {kind} NOT NULL WITH max_hold_ms = 30000"
    )
}

async fn all_done(admin: &mut Admin, ids: &[u64]) -> Result<()> {
    for id in ids {
        admin.wait_done(*id, LONG).await?;
    }
    Ok(())
}

async fn migrate(admin: &mut Admin, nth: usize) -> Result<Vec<u64>> {
    Ok(admin.rows(&group(nth)).await?.iter().map(Status::id).collect())
}

/// The definitions are what they shall be, no row lacks its parent, and the keys are at work.
pub(super) async fn judge(server: &Server, before: &[String], groups: usize) -> Result<()> {
    let mut wanted = before.to_vec();
    if !groups.is_multiple_of(2) {
        wanted[1] = wanted[1].replace("`id` int NOT NULL", "`id` bigint NOT NULL").replace("`up` int", "`up` bigint");
        wanted[2] = wanted[2].replace("`p_id` int", "`p_id` bigint");
    }
    let after = definitions(server).await?;
    ensure!(after == wanted, "the definitions are\n{after:#?}\nand not\n{wanted:#?}");
    let mut conn = server.connect().await?;
    for orphans in [
        "SELECT COUNT(*) FROM shop.p LEFT JOIN shop.root r ON r.id = p.root_id WHERE p.root_id IS NOT NULL AND r.id IS NULL",
        "SELECT COUNT(*) FROM shop.p LEFT JOIN shop.p u ON u.id = p.up WHERE p.up IS NOT NULL AND u.id IS NULL",
        "SELECT COUNT(*) FROM other.c LEFT JOIN shop.p ON p.id = c.p_id WHERE p.id IS NULL",
        "SELECT COUNT(*) FROM shop.leaf l LEFT JOIN shop.p ON p.code = l.p_code WHERE l.p_code IS NOT NULL AND p.id IS NULL",
        "SELECT COUNT(*) FROM shop.leaf l LEFT JOIN other.c ON c.code = l.c_code WHERE l.c_code IS NOT NULL AND c.id IS NULL",
    ] {
        let count: Option<i64> = conn.query_first(orphans).await?;
        ensure!(count == Some(0), "{count:?} rows without a parent: {orphans}");
    }
    for statement in [
        "INSERT INTO shop.p (root_id) VALUES (99)",
        "INSERT INTO shop.p (up) VALUES (99999999)",
        "INSERT INTO other.c (p_id) VALUES (99999999)",
        "INSERT INTO shop.leaf (p_code) VALUES (99999999)",
        "INSERT INTO shop.leaf (c_code) VALUES (99999999)",
    ] {
        match conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(error)) if error.code == 1452 => {}
            other => anyhow::bail!("{statement} gave {other:?}"),
        }
    }
    Ok(())
}

async fn both_sides_of_a_key_change_their_type(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        return is_refused(&lab).await;
    }
    let (through, round) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[through, through, through, round, round], PLAN);
    let mut admin = lab.admin().await?;
    for nth in 0..4 {
        writers.more(40).await?;
        let ids = migrate(&mut admin, nth).await?;
        all_done(&mut admin, &ids).await?;
    }
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, 4).await?;
    // Columns on both sides get other names, and an action goes with its key.
    let text = "MIGRATE TABLE shop.p RENAME COLUMN id TO number, CHANGE code sign INT NULL, TABLE other.c CHANGE p_id p_number INT NOT NULL \
                WITH max_hold_ms = 30000";
    let ids: Vec<u64> = admin.rows(text).await?.iter().map(Status::id).collect();
    all_done(&mut admin, &ids).await?;
    lab.sql(&[
        "ALTER TABLE shop.p RENAME COLUMN number TO id, RENAME COLUMN sign TO code",
        "ALTER TABLE other.c RENAME COLUMN p_number TO p_id",
    ])
    .await?;
    judge(&lab.server, &before, 4).await?;
    let ids: Vec<u64> = admin
        .rows("MIGRATE TABLE other.c DROP FOREIGN KEY c_p, TABLE shop.p ADD COLUMN x INT WITH max_hold_ms = 30000")
        .await?
        .iter()
        .map(Status::id)
        .collect();
    all_done(&mut admin, &ids).await?;
    let after = definition(&mut lab.server.connect().await?, "other.c").await?;
    ensure!(!after.contains("CONSTRAINT") && after.contains("`k`"), "{after}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}

async fn lost_connections_leave_no_key_astray(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        return is_refused(&lab).await;
    }
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    let mut admin = lab.admin().await?;
    let points = ["cutover.tied", "cutover.rename_issued", "cutover.renamed"];
    for (nth, point) in points.into_iter().enumerate() {
        failpoints.stop_at(point)?;
        let ids = migrate(&mut admin, nth).await?;
        failpoints.stopped(LONG).await.with_context(|| format!("{point}: {}", lab.proxy.log()))?;
        lab.server.kill_holder(&format!("tidegate lock {}", ids[0])).await?;
        failpoints.go()?;
        all_done(&mut admin, &ids).await.context(point)?;
        writers.more(20).await?;
    }
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, points.len()).await?;
    lab.assert_nothing_left().await
}

async fn attempts_that_are_called_off_leave_all_as_they_were(kind: Kind) -> Result<()> {
    let points = "cutover.tied=error*1;cutover.rename_issued=error*1;cutover.untying=error*1;cutover.renamed=error*1";
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_FAILPOINTS", points)]).await?;
    let before = prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        return is_refused(&lab).await;
    }
    // Who goes round the proxy may meet a child with two keys, where the first settling fails.
    let writers = Writers::start(&[lab.proxy.port; 3], PLAN);
    let mut admin = lab.admin().await?;
    let ids = migrate(&mut admin, 0).await?;
    all_done(&mut admin, &ids).await?;
    ensure!(admin.status(ids[1]).await?.number("cutover_attempts") >= 3.0, "the failpoints were not reached");
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, 1).await?;
    lab.assert_nothing_left().await
}

async fn the_proxy_dies_with_two_keys_each(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let mut lab = Lab { proxy: Proxy::start(&server.address(), &[(name, file.as_str())]).await?, server };
    let before = prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        return is_refused(&lab).await;
    }
    let writers = Writers::start(&[lab.proxy.port; 4], PLAN);
    // Also while the shadows of one group are made: the next run makes all of them anew.
    let points = ["prepare.shadows_made", "prepare.shadow_created", "cutover.tied", "cutover.renamed", "cutover.unlocked"];
    for (nth, point) in points.into_iter().enumerate() {
        writers.more(20).await?;
        failpoints.set(&format!("{point}=abort*1"))?;
        // The answer may be lost.
        let _ = migrate(&mut lab.admin().await?, nth).await;
        lab.proxy.ended(LONG).await.with_context(|| format!("{point} was not reached; log:\n{}", lab.proxy.log()))?;
        failpoints.set("")?;
        lab.proxy.launch(&[]).await?;
        writers.more(20).await?;
        let mut admin = lab.admin().await?;
        let ids: Vec<u64> = admin.rows("SHOW MIGRATIONS").await?.iter().map(Status::id).collect();
        all_done(&mut admin, &ids).await.context(point)?;
    }
    let errors = writers.stop().await?;
    let wrong: Vec<&String> = errors.iter().filter(|error| error.contains("ERROR 1452") || error.contains("ERROR 1451")).collect();
    ensure!(wrong.is_empty(), "writes were refused that break no key: {wrong:?}");
    judge(&lab.server, &before, points.len()).await?;
    lab.assert_nothing_left().await
}

/// One side of a key alone, an index that a key needs, a column that a key needs: as the server's own ALTER says.
async fn what_does_not_fit_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        return is_refused(&lab).await;
    }
    let mut admin = lab.admin().await?;
    for (text, codes) in [
        ("MIGRATE TABLE shop.p MODIFY id BIGINT AUTO_INCREMENT, MODIFY up BIGINT, TABLE other.c ADD COLUMN x INT", [3780, 3780]),
        ("MIGRATE TABLE shop.p ADD COLUMN x INT, TABLE other.c MODIFY p_id BIGINT NOT NULL", [3780, 3780]),
        ("MIGRATE TABLE shop.p MODIFY id BIGINT AUTO_INCREMENT, TABLE other.c MODIFY p_id BIGINT NOT NULL", [3780, 3780]),
        (
            "MIGRATE TABLE shop.p MODIFY id BIGINT AUTO_INCREMENT, MODIFY up BIGINT, TABLE other.c MODIFY p_id BIGINT NOT NULL, DROP KEY k",
            [1553, 3780],
        ),
        ("MIGRATE TABLE shop.p MODIFY code BIGINT, TABLE other.c ADD COLUMN x INT", [3780, 3780]),
        ("MIGRATE TABLE shop.p ADD COLUMN x INT, TABLE other.c DROP COLUMN p_id", [1828, 1828]),
    ] {
        let error = admin.run(text).await.err().with_context(|| format!("{text} was taken"))?;
        let (code, message) = server_error(&error).context("no error of a server")?;
        ensure!(codes.contains(&code) && !message.contains("tidegate_probe") && !message.contains('~'), "{text}: {code} {message}");
        lab.assert_nothing_left().await?;
    }
    ensure!(definitions(&lab.server).await? == before, "something was changed");
    Ok(())
}

/// A new key to another member, to a table outside, and to its own table; what breaks it comes early, or only when nobody looks any more.
async fn new_keys_are_proved_under_the_locks(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    lab.sql(&[
        "CREATE DATABASE shop",
        "CREATE DATABASE other",
        "CREATE TABLE shop.root (id INT PRIMARY KEY)",
        "CREATE TABLE shop.p (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
        "CREATE TABLE other.c (id INT PRIMARY KEY, p_id INT, root_id INT, up INT)",
        "INSERT INTO shop.root VALUES (1), (2), (3)",
        "INSERT INTO shop.p (id) VALUES (1), (2), (3)",
        "INSERT INTO other.c VALUES (1, 1, 1, NULL), (2, 2, 2, 1), (3, NULL, 3, 2)",
        "CREATE TABLE other.twin LIKE other.c",
    ])
    .await?;
    let change = "ADD CONSTRAINT c_p FOREIGN KEY (p_id) REFERENCES shop.p (number) ON DELETE SET NULL, \
                  ADD CONSTRAINT c_root FOREIGN KEY (root_id) REFERENCES shop.root (id), ADD CONSTRAINT c_up FOREIGN KEY (up) REFERENCES c (id)";
    let (said, wanted) = (change.replace("(number)", "(id)"), change.replace("c_", "twin_").replace("REFERENCES c", "REFERENCES twin"));
    let text = format!("MIGRATE TABLE shop.p RENAME COLUMN id TO number, TABLE other.c {said} WITH max_hold_ms = 30000");
    let mut admin = lab.admin().await?;
    if kind == Kind::MariaDb {
        let error = admin.run(&text).await.err().context("it was taken")?;
        ensure!(server_error(&error).is_some_and(|(code, text)| code == 1235 && text.contains("gets one")), "{error:#}");
        return lab.assert_nothing_left().await;
    }
    let before =
        [definition(&mut lab.server.connect().await?, "other.c").await?, definition(&mut lab.server.connect().await?, "shop.p").await?];
    let mut client = lab.proxy.connect().await?;
    // Each row breaks one of the keys, and goes again.
    for breaks in ["p_id", "root_id", "up"] {
        for is_late in [false, true] {
            if is_late {
                failpoints.stop_at("cutover.hold")?;
            } else {
                client.query_drop(format!("INSERT INTO other.c (id, {breaks}) VALUES (9, 99)")).await?;
            }
            let begun = admin.rows(&text).await;
            if is_late {
                // As late as a writer round the proxy can be.
                failpoints.stopped(LONG).await?;
                lab.sql(&[&format!("INSERT INTO other.c (id, {breaks}) VALUES (9, 99)")]).await?;
                failpoints.go()?;
            }
            let ids: Vec<u64> = match begun {
                Ok(rows) => rows.iter().map(Status::id).collect(),
                Err(_) => admin.rows("SHOW MIGRATIONS").await?.iter().rev().take(2).map(Status::id).collect(),
            };
            for id in ids {
                let status = admin.wait_phase(id, &["failed"], LONG).await.with_context(|| format!("{breaks}, late: {is_late}"))?;
                ensure!(status.error_code() == 1452 && status.text("error").contains("other.c"), "{breaks}, late: {is_late}: {status:?}");
            }
            client.query_drop("DELETE FROM other.c WHERE id = 9").await?;
        }
    }
    for (table, before) in ["other.c", "shop.p"].iter().zip(&before) {
        ensure!(definition(&mut lab.server.connect().await?, table).await? == *before, "{table} is not as it was");
    }
    let ids: Vec<u64> = admin.rows(&text).await?.iter().map(Status::id).collect();
    all_done(&mut admin, &ids).await?;
    lab.sql(&[&format!("ALTER TABLE other.twin {wanted}")]).await?;
    let mut conn = lab.server.connect().await?;
    let twin = definition(&mut conn, "other.twin").await?.replace("twin_", "c_").replace("`twin`", "`c`");
    let after = definition(&mut conn, "other.c").await?;
    ensure!(after == twin, "it is\n{after}\nand not\n{twin}");
    for statement in ["UPDATE other.c SET p_id = 99", "UPDATE other.c SET root_id = 99", "UPDATE other.c SET up = 99"] {
        let error = client.query_drop(statement).await.err().context("a key is not at work")?;
        ensure!(matches!(&error, mysql_async::Error::Server(error) if error.code == 1452), "{error}");
    }
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&[])
}
