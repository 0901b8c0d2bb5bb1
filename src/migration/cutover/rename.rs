//! A RENAME that another session has issued, and that locks keep waiting: how it is seen, awaited and ended.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::error::Error;
use super::locked::Attempt;
use super::{Outcome, seen};
use crate::upstream::{self, Link};

/// How often it is asked whether it waits.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(1);

/// How long it may take to end after a KILL.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(2);

/// So long it may take to answer at least, however little is left.
const ANSWER_LEAST: Duration = Duration::from_millis(100);

/// C2's RENAME on its way.
pub(super) struct Rename {
    /// The connection's number on the server.
    pub(super) id: u32,
    task: JoinHandle<Result<(), upstream::Error>>,
}

impl Rename {
    /// Sends it.
    pub(super) fn issue(mut link: Link, sql: String) -> Self {
        let id = link.id();
        let task = tokio::spawn(async move {
            // Only ever late: it is the server that refuses a RENAME.
            let _ = crate::failpoints::reach("cutover.rename_on_its_way").await;
            link.run(&sql).await
        });
        Self { id, task }
    }

    /// # Errors
    /// Where it has ended too early: before this, for people.
    pub(super) fn still_waits(&self, before: &str) -> Result<(), Error> {
        if self.task.is_finished() {
            return Err(Error::Stuck(format!("RENAME ended before {before}"), "it is tried again".into()));
        }
        Ok(())
    }

    /// Asks the server until it waits for a table's metadata lock.
    ///
    /// # Errors
    /// Where it has ended before this, or is not seen in time.
    pub(super) async fn is_seen_waiting(&self, control: &mut Link, give_up: Instant, before: &str) -> Result<(), Error> {
        loop {
            self.still_waits(before)?;
            if Attempt::within(give_up, "RENAME was not seen waiting", seen::waits(control, self.id, "RENAME")).await? {
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// What it has led to within what is left, as nothing of ours is in its way any more. Where somebody has a shadow open it holds the sources' names
    /// meanwhile: then it is ended.
    pub(super) async fn answered(&mut self, left: Duration, watchdog: &mut Link) -> Outcome {
        match tokio::time::timeout(left.max(ANSWER_LEAST), &mut self.task).await {
            Ok(answer) => judge(answer),
            Err(_) => self.end(watchdog).await.unwrap_or_else(does_not_end),
        }
    }

    /// Ends it: its statement, or where that is not answered its connection. Gives its own answer, if there is one.
    pub(super) async fn end(&mut self, watchdog: &mut Link) -> Option<Outcome> {
        let _ = tokio::time::timeout(END_PATIENCE, watchdog.kill_query(self.id)).await;
        if let Ok(answer) = tokio::time::timeout(END_PATIENCE, &mut self.task).await {
            return Some(judge(answer));
        }
        let _ = tokio::time::timeout(END_PATIENCE, watchdog.kill(self.id)).await;
        None
    }
}

/// What a RENAME has led to that gave no answer after a KILL.
pub(super) fn does_not_end() -> Outcome {
    Outcome::Unknown("RENAME does not end".into())
}

fn judge(answer: Result<Result<(), upstream::Error>, tokio::task::JoinError>) -> Outcome {
    match answer {
        Ok(result) => Outcome::of_rename(result),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}
