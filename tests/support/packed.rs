//! The frames of a compressed connection, as a client that takes every number seriously reads and writes them.
//!
//! Written without the proxy's own code: it is the oracle for it.

use std::io::{Read, Write};

use anyhow::{Result, ensure};

/// zlib.
pub const COMPRESS: u64 = 1 << 5;
/// zstd, with a level behind the login.
pub const ZSTD: u64 = 1 << 26;

const HEADER: usize = 7;

/// One compressed connection's state.
#[derive(Debug)]
pub struct Packed {
    is_zstd: bool,
    next_frame: u8,
    /// The number that the next packet must have, unless it begins a frame and has that one's.
    expected: u8,
    /// The number that is shown in its place: servers that pack restart theirs, so that two connections differ in them.
    shown: u8,
    /// Several commands are under way: their answers begin at 1.
    is_pipelined: bool,
    /// The number of the last packet that was written.
    written: u8,
    raw: Vec<u8>,
    header: Vec<u8>,
    left: usize,
}

impl Packed {
    /// For a connection that agreed on these flags; `None` where it does not pack.
    pub fn agreed(capabilities: u64) -> Option<Self> {
        let is_zstd = capabilities & COMPRESS == 0;
        (capabilities & (COMPRESS | ZSTD) != 0).then(|| Self {
            is_zstd,
            next_frame: 0,
            expected: 0,
            shown: 0,
            is_pipelined: false,
            written: 0,
            raw: Vec::new(),
            header: Vec::new(),
            left: 0,
        })
    }

    /// The next frame and packet have these numbers.
    pub fn expect(&mut self, frame: u8, packet: u8) {
        (self.next_frame, self.expected, self.shown) = (frame, packet, packet);
    }

    /// The next packet has the number 0.
    pub fn expect_unasked(&mut self) {
        self.expect(self.next_frame, 0);
    }

    /// Packs bytes that begin with a packet; long packets are spread over several frames.
    pub fn pack(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut commands = 0;
        while !bytes.is_empty() {
            let end = match bytes {
                [a, b, c, ..] => 4 + (usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16),
                _ => bytes.len(),
            };
            let (packet, rest) = bytes.split_at(end.min(bytes.len()));
            let sequence = packet.get(3).copied().unwrap_or_default();
            // Behind 255 it goes on, as in a long file.
            if sequence == 0 && self.written != 255 {
                self.next_frame = 0;
                commands += 1;
            }
            for part in packet.chunks(if packet.len() > 6000 { packet.len() / 3 } else { packet.len() }) {
                self.frame(part, &mut out)?;
            }
            self.written = sequence;
            self.shown = sequence.wrapping_add(1);
            self.expected = self.next_frame;
            bytes = rest;
        }
        self.is_pipelined = commands > 1;
        Ok(out)
    }

    fn frame(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        // Half of the short ones is packed as well, which servers take.
        let packed = if plain.len() > 20 + usize::from(self.next_frame) { Some(self.press(plain)?) } else { None };
        let payload = packed.as_deref().unwrap_or(plain);
        let plain_length = if packed.is_some() { plain.len() } else { 0 };
        out.extend_from_slice(&payload.len().to_le_bytes()[..3]);
        out.push(self.next_frame);
        out.extend_from_slice(&plain_length.to_le_bytes()[..3]);
        out.extend_from_slice(payload);
        self.next_frame = self.next_frame.wrapping_add(1);
        Ok(())
    }

    fn press(&self, plain: &[u8]) -> Result<Vec<u8>> {
        if self.is_zstd {
            return Ok(zstd::bulk::compress(plain, 5)?);
        }
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
        encoder.write_all(plain)?;
        Ok(encoder.finish()?)
    }

    /// Takes bytes from the connection and appends the packets' bytes, with the numbers of a plain connection.
    pub fn unpack(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.raw.extend_from_slice(bytes);
        let mut at = 0;
        while let Some([a, b, c, number, d, e, f, rest @ ..]) = self.raw.get(at..) {
            let length = |a: u8, b: u8, c: u8| usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            let (packed, plain) = (length(*a, *b, *c), length(*d, *e, *f));
            let Some(payload) = rest.get(..packed) else { break };
            let (number, mut content) = (*number, payload.to_vec());
            if plain > 0 {
                content.clear();
                if self.is_zstd {
                    content = zstd::bulk::decompress(payload, plain)?;
                } else {
                    flate2::read::ZlibDecoder::new(payload).read_to_end(&mut content)?;
                }
                ensure!(content.len() == plain, "a frame holds {} bytes and says {plain}", content.len());
            }
            at += HEADER + packed;
            let is_between = self.header.is_empty() && self.left == 0;
            if self.is_pipelined && number == 1 && number != self.next_frame && is_between {
                (self.next_frame, self.expected, self.shown) = (1, 1, 1);
            }
            ensure!(number == self.next_frame, "frame {number} came in place of {}", self.next_frame);
            self.next_frame = number.wrapping_add(1);
            self.packets(&content, number, out)?;
        }
        self.raw.drain(..at);
        Ok(())
    }

    fn packets(&mut self, content: &[u8], frame: u8, out: &mut Vec<u8>) -> Result<()> {
        let mut rest = content;
        while !rest.is_empty() {
            if self.left > 0 {
                let (part, after) = rest.split_at(self.left.min(rest.len()));
                out.extend_from_slice(part);
                self.left -= part.len();
                rest = after;
                continue;
            }
            self.header.push(rest[0]);
            rest = &rest[1..];
            if let [a, b, c, number] = self.header[..] {
                let begins_frame = rest.len() + 4 == content.len();
                ensure!(
                    number == self.expected || begins_frame && number == frame,
                    "packet {number} came in place of {}, in frame {frame}",
                    self.expected
                );
                self.expected = number.wrapping_add(1);
                out.extend_from_slice(&[a, b, c, self.shown]);
                self.shown = self.shown.wrapping_add(1);
                self.left = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
                self.header.clear();
            }
        }
        Ok(())
    }
}
