//! Grants on a table and on its columns: after a migration, and after its REVERT, they allow what they allow after the server's own ALTER.

use std::time::Duration;

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::support::{Kind, Lab, servers};

on_both_servers!(grants_allow_what_they_do_after_the_servers_own_alter,);

const LONG: Duration = Duration::from_secs(60);
const CLERK: (&str, &str) = ("clerk", "clerk-pw");

/// Renames a column that a grant names, drops another, and adds one to a table that is granted as a whole.
const ALTER: &str = "CHANGE named renamed INT, DROP COLUMN gone, ADD COLUMN fresh INT";

/// What the clerk tries.
const TRIED: [&str; 9] = [
    "SELECT id FROM shop.{t}",
    "SELECT named FROM shop.{t}",
    "SELECT renamed FROM shop.{t}",
    "SELECT fresh FROM shop.{t}",
    "SELECT * FROM shop.{t}",
    "UPDATE shop.{t} SET free = 2 WHERE id = 1",
    "UPDATE shop.{t} SET renamed = 2 WHERE id = 1",
    "INSERT INTO shop.{t} (id, free) VALUES (2, 2)",
    "DELETE FROM shop.{t}",
];

async fn grants_allow_what_they_do_after_the_servers_own_alter(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    lab.sql(&["CREATE DATABASE shop", "CREATE USER 'clerk'@'%' IDENTIFIED BY 'clerk-pw'"]).await?;
    let tables = ["columns", "columns_twin", "whole", "whole_twin"];
    for table in tables {
        let grants = match table.starts_with("columns") {
            true => "SELECT (id, named, gone), UPDATE (id, free, named)",
            false => "SELECT, UPDATE, INSERT",
        };
        lab.sql(&[
            &format!("CREATE TABLE shop.`{table}` (id INT PRIMARY KEY, named INT, gone INT, free INT)"),
            &format!("INSERT INTO shop.`{table}` VALUES (1, 1, 1, 1)"),
            &format!("GRANT {grants} ON shop.`{table}` TO 'clerk'@'%'"),
        ])
        .await?;
    }
    let mut admin = lab.admin().await?;
    for table in ["columns", "whole"] {
        let before = allowed(&lab, table).await?;
        lab.sql(&[&format!("ALTER TABLE shop.`{table}_twin` {ALTER}")]).await?;
        let id = admin.migrate(&format!("shop.`{table}`"), ALTER, "WITH strategy = 'copy', revert_window_s = 600").await?;
        admin.wait_phase(id, &["reversible"], LONG).await?;
        let (ours, native) = (allowed(&lab, table).await?, allowed(&lab, &format!("{table}_twin")).await?);
        ensure!(ours == native, "{table}: {ours:#?}\nand after the server's own ALTER {native:#?}");
        ensure!(ours != before, "the ALTER has changed nothing for the clerk");
        admin.run(&format!("REVERT MIGRATION {id}")).await?;
        while admin.status(id).await?.text("swaps") != "2" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let after = allowed(&lab, table).await?;
        ensure!(after == before, "{table}: after REVERT {after:#?}\nand before the migration {before:#?}");
    }
    lab.proxy.assert_clean_log(&[])
}

/// The table's grants in the dictionary, and what the clerk is answered through the proxy.
async fn allowed(lab: &Lab, table: &str) -> Result<Vec<String>> {
    let mut direct = lab.server.connect().await?;
    let mut answers: Vec<String> = Vec::new();
    for dictionary in ["TABLE_PRIVILEGES", "COLUMN_PRIVILEGES"] {
        let column = if dictionary == "COLUMN_PRIVILEGES" { "COLUMN_NAME" } else { "''" };
        let sql = format!(
            "SELECT CONCAT_WS(' ', PRIVILEGE_TYPE, {column}) FROM information_schema.{dictionary} \
             WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = '{table}' AND GRANTEE LIKE '%clerk%' ORDER BY 1"
        );
        answers.extend(direct.query::<String, _>(sql).await?);
    }
    let mut clerk = servers::connect(lab.proxy.port, CLERK).await?;
    for sql in TRIED {
        clerk.query_drop("BEGIN").await?;
        let answer = answer(&mut clerk, &sql.replace("{t}", &format!("`{table}`"))).await?;
        clerk.query_drop("ROLLBACK").await?;
        answers.push(format!("{sql}: {}", answer.replace("_twin", "")));
    }
    clerk.disconnect().await?;
    Ok(answers)
}

async fn answer(conn: &mut Conn, sql: &str) -> Result<String> {
    match conn.query::<Row, _>(sql).await {
        Ok(rows) => Ok(format!("{} rows, {} affected", rows.len(), conn.affected_rows())),
        Err(mysql_async::Error::Server(error)) => Ok(format!("{} {}", error.code, error.message)),
        Err(error) => Err(error.into()),
    }
}
