//! A stream of packets inside compressed frames, over a socket or TLS.
//!
//! Each write becomes one frame. Which number a frame has is the protocol's matter: who knows where commands and replies begin
//! says so ([`Stream::begin_frame`]); until then a frame follows the one that was read last, as in a talk of one at a time.
//!
//! Invariants: I-P2 (at most one frame of the proxy's own is kept, and as much of the peer's as one read gave).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::wire::compression::{Algorithm, Malformed, Toolbox, Unpacker, pack};

use super::Stream;

/// The most that one frame of the proxy's own holds.
const FRAME_MAX: usize = 64 << 10;
/// What is read from the peer at once.
const READ: usize = 16 << 10;
/// Frames whose numbers are remembered: a client may send some commands ahead.
const FRAMES_MAX: usize = 4096;

/// One side of a session that packs.
#[derive(Debug)]
pub struct Compressed {
    inner: Stream,
    toolbox: Arc<Toolbox>,
    algorithm: Algorithm,
    unpacker: Unpacker,
    raw: BytesMut,
    /// Where in the unpacked stream frames began, and their numbers.
    frames: VecDeque<(u64, u8)>,
    unpacked: u64,
    last_read: u8,
    next: u8,
    /// A frame follows the one that was read last.
    is_following: bool,
    out: Vec<u8>,
    sent: usize,
}

impl Compressed {
    pub(super) fn inner(&self) -> &Stream {
        &self.inner
    }

    fn send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..)
            && !rest.is_empty()
        {
            match ready!(Pin::new(&mut self.inner).poll_write(task, rest)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.sent += count,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn begun(&mut self, number: u8) {
        self.last_read = number;
        if self.is_following {
            self.next = number.wrapping_add(1);
        } else if self.frames.len() < FRAMES_MAX {
            self.frames.push_back((self.unpacked, number));
        }
    }

    /// The number of the frame that holds the byte before this place of the unpacked stream.
    fn number_before(&mut self, place: u64) -> u8 {
        while self.frames.get(1).is_some_and(|(begin, _)| *begin < place) {
            self.frames.pop_front();
        }
        self.frames.front().map_or(self.last_read, |(_, number)| *number)
    }

    /// The number of the frame that begins at this place, if one does.
    fn number_at(&self, place: u64) -> Option<u8> {
        self.frames.iter().rev().find(|(begin, _)| *begin <= place).filter(|(begin, _)| *begin == place).map(|(_, number)| *number)
    }

    fn read(&mut self, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let room = into.initialize_unfilled();
            let step =
                self.unpacker.step(&self.toolbox, &self.raw, room).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.raw.advance(step.taken);
            if let Some(number) = step.begun {
                self.begun(number);
            }
            if step.made > 0 {
                self.unpacked += step.made as u64;
                into.advance(step.made);
                return Poll::Ready(Ok(()));
            }
            if step.taken > 0 {
                continue;
            }
            if into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.raw.reserve(READ);
            let read = poll_read_buf(Pin::new(&mut self.inner), task, &mut self.raw);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                if self.raw.is_empty() {
                    self.raw = BytesMut::new();
                }
                ready!(read)?;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Compressed {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().read(task, into)
    }
}

impl AsyncWrite for Compressed {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.send(task))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let part = bytes.get(..FRAME_MAX).unwrap_or(bytes);
        pack(this.algorithm, &this.toolbox, part, this.next, &mut this.out);
        this.next = this.next.wrapping_add(1);
        if let Poll::Ready(Err(error)) = this.send(task) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(task))?;
        Pin::new(&mut this.inner).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(task))?;
        Pin::new(&mut this.inner).poll_shutdown(task)
    }
}

impl Stream {
    /// Packs and unpacks from here on; `ahead` is what was read already.
    #[must_use]
    pub fn compressed(self, algorithm: Algorithm, toolbox: Arc<Toolbox>, ahead: BytesMut) -> Self {
        Self::Compressed(Box::new(Compressed {
            inner: self,
            toolbox,
            algorithm,
            unpacker: Unpacker::new(algorithm),
            raw: ahead,
            frames: VecDeque::new(),
            unpacked: 0,
            last_read: 0,
            next: 0,
            is_following: true,
            out: Vec::new(),
            sent: 0,
        }))
    }

    /// What carries the frames; the stream itself where it does not pack.
    #[must_use]
    pub fn without_frames(self) -> Self {
        match self {
            Self::Compressed(compressed) => compressed.inner,
            other => other,
        }
    }

