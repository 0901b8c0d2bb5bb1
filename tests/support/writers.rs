//! Clients that write one turn after the other and keep what was said to them, for tests that bring their own tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use super::servers;

/// How long the writers may stand still.
const LONG: Duration = Duration::from_secs(60);

/// What clients do.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The statements of one turn, of this client and this number.
    pub turn: fn(usize, usize) -> Vec<String>,
    /// What clients may tell each other on any server: the turn is over then, and nothing is kept.
    pub forgiven: &'static [u16],
}

/// The running clients.
pub struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    /// One client for each of `ports`.
    pub fn start(ports: &[u16], plan: Plan) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = ports
            .iter()
            .enumerate()
            .map(|(client, port)| tokio::spawn(write(client, *port, plan, stop.clone(), written.clone())))
            .collect();
        Self { stop, written, tasks }
    }

    /// Waits for so many more turns.
    pub async fn more(&self, turns: u64) -> Result<()> {
        let wanted = self.written.load(Ordering::Relaxed) + turns;
        let until = Instant::now() + LONG;
        while self.written.load(Ordering::Relaxed) < wanted {
            ensure!(Instant::now() < until, "the writers do not go on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Ends them and gives what was said to them.
    pub async fn stop(self) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for task in self.tasks {
            errors.extend(task.await?);
        }
        Ok(errors)
    }

    /// After 100 more turns ends them, and fails where one was told an error.
    pub async fn end_without_an_error(self) -> Result<()> {
        self.more(100).await?;
        let errors = self.stop().await?;
        ensure!(errors.is_empty(), "clients saw errors: {errors:?}");
        Ok(())
    }
}

/// One client; one that was told an error connects anew.
async fn write(client: usize, port: u16, plan: Plan, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut conn: Option<Conn> = None;
    let mut number = client;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let Some(link) = &mut conn else {
            conn = servers::connect(port, servers::APP).await.ok();
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut said = Ok(());
        for statement in (plan.turn)(client, number) {
            said = link.query_drop(&statement).await.map_err(|error| (statement, error));
            if said.is_err() {
                break;
            }
        }
        match said {
            Ok(()) => drop(written.fetch_add(1, Ordering::Relaxed)),
            Err((_, Error::Server(error))) if plan.forgiven.contains(&error.code) => {}
            Err((statement, error)) => {
                errors.push(format!("{statement}: {error}"));
                conn = None;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    errors
}
