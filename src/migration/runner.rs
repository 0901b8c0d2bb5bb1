//! Drives one migration from its stored phase to its end, whatever happens on the way.
//!
//! Owns: the order of phases, the lease that keeps other proxies off, the background tasks of a run.
//! A run begins by reading the store and ending what an earlier run left on the server; it may therefore be cut off anywhere.
//! See: `prepare.rs` (up to the copy), `run.rs` (copy to ready), `finish.rs` (swap to done), [`super::policy`] (what an error
//! leads to).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::busy;
use super::checkpoint::{self, Stored};
use super::cutover::settle::{self, Truth};
use super::error::Error;
use super::instant;
use super::phase::{Event, Phase};
use super::policy::{self, Decision};
use super::progress::Board;
use super::shadow::{self, Names};
use super::{foreign_keys, triggers};
use crate::census::latency::Watch;
use crate::config::Config;
use crate::gate::Gates;
use crate::ids::MigrationId;
use crate::upstream::{self, Facts, Link, Server};

/// How often the store is read while a migration is parked: it may have been resumed by another proxy.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What all runners of a process share.
#[derive(Debug)]
pub struct Surroundings {
    /// The way to the server.
    pub server: Server,
    /// The configuration.
    pub config: Arc<Config>,
    /// The gates.
    pub gates: Arc<Gates>,
    /// How many may copy at once.
    pub places: Arc<Semaphore>,
    /// Cancelled when the proxy shuts down.
    pub shutdown: CancellationToken,
}

/// One run's hold on its migration: a connection for the store, and the lease.
pub struct Grip {
    /// For the store and for questions.
    pub link: Link,
    /// The way to the server of this run, and to no other.
    pub server: Server,
    /// The place among those that copy; given back in Ready.
    pub place: Option<Arc<OwnedSemaphorePermit>>,
    /// What kind of server it is.
    pub facts: Facts,
    /// What was stored when the run began.
    pub stored: Stored,
    /// The three names of the next swap.
    pub names: Names,
    /// Its face.
    pub board: Arc<Board>,
    /// The phase now.
    pub phase: Phase,
    /// Until the copy: what clients' statements take without one.
    pub watch: Option<Watch>,
}

impl Grip {
    /// Takes an arrow of the phase table, stores and shows the new phase.
    ///
    /// # Errors
    /// Where the table has no such arrow (a defect) or the store does not answer.
    pub async fn step(&mut self, event: Event) -> Result<(), Error> {
        let next = self.after(event)?;
        if event == Event::Swapped {
            let swaps = self.stored.swaps + 1;
            checkpoint::set_swapped(&mut self.link, self.stored.id, next, swaps).await?;
            self.stored.swaps = swaps;
            self.names = Names::after_swaps(&self.stored.table, swaps);
            self.board.set_swaps(swaps, None);
        } else {
            checkpoint::set_phase(&mut self.link, self.stored.id, next).await?;
        }
        self.enter(next);
        Ok(())
    }

    /// Takes an arrow because of an error, which is stored and shown with the new phase.
    ///
    /// # Errors
    /// As [`Grip::step`].
    pub async fn fail(&mut self, event: Event, error: &Error) -> Result<(), Error> {
        let next = self.after(event)?;
        let (code, text) = (error.code(), error.to_string());
        checkpoint::set_failed(&mut self.link, self.stored.id, next, code, &text).await?;
        self.board.set_error(code, text);
        self.enter(next);
        Ok(())
    }

    fn after(&self, event: Event) -> Result<Phase, Error> {
        let defect =
            |refused: super::phase::Refused| Error::Stuck(refused.to_string(), "this is a defect of Tidegate; please report it".into());
        self.phase.next(event).map_err(defect)
    }

    fn enter(&mut self, next: Phase) {
        tracing::info!(migration = %self.stored.id, table = %self.names.source, from = self.phase.name(), to = next.name(), "phase");
        if !next.is_before_swap() || next == Phase::Ready {
            self.place = None;
        }
        self.phase = next;
        self.board.set_phase(next);
    }

    /// The migration's number.
    pub fn id(&self) -> MigrationId {
        self.stored.id
    }
}

/// Takes the lease that keeps other proxies off, where it is free or becomes free in time; held until the connection ends.
async fn take_lease(link: &mut Link, id: MigrationId, patience_s: u8) -> Result<bool, upstream::Error> {
    let sql = format!("SELECT GET_LOCK({}, {patience_s})", upstream::literal(&lease_name(id)));
    Ok(link.cell(&sql).await?.as_deref() == Some("1"))
}

/// The name of a migration's lease.
pub fn lease_name(id: MigrationId) -> String {
    format!("tidegate migration {id}")
}

