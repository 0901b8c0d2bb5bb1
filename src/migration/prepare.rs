//! From a wish to a shadow that can be filled: checks, creates, relates, and finds where to begin or to go on.

use std::sync::Arc;

use super::apply::overlap::Overlap;
use super::apply::pending::Pending;
use super::checkpoint::{self, Progress};
use super::error::Error;
use super::foreign_keys::{ForeignKey, Stage, added};
use super::job::{Job, PENDING_MOST};
use super::keys::{KeyRange, Keys};
use super::phase::Event;
use super::runner::{Grip, Surroundings};
use super::shadow::{self, Names};
use super::site::Site;
use super::statements::{RowItself, Statements};
use super::tail::Start;
use super::{Refusal, deferred, describe, failover, final_form, foreign_keys, in_place, preflight, probe, triggers};
use crate::gate::Installed;
use crate::schema::key::Key;
use crate::schema::mapping::{self, Mapping};
use crate::schema::table::Table;
use crate::upstream::{Link, Server, literal};

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
    pub start: Start,
    /// Every row up to this key is copied.
    pub watermark: Vec<String>,
    /// Rows copied by earlier runs.
    pub rows: u64,
    /// Every chunk is in the shadow.
    pub is_copied: bool,
}

/// Prepares a run; a shadow of an earlier run is taken over where its place in the log is known. `made`: the shadow is there already, empty
/// and altered, and the table shall have these foreign keys.
///
/// # Errors
/// Refusals of the server, with its own number; the server.
pub async fn run(around: &Surroundings, grip: &mut Grip, made: Option<Vec<ForeignKey>>) -> Result<Prepared, Error> {
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
    let start = find_start(grip, &names).await?;
    let (mut own, is_group) = (None, made.is_some());
    shadow::create_schemas(&mut grip.link, &names).await?;
    if start.is_none() {
        // First: a shadow that is half made must never be taken for one with a place in the log.
        checkpoint::clear_start(&mut grip.link, grip.stored.id).await?;
        let keys = match made {
            Some(keys) => keys,
            None => create_shadow(&grip.server, &mut grip.link, &names, &grip.stored.specification).await?,
        };
        checkpoint::set_foreign_keys(&mut grip.link, grip.stored.id, &foreign_keys::write_keys(&keys)).await?;
        preflight::check_engine(&mut grip.link, &names).await?;
        triggers::try_on_shadow(&mut grip.link, &grip.server, &names).await?;
        own = Some(keys);
        crate::failpoints::reach("prepare.shadow_created").await?;
    }
    triggers::clear(&mut grip.link, &names.shadow).await?;
    let mut shadow_table = describe::table(&mut grip.link, &names.shadow).await?;
    let has_helper = final_form::without_helper(&mut shadow_table);
    if grip.facts.is_mariadb {
        preflight::check_contradiction(&checked.clauses)?;
    }
    let mut mapping = mapping::relate(&source, &shadow_table, &checked.clauses).map_err(|error| {
        let code = if matches!(error, mapping::NoMapping::KeyChanges { .. }) { 1235 } else { 1173 };
        Refusal::new(code, *b"42000", format!("{}: {error}", names.source))
    })?;
    preflight::check_members(&names.source, &mapping, &grip.stored.specification)?;
    if let Some(own) = &own {
        // Members that refer to each other were judged together, and none of them adds a foreign key.
        if !is_group {
            check_foreign_keys(around, grip, &names, own, &mapping).await?;
        }
        check_new_dates(grip, &names, &source, &mapping).await?;
    }
    let keys = Arc::new(Keys::new(&mapping)?);
    if let (Some(helper), false) = (&mapping.helper, has_helper) {
        final_form::add_helper(&mut grip.link, &names.shadow, helper, grip.stored.id)
            .await
            .map_err(|error| if error.is_lost() { Error::from(error) } else { final_form::no_helper(&names, &error).into() })?;
    }
    let mut server = in_place::server_for(grip, &names, &source, &checked.clauses, &mut mapping).await?;
    in_place::check_digits(grip, &names.source, &mapping)?;
    if keys.needs_utc() {
        preflight::check_time_zone(&names.source, &source, &shadow_table, &mapping)?;
        server = server.in_utc();
    }
    let index = mapping.key.source_index.clone();
    let related = Related { source, shadow: shadow_table, mapping, keys };
    let Some(mut job) = assemble(around, grip, names.clone(), server, related) else {
        return Err(Refusal::new(
            1235,
            *b"42000",
            format!(
                "{} has no column beside its keys, so its rows cannot be followed by the key {index}; keep the PRIMARY KEY in this ALTER",
                names.source
            ),
        )
        .into());
    };
    job.sets_counter = checked.clauses.contains(&crate::sql::alter::Clause::Counter);
    let hot_names = describe::hot_names(&mut grip.link, &names.source).await?;
    let gate = around.gates.install(grip.id(), names.source.clone(), hot_names.clone(), job.fence());
    let (start, progress) = match start {
        Some(start) => resume(grip, start),
        None => begin(grip, &names, &job.shadow).await?,
    };
    let deferred_indexes = grip.stored.deferred_indexes.clone();
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

/// Refuses foreign keys that rows break already, and a window in which nobody would watch over one of them.
async fn check_foreign_keys(
    around: &Surroundings,
    grip: &mut Grip,
    names: &Names,
    own: &[ForeignKey],
    mapping: &Mapping,
) -> Result<(), Error> {
    let (options, settings) = (&grip.stored.options, &around.config.cutover);
    let window = options.revert_window.unwrap_or_else(|| settings.revert_window());
    let max_hold = options.max_hold.unwrap_or_else(|| settings.max_hold());
    if !window.is_zero() && !added::stay_as_they_are(&mut grip.link, names, own, mapping).await? {
        let message = format!(
            "the ALTER changes the foreign keys of {}, and in a revert window nobody would watch over those of the table that only follows; \
             say WITH revert_window_s = 0",
            names.source
        );
        return Err(Refusal::new(1235, *b"42000", message).into());
    }
    let members = match grip.stored.group {
        Some(group) if !own.is_empty() => checkpoint::read(&mut grip.link, &format!("group_id = {group}")).await?,
        _ => Vec::new(),
    };
    let members: Vec<_> = members.into_iter().map(|stored| stored.table).collect();
    added::check_source(&mut grip.link, names, own, mapping, max_hold, &members).await
}

/// Refuses a new DATE or DATETIME that takes no NULL where the server's own ALTER would not put the zero date into rows: MariaDB's does not
/// in some modes in which it takes one from an INSERT.
async fn check_new_dates(grip: &Grip, names: &Names, source: &Table, mapping: &Mapping) -> Result<(), Error> {
    if !mapping.filled.iter().any(|(_, value)| value.contains("0000-00-00")) {
        return Ok(());
    }
    let columns = source.stored_columns();
    let row = format!("SELECT {columns} FROM {} LIMIT 1", names.source.quoted());
    match probe::ask(&grip.server, names, Some((&columns, &row)), &grip.stored.specification).await? {
        Some(refusal) if refusal.code == 1292 => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// Two tables whose rows are told apart by the same key.
pub struct Related {
    /// The one that has the name.
    pub source: Table,
    /// The one that follows.
    pub shadow: Table,
    /// Which column goes where.
    pub mapping: Mapping,
    /// The key.
    pub keys: Arc<Keys>,
}

/// What a run knows, in either direction; `None` where no column of a row can be read by which its lock is met (F20).
pub fn assemble(around: &Surroundings, grip: &Grip, names: Names, server: Server, related: Related) -> Option<Job> {
    let Related { source, shadow, mapping, keys } = related;
    let row = RowItself::reached(&source, &mapping.key.source_index)?;
    let statements = Statements::new(&names.source, &names.shadow, &mapping, row, &keys.expressions(), &grip.facts);
    let covers = keys.clone();
    Some(Job {
        site: Site::new(around, grip, names, server),
        sets_counter: false,
        source: Arc::new(source),
        shadow: Arc::new(shadow),
        mapping: Arc::new(mapping),
        keys,
        statements: Arc::new(statements),
        pending: Arc::new(Pending::new(PENDING_MOST)),
        overlap: Overlap::new(move |range: &KeyRange, key: &Key| covers.may_cover(range, key)),
        turn: Arc::default(),
        kept: None,
    })
}

/// Where an earlier run's shadow can be followed from; `None` where it must begin afresh.
///
/// # Errors
/// As the server says.
pub async fn find_start(grip: &mut Grip, names: &Names) -> Result<Option<Start>, Error> {
    let Some(position) = grip.stored.position.clone() else { return Ok(None) };
    if !shadow::look(&mut grip.link, names).await?.shadow {
        return Ok(None);
    }
    let (stored, here) = (&grip.stored, &grip.facts.identity);
    if stored.server_identity == *here {
        return Ok(Some(Start::At(position)));
    }
    let (before, here) = (stored.server_identity.clone(), here.clone());
    match failover::can_go_on(&mut grip.link, &grip.facts, &grip.stored).await? {
        Ok(()) => {
            tracing::info!(migration = %grip.id(), table = %names.source, before, here, "the server is another one than before, and has everything by replication: goes on there");
            Ok(Some(Start::After(grip.stored.gtids.through.clone())))
        }
        Err(reason) => {
            tracing::warn!(migration = %grip.id(), table = %names.source, before, here, reason, "the server is another one than before; places in the old one's log mean nothing here, so the copy begins afresh");
            Ok(None)
        }
    }
}

fn resume(grip: &Grip, start: Start) -> (Start, Progress) {
    let stored = &grip.stored;
    tracing::info!(migration = %stored.id, table = %stored.table, position = %start, rows_copied = stored.rows_copied, "goes on from its checkpoint");
    let progress = Progress {
        position: stored.position.clone(),
        gtids: stored.gtids.clone(),
        watermark: stored.watermark.clone(),
        is_copied: stored.is_copied,
        rows_copied: stored.rows_copied,
    };
    (start, progress)
}

/// The place in the log before the first chunk. `altered`: the shadow as its ALTER has left it.
async fn begin(grip: &mut Grip, names: &Names, altered: &Table) -> Result<(Start, Progress), Error> {
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
    let mut link = grip.server.with_any_date().connect_engine().await?;
    grip.stored.deferred_indexes = deferred::take_off(&mut link, names, grip.stored.id).await?;
    link.close().await;
    final_form::check_order(&mut grip.link, names, altered).await?;
    let position = grip.link.position(&grip.facts).await?;
    // F8: a change that is in the log before this place may not be visible yet. The next statement is logged, and commits
    // after it in the log's order: when it has returned, all of them are visible, and no chunk can miss one.
    let progress = Progress { position: Some(position.clone()), ..Progress::default() };
    checkpoint::set_start(&mut grip.link, grip.stored.id, &grip.facts.identity, &grip.stored.deferred_indexes, &progress, rows).await?;
    grip.board.set_rows_total(rows);
    grip.board.set_rows_copied(0);
    Ok((Start::At(position), progress))
}

/// Creates the shadow and gives it the ALTER verbatim: the server is the judge of it. Gives the foreign keys that the table has
/// afterwards; the shadow has none.
///
/// # Errors
/// A [`Refusal`] with the server's own number, or the server.
pub async fn create_shadow(server: &Server, link: &mut Link, names: &Names, specification: &str) -> Result<Vec<ForeignKey>, Error> {
    shadow::create(server, names, foreign_keys::without_foreign_keys).await?;
    let stage = Stage::set(link, names, specification).await?;
    // The operator's words are read under the server's own sql_mode, as his shell's would be.
    let mut judge = server.connect().await?;
    if let Err(error) = judge.run(&format!("ALTER TABLE {} {}", names.shadow.quoted(), stage.specification())).await {
        if error.is_lost() {
            return Err(error.into());
        }
        return Err(stage.real_words(Refusal::of_stand_in(&error, &names.shadow, &names.source)).into());
    }
    if !shadow::look(link, names).await?.shadow {
        return Err(Error::Changed(format!("the ALTER moved the shadow of {} elsewhere; it cannot be followed", names.source)));
    }
    if stage.is_empty() {
        return Ok(Vec::new());
    }
    Ok(stage.strike(link, names).await?)
}
