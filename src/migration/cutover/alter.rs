//! One attempt to let the server alter the table behind the gate, where nothing was copied.
//!
//! The statement waits for the table's metadata lock as LOCK TABLES would, for no longer, and is ended by the same watchman.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::policy;
use super::super::site::Site;
use super::crew::{Around, Crew, Watchman};
use super::locked::ISSUED_LEAST;
use super::protocol::Way;
use super::{BEGIN_PATIENCE, Outcome, Report, Steps, drained, holders, release, seen};
use crate::gate::{Gate, Held};
use crate::upstream::{self, Link};

/// How often it is asked whether the ALTER still waits for somebody who has the table open.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Makes one attempt.
///
/// # Errors
/// [`Error::Refused`] where the server refuses the ALTER; anything else where the attempt could not even begin.
///
/// # Cancel safety
/// Not safe: once begun it must be awaited. Dropped, it leaves the truth to the table's definition.
pub async fn attempt(site: &Site, gate: &Arc<Gate>, sql: &str) -> Result<(Outcome, Report), Error> {
    let begun = tokio::time::timeout(BEGIN_PATIENCE, begin(site)).await;
    let (mut crew, mut control, outside) =
        begun.map_err(|_| upstream::Error::TooLong(BEGIN_PATIENCE, "opening the attempt's connections"))??;
    let mut steps = Steps::default();
    let began = Instant::now();
    let held = match drained(site, gate, began, &mut steps).await? {
        Ok(held) => held,
        Err(called_off) => return Ok(called_off),
    };
    let deadline = began + site.max_hold() * 4 / 5;
    let watchman = Watchman::begin(site.server.clone(), outside, crew.ids(), deadline, site);
    let result = alter(site, &held, &mut crew, &mut control, (deadline, &watchman), sql).await;
    steps.mark("alter");
    drop(watchman);
    let hold = release(site, held, &mut steps).await;
    let outcome = match judge(result)? {
        Outcome::NotCommitted(kind, reason) => {
            let who = holders::suspects_soon(site, &mut control).await;
            Outcome::NotCommitted(kind, format!("{reason}{who}"))
        }
        other => other,
    };
    Ok((outcome, Report::new(steps, hold, began.elapsed())))
}

/// All connections are opened before anybody is held.
async fn begin(site: &Site) -> Result<(Crew, Link, Link), Error> {
    let mut crew = Crew::open(site, Way::LockedRename, Around::default()).await?;
    // The operator's words are read under the server's own sql_mode.
    crew.lock.run("SET SESSION sql_mode = DEFAULT, foreign_key_checks = DEFAULT").await?;
    Ok((crew, site.server.connect_engine().await?, site.server.connect_engine().await?))
}

async fn alter(
    site: &Site,
    held: &Held,
    crew: &mut Crew,
    control: &mut Link,
    (deadline, watchman): (Instant, &Watchman),
    sql: &str,
) -> Result<(), Error> {
    crate::failpoints::reach("cutover.drained").await?;
    held.set_step("alter");
    let left = deadline.saturating_duration_since(Instant::now());
    // Somebody round the proxy who has the table open gets no longer than the drain did.
    let patience = left.min(site.drain_budget().max(Duration::from_millis(100)));
    let deadline = deadline.max(Instant::now() + ISSUED_LEAST).min(deadline + site.max_hold() / 5);
    watchman.set_deadline(deadline);
    let id = crew.lock.id();
    crate::failpoints::reach("cutover.alter_issued").await?;
    let limit = deadline.saturating_duration_since(Instant::now());
    let answer = tokio::select! {
        answer = crew.lock.run_within(sql, limit, &mut crew.watchdog, "ALTER TABLE") => answer,
        () = end_if_it_waits(control, id, patience) => Ok(()),
    };
    crate::failpoints::reach("cutover.altered").await?;
    Ok(answer?)
}

/// Ends the ALTER where it waits for the table's metadata lock for too long; never resolves. What it answers then is its own.
async fn end_if_it_waits(control: &mut Link, id: u32, patience: Duration) {
    tokio::time::sleep(patience).await;
    loop {
        match seen::alter_waits(control, id).await {
            Ok(true) => {
                let _ = control.kill_query(id).await;
            }
            Ok(false) => {}
            // The watchman is still there.
            Err(_) => std::future::pending().await,
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn judge(result: Result<(), Error>) -> Result<Outcome, Error> {
    let error = match result {
        Ok(()) => return Ok(Outcome::Committed),
        Err(Error::Upstream(error)) => error,
        // What is injected stands for an answer that was lost.
        Err(error @ Error::Injected(_)) => return Ok(Outcome::Unknown(error.to_string())),
        Err(error) => return Err(error),
    };
    let waited = "ALTER TABLE: somebody who bypasses the proxy has the table open";
    match &error {
        upstream::Error::Server { code: 1205 | 1317 | 3024, .. } => Ok(Outcome::NotCommitted("not_locked", waited.into())),
        upstream::Error::Server { .. } if error.is_lost() => Ok(Outcome::Unknown(error.to_string())),
        upstream::Error::Server { .. } if policy::is_about_the_server(&error) => {
            Ok(Outcome::NotCommitted("not_committed", error.to_string()))
        }
        upstream::Error::Server { .. } => Err(super::super::Refusal::from_upstream(&error).into()),
        upstream::Error::TooLong(..) => Ok(Outcome::NotCommitted("not_locked", error.to_string())),
        _ => Ok(Outcome::Unknown(error.to_string())),
    }
}
