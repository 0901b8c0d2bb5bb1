//! A table as the dictionary describes it: columns and indexes.

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
    /// PRIMARY first, then by name.
    pub indexes: Vec<Index>,
}

impl Table {
    /// Finds a column; names of columns are compared without regard to case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same_name(&column.name, name))
    }

    /// Indexes that identify every row, the primary key first.
    pub fn identifying_indexes(&self) -> impl Iterator<Item = (&Index, Vec<&str>)> {
        self.indexes.iter().filter_map(|index| index.identifying_columns().map(|columns| (index, columns)))
    }
}

/// Whether two column names are the same to the server.
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || one.to_lowercase() == other.to_lowercase()
}
