//! The engine's handle: starts migrations, shows them, passes the operator's wishes on, takes over what has no owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bypass::Writer;
use super::checkpoint::{self, Stored};
use super::error::Error;
use super::progress::{Board, options_with};
use super::runner::{self, Surroundings};
use super::shadow::{self, Names};
use super::{Change, Command, Options, Phase, Refusal, Request, Status, group, instant, preflight};
use crate::config::{self, Config, Strategy};
use crate::gate::Gates;
use crate::ids::{MigrationId, TableName};
use crate::metrics::Metrics;
use crate::upstream::{self, Facts, Link, Server};

/// How often the store is read for migrations without an owner.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How long clients are kept out at the start, so that they do not find a table without its triggers.
const MEND_PATIENCE: Duration = Duration::from_secs(10);

/// Migrations that are over and still shown.
const SHOWN_MOST: usize = 1000;

struct Entry {
    board: Arc<Board>,
    stored: Stored,
    is_running: bool,
}

/// Whom a command is for.
struct Told {
    board: Arc<Board>,
    options: Options,
    swaps: u64,
}

struct Inner {
    around: Arc<Surroundings>,
    metrics: Metrics,
    entries: Mutex<BTreeMap<MigrationId, Entry>>,
    starting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

/// The engine's handle for the admin commands; cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service").field("migrations", &self.entries().len()).finish()
    }
}

