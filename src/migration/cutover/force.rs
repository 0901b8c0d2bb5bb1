//! CUTOVER … FORCE: clears the way for an attempt.
//!
//! Whoever comes through the proxy and has a transaction open is rolled back, really and at once, as soon as he is between two
//! statements; his next statement is answered with 1213. Who is in the way after that, or goes round the proxy, is ended by KILL,
//! where the server says that it *holds* the source's or the shadow's metadata lock (F12).
//! Never: somebody who only waits; a prepared XA transaction, whose owner has been promised that it can be committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::site::Site;
use super::holders::{self, Holder};
use crate::census::{Record, Rollback};
use crate::gate::Gate;
use crate::ids::SessionId;
use crate::upstream::Link;

/// Whoever is seen for longer is not only passing.
const A_WHILE: Duration = Duration::from_millis(100);

/// A holder that is the same one while this does not change: connection, transaction or statement.
type Identity = (u64, String);

/// A session that was asked to roll back.
#[derive(Debug)]
struct Asked {
    record: Arc<Record>,
    at: Instant,
    /// For the report.
    what: String,
}

/// What FORCE has done so far.
#[derive(Debug, Default)]
pub struct Force {
    /// Sessions that were asked to roll back, and when.
    asked: HashMap<SessionId, Asked>,
    /// Since when a holder has been seen.
    seen: HashMap<Identity, Instant>,
    /// When the server was asked last, and what came of it.
    looked: Option<(Instant, bool)>,
    /// Whom it has spoken of already.
    told: HashSet<Identity>,
}

impl Force {
    /// Does what can be done at this moment. `true` where somebody is still in the way; then it is to be called again.
    ///
    /// # Errors
    /// As the server says.
    pub async fn clear(&mut self, site: &Site, gate: &Gate, link: &mut Link) -> Result<bool, Error> {
        self.roll_back(site, gate);
        self.hear(site);
        let is_heard = self.asked.values().all(|asked| asked.record.rollback() != Rollback::Wanted);
        if let Some((_, is_in_the_way)) = self.looked.filter(|(at, _)| at.elapsed() < holders::ASK_AGAIN_AFTER) {
            return Ok(!is_heard || is_in_the_way);
        }
        let holders = match holders::on_the_server(site, link).await? {
            Some(holders) => holders,
            None => of_the_proxy(site, gate),
        };
        let patience = site.drain_budget();
        let now = Instant::now();
        let present: Vec<Identity> = holders.iter().map(identity).collect();
        self.seen.retain(|identity, _| present.contains(identity));
        for holder in holders {
            let since = *self.seen.entry(identity(&holder)).or_insert(now);
            if since.elapsed() < patience {
                continue;
            }
            self.end(site, link, &holder).await?;
        }
        let is_in_the_way = self.seen.values().any(|since| since.elapsed() > A_WHILE);
        self.looked = Some((Instant::now(), is_in_the_way));
        Ok(!is_heard || is_in_the_way)
    }

    /// Asks those who come through the proxy.
    fn roll_back(&mut self, site: &Site, gate: &Gate) {
        for blocker in gate.blockers() {
            let is_old = blocker.age > site.drain_budget() && !blocker.is_only_exposed;
            if is_old && blocker.record.transaction_age().is_some() && !self.asked.contains_key(&blocker.record.id) {
                let what = format!("{}, whose transaction had been open for {:.1} s", blocker.session, blocker.age.as_secs_f64());
                blocker.record.want_rollback();
                self.asked.insert(blocker.record.id, Asked { record: blocker.record, at: Instant::now(), what });
            }
        }
    }

    /// Reports those whom the server has rolled back, and forgets them: a later transaction of theirs is another one.
    fn hear(&mut self, site: &Site) {
        self.asked.retain(|_, asked| match asked.record.rollback() {
            Rollback::Done => {
                tell(site, &format!("rolled back {}", asked.what));
                asked.record.set_rollback(Rollback::None);
                false
            }
            // It has ended by itself.
            Rollback::None => false,
            // A session that is gone answers no more.
            Rollback::Wanted | Rollback::Refused => asked.record.transaction_age().is_some(),
        });
    }

    /// Ends a holder, unless he is to be left alone.
    async fn end(&mut self, site: &Site, link: &mut Link, holder: &Holder) -> Result<(), Error> {
        let session = holder.connection.and_then(|id| site.gates.census().by_connection(id));
        // An XA transaction is all that the server does not roll back when it is told to.
        let is_xa = holder.is_xa || session.as_ref().is_some_and(|record| record.rollback() == Rollback::Refused);
        let who = match (holder.connection, &session) {
            (_, Some(record)) => record.describe(),
            (Some(_), None) => format!("{}, which goes round the proxy", holder.name()),
            (None, None) => holder.name(),
        };
        let identity = identity(holder);
        if is_xa || holder.connection.is_none() {
            if self.told.insert(identity) {
                tell(
                    site,
                    &format!("left alone {who}: a prepared XA transaction may be in it; see XA RECOVER, and XA COMMIT or XA ROLLBACK it"),
                );
            }
            site.board.set_note(format!("waiting for {who}: XA transactions are not ended by FORCE; see XA RECOVER"));
            return Ok(());
        }
        let asked = session.as_ref().and_then(|record| self.asked.get(&record.id));
        if asked.is_some_and(|asked| asked.at.elapsed() < site.drain_budget().max(Duration::from_millis(500))) {
            return Ok(());
        }
        let Some(id) = holder.connection.and_then(|id| u32::try_from(id).ok()) else { return Ok(()) };
        let is_new = self.told.insert(identity);
        match link.kill(id).await {
            Ok(()) if is_new => {
                tell(site, &format!("ended {who}: it had had {} open for {:.0} s", site.names.source, holder.age.as_secs_f64()));
            }
            Ok(()) => {}
            // The engine's account may not: the operator can, or can grant it.
            Err(error) if matches!(error.code(), Some(1095 | 1227)) => {
                if is_new {
                    tell(
                        site,
                        &format!("could not end {who}: {error}; end it with KILL {id}, or grant the engine's account what KILL needs"),
                    );
                }
                site.board.set_note(format!("waiting for {who}, whom the engine's account may not end"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drop for Force {
    /// Nobody is rolled back for a wait that is over.
    fn drop(&mut self) {
        for asked in self.asked.values().filter(|asked| asked.record.rollback() == Rollback::Wanted) {
            asked.record.set_rollback(Rollback::None);
        }
    }
}

fn identity(holder: &Holder) -> Identity {
    (holder.connection.unwrap_or(0), holder.mark.clone())
}

/// For the log and for SHOW MIGRATION.
fn tell(site: &Site, what: &str) {
    if site.board.add_forced(what) {
        tracing::warn!(migration = %site.id, table = %site.names.source, "FORCE: {what}");
    }
}

/// Where the server does not show who holds what: those of whom the proxy itself knows it.
fn of_the_proxy(site: &Site, gate: &Gate) -> Vec<Holder> {
    let old = gate.blockers().into_iter().filter(|blocker| blocker.age > site.drain_budget() && !blocker.is_only_exposed);
    old.map(|blocker| Holder {
        connection: Some(blocker.record.connection_id.load(Ordering::Relaxed)),
        user: blocker.record.user.get().cloned().unwrap_or_default(),
        age: blocker.age,
        is_xa: false,
        mark: format!("session {}/{}", blocker.record.id, blocker.record.transaction_began_us()),
    })
    .collect()
}
