//! Frames come out the same, however the stream is cut; what lies about itself is told and never gathered.

use proptest::prelude::*;

use super::*;

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd { level: 3 }];

/// Unpacks pieces into rooms of a size: the bytes, and the number of each frame.
fn unpacked(algorithm: Algorithm, pieces: &[&[u8]], room: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
    let toolbox = Toolbox::default();
    let mut unpacker = Unpacker::new(algorithm);
    let (mut plain, mut numbers) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let mut out = vec![0; room];
            let step = unpacker.step(&toolbox, rest, &mut out)?;
            numbers.extend(step.begun);
            plain.extend_from_slice(&out[..step.made]);
            rest = &rest[step.taken..];
            if step.taken == 0 && step.made == 0 {
                break;
            }
        }
        assert!(rest.is_empty(), "it stopped before the end of the input");
    }
    Ok((plain, numbers, unpacker.is_between()))
}

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 7_u64;
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (seed >> 56) as u8
        })
        .collect()
}

fn stream(algorithm: Algorithm) -> (Vec<u8>, Vec<u8>) {
    let toolbox = Toolbox::default();
    let parts = [vec![b'x'; 5], vec![b'y'; 300], noise(200), vec![b'z'; 70_000], Vec::new(), noise(49), b"0123456789".repeat(10)];
    let mut packed = Vec::new();
    for (number, part) in (250_u8..=255).chain([0]).zip(&parts) {
        pack(algorithm, &toolbox, part, number, &mut packed);
    }
    (parts.concat(), packed)
}

#[test]
fn frames_come_out_the_same_at_every_split_point() {
    for algorithm in BOTH {
        let (plain, packed) = stream(algorithm);
        assert!(packed.len() < 1500, "{} bytes", packed.len());
        let wanted = (plain, vec![250, 251, 252, 253, 254, 255, 0], true);
        for room in [1, 7, 1000, 100_000] {
            assert_eq!(unpacked(algorithm, &[&packed], room).as_ref(), Ok(&wanted), "{algorithm:?}, room for {room}");
        }
        for at in 0..packed.len() {
            assert_eq!(unpacked(algorithm, &[&packed[..at], &packed[at..]], 4096).as_ref(), Ok(&wanted), "{algorithm:?}, cut at {at}");
        }
        let bytes: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(unpacked(algorithm, &bytes, 512).as_ref(), Ok(&wanted), "{algorithm:?}, byte by byte");
    }
}

#[test]
fn short_bytes_and_noise_are_not_packed() {
    let toolbox = Toolbox::default();
    for (part, is_packed) in [(vec![b'x'; 49], false), (vec![b'x'; 50], true), (noise(5000), false)] {
        for algorithm in BOTH {
            let mut out = Vec::new();
            pack(algorithm, &toolbox, &part, 3, &mut out);
            assert_eq!(out[4..7] != [0, 0, 0], is_packed, "{algorithm:?}, {} bytes", part.len());
            assert_eq!(out[3], 3);
        }
    }
}

#[test]
fn each_level_of_zstd_is_taken() {
    let toolbox = Toolbox::default();
    for level in [0, 1, 22, 255] {
        let mut out = Vec::new();
        pack(Algorithm::Zstd { level }, &toolbox, &[b'q'; 60_000], 0, &mut out);
        assert_eq!(unpacked(Algorithm::Zstd { level: 3 }, &[&out], 999).unwrap().0, [b'q'; 60_000]);
    }
}

#[test]
fn frames_that_lie_are_told() {
    for algorithm in BOTH {
        let mut good = Vec::new();
        pack(algorithm, &Toolbox::default(), &[b'x'; 1000], 0, &mut good);
        assert!(unpacked(algorithm, &[&good], 64).is_ok());
        let with_plain_length = |length: usize| {
            let mut frame = good.clone();
            frame[4..7].copy_from_slice(&length.to_le_bytes()[..3]);
            frame
        };
        for length in [1, 999, 1001, 0xff_ffff] {
            assert_eq!(unpacked(algorithm, &[&with_plain_length(length)], 64), Err(OTHER_LENGTH), "{algorithm:?}: {length}");
        }
        // Bytes behind the end, an end that is missing, and what is nothing at all.
        let mut longer = good.clone();
        longer.push(0);
        longer[0] += 1;
        assert_eq!(unpacked(algorithm, &[&longer], 64), Err(OTHER_LENGTH));
        let mut shorter = good.clone();
        shorter.pop();
        shorter[0] -= 1;
        assert!(unpacked(algorithm, &[&shorter], 64).is_err());
        assert!(unpacked(algorithm, &[&[4, 0, 0, 0, 100, 0, 0, 9, 9, 9, 9]], 64).is_err());
        assert_eq!(unpacked(algorithm, &[&[0, 0, 0, 0, 100, 0, 0]], 64), Err(OTHER_LENGTH));
        assert_eq!(unpacked(algorithm, &[&[0, 0, 0, 7, 0, 0, 0]], 64), Ok((Vec::new(), vec![7], true)));
    }
}

#[test]
fn a_window_beyond_a_frame_is_refused() {
    // A zstd frame that says: look back 128 MiB.
    let payload = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    let frame = [&[payload.len() as u8, 0, 0, 0, 100, 0, 0][..], &payload].concat();
    assert_eq!(unpacked(Algorithm::Zstd { level: 3 }, &[&frame], 64), Err(NOT_PACKED));
}

#[test]
fn tools_that_have_grown_are_not_kept() {
    let toolbox = Toolbox::default();
    let mut out = Vec::new();
    pack(Algorithm::Zstd { level: 22 }, &toolbox, &[b'x'; 8 << 20], 0, &mut out);
    assert!(toolbox.0.lock().unwrap().is_empty());
    for _ in 0..10 {
        pack(Algorithm::Zlib, &toolbox, &[b'x'; 1000], 0, &mut out);
    }
    assert_eq!(toolbox.0.lock().unwrap().len(), 1);
}

#[test]
fn zlib_is_agreed_on_before_zstd() {
    assert_eq!(Algorithm::agreed(COMPRESS | ZSTD, 3), Some(Algorithm::Zlib));
    assert_eq!(Algorithm::agreed(ZSTD, 9), Some(Algorithm::Zstd { level: 9 }));
    assert_eq!(Algorithm::agreed(!(COMPRESS | ZSTD), 3), None);
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), room in 1usize..200) {
        for algorithm in BOTH {
            let _ = unpacked(algorithm, &[&bytes], room);
        }
    }

    #[test]
    fn whatever_is_packed_is_unpacked(part in prop::collection::vec(0u8..4, 0..3000), room in 1usize..200) {
        for algorithm in BOTH {
            let mut out = Vec::new();
            pack(algorithm, &Toolbox::default(), &part, 0, &mut out);
            prop_assert_eq!(unpacked(algorithm, &[&out], room).unwrap().0, part.clone());
        }
    }
}
