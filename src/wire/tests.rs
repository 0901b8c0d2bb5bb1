//! Recorded conversations with real servers, cut at every place: what is seen does not depend on the pieces in which it comes.
//!
//! `tests/fixtures/conversations` holds them; `TIDEGATE_TEST_RECORD=folder cargo nextest run --test it wire` records new ones.
//! Layout: capabilities (8 bytes), then for each exchange the length (4) and bytes of what was sent, the length and bytes of what
//! came back.

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;

use super::capabilities::CLIENT_MYSQL;
use super::command;
use super::packet::{Fields, HEADER, Header, Walker};
use super::reply::{Cursor, Progress, Shape, Tracker};

/// Replies up to this length are cut at every byte; longer ones around the borders of their packets.
const EVERY_BYTE_MAX: usize = 1200;

pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    /// The request begins with a file: the reply that was begun goes on.
    pub(crate) goes_on: bool,
    /// What the commands in the request are answered with.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) reply: Vec<u8>,
}

pub(crate) struct Conversation {
    pub(crate) name: String,
    pub(crate) capabilities: u64,
    pub(crate) exchanges: Vec<Exchange>,
}

fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(header) = Header::read(bytes) {
        let (packet, rest) = bytes.split_at(HEADER + header.length);
        all.push(&packet[HEADER..]);
        bytes = rest;
    }
    all
}

/// The replies that commands get, as the session reckons them.
fn shapes(commands: &[&[u8]], capabilities: u64, began_with_cursor: &mut HashMap<u32, bool>) -> Vec<Shape> {
    let mut all = Vec::new();
    for payload in commands {
        let (code, rest) = payload.split_first().map_or((0, *payload), |(code, rest)| (*code, rest));
        let mut shape = command::shape(code, rest);
        if code == command::STMT_EXECUTE && capabilities & CLIENT_MYSQL != 0 {
            let asks = command::asks_for_cursor(rest);
            let began = *began_with_cursor.entry(command::statement_id(rest).unwrap_or(0)).or_insert(asks);
            if began && !asks {
                shape = Shape::Result { cursor: Cursor::Kept };
            }
        }
        all.extend((shape != Shape::None).then_some(shape));
    }
    all
}

fn read(name: String, bytes: &[u8]) -> Option<Conversation> {
    let mut fields = Fields::new(bytes);
    let capabilities = fields.integer(8)?;
    let mut conversation = Conversation { name, capabilities, exchanges: Vec::new() };
    let (mut cursors, mut is_file) = (HashMap::new(), false);
    while !fields.rest().is_empty() {
        let mut next = || {
            let length = usize::try_from(fields.integer(4)?).ok()?;
            Some(fields.bytes(length)?.to_vec())
        };
        let (request, reply) = (next()?, next()?);
        let packets_sent = packets(&request);
        let goes_on = is_file;
        // A file ends with an empty packet; what is behind that are commands again.
        let file = if goes_on { packets_sent.iter().position(|packet| packet.is_empty())? + 1 } else { 0 };
        let shapes = shapes(&packets_sent[file..], capabilities, &mut cursors);
        is_file = packets(&reply).last().is_some_and(|last| last.first() == Some(&0xfb) && request.get(4) == Some(&command::QUERY));
        conversation.exchanges.push(Exchange { request, goes_on, shapes, reply });
    }
    Some(conversation)
}

pub(crate) fn conversations() -> Vec<Conversation> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conversations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        read(name.clone(), &std::fs::read(file).unwrap()).unwrap_or_else(|| panic!("{name} cannot be read"))
    };
    let all: Vec<Conversation> = files.iter().map(read).collect();
    assert!(all.iter().any(|one| one.name.starts_with("mysql")) && all.iter().any(|one| one.name.starts_with("mariadb")));
    all
}

/// What a tracker told, and at which byte.
type Told = Vec<(usize, Progress)>;

/// Feeds an exchange's reply in pieces, and begins each reply where the one before has ended.
fn feed<'a>(tracker: &mut Tracker, exchange: &Exchange, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut told = Vec::new();
    let mut owed = exchange.shapes.iter();
    if !exchange.goes_on
        && let Some(first) = owed.next()
    {
        tracker.begin(*first);
    }
    let mut at = 0;
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, progress) = tracker.feed(rest).unwrap();
            at += used;
            rest = &rest[used..];
            if progress != Progress::More {
                told.push((at, progress));
            }
            if matches!(progress, Progress::Ended(_))
                && let Some(next) = owed.next()
            {
                tracker.begin(*next);
            }
        }
    }
    told
}

