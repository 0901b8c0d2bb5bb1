//! What the server would refuse, Tidegate refuses: with the server's own error, and with the source untouched.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::admin::server_error;
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::proxy::ADMIN;
use crate::support::servers::{APP, POOR, connect};
use crate::support::{Admin, Kind, Proxy, compare};

on_both_servers!(
    refusals_of_the_server_come_back_as_its_own_errors,
    wrong_commands_are_answered_with_one_clear_sentence,
    missing_privileges_are_named,
);

async fn fingerprint(conn: &mut Conn, table: &str) -> Result<(String, Option<(String, u64)>)> {
    Ok((compare::definition(conn, table).await?, conn.query_first(format!("CHECKSUM TABLE {table} EXTENDED")).await?))
}

async fn refusals_of_the_server_come_back_as_its_own_errors(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 2000).await?;
    let mut conn = lab.server.connect().await?;
    conn.query_drop("UPDATE shop.orders SET payload = NULL WHERE id = 1500").await?;
    conn.query_drop("UPDATE shop.orders SET counter = 4000 WHERE id = 1600").await?;
    conn.query_drop("UPDATE shop.orders SET customer_id = 7 WHERE id IN (1, 1999)").await?;
    let mut admin = lab.admin().await?;
    for specification in [
        "ADD UNIQUE KEY one_customer (customer_id)",
        "MODIFY payload VARCHAR(255) NOT NULL",
        "MODIFY payload VARCHAR(10)",
        "MODIFY counter TINYINT NOT NULL DEFAULT 0",
        "MODIFY status INT NOT NULL",
        "MODIFY status ENUM('old','older') NOT NULL",
        "ADD COLUMN status INT",
        "DROP COLUMN no_such_column",
        "ADD INDEX (no_such_column)",
    ] {
        let before = fingerprint(&mut conn, TABLE).await?;
        let twin = compare::make_twin(&mut conn, SCHEMA, "orders", true).await?;
        let refusal = compare::alter_twin(&mut conn, &twin, specification).await?;
        let (code, message) = refusal.with_context(|| format!("the server itself does not refuse {specification}"))?;
        let (our_code, our_message) = refused(&mut admin, specification).await.context(specification)?;
        ensure!(our_code == code, "{specification}: the server says {code} {message:?}, Tidegate says {our_code} {our_message:?}");
        ensure!(!our_message.is_empty(), "{specification}: no words with the error");
        ensure!(fingerprint(&mut conn, TABLE).await? == before, "{specification}: the source was touched");
        lab.assert_nothing_left().await.context(specification)?;
    }
    lab.proxy.assert_clean_log(&["refused", "failed", "migration"])
}

/// The error with which a migration ends, or with which MIGRATE itself is answered.
async fn refused(admin: &mut Admin, specification: &str) -> Result<(u16, String)> {
    match admin.migrate(TABLE, specification, "WITH strategy = 'copy'").await {
        Ok(id) => {
            let status = admin.wait_phase(id, &["failed"], Duration::from_secs(60)).await?;
            Ok((status.error_code(), status.text("error").to_owned()))
        }
        Err(error) => server_error(&error).ok_or(error),
    }
}

/// The answer must be an error of the server protocol whose text has all of these words.
fn assert_says(what: &str, answer: Result<()>, words: &[&str]) -> Result<()> {
    let Err(error) = answer else { anyhow::bail!("{what}: was not refused") };
    let (code, message) = server_error(&error).with_context(|| format!("{what}: not answered with an error but {error:?}"))?;
    let lower = message.to_lowercase();
    let missing: Vec<_> = words.iter().filter(|word| !lower.contains(&word.to_lowercase())).collect();
    ensure!(missing.is_empty(), "{what}: {code} {message:?} does not name {missing:?}");
    ensure!(message.len() < 600 && !message.contains('\n'), "{what}: not one clear sentence: {message:?}");
    Ok(())
}

