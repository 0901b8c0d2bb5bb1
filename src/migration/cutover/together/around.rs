//! What the tables of a group have beside their rows: what must come off, or be added, before the RENAME, and be put right after it.
//!
//! Each step is that of a single table (`locked.rs`), done for one member after the other, by whoever has that member locked.
//! Never: taken off, or added, before it is stored.

use std::time::Instant;

use super::super::super::error::Error;
use super::super::super::job::Job;
use super::super::super::triggers::{self, Triggers};
use super::super::super::{checkpoint, describe};
use super::super::crew::{Around, Crew};
use super::super::locked::Attempt;
use super::super::protocol::Way;
use super::super::put_triggers_back;
use super::Joint;
use crate::ids::TableName;
use crate::upstream::{self, Link};

/// Of one member.
#[derive(Default)]
pub(super) struct Belongings {
    /// Its triggers: taken off before the RENAME, put on after it, under the same lock.
    pub(super) triggers: Triggers,
    /// Some of them may be off.
    is_bare: bool,
}

impl Belongings {
    /// What must be put right under a lock once the table is swapped.
    pub(super) fn around(&self) -> Around {
        Around { has_triggers: !self.triggers.is_empty(), has_children: false }
    }
}

/// Reads what the members have, and stores what an attempt is about to do. The caller has all turns: nothing is written to the shadows
/// meanwhile.
///
/// # Errors
/// The server; [`Error::Stuck`] where something has come that cannot be brought over.
pub(super) async fn read(jobs: &[&Job], way: Way, control: &mut Link) -> Result<Vec<Belongings>, Error> {
    let mut all = Vec::new();
    for job in jobs {
        let triggers = triggers::try_on_shadow(control, &job.server, &job.names).await?;
        if !triggers.is_empty() {
            checkpoint::set_triggers(control, job.id, &triggers.write()).await?;
        }
        all.push(Belongings { triggers, ..Belongings::default() });
    }
    if way.has_sentry() {
        let tables: Vec<&TableName> = jobs.iter().map(|job| &job.names.source).collect();
        if let Some((table, other)) = reached_by_trigger(control, &tables).await? {
            return Err(Error::Stuck(format!("a trigger of {table} uses {other} now"), "drop it, and RESUME".into()));
        }
    }
    Ok(all)
}

/// A table whose triggers mention another of these. Where each has a lock session of its own, that of the one would have the other locked
/// as well.
///
/// # Errors
/// As the server says.
pub async fn reached_by_trigger(link: &mut Link, tables: &[&TableName]) -> Result<Option<(TableName, TableName)>, Error> {
    for table in tables {
        let reached = describe::tables_of_triggers(link, table).await?;
        let is_reached =
            |other: &&&TableName| *other != table && reached.iter().flatten().any(|name| name.eq_ignore_ascii_case(&other.table));
        if let Some(other) = tables.iter().find(is_reached) {
            return Ok(Some(((*table).clone(), (*other).clone())));
        }
    }
    Ok(None)
}

impl Joint<'_> {
    /// Takes all triggers off, each with its table locked for writing.
    pub(super) async fn take_triggers_off(&mut self, crew: &mut Crew) -> Result<(), Error> {
        if self.belongings.iter().all(|own| own.triggers.is_empty()) {
            return Ok(());
        }
        let began = Instant::now();
        for (nth, own) in self.belongings.iter_mut().enumerate().filter(|(_, own)| !own.triggers.is_empty()) {
            let Some(member) = self.members.get(nth) else { continue };
            let source = &member.job.names.source;
            let question = own.triggers.are_as_read(&mut self.control, source);
            if !Attempt::within(self.deadline, "the list of triggers", question).await? {
                return Err(Error::Stuck(format!("the triggers of {source} were changed at this moment"), "it is tried again".into()));
            }
            // The RENAME must have its part of the hold, and those that are off already must be put on again.
            let until = self.hold_ends - member.job.max_hold() * 2 / 5 - began.elapsed();
            own.is_bare = true;
            Attempt::within(self.deadline, "DROP TRIGGER", own.triggers.take_off(crew.lock_of(nth).0, source, until)).await?;
        }
        self.steps.mark("triggers_off");
        Ok(crate::failpoints::reach("cutover.triggers_off").await?)
    }

    /// Puts the triggers of all on, whichever tables have the names; the crew has them locked. What does not succeed is done again before
    /// the gates open.
    pub(super) async fn put_all_triggers_on(&mut self, crew: &mut Crew) {
        for nth in 0..self.members.len() {
            self.put_triggers_on(nth, crew.lock_of(nth).0).await;
        }
    }

    /// The same for one member; `link` has it locked.
    pub(super) async fn put_triggers_on(&mut self, nth: usize, link: &mut Link) {
        if !self.belongings.get(nth).is_some_and(|own| own.is_bare) {
            return;
        }
        self.allow_for_rename();
        let (Some(own), Some(member)) = (self.belongings.get_mut(nth), self.members.get(nth)) else { return };
        let put_on = async {
            Attempt::within(self.deadline, "CREATE TRIGGER", own.triggers.put_on(link, &member.job.names.source)).await?;
            Ok::<(), Error>(crate::failpoints::reach("cutover.triggers_on").await?)
        };
        match put_on.await {
            Ok(()) => own.is_bare = false,
            Err(error) => {
                tracing::debug!(migration = %member.job.id, %error, "the triggers could not be put on under the lock");
            }
        }
        self.steps.mark("triggers_on");
    }

    /// Whether the last changes of a member are applied by whoever has it locked: under a WRITE lock no other can read the source.
    pub(super) fn lock_applies(&self, nth: usize) -> bool {
        !self.way.has_sentry() || self.belongings.get(nth).is_some_and(|own| !own.triggers.is_empty())
    }

    /// Locks went before everything was where it belongs. Clients of the proxy are still held.
    pub(super) async fn put_right_late(&mut self) {
        for (own, member) in self.belongings.iter().zip(&self.members).filter(|(own, _)| own.is_bare) {
            put_triggers_back(member.job, &own.triggers).await;
        }
    }
}

/// Values are converted under the sql_mode and in the time zone of each member's own run, also where another connection applies.
pub(super) async fn take_over_settings(from: &mut Link, to: &mut Link) -> Result<(), upstream::Error> {
    let row = from.texts("SELECT @@session.sql_mode, @@session.time_zone").await?.pop().unwrap_or_default();
    let [sql_mode, time_zone] = row.as_slice() else { return Ok(()) };
    let (sql_mode, time_zone) = (upstream::literal(sql_mode), upstream::literal(time_zone));
    to.run(&format!("SET SESSION sql_mode = {sql_mode}, time_zone = {time_zone}")).await
}
