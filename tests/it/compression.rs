//! Compression with real clients: the shells, a driver, large values, many rows, files, binary logs, TLS, the admin.
//! `wire/compressed.rs` looks at the bytes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, ChangeUserOpts, Compression, Conn, OptsBuilder, SslOpts};

use crate::support::certificates::Authority;
use crate::support::lab::Lab;
use crate::support::process::run;
use crate::support::proxy::ADMIN;
use crate::support::servers::{APP, Settings, options, program};
use crate::support::{Kind, Proxy, Server};

on_both_servers!(
    the_shells_see_what_a_direct_connection_shows,
    a_driver_works_with_compression_and_tls_on_either_side,
    large_values_stay_bounded,
    binary_logs_and_the_admin_are_compressed,
);

/// What a shell with these options writes, on a port.
fn shell(kind: Kind, port: u16, more: &[&str], text: &str) -> Result<String> {
    let name = if kind == Kind::MySql { "mysql" } else { "mariadb" };
    let mut command = std::process::Command::new(program(name, name)?);
    command.args(["--no-defaults", "-h127.0.0.1", "--protocol=tcp", &format!("-u{}", APP.0), &format!("-p{}", APP.1)]);
    // MariaDB's of 11.4 and later want TLS where they are not told otherwise.
    command.arg(if kind == Kind::MySql { "--get-server-public-key" } else { "--skip-ssl" });
    run(command.arg(format!("-P{port}")).args(more).args(["-N", "-e", text]))
}

async fn the_shells_see_what_a_direct_connection_shows(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.lines (id INT, text VARCHAR(300))"]).await?;
    let file = tempfile::Builder::new().suffix(".tsv").tempfile()?;
    let lines: String = (0..50_000).map(|id| format!("{id}\tline {id} {}\n", "x".repeat(id % 100))).collect();
    std::fs::write(file.path(), lines)?;
    let text = format!(
        "SHOW STATUS LIKE 'Compression%'; TRUNCATE shop.lines; LOAD DATA LOCAL INFILE '{}' INTO TABLE shop.lines; \
         SELECT COUNT(*), SUM(id), SUM(CRC32(text)) FROM shop.lines; SELECT * FROM shop.lines ORDER BY id; SELECT REPEAT('y', 1000000)",
        file.path().display()
    );
    let ways: &[&[&str]] = match kind {
        Kind::MySql => &[
            &["--compression-algorithms=uncompressed"],
            &["--compression-algorithms=zlib"],
            &["--compression-algorithms=zstd"],
            &["--compression-algorithms=zstd,zlib,uncompressed", "--zstd-compression-level=17"],
            &["--compression-algorithms=zstd", "--zstd-compression-level=22", "--ssl-mode=DISABLED"],
        ],
        Kind::MariaDb => &[&["--skip-compress"], &["--compress"]],
    };
    for way in ways {
        let options = [*way, &["--local-infile=1", "--max-allowed-packet=64M"]].concat();
        let said = |port| tokio::task::block_in_place(|| shell(kind, port, &options, &text));
        let (theirs, ours) = (said(lab.server.port)?, said(lab.proxy.port)?);
        ensure!(theirs == ours, "{way:?}: {} bytes instead of {}, beginning with\n{:.300}", ours.len(), theirs.len(), ours);
        ensure!(ours.len() > 3_000_000, "{way:?}: only {} bytes", ours.len());
    }
    // The status tells of the server's side, as the settings want it.
    for (upstream, wanted) in [("off", "OFF"), ("zlib", "ON"), ("zstd", if kind == Kind::MySql { "ON" } else { "OFF" })] {
        let more = [("TIDEGATE_UPSTREAM_COMPRESSION", upstream), ("TIDEGATE_LISTEN_COMPRESSION", "on")];
        let proxy = Proxy::start(&lab.server.address(), &more).await?;
        for way in ways {
            let said = tokio::task::block_in_place(|| shell(kind, proxy.port, way, "SHOW STATUS LIKE 'Compression'"))?;
            ensure!(said == format!("Compression\t{wanted}\n"), "[upstream] {upstream}, {way:?}: {said}");
        }
        if kind == Kind::MySql && upstream != "off" {
            let said = tokio::task::block_in_place(|| shell(kind, proxy.port, ways[0], "SHOW STATUS LIKE 'Compression_algorithm'"))?;
            ensure!(said == format!("Compression_algorithm\t{upstream}\n"), "{said}");
        }
        proxy.assert_clean_log(&[])?;
    }
    lab.proxy.assert_clean_log(&[])
}

