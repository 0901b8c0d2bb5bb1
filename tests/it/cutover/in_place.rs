//! ALTERs that the server makes in its dictionary: behind the gate, by the server's own rules, noticed by nobody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::obstacles::nobody_was_held_for_long;
use crate::support::admin::{Status, server_error};
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::load::Options;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, compare};

on_both_servers!(
    alters_in_place_are_the_servers_own_and_nobody_notices,
    what_the_server_does_not_do_in_place_is_copied_or_refused,
    tables_that_cannot_be_copied_are_altered_in_place,
    the_real_table_has_the_last_word,
    somebody_who_has_the_table_open_delays_the_alter_and_nobody_waits,
    old_snapshots_see_what_they_would_see_on_a_direct_connection,
    a_table_that_others_alter_meanwhile_is_proved_anew,
    statements_that_would_break_are_waited_for,
);

const LONG: Duration = Duration::from_secs(60);

const IN_PLACE: [&str; 3] = ["instant", "inplace", "nocopy"];

async fn twin(lab: &Lab, specification: &str) -> Result<String> {
    let mut conn = lab.server.connect().await?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "orders", false).await?;
    let refusal = compare::alter_twin(&mut conn, &twin, specification).await?;
    ensure!(refusal.is_none(), "the server itself refuses {specification}: {refusal:?}");
    Ok(twin)
}

/// Migrates to the end; the last status.
async fn done(admin: &mut Admin, alter: &str, options: &str) -> Result<Status> {
    let id = admin.migrate(TABLE, alter, options).await.with_context(|| alter.to_owned())?;
    admin.wait_done(id, LONG).await.with_context(|| alter.to_owned())
}

/// Dictionary changes of every kind, each beginning where the one before ended.
const ALTERS: [&str; 15] = [
    "ADD COLUMN note VARCHAR(64)",
    "ADD COLUMN flags INT UNSIGNED NOT NULL DEFAULT 7 AFTER seq, ALGORITHM=INSTANT",
    "ADD COLUMN twice BIGINT GENERATED ALWAYS AS (counter * 2) VIRTUAL",
    "ALTER COLUMN flags SET DEFAULT 9",
    "RENAME COLUMN note TO remark",
    "RENAME COLUMN remark TO flags, RENAME COLUMN flags TO remark",
    "MODIFY payload VARCHAR(300)",
    "COMMENT = 'orders of the ''shop'' AUTO_INCREMENT=5'",
    "DROP COLUMN twice",
    "ADD COLUMN first_of_all DATETIME(3) NULL FIRST",
    "DROP COLUMN first_of_all, DROP COLUMN flags",
    "ALTER COLUMN remark SET DEFAULT 3",
    "ALTER COLUMN remark SET DEFAULT 3",
    "DROP COLUMN remark",
    "DROP INDEX client_seq",
];

async fn alters_in_place_are_the_servers_own_and_nobody_notices(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")]).await?;
    let load = lab.load(3000, &Options { transactions: 30, ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    for alter in ALTERS {
        let before = compare::definition(&mut lab.server.connect().await?, TABLE).await?;
        let twin = twin(&lab, alter).await?;
        let status = done(&mut admin, alter, "").await?;
        // The payload may be too wide for the server to do this one in place.
        let is_in_place = IN_PLACE.contains(&status.text("strategy"));
        ensure!(is_in_place || alter.starts_with("MODIFY"), "{alter} went another way: {status:?}\n{before}");
        ensure!(!is_in_place || status.number("rows_copied") == 0.0, "{status:?}");
        ensure!(!is_in_place || status.text("steps").contains("alter "), "{status:?}");
        lab.assert_like_twin(&twin).await.context(alter)?;
        load.more_statements(100).await?;
    }
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&["held"])
}

/// What the server answers to an ALTER of a copy of the table that is made here and now.
async fn native(lab: &Lab, specification: &str) -> Result<Option<u16>> {
    let mut conn = lab.server.connect().await?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "orders", false).await?;
    Ok(compare::alter_twin(&mut conn, &twin, specification).await?.map(|(code, _)| code))
}

