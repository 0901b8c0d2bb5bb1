//! A client that speaks the protocol packet by packet and keeps every byte: what no driver would send or show.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mysql_common::scramble::{scramble_native, scramble_sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::packed::{Packed, ZSTD};

/// What every login here asks for: 4.1, long flags, several statements and results, plugins.
pub const BASE: u64 = 1 | 1 << 2 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 19;
/// Result sets end with an OK.
pub const DEPRECATE_EOF: u64 = 1 << 24;
/// OK packets carry changes of the session.
pub const SESSION_TRACK: u64 = 1 << 23;
/// MySQL: column definitions may be left out.
pub const OPTIONAL_METADATA: u64 = 1 << 25;
/// MySQL: attributes before a text.
pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
/// LOAD DATA LOCAL is understood.
pub const LOCAL_FILES: u64 = 1 << 7;
/// MariaDB: reports of progress are understood.
pub const PROGRESS: u64 = 1 << 32;
/// MariaDB's own flags, for a client without the lowest one: bulk, extended and cached metadata.
pub const MARIADB: u64 = 0x1c << 32;

/// Long enough for a server of a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A reply is taken for whole when nothing came for so long; one that is not shows in the next comparison.
pub const QUIET: Duration = Duration::from_millis(60);

/// One connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    capabilities: u64,
    /// What was read and not looked at yet.
    have: Vec<u8>,
    /// After the login, where it was agreed on.
    packed: Option<Packed>,
    /// Every write is cut into pieces of this size.
    piece: usize,
    /// The server's number for it.
    pub connection_id: u32,
}

