//! A recipe at random: the same seed, the same recipe.

use fastrand::Rng;

use super::column::{self, Column, Family, one};
use super::recipe::{Recipe, Write};
use crate::support::Kind;

const TIME_ZONES: [&str; 4] = ["SYSTEM", "+05:30", "-08:00", "+00:00"];
const SQL_MODES: [&str; 9] = [
    "default",
    "default",
    "",
    "STRICT_ALL_TABLES",
    "TRADITIONAL",
    "ANSI",
    "NO_ZERO_DATE,NO_ZERO_IN_DATE",
    "STRICT_TRANS_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,NO_UNSIGNED_SUBTRACTION",
];
/// Seeds that follow each other share the server's global settings, so that they can run side by side.
pub const SHARE_SETTINGS: u64 = 20;

/// A case.
pub fn recipe(server: Kind, seed: u64) -> Recipe {
    let mut group = Rng::with_seed(seed / SHARE_SETTINGS);
    let time_zone = one(&mut group, &TIME_ZONES).to_owned();
    let sql_mode = Some(one(&mut group, &SQL_MODES).to_owned()).filter(|mode| mode != "default");
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rng = &mut rng;
    let (columns, order, keys) = table(rng, server);
    let mut recipe = Recipe {
        server,
        seed,
        columns,
        keys,
        options: options(rng, server),
        rows: Vec::new(),
        order,
        clauses: Vec::new(),
        partitioning: String::new(),
        load: Vec::new(),
        later: Vec::new(),
        time_zone,
        sql_mode,
    };
    recipe.rows = (0..rng.usize(0..30)).map(|_| row(rng, &recipe)).collect();
    if !recipe.options.contains("PARTITION") && rng.u32(0..12) == 0 {
        recipe.partitioning = partitioning(rng, &recipe);
    }
    for _ in 0..rng.usize(1..5) {
        let clause = clause(rng, server, &recipe);
        recipe.clauses.push(clause);
    }
    recipe.load = (0..rng.usize(4..16)).map(|_| write(rng, &recipe)).collect();
    recipe.later = (0..rng.usize(0..8)).map(|_| write(rng, &recipe)).collect();
    recipe
}

/// Columns, those of the identifying key, and the keys.
fn table(rng: &mut Rng, server: Kind) -> (Vec<Column>, Vec<String>, Vec<String>) {
    let mut columns: Vec<Column> = Vec::new();
    let mut keys = Vec::new();
    let mut order = Vec::new();
    if rng.u32(0..3) == 0 {
        let mut id = column::draw(rng, server, &[], Some(Family::Int));
        id.name = "`id`".into();
        id.rest = if rng.bool() { " NOT NULL AUTO_INCREMENT".into() } else { " NOT NULL".into() };
        id.is_not_null = true;
        columns.push(id);
        keys.push("PRIMARY KEY (`id`)".to_owned());
        order.push("`id`".to_owned());
    } else {
        let mut parts = Vec::new();
        for _ in 0..one(rng, &[&1usize, &1, &2, &2, &3]).to_owned() {
            let mut part = key_column(rng, server, &columns);
            part.is_not_null = true;
            parts.push(format!("{}{}", part.name, if rng.u32(0..6) == 0 { " DESC" } else { "" }));
            order.push(part.name.clone());
            columns.push(part);
        }
        let kind = if rng.u32(0..4) == 0 { "UNIQUE KEY `uid`" } else { "PRIMARY KEY" };
        keys.push(format!("{kind} ({})", parts.join(", ")));
    }
    for _ in 0..rng.usize(1..8) {
        let taken: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let next = match columns.last() {
            Some(from) if rng.u32(0..7) == 0 && !from.is_generated && !from.rest.contains("AUTO_INCREMENT") => {
                column::draw_generated(rng, &taken, from)
            }
            _ => column::draw(rng, server, &taken, None),
        };
        let at = rng.usize(0..=columns.len());
        columns.insert(at, next);
    }
    for nth in 0..rng.usize(0..4) {
        keys.push(key(rng, server, &columns, &format!("`k{nth}`")));
    }
    if rng.u32(0..8) == 0 {
        let of = &columns[rng.usize(0..columns.len())];
        if !of.rest.contains("AUTO_INCREMENT") {
            keys.push(format!("CONSTRAINT `ch` CHECK ({} IS NULL OR LENGTH({}) <> 7)", of.name, of.name));
        }
    }
    (columns, order, keys)
}

/// A column that can identify rows.
fn key_column(rng: &mut Rng, server: Kind, columns: &[Column]) -> Column {
    let taken: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    loop {
        let kind = column::draw_type(rng, server, None);
        if kind.is_long || kind.family == Family::Float && rng.u32(0..4) > 0 {
            continue;
        }
        let default = if kind.sql.starts_with("TIMESTAMP") { " DEFAULT '2020-02-02 02:02:02'" } else { "" };
        return Column {
            name: column::name(rng, &taken),
            rest: format!(" NOT NULL{default}"),
            kind,
            is_generated: false,
            is_not_null: true,
        };
    }
}

