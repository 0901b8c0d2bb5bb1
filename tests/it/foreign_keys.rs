//! Foreign keys on both sides of the swap: no orphan, no wrong refusal, and afterwards they are what they were.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::Admin;
use crate::support::servers::Settings;
use crate::support::writers::{Plan, Writers};
use crate::support::{Kind, Lab, Proxy, Server};

on_both_servers!(
    writes_on_both_sides_across_swaps,
    writers_round_the_proxy_meet_no_half_tied_child,
    called_off_attempts_leave_them_as_they_were,
    lost_connections_leave_none_astray,
    proxy_dies_tied,
    proxy_dies_renamed_and_tied,
    proxy_dies_untied,
    proxy_dies_tied_on_the_way_back,
    proxy_dies_renamed_back_and_tied,
    swapped_back_and_forth_with_writers_on_both_sides,
    added_ones_are_proved_under_the_lock,
    added_ones_have_their_place_among_writers,
    what_cannot_be_carried_over_is_refused,
);

const LONG: Duration = Duration::from_secs(60);
const TABLE: &str = "shop.t";
/// What may be said to somebody whose row's parent another client has deleted; never to others.
const REFUSED: [u16; 2] = [1452, 1451];

const SETUP: [&str; 8] = [
    "CREATE DATABASE shop",
    "CREATE DATABASE other",
    "CREATE TABLE shop.p (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
    "CREATE TABLE shop.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, p_id INT, up BIGINT, v INT NOT NULL DEFAULT 0, KEY (p_id), \
     CONSTRAINT t_p FOREIGN KEY (p_id) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE, CONSTRAINT t_up FOREIGN KEY (up) REFERENCES t (id))",
    "CREATE TABLE shop.c (id BIGINT AUTO_INCREMENT PRIMARY KEY, t_id BIGINT NOT NULL, CONSTRAINT c_t FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE ON UPDATE RESTRICT)",
    "CREATE TABLE other.c (id BIGINT AUTO_INCREMENT PRIMARY KEY, t_id BIGINT, w BIGINT, KEY (t_id), \
     CONSTRAINT c_t FOREIGN KEY (t_id) REFERENCES shop.t (id) ON DELETE SET NULL, CONSTRAINT c_w FOREIGN KEY (w) REFERENCES shop.t (id) ON DELETE CASCADE ON UPDATE NO ACTION)",
    "INSERT INTO shop.p (id) VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12)",
    "INSERT INTO shop.t (p_id) SELECT id FROM shop.p",
];

/// Only MySQL writes to its log what a cascade changes (F10); on MariaDB such a key of the table's own is refused.
const CASCADE: &str = " ON DELETE CASCADE ON UPDATE CASCADE";

/// Clients that write on all sides. A cascade locks gaps, in which they may meet each other.
fn plan(kind: Kind) -> Plan {
    Plan { turn: if kind == Kind::MySql { turn } else { turn_without_cascade }, forgiven: &[1213] }
}

fn turn_without_cascade(client: usize, number: usize) -> Vec<String> {
    match number % 30 {
        5 => vec![
            "BEGIN".into(),
            format!("DELETE FROM shop.t WHERE p_id = {}", 1000 + client),
            format!("DELETE FROM shop.p WHERE id = {}", 1000 + client),
            "COMMIT".into(),
        ],
        _ => turn(client, number),
    }
}

