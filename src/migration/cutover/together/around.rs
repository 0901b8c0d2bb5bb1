//! What the tables of a group have beside their rows: what must come off, or be added, before the RENAME, and be put right after it.
//!
//! Each step is that of a single table (`belongings.rs`), done for one member after the other, by whoever has that member locked.
//! Foreign keys between members need nothing but to be there on the shadows: each refers to the other's shadow, and the RENAME takes both
//! along. With those to other tables, and those of others to members, it is done as for a single table.
//! Never: taken off, or added, before it is stored.

use std::time::Instant;

use super::super::super::error::Error;
use super::super::super::foreign_keys::Ties;
use super::super::super::job::Job;
use super::super::super::shadow::Names;
use super::super::super::triggers;
use super::super::super::{checkpoint, describe};
use super::super::belongings::Belongings;
use super::super::crew::Crew;
use super::super::protocol::Way;
use super::Joint;
use crate::ids::TableName;
use crate::upstream::{self, Link};

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
        let ties = Ties::read(control, &job.names, job.id, &job.mapping, job.swaps).await?;
        if !ties.is_empty() && way.has_sentry() {
            let source = &job.names.source;
            return Err(Error::Stuck(
                format!("{source} has foreign keys, or others refer to it with theirs, now"),
                "drop them, and RESUME".into(),
            ));
        }
        let ties = ties.among(jobs);
        if !ties.is_empty() {
            checkpoint::set_ties(control, job.id, &ties.write()).await?;
        }
        all.push(Belongings::new(triggers, ties));
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
            // The RENAME must have its part of the hold, and those that are off already must be put on again.
            let until = self.hold_ends - member.job.max_hold() * 2 / 5 - began.elapsed();
            own.take_triggers_off(member.job, &mut self.control, crew.lock_of(nth).0, until, self.deadline).await?;
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
        if !self.belongings.get(nth).is_some_and(Belongings::is_bare) {
            return;
        }
        self.allow_for_rename();
        let (Some(own), Some(member)) = (self.belongings.get_mut(nth), self.members.get(nth)) else { return };
        own.put_triggers_on(member.job, link, self.deadline).await;
        self.steps.mark("triggers_on");
    }

    /// Whether the last changes of a member are applied by whoever has it locked: under a WRITE lock no other can read the source.
    pub(super) fn lock_applies(&self, nth: usize) -> bool {
        !self.way.has_sentry() || self.belongings.get(nth).is_some_and(|own| !own.triggers.is_empty())
    }

    /// LOCK TABLES on all sources, shadows and the tables around them.
    pub(super) fn lock_statement(&self) -> String {
        let names: Vec<&Names> = self.members.iter().map(|member| &member.job.names).collect();
        let is_member = |table: &TableName| names.iter().any(|names| *table == names.source || *table == names.shadow);
        let mut around: Vec<(&TableName, &str)> = Vec::new();
        for (table, how) in self.belongings.iter().flat_map(|own| own.ties.tables_around()).filter(|(table, _)| !is_member(table)) {
            match around.iter_mut().find(|(known, _)| *known == table) {
                Some((_, known)) if how == "WRITE" => *known = how,
                Some(_) => {}
                None => around.push((table, how)),
            }
        }
        let own = names.iter().flat_map(|names| [(&names.source, "WRITE"), (&names.shadow, "WRITE")]);
        let all: Vec<String> = own.chain(around).map(|(table, how)| format!("{} {how}", table.quoted())).collect();
        let second: String = self.belongings.iter().zip(&names).map(|(own, names)| own.ties.second_locks(names)).collect();
        format!("LOCK TABLES {}{second}", all.join(", "))
    }

    /// Gives the shadows the tables' foreign keys, and each child a second one to the shadow; everything is locked and applied.
    pub(super) async fn tie(&mut self, link: &mut Link) -> Result<(), Error> {
        if self.belongings.iter().all(|own| own.ties.is_empty()) {
            return Ok(());
        }
        for (own, member) in self.belongings.iter().zip(&self.members) {
            own.prove_ties(member.job, link, self.deadline).await?;
        }
        let began = Instant::now();
        for (own, member) in self.belongings.iter_mut().zip(&self.members).filter(|(own, _)| !own.ties.is_empty()) {
            own.tie(member.job, link, self.deadline).await?;
        }
        self.tied_for = began.elapsed();
        self.steps.mark("foreign_keys");
        Ok(crate::failpoints::reach("cutover.tied").await?)
    }

    /// Brings foreign keys to where they belong, whichever tables have the names; `link` has all of them locked. What does not succeed is
    /// done again before the gates open.
    pub(super) async fn settle_ties(&mut self, link: &mut Link) {
        if !self.belongings.iter().any(Belongings::is_tied) {
            return;
        }
        self.allow_for_rename();
        for (own, member) in self.belongings.iter_mut().zip(&self.members).filter(|(own, _)| own.is_tied()) {
            own.settle_ties(member.job, link, None, self.deadline).await;
        }
        self.steps.mark("foreign_keys_settled");
    }
}

/// Values are converted under the sql_mode and in the time zone of each member's own run, also where another connection applies.
pub(super) async fn take_over_settings(from: &mut Link, to: &mut Link) -> Result<(), upstream::Error> {
    let row = from.texts("SELECT @@session.sql_mode, @@session.time_zone").await?.pop().unwrap_or_default();
    let [sql_mode, time_zone] = row.as_slice() else { return Ok(()) };
    let (sql_mode, time_zone) = (upstream::literal(sql_mode), upstream::literal(time_zone));
    to.run(&format!("SET SESSION sql_mode = {sql_mode}, time_zone = {time_zone}")).await
}
