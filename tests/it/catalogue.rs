//! The catalogue: small tables, each with an ALTER and writes that arrive while it is migrated, done twice on one server: by
//! the server's own ALTER and by a migration. Both must end in the same table, or in the same refusal.
//!
//! The cases are data (`tests/catalogue`, see its README); what does not work yet stands in `tests/catalogue/known_gaps` and
//! must really fail, so that the list can only shrink.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;

use crate::support::servers::Settings;
use crate::support::{Kind, Lab};

pub mod case;
mod document;
mod picture;
pub mod rehearsal;

use case::{Case, Gaps};

on_both_servers!(every_case_ends_as_the_servers_own_alter_does, a_difference_is_noticed);

/// Cases at once: most of a case's time is waiting.
const AT_ONCE: usize = 6;

/// Without TIDEGATE_TEST_CASES every so manieth case runs: `all` of them need minutes, and belong to `make it`.
const SAMPLED: usize = 6;

/// Chunks of three rows, so that small tables have boundaries, and a copy that lasts long enough to be written into.
const FAILPOINTS: (&str, &str) = ("TIDEGATE_FAILPOINTS", "copy.chunk=sleep(12);copy.rows=value(3);verify.rows=value(4)");

/// A server and a proxy as every case wants them.
pub async fn start(kind: Kind) -> Result<Lab> {
    let more = vec!["--log-bin-trust-function-creators=1".to_owned(), "--event-scheduler=OFF".to_owned()];
    Lab::start_with(kind, Settings { more, ..Settings::default() }, &[FAILPOINTS]).await
}

/// Cases that share the server's global settings run together.
fn groups(cases: Vec<Case>) -> BTreeMap<(String, String), VecDeque<Case>> {
    let mut groups: BTreeMap<_, VecDeque<Case>> = BTreeMap::new();
    for case in cases {
        groups.entry((case.time_zone.clone(), case.sql_mode.clone().unwrap_or_else(|| "default".into()))).or_default().push_back(case);
    }
    groups
}

async fn every_case_ends_as_the_servers_own_alter_does(kind: Kind) -> Result<()> {
    let wanted = std::env::var("TIDEGATE_TEST_CASES").unwrap_or_default();
    let is_wanted = |(number, case): &(usize, Case)| match wanted.as_str() {
        "" => number % SAMPLED == 0,
        "all" => true,
        parts => parts.split(',').any(|part| case.name.contains(part)),
    };
    let cases = case::all()?.into_iter().filter(|case| case.runs_on(kind)).enumerate();
    let cases: Vec<Case> = cases.filter(is_wanted).map(|(_, case)| case).collect();
    ensure!(!cases.is_empty(), "no case is named like {wanted:?}");
    let gaps = Gaps::read()?;
    let lab = Arc::new(start(kind).await?);
    let own_mode: Option<String> = lab.server.connect().await?.query_first("SELECT @@global.sql_mode").await?;
    let (count, began) = (cases.len(), Instant::now());
    let results = Arc::new(Mutex::new(BTreeMap::new()));
    for ((time_zone, sql_mode), cases) in groups(cases) {
        let mode = if sql_mode == "default" { own_mode.clone().unwrap_or_default() } else { sql_mode };
        lab.sql(&[&format!("SET GLOBAL time_zone = '{time_zone}', GLOBAL sql_mode = '{mode}'")]).await?;
        run_group(&lab, cases, &results).await?;
    }
    let results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    println!("{kind}: {count} cases in {:.0} s", began.elapsed().as_secs_f64());
    let verdicts: Vec<String> = results.iter().filter_map(|(name, differences)| judge(kind, name, differences, &gaps)).collect();
    ensure!(verdicts.is_empty(), "{} of {count} cases are not as they must be:\n{}", verdicts.len(), verdicts.join("\n"));
    lab.assert_nothing_left().await?;
    // Six triggers on a slow disk take longer than a hold: then clients wait in the server's own queue.
    lab.proxy.assert_clean_log(&[
        "parked",
        "an attempt is not over at its deadline",
        "a hold outlived its deadline",
        "clients went on before the attempt had ended",
    ])
}

type Results = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

