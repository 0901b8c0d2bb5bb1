//! A client of the admin commands.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use super::servers::connect;

/// A session of the admin user.
#[derive(Debug)]
pub struct Admin {
    conn: Conn,
}

/// One row of SHOW MIGRATIONS by column name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    columns: HashMap<String, String>,
}

impl Status {
    fn new(row: &Row) -> Self {
        let columns = row.columns_ref().iter().enumerate();
        Self { columns: columns.map(|(at, column)| (column.name_str().to_lowercase(), text(row.as_ref(at)))).collect() }
    }

    /// A column's text; empty for NULL and for a column that is not there.
    pub fn text(&self, column: &str) -> &str {
        self.columns.get(column).map_or("", String::as_str)
    }

    /// A column's number; 0 where it is none.
    pub fn number(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap_or(0.0)
    }

    /// True where SHOW MIGRATIONS has this column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// `migration_id`.
    pub fn id(&self) -> u64 {
        self.text("migration_id").parse().unwrap_or(0)
    }

    /// `phase`.
    pub fn phase(&self) -> &str {
        self.text("phase")
    }

    /// `error_code`.
    pub fn error_code(&self) -> u16 {
        self.text("error_code").parse().unwrap_or(0)
    }

    /// `longest_stall_ms`.
    pub fn longest_stall(&self) -> Duration {
        Duration::from_secs_f64(self.number("longest_stall_ms").max(0.0) / 1000.0)
    }

    /// Nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self.phase(), "done" | "reverted" | "failed" | "cancelled")
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::NULL) => String::new(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::UInt(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Double(number)) => number.to_string(),
        Some(other) => other.as_sql(true),
    }
}

/// What the server answered with, where an error is one of its answers and not of the way to it.
pub fn server_error(error: &anyhow::Error) -> Option<(u16, String)> {
    error.chain().find_map(|cause| match cause.downcast_ref::<mysql_async::Error>() {
        Some(mysql_async::Error::Server(error)) => Some((error.code, error.message.clone())),
        _ => None,
    })
}

impl Admin {
    /// Logs in.
    pub async fn connect(port: u16, account: (&str, &str)) -> Result<Self> {
        Ok(Self { conn: connect(port, account).await? })
    }

    /// One command, its rows.
    pub async fn rows(&mut self, command: &str) -> Result<Vec<Status>> {
        let rows: Vec<Row> = self.conn.query(command).await.with_context(|| format!("admin command {command:?}"))?;
        Ok(rows.iter().map(Status::new).collect())
    }

    /// One command whose rows do not matter.
    pub async fn run(&mut self, command: &str) -> Result<()> {
        self.rows(command).await.map(|_| ())
    }

    /// `MIGRATE TABLE table specification [options]`; the migration's id.
    pub async fn migrate(&mut self, table: &str, specification: &str, options: &str) -> Result<u64> {
        let rows = self.rows(format!("MIGRATE TABLE {table} {specification} {options}").trim_end()).await?;
        match rows.as_slice() {
            [row] if row.id() > 0 => Ok(row.id()),
            other => bail!("MIGRATE answered {other:?} instead of one row with a migration_id"),
        }
    }

    /// One migration as SHOW MIGRATION shows it.
    pub async fn status(&mut self, id: u64) -> Result<Status> {
        let rows = self.rows(&format!("SHOW MIGRATION {id}")).await?;
        rows.into_iter().next().with_context(|| format!("SHOW MIGRATION {id} answered no row"))
    }

    /// Waits until the migration is in one of the phases; an end or a parking that was not asked for is an error at once.
    pub async fn wait_phase(&mut self, id: u64, phases: &[&str], time: Duration) -> Result<Status> {
        let until = Instant::now() + time;
        loop {
            let status = self.status(id).await?;
            if phases.contains(&status.phase()) {
                return Ok(status);
            }
            let complaint = || anyhow!("migration {id} is {} and not {}: {status:?}", status.phase(), phases.join(" or "));
            if status.is_final() || status.phase() == "parked" {
                return Err(complaint());
            }
            if Instant::now() > until {
                return Err(complaint().context(format!("waited {time:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for `done`.
    pub async fn wait_done(&mut self, id: u64, time: Duration) -> Result<Status> {
        self.wait_phase(id, &["done"], time).await
    }
}
