//! A table as the dictionary describes it: columns and indexes.

use crate::ids::quote_identifier;

/// One column of information_schema.COLUMNS.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `int`, `varchar`, ….
    pub data_type: String,
    /// `int unsigned`, `varchar(20)`, ….
    pub column_type: String,
    /// May be NULL.
    pub is_nullable: bool,
    /// Of text types.
    pub charset: String,
    /// Of text types.
    pub collation: String,
    /// `auto_increment`, `VIRTUAL GENERATED`, ….
    pub extra: String,
    /// Its expression, where it is generated.
    pub generation: String,
    /// Its default as the dictionary writes it; `None` where a row without a value for it is refused, or gets NULL.
    pub default: Option<String>,
}

impl Column {
    /// Its value comes from an expression, so none can be given.
    pub fn is_generated(&self) -> bool {
        let extra = self.extra.to_ascii_uppercase();
        !self.generation.is_empty() && (extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"))
            || extra.contains("VIRTUAL")
            || extra.contains("PERSISTENT")
    }

    /// The value that the server's own ALTER gives rows for a NOT NULL column without a default, as SQL; none where rows need no such value.
    pub fn implicit_default(&self) -> Option<&'static str> {
        if self.is_nullable || self.default.is_some() || self.is_generated() || self.extra.to_ascii_lowercase().contains("auto_increment") {
            return None;
        }
        match self.data_type.to_ascii_lowercase().as_str() {
            "date" => Some("'0000-00-00'"),
            "datetime" | "timestamp" => Some("'0000-00-00 00:00:00'"),
            "time" => Some("'00:00:00'"),
            "enum" => Some("1"),
            "json" => Some("CAST('null' AS JSON)"),
            "uuid" => Some("'00000000-0000-0000-0000-000000000000'"),
            "inet6" => Some("'::'"),
            "inet4" => Some("'0.0.0.0'"),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "bit" | "year" => Some("0"),
            kind if ["char", "text", "blob", "binary", "set"].iter().any(|part| kind.contains(part)) => Some("''"),
            _ => None,
        }
    }

    /// A whole number of one of the five lengths.
    pub fn is_integer(&self) -> bool {
        matches!(self.data_type.to_ascii_lowercase().as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint")
    }

    /// Same type, charset and collation: values go over without conversion.
    pub fn has_type_of(&self, other: &Self) -> bool {
        self.column_type == other.column_type && self.charset == other.charset && self.collation == other.collation
    }
}

/// One part of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its column; `None` for an expression.
    pub column: Option<String>,
    /// Only the first so many characters count.
    pub has_prefix: bool,
    /// May be NULL.
    pub is_nullable: bool,
}

/// One index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name, `PRIMARY` for the primary key.
    pub name: String,
    /// No two rows with the same values.
    pub is_unique: bool,
    /// Its parts in order.
    pub parts: Vec<Part>,
}

impl Index {
    /// Columns, where the index identifies every row: unique, whole columns, none of them NULL.
    pub fn identifying_columns(&self) -> Option<Vec<&str>> {
        if !self.is_unique {
            return None;
        }
        self.parts.iter().map(|part| if part.has_prefix || part.is_nullable { None } else { part.column.as_deref() }).collect()
    }
}

/// A table's columns and indexes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// In the order of the table, which is that of the binary log's row images.
    pub columns: Vec<Column>,
    /// In the server's order: PRIMARY first, then the unique ones without NULL, and so on.
    pub indexes: Vec<Index>,
}

impl Table {
    /// Finds a column; names of columns are compared without regard to case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same_name(&column.name, name))
    }

    /// The names of the columns to which values are given, as a list for SQL.
    pub fn stored_columns(&self) -> String {
        let own = self.columns.iter().filter(|column| !column.is_generated());
        own.map(|column| quote_identifier(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Indexes that identify every row, the primary key first.
    pub fn identifying_indexes(&self) -> impl Iterator<Item = (&Index, Vec<&str>)> {
        self.indexes.iter().filter_map(|index| index.identifying_columns().map(|columns| (index, columns)))
    }
}

impl Table {
    /// The index in which InnoDB keeps the rows themselves: PRIMARY, else the first one that identifies every row.
    pub fn clustered(&self) -> Option<&Index> {
        let primary = self.indexes.iter().find(|index| index.name == "PRIMARY");
        primary.or_else(|| self.identifying_indexes().next().map(|(index, _)| index))
    }

    /// A column that an index does not hold, so that reading it reads the row itself (F20). Every index of InnoDB holds the columns of the
    /// clustered one beside its own. One that could be in neither is preferred, and a small one.
    pub fn column_beside(&self, index: &Index) -> Option<&Column> {
        let is_in = |column: &Column, index: &Index| {
            index.parts.iter().any(|part| part.column.as_deref().is_some_and(|name| same_name(name, &column.name)))
        };
        let could_be = |column: &Column| self.identifying_indexes().any(|(other, _)| is_in(column, other));
        let is_large = |column: &Column| {
            let small = ["int", "decimal", "float", "double", "date", "time", "year", "bit", "enum", "char", "binary"];
            !small.iter().any(|kind| column.data_type.contains(kind))
        };
        self.columns
            .iter()
            .filter(|column| !column.is_generated() && !is_in(column, index))
            .filter(|column| !self.clustered().is_some_and(|clustered| is_in(column, clustered)))
            .min_by_key(|column| (could_be(column), is_large(column)))
    }
}

/// Whether two column names are the same to the server.
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str) -> Column {
        Column { name: name.into(), data_type: data_type.into(), ..Column::default() }
    }

    fn index(name: &str, parts: &[(&str, bool)]) -> Index {
        let parts =
            parts.iter().map(|(column, has_prefix)| Part { column: Some((*column).into()), has_prefix: *has_prefix, is_nullable: false });
        Index { name: name.into(), is_unique: true, parts: parts.collect() }
    }

    #[test]
    fn the_clustered_index_is_the_primary_key_or_the_first_that_identifies_rows() {
        let with = |indexes: Vec<Index>| Table { columns: Vec::new(), indexes };
        let named = |table: Table| table.clustered().map(|index| index.name.clone());
        assert_eq!(named(with(vec![index("z", &[("a", false)]), index("b", &[("c", false)])])), Some("z".into()));
        assert_eq!(named(with(vec![index("PRIMARY", &[("a", true)]), index("b", &[("c", false)])])), Some("PRIMARY".into()));
        assert_eq!(named(with(vec![index("z", &[("a", true)])])), None);
    }

    #[test]
    fn a_column_beside_an_index_is_in_no_clustered_one() {
        let columns = vec![column("a", "int"), column("m", "char"), column("t", "longtext"), column("c", "int")];
        let (uid, k1) = (index("uid", &[("a", false), ("m", false)]), index("k1", &[("m", false)]));
        let table = Table { columns: columns.clone(), indexes: vec![uid.clone(), k1.clone()] };
        assert_eq!(table.column_beside(&k1).map(|column| column.name.as_str()), Some("c"));
        let large = Table { columns: columns[..3].to_vec(), indexes: vec![uid, k1.clone()] };
        assert_eq!(large.column_beside(&k1).map(|column| column.name.as_str()), Some("t"));
        let cut = Table { columns: columns[..2].to_vec(), indexes: vec![index("PRIMARY", &[("a", true)]), k1.clone()] };
        assert_eq!(cut.column_beside(&k1), None, "the primary key's part is in every index");
    }
}
