//! TLS on either side, on both, on none: every way to prove a password, certificates that are wrong, and their renewal.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, OptsBuilder, SslOpts};

use crate::support::certificates::{Authority, Pair};
use crate::support::lab::Lab;
use crate::support::process::run;
use crate::support::proxy::ADMIN;
use crate::support::servers::{APP, Settings, options, program};
use crate::support::{Kind, Proxy, Server};

on_both_servers!(
    every_way_to_prove_a_password_works_with_tls_on_either_side,
    the_shells_work_over_both_versions_of_tls,
    the_engine_and_the_admin_use_tls,
    clients_without_tls_or_certificate_are_refused,
    wrong_certificates_are_told_in_one_sentence,
    a_renewed_certificate_is_used_after_sighup,
    tls_carries_what_is_large,
);

const PASSWORD: &str = "hush-hush-1";

/// A server with TLS and the authority that signed its certificate.
struct House {
    server: Server,
    authority: Authority,
    own: Pair,
}

impl House {
    async fn start(kind: Kind, more: &[&str]) -> Result<Self> {
        let authority = Authority::new("the tests' authority")?;
        let pair = authority.sign("server", &["127.0.0.1", "localhost"])?;
        Self::start_with(kind, authority, &pair, more).await
    }

    async fn start_with(kind: Kind, authority: Authority, pair: &Pair, more: &[&str]) -> Result<Self> {
        let own = authority.sign("proxy", &["127.0.0.1", "localhost"])?;
        let files = [format!("--ssl-ca={}", authority.ca()), format!("--ssl-cert={}", pair.cert), format!("--ssl-key={}", pair.key)];
        let more = files.into_iter().chain(more.iter().map(|option| (*option).to_owned())).collect();
        let settings = Settings { more, ..Settings::default() };
        Ok(Self { server: Server::start(kind, settings).await?, authority, own })
    }

    /// A proxy with these ways of TLS on its two sides.
    async fn proxy(&self, listen: &str, upstream: &str, more: &[(&str, &str)]) -> Result<Proxy> {
        let ca = self.authority.ca();
        let mut settings = vec![
            ("TIDEGATE_LISTEN_TLS", listen),
            ("TIDEGATE_LISTEN_TLS_CERT", &self.own.cert),
            ("TIDEGATE_LISTEN_TLS_KEY", &self.own.key),
            ("TIDEGATE_UPSTREAM_TLS", upstream),
            ("TIDEGATE_UPSTREAM_TLS_CA", &ca),
        ];
        settings.extend_from_slice(more);
        Proxy::start(&self.server.address(), &settings).await
    }

    /// Connects to a port, with TLS that verifies everything or without.
    async fn connect(&self, port: u16, account: (&str, &str), with_tls: bool) -> mysql_async::Result<Conn> {
        let ca = vec![PathBuf::from(self.authority.ca()).into()];
        let tls = with_tls.then(|| SslOpts::default().with_disable_built_in_roots(true).with_root_certs(ca));
        let options = OptsBuilder::from_opts(options(port, account)).ssl_opts(tls);
        match Conn::new(options.clone()).await {
            Err(error) if is_cut_nonce(account, &error) => Conn::new(options).await,
            other => other,
        }
    }

    /// Changes the user of a session, or of a new one like it.
    async fn change_user(&self, conn: &mut Conn, port: u16, account: (&str, &str), with_tls: bool) -> mysql_async::Result<()> {
        let to = ChangeUserOpts::default().with_user(Some(account.0.to_owned())).with_pass(Some(account.1.to_owned()));
        match conn.change_user(to.clone()).await {
            Err(error) if is_cut_nonce(account, &error) => {
                // The server ends the session.
                *conn = self.connect(port, APP, with_tls).await?;
                conn.change_user(to).await
            }
            other => other,
        }
    }
}

