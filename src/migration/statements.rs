//! The SQL of copy, apply and verify for one pair of tables. Pure: names and literals in, text out.
//!
//! Invariants: I-E1 (the copy skips rows that are there by the same key and hides nothing), I-E3 (locking reads of the
//! source never wait), F20 (they are forced onto the key that identifies the row and read a column it lacks).

use std::fmt::Write;

use super::in_place::changes_digits;
use crate::ids::{TableName, quote_identifier};
use crate::schema::mapping::{Mapping, Pair};
use crate::schema::table::Table;
use crate::upstream::{Facts, Share};

/// One row's key as SQL literals, in the order of the key's columns.
pub type Literals = Vec<String>;

/// Both ends of a chunk; `None` is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Everything greater than this.
    pub after: Option<Literals>,
    /// Up to this and including it.
    pub through: Option<Literals>,
}

/// Which rows a comparison looks at.
#[derive(Clone, Debug)]
pub enum Rows {
    /// Those of a chunk.
    In(Range),
    /// Those with these keys of the source's; never without any.
    Under(Vec<Literals>),
}

/// How a column of the source is read so that the shadow's gets what the server's own ALTER would have put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    AsIs,
    /// NULL is read as the default.
    OrDefault,
    /// Written as text first, as ALTER does it. Of a number that becomes a text an INSERT leaves out leading zeros, gives a FLOAT more digits, and
    /// writes shorter what would be cut; MySQL's takes the part before the point for the number of an ENUM's member, and the number in a JSON text. JSON refuses the value itself.
    Text,
    /// BIT: an ALTER takes the number that a text, a date or a JSON value says, an INSERT its bytes. Members on MariaDB: an ALTER rounds, an
    /// INSERT cuts.
    Integer,
    /// MariaDB: of a text that becomes a whole number an ALTER takes the digits at the beginning, an INSERT the number, rounded. One that is too
    /// large for a CAST is left to the INSERT.
    Digits,
    /// As [`Reading::Integer`]; what is no number is 0 without an error, as MySQL's ALTER takes long texts.
    LeadingInteger,
    /// A FLOAT or DOUBLE as a number of its own: MySQL's INSERT takes the bytes of a column that only has other digits as they are, unrounded and
    /// however large.
    Number,
    /// NULL is read as what is no member of an ENUM: MariaDB's ALTER leaves the error value where an INSERT takes the first member.
    OrNoMember,
    /// The same of a number, rounded.
    IntegerOrNoMember,
}

impl Reading {
    fn of(pair: &Pair, mapping: &Mapping, is_mariadb: bool) -> Self {
        const NUMBERS: [&str; 9] = ["tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year"];
        let (from, to) = (pair.source.data_type.as_str(), pair.shadow.data_type.as_str());
        let is_text = |kind: &str| ["char", "text", "blob", "binary"].iter().any(|text| kind.contains(text));
        let is_number_of_bytes = || {
            is_text(from)
                || matches!(from, "date" | "json" | "float" | "double")
                || if is_mariadb { matches!(from, "time" | "datetime" | "timestamp") } else { from == "decimal" }
        };
        if mapping.defaulted.contains(&pair.source.name) {
            Self::OrDefault
        } else if to == "bit" && !is_mariadb && (from.contains("text") || from.contains("blob")) {
            Self::LeadingInteger
        } else if to == "bit" && is_number_of_bytes() {
            Self::Integer
        } else if is_mariadb && to == "enum" && pair.source.is_nullable && !pair.shadow.is_nullable {
            if NUMBERS.contains(&from) { Self::IntegerOrNoMember } else { Self::OrNoMember }
        } else if is_mariadb && matches!(to, "enum" | "set") && matches!(from, "decimal" | "float" | "double") {
            Self::Integer
        } else if is_mariadb && to.ends_with("int") && (is_text(from) || from == "json") {
            Self::Digits
        } else if NUMBERS.contains(&from) && (is_text(to) || to == "json")
            || to == "json" && matches!(from, "date" | "time" | "datetime")
            || !is_mariadb && matches!(to, "enum" | "set") && matches!(from, "decimal" | "float" | "double")
            || !is_mariadb && from == "json" && (to.ends_with("int") || matches!(to, "float" | "double"))
        {
            Self::Text
        } else if changes_digits(pair) && !mapping.keeps_numbers {
            Self::Number
        } else {
            Self::AsIs
        }
    }
}

