//! A random case in parts, so that parts can be left out; and as a case of the catalogue.

use crate::catalogue::case::Case;
use crate::support::Kind;

use super::column::Column;

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// The verb, columns with literals, and what happens to a row that is there.
    Insert(&'static str, Vec<(String, String)>, Vec<(String, String)>),
    /// Columns with expressions, and the rows meant.
    Update(Vec<(String, String)>, Vec<(String, String)>),
    /// The rows meant.
    Delete(Vec<(String, String)>),
    /// Several in one transaction, and whether it commits.
    Transaction(Vec<Write>, bool),
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub server: Kind,
    pub seed: u64,
    pub columns: Vec<Column>,
    /// Keys and checks.
    pub keys: Vec<String>,
    /// What follows the parenthesis.
    pub options: String,
    /// Rows of literals for the columns that can be written.
    pub rows: Vec<Vec<String>>,
    /// By what UPDATE and DELETE take rows in turn.
    pub order: Vec<String>,
    pub clauses: Vec<String>,
    /// The last part of the ALTER, without a comma before it.
    pub partitioning: String,
    pub load: Vec<Write>,
    pub later: Vec<Write>,
    pub time_zone: String,
    pub sql_mode: Option<String>,
}

fn list(pairs: &[(String, String)], between: &str, joint: &str) -> String {
    pairs.iter().map(|(name, value)| format!("{name}{between}{value}")).collect::<Vec<_>>().join(joint)
}

impl Write {
    fn statements(&self, order: &str) -> Vec<String> {
        match self {
            Self::Insert(verb, values, on_duplicate) => {
                let names = values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                let literals = values.iter().map(|(_, literal)| literal.as_str()).collect::<Vec<_>>().join(", ");
                let more = if on_duplicate.is_empty() {
                    String::new()
                } else {
                    format!(" ON DUPLICATE KEY UPDATE {}", list(on_duplicate, " = ", ", "))
                };
                vec![format!("{verb} INTO t ({names}) VALUES ({literals}){more}")]
            }
            Self::Update(set, of) => vec![format!("UPDATE t SET {} WHERE {}{order}", list(set, " = ", ", "), list(of, " <=> ", " AND "))],
            Self::Delete(of) => vec![format!("DELETE FROM t WHERE {}{order}", list(of, " <=> ", " AND "))],
            Self::Transaction(writes, commits) => {
                let mut statements = vec!["BEGIN".to_owned()];
                statements.extend(writes.iter().flat_map(|write| write.statements(order)));
                statements.push(if *commits { "COMMIT" } else { "ROLLBACK" }.to_owned());
                statements
            }
        }
    }

    /// Without a column; nothing where nothing is left.
    fn without(&self, column: &str) -> Option<Self> {
        let lean = |pairs: &[(String, String)]| -> Vec<(String, String)> {
            pairs.iter().filter(|(name, value)| name != column && !value.contains(column)).cloned().collect()
        };
        match self {
            Self::Insert(verb, values, more) => Some(Self::Insert(verb, lean(values), lean(more))).filter(|_| !lean(values).is_empty()),
            Self::Update(set, of) => Some(Self::Update(lean(set), lean(of))).filter(|_| !lean(set).is_empty() && !lean(of).is_empty()),
            Self::Delete(of) => Some(Self::Delete(lean(of))).filter(|_| !lean(of).is_empty()),
            Self::Transaction(writes, commits) => {
                let left: Vec<Self> = writes.iter().filter_map(|write| write.without(column)).collect();
                Some(Self::Transaction(left.clone(), *commits)).filter(|_| !left.is_empty())
            }
        }
    }
}