async fn connect(port: u16, account: (&str, &str), with_compression: bool, authority: Option<&Authority>) -> Result<Conn> {
    let tls = authority
        .map(|authority| SslOpts::default().with_disable_built_in_roots(true).with_root_certs(vec![PathBuf::from(authority.ca()).into()]));
    let compression = with_compression.then(Compression::fast);
    let options = OptsBuilder::from_opts(options(port, account)).ssl_opts(tls).compression(compression);
    let mut conn = Conn::new(options.max_allowed_packet(Some(100 << 20))).await?;
    conn.query_drop("SET NAMES utf8mb4").await.or_else(|error| if account == ADMIN { Ok(()) } else { Err(error) })?;
    Ok(conn)
}

async fn work(conn: &mut Conn, is_long: bool) -> Result<()> {
    conn.query_drop("CREATE TEMPORARY TABLE shop.mine (id INT PRIMARY KEY, data LONGBLOB)").await?;
    let mut seed = fastrand::Rng::with_seed(5);
    let lengths: &[usize] = &[0, 1, 49, 50, 65_536, 16_777_215, 20_000_000];
    for (id, length) in lengths.iter().take(if is_long { 7 } else { 5 }).copied().enumerate() {
        // Half of it can be packed.
        let blob: Vec<u8> = (0..length).map(|at| if at % 2 == 0 { seed.u8(..) } else { b'x' }).collect();
        conn.exec_drop("INSERT INTO shop.mine VALUES (?, ?)", (id, &blob)).await?;
        let back: Option<Vec<u8>> = conn.exec_first("SELECT data FROM shop.mine WHERE id = ?", (id,)).await?;
        ensure!(back.as_ref() == Some(&blob), "{length} bytes came back otherwise");
    }
    conn.query_drop("DELETE FROM shop.mine; SELECT 1; SELECT 2").await?;
    let lines = (0..20_000).map(|id| format!("{}\tfrom a file {id}\n", id + 1_000_000)).collect::<String>();
    conn.set_infile_handler(async move { Ok(futures_util::stream::iter([Ok(lines.into())]).boxed()) });
    conn.query_drop("LOAD DATA LOCAL INFILE 'lines' INTO TABLE shop.mine").await?;
    let rows: Vec<(u32, String)> = conn.query("SELECT id, data FROM shop.mine ORDER BY id").await?;
    ensure!(rows.len() == 20_000 && rows[19_999].1 == "from a file 19999", "{} rows", rows.len());
    let mut results = conn.query_iter("SELECT id FROM shop.mine; SELEKT").await?;
    let first: Vec<u32> = results.collect().await?;
    ensure!(
        first.len() == 20_000 && matches!(results.collect::<u32>().await, Err(mysql_async::Error::Server(error)) if error.code == 1064)
    );
    drop(results);
    // Each result ends where a frame may end, and the driver looks at the numbers there.
    for rows in [1, 10, 400, 2000] {
        let mut results =
            conn.query_iter(format!("SELECT id FROM shop.mine LIMIT {rows}; SELECT 7; DO 1; SELECT REPEAT('z', 70000)")).await?;
        ensure!(results.collect::<u32>().await?.len() == rows);
        ensure!(results.collect::<u32>().await? == [7]);
        results.collect::<u32>().await?;
        ensure!(results.collect::<String>().await?[0].len() == 70_000);
    }
    conn.change_user(ChangeUserOpts::default().with_user(Some(APP.0.into())).with_pass(Some(APP.1.into()))).await?;
    let one: Option<u8> = conn.query_first("SELECT 1").await?;
    ensure!(one == Some(1));
    conn.reset().await?;
    conn.ping().await.context("after a reset")
}

