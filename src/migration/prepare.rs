//! From a wish to a shadow that can be filled: checks, creates, relates, and finds where to begin or to go on.

use std::sync::Arc;

use super::apply::overlap::Overlap;
use super::apply::pending::Pending;
use super::checkpoint::{self, Progress};
use super::error::Error;
use super::job::{Job, PENDING_MOST};
use super::keys::{KeyRange, Keys};
use super::phase::Event;
use super::runner::{Grip, Surroundings};
use super::shadow::{self, Names};
use super::statements::Statements;
use super::{Refusal, deferred, describe, final_form, preflight};
use crate::gate::Installed;
use crate::schema::key::Key;
use crate::schema::mapping;
use crate::upstream::{self, Link, Position, Server, literal};

/// A run that can begin to copy.
pub struct Prepared {
    /// What the run knows.
    pub job: Job,
    /// The gate before the source.
    pub gate: Installed,
    /// All names by which a statement can reach the source.
    pub hot_names: Vec<String>,
    /// Indexes to build when the copy is over.
    pub deferred_indexes: String,
    /// Where the tail begins.
    pub start: Position,
    /// Every row up to this key is copied.
    pub watermark: Vec<String>,
    /// Rows copied by earlier runs.
    pub rows: u64,
    /// Every chunk is in the shadow.
    pub is_copied: bool,
}

/// Prepares a run; a shadow of an earlier run is taken over where its place in the log is known.
///
/// # Errors
/// Refusals of the server, with its own number; the server.
pub async fn run(around: &Surroundings, grip: &mut Grip) -> Result<Prepared, Error> {
    let table = grip.stored.table.clone();
    let protocol = grip.stored.options.cutover.unwrap_or(around.config.cutover.protocol);
    let checked = preflight::check(&mut grip.link, &grip.facts, &table, &grip.stored.specification, protocol).await?;
    let names = checked.names.clone();
    let source = describe::table(&mut grip.link, &names.source).await?;
    preflight::check_columns(&names.source, &source)?;
    // Before anything exists: a table without a usable key is refused even where the ALTER would add one.
    if source.identifying_indexes().next().is_none() {
        return Err(Refusal::new(1173, *b"42000", format!("{}: {}", names.source, mapping::NoMapping::SourceHasNoKey)).into());
    }
    let resumable = grip.stored.position.is_some()
        && grip.stored.server_identity == grip.facts.identity
        && shadow::look(&mut grip.link, &names).await?.shadow;
    shadow::create_schemas(&mut grip.link, &names).await?;
    if !resumable {
        // First: a shadow that is half made must never be taken for one with a place in the log.
        checkpoint::clear_start(&mut grip.link, grip.stored.id).await?;
        create_shadow(&grip.server, &mut grip.link, &names, &grip.stored.specification).await?;
        preflight::check_engine(&mut grip.link, &names).await?;
        preflight::check_fulltext(&mut grip.link, &grip.facts, &names).await?;
        preflight::check_added_foreign_keys(&mut grip.link, &names).await?;
        crate::failpoints::reach("prepare.shadow_created").await?;
    }
    let mut shadow_table = describe::table(&mut grip.link, &names.shadow).await?;
    let has_helper = final_form::without_helper(&mut shadow_table);
    let mapping = mapping::relate(&source, &shadow_table, &checked.clauses).map_err(|error| {
        let code = if matches!(error, mapping::NoMapping::KeyChanges { .. }) { 1235 } else { 1173 };
        Refusal::new(code, *b"42000", format!("{}: {error}", names.source))
    })?;
    let keys = Arc::new(Keys::new(&mapping)?);
    if let (Some(helper), false) = (&mapping.helper, has_helper) {
        final_form::add_helper(&mut grip.link, &names.shadow, helper, grip.stored.id)
            .await
            .map_err(|error| if error.is_lost() { Error::from(error) } else { Refusal::from_upstream(&error).into() })?;
    }
    let server = if keys.needs_utc() {
        preflight::check_time_zone(&names.source, &source, &shadow_table, &mapping)?;
        grip.server.in_utc()
    } else {
        grip.server.clone()
    };
    let primary =
        source.indexes.iter().find(|index| index.name == "PRIMARY").and_then(|index| index.identifying_columns()).unwrap_or_default();
    let statements = Statements::new(&names.source, &names.shadow, &mapping, &primary, &keys.expressions(), grip.facts.share_skip_locked());
    if !statements.can_lock_rows() {
        return Err(Refusal::new(
            1235,
            *b"42000",
            format!(
                "{} has no column beside its keys, so its rows cannot be followed by the key {}; keep the PRIMARY KEY in this ALTER",
                names.source, mapping.key.source_index
            ),
        )
        .into());
    }

    let hot_names = describe::hot_names(&mut grip.link, &names.source).await?;
    let gate = around.gates.install(grip.id(), names.source.clone(), hot_names.clone());
    let (start, progress) = if resumable { resume(grip)? } else { begin(grip, &names).await? };
    let deferred_indexes = grip.stored.deferred_indexes.clone();
    let covers = keys.clone();
    let job = Job {
        id: grip.id(),
        specification: grip.stored.specification.clone(),
        options: grip.stored.options.clone(),
        facts: grip.facts.clone(),
        server,
        sets_counter: checked.clauses.contains(&crate::sql::alter::Clause::Counter),
        source: Arc::new(source),
        shadow: Arc::new(shadow_table),
        mapping: Arc::new(mapping),
        keys,
        statements: Arc::new(statements),
        pending: Arc::new(Pending::new(PENDING_MOST)),
        overlap: Overlap::new(move |range: &KeyRange, key: &Key| covers.may_cover(range, key)),
        turn: Arc::default(),
        kept: None,
        swaps: 0,
        board: grip.board.clone(),
        gates: around.gates.clone(),
        config: around.config.clone(),
        names,
    };
    gate.gate.set_fence(job.fence());
    grip.step(Event::ShadowReady).await?;
    Ok(Prepared {
        job,
        gate,
        hot_names,
        deferred_indexes,
        start,
        watermark: progress.watermark,
        rows: progress.rows_copied,
        is_copied: progress.is_copied,
    })
}

