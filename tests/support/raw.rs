//! A client that speaks the protocol packet by packet and keeps every byte: what no driver would send or show.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mysql_common::scramble::{scramble_native, scramble_sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
const PATIENCE: Duration = Duration::from_secs(20);
/// A reply is taken for whole when nothing came for so long; one that is not shows in the next comparison.
const QUIET: Duration = Duration::from_millis(60);

/// One connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    capabilities: u64,
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
        let mut raw = Self { stream, capabilities, piece, connection_id: 0 };
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
        raw.write(&framed(1, &response)).await?;
        loop {
            let (sequence, payload) = raw.packet().await?;
            match payload.as_slice() {
                [0, ..] => return Ok(raw),
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

    /// Writes bytes as they are, in pieces.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(self.piece.max(1)) {
            self.stream.write_all(piece).await?;
        }
        Ok(())
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

    /// Reads so many bytes.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes[have..])).await;
            match read {
                Ok(Ok(read @ 1..)) => have += read,
                other => bail!("{count} bytes were to come, then {other:?} after {:02x?}", &bytes[..have.min(200)]),
            }
        }
        Ok(bytes)
    }

    /// Reads what comes until nothing more does.
    pub async fn until_quiet(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Ok(read) = tokio::time::timeout(QUIET, self.stream.read_buf(&mut bytes)).await {
            if read? == 0 {
                break;
            }
        }
        Ok(bytes)
    }

    /// Reads a result set to its end and gives the number of its rows; for DEPRECATE_EOF and rows that fit one packet.
    pub async fn count_rows(&mut self) -> Result<u64> {
        let (_, columns) = self.packet().await?;
        ensure!(columns.first() != Some(&0xff), "{}", String::from_utf8_lossy(&columns));
        for _ in 0..*columns.first().context("an empty packet")? {
            self.packet().await?;
        }
        let (mut have, mut rows) = (Vec::with_capacity(1 << 20), 0);
        loop {
            let mut at = 0;
            while let [a, b, c, _, rest @ ..] = &have[at..] {
                let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
                let Some(packet) = rest.get(..length) else { break };
                match packet.first() {
                    Some(0xfe) if length < 100 => return Ok(rows),
                    Some(0xff) => bail!("after {rows} rows: {}", String::from_utf8_lossy(packet)),
                    _ => rows += 1,
                }
                at += 4 + length;
            }
            have.drain(..at);
            let read = tokio::time::timeout(PATIENCE * 6, self.stream.read_buf(&mut have)).await.context("no more rows come")??;
            ensure!(read > 0, "the connection ended after {rows} rows");
        }
    }

    /// COM_QUIT, and everything that still comes.
    pub async fn quit(mut self) -> Result<Vec<u8>> {
        self.send(1, &[]).await?;
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.context("the connection stays open")??;
        Ok(rest)
    }

    /// True once the other side has closed.
    pub async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.stream.read_u8()).await, Ok(Err(_)))
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
