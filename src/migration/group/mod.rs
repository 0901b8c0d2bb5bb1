//! Several tables that are swapped in one RENAME: one run that drives all of them.
//!
//! Owns: what the members of a group do together. Each is a migration with a number, a shadow, a tail and a gate of its own; the number of
//! the first one is the group's. They copy side by side, wait for each other in Ready, and are swapped by one attempt
//! (`cutover/together`). Whatever ends the run of one of them ends the run of all.
//! Invariant: the members are swapped all or none. Where the end of an attempt is not known, the truth is read for each of them and must be
//! the same; where it is not, nothing more is done until a person has looked.
//! See: `check.rs` (what is refused), `stage.rs` (members that refer to each other), `runner.rs` (one table), ADR 14.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::cutover::settle::{self, Truth};
use super::cutover::together::{self, Member};
use super::cutover::{Outcome, Report, moment};
use super::error::Error;
use super::foreign_keys::added;
use super::job::Job;
use super::phase::{Event, Phase};
use super::progress::Board;
use super::run::{self, Run};
use super::runner::{self, Grip, Surroundings};
use super::{checkpoint, final_form, finish, instant, prepare, revert, shadow};
use crate::ids::TableName;
use crate::upstream;

pub mod check;
mod stage;

/// The moments of all members must be so close to each other, or they are looked for again.
const MOMENT: Duration = Duration::from_secs(1);

/// So often; then an attempt is made all the same. It costs no more than being called off.
const ROUNDS_MOST: u32 = 3;

/// Says which table an error is about, where its text does not.
pub fn of_member(table: &TableName, error: Error) -> Error {
    let with_name = |text: String| if text.contains(&table.to_string()) { text } else { format!("{table}: {text}") };
    match error {
        Error::Refused(mut refusal) => {
            refusal.message = with_name(refusal.message);
            Error::Refused(refusal)
        }
        Error::Changed(text) => Error::Changed(with_name(text)),
        Error::Damaged(text) => Error::Damaged(with_name(text)),
        Error::Stuck(text, remedy) => Error::Stuck(with_name(text), remedy),
        other => other,
    }
}

/// One run: from what is stored as far as it goes.
///
/// # Errors
/// Whatever ended the run of any member; all checkpoints are good.
pub async fn drive(around: &Arc<Surroundings>, boards: &[Arc<Board>], place: Option<OwnedSemaphorePermit>) -> Result<(), Error> {
    let was_parked = boards.iter().any(|board| board.status().phase == Phase::Parked);
    let mut grips = Vec::new();
    for board in boards {
        // In the order of the numbers: two proxies do not wait for each other.
        let Some(grip) = runner::take_hold(around, board, board.status().id).await? else { return Ok(()) };
        grips.push(grip);
    }
    if !was_parked && grips.iter().any(|grip| grip.phase == Phase::Parked) {
        return Err(runner::parked_by_another());
    }
    let place = place.map(Arc::new);
    grips.iter_mut().for_each(|grip| grip.place = place.clone());
    drop(place);
    end_stragglers(&mut grips).await?;
    if grips.iter().any(|grip| matches!(grip.phase, Phase::CuttingOver | Phase::Ambiguous | Phase::SwappingBack)) {
        for grip in grips.iter_mut().filter(|grip| grip.phase == Phase::CuttingOver) {
            grip.step(Event::Restarted).await?;
        }
        settle(&mut grips).await?;
    }
    settle_around(&mut grips).await?;
    if grips.iter().any(|grip| grip.stored.swaps > 0) {
        return finish(around, &mut grips).await;
    }
    if grips.iter().any(|grip| matches!(grip.phase, Phase::Undoing | Phase::Cancelled | Phase::Failed)) {
        return undo(&mut grips).await;
    }
    if grips.iter().any(|grip| grip.board.wishes().borrow().is_cancelled) {
        return Err(Error::Cancelled);
    }
    let mut prepared = Vec::new();
    for grip in &mut grips {
        grip.step(match grip.phase {
            Phase::Parked => Event::Resumed,
            Phase::Queued => Event::Started,
            _ => Event::Restarted,
        })
        .await?;
    }
    let made = stage::make_shadows(&mut grips).await?;
    for (grip, made) in grips.iter_mut().zip(made) {
        let table = grip.stored.table.clone();
        let begun = async {
            if instant::choose(around, grip).await?.is_some() {
                return Err(Error::Stuck(
                    "a member of a group would be altered in place".into(),
                    "this is a defect; please report it".into(),
                ));
            }
            Box::pin(prepare::run(around, grip, made)).await
        };
        prepared.push(begun.await.map_err(|error| of_member(&table, error))?);
    }
    let (arrived, total) = (watch::channel(0_usize).0, grips.len());
    let runs = grips.iter_mut().zip(prepared).map(|(grip, prepared)| Box::pin(until_all_ready(around, grip, prepared, &arrived, total)));
    let runs = try_join_all(runs).await?;
    Box::pin(swap(around, &mut grips, runs)).await?;
    finish(around, &mut grips).await
}

