//! Recorded conversations with real servers through whole sessions with compressed frames, cut at every place.
//!
//! Each exchange is said once whole, then once for every place where its plain bytes may be cut into two frames, then once for every
//! place where the frames themselves may be cut on their way. Both sides must hear the same each time.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;
use crate::session::exchange::carry;
use crate::session::login::Established;
use crate::wire::compression::{Algorithm, Unpacker, pack};
use crate::wire::packet::{HEADER, Header};
use crate::wire::tests::{Conversation, conversations};

const ZLIB: Option<Algorithm> = Some(Algorithm::Zlib);
const ZSTD: Option<Algorithm> = Some(Algorithm::Zstd { level: 1 });

/// Longer turns are cut around the borders of their packets only.
const EVERY_BYTE_MAX: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// In one frame, which comes at once.
    Nowhere,
    /// The plain bytes: in two frames, or two pieces where nothing is packed.
    Plain(usize),
    /// The frame itself.
    Packed(usize),
}

/// One end of a session.
struct Peer {
    stream: UnixStream,
    algorithm: Option<Algorithm>,
    unpacker: Unpacker,
    toolbox: Arc<Toolbox>,
    /// The numbers of the frames that were heard in this turn.
    frames: Vec<u8>,
}

impl Peer {
    fn new(algorithm: Option<Algorithm>) -> (Self, Stream) {
        let (near, far) = UnixStream::pair().unwrap();
        let toolbox = Arc::new(Toolbox::default());
        let inside = match algorithm {
            Some(algorithm) => Stream::from(far).compressed(algorithm, toolbox.clone(), BytesMut::new()),
            None => far.into(),
        };
        let unpacker = Unpacker::new(algorithm.unwrap_or(Algorithm::Zlib));
        (Self { stream: near, algorithm, unpacker, toolbox, frames: Vec::new() }, inside)
    }

    fn frame(&self, plain: &[u8], number: u8) -> Vec<u8> {
        let mut out = Vec::new();
        match self.algorithm {
            Some(algorithm) => pack(algorithm, &self.toolbox, plain, number, &mut out),
            None => out.extend_from_slice(plain),
        }
        out
    }

    /// Says bytes in frames from this number on; gives the length of what a single frame has.
    async fn say(&mut self, plain: &[u8], number: u8, cut: Cut) -> usize {
        let whole = self.frame(plain, number);
        let pieces = match cut {
            Cut::Nowhere => vec![whole.clone()],
            Cut::Plain(at) => {
                // A frame that begins with a command is the first of its talk, also where it is sent ahead.
                let next = if begins_command(plain, at) { 0 } else { number.wrapping_add(1) };
                vec![self.frame(&plain[..at], number), self.frame(&plain[at..], next)]
            }
            Cut::Packed(at) => vec![whole[..at].to_vec(), whole[at..].to_vec()],
        };
        for piece in pieces {
            self.stream.write_all(&piece).await.unwrap();
            // The runtime of one thread looks at its sockets before it comes back: the session has read this piece by then.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        whole.len()
    }

    /// Hears so many plain bytes, and not one more.
    async fn hear(&mut self, count: usize) -> Vec<u8> {
        self.frames.clear();
        let (mut raw, mut heard) = (BytesMut::new(), Vec::new());
        while heard.len() < count {
            let read = tokio::time::timeout(Duration::from_secs(120), self.stream.read_buf(&mut raw)).await;
            assert!(read.expect("in time").unwrap() > 0, "the session has ended after {} of {count} bytes", heard.len());
            if self.algorithm.is_none() {
                heard.extend_from_slice(&raw.split());
                continue;
            }
            let mut room = [0; 4096];
            loop {
                let step = self.unpacker.step(&self.toolbox, &raw, &mut room).unwrap();
                bytes::Buf::advance(&mut raw, step.taken);
                self.frames.extend(step.begun);
                heard.extend_from_slice(&room[..step.made]);
                if step.taken == 0 && step.made == 0 {
                    break;
                }
            }
        }
        assert!(raw.is_empty() && heard.len() == count, "{} bytes in the place of {count}", heard.len() + raw.len());
        heard
    }

    /// The frames that were heard are counted from this number, where there are any.
    fn counted_from(&self, first: u8) -> bool {
        self.frames.iter().enumerate().all(|(index, number)| *number == first.wrapping_add(u8::try_from(index).unwrap()))
    }
}

/// The same bytes with every packet's number 0: with frames the proxy numbers packets anew.
fn without_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = Header::read(&bytes[at..]) {
        out[at + 3] = 0;
        at += HEADER + header.length;
    }
    out
}

/// A command that was sent ahead begins at this place.
fn begins_command(bytes: &[u8], place: usize) -> bool {
    let mut at = 0;
    while let Some(header) = Header::read(&bytes[at..]).filter(|_| at < place) {
        at += HEADER + header.length;
    }
    at == place && bytes.get(at + 3) == Some(&0)
}

/// What is said before the session is back where it was: a command with its reply, or one that asks for a file with all that follows.
struct Talk<'a> {
    turns: Vec<(&'a [u8], &'a [u8])>,
    /// A single command, so that all numbers follow from those of its frames.
    is_single: bool,
}

