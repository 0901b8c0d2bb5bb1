//! How the proxy behaves towards clients, balancers, operators and a server that goes away.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::lab::Lab;
use crate::support::process::free_port;
use crate::support::proxy::ADMIN;
use crate::support::raw::{BASE, Raw};
use crate::support::servers::{APP, Settings, connect, options};
use crate::support::{Admin, Kind, Proxy, Server};

on_both_servers!(
    unix_sockets_carry_both_sides,
    a_proxy_header_says_who_the_client_is,
    silent_sessions_are_closed_and_busy_ones_are_not,
    one_user_may_have_so_many_sessions,
    sighup_reads_the_settings_again,
    a_stop_waits_for_open_transactions_and_not_for_ever,
    another_process_takes_over_without_a_closed_door,
    a_server_that_is_full_or_blocks_the_host_is_heard,
    sessions_that_the_server_ends_end_as_they_do_directly,
    a_server_that_dies_ends_its_sessions_at_once_and_the_admin_stays,
);

const SOON: Duration = Duration::from_secs(20);

async fn connect_local(path: &str, account: (&str, &str)) -> mysql_async::Result<Conn> {
    Conn::new(OptsBuilder::from_opts(options(1, account)).socket(Some(path.to_owned())).prefer_socket(Some(true))).await
}

async fn unix_sockets_carry_both_sides(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let folder = tempfile::Builder::new().prefix("tidegate-sockets-").tempdir()?;
    let path = folder.path().join("proxy.sock").display().to_string();
    let upstream = server.socket().display().to_string();
    for address in [server.address(), upstream] {
        let mut proxy = Proxy::start(&address, &[("TIDEGATE_LISTEN_SOCKET", &path)]).await?;
        let mut root = server.connect().await?;
        for is_local in [true, false] {
            // The full authentication, where the two sides are not alike, and the fast one.
            root.query_drop("FLUSH PRIVILEGES").await?;
            for _ in 0..2 {
                let opened = if is_local {
                    connect_local(&path, APP).await
                } else {
                    connect(proxy.port, APP).await.map_err(|error| mysql_async::Error::Other(error.into()))
                };
                let mut conn = opened.with_context(|| format!("client local {is_local}, server {address}"))?;
                let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await?;
                ensure!(user.as_deref() == Some("app@%"), "{user:?}");
                conn.disconnect().await?;
            }
        }
        connect_local(&path, ADMIN).await?.query_drop("SHOW MIGRATIONS").await?;
        proxy.assert_clean_log(&[])?;
        ensure!(proxy.terminate()?.success());
        ensure!(!std::path::Path::new(&path).exists(), "the socket's file stays behind");
    }
    Ok(())
}

async fn a_proxy_header_says_who_the_client_is(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_LISTEN_PROXY_PROTOCOL_NETWORKS", "127.0.0.2")]).await?;
    let balancer = async || -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.2:0".parse()?)?;
        Ok(socket.connect(format!("127.0.0.1:{}", lab.proxy.port).parse()?).await?)
    };
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend_from_slice(&[192, 0, 2, 8, 127, 0, 0, 1, 0x12, 0x34, 0x0c, 0xea]);
    for (header, address) in [(b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 3306\r\n".to_vec(), "192.0.2.7:4660"), (v2, "192.0.2.8:4660")] {
        let mut stream = balancer().await?;
        stream.write_all(&header).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        ensure!(greeting[4] == 10, "no greeting behind the header: {greeting:?}");
        let sessions = lab.admin().await?.rows("SHOW SESSIONS").await?;
        ensure!(sessions.iter().any(|session| session.text("client") == address), "{address} is not in SHOW SESSIONS");
    }
    let mut stream = balancer().await?;
    stream.write_all(b"\x01\0\0\0\x01").await?;
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await?.ok();
    ensure!(rest.is_empty(), "a balancer without a header was greeted");
    lab.proxy.connect().await.context("from elsewhere no header is wanted")?;
    lab.proxy.assert_clean_log(&["no PROXY header"])
}

