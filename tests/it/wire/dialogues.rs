//! Commands in which both sides speak more than once, and what servers tell unasked: files, changes of user, changes of the
//! session, progress.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;

use super::{EXECUTE, Pair, QUERY, execute, tables};
use crate::support::Kind;
use crate::support::lab::Lab;
use crate::support::raw::{BASE, DEPRECATE_EOF, LOCAL_FILES, MARIADB, PROGRESS, Raw, SESSION_TRACK, framed, proof};
use crate::support::servers::APP;

on_both_servers!(local_files_are_taken_refused_and_cut_off, users_are_changed_by_every_plugin, changes_of_the_session_are_told,);

/// The sequence number behind the last packet of an answer.
pub(super) fn next(answer: &[u8]) -> Result<u8> {
    let (mut rest, mut sequence) = (answer, 0);
    while let [a, b, c, number, ..] = rest {
        let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        rest = rest.get(4 + length..).context("half a packet")?;
        sequence = *number;
    }
    Ok(sequence.wrapping_add(1))
}

async fn local_files_are_taken_refused_and_cut_off(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let load = "LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE shop.mine";
    for capabilities in [BASE, BASE | DEPRECATE_EOF, BASE | DEPRECATE_EOF | SESSION_TRACK] {
        let mut pair = Pair::new(&lab, capabilities | LOCAL_FILES, usize::MAX).await?;
        pair.query("CREATE TEMPORARY TABLE shop.mine (a INT, b VARCHAR(20))").await?;
        for (file, what) in [(&b"1\tone\n2\ttwo\n"[..], "a file"), (b"", "no file"), (b"x\tyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\nz", "wrong rows")]
        {
            let asked = pair.query(load).await?;
            ensure!(asked.get(4) == Some(&0xfb), "no file was asked for: {asked:02x?}");
            let mut sent = Vec::new();
            let mut sequence = next(&asked)?;
            for part in file.chunks(7) {
                sent.extend(framed(sequence, part));
                sequence = sequence.wrapping_add(1);
            }
            sent.extend(framed(sequence, b""));
            pair.bytes(&sent, what).await?;
            pair.query("SHOW WARNINGS").await?;
        }
        // Among others, and with the next command in the same write.
        let asked = pair.query(&format!("SELECT 1; {load}; SELECT 2")).await?;
        let sequence = next(&asked)?;
        let behind = pair.direct.command(QUERY, b"SELECT COUNT(*), COUNT(b) FROM shop.mine");
        let sent = [framed(sequence, b"7\tseven\n"), framed(sequence.wrapping_add(1), b""), behind].concat();
        pair.bytes(&sent, "a file among other statements").await?;
        pair.query("LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE shop.nosuch").await?;
        pair.query("SELECT SUM(a), GROUP_CONCAT(b ORDER BY b) FROM shop.mine").await?;
        pair.end().await?;
    }
    let mut pair = Pair::new(&lab, BASE, usize::MAX).await?;
    pair.query("LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE shop.loose").await?;
    pair.end().await?;
    // The client goes in the middle of a packet: nothing of the file is there, and nobody waits for the rest.
    let mut raw = Raw::login(lab.proxy.port, APP, BASE | LOCAL_FILES, usize::MAX).await?;
    raw.send(QUERY, b"LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE shop.loose").await?;
    raw.packet().await?;
    raw.write(&framed(2, b"1\tone\n2\ttwo\n")).await?;
    raw.write(&framed(3, b"3\tthree\n")[..8]).await?;
    let id = raw.connection_id;
    drop(raw);
    let mut direct = lab.server.connect().await?;
    let until = Instant::now() + Duration::from_secs(60);
    while direct.query_first::<u8, _>(format!("SELECT 1 FROM information_schema.processlist WHERE id = {id}")).await?.is_some() {
        ensure!(Instant::now() < until, "the session stays on the server");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rows: Option<u64> = direct.query_first("SELECT COUNT(*) FROM shop.loose").await?;
    ensure!(rows == Some(0), "{rows:?} rows of a file that was cut off");
    lab.proxy.assert_clean_log(&[])
}

/// COM_CHANGE_USER with its whole dialogue; gives what the server said, without what is random in it.
async fn change_user(raw: &mut Raw, (user, password): (&str, &str), plugin: &str) -> Result<Vec<String>> {
    let mut payload = [user.as_bytes(), b"\0\0shop\0", &[45, 0], plugin.as_bytes(), b"\0"].concat();
    if plugin.is_empty() {
        payload.truncate(payload.len() - 1);
    }
    raw.send(0x11, &payload).await?;
    let (mut salt, mut said) = (Vec::new(), Vec::new());
    loop {
        let (sequence, payload) = raw.packet().await?;
        let mut answer = None;
        match payload.as_slice() {
            [0xfe, rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == 0).context("no plugin")?;
                let name = String::from_utf8(rest[..end].to_vec())?;
                salt = rest.get(end + 1..end + 21).unwrap_or_default().to_vec();
                answer = Some(proof(name.as_bytes(), &salt, password).unwrap_or_else(|_| [password.as_bytes(), b"\0"].concat()));
                said.push(format!("{sequence}: switch to {name}"));
            }
            [1, 3] => said.push(format!("{sequence}: fast")),
            [1, 4] => {
                said.push(format!("{sequence}: full"));
                answer = Some(vec![2]);
            }
            [1, key @ ..] => {
                let mixed: Vec<u8> = password.bytes().chain([0]).zip(salt.iter().cycle()).map(|(a, b)| a ^ b).collect();
                said.push(format!("{sequence}: key of {} bytes", key.len()));
                answer = Some(mysql_common::crypto::encrypt(&mixed, key));
            }
            other => {
                said.push(format!("{sequence}: {}", String::from_utf8_lossy(other).replace(user, "USER")));
                return Ok(said);
            }
        }
        if let Some(answer) = answer {
            raw.write(&framed(sequence + 1, &answer)).await?;
        }
    }
}