fn key(rng: &mut Rng, server: Kind, columns: &[Column], name: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let of = &columns[rng.usize(0..columns.len())];
        if !parts.iter().any(|part| part.contains(&of.name)) && of.kind.family != Family::Json {
            parts.push(of.part(rng));
        }
    }
    if parts.is_empty() || server == Kind::MySql && rng.u32(0..10) == 0 {
        let of = &columns[rng.usize(0..columns.len())];
        parts.push(if server == Kind::MySql { format!("(LENGTH({}))", of.name) } else { of.part(rng) });
    }
    let unique = if rng.u32(0..3) == 0 { "UNIQUE " } else { "" };
    format!("{unique}KEY {name} ({})", parts.join(", "))
}

fn options(rng: &mut Rng, server: Kind) -> String {
    let mut options = " ENGINE=InnoDB".to_owned();
    if rng.u32(0..3) > 0 {
        options.push_str(&format!(" DEFAULT CHARACTER SET {}", column::collation(rng, server)));
    }
    match rng.u32(0..16) {
        0 => options.push_str(" ROW_FORMAT=COMPACT"),
        1 => options.push_str(" COMMENT='about, it'"),
        2 => options.push_str(" AUTO_INCREMENT=100"),
        3 => options.push_str(" PARTITION BY KEY () PARTITIONS 3"),
        _ => {}
    }
    options
}

fn partitioning(rng: &mut Rng, recipe: &Recipe) -> String {
    let of = &recipe.columns[rng.usize(0..recipe.columns.len())].name;
    match rng.u32(0..4) {
        0 => format!("PARTITION BY HASH ({of}) PARTITIONS 2"),
        1 => format!("PARTITION BY RANGE ({of}) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)"),
        _ => "PARTITION BY KEY () PARTITIONS 3".to_owned(),
    }
}

fn row(rng: &mut Rng, recipe: &Recipe) -> Vec<String> {
    recipe.columns.iter().filter(|column| !column.is_generated).map(|column| column::value_of(rng, column)).collect()
}

/// A value that some row is likely to have.
fn familiar(rng: &mut Rng, recipe: &Recipe, column: &Column) -> String {
    let at = recipe.columns.iter().filter(|column| !column.is_generated).position(|other| other.name == column.name);
    match at {
        Some(at) if !recipe.rows.is_empty() && rng.u32(0..10) < 8 => recipe.rows[rng.usize(0..recipe.rows.len())][at].clone(),
        _ => column::value_of(rng, column),
    }
}

fn write(rng: &mut Rng, recipe: &Recipe) -> Write {
    match rng.u32(0..12) {
        0 => {
            let writes = (0..rng.usize(2..5)).map(|_| plain_write(rng, recipe)).collect();
            Write::Transaction(writes, rng.u32(0..5) > 0)
        }
        1 | 2 if recipe.rows.len() > 1 => swap(rng, recipe),
        _ => plain_write(rng, recipe),
    }
}

fn any_column<'a>(rng: &mut Rng, recipe: &'a Recipe) -> &'a Column {
    let writable: Vec<&Column> = recipe.columns.iter().filter(|column| !column.is_generated).collect();
    writable[rng.usize(0..writable.len())]
}

fn key_column_of<'a>(rng: &mut Rng, recipe: &'a Recipe) -> &'a Column {
    let name = &recipe.order[rng.usize(0..recipe.order.len())];
    recipe.columns.iter().find(|column| column.name == *name).unwrap_or(&recipe.columns[0])
}

fn plain_write(rng: &mut Rng, recipe: &Recipe) -> Write {
    let filter = |rng: &mut Rng| {
        let by = if rng.u32(0..4) > 0 { key_column_of(rng, recipe) } else { any_column(rng, recipe) };
        vec![(by.name.clone(), familiar(rng, recipe, by))]
    };
    let change = |rng: &mut Rng| {
        let of = any_column(rng, recipe);
        let value = match of.kind.family {
            Family::Int if rng.u32(0..4) == 0 => format!("{} + 1", of.name),
            _ => column::value_of(rng, of),
        };
        (of.name.clone(), value)
    };
    match rng.u32(0..10) {
        0..=3 => {
            let verb = one(rng, &["INSERT", "INSERT", "REPLACE", "INSERT IGNORE"]);
            let mut values: Vec<(String, String)> = Vec::new();
            for column in recipe.columns.iter().filter(|column| !column.is_generated) {
                if rng.u32(0..8) > 0 {
                    let value = if rng.u32(0..6) == 0 { familiar(rng, recipe, column) } else { column::value_of(rng, column) };
                    values.push((column.name.clone(), value));
                }
            }
            if values.is_empty() {
                return Write::Delete(filter(rng));
            }
            let verb: &'static str = match verb {
                "REPLACE" => "REPLACE",
                "INSERT IGNORE" => "INSERT IGNORE",
                _ => "INSERT",
            };
            let more = if verb == "INSERT" && rng.u32(0..4) == 0 { vec![change(rng)] } else { Vec::new() };
            Write::Insert(verb, values, more)
        }
        4..=7 => {
            let mut set = vec![change(rng)];
            let second = change(rng);
            if second.0 != set[0].0 && rng.bool() {
                set.push(second);
            }
            Write::Update(set, filter(rng))
        }
        _ => Write::Delete(filter(rng)),
    }
}

