//! Plain traffic: what a client gets through the proxy is what it gets directly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::{Query, Queryable, WithParams};
use mysql_async::{ChangeUserOpts, Conn, Opts, OptsBuilder, Row, Value};

use crate::support::admin::server_error;
use crate::support::lab::{Lab, SCHEMA};
use crate::support::load::{Load, Options, table};
use crate::support::process::run;
use crate::support::servers::{APP, Settings, options, program};
use crate::support::{Kind, metrics};

on_both_servers!(
    results_are_what_a_direct_connection_gives,
    errors_are_the_servers_own,
    prepared_statements_with_every_kind_of_value,
    several_results_of_one_command,
    packets_of_more_than_sixteen_megabytes,
    local_infile_reaches_the_server,
    sessions_are_reset_and_change_users,
    connection_ids_and_kill_work,
    shells_and_dumps_work,
    load_through_the_proxy_is_clean,
    clients_that_vanish_leave_nothing_behind,
    more_than_max_connections_are_refused_politely,
    sigterm_ends_the_proxy_in_time,
);

async fn both(lab: &Lab) -> Result<(Conn, Conn)> {
    Ok((lab.server.connect().await?, lab.proxy.connect().await?))
}

/// Columns with their types and flags, and all values.
type Shape = (Vec<(String, String, u8, u16, u32)>, Vec<Vec<Value>>);

async fn shape(conn: &mut Conn, sql: &str) -> Result<Shape> {
    let mut result = conn.query_iter(sql).await.with_context(|| sql.to_owned())?;
    let columns = result.columns_ref().iter();
    let columns = columns
        .map(|column| {
            let (table, name) = (column.table_str().into_owned(), column.name_str().into_owned());
            (table, name, column.column_type() as u8, column.flags().bits(), column.column_length())
        })
        .collect();
    let rows: Vec<Row> = result.collect().await?;
    Ok((columns, rows.into_iter().map(Row::unwrap).collect()))
}

async fn results_are_what_a_direct_connection_gives(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 3000).await?;
    let (mut direct, mut proxied) = both(&lab).await?;
    for sql in [
        "SELECT 1",
        "SELECT NULL, '', 'x', -1, 1.5, 1e10, x'00ff', NOW() > '2000-01-01', CAST('10:00:00' AS TIME), DATE '2024-02-29'",
        "SELECT id, customer_id, client, seq, counter, amount, status, payload FROM shop.orders ORDER BY id",
        "SELECT * FROM shop.orders WHERE 1 = 0",
        "SELECT REPEAT('a', 250), REPEAT('b', 251), REPEAT('c', 65535), REPEAT('d', 65536)",
        "SELECT REPEAT('x', 100000) FROM shop.orders LIMIT 50",
        "SHOW CREATE TABLE shop.orders",
        "SHOW COLUMNS FROM shop.orders",
        "EXPLAIN SELECT COUNT(*) FROM shop.orders",
        "SELECT /* a comment */ 1 -- and another",
        "DO 1",
        "SET @a = 5",
        "SELECT @a",
    ] {
        ensure!(shape(&mut direct, sql).await? == shape(&mut proxied, sql).await?, "{sql}: the answers differ");
        ensure!(direct.affected_rows() == proxied.affected_rows(), "{sql}: affected rows differ");
    }
    ensure!(direct.server_version() == proxied.server_version());
    lab.proxy.assert_clean_log(&[])
}

async fn errors_are_the_servers_own(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 10).await?;
    let (mut direct, mut proxied) = both(&lab).await?;
    for sql in [
        "SELEKT 1",
        "SELECT * FROM shop.nothing",
        "INSERT INTO shop.orders (id, customer_id, client, seq) VALUES (1, 1, 1, 1)",
        "SELECT id, (SELECT 1 UNION SELECT 2) FROM shop.orders",
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'of our own', MYSQL_ERRNO = 30001",
        "",
    ] {
        let (ours, theirs) = (proxied.query_drop(sql).await, direct.query_drop(sql).await);
        let (Err(mysql_async::Error::Server(ours)), Err(mysql_async::Error::Server(theirs))) = (ours, theirs) else {
            anyhow::bail!("{sql:?} is no error on one of the connections");
        };
        ensure!(
            (ours.code, &ours.message, &ours.state) == (theirs.code, &theirs.message, &theirs.state),
            "{sql:?}: {ours} is not {theirs}"
        );
    }
    let one: Option<u8> = proxied.query_first("SELECT 1").await?;
    ensure!(one == Some(1), "the session does not go on after errors");
    Ok(())
}