async fn a_driver_works_with_compression_and_tls_on_either_side(kind: Kind) -> Result<()> {
    let authority = Authority::new("the tests' authority")?;
    let pair = authority.sign("server", &["127.0.0.1"])?;
    let more = vec![format!("--ssl-ca={}", authority.ca()), format!("--ssl-cert={}", pair.cert), format!("--ssl-key={}", pair.key)];
    let server = Server::start(kind, Settings { more, ..Settings::default() }).await?;
    server.connect().await?.query_drop("CREATE DATABASE shop").await?;
    let mut direct = connect(server.port, APP, true, None).await?;
    work(&mut direct, false).await.context("directly")?;
    for (listen, upstream, client, tls, upstream_tls) in [
        ("auto", "auto", true, false, "off"),
        ("auto", "auto", true, true, "required"),
        ("on", "off", true, true, "off"),
        ("on", "zstd", true, false, "required"),
        ("off", "zlib", false, true, "required"),
        ("off", "zstd", false, false, "off"),
    ] {
        let settings = [
            ("TIDEGATE_LISTEN_COMPRESSION", listen),
            ("TIDEGATE_UPSTREAM_COMPRESSION", upstream),
            ("TIDEGATE_LISTEN_TLS", "preferred"),
            ("TIDEGATE_LISTEN_TLS_CERT", &pair.cert),
            ("TIDEGATE_LISTEN_TLS_KEY", &pair.key),
            ("TIDEGATE_UPSTREAM_TLS", upstream_tls),
        ];
        let what = || format!("[listen] {listen}, [upstream] {upstream}, client {client}, TLS {tls} and {upstream_tls}");
        let proxy = Proxy::start(&server.address(), &settings).await?;
        let mut conn = connect(proxy.port, APP, client, tls.then_some(&authority)).await.with_context(what)?;
        // One long run for each side: packing takes its time.
        let is_long = tls && (listen, upstream) != ("auto", "auto");
        work(&mut conn, is_long).await.with_context(what)?;
        conn.disconnect().await?;
        proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

async fn large_values_stay_bounded(kind: Kind) -> Result<()> {
    let more = vec!["--max-allowed-packet=200M".to_owned()];
    let settings = Settings { more, ..Settings::default() };
    let lab = Lab::start_with(kind, settings, &[("TIDEGATE_LISTEN_COMPRESSION", "on")]).await?;
    let mut seed = fastrand::Rng::with_seed(9);
    // 16 MiB are many times what the proxy may take; `memory.rs` has 64, without compression.
    let blob: Vec<u8> = (0..16 << 20).map(|at| if at % 4 == 0 { seed.u8(..) } else { b'x' }).collect();
    let zstd = Proxy::start(&lab.server.address(), &[("TIDEGATE_UPSTREAM_COMPRESSION", "zstd")]).await?;
    for (proxy, client, limit) in [(&lab.proxy, true, 1024), (&zstd, false, 6 * 1024)] {
        let mut conn = connect(proxy.port, APP, client, None).await?;
        let mut grown = 0;
        for round in 0..2 {
            let before = proxy.memory_kib();
            proxy.forget_peak()?;
            let blob = if round == 0 { &blob[..1 << 20] } else { &blob[..] };
            let length: Option<(u64, u32)> = conn.exec_first("SELECT LENGTH(?), CRC32(?)", (blob, "x")).await?;
            ensure!(length.is_some_and(|(length, _)| length == blob.len() as u64));
            let back: Option<Vec<u8>> = conn.exec_first("SELECT ?", (blob,)).await?;
            ensure!(back.as_deref() == Some(blob), "the value came back otherwise");
            grown = proxy.peak_memory_kib().saturating_sub(before);
        }
        println!("{kind}: client compressed {client}: values of 16 MiB: the proxy grew by {grown} KiB at its peak");
        ensure!(grown < limit, "the proxy grew by {grown} KiB");
    }
    Ok(())
}

async fn binary_logs_and_the_admin_are_compressed(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 3000).await?;
    let logs: Vec<mysql_async::Row> = lab.server.connect().await?.query("SHOW BINARY LOGS").await?;
    let log: String = logs.last().and_then(|row| row.get(0)).context("no binary log")?;
    let plain = Proxy::start(&lab.server.address(), &[("TIDEGATE_UPSTREAM_COMPRESSION", "zlib")]).await?;
    let packing = Proxy::start(&lab.server.address(), &[("TIDEGATE_UPSTREAM_COMPRESSION", "off")]).await?;
    let mut seen = Vec::new();
    for (port, with_compression) in
        [(lab.server.port, false), (lab.server.port, true), (lab.proxy.port, true), (plain.port, false), (packing.port, true)]
    {
        let conn = connect(port, APP, with_compression, None).await?;
        let mut stream = conn.get_binlog_stream(BinlogStreamRequest::new(4711).with_filename(log.as_bytes()).with_pos(4)).await?;
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(500), stream.next()).await {
            let header = event?.header();
            events.push((header.event_type_raw(), header.log_pos()));
        }
        seen.push(events);
    }
    ensure!(seen[0].len() > 5 && seen.iter().all(|events| *events == seen[0]), "{:?}", seen.iter().map(Vec::len).collect::<Vec<_>>());
    let mut admin = connect(lab.proxy.port, ADMIN, true, None).await?;
    for _ in 0..3 {
        let rows: Vec<mysql_async::Row> = admin.query("SHOW CONFIG").await?;
        ensure!(rows.len() > 30, "{} rows", rows.len());
    }
    lab.proxy.assert_clean_log(&[])
}
