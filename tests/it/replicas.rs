//! Tools that copy a whole server: dumps and their load, and a real replica, each through the proxy.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::support::Kind;
use crate::support::lab::{Lab, SCHEMA};
use crate::support::process::run;
use crate::support::replica;
use crate::support::servers::{APP, Server, Settings, program};

on_both_servers!(dumps_and_loads_are_the_same_as_directly, a_replica_replicates_through_the_proxy,);

fn tool(kind: Kind, name: &str, port: u16) -> Result<Command> {
    let name = match kind {
        Kind::MySql => name.to_owned(),
        Kind::MariaDb => name.replace("mysql", "mariadb").replace("dump", "-dump"),
    };
    let mut command = Command::new(program(kind.name(), &name)?);
    command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{port}"), &format!("-u{}", APP.0), &format!("-p{}", APP.1)]);
    command.arg(if kind == Kind::MySql { "--get-server-public-key" } else { "--skip-ssl" });
    Ok(command)
}

async fn checksums(conn: &mut Conn, schema: &str) -> Result<Vec<(String, Option<u64>)>> {
    let tables: Vec<String> = conn
        .query(format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}' AND table_type = 'BASE TABLE' ORDER BY 1"
        ))
        .await?;
    let mut all = Vec::new();
    for table in tables {
        let (_, sum): (String, Option<u64>) =
            conn.query_first(format!("CHECKSUM TABLE {schema}.{table} EXTENDED")).await?.context("no checksum")?;
        all.push((table, sum));
    }
    Ok(all)
}

async fn rich_schema(lab: &Lab) -> Result<()> {
    super::migrations::quiet_table(lab, 3000).await?;
    lab.sql(&[
        "CREATE TABLE shop.kinds (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB, t TEXT CHARACTER SET utf8mb4, d DECIMAL(20,5), \
         at TIMESTAMP(6) NULL, j JSON, e ENUM('a','b'), bits BIT(9), g INT AS (CHAR_LENGTH(t)) STORED, KEY (e))",
        "INSERT INTO shop.kinds (b, t, d, at, j, e, bits) VALUES (x'00ff0a0d1a275c', 'ü''\"\\\\', -1.5, '2024-02-29 01:02:03.000004', '{\"a\": [1]}', 'b', b'101'), \
         (NULL, '', 0, NULL, NULL, NULL, NULL), (REPEAT(x'fe', 3000000), REPEAT('\u{1f642}', 5000), 1, NOW(6), '[]', 'a', 1)",
        // Without the schema's name: the dump is loaded into others.
        "USE shop",
        "CREATE VIEW seen AS SELECT id, status FROM orders WHERE counter >= 0",
        "CREATE TRIGGER touched BEFORE UPDATE ON kinds FOR EACH ROW SET NEW.d = NEW.d + 1",
        "CREATE PROCEDURE shop.nothing(IN a INT) SELECT a; ",
    ])
    .await
}

