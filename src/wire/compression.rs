//! Compressed frames: `packed length 3 | number 1 | plain length 3 | payload` (the manual's "Compressed Packet").
//!
//! A frame holds any part of the stream of packets. A plain length of 0 says that the payload is not packed. Each payload is a
//! zlib stream or a zstd frame of its own.
//!
//! Invariants: I-P2 (payloads are unpacked as they come, never gathered; what zstd may ask for is limited), I-P3.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::capabilities::{COMPRESS, ZSTD};

/// Bytes of a frame's header.
pub const HEADER: usize = 7;
/// The servers send what is shorter unpacked, and so does the proxy.
const PACKED_MIN: usize = 50;
/// The level that the servers use for zlib.
const ZLIB_LEVEL: u32 = 6;
/// The level that clients use for zstd where nobody says another.
pub const ZSTD_LEVEL: u8 = 3;
/// The most that zstd may look back, as a power of two: what a frame can hold, 16 MiB.
const ZSTD_WINDOW_LOG: u32 = 24;
/// Sets of tools that are kept for the next frame.
const SPARE: usize = 4;
/// A set of tools that has grown beyond this many bytes is not kept.
const SPARE_SIZE: usize = 2 << 20;

/// How one side packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib, level 6.
    Zlib,
    /// zstd.
    Zstd {
        /// 1 to 22.
        level: u8,
    },
}

impl Algorithm {
    /// What two sides use that have agreed on these flags: zlib where both are set, as the servers do.
    pub fn agreed(capabilities: u64, level: u8) -> Option<Self> {
        match () {
            () if capabilities & COMPRESS != 0 => Some(Self::Zlib),
            () if capabilities & ZSTD != 0 => Some(Self::Zstd { level }),
            () => None,
        }
    }

    /// The flag that asks for it.
    pub fn flag(self) -> u64 {
        match self {
            Self::Zlib => COMPRESS,
            Self::Zstd { .. } => ZSTD,
        }
    }
}

/// The bytes are no frame, or do not unpack to what the frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// What packs and unpacks; made when it is first needed.
#[derive(Default)]
struct Tools {
    deflate: Option<Compress>,
    inflate: Option<Decompress>,
    zstd_pack: Option<CCtx<'static>>,
    zstd_unpack: Option<DCtx<'static>>,
}

/// Tools for all sessions: one holds a set only while a frame is under way, so that idle sessions cost nothing.
#[derive(Default)]
pub struct Toolbox(Mutex<Vec<Tools>>);

impl fmt::Debug for Toolbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Toolbox")
    }
}

impl Toolbox {
    fn take(&self) -> Tools {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, tools: Tools) {
        let zstd = tools.zstd_pack.as_ref().map_or(0, CCtx::sizeof) + tools.zstd_unpack.as_ref().map_or(0, DCtx::sizeof);
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE && zstd < SPARE_SIZE {
            spare.push(tools);
        }
    }
}

/// Appends one frame that holds these bytes, fewer than 16 MiB.
pub fn pack(algorithm: Algorithm, toolbox: &Toolbox, plain: &[u8], number: u8, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut packed = false;
    if plain.len() >= PACKED_MIN {
        let mut tools = toolbox.take();
        packed = tools.pack(algorithm, plain, out).is_some() && out.len() - at - HEADER < plain.len();
        toolbox.put(tools);
    }
    if !packed {
        out.truncate(at + HEADER);
        out.extend_from_slice(plain);
    }
    let length = (out.len() - at - HEADER).to_le_bytes();
    let plain_length = if packed { plain.len() } else { 0 }.to_le_bytes();
    if let Some(header) = out.get_mut(at..at + HEADER) {
        header.copy_from_slice(&[length[0], length[1], length[2], number, plain_length[0], plain_length[1], plain_length[2]]);
    }
}

impl Tools {
    /// Appends the packed bytes; `None` where they do not become fewer.
    fn pack(&mut self, algorithm: Algorithm, plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let from = out.len();
        out.reserve(plain.len());
        match algorithm {
            Algorithm::Zlib => {
                let deflate = self.deflate.get_or_insert_with(|| Compress::new(Compression::new(ZLIB_LEVEL), true));
                deflate.reset();
                let status = deflate.compress_vec(plain, out, FlushCompress::Finish).ok()?;
                (status == Status::StreamEnd).then_some(())
            }
            Algorithm::Zstd { level } => {
                if self.zstd_pack.is_none() {
                    self.zstd_pack = CCtx::try_create();
                }
                let pack = self.zstd_pack.as_mut()?;
                pack.set_parameter(CParameter::CompressionLevel(i32::from(level.clamp(1, 22)))).ok()?;
                out.resize(from + plain.len(), 0);
                let made = pack.compress2(out.get_mut(from..)?, plain).ok()?;
                out.truncate(from + made);
                Some(())
            }
        }
    }