#[test]
fn recorded_replies_end_at_their_last_byte() {
    let mut replies = 0;
    for conversation in conversations() {
        let mut tracker = Tracker::new(conversation.capabilities);
        for (number, exchange) in conversation.exchanges.iter().enumerate() {
            let told = feed(&mut tracker, exchange, [&exchange.reply[..]]);
            let context = format!("{}, exchange {number}: {:?}", conversation.name, String::from_utf8_lossy(&exchange.request));
            let waits_for_file = matches!(told.last(), Some((_, Progress::FileWanted)));
            let ended = told.iter().filter(|(_, progress)| matches!(progress, Progress::Ended(_))).count();
            assert_eq!(ended + usize::from(waits_for_file), exchange.shapes.len() + usize::from(exchange.goes_on), "{context}");
            assert_eq!(told.last().map_or(0, |(at, _)| *at), exchange.reply.len(), "{context}");
            assert!(tracker.is_idle() || waits_for_file, "{context}");
            replies += ended;
        }
    }
    assert!(replies > 500, "only {replies} replies were recorded");
}

#[test]
fn recorded_replies_are_the_same_at_every_split() {
    for conversation in conversations() {
        let mut tracker = Tracker::new(conversation.capabilities);
        for exchange in &conversation.exchanges {
            let reply = &exchange.reply;
            let before = tracker.clone();
            let whole = feed(&mut tracker, exchange, [&reply[..]]);
            let mut borders = vec![0];
            for packet in packets(reply) {
                borders.push(borders.last().unwrap() + HEADER + packet.len());
            }
            let cuts: Vec<usize> = if reply.len() <= EVERY_BYTE_MAX {
                (1..reply.len()).collect()
            } else {
                borders.iter().step_by(7).flat_map(|border| border.saturating_sub(5)..border + 9).filter(|cut| *cut < reply.len()).collect()
            };
            for cut in cuts {
                let (one, two) = reply.split_at(cut);
                assert_eq!(feed(&mut before.clone(), exchange, [one, two]), whole, "{}, cut at {cut}", conversation.name);
            }
            assert_eq!(feed(&mut before.clone(), exchange, reply.chunks(1)), whole, "{}, byte by byte", conversation.name);
        }
    }
}

/// Every command's beginning and length.
fn commands(pieces: &[&[u8]]) -> Vec<(Vec<u8>, usize, u8)> {
    let mut walker = Walker::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (used, passed) = walker.next(rest);
            seen.extend(passed.map(|passed| (passed.prefix.to_vec(), passed.first_length, passed.sequence)));
            rest = &rest[used..];
        }
    }
    assert!(walker.is_between());
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn recorded_conversations_are_the_same_in_any_pieces(which in any::<prop::sample::Index>(), sizes in prop::collection::vec(1usize..90, 1..40)) {
        let all = conversations();
        let conversation = which.get(&all);
        let requests: Vec<u8> = conversation.exchanges.iter().flat_map(|exchange| exchange.request.clone()).collect();
        let cut = |mut bytes: &'_ [u8]| {
            let mut lengths = Vec::new();
            for size in sizes.iter().cycle() {
                if bytes.is_empty() {
                    break;
                }
                let size = (*size).min(bytes.len());
                lengths.push(size);
                bytes = &bytes[size..];
            }
            lengths
        };
        let mut rest = &requests[..];
        let mut pieces = Vec::new();
        for length in cut(&requests) {
            let (piece, after) = rest.split_at(length);
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(commands(&pieces), commands(&[&requests]));
        let (mut whole, mut split) = (Tracker::new(conversation.capabilities), Tracker::new(conversation.capabilities));
        for exchange in &conversation.exchanges {
            let mut rest = &exchange.reply[..];
            let pieces: Vec<&[u8]> = cut(rest).into_iter().map(|length| {
                let (piece, after) = rest.split_at(length);
                rest = after;
                piece
            }).collect();
            prop_assert_eq!(feed(&mut split, exchange, pieces), feed(&mut whole, exchange, [&exchange.reply[..]]));
        }
    }
}
