//! From an empty shadow to the swap: copy beside tail and apply, catch up, verify, wait for the moment, attempt.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::checkpoint::{self, Progress};
use super::copy::Copy;
use super::cutover::{self, Outcome};
use super::error::Error;
use super::failover::Trail;
use super::job::Job;
use super::phase::Event;
use super::prepare::Prepared;
use super::runner::{self, Grip, Surroundings};
use super::site::Site;
use super::tail::{self, Reached, Source, Start, Tail};
use super::{apply, bypass, cutover::moment, deferred, describe, duplicates, final_form, finish, foreign_keys, instant, shapes, verify};
use crate::gate::Installed;
use crate::sql::matcher::Matcher;
use crate::upstream::{self, Link};

/// So many pending keys may be left when the copy counts as caught up.
const CAUGHT_UP_KEYS: usize = 1000;

/// How often the names by which statements reach the table are read, and new statements tried, while a moment is waited for.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to end what still runs and to read the truth, before it is tried over a new connection.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(75);

/// A task that ends with whoever started it.
struct Background(tokio::task::JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task with a result, that ends with whoever started it.
struct Aborted(tokio::task::JoinHandle<Result<(), Error>>);

impl Aborted {
    async fn ended(mut self) -> Result<(), Error> {
        (&mut self.0).await.map_err(|error| Error::Changed(format!("the comparison died: {error}")))?
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tasks beside a run, and the first error of any of them.
pub struct Beside {
    _tasks: Vec<Background>,
    failed: mpsc::Receiver<Error>,
}

impl Beside {
    /// Nobody beside the run.
    pub fn nobody() -> Self {
        Self { _tasks: Vec::new(), failed: mpsc::channel(1).1 }
    }

    /// The first error of any of them; waits for ever while all goes well.
    pub async fn failed(&mut self) -> Error {
        match self.failed.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }
}

/// How far the copy is; a revert window has none.
#[derive(Clone)]
pub struct CopyProgress {
    copy: Arc<Copy>,
    copied: watch::Receiver<bool>,
}

/// How the tail knows the source.
pub fn log_source(job: &Job, hot_names: &[String]) -> Source {
    let key = job.mapping.key.columns.iter().zip(job.keys.kinds());
    let key = key.filter_map(|(pair, kind)| {
        let at = job.source.columns.iter().position(|column| column.name == pair.source.name)?;
        Some((at, kind.clone()))
    });
    let ignore_case = job.facts.lower_case_table_names != 0;
    Source::new(job.names.clone(), ignore_case, job.source.columns.len(), key.collect(), hot_names, deferred::mark(job.id))
}

/// A run whose shadow can take the source's name.
pub struct Run {
    /// What it knows.
    pub job: Job,
    /// The gate before the source.
    pub gate: Installed,
    /// Where its tail is.
    pub reached: watch::Receiver<Reached>,
    /// The tasks that keep the shadow equal.
    pub beside: Beside,
}

/// Runs until the swap.
///
/// # Errors
/// Whatever ended the run; its checkpoint is good.
pub async fn run(around: &Arc<Surroundings>, grip: &mut Grip, prepared: Prepared) -> Result<(), Error> {
    let run = until_ready(around, grip, prepared).await?;
    swap(around, grip, run).await
}

/// Copies, catches up and verifies.
///
/// # Errors
/// Whatever ended the run; its checkpoint is good.
pub async fn until_ready(around: &Arc<Surroundings>, grip: &mut Grip, prepared: Prepared) -> Result<Run, Error> {
    let Prepared { job, gate, hot_names, deferred_indexes, start, watermark, rows, is_copied } = prepared;
    let source = log_source(&job, &hot_names);
    let witness = bypass::Witness::new(job.gates.clone(), job.board.clone(), job.names.source.clone());
    let opened = Tail::open(&job.server, &job.facts, source, job.pending.clone(), &start, witness, None).await;
    let (tail, mut reached) = match (opened, &start) {
        // The next run begins afresh.
        (Err(error @ Error::Upstream(upstream::Error::Server { code: 1236, .. })), Start::After(_)) => {
            tracing::warn!(migration = %job.id, table = %job.names.source, %error, "the log of this server does not reach back far enough; the copy begins afresh");
            checkpoint::clear_start(&mut grip.link, job.id).await?;
            return Err(upstream::Error::Lost("the copy begins afresh".into()).into());
        }
        (opened, _) => opened?,
    };
    if let Start::After(_) = start {
        let boundary = reached.borrow().boundary.clone();
        checkpoint::set_server(&mut grip.link, job.id, &grip.facts.identity, &boundary).await?;
    }
    let copy = Arc::new(Copy::new(job.clone(), watermark, rows, reached.clone()).await?);
    let copied = watch::channel(is_copied).0;
    let progress = CopyProgress { copy: copy.clone(), copied: copied.subscribe() };
    let mut beside = start_beside(&job, grip.link.id(), tail, &reached, Some(progress), Matcher::new(&[&hot_names]));

    let throttle = throttled(&job, grip);
    let verify = (!job.options.skip_verify).then(|| {
        let task = tokio::spawn(verify::run(job.clone(), reached.clone(), copy.clone(), copied.subscribe()));
        Aborted(task)
    });
    if !is_copied {
        guarded(around, &job, &mut beside, copy.clone().run()).await?;
        job.board.set_copied();
        copied.send_replace(true);
    }
    guarded(around, &job, &mut beside, deferred::build(&job, &deferred_indexes)).await?;
    grip.step(Event::Copied).await?;
    guarded(around, &job, &mut beside, caught_up(&job, &mut reached)).await?;
    grip.step(Event::CaughtUp).await?;
    if let Some(verify) = verify {
        guarded(around, &job, &mut beside, verify.ended()).await?;
    }
    drop(throttle);
    guarded(around, &job, &mut beside, analyze(&job)).await?;
    grip.step(Event::Verified).await?;
    Ok(Run { job, gate, reached, beside })
}

/// Lets copy and comparison rest as the settings ask for, until it is dropped.
fn throttled(job: &Job, grip: &mut Grip) -> Resting {
    let watch = grip.watch.take().unwrap_or_else(|| job.gates.census().latency.watch());
    Resting { _task: Background(tokio::spawn(super::throttle::run(job.clone(), watch))), board: job.board.clone() }
}

struct Resting {
    _task: Background,
    board: Arc<super::progress::Board>,
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.board.set_throttled(None, Duration::ZERO);
        self.board.set_pace(super::throttle::FASTEST, String::new(), Duration::ZERO);
    }
}

/// Makes attempts until one has swapped, in either direction.
///
/// # Errors
/// Whatever ended the run; its checkpoint is good.
pub async fn swap(around: &Surroundings, grip: &mut Grip, run: Run) -> Result<(), Error> {
    let Run { job, gate, mut reached, mut beside } = run;
    let (job, reached) = (&job, &mut reached);
    let mut refused = 0;
    loop {
        guarded(around, job, &mut beside, foreign_keys::added::check_time(job, &[])).await?;
        guarded(around, job, &mut beside, ready(job, &gate, Some(moment::Copied { job, reached }))).await?;
        // The turn is kept until the tasks that apply are gone, or the source is known to be the source still.
        let turn = job.turn.clone().lock_owned().await;
        let mut link = job.server.connect_engine().await?;
        final_form::check_zeros(job, &mut link).await?;
        final_form::match_counter_early(job, &mut link).await?;
        drop(link);
        grip.step(Event::AttemptBegun).await?;
        let (outcome, report) = match cutover::attempt(job, &gate.gate, reached.clone()).await {
            Ok(attempt) => attempt,
            // The server would refuse the ALTER too, or the table has changed: another attempt would only hide it.
            Err(error @ (Error::Refused(_) | Error::Changed(_) | Error::Damaged(_))) => {
                grip.step(Event::NotSwapped).await?;
                runner::settle_around(grip).await?;
                return Err(error);
            }
            Err(error) => (Outcome::NotCommitted("not_begun", error.to_string()), cutover::Report::default()),
        };
        let stored = note_attempt(grip, job, &report).await;
        match outcome {
            Outcome::Committed => {
                drop(beside);
                finish::stand_while_snapshots_live(gate);
                job.board.metrics().attempt("committed");
                tracing::info!(migration = %job.id, table = %job.names.source, steps = %report.steps, "{}", report.sentence(&job.names.source));
                crate::failpoints::reach("cutover.unlocked").await?;
                stored?;
                grip.step(Event::Swapped).await?;
                crate::failpoints::reach("cutover.recorded").await?;
                runner::settle_around(grip).await?;
                return Ok(());
            }
            Outcome::NotCommitted(kind, reason) => {
                refused += 1;
                note_called_off(job, &report, kind, &reason, refused);
                stored?;
                grip.step(Event::NotSwapped).await?;
                runner::settle_around(grip).await?;
                final_form::restore(job).await?;
                drop(turn);
                job.board.set_note(format!("attempt {refused} was called off: {reason}"));
                guarded(around, job, &mut beside, pause(refused)).await?;
            }
            Outcome::Unknown(reason) => {
                drop(beside);
                job.board.metrics().attempt("unknown");
                tracing::info!(migration = %job.id, table = %job.names.source, reason, "the answer to the swap was lost; reading what happened");
                return after_unknown(grip, job, gate).await;
            }
        }
    }
}

/// Shows, counts and stores what an attempt cost.
///
/// # Errors
/// Where the store does not answer.
pub async fn note_attempt(grip: &mut Grip, site: &Site, report: &cutover::Report) -> Result<(), upstream::Error> {
    report.observe(site.board.metrics());
    store_attempt(grip, site, report).await
}

/// Shows and stores what an attempt cost the clients of one table.
///
/// # Errors
/// Where the store does not answer.
pub async fn store_attempt(grip: &mut Grip, site: &Site, report: &cutover::Report) -> Result<(), upstream::Error> {
    let steps = report.steps.to_string();
    site.board.add_attempt(report.held(), report.longest(), &steps);
    let longest_us = u64::try_from(report.longest().as_micros()).unwrap_or(u64::MAX);
    checkpoint::add_attempt(&mut grip.link, site.id, report.held(), longest_us, &steps).await
}

/// Counts and logs an attempt that changed nothing.
pub fn note_called_off(site: &Site, report: &cutover::Report, kind: &'static str, reason: &str, attempt: u32) {
    site.board.metrics().attempt(kind);
    tell_called_off(site, report, reason, attempt);
}

/// Logs an attempt that changed nothing.
pub fn tell_called_off(site: &Site, report: &cutover::Report, reason: &str, attempt: u32) {
    tracing::info!(migration = %site.id, table = %site.names.source, reason, steps = %report.steps, attempt, "cut-over called off, nothing changed: {}", report.sentence(&site.names.source));
    site.board.set_error(0, "");
}

/// I-C3: only reading the server leads on.
async fn after_unknown(grip: &mut Grip, job: &Job, gate: Installed) -> Result<(), Error> {
    let settled = settle_in_time(grip, job).await;
    if settled.is_err() || grip.phase == super::Phase::Reversible {
        // The moment was noted before the RENAME was issued. Where it is not known yet whether it has happened, it may have.
        finish::stand_while_snapshots_live(gate);
        settled?;
        return runner::settle_around(grip).await;
    }
    Err(upstream::Error::Lost("the swap did not happen; another attempt follows".into()).into())
}

/// Reads what an attempt led to, over the run's own connection, which may have died.
///
/// # Errors
/// Where it takes too long; what the reading leads to.
pub async fn settle_in_time(grip: &mut Grip, site: &Site) -> Result<(), Error> {
    let settled = async {
        grip.step(Event::SwapUnknown).await?;
        cutover::settle::end_stragglers(&mut grip.link, &grip.names, site.id).await?;
        instant::settle_or_read(grip).await
    };
    let settled = tokio::time::timeout(SETTLE_PATIENCE, settled).await;
    settled.unwrap_or_else(|_| Err(upstream::Error::Lost("reading what the swap led to takes too long".into()).into()))
}

/// Awaits a step of the run, unless a task beside it fails, the operator cancels, or the proxy stops.
pub async fn guarded<T>(
    around: &Surroundings,
    site: &Site,
    beside: &mut Beside,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut wishes = site.board.wishes();
    tokio::select! {
        biased;
        () = around.shutdown.cancelled() => Err(Error::Stopped),
        _ = wishes.wait_for(|wishes| site.is_given_up(wishes)) => Err(Error::Cancelled),
        error = beside.failed() => Err(error),
        result = step => result,
    }
}

/// Starts tail, apply and the books.
pub fn start_beside(
    job: &Job,
    lease_holder: u32,
    tail: Tail,
    reached: &watch::Receiver<Reached>,
    copy: Option<CopyProgress>,
    named: Matcher,
) -> Beside {
    let (sender, failed) = mpsc::channel(4);
    let mut tasks = Vec::new();
    let mut start = |task: futures_util::future::BoxFuture<'static, Error>| {
        let sender = sender.clone();
        tasks.push(Background(tokio::spawn(async move {
            let _ = sender.send(task.await).await;
        })));
    };
    start(Box::pin(tail.run()));
    start(Box::pin(apply::run(job.clone())));
    start(Box::pin(keep_books(job.clone(), lease_holder, reached.clone(), copy, named)));
    Beside { _tasks: tasks, failed }
}

/// Stores the checkpoint, shows the backlog and looks after the lease, twice a second.
async fn keep_books(
    job: Job,
    lease_holder: u32,
    mut reached: watch::Receiver<Reached>,
    copy: Option<CopyProgress>,
    named: Matcher,
) -> Error {
    let owner = checkpoint::Owner { lease: runner::lease_name(job.id), connection: lease_holder };
    let books = async {
        let mut link = job.server.connect_engine().await?;
        let mut trail = Trail::default();
        loop {
            let (end, executed) = link.place(&job.facts).await?;
            trail.note(end.clone(), executed);
            let began = Instant::now();
            tail::reaches(&mut reached, &end, Duration::from_secs(2)).await;
            job.board.set_backlog(began.elapsed(), job.pending.len());
            keep_lease(&mut link, &owner).await?;
            save(&job, &mut link, &owner, &reached, copy.as_ref(), &mut trail).await?;
            if copy.is_some() {
                duplicates::look(&job, &mut link).await?;
            }
            bypass::look(&job.gates, &job.board, &job.names.source, &named, !job.facts.is_mariadb, &mut link).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let result: Result<(), Error> = books.await;
    result.err().unwrap_or(Error::Stopped)
}

/// Stops the run when its lease is gone: another proxy may have it.
async fn keep_lease(link: &mut Link, owner: &checkpoint::Owner) -> Result<(), Error> {
    let sql = format!("SELECT IS_USED_LOCK({})", upstream::literal(&owner.lease));
    let now = link.cell(&sql).await?;
    if now.as_deref() == Some(owner.connection.to_string().as_str()) {
        return Ok(());
    }
    Err(upstream::Error::Lost("the lease of the migration is gone".into()).into())
}

async fn save(
    job: &Job,
    link: &mut Link,
    owner: &checkpoint::Owner,
    reached: &watch::Receiver<Reached>,
    copy: Option<&CopyProgress>,
    trail: &mut Trail,
) -> Result<(), Error> {
    // While a cut-over has the turn, keys may be out of the map and only half applied: nothing is stored then (I-E6).
    let _turn = job.turn.lock().await;
    let Some(CopyProgress { copy, copied }) = copy else {
        let Reached { boundary, is_turned, .. } = reached.borrow().clone();
        if is_turned {
            checkpoint::set_turned(link, job.id, owner, &job.pending.safe_position(&boundary)).await?;
        }
        return Ok(());
    };
    // The order matters (I-E6): whatever the watermark covers was noted before the position is read.
    let is_copied = *copied.borrow();
    let (watermark, rows_copied) = copy.watermark();
    let boundary = reached.borrow().boundary.clone();
    let position = job.pending.safe_position(&boundary);
    let gtids = trail.gtids(link, &job.facts, &position).await?;
    checkpoint::set_progress(link, job.id, owner, &Progress { position: Some(position), gtids, watermark, is_copied, rows_copied }).await?;
    Ok(())
}

/// Waits until the tail is near the server and few keys are pending.
async fn caught_up(job: &Job, reached: &mut watch::Receiver<Reached>) -> Result<(), Error> {
    let mut link = job.server.connect_engine().await?;
    loop {
        let end = link.position(&job.facts).await?;
        let began = Instant::now();
        let is_there = tail::reaches(reached, &end, Duration::from_secs(5)).await;
        let is_near = is_there && began.elapsed() < Duration::from_secs(1);
        if is_near && job.pending.len() <= CAUGHT_UP_KEYS {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives the optimiser statistics of the shadow before anybody reads it.
async fn analyze(job: &Job) -> Result<(), Error> {
    let turn = job.turn.lock().await;
    let mut link = job.server.connect_engine().await?;
    let result = link.run(&format!("ANALYZE NO_WRITE_TO_BINLOG TABLE {}", job.names.shadow.quoted())).await;
    drop(turn);
    match result {
        Err(error) if error.is_lost() => Err(error.into()),
        // Without statistics the server samples by itself.
        _ => Ok(()),
    }
}

/// Waits until the operator lets it, no client's statement would fail on the new table, and the moment is good.
pub async fn ready(site: &Site, gate: &Installed, mut copied: Option<moment::Copied<'_>>) -> Result<(), Error> {
    let mut wishes = site.board.wishes();
    let mut lookout = moment::Lookout::open(site).await?;
    loop {
        // Asked first: whatever was sent before CUTOVER is tried before that counts.
        let wished = wishes.borrow_and_update().clone();
        // Views and programs may have come since the gate was built.
        if gate.set_hot_names(describe::hot_names(&mut lookout.link, &site.names.source).await?) {
            tracing::info!(migration = %site.id, table = %site.names.source, "views or programs that reach the table have changed; the gate knows them");
        }
        let breaking = shapes::breaking(site, &gate.gate).await?;
        site.board.set_breaking(&breaking);
        let wait = if wished.is_postponed {
            Some(format!("waits for CUTOVER MIGRATION {}", site.id))
        } else if breaking.is_empty() || wished.ignores_breaking {
            None
        } else {
            Some(format!(
                "{} statement(s) that clients send would fail on the new table, see the column breaking; CUTOVER MIGRATION {} swaps all the same",
                breaking.len(),
                site.id
            ))
        };
        if let Some(note) = wait {
            site.board.set_note(note);
            let _ = tokio::time::timeout(LOOK_AGAIN_EVERY, wishes.changed()).await;
            continue;
        }
        if moment::wait(site, &gate.gate, copied.as_mut().map(moment::Copied::again), &mut lookout, Instant::now() + LOOK_AGAIN_EVERY)
            .await?
        {
            return Ok(());
        }
    }
}

/// The pause after the nth attempt that was called off: half a second, growing to ten.
pub async fn pause(refused: u32) -> Result<(), Error> {
    let pause = Duration::from_millis(500) * 2u32.saturating_pow(refused.saturating_sub(1).min(5));
    tokio::time::sleep(pause.min(Duration::from_secs(10))).await;
    Ok(())
}