async fn silent_sessions_are_closed_and_busy_ones_are_not(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_LISTEN_IDLE_TIMEOUT_S", "1")]).await?;
    let mut busy = lab.proxy.connect().await?;
    let slept: Option<i64> = busy.query_first("SELECT SLEEP(2.5)").await?;
    ensure!(slept == Some(0));
    let mut silent = Raw::login(lab.proxy.port, APP, BASE, 1 << 20).await?;
    let (sequence, payload) = silent.packet().await?;
    ensure!(sequence == 0 && payload.starts_with(b"\xff\xbf\x0f#HY000"), "{sequence} {payload:02x?}");
    ensure!(silent.is_closed().await);
    lab.proxy.assert_clean_log(&[])
}

async fn one_user_may_have_so_many_sessions(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Settings::default(), &[("TIDEGATE_LISTEN_MAX_USER_CONNECTIONS", "2")]).await?;
    let (first, _second) = (lab.proxy.connect().await?, lab.proxy.connect().await?);
    let refused = Conn::new(options(lab.proxy.port, APP)).await;
    ensure!(matches!(&refused, Err(mysql_async::Error::Server(error)) if error.code == 1203), "{refused:?}");
    lab.proxy.admin().await?;
    first.disconnect().await?;
    let deadline = tokio::time::Instant::now() + SOON;
    while let Err(error) = Conn::new(options(lab.proxy.port, APP)).await {
        ensure!(tokio::time::Instant::now() < deadline, "a place was not given back: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lab.proxy.assert_clean_log(&[])
}

async fn sighup_reads_the_settings_again(kind: Kind) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("tidegate-password-").tempdir()?;
    let file = folder.path().join("password");
    std::fs::write(&file, ADMIN.1)?;
    let name = file.display().to_string();
    let lab =
        Lab::start_with(kind, Settings::default(), &[("TIDEGATE_ADMIN_PASSWORD", ""), ("TIDEGATE_ADMIN_PASSWORD_FILE", &name)]).await?;
    let mut before = lab.admin().await?;
    std::fs::write(&file, "")?;
    lab.proxy.signal("HUP")?;
    wait_for(&lab.proxy, "everything stays as it was").await?;
    lab.admin().await?;
    std::fs::write(&file, "another-password")?;
    lab.proxy.signal("HUP")?;
    wait_for(&lab.proxy, "changed=[admin] password").await?;
    ensure!(lab.admin().await.is_err(), "the old password still counts");
    Admin::connect(lab.proxy.port, (ADMIN.0, "another-password")).await?;
    before.rows("SHOW VERSION").await.context("a session that is open must go on")?;
    ensure!(!lab.proxy.log().contains("another-password"));
    lab.proxy.assert_clean_log(&["everything stays as it was"])
}

