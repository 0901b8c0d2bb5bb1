//! Packet by packet, for the login: there every packet is looked at, and all of them are short.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::packet::{HEADER, Header};

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
    pub(super) stream: TcpStream,
    pub(super) buffer: BytesMut,
}

impl Channel {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
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
        self.stream.write_all(bytes).await
    }

    /// The first read of a packet whose peer has already closed still finds what it sent.
    pub(super) fn take_buffer(&mut self) -> BytesMut {
        let length = self.buffer.remaining();
        self.buffer.split_to(length)
    }
}
