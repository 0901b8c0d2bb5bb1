//! A row's checksum as an SQL expression that gives the same on both sides. Pure.

use crate::ids::quote_identifier;
use crate::schema::mapping::Pair;
use crate::schema::table::Column;

/// Which side's columns a checksum reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source's, or a table like it.
    Source,
    /// The shadow's, or a table like it.
    Shadow,
}

/// CRC32 over all columns of one side and which of them are NULL. `prefix` stands before each column, such as an alias and a dot.
pub fn row(pairs: &[Pair], side: Side, prefix: &str) -> String {
    let of = |pair: &'_ Pair| if side == Side::Source { pair.source.clone() } else { pair.shadow.clone() };
    let values = pairs.iter().map(|pair| value(&of(pair), prefix));
    // CONCAT_WS leaves NULLs out: which they were is told at the end, for the same columns on both sides.
    let nullable = pairs.iter().filter(|pair| pair.source.is_nullable || pair.shadow.is_nullable);
    let nulls = nullable.map(|pair| format!("ISNULL({prefix}{})", quote_identifier(&of(pair).name)));
    format!("CRC32(CONCAT_WS('#', {}))", values.chain(nulls).collect::<Vec<_>>().join(", "))
}

/// One column's value as bytes or plain text, free of character set conversions.
fn value(column: &Column, prefix: &str) -> String {
    let name = format!("{prefix}{}", quote_identifier(&column.name));
    match column.data_type.to_ascii_lowercase().as_str() {
        // The engine's connections speak utf8mb4: such text goes into the checksum as it is.
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" if column.charset == "utf8mb4" => name,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => format!("CAST({name} AS BINARY)"),
        "json" => format!("CAST({name} AS CHAR)"),
        "bit" => format!("({name} + 0)"),
        "float" => format!("({name} + 0.0e0)"),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon" | "geometrycollection"
        | "geomcollection" | "vector" => {
            format!("HEX({name})")
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_as_bytes_and_null_is_not_empty() {
        let column = |name: &str, data_type: &str, is_nullable| Column {
            name: name.into(),
            data_type: data_type.into(),
            charset: "latin1".into(),
            is_nullable,
            ..Column::default()
        };
        let pairs = [
            Pair { source: column("a`b", "varchar", true), shadow: column("c", "varchar", false) },
            Pair { source: column("n", "int", false), shadow: column("n", "int", false) },
        ];
        assert_eq!(row(&pairs, Side::Source, "x."), "CRC32(CONCAT_WS('#', CAST(x.`a``b` AS BINARY), x.`n`, ISNULL(x.`a``b`)))");
        assert_eq!(row(&pairs, Side::Shadow, ""), "CRC32(CONCAT_WS('#', CAST(`c` AS BINARY), `n`, ISNULL(`c`)))");
    }
}