async fn prepared_statements_with_every_kind_of_value(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.v (id INT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, s LONGTEXT, b LONGBLOB, t DATETIME(6))",
    ])
    .await?;
    let mut conn = lab.proxy.connect().await?;
    let long = "ü".repeat(700_000);
    let blob = vec![0xff_u8; 300_000];
    for id in 0..50 {
        let values: Vec<Value> = vec![
            id.into(),
            if id % 3 == 0 { Value::NULL } else { i64::MIN.into() },
            u64::MAX.into(),
            1.25_f64.into(),
            if id % 10 == 0 { long.clone().into() } else { "kurz".into() },
            blob[..(id as usize * 100)].to_vec().into(),
            Value::Date(2024, 2, 29, 23, 59, 59, 123_456),
        ];
        conn.exec_drop("INSERT INTO shop.v VALUES (?, ?, ?, ?, ?, ?, ?)", values).await?;
    }
    let sql = "SELECT id, i, u, d, s, b, t FROM shop.v WHERE id >= ? ORDER BY id";
    let (mut direct, mut proxied) = both(&lab).await?;
    let ours: Vec<Row> = sql.with((0,)).fetch(&mut proxied).await?;
    let theirs: Vec<Row> = sql.with((0,)).fetch(&mut direct).await?;
    let values = |rows: Vec<Row>| rows.into_iter().map(Row::unwrap).collect::<Vec<_>>();
    let (ours, theirs) = (values(ours), values(theirs));
    ensure!(ours.len() == 50 && ours == theirs, "binary rows differ");
    // More statements than the client's cache holds: PREPARE and CLOSE in turn.
    for number in 0..200 {
        let answer: Option<i64> = proxied.exec_first(format!("SELECT ? + {number}"), (1,)).await?;
        ensure!(answer == Some(1 + number));
    }
    Ok(())
}

async fn several_results_of_one_command(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE PROCEDURE shop.two() BEGIN SELECT 1; SELECT 2, 3; END"]).await?;
    let mut conn = lab.proxy.connect().await?;
    for (sql, expected) in [("SELECT 1; SELECT 2; DO 0; SELECT 3", vec![1, 2, 3]), ("CALL shop.two()", vec![1, 2])] {
        let mut result = conn.query_iter(sql).await?;
        let mut seen = Vec::new();
        while !result.is_empty() {
            for row in result.collect::<Row>().await? {
                seen.push(row.get::<i32, _>(0).context("no value")?);
            }
        }
        drop(result);
        ensure!(seen == expected, "{sql}: {seen:?}");
    }
    let failing = conn.query_drop("SELECT 1; SELECT * FROM shop.nothing; SELECT 2").await;
    ensure!(matches!(&failing, Err(mysql_async::Error::Server(error)) if error.code == 1146), "{failing:?}");
    let after: Option<u8> = conn.query_first("SELECT 7").await?;
    ensure!(after == Some(7), "the session does not go on after an error among results");
    Ok(())
}

async fn packets_of_more_than_sixteen_megabytes(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.big (id INT PRIMARY KEY, b LONGBLOB)"]).await?;
    let mut conn = lab.proxy.connect().await?;
    // Around the boundary of one packet, and well over it.
    for (id, length) in [(1, (1 << 24) - 40), (2, (1 << 24) - 1), (3, 1 << 24), (4, 35 << 20)] {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        conn.exec_drop("INSERT INTO shop.big VALUES (?, ?)", (id, bytes.clone())).await.with_context(|| format!("{length} bytes in"))?;
        let back: Option<Vec<u8>> = conn.exec_first("SELECT b FROM shop.big WHERE id = ?", (id,)).await?;
        ensure!(back.as_deref() == Some(bytes.as_slice()), "{length} bytes came back changed");
        let text: Option<Vec<u8>> = conn.query_first(format!("SELECT b FROM shop.big WHERE id = {id}")).await?;
        ensure!(text.map(|text| text.len()) == Some(bytes.len()));
    }
    ensure!(lab.proxy.memory_kib() < 400_000, "the proxy holds {} KiB", lab.proxy.memory_kib());
    Ok(())
}