async fn refusal(admin: &mut Admin, table: &str, alter: &str, options: &str) -> Result<(u16, String)> {
    let error = admin.migrate(table, alter, options).await.err().with_context(|| format!("{alter} {options} was taken"))?;
    server_error(&error).context("no answer of the admin port")
}

async fn what_the_server_does_not_do_in_place_is_copied_or_refused(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    let mut admin = lab.admin().await?;
    let before = compare::definition(&mut lab.server.connect().await?, TABLE).await?;
    for alter in ["ADD INDEX (payload)", "MODIFY counter BIGINT NOT NULL DEFAULT 1", "FORCE", "ADD COLUMN customer_id INT", "nonsense"] {
        let wanted = native(&lab, &format!("{alter}, ALGORITHM=INSTANT")).await?.context("the server would do it at once")?;
        let (code, message) = refusal(&mut admin, TABLE, alter, "WITH strategy = 'instant'").await?;
        ensure!(code == wanted, "{alter}: {code} {message}, and the server itself says {wanted}");
    }
    ensure!(compare::definition(&mut lab.server.connect().await?, TABLE).await? == before);
    lab.assert_nothing_left().await?;
    for (alter, options) in [
        ("ADD INDEX by_payload (payload)", ""),
        ("ADD COLUMN a INT", "WITH strategy = 'copy'"),
        ("ADD COLUMN b INT, ALGORITHM=COPY", ""),
        ("ADD COLUMN c INT", "WITH revert_window_s = 1"),
    ] {
        let status = done(&mut admin, alter, options).await?;
        ensure!(status.text("strategy") == "copy" && status.text("steps").contains("rename"), "{alter} {options}: {status:?}");
    }
    for (alter, options) in [
        ("ADD COLUMN d INT, ALGORITHM=COPY", "WITH strategy = 'instant'"),
        ("ADD COLUMN d INT", "WITH strategy = 'instant', revert_window_s = 9"),
    ] {
        let (code, message) = refusal(&mut admin, TABLE, alter, options).await?;
        ensure!(code == 1235, "{code} {message}");
    }
    // There is no way back, and it says why.
    let id = done(&mut admin, "ADD COLUMN d INT", "").await?.id();
    let error = admin.run(&format!("REVERT MIGRATION {id}")).await.err().context("an ALTER in place was reverted")?;
    ensure!(server_error(&error).is_some_and(|(_, message)| message.contains("in place")), "{error:#}");
    // By the configuration it is the same.
    let second = crate::support::Proxy::start(&lab.server.address(), &[("TIDEGATE_MIGRATIONS_STRATEGY", "copy")]).await?;
    let mut admin = second.admin().await?;
    let status = done(&mut admin, "ADD COLUMN e INT", "").await?;
    ensure!(status.text("strategy") == "copy", "{status:?}");
    lab.assert_nothing_left().await
}

/// Without any unique key rows cannot be followed; the server alters the table all the same.
async fn tables_that_cannot_be_copied_are_altered_in_place(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (a INT, b INT) ENGINE=InnoDB",
        "INSERT INTO shop.orders VALUES (1, 2), (1, 2)",
    ])
    .await?;
    let mut admin = lab.admin().await?;
    let twin = twin(&lab, "ADD COLUMN c INT DEFAULT 3").await?;
    let status = done(&mut admin, "ADD COLUMN c INT DEFAULT 3", "").await?;
    ensure!(status.text("strategy") == "instant", "{status:?}");
    lab.assert_like_twin(&twin).await?;
    let (code, message) = refusal(&mut admin, TABLE, "ADD INDEX (a)", "").await?;
    ensure!(code == 1173, "{code} {message}");
    let (code, message) = refusal(&mut admin, "shop.nothing", "ADD COLUMN c INT", "WITH strategy = 'instant'").await?;
    ensure!(code == 1146, "{code} {message}");
    lab.assert_nothing_left().await
}