async fn users_are_changed_by_every_plugin(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let plugins: &[&str] = match kind {
        Kind::MySql => &["caching_sha2_password", "sha256_password"],
        // PAM asks for the password, and refuses: what is asked and answered is what is compared.
        Kind::MariaDb => &["mysql_native_password", "ed25519", "unix_socket", "pam_v1"],
    };
    let mut direct = lab.server.connect().await?;
    for library in ["auth_ed25519", "auth_pam_v1"].iter().filter(|_| kind == Kind::MariaDb) {
        direct.query_drop(format!("INSTALL SONAME '{library}'")).await?;
    }
    let mut tried = Vec::new();
    for plugin in plugins {
        // One account for each way: MySQL remembers whom it has seen.
        let mut sides = Vec::new();
        for (side, port) in [("a", lab.server.port), ("b", lab.proxy.port)] {
            let user = format!("{side}_{}", &plugin[..6]);
            let made = match kind {
                Kind::MySql => direct.query_drop(format!("CREATE USER '{user}'@'%' IDENTIFIED WITH {plugin} BY 'secret'")).await,
                Kind::MariaDb if ["unix_socket", "pam_v1"].contains(plugin) => {
                    let name = plugin.trim_end_matches("_v1");
                    direct.query_drop(format!("CREATE USER '{user}'@'%' IDENTIFIED VIA {name}")).await
                }
                Kind::MariaDb => {
                    direct.query_drop(format!("CREATE USER '{user}'@'%' IDENTIFIED VIA {plugin} USING PASSWORD('secret')")).await
                }
            };
            if made.is_err() {
                break; // this server has no such plugin
            }
            direct.query_drop(format!("GRANT ALL ON *.* TO '{user}'@'%'")).await?;
            let mut all = Vec::new();
            let mut raw = Raw::login(port, APP, BASE, usize::MAX).await?;
            for (password, first) in
                [("secret", *plugin), ("secret", ""), ("secret", "mysql_clear_password"), ("wrong", *plugin), ("secret", *plugin)]
            {
                match change_user(&mut raw, (&user, password), first).await {
                    Ok(said) => all.push(said.join(", ")),
                    Err(error) => {
                        // The server has closed: a new session for the next attempt.
                        all.push(format!("closed: {}", error.root_cause()));
                        raw = Raw::login(port, APP, BASE, usize::MAX).await?;
                        continue;
                    }
                }
                raw.send(QUERY, b"SELECT SUBSTRING(CURRENT_USER(), 2), DATABASE(), @nothing").await?;
                match raw.packet().await {
                    Ok(_) => all.push(format!("{:02x?}", raw.until_quiet().await?)),
                    Err(_) => raw = Raw::login(port, APP, BASE, usize::MAX).await?,
                }
            }
            sides.push(all);
        }
        if let [theirs, ours] = &sides[..] {
            ensure!(ours == theirs, "{plugin}:\n{ours:#?}\ninstead of\n{theirs:#?}");
            tried.push((*plugin, theirs.len()));
        }
    }
    println!("{kind}: {tried:?}");
    ensure!(!tried.is_empty(), "no plugin could be tried");
    lab.proxy.assert_clean_log(&[])
}

