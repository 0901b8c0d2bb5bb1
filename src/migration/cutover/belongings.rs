//! What a table has beside its rows: what must come off, or be added, before the RENAME, and be put right after it, under the same locks.
//!
//! Owns: how far that is done, for a table that is swapped alone and for each of several that are swapped together; and putting right what
//! an attempt that lost its locks has left.
//! Never: taken off, or added, before it is stored.

use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::foreign_keys::{self, Ties};
use super::super::job::Job;
use super::super::triggers::{self, Triggers};
use super::crew::Around;
use super::locked::Attempt;
use super::settle;
use crate::upstream::{self, Link};

/// How long each thing may take once the locks are lost; clients of the proxy are still held.
const LATE_PATIENCE: Duration = Duration::from_secs(5);

/// Of one table.
#[derive(Default)]
pub(super) struct Belongings {
    /// Its triggers: taken off before the RENAME, put on after it.
    pub(super) triggers: Triggers,
    /// Some of them may be off.
    is_bare: bool,
    /// The foreign keys on both sides, but for those of tables that are swapped together with it.
    pub(super) ties: Ties,
    /// Some of them may be where they must not stay.
    is_tied: bool,
}

impl Belongings {
    /// Nothing is done to them yet.
    pub(super) fn new(triggers: Triggers, ties: Ties) -> Self {
        Self { triggers, ties, ..Self::default() }
    }

    /// What must be put right under a lock once the table is swapped.
    pub(super) fn around(&self) -> Around {
        Around { has_triggers: !self.triggers.is_empty(), has_children: self.ties.has_children() }
    }

    /// Some triggers may be off.
    pub(super) fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// Some foreign keys may be where they must not stay.
    pub(super) fn is_tied(&self) -> bool {
        self.is_tied
    }

    /// Takes the triggers off; `link` has the table locked for writing. Gives up where they would not all be off by `until`.
    pub(super) async fn take_triggers_off(
        &mut self,
        job: &Job,
        control: &mut Link,
        link: &mut Link,
        until: Instant,
        deadline: Instant,
    ) -> Result<(), Error> {
        let source = &job.names.source;
        let question = self.triggers.are_as_read(control, source);
        if !Attempt::within(deadline, "the list of triggers", question).await? {
            return Err(Error::Stuck(format!("the triggers of {source} were changed at this moment"), "it is tried again".into()));
        }
        self.is_bare = true;
        Ok(Attempt::within(deadline, "DROP TRIGGER", self.triggers.take_off(link, source, until)).await?)
    }

    /// Puts the triggers on, whichever table has the name; `link` has it locked. What does not succeed is done again before the gate
    /// opens.
    pub(super) async fn put_triggers_on(&mut self, job: &Job, link: &mut Link, deadline: Instant) {
        let put_on = async {
            Attempt::within(deadline, "CREATE TRIGGER", self.triggers.put_on(link, &job.names.source)).await?;
            Ok::<(), Error>(crate::failpoints::reach("cutover.triggers_on").await?)
        };
        match put_on.await {
            Ok(()) => self.is_bare = false,
            Err(error) => tracing::debug!(migration = %job.id, %error, "the triggers could not be put on under the lock"),
        }
    }

    /// Refuses where a row would have no parent in the tables as they are now; everything is locked and applied.
    pub(super) async fn prove_ties(&self, job: &Job, link: &mut Link, deadline: Instant) -> Result<(), Error> {
        Attempt::within(deadline, "looking for rows without a parent", self.ties.prove(link, &job.names)).await
    }

    /// Gives the shadow the table's foreign keys, and each child a second one to the shadow.
    pub(super) async fn tie(&mut self, job: &Job, link: &mut Link, deadline: Instant) -> Result<(), Error> {
        self.is_tied = true;
        Ok(Attempt::within(deadline, "ALTER TABLE … ADD FOREIGN KEY", self.ties.tie(link, &job.names, job.id)).await?)
    }

    /// Brings foreign keys to where they belong, whichever table has the name; all of them are locked, by `children`, or by `side` the
    /// table that does not have the name. What does not succeed is done again before the gate opens.
    pub(super) async fn settle_ties(&mut self, job: &Job, children: &mut Link, side: Option<&mut Link>, deadline: Instant) {
        let (names, ties) = (&job.names, &self.ties);
        let settled = async {
            crate::failpoints::reach("cutover.untying").await?;
            let settling = async {
                foreign_keys::settle_children(children, names, job.id, ties).await?;
                foreign_keys::settle_side(side.unwrap_or(children), names, job.id).await
            };
            Attempt::within(deadline, "ALTER TABLE … DROP FOREIGN KEY", settling).await
        };
        match settled.await {
            Ok(()) => self.is_tied = false,
            Err(error) => tracing::debug!(migration = %job.id, %error, "the foreign keys could not be settled under the lock"),
        }
    }
}

/// The locks of an attempt went before everything of its tables was where it belongs. Clients of the proxy are still held.
pub(super) async fn put_right_late(members: &[(&Job, &Belongings)]) {
    for (job, own) in members.iter().filter(|(_, own)| own.is_bare) {
        put_triggers_back(job, &own.triggers).await;
    }
    if !members.iter().any(|(_, own)| own.is_tied) {
        return;
    }
    let settled = tokio::time::timeout(LATE_PATIENCE, settle_ties_late(members)).await;
    let tables: Vec<String> = members.iter().map(|(job, _)| job.names.source.to_string()).collect();
    let tables = tables.join(", ");
    match settled.unwrap_or_else(|_| Err(upstream::Error::TooLong(LATE_PATIENCE, "settling foreign keys").into())) {
        Ok(()) => tracing::info!(tables, "the attempt lost its lock; the foreign keys are where they belong"),
        Err(error) => {
            tracing::warn!(tables, %error, "foreign keys still refer to two tables; they are settled as soon as the server lets it");
        }
    }
}

async fn put_triggers_back(job: &Job, triggers: &Triggers) {
    let done = tokio::time::timeout(LATE_PATIENCE, triggers::put_back(&job.server, triggers, &job.names.source)).await;
    let result = done.unwrap_or(Err(upstream::Error::TooLong(LATE_PATIENCE, "putting the triggers on")));
    match result {
        Ok(()) => tracing::info!(migration = %job.id, table = %job.names.source, "the attempt lost its lock; the triggers are on again"),
        Err(error) => {
            tracing::warn!(migration = %job.id, table = %job.names.source, %error, "the table lacks triggers; they are put on as soon as the server lets it");
        }
    }
}

async fn settle_ties_late(members: &[(&Job, &Belongings)]) -> Result<(), Error> {
    let Some((first, _)) = members.first() else { return Ok(()) };
    let mut link = first.server.connect_engine().await?;
    // A RENAME whose answer was lost may still be under way.
    for (job, _) in members {
        settle::end_stragglers(&mut link, &job.names, job.id).await?;
    }
    for (job, own) in members.iter().filter(|(_, own)| own.is_tied) {
        foreign_keys::settle(&mut link, &job.names, job.id, &own.ties).await?;
    }
    Ok(())
}