/// One client's next group of writes: rows of its own, so that nobody else's write can make it fail.
fn turn(client: usize, number: usize) -> Vec<String> {
    let parent = 1000 + client;
    let begin = format!("INSERT IGNORE INTO shop.p (id) VALUES ({parent})");
    match number % 6 {
        0 => vec![begin],
        1 | 2 => vec![
            begin,
            "BEGIN".into(),
            format!("INSERT INTO shop.t (p_id, v) VALUES ({parent}, {client})"),
            "SET @id = LAST_INSERT_ID()".into(),
            "INSERT INTO shop.c (t_id) VALUES (@id)".into(),
            "INSERT INTO other.c (t_id, w) VALUES (@id, @id)".into(),
            "COMMIT".into(),
        ],
        3 => vec![format!("UPDATE shop.t SET v = v + 1000 WHERE p_id = {parent}")],
        4 => vec![format!("DELETE FROM shop.t WHERE p_id = {parent} ORDER BY id LIMIT 1")],
        // The rows of t go by the cascade, and theirs by the next one.
        _ if number % 30 == 5 => vec![format!("DELETE FROM shop.p WHERE id = {parent}")],
        _ => vec![format!("UPDATE shop.p SET v = v + 1 WHERE id = {parent}")],
    }
}

async fn definition(conn: &mut Conn, table: &str) -> Result<String> {
    let row: Option<(String, String)> = conn.query_first(format!("SHOW CREATE TABLE {table}")).await?;
    let text = row.context("no such table")?.1;
    Ok(match text.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => text,
    })
}

async fn definitions(conn: &mut Conn) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for table in ["shop.p", "shop.t", "shop.c", "other.c"] {
        all.push(definition(conn, table).await?);
    }
    Ok(all)
}

async fn prepare(server: &Server) -> Result<Vec<String>> {
    let mut conn = server.connect().await?;
    for statement in SETUP {
        let statement = if server.kind == Kind::MySql { statement.to_owned() } else { statement.replace(CASCADE, "") };
        conn.query_drop(&statement).await.with_context(|| statement.to_owned())?;
    }
    definitions(&mut conn).await
}

/// The definitions are those before plus the server's own ALTERs, no row lacks its parent, and the keys are at work.
async fn judge(server: &Server, before: &[String], alters: &[&str]) -> Result<()> {
    let mut conn = server.connect().await?;
    let after = definitions(&mut conn).await?;
    for alter in alters {
        // A column more and back again: what is left of the migrations is exactly what the server's own would have left.
        conn.query_drop(format!("ALTER TABLE {TABLE} {alter}")).await.with_context(|| (*alter).to_owned())?;
    }
    let back = definitions(&mut conn).await?;
    ensure!(back == before, "the definitions were\n{before:#?}\nand are, without the new columns,\n{back:#?}\nof\n{after:#?}");
    for orphans in [
        "SELECT COUNT(*) FROM shop.t LEFT JOIN shop.p ON p.id = t.p_id WHERE t.p_id IS NOT NULL AND p.id IS NULL",
        "SELECT COUNT(*) FROM shop.c LEFT JOIN shop.t ON t.id = c.t_id WHERE t.id IS NULL",
        "SELECT COUNT(*) FROM other.c c LEFT JOIN shop.t ON t.id = c.t_id WHERE c.t_id IS NOT NULL AND t.id IS NULL",
        "SELECT COUNT(*) FROM other.c c LEFT JOIN shop.t ON t.id = c.w WHERE c.w IS NOT NULL AND t.id IS NULL",
    ] {
        let count: Option<i64> = conn.query_first(orphans).await?;
        ensure!(count == Some(0), "{count:?} rows without a parent: {orphans}");
    }
    for (statement, code) in [
        ("INSERT INTO shop.c (t_id) VALUES (999999999)", 1452),
        ("INSERT INTO other.c (w) VALUES (999999999)", 1452),
        ("INSERT INTO shop.t (p_id) VALUES (999999999)", 1452),
        ("INSERT INTO shop.t (up) VALUES (999999999)", 1452),
    ] {
        match conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(error)) if error.code == code => {}
            other => anyhow::bail!("{statement} gave {other:?}"),
        }
    }
    Ok(())
}

async fn writes_on_both_sides_across_swaps(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 8], plan(kind));
    let mut admin = lab.admin().await?;
    for alter in
        ["ADD COLUMN z INT NOT NULL DEFAULT 1", "MODIFY v BIGINT NOT NULL DEFAULT 0", "DROP COLUMN z, MODIFY v INT NOT NULL DEFAULT 0"]
    {
        writers.more(100).await?;
        let id = admin.migrate(TABLE, alter, "WITH strategy = 'copy', max_hold_ms = 5000").await?;
        admin.wait_done(id, LONG).await?;
    }
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, &[]).await?;
    lab.assert_nothing_left().await
}