async fn a_stop_waits_for_open_transactions_and_not_for_ever(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let mut direct = server.connect().await?;
    direct.query_drop("CREATE DATABASE shop").await?;
    direct.query_drop("CREATE TABLE shop.kept (id INT PRIMARY KEY)").await?;
    for (drain, commits) in [("600", true), ("1", false)] {
        let mut proxy = Proxy::start(&server.address(), &[("TIDEGATE_LISTEN_DRAIN_TIMEOUT_S", drain)]).await?;
        let (mut busy, mut idle) = (proxy.connect().await?, proxy.connect().await?);
        busy.query_drop("BEGIN").await?;
        busy.query_drop(format!("INSERT INTO shop.kept VALUES ({drain})")).await?;
        proxy.signal("TERM")?;
        let until = std::time::Instant::now() + SOON;
        while idle.ping().await.is_ok() {
            ensure!(std::time::Instant::now() < until, "an idle session goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(proxy.connect().await.is_err(), "a new session was let in");
        if commits {
            ensure!(proxy.is_running(), "it did not wait for a transaction");
            busy.query_drop("INSERT INTO shop.kept VALUES (7)").await?;
            busy.query_drop("COMMIT").await?;
        }
        ensure!(proxy.ended(SOON).await?.success(), "{}", proxy.log());
        ensure!(busy.ping().await.is_err(), "a session outlived the proxy");
    }
    // The transaction that did not end in time was rolled back: nobody waits for its row.
    direct.query_drop("INSERT INTO shop.kept VALUES (1)").await?;
    let kept: Vec<u32> = direct.query("SELECT id FROM shop.kept ORDER BY id").await?;
    ensure!(kept == [1, 7, 600], "{kept:?}");
    Ok(())
}

async fn wait_for(proxy: &Proxy, words: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + SOON;
    while !proxy.log().contains(words) {
        ensure!(tokio::time::Instant::now() < deadline, "the log does not say {words:?}:\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn another_process_takes_over_without_a_closed_door(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let (port, http) = (free_port()?, free_port()?);
    let (listen, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{http}"));
    let settings = [("TIDEGATE_LISTEN_ADDRESS", listen.as_str()), ("TIDEGATE_HTTP_ADDRESS", &http), ("TIDEGATE_LISTEN_REUSE_PORT", "on")];
    let start = async || -> Result<Proxy> {
        let mut proxy = Proxy::prepare(&server.address(), &settings)?;
        proxy.http_port = http.rsplit(':').next().context("no port")?.parse()?;
        proxy.launch(&[]).await?;
        Ok(proxy)
    };
    let mut old = start().await?;
    let mut in_transaction = connect(port, APP).await?;
    in_transaction.query_drop("BEGIN").await?;
    let new = start().await?;
    wait_for(&new, "ready for connections").await?;
    let knocking = tokio::spawn(async move {
        let (mut came_in, mut refused) = (0, Vec::new());
        while came_in < 200 {
            match Conn::new(options(port, APP)).await {
                Ok(conn) => {
                    came_in += 1;
                    drop(conn);
                }
                Err(error) => refused.push(error.to_string()),
            }
            if refused.len() > 20 {
                break;
            }
        }
        refused
    });
    old.signal("TERM")?;
    in_transaction.query_drop("DO 1").await.context("a transaction may finish in the old process")?;
    in_transaction.query_drop("COMMIT").await?;
    ensure!(old.ended(SOON).await?.success());
    let refused = knocking.await?;
    ensure!(refused.is_empty(), "connections were refused: {refused:?}");
    connect(port, APP).await?.query_drop("DO 1").await?;
    new.assert_clean_log(&[])
}

/// Everything that a connection says until it closes.
async fn last_words(port: u16) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut bytes = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await?.ok();
    Ok(bytes)
}

async fn a_server_that_is_full_or_blocks_the_host_is_heard(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut conn = lab.server.connect().await?;
    conn.query_drop("CREATE USER 'plain'@'%' IDENTIFIED BY 'plain-pw'").await?;
    conn.query_drop("SET GLOBAL max_connections = 10").await?;
    let mut crowd = Vec::new();
    while let Ok(one) = Conn::new(options(lab.server.port, APP)).await {
        crowd.push(one);
        ensure!(crowd.len() < 50, "the server is never full");
    }
    // One place more is kept for administrators, who are known only when they have said who they are: strangers take it meanwhile.
    // The one that was refused above gives its place back a little later, and so may the proxy's own connections.
    let mut strangers = Vec::new();
    let deadline = tokio::time::Instant::now() + SOON;
    let (direct, through) = loop {
        ensure!(tokio::time::Instant::now() < deadline, "the server is never full");
        let mut heard = Vec::new();
        for port in [lab.server.port, lab.proxy.port] {
            let mut stranger = TcpStream::connect(("127.0.0.1", port)).await?;
            let mut words = vec![0; 5];
            stranger.read_exact(&mut words).await?;
            if words[4] == 0xff {
                stranger.read_to_end(&mut words).await?;
                heard.push(words);
            } else {
                strangers.push(stranger);
            }
        }
        if let [direct, through] = &heard[..] {
            break (direct.clone(), through.clone());
        }
    };
    ensure!(direct.get(4..7) == Some(&[0xff, 0x10, 0x04]), "directly: {}", String::from_utf8_lossy(&direct));
    ensure!(direct == through, "directly {}, through the proxy {}", String::from_utf8_lossy(&direct), String::from_utf8_lossy(&through));
    drop((crowd, strangers));
    // 1129 does not happen on 127.0.0.1; its bytes, from a small server.
    let blocking = TcpListener::bind("127.0.0.1:0").await?;
    let address = blocking.local_addr()?.to_string();
    let words = b"\x69\x04Host '192.0.2.1' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'";
    let mut packet = vec![u8::try_from(words.len() + 1)?, 0, 0, 0, 0xff];
    packet.extend_from_slice(words);
    let sent = packet.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = blocking.accept().await {
            let _ = stream.write_all(&sent).await;
        }
    });
    let proxy = Proxy::start(&address, &[]).await?;
    ensure!(last_words(proxy.port).await? == packet);
    Ok(())
}

async fn sessions_that_the_server_ends_end_as_they_do_directly(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut root = lab.server.connect().await?;
    let mut words = Vec::new();
    for port in [lab.server.port, lab.proxy.port] {
        let mut killed = Raw::login(port, APP, BASE, 1 << 20).await?;
        root.query_drop(format!("KILL {}", killed.connection_id)).await?;
        let after_kill = killed.until_quiet().await?;
        ensure!(killed.is_closed().await);
        let mut silent = Raw::login(port, APP, BASE, 1 << 20).await?;
        silent.send(3, b"SET SESSION wait_timeout = 1").await?;
        silent.packet().await?;
        let mut after_silence = Vec::new();
        while let Ok((sequence, payload)) = silent.packet().await {
            after_silence.push((sequence, payload));
        }
        let mut asleep = Raw::login(port, APP, BASE, 1 << 20).await?;
        asleep.send(3, b"SELECT SLEEP(100)").await?;
        let id = asleep.connection_id;
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let seen: Option<u64> = root
                .query_first(format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id} AND INFO LIKE '%SLEEP(100)%'"))
                .await?;
            if seen == Some(1) {
                break;
            }
            ensure!(tokio::time::Instant::now() < deadline, "the statement is not seen");
        }
        root.query_drop(format!("KILL {id}")).await?;
        let mut after_statement = Vec::new();
        while let Ok(packet) = asleep.packet().await {
            after_statement.push(packet);
        }
        words.push((after_kill, after_silence, after_statement));
    }
    ensure!(words[0] == words[1], "directly {:02x?}\nthrough the proxy {:02x?}", words[0], words[1]);
    lab.proxy.assert_clean_log(&[])
}

async fn a_server_that_dies_ends_its_sessions_at_once_and_the_admin_stays(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let mut idle = lab.proxy.connect().await?;
    let mut busy = lab.proxy.connect().await?;
    let mut admin = lab.admin().await?;
    let running = tokio::spawn(async move { busy.query_drop("SELECT SLEEP(100)").await });
    let mut root = lab.server.connect().await?;
    let deadline = tokio::time::Instant::now() + SOON;
    while root.query_first::<u64, _>("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(100)%'").await?
        != Some(1)
    {
        ensure!(tokio::time::Instant::now() < deadline, "the statement is not seen");
    }
    lab.server.kill_hard();
    let ended = tokio::time::timeout(SOON, running).await.context("a client waits for a server that is dead")??;
    ensure!(matches!(&ended, Err(error) if !matches!(error, mysql_async::Error::Server(_))), "{ended:?}");
    ensure!(idle.ping().await.is_err());
    admin.rows("SHOW VERSION").await.context("the admin's session must go on")?;
    lab.admin().await.context("the admin must get in")?;
    let refused =
        tokio::time::timeout(SOON, Conn::new(options(lab.proxy.port, APP))).await.context("a client waits for a server that is dead")?;
    match refused {
        Err(mysql_async::Error::Server(error)) => ensure!(error.code == 1053, "{error}"),
        other => bail!("{other:?}"),
    }
    lab.server.launch().await?;
    lab.proxy.connect().await?.query_drop("DO 1").await?;
    lab.proxy.assert_clean_log(&["cannot be reached", "connection to the server"])
}