async fn dumps_and_loads_are_the_same_as_directly(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    rich_schema(&lab).await?;
    let dump = |port: u16| {
        let mut command = tool(kind, "mysqldump", port)?;
        command.args(["--skip-dump-date", "--single-transaction", "--routines", "--triggers", "--events", "--skip-comments", SCHEMA]);
        command.args(["--hex-blob", "--max-allowed-packet=64M"]);
        if kind == Kind::MySql {
            command.arg("--set-gtid-purged=OFF");
        }
        tokio::task::block_in_place(|| run(&mut command))
    };
    let (ours, theirs) = (dump(lab.proxy.port)?, dump(lab.server.port)?);
    ensure!(ours == theirs && ours.len() > 3_000_000, "the dumps differ: {} and {} bytes", ours.len(), theirs.len());
    let mut direct = lab.server.connect().await?;
    for (schema, port) in [("by_server", lab.server.port), ("by_proxy", lab.proxy.port)] {
        direct.query_drop(format!("CREATE DATABASE {schema}")).await?;
        let mut command = tool(kind, "mysql", port)?;
        command.arg("--max-allowed-packet=64M").arg(schema).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let done = tokio::task::block_in_place(|| {
            let mut child = command.spawn()?;
            // Where the tool ends early, what it says tells more than the broken pipe.
            let _ = std::io::Write::write_all(&mut child.stdin.take().context("no stdin")?, ours.as_bytes());
            anyhow::Ok(child.wait_with_output()?)
        })?;
        ensure!(done.status.success(), "loading into {schema}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let source = checksums(&mut direct, SCHEMA).await?;
    ensure!(source.len() == 2 && source.iter().all(|(_, sum)| sum.is_some_and(|sum| sum != 0)), "{source:?}");
    for schema in ["by_server", "by_proxy"] {
        let loaded = checksums(&mut direct, schema).await?;
        ensure!(loaded == source, "{schema}: {loaded:?} is not {source:?}");
    }
    // A stream of rows that nobody buffers, as large tables are dumped.
    let mut quick = tool(kind, "mysql", lab.proxy.port)?;
    quick.args(["--quick", "--batch", "-e", "SELECT id, customer_id, status FROM shop.orders ORDER BY id"]);
    let rows = tokio::task::block_in_place(|| run(&mut quick))?.lines().count();
    ensure!(rows == 3001, "{rows} lines");
    lab.proxy.assert_clean_log(&[])
}

/// The columns of SHOW REPLICA STATUS that say how it goes.
async fn replica_status(conn: &mut Conn, kind: Kind) -> Result<(String, String, String)> {
    let row: Row =
        conn.query_first(if kind == Kind::MySql { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" }).await?.context("no replica")?;
    let column = |names: [&str; 2]| {
        let value: Option<Option<String>> = names.iter().find_map(|name| row.get(*name));
        value.flatten().unwrap_or_default()
    };
    let errors = format!("{} {}", column(["Last_IO_Error", "Last_IO_Error"]), column(["Last_SQL_Error", "Last_SQL_Error"]));
    Ok((column(["Replica_IO_Running", "Slave_IO_Running"]), column(["Replica_SQL_Running", "Slave_SQL_Running"]), errors))
}

/// Waits until the replica's tables equal those of its source, which nobody may write.
pub async fn caught_up(lab: &Lab, replica: &Server) -> Result<()> {
    let wanted = checksums(&mut lab.server.connect().await?, SCHEMA).await?;
    let mut conn = replica.connect().await?;
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let there = checksums(&mut conn, SCHEMA).await?;
        if there == wanted {
            return Ok(());
        }
        let status = replica_status(&mut conn, replica.kind).await?;
        ensure!(status.1 == "Yes", "the replica stopped: {status:?}");
        if Instant::now() > until {
            bail!("the replica has {there:?} and not {wanted:?}: {status:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for one more sign of life from the source.
async fn a_heartbeat(replica: &mut Conn, kind: Kind) -> Result<()> {
    let count = match kind {
        Kind::MySql => "SELECT 'n', CAST(COUNT_RECEIVED_HEARTBEATS AS CHAR) FROM performance_schema.replication_connection_status",
        Kind::MariaDb => "SHOW GLOBAL STATUS LIKE 'Slave_received_heartbeats'",
    };
    let until = Instant::now() + Duration::from_secs(60);
    let before: Option<(String, String)> = replica.query_first(count).await?;
    while replica.query_first::<(String, String), _>(count).await? == before {
        ensure!(Instant::now() < until, "no heartbeat came: {before:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A new server that replicates what is written to another one from now on, reading from a port that leads to it.
pub async fn replica_behind(server: &Server, port: u16) -> Result<Server> {
    let kind = server.kind;
    let more = vec!["--server-id=2".to_owned()];
    let replica = Server::start(kind, Settings { more, ..Settings::default() }).await?;
    replica::follow(&replica, server, port).await?;
    Ok(replica)
}

async fn a_replica_replicates_through_the_proxy(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let replica = replica_behind(&lab.server, lab.proxy.port).await?;
    let mut direct = lab.server.connect().await?;
    let mut conn = replica.connect().await?;
    rich_schema(&lab).await?;
    caught_up(&lab, &replica).await?;
    // It comes back after the proxy has gone, from where it was.
    lab.proxy.kill_hard();
    direct.query_drop("UPDATE shop.orders SET counter = counter + 1").await?;
    lab.proxy.launch(&[]).await?;
    direct.query_drop("UPDATE shop.kinds SET t = CONCAT(t, 'again')").await?;
    caught_up(&lab, &replica).await?;
    // Compressed on both sides, on its own only, on the server's only.
    for (upstream, compressed) in [("auto", true), ("off", true), ("zlib", false)] {
        lab.proxy.kill_hard();
        lab.proxy.launch(&[("TIDEGATE_UPSTREAM_COMPRESSION", upstream)]).await?;
        let (word, change) = match (kind, compressed) {
            (Kind::MySql, true) => ("REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_COMPRESSION_ALGORITHMS = 'zstd'"),
            (Kind::MySql, false) => ("REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_COMPRESSION_ALGORITHMS = 'uncompressed'"),
            (Kind::MariaDb, true) => ("SLAVE", "SET GLOBAL slave_compressed_protocol = 1"),
            (Kind::MariaDb, false) => ("SLAVE", "SET GLOBAL slave_compressed_protocol = 0"),
        };
        for statement in [format!("STOP {word}"), change.to_owned(), format!("START {word}")] {
            conn.query_drop(&statement).await.with_context(|| statement.clone())?;
        }
        direct.query_drop("UPDATE shop.orders SET counter = counter + 1").await?;
        caught_up(&lab, &replica).await.with_context(|| format!("[upstream] {upstream}, the replica compressed {compressed}"))?;
        a_heartbeat(&mut conn, kind).await?;
        direct.query_drop("UPDATE shop.orders SET counter = counter + 1").await?;
        caught_up(&lab, &replica).await.with_context(|| format!("[upstream] {upstream}, the replica compressed {compressed}"))?;
    }
    let status = replica_status(&mut conn, kind).await?;
    ensure!(status.0 == "Yes" && status.1 == "Yes", "{status:?}");
    lab.proxy.assert_clean_log(&[])
}
