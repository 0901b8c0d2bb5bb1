//! Which column of the source goes into which of the shadow, and by which key rows are told apart.

use super::key::length_of;
use super::table::{Column, Table, same_name};
use crate::ids::quote_identifier;
use crate::sql::alter::Clause;

/// One column that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The column of the source.
    pub source: Column,
    /// The column of the shadow.
    pub shadow: Column,
}

impl Pair {
    /// Every value of the source is in the shadow as it is, and reads as the same bytes there. Says no where it does not know.
    pub fn keeps_bytes(&self) -> bool {
        let (source, shadow) = (&self.source, &self.shadow);
        let is_same_kind = source.data_type == shadow.data_type && source.charset == shadow.charset;
        source.has_type_of(shadow)
            || source.is_integer() && holds_all(source, shadow)
            || is_same_kind && source.data_type != "char" && holds_all_texts(source, shadow)
            || is_same_kind && holds_all_decimals(source, shadow)
    }
}

/// The key that source and shadow share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedKey {
    /// The source's index, for FORCE INDEX.
    pub source_index: String,
    /// Its columns, source and shadow side.
    pub columns: Vec<Pair>,
}

/// How rows go over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The columns that are copied, in the shadow's order.
    pub pairs: Vec<Pair>,
    /// The key.
    pub key: SharedKey,
    /// Columns of the shadow that are new, NOT NULL and without a default, with the value that each row gets.
    pub filled: Vec<(String, &'static str)>,
    /// Columns of the source whose NULL becomes their default where the shadow's takes no NULL: MariaDB, where its own ALTER would be one in
    /// place.
    pub defaulted: Vec<String>,
    /// Where a FLOAT or DOUBLE only gets other digits it is not rounded: the server's own ALTER would be one in place.
    pub keeps_numbers: bool,
    /// What the shadow needs until the swap so that its rows can be found by the key.
    pub helper: Option<Helper>,
}

impl Mapping {
    /// Columns that go from here to there, and nothing that has to be watched beside.
    pub fn new(pairs: Vec<Pair>, key: SharedKey, filled: Vec<(String, &'static str)>) -> Self {
        Self { pairs, key, filled, defaulted: Vec::new(), keeps_numbers: false, helper: None }
    }

    /// A column of the key has another type in the shadow.
    pub fn changes_key(&self) -> bool {
        self.changed_key().next().is_some()
    }

    /// A value of the key may become another one in the shadow, where the sql_mode is not strict.
    pub fn may_cut_key(&self) -> bool {
        self.changed_key().any(|pair| !holds_all(&pair.source, &pair.shadow))
    }

    /// The columns of the key that get another type. The key itself may lead to a helper's column, which has the old type and gives back what is
    /// left of the value.
    fn changed_key(&self) -> impl Iterator<Item = &Pair> {
        let is_key = |name: &str| self.key.columns.iter().any(|pair| pair.source.name == name);
        self.pairs.iter().filter(move |pair| is_key(&pair.source.name) && !pair.source.has_type_of(&pair.shadow))
    }
}

/// Whether a column takes every value of another as it is. Says no where it does not know.
fn holds_all(source: &Column, shadow: &Column) -> bool {
    let bytes = |column: &Column| ["tinyint", "smallint", "mediumint", "int", "bigint"].iter().position(|kind| *kind == column.data_type);
    let is_unsigned = |column: &Column| column.column_type.contains("unsigned");
    if holds_all_texts(source, shadow) {
        return true;
    }
    match (bytes(source), bytes(shadow)) {
        (Some(from), Some(to)) => match (is_unsigned(source), is_unsigned(shadow)) {
            (true, false) => to > from,
            (false, true) => false,
            _ => to >= from,
        },
        _ => false,
    }
}

/// The same for texts: of the same kind, not shorter, and in a character set that has all characters of the other. How they compare is another
/// matter: two of them may be one by the new collation, which is a duplicate and no cut.
fn holds_all_texts(source: &Column, shadow: &Column) -> bool {
    let is_text = ["char", "varchar", "tinytext", "text", "mediumtext", "longtext"].contains(&source.data_type.as_str());
    let (from, to) = (source.charset.as_str(), shadow.charset.as_str());
    let has_all_characters = from == to || to == "utf8mb4" && ["ascii", "latin1", "utf8", "utf8mb3"].contains(&from);
    let is_as_long = match (length_of(&source.column_type), length_of(&shadow.column_type)) {
        (Some(from), Some(to)) => to >= from,
        (None, None) => source.data_type.ends_with("text"),
        _ => false,
    };
    is_text && source.data_type == shadow.data_type && has_all_characters && is_as_long
}

/// The same for decimals with as many digits after the point. With ZEROFILL the length shows.
fn holds_all_decimals(source: &Column, shadow: &Column) -> bool {
    let is_plain = |column: &Column| column.data_type == "decimal" && !column.column_type.contains("zerofill");
    let may_be_negative = |column: &Column| !column.column_type.contains("unsigned");
    let is_as_long = match (lengths(source).as_slice(), lengths(shadow).as_slice()) {
        ([from, from_scale], [to, to_scale]) => to >= from && to_scale == from_scale,
        _ => false,
    };
    is_plain(source) && is_plain(shadow) && is_as_long && (may_be_negative(shadow) || !may_be_negative(source))
}

/// The numbers in `type(n)` and `type(n,m)`; none where there is something else.
fn lengths(column: &Column) -> Vec<u32> {
    let inside = column.column_type.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    inside.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>().unwrap_or_default()
}

/// The name of the helper's index, and the beginning of its columns' names.
pub const HELPER: &str = "tidegate_key";

/// A unique index over the source's key, which the ALTER takes away or changes, on the shadow: it is dropped before the swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Virtual columns that give the key's values as the source has them: name, type and expression.
    pub columns: Vec<(String, String)>,
    /// The index's columns.
    pub index: Vec<String>,
}