/// How a locking read by the key reaches the row itself, and not only an index (F20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowItself {
    /// The key is the clustered index: it is the row.
    Clustered,
    /// By reading a column that the key's index does not hold.
    ByColumn(String),
}

impl RowItself {
    /// `None` where every column is in the key's index and the rows are kept in another one.
    pub fn reached(table: &Table, index: &str) -> Option<Self> {
        let key = table.indexes.iter().find(|one| one.name == index)?;
        let is_clustered = || table.clustered().is_some_and(|clustered| clustered.name == index).then_some(Self::Clustered);
        table.column_beside(key).map(|column| Self::ByColumn(column.name.clone())).or_else(is_clustered)
    }
}

/// For each column of the key whether two tables' values are compared by their numbers as well: as texts an ENUM's error value and its member ''
/// are the same, and so are no member of a SET and its member ''.
pub fn by_number(mapping: &Mapping) -> Vec<bool> {
    let is_numbered = |pair: &Pair| ["enum", "set"].iter().any(|kind| pair.source.data_type.eq_ignore_ascii_case(kind));
    mapping.key.columns.iter().map(is_numbered).collect()
}

/// Whether columns have the values of another table's. The texts are compared in any case: with the numbers alone MySQL uses no index.
pub fn same_key(found: &[String], given: &[String], by_number: &[bool]) -> String {
    let equal = found.iter().zip(given).zip(by_number).map(|((found, given), by_number)| match by_number {
        true => format!("{found} = {given} AND {found} + 0 = {given} + 0"),
        false => format!("{found} = {given}"),
    });
    equal.collect::<Vec<_>>().join(" AND ")
}

/// The column by which a row of the shadow is told to stay as it is. One that takes no NULL: to give a NULL its own value is a change to both
/// servers where the column has a default, and then ON UPDATE gives other columns the present time.
fn stays(mapping: &Mapping) -> String {
    let never_null = mapping.pairs.iter().find(|pair| !pair.shadow.is_nullable);
    never_null.or(mapping.pairs.first()).map_or_else(String::new, |pair| quote_identifier(&pair.shadow.name))
}

/// Texts that depend only on the two tables.
#[derive(Clone, Debug)]
pub struct Statements {
    source: String,
    shadow: String,
    force: String,
    source_key: Vec<String>,
    shadow_key: Vec<String>,
    /// Whether a column of the key is compared by its number as well.
    by_number: Vec<bool>,
    source_columns: Vec<(String, Reading)>,
    shadow_columns: String,
    /// A column of the shadow that can be set: a row that stays as it is, is told so by giving this its own value. See [`stays`].
    kept: String,
    /// Key columns that are no columns of the rows: source and shadow side.
    key_beside: Vec<(String, String)>,
    /// Columns of the shadow that every row must be given, and what.
    filled: Vec<(String, &'static str)>,
    key_expressions: String,
    row: RowItself,
    share: Share,
}

impl Statements {
    /// `key_expressions` read the key's columns so that they can be turned into literals again; `row` is how a locking read by the key reaches the row itself (F20).
    pub fn new(
        source: &TableName,
        shadow: &TableName,
        mapping: &Mapping,
        row: RowItself,
        key_expressions: &[String],
        facts: &Facts,
    ) -> Self {
        let beside = mapping.key.columns.iter().filter(|key| !mapping.pairs.iter().any(|pair| pair.shadow.name == key.shadow.name));
        Self {
            source: source.quoted(),
            shadow: shadow.quoted(),
            force: format!("FORCE INDEX ({})", quote_identifier(&mapping.key.source_index)),
            source_key: mapping.key.columns.iter().map(|pair| quote_identifier(&pair.source.name)).collect(),
            shadow_key: mapping.key.columns.iter().map(|pair| quote_identifier(&pair.shadow.name)).collect(),
            by_number: by_number(mapping),
            source_columns: mapping
                .pairs
                .iter()
                .map(|pair| (quote_identifier(&pair.source.name), Reading::of(pair, mapping, facts.is_mariadb)))
                .collect(),
            kept: stays(mapping),
            key_beside: beside.map(|pair| (quote_identifier(&pair.source.name), quote_identifier(&pair.shadow.name))).collect(),
            filled: mapping.filled.iter().map(|(name, value)| (quote_identifier(name), *value)).collect(),
            shadow_columns: mapping.pairs.iter().map(|pair| quote_identifier(&pair.shadow.name)).collect::<Vec<_>>().join(", "),
            key_expressions: key_expressions.join(", "),
            row,
            share: facts.share_without_waiting(),
        }
    }