async fn writers_round_the_proxy_meet_no_half_tied_child(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let (proxy, server) = (lab.proxy.port, lab.server.port);
    let writers = Writers::start(&[proxy, server, server, server, server, server], plan(kind));
    let mut admin = lab.admin().await?;
    for nth in 0..6 {
        let alter = if nth % 2 == 0 { "ADD COLUMN z INT" } else { "DROP COLUMN z" };
        writers.more(50).await?;
        let id = admin.migrate(TABLE, alter, "WITH strategy = 'copy', max_hold_ms = 5000").await?;
        admin.wait_done(id, LONG).await?;
    }
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, &[]).await?;
    lab.assert_nothing_left().await
}

async fn called_off_attempts_leave_them_as_they_were(kind: Kind) -> Result<()> {
    let points = "cutover.tied=error*1;cutover.rename_issued=error*1;cutover.untying=error*1;cutover.renamed=error*1";
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_FAILPOINTS", points)]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], plan(kind));
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', max_hold_ms = 5000").await?;
    let status = admin.wait_done(id, LONG).await?;
    ensure!(status.number("cutover_attempts") >= 3.0, "the failpoints were not reached: {status:?}");
    writers.end_without_an_error().await?;
    judge(&lab.server, &before, &["DROP COLUMN z"]).await?;
    lab.assert_nothing_left().await
}

/// Where an attempt stands, and whose connection dies there.
fn losses(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::MySql => &[("cutover.tied", "lock"), ("cutover.rename_issued", "lock"), ("cutover.renamed", "lock")],
        Kind::MariaDb => &[
            ("cutover.tied", "lock"),
            ("cutover.tied", "warden"),
            ("cutover.rename_issued", "rename"),
            ("cutover.rename_issued", "warden"),
            ("cutover.sentry_dropped", "lock"),
            ("cutover.sentry_dropped", "rename"),
            ("cutover.sentry_dropped", "warden"),
            ("cutover.renamed", "warden"),
        ],
    }
}

async fn lost_connections_leave_none_astray(kind: Kind) -> Result<()> {
    let (lab, failpoints) = Lab::with_failpoints(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], plan(kind));
    let mut admin = lab.admin().await?;
    for (nth, (point, whose)) in losses(kind).iter().enumerate() {
        let alter = if nth % 2 == 0 { "ADD COLUMN z INT" } else { "DROP COLUMN z" };
        failpoints.stop_at(point)?;
        let id = admin.migrate(TABLE, alter, "WITH strategy = 'copy', max_hold_ms = 5000").await?;
        failpoints.stopped(LONG).await?;
        lab.server.kill_holder(&format!("tidegate {whose} {id}")).await?;
        failpoints.go()?;
        admin.wait_done(id, LONG).await.with_context(|| format!("{point}, {whose}"))?;
        writers.more(20).await?;
    }
    writers.end_without_an_error().await?;
    let back = if losses(kind).len().is_multiple_of(2) { &[][..] } else { &["DROP COLUMN z"][..] };
    judge(&lab.server, &before, back).await?;
    lab.assert_nothing_left().await
}

async fn proxy_dies_tied(kind: Kind) -> Result<()> {
    proxy_dies(kind, "cutover.tied").await
}

async fn proxy_dies_renamed_and_tied(kind: Kind) -> Result<()> {
    proxy_dies(kind, "cutover.renamed").await
}

async fn proxy_dies_untied(kind: Kind) -> Result<()> {
    proxy_dies(kind, "cutover.unlocked").await
}

async fn proxy_dies_tied_on_the_way_back(kind: Kind) -> Result<()> {
    proxy_dies_swapping_back(kind, "cutover.tied").await
}