/// Two rows give each other their values of one column, over a third value.
fn swap(rng: &mut Rng, recipe: &Recipe) -> Write {
    let of = any_column(rng, recipe);
    let (one, other) = (familiar(rng, recipe, of), familiar(rng, recipe, of));
    let between = column::value(rng, &of.kind);
    let step = |to: &str, from: &str| Write::Update(vec![(of.name.clone(), to.to_owned())], vec![(of.name.clone(), from.to_owned())]);
    Write::Transaction(vec![step(&between, &one), step(&one, &other), step(&other, &between)], true)
}

/// One clause of the ALTER.
fn clause(rng: &mut Rng, server: Kind, recipe: &Recipe) -> String {
    let columns = &recipe.columns;
    let taken: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let of = columns[rng.usize(0..columns.len())].clone();
    let keys: Vec<&str> =
        recipe.keys.iter().filter_map(|key| key.split("KEY `").nth(1)).filter_map(|rest| rest.split('`').next()).collect();
    let place = |rng: &mut Rng| match rng.u32(0..6) {
        0 => " FIRST".to_owned(),
        1 | 2 => format!(" AFTER {}", taken[rng.usize(0..taken.len())]),
        _ => String::new(),
    };
    match rng.u32(0..30) {
        0..=4 => {
            let new = if rng.u32(0..6) == 0 && !of.is_generated && !of.rest.contains("AUTO_INCREMENT") {
                column::draw_generated(rng, &taken, &of)
            } else {
                column::draw(rng, server, &taken, None)
            };
            format!("ADD COLUMN {}{}", new.text(), place(rng))
        }
        5..=7 => format!("DROP COLUMN {}", of.name),
        8..=13 => format!("MODIFY COLUMN {} {}{}", of.name, changed(rng, server, &of), place(rng)),
        14..=16 => format!("CHANGE COLUMN {} {} {}{}", of.name, column::name(rng, &taken), changed(rng, server, &of), place(rng)),
        17 => format!("RENAME COLUMN {} TO {}", of.name, column::name(rng, &taken)),
        18 if !of.kind.is_long && !of.kind.sql.starts_with("TIMESTAMP") => {
            format!("ALTER COLUMN {} SET DEFAULT {}", of.name, column::value(rng, &of.kind))
        }
        18 => format!("ALTER COLUMN {} DROP DEFAULT", of.name),
        19..=21 => {
            let name = format!("`n{}`", rng.u32(0..100));
            format!("ADD {}", key(rng, server, columns, &name))
        }
        22 if !keys.is_empty() => format!("DROP KEY `{}`", keys[rng.usize(0..keys.len())]),
        23 if !keys.is_empty() => format!("RENAME KEY `{}` TO `r{}`", keys[rng.usize(0..keys.len())], rng.u32(0..100)),
        24 | 25 => {
            let set = column::collation(rng, server);
            format!("CONVERT TO CHARACTER SET {set}")
        }
        26 => {
            let part = of.part(rng);
            if recipe.keys[0].starts_with("PRIMARY") {
                format!("DROP PRIMARY KEY, ADD PRIMARY KEY ({part})")
            } else {
                format!("ADD PRIMARY KEY ({part})")
            }
        }
        27 => one(
            rng,
            &[
                "COMMENT='new, comment'",
                "ROW_FORMAT=DYNAMIC",
                "AUTO_INCREMENT=1000",
                "DEFAULT CHARACTER SET latin1",
                "ENGINE=InnoDB",
                "FORCE",
            ],
        )
        .to_owned(),
        28 => format!("ADD CONSTRAINT `ch2` CHECK ({} IS NULL OR LENGTH({}) <> 5)", of.name, of.name),
        _ if rng.bool() && recipe.keys.iter().any(|key| key.contains("CONSTRAINT")) => "DROP CONSTRAINT `ch`".to_owned(),
        _ => format!("ADD INDEX ({})", of.part(rng)),
    }
}

/// Another definition of a column: its own type a little changed, or any type.
fn changed(rng: &mut Rng, server: Kind, of: &Column) -> String {
    let family = if rng.u32(0..4) > 0 { Some(of.kind.family) } else { None };
    let kind = column::draw_type(rng, server, family);
    if of.rest.contains("AUTO_INCREMENT") && kind.family == Family::Int && rng.bool() {
        return format!("{} NOT NULL AUTO_INCREMENT", kind.sql);
    }
    if of.is_generated && rng.u32(0..4) > 0 {
        return format!("{}{}", of.kind.sql, of.rest);
    }
    let is_not_null = of.is_not_null && rng.u32(0..4) > 0 || rng.u32(0..5) == 0;
    let rest = column::rest(rng, &kind, server, is_not_null);
    format!("{}{rest}", kind.sql)
}