async fn local_infile_reaches_the_server(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.lines (a INT, b VARCHAR(100))"]).await?;
    let mut conn = lab.proxy.connect().await?;
    let lines: String = (0..200_000).map(|number| format!("{number}\tline {number}\n")).collect();
    let length = lines.len();
    conn.set_infile_handler(async move {
        let chunks = lines.into_bytes().chunks(100_000).map(|chunk| Ok(chunk.to_vec().into())).collect::<Vec<_>>();
        Ok(Box::pin(futures_util::stream::iter(chunks)) as _)
    });
    conn.query_drop("LOAD DATA LOCAL INFILE 'lines' INTO TABLE shop.lines").await.with_context(|| format!("{length} bytes"))?;
    ensure!(conn.affected_rows() == 200_000, "{} rows", conn.affected_rows());
    let sum: Option<u64> = conn.query_first("SELECT SUM(a) FROM shop.lines").await?;
    ensure!(sum == Some(199_999 * 100_000));
    Ok(())
}

async fn sessions_are_reset_and_change_users(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE USER other@'%' IDENTIFIED BY 'other-pw'", "GRANT SELECT ON shop.* TO other@'%'"]).await?;
    let mut conn = lab.proxy.connect().await?;
    conn.query_drop("SET @mine = 5").await?;
    conn.query_drop("BEGIN").await?;
    ensure!(conn.reset().await?, "RESET was not taken");
    let mine: Option<Option<i64>> = conn.query_first("SELECT @mine").await?;
    ensure!(mine == Some(None), "the session's variable survived a reset: {mine:?}");
    conn.change_user(
        ChangeUserOpts::new().with_user(Some("other".into())).with_pass(Some("other-pw".into())).with_db_name(Some("shop".into())),
    )
    .await?;
    let who: Option<(String, String)> = conn.query_first("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1), DATABASE()").await?;
    ensure!(who == Some(("other".into(), "shop".into())), "{who:?}");
    conn.ping().await?;
    let wrong = conn.change_user(ChangeUserOpts::new().with_user(Some("other".into())).with_pass(Some("wrong".into()))).await;
    ensure!(matches!(&wrong, Err(mysql_async::Error::Server(error)) if error.code == 1045), "{wrong:?}");
    let database: Opts = OptsBuilder::from_opts(options(lab.proxy.port, APP)).db_name(Some("shop")).into();
    let name: Option<String> = Conn::new(database).await?.query_first("SELECT DATABASE()").await?;
    ensure!(name.as_deref() == Some("shop"));
    Ok(())
}