/// This driver takes a last byte of 0 for the end of the server's nonce, but one of ed25519 is 32 bytes of any value: of 256 such logins one is refused, also
/// directly.
fn is_cut_nonce(account: (&str, &str), error: &mysql_async::Error) -> bool {
    account == ("ed25519", PASSWORD) && matches!(error, mysql_async::Error::Server(error) if error.code == 1045)
}

/// Accounts of every plugin that the server has, each with and without a password.
async fn accounts(server: &Server) -> Result<Vec<(&'static str, &'static str)>> {
    let mut conn = server.connect().await?;
    let create: &[&str] = match server.kind {
        Kind::MySql => &[
            "CREATE USER 'sha2'@'%' IDENTIFIED WITH caching_sha2_password BY 'hush-hush-1'",
            "CREATE USER 'sha2_empty'@'%' IDENTIFIED WITH caching_sha2_password BY ''",
        ],
        Kind::MariaDb => &[
            "INSTALL SONAME 'auth_ed25519'",
            "CREATE USER 'native'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('hush-hush-1')",
            "CREATE USER 'native_empty'@'%' IDENTIFIED BY ''",
            "CREATE USER 'ed25519'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('hush-hush-1')",
        ],
    };
    for statement in create {
        conn.query_drop(*statement).await.with_context(|| (*statement).to_owned())?;
    }
    Ok(match server.kind {
        Kind::MySql => vec![("sha2", PASSWORD), ("sha2_empty", "")],
        Kind::MariaDb => vec![("native", PASSWORD), ("native_empty", ""), ("ed25519", PASSWORD)],
    })
}

/// What a session over this connection sees, by text and by binary protocol.
async fn seen(conn: &mut Conn) -> Result<(String, String, String)> {
    let who: String = conn.query_first("SELECT USER()").await?.context("no row")?;
    let binary: Option<(String, u64)> = conn.exec_first("SELECT CONCAT(CURRENT_USER(), ?), CONNECTION_ID()", ("!",)).await?;
    let (current, id) = binary.context("no row")?;
    ensure!(id == u64::from(conn.id()), "the connection id is {id}, the greeting said {}", conn.id());
    let cipher: Option<(String, String)> = conn.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await?;
    Ok((who, current, cipher.context("no row")?.1))
}

