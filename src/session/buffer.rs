//! One direction's bytes: read, judged, written. Small while little goes by, larger while much does, small again at rest.
//!
//! Invariants: I-P2 (never larger than its limit).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use crate::net::Stream;

use super::numbering::{Mark, Numbering};

/// What an idle session keeps.
pub(super) const SMALL: usize = 4 << 10;
/// What a busy one may take.
pub(super) const LARGE: usize = 64 << 10;

/// Bytes on their way: `[start..ready]` may be written, `[ready..]` is not judged yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    data: Vec<u8>,
    start: usize,
    ready: usize,
    /// The stream may still keep some of what was written, as TLS does.
    is_unflushed: bool,
    /// How many bytes of those that were read have been judged.
    judged: u64,
    /// Where either side is compressed.
    numbering: Option<Box<Numbering>>,
}

impl Buffer {
    /// Numbers packets and frames from here on.
    pub(super) fn number(&mut self) {
        self.numbering = Some(Box::default());
    }

    /// Marks what goes out behind what is ready.
    pub(super) fn mark(&mut self, mark: Mark) {
        if let Some(numbering) = &mut self.numbering {
            numbering.mark(self.ready, mark);
        }
    }

    /// How many bytes of the stream have been judged.
    pub(super) fn judged(&self) -> u64 {
        self.judged
    }

    /// Starts with bytes that were read before.
    pub(super) fn with(bytes: &[u8]) -> Self {
        Self { data: bytes.to_vec(), ..Self::default() }
    }

    /// What is not judged yet.
    pub(super) fn unjudged(&self) -> &[u8] {
        self.data.get(self.ready..).unwrap_or_default()
    }

    /// `true` while something may be written.
    pub(super) fn is_ready(&self) -> bool {
        self.ready > self.start || self.is_unflushed
    }

    /// `true` while nothing is kept at all.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.data.len()
    }

    /// Lets the next `count` bytes go out.
    pub(super) fn release(&mut self, count: usize) {
        let ready = (self.ready + count).min(self.data.len());
        self.judged += (ready - self.ready) as u64;
        self.ready = ready;
    }

    /// Takes the next `count` bytes away, so that they never go out.
    pub(super) fn discard(&mut self, count: usize) {
        let end = (self.ready + count).min(self.data.len());
        self.judged += (end - self.ready) as u64;
        self.data.drain(self.ready..end);
    }

    /// Adds bytes of the proxy's own, to go out behind what is ready and before what is not judged.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        if self.ready == self.data.len() {
            self.data.extend_from_slice(bytes);
        } else {
            self.data.splice(self.ready..self.ready, bytes.iter().copied());
        }
        self.ready += bytes.len();
    }

    /// `true` where no more can be read before something has gone out.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.start == 0 && self.data.len() == self.data.capacity() && self.data.len() >= limit
    }

    /// Makes room for at least one byte, within `limit`; `false` where there is none.
    fn make_room(&mut self, limit: usize) -> bool {
        if self.data.len() < self.data.capacity() {
            return true;
        }
        // Moving pays only where much is gained, or where nothing else helps.
        if self.start > 0 && (self.start * 2 >= self.data.len() || self.start == self.ready) {
            self.data.drain(..self.start);
            self.passed(self.start);
            self.ready -= self.start;
            self.start = 0;
            return true;
        }
        let capacity = self.data.capacity();
        if capacity >= limit {
            return false;
        }
        let wanted = match capacity {
            0 => SMALL,
            small if small < LARGE => LARGE,
            large => large * 2,
        };
        self.data.reserve_exact(wanted.min(limit).max(SMALL) - self.data.len());
        true
    }

    fn passed(&mut self, count: usize) {
        if let Some(numbering) = &mut self.numbering {
            numbering.before += count as u64;
        }
    }

    /// Reads once, or until what was there is read; returns how many bytes, 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>, stream: &mut Stream, limit: usize) -> Poll<io::Result<usize>> {
        let mut total = 0;
        while self.make_room(limit) {
            let room = self.data.capacity() - self.data.len();
            match poll_read_buf(Pin::new(&mut *stream), context, &mut self.data) {
                // An end or an error behind bytes is told the next time, when they have been judged.
                Poll::Ready(Ok(0) | Err(_)) if total > 0 => break,
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(read)) => {
                    total += read;
                    // A small buffer that was filled has more behind it: read on before writing.
                    if read < room || self.data.capacity() >= LARGE {
                        break;
                    }
                }
                Poll::Pending => break,
            }
        }
        if total > 0 { Poll::Ready(Ok(total)) } else { Poll::Pending }
    }

    /// Writes what is ready; returns whether anything went out.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> io::Result<bool> {
        let mut wrote = false;
        loop {
            let end = match &mut self.numbering {
                Some(numbering) if self.start < self.ready => numbering.piece(&mut self.data, self.start, self.ready, stream),
                _ => self.ready,
            };
            let Some(bytes) = self.data.get(self.start..end) else { break };
            if bytes.is_empty() {
                break;
            }
            match Pin::new(&mut *stream).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.start += count;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if wrote || self.is_unflushed {
            // Nothing to do, and no system call, without TLS.
            self.is_unflushed = match Pin::new(&mut *stream).poll_flush(context) {
                Poll::Ready(done) => done.map(|()| false)?,
                Poll::Pending => true,
            };
        }
        if wrote && self.is_empty() {
            self.rest();
        }
        Ok(wrote)
    }

    /// Everything has gone out: begins at the front again, and gives a large room back.
    fn rest(&mut self) {
        self.passed(self.start);
        self.start = 0;
        self.ready = 0;
        if self.data.capacity() > SMALL {
            self.data = Vec::new();
        } else {
            self.data.clear();
        }
    }

    /// Writes what is ready to its end, when the session ends.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while self.is_ready() {
            let wrote = self.poll_flush(context, stream)?;
            if !wrote && self.is_ready() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    #[cfg(test)]
    fn ready_bytes(&self) -> &[u8] {
        self.data.get(self.start..self.ready).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_never_becomes_ready_and_what_is_inserted_comes_before_the_unjudged() {
        let mut buffer = Buffer::with(b"aabbbcc");
        buffer.release(2);
        buffer.discard(3);
        assert_eq!(buffer.unjudged(), b"cc");
        buffer.insert(b"X");
        assert_eq!(buffer.ready_bytes(), b"aaX");
        buffer.release(9);
        assert_eq!(buffer.ready_bytes(), b"aaXcc");
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let mut buffer = Buffer::default();
        while buffer.make_room(LARGE) {
            let room = buffer.data.capacity() - buffer.data.len();
            buffer.data.resize(buffer.data.len() + room, 1);
        }
        assert!(buffer.data.capacity() <= LARGE);
        buffer.release(LARGE);
        buffer.start = LARGE / 2;
        assert!(buffer.make_room(LARGE), "half of it has gone out");
        buffer.start = buffer.data.len();
        buffer.rest();
        assert!(buffer.is_empty() && buffer.data.capacity() <= SMALL);
    }
}