/// Why no mapping exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMapping {
    /// The source has no unique key over whole NOT NULL columns.
    #[error(
        "the table has no PRIMARY KEY and no UNIQUE key over NOT NULL columns; add one first, for example ALTER TABLE … ADD PRIMARY KEY (…)"
    )]
    SourceHasNoKey,
    /// It has one, but the shadow does not have its columns.
    #[error(
        "this ALTER drops the columns by which rows are told apart; keep or add a UNIQUE NOT NULL key in a first migration and drop the other key in a second one"
    )]
    NoSharedKey,
    /// The new type cannot hold the old values so that they can be told from each other.
    #[error(
        "the ALTER changes the key column {column} from {from} to {to}, and rows are told apart by it; this cannot be migrated yet. Change it with the \
         server's own ALTER, or add another UNIQUE key over NOT NULL columns first"
    )]
    KeyChanges {
        /// Its name in the source.
        column: String,
        /// Its type in the source.
        from: String,
        /// Its type in the shadow.
        to: String,
    },
}

/// Relates the columns of both tables. `clauses` tells of renames and of columns that were dropped and added again under
/// the same name, which are different columns.
///
/// # Errors
/// [`NoMapping`] where rows cannot be told apart on both sides.
pub fn relate(source: &Table, shadow: &Table, clauses: &[Clause]) -> Result<Mapping, NoMapping> {
    let pairs: Vec<Pair> = shadow
        .columns
        .iter()
        .filter(|column| !column.is_generated())
        .filter_map(|column| origin(source, &column.name, clauses).map(|from| Pair { source: from.clone(), shadow: column.clone() }))
        .collect();
    with_key(source, shadow, pairs)
}

