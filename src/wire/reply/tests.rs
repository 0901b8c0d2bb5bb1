use proptest::prelude::*;

use super::*;
use crate::wire::packet;

const QUERY: Shape = Shape::Result { cursor: Cursor::None };

fn bytes(payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sequence = 1;
    for payload in payloads {
        sequence = packet::push(&mut out, sequence, payload);
    }
    out
}

/// Feeds a reply in pieces of `step` bytes, with what belongs to nobody behind it; returns its end and the file requests.
fn follow_by(capabilities: u64, shape: Shape, payloads: &[&[u8]], step: usize) -> (End, usize) {
    let reply = bytes(payloads);
    let mut stream = reply.clone();
    stream.extend_from_slice(b"\x07\0\0\x01\0\0\0\x02\0\0\0");
    let mut tracker = Tracker::new(capabilities);
    tracker.begin(shape);
    let (mut at, mut files) = (0, 0);
    for piece in stream.chunks(step) {
        let mut piece = piece;
        while !piece.is_empty() {
            let (used, progress) = tracker.feed(piece).expect("well formed");
            at += used;
            piece = &piece[used..];
            match progress {
                Progress::More | Progress::Next => {}
                Progress::FileWanted => files += 1,
                Progress::Ended(end) => {
                    assert_eq!(at, reply.len(), "ended at the wrong byte, in steps of {step}");
                    assert!(tracker.is_idle());
                    return (end, files);
                }
            }
        }
    }
    panic!("the reply did not end, in steps of {step}");
}

fn follow(capabilities: u64, shape: Shape, payloads: &[&[u8]]) -> End {
    let whole = follow_by(capabilities, shape, payloads, usize::MAX);
    for step in [1, 2, 3, 5, 7, 11] {
        assert_eq!(follow_by(capabilities, shape, payloads, step), whole);
    }
    whole.0
}

const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";
const EOF_MORE: &[u8] = b"\xfe\0\0\x0a\0";
const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const OK_IN_TRANSACTION: &[u8] = b"\0\x01\xfc\xff\xff\x03\0\0\0";
const OK_MORE: &[u8] = b"\0\0\0\x0a\0\0\0";
const END_OK: &[u8] = b"\xfe\0\0\x03\0\0\0";
const ERR: &[u8] = b"\xff\x25\x05#70100interrupted";

#[test]
fn an_ok_ends_a_reply_with_its_flags() {
    assert_eq!(follow(0, QUERY, &[OK]).status, Some(2));
    assert!(follow(0, QUERY, &[OK_IN_TRANSACTION]).is_in_transaction());
}

#[test]
fn rows_end_with_an_eof_or_with_an_ok_that_looks_like_one() {
    assert_eq!(follow(0, QUERY, &[b"\x01", COLUMN, EOF, b"\x011", b"\xfb\x011", b"\0", EOF]).status, Some(2));
    assert_eq!(follow(DEPRECATE_EOF, QUERY, &[b"\x01", COLUMN, b"\x011", b"\0\0\0\x01\0\0\0\x05", END_OK]).status, Some(3));
    assert_eq!(follow(DEPRECATE_EOF, QUERY, &[b"\x01", COLUMN, END_OK]).status, Some(3));
}

#[test]
fn a_row_of_sixteen_megabytes_that_begins_with_fe_is_a_row() {
    let mut row = vec![0xfe];
    row.extend_from_slice(&(CHUNK_MAX as u64 - 9).to_le_bytes());
    row.resize(CHUNK_MAX, 0xff);
    for (capabilities, end) in [(0, EOF), (DEPRECATE_EOF, END_OK)] {
        let payloads: Vec<&[u8]> = match capabilities {
            0 => vec![b"\x01", COLUMN, EOF, &row, end],
            _ => vec![b"\x01", COLUMN, &row, end],
        };
        for step in [usize::MAX, 4096, 65_537] {
            assert!(follow_by(capabilities, QUERY, &payloads, step).0.status.is_some());
        }
    }
}

#[test]
fn several_results_end_with_the_last() {
    assert_eq!(follow(0, QUERY, &[OK_MORE, b"\x01", COLUMN, EOF_MORE, b"\x011", EOF_MORE, OK]).status, Some(2));
    assert_eq!(follow(0, QUERY, &[OK_MORE, ERR]).error, Some(1317));
}

#[test]
fn an_error_in_mid_result_ends_everything() {
    assert_eq!(follow(0, QUERY, &[b"\x01", COLUMN, EOF_MORE, b"\x011", ERR]).error, Some(1317));
    assert_eq!(follow(DEPRECATE_EOF, QUERY, &[b"\x02", COLUMN, COLUMN, ERR]).error, Some(1317));
}

