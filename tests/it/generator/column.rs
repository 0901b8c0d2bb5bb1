//! Columns at random: their types, their definitions, values that fit and values that hardly do.

use fastrand::Rng;

use crate::support::Kind;

/// What kind of values a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Int,
    Decimal,
    Float,
    Bit,
    Text,
    Bytes,
    Enum,
    Set,
    Date,
    Time,
    DateTime,
    Year,
    Json,
}

/// A type as SQL writes it.
#[derive(Clone, Debug)]
pub struct Type {
    /// With length and character set.
    pub sql: String,
    /// What its values look like.
    pub family: Family,
    /// A key over it needs a prefix's length.
    pub is_long: bool,
}

/// One column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// In backquotes.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// What follows the type.
    pub rest: String,
    /// Nobody writes it.
    pub is_generated: bool,
    /// NULL is not taken.
    pub is_not_null: bool,
}

impl Column {
    /// Name and definition.
    pub fn text(&self) -> String {
        format!("{} {}{}", self.name, self.kind.sql, self.rest)
    }

    /// How a key names it.
    pub fn part(&self, rng: &mut Rng) -> String {
        let length = if self.kind.is_long { format!("({})", rng.u32(3..12)) } else { String::new() };
        let order = if rng.u32(0..6) == 0 { " DESC" } else { "" };
        format!("{}{length}{order}", self.name)
    }
}

/// One of several.
pub fn one<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(0..of.len())]
}

const COLLATIONS: [&str; 16] = [
    "utf8mb4 COLLATE utf8mb4_general_ci",
    "utf8mb4 COLLATE utf8mb4_bin",
    "utf8mb4 COLLATE utf8mb4_unicode_ci",
    "utf8mb4 COLLATE utf8mb4_unicode_520_ci",
    "utf8mb3 COLLATE utf8mb3_general_ci",
    "utf8mb3 COLLATE utf8mb3_bin",
    "latin1 COLLATE latin1_swedish_ci",
    "latin1 COLLATE latin1_bin",
    "latin1 COLLATE latin1_general_cs",
    "latin1 COLLATE latin1_german2_ci",
    "ucs2 COLLATE ucs2_general_ci",
    "utf16 COLLATE utf16_unicode_ci",
    "utf32 COLLATE utf32_general_ci",
    "ascii COLLATE ascii_general_ci",
    "cp1251 COLLATE cp1251_general_ci",
    "sjis COLLATE sjis_japanese_ci",
];
const COLLATIONS_MYSQL: [&str; 3] =
    ["utf8mb4 COLLATE utf8mb4_0900_ai_ci", "utf8mb4 COLLATE utf8mb4_0900_as_cs", "utf8mb4 COLLATE utf8mb4_0900_bin"];
const COLLATIONS_MARIADB: [&str; 3] =
    ["utf8mb4 COLLATE utf8mb4_nopad_bin", "latin1 COLLATE latin1_swedish_nopad_ci", "utf8mb4 COLLATE uca1400_ai_ci"];

/// A character set with a collation of it.
pub fn collation(rng: &mut Rng, server: Kind) -> &'static str {
    let own = if server == Kind::MySql { &COLLATIONS_MYSQL } else { &COLLATIONS_MARIADB };
    if rng.u32(0..5) == 0 { one(rng, own) } else { one(rng, &COLLATIONS) }
}