async fn run_group(lab: &Arc<Lab>, cases: VecDeque<Case>, results: &Results) -> Result<()> {
    let queue = Arc::new(Mutex::new(cases));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (lab, queue, results) = (lab.clone(), queue.clone(), results.clone());
        workers.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(case) = next else { return };
                let began = Instant::now();
                let time = tokio::time::timeout(Duration::from_secs(120), rehearsal::run(&lab, &case)).await;
                let differences = match time {
                    Ok(Ok(differences)) => differences,
                    Ok(Err(error)) => vec![format!("{error:#}")],
                    Err(_) => vec!["it does not end".to_owned()],
                };
                note(lab.server.kind, &case.name, began.elapsed(), &differences);
                results.lock().unwrap_or_else(PoisonError::into_inner).insert(case.name, differences);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(())
}

/// What is wrong with a case's result: a difference that no gap explains, or a gap that is none any more.
fn judge(kind: Kind, name: &str, differences: &[String], gaps: &Gaps) -> Option<String> {
    match (gaps.reason(name, kind), differences.is_empty()) {
        (None, true) | (Some(_), false) => None,
        (None, false) => Some(format!("## {name}\n{}", differences.join("\n"))),
        // The list is of the servers that it names; another release may have mended what made a gap.
        (Some(_), true) if std::env::var_os("TIDEGATE_TEST_OTHER_RELEASE").is_some() => None,
        (Some(_), true) => Some(format!("## {name}\nit works on {kind} now: take it out of tests/catalogue/known_gaps")),
    }
}

/// Tells a result as it comes, in a file where somebody asks for it.
fn note(kind: Kind, name: &str, took: Duration, differences: &[String]) {
    use std::io::Write;
    let Some(path) = std::env::var_os("TIDEGATE_TEST_CATALOGUE_REPORT") else { return };
    let path = std::path::PathBuf::from(path).join(format!("{}.txt", kind.name()));
    let state = if differences.is_empty() { "same" } else { "DIFFERS" };
    let mut text = format!("{state} {name} ({:.1} s)\n", took.as_secs_f64());
    for difference in differences {
        text.push_str(&format!("    {}\n", difference.replace('\n', "\n    ")));
    }
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(text.as_bytes());
    }
}

/// The judge itself: a table that is not what the server made of it must be told.
async fn a_difference_is_noticed(kind: Kind) -> Result<()> {
    let lab = start(kind).await?;
    let mut conn = lab.server.connect().await?;
    let make = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10) COLLATE utf8mb4_general_ci, b FLOAT, KEY (a))";
    for schema in ["our_x", "own_x"] {
        conn.query_drop(format!("CREATE DATABASE {schema}")).await?;
        conn.query_drop(format!("USE {schema}")).await?;
        conn.query_drop(make).await?;
        conn.query_drop("INSERT INTO t VALUES (1, 'a', 1.5), (2, NULL, NULL)").await?;
    }
    let differences = async |conn: &mut mysql_async::Conn| -> Result<Vec<String>> {
        let ours = picture::of(conn, "our_x").await?;
        let own = picture::of(conn, "own_x").await?;
        Ok(picture::differences(&ours, &own))
    };
    ensure!(differences(&mut conn).await?.is_empty(), "equal tables differ");
    for (change, back) in [
        ("UPDATE our_x.t SET a = 'A' WHERE id = 1", "UPDATE our_x.t SET a = 'a' WHERE id = 1"),
        ("UPDATE our_x.t SET a = '' WHERE id = 2", "UPDATE our_x.t SET a = NULL WHERE id = 2"),
        ("UPDATE our_x.t SET b = 1.5000001 WHERE id = 1", "UPDATE our_x.t SET b = 1.5 WHERE id = 1"),
        ("DELETE FROM our_x.t WHERE id = 2", "INSERT INTO our_x.t VALUES (2, NULL, NULL)"),
        ("ALTER TABLE our_x.t COMMENT 'x'", "ALTER TABLE our_x.t COMMENT ''"),
        ("CREATE TRIGGER our_x.tr BEFORE INSERT ON our_x.t FOR EACH ROW SET NEW.b = 1", "DROP TRIGGER our_x.tr"),
        ("CREATE VIEW our_x.v AS SELECT 1", "DROP VIEW our_x.v"),
        ("ALTER TABLE our_x.t ALTER a SET DEFAULT 'x'", "ALTER TABLE our_x.t ALTER a SET DEFAULT NULL"),
    ] {
        conn.query_drop(change).await?;
        ensure!(!differences(&mut conn).await?.is_empty(), "not noticed: {change}");
        conn.query_drop(back).await?;
        let left = differences(&mut conn).await?;
        ensure!(left.is_empty(), "after {back}: {left:?}");
    }
    Ok(())
}
