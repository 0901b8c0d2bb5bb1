//! A row's checksum as an SQL expression that gives the same on both sides. Pure.

use std::collections::HashSet;

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
///
/// Writing a number as text is most of what a checksum costs, so integers go in together, as one number: each turned by its
/// own count of bits, so that none is lost and two that change places are noticed.
pub fn row(pairs: &[Pair], side: Side, prefix: &str) -> String {
    let of = |pair: &'_ Pair| if side == Side::Source { pair.source.clone() } else { pair.shadow.clone() };
    // Which kind a column is of, and whether it may be NULL, is asked of both, so that both sides sum up the same.
    let (integers, others): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.source.is_integer() && pair.shadow.is_integer());
    // Texts of several collations are no text together.
    let collations: HashSet<&str> = pairs
        .iter()
        .flat_map(|pair| [&pair.source, &pair.shadow])
        .filter(|column| is_plain_text(column))
        .map(|column| column.collation.as_str())
        .collect();
    let mut parts: Vec<String> = others.iter().map(|pair| value(&of(pair), prefix, collations.len() < 2)).collect();
    let turned = integers.iter().enumerate().map(|(n, pair)| {
        let name = format!("{prefix}{}", quote_identifier(&of(pair).name));
        let name = if is_nullable(pair) { format!("IFNULL({name}, 0)") } else { name };
        match n * 7 % 64 {
            0 => format!("({name} | 0)"),
            bits => format!("(({name} << {bits}) | ({name} >> {}))", 64 - bits),
        }
    });
    let nullable = pairs.iter().filter(|pair| is_nullable(pair)).enumerate();
    let nulls = nullable.map(|(n, pair)| format!("(({prefix}{} IS NULL) << {})", quote_identifier(&of(pair).name), n % 64));
    let numbers = [together(&turned.collect::<Vec<_>>()), together(&nulls.collect::<Vec<_>>())];
    parts.extend(numbers.into_iter().filter(|number| !number.is_empty()));
    format!("CRC32(CONCAT_WS('#', {}))", parts.join(", "))
}

/// All numbers as one; never a thousand levels deep, which would be more than a server's stack holds.
fn together(numbers: &[String]) -> String {
    match numbers.len() {
        0..=16 => numbers.join(" ^ "),
        count => {
            let (one, other) = numbers.split_at(count / 2);
            format!("({}) ^ ({})", together(one), together(other))
        }
    }
}

fn is_nullable(pair: &Pair) -> bool {
    pair.source.is_nullable || pair.shadow.is_nullable
}

fn is_plain_text(column: &Column) -> bool {
    let data_type = column.data_type.to_ascii_lowercase();
    column.charset == "utf8mb4" && (data_type.ends_with("char") || data_type.ends_with("text"))
}

/// One column's value as bytes or plain text, free of character set conversions.
fn value(column: &Column, prefix: &str, takes_text: bool) -> String {
    let name = format!("{prefix}{}", quote_identifier(&column.name));
    match column.data_type.to_ascii_lowercase().as_str() {
        // The engine's connections speak utf8mb4: such text goes into the checksum as it is.
        _ if is_plain_text(column) && takes_text => name,
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
            Pair { source: column("m", "tinyint", false), shadow: column("m", "bigint", true) },
        ];
        assert_eq!(
            row(&pairs, Side::Source, "x."),
            "CRC32(CONCAT_WS('#', CAST(x.`a``b` AS BINARY), (x.`n` | 0) ^ ((IFNULL(x.`m`, 0) << 7) | (IFNULL(x.`m`, 0) >> 57)), \
             ((x.`a``b` IS NULL) << 0) ^ ((x.`m` IS NULL) << 1)))"
        );
        assert_eq!(
            row(&pairs, Side::Shadow, ""),
            "CRC32(CONCAT_WS('#', CAST(`c` AS BINARY), (`n` | 0) ^ ((IFNULL(`m`, 0) << 7) | (IFNULL(`m`, 0) >> 57)), \
             ((`c` IS NULL) << 0) ^ ((`m` IS NULL) << 1)))"
        );
    }
}
