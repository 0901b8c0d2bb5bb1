//! The revert window: after a swap the table that lost the name follows the one that has it, so that REVERT can swap back. The tables of a
//! group follow each for itself, and are swapped back together.
//!
//! The tail turns round at the swap's own place in the log (I-C4): it begins where the run before the swap left its checkpoint,
//! passes over everything up to that RENAME, and follows the source's new bearer from there. A swap back is a swap like any
//! other, through the same gate, and begins a window of its own in the other direction.
//! Never: a swap back where the log was not followed from the last swap on without a gap.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bypass::Witness;
use super::error::Error;
use super::job::Job;
use super::kept::Kept;
use super::keys::Keys;
use super::phase::{Event, Phase};
use super::policy::{self, Decision};
use super::prepare::{self, Related};
use super::run::{self, Beside, Run};
use super::runner::{Grip, Surroundings};
use super::tail::{Reached, Start, Tail, Turn};
use super::{checkpoint, describe, group, preflight, triggers};
use crate::schema::mapping;
use crate::sql::matcher::Matcher;
use crate::upstream;

/// A table that follows.
struct Following {
    job: Job,
    hot_names: Vec<String>,
    reached: watch::Receiver<Reached>,
    beside: Beside,
}

/// How one direction ended.
enum End {
    /// The window is over.
    Over,
    /// The tables have changed places, or another beginning is needed.
    Again,
}

/// Waits until the window is over, swapping back as often as the operator wishes: one migration, or all those of a group together.
///
/// # Errors
/// Lost connections and the proxy's end; a new run goes on from the checkpoint. Whatever else keeps the other tables from
/// following only ends the possibility to revert.
pub async fn run(around: &Arc<Surroundings>, grips: &mut [Grip]) -> Result<(), Error> {
    if bring_together(grips).await? {
        return Ok(());
    }
    let options = grips.first().map(|grip| &grip.stored.options);
    let window = options.and_then(|options| options.revert_window).unwrap_or_else(|| around.config.cutover.revert_window());
    while grips.iter().any(|grip| grip.phase == Phase::Reverting) || !window.is_zero() {
        if matches!(one_direction(around, grips, window).await?, End::Over) {
            break;
        }
    }
    group::step(grips, Event::WindowOver).await
}

/// Whoever ran a group may have died when some of its members had taken a step and others had not. Gives whether the window was over.
async fn bring_together(grips: &mut [Grip]) -> Result<bool, Error> {
    let is_over = grips.iter().any(|grip| grip.phase == Phase::CleaningUp || grip.phase.is_final());
    let is_wished = grips.iter().any(|grip| grip.board.wishes().borrow().swaps_wanted > grip.stored.swaps);
    let is_mixed = grips.iter().any(|grip| grip.phase == Phase::Reverting) && grips.iter().any(|grip| grip.phase != Phase::Reverting);
    for grip in grips {
        match grip.phase {
            Phase::Reversible if is_over => grip.step(Event::WindowOver).await?,
            Phase::Reversible if is_mixed && is_wished => grip.step(Event::RevertWished).await?,
            Phase::Reverting if is_mixed && !is_wished => grip.step(Event::RevertGivenUp).await?,
            _ => {}
        }
    }
    Ok(is_over)
}

