//! Packets of an admin session: reading commands, writing answers.
//!
//! Invariant I-P3: a packet is at most 16 MB, its number must be 0, and nothing is kept of what came before it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::Failure;
use super::variables::PACKET_BYTES_MAX;

/// The flag that says that no transaction is open and every statement commits.
const AUTOCOMMIT: u16 = 0x0002;

/// What the client and the proxy agreed on at login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capabilities(pub(super) u64);

impl Capabilities {
    /// CLIENT_OPTIONAL_RESULTSET_METADATA: a byte before the number of columns says that columns follow.
    pub(super) fn optional_metadata(self) -> bool {
        self.has(25)
    }

    /// CLIENT_DEPRECATE_EOF
    pub(super) fn deprecate_eof(self) -> bool {
        self.has(24)
    }

    /// CLIENT_QUERY_ATTRIBUTES
    pub(super) fn query_attributes(self) -> bool {
        self.has(27)
    }

    /// MARIADB_CLIENT_EXTENDED_METADATA: column definitions carry one more string.
    pub(super) fn extended_metadata(self) -> bool {
        self.has(35)
    }

    /// MARIADB_CLIENT_CACHE_METADATA: a byte after the number of columns says that columns follow.
    pub(super) fn cache_metadata(self) -> bool {
        self.has(36)
    }

    fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One command.
    Command(Bytes),
    /// The client has gone.
    Gone,
    /// Bytes that are no command; the session must end.
    Broken(Failure),
}

/// A client's stream as packets.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    sequence: u8,
}

const HEADER_BYTES: usize = 4;

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Goes on from what has been read already.
    pub(super) fn new(stream: S, already_read: BytesMut) -> Self {
        Self { stream, incoming: already_read, outgoing: BytesMut::new(), sequence: 1 }
    }

    /// Reads one command.
    pub(super) async fn command(&mut self) -> std::io::Result<Incoming> {
        loop {
            if let Some(length) = header(&self.incoming) {
                self.sequence = self.incoming.get(3).copied().unwrap_or(0).wrapping_add(1);
                if self.sequence != 1 {
                    return Ok(Incoming::Broken(Failure::new(1156, b"08S01", "got packets out of order; connect again")));
                }
                if length > PACKET_BYTES_MAX - 1 {
                    let message = format!("got a packet bigger than {PACKET_BYTES_MAX} bytes; the admin port takes no larger statement");
                    return Ok(Incoming::Broken(Failure::new(1153, b"08S01", message)));
                }
                if self.incoming.len() >= HEADER_BYTES + length {
                    self.incoming.advance(HEADER_BYTES);
                    return Ok(Incoming::Command(self.incoming.split_to(length).freeze()));
                }
            }
            self.incoming.reserve(4096);
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Ok(Incoming::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(Incoming::Gone),
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds one packet to the answer.
    pub(super) fn packet(&mut self, payload: &[u8]) {
        self.outgoing.put_uint_le(payload.len() as u64, 3);
        self.outgoing.put_u8(self.sequence);
        self.outgoing.put_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Sends the answer.
    pub(super) async fn flush(&mut self) -> std::io::Result<()> {
        self.stream.write_all_buf(&mut self.outgoing).await?;
        self.stream.flush().await
    }

    /// Says goodbye, so that the last answer is not lost to a reset.
    pub(super) async fn close(&mut self) -> std::io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }
}

fn header(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [low, middle, high, _, ..] => Some(usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16),
        _ => None,
    }
}

/// An OK packet.
pub(super) fn ok() -> Vec<u8> {
    let mut payload = vec![0x00, 0, 0];
    payload.put_u16_le(AUTOCOMMIT);
    payload.put_u16_le(0);
    payload
}

/// What ends a list of columns or rows.
pub(super) fn end(capabilities: Capabilities) -> Vec<u8> {
    let mut payload = ok();
    if let Some(first) = payload.first_mut() {
        *first = 0xFE;
    }
    if !capabilities.deprecate_eof() {
        payload.truncate(5); // FE, warnings, flags
    }
    payload
}

/// An ERR packet.
pub(super) fn error(failure: &Failure) -> Vec<u8> {
    let mut payload = vec![0xFF];
    payload.put_u16_le(failure.code);
    payload.put_u8(b'#');
    payload.put_slice(&failure.sqlstate);
    payload.put_slice(failure.message.as_bytes());
    payload
}

/// Writes AUTOCOMMIT into an OK or EOF packet that has no affected rows: the flags stand at the same place in both.
pub(super) fn set_autocommit(payload: &mut [u8]) {
    if let Some(flags) = payload.get_mut(3..5) {
        flags.copy_from_slice(&AUTOCOMMIT.to_le_bytes());
    }
}

/// Appends a length-encoded number.
pub(super) fn put_length(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=250 => out.push(u8::try_from(number).unwrap_or(0)),
        251..=0xFFFF => {
            out.push(0xFC);
            out.put_uint_le(number, 2);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.put_uint_le(number, 3);
        }
        _ => {
            out.push(0xFE);
            out.put_u64_le(number);
        }
    }
}

