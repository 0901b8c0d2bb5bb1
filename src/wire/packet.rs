//! Packets: `length (3 bytes, little endian) | sequence (1) | payload`; a payload of 0xffffff bytes or more goes on in the
//! next packet (the manual's "MySQL Packets").
//!
//! Invariants: I-P2 (a walker keeps 32 bytes whatever a row's size), I-P3.

/// Bytes of a packet's header.
pub const HEADER: usize = 4;
/// The longest payload of one packet; a packet this long is continued by the next one, even if that is empty.
pub const CHUNK_MAX: usize = 0xff_ffff;
/// How many bytes of a packet's beginning a [`Walker`] keeps.
pub const PREFIX: usize = 32;

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub length: usize,
    /// The sequence number.
    pub sequence: u8,
}

impl Header {
    /// Reads a header; `None` while there are fewer than four bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [a, b, c, sequence, ..] => {
                Some(Self { length: usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16, sequence: *sequence })
            }
            _ => None,
        }
    }

    /// The header's bytes.
    pub fn bytes(self) -> [u8; HEADER] {
        let length = self.length.min(CHUNK_MAX).to_le_bytes();
        [length[0], length[1], length[2], self.sequence]
    }
}

/// Appends a payload as one packet, or as several where it is that long; returns the next sequence number.
pub fn push(out: &mut Vec<u8>, mut sequence: u8, payload: &[u8]) -> u8 {
    let mut rest = payload;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK_MAX));
        out.extend_from_slice(&Header { length: chunk.len(), sequence }.bytes());
        out.extend_from_slice(chunk);
        sequence = sequence.wrapping_add(1);
        if chunk.len() < CHUNK_MAX {
            return sequence;
        }
        rest = after;
    }
}

/// Appends a length-encoded integer.
pub fn push_length(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=250 => out.push(bytes[0]),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Reads fields from a payload; every call is `None` where the payload ends too early.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the payload's first byte.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Everything not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A little-endian integer of `count` bytes, at most eight.
    pub fn integer(&mut self, count: usize) -> Option<u64> {
        let bytes = self.bytes(count)?;
        Some(bytes.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// A length-encoded integer; NULL (0xfb) and 0xff are none.
    pub fn length(&mut self) -> Option<u64> {
        match self.byte()? {
            value @ 0..=0xfa => Some(u64::from(value)),
            0xfc => self.integer(2),
            0xfd => self.integer(3),
            0xfe => self.integer(8),
            0xfb | 0xff => None,
        }
    }

    /// A length-encoded string.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.length()?).ok()?;
        self.bytes(length)
    }

    /// A string that ends with a zero byte, without it.
    pub fn zero_ended(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.rest)?;
        let taken = self.bytes(end)?;
        self.byte()?;
        Some(taken)
    }
}

/// One payload that has gone by, with the beginning of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    /// Its first bytes, at most [`PREFIX`].
    pub prefix: &'a [u8],
    /// Length of its first packet; [`CHUNK_MAX`] where it went on.
    pub first_length: usize,
    /// Sequence number of its last packet.
    pub sequence: u8,
}

/// Walks over packets in a stream that is cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct Walker {
    header: [u8; HEADER],
    header_have: usize,
    remaining: usize,
    chunk: usize,
    first_length: usize,
    prefix: [u8; PREFIX],
    prefix_have: usize,
    is_continued: bool,
}

impl Walker {
    /// Takes bytes up to the end of one whole payload. Returns how many were taken, and the payload if it ended.
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> (usize, Option<Passed<'a>>) {
        if self.header_have == 0
            && !self.is_continued
            && let Some(header) = Header::read(bytes)
            && header.length < CHUNK_MAX
            && let Some(payload) = bytes.get(HEADER..HEADER + header.length)
        {
            let prefix = payload.get(..PREFIX).unwrap_or(payload);
            return (HEADER + header.length, Some(Passed { prefix, first_length: header.length, sequence: header.sequence }));
        }
        self.next_in_pieces(bytes)
    }

    fn next_in_pieces(&mut self, bytes: &[u8]) -> (usize, Option<Passed<'_>>) {
        let mut used = 0;
        loop {
            while self.header_have < HEADER {
                let Some(byte) = bytes.get(used) else { return (used, None) };
                self.header[self.header_have] = *byte;
                self.header_have += 1;
                used += 1;
                if self.header_have == HEADER {
                    self.begin_chunk();
                }
            }
            let rest = bytes.get(used..).unwrap_or_default();
            let taken = &rest[..rest.len().min(self.remaining)];
            if !self.is_continued {
                let room = &mut self.prefix[self.prefix_have..];
                let kept = taken.len().min(room.len());
                room[..kept].copy_from_slice(&taken[..kept]);
                self.prefix_have += kept;
            }
            used += taken.len();
            self.remaining -= taken.len();
            if self.remaining > 0 {
                return (used, None);
            }
            self.header_have = 0;
            self.is_continued = self.chunk == CHUNK_MAX;
            if !self.is_continued {
                let passed = Passed { prefix: &self.prefix[..self.prefix_have], first_length: self.first_length, sequence: self.header[3] };
                return (used, Some(passed));
            }
        }
    }

    fn begin_chunk(&mut self) {
        let length = Header::read(&self.header).map_or(0, |header| header.length);
        self.chunk = length;
        self.remaining = length;
        if !self.is_continued {
            self.prefix_have = 0;
            self.first_length = length;
        }
    }

    /// `true` between two payloads.
    pub fn is_between(&self) -> bool {
        self.header_have == 0 && !self.is_continued
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(bytes: &[u8], cuts: &[usize]) -> Vec<(Vec<u8>, usize, u8)> {
        let mut walker = Walker::default();
        let mut seen = Vec::new();
        let mut at = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let mut piece = &bytes[at.min(end)..end];
            while !piece.is_empty() {
                let (used, passed) = walker.next(piece);
                if let Some(passed) = passed {
                    seen.push((passed.prefix.to_vec(), passed.first_length, passed.sequence));
                }
                piece = &piece[used..];
            }
            at = end.max(at);
        }
        assert!(walker.is_between());
        seen
    }

    #[test]
    fn a_payload_of_exactly_the_longest_chunk_ends_with_an_empty_packet() {
        let mut bytes = Vec::new();
        let next = push(&mut bytes, 3, &vec![0xfe; CHUNK_MAX]);
        assert_eq!(next, 5);
        push(&mut bytes, 0, b"x");
        let seen = walk(&bytes, &[2, 100, CHUNK_MAX + 5]);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].1, seen[0].2), (CHUNK_MAX, 4));
        assert_eq!(seen[1], (b"x".to_vec(), 1, 0));
    }

    #[test]
    fn lengths_read_back_what_was_written() {
        for value in [0, 250, 251, 252, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut bytes = Vec::new();
            push_length(&mut bytes, value);
            let mut fields = Fields::new(&bytes);
            assert_eq!(fields.length(), Some(value));
            assert!(fields.rest().is_empty());
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_at_every_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8),
            mut cuts in prop::collection::vec(0usize..400, 0..20),
        ) {
            let mut bytes = Vec::new();
            let mut wanted = Vec::new();
            for (sequence, payload) in payloads.iter().enumerate() {
                let sequence = u8::try_from(sequence).unwrap_or(0);
                push(&mut bytes, sequence, payload);
                wanted.push((payload[..payload.len().min(PREFIX)].to_vec(), payload.len(), sequence));
            }
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(bytes.len()));
            cuts.sort_unstable();
            prop_assert_eq!(&walk(&bytes, &cuts), &wanted);
            let every: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(&walk(&bytes, &every), &wanted);
        }
    }
}