/// A packet's bytes.
pub fn framed(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

impl Raw {
    /// Logs in; `piece` is the size of every write.
    pub async fn login(port: u16, account: (&str, &str), capabilities: u64, piece: usize) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut raw = Self { stream, capabilities, have: Vec::new(), packed: None, piece, connection_id: 0 };
        let (_, greeting) = raw.packet().await?;
        ensure!(greeting.first() == Some(&10), "not a greeting: {greeting:02x?}");
        let at = greeting.iter().position(|byte| *byte == 0).context("no version")? + 1;
        raw.connection_id = u32::from_le_bytes(greeting.get(at..at + 4).context("no id")?.try_into()?);
        let salt = [greeting.get(at + 4..at + 12), greeting.get(at + 31..at + 43)].map(Option::unwrap_or_default).concat();
        let plugin = greeting.get(at + 44..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let bytes = capabilities.to_le_bytes();
        let mut response = [&bytes[..4], &(64_u32 << 20).to_le_bytes(), &[45], &[0; 19], &bytes[4..]].concat();
        response.extend_from_slice(account.0.as_bytes());
        response.push(0);
        let proof = proof(&plugin, &salt, account.1)?;
        response.push(u8::try_from(proof.len())?);
        response.extend_from_slice(&proof);
        response.extend_from_slice(&plugin);
        response.push(0);
        if capabilities & ZSTD != 0 {
            response.push(4);
        }
        raw.write(&framed(1, &response)).await?;
        loop {
            let (sequence, payload) = raw.packet().await?;
            match payload.as_slice() {
                [0, ..] => {
                    raw.packed = Packed::agreed(capabilities);
                    return Ok(raw);
                }
                [1, 3] => {}
                [0xfe, rest @ ..] => {
                    let end = rest.iter().position(|byte| *byte == 0).context("no plugin")?;
                    let proof = self::proof(&rest[..end], rest.get(end + 1..end + 21).context("no salt")?, account.1)?;
                    raw.write(&framed(sequence + 1, &proof)).await?;
                }
                other => bail!("the login ended with {:?}", String::from_utf8_lossy(other)),
            }
        }
    }

    /// Writes packets, in pieces.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = match &mut self.packed {
            Some(packed) => &packed.pack(bytes)?,
            None => bytes,
        };
        self.write_raw(bytes).await
    }

    /// Writes bytes as they are, in pieces.
    pub async fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(self.piece.max(1)) {
            self.stream.write_all(piece).await?;
        }
        Ok(())
    }

    /// What was written raw began a command: its answer begins at 1.
    pub fn begin_command(&mut self) {
        self.packed.iter_mut().for_each(|packed| packed.expect(1, 1));
    }

    /// The next packet is one that nobody asked for: it has the number 0, and its frame counts on.
    pub fn expect_unasked(&mut self) {
        self.packed.iter_mut().for_each(Packed::expect_unasked);
    }

    /// A command as this connection's capabilities want it.
    pub fn command(&self, code: u8, payload: &[u8]) -> Vec<u8> {
        let attributes: &[u8] = if code == 3 && self.capabilities & QUERY_ATTRIBUTES != 0 { &[0, 1] } else { &[] };
        framed(0, &[&[code], attributes, payload].concat())
    }

    /// Sends a command.
    pub async fn send(&mut self, code: u8, payload: &[u8]) -> Result<()> {
        let bytes = self.command(code, payload);
        self.write(&bytes).await
    }

    /// Reads one packet: its sequence number and payload.
    pub async fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let header = self.exactly(4).await?;
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        Ok((header[3], self.exactly(length).await?))
    }

    /// Reads once; `false` at the end.
    async fn read(&mut self) -> Result<bool> {
        let Some(packed) = &mut self.packed else { return Ok(self.stream.read_buf(&mut self.have).await? > 0) };
        let mut raw = Vec::with_capacity(64 << 10);
        let count = self.stream.read_buf(&mut raw).await?;
        packed.unpack(&raw, &mut self.have)?;
        Ok(count > 0)
    }

    /// Reads so many bytes.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.have.len() < count {
            let read = tokio::time::timeout(PATIENCE, self.read()).await;
            if !matches!(read, Ok(Ok(true))) {
                bail!("{count} bytes were to come, then {read:?} after {:02x?}", &self.have[..self.have.len().min(200)]);
            }
        }
        let rest = self.have.split_off(count);
        Ok(std::mem::replace(&mut self.have, rest))
    }

    /// Reads what comes until nothing more does.
    pub async fn until_quiet(&mut self) -> Result<Vec<u8>> {
        while self.reads_within(QUIET).await? {}
        Ok(self.take())
    }

    /// Reads what comes within a moment; `false` where nothing does.
    pub async fn reads_within(&mut self, moment: Duration) -> Result<bool> {
        match tokio::time::timeout(moment, self.read()).await {
            Ok(read) => read,
            Err(_) => Ok(false),
        }
    }

    /// What was read and not looked at yet.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.have)
    }

    /// Reads a result set to its end and gives the number of its rows; for DEPRECATE_EOF and rows that fit one packet.
    pub async fn count_rows(&mut self) -> Result<u64> {
        let (_, columns) = self.packet().await?;
        ensure!(columns.first() != Some(&0xff), "{}", String::from_utf8_lossy(&columns));
        for _ in 0..*columns.first().context("an empty packet")? {
            self.packet().await?;
        }
        let mut rows = 0;
        self.have.reserve(1 << 20);
        loop {
            let mut at = 0;
            while let [a, b, c, _, rest @ ..] = &self.have[at..] {
                let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
                let Some(packet) = rest.get(..length) else { break };
                at += 4 + length;
                match packet.first() {
                    Some(0xfe) if length < 100 => {
                        self.have.drain(..at);
                        return Ok(rows);
                    }
                    Some(0xff) => bail!("after {rows} rows: {}", String::from_utf8_lossy(packet)),
                    _ => rows += 1,
                }
            }
            self.have.drain(..at);
            let is_open = tokio::time::timeout(PATIENCE, self.read()).await.context("no more rows come")??;
            ensure!(is_open, "the connection ended after {rows} rows");
        }
    }

    /// COM_QUIT, and everything that still comes.
    pub async fn quit(mut self) -> Result<Vec<u8>> {
        self.send(1, &[]).await?;
        while tokio::time::timeout(PATIENCE, self.read()).await.context("the connection stays open")?? {}
        Ok(self.have)
    }

    /// True once the other side has closed.
    pub async fn is_closed(&mut self) -> bool {
        self.have.is_empty() && matches!(tokio::time::timeout(PATIENCE, self.stream.read_u8()).await, Ok(Err(_)))
    }
}

/// What a plugin wants to see of a password.
pub fn proof(plugin: &[u8], salt: &[u8], password: &str) -> Result<Vec<u8>> {
    let proof = match plugin {
        b"mysql_native_password" => scramble_native(salt, password.as_bytes()).map(|proof| proof.to_vec()),
        b"caching_sha2_password" => scramble_sha256(salt, password.as_bytes()).map(|proof| proof.to_vec()),
        other => bail!("no proof is known for the plugin {:?}", String::from_utf8_lossy(other)),
    };
    Ok(proof.unwrap_or_default())
}