#[test]
fn after_out_parameters_one_more_ok_is_expected() {
    let out: &[u8] = b"\xfe\0\0\x0a\x10";
    assert_eq!(follow(0, QUERY, &[b"\x01", COLUMN, out, b"\0\0\x05", EOF, OK_IN_TRANSACTION]).status, Some(3));
}

#[test]
fn a_prepared_statement_has_two_lists() {
    let prepared = |columns: u8, parameters: u8| [0, 7, 0, 0, 0, columns, 0, parameters, 0, 0, 0, 0];
    let end = follow(0, Shape::Prepare, &[&prepared(0, 0)]);
    assert_eq!(end.prepared, Some(Prepared { id: 7, parameters: 0, columns: 0 }));
    assert_eq!(end.status, None);
    follow(0, Shape::Prepare, &[&prepared(1, 2), COLUMN, COLUMN, EOF, COLUMN, EOF]);
    follow(0, Shape::Prepare, &[&prepared(0, 1), COLUMN, EOF]);
    follow(DEPRECATE_EOF, Shape::Prepare, &[&prepared(1, 1), COLUMN, COLUMN]);
    let mut bare = prepared(1, 1).to_vec();
    bare.push(0);
    follow(OPTIONAL_RESULTSET_METADATA, Shape::Prepare, &[&bare, EOF, EOF]);
    follow(OPTIONAL_RESULTSET_METADATA | DEPRECATE_EOF, Shape::Prepare, &[&bare]);
    assert_eq!(follow(0, Shape::Prepare, &[ERR]).error, Some(1317));
}

#[test]
fn column_definitions_may_be_absent() {
    for capability in [OPTIONAL_RESULTSET_METADATA, MARIADB_CACHE_METADATA] {
        follow(capability | DEPRECATE_EOF, QUERY, &[b"\x02\0", b"\x011\x012", END_OK]);
        follow(capability, QUERY, &[b"\x02\0", EOF, b"\x011\x012", EOF]);
        follow(capability | DEPRECATE_EOF, QUERY, &[b"\x01\x01", COLUMN, b"\x011", END_OK]);
    }
}

#[test]
fn cursors_send_columns_first_and_rows_when_asked() {
    let execute = Shape::Result { cursor: Cursor::Asked };
    assert_eq!(follow(0, execute, &[b"\x01", COLUMN, b"\xfe\0\0\x42\0"]).status, Some(0x42));
    assert_eq!(follow(DEPRECATE_EOF, execute, &[b"\x01", COLUMN, b"\xfe\0\0\x42\0\0\0"]).status, Some(0x42));
    assert_eq!(follow(0, Shape::Fetch, &[b"\0\0\x05", b"\xfe\0\0\x82\0"]).status, Some(0x82));
    assert_eq!(follow(0, Shape::Fetch, &[ERR]).error, Some(1317));
}

#[test]
fn an_ok_behind_column_definitions_ends_a_reply_without_rows() {
    // MySQL 9.7: executed without a cursor after an execution with one.
    assert_eq!(follow(0, QUERY, &[b"\x01", COLUMN, OK]).status, Some(2));
    assert_eq!(follow(0, QUERY, &[b"\x01", COLUMN, OK_MORE, b"\x01", COLUMN, EOF, EOF]).status, Some(2));
    let kept = Shape::Result { cursor: Cursor::Kept };
    assert_eq!(follow(DEPRECATE_EOF, kept, &[b"\x01", COLUMN, OK]).status, Some(2));
    let with_changes: &[u8] = b"\0\0\0\x02\x40\0\0\0\x05\x05\x03\x02T_";
    assert_eq!(follow(DEPRECATE_EOF | SESSION_TRACK, kept, &[b"\x01", COLUMN, with_changes]).status, Some(0x4002));
    // The statement was prepared anew by the server: rows come after all.
    for row in [&b"\0\0\x05\0\0\0"[..], b"\0\0\0\x02", with_changes] {
        assert_eq!(follow(DEPRECATE_EOF, kept, &[b"\x01", COLUMN, row, OK, END_OK]).status, Some(3));
    }
}

#[test]
fn a_file_request_turns_the_direction_and_the_reply_goes_on() {
    for step in [1, 5, usize::MAX] {
        let (end, files) = follow_by(0, QUERY, &[b"\xfb/data/rows.csv", OK], step);
        assert_eq!((end.status, files), (Some(2), 1));
        let (end, files) = follow_by(0, QUERY, &[b"\xfb/a", OK_MORE, b"\xfb/b", ERR], step);
        assert_eq!((end.error, files), (Some(1317), 2));
    }
}

