//! Statements that the new table would refuse are known before the swap; the server's own ALTER is the judge.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::{Kind, Lab, compare};

on_both_servers!(statements_that_would_break_keep_the_swap_waiting);

const ALTER: &str =
    "ADD COLUMN fresh INT NOT NULL DEFAULT 0, ADD COLUMN more INT, DROP COLUMN old, DROP INDEX by_b, RENAME COLUMN c TO renamed";

const STATEMENTS: [&str; 20] = [
    "INSERT INTO shop.pairs VALUES (100, 1, 2, 3, 4)",
    "INSERT INTO shop.pairs VALUES (101, 1, 2, 3, 4), (102, 1, 2, 3, 4)",
    "INSERT INTO pairs (id, b) VALUES (103, 5)",
    "INSERT INTO pairs SET id = 104, old = 5",
    "REPLACE INTO shop.pairs (id, b, c) VALUES (105, 1, 1)",
    "SELECT * FROM shop.pairs WHERE id = 1",
    "SELECT old FROM pairs WHERE id = 1",
    "SELECT p.old, q.n FROM `shop`.`pairs` AS p JOIN shop.others q ON q.id = p.id",
    "SELECT pairs.b FROM shop.pairs WHERE pairs.id IN (1, 2)",
    "SELECT b FROM shop.pairs FORCE INDEX (by_b) WHERE b = 1",
    "SELECT b FROM shop.pairs ORDER BY c",
    "SELECT COUNT(*) FROM shop.pairs",
    "SELECT fresh FROM shop.others JOIN shop.pairs USING (id)",
    "UPDATE shop.pairs SET b = b + 1 WHERE old = 7",
    "UPDATE shop.pairs SET b = b + 1 WHERE id = 2",
    "DELETE FROM shop.pairs WHERE c = 12345",
    "DELETE FROM pairs WHERE id = 100",
    "SELECT (SELECT MAX(old) FROM pairs) FROM others LIMIT 1",
    // A column and an alias of the table's own name: right on both tables.
    "UPDATE shop.pairs SET pairs = 1 WHERE id = 2",
    "SELECT pairs.pairs FROM shop.pairs AS pairs WHERE pairs = 1",
];

/// Sent by a session in another schema, whose table of the same name has nothing to do with the migration.
const ELSEWHERE: [&str; 3] = ["SELECT old FROM pairs", "DELETE FROM pairs WHERE old = 5", "INSERT INTO pairs VALUES (7)"];

async fn statements_that_would_break_keep_the_swap_waiting(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&[
        "CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4",
        "CREATE TABLE shop.pairs (id INT PRIMARY KEY, b INT, c INT, old INT, pairs INT, KEY by_b (b))",
        "INSERT INTO shop.pairs VALUES (1, 1, 1, 1, 1), (2, 2, 2, 2, 2)",
        "CREATE TABLE shop.others (id INT PRIMARY KEY, n INT, fresh INT)",
        "INSERT INTO shop.others VALUES (1, 1, 1)",
        "CREATE DATABASE elsewhere",
        "CREATE TABLE elsewhere.pairs (old INT)",
    ])
    .await?;
    let mut direct = lab.server.connect().await?;
    let twin = compare::make_twin(&mut direct, "shop", "pairs", false).await?;
    ensure!(compare::alter_twin(&mut direct, &twin, ALTER).await?.is_none());
    // What fails on the twin must be listed, and nothing else. (Others of the schema are views there.)
    let schema = twin.split('.').next().unwrap_or_default().trim_matches('`').to_owned();
    direct.query_drop(format!("CREATE VIEW `{schema}`.others AS SELECT * FROM shop.others")).await?;
    direct.query_drop(format!("USE `{schema}`")).await?;
    let mut expected = Vec::new();
    for sql in STATEMENTS {
        if direct.query_drop(sql.replace("shop.", "").replace("`shop`.", "")).await.is_err() {
            expected.push(sql);
        }
    }
    ensure!(expected.len() == 12, "{expected:#?}");

    let mut admin = lab.admin().await?;
    for option in ["postpone = true", "postpone = true, ignore_breaking = true"] {
        let ignores = option.contains("ignore");
        let alter = if ignores { "ADD COLUMN another INT" } else { ALTER };
        let id = admin.migrate("shop.pairs", alter, &format!("WITH strategy = 'copy', {option}")).await?;
        admin.wait_phase(id, &["ready"], Duration::from_secs(60)).await?;
        let mut client = lab.proxy.connect().await?;
        client.query_drop("USE shop").await?;
        let statements: Vec<String> = if ignores {
            vec!["INSERT INTO shop.pairs VALUES (200, 1, 2, 3, 4, 5)".into()]
        } else {
            STATEMENTS.iter().map(|sql| (*sql).into()).collect()
        };
        for (number, sql) in statements.iter().enumerate() {
            if number % 2 == 0 {
                client.query_drop(sql).await.with_context(|| sql.clone())?;
            } else {
                let statement = client.prep(sql.as_str()).await.with_context(|| sql.clone())?;
                client.exec_drop(&statement, ()).await.with_context(|| sql.clone())?;
            }
        }
        client.query_drop("USE elsewhere").await?;
        for sql in ELSEWHERE {
            client.query_drop(sql).await.context(sql)?;
        }
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        if ignores {
            let status = admin.wait_done(id, Duration::from_secs(60)).await?;
            ensure!(status.text("breaking").lines().count() == 1, "{status:?}");
            break;
        }
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            let status = admin.status(id).await?;
            if status.text("note").contains("would fail on the new table") {
                break status;
            }
            ensure!(status.phase() == "ready" && Instant::now() < until, "{status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        ensure!(status.number("cutover_attempts") == 0.0 && status.phase() == "ready", "{status:?}");
        let listed: Vec<&str> = status.text("breaking").lines().collect();
        println!("{kind}: {listed:#?}");
        // Two of them are one shape: INSERT … VALUES with one row and with two.
        ensure!(listed.len() == expected.len() - 1, "listed:\n{listed:#?}\nmust be\n{expected:#?}");
        ensure!(listed.iter().all(|line| !line.contains("12345") && !line.contains("~shadow")), "{listed:#?}");
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        admin.wait_done(id, Duration::from_secs(60)).await?;
    }
    lab.assert_nothing_left().await
}
