//! A reply ends at the same byte with the same flags, however it is cut; nonsense is an error and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::wire::reply::{Cursor, Progress, Shape, Tracker};
use tidegate_fuzz::{number, pieces};

fn shape(code: u64) -> Shape {
    match code % 10 {
        0 => Shape::Prepare,
        1 => Shape::Fetch,
        2 => Shape::FieldList,
        3 => Shape::Text,
        4 => Shape::Login,
        5 => Shape::Result { cursor: Cursor::Asked },
        6 => Shape::Result { cursor: Cursor::Kept },
        _ => Shape::Result { cursor: Cursor::None },
    }
}

/// What each reply ended with and where; a packet that fits none ends it.
fn follow(pieces: &[&[u8]], capabilities: u64, mut shapes: u64) -> Vec<(usize, String)> {
    let mut tracker = Tracker::new(capabilities);
    let (mut seen, mut at) = (Vec::new(), 0);
    tracker.begin(shape(shapes));
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let Ok((used, progress)) = tracker.feed(rest) else {
                seen.push((0, "malformed".to_owned()));
                return seen;
            };
            assert!(used > 0 && used <= rest.len());
            at += used;
            rest = &rest[used..];
            match progress {
                Progress::More => {}
                Progress::Next => seen.push((at, "next".to_owned())),
                Progress::FileWanted => seen.push((at, "file".to_owned())),
                Progress::Ended(end) => {
                    seen.push((at, format!("{end:?}")));
                    shapes /= 10;
                    tracker.begin(shape(shapes));
                }
            }
        }
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let (capabilities, shapes) = (number(&mut data), number(&mut data));
    assert_eq!(follow(&[data], capabilities, shapes), follow(&pieces(data, capabilities ^ shapes), capabilities, shapes));
});