async fn one_direction(around: &Arc<Surroundings>, grips: &mut [Grip], window: Duration) -> Result<End, Error> {
    let mut since_swap = Duration::ZERO;
    for grip in grips.iter_mut() {
        let id = grip.id();
        if let Some(stored) = checkpoint::read(&mut grip.link, &format!("migration_id = {id}")).await?.pop() {
            grip.stored = stored;
        }
        since_swap = since_swap.max(checkpoint::since_swap(&mut grip.link, id).await?);
    }
    let end = Instant::now() + window.saturating_sub(since_swap);
    let mut following = match begin_all(around, grips).await {
        Ok(following) => Some(following),
        Err(error) => {
            give_up(grips, error).await?;
            None
        }
    };
    loop {
        if grips.iter().any(|grip| grip.phase == Phase::Reverting) {
            let Some(following) = following.take() else {
                group::step(grips, Event::RevertGivenUp).await?;
                forget_wish(grips).await?;
                continue;
            };
            match swap_back(around, grips, following).await {
                Ok(()) => {}
                Err(Error::Cancelled) => group::step(grips, Event::RevertGivenUp).await?,
                // Which tables have the names is not known: that is for a person, and for the next run.
                Err(error) if grips.iter().any(|grip| grip.phase == Phase::SwappingBack) => return Err(error),
                Err(error) => {
                    give_up(grips, error).await?;
                    continue;
                }
            }
            return Ok(End::Again);
        }
        show(grips, following.as_deref(), end);
        // Wishes come to all members of a group alike.
        let Some(first) = grips.first() else { return Ok(End::Over) };
        let swaps = first.stored.swaps;
        let (mut cleanup, mut wishes) = (first.board.wishes(), first.board.wishes());
        let can_follow = following.is_some();
        let next = tokio::select! {
            biased;
            () = around.shutdown.cancelled() => Next::Stop,
            error = failed(&mut following) => Next::Obstacle(error),
            () = async { drop(wishes.wait_for(|wishes| wishes.swaps_wanted > swaps).await) }, if can_follow => Next::Revert,
            () = async { drop(cleanup.wait_for(|wishes| wishes.is_window_over).await) } => Next::Over,
            () = tokio::time::sleep_until(end) => Next::Over,
            // The text tells seconds.
            () = tokio::time::sleep(Duration::from_secs(1)) => continue,
        };
        match next {
            Next::Stop => return Err(Error::Stopped),
            Next::Over => return Ok(End::Over),
            Next::Revert => group::step(grips, Event::RevertWished).await?,
            Next::Obstacle(error) => {
                following = None;
                give_up(grips, error).await?;
            }
        }
    }
}

/// What happened in the window.
enum Next {
    Stop,
    Obstacle(Error),
    Revert,
    Over,
}

/// The first error of any that follows.
async fn failed(following: &mut Option<Vec<Following>>) -> Error {
    match following {
        Some(following) => {
            let mut failures: FuturesUnordered<_> = following.iter_mut().map(|one| one.beside.failed()).collect();
            match failures.next().await {
                Some(error) => error,
                None => std::future::pending().await,
            }
        }
        None => std::future::pending().await,
    }
}

/// What SHOW MIGRATION says in the window.
fn show(grips: &[Grip], following: Option<&[Following]>, end: Instant) {
    let left = end.saturating_duration_since(Instant::now()).as_secs();
    for (nth, grip) in grips.iter().enumerate() {
        let id = grip.id();
        let which = if grip.stored.swaps.is_multiple_of(2) { "reverted; the altered table" } else { "the table as it was" };
        let other = &grip.names.shadow;
        let moved = following.and_then(|following| following.get(nth)).filter(|following| following.job.kept.is_some());
        let moved = match moved.map_or(0, |following| following.job.pending.moved()) {
            0 => String::new(),
            moved => format!(" ({moved} times a row changed its key: it has defaults in the columns that only that table has)"),
        };
        let with = if grips.len() > 1 { ", with the other tables of the group" } else { "" };
        grip.board.set_note(match grip.board.swaps().1 {
            None => format!(
                "{which} follows as {other} for {left} s from now{moved}: REVERT MIGRATION {id} swaps back, CLEANUP MIGRATION {id} drops it{with}"
            ),
            Some(obstacle) => format!(
                "cannot be reverted: {obstacle}. {which} is kept as {other} for {left} s from now; CLEANUP MIGRATION {id} drops it{with}"
            ),
        });
    }
}

/// What passes by itself ends the run; anything else ends the possibility to revert, of all of them, and nothing more.
async fn give_up(grips: &mut [Grip], error: Error) -> Result<(), Error> {
    if matches!(policy::decide(&error), Decision::Retry | Decision::Stop) {
        return Err(error);
    }
    for grip in grips {
        tracing::warn!(
            migration = %grip.id(),
            table = %grip.names.source,
            other = %grip.names.shadow,
            %error,
            "the other table can no longer follow; the migration cannot be reverted, the table itself goes on"
        );
        grip.board.set_swaps(grip.stored.swaps, Some(error.to_string()));
        checkpoint::set_error(&mut grip.link, grip.stored.id, error.code(), &format!("cannot be reverted: {error}")).await?;
        grip.board.set_error(error.code(), format!("cannot be reverted: {error}"));
    }
    Ok(())
}

async fn forget_wish(grips: &mut [Grip]) -> Result<(), Error> {
    for grip in grips {
        let swaps = grip.stored.swaps;
        checkpoint::set_window_wish(&mut grip.link, grip.stored.id, swaps, false).await?;
        grip.board.wish(|wishes| wishes.swaps_wanted = swaps);
    }
    Ok(())
}