async fn every_way_to_prove_a_password_works_with_tls_on_either_side(kind: Kind) -> Result<()> {
    let house = House::start(kind, &[]).await?;
    let accounts = accounts(&house.server).await?;
    let mut root = house.server.connect().await?;
    let direct_error = match house.connect(house.server.port, (accounts[0].0, "wrong"), false).await {
        Err(mysql_async::Error::Server(error)) => error,
        other => bail!("a wrong password leads to {other:?}"),
    };
    for (listen, upstream) in
        [("off", "off"), ("required", "off"), ("off", "verify-identity"), ("preferred", "required"), ("preferred", "off")]
    {
        let proxy = house.proxy(listen, upstream, &[("TIDEGATE_LOG_LEVEL", "trace")]).await?;
        for with_tls in [false, true] {
            if with_tls != (listen == "required") && listen != "preferred" {
                continue;
            }
            let combination = format!("client TLS {with_tls}, server TLS {upstream}");
            for account in &accounts {
                // Clears the server's cache of proven passwords: the next login is a full one, the one after it a fast one.
                root.query_drop("FLUSH PRIVILEGES").await?;
                for round in ["full", "fast"] {
                    let told = || format!("{combination}: {} ({round})", account.0);
                    let mut conn = house.connect(proxy.port, *account, with_tls).await.with_context(told)?;
                    let (who, current, cipher) = seen(&mut conn).await.with_context(told)?;
                    ensure!(who == format!("{}@localhost", account.0) || who == format!("{}@127.0.0.1", account.0), "{who}");
                    ensure!(current == format!("{}@%!", account.0), "{current}");
                    ensure!(cipher.is_empty() == (upstream == "off"), "{}: the server's side has the cipher {cipher:?}", told());
                    conn.disconnect().await?;
                }
            }
            // COM_CHANGE_USER has the same dialogue in the middle of a session.
            let mut conn = house.connect(proxy.port, APP, with_tls).await?;
            for account in &accounts {
                root.query_drop("FLUSH PRIVILEGES").await?;
                for _ in 0..2 {
                    let changed = house.change_user(&mut conn, proxy.port, *account, with_tls).await;
                    changed.with_context(|| format!("{combination}: changing to {}", account.0))?;
                    ensure!(seen(&mut conn).await?.1 == format!("{}@%!", account.0));
                }
            }
            root.query_drop("FLUSH PRIVILEGES").await?;
            match house.connect(proxy.port, (accounts[0].0, "wrong"), with_tls).await {
                Err(mysql_async::Error::Server(error)) => {
                    ensure!(
                        (error.code, &error.message) == (direct_error.code, &direct_error.message),
                        "{combination}: {error}, directly {direct_error}"
                    );
                }
                other => bail!("{combination}: a wrong password leads to {other:?}"),
            }
        }
        ensure!(!proxy.log().contains(PASSWORD), "the log holds a password");
        proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

async fn the_shells_work_over_both_versions_of_tls(kind: Kind) -> Result<()> {
    let house = House::start(kind, &[]).await?;
    let proxy = house.proxy("required", "verify-ca", &[]).await?;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let shell = match kind {
            Kind::MySql => program("mysql", "mysql")?,
            Kind::MariaDb => program("mariadb", "mariadb")?,
        };
        let mut command = std::process::Command::new(shell);
        let verify = if kind == Kind::MySql { "--ssl-mode=VERIFY_IDENTITY" } else { "--ssl-verify-server-cert" };
        command.args(["--no-defaults", "-h", "127.0.0.1", "-u", APP.0, &format!("-p{}", APP.1), "--protocol=tcp", verify]);
        command.arg(format!("-P{}", proxy.port)).arg(format!("--ssl-ca={}", house.authority.ca())).arg(format!("--tls-version={version}"));
        let said = run(command.args(["-N", "-e", "SELECT CURRENT_USER(); SHOW STATUS LIKE 'Ssl_version'"]))?;
        // As on a direct connection, although the server has TLS with the proxy and not with the client.
        ensure!(said.contains("app@%") && said.contains(version), "{version}: {said}");
    }
    proxy.assert_clean_log(&[])
}

async fn the_engine_and_the_admin_use_tls(kind: Kind) -> Result<()> {
    // The engine's account may only come over TLS with a certificate.
    let house = House::start(kind, &[]).await?;
    let engine = house.authority.sign("engine", &["engine"])?;
    house.server.connect().await?.query_drop("ALTER USER 'tidegate'@'%' REQUIRE X509").await?;
    let with_certificate = [("TIDEGATE_UPSTREAM_TLS_CERT", engine.cert.as_str()), ("TIDEGATE_UPSTREAM_TLS_KEY", engine.key.as_str())];
    for mode in ["required", "verify-ca", "verify-identity"] {
        let proxy = house.proxy("preferred", mode, &with_certificate).await?;
        let lab = Lab { proxy, server: Server::start(kind, Settings::default()).await? };
        let mut admin = house.connect(lab.proxy.port, ADMIN, true).await?;
        let table = format!("shop.t_{}", mode.replace('-', "_"));
        let mut conn = house.server.connect().await?;
        conn.query_drop("CREATE DATABASE IF NOT EXISTS shop").await?;
        conn.query_drop(format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT)")).await?;
        conn.query_drop(format!("INSERT INTO {table} VALUES (1, 1), (2, 2)")).await?;
        let id: Option<u64> = admin.query_first(format!("MIGRATE TABLE {table} ADD COLUMN w INT NOT NULL DEFAULT 7")).await?;
        let id = id.context("no row")?;
        let mut session = house.connect(lab.proxy.port, APP, true).await?;
        loop {
            let phase: Option<mysql_async::Row> = admin.query_first(format!("SHOW MIGRATION {id}")).await?;
            let phase: String = phase.context("no row")?.get("phase").context("no phase")?;
            match phase.as_str() {
                "done" => break,
                "failed" | "parked" | "cancelled" => bail!("{mode}: the migration is {phase}:\n{}", lab.proxy.log()),
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
            session.query_drop(format!("UPDATE {table} SET v = v + 1")).await?;
        }
        let sum: Option<i64> = session.query_first(format!("SELECT CAST(SUM(w) AS SIGNED) FROM {table}")).await?;
        ensure!(sum == Some(14));
        lab.proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

async fn clients_without_tls_or_certificate_are_refused(kind: Kind) -> Result<()> {
    let house = House::start(kind, &[]).await?;
    let proxy = house.proxy("required", "off", &[]).await?;
    for account in [APP, ADMIN] {
        match house.connect(proxy.port, account, false).await {
            Err(mysql_async::Error::Server(error)) => {
                ensure!(error.code == 3159 && error.message.contains("--ssl-mode=REQUIRED"), "{error}")
            }
            other => bail!("{other:?}"),
        }
        house.connect(proxy.port, account, true).await?;
    }
    let ca = house.authority.ca();
    let proxy = house.proxy("preferred", "preferred", &[("TIDEGATE_LISTEN_TLS_CA", &ca)]).await?;
    ensure!(house.connect(proxy.port, APP, true).await.is_err(), "a client without a certificate came in");
    let client = house.authority.sign("client", &["somebody"])?;
    let stranger = Authority::new("another authority")?.sign("stranger", &["somebody"])?;
    ensure!(run(&mut shell(&house, &proxy, &stranger)?).is_err(), "a certificate of another authority was taken");
    ensure!(run(&mut shell(&house, &proxy, &client)?)?.contains("app@%"));
    // No connection that was refused here may count against the proxy's host on the server.
    let blocked: Option<u64> = house
        .server
        .connect()
        .await?
        .query_first("SELECT COALESCE(SUM(SUM_CONNECT_ERRORS), 0) FROM performance_schema.host_cache")
        .await
        .unwrap_or(Some(0));
    ensure!(blocked == Some(0), "{blocked:?} connection errors");
    Ok(())
}

/// MariaDB's server does not tell the name.
#[test]
fn the_name_that_a_client_asks_for_reaches_the_server() {
    crate::run(names());
}

/// MySQL's oldest plugin with sealed passwords; the driver of the other tests does not know it.
#[test]
fn sha256_password_works_with_tls_on_either_side() {
    crate::run(sha256());
}

async fn sha256() -> Result<()> {
    let house = House::start(Kind::MySql, &[]).await?;
    house.server.connect().await?.query_drop("CREATE USER old@'%' IDENTIFIED WITH sha256_password BY 'hush-hush-1'").await?;
    let say = |port: u16, mode: &str, password: &str| {
        let mut command = std::process::Command::new(program("mysql", "mysql")?);
        command.args(["--no-defaults", "-h", "127.0.0.1", "-uold", &format!("-p{password}"), &format!("--ssl-mode={mode}")]);
        run(command.arg(format!("-P{port}")).args(["-N", "-e", "SELECT CURRENT_USER()"]))
    };
    for (listen, upstream, mode) in [
        ("off", "off", "DISABLED"),
        ("required", "off", "REQUIRED"),
        ("off", "required", "DISABLED"),
        ("preferred", "required", "REQUIRED"),
    ] {
        let proxy = house.proxy(listen, upstream, &[]).await?;
        for _ in 0..2 {
            let said = say(proxy.port, mode, PASSWORD).with_context(|| format!("client {listen}, server {upstream}"))?;
            ensure!(said == "old@%\n", "client {listen}, server {upstream}: {said}");
        }
        let refused = say(proxy.port, mode, "wrong").unwrap_or_else(|error| format!("{error:#}"));
        ensure!(refused.contains("1045"), "client {listen}, server {upstream}: {refused}");
        ensure!(!proxy.log().contains(PASSWORD), "the log holds a password");
        proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

async fn names() -> Result<()> {
    let house = House::start(Kind::MySql, &[]).await?;
    let at_name = format!("localhost:{}", house.server.port);
    let cases = [
        ("required", house.server.address(), &["--tls-sni-servername=db.example.com"][..], "db.example.com"),
        ("verify-ca", at_name.clone(), &["--tls-sni-servername=db.example.com"], "db.example.com"),
        ("verify-identity", at_name.clone(), &["--tls-sni-servername=db.example.com"], "localhost"),
        ("required", at_name, &[], "localhost"),
        ("required", house.server.address(), &[], ""),
    ];
    for (mode, address, more, wanted) in cases {
        let proxy = house.proxy("preferred", mode, &[("TIDEGATE_UPSTREAM_ADDRESS", &address)]).await?;
        let mut command = std::process::Command::new(program("mysql", "mysql")?);
        command.args(["--no-defaults", "-h", "127.0.0.1", "--ssl-mode=REQUIRED", "-u", APP.0, &format!("-p{}", APP.1)]);
        command.arg(format!("-P{}", proxy.port)).args(more).args(["-N", "-e", "SHOW STATUS LIKE 'Tls_sni_server_name'"]);
        let said = run(&mut command)?;
        ensure!(said == format!("Tls_sni_server_name\t{wanted}\n"), "{mode} at {address}, {more:?}: {said}");
        proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

fn shell(house: &House, proxy: &Proxy, pair: &Pair) -> Result<std::process::Command> {
    let (name, verify) = match house.server.kind {
        Kind::MySql => ("mysql", "--ssl-mode=VERIFY_CA"),
        Kind::MariaDb => ("mariadb", "--ssl"),
    };
    let mut command = std::process::Command::new(program(name, name)?);
    command.args(["--no-defaults", "-h", "127.0.0.1", "-u", APP.0, &format!("-p{}", APP.1), verify, "-N", "-e", "SELECT CURRENT_USER()"]);
    command.arg(format!("-P{}", proxy.port)).arg(format!("--ssl-ca={}", house.authority.ca()));
    command.arg(format!("--ssl-cert={}", pair.cert)).arg(format!("--ssl-key={}", pair.key));
    Ok(command)
}

async fn wrong_certificates_are_told_in_one_sentence(kind: Kind) -> Result<()> {
    let authority = Authority::new("the tests' authority")?;
    let other = Authority::new("another authority")?;
    let (expired, elsewhere) = (authority.sign_until("expired", &["127.0.0.1"], 2020)?, authority.sign("elsewhere", &["db.example.com"])?);
    let good = authority.sign("good", &["127.0.0.1"])?;
    let (own, other_ca) = (authority.ca(), other.ca());
    let mut house = House::start_with(kind, authority, &expired, &[]).await?;
    let cases = [
        (&expired, "verify-ca", &own, "has expired; renew it on the server"),
        (&elsewhere, "verify-identity", &own, "db.example.com"),
        (&good, "verify-ca", &other_ca, "give the certificate of the one that signed it"),
    ];
    let mut serving = &expired;
    for (pair, mode, ca, words) in cases {
        if pair.cert != serving.cert {
            house = House::start_with(kind, house.authority, pair, &[]).await?;
            serving = pair;
        }
        let proxy = house.proxy("off", mode, &[("TIDEGATE_UPSTREAM_TLS_CA", ca)]).await?;
        match house.connect(proxy.port, APP, false).await {
            Err(mysql_async::Error::Server(error)) => ensure!(error.code == 1053 && error.message.contains(words), "{mode}: {error}"),
            other => bail!("{mode}: {other:?}"),
        }
        // The engine is told the same, once, and the admin gets in.
        proxy.admin().await?;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while !proxy.log().contains(words) {
            ensure!(tokio::time::Instant::now() < deadline, "{mode}: the log does not say {words:?}:\n{}", proxy.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    // A chain that is right and a name that is not: verify-ca does not mind, for sessions and for the engine.
    let house = House::start_with(kind, house.authority, &elsewhere, &[]).await?;
    let proxy = house.proxy("off", "verify-ca", &[]).await?;
    house.connect(proxy.port, APP, false).await?;
    proxy.admin().await?;
    proxy.assert_clean_log(&[])?;
    // A server without TLS where it is required.
    let off = if kind == Kind::MySql { "--tls-version=" } else { "--skip-ssl" };
    let plain = Server::start(kind, Settings { more: vec![off.to_owned()], ..Settings::default() }).await?;
    let proxy = Proxy::start(&plain.address(), &[("TIDEGATE_UPSTREAM_TLS", "required")]).await?;
    match proxy.connect().await.map_err(|error| error.to_string() + &format!("{:?}", error.source())) {
        Err(error) => ensure!(error.contains("does not offer TLS"), "{error}"),
        Ok(_) => bail!("a connection without TLS"),
    }
    let proxy = Proxy::start(&plain.address(), &[("TIDEGATE_UPSTREAM_TLS", "preferred")]).await?;
    proxy.connect().await?;
    proxy.assert_clean_log(&[])
}

async fn a_renewed_certificate_is_used_after_sighup(kind: Kind) -> Result<()> {
    let house = House::start(kind, &[]).await?;
    let proxy = house.proxy("required", "off", &[]).await?;
    let mut old = house.connect(proxy.port, APP, true).await?;
    // Another authority signs for the same files: who trusts only the first one must not get in any more.
    let renewed = Authority::new("the next authority")?;
    let next = renewed.sign("proxy", &["127.0.0.1"])?;
    let broken = std::fs::read(&house.own.cert)?;
    std::fs::write(&house.own.cert, b"nothing")?;
    proxy.signal("HUP")?;
    wait_for(&proxy, "certificates stay as they were").await?;
    house.connect(proxy.port, APP, true).await.context("a file that cannot be used must change nothing")?;
    std::fs::write(&house.own.cert, broken)?;
    std::fs::copy(&next.cert, &house.own.cert)?;
    std::fs::copy(&next.key, &house.own.key)?;
    proxy.signal("HUP")?;
    wait_for(&proxy, "were read again").await?;
    ensure!(house.connect(proxy.port, APP, true).await.is_err(), "the old certificate is still shown");
    let moved = House { server: Server::start(kind, Settings::default()).await?, authority: renewed, own: next };
    moved.connect(proxy.port, APP, true).await?;
    old.query_drop("DO 1").await.context("a session that is open must go on")?;
    Ok(())
}

async fn wait_for(proxy: &Proxy, words: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !proxy.log().contains(words) {
        ensure!(tokio::time::Instant::now() < deadline, "the log does not say {words:?}:\n{}", proxy.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn tls_carries_what_is_large(kind: Kind) -> Result<()> {
    let house = House::start(kind, &[]).await?;
    let proxy = house.proxy("required", "required", &[]).await?;
    let mut conn = house.connect(proxy.port, APP, true).await?;
    conn.query_drop("CREATE DATABASE shop").await?;
    conn.query_drop("CREATE TABLE shop.b (id INT PRIMARY KEY, b LONGBLOB)").await?;
    let blob: Vec<u8> = (0..20_000_000_u32).map(|number| (number ^ number >> 7) as u8).collect();
    conn.exec_drop("INSERT INTO shop.b VALUES (1, ?)", (blob.clone(),)).await?;
    let back: Option<Vec<u8>> = conn.query_first("SELECT b FROM shop.b").await?;
    ensure!(back.as_deref() == Some(blob.as_slice()), "the blob came back changed");
    let rows: Vec<String> = conn.query("SELECT REPEAT(CHAR(65 + seq.n % 26), 1000) FROM (WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT n FROM s) seq").await?;
    ensure!(rows.len() == 900);
    proxy.assert_clean_log(&[])
}
