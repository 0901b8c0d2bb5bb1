//! The table of the application: how it is made, filled, and read back.

use std::collections::HashMap;

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::journal::{Journal, Row};
use super::statement::{customer, payload};

/// The columns that the application knows; others may come and go.
pub const COLUMNS: &str = "id, customer_id, client, seq, counter, amount, status, payload";

/// The statement that creates the table.
pub fn create(schema: &str) -> String {
    format!(
        "CREATE TABLE `{schema}`.orders (id BIGINT NOT NULL AUTO_INCREMENT, customer_id INT NOT NULL, client INT NOT NULL, seq INT NOT NULL, \
         counter INT NOT NULL DEFAULT 0, amount DECIMAL(10,2) NOT NULL DEFAULT 0, status VARCHAR(20) NOT NULL DEFAULT 'new', \
         created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), payload VARCHAR(255) DEFAULT NULL, \
         PRIMARY KEY (id), KEY client_seq (client, seq)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    )
}

/// Creates schema and table anew, fills it with `rows` rows that belong to the clients in turn, and gives their journals.
pub async fn prepare(conn: &mut Conn, schema: &str, rows: i32, clients: i32) -> Result<Vec<Journal>> {
    conn.query_drop(format!("DROP DATABASE IF EXISTS `{schema}`")).await?;
    conn.query_drop(format!("CREATE DATABASE `{schema}` DEFAULT CHARACTER SET utf8mb4")).await?;
    conn.query_drop(create(schema)).await?;
    let mut journals: Vec<Journal> = (0..clients).map(Journal::new).collect();
    let batch = 1000;
    conn.query_drop("SET unique_checks = 0").await?;
    conn.query_drop("BEGIN").await?;
    for first in (0..rows).step_by(batch) {
        let mut sql = format!("INSERT INTO `{schema}`.orders ({COLUMNS}) VALUES ");
        let numbers = first..rows.min(first + batch as i32);
        for number in numbers.clone() {
            let (client, seq) = (number % clients, number / clients);
            let id = i64::from(number) + 1;
            let customer = customer(client, seq, 0);
            if number > first {
                sql.push(',');
            }
            sql.push_str(&format!("({id},{customer},{client},{seq},0,{seq}.50,'new','{}')", payload(client, seq, 0)));
            journals[client as usize].adopt(seq, Row { id: Some(id), counter: 0, customer });
        }
        conn.query_drop(sql).await?;
        if numbers.end % 50_000 == 0 {
            conn.query_drop("COMMIT").await?;
            conn.query_drop("BEGIN").await?;
        }
    }
    conn.query_drop("COMMIT").await?;
    conn.query_drop("SET unique_checks = 1").await?;
    conn.query_drop(format!("ANALYZE TABLE `{schema}`.orders")).await?;
    Ok(journals)
}

/// A row as it is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The primary key.
    pub id: i64,
    /// The counter.
    pub counter: i32,
    /// The indexed column.
    pub customer: i32,
    /// The text that depends on the rest.
    pub payload: String,
}

/// All rows of the table by (client, seq).
pub type Contents = HashMap<(i32, i32), Vec<Found>>;

/// Reads the whole table by its primary key.
pub async fn contents(conn: &mut Conn, schema: &str) -> Result<Contents> {
    let mut contents = Contents::new();
    let sql = format!("SELECT id, customer_id, client, seq, counter, payload FROM `{schema}`.orders FORCE INDEX (PRIMARY)");
    let mut rows = conn.query_iter(sql).await?;
    while let Some(row) = rows.next().await? {
        let row: (i64, i32, i32, i32, i32, Option<String>) = mysql_async::from_row_opt(row).context("a row of orders")?;
        let (id, customer, client, seq, counter, payload) = row;
        contents.entry((client, seq)).or_default().push(Found { id, counter, customer, payload: payload.unwrap_or_default() });
    }
    Ok(contents)
}
