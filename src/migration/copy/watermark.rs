//! Up to which key everything is copied, though chunks finish out of order. No I/O.

use std::collections::BTreeMap;

/// Chunks that are out, and the last key before which none is.
#[derive(Debug)]
pub struct Watermark {
    next: u64,
    /// By number: the chunk's last key, and whether it is done.
    chunks: BTreeMap<u64, (Vec<String>, bool)>,
    through: Vec<String>,
    rows: u64,
}

impl Watermark {
    /// Goes on from a stored watermark.
    pub fn new(through: Vec<String>, rows: u64) -> Self {
        Self { next: 0, chunks: BTreeMap::new(), through, rows }
    }

    /// A chunk that ends with this key goes out; an open end is empty. Chunks go out in key order.
    pub fn begin(&mut self, through: Vec<String>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.chunks.insert(number, (through, false));
        number
    }

    /// A chunk is in the shadow. Gives the new state.
    pub fn finish(&mut self, number: u64, rows: u64) -> (Vec<String>, u64) {
        self.rows += rows;
        if let Some(chunk) = self.chunks.get_mut(&number) {
            chunk.1 = true;
        }
        while let Some(first) = self.chunks.first_entry() {
            if !first.get().1 {
                break;
            }
            let (through, _) = first.remove();
            if !through.is_empty() {
                self.through = through;
            }
        }
        self.state()
    }

    /// The key and the number of rows.
    pub fn state(&self) -> (Vec<String>, u64) {
        (self.through.clone(), self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn the_watermark_never_passes_a_chunk_that_is_out() {
        let mut mark = Watermark::new(Vec::new(), 0);
        let (a, b, c) = (mark.begin(key("10")), mark.begin(key("20")), mark.begin(Vec::new()));
        assert_eq!(mark.finish(b, 5).0, Vec::<String>::new());
        assert_eq!(mark.finish(a, 5), (key("20"), 10));
        assert_eq!(mark.finish(c, 5), (key("20"), 15), "an open end has no key");
    }
}