/// Relates them for the way back: `altered` is the table after the ALTER and now the source, `former` the one before and now
/// the shadow. Columns of `former` that the ALTER dropped are in no pair.
///
/// # Errors
/// As [`relate`].
pub fn relate_back(altered: &Table, former: &Table, clauses: &[Clause]) -> Result<Mapping, NoMapping> {
    let pairs: Vec<Pair> = former
        .columns
        .iter()
        .filter(|column| !column.is_generated())
        .filter_map(|column| {
            let heir =
                altered.columns.iter().find(|heir| origin(former, &heir.name, clauses).is_some_and(|from| from.name == column.name))?;
            Some(Pair { source: heir.clone(), shadow: column.clone() })
        })
        .collect();
    let mapping = with_key(altered, former, pairs)?;
    // Nothing can be added to the other table for it.
    if mapping.helper.is_some() { Err(NoMapping::NoSharedKey) } else { Ok(mapping) }
}

/// The source's column that a column of the shadow comes from.
fn origin<'a>(source: &'a Table, shadow_name: &str, clauses: &[Clause]) -> Option<&'a Column> {
    let renamed = clauses.iter().find_map(|clause| match clause {
        Clause::RenameColumn { from, to } if same_name(to, shadow_name) => Some(from.as_str()),
        _ => None,
    });
    if let Some(from) = renamed {
        return source.column(from);
    }
    let went_away = clauses.iter().any(|clause| match clause {
        Clause::DropColumn(name) => same_name(name, shadow_name),
        Clause::RenameColumn { from, .. } => same_name(from, shadow_name),
        _ => false,
    });
    if went_away { None } else { source.column(shadow_name) }
}