    /// Number of key columns.
    pub fn key_width(&self) -> usize {
        self.source_key.len()
    }

    /// The key of the row that ends the chunk of `rows` rows after `after`; no row where fewer are left.
    pub fn boundary(&self, after: Option<&Literals>, rows: u64) -> String {
        self.boundary_within(&Range { after: after.cloned(), through: None }, rows)
    }

    /// As [`Statements::boundary`], for a chunk that may not go beyond the range.
    pub fn boundary_within(&self, range: &Range, rows: u64) -> String {
        format!(
            "SELECT {} FROM {} {} WHERE {} ORDER BY {} LIMIT {}, 1",
            self.key_expressions,
            self.source,
            self.force,
            condition(&self.source_key, range),
            self.source_key.join(", "),
            rows.saturating_sub(1)
        )
    }

    /// Copies one chunk on the server. Rows whose key is there already stay as they are (I-E1).
    pub fn copy(&self, range: &Range) -> String {
        let skip = &self.kept;
        format!(
            "INSERT INTO {shadow} ({}) SELECT {} FROM {} AS `tg_source` {} WHERE {} ON DUPLICATE KEY UPDATE {shadow}.{skip} = {shadow}.{skip}",
            self.written_columns(),
            self.values("`tg_source`."),
            self.source,
            self.force,
            condition(&self.source_key_of("`tg_source`"), range),
            shadow = self.shadow,
        )
    }

    /// Whether a row of the shadow, or of a table like it, has the source's key.
    fn same_key(&self, shadow: &str) -> String {
        let shadow_key: Vec<String> = self.shadow_key.iter().map(|column| format!("{shadow}.{column}")).collect();
        same_key(&shadow_key, &self.source_key_of("`tg_source`"), &self.by_number)
    }

    /// Keys of the source within a chunk that the shadow lacks (I-E1).
    pub fn missing(&self, range: &Range) -> String {
        format!(
            "SELECT {} FROM {} AS `tg_source` {} WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS `tg_shadow` WHERE {})",
            self.key_expressions_of("`tg_source`"),
            self.source,
            self.force,
            condition(&self.source_key_of("`tg_source`"), range),
            self.shadow,
            self.same_key("`tg_shadow`")
        )
    }

    /// Whether [`Statements::lock_rows`] leaves out rows that others have locked; else it fails where there is one.
    pub fn skips_locked(&self) -> bool {
        matches!(self.share, Share::Skipping(_))
    }

    /// Reads and share-locks those of the rows that nobody else has locked (I-E2, I-E3, F20).
    pub fn lock_rows(&self, keys: &[Literals]) -> String {
        let (Share::Skipping(share) | Share::OrFail(share)) = self.share;
        let uncovered = match &self.row {
            RowItself::Clustered => String::new(),
            RowItself::ByColumn(column) => format!(", {} IS NULL", quote_identifier(column)),
        };
        format!(
            "SELECT {}{uncovered} FROM {} {} WHERE {} {}",
            self.key_expressions,
            self.source,
            self.force,
            one_of(&self.source_key, keys),
            share
        )
    }