async fn connection_ids_and_kill_work(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let (mut direct, mut proxied) = both(&lab).await?;
    let id: Option<u32> = proxied.query_first("SELECT CONNECTION_ID()").await?;
    ensure!(id == Some(proxied.id()), "the greeting says {}, the server {id:?}", proxied.id());
    let sleeping = tokio::spawn(async move {
        let answer = proxied.query_drop("SELECT SLEEP(30)").await;
        (proxied, answer)
    });
    let id = id.context("no id")?;
    loop {
        let is_there: Option<u64> = direct
            .query_first(format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND info LIKE '%SLEEP%'"))
            .await?;
        if is_there == Some(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    direct.query_drop(format!("KILL QUERY {id}")).await?;
    let (mut proxied, _) = tokio::time::timeout(Duration::from_secs(10), sleeping).await??;
    let one: Option<u8> = proxied.query_first("SELECT 1").await?;
    ensure!(one == Some(1), "KILL QUERY ended the session");
    direct.query_drop(format!("KILL {id}")).await?;
    ensure!(proxied.query_drop("SELECT 1").await.is_err(), "KILL did not end the session");
    Ok(())
}

async fn shells_and_dumps_work(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 500).await?;
    let (shell, dump) = match kind {
        Kind::MySql => ("mysql", "mysqldump"),
        Kind::MariaDb => ("mariadb", "mariadb-dump"),
    };
    let say = |name: &str, port: u16, arguments: &[&str]| {
        let mut command = std::process::Command::new(program(kind.name(), name)?);
        command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{port}"), &format!("-u{}", APP.0), &format!("-p{}", APP.1)]);
        if kind == Kind::MariaDb {
            command.arg("--skip-ssl");
        } else if name == "mysql" || name == "mysqldump" {
            command.args(["--get-server-public-key"]);
        }
        tokio::task::block_in_place(|| run(command.args(arguments)))
    };
    let sql = "SELECT COUNT(*) FROM shop.orders; SELECT 'ü', NULL; SHOW WARNINGS";
    let (ours, theirs) = (say(shell, lab.proxy.port, &["-t", "-e", sql])?, say(shell, lab.server.port, &["-t", "-e", sql])?);
    ensure!(ours == theirs && ours.contains("500"), "{ours}\n{theirs}");
    let arguments = ["--skip-dump-date", "--single-transaction", "--skip-comments", SCHEMA];
    let (ours, theirs) = (say(dump, lab.proxy.port, &arguments)?, say(dump, lab.server.port, &arguments)?);
    ensure!(ours == theirs && ours.len() > 20_000, "the dumps differ: {} and {} bytes", ours.len(), theirs.len());
    Ok(())
}

async fn load_through_the_proxy_is_clean(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let load = lab.load(5000, &Options { think: Duration::ZERO, ..Options::default() }).await?;
    load.more_statements(20_000).await?;
    let outcome = load.stop().await?;
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    lab.proxy.assert_clean_log(&[])
}

async fn clients_that_vanish_leave_nothing_behind(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let journals = table::prepare(&mut lab.server.connect().await?, SCHEMA, 200, 1).await?;
    for _ in 0..50 {
        let mut conn = lab.proxy.connect().await?;
        conn.query_drop("BEGIN").await?;
        conn.query_drop("UPDATE shop.orders SET counter = counter + 100 WHERE id < 20").await?;
        drop(conn);
        // Half a login, too.
        drop(tokio::net::TcpStream::connect(("127.0.0.1", lab.proxy.port)).await?);
    }
    let mut direct = lab.server.connect().await?;
    let (mut open, mut sessions) = (u64::MAX, f64::MAX);
    for _ in 0..400 {
        let count: Option<u64> = direct.query_first("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'").await?;
        open = count.unwrap_or(0);
        sessions = metrics::sum(&metrics::fetch(lab.proxy.http_port, "/metrics").await?, "tidegate_sessions", &[]);
        if open <= 1 && sessions == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    ensure!(open <= 1, "{open} sessions are still open on the server");
    ensure!(sessions == 0.0, "{sessions} sessions in /metrics");
    // The server does not count broken handshakes, or it would block the proxy's address.
    let blocked: Vec<(String, u64)> =
        direct.query("SELECT host, sum_connect_errors FROM performance_schema.host_cache WHERE sum_connect_errors > 0").await?;
    ensure!(blocked.is_empty(), "the server counts connect errors: {blocked:?}");
    let outcome = Load::start(lab.proxy.port, SCHEMA, journals, &Options { clients: 1, ..Options::default() }).await?;
    outcome.more_statements(100).await?;
    lab.assert_nothing_lost(&outcome.stop().await?).await
}

async fn more_than_max_connections_are_refused_politely(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings { more: vec!["--max-connections=20".into()], ..Settings::default() }, &[]).await?;
    let mut open = Vec::new();
    let mut refusal = None;
    for _ in 0..40 {
        match lab.proxy.connect().await {
            Ok(conn) => open.push(conn),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    let refusal = refusal.context("40 connections of 20 were let in")?;
    let (code, _) = server_error(&refusal).with_context(|| format!("not an answer of the protocol: {refusal:?}"))?;
    ensure!(code == 1040, "{refusal:?}");
    drop(open);
    Ok(())
}

async fn sigterm_ends_the_proxy_in_time(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 10).await?;
    let mut idle = lab.proxy.connect().await?;
    idle.ping().await?;
    let status = lab.proxy.terminate()?;
    ensure!(status.success(), "{status}\n{}", lab.proxy.log());
    ensure!(idle.ping().await.is_err(), "a session outlived the proxy");
    Ok(())
}