async fn proxy_dies_renamed_back_and_tied(kind: Kind) -> Result<()> {
    proxy_dies_swapping_back(kind, "cutover.renamed").await
}

/// A column of a foreign key changes its name.
const OTHER_NAMES: &str = "CHANGE p_id parent INT, ADD COLUMN z INT";
const WINDOW: &str = "WITH strategy = 'copy', revert_window_s = 3600, max_hold_ms = 5000";

/// Clients know the columns by the names that they have before and after: those of `t` alone are written by one that knows both.
fn turn_of_children(client: usize, number: usize) -> Vec<String> {
    match number % 3 {
        0 => vec![
            "BEGIN".into(),
            format!("INSERT INTO shop.t (v) VALUES ({client})"),
            "SET @id = LAST_INSERT_ID()".into(),
            "INSERT INTO shop.c (t_id) VALUES (@id)".into(),
            "INSERT INTO other.c (t_id, w) VALUES (@id, @id)".into(),
            "COMMIT".into(),
        ],
        1 => vec![format!("UPDATE shop.t SET v = v + 1000 WHERE v % 1000 = {client} AND up IS NULL ORDER BY id DESC LIMIT 1")],
        _ => vec![format!("DELETE FROM shop.t WHERE v = {client} ORDER BY id LIMIT 1")],
    }
}

const OF_CHILDREN: Plan = Plan { turn: turn_of_children, forgiven: &[1213] };

async fn swapped(admin: &mut Admin, id: u64, times: u64) -> Result<()> {
    let until = std::time::Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        if status.phase() == "reversible" && status.text("swaps") == times.to_string() {
            return Ok(());
        }
        ensure!(
            status.phase() != "parked" && !status.is_final() && std::time::Instant::now() < until,
            "not swapped {times} times: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn swapped_back_and_forth_with_writers_on_both_sides(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 8], OF_CHILDREN);
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, OTHER_NAMES, WINDOW).await?;
    for swaps in 1..=4 {
        swapped(&mut admin, id, swaps).await?;
        writers.more(150).await?;
        let mut conn = lab.server.connect().await?;
        let altered = definitions(&mut conn).await?;
        ensure!((altered == before) == (swaps % 2 == 0), "after {swaps} swaps the definitions are {altered:#?}");
        ensure!(altered[2..] == before[2..], "after {swaps} swaps the children are {altered:#?}");
        let astray: Option<u64> =
            conn.query_first("SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA LIKE '~%'").await?;
        ensure!(astray == Some(0), "{astray:?} foreign keys of a table that only follows");
        if swaps < 4 {
            admin.run(&format!("REVERT MIGRATION {id}")).await?;
        }
    }
    writers.end_without_an_error().await?;
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    judge(&lab.server, &before, &[]).await?;
    lab.assert_nothing_left().await
}

/// The proxy dies there on the way back, and is started again.
async fn proxy_dies_swapping_back(kind: Kind, point: &str) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let mut proxy = Proxy::prepare(&server.address(), &[])?;
    proxy.launch(&[]).await?;
    let mut lab = Lab { proxy, server };
    let before = prepare(&lab.server).await?;
    let id = lab.admin().await?.migrate(TABLE, OTHER_NAMES, WINDOW).await?;
    swapped(&mut lab.admin().await?, id, 1).await?;
    lab.proxy.kill_hard();
    lab.proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], OF_CHILDREN);
    writers.more(50).await?;
    let mut admin = lab.admin().await?;
    swapped(&mut admin, id, 1).await?;
    // Its answer is lost with the proxy.
    let _ = admin.run(&format!("REVERT MIGRATION {id}")).await;
    lab.proxy.ended(LONG).await.with_context(|| format!("failpoint {point} was not reached; log:\n{}", lab.proxy.log()))?;
    lab.proxy.launch(&[]).await?;
    let mut admin = lab.admin().await?;
    swapped(&mut admin, id, 2).await?;
    writers.more(50).await?;
    let errors = writers.stop().await?;
    let wrong: Vec<&String> = errors.iter().filter(|error| REFUSED.iter().any(|code| error.contains(&format!("ERROR {code}")))).collect();
    ensure!(wrong.is_empty(), "writes were refused that break no key: {wrong:?}");
    admin.run(&format!("CLEANUP MIGRATION {id}")).await?;
    admin.wait_phase(id, &["reverted"], LONG).await?;
    judge(&lab.server, &before, &[]).await?;
    lab.assert_nothing_left().await
}

