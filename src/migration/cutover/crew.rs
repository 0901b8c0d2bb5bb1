//! The connections of one attempt, and the watchdog that ends them from outside.
//!
//! Names as in the design: C1 holds LOCK TABLES, C2 runs the RENAME, C3 keeps the shadow locked.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::site::Site;
use super::protocol::Way;
use super::settle;
use crate::upstream::{self, Link, Server};

/// How long UNLOCK TABLES, or a KILL, may take to be answered before something else is tried.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// The same for the watchman's first KILL, which goes over a connection that was opened before: it may have fallen silent.
const FIRST_PATIENCE: Duration = Duration::from_millis(200);

/// All connections of one attempt are opened before anybody is held.
pub(super) struct Crew {
    /// C1.
    pub(super) lock: Link,
    /// C2, where the lock's own session may not rename.
    pub(super) rename: Option<Link>,
    /// C3, where names sort before the source's.
    pub(super) shadow: Option<Link>,
    /// Puts the triggers on where C1 has to let go before the RENAME: it waits for the source behind it.
    pub(super) heir: Option<Link>,
    /// Settles the children's foreign keys where C1 has to let go before the RENAME: it waits for the children.
    pub(super) warden: Option<Link>,
    /// The C1 of each further table of a group.
    pub(super) more: Vec<Link>,
    /// The heir of each table of a group that has triggers, where there are sentries.
    pub(super) heirs: Vec<Option<Link>>,
    /// Applies.
    pub(super) apply: Link,
    /// Ends statements that wait too long.
    pub(super) watchdog: Link,
}

/// What a table has that must be put right under a lock once it is swapped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    pub(super) has_triggers: bool,
    pub(super) has_children: bool,
}

impl Crew {
    pub(super) async fn open(site: &Site, way: Way, around: Around) -> Result<Self, upstream::Error> {
        let open = async |is_wanted: bool, tag| if is_wanted { impatient(site, tag).await.map(Some) } else { Ok(None) };
        let heir = open(way.has_sentry() && around.has_triggers, settle::HEIR_TAG).await?;
        let warden = open(way.has_sentry() && around.has_children, settle::WARDEN_TAG).await?;
        let rename = open(way.has_sentry(), settle::RENAME_TAG).await?;
        let shadow = open(way == Way::SentryLockedShadow, settle::SHADOW_TAG).await?;
        Ok(Self {
            lock: impatient(site, settle::LOCK_TAG).await?,
            rename,
            shadow,
            heir,
            warden,
            more: Vec::new(),
            heirs: Vec::new(),
            apply: site.server.connect_engine().await?,
            watchdog: site.server.connect_engine().await?,
        })
    }

    /// The same with a C1 for each further table of a group, and an heir for each that has triggers.
    pub(super) async fn joined_by(mut self, all: &[(&Site, Around)]) -> Result<Self, upstream::Error> {
        for (nth, (site, around)) in all.iter().enumerate() {
            if nth > 0 {
                self.more.push(impatient(site, settle::LOCK_TAG).await?);
            }
            self.heirs.push(if around.has_triggers { Some(impatient(site, settle::HEIR_TAG).await?) } else { None });
        }
        Ok(self)
    }

    /// The connections that may hold or wait for locks, in the order in which they must end: the RENAME first, then who waits behind it.
    pub(super) fn ids(&self) -> Vec<u32> {
        let behind =
            [self.rename.as_ref(), self.heir.as_ref(), self.warden.as_ref()].into_iter().flatten().chain(self.heirs.iter().flatten());
        behind.chain([&self.lock]).chain(&self.shadow).chain(&self.more).map(Link::id).collect()
    }

    /// Whoever has this table of a group locked, and who ends him.
    pub(super) fn lock_of(&mut self, nth: usize) -> (&mut Link, &mut Link) {
        let link = match nth.checked_sub(1).and_then(|nth| self.more.get_mut(nth)) {
            Some(link) => link,
            None => &mut self.lock,
        };
        (link, &mut self.watchdog)
    }