    fn begin(&mut self, algorithm: Algorithm) -> Result<(), Malformed> {
        match algorithm {
            Algorithm::Zlib => match &mut self.inflate {
                Some(inflate) => inflate.reset(true),
                None => self.inflate = Some(Decompress::new(true)),
            },
            Algorithm::Zstd { .. } => {
                if self.zstd_unpack.is_none() {
                    self.zstd_unpack = DCtx::try_create();
                }
                let unpack = self.zstd_unpack.as_mut().ok_or(Malformed("there is no memory to unpack with"))?;
                unpack.reset(ResetDirective::SessionOnly).map_err(|_| NOT_PACKED)?;
                unpack.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|_| NOT_PACKED)?;
            }
        }
        Ok(())
    }

    /// Unpacks a piece: bytes taken, bytes made, and whether this was the end.
    fn unpack(&mut self, algorithm: Algorithm, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Malformed> {
        match algorithm {
            Algorithm::Zlib => {
                let inflate = self.inflate.as_mut().ok_or(NOT_PACKED)?;
                let (taken, made) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None).map_err(|_| NOT_PACKED)?;
                let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
                Ok((count(inflate.total_in(), taken), count(inflate.total_out(), made), status == Status::StreamEnd))
            }
            Algorithm::Zstd { .. } => {
                let unpack = self.zstd_unpack.as_mut().ok_or(NOT_PACKED)?;
                let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
                let left = unpack.decompress_stream(&mut to, &mut from).map_err(|_| NOT_PACKED)?;
                Ok((from.pos(), to.pos(), left == 0))
            }
        }
    }
}

const NOT_PACKED: Malformed = Malformed("a compressed packet cannot be unpacked");
const OTHER_LENGTH: Malformed = Malformed("a compressed packet holds more or less than its header says");

/// What a step of unpacking did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the stream that were taken.
    pub taken: usize,
    /// Bytes that were made of them.
    pub made: usize,
    /// A frame with this number has begun: what is made from now on is its.
    pub begun: Option<u8>,
}

/// The payload that is under way.
enum Payload {
    Stored,
    Packed { tools: Tools, plain_left: usize, is_over: bool, may_hold: bool },
}

/// Unpacks a stream of frames that is cut anywhere.
pub struct Unpacker {
    algorithm: Algorithm,
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    payload: Payload,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Unpacker").field("algorithm", &self.algorithm).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// Starts before a frame.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, header: [0; HEADER], have: 0, left: 0, payload: Payload::Stored }
    }

    /// `true` between two frames.
    pub fn is_between(&self) -> bool {
        self.have == 0
    }

    /// Takes bytes and fills the output, up to the next border between header and payload. A step that neither took nor made
    /// anything needs more input, or room.
    ///
    /// # Errors
    /// [`Malformed`]; the place in the stream is lost then.
    pub fn step(&mut self, toolbox: &Toolbox, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed> {
        if self.have < HEADER {
            let taken = input.len().min(HEADER - self.have);
            for (place, byte) in self.header[self.have..].iter_mut().zip(input) {
                *place = *byte;
            }
            self.have += taken;
            let begun = if self.have == HEADER { self.begin(toolbox)? } else { None };
            return Ok(Step { taken, made: 0, begun });
        }
        let input = input.get(..self.left).unwrap_or(input);
        let mut step = Step::default();
        match &mut self.payload {
            Payload::Stored => {
                step.taken = input.len().min(output.len());
                if let (Some(to), Some(from)) = (output.get_mut(..step.taken), input.get(..step.taken)) {
                    to.copy_from_slice(from);
                }
                step.made = step.taken;
            }
            Payload::Packed { tools, plain_left, is_over, may_hold } => {
                let is_in_vain = input.is_empty() && self.left > 0 && !*may_hold;
                if is_in_vain || output.is_empty() && *plain_left > 0 {
                    return Ok(step);
                }
                // Behind the last byte that was promised there may be a checksum, and nothing else.
                let mut beyond = [0];
                let room = output.len().min(*plain_left);
                let room = if *plain_left == 0 { &mut beyond[..] } else { output.get_mut(..room).unwrap_or_default() };
                (step.taken, step.made, *is_over) = tools.unpack(self.algorithm, input, room)?;
                *may_hold = step.made == room.len();
                if *plain_left == 0 && step.made > 0 {
                    return Err(OTHER_LENGTH);
                }
                *plain_left -= step.made;
                let is_stuck = step.taken == 0 && step.made == 0 && self.left == 0;
                if !*is_over && is_stuck || *is_over && (*plain_left > 0 || step.taken < self.left) {
                    return Err(OTHER_LENGTH);
                }
            }
        }
        self.left -= step.taken;
        self.end_payload(toolbox);
        Ok(step)
    }

    fn begin(&mut self, toolbox: &Toolbox) -> Result<Option<u8>, Malformed> {
        let [a, b, c, number, d, e, f] = self.header;
        let length = |a: u8, b: u8, c: u8| usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let plain_left = length(d, e, f);
        self.left = length(a, b, c);
        if plain_left > 0 {
            let mut tools = toolbox.take();
            tools.begin(self.algorithm)?;
            self.payload = Payload::Packed { tools, plain_left, is_over: false, may_hold: false };
            if self.left == 0 {
                return Err(OTHER_LENGTH);
            }
        }
        self.end_payload(toolbox);
        Ok(Some(number))
    }

    fn end_payload(&mut self, toolbox: &Toolbox) {
        let is_over = match &self.payload {
            Payload::Stored => self.left == 0,
            Payload::Packed { is_over, .. } => *is_over,
        };
        if is_over {
            self.have = 0;
            if let Payload::Packed { tools, .. } = std::mem::replace(&mut self.payload, Payload::Stored) {
                toolbox.put(tools);
            }
        }
    }
}

#[cfg(test)]
mod tests;