const PLAIN: [&str; 5] = [
    "CREATE DATABASE shop",
    "CREATE TABLE shop.p (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
    "INSERT INTO shop.p (id) VALUES (1), (2), (3)",
    "CREATE TABLE shop.t (id INT PRIMARY KEY, p_id INT, up INT)",
    "INSERT INTO shop.t VALUES (1, 1, NULL), (2, 2, 1), (3, NULL, 2)",
];
const BOTH: &str = "ADD CONSTRAINT t_p FOREIGN KEY (p_id) REFERENCES p (id), ADD CONSTRAINT t_up FOREIGN KEY (up) REFERENCES t (id)";

/// What breaks a new key after everything was copied and compared is met under the lock, as the server's own ALTER would meet it.
async fn added_ones_are_proved_under_the_lock(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    lab.sql(&PLAIN).await?;
    let mut conn = lab.server.connect().await?;
    let mut admin = lab.admin().await?;
    let before = definition(&mut conn, TABLE).await?;
    for (breaks, mends) in [
        ("INSERT INTO shop.t VALUES (9, 99, NULL)", "DELETE FROM shop.t WHERE id = 9"),
        ("DELETE FROM shop.p WHERE id = 2", "INSERT INTO shop.p (id) VALUES (2)"),
        ("UPDATE shop.t SET up = 77 WHERE id = 3", "UPDATE shop.t SET up = 2 WHERE id = 3"),
    ] {
        let id = admin.migrate(TABLE, BOTH, "WITH strategy = 'copy', postpone = true, max_hold_ms = 3000").await?;
        admin.wait_phase(id, &["ready"], LONG).await?;
        conn.query_drop(breaks).await?;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        let status = admin.wait_phase(id, &["failed"], LONG).await.context(breaks)?;
        ensure!(status.error_code() == 1452, "{breaks}: {status:?}");
        ensure!(definition(&mut conn, TABLE).await? == before, "{breaks}: the table was changed");
        // As the server says.
        let Err(mysql_async::Error::Server(error)) = conn.query_drop(format!("ALTER TABLE {TABLE} {BOTH}")).await else {
            anyhow::bail!("{breaks}: the server itself takes it");
        };
        ensure!(error.code == 1452, "{breaks}: {error}");
        let refused = admin.migrate(TABLE, BOTH, "WITH strategy = 'copy'").await.err().context("it was taken")?;
        let (code, text) = crate::support::admin::server_error(&refused).context("no error of a server")?;
        ensure!(code == 1452 && text.contains("no parent"), "{code} {text}");
        conn.query_drop(mends).await?;
        lab.assert_nothing_left().await?;
    }
    let id = admin.migrate(TABLE, BOTH, "WITH strategy = 'copy', max_hold_ms = 3000").await?;
    admin.wait_done(id, LONG).await?;
    for (statement, code) in [
        ("INSERT INTO shop.t VALUES (9, 99, NULL)", 1452),
        ("INSERT INTO shop.t VALUES (9, NULL, 99)", 1452),
        ("DELETE FROM shop.p WHERE id = 2", 1451),
    ] {
        match conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(error)) if error.code == code => {}
            other => anyhow::bail!("{statement} gave {other:?}"),
        }
    }
    // What the server cannot make is refused in its words.
    for alter in ["ADD FOREIGN KEY (p_id) REFERENCES nowhere (id)", "ADD FOREIGN KEY (p_id) REFERENCES p (v)"] {
        let error = admin.migrate(TABLE, alter, "WITH strategy = 'copy'").await.err().with_context(|| format!("{alter} was taken"))?;
        let (code, text) = crate::support::admin::server_error(&error).context("no error of a server")?;
        let Err(mysql_async::Error::Server(own)) = conn.query_drop(format!("ALTER TABLE {TABLE} {alter}")).await else {
            anyhow::bail!("{alter}: the server itself takes it");
        };
        ensure!(code == own.code && text == own.message, "{alter}: {code} {text}, and the server says {own}");
    }
    lab.assert_nothing_left().await
}

