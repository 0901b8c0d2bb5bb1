//! Key spaces: keys of one type by number, and other spellings of each that the server takes for the same key.

/// One key in the forms that statements need.
#[derive(Debug)]
pub struct KeyText {
    /// `a = 1 AND b = 2`.
    pub condition: String,
    /// `a = 1, b = 2`.
    pub set: String,
    /// `1, 2`.
    pub values: String,
    /// As [`Space::shown`] gives it.
    pub shown: String,
}

/// A type of key.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub name: &'static str,
    /// The definitions of its columns.
    pub columns: &'static str,
    /// Their names.
    pub primary: &'static str,
    /// An expression that tells even equal keys apart.
    pub shown: &'static str,
    /// Spellings of each key.
    pub variants: u32,
    /// The key of a slot and a spelling.
    pub key: fn(u32, u32) -> KeyText,
}

fn single(literal: &str, shown: String) -> KeyText {
    KeyText { condition: format!("k = {literal}"), set: format!("k = {literal}"), values: literal.to_owned(), shown }
}

/// Scatters slots over the key space, each to a place of its own.
fn scattered(slot: u32) -> u32 {
    slot.wrapping_mul(2_654_435_761)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Under utf8mb4_general_ci all four are the same.
fn spelt(word: &str, variant: u32) -> String {
    match variant {
        0 => word.to_owned(),
        1 => word.to_uppercase(),
        2 => word.replace('e', "é"),
        _ => format!("{word} "),
    }
}

fn int(slot: u32, _: u32) -> KeyText {
    single(&(slot * 10).to_string(), (slot * 10).to_string())
}

fn words(slot: u32, variant: u32) -> KeyText {
    let word = spelt(&format!("key{:08x}", scattered(slot)), variant);
    single(&format!("_utf8mb4 X'{}'", hex(word.as_bytes())), hex(word.as_bytes()))
}

fn composite(slot: u32, variant: u32) -> KeyText {
    let (a, b) = (slot / 7 % 100, spelt(&format!("be{slot}"), variant));
    let literal = format!("_utf8mb4 X'{}'", hex(b.as_bytes()));
    KeyText {
        condition: format!("a = {a} AND b = {literal}"),
        set: format!("a = {a}, b = {literal}"),
        values: format!("{a}, {literal}"),
        shown: format!("{a}/{}", hex(b.as_bytes())),
    }
}

/// Some end with zero bytes, which the log leaves out.
fn raw(slot: u32, _: u32) -> KeyText {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&scattered(slot).to_be_bytes());
    if slot.is_multiple_of(3) {
        bytes[12..].copy_from_slice(&slot.to_le_bytes());
    }
    single(&format!("X'{}'", hex(&bytes)), hex(&bytes))
}

fn moment(slot: u32, _: u32) -> KeyText {
    let (day, hour, minute, second) = (1 + slot / 1440 % 28, slot / 60 % 24, slot % 60, slot * 7 % 60);
    let text = format!("2024-02-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", slot % 1000);
    single(&format!("'{text}'"), text)
}

fn decimal(slot: u32, _: u32) -> KeyText {
    let thousandths = (i64::from(slot) - 3000) * 1375;
    let sign = if thousandths < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:03}000", thousandths.abs() / 1000, thousandths.abs() % 1000);
    single(&text, text.clone())
}

fn big(slot: u32, _: u32) -> KeyText {
    let text = ((1_u64 << 63) - 2000 + u64::from(slot)).to_string();
    single(&text, text.clone())
}

/// Plain integers.
pub const INT: Space = Space { name: "int", columns: "k INT NOT NULL", primary: "k", shown: "CAST(k AS CHAR)", variants: 1, key: int };

/// The others.
pub const OTHERS: [Space; 6] = [
    Space {
        name: "varchar",
        columns: "k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL",
        primary: "k",
        shown: "HEX(k)",
        variants: 4,
        key: words,
    },
    Space {
        name: "composite",
        columns: "b VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL, a INT NOT NULL",
        primary: "a, b",
        shown: "CONCAT(a, '/', HEX(b))",
        variants: 4,
        key: composite,
    },
    Space { name: "binary", columns: "k BINARY(16) NOT NULL", primary: "k", shown: "HEX(k)", variants: 1, key: raw },
    Space { name: "datetime", columns: "k DATETIME(3) NOT NULL", primary: "k", shown: "CAST(k AS CHAR)", variants: 1, key: moment },
    Space { name: "decimal", columns: "k DECIMAL(20,6) NOT NULL", primary: "k", shown: "CAST(k AS CHAR)", variants: 1, key: decimal },
    Space { name: "bigint", columns: "k BIGINT UNSIGNED NOT NULL", primary: "k", shown: "CAST(k AS CHAR)", variants: 1, key: big },
];