    /// Gives back what C1 and C3 have locked. Only ever after the RENAME has ended, or where its names sort after the source's.
    pub(super) async fn unlock(&mut self) {
        for link in [Some(&mut self.lock), self.shadow.as_mut()].into_iter().flatten().chain(&mut self.more) {
            let id = link.id();
            if !matches!(tokio::time::timeout(KILL_PATIENCE, link.run("UNLOCK TABLES")).await, Ok(Ok(()))) {
                let _ = tokio::time::timeout(KILL_PATIENCE, self.watchdog.kill(id)).await;
            }
        }
    }
}

/// A connection whose lock waits end after a second on the server's own clock, and that the server closes soon after this
/// process has frozen: a frozen proxy must not hold a table.
///
/// It takes a named lock, which the server frees only when it has really done with the connection: see [`settle::end_stragglers`].
async fn impatient(site: &Site, tag: &str) -> Result<Link, upstream::Error> {
    let mut link = site.server.connect_engine().await?;
    let seconds = site.max_hold().as_secs() + 3;
    let name = upstream::literal(&settle::tag_name(tag, site.id));
    if link.cell(&format!("SELECT GET_LOCK({name}, 0)")).await?.as_deref() != Some("1") {
        // The connection of an attempt whose end was not heard: it may still have the table.
        if let Some(id) = link.cell(&format!("SELECT IS_USED_LOCK({name})")).await?.and_then(|id| id.parse().ok()) {
            link.kill(id).await?;
        }
        if link.cell(&format!("SELECT GET_LOCK({name}, 2)")).await?.as_deref() != Some("1") {
            return Err(upstream::Error::Lost("an earlier attempt's connection is still there".into()));
        }
    }
    link.run(&format!("SET SESSION lock_wait_timeout = 1, wait_timeout = {seconds}, autocommit = 1")).await?;
    Ok(link)
}

/// Ends the crew's connections when the deadline has passed, from a task and over a connection of its own: whatever the
/// attempt itself hangs on. It goes when this is dropped.
pub(super) struct Watchman {
    deadline: watch::Sender<Instant>,
    task: tokio::task::JoinHandle<()>,
}

impl Watchman {
    /// Begins to watch. `link` is its own connection; another is opened where it has died.
    pub(super) fn begin(server: Server, link: Link, ids: Vec<u32>, deadline: Instant, site: &Site) -> Self {
        let (sender, mut receiver) = watch::channel(deadline);
        let (migration, table) = (site.id, site.names.source.clone());
        let task = tokio::spawn(async move {
            loop {
                let deadline = *receiver.borrow_and_update();
                tokio::select! {
                    () = tokio::time::sleep_until(deadline.into()) => break,
                    changed = receiver.changed() => if changed.is_err() { return },
                }
            }
            tracing::warn!(%migration, %table, connections = ?ids, "an attempt is not over at its deadline; its connections are ended");
            end(&server, link, &ids).await;
        });
        Self { deadline: sender, task }
    }

    pub(super) fn set_deadline(&self, deadline: Instant) {
        self.deadline.send_replace(deadline);
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Kills the connections one after the other, each only when the one before is gone.
async fn end(server: &Server, link: Link, ids: &[u32]) {
    let mut link = Some(link);
    let mut patience = FIRST_PATIENCE;
    let give_up = Instant::now() + Duration::from_secs(30);
    for id in ids {
        while Instant::now() < give_up {
            let gone = async {
                let with = match &mut link {
                    Some(link) => link,
                    None => link.insert(server.connect().await?),
                };
                with.kill(*id).await?;
                let left = with.cell(&format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id}")).await?;
                Ok::<bool, upstream::Error>(left.as_deref() == Some("0"))
            };
            match tokio::time::timeout(patience, gone).await {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => {
                    link = None;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    patience = KILL_PATIENCE;
                }
            }
        }
    }
}