/// Runs a migration, or all those of a group, to its end, or until the proxy stops or another one has it.
pub async fn run(around: Arc<Surroundings>, boards: Vec<Arc<Board>>) {
    tokio::select! {
        _ = futures_util::future::join_all(boards.iter().map(|board| busy::watch(&around.server, board))) => {}
        () = run_on(&around, &boards) => {}
    }
    boards.iter().for_each(|board| board.set_busy(String::new()));
}

async fn run_on(around: &Arc<Surroundings>, boards: &[Arc<Board>]) {
    // Wishes come to all members of a group alike.
    let Some(board) = boards.first() else { return };
    let (id, table) = (board.status().id, named(boards));
    let (mut retries, mut is_resumed) = (0, false);
    loop {
        let is_parked = boards.iter().any(|board| board.status().phase == Phase::Parked);
        if is_parked && !is_resumed {
            boards.iter().for_each(|board| board.set_note(""));
            if !wait_for_resume(around, board).await {
                return;
            }
        }
        is_resumed = is_parked;
        let Some(place) = super::queue::take_place(around, boards).await else { return };
        let error = match drive(around, boards, place).await {
            Ok(()) => return,
            Err(error) => error,
        };
        match policy::decide(&error) {
            Decision::Stop => return,
            Decision::Retry => {
                retries += 1;
                let pause = policy::pause(retries);
                tracing::info!(migration = %id, %table, %error, retries, pause_ms = pause.as_millis(), "interrupted; goes on from its checkpoint");
                for board in boards {
                    board.set_note(format!("interrupted ({error}); goes on in {:.1} s", pause.as_secs_f64()));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = around.shutdown.cancelled() => return,
                }
                if board.status().phase == Phase::Copying || board.status().phase == Phase::Ready {
                    retries = retries.min(3);
                }
            }
            Decision::Park(remedy) => {
                let text = if matches!(error, Error::Stuck(..)) { error.to_string() } else { format!("{error}; {remedy}") };
                tracing::warn!(migration = %id, %table, error = %text, "parked until somebody mends it and says RESUME");
                let is_ours = note_failures(around, boards, error.code(), &text, Event::Stuck).await;
                if is_ours && !wait_for_resume(around, board).await {
                    return;
                }
                is_resumed = is_ours;
                retries = 0;
            }
            Decision::Fail => {
                tracing::info!(migration = %id, %table, code = error.code(), error = %error, "refused; everything is undone, the table is as it was");
                note_failures(around, boards, error.code(), &error.to_string(), Event::Abandoned).await;
                tokio::time::sleep(policy::pause(1)).await;
            }
            Decision::Cancel => {
                tracing::info!(migration = %id, %table, "cancelled; everything is undone, the table is as it was");
                note_failures(around, boards, 0, "", Event::Abandoned).await;
            }
        }
    }
}

/// The tables, for the log.
fn named(boards: &[Arc<Board>]) -> String {
    boards.iter().map(|board| board.status().table.to_string()).collect::<Vec<_>>().join(", ")
}

/// `false` where another proxy has gone on with one of them meanwhile: what follows is its to decide.
async fn note_failures(around: &Surroundings, boards: &[Arc<Board>], code: u16, text: &str, event: Event) -> bool {
    let mut is_ours = true;
    for board in boards {
        is_ours &= note_failure(around, board, board.status().id, code, text, event).await;
    }
    is_ours
}

