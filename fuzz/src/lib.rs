//! The readers under test, taken in as they are: they need no socket, no clock and no runtime, so the rest of the program
//! need not be built with the fuzzer's counters.
#![allow(missing_docs, dead_code, unused_imports)]

#[path = "../../src/ids.rs"]
pub mod ids;
#[path = "../../src/schema/mod.rs"]
pub mod schema;
#[path = "../../src/sql/mod.rs"]
pub mod sql;

/// Without the module that the program sees it through, which names its tests.
#[path = "."]
pub mod wire {
    #[path = "../../src/wire/answer.rs"]
    pub mod answer;
    #[path = "../../src/wire/capabilities.rs"]
    pub mod capabilities;
    #[path = "../../src/wire/command.rs"]
    pub mod command;
    #[path = "../../src/wire/compression.rs"]
    pub mod compression;
    #[path = "../../src/wire/dialogue.rs"]
    pub mod dialogue;
    #[path = "../../src/wire/greeting.rs"]
    pub mod greeting;
    #[path = "../../src/wire/login.rs"]
    pub mod login;
    #[path = "../../src/wire/packet.rs"]
    pub mod packet;
    #[path = "../../src/wire/proxy_header.rs"]
    pub mod proxy_header;
    #[path = "../../src/wire/reply.rs"]
    pub mod reply;
    #[path = "../../src/wire/scramble.rs"]
    pub mod scramble;
    #[path = "../../src/wire/seal.rs"]
    pub mod seal;
}

/// Takes a number from the end of the input, so that what is left stays in its place when the fuzzer changes it.
pub fn number(data: &mut &[u8]) -> u64 {
    let at = data.len().saturating_sub(8);
    let (rest, tail) = data.split_at(at);
    *data = rest;
    tail.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Cuts bytes into pieces whose sizes follow from a seed; none is empty.
pub fn pieces(mut bytes: &[u8], mut seed: u64) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        // Mostly small ones: borders are where the bugs are.
        let size = match seed >> 61 {
            0..=3 => 1,
            4..=6 => 1 + usize::try_from(seed >> 40 & 7).unwrap_or(0),
            _ => 1 + usize::try_from(seed >> 40 & 0xfff).unwrap_or(0),
        };
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        all.push(piece);
        bytes = rest;
    }
    all
}