    /// Which of the rows a plain read sees.
    pub fn see_rows(&self, keys: &[Literals]) -> String {
        format!("SELECT {} FROM {} {} WHERE {}", self.key_expressions, self.source, self.force, one_of(&self.source_key, keys))
    }

    /// One row with a 0 or 1 for each key: whether the source has a row that is equal by the key's collation.
    pub fn exist(&self, keys: &[Literals]) -> String {
        let each = keys
            .iter()
            .map(|key| format!("EXISTS (SELECT 1 FROM {} WHERE {})", self.source, one_of(&self.source_key, std::slice::from_ref(key))));
        format!("SELECT {}", each.collect::<Vec<_>>().join(", "))
    }

    /// One row with a 0 or 1 for each key: whether the shadow has its row.
    pub fn exist_in_shadow(&self, keys: &[Literals]) -> String {
        let each = keys
            .iter()
            .map(|key| format!("EXISTS (SELECT 1 FROM {} WHERE {})", self.shadow, one_of(&self.shadow_key, std::slice::from_ref(key))));
        format!("SELECT {}", each.collect::<Vec<_>>().join(", "))
    }

    /// Brings rows of the source, which were deleted from the shadow before, into it; one that another unique key turns away
    /// is left out.
    pub fn insert_where_free(&self, keys: &[Literals]) -> String {
        let skip = &self.kept;
        format!("{} ON DUPLICATE KEY UPDATE {shadow}.{skip} = {shadow}.{skip}", self.insert(keys), shadow = self.shadow)
    }

