//! Numbers of rows that are gone are not given again: the AUTO_INCREMENT counter behind the gate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::Kind;
use crate::support::failpoints::Failpoints;
use crate::support::lab::Lab;
use crate::support::servers::Settings;

on_both_servers!(the_counter_is_the_sources_where_the_last_rows_have_gone_again,);

const LONG: Duration = Duration::from_secs(60);

/// What else the table has, the ALTER, the number of the row that comes and goes, and how often the server must be asked to ALTER.
const CASES: [(&str, &str, u64, u64); 3] = [
    ("note VARCHAR(20) NOT NULL, CHECK (note <> 'seven')", "ADD COLUMN more INT", 500, 0),
    // No row can be made up that comes and goes: the name that stands for nothing is taken.
    ("note VARCHAR(20) NOT NULL UNIQUE", "ADD COLUMN more INT", 500, 1),
    // A row with this number would be made one with another.
    ("note VARCHAR(20) NOT NULL", "MODIFY id TINYINT UNSIGNED NOT NULL AUTO_INCREMENT", 300, 1),
];

async fn the_counter_is_the_sources_where_the_last_rows_have_gone_again(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    // No attempt is called off because this machine is slow.
    let environment = [(name, file.as_str()), ("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")];
    let lab = Lab::start_with(kind, Settings::default(), &environment).await?;
    let (mut conn, mut admin) = (lab.server.connect().await?, lab.admin().await?);
    conn.query_drop("CREATE DATABASE shop").await?;
    for (columns, alter, number, alters) in CASES {
        conn.query_drop(format!("CREATE TABLE shop.counted (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, {columns})")).await?;
        conn.query_drop("INSERT INTO shop.counted (note) VALUES (''), ('one'), ('two')").await?;
        let options = "WITH strategy = 'copy', postpone = true";
        let id = admin.migrate("shop.counted", alter, options).await?;
        admin.wait_phase(id, &["ready"], LONG).await?;
        failpoints.stop_at("cutover.drained")?;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        failpoints.stopped(LONG).await?;
        // Round the proxy: through it nobody gets here.
        conn.query_drop(format!("INSERT INTO shop.counted (id, note) VALUES ({number}, 'gone')")).await?;
        conn.query_drop(format!("DELETE FROM shop.counted WHERE id = {number}")).await?;
        let before = (counter(&mut conn).await?, altered(&mut conn).await?, rows(&mut conn).await?);
        failpoints.go()?;
        admin.wait_done(id, LONG).await?;
        let after = (counter(&mut conn).await?, altered(&mut conn).await? - alters, rows(&mut conn).await?);
        ensure!(after == before, "{columns}, {alter}: counter, ALTERs and rows were {before:?} and are {after:?}");
        conn.query_drop("DROP TABLE shop.counted").await?;
    }
    lab.assert_nothing_left().await
}

/// "AUTO_INCREMENT=501".
async fn counter(conn: &mut Conn) -> Result<String> {
    let (_, create): (String, String) = conn.query_first("SHOW CREATE TABLE shop.counted").await?.context("no table")?;
    Ok(create.split_once(" AUTO_INCREMENT=").context("no counter")?.1.split(' ').next().unwrap_or_default().to_owned())
}

async fn altered(conn: &mut Conn) -> Result<u64> {
    let (_, number): (String, u64) = conn.query_first("SHOW GLOBAL STATUS LIKE 'Com_alter_table'").await?.context("no status")?;
    Ok(number)
}

async fn rows(conn: &mut Conn) -> Result<Vec<(u64, String)>> {
    Ok(conn.query("SELECT id, note FROM shop.counted ORDER BY id").await?)
}