/// A type; of one family where that is given.
pub fn draw_type(rng: &mut Rng, server: Kind, family: Option<Family>) -> Type {
    use Family::{Bit, Bytes, Date, DateTime, Decimal, Enum, Float, Int, Json, Set, Text, Time, Year};
    const ALL: [Family; 22] = [
        Int, Int, Int, Int, Decimal, Float, Bit, Text, Text, Text, Text, Text, Bytes, Bytes, Enum, Set, Date, Time, DateTime, DateTime,
        Year, Json,
    ];
    let family = family.unwrap_or_else(|| ALL[rng.usize(0..ALL.len())]);
    let digits = |rng: &mut Rng| ["", "(1)", "(3)", "(6)"][rng.usize(0..4)];
    let mut is_long = false;
    let sql = match family {
        Int => {
            let name = one(rng, &["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INT", "BIGINT"]);
            match rng.u32(0..12) {
                0..=3 => format!("{name} UNSIGNED"),
                4 => format!("{name}({}) ZEROFILL", rng.u32(1..12)),
                _ => name.to_owned(),
            }
        }
        Decimal => {
            let (whole, part) = (rng.u32(2..12), rng.u32(0..4));
            format!("DECIMAL({},{part}){}", whole + part, ["", "", "", "", "", " UNSIGNED", " UNSIGNED", " ZEROFILL"][rng.usize(0..8)])
        }
        Float => {
            one(rng, &["FLOAT", "DOUBLE", "FLOAT", "DOUBLE", "FLOAT(7,3)", "DOUBLE(9,2)", "FLOAT ZEROFILL", "DOUBLE UNSIGNED"]).to_owned()
        }
        Bit => format!("BIT({})", one(rng, &["1", "5", "8", "17", "64"])),
        Text => {
            let name = match rng.u32(0..8) {
                0 => "CHAR(3)".to_owned(),
                1 => format!("CHAR({})", rng.u32(8..40)),
                2 | 3 => format!("VARCHAR({})", rng.u32(2..9)),
                4 | 5 => format!("VARCHAR({})", rng.u32(20..300)),
                _ => {
                    is_long = true;
                    one(rng, &["TINYTEXT", "TEXT", "MEDIUMTEXT"]).to_owned()
                }
            };
            let of = if rng.u32(0..3) == 0 { String::new() } else { format!(" CHARACTER SET {}", collation(rng, server)) };
            format!("{name}{of}")
        }
        Bytes => match rng.u32(0..6) {
            0 | 1 => format!("BINARY({})", rng.u32(2..10)),
            2..=4 => format!("VARBINARY({})", rng.u32(3..60)),
            _ => {
                is_long = true;
                one(rng, &["TINYBLOB", "BLOB"]).to_owned()
            }
        },
        Enum => one(
            rng,
            &[
                "ENUM('a','b','c')",
                "ENUM('b','a')",
                "ENUM('x','a','b','ä','c')",
                "ENUM('','A b','c') CHARACTER SET latin1",
                "ENUM('3','1','0.5','12','2024')",
            ],
        )
        .to_owned(),
        Set => one(rng, &["SET('a','b','c')", "SET('c','b','a','d')", "SET('a')", "SET('2','1','12','0.5')"]).to_owned(),
        Date => "DATE".to_owned(),
        Time => format!("TIME{}", digits(rng)),
        DateTime => format!("{}{}", one(rng, &["DATETIME", "TIMESTAMP"]), digits(rng)),
        Year => "YEAR".to_owned(),
        Json => {
            is_long = true;
            "JSON".to_owned()
        }
    };
    Type { sql, family, is_long }
}

/// A literal for a column of the type: mostly one that fits.
pub fn value(rng: &mut Rng, kind: &Type) -> String {
    const TEXTS: [&str; 26] = [
        "''",
        "'a'",
        "'A'",
        "'b'",
        "'B'",
        "'ab'",
        "'a '",
        "' a'",
        "'ä'",
        "'Ä'",
        "'ß'",
        "'ss'",
        "'é'",
        "'日本'",
        "'😀'",
        "'Ж'",
        "'12'",
        "'-3'",
        "'2024-02-29'",
        "'zz'",
        "'a long text that goes on and on'",
        "'0'",
        "'it''s'",
        "'ab  '",
        "'x,y'",
        "'1e1'",
    ];
    let numbered = |rng: &mut Rng| format!("'k{}'", rng.u32(0..60));
    match kind.family {
        Family::Int if rng.u32(0..8) == 0 => one(rng, &["127", "-128", "255", "32767", "65535", "2147483647", "-2147483648"]).to_owned(),
        Family::Int => rng.i32(-3..60).to_string(),
        Family::Decimal => match rng.u32(0..6) {
            0 => one(rng, &["0.005", "-0.5", "99.995", "1e2", "0.0001"]).to_owned(),
            _ => format!("{}.{}", rng.i32(-9..60), rng.u32(0..100)),
        },
        Family::Float => match rng.u32(0..6) {
            0 => one(rng, &["1e10", "-0.1", "0.1", "3.4e30", "1.17549e-38", "16777217"]).to_owned(),
            _ => format!("{}.{}", rng.i32(-9..60), rng.u32(0..8) * 125),
        },
        Family::Bit => format!("b'{:b}'", rng.u32(0..32)),
        Family::Text if rng.u32(0..3) == 0 => numbered(rng),
        Family::Text => one(rng, &TEXTS).to_owned(),
        Family::Bytes => match rng.u32(0..4) {
            0 => one(rng, &["''", "x'00'", "x'6100'", "x'61'", "x'6120'", "x'FF00'", "x'C3A4'"]).to_owned(),
            1 => numbered(rng),
            _ => format!("x'{:04X}'", rng.u16(..)),
        },
        Family::Enum => one(rng, &["'a'", "'b'", "'c'", "'A'", "1", "2", "''", "'ä'"]).to_owned(),
        Family::Set => one(rng, &["''", "'a'", "'b'", "'a,b'", "'b,a'", "'a,b,c'", "3", "'c'"]).to_owned(),
        Family::Date => match rng.u32(0..8) {
            0 => one(rng, &["'0000-00-00'", "'2024-00-10'", "'2023-02-31'", "'9999-12-31'", "'1000-01-01'"]).to_owned(),
            _ => format!("'20{:02}-{:02}-{:02}'", rng.u32(0..37), rng.u32(1..13), rng.u32(1..29)),
        },
        Family::Time => match rng.u32(0..8) {
            0 => one(rng, &["'838:59:59'", "'-838:59:59'", "'00:00:00'", "'-00:00:00.5'", "'23:59:59.999999'"]).to_owned(),
            _ => format!("'{:02}:{:02}:{:02}.{}'", rng.i32(-3..40), rng.u32(0..60), rng.u32(0..60), rng.u32(0..1_000_000)),
        },
        Family::DateTime => match rng.u32(0..8) {
            0 => one(rng, &["'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-02-29 23:59:59.9999996'"])
                .to_owned(),
            _ => format!(
                "'20{:02}-{:02}-{:02} {:02}:{:02}:{:02}.{}'",
                rng.u32(0..37),
                rng.u32(1..13),
                rng.u32(1..29),
                rng.u32(0..24),
                rng.u32(0..60),
                rng.u32(0..60),
                rng.u32(0..10)
            ),
        },
        Family::Year => match rng.u32(0..6) {
            0 => one(rng, &["0", "1901", "2155", "99"]).to_owned(),
            _ => (1980 + rng.u32(0..60)).to_string(),
        },
        Family::Json => {
            one(rng, &["'{}'", "'[1, 2]'", "'{\"a\": 1, \"b\": [true, null]}'", "'\"text\"'", "'null'", "'1.50'", "'{\"b\": 1, \"a\": 2}'"])
                .to_owned()
        }
    }
}