    /// `true` where it packs.
    pub fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed(_))
    }

    /// The next frame to be written gets this number, those behind it the next ones, whatever is read.
    pub fn begin_frame(&mut self, number: u8) {
        if let Self::Compressed(compressed) = self {
            compressed.next = number;
        }
    }

    /// Frames are numbered by [`Stream::begin_frame`] alone from now on.
    pub fn lead_frames(&mut self) {
        if let Self::Compressed(compressed) = self {
            compressed.is_following = false;
        }
    }

    /// The number of the next frame to be written; `None` where it does not pack.
    pub fn next_frame(&self) -> Option<u8> {
        if let Self::Compressed(compressed) = self { Some(compressed.next) } else { None }
    }

    /// The number of the last frame that was read; `None` where it does not pack.
    pub fn last_frame(&self) -> Option<u8> {
        if let Self::Compressed(compressed) = self { Some(compressed.last_read) } else { None }
    }

    /// The number of the frame that holds the byte before this place of the unpacked stream. Places only grow.
    pub fn frame_before(&mut self, place: u64) -> Option<u8> {
        if let Self::Compressed(compressed) = self { Some(compressed.number_before(place)) } else { None }
    }

    /// The number of the frame that begins at this place of the unpacked stream, if one does.
    pub fn frame_at(&self, place: u64) -> Option<u8> {
        if let Self::Compressed(compressed) = self { compressed.number_at(place) } else { None }
    }
}

/// `true` for an error that means that a peer's frames cannot be unpacked.
pub fn is_malformed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Malformed>())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    fn both(algorithm: Algorithm) -> (Stream, Stream) {
        let (near, far) = UnixStream::pair().unwrap();
        let toolbox = Arc::new(Toolbox::default());
        let pack = |stream: UnixStream| Stream::from(stream).compressed(algorithm, toolbox.clone(), BytesMut::new());
        (pack(near), pack(far))
    }

    #[tokio::test]
    async fn a_talk_numbers_its_frames_by_itself() {
        let (mut near, mut far) = both(Algorithm::Zlib);
        let mut heard = [0; 70];
        for _ in 0..3 {
            near.begin_frame(0);
            near.write_all(&[b'a'; 70]).await.unwrap();
            near.flush().await.unwrap();
            far.read_exact(&mut heard).await.unwrap();
            assert_eq!((heard, far.last_frame(), far.next_frame()), ([b'a'; 70], Some(0), Some(1)));
            far.write_all(&[b'b'; 70]).await.unwrap();
            far.write_all(&[b'b'; 70]).await.unwrap();
            far.flush().await.unwrap();
            near.read_exact(&mut heard).await.unwrap();
            near.read_exact(&mut heard).await.unwrap();
            assert_eq!((near.last_frame(), near.next_frame()), (Some(2), Some(3)));
        }
    }

    #[tokio::test]
    async fn numbers_are_found_by_the_place_of_a_byte() {
        let (mut near, mut far) = both(Algorithm::Zstd { level: 1 });
        far.lead_frames();
        for (number, length) in [(0, 10), (1, 20), (0, 5), (0, 7)] {
            near.begin_frame(number);
            near.write_all(&vec![b'x'; length]).await.unwrap();
        }
        near.flush().await.unwrap();
        far.read_exact(&mut [0; 42]).await.unwrap();
        assert_eq!((far.frame_at(0), far.frame_at(10), far.frame_at(11), far.frame_at(35)), (Some(0), Some(1), None, Some(0)));
        assert_eq!([10, 11, 30, 31, 42].map(|place| far.frame_before(place)), [0, 1, 1, 0, 0].map(Some));
        assert_eq!((far.next_frame(), near.frame_at(0)), (Some(0), None));
    }

    #[tokio::test]
    async fn frames_are_bounded_and_large_bytes_come_over() {
        let (mut near, mut far) = both(Algorithm::Zlib);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 31 % 251) as u8).collect();
        let sent = bytes.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        writer.await.unwrap();
        assert!(heard == bytes);
        assert_eq!(usize::from(far.last_frame().unwrap()), 3_000_000_usize.div_ceil(FRAME_MAX) - 1);
    }

    #[tokio::test]
    async fn nonsense_is_told_apart_from_a_broken_connection() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut far = Stream::from(far).compressed(Algorithm::Zlib, Arc::default(), BytesMut::new());
        let mut near = near;
        near.write_all(&[4, 0, 0, 0, 100, 0, 0, 9, 9, 9, 9]).await.unwrap();
        assert!(is_malformed(&far.read_u8().await.unwrap_err()));
        drop(far);
        assert!(!is_malformed(&near.read_u8().await.unwrap_err()));
    }
}