/// Copies one member, and watches over it until the others are as far.
async fn until_all_ready(
    around: &Arc<Surroundings>,
    grip: &mut Grip,
    prepared: prepare::Prepared,
    arrived: &watch::Sender<usize>,
    total: usize,
) -> Result<Run, Error> {
    let table = grip.stored.table.clone();
    let ready = async {
        let mut run = run::until_ready(around, grip, prepared).await?;
        grip.board.set_note(OTHERS);
        run::guarded(around, &run.job, &mut run.beside, all_there(arrived, total)).await?;
        Ok(run)
    };
    ready.await.map_err(|error| of_member(&table, error))
}

const OTHERS: &str = "waits for the other tables that it is swapped together with";

/// Has come to where the members wait for each other, and waits for the others.
async fn all_there(arrived: &watch::Sender<usize>, total: usize) -> Result<(), Error> {
    arrived.send_modify(|count| *count += 1);
    let mut others = arrived.subscribe();
    // The sender lives as long as whoever waits here.
    drop(others.wait_for(|count| *count >= total).await);
    Ok(())
}

/// Makes attempts until one has swapped all of them, in either direction.
///
/// # Errors
/// Whatever ended the run of any member; all checkpoints are good.
pub async fn swap(around: &Surroundings, grips: &mut [Grip], mut runs: Vec<Run>) -> Result<(), Error> {
    let mut refused = 0;
    loop {
        let jobs: Vec<&Job> = runs.iter().map(|run| &run.job).collect();
        for job in &jobs {
            added::check_time(job, &jobs).await.map_err(|error| of_member(&job.names.source, error))?;
        }
        all_ready(around, &mut runs).await?;
        let mut turns = Vec::new();
        for run in &runs {
            // Kept until the tasks that apply are gone, or the sources are known to be the sources still.
            turns.push(run.job.turn.clone().lock_owned().await);
            let mut link = run.job.server.connect_engine().await?;
            final_form::check_zeros(&run.job, &mut link).await.map_err(|error| of_member(&run.job.names.source, error))?;
            final_form::match_counter_early(&run.job, &mut link).await?;
        }
        step(grips, Event::AttemptBegun).await?;
        let members =
            runs.iter().map(|Run { job, gate, reached, .. }| Member { job, gate: &gate.gate, reached: reached.clone() }).collect();
        let (outcome, reports) = match Box::pin(together::attempt(members)).await {
            Ok(attempt) => attempt,
            // The server would refuse an ALTER too, or a table has changed: another attempt would only hide it.
            Err(error @ (Error::Refused(_) | Error::Changed(_) | Error::Damaged(_))) => {
                step(grips, Event::NotSwapped).await?;
                settle_around(grips).await?;
                return Err(error);
            }
            Err(error) => (Outcome::NotCommitted("not_begun", error.to_string()), vec![Report::default(); runs.len()]),
        };
        let stored = note_attempt(grips, &runs, &reports).await;
        match outcome {
            Outcome::Committed => {
                for (run, report) in runs.iter().zip(&reports) {
                    tracing::info!(migration = %run.job.id, table = %run.job.names.source, steps = %report.steps, "{}", report.sentence(&run.job.names.source));
                }
                count(&runs, "committed");
                stand(runs);
                crate::failpoints::reach("cutover.unlocked").await?;
                stored?;
                step(grips, Event::Swapped).await?;
                crate::failpoints::reach("cutover.recorded").await?;
                return settle_around(grips).await;
            }
            Outcome::NotCommitted(kind, reason) => {
                refused += 1;
                count(&runs, kind);
                for (run, report) in runs.iter().zip(&reports) {
                    run::tell_called_off(&run.job, report, &reason, refused);
                }
                stored?;
                step(grips, Event::NotSwapped).await?;
                settle_around(grips).await?;
                for run in &runs {
                    final_form::restore(&run.job).await?;
                    run.job.board.set_note(format!("attempt {refused} was called off: {reason}"));
                }
                drop(turns);
                let pauses = runs.iter_mut().map(|run| run::guarded(around, &run.job, &mut run.beside, run::pause(refused)));
                try_join_all(pauses).await?;
            }
            Outcome::Unknown(reason) => {
                count(&runs, "unknown");
                tracing::info!(tables = named(grips), reason, "the answer to the swap was lost; reading what happened");
                return after_unknown(grips, runs).await;
            }
        }
    }
}