impl Recipe {
    fn writable(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_generated)
    }

    fn create(&self) -> Vec<String> {
        let mut parts: Vec<String> = self.columns.iter().map(Column::text).collect();
        parts.extend(self.keys.iter().cloned());
        // What is "now" must be the same for both copies.
        let mut statements =
            vec!["SET timestamp = 1700000000".to_owned(), format!("CREATE TABLE t (\n  {}\n ){}", parts.join(",\n  "), self.options)];
        if !self.rows.is_empty() {
            let names = self.writable().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
            let rows: Vec<String> = self.rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            statements.push(format!("INSERT IGNORE INTO t ({names}) VALUES\n  {}", rows.join(",\n  ")));
        }
        statements
    }

    fn writes(&self, writes: &[Write]) -> Vec<String> {
        let order = if self.order.is_empty() { String::new() } else { format!(" ORDER BY {}", self.order.join(", ")) };
        writes.iter().flat_map(|write| write.statements(&order)).collect()
    }

    /// What follows `ALTER TABLE t`.
    pub fn alter(&self) -> String {
        format!("{} {}", self.clauses.join(", "), self.partitioning).trim().to_owned()
    }

    /// As the catalogue's own cases are run.
    pub fn case(&self, nth: usize) -> Case {
        let mut load = vec!["SET timestamp = 1700000777".to_owned()];
        load.extend(self.writes(&self.load));
        Case {
            name: format!("generated/s{}r{nth}", self.seed),
            title: format!("found by the generator, seed {}", self.seed),
            create: self.create(),
            alter: self.alter(),
            load,
            later: self.writes(&self.later),
            after: Vec::new(),
            server: Some(self.server),
            time_zone: self.time_zone.clone(),
            sql_mode: self.sql_mode.clone(),
            table: "t".into(),
        }
    }

    /// The files of a folder of the catalogue.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let text = |statements: &[String]| statements.iter().map(|statement| format!("{statement};\n")).collect::<String>();
        let case = self.case(0);
        let mut load = text(&case.load);
        if !case.later.is_empty() {
            load.push_str("-- later\n");
            load.push_str(&text(&case.later));
        }
        let mut settings = String::new();
        if self.time_zone != "SYSTEM" {
            settings.push_str(&format!("time_zone = {}\n", self.time_zone));
        }
        if let Some(mode) = &self.sql_mode {
            settings.push_str(&format!("sql_mode = {mode}\n"));
        }
        let mut files = vec![("create.sql", text(&case.create)), ("alter.sql", format!("-- {}\n{}\n", case.title, case.alter))];
        if case.load.len() + case.later.len() > 1 {
            files.push(("load.sql", load));
        }
        if !settings.is_empty() {
            files.push(("settings", settings));
        }
        files
    }

    fn without_column(&self, at: usize) -> Option<Self> {
        let mut lean = self.clone();
        let gone = lean.columns.remove(at);
        if !gone.is_generated {
            let place = self.columns[..at].iter().filter(|column| !column.is_generated).count();
            lean.rows.iter_mut().for_each(|row| drop(row.remove(place)));
        }
        let is_free = |text: &String| !text.contains(&gone.name);
        if !lean.columns.iter().all(|column| is_free(&column.rest)) || lean.columns.is_empty() {
            return None;
        }
        lean.keys.retain(is_free);
        lean.clauses.retain(is_free);
        lean.order.retain(is_free);
        for writes in [&mut lean.load, &mut lean.later] {
            *writes = writes.iter().filter_map(|write| write.without(&gone.name)).collect();
        }
        Some(lean)
    }

    /// Everything that is a little less than this, the largest steps first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut try_with = |change: &dyn Fn(&mut Self)| {
            let mut lean = self.clone();
            change(&mut lean);
            found.push(lean);
        };
        if !self.load.is_empty() {
            try_with(&|lean| lean.load.clear());
        }
        if !self.later.is_empty() {
            try_with(&|lean| lean.later.clear());
        }
        for half in [true, false] {
            try_with(&|lean| halve(&mut lean.rows, half));
            try_with(&|lean| halve(&mut lean.load, half));
            try_with(&|lean| halve(&mut lean.later, half));
        }
        for at in 0..self.clauses.len() {
            try_with(&|lean| drop(lean.clauses.remove(at)));
        }
        if !self.partitioning.is_empty() {
            try_with(&|lean| lean.partitioning.clear());
        }
        for at in 0..self.keys.len() {
            try_with(&|lean| drop(lean.keys.remove(at)));
        }
        if !self.options.is_empty() {
            try_with(&|lean| lean.options.clear());
        }
        for at in 0..self.load.len() {
            try_with(&|lean| drop(lean.load.remove(at)));
        }
        for at in 0..self.later.len() {
            try_with(&|lean| drop(lean.later.remove(at)));
        }
        for at in 0..self.rows.len() {
            try_with(&|lean| drop(lean.rows.remove(at)));
        }
        for at in 0..self.columns.len() {
            try_with(&|lean| {
                if let Some(leaner) = lean.without_column(at) {
                    *lean = leaner;
                }
            });
        }
        found.retain(|lean| lean.size() < self.size() && !lean.alter().is_empty());
        found
    }

    /// How much there is to read.
    fn size(&self) -> usize {
        self.create().iter().chain(&self.writes(&self.load)).chain(&self.writes(&self.later)).map(String::len).sum::<usize>()
            + self.alter().len()
    }
}

fn halve<T>(list: &mut Vec<T>, first: bool) {
    let half = list.len() / 2;
    if first {
        list.truncate(half);
    } else {
        drop(list.drain(..half));
    }
}
