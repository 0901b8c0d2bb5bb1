//! One server, one proxy in front of it, one filled table: what most tests begin with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use super::failpoints::Failpoints;
use super::load::{Load, Options, Outcome, judge, table};
use super::proxy::Proxy;
use super::relay::Relay;
use super::servers::{Kind, Server, Settings};
use super::{Admin, compare};

/// The schema of the application's table.
pub const SCHEMA: &str = "shop";
/// The application's table.
pub const TABLE: &str = "shop.orders";

/// A server and a proxy.
#[derive(Debug)]
pub struct Lab {
    /// Declared first: the proxy ends before its server.
    pub proxy: Proxy,
    /// The server behind it.
    pub server: Server,
}

impl Lab {
    /// Starts both.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, Settings::default(), &[]).await
    }

    /// Starts both with settings of their own.
    pub async fn start_with(kind: Kind, settings: Settings, environment: &[(&str, &str)]) -> Result<Self> {
        let server = Server::start(kind, settings).await?;
        let proxy = Proxy::start(&server.address(), environment).await?;
        Ok(Self { proxy, server })
    }

    /// The same, with failpoints that a file sets.
    pub async fn with_failpoints(kind: Kind, settings: Settings, environment: &[(&str, &str)]) -> Result<(Self, Failpoints)> {
        let failpoints = Failpoints::new()?;
        let (name, file) = failpoints.environment();
        let lab = Self::start_with(kind, settings, &[environment, &[(name, file.as_str())]].concat()).await?;
        Ok((lab, failpoints))
    }

    /// A proxy that reaches the server through a relay, with failpoints that a file sets.
    pub async fn behind_a_relay(server: Server, environment: &[(&str, &str)]) -> Result<(Self, Relay, Failpoints)> {
        let (relay, failpoints) = (Relay::start(server.port).await?, Failpoints::new()?);
        let (name, file) = failpoints.environment();
        let proxy = Proxy::start(&relay.address(), &[environment, &[(name, file.as_str())]].concat()).await?;
        Ok((Self { proxy, server }, relay, failpoints))
    }

    /// Fills the table and starts the application on it, through the proxy.
    pub async fn load(&self, rows: i32, options: &Options) -> Result<Load> {
        let mut conn = self.server.connect().await?;
        let journals = table::prepare(&mut conn, SCHEMA, rows, options.clients).await?;
        Load::start(self.proxy.port, SCHEMA, journals, options).await
    }

    /// An admin session.
    pub async fn admin(&self) -> Result<Admin> {
        self.proxy.admin().await
    }

    /// Runs statements straight on the server.
    pub async fn sql(&self, statements: &[&str]) -> Result<()> {
        let mut conn = self.server.connect().await?;
        for statement in statements {
            conn.query_drop(*statement).await.with_context(|| (*statement).to_owned())?;
        }
        Ok(())
    }

    /// Fails where a write is missing or doubled, a row wrong, a read went back, or a client saw an error.
    pub async fn assert_nothing_lost(&self, outcome: &Outcome) -> Result<()> {
        assert_nothing_lost(&self.server, outcome).await?;
        ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
        Ok(())
    }

    /// Fails where a finished migration has left a schema, a table or a running statement behind; waits a little for the last.
    pub async fn assert_nothing_left(&self) -> Result<()> {
        let mut conn = self.server.connect().await?;
        let mut left = Vec::new();
        for _ in 0..100 {
            left = compare::leftovers(&mut conn).await?;
            left.extend(compare::engine_activity(&mut conn).await?);
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("left behind on the server: {}", left.join("; "))
    }

    /// Fails where the table's definition is not what the server's own ALTER makes of the one before.
    pub async fn assert_like_twin(&self, twin: &str) -> Result<()> {
        compare::assert_same_definition(&mut self.server.connect().await?, TABLE, twin).await
    }
}

/// Compares the journals with the table on the server.
pub async fn assert_nothing_lost(server: &Server, outcome: &Outcome) -> Result<()> {
    let verdict = judge::judge(&outcome.journals, &table::contents(&mut server.connect().await?, SCHEMA).await?);
    ensure!(verdict.is_clean(), "acknowledged writes are not as they must be: {verdict:#?}");
    ensure!(
        outcome.seen.stale_reads == 0,
        "{} answers contradict what the client itself had written:\n{}",
        outcome.seen.stale_reads,
        outcome.seen.stale_examples.join("\n")
    );
    Ok(())
}