/// One attempt, however many tables it was for.
fn count(runs: &[Run], outcome: &'static str) {
    if let Some(run) = runs.first() {
        run.job.board.metrics().attempt(outcome);
    }
}

fn named(grips: &[Grip]) -> String {
    grips.iter().map(|grip| grip.stored.table.to_string()).collect::<Vec<_>>().join(", ")
}

/// The same step for all of them, one after the other.
///
/// # Errors
/// As [`Grip::step`].
pub async fn step(grips: &mut [Grip], event: Event) -> Result<(), Error> {
    let between = match event {
        Event::AttemptBegun => "group.begun",
        Event::Swapped => "group.swapped",
        Event::RevertWished => "group.wished",
        _ => "group.stepped",
    };
    for (nth, grip) in grips.iter_mut().enumerate() {
        if nth > 0 {
            crate::failpoints::reach(between).await?;
        }
        grip.step(event).await?;
    }
    Ok(())
}

/// Shows and stores what an attempt cost; its steps count once.
async fn note_attempt(grips: &mut [Grip], runs: &[Run], reports: &[Report]) -> Result<(), upstream::Error> {
    if let (Some(run), Some(report)) = (runs.first(), reports.first()) {
        report.observe(run.job.board.metrics());
    }
    for ((grip, run), report) in grips.iter_mut().zip(runs).zip(reports) {
        run::store_attempt(grip, &run.job, report).await?;
    }
    Ok(())
}

/// The tasks beside the runs end; the gates stand while old snapshots live.
fn stand(runs: Vec<Run>) {
    for Run { gate, beside, .. } in runs {
        drop(beside);
        finish::stand_while_snapshots_live(gate);
    }
}

/// Waits until the moment is good for all of them.
async fn all_ready(around: &Surroundings, runs: &mut [Run]) -> Result<(), Error> {
    let total = runs.len();
    for _ in 0..ROUNDS_MOST {
        let arrived = watch::channel(0).0;
        let moments = try_join_all(runs.iter_mut().map(|run| Box::pin(one_ready(around, run, &arrived, total)))).await?;
        let (first, last) = (moments.iter().min(), moments.iter().max());
        if first.zip(last).is_none_or(|(first, last)| *last - *first < MOMENT) {
            break;
        }
    }
    Ok(())
}

async fn one_ready(around: &Surroundings, run: &mut Run, arrived: &watch::Sender<usize>, total: usize) -> Result<Instant, Error> {
    let Run { job, gate, reached, beside } = run;
    run::guarded(around, job, beside, run::ready(job, gate, Some(moment::Copied { job, reached }))).await?;
    let moment = Instant::now();
    job.board.set_note(OTHERS);
    run::guarded(around, job, beside, all_there(arrived, total)).await?;
    job.board.set_note("");
    Ok(moment)
}

