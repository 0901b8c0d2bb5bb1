//! When to begin an attempt: at an instant when it will be short.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::error::Error;
use super::super::job::Job;
use super::super::site::Site;
use super::super::tail::{self, Reached};
use super::force::Force;
use super::holders;
use crate::config::Fence;
use crate::gate::Gate;
use crate::upstream::Link;

/// So many keys may be pending when an attempt begins; most of those left are held by the application all the time.
const PENDING_MOST: usize = 1000;

/// How often the gate is looked at while somebody is in the way.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long an instant without open transactions is waited for before an attempt begins without one (F16).
const PATIENCE: Duration = Duration::from_millis(300);

/// Who has had a table open for so long is waited for before anybody is held.
const OLD: Duration = Duration::from_secs(1);

/// The tail must follow the server this closely.
const LAG_MOST: Duration = Duration::from_millis(50);

/// The connections over which a moment is looked for, and what FORCE has done for it.
pub struct Lookout {
    /// Asks.
    pub link: Link,
    probe: Link,
    force: Force,
}

impl Lookout {
    /// Opens the connections.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn open(site: &Site) -> Result<Self, Error> {
        Ok(Self { link: site.server.connect_engine().await?, probe: site.server.connect_engine().await?, force: Force::default() })
    }
}

/// What must be ready as well where rows were copied.
pub struct Copied<'a> {
    /// The run.
    pub job: &'a Job,
    /// Its tail.
    pub reached: &'a mut watch::Receiver<Reached>,
}

impl Copied<'_> {
    /// The same for another wait.
    pub fn again(&mut self) -> Copied<'_> {
        Copied { job: self.job, reached: self.reached }
    }
}

/// Waits for the moment, and holds nobody meanwhile; `false` where it has not come by `until`, as while a long transaction is
/// inside. Looks at the time between two questions only: a LOCK TABLES that was asked for and left alone would keep the
/// engine's own rounds waiting with their rows locked.
///
/// # Errors
/// As the server says.
///
/// # Cancel safety
/// Dropped, its connections are closed; the server ends what they wait for.
pub async fn wait(site: &Site, gate: &Gate, mut copied: Option<Copied<'_>>, lookout: &mut Lookout, until: Instant) -> Result<bool, Error> {
    let Lookout { link, probe, force } = lookout;
    let wishes = site.board.wishes();
    let mut exposed_since = None;
    while Instant::now() < until {
        if let Some(Copied { job, reached }) = &mut copied {
            let pending = job.pending.len();
            let lag = lag(job, link, reached).await?;
            if pending > PENDING_MOST || lag > LAG_MOST {
                site.board.set_note(format!("waiting for the tail: {pending} keys pending, {:.0} ms behind", lag.as_secs_f64() * 1e3));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        }
        if wishes.borrow().is_forced {
            gate.leave_the_exposed();
            let waits = force.clear(site, gate, link).await?;
            if waits {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        if gate.has_suspects()
            && let Some(holders) = holders::on_the_server(site, link).await?
        {
            gate.acquit(|connection| holders.iter().any(|holder| holder.connection == Some(connection)));
        }
        let occupancy = gate.occupancy();
        if occupancy.oldest > site.drain_budget() {
            let who = gate.blockers().into_iter().next().map_or(String::new(), |blocker| format!(": {}", blocker.session));
            site.board.set_note(format!(
                "waiting for {} transactions on the table{}; the oldest has been open for {:.1} s{who}",
                occupancy.inside,
                if site.fence() == Fence::Wait { ", or for one with a snapshot (fence = 'wait')" } else { "" },
                occupancy.oldest.as_secs_f64()
            ));
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let is_exposed = occupancy.exposed > site.drain_budget();
        let waited = exposed_since.map_or(LOOK_EVERY, |since: Instant| since.elapsed());
        exposed_since = is_exposed.then(Instant::now);
        if is_exposed && gate.wait_for_the_exposed(waited) {
            let who = gate.blockers().into_iter().next().map_or(String::new(), |blocker| format!(": {}", blocker.session));
            site.board.set_note(format!(
                "waiting for a transaction that may come to the table with an old snapshot, open for {:.1} s{who}",
                occupancy.exposed.as_secs_f64()
            ));
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let is_free = match &copied {
            Some(Copied { job, .. }) => shadow_is_free(job, probe, link).await?,
            None => Ok(()),
        };
        if let Err(reason) = is_free {
            site.board.set_note(reason);
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        if let Some(who) = old_holder(site, link).await? {
            site.board.set_note(who);
            tokio::time::sleep(holders::ASK_AGAIN_AFTER).await;
            continue;
        }
        site.board.set_note("");
        quiet_instant(gate).await;
        return Ok(true);
    }
    Ok(false)
}

/// Waits a little for an instant at which nobody is inside.
async fn quiet_instant(gate: &Gate) {
    let give_up = Instant::now() + PATIENCE;
    while gate.occupancy().inside > 0 && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How long the tail takes to reach what is the server's end now.
async fn lag(job: &Job, link: &mut Link, reached: &mut watch::Receiver<Reached>) -> Result<Duration, Error> {
    let end = link.position(&job.facts).await?;
    let began = Instant::now();
    tail::reaches(reached, &end, Duration::from_secs(1)).await;
    Ok(began.elapsed())
}

/// Whether nobody has the shadow open: a reader there would only lengthen the hold. No client is touched by asking.
async fn shadow_is_free(job: &Job, probe: &mut Link, watchdog: &mut Link) -> Result<Result<(), String>, Error> {
    let sql = format!("LOCK TABLES {} WRITE", job.names.shadow.quoted());
    // The engine's own rounds write to the shadow: not while this asks.
    let turn = job.turn.lock().await;
    let locked = probe.run_within(&sql, Duration::from_millis(200), watchdog, "LOCK TABLES on the shadow").await;
    let result = match locked {
        Ok(()) => Ok(Ok(probe.run("UNLOCK TABLES").await?)),
        Err(crate::upstream::Error::TooLong(..)) => {
            Ok(Err(format!("waiting for somebody who reads the shadow table {}", job.names.shadow)))
        }
        Err(error) if error.is_lock_conflict() => Ok(Err(format!("waiting for somebody who reads the shadow table {}", job.names.shadow))),
        Err(error) => Err(error.into()),
    };
    drop(turn);
    result
}

/// Somebody who has had one of the tables open for long, as the server shows it (F12): most of them go round the proxy.
async fn old_holder(site: &Site, link: &mut Link) -> Result<Option<String>, Error> {
    let holders = holders::on_the_server(site, link).await?.unwrap_or_default();
    let oldest = holders.into_iter().filter(|holder| holder.age >= OLD || holder.connection.is_none()).max_by_key(|holder| holder.age);
    Ok(oldest.map(|holder| format!("waiting for {}, which has had the table open for {} s", holder.name(), holder.age.as_secs())))
}
