//! Packet by packet, for the login: there every packet is looked at, and all of them are short.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::Stream;
use crate::wire::packet::{self, HEADER, Header};

/// The longest packet of a login: attributes may be long.
pub(super) const LOGIN_MAX: usize = 1 << 20;

/// Why no packet came.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The peer closed, or its connection broke.
    #[error("the peer has gone")]
    Gone,
    /// The packet is longer than a login may be.
    #[error("the packet is longer than a login may be")]
    TooLarge,
}

/// One packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) sequence: u8,
    /// Header and payload, as they came.
    pub(super) bytes: BytesMut,
}

impl Packet {
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }
}

/// One side of a session during its login.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) stream: Stream,
    pub(super) buffer: BytesMut,
    /// The sequence number that the peer expects next.
    pub(super) next: u8,
}

impl Channel {
    pub(super) fn new(stream: impl Into<Stream>) -> Self {
        Self { stream: stream.into(), buffer: BytesMut::new(), next: 0 }
    }

    /// Reads the next packet.
    ///
    /// # Cancel safety
    /// What was read stays in the buffer.
    pub(super) async fn packet(&mut self) -> Result<Packet, Broken> {
        loop {
            if let Some(header) = Header::read(&self.buffer) {
                if header.length > LOGIN_MAX {
                    return Err(Broken::TooLarge);
                }
                if self.buffer.len() >= HEADER + header.length {
                    self.next = header.sequence.wrapping_add(1);
                    return Ok(Packet { sequence: header.sequence, bytes: self.buffer.split_to(HEADER + header.length) });
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(Broken::Gone),
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends a payload with the number that the peer expects.
    pub(super) async fn send_payload(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(HEADER + payload.len());
        self.next = packet::push(&mut out, self.next, payload);
        self.send(&out).await
    }

    /// What was read beyond the last packet.
    pub(super) fn take_buffer(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }
}