/// A value, or NULL where the column takes it.
pub fn value_of(rng: &mut Rng, column: &Column) -> String {
    if !column.is_not_null && rng.u32(0..8) == 0 { "NULL".to_owned() } else { value(rng, &column.kind) }
}

const NAMES: [&str; 14] = ["a", "b", "c", "d", "e", "Größe", "select", "c d", "a.b", "x-y", "Mixed", "it's", "q`q", "key"];

/// A name in backquotes that no other column has.
pub fn name(rng: &mut Rng, taken: &[&str]) -> String {
    for _ in 0..20 {
        let name = format!("`{}`", one(rng, &NAMES).replace('`', "``"));
        if !taken.iter().any(|other| other.to_lowercase() == name.to_lowercase()) {
            return name;
        }
    }
    format!("`n{}`", rng.u32(0..1_000_000))
}

/// What follows the type of an ordinary column.
pub fn rest(rng: &mut Rng, kind: &Type, server: Kind, is_not_null: bool) -> String {
    let mut rest = String::new();
    let is_timestamp = kind.sql.starts_with("TIMESTAMP");
    if is_not_null {
        rest.push_str(" NOT NULL");
    } else if is_timestamp || rng.bool() {
        rest.push_str(" NULL");
    }
    // Where none is given, a TIMESTAMP's default depends on explicit_defaults_for_timestamp.
    if !kind.is_long && (rng.u32(0..3) == 0 || is_timestamp && is_not_null) {
        let literal = if is_timestamp { "'2020-02-02 02:02:02'".to_owned() } else { value(rng, kind) };
        rest.push_str(&format!(" DEFAULT {literal}"));
    } else if kind.family == Family::Int && rng.u32(0..12) == 0 {
        rest.push_str(" DEFAULT (1 + 2)");
    }
    match rng.u32(0..30) {
        0 => rest.push_str(" INVISIBLE"),
        1 => rest.push_str(" COMMENT 'it''s a, comment'"),
        2 if kind.family == Family::DateTime => {
            let digits = kind.sql.find('(').map_or("", |at| &kind.sql[at..]);
            rest.push_str(&format!(" ON UPDATE CURRENT_TIMESTAMP{digits}"));
        }
        3 if server == Kind::MariaDb && kind.sql.starts_with("VARCHAR") => rest.push_str(" COMPRESSED"),
        _ => {}
    }
    rest
}

/// An ordinary column.
pub fn draw(rng: &mut Rng, server: Kind, taken: &[&str], family: Option<Family>) -> Column {
    let kind = draw_type(rng, server, family);
    let is_not_null = rng.u32(0..5) < 2;
    let rest = rest(rng, &kind, server, is_not_null);
    Column { name: name(rng, taken), kind, rest, is_generated: false, is_not_null }
}

/// A column made from another one.
pub fn draw_generated(rng: &mut Rng, taken: &[&str], from: &Column) -> Column {
    let text = |length| Type { sql: format!("VARCHAR({length}) CHARACTER SET utf8mb4"), family: Family::Text, is_long: false };
    let int = || Type { sql: "BIGINT".to_owned(), family: Family::Int, is_long: false };
    let base = &from.name;
    let (kind, expression) = match from.kind.family {
        Family::Int => (int(), format!("{base} * 2 + 1")),
        Family::Text if rng.bool() => (text(400), format!("CONCAT({base}, '-')")),
        Family::Date | Family::DateTime => (int(), format!("YEAR({base})")),
        _ => (int(), format!("LENGTH({base})")),
    };
    let stored = one(rng, &["VIRTUAL", "STORED"]);
    Column {
        name: name(rng, taken),
        kind,
        rest: format!(" GENERATED ALWAYS AS ({expression}) {stored}"),
        is_generated: true,
        is_not_null: false,
    }
}
