//! Which column of the source goes into which of the shadow, and by which key rows are told apart.

use super::table::{Column, Table, same_name};
use crate::sql::alter::Clause;

/// One column that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The column of the source.
    pub source: Column,
    /// The column of the shadow.
    pub shadow: Column,
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
}

/// Why no mapping exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMapping {
    /// The source has no unique key over whole NOT NULL columns.
    #[error(
        "the table has no PRIMARY KEY and no UNIQUE key over NOT NULL columns; add one first, for example ALTER TABLE … ADD PRIMARY KEY (…)"
    )]
    SourceHasNoKey,
    /// It has one, but the shadow does not have it.
    #[error(
        "no unique key over NOT NULL columns exists both before and after this ALTER; keep or add a UNIQUE NOT NULL key in a first migration and change the other key in a second one"
    )]
    NoSharedKey,
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

    let key = shared_key(source, shadow, &pairs)?;
    Ok(Mapping { pairs, key })
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
    let key = shared_key(altered, former, &pairs)?;
    Ok(Mapping { pairs, key })
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

fn shared_key(source: &Table, shadow: &Table, pairs: &[Pair]) -> Result<SharedKey, NoMapping> {
    let mut has_key = false;
    for (index, columns) in source.identifying_indexes() {
        has_key = true;
        let paired: Option<Vec<Pair>> =
            columns.iter().map(|name| pairs.iter().find(|pair| same_name(&pair.source.name, name)).cloned()).collect();
        let Some(paired) = paired else { continue };
        let shared = shadow.identifying_indexes().any(|(_, shadow_columns)| {
            shadow_columns.len() == paired.len()
                && paired.iter().all(|pair| shadow_columns.iter().any(|name| same_name(name, &pair.shadow.name)))
        });
        if shared {
            return Ok(SharedKey { source_index: index.name.clone(), columns: paired });
        }
    }
    Err(if has_key { NoMapping::NoSharedKey } else { NoMapping::SourceHasNoKey })
}

#[cfg(test)]
mod tests {
    use super::super::table::{Index, Part};
    use super::*;

    fn column(name: &str) -> Column {
        Column { name: name.into(), data_type: "int".into(), column_type: "int".into(), ..Column::default() }
    }

    fn unique(name: &str, columns: &[&str]) -> Index {
        let parts = columns.iter().map(|name| Part { column: Some((*name).into()), has_prefix: false, is_nullable: false }).collect();
        Index { name: name.into(), is_unique: true, parts }
    }

    fn table(columns: &[&str], indexes: Vec<Index>) -> Table {
        Table { columns: columns.iter().map(|name| column(name)).collect(), indexes }
    }

    fn names(mapping: &Mapping) -> Vec<(&str, &str)> {
        mapping.pairs.iter().map(|pair| (pair.source.name.as_str(), pair.shadow.name.as_str())).collect()
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
        assert_eq!(relate(&source, &shadow, &[]), Err(NoMapping::NoSharedKey));
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
    fn generated_columns_of_the_shadow_take_no_values() {
        let source = table(&["id", "a"], vec![unique("PRIMARY", &["id"])]);
        let mut shadow = source.clone();
        shadow.columns[1].extra = "STORED GENERATED".into();
        shadow.columns[1].generation = "(id + 1)".into();
        assert_eq!(names(&relate(&source, &shadow, &[]).unwrap()), [("id", "id")]);
    }
}
