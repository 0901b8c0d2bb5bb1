//! One case, done twice on one server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::case::Case;
use super::picture;
use crate::support::admin::server_error;
use crate::support::{Admin, Lab};

const LONG: Duration = Duration::from_secs(60);

/// What ALTER or MIGRATE ended in: the refusal's number and words.
type Answer = Option<(u16, String)>;

/// A case done both ways.
pub struct Rehearsed {
    /// The server's own answer.
    pub own: Answer,
    /// The migration's.
    pub ours: Answer,
    /// What is different.
    pub differences: Vec<String>,
}

/// Does a case both ways; gives what is different.
pub async fn run(lab: &Lab, case: &Case) -> Result<Vec<String>> {
    Ok(rehearse(lab, case).await?.differences)
}

/// Does a case both ways.
pub async fn rehearse(lab: &Lab, case: &Case) -> Result<Rehearsed> {
    let (own_schema, our_schema) = (format!("own_{}", case.slug()), format!("our_{}", case.slug()));
    let mut conn = lab.server.connect().await?;
    // A privileged account's own statement must not be taken for the application's.
    create(&mut conn, &own_schema, case).await.context("create.sql on the server")?;
    let mut loader = schema_session(lab.server.connect().await?, &own_schema).await?;
    let mut said_own = perform_all(&mut loader, &case.load, &own_schema).await?;
    said_own.extend(perform_all(&mut loader, &case.later, &own_schema).await?);
    let mut judge = schema_session(lab.server.connect().await?, &own_schema).await?;
    let before = picture::definition(&mut judge, &own_schema, case.table.trim_matches('`')).await?;
    let own_answer = match judge.query_drop(format!("ALTER TABLE {} {}", case.table, case.alter)).await {
        Ok(()) => None,
        Err(mysql_async::Error::Server(error)) => Some((error.code, error.message)),
        Err(error) => return Err(error).context("the server's own ALTER"),
    };
    // Foreign keys and views of one copy know nothing of the other: only now the second one.
    create(&mut conn, &our_schema, case).await.context("create.sql for the migration")?;
    let mut loader = schema_session(lab.proxy.connect().await?, &our_schema).await?;
    let mut said_ours = Vec::new();
    let mut admin = lab.admin().await?;
    let our_answer = migrate(&mut admin, case, &our_schema, &mut loader, &mut said_ours).await?;

    let mut found = Vec::new();
    let number = |answer: &Answer| answer.as_ref().map(|(code, _)| *code);
    if number(&own_answer) != number(&our_answer) {
        // What follows from it needs no telling.
        found.push(format!("the server answers {}, the migration {}", show(&own_answer), show(&our_answer)));
        drop_both(&mut conn, &own_schema, &our_schema).await?;
        return Ok(Rehearsed { own: own_answer, ours: our_answer, differences: found });
    }
    for (statement, (ours, own)) in case.load.iter().chain(&case.later).zip(said_ours.iter().zip(&said_own)) {
        if ours != own {
            found.push(format!("{statement}\n  through the proxy: {ours}\n  on the server: {own}"));
        }
    }
    let mut look = lab.server.connect().await?;
    let compare = async |look: &mut Conn| -> Result<Vec<String>> {
        let mut ours = picture::of(look, &our_schema).await?;
        let own = picture::of(look, &own_schema).await?;
        picture::forgive_counters(&mut ours, &own, &before);
        Ok(picture::differences(&ours, &own))
    };
    found.extend(compare(&mut look).await?);
    if found.is_empty() && !case.after.is_empty() {
        let mut ours = schema_session(lab.proxy.connect().await?, &our_schema).await?;
        let mut own = schema_session(lab.server.connect().await?, &own_schema).await?;
        for statement in &case.after {
            let (ours, own) = (perform(&mut ours, statement, &our_schema).await?, perform(&mut own, statement, &own_schema).await?);
            if ours != own {
                found.push(format!("{statement}\n  on the migrated table: {ours}\n  on the server's: {own}"));
            }
        }
        found.extend(compare(&mut look).await?);
    }
    drop_both(&mut conn, &own_schema, &our_schema).await?;
    Ok(Rehearsed { own: own_answer, ours: our_answer, differences: found })
}