    /// As [`Statements::insert_where_free`]; a row that another unique key turns away is an error.
    pub fn insert(&self, keys: &[Literals]) -> String {
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} {} WHERE {}",
            self.shadow,
            self.written_columns(),
            self.values(""),
            self.source,
            self.force,
            one_of(&self.source_key, keys)
        )
    }

    /// Deletes rows of the shadow.
    pub fn delete(&self, keys: &[Literals]) -> String {
        format!("DELETE FROM {} WHERE {}", self.shadow, one_of(&self.shadow_key, keys))
    }

    /// Selects `what` from the source's rows.
    pub fn of_source(&self, what: &str, rows: &Rows) -> String {
        format!("SELECT {what} FROM {} {} WHERE {}", self.source, self.force, chosen(&self.source_key, rows))
    }

    /// Selects `what` from the shadow's rows.
    pub fn of_shadow(&self, what: &str, rows: &Rows) -> String {
        format!("SELECT {what} FROM {} WHERE {}", self.shadow, chosen(&self.shadow_key, rows))
    }

    /// Selects the source's key and `what` of another table's row with the same key, for the source's rows.
    /// `what` and `other_key` name the other table's columns behind the alias `tg_other`.
    pub fn joined(&self, what: &str, other: &str, rows: &Rows) -> String {
        let key = self.key_expressions_of("`tg_source`");
        format!(
            "SELECT {key}, {what} FROM {} AS `tg_source` {} STRAIGHT_JOIN {other} AS `tg_other` ON {} WHERE {}",
            self.source,
            self.force,
            self.same_key("`tg_other`"),
            chosen(&self.source_key_of("`tg_source`"), rows)
        )
    }

    /// The shadow's keys that the source does not have, as the shadow stores them.
    pub fn surplus(&self, rows: &Rows) -> String {
        let mut expressions = self.key_expressions.clone();
        for (source, shadow) in self.source_key.iter().zip(&self.shadow_key) {
            expressions = expressions.replace(source.as_str(), &format!("`tg_shadow`.{shadow}"));
        }
        let key: Vec<String> = self.shadow_key.iter().map(|column| format!("`tg_shadow`.{column}")).collect();
        format!(
            "SELECT {expressions} FROM {} AS `tg_shadow` WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS `tg_source` WHERE {})",
            self.shadow,
            chosen(&key, rows),
            self.source,
            self.same_key("`tg_shadow`")
        )
    }

    /// The key of one row of the shadow, as the shadow stores it.
    pub fn shadow_keys_where(&self, condition: &str) -> String {
        let mut expressions = self.key_expressions.clone();
        for (source, shadow) in self.source_key.iter().zip(&self.shadow_key) {
            expressions = expressions.replace(source.as_str(), shadow);
        }
        format!("SELECT {expressions} FROM {} WHERE {condition} LIMIT 1", self.shadow)
    }

    /// Copies a chunk as the shadow would have it into a scratch table with the shadow's columns.
    pub fn convert_into(&self, scratch: &str, rows: &Rows) -> String {
        format!(
            "INSERT INTO {scratch} ({}) SELECT {} FROM {} {} WHERE {}",
            self.scratch_columns(),
            self.read_columns("").chain(self.key_beside.iter().map(|(source, _)| source.clone())).collect::<Vec<_>>().join(", "),
            self.source,
            self.force,
            chosen(&self.source_key, rows)
        )
    }

    /// Creates the scratch table of [`Statements::convert_into`].
    pub fn create_scratch(&self, scratch: &str) -> String {
        // The key's index makes finding one row among a chunk's cheap.
        format!(
            "CREATE TEMPORARY TABLE {scratch} (KEY ({})) AS SELECT {} FROM {} LIMIT 0",
            self.shadow_key.join(", "),
            self.scratch_columns(),
            self.shadow
        )
    }

    /// The columns of the scratch table: those of the rows, and the key's.
    fn scratch_columns(&self) -> String {
        let beside = self.key_beside.iter().map(|(_, shadow)| shadow.as_str());
        std::iter::once(self.shadow_columns.as_str()).chain(beside).collect::<Vec<_>>().join(", ")
    }

    /// The shadow's columns that an INSERT writes.
    fn written_columns(&self) -> String {
        let filled = self.filled.iter().map(|(name, _)| name.as_str());
        let pairs = Some(self.shadow_columns.as_str()).filter(|columns| !columns.is_empty());
        pairs.into_iter().chain(filled).collect::<Vec<_>>().join(", ")
    }

    /// Their values; `prefix` stands before each column of the source.
    fn values(&self, prefix: &str) -> String {
        self.read_columns(prefix).chain(self.filled.iter().map(|(_, value)| (*value).to_owned())).collect::<Vec<_>>().join(", ")
    }

    fn read_columns(&self, prefix: &str) -> impl Iterator<Item = String> {
        self.source_columns.iter().map(move |(name, reading)| match reading {
            Reading::AsIs => format!("{prefix}{name}"),
            Reading::OrDefault => format!("IFNULL({prefix}{name}, DEFAULT({prefix}{name}))"),
            Reading::Text => format!("CAST({prefix}{name} AS CHAR CHARACTER SET utf8mb4)"),
            Reading::Integer => format!("CAST({prefix}{name} AS SIGNED)"),
            Reading::LeadingInteger => format!(
                "IF({prefix}{name} IS NULL, NULL, CAST(IFNULL(REGEXP_SUBSTR(CONVERT({prefix}{name} USING latin1), '^[[:space:]]*[-+]?[0-9]+'), '0') AS SIGNED))"
            ),
            Reading::Number => format!("{prefix}{name} * 1e0"),
            Reading::Digits => format!(
                "IF({prefix}{name} REGEXP '^[[:space:]]*[+]?[0-9]{{19}}', {prefix}{name}, CAST({prefix}{name} AS SIGNED))"
            ),
            Reading::OrNoMember => format!("IFNULL({prefix}{name}, 'tidegate: no member')"),
            Reading::IntegerOrNoMember => format!("IFNULL(CAST({prefix}{name} AS SIGNED), 0)"),
        })
    }

    fn key_expressions_of(&self, alias: &str) -> String {
        let mut expressions = self.key_expressions.clone();
        for column in &self.source_key {
            expressions = expressions.replace(column.as_str(), &format!("{alias}.{column}"));
        }
        expressions
    }

    /// Selects `what` from the source's row with a key.
    pub fn row_of_source(&self, what: &str, key: &Literals) -> String {
        format!("SELECT {what} FROM {} {} WHERE {}", self.source, self.force, one_of(&self.source_key, std::slice::from_ref(key)))
    }

    /// Selects `what` from the shadow's row with a key.
    pub fn row_of_shadow(&self, what: &str, key: &Literals) -> String {
        format!("SELECT {what} FROM {} WHERE {}", self.shadow, one_of(&self.shadow_key, std::slice::from_ref(key)))
    }

    fn source_key_of(&self, table: &str) -> Vec<String> {
        self.source_key.iter().map(|column| format!("{table}.{column}")).collect()
    }
}

