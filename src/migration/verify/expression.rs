//! A row's checksum as an SQL expression that gives the same on both sides. Pure.

use crate::ids::quote_identifier;
use crate::schema::table::Column;

/// CRC32 over all columns and which of them are NULL. `prefix` stands before each column, such as an alias and a dot.
pub fn row<'a>(columns: impl Iterator<Item = &'a Column> + Clone, prefix: &str) -> String {
    let values = columns.clone().map(|column| value(column, prefix));
    // CONCAT_WS leaves NULLs out: which they were is told at the end.
    let nulls = columns.filter(|column| column.is_nullable).map(|column| format!("ISNULL({prefix}{})", quote_identifier(&column.name)));
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
        let columns = [
            Column { name: "a`b".into(), data_type: "varchar".into(), charset: "latin1".into(), is_nullable: true, ..Column::default() },
            Column { name: "n".into(), data_type: "int".into(), ..Column::default() },
        ];
        assert_eq!(row(columns.iter(), "x."), "CRC32(CONCAT_WS('#', CAST(x.`a``b` AS BINARY), x.`n`, ISNULL(x.`a``b`)))");
    }
}
