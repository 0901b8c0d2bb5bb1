//! Whether a migration ended as it must.

use anyhow::Result;
use mysql_async::prelude::Queryable;

use crate::catalogue::case::Case;
use crate::catalogue::rehearsal::{self, Rehearsed};
use crate::support::Lab;

/// What came of a run.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Rows and definitions are equal.
    Same,
    /// Both refuse, with the same number.
    SameRefusal,
    /// The server refuses it too on the rows as they were for a while, or on some of them.
    RefusedOnTheWay,
    /// Tidegate does not do this and says so.
    Declined(u16),
    /// The table itself cannot be created.
    Void,
    /// They differ.
    Different(Vec<String>),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Same => out.write_str("the same table"),
            Self::SameRefusal => out.write_str("the same refusal"),
            Self::RefusedOnTheWay => out.write_str("refused on the way"),
            Self::Declined(code) => write!(out, "declined with {code}"),
            Self::Void => out.write_str("no table"),
            Self::Different(_) => out.write_str("different"),
        }
    }
}

/// Refusals of Tidegate itself, by design: not to be done, no key to tell rows apart by.
const DECLINED: [u16; 2] = [1235, 1173];

/// Does a case both ways.
pub async fn judge(lab: &Lab, case: &Case) -> Verdict {
    let Rehearsed { own, ours, differences } = match rehearsal::rehearse(lab, case).await {
        Ok(rehearsed) => rehearsed,
        Err(error) if format!("{error:#}").contains("create.sql on the server") => return Verdict::Void,
        Err(error) => return Verdict::Different(vec![format!("{error:#}")]),
    };
    let number = |answer: &Option<(u16, String)>| answer.as_ref().map(|(code, _)| *code);
    match (number(&own), number(&ours)) {
        (None, None) if differences.is_empty() => Verdict::Same,
        (Some(one), Some(other)) if one == other && differences.is_empty() => Verdict::SameRefusal,
        (_, Some(code)) if DECLINED.contains(&code) => Verdict::Declined(code),
        // columns/add-json-not-null and columns/json-into-the-key in known_gaps.
        (_, Some(4025)) if case.alter.contains("JSON NOT NULL") || case.create.iter().any(|text| text.contains(" JSON")) => {
            Verdict::Declined(4025)
        }
        (own, Some(code)) if own != Some(code) => match is_refused_on_the_way(lab, case, code).await {
            Ok(true) => Verdict::RefusedOnTheWay,
            Ok(false) => Verdict::Different(differences),
            Err(error) => Verdict::Different(vec![format!("{error:#}")]),
        },
        _ => Verdict::Different(differences),
    }
}

/// Whether the server's own ALTER has this number for the table as it was after some of the writes, or for some of its rows:
/// a migration meets rows in another order, and meets those that are gone at the end.
async fn is_refused_on_the_way(lab: &Lab, case: &Case, code: u16) -> Result<bool> {
    let schema = format!("way_{}", case.slug());
    let mut conn = lab.server.connect().await?;
    let writes: Vec<&String> = case.load.iter().chain(&case.later).collect();
    let alter = format!("ALTER TABLE {} {}", case.table, case.alter);
    let mut is_found = false;
    for count in (0..=writes.len()).rev() {
        if writes.get(count).is_some_and(|next| *next == "COMMIT" || *next == "ROLLBACK") {
            continue;
        }
        rehearsal::create(&mut conn, &schema, case).await?;
        let mut session = rehearsal::schema_session(lab.server.connect().await?, &schema).await?;
        for write in &writes[..count] {
            let _ = rehearsal::perform(&mut session, write, &schema).await?;
        }
        // What it refuses with first may hide what other rows would be refused with.
        is_found =
            count == writes.len() && some_rows_refused(&mut session, case, code).await? || refuses_with(&mut session, &alter, code).await?;
        if is_found {
            break;
        }
    }
    conn.query_drop(format!("DROP DATABASE IF EXISTS `{schema}`")).await?;
    Ok(is_found)
}

/// Whether the ALTER is refused with the number for one row alone, or for all that are not refused alone.
async fn some_rows_refused(session: &mut mysql_async::Conn, case: &Case, code: u16) -> Result<bool> {
    let columns: Vec<String> = session
        .query(
            "SELECT CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '`') FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME = 't' AND (GENERATION_EXPRESSION IS NULL OR GENERATION_EXPRESSION = '')",
        )
        .await?;
    let columns = columns.join(", ");
    let count: Option<u64> = session.query_first(format!("SELECT COUNT(*) FROM {}", case.table)).await?;
    session.query_drop(format!("CREATE TABLE good LIKE {}", case.table)).await?;
    for row in 0..count.unwrap_or(0) {
        session.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', @tried = @@GLOBAL.sql_mode").await?;
        session.query_drop("DROP TABLE IF EXISTS single").await?;
        session.query_drop(format!("CREATE TABLE single LIKE {}", case.table)).await?;
        session.query_drop(format!("INSERT INTO single ({columns}) SELECT {columns} FROM {} LIMIT 1 OFFSET {row}", case.table)).await?;
        session.query_drop("SET SESSION sql_mode = @tried").await?;
        match session.query_drop(format!("ALTER TABLE single {}", case.alter)).await {
            Err(mysql_async::Error::Server(error)) if error.code == code => return Ok(true),
            Err(mysql_async::Error::Server(_)) => continue,
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        session.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'").await?;
        session.query_drop(format!("INSERT INTO good ({columns}) SELECT {columns} FROM {} LIMIT 1 OFFSET {row}", case.table)).await?;
        session.query_drop("SET SESSION sql_mode = @tried").await?;
    }
    refuses_with(session, &format!("ALTER TABLE good {}", case.alter), code).await
}

async fn refuses_with(session: &mut mysql_async::Conn, alter: &str, code: u16) -> Result<bool> {
    match session.query_drop(alter).await {
        Err(mysql_async::Error::Server(error)) => Ok(error.code == code),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(false),
    }
}