/// Nothing of an earlier attempt may still run: the first member's RENAME first, then the locks of all.
async fn end_stragglers(grips: &mut [Grip]) -> Result<(), Error> {
    for grip in grips {
        let id = grip.id();
        settle::end_stragglers(&mut grip.link, &grip.names, id).await?;
    }
    Ok(())
}

/// Everything that an attempt has taken off or added is where it belongs afterwards.
async fn settle_around(grips: &mut [Grip]) -> Result<(), Error> {
    for grip in grips {
        runner::settle_around(grip).await?;
    }
    Ok(())
}

/// I-C3: only reading the server leads on.
async fn after_unknown(grips: &mut [Grip], runs: Vec<Run>) -> Result<(), Error> {
    let before = swaps_before(grips);
    let settled = async {
        step(grips, Event::SwapUnknown).await?;
        end_stragglers(grips).await?;
        settle(grips).await?;
        settle_around(grips).await
    };
    let settled = tokio::time::timeout(run::SETTLE_PATIENCE, settled).await;
    let settled = settled.unwrap_or_else(|_| Err(upstream::Error::Lost("reading what the swap led to takes too long".into()).into()));
    if settled.is_err() || grips.iter().any(|grip| grip.stored.swaps > before) {
        // The moment was noted before the RENAME was issued. Where it is not known yet whether it has happened, it may have.
        stand(runs);
        return settled;
    }
    Err(upstream::Error::Lost("the swap did not happen; another attempt follows".into()).into())
}

/// What all of them together are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// All shadows are the tables.
    Swapped,
    /// All but those that a crash of the server has cut in half: these are brought to the same.
    SwappedButHalves,
    /// All sources are the tables; those that were cut in half are put back.
    NotSwapped,
    /// They are not the same.
    Torn,
}

/// Pure.
fn agree(truths: &[Truth]) -> Verdict {
    let any = |wanted: &[Truth]| truths.iter().any(|truth| wanted.contains(truth));
    let is_some_source = any(&[Truth::NotSwapped, Truth::ShadowGone]);
    match (any(&[Truth::Swapped]), is_some_source, any(&[Truth::Halfway])) {
        _ if any(&[Truth::Nothing]) => Verdict::Torn,
        (true, true, _) => Verdict::Torn,
        (true, false, true) => Verdict::SwappedButHalves,
        (true, false, false) => Verdict::Swapped,
        (false, ..) => Verdict::NotSwapped,
    }
}

/// Reads for each member whether it is swapped; they must be the same. Nothing of an attempt may still run.
async fn settle(grips: &mut [Grip]) -> Result<(), Error> {
    let (mut truths, before) = (Vec::new(), swaps_before(grips));
    for grip in grips.iter_mut() {
        // What is stored as swapped is, and its old table may be gone.
        let truth = if grip.stored.swaps > before { Truth::Swapped } else { settle::read(&mut grip.link, &grip.names).await? };
        tracing::info!(migration = %grip.id(), table = %grip.stored.table, ?truth, "read what the swap led to");
        truths.push(truth);
    }
    let verdict = agree(&truths);
    let event = match verdict {
        Verdict::Swapped | Verdict::SwappedButHalves => Event::Swapped,
        Verdict::NotSwapped => Event::NotSwapped,
        Verdict::Torn => {
            // Whichever tables have the names, clients write to them.
            let is_there = |truth: &Truth| !matches!(truth, Truth::Halfway | Truth::Nothing);
            for (grip, _) in grips.iter_mut().zip(&truths).filter(|(_, truth)| is_there(truth)) {
                runner::settle_triggers(grip).await?;
            }
            return Err(torn(grips, &truths));
        }
    };
    for (grip, truth) in grips.iter_mut().zip(truths) {
        if truth == Truth::Halfway && verdict == Verdict::SwappedButHalves {
            // Its name does not resolve, so nobody has written since everything was applied.
            let names = &grip.names;
            tracing::warn!(table = %names.source, "the server was cut off in the middle of a RENAME; the new table gets the name, as the others of its group have");
            grip.link.run(&format!("RENAME TABLE {} TO {}", names.shadow.quoted(), names.source.quoted())).await?;
        } else if truth == Truth::Halfway {
            settle::undo_half(&mut grip.link, &grip.names).await?;
        }
        if !matches!(grip.phase, Phase::Ambiguous | Phase::SwappingBack) {
            continue;
        }
        if event == Event::NotSwapped {
            shadow::drop_sentry(&mut grip.link, &grip.names).await?;
        }
        grip.step(event).await?;
    }
    Ok(())
}

