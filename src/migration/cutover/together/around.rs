//! What the tables of a group have beside their rows: what must come off, or be added, before the RENAME, and be put right after it.
//!
//! Each step is that of a single table (`locked.rs`), done for one member after the other, by whoever has that member locked.
//! Foreign keys between members need nothing but to be there on the shadows: each refers to the other's shadow, and the RENAME takes both
//! along. With those to other tables, and those of others to members, it is done as for a single table.
//! Never: taken off, or added, before it is stored.

use std::time::{Duration, Instant};

use super::super::super::error::Error;
use super::super::super::foreign_keys::{self, Ties};
use super::super::super::job::Job;
use super::super::super::shadow::Names;
use super::super::super::triggers::{self, Triggers};
use super::super::super::{checkpoint, describe};
use super::super::crew::{Around, Crew};
use super::super::locked::Attempt;
use super::super::protocol::Way;
use super::super::{put_triggers_back, settle};
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
    /// The foreign keys on both sides, but for those of other members to this one.
    pub(super) ties: Ties,
    /// Some of them may be where they must not stay.
    is_tied: bool,
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
        all.push(Belongings { triggers, ties, ..Belongings::default() });
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
            let proved = own.ties.prove(link, &member.job.names);
            Attempt::within(self.deadline, "looking for rows without a parent", proved).await?;
        }
        let began = Instant::now();
        for (own, member) in self.belongings.iter_mut().zip(&self.members).filter(|(own, _)| !own.ties.is_empty()) {
            own.is_tied = true;
            let tied = own.ties.tie(link, &member.job.names, member.job.id);
            Attempt::within(self.deadline, "ALTER TABLE … ADD FOREIGN KEY", tied).await?;
        }
        self.tied_for = began.elapsed();
        self.steps.mark("foreign_keys");
        Ok(crate::failpoints::reach("cutover.tied").await?)
    }

    /// Brings foreign keys to where they belong, whichever tables have the names; `link` has all of them locked. What does not succeed is
    /// done again before the gates open.
    pub(super) async fn settle_ties(&mut self, link: &mut Link) {
        if !self.belongings.iter().any(|own| own.is_tied) {
            return;
        }
        self.allow_for_rename();
        for (own, member) in self.belongings.iter_mut().zip(&self.members).filter(|(own, _)| own.is_tied) {
            let job = member.job;
            let settled = async {
                crate::failpoints::reach("cutover.untying").await?;
                let settling = foreign_keys::settle(link, &job.names, job.id, &own.ties);
                Attempt::within(self.deadline, "ALTER TABLE … DROP FOREIGN KEY", settling).await
            };
            match settled.await {
                Ok(()) => own.is_tied = false,
                Err(error) => tracing::debug!(migration = %job.id, %error, "the foreign keys could not be settled under the lock"),
            }
        }
        self.steps.mark("foreign_keys_settled");
    }

    /// Locks went before everything was where it belongs. Clients of the proxy are still held.
    pub(super) async fn put_right_late(&mut self) {
        for (own, member) in self.belongings.iter().zip(&self.members).filter(|(own, _)| own.is_bare) {
            put_triggers_back(member.job, &own.triggers).await;
        }
        if !self.belongings.iter().any(|own| own.is_tied) {
            return;
        }
        let settled = tokio::time::timeout(LATE_PATIENCE, settle_late(&self.members, &self.belongings)).await;
        let tables: Vec<String> = self.members.iter().map(|member| member.job.names.source.to_string()).collect();
        match settled.unwrap_or_else(|_| Err(upstream::Error::TooLong(LATE_PATIENCE, "settling foreign keys").into())) {
            Ok(()) => tracing::info!(tables = tables.join(", "), "the attempt lost its lock; the foreign keys are where they belong"),
            Err(error) => {
                tracing::warn!(tables = tables.join(", "), %error, "foreign keys still refer to two tables; they are settled as soon as the server lets it");
            }
        }
    }
}

/// How long foreign keys may take once the lock is lost.
const LATE_PATIENCE: Duration = Duration::from_secs(5);

async fn settle_late(members: &[super::Member<'_>], belongings: &[Belongings]) -> Result<(), Error> {
    let Some(first) = members.first() else { return Ok(()) };
    let mut link = first.job.server.connect_engine().await?;
    // A RENAME whose answer was lost may still be under way.
    for member in members {
        settle::end_stragglers(&mut link, &member.job.names, member.job.id).await?;
    }
    for (own, member) in belongings.iter().zip(members).filter(|(own, _)| own.is_tied) {
        foreign_keys::settle(&mut link, &member.job.names, member.job.id, &own.ties).await?;
    }
    Ok(())
}

/// Values are converted under the sql_mode and in the time zone of each member's own run, also where another connection applies.
pub(super) async fn take_over_settings(from: &mut Link, to: &mut Link) -> Result<(), upstream::Error> {
    let row = from.texts("SELECT @@session.sql_mode, @@session.time_zone").await?.pop().unwrap_or_default();
    let [sql_mode, time_zone] = row.as_slice() else { return Ok(()) };
    let (sql_mode, time_zone) = (upstream::literal(sql_mode), upstream::literal(time_zone));
    to.run(&format!("SET SESSION sql_mode = {sql_mode}, time_zone = {time_zone}")).await
}