fn resume(grip: &Grip) -> Result<(Position, Progress), Error> {
    let stored = &grip.stored;
    let position = stored.position.clone().ok_or_else(|| upstream::Error::Unexpected("no stored position".into()))?;
    tracing::info!(migration = %stored.id, table = %stored.table, %position, rows_copied = stored.rows_copied, "goes on from its checkpoint");
    let progress = Progress {
        position: Some(position.clone()),
        watermark: stored.watermark.clone(),
        is_copied: stored.is_copied,
        rows_copied: stored.rows_copied,
    };
    Ok((position, progress))
}

/// The place in the log before the first chunk.
async fn begin(grip: &mut Grip, names: &Names) -> Result<(Position, Progress), Error> {
    let rows = grip
        .link
        .cell(&format!(
            "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&names.source.schema),
            literal(&names.source.table)
        ))
        .await?
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(0);
    grip.stored.deferred_indexes = deferred::take_off(&mut grip.link, names, grip.stored.id).await?;
    let position = grip.link.position(&grip.facts).await?;
    // F8: a change that is in the log before this place may not be visible yet. The next statement is logged, and commits
    // after it in the log's order: when it has returned, all of them are visible, and no chunk can miss one.
    let progress = Progress { position: Some(position.clone()), ..Progress::default() };
    checkpoint::set_start(&mut grip.link, grip.stored.id, &grip.facts.identity, &grip.stored.deferred_indexes, &progress, rows).await?;
    grip.board.set_rows_total(rows);
    grip.board.set_rows_copied(0);
    Ok((position, progress))
}

/// Creates the shadow and gives it the ALTER verbatim: the server is the judge of it.
async fn create_shadow(server: &Server, link: &mut Link, names: &Names, specification: &str) -> Result<(), Error> {
    // SHOW CREATE TABLE may hold what a strict session would not create again, such as zero dates as defaults.
    let mut lenient = server.connect_engine().await?;
    lenient.run("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'").await?;
    shadow::create(&mut lenient, names).await?;
    // The operator's words are read under the server's own sql_mode, as his shell's would be.
    let mut judge = server.connect().await?;
    judge.run("SET SESSION foreign_key_checks = 0").await?;
    if let Err(error) = judge.run(&format!("ALTER TABLE {} {specification}", names.shadow.quoted())).await {
        if error.is_lost() {
            return Err(error.into());
        }
        let mut refusal = Refusal::from_upstream(&error);
        refusal.message = refusal.message.replace(&names.shadow.schema, &names.source.schema);
        return Err(refusal.into());
    }
    if !shadow::look(link, names).await?.shadow {
        return Err(Error::Changed(format!("the ALTER moved the shadow of {} elsewhere; it cannot be followed", names.source)));
    }
    Ok(())
}