/// Finds the key for pairs of columns.
fn with_key(source: &Table, shadow: &Table, pairs: Vec<Pair>) -> Result<Mapping, NoMapping> {
    let filled: Vec<(String, &'static str)> = shadow
        .columns
        .iter()
        .filter(|column| !pairs.iter().any(|pair| pair.shadow.name == column.name))
        .filter_map(|column| column.implicit_default().map(|value| (column.name.clone(), value)))
        .collect();
    // A key column that is generated on both sides by the same expression has the same values, though none can be given.
    let of_key = |name: &str| -> Option<Pair> {
        pairs.iter().find(|pair| same_name(&pair.source.name, name)).cloned().or_else(|| {
            let (from, to) = (source.column(name)?, shadow.column(name)?);
            let is_same = from.is_generated() && to.is_generated() && from.generation == to.generation && from.has_type_of(to);
            is_same.then(|| Pair { source: from.clone(), shadow: to.clone() })
        })
    };
    let mut why = NoMapping::SourceHasNoKey;
    let mut keys = Vec::new();
    for (index, columns) in source.identifying_indexes() {
        if why == NoMapping::SourceHasNoKey {
            why = NoMapping::NoSharedKey;
        }
        let paired: Option<Vec<Pair>> = columns.iter().map(|name| of_key(name)).collect();
        if let Some(paired) = paired {
            keys.push(SharedKey { source_index: index.name.clone(), columns: paired });
        }
    }
    let is_shared = |key: &&SharedKey| {
        key.columns.iter().all(|pair| keeps_values(&pair.source, &pair.shadow))
            && shadow.identifying_indexes().any(|(_, columns)| {
                columns.len() == key.columns.len()
                    && key.columns.iter().all(|pair| columns.iter().any(|name| same_name(name, &pair.shadow.name)))
            })
    };
    if let Some(key) = keys.iter().find(is_shared) {
        return Ok(Mapping::new(pairs, key.clone(), filled));
    }
    for key in keys {
        match helped(key) {
            Ok((key, helper)) => {
                return Ok(Mapping { helper: Some(helper), ..Mapping::new(pairs, key, filled) });
            }
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// Whether every value of the key column is the same value, compared in the same way, in the shadow.
fn keeps_values(source: &Column, shadow: &Column) -> bool {
    source.has_type_of(shadow)
        || source.is_integer() && shadow.is_integer()
        || source.data_type == "varbinary" && shadow.data_type == "varbinary"
        || source.data_type == "varchar"
            && shadow.data_type == "varchar"
            && source.charset == shadow.charset
            && source.collation == shadow.collation
}

/// An expression that gives the source's value back from the shadow's column.
fn back(source: &Column, shadow: &Column) -> Option<String> {
    let name = quote_identifier(&shadow.name);
    let is_text = |kind: &str| matches!(kind, "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
    let digits = |column: &Column| lengths(column).last().copied();
    let grows = || digits(shadow).unwrap_or(0) >= digits(source).unwrap_or(0);
    match (source.data_type.as_str(), shadow.data_type.as_str()) {
        ("char" | "varchar", to) if is_text(to) => Some(name),
        (_, to) if source.is_integer() && (to == "decimal" || is_text(to)) => Some(name),
        ("enum", "enum") | ("date", "datetime") => Some(name),
        ("decimal", "decimal") | ("datetime", "datetime") | ("time", "time") if grows() => Some(name),
        ("binary", "binary") if grows() => Some(format!("LEFT({name}, {})", digits(source)?)),
        _ => None,
    }
}

/// The key with a helper on the shadow.
fn helped(mut key: SharedKey) -> Result<(SharedKey, Helper), NoMapping> {
    let mut helper = Helper { columns: Vec::new(), index: Vec::new() };
    for (number, pair) in key.columns.iter_mut().enumerate() {
        if !keeps_values(&pair.source, &pair.shadow) {
            let Some(expression) = back(&pair.source, &pair.shadow) else {
                return Err(NoMapping::KeyChanges {
                    column: pair.source.name.clone(),
                    from: pair.source.column_type.clone(),
                    to: pair.shadow.column_type.clone(),
                });
            };
            let name = format!("{HELPER}_{number}");
            let charset = match pair.source.charset.as_str() {
                "" => String::new(),
                charset => format!(" CHARACTER SET {charset} COLLATE {}", pair.source.collation),
            };
            helper.columns.push((name.clone(), format!("{}{charset} AS ({expression}) VIRTUAL", pair.source.column_type)));
            pair.shadow = Column { name, ..pair.source.clone() };
        }
        helper.index.push(pair.shadow.name.clone());
    }
    Ok((key, helper))
}

#[cfg(test)]
mod tests {
    use super::super::table::{Index, Part};
    use super::*;

    fn column(name: &str) -> Column {
        Column { name: name.into(), data_type: "int".into(), column_type: "int".into(), ..Column::default() }
    }

    /// A column of a type, and of a character set where one is given: `varchar(10) in latin1`.
    fn typed(kind: &str) -> Column {
        let (kind, charset) = kind.split_once(" in ").unwrap_or((kind, ""));
        Column {
            data_type: kind.split([' ', '(']).next().unwrap_or_default().into(),
            column_type: kind.into(),
            charset: charset.into(),
            ..Column::default()
        }
    }

    fn unique(name: &str, columns: &[&str]) -> Index {
        let parts = columns.iter().map(|name| Part { column: Some((*name).into()), has_prefix: false, is_nullable: false }).collect();
        Index { name: name.into(), is_unique: true, parts }
    }

    fn table(columns: &[&str], indexes: Vec<Index>) -> Table {
        Table { columns: columns.iter().map(|name| column(name)).collect(), indexes }
    }

    #[test]
    fn a_longer_text_of_more_characters_holds_all() {
        let text = |data_type: &str, length: u32, charset: &str, collation: &str| Column {
            data_type: data_type.into(),
            column_type: format!("{data_type}({length})"),
            charset: charset.into(),
            collation: collation.into(),
            ..Column::default()
        };
        let own = text("varchar", 20, "latin1", "latin1_bin");
        for (other, holds) in [
            (text("varchar", 20, "latin1", "latin1_swedish_ci"), true),
            (text("varchar", 30, "utf8mb4", "utf8mb4_bin"), true),
            (text("varchar", 19, "utf8mb4", "utf8mb4_bin"), false),
            (text("varchar", 30, "ascii", "ascii_bin"), false),
            (text("char", 30, "latin1", "latin1_bin"), false),
        ] {
            assert_eq!(holds_all(&own, &other), holds, "{other:?}");
        }
        assert!(!holds_all(&text("varbinary", 20, "", ""), &text("varbinary", 10, "", "")));
    }

    fn names(mapping: &Mapping) -> Vec<(&str, &str)> {
        mapping.pairs.iter().map(|pair| (pair.source.name.as_str(), pair.shadow.name.as_str())).collect()
    }

    #[test]
    fn integers_that_hold_all_of_others() {
        for (source, shadow, holds) in [
            ("int", "bigint", true),
            ("int unsigned", "bigint", true),
            ("int unsigned", "bigint unsigned", true),
            ("int unsigned", "int", false),
            ("int", "bigint unsigned", false),
            ("int", "smallint", false),
            ("varchar", "varchar", false),
        ] {
            assert_eq!(holds_all(&typed(source), &typed(shadow)), holds, "{source} in {shadow}");
        }
    }

    #[test]
    fn values_that_read_as_the_same_bytes_are_not_converted() {
        for (source, shadow, keeps) in [
            ("int", "bigint", true),
            ("bigint", "int", false),
            ("int", "decimal(12,0)", false),
            ("decimal(10,2)", "decimal(12,2)", true),
            ("decimal(10,2) unsigned", "decimal(12,2)", true),
            ("decimal(10,2)", "decimal(12,2) unsigned", false),
            ("decimal(10,2)", "decimal(12,3)", false),
            ("decimal(10,2)", "decimal(9,2)", false),
            ("decimal(10,2)", "decimal(12,2) unsigned zerofill", false),
            ("varchar(10) in latin1", "varchar(20) in latin1", true),
            ("varchar(10) in latin1", "varchar(20) in utf8mb4", false),
            ("varchar(10) in latin1", "text in latin1", false),
            ("char(10) in latin1", "char(20) in latin1", false),
            ("binary(10)", "binary(20)", false),
            ("datetime", "datetime(6)", false),
            ("float", "double", false),
        ] {
            assert_eq!(Pair { source: typed(source), shadow: typed(shadow) }.keeps_bytes(), keeps, "{source} in {shadow}");
        }
    }

    #[test]
    fn added_and_dropped_columns_are_left_out() {
        let source = table(&["id", "a", "b"], vec![unique("PRIMARY", &["id"])]);
        let shadow = table(&["id", "c", "a"], vec![unique("PRIMARY", &["id"])]);
        let mapping = relate(&source, &shadow, &[Clause::DropColumn("b".into()), Clause::AddColumn("c".into())]).unwrap();
        assert_eq!(names(&mapping), [("id", "id"), ("a", "a")]);
    }

    #[test]
    fn swapped_names_follow_their_columns() {
        let source = table(&["id", "a", "b"], vec![unique("PRIMARY", &["id"])]);
        let renames =
            [Clause::RenameColumn { from: "a".into(), to: "b".into() }, Clause::RenameColumn { from: "b".into(), to: "a".into() }];
        let mapping = relate(&source, &source, &renames).unwrap();
        assert_eq!(names(&mapping), [("id", "id"), ("b", "a"), ("a", "b")]);
    }

    #[test]
    fn a_column_dropped_and_added_again_is_another_column() {
        let source = table(&["id", "a"], vec![unique("PRIMARY", &["id"])]);
        let mapping = relate(&source, &source, &[Clause::DropColumn("A".into()), Clause::AddColumn("a".into())]).unwrap();
        assert_eq!(names(&mapping), [("id", "id")]);
    }

    #[test]
    fn another_unique_key_serves_where_the_primary_key_changes() {
        let source = table(&["id", "u"], vec![unique("PRIMARY", &["id"]), unique("uu", &["u"])]);
        let shadow = table(&["id", "u"], vec![unique("PRIMARY", &["u", "id"]), unique("uu", &["u"])]);
        assert_eq!(relate(&source, &shadow, &[]).unwrap().key.source_index, "uu");
        let shadow = table(&["id", "u"], vec![unique("PRIMARY", &["u", "id"])]);
        let helped = relate(&source, &shadow, &[]).unwrap();
        assert_eq!((helped.key.source_index.as_str(), helped.helper.unwrap().index), ("PRIMARY", vec!["id".to_owned()]));
        let without = table(&["u"], vec![unique("PRIMARY", &["u"])]);
        let lone = table(&["id", "u"], vec![unique("PRIMARY", &["id"])]);
        assert_eq!(relate(&lone, &without, &[Clause::DropColumn("id".into())]), Err(NoMapping::NoSharedKey));
        let source = table(&["id", "u"], vec![]);
        assert_eq!(relate(&source, &shadow, &[]), Err(NoMapping::SourceHasNoKey));
    }

    #[test]
    fn the_way_back_leaves_dropped_and_added_columns_out() {
        let former = table(&["id", "a", "gone", "b"], vec![unique("PRIMARY", &["id"])]);
        let altered = table(&["id", "b2", "a", "new"], vec![unique("PRIMARY", &["id"])]);
        let clauses = [
            Clause::DropColumn("gone".into()),
            Clause::AddColumn("new".into()),
            Clause::RenameColumn { from: "b".into(), to: "b2".into() },
        ];
        let back = relate_back(&altered, &former, &clauses).unwrap();
        assert_eq!(names(&back), [("id", "id"), ("a", "a"), ("b2", "b")]);
        let swapped =
            [Clause::RenameColumn { from: "a".into(), to: "b".into() }, Clause::RenameColumn { from: "b".into(), to: "a".into() }];
        assert_eq!(names(&relate_back(&former, &former, &swapped).unwrap()), [("id", "id"), ("b", "a"), ("gone", "gone"), ("a", "b")]);
    }

    #[test]
    fn a_key_of_another_type_is_given_back_by_a_virtual_column() {
        let mut source = table(&["k"], vec![unique("PRIMARY", &["k"])]);
        source.columns[0].data_type = "varchar".into();
        source.columns[0].column_type = "varchar(9)".into();
        source.columns[0].charset = "latin1".into();
        source.columns[0].collation = "latin1_bin".into();
        let mut shadow = source.clone();
        shadow.columns[0].collation = "latin1_german1_ci".into();
        let mapping = relate(&source, &shadow, &[]).unwrap();
        let helper = mapping.helper.unwrap();
        let definition = "varchar(9) CHARACTER SET latin1 COLLATE latin1_bin AS (`k`) VIRTUAL";
        assert_eq!(helper.columns, [("tidegate_key_0".to_owned(), definition.to_owned())]);
        assert_eq!(mapping.key.columns[0].shadow.name, "tidegate_key_0");
        shadow.columns[0].data_type = "date".into();
        assert!(matches!(relate(&source, &shadow, &[]), Err(NoMapping::KeyChanges { .. })));
    }

    #[test]
    fn columns_that_rows_must_be_given_are_filled() {
        let source = table(&["id"], vec![unique("PRIMARY", &["id"])]);
        let mut shadow = table(&["id", "n", "d"], vec![unique("PRIMARY", &["id"])]);
        shadow.columns[2].default = Some("5".into());
        assert_eq!(relate(&source, &shadow, &[]).unwrap().filled, [("n".to_owned(), "0")]);
    }

    #[test]
    fn generated_columns_of_the_shadow_take_no_values() {
        let source = table(&["id", "a"], vec![unique("PRIMARY", &["id"])]);
        let mut shadow = source.clone();
        shadow.columns[1].extra = "STORED GENERATED".into();
        shadow.columns[1].generation = "(id + 1)".into();
        assert_eq!(names(&relate(&source, &shadow, &[]).unwrap()), [("id", "id")]);
    }
}