async fn drop_both(conn: &mut Conn, own: &str, ours: &str) -> Result<()> {
    conn.query_drop("SET foreign_key_checks = 0").await?;
    for schema in [own, ours] {
        conn.query_drop(format!("DROP DATABASE `{schema}`")).await?;
    }
    Ok(())
}

fn show(answer: &Answer) -> String {
    answer.as_ref().map_or_else(|| "OK".to_owned(), |(code, message)| format!("{code} ({message})"))
}

/// A session in a schema.
pub async fn schema_session(mut conn: Conn, schema: &str) -> Result<Conn> {
    conn.query_drop(format!("USE `{schema}`")).await?;
    Ok(conn)
}

/// Makes a schema with a case's tables and rows.
pub async fn create(conn: &mut Conn, schema: &str, case: &Case) -> Result<()> {
    conn.query_drop(format!("DROP DATABASE IF EXISTS `{schema}`")).await?;
    conn.query_drop(format!("CREATE DATABASE `{schema}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")).await?;
    conn.query_drop(format!("USE `{schema}`")).await?;
    conn.query_drop("SET NAMES utf8mb4").await?;
    let own_mode: Option<String> = conn.query_first("SELECT @@sql_mode").await?;
    for statement in &case.create {
        conn.query_drop(statement).await.with_context(|| statement.clone())?;
    }
    conn.query_drop(format!("SET sql_mode = '{}'", own_mode.unwrap_or_default())).await?;
    Ok(())
}

/// Migrates with the case's writes in both windows; gives the refusal.
async fn migrate(admin: &mut Admin, case: &Case, schema: &str, loader: &mut Conn, said: &mut Vec<String>) -> Result<Answer> {
    let started = admin
        .migrate(
            &format!("`{schema}`.`{}`", case.table.trim_matches('`')),
            &case.alter,
            // What costs several ALTERs under the lock must not be called off for ever on a slow machine.
            "WITH postpone = true, ignore_breaking = true, strategy = 'copy', max_hold_ms = 5000",
        )
        .await;
    said.extend(perform_all(loader, &case.load, schema).await?);
    let id = match started {
        Ok(id) => id,
        Err(error) => {
            said.extend(perform_all(loader, &case.later, schema).await?);
            return server_error(&error).map(Some).ok_or(error);
        }
    };
    let result = finish(admin, id, case, schema, loader, said).await;
    if result.is_err() {
        let _ = admin.run(&format!("CANCEL MIGRATION {id}")).await;
        let _ = admin.wait_phase(id, &["cancelled", "failed", "done"], LONG).await;
    }
    result
}

async fn finish(admin: &mut Admin, id: u64, case: &Case, schema: &str, loader: &mut Conn, said: &mut Vec<String>) -> Result<Answer> {
    let status = admin.wait_phase(id, &["ready", "failed", "parked"], LONG).await?;
    said.extend(perform_all(loader, &case.later, schema).await?);
    let status = if status.phase() == "ready" {
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        admin.wait_phase(id, &["done", "failed", "parked"], LONG).await?
    } else {
        status
    };
    match status.phase() {
        "done" => Ok(None),
        "failed" => Ok(Some((status.error_code(), status.text("error").to_owned()))),
        _ => bail!("parked with {} {}", status.error_code(), status.text("error")),
    }
}

async fn perform_all(conn: &mut Conn, statements: &[String], schema: &str) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for statement in statements {
        said.push(perform(conn, statement, schema).await?);
    }
    Ok(said)
}

/// Runs a statement; gives rows changed, rows read, or the error's number.
pub async fn perform(conn: &mut Conn, statement: &str, schema: &str) -> Result<String> {
    let mut result = match conn.query_iter(statement).await {
        Ok(result) => result,
        Err(mysql_async::Error::Server(error)) => return Ok(format!("error {}", error.code)),
        Err(error) => return Err(error).with_context(|| statement.to_owned()),
    };
    let mut lines = Vec::new();
    loop {
        let rows: Vec<mysql_async::Row> = match result.collect().await {
            Ok(rows) => rows,
            Err(mysql_async::Error::Server(error)) => return Ok(format!("error {}", error.code)),
            Err(error) => return Err(error).with_context(|| statement.to_owned()),
        };
        lines.extend(rows.iter().map(picture::line));
        if result.is_empty() {
            break;
        }
    }
    let affected = result.affected_rows();
    drop(result);
    Ok(format!("{affected} changed; {}", lines.join("; ").replace(schema, "THIS")))
}