#[test]
fn replies_of_their_own_kind_end_where_they_should() {
    assert_eq!(follow(0, Shape::Text, &[b"Uptime: 5"]).error, None);
    assert_eq!(follow(0, Shape::FieldList, &[COLUMN, COLUMN, EOF]).status, Some(2));
    assert_eq!(follow(DEPRECATE_EOF, Shape::FieldList, &[COLUMN, END_OK]).status, Some(3));
    assert_eq!(follow(0, QUERY, &[EOF]).status, Some(2));
    assert_eq!(follow(DEPRECATE_EOF, QUERY, &[END_OK]).status, Some(3));
    assert_eq!(follow(0, Shape::Login, &[b"\xfeplugin\0salt\0", b"\x01\x04", b"\x01key", OK]).status, Some(2));
    assert_eq!(follow(0, Shape::Login, &[b"\xfeplugin\0salt\0", ERR]).error, Some(1317));
}

#[test]
fn progress_is_no_error() {
    let progress: &[u8] = b"\xff\xff\xff\x01\x02\x03\0\0\0\x05stage";
    assert_eq!(follow(MARIADB_PROGRESS, QUERY, &[progress, progress, OK]).status, Some(2));
    assert_eq!(follow(0, QUERY, &[progress]).error, Some(0xffff));
}

#[test]
fn nonsense_is_refused() {
    let mut tracker = Tracker::new(0);
    for (shape, payloads) in
        [(QUERY, vec![b"\0".as_slice()]), (QUERY, vec![b"\x01", COLUMN, b"row"]), (Shape::Prepare, vec![b"\0\x01"]), (QUERY, vec![b""])]
    {
        tracker.begin(shape);
        tracker.feed(&bytes(&payloads)).expect_err("malformed");
    }
}

#[test]
fn a_binlog_dump_never_ends() {
    let mut tracker = Tracker::new(0);
    tracker.begin(Shape::Endless);
    let stream = bytes(&[EOF, ERR, OK]);
    assert_eq!(tracker.feed(&stream), Ok((stream.len(), Progress::More)));
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(QUERY),
        Just(Shape::Result { cursor: Cursor::Asked }),
        Just(Shape::Prepare),
        Just(Shape::Fetch),
        Just(Shape::FieldList),
        Just(Shape::Text),
        Just(Shape::Login),
    ]
}

fn trail(mut tracker: Tracker, shape: Shape, stream: &[u8], cuts: &[usize]) -> (Vec<(usize, Progress)>, bool) {
    tracker.begin(shape);
    let mut seen = Vec::new();
    let mut at = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        while at < end {
            match tracker.feed(&stream[at..end]) {
                Err(_) => return (seen, true),
                Ok((used, progress)) => {
                    at += used;
                    if progress != Progress::More {
                        seen.push((at, progress));
                    }
                    if matches!(progress, Progress::Ended(_)) {
                        return (seen, false);
                    }
                }
            }
        }
    }
    (seen, false)
}

proptest! {
    #[test]
    fn replies_end_at_the_same_byte_at_every_split(
        shape in shapes(),
        capabilities in prop_oneof![Just(0), Just(DEPRECATE_EOF), Just(OPTIONAL_RESULTSET_METADATA), any::<u64>()],
        parts in prop::collection::vec(
            prop_oneof![
                Just(COLUMN.to_vec()), Just(EOF.to_vec()), Just(EOF_MORE.to_vec()), Just(OK.to_vec()), Just(OK_MORE.to_vec()),
                Just(ERR.to_vec()), Just(END_OK.to_vec()), Just(vec![1]), Just(vec![2, 0]), Just(b"\xfbfile".to_vec()),
                prop::collection::vec(any::<u8>(), 0..60),
            ], 1..14),
        mut cuts in prop::collection::vec(0usize..400, 0..30),
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let stream = bytes(&parts);
        cuts.iter_mut().for_each(|cut| *cut = (*cut).min(stream.len()));
        cuts.sort_unstable();
        let whole = trail(Tracker::new(capabilities), shape, &stream, &[]);
        prop_assert_eq!(&trail(Tracker::new(capabilities), shape, &stream, &cuts), &whole);
        let every: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&trail(Tracker::new(capabilities), shape, &stream, &every), &whole);
    }

    #[test]
    fn random_bytes_do_not_panic(shape in shapes(), capabilities: u64, stream in prop::collection::vec(any::<u8>(), 0..500)) {
        trail(Tracker::new(capabilities), shape, &stream, &[]);
    }
}