/// Parents come and go and rows with them, never in an order that breaks the key; it must not be found broken.
async fn added_ones_have_their_place_among_writers(kind: Kind) -> Result<()> {
    fn turn(client: usize, number: usize) -> Vec<String> {
        let (id, next) = (1000 * (client + 1) + number % 50, 1000 * (client + 1) + (number + 1) % 50);
        match number % 2 {
            0 => vec![
                format!("INSERT IGNORE INTO shop.p (id) VALUES ({id})"),
                format!("REPLACE INTO shop.t VALUES ({id}, {id}, NULL)"),
                format!("UPDATE shop.t SET p_id = {id}, up = {id} WHERE id = {id}"),
            ],
            _ => vec![
                format!("UPDATE shop.t SET p_id = NULL, up = NULL WHERE id = {}", id - 1),
                format!("DELETE FROM shop.t WHERE id = {}", id - 1),
                format!("DELETE FROM shop.p WHERE id = {}", id - 1),
                format!("INSERT IGNORE INTO shop.p (id) VALUES ({next})"),
            ],
        }
    }
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    lab.sql(&PLAIN).await?;
    let mut conn = lab.server.connect().await?;
    conn.query_drop("CREATE TABLE shop.twin LIKE shop.t").await?;
    conn.query_drop(format!("ALTER TABLE shop.twin {}", BOTH.replace("t_", "twin_").replace("REFERENCES t ", "REFERENCES twin "))).await?;
    let twin = definition(&mut conn, "shop.twin").await?.replace("twin", "t");
    let writers = Writers::start(&[lab.proxy.port; 8], Plan { turn, forgiven: &[1213] });
    let mut admin = lab.admin().await?;
    writers.more(200).await?;
    let id = admin.migrate(TABLE, BOTH, "WITH strategy = 'copy', max_hold_ms = 3000").await?;
    admin.wait_done(id, LONG).await?;
    writers.end_without_an_error().await?;
    let after = definition(&mut conn, TABLE).await?;
    ensure!(after == twin, "the server's own ALTER gives\n{twin}\nand the migration\n{after}");
    lab.assert_nothing_left().await
}

/// The proxy dies there and is started again; all clients go through it.
async fn proxy_dies(kind: Kind, point: &str) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let mut proxy = Proxy::prepare(&server.address(), &[])?;
    proxy.launch(&[("TIDEGATE_FAILPOINTS", &format!("{point}=abort"))]).await?;
    let mut lab = Lab { proxy, server };
    let before = prepare(&lab.server).await?;
    let writers = Writers::start(&[lab.proxy.port; 4], plan(kind));
    writers.more(50).await?;
    // The answer to MIGRATE may be lost where the proxy dies at once.
    let _ = lab.admin().await?.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', max_hold_ms = 5000").await;
    lab.proxy.ended(LONG).await.with_context(|| format!("failpoint {point} was not reached; log:\n{}", lab.proxy.log()))?;
    lab.proxy.launch(&[]).await?;
    writers.more(50).await?;
    let mut admin = lab.admin().await?;
    let id = admin.rows("SHOW MIGRATIONS").await?.first().context("the migration is gone")?.id();
    admin.wait_done(id, LONG).await?;
    writers.more(50).await?;
    let errors = writers.stop().await?;
    let wrong: Vec<&String> = errors.iter().filter(|error| REFUSED.iter().any(|code| error.contains(&format!("ERROR {code}")))).collect();
    ensure!(wrong.is_empty(), "writes were refused that break no key: {wrong:?}");
    judge(&lab.server, &before, &["DROP COLUMN z"]).await?;
    lab.assert_nothing_left().await
}

