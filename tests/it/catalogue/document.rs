//! `docs/catalogue.md`: the table of results. What it says is what the cases and the list of gaps say; that both are true is
//! for the runs to show.

use std::collections::BTreeMap;

use super::case::{self, Case, Gaps};
use crate::support::Kind;
use crate::support::process::project_dir;

const HEAD: &str = "# What a migration does as the server does it

Each case is a small table, an ALTER and writes that arrive while the table is copied and after it. It is done twice on the same server, once by the
server's own ALTER TABLE and once by Tidegate; then every row's bytes, every definition and every entry of the dictionary are compared, or the two
refusals. `make it` runs all of them on MySQL and on MariaDB; a case is a folder in [tests/catalogue](../tests/catalogue/README.md).

\"same\": the same table, or the same refusal with the same number. \"–\": this server does not have it. Everything else is in
`tests/catalogue/known_gaps`, with the reason; such a case must really fail, or the test does.

This page is written from the cases and that list (`TIDEGATE_TEST_WRITE_DOCS=1 cargo test --test it catalogue::document`).
";

fn cell(case: &Case, kind: Kind, gaps: &Gaps) -> String {
    match gaps.reason(&case.name, kind) {
        _ if !case.runs_on(kind) => "–".to_owned(),
        Some(reason) => format!("**gap**: {reason}"),
        None => "same".to_owned(),
    }
}

fn write(cases: &[Case], gaps: &Gaps) -> String {
    let mut text = HEAD.to_owned();
    let count = |kind: Kind| {
        let all = cases.iter().filter(|case| case.runs_on(kind));
        let (gap, same): (Vec<&Case>, Vec<&Case>) = all.partition(|case| gaps.reason(&case.name, kind).is_some());
        format!("{} of {} cases the same, {} gaps", same.len(), same.len() + gap.len(), gap.len())
    };
    text.push_str(&format!("\n{} cases. MySQL 9.7: {}. MariaDB 10.11: {}.\n", cases.len(), count(Kind::MySql), count(Kind::MariaDb)));
    let mut areas: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        areas.entry(case.name.split('/').next().unwrap_or_default()).or_default().push(case);
    }
    for (area, cases) in areas {
        text.push_str(&format!("\n## {area}\n\n| case | what | MySQL | MariaDB |\n|---|---|---|---|\n"));
        for case in cases {
            let name = case.name.split('/').nth(1).unwrap_or_default();
            let title = case.title.replace('|', "\\|");
            text.push_str(&format!("| {name} | {title} | {} | {} |\n", cell(case, Kind::MySql, gaps), cell(case, Kind::MariaDb, gaps)));
        }
    }
    text
}

#[test]
fn the_page_is_what_the_cases_say() {
    let (cases, gaps) = (case::all().unwrap(), Gaps::read().unwrap());
    for name in gaps.names() {
        assert!(cases.iter().any(|case| case.name == name), "known_gaps lists {name}, which is no case");
    }
    let path = project_dir().join("docs/catalogue.md");
    let text = write(&cases, &gaps);
    if std::env::var_os("TIDEGATE_TEST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == text, "docs/catalogue.md is not what the cases say; TIDEGATE_TEST_WRITE_DOCS=1 writes it");
}
