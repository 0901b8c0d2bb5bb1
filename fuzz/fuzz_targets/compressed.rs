//! Compressed frames: the same bytes or the same refusal however the stream is cut, never more than was promised, and what is
//! packed comes back.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::wire::compression::{Algorithm, Toolbox, Unpacker, pack};
use tidegate_fuzz::{number, pieces};

static TOOLBOX: LazyLock<Toolbox> = LazyLock::new(Toolbox::default);
/// Enough for one input; frames may promise more.
const ROOM_MAX: usize = 1 << 20;

/// What came out, up to a bound, the numbers of the frames, and whether it ended with a refusal.
fn unpack(algorithm: Algorithm, pieces: &[&[u8]], room: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let mut unpacker = Unpacker::new(algorithm);
    let (mut plain, mut numbers) = (Vec::new(), Vec::new());
    let mut out = vec![0; room];
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let Ok(step) = unpacker.step(&TOOLBOX, rest, &mut out) else { return (plain, numbers, true) };
            assert!(step.taken <= rest.len() && step.made <= room);
            numbers.extend(step.begun);
            plain.extend_from_slice(&out[..step.made]);
            rest = &rest[step.taken..];
            if step.taken == 0 && step.made == 0 || plain.len() > ROOM_MAX {
                break;
            }
        }
        if plain.len() > ROOM_MAX {
            break;
        }
        assert!(rest.is_empty(), "it stands still before the end of its input");
    }
    (plain, numbers, false)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let seed = number(&mut data);
    let room = 1 + usize::try_from(seed & 0xfff).unwrap_or(0);
    for algorithm in [Algorithm::Zlib, Algorithm::Zstd { level: 1 }] {
        let (whole, numbers, is_refused) = unpack(algorithm, &[data], 65_536);
        let (parts, other_numbers, is_also) = unpack(algorithm, &pieces(data, seed), room);
        if whole.len() <= ROOM_MAX && parts.len() <= ROOM_MAX {
            assert_eq!((numbers, is_refused), (other_numbers, is_also));
            // Before a refusal a larger room may have let less out.
            let shorter = whole.len().min(parts.len());
            assert_eq!(whole[..shorter], parts[..shorter]);
            assert!(is_refused || whole.len() == parts.len());
        }
        let mut packed = Vec::new();
        pack(algorithm, &TOOLBOX, data, 9, &mut packed);
        assert!(packed.len() <= 7 + data.len());
        assert_eq!(unpack(algorithm, &pieces(&packed, seed), room), (data.to_vec(), vec![9], false));
    }
});
