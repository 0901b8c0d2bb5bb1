//! Records of byte strings as one text, for a column of the store: whatever a name or a statement holds survives it. Pure.
//!
//! One line a record, the fields in hexadecimal digits with colons between them.

/// The records as a text.
pub fn write<'a, R>(records: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = &'a [u8]>,
{
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |record: R| record.into_iter().map(hex).collect::<Vec<_>>().join(":");
    records.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The records of a text; `None` where it is not one of [`write`].
pub fn read(text: &str) -> Option<Vec<Vec<Vec<u8>>>> {
    let bytes =
        |hex: &str| -> Option<Vec<u8>> { (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect() };
    text.lines().map(|line| line.split(':').map(bytes).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_and_half_a_text_is_none() {
        let records: [[&[u8]; 3]; 2] = [[b"a:\n", b"", &[0, 255]], [b"", b"`", "\u{e9}".as_bytes()]];
        let text = write(records);
        let back: Vec<Vec<Vec<u8>>> = records.iter().map(|record| record.iter().map(|field| field.to_vec()).collect()).collect();
        assert_eq!(read(&text), Some(back));
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(read(&text[1..]), None);
        assert_eq!(read("6\u{e9}"), None);
    }
}