fn chosen(key: &[String], rows: &Rows) -> String {
    match rows {
        Rows::In(range) => condition(key, range),
        Rows::Under(keys) => one_of(key, keys),
    }
}

/// `(k1, k2) > after AND (k1, k2) <= through`, written so that the server reads only that range of the index.
fn condition(key: &[String], range: &Range) -> String {
    let mut parts = Vec::new();
    if let Some(after) = &range.after {
        parts.push(beyond(key, after, ">"));
    }
    if let Some(through) = &range.through {
        parts.push(beyond(key, through, "<"));
    }
    if parts.is_empty() { "1 = 1".into() } else { parts.join(" AND ") }
}

fn beyond(key: &[String], bound: &Literals, sign: &str) -> String {
    let is_lower = sign == ">";
    let last = key.len().saturating_sub(1);
    let mut text = String::new();
    if key.len() > 1
        && let (Some(column), Some(literal)) = (key.first(), bound.first())
    {
        let _ = write!(text, "{column} {sign}= {literal} AND ");
    }
    text.push('(');
    for depth in 0..key.len() {
        if depth > 0 {
            text.push_str(" OR ");
        }
        text.push('(');
        for (column, literal) in key.iter().zip(bound).take(depth) {
            let _ = write!(text, "{column} = {literal} AND ");
        }
        let inclusive = if depth == last && !is_lower { "=" } else { "" };
        if let (Some(column), Some(literal)) = (key.get(depth), bound.get(depth)) {
            let _ = write!(text, "{column} {sign}{inclusive} {literal}");
        }
        text.push(')');
    }
    text.push(')');
    text
}