/// Stores a failure and the phase that follows, as far as the server can be reached; tries for a while.
async fn note_failure(around: &Surroundings, board: &Board, id: MigrationId, code: u16, text: &str, event: Event) -> bool {
    board.set_error(code, text);
    // A failpoint that fails is one that stands for nothing here.
    drop(crate::failpoints::reach("runner.failed").await);
    for attempt in 1..=30 {
        match store_failure(around, board, id, (code, text), event).await {
            Ok(is_ours) => return is_ours,
            Err(error) => tracing::info!(migration = %id, %error, attempt, "the failure could not be stored yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(policy::pause(attempt)) => {}
            () = around.shutdown.cancelled() => return true,
        }
    }
    true
}

/// The run that failed has let the lease go: it is taken again, and the phase must be what it was.
async fn store_failure(
    around: &Surroundings,
    board: &Board,
    id: MigrationId,
    (code, text): (u16, &str),
    event: Event,
) -> Result<bool, upstream::Error> {
    let mut link = around.server.connect_engine().await?;
    let phase = board.status().phase;
    let is_held = take_lease(&mut link, id, 3).await?;
    let stored = checkpoint::read(&mut link, &format!("migration_id = {id}")).await?.pop();
    if !is_held || stored.is_some_and(|stored| stored.phase != phase) {
        tracing::info!(migration = %id, error = text, is_held, "another proxy has gone on with the migration meanwhile");
        board.set_error(0, "");
        return Ok(false);
    }
    match phase.next(event) {
        Ok(next) => {
            checkpoint::set_failed(&mut link, id, next, code, text).await?;
            board.set_phase(next);
        }
        Err(_) => checkpoint::set_error(&mut link, id, code, text).await?,
    }
    link.close().await;
    Ok(true)
}

/// Until the operator says RESUME or CANCEL, here or to another proxy; `false` where the proxy stops first.
async fn wait_for_resume(around: &Surroundings, board: &Board) -> bool {
    let mut wishes = board.wishes();
    let resumed = wishes.borrow().resumed;
    loop {
        tokio::select! {
            _ = wishes.wait_for(|wishes| wishes.resumed > resumed || wishes.is_cancelled) => return true,
            () = around.shutdown.cancelled() => return false,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let moved_on = async {
            let mut link = around.server.connect_engine().await?;
            let status = board.status();
            let stored = checkpoint::read(&mut link, &format!("migration_id = {}", status.id)).await?.pop();
            link.close().await;
            Ok::<bool, upstream::Error>(stored.is_some_and(|stored| stored.phase != status.phase))
        };
        // A server that does not answer has moved nothing on.
        if tokio::time::timeout(LOOK_EVERY, moved_on).await.is_ok_and(|moved_on| moved_on.unwrap_or(false)) {
            return true;
        }
    }
}

/// One run: from what is stored as far as it goes.
async fn drive(around: &Arc<Surroundings>, boards: &[Arc<Board>], place: Option<OwnedSemaphorePermit>) -> Result<(), Error> {
    if around.shutdown.is_cancelled() {
        return Err(Error::Stopped);
    }
    match boards {
        [board] => drive_one(around, board, place).await,
        boards => super::group::drive(around, boards, place).await,
    }
}

async fn drive_one(around: &Arc<Surroundings>, board: &Arc<Board>, place: Option<OwnedSemaphorePermit>) -> Result<(), Error> {
    let (id, was_parked) = (board.status().id, board.status().phase == Phase::Parked);
    let Some(mut grip) = take_hold(around, board, id).await? else { return Ok(()) };
    if grip.phase == Phase::Parked && !was_parked {
        return Err(parked_by_another());
    }
    grip.place = place.map(Arc::new);
    settle::end_stragglers(&mut grip.link, &grip.names, id).await?;
    if matches!(grip.phase, Phase::CuttingOver | Phase::Ambiguous | Phase::SwappingBack) {
        read_the_truth(&mut grip).await?;
    }
    settle_around(&mut grip).await?;
    match grip.phase {
        phase if phase.is_final() => return Ok(()),
        Phase::Reversible | Phase::Reverting => return after_swap(around, &mut grip).await,
        Phase::CleaningUp => return super::finish::run(around, &mut grip).await,
        Phase::Undoing => return undo(&mut grip).await,
        _ if grip.board.wishes().borrow().is_cancelled => return Err(Error::Cancelled),
        Phase::Parked => grip.step(Event::Resumed).await?,
        Phase::Queued => grip.step(Event::Started).await?,
        _ => grip.step(Event::Restarted).await?,
    }
    while let Some(proof) = instant::choose(around, &mut grip).await? {
        match instant::run(around, &mut grip, proof).await? {
            instant::End::Altered => return super::finish::run(around, &mut grip).await,
            instant::End::Again => grip.step(Event::Restarted).await?,
        }
    }
    let prepared = super::prepare::run(around, &mut grip, None).await?;
    super::run::run(around, &mut grip, prepared).await?;
    after_swap(around, &mut grip).await
}

/// The revert window, then the end.
async fn after_swap(around: &Arc<Surroundings>, grip: &mut Grip) -> Result<(), Error> {
    super::revert::run(around, std::slice::from_mut(grip)).await?;
    super::finish::run(around, grip).await
}

/// Nobody has told this proxy to go on with it.
pub fn parked_by_another() -> Error {
    upstream::Error::Lost("another proxy has parked the migration".into()).into()
}

/// Connects, takes the lease, reads the store. `None` where this server does not know the migration.
pub async fn take_hold(around: &Surroundings, board: &Arc<Board>, id: MigrationId) -> Result<Option<Grip>, Error> {
    crate::failpoints::reach("runner.lease").await?;
    let mut link = around.server.connect_engine().await?;
    let facts = Facts::read(&mut link).await?;
    if !take_lease(&mut link, id, 3).await? {
        tracing::info!(migration = %id, "another proxy runs it");
        return Err(upstream::Error::Lost(format!("another proxy holds the lease of migration {id}")).into());
    }
    let is_there = checkpoint::exists(&mut link).await?;
    let stored = if is_there { checkpoint::read(&mut link, &format!("migration_id = {id}")).await?.pop() } else { None };
    let Some(stored) = stored else {
        let (address, identity) = (around.server.address(), &facts.identity);
        tracing::warn!(migration = %id, server = address, identity, "this server does not know the migration, so nothing is done on it; the migration goes on when the one that does is back");
        board.set_note(format!("the server at {address} ({identity}) does not know this migration; it goes on where it began"));
        return Ok(None);
    };
    let server = around.server.only(&facts);
    let names = Names::after_swaps(&stored.table, stored.swaps);
    board.set_swaps(stored.swaps, None);
    let phase = stored.phase;
    if board.status().phase != phase {
        board.set_phase(phase);
    }
    // Another proxy may have run it since this board was made.
    board.set_error(stored.error_code, stored.error.clone());
    let watch = phase.is_before_swap().then(|| around.gates.census().latency.watch());
    Ok(Some(Grip { link, server, place: None, facts, stored, names, board: board.clone(), phase, watch }))
}

/// Reads the server after an attempt whose end is not known.
async fn read_the_truth(grip: &mut Grip) -> Result<(), Error> {
    if grip.phase == Phase::CuttingOver {
        grip.step(Event::Restarted).await?;
    }
    instant::settle_or_read(grip).await
}

/// From Ambiguous to what the server says.
///
/// # Errors
/// As the server says; [`Error::Stuck`] where the names on the server fit nothing.
pub async fn settle_truth(grip: &mut Grip) -> Result<(), Error> {
    let truth = settle::read(&mut grip.link, &grip.names).await?;
    tracing::info!(migration = %grip.id(), table = %grip.names.source, ?truth, "read what the swap led to");
    match truth {
        Truth::Swapped => grip.step(Event::Swapped).await,
        Truth::NotSwapped | Truth::ShadowGone => {
            shadow::drop_sentry(&mut grip.link, &grip.names).await?;
            grip.step(Event::NotSwapped).await
        }
        Truth::Halfway => {
            settle::undo_half(&mut grip.link, &grip.names).await?;
            grip.step(Event::NotSwapped).await
        }
        Truth::Nothing => Err(Error::Stuck(
            format!("neither {} nor a shadow of it exists", grip.names.source),
            format!("look for the table in the schemas {} and {}, then RESUME", grip.names.shadow.schema, grip.names.retired.schema),
        )),
    }
}

/// Puts on the triggers that an attempt may have taken off and not put on again, and brings foreign keys to where they belong.
///
/// # Errors
/// As the server says.
pub async fn settle_around(grip: &mut Grip) -> Result<(), Error> {
    settle_triggers(grip).await?;
    let id = grip.id();
    let (_, ties) = checkpoint::ties(&mut grip.link, id).await?;
    foreign_keys::settle_stored(&mut grip.link, &grip.stored.table, id, &ties).await
}

/// The triggers alone.
///
/// # Errors
/// As the server says.
pub async fn settle_triggers(grip: &mut Grip) -> Result<(), Error> {
    let id = grip.id();
    let stored = checkpoint::triggers(&mut grip.link, id).await?;
    triggers::settle(&mut grip.link, &grip.server, id, &stored, &grip.stored.table).await
}

/// What cannot wait until the run of a migration, or of all those of a group, is taken over: before the first client comes in, the tables
/// that a proxy left without their triggers when it died get them back, and their children point to them. Where another proxy has it,
/// nothing is done.
///
/// # Errors
/// As the server says.
pub async fn mend(server: &Server, all: &[Stored]) -> Result<(), Error> {
    let mut link = server.connect_engine().await?;
    for stored in all {
        if !take_lease(&mut link, stored.id, 1).await? {
            return Ok(());
        }
    }
    let server = server.only(&Facts::read(&mut link).await?);
    for stored in all {
        settle::end_stragglers(&mut link, &Names::after_swaps(&stored.table, stored.swaps), stored.id).await?;
    }
    for stored in all {
        triggers::settle(&mut link, &server, stored.id, &stored.triggers, &stored.table).await?;
        foreign_keys::settle_stored(&mut link, &stored.table, stored.id, &stored.ties).await?;
    }
    link.close().await;
    Ok(())
}

/// Undoes everything before a swap.
pub async fn undo(grip: &mut Grip) -> Result<(), Error> {
    for attempt in 1..=10 {
        match shadow::undo(&mut grip.link, &grip.names).await {
            Ok(()) => break,
            Err(Error::Upstream(error)) if error.is_lock_conflict() && attempt < 10 => {
                grip.board.set_note("waiting for somebody who reads the shadow table, to drop it");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
    // A refusal keeps its error; a wish of the operator leaves none.
    let refused = grip.board.status().error_code != 0 || !grip.board.status().error.is_empty();
    let event = if refused && !grip.board.wishes().borrow().is_cancelled { Event::UndoneAfterRefusal } else { Event::UndoneForOperator };
    grip.step(event).await
}