async fn wrong_commands_are_answered_with_one_clear_sentence(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    super::migrations::quiet_table(&lab, 10).await?;
    lab.sql(&["CREATE TABLE shop.keyless (a INT, b INT)"]).await?;
    let mut admin = lab.admin().await?;
    assert_says("a misspelt command", admin.run("MIGRAET TABLE shop.orders ADD COLUMN a INT").await, &["MIGRATE"])?;
    assert_says("a misspelt SHOW", admin.run("SHOW MIGRATONS").await, &["SHOW MIGRATIONS"])?;
    assert_says("no schema", admin.migrate("orders", "ADD COLUMN a INT", "").await.map(drop), &["orders"])?;
    assert_says("no specification", admin.run("MIGRATE TABLE shop.orders").await, &["ALTER"])?;
    assert_says("no such table", admin.migrate("shop.ordres", "ADD COLUMN a INT", "").await.map(drop), &["ordres"])?;
    assert_says(
        "no such option",
        admin.migrate(TABLE, "ADD COLUMN a INT", "WITH postpnoe = true").await.map(drop),
        &["postpnoe", "postpone"],
    )?;
    assert_says("a wrong value", admin.migrate(TABLE, "ADD COLUMN a INT", "WITH postpone = perhaps").await.map(drop), &["postpone"])?;
    assert_says("no such migration", admin.run("CANCEL MIGRATION 4711").await, &["4711"])?;
    assert_says(
        "no usable key",
        admin.migrate("shop.keyless", "ADD COLUMN c INT", "WITH strategy = 'copy'").await.map(drop),
        &["keyless", "key"],
    )?;
    // The session goes on after every one of them.
    let listed = admin.rows("SHOW MIGRATIONS").await?;
    let is_refused = |status: &crate::support::admin::Status| status.phase() == "failed" && !status.text("error").is_empty();
    ensure!(listed.iter().all(is_refused), "a refused migration lives: {listed:?}");

    let wrong = Admin::connect(lab.proxy.port, (ADMIN.0, "wrong")).await;
    let (code, message) = server_error(&wrong.err().context("a wrong admin password was let in")?).context("no error answer")?;
    ensure!(code == 1045 && message.contains(ADMIN.0), "{code} {message:?}");
    let wrong = connect(lab.proxy.port, (APP.0, "wrong")).await;
    let (code, message) = server_error(&wrong.err().context("a wrong password was let in")?).context("no error answer")?;
    ensure!(code == 1045 && message.contains(APP.0), "{code} {message:?}");
    Ok(())
}

async fn missing_privileges_are_named(kind: Kind) -> Result<()> {
    let environment = [("TIDEGATE_UPSTREAM_USER", POOR.0), ("TIDEGATE_UPSTREAM_PASSWORD", POOR.1)];
    let server = crate::support::Server::start(kind, Default::default()).await?;
    let mut proxy = Proxy::prepare(&server.address(), &environment)?;
    // Either the start says it, or MIGRATE does: with the account and at least one privilege by name.
    let said = match proxy.launch(&[]).await {
        Err(error) => format!("{error:?}"),
        Ok(()) => {
            let mut conn = server.connect().await?;
            conn.query_drop("CREATE DATABASE shop").await?;
            conn.query_drop("CREATE TABLE shop.orders (id INT PRIMARY KEY)").await?;
            let answer = proxy.admin().await?.migrate(TABLE, "ADD COLUMN a INT", "").await;
            let error = answer.err().context("MIGRATE was accepted without a single privilege")?;
            server_error(&error).map(|(_, message)| message).unwrap_or_else(|| format!("{error:?}"))
        }
    };
    ensure!(said.contains(POOR.0), "the account is not named: {said}");
    let has_name = ["SELECT", "CREATE", "REPLICATION", "LOCK TABLES"].iter().any(|name| said.to_uppercase().contains(name));
    ensure!(has_name, "no missing privilege is named: {said}");
    Ok(())
}

mod configuration {
    //! Needs no server: the program must say what is wrong and end.

    use std::process::Command;

    use anyhow::{Result, ensure};

    use crate::support::proxy::binary;

    /// Runs the program with this file; what it said, once it has ended with an error.
    fn complaint(file: &str, environment: &[(&str, &str)]) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("proxy-config.toml");
        std::fs::write(&path, file)?;
        let mut command = Command::new("timeout");
        command.arg("10").arg(binary()?).arg("--config").arg(&path).env("NO_COLOR", "1");
        command.envs(environment.iter().copied());
        let output = command.output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() != Some(124), "it runs although the configuration is wrong: {said}");
        ensure!(!output.status.success(), "it ended without an error: {said}");
        ensure!(!said.contains("panicked"), "it panicked: {said}");
        Ok(said)
    }

    fn assert_complains(file: &str, words: &[&str]) {
        let said = complaint(file, &[("TIDEGATE_LISTEN_ADDRESS", "127.0.0.1:0"), ("TIDEGATE_HTTP_ADDRESS", "127.0.0.1:0")]).unwrap();
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        assert_complains("[admin]\nuser = \"a\"\npassword = \"b\"\n\n[cutover]\nmax_hold_mss = 5\n", &["max_hold_mss", "6"]);
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        assert_complains("[admin]\npassword = \"b\"\n\n[cutover]\nmax_hold_ms = \"long\"\n", &["line 5", "number"]);
    }

    #[test]
    fn an_empty_admin_password_is_refused() {
        assert_complains("[admin]\nuser = \"boss\"\npassword = \"\"\n", &["password", "admin"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let output = Command::new(binary().unwrap()).args(["--config", "no-such-file.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("no-such-file.toml"), "{said}");
    }
}