fn talks(conversation: &Conversation) -> Vec<Talk<'_>> {
    let mut all: Vec<Talk<'_>> = Vec::new();
    for exchange in &conversation.exchanges {
        let turn = (&exchange.request[..], &exchange.reply[..]);
        match all.last_mut().filter(|_| exchange.goes_on) {
            Some(talk) => {
                talk.turns.push(turn);
                talk.is_single = false;
            }
            None => all.push(Talk { turns: vec![turn], is_single: exchange.shapes.len() == 1 }),
        }
    }
    all
}

/// Both ends of a session.
struct Table {
    client: Peer,
    server: Peer,
}

impl Table {
    /// Leads a talk with one cut in one of its turns, counted from the client's first; gives what each single frame's length was.
    async fn lead(&mut self, talk: &Talk<'_>, cut_turn: usize, cut: Cut) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut last = None;
        for (number, (request, reply)) in talk.turns.iter().enumerate() {
            let here = |turn| if turn == cut_turn { cut } else { Cut::Nowhere };
            let begin = last.map_or(0, |last: u8| last.wrapping_add(1));
            lengths.push(self.client.say(request, begin, here(2 * number)).await);
            let heard = self.server.hear(request.len()).await;
            if self.client.algorithm.is_none() || self.server.algorithm.is_some() {
                assert_eq!(without_numbers(&heard), without_numbers(request), "the server, {cut:?}");
            } else {
                assert_eq!(heard, *request, "the server, {cut:?}");
            }
            assert!(!talk.is_single || self.server.counted_from(0), "the server's frames {:?}, {cut:?}", self.server.frames);
            let asked = self.server.frames.last().copied().unwrap_or(0);
            lengths.push(if reply.is_empty() { 0 } else { self.server.say(reply, asked.wrapping_add(1), here(2 * number + 1)).await });
            let heard = self.client.hear(reply.len()).await;
            if self.client.algorithm.is_some() {
                assert_eq!(without_numbers(&heard), without_numbers(reply), "the client, {cut:?}");
                let said = begin.wrapping_add(u8::from(matches!(here(2 * number), Cut::Plain(_))));
                let is_counted = self.client.counted_from(said.wrapping_add(1));
                assert!(!talk.is_single || is_counted, "the client's frames {:?} after {said}, {cut:?}", self.client.frames);
                let first = heard.get(3).copied();
                assert!(
                    !talk.is_single || first.is_none_or(|first| first == said.wrapping_add(1)),
                    "the reply begins with {first:?}, {cut:?}"
                );
            } else {
                assert_eq!(heard, *reply, "the client, {cut:?}");
            }
            last = self.client.frames.last().copied().or(last);
        }
        lengths
    }
}

/// Where a turn may be cut: everywhere, or around its packets' borders.
fn places(bytes: &[u8], length: usize) -> Vec<usize> {
    if length <= EVERY_BYTE_MAX || length != bytes.len() {
        let step = length.div_ceil(EVERY_BYTE_MAX).max(1);
        return (1..length).step_by(step).collect();
    }
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(header) = Header::read(&bytes[at..]) {
        at += HEADER + header.length;
        all.extend((at.saturating_sub(5)..at + 6).filter(|place| (1..length).contains(place)));
    }
    all.dedup();
    all
}

async fn said_at_every_split(client: Option<Algorithm>, server: Option<Algorithm>, pick: impl Fn(usize) -> bool) {
    let house = House::new().await;
    let mut cuts = 0;
    for (_, conversation) in conversations().iter().enumerate().filter(|(index, _)| pick(*index)) {
        let (client, to_client) = Peer::new(client);
        let (server, to_server) = Peer::new(server);
        let established = Established {
            client: to_client,
            server: to_server,
            from_client: BytesMut::new(),
            from_server: BytesMut::new(),
            capabilities: conversation.capabilities,
            status: 2,
            schema: String::new(),
            translation: None,
        };
        let record = house.context.census.enter("test".into()).record.clone();
        let session = tokio::spawn(carry(established, house.context.clone(), record));
        let mut table = Table { client, server };
        for talk in talks(conversation) {
            let lengths = table.lead(&talk, 0, Cut::Nowhere).await;
            let sides = talk.turns.iter().flat_map(|(request, reply)| [*request, *reply]);
            for (turn, (bytes, packed)) in sides.zip(lengths).enumerate() {
                let plain = places(bytes, bytes.len()).into_iter().map(Cut::Plain);
                let packed = places(bytes, packed).into_iter().map(Cut::Packed);
                for cut in plain.chain(packed) {
                    table.lead(&talk, turn, cut).await;
                    cuts += 1;
                }
            }
        }
        drop(table);
        session.await.unwrap();
    }
    assert!(cuts > 5_000, "only {cuts} cuts");
}

#[tokio::test]
async fn conversations_are_the_same_at_every_split_with_zlib_on_both_sides() {
    said_at_every_split(ZLIB, ZLIB, |index| index % 4 == 0).await;
}

#[tokio::test]
async fn conversations_are_the_same_at_every_split_with_zstd_to_the_client() {
    said_at_every_split(ZSTD, None, |index| index % 4 == 1).await;
}

#[tokio::test]
async fn conversations_are_the_same_at_every_split_with_zlib_to_the_server() {
    said_at_every_split(None, ZLIB, |index| index % 4 == 2).await;
}

#[tokio::test]
async fn conversations_are_the_same_at_every_split_with_one_algorithm_on_each_side() {
    said_at_every_split(ZLIB, ZSTD, |index| index % 4 == 3).await;
}
