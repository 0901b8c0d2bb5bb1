//! Packets come out the same, however the stream is cut; nothing of a packet but its beginning is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::wire::packet::{PREFIX, Walker};
use tidegate_fuzz::{number, pieces};

type Seen = Vec<(Vec<u8>, usize, u8)>;

fn walk(pieces: &[&[u8]]) -> (Seen, bool) {
    let mut walker = Walker::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (used, passed) = walker.next(rest);
            assert!(used > 0 && used <= rest.len());
            if let Some(passed) = passed {
                assert!(passed.prefix.len() <= PREFIX);
                seen.push((passed.prefix.to_vec(), passed.first_length, passed.sequence));
            }
            rest = &rest[used..];
        }
    }
    (seen, walker.is_between())
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let seed = number(&mut data);
    assert_eq!(walk(&[data]), walk(&pieces(data, seed)));
});