impl Service {
    /// A service that knows no migration yet; [`Service::supervise`] finds those of the store.
    pub fn new(config: Arc<Config>, gates: Arc<Gates>, metrics: Metrics, shutdown: CancellationToken) -> Self {
        let server = Server::new(&config.upstream);
        let places = Arc::new(tokio::sync::Semaphore::new(config.migrations.at_once));
        let around = Arc::new(Surroundings { server, config, gates, places, shutdown });
        let inner =
            Inner { around, metrics, entries: Mutex::default(), starting: tokio::sync::Mutex::default(), tasks: TaskTracker::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Takes another account or TLS over for the engine's connections from now on.
    pub fn reload(&self, upstream: &config::Upstream) {
        self.inner.around.server.reload(upstream);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<MigrationId, Entry>> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the wish, stores it and starts it; returns when the shadows stand, or after ten seconds. Gives the number of each table's
    /// migration, the group's first.
    ///
    /// # Errors
    /// [`Refusal`] where a check or the server refuses; the sources are untouched then.
    pub async fn start(&self, request: Request) -> Result<Vec<MigrationId>, Refusal> {
        let ids = {
            let _one_at_a_time = self.inner.starting.lock().await;
            let stored = match request.changes.as_slice() {
                [change] => self.store(change, &request.options).await.map(|stored| vec![stored]),
                changes => self.store_group(changes, &request.options).await,
            };
            let stored = stored.map_err(|error| refusal(&error))?;
            let ids: Vec<MigrationId> = stored.iter().map(|stored| stored.id).collect();
            self.adopt(stored);
            ids
        };
        self.until_prepared(&ids).await?;
        Ok(ids)
    }

    async fn store(&self, change: &Change, wished: &Options) -> Result<Stored, Error> {
        let config = &self.inner.around.config;
        let mut options = wished.clone();
        let strategy = *options.strategy.get_or_insert(config.migrations.strategy);
        let clauses = preflight::check_specification(&change.specification)?;
        let window = options.revert_window.unwrap_or(config.cutover.revert_window());
        if strategy == Strategy::Instant && options.revert_window.is_some_and(|window| !window.is_zero()) {
            let message = "an ALTER in place leaves no old table to swap back; leave revert_window_s or strategy = 'instant' out";
            return Err(Refusal::new(1235, *b"42000", message).into());
        }
        let is_tried = instant::may_be_tried(strategy, !window.is_zero(), &clauses)?;
        let mut link = self.inner.around.server.connect_engine().await?;
        let facts = Facts::read(&mut link).await?;
        let protocol = wished.cutover.unwrap_or(self.inner.around.config.cutover.protocol);
        let checked = preflight::check(&mut link, &facts, &change.table, &change.specification, protocol).await;
        // What keeps a table from being copied does not keep the server from altering it.
        let (table, obstacle) = match checked {
            Ok(checked) => (checked.table, None),
            Err(obstacle @ Error::Refused(_)) if is_tried => {
                let table = preflight::check_in_place(&mut link, &facts, &change.table).await?;
                (table, (strategy == Strategy::Auto).then_some(obstacle))
            }
            Err(error) => return Err(error),
        };
        lock_store(&mut link).await?;
        self.refuse_second(&mut link, &table).await?;
        if let Some(obstacle) = obstacle {
            let (server, names) = (self.inner.around.server.only(&facts), Names::of(&table));
            let proved = instant::prove(&server, &mut link, &facts, &names, &change.specification).await?;
            if proved.is_err() {
                shadow::drop_copy(&mut link, &names).await?;
                return Err(obstacle);
            }
        }
        let id = checkpoint::insert(&mut link, &table, &change.specification, &options).await?;
        let stored = checkpoint::read(&mut link, &format!("migration_id = {id}")).await?.pop();
        stored.ok_or_else(|| upstream::Error::Unexpected("the new migration cannot be read back".into()).into())
    }

    async fn store_group(&self, changes: &[Change], options: &Options) -> Result<Vec<Stored>, Error> {
        let mut link = self.inner.around.server.connect_engine().await?;
        let facts = Facts::read(&mut link).await?;
        let checked = group::check::check(&mut link, &facts, &self.inner.around.config, changes, options).await?;
        lock_store(&mut link).await?;
        for (table, _) in &checked.members {
            self.refuse_second(&mut link, table).await?;
        }
        let ids = checkpoint::insert_group(&mut link, &checked.members, &checked.options).await?;
        let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let stored = checkpoint::read(&mut link, &format!("migration_id IN ({})", list.join(", "))).await?;
        if stored.len() == ids.len() {
            return Ok(stored);
        }
        Err(upstream::Error::Unexpected("the new migrations cannot be read back".into()).into())
    }

    async fn refuse_second(&self, link: &mut Link, table: &crate::ids::TableName) -> Result<(), Error> {
        let condition = format!(
            "schema_name = {} AND table_name = {} AND phase NOT IN ('done', 'reverted', 'cancelled', 'failed')",
            upstream::literal(&table.schema),
            upstream::literal(&table.table)
        );
        match checkpoint::read(link, &condition).await?.first() {
            Some(Stored { id, phase: Phase::Reversible, .. }) => Err(Refusal::new(
                1846,
                *b"0A000",
                format!("{table} is in the revert window of migration {id}; REVERT MIGRATION {id} or CLEANUP MIGRATION {id} ends it"),
            )
            .into()),
            Some(other) => Err(Refusal::new(
                1846,
                *b"0A000",
                format!(
                    "{table} is being migrated by migration {} ({}); wait for it or CANCEL MIGRATION {}",
                    other.id,
                    other.phase.name(),
                    other.id
                ),
            )
            .into()),
            None => Ok(()),
        }
    }

    async fn until_prepared(&self, ids: &[MigrationId]) -> Result<(), Refusal> {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let mut waits = false;
            for status in ids.iter().filter_map(|id| self.status(*id)) {
                waits |= match status.phase {
                    // It waits its turn, which may be hours away.
                    Phase::Queued if !status.note.is_empty() => false,
                    Phase::Queued | Phase::Preparing => true,
                    Phase::Undoing if status.rows_copied == 0 => true,
                    Phase::Failed if status.rows_copied == 0 && status.error_code != 0 => {
                        return Err(Refusal::new(status.error_code, sqlstate(status.error_code), status.error));
                    }
                    _ => false,
                };
            }
            if !waits || tokio::time::Instant::now() > give_up {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes a stored migration, or all those of a group, into the list and, where they are not over, runs them.
    fn adopt(&self, stored: Vec<Stored>) {
        let mut entries = self.entries();
        let ids: Vec<MigrationId> = stored.iter().map(|stored| stored.id).collect();
        let is_over = stored.iter().all(|stored| stored.phase.is_final());
        let mut boards = Vec::new();
        let mut is_running = false;
        for stored in stored {
            let entry = entries.entry(stored.id).or_insert_with(|| Entry {
                board: Arc::new(Board::new(&stored, self.inner.metrics.clone())),
                stored,
                is_running: false,
            });
            is_running |= entry.is_running;
            boards.push(entry.board.clone());
        }
        if is_over || is_running {
            return;
        }
        let set_running = |entries: &mut BTreeMap<MigrationId, Entry>, ids: &[MigrationId], is_running: bool| {
            entries.iter_mut().filter(|(id, _)| ids.contains(id)).for_each(|(_, entry)| entry.is_running = is_running);
        };
        set_running(&mut entries, &ids, true);
        let (around, service) = (self.inner.around.clone(), self.clone());
        self.inner.tasks.spawn(async move {
            runner::run(around, boards).await;
            set_running(&mut service.entries(), &ids, false);
        });
        while entries.len() > SHOWN_MOST {
            let Some(oldest) = entries.iter().find(|(_, entry)| !entry.is_running).map(|(id, _)| *id) else { break };
            entries.remove(&oldest);
        }
    }

    /// Reads the store once, so that a proxy that has just started knows its migrations when the first operator asks.
    pub async fn recall(&self) {
        if let Ok(Err(error)) = tokio::time::timeout(LOOK_EVERY, self.look()).await {
            tracing::debug!(%error, "the store could not be read at the start");
        }
    }

    /// Puts right what must be right before the first client comes in.
    pub async fn mend(&self) {
        match tokio::time::timeout(MEND_PATIENCE, self.mend_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the store could not be read at the start"),
            Err(_) => {
                tracing::warn!("a table may lack triggers that a cut-over has taken off; they are put on as soon as the server lets it")
            }
        }
    }

    async fn mend_all(&self) -> Result<(), Error> {
        let server = &self.inner.around.server;
        let mut link = server.connect_engine().await?;
        if !checkpoint::exists(&mut link).await? {
            return Ok(());
        }
        checkpoint::upgrade(&mut link).await?;
        let mut sets: BTreeMap<MigrationId, Vec<Stored>> = BTreeMap::new();
        for stored in checkpoint::read(&mut link, "triggers <> '' OR ties <> ''").await? {
            let first = stored.group.unwrap_or(stored.id);
            let members = match stored.group {
                None => vec![stored],
                // One statement may still be swapping all of them.
                Some(group) => checkpoint::read(&mut link, &format!("group_id = {group}")).await?,
            };
            sets.insert(first, members);
        }
        for members in sets.values() {
            runner::mend(server, members).await?;
        }
        link.close().await;
        Ok(())
    }

    /// Finds the store's migrations, at the start and again and again: those without an owner are taken over.
    pub async fn supervise(&self) {
        let mut told = false;
        loop {
            match self.look().await {
                Ok(()) => told = false,
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(server = self.inner.around.server.address(), %error, "the store of migrations cannot be read; trying again every {LOOK_EVERY:?}");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.inner.around.shutdown.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Result<(), upstream::Error> {
        let mut link = self.inner.around.server.connect_engine().await?;
        if !checkpoint::exists(&mut link).await? {
            return Ok(());
        }
        checkpoint::upgrade(&mut link).await?;
        let mut sets: BTreeMap<MigrationId, Vec<Stored>> = BTreeMap::new();
        for stored in checkpoint::read(&mut link, "1 = 1").await? {
            sets.entry(stored.group.unwrap_or(stored.id)).or_default().push(stored);
        }
        for stored in sets.into_values() {
            self.look_at(stored);
        }
        link.close().await;
        Ok(())
    }

    /// One stored migration, or all those of a group.
    fn look_at(&self, stored: Vec<Stored>) {
        let knows = |id| self.entries().contains_key(&id);
        let runs = |id| self.entries().get(&id).is_some_and(|entry| entry.is_running);
        if stored.iter().any(|stored| runs(stored.id)) {
            return;
        }
        let is_over = stored.iter().all(|stored| stored.phase.is_final());
        if stored.iter().any(|stored| !knows(stored.id)) || !is_over && !self.inner.around.shutdown.is_cancelled() {
            return self.adopt(stored);
        }
        for stored in stored {
            // Another proxy finished it.
            if let Some(entry) = self.entries().get_mut(&stored.id)
                && entry.board.status().phase != stored.phase
            {
                *entry = Entry { board: Arc::new(Board::new(&stored, self.inner.metrics.clone())), stored, is_running: false };
            }
        }
    }

    /// Waits until every runner has let go; after the shutdown token was cancelled.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// All migrations that this proxy knows of, by number; from memory, so that it works while the server is down.
    pub fn list(&self) -> Vec<Status> {
        self.entries().values().map(|entry| entry.board.status()).collect()
    }

    /// Who has written to migrating tables without going through the proxy.
    pub fn bypassing(&self) -> Vec<(MigrationId, TableName, Writer)> {
        let entries = self.entries();
        let of = |entry: &Entry| {
            let status = entry.board.status();
            entry.board.writers().list().into_iter().map(move |writer| (status.id, status.table.clone(), writer)).collect::<Vec<_>>()
        };
        entries.values().flat_map(of).collect()
    }

    /// One migration.
    pub fn status(&self, id: MigrationId) -> Option<Status> {
        self.entries().get(&id).map(|entry| entry.board.status())
    }

    /// Tells one migration something, and with it all those of its group; stored first, so that a process that takes over knows it too.
    ///
    /// # Errors
    /// [`Refusal`] where there is no such migration, its phase or that of another member does not take the command, or it cannot be stored.
    pub async fn command(&self, id: MigrationId, command: Command) -> Result<(), Refusal> {
        let told = self.told(id)?;
        for Told { board, .. } in &told {
            check_command(&board.status(), command, board.swaps().1)?;
        }
        self.store_wish(&told, command).await.map_err(|error| match error.code() {
            Some(1205) => Refusal::new(
                1205,
                *b"HY000",
                format!(
                    "the row of migration {id} in `tidegate`.`migrations` is locked: the server has not ended a write to it (a full disk \
                     holds it up, and a minute longer); nothing was changed, say it again"
                ),
            ),
            _ => refusal(&error.into()),
        })?;
        for Told { board, swaps, .. } in &told {
            board.wish(|wishes| apply_command(wishes, command, *swaps));
        }
        if command == Command::Revert {
            for Told { board, swaps, .. } in &told {
                taken_up(board, *swaps).await?;
            }
        }
        Ok(())
    }

    /// The migration of this number and those of its group.
    fn told(&self, id: MigrationId) -> Result<Vec<Told>, Refusal> {
        let entries = self.entries();
        let Some(entry) = entries.get(&id) else {
            return Err(Refusal::new(1305, *b"42000", format!("there is no migration {id}; SHOW MIGRATIONS lists them")));
        };
        let is_told = |other: &&Entry| other.stored.id == id || (entry.stored.group.is_some() && other.stored.group == entry.stored.group);
        let told = |entry: &Entry| Told { board: entry.board.clone(), options: entry.stored.options.clone(), swaps: entry.board.swaps().0 };
        Ok(entries.values().filter(is_told).map(told).collect())
    }

    /// For all of them or none.
    async fn store_wish(&self, told: &[Told], command: Command) -> Result<(), upstream::Error> {
        let mut link = self.inner.around.server.connect_engine().await?;
        link.run("START TRANSACTION").await?;
        for Told { board, options, swaps } in told {
            let id = board.status().id;
            let mut wanted = board.wishes().borrow().clone();
            apply_command(&mut wanted, command, *swaps);
            if *swaps > 0 {
                checkpoint::set_window_wish(&mut link, id, wanted.swaps_wanted, wanted.is_window_over).await?;
            } else {
                checkpoint::set_wish(&mut link, id, wanted.is_paused, wanted.is_cancelled, &options_with(options, &wanted)).await?;
            }
        }
        link.run("COMMIT").await
    }
}

/// Creates the store where it is missing, and keeps other proxies from storing a new migration until the connection ends.
async fn lock_store(link: &mut Link) -> Result<(), Error> {
    checkpoint::create(link).await?;
    let lock = format!("SELECT GET_LOCK({}, 10)", upstream::literal("tidegate start"));
    if link.cell(&lock).await?.as_deref() != Some("1") {
        return Err(Refusal::new(1205, *b"HY000", "another proxy is just starting a migration; try again").into());
    }
    Ok(())
}

/// Whether the migration can take a command in its phase.
fn check_command(status: &Status, command: Command, obstacle: Option<String>) -> Result<(), Refusal> {
    let (id, phase) = (status.id, status.phase);
    let refuse = |what: &str| Err(Refusal::new(1105, *b"HY000", format!("migration {id} is {}, {what}", phase.name())));
    let has_begun = matches!(phase, Phase::CuttingOver | Phase::Ambiguous | Phase::SwappingBack | Phase::CleaningUp);
    match command {
        Command::Revert if status.course.is_in_place() => {
            refuse("and changes the table in place, so there is no old table to swap back: start a migration with the opposite ALTER")
        }
        _ if phase.is_final() => refuse("nothing more can be done with it; start a new one"),
        Command::Revert if phase == Phase::Reversible => match obstacle {
            Some(obstacle) => refuse(&format!("and cannot be reverted: {obstacle}")),
            None => Ok(()),
        },
        Command::Revert | Command::CleanUp if phase == Phase::Reverting => {
            refuse(&format!("it is swapping back already; CANCEL MIGRATION {id} takes that back"))
        }
        Command::CleanUp if phase == Phase::Reversible => Ok(()),
        Command::Revert | Command::CleanUp => refuse("that can be said in the revert window only, which is after the swap"),
        Command::Cancel if phase == Phase::Reversible => {
            refuse(&format!("too late for that; REVERT MIGRATION {id} swaps back, CLEANUP MIGRATION {id} drops the other table"))
        }
        Command::Cancel if phase == Phase::Reverting => Ok(()),
        Command::Pause | Command::Cancel if has_begun => refuse("too late for that; SHOW MIGRATION shows how it ends"),
        Command::Cutover | Command::ForceCutover if has_begun => refuse("its cut-over is under way"),
        Command::Pause | Command::Cutover | Command::ForceCutover if matches!(phase, Phase::Reversible | Phase::Reverting) => {
            refuse("its cut-over is over")
        }
        _ => Ok(()),
    }
}

/// Waits until the runner has taken a REVERT up: the window may end at the same moment.
async fn taken_up(board: &Board, swaps: u64) -> Result<(), Refusal> {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let (now, obstacle) = board.swaps();
        let status = board.status();
        if now == swaps && matches!(status.phase, Phase::CleaningUp | Phase::Done | Phase::Reverted) {
            let message = format!("the revert window of migration {} has just ended; the other table is being dropped", status.id);
            return Err(Refusal::new(1105, *b"HY000", message));
        }
        if let Some(obstacle) = obstacle.filter(|_| now == swaps) {
            return Err(Refusal::new(1105, *b"HY000", format!("migration {} cannot be reverted: {obstacle}", status.id)));
        }
        if now != swaps || status.phase != Phase::Reversible || tokio::time::Instant::now() > give_up {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn apply_command(wishes: &mut super::progress::Wishes, command: Command, swaps: u64) {
    match command {
        Command::Pause => wishes.is_paused = true,
        Command::Resume => {
            wishes.is_paused = false;
            wishes.resumed += 1;
        }
        Command::Cancel if swaps > 0 => wishes.swaps_wanted = swaps,
        Command::Cancel => wishes.is_cancelled = true,
        // Said to a migration that is not postponed, it means: whatever it waits for.
        Command::Cutover if !wishes.is_postponed => wishes.ignores_breaking = true,
        Command::Revert => wishes.swaps_wanted = swaps + 1,
        Command::CleanUp => wishes.is_window_over = true,
        Command::Cutover => wishes.is_postponed = false,
        Command::ForceCutover => {
            wishes.ignores_breaking |= !wishes.is_postponed;
            wishes.is_postponed = false;
            wishes.is_forced = true;
        }
    }
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Refused(refusal) => refusal.clone(),
        Error::Upstream(error) => Refusal::from_upstream(error),
        other => Refusal::new(1105, *b"HY000", other.to_string()),
    }
}

/// The state that goes with a number when only the number was kept.
fn sqlstate(code: u16) -> [u8; 5] {
    match code {
        1064 | 1235 | 1173 | 1227 | 1044 | 1072 | 1091 | 1054 | 1060 | 1061 | 1067 | 1068 | 1075 | 1101 | 1142 => *b"42000",
        1062 | 1048 => *b"23000",
        1146 => *b"42S02",
        1138 | 1264 | 1406 => *b"22003",
        _ => *b"HY000",
    }
}

impl Default for Service {
    /// A service with the default configuration that nobody supervises: it knows no migration.
    fn default() -> Self {
        let (config, metrics) = (Arc::new(Config::default()), Metrics::new());
        let census = Arc::new(crate::census::Census::default());
        let gates = Arc::new(Gates::new(census, metrics.clone(), config.cutover.max_hold()));
        Self::new(config, gates, metrics, CancellationToken::new())
    }
}