async fn what_cannot_be_carried_over_is_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[]).await?;
    let before = prepare(&lab.server).await?;
    let mut admin = lab.admin().await?;
    let mut refused = async |alter: &str, options: &str, code: u16, words: &str| -> Result<()> {
        let error = admin.migrate(TABLE, alter, options).await.err().with_context(|| format!("{alter} {options} was taken"))?;
        let (said, text) = crate::support::admin::server_error(&error).context("no error of a server")?;
        ensure!(said == code && text.contains(words), "{alter} {options}: {said} {text}");
        Ok(())
    };
    refused("DROP FOREIGN KEY t_up", "WITH strategy = 'copy', revert_window_s = 60", 1235, "revert_window_s = 0").await?;
    let another = "ADD CONSTRAINT t_again FOREIGN KEY (p_id) REFERENCES p (id)";
    refused(another, "WITH strategy = 'copy', revert_window_s = 60", 1235, "revert_window_s = 0").await?;
    let (other_way, words) = if kind == Kind::MySql { ("sentry", "locked_rename") } else { ("sentry_locked_shadow", "'sentry'") };
    refused("ADD COLUMN z INT", &format!("WITH strategy = 'copy', cutover = '{other_way}'"), 1235, words).await?;
    refused("ADD FOREIGN KEY (v) REFERENCES p (id)", "WITH strategy = 'copy'", 1452, "no parent in shop.p").await?;
    // As the server's own ALTER says.
    let (code, words) = if kind == Kind::MySql { (3780, "incompatible") } else { (1833, "foreign key constraint") };
    refused("MODIFY id INT AUTO_INCREMENT", "WITH strategy = 'copy'", code, words).await?;
    // Not both sides of one foreign key at a time.
    let id = admin.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy', postpone = true").await?;
    // A child whose rows a cascade changes is refused for that on MariaDB.
    let others = if kind == Kind::MySql { &["shop.p", "other.c"][..] } else { &["shop.p"][..] };
    for other in others {
        let error = admin.migrate(other, "ADD COLUMN z INT", "WITH strategy = 'copy'").await.err().context("it was taken")?;
        let (code, text) = crate::support::admin::server_error(&error).context("no error of a server")?;
        ensure!(code == 1235 && text.contains(&format!("migration {id} runs on {TABLE}")), "{code} {text}");
    }
    admin.run(&format!("CANCEL MIGRATION {id}")).await?;
    admin.wait_phase(id, &["cancelled"], LONG).await?;
    judge(&lab.server, &before, &[]).await?;
    lab.assert_nothing_left().await?;
    // InnoDB's own cascades are not in the log (F10).
    let native = if kind == Kind::MySql { vec!["--innodb-native-foreign-keys=1".to_owned()] } else { Vec::new() };
    let lab = Lab::start_with(kind, Settings { more: native, ..Settings::default() }, &[]).await?;
    prepare(&lab.server).await?;
    if kind == Kind::MariaDb {
        let key = "ALTER TABLE shop.t ADD CONSTRAINT t_p FOREIGN KEY (p_id) REFERENCES shop.p (id)";
        lab.sql(&["ALTER TABLE shop.t DROP FOREIGN KEY t_p", &format!("{key}{CASCADE}")]).await?;
    }
    let error = lab.admin().await?.migrate(TABLE, "ADD COLUMN z INT", "WITH strategy = 'copy'").await.err().context("it was taken")?;
    let (code, text) = crate::support::admin::server_error(&error).context("no error of a server")?;
    ensure!(code == 1235 && text.contains("t_p") && text.contains("binary log"), "{code} {text}");
    lab.assert_nothing_left().await
}