/// The swaps before the attempt whose end may be stored for some of them and not for the others.
fn swaps_before(grips: &[Grip]) -> u64 {
    grips.iter().map(|grip| grip.stored.swaps).min().unwrap_or(0)
}

fn torn(grips: &[Grip], truths: &[Truth]) -> Error {
    let tables = grips.iter().zip(truths).map(|(grip, truth)| {
        let what = match truth {
            Truth::Swapped => "is the new table",
            Truth::NotSwapped | Truth::ShadowGone => "is the old table",
            Truth::Halfway | Truth::Nothing => "is not there",
        };
        format!("{} {what}", grip.stored.table)
    });
    let sides = grips.first().map_or(String::new(), |grip| format!("{} and {}", grip.names.shadow.schema, grip.names.retired.schema));
    Error::Stuck(
        format!("the tables of the group were not swapped together: {}", tables.collect::<Vec<_>>().join(", ")),
        format!(
            "nothing is changed any more: bring all of them to the same by RENAME TABLE (the other ones are in schemas such as {sides}; triggers must be off for that, and on again after it), then RESUME"
        ),
    )
}

/// The revert window, which is that of all; then each cleans up by itself.
async fn finish(around: &Arc<Surroundings>, grips: &mut [Grip]) -> Result<(), Error> {
    Box::pin(revert::run(around, grips)).await?;
    let ends = grips.iter_mut().map(|grip| {
        Box::pin(async move {
            match grip.phase {
                Phase::CleaningUp => finish::run(around, grip).await,
                _ => Ok(()),
            }
        })
    });
    try_join_all(ends).await.map(|_| ())
}

/// Undoes all of them: each ends as the one that was refused, or as cancelled.
async fn undo(grips: &mut [Grip]) -> Result<(), Error> {
    let failed = grips.iter().find(|grip| !grip.stored.error.is_empty() && matches!(grip.phase, Phase::Undoing | Phase::Failed));
    let error = failed.map(|grip| (grip.stored.error_code, grip.stored.error.clone()));
    for grip in grips {
        if grip.phase.is_before_swap() && grip.phase != Phase::Undoing {
            if let Some((code, text)) = &error {
                checkpoint::set_error(&mut grip.link, grip.stored.id, *code, text).await?;
                grip.board.set_error(*code, text.clone());
            }
            grip.step(Event::Abandoned).await?;
        }
        if grip.phase == Phase::Undoing {
            runner::undo(grip).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_none_and_nothing_else() {
        use Truth::*;
        for (truths, verdict) in [
            (vec![Swapped, Swapped, Swapped], Verdict::Swapped),
            (vec![NotSwapped, NotSwapped], Verdict::NotSwapped),
            (vec![NotSwapped, ShadowGone], Verdict::NotSwapped),
            (vec![Halfway, NotSwapped], Verdict::NotSwapped),
            (vec![Halfway, Halfway], Verdict::NotSwapped),
            (vec![Swapped, Halfway], Verdict::SwappedButHalves),
            (vec![Swapped, NotSwapped], Verdict::Torn),
            (vec![NotSwapped, Swapped], Verdict::Torn),
            (vec![Swapped, ShadowGone], Verdict::Torn),
            (vec![Swapped, Halfway, NotSwapped], Verdict::Torn),
            (vec![Swapped, Nothing], Verdict::Torn),
            (vec![NotSwapped, Nothing], Verdict::Torn),
        ] {
            assert_eq!(agree(&truths), verdict, "{truths:?}");
        }
    }

    #[test]
    fn an_error_names_its_table_once() {
        let table = TableName::new("shop", "a");
        assert_eq!(of_member(&table, Error::Changed("gone".into())).to_string(), "shop.a: gone");
        assert_eq!(of_member(&table, Error::Changed("shop.a is gone".into())).to_string(), "shop.a is gone");
    }
}
