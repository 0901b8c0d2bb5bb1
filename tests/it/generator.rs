//! The generator: tables, ALTERs, writes and settings of the server at random, each done twice as a case of the catalogue is.
//!
//! What differs is made smaller until nothing can be left out of it, and printed as a folder of the catalogue.
//! `TIDEGATE_TEST_RUNS=1000`, `TIDEGATE_TEST_SEED=n` (the first run's; the next ones count on), `TIDEGATE_TEST_AGAIN=n` (each so often, for what
//! happens rarely), `TIDEGATE_TEST_FOUND=directory` for the folders of what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;

use crate::catalogue;
use crate::support::environment::number;
use crate::support::{Kind, Lab};

mod column;
mod draw;
mod oracle;
mod recipe;

use oracle::Verdict;
use recipe::Recipe;

on_both_servers!(random_alters_end_as_the_servers_own);

/// Runs in `make test`; `TIDEGATE_TEST_RUNS` for more.
const RUNS: u64 = 40;
/// Cases at once: most of a case's time is waiting.
const AT_ONCE: usize = 8;
/// How often a difference is run again to make it smaller.
const SMALLER_RUNS: usize = 400;
/// So many differences are made smaller.
const SHOWN: usize = 12;

async fn judged(lab: &Lab, recipe: &Recipe, nth: usize) -> Verdict {
    match tokio::time::timeout(Duration::from_secs(120), oracle::judge(lab, &recipe.case(nth))).await {
        Ok(verdict) => verdict,
        Err(_) => Verdict::Different(vec!["it does not end".to_owned()]),
    }
}

async fn random_alters_end_as_the_servers_own(kind: Kind) -> Result<()> {
    let (runs, first) = (number("TIDEGATE_TEST_RUNS", RUNS), number("TIDEGATE_TEST_SEED", 1));
    let lab = Arc::new(catalogue::start(kind).await?);
    let again = number("TIDEGATE_TEST_AGAIN", 1);
    let own_mode: Option<String> = lab.server.connect().await?.query_first("SELECT @@global.sql_mode").await?;
    let began = Instant::now();
    let (mut counts, mut shown) = (BTreeMap::<String, u64>::new(), BTreeMap::new());
    let mut seeds = (first..first + runs).peekable();
    while let Some(seed) = seeds.next() {
        let mut group = vec![seed];
        while let Some(next) = seeds.next_if(|next| next / draw::SHARE_SETTINGS == seed / draw::SHARE_SETTINGS) {
            group.push(next);
        }
        let recipes: Vec<Recipe> = group.into_iter().flat_map(|seed| (0..again).map(move |_| draw::recipe(kind, seed))).collect();
        let mode = recipes[0].sql_mode.clone().or(own_mode.clone()).unwrap_or_default();
        lab.sql(&[&format!("SET GLOBAL time_zone = '{}', GLOBAL sql_mode = '{mode}'", recipes[0].time_zone)]).await?;
        for (recipe, verdict) in all(&lab, recipes).await? {
            *counts.entry(verdict.to_string()).or_default() += 1;
            let Verdict::Different(differences) = verdict else { continue };
            println!("{kind}, seed {}: differs: {}", recipe.seed, differences.first().map_or("", String::as_str));
            if shown.len() < SHOWN && !shown.contains_key(&signature(&differences)) {
                let (least, differences) = made_small(&lab, recipe, differences).await;
                let text = shown_as_folder(&least, &differences);
                println!("{text}");
                shown.insert(signature(&differences), text);
            }
        }
    }
    for line in lab.proxy.log().lines().filter(|line| line.contains("interrupted; goes on")).take(20) {
        println!("{line}");
    }
    println!("{kind}: {runs} runs from seed {first} in {:.0} s: {counts:?}", began.elapsed().as_secs_f64());
    let same = counts.get("the same table").copied().unwrap_or(0);
    let differing = counts.get("different").copied().unwrap_or(0);
    ensure!(differing == 0, "{differing} of {runs} differ:\n{}", shown.into_values().collect::<Vec<_>>().join("\n"));
    ensure!(same * 5 > runs, "too few of {runs} runs say anything: {counts:?}");
    lab.assert_nothing_left().await?;
    lab.proxy.assert_clean_log(&["parked", "an attempt is not over at its deadline"])
}

/// Judges several at the same time.
async fn all(lab: &Arc<Lab>, recipes: Vec<Recipe>) -> Result<Vec<(Recipe, Verdict)>> {
    let mut waiting = recipes.into_iter().enumerate();
    let (mut workers, mut results) = (tokio::task::JoinSet::new(), Vec::new());
    loop {
        while workers.len() < AT_ONCE {
            let Some((nth, recipe)) = waiting.next() else { break };
            let lab = lab.clone();
            workers.spawn(async move {
                let verdict = judged(&lab, &recipe, nth).await;
                (recipe, verdict)
            });
        }
        match workers.join_next().await {
            Some(result) => results.push(result?),
            None => break,
        }
    }
    results.sort_by_key(|(recipe, _)| recipe.seed);
    Ok(results)
}

/// What makes two differences look like one: the kind of it, without names and numbers.
fn signature(differences: &[String]) -> String {
    let first = differences.first().map_or("", String::as_str);
    let words = first.split_whitespace().filter(|word| word.chars().all(|letter| letter.is_ascii_alphabetic() || ":()".contains(letter)));
    let code: String =
        first.split_whitespace().filter(|word| word.chars().all(|letter| letter.is_ascii_digit()) && word.len() == 4).collect();
    format!("{}{code}", words.take(8).collect::<Vec<_>>().join(" "))
}

/// Leaves out whatever the difference does not need.
async fn made_small(lab: &Arc<Lab>, mut recipe: Recipe, mut differences: Vec<String>) -> (Recipe, Vec<String>) {
    let mut runs = 0;
    'smaller: loop {
        for lean in recipe.smaller() {
            runs += 1;
            if runs > SMALLER_RUNS {
                break 'smaller;
            }
            if let Verdict::Different(still) = judged(lab, &lean, runs).await
                && still.first().is_some_and(|first| !first.contains("does not end"))
            {
                (recipe, differences) = (lean, still);
                continue 'smaller;
            }
        }
        break;
    }
    (recipe, differences)
}

/// The files of a case that differs, and what differs; written down where somebody asks for it.
fn shown_as_folder(recipe: &Recipe, differences: &[String]) -> String {
    let mut text = format!("## seed {} on {}\n{}\n", recipe.seed, recipe.server, differences.join("\n"));
    for (name, content) in recipe.files() {
        text.push_str(&format!("--- {name}\n{content}"));
        if let Some(found) = std::env::var_os("TIDEGATE_TEST_FOUND") {
            let folder = std::path::PathBuf::from(found).join(format!("{}-{}", recipe.server.name(), recipe.seed));
            let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), content));
        }
    }
    text
}
