//! The cases as they stand in `tests/catalogue`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::support::Kind;
use crate::support::process::project_dir;

/// One folder of the catalogue.
#[derive(Clone, Debug)]
pub struct Case {
    /// `area/name`.
    pub name: String,
    /// The first comment of `alter.sql`: what it shows.
    pub title: String,
    /// `create.sql`: tables, rows, whatever stands around them.
    pub create: Vec<String>,
    /// `alter.sql`: what follows `ALTER TABLE t`.
    pub alter: String,
    /// `load.sql` up to the line `-- later`: written while the table is copied.
    pub load: Vec<String>,
    /// The rest of it: written when everything is copied and the migration waits for its cut-over.
    pub later: Vec<String>,
    /// `after.sql`: done at the end, with its answers compared; shows that triggers, views and foreign keys work.
    pub after: Vec<String>,
    /// The only server that has this.
    pub server: Option<Kind>,
    /// The server's time zone.
    pub time_zone: String,
    /// The server's sql_mode; its own where none is given.
    pub sql_mode: Option<String>,
    /// The table that is migrated.
    pub table: String,
}

/// Where the catalogue is.
pub fn folder() -> PathBuf {
    project_dir().join("tests/catalogue")
}

/// All cases by name.
pub fn all() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for area in folders(&folder())? {
        for case in folders(&area)? {
            cases.push(Case::read(&area, &case).with_context(|| format!("reading {}", case.display()))?);
        }
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.is_dir()).collect())
}

fn last_part(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Case {
    fn read(area: &Path, path: &Path) -> Result<Self> {
        let text = |name: &str| std::fs::read_to_string(path.join(name)).with_context(|| format!("{name} is missing"));
        let alter = text("alter.sql")?;
        let title = alter.lines().find_map(|line| line.strip_prefix("-- ")).context("alter.sql must begin with `-- what it shows`")?;
        let load = std::fs::read_to_string(path.join("load.sql")).unwrap_or_default();
        let (load, later) = load.split_once("-- later\n").map_or((load.as_str(), ""), |(load, later)| (load, later));
        let mut case = Self {
            name: format!("{}/{}", last_part(area), last_part(path)),
            title: title.to_owned(),
            create: statements(&text("create.sql")?),
            alter: alter.lines().filter(|line| !line.starts_with("-- ")).collect::<Vec<_>>().join("\n"),
            load: statements(load),
            later: statements(later),
            after: statements(&std::fs::read_to_string(path.join("after.sql")).unwrap_or_default()),
            server: None,
            time_zone: "SYSTEM".into(),
            sql_mode: None,
            table: "t".into(),
        };
        for line in std::fs::read_to_string(path.join("settings")).unwrap_or_default().lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(" =").with_context(|| format!("settings: {line:?} is no `key = value`"))?;
            let value = value.trim();
            match key {
                "server" if value == "mysql" => case.server = Some(Kind::MySql),
                "server" if value == "mariadb" => case.server = Some(Kind::MariaDb),
                "time_zone" => case.time_zone = value.to_owned(),
                "sql_mode" => case.sql_mode = Some(value.to_owned()),
                "table" => case.table = value.to_owned(),
                _ => bail!("settings: {line:?} is not known"),
            }
        }
        ensure!(!case.create.is_empty() && !case.alter.trim().is_empty(), "create.sql or alter.sql is empty");
        ensure!(case.slug().len() <= 46, "the name is too long");
        Ok(case)
    }

    /// Whether the server has what the case is about.
    pub fn runs_on(&self, kind: Kind) -> bool {
        self.server.is_none_or(|server| server == kind)
    }

    /// The name as a part of a schema's.
    pub fn slug(&self) -> String {
        self.name.replace(['/', '-'], "_")
    }
}

/// Cuts a file into statements: one ends with a semicolon at a line's end, unless the next line is indented or begins with END.
fn statements(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("-- ")).collect();
    let mut statements = Vec::new();
    let mut statement = String::new();
    for (at, line) in lines.iter().enumerate() {
        if !statement.is_empty() {
            statement.push('\n');
        }
        statement.push_str(line);
        let goes_on = lines.get(at + 1).is_some_and(|next| next.starts_with(' ') || next.starts_with("END"));
        if line.ends_with(';') && !goes_on {
            statements.push(statement.trim_end_matches(';').to_owned());
            statement.clear();
        }
    }
    if !statement.trim().is_empty() {
        statements.push(statement);
    }
    statements
}

/// What does not work yet: lines of `case | mysql, mariadb or both | reason`.
#[derive(Clone, Debug, Default)]
pub struct Gaps(Vec<(String, Option<Kind>, String)>);

impl Gaps {
    /// Reads the list.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string(folder().join("known_gaps")).context("reading known_gaps")?;
        let mut gaps = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [name, server, reason] = parts.as_slice() else { bail!("known_gaps: {line:?} is no `case | server | reason`") };
            let server = match *server {
                "mysql" => Some(Kind::MySql),
                "mariadb" => Some(Kind::MariaDb),
                "both" => None,
                other => bail!("known_gaps: there is no server {other:?}"),
            };
            gaps.push(((*name).to_owned(), server, (*reason).to_owned()));
        }
        Ok(Self(gaps))
    }

    /// Why a case is known to fail on a server.
    pub fn reason(&self, name: &str, kind: Kind) -> Option<&str> {
        self.0
            .iter()
            .find(|(case, server, _)| case == name && server.is_none_or(|server| server == kind))
            .map(|(_, _, reason)| reason.as_str())
    }

    /// Names that are listed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, ..)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_at_ends_of_statements() {
        let text = "-- about\nSELECT ';';\nCREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW\nBEGIN\n  SET @a = 1;\n  SET @b = 2;\nEND;\nINSERT INTO t\n  VALUES (1);\n";
        assert_eq!(
            statements(text),
            [
                "SELECT ';'",
                "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW\nBEGIN\n  SET @a = 1;\n  SET @b = 2;\nEND",
                "INSERT INTO t\n  VALUES (1)"
            ]
        );
    }
}