/// `k IN (…)`, or the same spelt out for several columns.
pub fn one_of(key: &[String], keys: &[Literals]) -> String {
    match key {
        [column] => format!("{column} IN ({})", keys.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")),
        columns => {
            let each = keys.iter().map(|key| {
                let pairs = columns.iter().zip(key).map(|(column, literal)| format!("{column} = {literal}"));
                format!("({})", pairs.collect::<Vec<_>>().join(" AND "))
            });
            format!("({})", each.collect::<Vec<_>>().join(" OR "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::mapping::{Mapping, Pair, SharedKey};
    use crate::schema::table::Column;

    fn pair(source: &str, shadow: &str) -> Pair {
        let column = |name: &str| Column { name: name.into(), ..Column::default() };
        Pair { source: column(source), shadow: column(shadow) }
    }

    #[test]
    fn what_stays_as_it_is_takes_no_null() {
        let nullable = |name: &str| {
            let mut pair = pair(name, name);
            pair.shadow.is_nullable = true;
            pair
        };
        let key = SharedKey { source_index: "PRIMARY".into(), columns: vec![pair("k", "k")] };
        let mut mapping = Mapping::new(vec![nullable("c"), pair("k", "k")], key, Vec::new());
        assert_eq!(stays(&mapping), "`k`");
        mapping.pairs.pop();
        assert_eq!(stays(&mapping), "`c`", "there is no other");
    }

    fn statements(key: &[(&str, &str)]) -> Statements {
        let key: Vec<Pair> = key.iter().map(|(s, d)| pair(s, d)).collect();
        let mut pairs = key.clone();
        pairs.push(pair("a,`b", "c"));
        let expressions: Vec<String> = key.iter().map(|pair| quote_identifier(&pair.source.name)).collect();
        let key = SharedKey { source_index: "PRIMARY".into(), columns: key };
        let mapping = Mapping::new(pairs, key, vec![("n".into(), "0")]);
        Statements::new(
            &TableName::new("db", "t"),
            &TableName::new("~shadow_db", "t"),
            &mapping,
            RowItself::ByColumn("a,`b".into()),
            &expressions,
            &Facts { is_mariadb: false, version: (9, 7, 0), identity: String::new(), lower_case_table_names: 0 },
        )
    }

    fn lits(values: &[&str]) -> Literals {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn a_chunk_is_copied_between_its_bounds() {
        let range = Range { after: Some(lits(&["5"])), through: Some(lits(&["9"])) };
        assert_eq!(
            statements(&[("id", "key")]).copy(&range),
            "INSERT INTO `~shadow_db`.`t` (`key`, `c`, `n`) SELECT `tg_source`.`id`, `tg_source`.`a,``b`, 0 FROM `db`.`t` AS `tg_source` FORCE INDEX (`PRIMARY`) \
             WHERE (((`tg_source`.`id` > 5))) AND (((`tg_source`.`id` <= 9))) ON DUPLICATE KEY UPDATE `~shadow_db`.`t`.`key` = `~shadow_db`.`t`.`key`"
                .replace("(((", "((")
                .replace(")))", "))")
        );
    }

    #[test]
    fn composite_bounds_are_spelt_out() {
        let range = Range { after: Some(lits(&["1", "2"])), through: Some(lits(&["3", "4"])) };
        let text = statements(&[("a", "a"), ("b", "b")]).see_rows(&[lits(&["1", "2"]), lits(&["3", "4"])]);
        assert!(text.ends_with("WHERE ((`a` = 1 AND `b` = 2) OR (`a` = 3 AND `b` = 4))"), "{text}");
        let text = statements(&[("a", "a"), ("b", "b")]).of_shadow("1", &Rows::In(range));
        assert_eq!(
            text,
            "SELECT 1 FROM `~shadow_db`.`t` WHERE `a` >= 1 AND ((`a` > 1) OR (`a` = 1 AND `b` > 2)) AND `a` <= 3 AND ((`a` < 3) OR (`a` = 3 AND `b` <= 4))"
        );
    }

    #[test]
    fn a_locking_read_takes_a_column_that_the_key_does_not_cover() {
        let text = statements(&[("id", "id")]).lock_rows(&[lits(&["7"])]);
        assert_eq!(text, "SELECT `id`, `a,``b` IS NULL FROM `db`.`t` FORCE INDEX (`PRIMARY`) WHERE `id` IN (7) FOR SHARE SKIP LOCKED");
    }

    #[test]
    fn enums_are_the_same_by_text_and_number() {
        let mut pair = pair("e", "e");
        pair.source.data_type = "ENUM".into();
        let key = SharedKey { source_index: "PRIMARY".into(), columns: vec![pair, self::pair("n", "n")] };
        let mapping = Mapping::new(Vec::new(), key, Vec::new());
        assert_eq!(by_number(&mapping), [true, false]);
        let (found, given) = (["a.e", "a.n"].map(str::to_owned), ["b.e", "b.n"].map(str::to_owned));
        assert_eq!(same_key(&found, &given, &by_number(&mapping)), "a.e = b.e AND a.e + 0 = b.e + 0 AND a.n = b.n");
    }

    #[test]
    fn open_ends_have_no_condition() {
        assert!(statements(&[("id", "id")]).copy(&Range::default()).contains("WHERE 1 = 1 ON"));
    }
}
