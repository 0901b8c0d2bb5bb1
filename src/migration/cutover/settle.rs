//! What really happened: reads the server where an answer was lost (I-C3), never tries again blindly.

use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::job::COPY_WORKERS_MOST;
use super::super::shadow::{self, Names};
use crate::upstream::{self, Link};

/// What the names on the server say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The shadow is the table; the old one is retired.
    Swapped,
    /// The source is the table; a shadow stands beside it.
    NotSwapped,
    /// The source is the table, and there is no shadow: an undo was under way.
    ShadowGone,
    /// The name does not resolve: a multi-table RENAME was cut in half by a crash of the server.
    Halfway,
    /// Nothing of it is there.
    Nothing,
}

/// The one statement that swaps (I-C2).
pub fn rename_statement(names: &Names) -> String {
    format!("RENAME TABLE {} TO {}, {} TO {}", names.source.quoted(), names.retired.quoted(), names.shadow.quoted(), names.source.quoted())
}

/// Ends every statement that an earlier process or a lost connection of this migration still runs, and waits until it is
/// over: only then does reading tell the truth, and only then may new work begin.
///
/// # Errors
/// As the server says; [`Error::Stuck`] where a statement does not end.
pub async fn end_stragglers(link: &mut Link, names: &Names, migration: crate::ids::MigrationId) -> Result<(), Error> {
    let mentions = |name: &str| upstream::literal(&format!("%{}%", name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
    let ours = format!(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND \
         (INFO LIKE {} OR INFO LIKE {} OR INFO LIKE {})",
        upstream::literal(&format!("/* tidegate {migration} */%")),
        mentions(&names.shadow.quoted()),
        mentions(&names.retired.quoted())
    );
    let give_up = Instant::now() + Duration::from_secs(60);
    // The RENAME first: while it waits, the locks of the others keep writers from passing it.
    for tag in [RENAME_TAG, HEIR_TAG, WARDEN_TAG, LOCK_TAG, SHADOW_TAG] {
        wait_for_tag(link, &tag_name(tag, migration), give_up).await?;
    }
    end_copy_workers(link, migration, give_up).await?;
    loop {
        let running = link.texts(&ours).await?;
        if running.is_empty() {
            return Ok(());
        }
        for id in running.iter().filter_map(|row| row.first()).filter_map(|id| id.parse().ok()) {
            link.kill(id).await?;
        }
        if Instant::now() > give_up {
            return Err(Error::Stuck(
                format!(
                    "connection {} still runs a statement of this migration",
                    running.first().and_then(|row| row.first()).map_or("?", String::as_str)
                ),
                "look at it with SHOW PROCESSLIST; RESUME when it is gone".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The named locks of an attempt's connections.
pub const LOCK_TAG: &str = "lock";
/// See [`LOCK_TAG`].
pub const RENAME_TAG: &str = "rename";
/// See [`LOCK_TAG`].
pub const SHADOW_TAG: &str = "shadow";
/// See [`LOCK_TAG`].
pub const HEIR_TAG: &str = "heir";
/// See [`LOCK_TAG`].
pub const WARDEN_TAG: &str = "warden";

/// The name of such a lock on the server.
pub fn tag_name(tag: &str, migration: crate::ids::MigrationId) -> String {
    format!("tidegate {tag} {migration}")
}

fn copy_tag_name(migration: crate::ids::MigrationId, worker: usize) -> String {
    tag_name(&format!("copy {worker} of"), migration)
}

/// Takes the named lock of a copy worker's connection: the server frees it only when it has really done with the connection.
///
/// # Errors
/// Where another connection has it, which must end before anything is copied.
pub async fn take_copy_tag(link: &mut Link, migration: crate::ids::MigrationId, worker: usize) -> Result<(), upstream::Error> {
    let name = upstream::literal(&copy_tag_name(migration, worker));
    match link.cell(&format!("SELECT GET_LOCK({name}, 5)")).await?.as_deref() {
        Some("1") => Ok(()),
        _ => Err(upstream::Error::Lost("a copy worker of an earlier run is still there".into())),
    }
}

/// Ends the connections of an earlier run's copy workers, and waits until they are gone.
async fn end_copy_workers(link: &mut Link, migration: crate::ids::MigrationId, give_up: Instant) -> Result<(), Error> {
    let each: Vec<String> =
        (0..COPY_WORKERS_MOST).map(|worker| format!("IS_USED_LOCK({})", upstream::literal(&copy_tag_name(migration, worker)))).collect();
    let question = format!("SELECT {}", each.join(", "));
    loop {
        let held: Vec<u32> = link.texts(&question).await?.into_iter().flatten().filter_map(|id| id.parse().ok()).collect();
        if held.is_empty() {
            return Ok(());
        }
        for id in held {
            link.kill(id).await?;
        }
        if Instant::now() > give_up {
            return Err(Error::Stuck(
                "a connection that copied rows for an earlier run does not end".into(),
                "look at it with SHOW PROCESSLIST; RESUME when it is gone".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the connection that holds a tag is gone, ending it: a statement of it may still lie unread in the server's
/// receive buffer, where no list of processes shows it.
async fn wait_for_tag(link: &mut Link, name: &str, give_up: Instant) -> Result<(), Error> {
    let name = upstream::literal(name);
    loop {
        if link.cell(&format!("SELECT GET_LOCK({name}, 0)")).await?.as_deref() == Some("1") {
            link.run(&format!("DO RELEASE_LOCK({name})")).await?;
            return Ok(());
        }
        if let Some(id) = link.cell(&format!("SELECT IS_USED_LOCK({name})")).await?.and_then(|id| id.parse().ok()) {
            link.kill(id).await?;
        }
        if Instant::now() > give_up {
            return Err(Error::Stuck(
                "a connection of an earlier cut-over attempt does not end".into(),
                "look at it with SHOW PROCESSLIST; RESUME when it is gone".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads which of the names exist. Only true once [`end_stragglers`] has passed.
///
/// # Errors
/// As the server says.
pub async fn read(link: &mut Link, names: &Names) -> Result<Truth, Error> {
    let existing = shadow::look(link, names).await?;
    Ok(match (existing.source, existing.shadow, existing.retired) {
        (true, true, _) => Truth::NotSwapped,
        (true, false, true) => Truth::Swapped,
        (true, false, false) => Truth::ShadowGone,
        (false, true, true) => Truth::Halfway,
        (false, ..) => Truth::Nothing,
    })
}

/// Makes the name resolve again after half a RENAME: the old table comes back.
///
/// # Errors
/// As the server says.
pub async fn undo_half(link: &mut Link, names: &Names) -> Result<(), Error> {
    tracing::warn!(table = %names.source, "the server was cut off in the middle of a RENAME; the old table is put back under its name");
    Ok(link.run(&format!("RENAME TABLE {} TO {}", names.retired.quoted(), names.source.quoted())).await?)
}
