//! A place in the server's binary log.

use std::fmt;

/// A file and an offset in it; ordered as the server writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file's name.
    pub file: String,
    /// Bytes from its start.
    pub offset: u64,
    sequence: u64,
}

impl Position {
    /// `None` where the file's name does not end in a number, as every binary log's does.
    pub fn new(file: &str, offset: u64) -> Option<Self> {
        let sequence = file.rsplit('.').next()?.parse().ok()?;
        Some(Self { file: file.to_owned(), offset, sequence })
    }

    /// The number of the file.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The same file at another offset.
    pub fn at(&self, offset: u64) -> Self {
        Self { offset, ..self.clone() }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.sequence, self.offset).cmp(&(other.sequence, other.offset))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_is_later_whatever_the_offset() {
        let at = |file: &str, offset| Position::new(file, offset).unwrap();
        assert!(at("binlog.000009", 900) < at("binlog.000010", 4));
        assert!(at("binlog.999999", 4) < at("binlog.1000000", 4));
        assert!(at("binlog.000010", 4) < at("binlog.000010", 5));
        assert_eq!(Position::new("nothing", 4), None);
    }
}