/// What is true of an empty copy need not be true of the table: MySQL keeps a limited number of versions of a table, and foreign keys are
/// not on the copy.
async fn the_real_table_has_the_last_word(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    if kind == Kind::MySql {
        let mut conn = lab.server.connect().await?;
        let mut refused = None;
        for n in 0..300 {
            if let Err(error) = conn.query_drop(format!("ALTER TABLE {TABLE} ADD COLUMN v{n} INT, ALGORITHM=INSTANT")).await {
                refused = Some(error);
                break;
            }
        }
        let Some(mysql_async::Error::Server(native)) = refused else { anyhow::bail!("the server took 300 versions") };
        let mut admin = lab.admin().await?;
        let id = admin.migrate(TABLE, "ADD COLUMN more INT", "WITH strategy = 'instant'").await?;
        let failed = admin.wait_phase(id, &["failed"], LONG).await?;
        ensure!(failed.error_code() == native.code, "{failed:?}, and the server itself says {native:?}");
        lab.assert_nothing_left().await?;
        let status = done(&mut admin, "ADD COLUMN more INT", "").await?;
        ensure!(status.text("strategy") == "copy" && status.number("rows_copied") == 300.0, "{status:?}");
    } else {
        // A child's foreign key is not on the copy.
        lab.sql(&[
            "CREATE TABLE shop.child (id INT PRIMARY KEY, customer_id BIGINT, KEY (customer_id)) ENGINE=InnoDB",
            "CREATE TABLE shop.parent (id BIGINT PRIMARY KEY) ENGINE=InnoDB",
            "ALTER TABLE shop.child ADD CONSTRAINT fk FOREIGN KEY (customer_id) REFERENCES shop.parent (id)",
        ])
        .await?;
        let mut conn = lab.server.connect().await?;
        let alter = "MODIFY customer_id BIGINT NULL COMMENT 'of whom', DROP INDEX customer_id";
        let native = conn.query_drop(format!("ALTER TABLE shop.child {alter}, ALGORITHM=NOCOPY")).await;
        let Err(mysql_async::Error::Server(native)) = native else { anyhow::bail!("the server takes it: {native:?}") };
        let mut admin = lab.admin().await?;
        let id = admin.migrate("shop.child", alter, "WITH strategy = 'instant'").await?;
        let failed = admin.wait_phase(id, &["failed"], LONG).await?;
        ensure!(failed.error_code() == native.code, "{failed:?}, and the server itself says {native:?}");
    }
    lab.assert_nothing_left().await
}