/// Makes the other tables follow.
async fn begin_all(around: &Arc<Surroundings>, grips: &mut [Grip]) -> Result<Vec<Following>, Error> {
    let is_group = grips.len() > 1;
    let mut all = Vec::new();
    for grip in grips {
        let table = grip.names.source.clone();
        let begun = begin(around, grip).await;
        all.push(begun.map_err(|error| if is_group { group::of_member(&table, error) } else { error })?);
    }
    Ok(all)
}

/// Makes the other table follow.
async fn begin(around: &Arc<Surroundings>, grip: &mut Grip) -> Result<Following, Error> {
    let names = grip.names.clone();
    if grip.stored.server_identity != grip.facts.identity {
        return Err(Error::Changed("the server is another one than before the swap".into()));
    }
    let Some(start) = grip.stored.position.clone() else {
        return Err(Error::Changed("no place in the binary log is stored".into()));
    };
    let clauses = preflight::check_specification(&grip.stored.specification)?;
    triggers::clear(&mut grip.link, &names.shadow).await?;
    let source = describe::table(&mut grip.link, &names.source).await?;
    let shadow = describe::table(&mut grip.link, &names.shadow).await?;
    if shadow.columns.is_empty() {
        return Err(Error::Changed(format!("somebody has dropped {}", names.shadow)));
    }
    let related = if grip.stored.swaps.is_multiple_of(2) {
        mapping::relate(&source, &shadow, &clauses)
    } else {
        mapping::relate_back(&source, &shadow, &clauses)
    };
    let mut mapping = related.map_err(|error| Error::Changed(error.to_string()))?;
    if mapping.helper.is_some() {
        return Err(Error::Changed("the ALTER changed the key by which rows are told apart".into()));
    }
    // What the other table's own columns get is for [`Kept`].
    mapping.filled.clear();
    let keys = Arc::new(Keys::new(&mapping)?);
    let hot_names = describe::hot_names(&mut grip.link, &names.source).await?;
    let turn = (!grip.stored.is_turned).then(|| Turn::at_swap(&names.clone().flipped()));
    let kept = Kept::new(&names.source, &names.shadow, &shadow, &mapping).map(Arc::new);
    // Values that do not fit the other table are an obstacle, never cut; a zero date fits.
    let strict = grip.server.strict().with_any_date();
    let server = if keys.needs_utc() { strict.in_utc() } else { strict };
    let index = mapping.key.source_index.clone();
    let related = Related { source, shadow, mapping, keys };
    let Some(mut job) = prepare::assemble(around, grip, names, server, related) else {
        return Err(Error::Changed(format!("rows of {} cannot be followed by the key {index}", grip.names.source)));
    };
    job.kept = kept;
    let source = run::log_source(&job, &hot_names);
    let witness = Witness::new(job.gates.clone(), job.board.clone(), job.names.source.clone());
    let (tail, reached) = Tail::open(&job.server, &job.facts, source, job.pending.clone(), &Start::At(start), witness, turn).await?;
    crate::failpoints::reach("window.begun").await?;
    let beside = run::start_beside(&job, grip.link.id(), tail, &reached, None, Matcher::new(&[&hot_names]));
    Ok(Following { job, hot_names, reached, beside })
}

/// Swaps back once the other tables have everything.
async fn swap_back(around: &Arc<Surroundings>, grips: &mut [Grip], following: Vec<Following>) -> Result<(), Error> {
    let mut runs = Vec::new();
    for Following { job, hot_names, reached, beside } in following {
        let gate = around.gates.install(job.id, job.names.source.clone(), hot_names, job.fence());
        runs.push(Run { job, gate, reached, beside });
    }
    crate::failpoints::reach("revert.wished").await?;
    let turns = runs.iter_mut().map(|Run { job, reached, beside, .. }| run::guarded(around, job, beside, turned(job, reached)));
    try_join_all(turns).await?;
    match grips {
        [grip] => match runs.pop() {
            Some(run) => run::swap(around, grip, run).await,
            None => Ok(()),
        },
        grips => group::swap(around, grips, runs).await,
    }
}

/// Waits until the tail has passed the swap; that it is not in the log at all must never pass for having followed it.
async fn turned(job: &Job, reached: &mut watch::Receiver<Reached>) -> Result<(), Error> {
    let mut link = job.server.connect_engine().await?;
    let end = link.position(&job.facts).await?;
    let now = reached.wait_for(|reached| reached.is_turned || reached.position >= end).await;
    match now {
        Ok(now) if now.is_turned => Ok(()),
        Ok(_) => Err(Error::Changed("the swap is not in the binary log, so it is not known what was written after it".into())),
        Err(_) => Err(upstream::Error::Lost("the tail has ended".into()).into()),
    }
}