/// Appends a length-encoded string.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_length(out, text.len() as u64);
    out.put_slice(text);
}

/// Takes a length-encoded number from the front.
pub(super) fn take_length(bytes: &mut &[u8]) -> Option<u64> {
    let size = match *bytes.first()? {
        number @ 0..=250 => {
            bytes.advance(1);
            return Some(number.into());
        }
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        _ => return None,
    };
    if bytes.len() <= size {
        return None;
    }
    bytes.advance(1);
    Some(bytes.get_uint_le(size))
}

/// Takes this many bytes from the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a length-encoded string from the front.
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_length(bytes)?).ok()?;
    take(bytes, length)
}

/// The statement in COM_QUERY's payload, after the attributes where the client sends them.
///
/// Layout: number of attributes, 1; where there are any: NULL bitmap, 1, (type, name)…, values…; then the text.
pub(super) fn statement(mut payload: &[u8], capabilities: Capabilities) -> Option<&[u8]> {
    if !capabilities.query_attributes() {
        return Some(payload);
    }
    let bytes = &mut payload;
    let count = usize::try_from(take_length(bytes)?).ok()?;
    take_length(bytes)?;
    if count > 0 {
        let nulls = take(bytes, count.div_ceil(8))?;
        // Without types nobody knows how long the values are.
        take(bytes, 1).filter(|flag| *flag == [1])?;
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(*take(bytes, 2)?.first()?);
            take_text(bytes)?;
        }
        for (n, kind) in types.into_iter().enumerate() {
            let null = nulls.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 == 1);
            if !null {
                skip(bytes, kind)?;
            }
        }
    }
    Some(payload)
}

/// Skips one binary value of this type.
fn skip(bytes: &mut &[u8], kind: u8) -> Option<()> {
    let length = match kind {
        6 => 0,         // NULL
        1 => 1,         // TINY
        2 | 13 => 2,    // SHORT, YEAR
        3 | 9 | 4 => 4, // LONG, INT24, FLOAT
        8 | 5 => 8,     // LONGLONG, DOUBLE
        7 | 10 | 11 | 12 => take(bytes, 1).and_then(|length| length.first().copied())?.into(),
        _ => return take_text(bytes).map(|_| ()),
    };
    take(bytes, length).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRIBUTES: Capabilities = Capabilities(1 << 27);

    #[test]
    fn the_statement_follows_the_attributes() {
        assert_eq!(statement(b"SELECT 1", Capabilities(0)), Some(&b"SELECT 1"[..]));
        assert_eq!(statement(b"\x00\x01SELECT 1", ATTRIBUTES), Some(&b"SELECT 1"[..]));
        let mut payload = vec![2, 1, 0b10, 1];
        payload.extend(b"\xfe\x00\x01a\x08\x00\x01b"); // a: string, b: NULL
        payload.extend(b"\x03abcHELP");
        assert_eq!(statement(&payload, ATTRIBUTES), Some(&b"HELP"[..]));
        for end in 0..payload.len() - 4 {
            assert_eq!(statement(&payload[..end], ATTRIBUTES), None, "cut at {end}");
        }
        assert_eq!(statement(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", ATTRIBUTES), None);
    }

    #[test]
    fn lengths_survive() {
        for number in [0, 250, 251, 65535, 65536, 0xFF_FFFF, 0x100_0000, u64::MAX] {
            let mut bytes = Vec::new();
            put_length(&mut bytes, number);
            let mut rest = bytes.as_slice();
            assert_eq!(take_length(&mut rest), Some(number));
            assert!(rest.is_empty());
            assert_eq!(take_length(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..64)) {
            let _ = statement(&bytes, ATTRIBUTES);
            let _ = take_text(&mut bytes.as_slice());
        }
    }

    #[tokio::test]
    async fn a_packet_that_is_never_finished_is_never_allocated_for() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut wire = Wire::new(server, BytesMut::new());
        tokio::io::AsyncWriteExt::write_all(&mut client, b"\xf0\xff\xff\0abc").await.expect("sent");
        drop(client);
        assert!(matches!(wire.command().await, Ok(Incoming::Gone)));
        assert!(wire.incoming.capacity() < 64 * 1024, "{}", wire.incoming.capacity());
    }
}