async fn changes_of_the_session_are_told(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    for capabilities in [BASE | SESSION_TRACK, BASE | SESSION_TRACK | DEPRECATE_EOF, BASE] {
        let mut pair = Pair::new(&lab, capabilities, usize::MAX).await?;
        let id = pair.prepare("SELECT COUNT(*) FROM shop.orders WHERE id < 5").await?;
        for text in [
            "SET session_track_schema = 1, session_track_state_change = 1",
            "SET session_track_system_variables = 'autocommit,character_set_client,time_zone,sql_mode'",
            "SET sql_mode = 'ANSI_QUOTES'",
            "SET session_track_transaction_info = 'CHARACTERISTICS'",
            "USE shop",
            "SET NAMES latin1",
            "SET @a = 1",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "SELECT COUNT(*) FROM shop.orders",
            "INSERT INTO shop.loose VALUES (1, 'a')",
            "SELECT 1; SET NAMES utf8mb4; SELECT 2; CALL shop.opens()",
            "ROLLBACK AND CHAIN",
            "COMMIT",
            "LOCK TABLES shop.loose READ",
            "UNLOCK TABLES",
            "CREATE TEMPORARY TABLE shop.mine (a INT)",
            "SET autocommit = 0",
            "SELECT * FROM shop.mine",
        ] {
            pair.query(text).await?;
            pair.with(id, EXECUTE, &execute(0, &[])).await?;
        }
        pair.command(0x02, b"mysql").await?;
        pair.command(0x1f, b"").await?;
        pair.query("SELECT 1").await?;
        pair.end().await?;
    }
    lab.proxy.assert_clean_log(&[])
}

/// MariaDB's reports look like errors, and come while a statement runs.
#[test]
fn reports_of_progress_pass() {
    crate::run(reports());
}

async fn reports() -> Result<()> {
    let lab = Lab::start(Kind::MariaDb).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE TABLE shop.long (id INT PRIMARY KEY, t VARCHAR(100)) ENGINE=Aria"]).await?;
    let mut raw = Raw::login(lab.proxy.port, APP, (BASE & !1) | MARIADB | PROGRESS, usize::MAX).await?;
    raw.send(QUERY, b"SET progress_report_time = 1").await?;
    raw.packet().await?;
    let mut rows = 0;
    loop {
        // Until the ALTER takes longer than a second.
        let more = rows.max(200_000);
        ensure!(rows < 10_000_000, "no report of progress came for {rows} rows");
        lab.sql(&["USE shop", &format!("INSERT INTO shop.long SELECT seq + {rows}, REPEAT('x', 50) FROM seq_1_to_{more}")]).await?;
        rows += more;
        raw.send(QUERY, b"ALTER TABLE shop.long FORCE, ALGORITHM=COPY").await?;
        let mut reports = 0;
        loop {
            match raw.packet().await?.1.as_slice() {
                [0xff, 0xff, 0xff, ..] => reports += 1,
                [0, ..] => break,
                other => bail!("the ALTER ended with {:?}", String::from_utf8_lossy(other)),
            }
        }
        raw.send(QUERY, b"SELECT 7").await?;
        let answer = raw.until_quiet().await?;
        ensure!(answer.windows(2).any(|part| part == [1, b'7']), "the session does not go on: {answer:02x?}");
        if reports > 0 {
            return lab.proxy.assert_clean_log(&[]);
        }
    }
}