async fn somebody_who_has_the_table_open_delays_the_alter_and_nobody_waits(kind: Kind) -> Result<()> {
    let more = if kind == Kind::MariaDb { vec!["--plugin-load-add=metadata_lock_info".to_owned()] } else { Vec::new() };
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    let load = lab.load(1000, &Options { clients: 8, ..Options::default() }).await?;
    let mut admin = lab.admin().await?;
    let insert = "INSERT INTO shop.orders (id, customer_id, client, seq) VALUES (-7, 0, -1, 0)";
    let obstacles: [(&str, bool, &[&str], &str); 4] = [
        ("a reader through the proxy", true, &["BEGIN", "SELECT COUNT(*) FROM shop.orders"], "COMMIT"),
        ("a reader round it", false, &["BEGIN", "SELECT COUNT(*) FROM shop.orders"], "COMMIT"),
        ("a stuck transaction", false, &["BEGIN", insert], "ROLLBACK"),
        ("a prepared XA transaction", false, &["XA START 'x'", insert, "XA END 'x'", "XA PREPARE 'x'"], "XA ROLLBACK 'x'"),
    ];
    for (n, (what, is_proxied, statements, end)) in obstacles.iter().enumerate() {
        let id = admin.migrate(TABLE, &format!("ADD COLUMN c{n} INT"), "WITH postpone = true").await?;
        admin.wait_phase(id, &["ready"], LONG).await?;
        let mut conn = if *is_proxied { lab.proxy.connect().await? } else { lab.server.connect().await? };
        for statement in *statements {
            conn.query_drop(*statement).await?;
        }
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        let until = Instant::now() + LONG;
        loop {
            let status = admin.status(id).await?;
            ensure!(!status.is_final(), "{what}: the table was altered under it: {status:?}");
            if status.text("note").contains(&format!("connection {}", conn.id())) {
                break;
            }
            ensure!(Instant::now() < until, "{what} is not named: {status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        load.more_statements(300).await?;
        conn.query_drop(*end).await?;
        admin.wait_done(id, LONG).await.context(*what)?;
    }
    // One that the server ends, and that holds nobody: young enough for an attempt, it comes when the gate is drained.
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    nobody_was_held_for_long(&lab.proxy).await?;
    lab.assert_nothing_left().await
}

/// What a transaction reads that has a snapshot from before the ALTER.
async fn read(conn: &mut Conn) -> Result<Result<Option<u64>, u16>> {
    match conn.query_first("SELECT COUNT(*) FROM shop.orders").await {
        Ok(count) => Ok(Ok(count)),
        Err(mysql_async::Error::Server(error)) => Ok(Err(error.code)),
        Err(error) => Err(error.into()),
    }
}

async fn old_snapshots_see_what_they_would_see_on_a_direct_connection(kind: Kind) -> Result<()> {
    // Where the server shows who has the table open, a transaction that is older than the gate and has not is not waited for.
    let more = if kind == Kind::MariaDb { vec!["--plugin-load-add=metadata_lock_info".to_owned()] } else { Vec::new() };
    let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &[]).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    let mut admin = lab.admin().await?;
    for (n, level) in ["REPEATABLE READ", "SERIALIZABLE", "READ COMMITTED"].into_iter().enumerate() {
        for alter in [format!("ADD COLUMN c{n} INT DEFAULT 5"), format!("ALTER COLUMN c{n} SET DEFAULT 6"), format!("DROP COLUMN c{n}")] {
            let (mut direct, mut proxied) = (lab.server.connect().await?, lab.proxy.connect().await?);
            for conn in [&mut direct, &mut proxied] {
                conn.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).await?;
                conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
                // Another table: the snapshot is there, and nothing is locked.
                conn.query_drop("SELECT COUNT(*) FROM mysql.help_topic").await?;
            }
            let status = done(&mut admin, &alter, "WITH strategy = 'instant'").await?;
            ensure!(status.number("cutover_attempts") >= 1.0);
            let (wanted, got) = (read(&mut direct).await?, read(&mut proxied).await?);
            ensure!(wanted == got, "{level}, {alter}: {got:?} through the proxy, {wanted:?} directly");
            ensure!(matches!(got, Ok(Some(300)) | Err(1412)), "{got:?}");
        }
    }
    lab.assert_nothing_left().await
}

/// Between the proof and the attempt, round the proxy: the server judges anew, and a wish that came true already is its error.
async fn a_table_that_others_alter_meanwhile_is_proved_anew(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "ADD COLUMN ours INT", "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    lab.sql(&[&format!("ALTER TABLE {TABLE} ADD COLUMN theirs INT")]).await?;
    let twin_of_both = twin(&lab, "ADD COLUMN ours INT").await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let status = admin.wait_done(id, LONG).await?;
    ensure!(IN_PLACE.contains(&status.text("strategy")), "{status:?}");
    lab.assert_like_twin(&twin_of_both).await?;
    // The same column.
    let id = admin.migrate(TABLE, "ADD COLUMN same INT", "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    lab.sql(&[&format!("ALTER TABLE {TABLE} ADD COLUMN same INT")]).await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let status = admin.wait_phase(id, &["failed"], LONG).await?;
    ensure!(status.error_code() == 1060, "{status:?}");
    lab.assert_nothing_left().await
}

async fn statements_that_would_break_are_waited_for(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    crate::migrations::quiet_table(&lab, 300).await?;
    lab.sql(&[&format!("ALTER TABLE {TABLE} ADD COLUMN gone INT")]).await?;
    let mut admin = lab.admin().await?;
    let id = admin.migrate(TABLE, "DROP COLUMN gone", "WITH postpone = true").await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    let mut conn = lab.proxy.connect().await?;
    conn.query_drop("SELECT gone FROM shop.orders WHERE id = 1").await?;
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let until = Instant::now() + LONG;
    while !admin.status(id).await?.text("breaking").contains("gone") {
        ensure!(Instant::now() < until, "{:?}", admin.status(id).await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
    let status = admin.wait_done(id, LONG).await?;
    ensure!(status.text("strategy") == "instant", "{status:?}");
    lab.assert_nothing_left().await
}
